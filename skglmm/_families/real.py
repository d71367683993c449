"""Responses on the whole line: Student's t, and normal ones with other links."""

import numpy as np
from scipy.special import ndtr, stdtr

from skglmm._families.base import moments
from skglmm._families.linked import ContinuousFamily

_NORMAL = 1e3


class _Real(ContinuousFamily):
    """What responses on the whole line share."""

    links = ("identity", "log", "inverse")

    def _to_line(self, y):
        return y

    def _from_line(self, t):
        return t

    def _unit(self, mu, size):
        return np.full(np.shape(mu), np.sqrt(self._spread()))

    def _variance_of(self, mu, size):
        return np.full(np.shape(mu), self._spread())


class LinkedGaussian(_Real):
    """Normal responses with the log or the inverse link."""

    name, words = "gaussian", "normal"
    parameter_names = ("dispersion",)

    def _core(self):
        from skglmm.engine.real import Gaussian

        return Gaussian()

    def first_parameters(self, y, trials, weight):
        """Log of the standard deviation."""
        _, variance = moments(y, weight)
        return np.array([0.5 * np.log(max(variance, 1e-300))])

    def _spread(self):
        return self._dispersion**2

    def _powers(self):
        return {0.0: self._dispersion**2}

    def _upto(self, y, mu, size):
        return ndtr((y - mu) / self._dispersion)

    def _draw(self, mu, size, random):
        return mu + self._dispersion * random.standard_normal(np.shape(mu))

    def deviance(self, y, mean, trials):
        """Unit deviances (y - mu)^2."""
        return (y - mean) ** 2


class StudentT(_Real):
    """Student's t of a scale around a location."""

    name, words = "student_t", "Student t"
    parameter_names = ("dispersion", "degrees_of_freedom")

    @property
    def _freedom(self):
        return float(np.exp(self.parameters[1]))

    def _core(self):
        from skglmm.engine.real import StudentT

        return StudentT()

    def first_parameters(self, y, trials, weight):
        """The scale of the middle half of the responses, and five degrees."""
        order = np.argsort(y)
        share = np.cumsum(weight[order]) / np.sum(weight)
        low, high = y[order][np.searchsorted(share, [0.25, 0.75])]
        scale = (high - low) / 1.45
        if not scale > 0.0:
            scale = max(float(np.std(y)), 1e-6)
        return np.log([scale, 5.0])

    def limit(self, mean):
        if self._freedom > _NORMAL:
            return [("degrees_of_freedom", "normal", "family='gaussian'")]
        return []

    def _spread(self):
        """Variance, or where there is none that of the middle."""
        freedom = self._freedom
        ratio = freedom / (freedom - 2.0) if freedom > 2.0 else np.inf
        return self._dispersion**2 * ratio

    def _unit(self, mu, size):
        return np.full(np.shape(mu), self._dispersion)

    def width(self, eta, size):
        """The scale on the scale of the linear predictor."""
        with np.errstate(all="ignore"):
            found = self._dispersion / np.abs(self._link.slope(eta))
        return np.clip(np.where(np.isnan(found), 1.0, found), 1e-6, 1e6)

    def _powers(self):
        return {0.0: self._spread()}

    def _upto(self, y, mu, size):
        return stdtr(self._freedom, (y - mu) / self._dispersion)

    def _draw(self, mu, size, random):
        return mu + self._dispersion * random.standard_t(self._freedom, np.shape(mu))

    def deviance(self, y, mean, trials):
        """(df + 1) log(1 + z^2 / df)."""
        z = (y - mean) / self._dispersion
        return (self._freedom + 1.0) * np.log1p(z * z / self._freedom)
