"""Likelihoods of shares and of successes that vary too much, in the logit of the mean.

Both have shapes a = phi mu and b = phi (1 - mu), psi = log(phi).
"""

import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood, _rising
from skglmm.engine.special import log_rising, scaled_polygammas, scaled_steps


class _Shapes(Likelihood):
    """What the beta and the beta-binomial distribution share."""

    is_concave = False

    def given(self, parameters):
        found = type(self)()
        found._log_phi = parameters[0]
        return found

    def _shapes(self, eta):
        """mu, 1 - mu, and phi times both."""
        mu, nu, phi = tf.sigmoid(eta), tf.sigmoid(-eta), tf.exp(self._log_phi)
        return mu, nu, phi * mu, phi * nu

    def _log_shapes(self, eta):
        """Logs of both, where rounding has made one of them zero as well."""
        return (
            self._log_phi - tf.math.softplus(-eta),
            self._log_phi - tf.math.softplus(eta),
        )

    def _sums(self, y, trials, eta):
        """Derivatives in mu, times powers of mu (1 - mu)."""
        raise NotImplementedError

    def derivatives(self, y, trials, eta):
        mu, nu = tf.sigmoid(eta), tf.sigmoid(-eta)
        first, second, third = self._sums(y, trials, eta)
        turn = nu - mu
        weight = -turn * first - second
        slope = -(1.0 - 6.0 * mu * nu) * first - 3.0 * turn * second - third
        return first, weight, slope

    def majorant(self, y, trials, eta):
        return -self._sums(y, trials, eta)[1]


class Beta(_Shapes):
    """Shares between 0 and 1 with Var = mu (1 - mu) / (1 + phi)."""

    def log_density(self, y, trials, eta):
        _, _, a, b = self._shapes(eta)
        log_a, log_b = self._log_shapes(eta)
        found = a * tf.math.log(y) + b * tf.math.log1p(-y)
        return found + log_a + log_b - tf.math.lgamma(a + 1.0) - tf.math.lgamma(b + 1.0)

    def _sums(self, y, trials, eta):
        mu, nu, a, b = self._shapes(eta)
        logit = tf.math.log(y) - tf.math.log1p(-y)
        (a1, a2, a3), (b1, b2, b3) = scaled_polygammas(a), scaled_polygammas(b)
        return (
            a * nu * logit - nu * a1 + mu * b1,
            -(nu * nu) * a2 - mu * mu * b2,
            mu**3 * b3 - nu**3 * a3,
        )

    def constant(self, y, trials):
        phi = tf.exp(self._log_phi)
        return tf.math.lgamma(phi) - tf.math.log(y) - tf.math.log1p(-y)

    def start(self, y, trials):
        return tf.math.log(y) - tf.math.log1p(-y)


class BetaBinomial(_Shapes):
    """Successes among trials whose probability is a beta variable."""

    def log_density(self, y, trials, eta):
        _, _, a, b = self._shapes(eta)
        log_a, log_b = self._log_shapes(eta)
        return log_rising(a, y, log_a) + log_rising(b, trials - y, log_b)

    def _sums(self, y, trials, eta):
        mu, nu, a, b = self._shapes(eta)
        (a1, a2, a3), (b1, b2, b3) = scaled_steps(a, y), scaled_steps(b, trials - y)
        return (
            nu * a1 - mu * b1,
            nu * nu * a2 + mu * mu * b2,
            nu**3 * a3 - mu**3 * b3,
        )

    def constant(self, y, trials):
        return (
            tf.math.lgamma(trials + 1.0)
            - tf.math.lgamma(y + 1.0)
            - tf.math.lgamma(trials - y + 1.0)
            - _rising(tf.exp(self._log_phi), trials)
        )

    def start(self, y, trials):
        return tf.math.log((y + 0.5) / (trials - y + 0.5))
