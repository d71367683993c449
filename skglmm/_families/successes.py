"""Successes among trials."""

import numpy as np
from scipy.special import expit, log_expit, xlogy

from skglmm._families.base import Family, _number, between
from skglmm._families.mixed_counts import (
    Successes,
    logistic_moments,
    probabilities,
    quantile,
)

_LEAST_PROBABILITY = 1e-300


class Binomial(Family):
    """Successes among trials with the logit link."""

    name, words, link = "binomial", "binomial", "logit"
    is_bounded = True

    def latent_variance(self, mean, noise_variance):
        """pi^2 / 3, that of a logistic variable."""
        return np.pi**2 / 3.0

    def observation_size(self, special, n_rows, noise_variance):
        """The number of trials."""
        return special.get("trials", np.ones(n_rows))

    def check(self, y, trials, rows):
        trials = np.ones(len(y)) if trials is None else trials
        for bad, what in (
            (trials < 1, "trials below 1"),
            (trials != np.floor(trials), "a fractional number of trials"),
            (y < 0, "a negative number of successes"),
            (y > trials, "more successes than trials"),
            (y != np.floor(y), "a fractional number of successes"),
        ):
            if np.any(bad):
                at = np.flatnonzero(bad)[0]
                raise ValueError(
                    f"Row {rows[at]} has {what} (y={_number(y[at])}, "
                    f"trials={_number(trials[at])}): y counts the successes among the "
                    "trials of the row, which the column named in trials= holds (1 "
                    "without it)."
                )
        return []

    def events(self, y, weight, trials):
        """Outcomes of the rarer kind."""
        trials = 1.0 if trials is None else trials
        return min(float(weight @ y), float(np.sum(weight * (trials - y))))

    def no_maximum(self, y, trials):
        if not np.any(y > 0):
            return "no row has a success: the number is zero in each"
        if not np.any(y < (1.0 if trials is None else trials)):
            return "no row has a failure: the number is zero in each"
        return None

    def inverse_link(self, eta):
        """1 / (1 + exp(-eta))."""
        return expit(eta)

    def integrated_mean(self, eta, variance):
        """Mean of 1 / (1 + exp(-eta)), by quadrature."""
        if not np.any(variance):
            return expit(eta)
        return logistic_moments(eta, variance)[0]

    def integrated_slope(self, eta, variance):
        """Mean of p (1 - p)."""
        return logistic_moments(eta, variance)[1]

    def variance(self, eta, variance, size):
        """Var[p] + E[p (1 - p)] / n, of the share of successes among n trials."""
        _, inner, spread = logistic_moments(eta, variance)
        return spread + inner / size

    def quantile(self, probability, eta, variance, size):
        """That of the share of successes, whose logit is normal in the mean."""
        return quantile(Successes(size), probability, eta, variance) / size

    def normal_scores(self, y, eta, variance, size, random):
        """Those of shares of successes, whose logit is normal in the mean."""
        successes = np.rint(y * size)
        pair = probabilities(Successes(size), successes, eta, variance)
        return between(*pair, random)

    def sample(self, eta, size, random):
        """Shares of successes among the trials."""
        trials = np.broadcast_to(size, eta.shape)
        return random.binomial(trials.astype(np.int64), expit(eta)) / trials

    def deviance(self, y, mean, trials):
        """Unit deviances of y successes among trials with probability `mean`."""
        certain = (y == trials * mean) & ((mean == 0.0) | (mean == 1.0))
        # a probability that has been rounded to 0 or 1 is not that
        mean = np.clip(mean, _LEAST_PROBABILITY, 1.0 - 2.0**-53)
        rest, eta = trials - y, np.log(mean) - np.log1p(-mean)
        fitted = y * log_expit(eta) + rest * log_expit(-eta)
        own = xlogy(y, y / trials) + xlogy(rest, rest / trials)
        return np.where(certain, 0.0, 2.0 * (own - fitted))
