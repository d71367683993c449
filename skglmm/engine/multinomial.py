"""Classes as counts, a row for each class of a row of the user."""

import numpy as np
import tensorflow as tf

from skglmm._covariances import UNBOUNDED
from skglmm.engine.likelihoods import Likelihood


class Multinomial(Likelihood):
    r"""Counts of classes, whose rows have an unbounded effect in common.

    At any linear predictors the effect is where the bound is largest, so that means
    add up to one: with :math:`m + v / 2` in the place of :math:`\eta` where that is
    normal, :math:`\mu_k = e^{\eta_k} / \sum_l e^{\eta_l}` and
    :math:`l = \eta_y - \log \sum_l e^{\eta_l} - 1`. Given the covariances, v being that
    of :math:`\eta_k - \sum_l \mu_l \eta_l` and a constant, that is the tilted bound of
    Knowles and Minka [1]_, which is right to second order.

    The trials are the inverse weights (see `by_class`).

    Parameters
    ----------
    n_classes : int
        Rows that belong together; they stand one behind the other.

    References
    ----------
    .. [1] Knowles, D. A. and Minka, T. P. (2011). Non-conjugate variational message
       passing for multinomial and binary regression. NIPS 24.
    """

    def __init__(self, n_classes):
        self._n_classes = n_classes

    def _log_means(self, eta):
        """Logarithms of the means (..., n)."""
        shape = tf.concat([tf.shape(eta)[:-1], [-1, self._n_classes]], 0)
        logs = tf.nn.log_softmax(tf.reshape(eta, shape), axis=-1)
        return tf.reshape(logs, tf.shape(eta))

    def centred(self, eta):
        """Logarithms of the means: a probability of nearly one has nearly zero."""
        return self._log_means(eta)

    def log_density(self, y, trials, eta):
        logs = self._log_means(eta)
        return y * logs - tf.exp(logs)

    def derivatives(self, y, trials, eta):
        mu = tf.exp(self._log_means(eta))
        return y - mu, mu, mu

    def expected(self, y, trials, mean, variance, nodes):
        half = 0.5 * variance
        logs = self._log_means(mean + half)
        mu = tf.exp(logs)
        return y * (logs - half) - mu, y - mu, mu

    def constant(self, y, trials):
        """For w rows of a class w + log T + log(w) / 2, T being the effect's prior."""
        rest = np.log(UNBOUNDED) - 0.5 * tf.math.log(trials)
        return y * (1.0 + trials * rest)

    def start(self, y, trials):
        return self._log_means(tf.math.log(y + 0.5))
