"""Rows of a linear model as one table, and the maps from it to working coordinates.

A linear model is known by sums of products of its columns. Centring, scaling and least
squares are linear, so they are applied to the sums, of which there are few, wherever
that loses no digits, and to the rows only where it would.
"""

from dataclasses import dataclass

import numpy as np

from skglmm._covariances import COVARIANCES
from skglmm._memory import aligned
from skglmm._problem.coding import (
    by_block,
    coding_of,
    gram_of,
    independent_of_constants,
    orthonormalised,
    own_share,
    triangular_root,
)
from skglmm._reading.moments import WorkingColumns

# Least share of a column's length, in standard units, that must be its own, and of the
# target's square that the fixed columns must leave, if sums are to be taken first: four
# digits of sixteen are lost then.
_OWN, _LEFT = 1e-2, 1e-4
# Values that are worked on together, and columns below which each has its own loop.
_BLOCK, _FEW = 330_000, 16


@dataclass(frozen=True)
class LinearTable:
    """Dense columns of the rows, and what the engine makes of them.

    Parameters
    ----------
    values : ndarray of shape (n_rows, c)
        The first column is one.
    gram : ndarray of shape (c, c)
        Weighted sums of the products of columns.
    border : ndarray of shape (c, p + 1)
        ``values @ border`` are the orthonormal fixed columns and the target less its
        least-squares fit.
    z : tuple of ndarray of shape (c, q)
        ``values @ z[r]`` are the row values of factor r, in the design's order.
    """

    values: np.ndarray
    gram: np.ndarray
    border: np.ndarray
    z: tuple

    @property
    def total(self):
        """Sum of the weights."""
        return self.gram[0, 0]

    @property
    def fixed_mean(self):
        """Weighted means (p,) of the fixed columns."""
        return self.gram[0] @ self.border[:, :-1] / self.total

    @property
    def mean_square(self):
        """Weighted mean of the squared target."""
        last = self.border[:, -1]
        return last @ self.gram @ last / self.total

    @property
    def coded_gram(self):
        """Weighted sums of the products of the border's columns."""
        return self.border.T @ self.gram @ self.border


def of_coded(border, z, weight):
    """Table of columns that are in working coordinates already.

    Parameters
    ----------
    border : ndarray of shape (n_rows, p + 1)
    z : sequence of ndarray of shape (n_rows, q) or None
        In the design's order; None for an intercept alone.
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    table : LinearTable
    """
    parts = [border, *(part for part in z if part is not None)]
    ends = 1 + np.cumsum([0, *(part.shape[1] for part in parts)])
    values = aligned((len(border), int(ends[-1])))
    values[:, 0] = 1.0
    for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
        values[:, start:end] = part
    unit = np.eye(values.shape[1])
    first, *rest = (unit[:, a:b] for a, b in zip(ends[:-1], ends[1:], strict=True))
    rest = iter(rest)
    maps = tuple(unit[:, :1] if part is None else next(rest) for part in z)
    gram = gram_of(values, weight, size=_together(values.shape[1]))
    return LinearTable(values, gram, first, maps)


def centred(X, n_fixed, y, weight, fit_intercept, slopes, moments=None):
    """Table of columns as they are, less their means.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Fixed columns, and behind them those that have random slopes only.
    n_fixed : int
    y, weight : ndarray of shape (n_rows,)
    fit_intercept : bool
        Without it, no means are taken off.
    slopes : list of tuple
        For each factor, in any order: the columns of X that have random slopes, whether
        there is an intercept, and the kind of covariance.
    moments : Moments or None, default=None
        Of all rows, where these stand for several each.

    Returns
    -------
    table : LinearTable
        With the factors in the order of `slopes`.
    coding : FixedCoding
    origin : ndarray of shape (p,)
        What least squares has taken off the target.
    recodings, squares : lists of ndarray of shape (q, q)
        See `code_random`.

    All of them None if sums of these columns would lose digits.
    """
    n_rows, p = X.shape
    total, first = weight.sum(), int(fit_intercept)
    mean = np.append(weight @ X, weight @ y) / total * first
    values = aligned((n_rows, p + 2))

    def fill(some):
        values[some, 0] = 1.0
        if p > _FEW:
            np.subtract(X[some], mean[:p], out=values[some, 1:-1])
        else:
            for j in range(p):
                np.subtract(X[some, j], mean[j], out=values[some, 1 + j])
        np.subtract(y[some], mean[p], out=values[some, p + 1])

    by_block(fill, n_rows, _together(p + 2))
    if moments is None:
        gram = gram_of(values, weight, size=_together(p + 2))
    else:
        gram = moments.about(mean)
    nothing = (None,) * 5
    among = gram[1 : 1 + n_fixed, 1 : 1 + n_fixed] / total
    scale, keep = independent_of_constants(among, mean[:n_fixed])
    root = triangular_root(among[np.ix_(keep, keep)], scale[keep], _OWN)
    if root is None:
        return nothing
    inverse = np.linalg.inv(root) / scale[keep][:, None]
    fit = inverse.T @ gram[1 + keep, -1] / total
    level = gram[0, -1] / total * first
    square = gram[-1, -1] / total
    if not square - fit @ fit - level**2 > _LEFT * square:
        return nothing
    border = np.zeros((p + 2, first + len(keep) + 1))
    border[0, :first] = 1.0
    border[1 + keep, first:-1] = inverse
    border[:, -1] = -border[:, :-1] @ np.append([level] * first, fit)
    border[-1, -1] = 1.0
    z, recodings, squares = [], [], []
    for columns, intercept, kind in slopes:
        found = _random_map(gram, mean, columns, intercept, kind)
        if found is None:
            return nothing
        for values_, many in zip(found, (z, recodings, squares), strict=True):
            many.append(values_)
    table = LinearTable(values, gram, border, tuple(z))
    origin = np.append([mean[p] + level] * first, fit)
    own = own_share(root)
    coding = coding_of(inverse, keep, mean[:n_fixed], fit_intercept, own)
    return table, coding, origin, recodings, squares


def coded_elsewhere(moments, n_fixed, fit_intercept, slopes):
    """The same as `centred` where sums of the columns as they are would lose digits.

    The rows are read twice more: once for the triangular root of their columns, and
    once for sums of the coded columns.

    Parameters
    ----------
    moments : Moments
        With a source.
    n_fixed, fit_intercept, slopes
        See `centred`.
    """
    first = int(fit_intercept)
    mean, root = moments.source.root(fit_intercept)
    total, X, y = moments.gram[0, 0], root[:, :n_fixed], root[:, -1] / moments.unit

    def rows(keep, scale):
        return X[:, keep] / scale / np.sqrt(total)

    gram = X.T @ X / total
    inverse, keep, own = orthonormalised(gram, mean[:n_fixed], rows)
    make = np.zeros((n_fixed, len(keep)))
    make[keep] = inverse
    fit = make.T @ (X.T @ y) / total
    level = mean[-1] / moments.unit * first
    map_ = WorkingColumns(mean[:n_fixed], make, level, fit, moments.unit)
    values, gram, places, centre = moments.source.coded(map_)
    width, n_slopes = len(gram), len(places)
    border = np.zeros((width, first + len(keep) + 1))
    border[0, :first] = 1.0
    border[1 + n_slopes : -1, first:-1] = np.eye(len(keep))
    border[-1, -1] = 1.0
    step = border[:, :-1].T @ gram[:, -1] / total
    border[:, -1] -= border[:, :-1] @ step
    z, recodings, squares = [], [], []
    for columns, intercept, kind in slopes:
        at = [places[column] for column in columns]
        found = _random_map(gram, centre, at, intercept, kind, strict=False)
        for values_, many in zip(found, (z, recodings, squares), strict=True):
            many.append(values_)
    table = LinearTable(values, gram, border, tuple(z))
    coding = coding_of(inverse, keep, mean[:n_fixed], fit_intercept, own)
    origin = np.append([level] * first, fit) + step
    return table, coding, origin, recodings, squares


def _together(c):
    """Rows of c columns that are worked on together."""
    return _BLOCK // c + 1


def _random_map(gram, mean, columns, intercept, kind, strict=True):
    """One factor's map, its recoding and the mean squares of its coded row values."""
    first, place = int(intercept), 1 + np.asarray(columns, dtype=int)
    q = first + len(place)
    chosen, shift = np.zeros((len(gram), q)), np.eye(q)
    chosen[0, :first] = 1.0
    chosen[place, np.arange(first, q)] = 1.0
    if intercept and COVARIANCES[kind].correlates:
        # effects that may covary do not mind which origin a slope's column has
        shift[0, 1:] = -mean[place - 1]
    else:
        chosen[0, first:] = mean[place - 1]
    among = chosen.T @ gram @ chosen / gram[0, 0]
    if strict and COVARIANCES[kind].correlates and q > 1:
        if triangular_root(among, np.sqrt(np.diag(among)), _OWN) is None:
            return None
    recoding = COVARIANCES[kind].recoding(among)
    return chosen @ recoding, shift @ recoding, recoding.T @ among @ recoding
