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
