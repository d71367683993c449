"""Counts."""

import numpy as np
from scipy.special import xlogy

from skglmm._families.base import Family, _number, between
from skglmm._families.mixed_counts import Counts, probabilities, quantile

# Above this NumPy draws no Poisson variables.
LARGEST_MEAN = 9e18


class Poisson(Family):
    """Counts with the log link."""

    name, words, link = "poisson", "Poisson", "log"

    def latent_variance(self, mean, noise_variance):
        """log(1 + 1 / mean), that of a lognormal with the same moments."""
        return np.log1p(1.0 / mean) if mean else np.inf

    def check(self, y, trials, rows):
        negative = np.flatnonzero(y < 0)
        if len(negative):
            at = negative[0]
            raise ValueError(
                f"Negative values in y: row {rows[at]} holds {y[at]:g}. Counts are 0, "
                "1, 2, ...: drop such rows, or use MixedLinearRegressor."
            )
        if np.any(y != np.floor(y)):
            at = np.flatnonzero(y != np.floor(y))[0]
            return [
                f"fractional counts in y: row {rows[at]} holds {_number(y[at])}. The "
                "estimates are those of a quasi-likelihood; for rates give the counts "
                "and name the exposure"
            ]
        return []

    def events(self, y, weight, trials):
        """What is counted."""
        return float(weight @ y)

    def no_maximum(self, y, trials):
        if np.any(y > 0):
            return None
        return "y is zero in every row, so that the best mean is zero, which has no log"

    def inverse_link(self, eta):
        """exp(eta)."""
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def integrated_mean(self, eta, variance):
        """exp(m + v / 2), the mean of a lognormal."""
        with np.errstate(over="ignore"):
            return np.exp(eta + 0.5 * variance)

    def integrated_slope(self, eta, variance):
        """The mean itself."""
        return self.integrated_mean(eta, variance)

    def variance(self, eta, variance, size):
        """E[mu] + Var[mu] = e^(m + v / 2) + (e^v - 1) e^(2 m + v), of a lognormal."""
        with np.errstate(over="ignore", divide="ignore"):
            log_excess = variance + np.log(-np.expm1(-variance))
            own = np.exp(eta + 0.5 * variance)
            return own + np.exp(2.0 * eta + variance + log_excess)

    def quantile(self, probability, eta, variance, size):
        """That of a Poisson variable with lognormal mean."""
        return quantile(Counts(), probability, eta, variance)

    def normal_scores(self, y, eta, variance, size, random):
        """Those of Poisson variables with lognormal mean."""
        return between(*probabilities(Counts(), y, eta, variance), random)

    def sample(self, eta, size, random):
        """Poisson variables."""
        mean = np.minimum(self.inverse_link(eta), LARGEST_MEAN)
        return random.poisson(mean)

    def deviance(self, y, mean, trials):
        """Unit deviances 2 (y log(y / mu) - y + mu)."""
        some = np.where((mean > 0.0) & (mean < np.inf), mean, 1.0)
        deviance = 2.0 * (xlogy(y, y / some) - y + mean)
        return np.where((mean == 0.0) & (y > 0.0), np.inf, deviance)
