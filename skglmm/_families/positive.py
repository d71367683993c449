"""Positive responses: gamma, inverse Gaussian, lognormal and Tweedie."""

import numpy as np
from scipy.special import (
    expit,
    gammainc,
    gammaln,
    log_ndtr,
    ndtr,
    xlogy,
)

from skglmm._families.base import _number, between, moments
from skglmm._families.linked import ContinuousFamily

# Terms of the distribution function of a Tweedie variable.
_TERMS, _REACH, _ROWS = 120, 8.0, 20_000


class _Positive(ContinuousFamily):
    """What responses above zero share."""

    parameter_names = ("dispersion",)

    def check(self, y, trials, rows):
        bad = np.flatnonzero(~(y > 0.0))
        if len(bad):
            at = bad[0]
            raise ValueError(
                f"Row {rows[at]} holds {_number(y[at])} in y, which is not positive: "
                f"the {self.words} family is of positive responses. Drop such rows, or "
                "use family='tweedie', which has zeros."
            )
        return []


class Gamma(_Positive):
    """Var = (sigma mu)^2."""

    name, words = "gamma", "gamma"
    concave = ("inverse",)

    @property
    def _shape(self):
        return float(np.exp(self.parameters[0]))

    def _core(self):
        from skglmm.engine.positive import Gamma

        return Gamma()

    def first_parameters(self, y, trials, weight):
        """Log of the shape that has the moments of the responses."""
        mean, variance = moments(y, weight)
        return np.log([np.clip(mean**2 / max(variance, 1e-300), 0.1, 1e4)])

    def natural(self, parameters):
        """sigma, one over the root of the shape."""
        sigma = np.exp(-0.5 * parameters)
        return sigma, -0.5 * sigma

    def limit(self, mean):
        if self._shape > 1e7:
            return [("dispersion", "normal", "MixedLinearRegressor on log(y)")]
        return []

    def _powers(self):
        return {2.0: 1.0 / self._shape}

    def _upto(self, y, mu, size):
        return gammainc(self._shape, self._shape * y / mu)

    def _draw(self, mu, size, random):
        return mu * random.gamma(self._shape, 1.0 / self._shape, np.shape(mu))

    def deviance(self, y, mean, trials):
        """2 ((y - mu) / mu - log(y / mu))."""
        ratio = (y - mean) / mean
        return 2.0 * (ratio - np.log1p(ratio))


class InverseGaussian(_Positive):
    """Var = phi mu^3."""

    name, words = "inverse_gaussian", "inverse Gaussian"

    def _core(self):
        from skglmm.engine.positive import InverseGaussian

        return InverseGaussian()

    def first_parameters(self, y, trials, weight):
        """Log of the dispersion that has the mean of 1 / y and 1 / mean."""
        mean, _ = moments(y, weight)
        found = np.average(1.0 / y, weights=weight) - 1.0 / mean
        return np.log([np.clip(found, 1e-4 / mean, 1e4 / mean)])

    def limit(self, mean):
        if self._dispersion * mean < 1e-7:
            return [("dispersion", "normal", "MixedLinearRegressor on log(y)")]
        return []

    def _powers(self):
        return {3.0: self._dispersion}

    def _upto(self, y, mu, size):
        with np.errstate(all="ignore"):
            root = 1.0 / np.sqrt(self._dispersion * y)
            far = log_ndtr(-root * (y / mu + 1.0)) + 2.0 / (self._dispersion * mu)
            found = ndtr(root * (y / mu - 1.0)) + np.exp(far)
        return np.where(y > 0.0, np.clip(found, 0.0, 1.0), 0.0)

    def _draw(self, mu, size, random):
        return random.wald(mu, 1.0 / self._dispersion)

    def deviance(self, y, mean, trials):
        """(y - mu)^2 / (mu^2 y)."""
        return (y / mean - 1.0) ** 2 / y


class LogNormal(_Positive):
    """log(y) is normal; the link is that of the median."""

    name, words = "lognormal", "lognormal"

    def _core(self):
        from skglmm.engine.positive import LogNormal

        return LogNormal()

    def first_parameters(self, y, trials, weight):
        """Log of the standard deviation of log(y)."""
        _, variance = moments(np.log(y), weight)
        return np.array([0.5 * np.log(max(variance, 1e-12))])

    def _mean_of(self, mu):
        return mu * np.exp(0.5 * self._dispersion**2)

    def _powers(self):
        return {2.0: np.expm1(self._dispersion**2) * np.exp(self._dispersion**2)}

    def latent_variance(self, mean, noise_variance):
        """The variance of log(y) with the log link."""
        if self.link == "log":
            return self._dispersion**2
        return super().latent_variance(mean / self._mean_of(1.0), noise_variance)

    def _upto(self, y, mu, size):
        with np.errstate(divide="ignore"):
            return ndtr(np.log(y / mu) / self._dispersion)

    def _draw(self, mu, size, random):
        return mu * np.exp(self._dispersion * random.standard_normal(np.shape(mu)))

    def deviance(self, y, mean, trials):
        """(log(y) - log(median))^2."""
        return (np.log(y) - np.log(mean / self._mean_of(1.0))) ** 2


class Tweedie(ContinuousFamily):
    """Sums of a Poisson number of gamma variables: Var = phi mu^p."""

    name, words = "tweedie", "Tweedie"
    parameter_names = ("dispersion", "power")

    @property
    def _power(self):
        return 1.0 + float(expit(self.parameters[1]))

    def _core(self):
        from skglmm.engine.positive import Tweedie

        return Tweedie()

    def check(self, y, trials, rows):
        bad = np.flatnonzero(~(y >= 0.0))
        if len(bad):
            at = bad[0]
            raise ValueError(
                f"Row {rows[at]} holds {_number(y[at])} in y: the Tweedie family is of "
                "responses that are zero or positive. Drop such rows, or use "
                "family='gaussian'."
            )
        return []

    def no_maximum(self, y, trials):
        if np.any(y > 0):
            return None
        return "y is zero in every row, so that the best mean is zero"

    def first_parameters(self, y, trials, weight):
        """Moments at the power 1.5."""
        mean, variance = moments(y, weight)
        phi = variance / max(mean, 1e-300) ** 1.5
        return np.array([np.log(np.clip(phi, 1e-3, 1e6)), 0.0])

    def natural(self, parameters):
        """phi and the power."""
        phi, share = np.exp(parameters[0]), expit(parameters[1])
        values = np.array([phi, 1.0 + share])
        return values, np.array([phi, share * (1.0 - share)])

    def limit(self, mean):
        if self._power > 2.0 - 1e-4:
            return [("power", "gamma", "family='gamma'")]
        if self._power < 1.0 + 1e-4:
            return [("power", "Poisson", "family='poisson'")]
        return []

    def _powers(self):
        return {self._power: self._dispersion}

    def _numbers(self, mu):
        """Mean of the number of gamma variables, their shape and scale."""
        over, under = self._power - 1.0, 2.0 - self._power
        rate = mu**under / (self._dispersion * under)
        return rate, under / over, self._dispersion * over * mu**over

    def _upto(self, y, mu, size):
        y, mu = (np.asarray(v, dtype=float) for v in np.broadcast_arrays(y, mu))
        out = np.empty(mu.shape)
        for i in range(0, mu.size, _ROWS):
            here = slice(i, i + _ROWS)
            out.flat[here] = self._summed(y.flat[here], mu.flat[here])
        return out

    def _summed(self, y, mu):
        """P(Y <= y) by a sum over the numbers of gamma variables."""
        with np.errstate(all="ignore"):
            rate, shape, scale = self._numbers(mu)
            sd = np.sqrt(rate)
            first = np.maximum(np.floor(rate - _REACH * sd), 1.0)
            last = rate + _REACH * np.maximum(sd, 1.0) + 10.0
            step = np.maximum((last - first) / (_TERMS - 1), 1.0)
            most = min(_TERMS, int(np.max(np.where(last > first, last - first, 0))) + 2)
            j = first + step * np.arange(most)[:, None]
            log_p = xlogy(j, rate) - rate - gammaln(j + 1.0)
            total = np.sum(np.exp(log_p) * gammainc(j * shape, y / scale), axis=0)
        found = np.clip(np.exp(-rate) + step * total, 0.0, 1.0)
        return np.where(y >= 0.0, found, 0.0)

    def quantile(self, probability, eta, variance, size):
        """Zero where zeros are as many, and else a root."""
        eta = np.asarray(eta, dtype=float)
        variance = variance + np.zeros(len(eta))
        none = self._below(np.zeros(len(eta)), eta, variance, size)
        out = np.zeros(len(eta))
        rows = np.flatnonzero(none < probability)
        if len(rows):
            out[rows] = super().quantile(probability, eta[rows], variance[rows], None)
        return out

    def normal_scores(self, y, eta, variance, size, random):
        """Uniform below the probability of zero where y is zero."""
        upto = self._below(y, eta, variance, size)
        return between(np.where(y > 0.0, upto, 0.0), upto, random)

    def _draw(self, mu, size, random):
        rate, shape, scale = self._numbers(mu)
        number = random.poisson(np.minimum(rate, 1e15))
        some = random.gamma(shape * np.maximum(number, 1), 1.0) * scale
        return np.where(number > 0, some, 0.0)

    def deviance(self, y, mean, trials):
        """Twice the log-likelihood of the mean y less that of mu, times phi."""
        over, under = self._power - 1.0, 2.0 - self._power
        own = -(y**under) / (over * under)
        return 2.0 * np.maximum(own + y * mean**-over / over + mean**under / under, 0.0)
