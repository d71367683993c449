"""Working coordinates of the fixed and random columns.

The engine sees centred, scaled and orthonormalised columns, so that a predictor in
metres or in nanometres, or a year without its centre, gives the same iterations and
loses no digits. Every coding is linear; its inverse is applied to the estimates.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skglmm._covariances import COVARIANCES
from skglmm._memory import aligned

# Share of a column's length that must be its own for it to count as independent of
# the columns before it.
INDEPENDENT = 1e-7
_CONSTANT = 1e-13
_ROUNDING = 1e-15
# Rows that are worked on together: what they need stays in the cache.
_BLOCK = 16_384


@dataclass(frozen=True)
class FixedCoding:
    """Way from orthonormal working columns back to the user's.

    Parameters
    ----------
    transform : ndarray of shape (n_columns, rank)
        W = D transform for the user's columns D (the intercept first, if any);
        rows of aliased columns are zero.
    aliased : ndarray of shape (n_columns,), bool
        Columns that are constant or depend on the columns before them.
    own : float
        Least share of a kept column's length that is its own: its rounding errors
        count by the inverse of it.
    """

    transform: np.ndarray
    aliased: np.ndarray
    own: float = 1.0

    @property
    def log_volume(self):
        """log |det| of the transform between independent columns."""
        return np.linalg.slogdet(self.transform[~self.aliased])[1]


def by_block(function, n_rows, size=_BLOCK):
    """What a function gives for slices that cover the rows, in order."""
    return [function(slice(at, at + size)) for at in range(0, n_rows, size)]


def gram_of(X, weight, mean=None, size=_BLOCK):
    """Weighted products of columns, less their mean if that is given, (p, p)."""
    alike = np.all(weight == weight[:1])
    share = weight[0] if alike and len(X) else 1.0

    def products(some):
        columns = X[some] if mean is None else X[some] - mean
        return columns.T @ (columns if alike else weight[some, None] * columns)

    nothing = np.zeros((X.shape[1], X.shape[1]))
    return share * sum(by_block(products, len(X), size), nothing)


def code_fixed(X, weight, fit_intercept):
    """Orthonormal working columns of fixed columns X.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
    weight : ndarray of shape (n_rows,)
        Frequencies.
    fit_intercept : bool

    Returns
    -------
    border : ndarray of shape (n_rows, rank + 1)
        Working columns W with W' diag(weight) W = n I, and room for the target.
    coding : FixedCoding
    """
    n_rows, p = X.shape
    total = weight.sum()
    first = int(fit_intercept)
    mean = weight @ X / total if fit_intercept else np.zeros(p)
    gram = gram_of(X, weight, mean) / total

    def rows(keep, scale):
        return np.sqrt(weight / total)[:, None] * ((X[:, keep] - mean[keep]) / scale)

    inverse, keep, own = orthonormalised(gram, mean, rows)
    border = aligned((n_rows, first + len(keep) + 1))
    kept = slice(None) if keep.size == p else keep

    def fill(some):
        border[some, :first] = 1.0
        border[some, first:-1] = (X[some, kept] - mean[kept]) @ inverse

    by_block(fill, n_rows)
    return border, coding_of(inverse, keep, mean, fit_intercept, own)


def orthonormalised(gram, mean, rows):
    """What makes centred columns orthonormal, and which of them can be.

    Parameters
    ----------
    gram : ndarray of shape (p, p)
        Means of their products.
    mean : ndarray of shape (p,)
    rows : callable
        Rows with these products of some of the columns, each divided by its scale.

    Returns
    -------
    inverse : ndarray of shape (rank, rank)
    keep : ndarray of shape (rank,), int
    own : float
        See `own_share`.
    """
    scale, keep = independent_of_constants(gram, mean)
    root = triangular_root(gram[np.ix_(keep, keep)], scale[keep])
    if root is None:
        own, root = _independent(rows(keep, scale[keep]))
        keep = keep[own]
    inverse = linalg.solve_triangular(root, np.eye(len(keep))) / scale[keep][:, None]
    return inverse, keep, own_share(root)


def own_share(root):
    """Least diagonal entry of a root R'R = X'WX / n of scaled columns; 1 of none."""
    return float(np.min(np.abs(np.diag(root)), initial=1.0))


def coding_of(inverse, keep, mean, fit_intercept, own):
    """`FixedCoding` of the columns to keep, less their means, times a matrix."""
    first, p = int(fit_intercept), len(mean)
    transform = np.zeros((first + p, first + len(keep)))
    transform[first + keep, first:] = inverse
    if fit_intercept:
        transform[0, 0] = 1.0
        transform[0, 1:] = -mean @ transform[1:, 1:]
    aliased = np.ones(first + p, dtype=bool)
    aliased[:first] = False
    aliased[first + keep] = False
    return FixedCoding(transform, aliased, own)


def independent_of_constants(gram, mean):
    """Lengths of centred columns, and which of them are no constants."""
    scale = np.sqrt(np.diag(gram))
    return scale, np.flatnonzero(scale > _CONSTANT * np.sqrt(scale**2 + mean**2))


def triangular_root(gram, scale, least=1e-3):
    """R with R'R = X'WX / n of scaled columns; None where that loses digits.

    That is where a column has no more than the share `least` of its length for itself.
    """
    if not len(scale):
        return np.empty((0, 0))
    if not np.all(scale > 0.0):
        return None
    try:
        root = np.linalg.cholesky(gram / np.outer(scale, scale)).T
    except np.linalg.LinAlgError:
        return None
    return root if np.min(np.diag(root)) > least else None


def _independent(rows):
    """Columns that do not depend on earlier ones, and their triangular factor."""
    keep = np.arange(rows.shape[1])
    while True:
        root = np.linalg.qr(rows[:, keep], mode="r")
        own = np.zeros(len(keep))
        own[: len(root)] = np.abs(np.diag(root))
        dependent = own < INDEPENDENT * np.linalg.norm(root, axis=0)
        if not dependent.any():
            return keep, root
        keep = np.delete(keep, np.argmax(dependent))


def code_random(z, weight, covariance):
    """Recoding R (q, q) of row values z, so that z R is well scaled.

    Any invertible R leaves a model with a full covariance as it is; a diagonal one
    allows a scale for each effect, a scalar one a common scale.

    Returns
    -------
    recoding : ndarray of shape (q, q)
    squares : ndarray of shape (q, q)
        Mean of R'z z'R over rows.
    """
    gram = gram_of(z, weight) / weight.sum()
    recoding = COVARIANCES[covariance].recoding(gram)
    return recoding, recoding.T @ gram @ recoding


def least_squares(y, border, weight):
    """Write y less its least-squares fit into the border; return the fit."""
    total, n_columns = weight.sum(), border.shape[1] - 1
    origin = step = np.zeros(n_columns)

    def fitted(some):
        return (weight[some] * y[some]) @ border[some, :-1]

    def write(some):
        residual = border[some, -1]
        np.subtract(y[some], border[some, :-1] @ origin, out=residual)
        return (weight[some] * residual) @ border[some, :-1]

    for function in (fitted, write):  # the second removes the rounding of the first
        step = sum(by_block(function, len(y)), np.zeros(n_columns)) / total
        origin = origin + step
    if np.any(np.abs(step) > _ROUNDING * np.max(np.abs(origin), initial=0.0)):
        by_block(write, len(y))
    return origin


def linear_variance(coef, total, mean):
    """Variance over rows of W coef; nan for a single row.

    W has orthonormal columns, as `code_fixed` makes them, with these means, and `total`
    is the sum of the weights.
    """
    if not total > 1.0:
        return np.nan
    about = coef @ (coef - mean * (mean @ coef))
    return max(about, 0.0) * total / (total - 1.0)


def row_variance(values, weight):
    """Weighted variance of values by row; nan for a single row."""
    total = weight.sum()
    if not total > 1.0:
        return np.nan
    away = values - weight @ values / total
    return (weight @ away**2) / (total - 1.0)
