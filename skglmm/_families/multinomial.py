"""More than two classes without an order."""

import functools

import numpy as np
from scipy.special import ndtri, softmax
from scipy.stats import qmc

from skglmm._families.base import Family

# Nodes of quadrature in each direction, by their number; more directions have points
# of a sequence with little discrepancy.
_NODES = {1: 21, 2: 15, 3: 9}
_POINTS = 1024
_BLOCK = 1 << 21


class Multinomial(Family):
    """Classes 0 to K - 1 with the logit link, the first as reference.

    Linear predictors (n, K - 1) are those of the other classes. A fit has a row for
    each class (`by_class`), and the likelihood is that of counts.

    Parameters
    ----------
    n_classes : int
    """

    name, words, link = "multinomial", "multinomial", "logit"
    is_by_class = True

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def likelihood(self):
        """That of counts with an effect of rows."""
        from skglmm.engine.multinomial import Multinomial as Counts

        return Counts(self.n_classes)

    def latent_variance(self, mean, noise_variance):
        """pi^2 / 3, that of the difference of two Gumbel variables."""
        return np.pi**2 / 3.0

    def events(self, y, weight, trials):
        """Rows, of which each has one class."""
        return float(weight @ y)

    def inverse_link(self, eta):
        """Probabilities (n, K)."""
        return softmax(np.concatenate([np.zeros((len(eta), 1)), eta], axis=1), axis=1)

    def integrated_mean(self, eta, variance):
        """Means (n, K) of the probabilities.

        By quadrature with up to three linear predictors, and 1,024 points of Sobol's
        sequence with more.

        Parameters
        ----------
        eta : ndarray of shape (n, K - 1)
        variance : ndarray of shape (n, K - 1, K - 1)
        """
        if not np.any(variance):
            return self.inverse_link(eta)
        n, d = eta.shape
        points, weights = standard_points(d)
        mean, block = np.empty((n, d + 1)), max(1, _BLOCK // (len(points) * (d + 1)))
        for start in range(0, n, block):
            here = slice(start, start + block)
            drawn = moved(eta[here], variance[here], points)
            flat = self.inverse_link(drawn.reshape(-1, d))
            flat = flat.reshape(*drawn.shape[:2], d + 1)
            mean[here] = np.einsum("nsk,s->nk", flat, weights)
        return mean / mean.sum(axis=1, keepdims=True)

    def sample(self, eta, size, random):
        """Classes (n, n_samples) for linear predictors (n, K - 1, n_samples)."""
        n, d, n_samples = eta.shape
        noise = random.gumbel(size=(n, d + 1, n_samples))
        noise[:, 1:] += eta
        return np.argmax(noise, axis=1).astype(float)


def moved(eta, covariance, points):
    """Linear predictors (n, s, d) at standard normal points (s, d)."""
    values, axes = np.linalg.eigh(covariance)
    half = axes * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return eta[:, None, :] + points @ np.swapaxes(half, 1, 2)


def sobol_points(d):
    """Points (1024, d) that are spread like standard normal draws, but evenly."""
    uniform = qmc.Sobol(d, scramble=True, seed=0).random(_POINTS)
    return ndtri(np.clip(uniform, 2.0**-53, 1.0 - 2.0**-53))


def standard_points(d):
    """Points (s, d) and weights (s,) for means over d standard normal variables."""
    if d not in _NODES:
        return sobol_points(d), np.full(_POINTS, 1.0 / _POINTS)
    x, w = np.polynomial.hermite_e.hermegauss(_NODES[d])
    grid = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = np.prod(np.meshgrid(*[w / w.sum()] * d, indexing="ij"), axis=0).ravel()
    return grid, weights


@functools.cache
def multinomial(n_classes):
    """The family of a number of classes, the same one each time."""
    return Multinomial(n_classes)
