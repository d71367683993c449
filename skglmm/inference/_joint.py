"""Several linear combinations of coefficients tested together: F and chi-square."""

import numpy as np
from scipy.stats import chi2
from scipy.stats import f as f_distribution

# Eigenvalues, as a share of the largest one, that count as zero; and differences of
# degrees of freedom that do.
_ZERO, _EQUAL = np.sqrt(np.finfo(float).eps), 1e-8
# Denominators this near to 2 have no factor in F, which would be infinite.
_TWO = 1e-2


def joint_test(known, weights):
    """Test that linear combinations of coefficients are all zero.

    Parameters
    ----------
    known : Known
    weights : ndarray of shape (m, p)
        Combinations that the rows determine.

    Returns
    -------
    statistic : float
        F, or chi-square where there is no denominator.
    df : int
        Number of independent combinations.
    df_error : float
        Degrees of freedom of the denominator; infinite for chi-square.
    p_value : float
    """
    weights = np.where(known.aliased, 0.0, weights)
    weights, variances = _independent(known.covariance, weights)
    q = len(weights)
    squares = (weights @ known.estimate) ** 2 / variances
    if known.spread is None:
        total = float(np.sum(squares))
        return total, q, np.inf, float(chi2.sf(total, q))
    statistic = float(np.mean(squares))
    if known.adjusted:
        scale, df = _kenward_roger(known.spread, weights)
        statistic *= scale
    else:
        df = _combined(known.df(weights))
    return statistic, q, df, float(f_distribution.sf(statistic, q, df))


def _independent(covariance, weights):
    """The same hypotheses with independent estimates, and their variances.

    Their axes are those of the covariance as it stands, as lmerTest has them: units of
    the columns have a part in the degrees of freedom. Where rounding would hide some of
    them behind the others, it is the correlation that is taken apart.
    """
    found = weights @ covariance @ weights.T
    size = np.sqrt(np.diag(found))
    usable = size > 0.0
    weights, size, found = weights[usable], size[usable], found[usable][:, usable]
    values, axes = np.linalg.eigh(found)
    kept = values > _ZERO * np.max(values, initial=0.0)
    scaled, scaled_axes = np.linalg.eigh(found / np.outer(size, size))
    also = scaled > _ZERO * np.max(scaled, initial=0.0)
    if also.sum() > kept.sum():
        weights = weights / size[:, None]
        values, axes, kept = scaled, scaled_axes, also
    return axes[:, kept].T @ weights, values[kept]


def _combined(df):
    """Degrees of freedom of a mean of squared t variables (Fai and Cornelius).

    The expectation of F, nu / (nu - 2), is matched to the mean of those of the squares.
    """
    if np.ptp(df) < _EQUAL:
        return float(np.mean(df))
    if not np.all(df > 2.0):
        return 2.0
    total = np.sum(df / (df - 2.0))
    return float(2.0 * total / (total - len(df)))


def _kenward_roger(spread, weights):
    """Factor of F and degrees of freedom of its denominator (Kenward and Roger).

    With the combinations' plain covariance R'R and derivatives S_i of it, everything is
    made of tr(R^-T S_i R^-1) and the traces of products of these.
    """
    q = len(weights)
    root = np.linalg.cholesky(weights @ spread.plain @ weights.T)
    moved = weights @ spread.slopes @ weights.T
    half = np.linalg.solve(root, np.swapaxes(np.linalg.solve(root, moved), -1, -2))
    half = np.einsum("ik,iab->kab", spread.root, half)
    a1 = float(np.sum(np.trace(half, axis1=1, axis2=2) ** 2))
    a2 = float(np.sum(half * np.swapaxes(half, -1, -2)))
    b = (a1 + 6.0 * a2) / (2.0 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    below = 3 * q + 2.0 * (1.0 - g)
    v0 = 1.0 + g / below * b
    v1 = 1.0 - (q - g) / below * b
    v2 = 1.0 - (q + 2 - g) / below * b
    v0 = 0.0 if abs(v0) < 1e-10 else v0
    above = 1.0 - a2 / q
    ratio = 1.0 if max(abs(above), abs(v1)) < 1e-14 else above / v1
    rho = ratio**2 * v0 / v2 / q
    df = 4.0 + (q + 2) / (q * rho - 1.0)
    scale = 1.0 if abs(df - 2.0) < _TWO else df * above / (df - 2.0)
    return float(scale), float(df)
