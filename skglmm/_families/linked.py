"""Families that are a distribution and a link (numpy and scipy only).

What their linear predictor makes of means, variances and distribution functions is
averaged by sums (`mixtures`), unless it has a closed form.
"""

import numpy as np
from scipy.special import expit, log_expit, logit, ndtr, ndtri

from skglmm._families.base import Family, between
from skglmm._families.links import link_of
from skglmm._families.mixed_counts import logistic_moments, probabilities, quantile
from skglmm._families.mixtures import AveragedCounts, average, root

_LEAST, _MOST = 1e-300, 1.0 - 2.0**-53
_GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)


class MeanFamily(Family):
    """Base: a distribution of a mean, or location, that a link makes of a predictor.

    Methods with an underscore take means `mu` that broadcast with the responses.

    Parameters
    ----------
    link : str, default=None
        One of `links`; None is the first of them.

    Attributes
    ----------
    links : tuple of str
        Links that make sense. The first is that of the likelihood's own coordinate.
    concave : tuple of str
        Those of the others with which the log-density is concave.
    """

    links: tuple[str, ...] = ("log", "identity", "inverse")
    concave: tuple[str, ...] = ()

    def __init__(self, link=None):
        self.link = self.links[0] if link is None else link
        self._link = link_of(self.link, self.links[0] == "log")

    @property
    def is_everywhere(self):
        """Whether every linear predictor has a mean."""
        return self.links[0] != "log" or self.link == "log"

    # ------------------------------------------------------------- for the engine

    def _core(self):
        """Likelihood in its own coordinate."""
        raise NotImplementedError

    def likelihood(self):
        """That of the distribution, or the same with another link."""
        from skglmm.engine.links import Linked

        core = self._core()
        if self.link == self.links[0]:
            return core
        return Linked(core, self.links[0], self.link, self.link in self.concave)

    # ----------------------------------------------------------- the distribution

    def _mean_of(self, mu):
        """Mean of the response, where mu is another location."""
        return mu

    def _powers(self):
        """Variance as powers of mu and what they are multiplied with, if it is so."""
        return None

    def _variance_of(self, mu, size):
        """Variance of a response."""
        return sum(c * mu**p for p, c in self._powers().items())

    def _upto(self, y, mu, size):
        """P(Y <= y)."""
        raise NotImplementedError

    def _draw(self, mu, size, random):
        """Random responses in the shape of mu."""
        raise NotImplementedError

    # --------------------------------------------------- of known linear predictors

    def location(self, eta):
        """mu for a linear predictor."""
        return self._link.mean(eta)

    def predictor_of(self, mu):
        """Linear predictor for mu."""
        return self._link.predictor(mu)

    def inverse_link(self, eta):
        """Mean of the response."""
        return self._mean_of(self.location(eta))

    def width(self, eta, size):
        """Standard deviation of a response on the scale of the linear predictor."""
        with np.errstate(all="ignore"):
            spread = np.sqrt(self._variance_of(self.location(eta), size))
            found = spread / np.abs(self._link.slope(eta))
        return np.clip(np.where(np.isnan(found), 1.0, found), 1e-6, 1e6)

    def latent_variance(self, mean, noise_variance):
        """By the delta method at the mean of the response."""
        size = self.observation_size({}, 1, noise_variance)
        eta = np.atleast_1d(self.predictor_of(np.array([mean], dtype=float)))
        with np.errstate(all="ignore"):
            variance = self._variance_of(self.location(eta), size)
            return float((variance / self._link.slope(eta) ** 2)[0])

    def sample(self, eta, size, random):
        """Random responses."""
        return self._draw(self.location(eta), size, random)

    # -------------------------------------------------- of normal linear predictors

    def integrated_mean(self, eta, variance):
        """Mean of the response, in closed form with the log and the probit link."""
        if self.link == "log":
            with np.errstate(over="ignore"):
                return self._mean_of(np.exp(eta + 0.5 * variance))
        return self._moments(eta, variance)[0]

    def _moments(self, eta, variance):
        """Mean and variance of the mean of the response."""
        if self.link == "identity" and self.links[0] == "identity":
            return eta, variance + np.zeros(np.shape(eta))
        if self.link == "logit":
            mean, _, spread = logistic_moments(eta, variance)
            return mean, spread
        eta = np.asarray(eta, dtype=float)
        centre = self.inverse_link(eta)

        def off(at, rows):
            away = self.inverse_link(at) - centre[rows]
            return np.stack([away, away * away])

        first, second = average(off, eta, variance)
        mean = centre + first
        if self.link == "probit":
            mean = ndtr(eta / np.sqrt(1.0 + variance))
        return mean, np.maximum(second - first**2, 0.0)

    def variance(self, eta, variance, size):
        """E[Var(y)] + Var[E(y)], in closed form where powers are lognormal."""
        powers = self._powers()
        if self.link == "log" and powers is not None:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                own = sum(
                    c * np.exp(p * eta + 0.5 * p * p * variance)
                    for p, c in powers.items()
                )
                log_excess = variance + np.log(-np.expm1(-variance))
                factor = self._mean_of(1.0) ** 2
                return own + factor * np.exp(2.0 * eta + variance + log_excess)
        spread = self._moments(eta, variance)[1]

        def inside(at, rows):
            some = None if size is None else size[rows]
            return self._variance_of(self.location(at), some)

        return spread + average(inside, np.asarray(eta, dtype=float), variance)

    def _below(self, y, eta, variance, size):
        """P(Y <= y)."""

        def upto(at, rows):
            some = None if size is None else size[rows]
            return self._upto(y[rows], self.location(at), some)

        width = self.least_width(y, eta, variance, size)
        return average(upto, eta, variance, width)

    def least_width(self, mu, eta, variance, size):
        """Distance over which P(Y <= y) changes by much, for y near mu; at most one."""
        reach = 8.0 * np.sqrt(variance)
        with np.errstate(all="ignore"):
            at = self.predictor_of(mu)
        at = np.clip(np.where(np.isnan(at), eta, at), eta - reach, eta + reach)
        width = np.minimum(self.width(at, size), self.width(eta, size))
        return np.minimum(width, 1.0)

    # ------------------------------------------------------------------- deviance

    def _log_density(self, y, mu, trials):
        """Log-density, up to what only the response changes."""
        raise NotImplementedError

    def deviance(self, y, mean, trials):
        """Twice what the log-likelihood lacks of that of the best mean."""
        with np.errstate(all="ignore"):
            best = self._best(y, trials)
            return 2.0 * np.maximum(best - self._log_density(y, mean, trials), 0.0)

    def _best(self, y, trials):
        """Largest log-density, at the response itself in the base."""
        return self._log_density(y, y, trials)


class ContinuousFamily(MeanFamily):
    """Responses with a density: quantiles are roots of the distribution function."""

    def _to_line(self, y):
        """Responses on the whole line."""
        return np.log(y)

    def _from_line(self, t):
        with np.errstate(over="ignore"):
            return np.exp(t)

    def quantile(self, probability, eta, variance, size):
        """Root of the average of the distribution function."""
        eta = np.asarray(eta, dtype=float)
        sd = np.sqrt(variance + np.zeros(len(eta)))
        score = ndtri(probability) * (1.0 if self._link.rises else -1.0)
        mu = self.location(eta + score * sd)
        with np.errstate(all="ignore"):
            start = self._to_line(mu)
            step = self._to_line(self.location(eta + sd)) - self._to_line(
                self.location(eta - sd)
            )
        step = np.abs(np.where(np.isfinite(step), step, 1.0))
        spread = np.maximum(0.1 * step, self._unit(mu, size))

        def below(at, rows):
            some = None if size is None else size[rows]
            return self._below(self._from_line(at), eta[rows], sd[rows] ** 2, some)

        return self._from_line(root(below, probability, start, spread))

    def _unit(self, mu, size):
        """Standard deviation of a response on the whole line, roughly."""
        with np.errstate(all="ignore"):
            found = np.sqrt(self._variance_of(mu, size)) / mu
        return np.clip(np.where(np.isnan(found), 1.0, found), 1e-8, 1e3)

    def normal_scores(self, y, eta, variance, size, random):
        """Normal scores of the distribution function."""
        return ndtri(np.clip(self._below(y, eta, variance, size), _LEAST, _MOST))


class CountFamily(MeanFamily):
    """Whole numbers from zero on."""

    def quantile(self, probability, eta, variance, size):
        """Search on the whole numbers."""
        return quantile(AveragedCounts(self), probability, eta, variance)

    def normal_scores(self, y, eta, variance, size, random):
        """Uniform between the probabilities of less, and of no more."""
        return between(*probabilities(AveragedCounts(self), y, eta, variance), random)


class ShareFamily(MeanFamily):
    """Successes among trials, as shares of them."""

    links = ("logit", "probit", "cloglog")
    is_bounded = True

    def observation_size(self, special, n_rows, noise_variance):
        """The number of trials."""
        return special.get("trials", np.ones(n_rows))

    def quantile(self, probability, eta, variance, size):
        """Search on the whole numbers."""
        kind = AveragedCounts(self, size)
        return quantile(kind, probability, eta, variance) / size

    def normal_scores(self, y, eta, variance, size, random):
        """Uniform between the probabilities of fewer, and of no more."""
        pair = probabilities(
            AveragedCounts(self, size), np.rint(y * size), eta, variance
        )
        return between(*pair, random)

    def latent_variance(self, mean, noise_variance):
        """Variance of the distribution whose function the link inverts."""
        found = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0}
        return found[self.link]


def highest(function, low, high):
    """Largest values of functions with one maximum, by golden sections.

    Parameters
    ----------
    function : callable
        Maps points (n,) to values (n,).
    low, high : ndarray of shape (n,)
    """
    for _ in range(60):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        rises = function(left) < function(right)
        low, high = np.where(rises, left, low), np.where(rises, high, right)
    return function(0.5 * (low + high))


def log_shares(mean):
    """log(mu) and log(1 - mu) for a mean that rounding may have made 0 or 1."""
    eta = logit(np.clip(mean, _LEAST, _MOST))
    return log_expit(eta), log_expit(-eta), expit(eta)
