"""Log-likelihoods of single rows and what follows from them, as numpy arrays."""

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import normal_nodes
from skglmm.engine.structure import FLOAT

_NODES = 21


def _likelihood(family):
    """That of a family, at values of the parameters of its own if it has these."""
    if family.parameters is None:
        return family.likelihood()
    return family.likelihood().given([tf.constant(v, FLOAT) for v in family.parameters])


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
    return _likelihood(family).log_density(*inputs).numpy().reshape(eta.shape)


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
    nodes = normal_nodes(_NODES)
    density, score, weight = _likelihood(family).expected(*inputs, nodes)
    weight = np.maximum(weight.numpy(), 1e-10)
    return density.numpy(), score.numpy() / weight, weight


def suggested(family, y, trials):
    """Linear predictors (n_rows,) that the responses alone suggest."""
    trials = np.ones_like(y) if trials is None else trials
    inputs = (tf.constant(part, FLOAT) for part in (y, trials))
    start = _likelihood(family).start(*inputs)
    return start.numpy()


def log_probability(family, y, trials, eta):
    """The same as `log_density`, with what does not depend on `eta`."""
    trials = np.ones_like(y) if trials is None else trials
    inputs = (tf.constant(part, FLOAT) for part in (y, trials))
    constant = np.broadcast_to(_likelihood(family).constant(*inputs), y.shape)
    return log_density(family, y, trials, eta) + constant[:, None]
