"""Shares and successes with other links, or that vary too much."""

import numpy as np
from scipy.special import betainc, betaln, expit, logit

from skglmm._families.base import _number, moments
from skglmm._families.linked import (
    ContinuousFamily,
    ShareFamily,
    highest,
    log_shares,
)
from skglmm._families.successes import Binomial

_PRECISE = 1e5


class LinkedBinomial(ShareFamily, Binomial):
    """Successes among trials with the probit or the cloglog link."""

    name, words = "binomial", "binomial"
    concave = ("probit", "cloglog")
    inverse_link = ShareFamily.inverse_link
    integrated_mean = ShareFamily.integrated_mean
    integrated_slope = ShareFamily.integrated_slope
    sample = ShareFamily.sample
    deviance = Binomial.deviance
    events = Binomial.events

    def _core(self):
        from skglmm.engine.likelihoods import Binomial

        return Binomial()

    def _variance_of(self, mu, size):
        return mu * (1.0 - mu) / size

    def _upto(self, y, mu, size):
        return np.where(
            y < size, betainc(np.maximum(size - y, 1.0), y + 1.0, 1 - mu), 1
        )

    def _draw(self, mu, size, random):
        trials = np.broadcast_to(size, mu.shape)
        return random.binomial(trials.astype(np.int64), mu) / trials


class BetaBinomial(ShareFamily):
    """Successes whose probability is a beta variable of the precision phi."""

    name, words = "beta_binomial", "beta-binomial"
    parameter_names = ("dispersion",)
    check = Binomial.check
    no_maximum = Binomial.no_maximum
    events = Binomial.events

    def _core(self):
        from skglmm.engine.bounded import BetaBinomial

        return BetaBinomial()

    def first_parameters(self, y, trials, weight):
        """Precision that has the variance of the shares."""
        trials = np.ones(len(y)) if trials is None else trials
        n = np.average(trials, weights=weight)
        mean = np.average(y, weights=weight) / n
        share = y / trials
        spread = np.average((share - mean) ** 2, weights=weight)
        rho = (spread * n / max(mean * (1.0 - mean), 1e-12) - 1.0) / max(n - 1.0, 1.0)
        return np.log([1.0 / np.clip(rho, 0.02, 0.8) - 1.0])

    def limit(self, mean):
        if self._dispersion > _PRECISE:
            return [("dispersion", "binomial", "family='binomial'")]
        return []

    def _variance_of(self, mu, size):
        phi = self._dispersion
        return mu * (1.0 - mu) / size * (phi + size) / (phi + 1.0)

    def _log_choose(self, n, k):
        return -np.log(n + 1.0) - betaln(n - k + 1.0, k + 1.0)

    def _log_density(self, y, mean, trials):
        _, _, mu = log_shares(mean)
        a, b = self._dispersion * mu, self._dispersion * np.maximum(1.0 - mu, 1e-300)
        return (
            self._log_choose(trials, y) + betaln(a + y, b + trials - y) - betaln(a, b)
        )

    def _best(self, y, trials):
        def at(eta):
            return self._log_density(y, expit(eta), trials)

        middle = logit((y + 0.5) / (trials + 1.0))
        inside = (y > 0.0) & (y < trials)
        return np.where(inside, highest(at, middle - 10.0, middle + 10.0), 0.0)

    def _upto(self, y, mu, size):
        y, mu, size = np.broadcast_arrays(np.asarray(y, float), mu, size)
        total = np.zeros(y.shape)
        for k in range(int(np.max(y, initial=-1.0)) + 1):
            part = np.exp(self._log_density(np.minimum(float(k), size), mu, size))
            total += np.where(k <= y, part, 0.0)
        return np.minimum(total, 1.0)

    def _draw(self, mu, size, random):
        trials = np.broadcast_to(size, mu.shape)
        shapes = (np.maximum(self._dispersion * p, 1e-300) for p in (mu, 1.0 - mu))
        return random.binomial(trials.astype(np.int64), random.beta(*shapes)) / trials


class Beta(ContinuousFamily):
    """Shares between 0 and 1: Var = mu (1 - mu) / (1 + phi)."""

    name, words = "beta", "beta"
    links = ("logit", "probit", "cloglog")
    parameter_names = ("dispersion",)

    def _core(self):
        from skglmm.engine.bounded import Beta

        return Beta()

    def check(self, y, trials, rows):
        bad = np.flatnonzero(~((y > 0.0) & (y < 1.0)))
        if len(bad):
            at = bad[0]
            raise ValueError(
                f"Row {rows[at]} holds {_number(y[at])} in y: the beta family is of "
                "shares between 0 and 1, neither of which it has. Drop such rows, or "
                "move all a little toward 1/2; successes among trials are "
                "family='binomial'."
            )
        return []

    def first_parameters(self, y, trials, weight):
        """Precision that has the moments of the responses."""
        mean, spread = moments(y, weight)
        phi = mean * (1.0 - mean) / max(spread, 1e-12) - 1.0
        return np.log([np.clip(phi, 0.2, 1e4)])

    def limit(self, mean):
        if self._dispersion > 1e7:
            return [("dispersion", "normal", "MixedLinearRegressor on the logits of y")]
        return []

    def _shapes(self, mu):
        _, _, mu = log_shares(mu)
        return self._dispersion * mu, self._dispersion * np.maximum(1.0 - mu, 1e-300)

    def _variance_of(self, mu, size):
        return mu * (1.0 - mu) / (1.0 + self._dispersion)

    def _to_line(self, y):
        return logit(y)

    def _from_line(self, t):
        return expit(t)

    def _unit(self, mu, size):
        with np.errstate(all="ignore"):
            found = 1.0 / np.sqrt(mu * (1.0 - mu) * (1.0 + self._dispersion))
        return np.clip(np.where(np.isnan(found), 1.0, found), 1e-8, 1e2)

    def _upto(self, y, mu, size):
        return betainc(*self._shapes(mu), y)

    def _draw(self, mu, size, random):
        return random.beta(*self._shapes(mu))

    def _log_density(self, y, mean, trials):
        a, b = self._shapes(mean)
        return (a - 1.0) * np.log(y) + (b - 1.0) * np.log1p(-y) - betaln(a, b)

    def _best(self, y, trials):
        def at(eta):
            return self._log_density(y, expit(eta), trials)

        middle = logit(y)
        return highest(at, np.minimum(middle, 0) - 20.0, np.maximum(middle, 0) + 20.0)
