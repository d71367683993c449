"""Rows of several structures, drawn from the model that is fitted."""

import numpy as np


def add_effects(rng, X, eta, x, factors):
    """Linear predictors with random effects, whose levels join the table.

    Parameters
    ----------
    rng : Generator
    X : DataFrame of n rows
        Gets a column of levels for each factor; those of ``"g:h"`` are four to a level
        of ``"g"``.
    eta : ndarray of shape (n,)
    x : ndarray of shape (n, p)
        What the first slopes are of, an intercept before them.
    factors : dict of tuple
        Number of levels and covariance (q, q) of the effects, by factor.

    Returns
    -------
    eta : ndarray of shape (n,)
    """
    n = len(X)
    for name, (n_levels, covariance) in factors.items():
        q = len(covariance)
        if name == "g:h":
            X["h"] = rng.integers(4, size=n)
            level = 4 * X["g"].to_numpy() + X["h"].to_numpy()
        else:
            X[name] = level = rng.integers(n_levels, size=n)
        b = rng.multivariate_normal(np.zeros(q), covariance, size=n_levels)
        eta = eta + np.sum(b[level] * np.c_[np.ones(n), x][:, :q], 1)
    return eta
