"""Counts with other links, that vary otherwise, and with other numbers of zeros."""

import numpy as np
from scipy.special import (
    betainc,
    expit,
    gammaincc,
    gammaln,
    logit,
    xlog1py,
    xlogy,
)

from skglmm._families.base import halved, moments
from skglmm._families.counts import LARGEST_MEAN, Poisson
from skglmm._families.linked import CountFamily, highest
from skglmm._families.overdispersed import NegativeBinomial

_LEAST = 1e-300


class LinkedPoisson(CountFamily):
    """Poisson counts."""

    name, words = "poisson", "Poisson"
    links = ("log", "identity")
    concave: tuple[str, ...] = ("identity",)
    check, no_maximum = Poisson.check, Poisson.no_maximum
    events = Poisson.events

    def _core(self):
        from skglmm.engine.likelihoods import Poisson

        return Poisson()

    def first_parameters(self, y, trials, weight):
        return np.zeros(0)

    def _powers(self):
        return {1.0: 1.0}

    def _upto(self, y, mu, size):
        return gammaincc(y + 1.0, mu)

    def _draw(self, mu, size, random):
        return random.poisson(np.minimum(mu, LARGEST_MEAN))

    def _log_density(self, y, mu, trials):
        return xlogy(y, mu) - mu - gammaln(y + 1.0)


class LinkedNegativeBinomial(LinkedPoisson):
    """Negative binomial counts with Var = mu + mu^2 / size."""

    name, words = "negative_binomial", "negative binomial"
    concave = ()
    parameter_names = ("dispersion",)
    first_parameters = NegativeBinomial.first_parameters

    def _core(self):
        from skglmm.engine.likelihoods import NegativeBinomial

        return NegativeBinomial()

    def limit(self, mean):
        return NegativeBinomial.limit(self, mean)

    def _powers(self):
        return {1.0: 1.0, 2.0: 1.0 / self._dispersion}

    def _upto(self, y, mu, size):
        own = self._dispersion
        return betainc(own, y + 1.0, own / (own + mu))

    def _draw(self, mu, size, random):
        rate = random.gamma(self._dispersion, 1.0 / self._dispersion, np.shape(mu))
        return random.poisson(np.minimum(rate * mu, LARGEST_MEAN))

    def _log_density(self, y, mu, trials):
        size = self._dispersion
        return (
            gammaln(size + y)
            - gammaln(size)
            - gammaln(y + 1.0)
            + xlogy(y, mu / (size + mu))
            - xlog1py(size, mu / size)
        )


class NegativeBinomial1(LinkedPoisson):
    """Negative binomial counts with Var = mu (1 + phi)."""

    name, words = "negative_binomial_1", "negative binomial (linear variance)"
    concave = ()
    parameter_names = ("dispersion",)

    def _core(self):
        from skglmm.engine.positive import NegativeBinomial1

        return NegativeBinomial1()

    def first_parameters(self, y, trials, weight):
        """Log of phi that has the moments of the responses."""
        mean, variance = moments(y, weight)
        return np.log([np.clip(variance / max(mean, 1e-300) - 1.0, 0.05, 20.0)])

    def limit(self, mean):
        if self._dispersion < 1e-4:
            return [("dispersion", "Poisson", "family='poisson'")]
        return []

    def _powers(self):
        return {1.0: 1.0 + self._dispersion}

    def _upto(self, y, mu, size):
        a = np.maximum(mu / self._dispersion, _LEAST)
        return betainc(a, y + 1.0, 1.0 / (1.0 + self._dispersion))

    def _draw(self, mu, size, random):
        phi = self._dispersion
        rate = random.gamma(np.maximum(mu / phi, _LEAST)) * phi
        return random.poisson(np.minimum(rate, LARGEST_MEAN))

    def _log_density(self, y, mu, trials):
        a = np.maximum(mu / self._dispersion, _LEAST)
        rising = np.where(y > 0.0, gammaln(a + y) - gammaln(a), 0.0)
        found = rising - gammaln(y + 1.0) - a * np.log1p(self._dispersion)
        return found + y * np.log(self._dispersion / (1.0 + self._dispersion))

    def _best(self, y, trials):
        def at(log_mu):
            return self._log_density(y, np.exp(log_mu), trials)

        middle = np.log(y + 0.5)
        return np.where(y > 0.0, highest(at, middle - 6.0, middle + 6.0), 0.0)


class Inflated(CountFamily):
    """Counts of another family, and zeros beside them.

    Parameters
    ----------
    base : LinkedPoisson
    """

    def __init__(self, base):
        self.base, self.links = base, base.links
        super().__init__(base.link)
        self.name = f"{self.how}_{base.name}"
        self.words = f"{self.how.replace('_', '-')} {base.words}"
        self.parameter_names = (*base.parameter_names, "zero_inflation")

    how = "zero_inflated"
    check, no_maximum = Poisson.check, Poisson.no_maximum
    events = Poisson.events

    def given(self, parameters):
        """The same, and its base, with values of the parameters."""
        found = super().given(parameters)
        found.base = self.base.given(found.parameters[:-1])
        return found

    @property
    def _zero(self):
        return float(expit(self.parameters[-1]))

    @property
    def _rest(self):
        return float(expit(-self.parameters[-1]))

    def likelihood(self):
        """A mixture of the base's and zero."""
        from skglmm.engine.inflated import Inflated

        return Inflated(self.base.likelihood())

    def first_parameters(self, y, trials, weight):
        """Half of the zeros are those of the distribution."""
        some = y > 0.0
        rest = self.base.first_parameters(y[some], None, weight[some])
        share = 1.0 - np.average(some, weights=weight)
        return np.append(rest, logit(np.clip(0.5 * share, 0.02, 0.9)))

    def natural(self, parameters):
        """Those of the base, and a probability."""
        values, slopes = self.base.natural(parameters[:-1])
        p = expit(parameters[-1])
        return np.append(values, p), np.append(slopes, p * (1.0 - p))

    def limit(self, mean):
        found = self.base.limit(mean / self._rest)
        if self._zero < 1e-4:
            plain = "plain " + self.base.words
            found = [*found, ("zero_inflation", plain, "zero_inflation=False")]
        return found

    def _mean_of(self, mu):
        return self._rest * mu

    def _powers(self):
        powers = {p: self._rest * c for p, c in self.base._powers().items()}
        powers[2.0] = powers.get(2.0, 0.0) + self._rest * self._zero
        return powers

    def _upto(self, y, mu, size):
        return self._zero + self._rest * self.base._upto(y, mu, size)

    def _draw(self, mu, size, random):
        drawn = self.base._draw(mu, size, random)
        return np.where(random.uniform(size=np.shape(mu)) < self._zero, 0, drawn)

    def _location_of(self, mean):
        """mu where the mean of the response is known."""
        return mean / self._rest

    def _log_density(self, y, mean, trials):
        mu = self._location_of(mean)
        of_zero = np.exp(self.base._log_density(0.0, mu, trials))
        found = np.log(self._rest) + self.base._log_density(y, mu, trials)
        return np.where(y > 0.0, found, np.log(self._zero + self._rest * of_zero))

    def _best(self, y, trials):
        found = np.log(self._rest) + self.base._best(y, trials)
        return np.where(y > 0.0, found, 0.0)


class Hurdle(Inflated):
    """Zeros, and counts of another family that are not zero."""

    how = "hurdle"

    def likelihood(self):
        """Zero, or the base's without it."""
        from skglmm.engine.inflated import Hurdle

        return Hurdle(self.base.likelihood())

    def first_parameters(self, y, trials, weight):
        """All zeros are beside the distribution."""
        found = super().first_parameters(y, trials, weight)
        share = np.average(y == 0.0, weights=weight)
        found[-1] = logit(np.clip(share, 0.001, 0.999))
        return found

    def limit(self, mean):
        found = self.base.limit(mean / self._rest)
        if self._zero < 1e-6:
            truncated = "zero-truncated " + self.base.words
            found = [*found, ("zero_inflation", truncated, "rows with zeros")]
        return found

    def _some(self, mu):
        """P(Y > 0) of the base."""
        with np.errstate(all="ignore"):
            return -np.expm1(self.base._log_density(0.0, mu, None))

    def _mean_of(self, mu):
        some = self._some(mu)
        with np.errstate(all="ignore"):
            # the mean of counts that are not zero is one where the rate vanishes
            return self._rest * np.where(some > 1e-12, mu / some, 1.0)

    def _powers(self):
        return None

    def integrated_mean(self, eta, variance):
        """By sums: truncated means have no closed form."""
        return self._moments(eta, variance)[0]

    def _variance_of(self, mu, size):
        some = self._some(mu)
        second = self.base._variance_of(mu, size) + mu * mu
        with np.errstate(all="ignore"):
            second = np.where(some > 1e-12, second / some, 1.0)
        return self._rest * second - self._mean_of(mu) ** 2

    def _upto(self, y, mu, size):
        some, upto = self._some(mu), self.base._upto(y, mu, size)
        with np.errstate(all="ignore"):
            above = np.where(some > 1e-12, (1.0 - upto) / some, 0.0)
        above = np.where(y > 0.0, above, 1.0)
        return 1.0 - self._rest * above

    def _draw(self, mu, size, random):
        """The next draws replace zeros, and one is what is left where rates vanish."""
        drawn = np.asarray(self.base._draw(mu, size, random))
        for _ in range(60):
            none = drawn == 0
            if not none.any():
                break
            drawn = np.where(none, self.base._draw(mu, size, random), drawn)
        drawn = np.maximum(drawn, 1)
        return np.where(random.uniform(size=np.shape(mu)) < self._zero, 0, drawn)

    def _location_of(self, mean):
        """mu by halving, where the mean of the response is known."""
        _, high = halved(
            lambda log_mu: self._mean_of(np.exp(log_mu)) < mean,
            np.full(np.shape(mean), -40.0),
            np.log(mean / self._rest + 1.0),
            turns=60,
        )
        return np.exp(high)

    def _truncated(self, y, mu, trials):
        log_some = np.log(np.maximum(self._some(mu), _LEAST))
        return self.base._log_density(y, mu, trials) - log_some

    def _log_density(self, y, mean, trials):
        found = self._truncated(y, self._location_of(mean), trials)
        return np.where(y > 0.0, np.log(self._rest) + found, np.log(self._zero))

    def _best(self, y, trials):
        def at(log_mu):
            return self._truncated(y, np.exp(log_mu), trials)

        middle = np.log(y + 0.5)
        found = highest(at, middle - 15.0, middle + 6.0)
        return np.where(y > 0.0, np.log(self._rest) + found, np.log(self._zero))
