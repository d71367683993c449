"""Links between the mean of a response and its linear predictor (numpy only)."""

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
# Means of positive responses that a linear predictor of the wrong sign is taken for.
_LEAST = 1e-12


class Link:
    """Base of the links.

    Attributes
    ----------
    name : str
    rises : bool
        Whether the mean rises with the linear predictor.
    """

    name, rises = "", True

    def mean(self, eta):
        """Mean, or location, for a linear predictor."""
        raise NotImplementedError

    def predictor(self, mean):
        """Linear predictor for a mean."""
        raise NotImplementedError

    def slope(self, eta):
        """Derivative of the mean."""
        raise NotImplementedError


class Identity(Link):
    """The mean itself.

    Parameters
    ----------
    positive : bool
        Whether means are positive, so that not every linear predictor has one.
    """

    name = "identity"

    def __init__(self, positive):
        self._positive = positive

    def mean(self, eta):
        return np.maximum(eta, _LEAST) if self._positive else eta

    def predictor(self, mean):
        return mean

    def slope(self, eta):
        return np.ones(np.shape(eta))


class Inverse(Link):
    """1 / mean.

    Parameters
    ----------
    positive : bool
        As for `Identity`.
    """

    name, rises = "inverse", False

    def __init__(self, positive):
        self._positive = positive

    def _bounded(self, eta):
        return np.maximum(eta, _LEAST) if self._positive else eta

    def mean(self, eta):
        with np.errstate(divide="ignore"):
            return 1.0 / self._bounded(eta)

    def predictor(self, mean):
        with np.errstate(divide="ignore"):
            return 1.0 / np.asarray(mean, dtype=float)

    def slope(self, eta):
        with np.errstate(divide="ignore"):
            return -1.0 / self._bounded(eta) ** 2


class Log(Link):
    """log(mean)."""

    name = "log"

    def mean(self, eta):
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def predictor(self, mean):
        with np.errstate(divide="ignore"):
            return np.log(mean)

    def slope(self, eta):
        return self.mean(eta)


class Logit(Link):
    """log(mean / (1 - mean))."""

    name = "logit"

    def mean(self, eta):
        return expit(eta)

    def predictor(self, mean):
        return logit(mean)

    def slope(self, eta):
        return expit(eta) * expit(-eta)


class Probit(Link):
    """The quantile of a standard normal variable."""

    name = "probit"

    def mean(self, eta):
        return ndtr(eta)

    def predictor(self, mean):
        return ndtri(mean)

    def slope(self, eta):
        return np.exp(-0.5 * np.square(eta) - _HALF_LOG_2PI)


class Cloglog(Link):
    """log(-log(1 - mean))."""

    name = "cloglog"

    def mean(self, eta):
        with np.errstate(over="ignore"):
            return -np.expm1(-np.exp(eta))

    def predictor(self, mean):
        with np.errstate(divide="ignore"):
            return np.log(-np.log1p(-np.asarray(mean, dtype=float)))

    def slope(self, eta):
        with np.errstate(over="ignore"):
            return np.exp(eta - np.exp(eta))


def link_of(name, positive):
    """The link of a name; `positive` if all means are."""
    if name in ("identity", "inverse"):
        return {"identity": Identity, "inverse": Inverse}[name](positive)
    return {"log": Log, "logit": Logit, "probit": Probit, "cloglog": Cloglog}[name]()
