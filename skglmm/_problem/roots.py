"""Matrices whose square a covariance is."""

import numpy as np

# Least standard deviation, beside the residual, of a covariance that is not singular.
SINGULAR = 1e-5


def covariance_root(covariance):
    """Lower triangular T with T T' the covariance, which may be singular."""
    values, axes = np.linalg.eigh(covariance)
    return lower_root(axes * np.sqrt(np.maximum(values, 0.0)))


def lower_root(root):
    """Lower triangular T with T T' = root root' and a diagonal that is not negative."""
    t = np.linalg.qr(root.T, mode="r").T
    return t * np.where(np.diag(t) < 0, -1.0, 1.0)


def in_coordinates(covariance, recoding):
    """Covariance of effects of which those with the given one are `recoding` times."""
    inverse = np.linalg.inv(recoding)
    return inverse @ covariance @ inverse.T


def half(covariance):
    """F with F F' the covariance, NaN if that is not finite."""
    if not np.isfinite(covariance).all():
        return np.full(covariance.shape, np.nan)
    values, axes = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return axes * np.sqrt(np.maximum(values, 0.0))


def half_and_inverse(covariance):
    """H with H H' the covariance, and the transpose of its generalised inverse."""
    if not np.isfinite(covariance).all():
        return np.full(covariance.shape, np.nan), np.full(covariance.shape, np.nan)
    values, axes = np.linalg.eigh(covariance)
    usable = values > 1e-15 * np.max(values, initial=0.0)
    root = np.sqrt(np.where(usable, values, 1.0))
    return np.where(usable, axes * root, 0.0), np.where(usable, axes / root, 0.0)


def inverse(matrix):
    """Inverse of a symmetric matrix, which rounding may have left singular."""
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(matrix, hermitian=True)


def singular_factors(factors):
    """Positions of the factors whose covariance is singular."""
    return tuple(
        r
        for r, t in enumerate(factors)
        if np.linalg.svd(t, compute_uv=False).min() < SINGULAR
    )
