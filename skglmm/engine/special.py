"""Gamma functions and their derivatives from elementary operations.

They keep their digits where the argument vanishes or grows without end, have kernels
on every device, and can be differentiated again. Arguments are shifted upward by the
recurrence, and Stirling's series does the rest.
"""

import tensorflow as tf

from skglmm.engine.likelihoods import _rising

_SHIFT = 10
# Coefficients of x^-2, x^-4, ... in log(x) - 1 / (2 x) - psi(x).
_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
_LEAST = 1e-290


def scaled_polygammas(a):
    """a psi(a), a^2 psi'(a) and a^3 psi''(a), which are finite where a is zero."""
    first, second, third = (tf.zeros_like(a) for _ in range(3))
    for k in range(1, _SHIFT):
        part = a / (a + k)
        first -= part
        second += part * part
        third -= 2.0 * part**3
    x = a + _SHIFT
    r = 1.0 / x
    of_psi, of_slope, of_curvature = tf.math.log(x) - 0.5 * r, r, -r * r
    of_slope, of_curvature = of_slope + 0.5 * r * r, of_curvature - r**3
    for i, c in enumerate(_SERIES):
        p = 2 * (i + 1)
        power = r**p
        of_psi -= c * power
        of_slope += c * p * power * r
        of_curvature -= c * p * (p + 1) * power * r * r
    return (
        a * of_psi + first - 1.0,
        a * a * of_slope + second + 1.0,
        a**3 * of_curvature + third - 2.0,
    )


def scaled_steps(a, y):
    """a D, a^2 D' and a^3 D'' for D = psi(a + y) - psi(a) and y of at least zero.

    Every term is a difference that is taken before anything is rounded.
    """
    a = tf.maximum(a, _LEAST)
    first, second, third = (tf.zeros_like(a + y) for _ in range(3))
    for k in range(_SHIFT):
        u, v = a / (a + k), a / (a + y + k)
        share = y / (a + y + k)
        # 1/x - 1/(x+y) and so on, times powers of a
        d = u * share
        first += d
        second -= d * (u + v)
        third += 2.0 * d * (u * u + u * v + v * v)
    x = a + _SHIFT
    z = x + y
    r, s = 1.0 / x, 1.0 / z
    u, v, d = a * r, a * s, (y * s) * (a * r)
    # log(z / x) and its derivatives; d is a (1/x - 1/z)
    first += a * tf.math.log1p(y * r) + 0.5 * d
    second -= a * d + 0.5 * d * (u + v)
    third += a * d * (u + v) + d * (u * u + u * v + v * v)
    for i, c in enumerate(_SERIES):
        p = 2 * (i + 1)
        # differences of the powers p, p + 1 and p + 2 of r and s
        low = sum(r**j * s ** (p - 1 - j) for j in range(p)) * d
        middle = sum(r**j * s ** (p - j) for j in range(p + 1)) * d * a
        high = sum(r**j * s ** (p + 1 - j) for j in range(p + 2)) * d * a * a
        first += c * low
        second -= c * p * middle
        third += c * p * (p + 1) * high
    return first, second, third


def log_rising(a, y, log_a):
    """log(Gamma(a + y) / Gamma(a)) where rounding may have made a zero, but not log(a).

    Parameters
    ----------
    a, y, log_a : tensors that broadcast
        y of at least zero.
    """
    small = a < 0.1
    none = y <= 0.0
    near = tf.where(small, a, tf.ones_like(a)) + tf.zeros_like(y)
    some = tf.where(none, tf.ones_like(near), y + tf.zeros_like(near))
    low = log_a + tf.math.lgamma(near + some) - tf.math.lgamma(near + 1.0)
    low = tf.where(none, tf.zeros_like(low), low)
    far = tf.where(small, tf.ones_like(a), a)
    return tf.where(small, low, _rising(far, y))
