"""Log-likelihoods of single rows and what follows from them, as numpy arrays."""

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import normal_nodes
from skglmm.engine.structure import FLOAT

_NODES = 21


def _bound(family, y, trials):
    """The likelihood, at the family's own parameters or those that y suggests."""
    likelihood, parameters = family.likelihood(), family.parameters
    if not family.parameter_names:
        return likelihood
    if parameters is None:
        parameters = family.first_parameters(y, trials, np.ones_like(y))
    return likelihood.given([tf.constant(p, FLOAT) for p in parameters])


def log_density(family, y, trials, eta):
    """Log-likelihoods of rows, without what does not depend on `eta`.

    Parameters
    ----------
    family : Family
    y : ndarray of shape (n_rows,)
    trials : ndarray of shape (n_rows,) or None
    eta : ndarray of shape (n_rows, k)
        Linear predictors, several for each row.

    Returns
    -------
    density : ndarray of shape (n_rows, k)
    """
    trials = np.ones_like(y) if trials is None else trials
    repeated = (np.repeat(part, eta.shape[1]) for part in (y, trials))
    inputs = (tf.constant(part, FLOAT) for part in (*repeated, eta.ravel()))
    likelihood = _bound(family, y, trials)
    return likelihood.log_density(*inputs).numpy().reshape(eta.shape)


def working(family, y, trials, mean, variance):
    """An expected log-likelihood, and its working responses and weights.

    With s = E[l'(eta)] and w = E[-l''(eta)] for eta ~ N(mean, variance), a Newton step
    is the weighted least-squares fit of s / w with the weights w.

    Returns
    -------
    density, step, weight : ndarrays of shape (n_rows,)
    """
    trials = np.ones_like(y) if trials is None else trials
    inputs = (tf.constant(part, FLOAT) for part in (y, trials, mean, variance))
    likelihood = _bound(family, y, trials)
    density, score, weight = likelihood.expected(*inputs, normal_nodes(_NODES))
    weight = np.maximum(weight.numpy(), 1e-10)
    return density.numpy(), score.numpy() / weight, weight


def suggested(family, y, trials):
    """Linear predictors (n_rows,) that the responses alone suggest."""
    trials = np.ones_like(y) if trials is None else trials
    likelihood = _bound(family, y, trials)
    return likelihood.start(tf.constant(y, FLOAT), tf.constant(trials, FLOAT)).numpy()


def log_probability(family, y, trials, eta):
    """The same as `log_density`, with what does not depend on `eta`."""
    trials = np.ones_like(y) if trials is None else trials
    inputs = (tf.constant(part, FLOAT) for part in (y, trials))
    likelihood = _bound(family, y, trials)
    constant = np.broadcast_to(likelihood.constant(*inputs), y.shape)
    return log_density(family, y, trials, eta) + constant[:, None]
