"""Counts that vary more than Poisson variables."""

import numpy as np
from scipy.special import xlogy

from skglmm._families.base import between, moments
from skglmm._families.counts import LARGEST_MEAN, Poisson
from skglmm._families.mixed_counts import NegativeCounts, probabilities, quantile

# Sizes that a search begins from.
_LEAST, _MOST = 0.1, 100.0
# Share of Poisson's variance that is no more than rounding of it.
_NOTHING = 1e-4


class NegativeBinomial(Poisson):
    """Counts with a gamma-distributed rate and the log link: Var = mu + mu^2 / size."""

    name, words = "negative_binomial", "negative binomial"
    parameter_names = ("dispersion",)

    def first_parameters(self, y, trials, weight):
        """Log of the size that has the moments of the responses."""
        mean, variance = moments(y, weight)
        size = mean**2 / max(variance - mean, mean**2 / _MOST)
        return np.log([np.clip(size, _LEAST, _MOST)])

    def limit(self, mean):
        """Poisson counts, where the variance is no larger than the mean."""
        if mean / self._dispersion < _NOTHING:
            return [("dispersion", "Poisson", "family='poisson'")]
        return []

    def latent_variance(self, mean, noise_variance):
        """log(1 + 1 / mean + 1 / size), that of a lognormal with the same moments."""
        return np.log1p(1.0 / mean + 1.0 / self._dispersion) if mean else np.inf

    def variance(self, eta, variance, size):
        """That of a Poisson variable, and E[mu^2] / size."""
        with np.errstate(over="ignore"):
            more = np.exp(2.0 * (eta + variance)) / self._dispersion
        return super().variance(eta, variance, size) + more

    def quantile(self, probability, eta, variance, size):
        """That of a negative binomial variable with lognormal mean."""
        return quantile(NegativeCounts(self._dispersion), probability, eta, variance)

    def normal_scores(self, y, eta, variance, size, random):
        """Those of negative binomial variables with lognormal mean."""
        kind = NegativeCounts(self._dispersion)
        return between(*probabilities(kind, y, eta, variance), random)

    def sample(self, eta, size, random):
        """Poisson variables whose means are gamma variables."""
        rate = random.gamma(self._dispersion, 1.0 / self._dispersion, eta.shape)
        with np.errstate(over="ignore"):
            mean = np.minimum(rate * np.exp(eta), LARGEST_MEAN)
        return random.poisson(mean)

    def deviance(self, y, mean, trials):
        """2 (y log(y / mu) - (y + size) log((y + size) / (mu + size)))."""
        some = np.where((mean > 0.0) & (mean < np.inf), mean, 1.0)
        both = (y + self._dispersion) * np.log1p((y - mean) / (mean + self._dispersion))
        deviance = 2.0 * (xlogy(y, y / some) - both)
        return np.where((mean == 0.0) & (y > 0.0), np.inf, deviance)
