"""Likelihoods of responses with a positive mean, in the log of the mean."""

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood
from skglmm.engine.special import log_rising, scaled_steps

_LOG_2PI = np.log(2.0 * np.pi)
# Terms of Tweedie's series, and standard deviations of their number that they reach.
_TERMS, _REACH, _MORE = 160, 9.0, 15.0


class NegativeBinomial1(Likelihood):
    """Counts with Var = mu (1 + phi); psi = log(phi).

    The size is a = mu / phi: l = log Gamma(a + y) / Gamma(a) - a log(1 + phi).
    """

    is_concave = False

    def given(self, parameters):
        found = NegativeBinomial1()
        (found._log_phi,) = parameters
        return found

    def _share(self):
        return tf.math.log1p(tf.exp(self._log_phi))

    def log_density(self, y, trials, eta):
        log_size = eta - self._log_phi
        size = tf.exp(log_size)
        return log_rising(size, y, log_size) - size * self._share()

    def derivatives(self, y, trials, eta):
        size = tf.exp(eta - self._log_phi)
        first, second, third = scaled_steps(size, y)
        score = first - size * self._share()
        return score, -score - second, -score - 3.0 * second - third

    def majorant(self, y, trials, eta):
        return (tf.exp(eta) + y) * tf.exp(-self._share())

    def constant(self, y, trials):
        return y * (self._log_phi - self._share()) - tf.math.lgamma(y + 1.0)

    def start(self, y, trials):
        return tf.math.log(y + 0.5)


class Gamma(Likelihood):
    """Positive responses with Var = (sigma mu)^2; psi = log(shape) = -2 log(sigma)."""

    def given(self, parameters):
        found = Gamma()
        found._log_shape = parameters[0]
        found._shape = tf.exp(parameters[0])
        return found

    def log_density(self, y, trials, eta):
        return -self._shape * (eta + y * tf.exp(-eta))

    def derivatives(self, y, trials, eta):
        weight = self._shape * y * tf.exp(-eta)
        return weight - self._shape, weight, -weight

    def constant(self, y, trials):
        a = self._shape
        return a * self._log_shape + (a - 1.0) * tf.math.log(y) - tf.math.lgamma(a)

    def start(self, y, trials):
        return tf.math.log(y)

    def expected(self, y, trials, mean, variance, nodes):
        weight = self._shape * y * tf.exp(0.5 * variance - mean)
        return -self._shape * mean - weight, weight - self._shape, weight


class InverseGaussian(Likelihood):
    """Positive responses with Var = phi mu^3; psi = log(phi)."""

    is_concave = False

    def given(self, parameters):
        found = InverseGaussian()
        (found._log_phi,) = parameters
        return found

    def log_density(self, y, trials, eta):
        away = y * tf.exp(-eta) - 1.0
        return -0.5 * away * away / y * tf.exp(-self._log_phi)

    def derivatives(self, y, trials, eta):
        once = tf.exp(-eta - self._log_phi)
        twice = y * tf.exp(-2.0 * eta - self._log_phi)
        return twice - once, 2.0 * twice - once, once - 4.0 * twice

    def majorant(self, y, trials, eta):
        return tf.exp(-eta - self._log_phi) + 2.0 * y * tf.exp(
            -2.0 * eta - self._log_phi
        )

    def constant(self, y, trials):
        return -0.5 * (_LOG_2PI + self._log_phi + 3.0 * tf.math.log(y))

    def start(self, y, trials):
        return tf.math.log(y)

    def expected(self, y, trials, mean, variance, nodes):
        once = tf.exp(0.5 * variance - mean - self._log_phi)
        twice = y * tf.exp(2.0 * (variance - mean) - self._log_phi)
        rest = tf.exp(-self._log_phi) / y
        density = -0.5 * (twice - 2.0 * once + rest)
        return density, twice - once, 2.0 * twice - once


class LogNormal(Likelihood):
    """Positive responses whose log is normal, around the median's; psi = log(s)."""

    def given(self, parameters):
        found = LogNormal()
        (found._log_sd,) = parameters
        return found

    def log_density(self, y, trials, eta):
        away = tf.math.log(y) - eta
        return -0.5 * away * away * tf.exp(-2.0 * self._log_sd)

    def derivatives(self, y, trials, eta):
        weight = tf.exp(-2.0 * self._log_sd) + tf.zeros_like(eta)
        return weight * (tf.math.log(y) - eta), weight, tf.zeros_like(eta)

    def constant(self, y, trials):
        return -0.5 * _LOG_2PI - self._log_sd - tf.math.log(y)

    def start(self, y, trials):
        return tf.math.log(y)

    def expected(self, y, trials, mean, variance, nodes):
        score, weight, _ = self.derivatives(y, trials, mean)
        density = self.log_density(y, trials, mean) - 0.5 * weight * variance
        return density, score, weight


class Tweedie(Likelihood):
    """Sums of a Poisson number of gamma variables, Var = phi mu^p, 1 < p < 2.

    psi = (log(phi), logit(p - 1)); l = (y mu^(1 - p) / (1 - p) - mu^(2 - p) / (2 - p))
    / phi, and a series that does not depend on mu.
    """

    def given(self, parameters):
        found = Tweedie()
        found._log_phi, psi = parameters
        # p - 1 and 2 - p
        found._over, found._under = tf.sigmoid(psi), tf.sigmoid(-psi)
        return found

    def _parts(self, y, eta):
        """y mu^(1 - p) / phi and mu^(2 - p) / phi."""
        return (
            y * tf.exp(-self._over * eta - self._log_phi),
            tf.exp(self._under * eta - self._log_phi),
        )

    def log_density(self, y, trials, eta):
        up, down = self._parts(y, eta)
        return -up / self._over - down / self._under

    def derivatives(self, y, trials, eta):
        up, down = self._parts(y, eta)
        first, second = self._over * up, self._under * down
        return up - down, first + second, self._under * second - self._over * first

    def constant(self, y, trials):
        """log of the sum over the numbers j of gamma variables, less log(y)."""
        some = tf.where(y > 0.0, y, tf.ones_like(y))
        log_y, ratio = tf.math.log(some), self._under / self._over
        log_z = (
            ratio * (log_y - tf.math.log(self._over))
            - (1.0 + ratio) * self._log_phi
            - tf.math.log(self._under)
        )
        j = _numbers(log_y, self._under, self._over, self._log_phi)
        where, spacing = j
        ratio, log_z = (
            (part + tf.zeros_like(log_y))[..., None] for part in (ratio, log_z)
        )
        terms = where * log_z - tf.math.lgamma(where + 1.0)
        terms -= tf.math.lgamma(where * ratio)
        total = tf.reduce_logsumexp(terms, -1) + tf.math.log(spacing)
        return tf.where(y > 0.0, total - log_y, tf.zeros_like(total))

    def start(self, y, trials):
        return tf.math.log(tf.maximum(y, 0.1 * tf.reduce_mean(y)))

    def expected(self, y, trials, mean, variance, nodes):
        up, down = self._parts(y, mean)
        up *= tf.exp(0.5 * self._over**2 * variance)
        down *= tf.exp(0.5 * self._under**2 * variance)
        first, second = self._over * up, self._under * down
        density = -up / self._over - down / self._under
        return density, up - down, first + second


def _numbers(log_y, under, over, log_phi):
    """Numbers j (..., K) around the largest term of Tweedie's series, and the spacing.

    Terms are a smooth function of j: where there are many, equidistant ones do.
    """
    top = tf.exp(under * log_y - log_phi) / under
    sd = tf.sqrt(top * over)
    first = tf.maximum(tf.floor(top - _REACH * sd), 1.0)
    last = tf.maximum(top, 1.0) + _REACH * tf.maximum(sd, 1.0) + _MORE
    spacing = tf.maximum((last - first) / (_TERMS - 1), 1.0)
    j = first[..., None] + spacing[..., None] * tf.range(_TERMS, dtype=top.dtype)
    return tf.stop_gradient(j), tf.stop_gradient(spacing)
