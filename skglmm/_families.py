"""What prediction and scoring need to know of a family (numpy only)."""

import numpy as np
from scipy.special import expit, log_expit, xlogy

_MODERATE = 4.0


class Gaussian:
    """Normal response with the identity link."""

    name = "gaussian"

    def check(self, y, trials):
        """Raise for impossible responses; return advice on doubtful ones."""
        return []

    def integrated_mean(self, eta, variance):
        """Mean of the response for eta ~ N(eta, variance)."""
        return eta


class Poisson:
    """Counts with the log link."""

    name = "poisson"

    def check(self, y, trials):
        negative = np.flatnonzero(y < 0)
        if len(negative):
            raise ValueError(
                f"Negative values in y: row {negative[0]} holds {y[negative[0]]:g}. "
                "Counts are 0, 1, 2, ..."
            )
        if np.any(y != np.floor(y)):
            row = np.flatnonzero(y != np.floor(y))[0]
            return [
                f"y holds fractional counts (row {row}: {y[row]:g}): the estimates are "
                "those of a quasi-likelihood. For rates give the counts and name the "
                "exposure"
            ]
        return []

    def integrated_mean(self, eta, variance):
        """exp(m + v / 2), the mean of a lognormal."""
        return np.exp(eta + 0.5 * variance)

    def deviance(self, y, mean, trials):
        """Unit deviances 2 (y log(y / mu) - y + mu)."""
        return 2.0 * (xlogy(y, y / mean) - y + mean)


class Binomial:
    """Successes among trials with the logit link."""

    name = "binomial"

    def check(self, y, trials):
        trials = np.ones(len(y)) if trials is None else trials
        for bad, what in (
            (trials < 1, "trials below 1"),
            (trials != np.floor(trials), "a fractional number of trials"),
            (y < 0, "a negative number of successes"),
            (y > trials, "more successes than trials"),
            (y != np.floor(y), "a fractional number of successes"),
        ):
            if np.any(bad):
                row = np.flatnonzero(bad)[0]
                raise ValueError(
                    f"Row {row} has {what} (y={y[row]:g}, trials={trials[row]:g}): y "
                    "counts the successes among the trials of the row, which the "
                    "column named in trials= holds (1 without it)."
                )
        return []

    def integrated_mean(self, eta, variance):
        """Mean of 1 / (1 + exp(-eta)), by Gauss-Hermite quadrature."""
        if not np.any(variance):
            return expit(eta)
        n = 21 if np.max(variance) <= _MODERATE else 61
        x, w = np.polynomial.hermite_e.hermegauss(n)
        sd, total = np.sqrt(variance), np.zeros_like(eta)
        for point, weight in zip(x, w / w.sum(), strict=True):
            total += weight * expit(eta + sd * point)
        return total

    def deviance(self, y, mean, trials):
        """Unit deviances of y successes among trials with probability `mean`."""
        rest, eta = trials - y, np.log(mean) - np.log1p(-mean)
        fitted = y * log_expit(eta) + rest * log_expit(-eta)
        return 2.0 * (xlogy(y, y / trials) + xlogy(rest, rest / trials) - fitted)


def explained_deviance(family, y, mean, trials, weight):
    """D squared: 1 - deviance / deviance of a constant mean."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    total = weight if family.name == "poisson" else weight * trials
    constant = np.sum(weight * y) / np.sum(total)
    null = np.sum(weight * family.deviance(y, np.full(len(y), constant), trials))
    return 1.0 - np.sum(weight * family.deviance(y, mean, trials)) / null


FAMILIES = {family.name: family for family in (Gaussian(), Poisson(), Binomial())}
