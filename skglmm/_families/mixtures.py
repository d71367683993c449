"""Responses whose linear predictor is normal, by averages over it (numpy only).

The average of a smooth function of a normal variable is a sum over equidistant points:
the error of the trapezoidal rule is exponentially small. How near the points have to be
is told by the width of the function.
"""

import numpy as np
from scipy.special import ndtri

from skglmm._families.mixed_counts import Counts

# Standard deviations that a sum reaches, steps between points in widths of a function,
# and numbers of steps.
_REACH, _STEP = 8.5, 0.45
_NUMBERS = (1, 12, 24, 48, 96, 192, 384, 768, 1536, 3072)
_TURNS, _CLOSE = 100, 1e-11
_LEAST, _MOST = 1e-300, 1.0 - 2.0**-53


def average(function, eta, variance, width=1.0):
    """Means of functions of normal linear predictors.

    Parameters
    ----------
    function : callable
        Maps linear predictors (m,) and the places (m,) of their rows to an array
        (..., m).
    eta, variance : ndarray of shape (n,)
    width : float or ndarray of shape (n,)
        Distance over which the function changes by much.

    Returns
    -------
    mean : ndarray of shape (..., n)
    """
    eta, variance, width = np.broadcast_arrays(
        np.asarray(eta, dtype=float), variance, width
    )
    sd = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = 2.0 * _REACH * np.maximum(sd / (_STEP * width), 1.0 / 0.8)
    wanted = np.where(sd > 0.0, wanted, 1.0)
    tier = np.minimum(np.searchsorted(_NUMBERS, wanted), len(_NUMBERS) - 1)
    out = None
    for t in np.unique(tier):
        here = np.flatnonzero(tier == t)
        found = _summed(function, eta[here], sd[here], here, _NUMBERS[t])
        if out is None:
            out = np.empty((*found.shape[:-1], len(eta)))
        out[..., here] = found
    return np.empty(len(eta)) if out is None else out


def _summed(function, eta, sd, here, n):
    if n == 1:
        return np.asarray(function(eta, here), dtype=float)
    points = _REACH * np.linspace(-1.0, 1.0, n + 1)
    weight = np.exp(-0.5 * points**2)
    weight /= weight.sum()
    total = 0.0
    for x, w in zip(points, weight, strict=True):
        total = total + w * np.asarray(function(eta + x * sd, here), dtype=float)
    return total


def root(function, target, start, spread):
    """Where rising functions have a value, by secants of their normal scores.

    Parameters
    ----------
    function : callable
        Maps points (m,) and the places (m,) of their rows to probabilities (m,).
    target : float
    start, spread : ndarray of shape (n,)
        First guesses, and how far they may be off.

    Returns
    -------
    points : ndarray of shape (n,)
    """
    score = ndtri(target)

    def miss(at, rows):
        p = np.clip(function(at, rows), _LEAST, _MOST)
        return np.clip(ndtri(p) - score, -50.0, 50.0)

    everyone = np.arange(len(start))
    low, high = start - spread, start + spread
    of_low, of_high = miss(low, everyone), miss(high, everyone)
    for end, value, sign in ((low, of_low, 1.0), (high, of_high, -1.0)):
        step = spread.copy()
        for _ in range(_TURNS):
            rows = np.flatnonzero(sign * value > 0.0)
            if not len(rows):
                break
            step[rows] *= 2.0
            end[rows] -= sign * step[rows]
            value[rows] = miss(end[rows], rows)
    for turn in range(_TURNS):
        close = _CLOSE * np.maximum(1.0, np.abs(low))
        rows = np.flatnonzero(high - low > close)
        if not len(rows):
            break
        a, b, fa, fb = low[rows], high[rows], of_low[rows], of_high[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = -fa / (fb - fa)
        share = np.where(np.isfinite(share), share, 0.5)
        if turn % 3 == 2:
            share = np.full(len(rows), 0.5)
        inside = 1e-3 if turn % 3 else 1e-12
        at = a + np.clip(share, inside, 1.0 - inside) * (b - a)
        value = miss(at, rows)
        up = value > 0.0
        # the end that stays counts less, so that the next secant passes it
        low[rows], high[rows] = np.where(up, a, at), np.where(up, at, b)
        of_low[rows] = np.where(up, 0.5 * fa, value)
        of_high[rows] = np.where(up, value, 0.5 * fb)
        met = np.abs(value) < 1e-12
        low[rows[met]] = high[rows[met]] = at[met]
    return 0.5 * (low + high)


class AveragedCounts(Counts):
    """Counts of any family, as `mixed_counts.quantile` asks for them.

    Parameters
    ----------
    family : Family
        With a distribution function ``_upto(k, mu, size)``.
    size : ndarray of shape (n,) or None
        Numbers of trials, where there are any.
    """

    def __init__(self, family, size=None):
        self._family, self.n = family, size

    def rows(self, where):
        """The same for some of the rows."""
        size = None if self.n is None else self.n[where]
        return AveragedCounts(self._family, size)

    def information(self, eta):
        """Information of an observation on its linear predictor."""
        return 1.0 / self._family.width(eta, self.n) ** 2

    def distribution(self, k, eta, variance):
        """P(Y <= k)."""
        family, n = self._family, self.n

        def upto(at, rows):
            size = None if n is None else n[rows]
            return family._upto(k[rows], family.location(at), size)

        mu = (k + 0.7) / (1.0 if n is None else n + 1.0)
        width = family.least_width(mu, eta, variance, n)
        return np.clip(average(upto, eta, variance, width), 0.0, 1.0)

    def place(self, k):
        """Where k lies on the scale of the linear predictor, roughly."""
        if self.n is None:
            return self._family.predictor_of(k + 0.7)
        return self._family.predictor_of((k + 0.7) / (self.n + 1.0))

    def count(self, place):
        """Inverse of `place`, a real number."""
        scale = 1.0 if self.n is None else self.n + 1.0
        return scale * np.minimum(self._family.location(place), 1e300) - 0.7
