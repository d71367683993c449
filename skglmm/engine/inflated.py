"""Counts with more, or other, zeros than a distribution has.

The last parameter is the logit of a probability: of a zero that is none of the
distribution's (inflated), or of a zero (hurdle).
"""

import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood

_LEAST = 1e-300


class Inflated(Likelihood):
    """A mixture of a distribution of counts and zero.

    Parameters
    ----------
    base : Likelihood
    """

    is_concave = False

    def __init__(self, base):
        self._base = base

    def given(self, parameters):
        found = type(self)(self._base.given(parameters[:-1]))
        found._logit = parameters[-1]
        return found

    def _of_zero(self, y, trials, eta):
        """log P(0) of the distribution, and three derivatives."""
        none = tf.zeros_like(y)
        score, weight, slope = self._base.derivatives(none, trials, eta)
        density = self._base.log_density(none, trials, eta)
        density += self._base.constant(none, trials)
        return density, score, -weight, -slope

    def log_density(self, y, trials, eta):
        of_zero = self._of_zero(y, trials, eta)[0]
        mixed = tf.math.softplus(of_zero - self._logit)
        mixed -= tf.math.softplus(-self._logit)
        return tf.where(y > 0.0, self._base.log_density(y, trials, eta), mixed)

    def derivatives(self, y, trials, eta):
        g, g1, g2, g3 = self._of_zero(y, trials, eta)
        share, rest = tf.sigmoid(g - self._logit), tf.sigmoid(self._logit - g)
        both = share * rest
        mixed = (
            share * g1,
            -share * g2 - both * g1 * g1,
            -share * g3 - both * g1 * (3.0 * g2 + (rest - share) * g1 * g1),
        )
        found = self._base.derivatives(y, trials, eta)
        return tuple(tf.where(y > 0.0, a, b) for a, b in zip(found, mixed, strict=True))

    def majorant(self, y, trials, eta):
        """That of the base, times the probability that a zero is one of its own."""
        found = self._base.majorant(y, trials, eta)
        share = tf.sigmoid(self._of_zero(y, trials, eta)[0] - self._logit)
        return tf.where(y > 0.0, found, share * found)

    def constant(self, y, trials):
        found = self._base.constant(y, trials) - tf.math.softplus(self._logit)
        return tf.where(y > 0.0, found, tf.zeros_like(found))

    def start(self, y, trials):
        return self._base.start(y, trials)


class Hurdle(Inflated):
    """Zeros, and counts of a distribution that has none."""

    def _of_counts(self, y, trials, eta):
        """log P(0), bounded away from zero, its derivatives, and P(0) / (1 - P(0))."""
        g, *rest = self._of_zero(y, trials, eta)
        g = tf.minimum(g, -_LEAST)
        return g, *rest, 1.0 / tf.math.expm1(-g)

    def log_density(self, y, trials, eta):
        g = self._of_counts(y, trials, eta)[0]
        found = self._base.log_density(y, trials, eta) - _log_rest(g)
        return tf.where(y > 0.0, found, tf.zeros_like(found))

    def derivatives(self, y, trials, eta):
        _, g1, g2, g3, odds = self._of_counts(y, trials, eta)
        score, weight, slope = self._base.derivatives(y, trials, eta)
        first, second = odds * g1, (1.0 + odds) * g1
        third = (1.0 + 2.0 * odds) * g1
        found = (
            score + first,
            weight - odds * g2 - first * second,
            slope
            - odds * g3
            - 3.0 * first * (1.0 + odds) * g2
            - first * second * third,
        )
        return tuple(tf.where(y > 0.0, a, tf.zeros_like(a)) for a in found)

    def majorant(self, y, trials, eta):
        found = self._base.majorant(y, trials, eta)
        return tf.where(y > 0.0, found, tf.zeros_like(found))

    def constant(self, y, trials):
        found = self._base.constant(y, trials) - tf.math.softplus(self._logit)
        zero = -tf.math.softplus(-self._logit) + tf.zeros_like(found)
        return tf.where(y > 0.0, found, zero)


def _log_rest(g):
    """log(1 - exp(g))."""
    near = g > -0.6931
    some = tf.where(near, g, -tf.ones_like(g))
    other = tf.where(near, -tf.ones_like(g), g)
    by_difference = tf.math.log(-tf.math.expm1(some))
    return tf.where(near, by_difference, tf.math.log1p(-tf.exp(other)))
