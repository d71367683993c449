"""Likelihoods of responses on the whole line, in their location."""

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood, _rising

_LOG_2PI = np.log(2.0 * np.pi)


class Gaussian(Likelihood):
    """Normal responses; psi = log of the standard deviation."""

    def given(self, parameters):
        found = Gaussian()
        (found._log_sd,) = parameters
        return found

    def log_density(self, y, trials, eta):
        away = (y - eta) * tf.exp(-self._log_sd)
        return -0.5 * away * away

    def derivatives(self, y, trials, eta):
        weight = tf.exp(-2.0 * self._log_sd) + tf.zeros_like(eta)
        return weight * (y - eta), weight, tf.zeros_like(eta)

    def majorant(self, y, trials, eta):
        return tf.exp(-2.0 * self._log_sd) + tf.zeros_like(eta)

    def constant(self, y, trials):
        return -0.5 * _LOG_2PI - self._log_sd + tf.zeros_like(y)

    def start(self, y, trials):
        return y


class StudentT(Likelihood):
    """Student's t around a location; psi = (log of the scale, log of the freedom)."""

    is_concave = False

    def given(self, parameters):
        found = StudentT()
        found._log_scale, found._log_freedom = parameters
        return found

    def _parts(self, y, eta):
        """Freedom, residual over the scale's share, and 1 + its square."""
        freedom = tf.exp(self._log_freedom)
        z = (y - eta) * tf.exp(-self._log_scale - 0.5 * self._log_freedom)
        return freedom, z, 1.0 / (1.0 + z * z)

    def log_density(self, y, trials, eta):
        freedom, z, _ = self._parts(y, eta)
        return -0.5 * (freedom + 1.0) * tf.math.log1p(z * z)

    def derivatives(self, y, trials, eta):
        freedom, z, share = self._parts(y, eta)
        unit = tf.exp(-self._log_scale - 0.5 * self._log_freedom)
        # share is 1 / (1 + z^2); z^2 share is what is left of one
        rest, both = z * z * share, (freedom + 1.0) * unit
        score = both * z * share
        weight = both * unit * share * (share - rest)
        slope = both * unit**2 * z * share * share * (6.0 * share - 2.0 * rest)
        return score, weight, slope

    def majorant(self, y, trials, eta):
        freedom, _, share = self._parts(y, eta)
        unit = tf.exp(-2.0 * self._log_scale - self._log_freedom)
        return (freedom + 1.0) * unit * share

    def constant(self, y, trials):
        half = 0.5 * tf.exp(self._log_freedom)
        ratio = _rising(half, 0.5 * tf.ones_like(half))
        found = ratio - 0.5 * (self._log_freedom + np.log(np.pi)) - self._log_scale
        return found + tf.zeros_like(y)

    def start(self, y, trials):
        return y
