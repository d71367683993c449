"""Log-likelihoods of ordered classes: P(y <= k) = F(c_k - eta).

The first threshold c_0 is zero, which fixes the intercept; the parameters are the
logarithms of the gaps between the others. A row is in its class where a latent variable
lies between two thresholds u and l, less eta: log(F(u) - F(l)), which is never computed
as a difference.
"""

import copy

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood, _mean

# Place of a threshold that is not there.
_FAR = 1e10
_LOG_ROOT = 0.5 * np.log(2.0 * np.pi)
# Gaps, and their products with the place, below which normal thresholds are close, and
# nodes and weights between -1/2 and 1/2.
_CLOSE = 0.6
_POINTS, _WEIGHTS = (0.5 * part for part in np.polynomial.legendre.leggauss(6))


class Ordered(Likelihood):
    """Base of the links.

    Parameters
    ----------
    n_classes : int
        Responses are 0 to n_classes - 1.
    """

    def __init__(self, n_classes):
        self._n_classes, self._log_gaps = n_classes, ()

    def given(self, parameters):
        found = copy.copy(self)
        found._log_gaps = tuple(parameters)
        return found

    def _limits(self, y):
        """Thresholds above and below each row's class, and the gap between them."""
        one, zero = tf.ones_like(y), tf.zeros_like(y)
        upper, lower, gap = zero, zero, zero
        for k, log_gap in enumerate(self._log_gaps, 1):
            width = tf.exp(log_gap)
            upper += tf.where(y >= k, one, zero) * width
            lower += tf.where(y >= k + 1, one, zero) * width
            gap += tf.where(tf.equal(y, k), one, zero) * width
        first, last = y < 0.5, y > self._n_classes - 1.5
        far = _FAR * one
        return (
            tf.where(last, far, upper),
            tf.where(first, -far, lower),
            tf.where(first | last, far, gap),
        )

    def _terms(self, limits, eta):
        """l, l', -l'' and -l''' between limits; without what `constant` has."""
        raise NotImplementedError

    def _density(self, limits, eta):
        """The first of them alone."""
        return self._terms(limits, eta)[0]

    def log_density(self, y, trials, eta):
        return self._density(self._limits(y), eta)

    def derivatives(self, y, trials, eta):
        return self._terms(self._limits(y), eta)[1:]

    def density_and_derivatives(self, y, trials, eta):
        return self._terms(self._limits(y), eta)[:3]

    def expected(self, y, trials, mean, variance, nodes):
        limits = self._limits(y)
        return _mean(lambda eta: self._terms(limits, eta)[:3], mean, variance, nodes)

    def constant(self, y, trials):
        return tf.zeros_like(y)

    def start(self, y, trials):
        upper, lower, gap = self._limits(y)
        away = tf.minimum(0.5 * gap, 1.0)
        return tf.where(upper < _FAR, upper - away, lower + away)


class Logit(Ordered):
    """F(x) = 1 / (1 + exp(-x)).

    F(u) - F(l) = F(u) F(-l) (1 - exp(l - u)): two binary responses, and a factor that
    eta does not enter.
    """

    def _terms(self, limits, eta):
        upper, lower, _ = limits
        above, below = upper - eta, eta - lower
        density = -tf.math.softplus(-above) - tf.math.softplus(-below)
        p, q = tf.sigmoid(-above), tf.sigmoid(-below)
        first, second = p * tf.sigmoid(above), q * tf.sigmoid(below)
        third = first * (1.0 - 2.0 * p) - second * (1.0 - 2.0 * q)
        return density, q - p, first + second, third

    def constant(self, y, trials):
        return tf.math.log(-tf.math.expm1(-self._limits(y)[2]))


class Cloglog(Ordered):
    """F(x) = 1 - exp(-exp(x)).

    log(F(u) - F(l)) = -A + log(1 - exp(-h)), A = exp(l), h = exp(u) - exp(l). With
    r = h / (exp(h) - 1), the derivatives follow from dh/deta = -h and
    h dr/dh = -r (h + r - 1).
    """

    def _terms(self, limits, eta):
        upper, lower, gap = limits
        below = tf.exp(tf.minimum(lower - eta, 700.0))
        log_h = upper - eta + tf.math.log(-tf.math.expm1(-gap))
        small = log_h < -30.0
        some = tf.exp(tf.clip_by_value(log_h, -30.0, 6.0))
        density = tf.where(small, log_h, tf.math.log(-tf.math.expm1(-some))) - below
        h = tf.exp(tf.clip_by_value(log_h, -600.0, 6.0))
        r = h / tf.math.expm1(h)
        # h + r - 1, by its series where it is small
        few = tf.minimum(h, 0.1)
        square = few * few
        tail = square * (1.0 / 30240.0 - square / 1209600.0)
        series = few * 0.5 + square * (1.0 / 12.0 + square * (-1.0 / 720.0 + tail))
        excess = tf.where(h < 0.1, series, h + r - 1.0)
        of_r = r * excess
        third = of_r * excess - r * (h - of_r) - below
        return density, below - r, below + of_r, third


class Probit(Ordered):
    """The standard normal distribution function.

    Derivatives are cumulants of a normal variable between the thresholds: l' its mean,
    -l'' one less its variance, -l''' minus its third cumulant. Between thresholds that
    are close they are sums over nodes; elsewhere the two tails differ enough.
    """

    @staticmethod
    def _apart_or_close(limits, eta):
        """Which rows have close thresholds, and what both ways take of all rows."""
        upper, lower, gap = limits
        u, low = upper - eta, lower - eta
        middle = u - 0.5 * gap
        narrow = (gap < _CLOSE) & (tf.abs(middle * gap) < _CLOSE)
        half, zero = 0.5 * tf.ones_like(u), tf.zeros_like(u)
        close = tf.where(narrow, middle, zero), tf.where(narrow, gap, _CLOSE * half)
        apart = tf.where(narrow, half, u), tf.where(narrow, -half, low)
        return narrow, close, apart

    def _density(self, limits, eta):
        narrow, (middle, gap), (u, low) = self._apart_or_close(limits, eta)
        return tf.where(
            narrow,
            _log_close(middle, gap, tf.reduce_sum(_masses(middle, gap), -1)),
            _log_apart(*map(_log_tail, _nearer(u, low)[1:])),
        )

    def _terms(self, limits, eta):
        narrow, close, apart = self._apart_or_close(limits, eta)
        pairs = zip(_between_close(*close), _between_apart(*apart), strict=True)
        return tuple(tf.where(narrow, a, b) for a, b in pairs)


def _masses(middle, gap):
    """Parts (..., K) of the density around `middle`, which is left out, at nodes."""
    step = _POINTS * gap[..., None]
    return _WEIGHTS * tf.exp(-step * (middle[..., None] + 0.5 * step))


def _log_close(middle, gap, total):
    return tf.math.log(gap * total) - 0.5 * middle * middle - _LOG_ROOT


def _between_close(middle, gap):
    """Terms for thresholds around `middle`, by Gauss-Legendre nodes between them."""
    masses = _masses(middle, gap)
    total = tf.reduce_sum(masses, -1)
    shares = masses / total[..., None]
    mean = tf.reduce_sum(shares * _POINTS, -1)
    away = _POINTS - mean[..., None]
    square = shares * away * away
    second, third = tf.reduce_sum(square, -1), tf.reduce_sum(square * away, -1)
    weight = 1.0 - gap * gap * second
    density = _log_close(middle, gap, total)
    return density, middle + gap * mean, weight, -gap * gap * gap * third


def _nearer(u, low):
    """Whether the upper tail is the nearer one, and thresholds as seen from there."""
    turned = u + low > 0.0
    return turned, tf.where(turned, -low, u), tf.where(turned, -u, low)


def _log_apart(log_u, log_low):
    return log_u + tf.math.log(-tf.math.expm1(log_low - log_u))


def _between_apart(u, low):
    """Terms for thresholds whose tails differ."""
    turned, u, low = _nearer(u, low)
    sign = tf.where(turned, -tf.ones_like(u), tf.ones_like(u))
    log_u, log_low = _log_tail(u), _log_tail(low)
    (ratio_u, rest), (ratio_low, _) = _ratio(u), _ratio(low)
    apart = log_u - log_low
    odds = tf.exp(-apart) / -tf.math.expm1(-apart)
    of_u, of_low = ratio_u * (1.0 + odds), ratio_low * odds
    score, step = of_low - of_u, ratio_u - ratio_low
    weight = (
        ratio_u * rest
        + odds * (ratio_u * u - ratio_low * low + 2.0 * ratio_u * step)
        + (odds * step) ** 2
    )
    third = (
        score
        + u * of_u * (u - score)
        - low * of_low * (low - score)
        - 2.0 * score * weight
    )
    return _log_apart(log_u, log_low), sign * score, weight, sign * third


def _split(x):
    """Where the tail is far, and x there and elsewhere."""
    far = x < -20.0
    return far, tf.where(far, x, -30.0 * tf.ones_like(x)), tf.where(far, 0.0 * x, x)


def _lost(x):
    """1 + x P / p far in the tail of the normal distribution function P."""
    t = 1.0 / (x * x)
    lost = tf.ones_like(t)
    for odd in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        lost = 1.0 - odd * t * lost
    return t * lost


@tf.custom_gradient
def _log_tail(x):
    """log P."""
    far, there, near = _split(x)
    log_far = tf.math.log((_lost(there) - 1.0) / there) - 0.5 * there * there
    log_near = tf.math.log(0.5 * tf.math.erfc(near * -np.sqrt(0.5)))
    value = tf.where(far, log_far - _LOG_ROOT, log_near)
    return value, lambda change: change * _ratio(x)[0]


@tf.custom_gradient
def _ratio(x):
    """M = p / P and x + M."""
    far, there, near = _split(x)
    lost = _lost(there)
    probability = 0.5 * tf.math.erfc(near * -np.sqrt(0.5))
    ratio = tf.exp(-0.5 * near * near - _LOG_ROOT) / probability
    share = -there / (1.0 - lost)
    ratio, rest = tf.where(far, share, ratio), tf.where(far, share * lost, near + ratio)

    def slope(of_ratio, of_rest):
        down = ratio * rest
        return of_rest * (1.0 - down) - of_ratio * down

    return (ratio, rest), slope


LINKS = {"logit": Logit, "probit": Probit, "cloglog": Cloglog}
