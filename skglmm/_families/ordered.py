"""Ordered classes with a cumulative link."""

import functools

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from skglmm._families.base import Family, between
from skglmm._families.mixed_counts import Counts, distribution, logistic_moments

# Least gap between two thresholds that a search begins from.
_NARROW = 1e-3


def _log_log(eta):
    """exp(-exp(-eta))."""
    return np.exp(-np.exp(np.minimum(-eta, 700.0)))


def _mixed_log_log(eta, variance):
    """Its mean, that of the probability of no count."""
    eta, variance = np.broadcast_arrays(-eta, variance)
    flat = distribution(Counts(), np.zeros(eta.size), eta.ravel(), variance.ravel())
    return flat.reshape(eta.shape)


# By link: P(y > k) as a function of eta less the threshold, its mean where eta is
# normal, the threshold at which P(y <= k) is a given probability for an eta of zero,
# and the variance of the latent variable.
_LINKS = {
    "logit": (
        expit,
        lambda eta, variance: logistic_moments(eta, variance)[0],
        logit,
        np.pi**2 / 3.0,
    ),
    "probit": (
        ndtr,
        lambda eta, variance: ndtr(eta / np.sqrt(1.0 + variance)),
        ndtri,
        1.0,
    ),
    "cloglog": (
        _log_log,
        _mixed_log_log,
        lambda p: np.log(-np.log1p(-p)),
        np.pi**2 / 6.0,
    ),
}


class Ordered(Family):
    """Classes 0 to K - 1: P(y <= k) = F(c_k - eta), c_0 = 0.

    The first threshold is where the linear predictor begins, so that minus the
    intercept is that of a predictor without one. The parameters are the logarithms of
    the gaps between thresholds.

    Parameters
    ----------
    link : {"logit", "probit", "cloglog"}
    n_classes : int
    """

    name, words = "ordinal", "ordered"

    def __init__(self, link, n_classes):
        self.link, self.n_classes = link, n_classes
        self.parameter_names = tuple(f"log_gap_{k}" for k in range(1, n_classes - 1))
        if n_classes == 2:
            self.words = "binary"

    @property
    def in_words(self):
        """The parameters of its own as a message calls them."""
        return "thresholds"

    def likelihood(self):
        """The likelihood of the link."""
        from skglmm.engine.ordered import LINKS

        return LINKS[self.link](self.n_classes)

    @property
    def _thresholds(self):
        """The thresholds (K - 1,), the first of which is zero."""
        if self.parameters is None:
            return np.zeros(1)
        return np.concatenate([[0.0], np.cumsum(np.exp(self.parameters))])

    def first_parameters(self, y, trials, weight):
        """Log gaps at which the classes are as frequent as among the responses."""
        counts = np.bincount(y.astype(int), weight, self.n_classes) + 0.5
        below = np.cumsum(counts)[:-1] / counts.sum()
        return np.log(np.maximum(np.diff(_LINKS[self.link][2](below)), _NARROW))

    def reported(self, parameters, covariance, intercept):
        """The thresholds c_k - intercept."""
        gaps = np.exp(np.zeros(0) if parameters is None else parameters)
        value, variance, cross = intercept
        n = len(gaps)
        by_own = np.vstack([np.zeros((1, n)), np.tril(np.ones((n, n)))]) * gaps
        own = np.zeros((n, n)) if covariance is None else covariance
        cross = np.zeros(n) if cross is None else cross
        values = np.concatenate([[0.0], np.cumsum(gaps)]) - value
        square = np.einsum("ki,ij,kj->k", by_own, own, by_own)
        square += variance - 2.0 * by_own @ cross
        return range(n + 1), values, np.sqrt(np.maximum(square, 0.0))

    def latent_variance(self, mean, noise_variance):
        """That of the variable with the distribution function F."""
        return _LINKS[self.link][3]

    def _above(self, eta, variance=None):
        """P(y > k), (..., K - 1)."""
        at = np.asarray(eta)[..., None] - self._thresholds
        if variance is None:
            return _LINKS[self.link][0](at)
        return _LINKS[self.link][1](at, np.asarray(variance)[..., None])

    def probabilities(self, eta, variance=None):
        """Probability of each class, (n, K); the linear predictor may be normal."""
        above = self._above(eta, variance)
        ends = np.ones((len(above), 1)), np.zeros((len(above), 1))
        found = -np.diff(np.hstack([ends[0], above, ends[1]]), axis=1)
        return np.maximum(found, 0.0)

    def inverse_link(self, eta):
        """The expected class, sum of P(y > k)."""
        return self._above(eta).sum(axis=-1)

    def integrated_mean(self, eta, variance):
        """Mean of the expected class."""
        return self._above(eta, variance).sum(axis=-1)

    def variance(self, eta, variance, size):
        """E[y^2] - E[y]^2, with y^2 the sum of 2 k + 1 over k < y."""
        above = self._above(eta, variance)
        odd = 2.0 * np.arange(above.shape[-1]) + 1.0
        return np.maximum(above @ odd - above.sum(axis=-1) ** 2, 0.0)

    def quantile(self, probability, eta, variance, size):
        """Smallest k with P(y <= k) >= probability."""
        above = self._above(eta, variance)
        return (above > 1.0 - probability).sum(axis=-1).astype(float)

    def normal_scores(self, y, eta, variance, size, random):
        """Those of classes."""
        above = self._above(eta, variance)
        padded = np.hstack([np.ones((len(y), 1)), above, np.zeros((len(y), 1))])
        row, k = np.arange(len(y)), np.asarray(y).astype(int)
        return between(1.0 - padded[row, k], 1.0 - padded[row, k + 1], random)

    def deviance(self, y, mean, trials):
        """There is none: classes with one mean differ in their probabilities."""
        raise ValueError(
            "Ordered classes have no deviance of a mean: use kind='quantile' of "
            "residuals, or the log-likelihood."
        )

    def sample(self, eta, size, random):
        """Classes in which a uniform variable falls."""
        u = random.uniform(size=np.shape(eta))
        above, out = _LINKS[self.link][0], np.zeros(np.shape(eta))
        for threshold in self._thresholds:
            out += u < above(eta - threshold)
        return out


@functools.cache
def ordered(link, n_classes):
    """The family of a link and a number of classes, the same one each time."""
    return Ordered(link, n_classes)
