"""Counts and proportions whose linear predictor is normal (numpy and scipy only).

A linear predictor eta ~ N(m, v) makes the mean, the variance and the distribution
function of a response integrals over eta. P(Y <= k | eta) is P(T > eta) for a threshold
T, a log-gamma variable with Poisson counts and a logit-beta one with binomial ones, so
that

    P(Y <= k) = E_eta P(T > eta | eta) = E_T Phi((T - m) / sqrt(v)).

The first form is integrated where eta is the narrower of the two variables, by
Gauss-Hermite quadrature, and the second one elsewhere, by the trapezoidal rule, whose
error is exponentially small for analytic functions.
"""

import numpy as np
from scipy.special import betainc, expit, gammaincc, ndtr, ndtri, polygamma

# Standard deviations of eta, in those of the threshold, up to which so many nodes
# average the function between to 1e-8.
_NODES = ((0.0, 1), (0.05, 5), (0.2, 9), (0.7, 21), (1.05, 37))
_STEP = 0.42
_NEGLIGIBLE = 24.0  # minus the log of a density that is left out
_LOGISTIC = 0.75 * np.arange(-36, 37)
# Beyond, a count is a real number for all that its quantiles show.
_MANY = 1e12
_SECANTS = 12


def logistic_moments(eta, variance):
    """Means of p and of p (1 - p) for p = 1 / (1 + exp(-eta)).

    Parameters
    ----------
    eta, variance : ndarray of shape (n,)
        Mean and variance of the linear predictor.

    Returns
    -------
    mean, inner : ndarray of shape (n,)
        Absolute errors are below 1e-8; that of `mean` or ``1 - mean`` is small beside
        the smaller of the two as well.
    spread : ndarray of shape (n,)
        Variance of p, without cancellation where `variance` is small.
    """
    eta, variance = np.broadcast_arrays(np.asarray(eta, dtype=float), variance)
    mean, inner, spread = (np.empty(eta.shape) for _ in range(3))
    low = -np.inf
    for ratio, n in _NODES:
        high = 2.0 * ratio**2
        here = (variance > low) & (variance <= high)
        if np.any(here):
            mean[here], inner[here], spread[here] = _hermite_moments(
                eta[here], np.sqrt(variance[here]), n
            )
        low = high
    wide = variance > low
    if np.any(wide):
        mean[wide], inner[wide], spread[wide] = _logistic_sums(
            eta[wide], variance[wide]
        )
    return mean, inner, spread


def _hermite_moments(eta, sd, n):
    x, w = _hermite(n)
    centre = expit(eta)
    first, second = np.zeros_like(eta), np.zeros_like(eta)
    for point, weight in zip(x, w, strict=True):
        off = expit(eta + sd * point) - centre
        first += weight * off
        off *= off
        second += weight * off
    mean, spread = centre + first, np.maximum(second - first**2, 0.0)
    return mean, mean * (1.0 - mean) - spread, spread


def _logistic_sums(eta, variance):
    """The same by the trapezoidal rule over a logistic variable L: p = P(L < eta).

    Small means are e^(m + v / 2) times those of 1 - p at m + v, by a change of
    measure, and so keep their digits.
    """
    weight = expit(_LOGISTIC) * expit(-_LOGISTIC)
    weight /= weight.sum()
    below = -np.abs(eta)
    tilted = below < -0.5 * variance
    centre = np.where(tilted, below + variance, below)
    scale = 1.0 / np.sqrt(variance)
    mean, inner = np.zeros_like(eta), np.zeros_like(eta)
    for point, w in zip(_LOGISTIC, weight, strict=True):
        z = (centre + point) * scale
        mean += w * ndtr(z)
        z *= z
        inner += w * np.exp(-0.5 * z)
    # the weights add up to one in place of the steps' inverse
    inner *= scale / np.sqrt(2.0 * np.pi)
    factor = np.exp(np.where(tilted, below + 0.5 * variance, 0.0))
    inner = factor * np.where(tilted, 1.0 - mean - inner, inner)
    mean = factor * np.where(tilted, 1.0 - mean, mean)
    inner = np.clip(inner, 0.0, mean)
    spread = np.maximum(mean * (1.0 - mean) - inner, 0.0)
    return np.where(eta > 0, 1.0 - mean, mean), inner, spread


class Counts:
    """Poisson counts: thresholds of k are logs of gamma variables of shape k + 1."""

    # variance that the log of a large count has beside that of eta
    n, excess = None, 0.0

    def rows(self, where):
        """The same for some of the rows."""
        return self

    def information(self, eta):
        """Information of an observation on its linear predictor."""
        return np.exp(np.minimum(eta, 700.0))

    def above(self, k, eta):
        """P(Y <= k | eta)."""
        return gammaincc(k + 1.0, np.exp(np.minimum(eta, 700.0)))

    def mode(self, k):
        """Mode of the threshold, its curvature and the decay of its tails."""
        shape = k + 1.0
        return np.log(shape), shape, shape, np.inf

    def log_density(self, k, x):
        """Log density of the threshold at a distance x from its mode, less that there.

        It is a (x - e^x + 1) for the shape a.
        """
        return (k + 1.0) * (x - np.expm1(x))

    def distribution(self, k, eta, variance):
        """P(Y <= k); see the function of this name."""
        return distribution(self, k, eta, variance)

    def place(self, k):
        """Where k lies on the scale of the linear predictor, roughly."""
        return np.log(k + 0.7)

    def count(self, place):
        """Inverse of `place`, a real number."""
        return np.exp(np.minimum(place, 700.0)) - 0.7


class NegativeCounts(Counts):
    """Counts whose rate is a gamma variable of mean 1: thresholds are of logit-betas.

    P(Y <= k | eta) = P(B < expit(log(size) - eta)) for B of the shapes size and k + 1.
    """

    def __init__(self, size):
        self._size, self.excess = size, polygamma(1, size)

    def information(self, eta):
        """Information of an observation on its linear predictor."""
        return self._size * expit(eta - np.log(self._size))

    def above(self, k, eta):
        """P(Y <= k | eta)."""
        return betainc(self._size, k + 1.0, expit(np.log(self._size) - eta))

    def mode(self, k):
        """Mode of the threshold, its curvature and the decay of its tails."""
        a, b = k + 1.0, np.full(np.shape(k), self._size)
        return np.log(a), a * b / (a + b), a, b

    def log_density(self, k, x):
        """Log density of the threshold at a distance x from its mode, less that there.

        As of `Successes`, for the shapes k + 1 and size.
        """
        a, both = k + 1.0, k + 1.0 + self._size
        return a * x - both * np.log1p(a / both * np.expm1(x))


class Successes:
    """Binomial counts among n trials: thresholds are logits of beta variables."""

    excess = 0.0

    def __init__(self, n):
        self.n = n

    def rows(self, where):
        """The same for some of the rows."""
        return Successes(self.n[where])

    def information(self, eta):
        """Information of an observation on its linear predictor."""
        return self.n * expit(eta) * expit(-eta)

    def above(self, k, eta):
        """P(Y <= k | eta), for k < n."""
        return betainc(self.n - k, k + 1.0, expit(-eta))

    def mode(self, k):
        """Mode of the threshold, its curvature and the decay of its tails."""
        a, b = k + 1.0, self.n - k
        return np.log(a / b), a * b / (a + b), a, b

    def log_density(self, k, x):
        """Log density of the threshold at a distance x from its mode, less that there.

        It is a x - (a + b) log(1 + (e^x - 1) a / (a + b)) for the shapes a and b.
        """
        a, both = k + 1.0, self.n + 1.0
        return a * x - both * np.log1p(a / both * np.expm1(x))

    def distribution(self, k, eta, variance):
        """P(Y <= k); see the function of this name."""
        return distribution(self, k, eta, variance)

    def place(self, k):
        """Where k lies on the scale of the linear predictor, roughly."""
        return np.log((k + 0.7) / (self.n - k + 0.3))

    def count(self, place):
        """Inverse of `place`, a real number."""
        return (self.n + 1.0) * expit(place) - 0.7


def distribution(kind, k, eta, variance):
    """P(Y <= k).

    Parameters
    ----------
    kind : Counts, NegativeCounts or Successes
    k : ndarray of shape (n,), of whole numbers
        At least zero, and below the number of trials.
    eta, variance : ndarray of shape (n,)
        Mean and variance of the linear predictor.

    Returns
    -------
    probability : ndarray of shape (n,)
        With an absolute error of about 1e-8.
    """
    sd = np.sqrt(variance)
    centre, curvature, left, right = kind.mode(k)
    ratio = sd * np.sqrt(curvature)
    out, low = np.empty(len(k)), -np.inf
    for high, n in _NODES:
        here = np.flatnonzero((ratio > low) & (ratio <= high))
        if len(here):
            x, w = _hermite(n)
            part, of_k, total = kind.rows(here), k[here], np.zeros(len(here))
            for point, weight in zip(x, w, strict=True):
                total += weight * part.above(of_k, eta[here] + sd[here] * point)
            out[here] = total
        low = high
    # a tail is normal near the mode and exponential far from it
    normal = np.sqrt(2.0 * _NEGLIGIBLE / curvature)
    begin, end = normal + _NEGLIGIBLE / left, normal + _NEGLIGIBLE / right
    n_steps = np.ceil((begin + end) * np.sqrt(curvature) / (16 * _STEP))
    wide = ratio > low
    for n in np.unique(n_steps[wide]):
        here = np.flatnonzero(wide & (n_steps == n))
        part, of_k = kind.rows(here), k[here]
        step = (begin + end)[here] / (16 * n)
        total, mass = np.zeros(len(here)), np.zeros(len(here))
        for i in range(int(16 * n) + 1):
            x = i * step - begin[here]
            density = np.exp(part.log_density(of_k, x))
            mass += density
            total += density * ndtr((centre[here] + x - eta[here]) / sd[here])
        out[here] = total / mass
    return np.clip(out, 0.0, 1.0)


def probabilities(kind, y, eta, variance):
    """P(Y < y) and P(Y <= y).

    Parameters
    ----------
    kind : Counts or Successes
        Or one of their kind, such as `mixtures.AveragedCounts`.
    y : ndarray of shape (n,)
        At least zero, and at most the number of trials.
    eta, variance : ndarray of shape (n,)
        Mean and variance of the linear predictor.

    Returns
    -------
    below, upto : ndarray of shape (n,)
        Equal where y is no whole number.
    """

    def at(k):
        out = np.where(k < 0.0, 0.0, 1.0)
        inside = k >= 0.0
        if kind.n is not None:
            inside &= k < kind.n
        here = np.flatnonzero(inside)
        if len(here):
            part = kind.rows(here)
            out[here] = part.distribution(k[here], eta[here], variance[here])
        return out

    return at(np.ceil(y) - 1.0), at(np.floor(y))


def quantile(kind, probability, eta, variance):
    """Smallest k with P(Y <= k) >= probability.

    A search on the whole numbers, by secants of the normal score of P(Y <= k) over
    the linear predictor that k would be the mean of, and by halving where those do
    not end.

    Parameters
    ----------
    kind : Counts or Successes
        Or one of their kind, such as `mixtures.AveragedCounts`.
    probability : float
        Between 0 and 1.
    eta, variance : ndarray of shape (n,)
        Mean and variance of the linear predictor.

    Returns
    -------
    k : ndarray of shape (n,)
        Real numbers in place of whole ones beyond 1e12.
    """
    score = ndtri(probability)
    spread = np.sqrt(variance + 1.0 / (kind.information(eta) + 1.0))
    place = eta + score * spread
    low, high = np.full(len(eta), -1.0), np.full(len(eta), np.inf)
    many = np.zeros(len(eta), dtype=bool)
    if kind.n is None:
        many = kind.count(place) > _MANY
    else:
        high[:] = kind.n
    rows, before = np.flatnonzero(~many), None
    for i in range(200):
        rows = rows[high[rows] - low[rows] > 1.0]
        if not len(rows):
            break
        part = kind.rows(rows)
        k = np.rint(part.count(place[rows]))
        if i >= _SECANTS:
            k = np.where(
                np.isinf(high[rows]),
                2.0 * low[rows] + 2.0,
                np.floor(0.5 * (low[rows] + high[rows])),
            )
        k = np.clip(k, low[rows] + 1.0, high[rows] - 1.0)
        p = part.distribution(k, eta[rows], variance[rows])
        enough = p >= probability
        high[rows[enough]] = k[enough]
        low[rows[~enough]] = k[~enough]
        found = np.full((2, len(eta)), np.nan)
        found[:, rows] = part.place(k), ndtri(np.clip(p, 1e-9, 1.0 - 1e-9))
        if before is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                slope = (found[0] - before[0]) / (found[1] - before[1])
            better = np.isfinite(slope) & (slope > 0)
            spread = np.where(better, slope, spread)
        place[rows] = (found[0] + (score - found[1]) * spread)[rows]
        before = found
    with np.errstate(over="ignore"):
        spread = np.sqrt(variance[many] + kind.excess)
        high[many] = np.exp(eta[many] + score * spread)
    return high


def _hermite(n):
    """Nodes and weights for means over a standard normal variable."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    return x, w / w.sum()
