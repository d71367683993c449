"""Families of every response, and what SciPy knows of their distributions."""

import numpy as np
from scipy import special, stats

from skglmm._families.chosen import chosen

PHI, POWER, ZERO, PRECISION = 1.7, 1.4, 0.3, 9.0
_LOGIT = special.logit


class Tweedie:
    """A Poisson number of gamma variables."""

    def __init__(self, mu):
        self._rate = mu ** (2 - POWER) / (PHI * (2 - POWER))
        self._scale = PHI * (POWER - 1) * mu ** (POWER - 1)
        self._mu = mu
        self._j = np.arange(1.0, 400.0)[:, None]
        self._shape = self._j * (2 - POWER) / (POWER - 1)

    def logpdf(self, y):
        several = stats.poisson.logpmf(self._j, self._rate)
        several = several + stats.gamma.logpdf(
            np.maximum(y, 1e-300), self._shape, scale=self._scale
        )
        return np.where(y > 0, special.logsumexp(several, axis=0), -self._rate)

    def cdf(self, y):
        several = stats.poisson.pmf(self._j, self._rate)
        several = several * stats.gamma.cdf(y, self._shape, scale=self._scale)
        found = np.exp(-self._rate) + several.sum(axis=0)
        return np.where(np.asarray(y) >= 0, found, 0.0)

    def mean(self):
        return self._mu

    def var(self):
        return PHI * self._mu**POWER


class Zeros:
    """Counts with zeros beside them."""

    def __init__(self, base, hurdle):
        self._base, self._hurdle = base, hurdle
        self._some = 1 - base.pmf(0) if hurdle else 1.0

    def logpmf(self, y):
        of_zero = ZERO + (1 - ZERO) * (0 if self._hurdle else self._base.pmf(0))
        found = np.log((1 - ZERO) / self._some) + self._base.logpmf(y)
        return np.where(np.asarray(y) > 0, found, np.log(of_zero))

    def cdf(self, y):
        above = (1 - ZERO) * self._base.sf(y) / self._some
        return np.where(np.asarray(y) >= 0, 1 - above, 0.0)

    def mean(self):
        return (1 - ZERO) * self._base.mean() / self._some

    def var(self):
        square = (1 - ZERO) * (self._base.var() + self._base.mean() ** 2) / self._some
        return square - self.mean() ** 2


def _negative(mu):
    return stats.nbinom(PHI, PHI / (PHI + mu))


def _negative_1(mu):
    return stats.nbinom(mu / PHI, 1 / (1 + PHI))


def _beta(mu):
    return stats.beta(PRECISION * mu, PRECISION * (1 - mu))


TRIALS = 6
_P, _T = np.log([PHI]), _LOGIT([POWER - 1])
# Family by what `chosen` takes: own parameters, and the distribution of a location.
FAMILIES = {
    ("negative_binomial", "log", False): (_P, _negative),
    ("negative_binomial", "identity", False): (_P, _negative),
    ("negative_binomial_1", "log", False): (_P, _negative_1),
    ("poisson", "identity", False): ([], stats.poisson),
    ("gamma", "log", False): (_P, lambda mu: stats.gamma(PHI, scale=mu / PHI)),
    ("gamma", "inverse", False): (_P, lambda mu: stats.gamma(PHI, scale=mu / PHI)),
    ("inverse_gaussian", "log", False): (
        _P,
        lambda mu: stats.invgauss(mu * PHI, scale=1 / PHI),
    ),
    ("lognormal", "log", False): (_P, lambda mu: stats.lognorm(PHI, scale=mu)),
    ("tweedie", "log", False): (np.r_[_P, _T], Tweedie),
    ("beta", "logit", False): (np.log([PRECISION]), _beta),
    ("beta", "cloglog", False): (np.log([PRECISION]), _beta),
    ("beta_binomial", "logit", False): (
        _P,
        lambda mu: stats.betabinom(TRIALS, PHI * mu, PHI * (1 - mu)),
    ),
    ("beta_binomial", "probit", False): (
        _P,
        lambda mu: stats.betabinom(TRIALS, PHI * mu, PHI * (1 - mu)),
    ),
    ("binomial", "probit", False): ([], lambda mu: stats.binom(TRIALS, mu)),
    ("binomial", "cloglog", False): ([], lambda mu: stats.binom(TRIALS, mu)),
    ("student_t", "identity", False): (
        np.log([PHI, 4.0]),
        lambda mu: stats.t(4.0, loc=mu, scale=PHI),
    ),
    ("gaussian", "log", False): (_P, lambda mu: stats.norm(mu, PHI)),
    ("poisson", "log", True): (
        [_LOGIT(ZERO)],
        lambda mu: Zeros(stats.poisson(mu), False),
    ),
    ("negative_binomial", "log", True): (
        np.r_[_P, _LOGIT(ZERO)],
        lambda mu: Zeros(_negative(mu), False),
    ),
    ("poisson", "log", "hurdle"): (
        [_LOGIT(ZERO)],
        lambda mu: Zeros(stats.poisson(mu), True),
    ),
    ("negative_binomial_1", "log", "hurdle"): (
        np.r_[_P, _LOGIT(ZERO)],
        lambda mu: Zeros(_negative_1(mu), True),
    ),
}
INVERSE = {
    "log": np.exp,
    "identity": lambda eta: eta,
    "inverse": lambda eta: 1 / eta,
    "logit": special.expit,
    "probit": lambda eta: np.clip(special.ndtr(eta), 1e-300, 1 - 1e-16),
    "cloglog": lambda eta: np.minimum(-np.expm1(-np.exp(eta)), 1 - 1e-16),
}


def family_of(key):
    """A family with its parameters given, and the distribution at a predictor."""
    parameters, of_mean = FAMILIES[key]
    family = chosen(*key)
    return family.given(np.asarray(parameters)), lambda eta: of_mean(
        INVERSE[key[1]](np.asarray(eta, dtype=float))
    )


def is_count(family):
    return not hasattr(family, "_to_line")
