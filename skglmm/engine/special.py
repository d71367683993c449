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
    part = a[..., None] / (a[..., None] + tf.range(1.0, _SHIFT, dtype=a.dtype))
    square = part * part
    first, second, third = (
        tf.reduce_sum(term, -1) for term in (part, square, square * part)
    )
    x = a + _SHIFT
    r = 1.0 / x
    r2 = r * r
    of_psi, of_slope, of_curvature = (tf.zeros_like(r) for _ in range(3))
    for i in reversed(range(len(_SERIES))):
        c, p = _SERIES[i], 2.0 * (i + 1)
        of_psi = r2 * (of_psi + c)
        of_slope = r2 * (of_slope + c * p)
        of_curvature = r2 * (of_curvature + c * p * (p + 1.0))
    of_psi = tf.math.log(x) - 0.5 * r - of_psi
    of_slope = r * (1.0 + 0.5 * r + of_slope)
    of_curvature = -r2 * (1.0 + r + of_curvature)
    return (
        a * of_psi - first - 1.0,
        a * a * of_slope + second + 1.0,
        a * a * a * of_curvature - 2.0 * third - 2.0,
    )


def scaled_steps(a, y):
    """a D, a^2 D' and a^3 D'' for D = psi(a + y) - psi(a) and y of at least zero.

    Every term is a difference that is taken before anything is rounded.
    """
    a = tf.maximum(a, _LEAST)
    y = y + tf.zeros_like(a)
    shifts = tf.range(0.0, _SHIFT, dtype=a.dtype)
    behind = 1.0 / (a[..., None] + y[..., None] + shifts)
    u, v = a[..., None] / (a[..., None] + shifts), a[..., None] * behind
    d = u * (y[..., None] * behind)
    first, second, third = (
        tf.reduce_sum(term, -1) for term in (d, d * (u + v), d * (u * (u + v) + v * v))
    )
    r, s = 1.0 / (a + _SHIFT), 1.0 / (a + _SHIFT + y)
    u, v, d = a * r, a * s, (y * s) * (a * r)
    # log(z / x) of the shifted arguments, and its derivatives; d is a (1/x - 1/z)
    both = u + v
    first += a * tf.math.log1p(y * r) + 0.5 * d
    second = -second - d * (a + 0.5 * both)
    third = 2.0 * third + d * (a * both + u * both + v * v)
    # (r^m - s^m) / (r - s) for m = 1, 2, ..., of which the series has three each
    power, sums = tf.ones_like(r), [tf.ones_like(r)]
    for _ in range(2 * len(_SERIES) + 1):
        power = power * r
        sums.append(s * sums[-1] + power)
    for i, c in enumerate(_SERIES):
        p = 2 * (i + 1)
        first += c * d * sums[p - 1]
        second -= c * p * (d * a) * sums[p]
        third += c * p * (p + 1) * (d * a * a) * sums[p + 1]
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
