"""Clusters in exactly the proportions that a model gives them.

With one random intercept and no predictor, the rows of a cluster matter through their
sum alone. Its few possible values are enumerated here, with their probabilities, so
that what an estimator tends to as the clusters grow in number can be computed without
drawing anything.
"""

import numpy as np
from scipy.special import expit, gammaln
from scipy.stats import norm

# The trapezoidal rule is exact to rounding for an integrand like this one.
_POINTS = np.linspace(-10.0, 10.0, 4001)


def marginal(family, n_rows, intercept, sd, largest):
    """Probabilities of the sums 0 .. largest of a cluster's rows.

    Parameters
    ----------
    family : {"bernoulli", "poisson"}
    n_rows : int
        Rows of a cluster, with the linear predictor intercept + b, b ~ N(0, sd^2).
    intercept, sd : float
    largest : int

    Returns
    -------
    ndarray of shape (largest + 1,)
    """
    total = np.arange(largest + 1)[:, None]
    eta = intercept + sd * _POINTS
    if family == "poisson":
        log_p = total * (eta + np.log(n_rows)) - n_rows * np.exp(eta)
        log_p -= gammaln(total + 1)
    else:
        log_p = total * np.log(expit(eta)) + (n_rows - total) * np.log(expit(-eta))
        log_p += gammaln(n_rows + 1) - gammaln(total + 1)
        log_p -= gammaln(n_rows - total + 1)
    return np.exp(log_p) @ norm.pdf(_POINTS) * (_POINTS[1] - _POINTS[0])


def clusters(family, n_rows, intercept, sd, n_clusters):
    """Rows of clusters whose sums have their probabilities as frequencies.

    Parameters
    ----------
    family : {"bernoulli", "poisson"}
    n_rows : int
    intercept, sd : float
    n_clusters : int
        The number of clusters with a sum of at most s is `n_clusters` times the
        probability of that, rounded.

    Returns
    -------
    label : ndarray of shape (n_clusters * n_rows,)
    y : ndarray of shape (n_clusters * n_rows,)
    """
    largest = n_rows
    if family == "poisson":
        # beyond this fewer than one cluster is expected
        tail = norm.isf(0.1 / n_clusters)
        largest = int(2 * n_rows * np.exp(intercept + sd * tail)) + 20
    below = np.cumsum(marginal(family, n_rows, intercept, sd, largest))
    counts = np.diff(np.rint(n_clusters * below).astype(int), prepend=0)
    sums = np.repeat(np.arange(largest + 1), counts)
    assert len(sums) == n_clusters
    # as even as whole numbers allow, which for Bernoulli rows is ones and zeros
    y = (sums[:, None] + np.arange(n_rows)) // n_rows
    return np.repeat(np.arange(n_clusters), n_rows), y.ravel()
