"""Linear predictors of new rows from fitted numbers (numpy only)."""

import numpy as np


def linear_predictor(X, coef, intercept, offset, effects):
    """Fixed part plus offset plus random effects.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
    coef : ndarray of shape (p,)
    intercept : float
    offset : ndarray of shape (n_rows,) or None
    effects : iterable of (codes, z, b)
        For each factor the level of each row (-1: unseen, effect zero), the row
        values (n_rows, q) or None for an intercept alone, and the effects
        (n_levels, q).

    Returns
    -------
    eta : ndarray of shape (n_rows,)
    """
    eta = X @ coef + intercept
    if offset is not None:
        eta += offset
    for codes, z, b in effects:
        # a row of zeros at the end is what code -1 picks
        padded = np.vstack([b, np.zeros((1, b.shape[1]))])
        if z is None:
            eta += padded[codes, 0]
        else:
            for i in range(b.shape[1]):
                eta += z[:, i] * padded[codes, i]
    return eta


def random_variance(n_rows, spreads):
    """Variance of the random part of the linear predictor.

    The factors are taken as independent of each other given the data.

    Parameters
    ----------
    n_rows : int
    spreads : iterable of (codes, z, posterior, prior)
        For each factor the level of each row (-1: unseen), the row values (n_rows, q)
        or None for an intercept alone, the posterior covariances (n_levels, q, q) and
        the prior one (q, q), which is that of an unseen level.

    Returns
    -------
    variance : ndarray of shape (n_rows,)
    """
    variance = np.zeros(n_rows)
    for codes, z, posterior, prior in spreads:
        padded = np.concatenate([posterior, prior[None]])
        if z is None:
            variance += padded[codes, 0, 0]
            continue
        for i in range(len(prior)):
            variance += z[:, i] ** 2 * padded[codes, i, i]
            for k in range(i):
                variance += 2.0 * z[:, i] * z[:, k] * padded[codes, i, k]
    return np.maximum(variance, 0.0)
