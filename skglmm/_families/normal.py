"""Normal responses."""

import numpy as np
from scipy.special import ndtri

from skglmm._families.base import Family


class Gaussian(Family):
    """Normal response with the identity link."""

    name, words, link, residual = "gaussian", "normal", "identity", "residual"
    is_linear = True

    def latent_variance(self, mean, noise_variance):
        """The residual variance."""
        return noise_variance

    def observation_size(self, special, n_rows, noise_variance):
        """The residual variance, of rows with precisions over these."""
        if "precision" in special:
            return noise_variance / special["precision"]
        return np.full(n_rows, noise_variance)

    def inverse_link(self, eta):
        """The linear predictor itself."""
        return eta

    def integrated_mean(self, eta, variance):
        """The linear predictor itself."""
        return eta

    def integrated_slope(self, eta, variance):
        """One."""
        return np.ones(np.shape(eta))

    def variance(self, eta, variance, size):
        """Sum of the two variances."""
        return variance + size

    def quantile(self, probability, eta, variance, size):
        """That of a normal variable."""
        return eta + ndtri(probability) * np.sqrt(variance + size)

    def normal_scores(self, y, eta, variance, size, random):
        """Distances from the mean in standard deviations."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (y - eta) / np.sqrt(variance + size)

    def deviance(self, y, mean, trials):
        """Unit deviances (y - mu)^2, in the square of the unit of y."""
        return (y - mean) ** 2

    def sample(self, eta, size, random):
        """Normal variables."""
        return eta + np.sqrt(size) * random.standard_normal(eta.shape)
