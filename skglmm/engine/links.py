"""Links: the coordinate of a distribution as a function of the linear predictor.

A likelihood knows its derivatives in a coordinate of its own: the log of a mean that is
positive, the logit of a probability, the mean itself of a real response. A link says
how the coordinate follows from the linear predictor, with three derivatives.
"""

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood

_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
# Below, the asymptotic series of Mills' ratio has all digits.
_FAR = -14.0
_LEAST = 1e-300


def _reciprocal(eta):
    """-log(eta): the log of a mean that is 1 / eta."""
    r = 1.0 / eta
    return -tf.math.log(eta), -r, r * r, -2.0 * r**3


def _log(eta):
    """log(eta): the log of a mean that is eta."""
    r = 1.0 / eta
    return tf.math.log(eta), r, -r * r, 2.0 * r**3


def _exp(eta):
    """exp(eta): a mean."""
    e = tf.exp(eta)
    return e, e, e, e


def _inverse(eta):
    """1 / eta: a mean."""
    r = 1.0 / eta
    return r, -r * r, 2.0 * r**3, -6.0 * r**4


def _log_ndtr(x):
    """log Phi(x), m = phi(x) / Phi(x) and x + m, with all digits in the lower tail."""
    near = tf.maximum(x, _FAR)
    upper = 0.5 * tf.math.erfc(near * (-np.sqrt(0.5)))
    log_near = tf.where(
        x > 1.0,
        tf.math.log1p(-0.5 * tf.math.erfc(tf.maximum(x, 1.0) * np.sqrt(0.5))),
        tf.math.log(upper),
    )
    ratio_near = tf.exp(-0.5 * near * near - _HALF_LOG_2PI) / upper
    far = tf.minimum(x, _FAR)
    t = 1.0 / (far * far)
    rest = tf.ones_like(t)
    for k in range(27, 1, -2):
        rest = 1.0 - k * t * rest
    series = 1.0 - t * rest
    log_far = -0.5 * far * far - _HALF_LOG_2PI - tf.math.log(-far)
    log_far += tf.math.log(series)
    is_near = x > _FAR
    return (
        tf.where(is_near, log_near, log_far),
        tf.where(is_near, ratio_near, -far / series),
        tf.where(is_near, x + ratio_near, -rest / (far * series)),
    )


def _probit(eta):
    """The logit of Phi(eta)."""
    low, m, left = _log_ndtr(eta)
    high, n, right = _log_ndtr(-eta)
    # derivatives of the two ratios: m' = -m (eta + m), n' = n (n - eta)
    m1, n1 = -m * left, n * right
    m2 = -m1 * left - m * (1.0 + m1)
    n2 = n1 * right + n * (n1 - 1.0)
    return low - high, m + n, m1 + n1, m2 + n2


def _cloglog(eta):
    """The logit of 1 - exp(-exp(eta)): log(exp(u) - 1) for u = exp(eta)."""
    u = tf.exp(eta)
    small = u < 1e-4
    some = tf.where(small, tf.ones_like(u), u)
    p = -tf.math.expm1(-some)
    # v = u / (1 - exp(-u)) is the slope; it is 1 + u / 2 + u^2 / 12 where u vanishes
    v = tf.where(small, 1.0 + u * (0.5 + u / 12.0), some / p)
    coordinate = tf.where(small, eta + u * (0.5 + u / 24.0), some + tf.math.log(p))
    q = tf.exp(-some) / p
    # v' = v (1 - u q), with u q = v - u
    rest = tf.where(small, 1.0 - u * (0.5 - u / 12.0), some * q)
    first = tf.where(small, u * (0.5 + u / 6.0), v * (1.0 - rest))
    # rest' = rest (1 - v)
    turn = tf.where(small, -u * (0.5 - u / 6.0), rest * (1.0 - v))
    second = tf.where(small, u * (0.5 + u / 3.0), first * (1.0 - rest) - v * turn)
    return coordinate, v, first, second


# Coordinates by what they are, and by link: without an entry the link is that of the
# coordinate itself.
LINKS = {
    "log": {"identity": _log, "inverse": _reciprocal},
    "logit": {"probit": _probit, "cloglog": _cloglog},
    "identity": {"log": _exp, "inverse": _inverse},
}


def _start_probit(c):
    return tf.math.ndtri(tf.clip_by_value(tf.sigmoid(c), 1e-10, 1.0 - 1e-10))


# Linear predictors that a coordinate suggests.
STARTS = {
    ("log", "identity"): tf.exp,
    ("log", "inverse"): lambda c: tf.exp(-c),
    ("logit", "probit"): _start_probit,
    ("logit", "cloglog"): lambda c: tf.math.log(tf.math.softplus(c)),
    ("identity", "log"): lambda c: tf.math.log(tf.maximum(c, 1e-3)),
    ("identity", "inverse"): lambda c: tf.sign(c) / tf.maximum(tf.abs(c), 1e-3),
}


class Linked(Likelihood):
    """A likelihood of another link than the one of its coordinate.

    Parameters
    ----------
    base : Likelihood
    coordinate, link : str
        Keys of `LINKS`.
    is_concave : bool
        Whether the log-density is concave in the linear predictor.
    """

    def __init__(self, base, coordinate, link, is_concave):
        self._base, self._names = base, (coordinate, link)
        self.is_concave = is_concave

    @property
    def _link(self):
        coordinate, link = self._names
        return LINKS[coordinate][link]

    def given(self, parameters):
        """The same with a base at parameters of its own."""
        return Linked(self._base.given(parameters), *self._names, self.is_concave)

    def log_density(self, y, trials, eta):
        return self._base.log_density(y, trials, self._link(eta)[0])

    def derivatives(self, y, trials, eta):
        c, first, second, third = self._link(eta)
        score, weight, slope = self._base.derivatives(y, trials, c)
        return (
            score * first,
            weight * first * first - score * second,
            slope * first**3 + 3.0 * weight * first * second - score * third,
        )

    def majorant(self, y, trials, eta):
        c, first, *_ = self._link(eta)
        return self._base.majorant(y, trials, c) * first * first

    def constant(self, y, trials):
        return self._base.constant(y, trials)

    def start(self, y, trials):
        return STARTS[self._names](self._base.start(y, trials))
