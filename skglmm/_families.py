"""What prediction and scoring need to know of a family (numpy only)."""

import numpy as np
from scipy.special import expit, log_expit, ndtr, xlogy

# Variances up to which so many Gauss-Hermite nodes average a logistic curve to 1e-8;
# beyond, the curve is the narrower function of the two.
_NODES = ((1.0, 21), (2.25, 35))
_STEP = 0.75
_LOGISTIC = _STEP * np.arange(-36, 37)


class Family:
    """Base of the families.

    Methods take the responses y (n,), the trials (n,) or None, and linear predictors
    that are normal with mean `eta` and a variance (n,).
    """

    def check(self, y, trials, rows):
        """Raise for impossible responses; return advice on doubtful ones.

        `rows` are the numbers of the rows as the user knows them.
        """
        return []

    def no_maximum(self, y, trials):
        """Why the likelihood has no maximum for these responses, or None."""
        return None

    def integrated_mean(self, eta, variance):
        """Mean of the response."""
        raise NotImplementedError


class Gaussian(Family):
    """Normal response with the identity link."""

    name = "gaussian"

    def integrated_mean(self, eta, variance):
        """The linear predictor itself."""
        return eta


class Poisson(Family):
    """Counts with the log link."""

    name = "poisson"

    def check(self, y, trials, rows):
        negative = np.flatnonzero(y < 0)
        if len(negative):
            at = negative[0]
            raise ValueError(
                f"Negative values in y: row {rows[at]} holds {y[at]:g}. Counts are 0, "
                "1, 2, ..."
            )
        if np.any(y != np.floor(y)):
            at = np.flatnonzero(y != np.floor(y))[0]
            return [
                f"y holds fractional counts (row {rows[at]}: {y[at]:g}): the estimates "
                "are those of a quasi-likelihood. For rates give the counts and name "
                "the exposure"
            ]
        return []

    def no_maximum(self, y, trials):
        if np.any(y > 0):
            return None
        return (
            "y is zero in every row, so that the best mean is zero and its log is not"
        )

    def integrated_mean(self, eta, variance):
        """exp(m + v / 2), the mean of a lognormal."""
        return np.exp(eta + 0.5 * variance)

    def deviance(self, y, mean, trials):
        """Unit deviances 2 (y log(y / mu) - y + mu)."""
        return 2.0 * (xlogy(y, y / mean) - y + mean)


class Binomial(Family):
    """Successes among trials with the logit link."""

    name = "binomial"

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
                    f"Row {rows[at]} has {what} (y={y[at]:g}, trials={trials[at]:g}): "
                    "y counts the successes among the trials of the row, which the "
                    "column named in trials= holds (1 without it)."
                )
        return []

    def no_maximum(self, y, trials):
        if not np.any(y > 0):
            return "no row has a success: the number is zero in each"
        if not np.any(y < (1.0 if trials is None else trials)):
            return "no row has a failure: the number is zero in each"
        return None

    def integrated_mean(self, eta, variance):
        """Mean of 1 / (1 + exp(-eta)), by quadrature."""
        eta, variance = np.broadcast_arrays(np.asarray(eta, dtype=float), variance)
        mean, low = np.empty(eta.shape), -np.inf
        if not np.any(variance):
            return expit(eta)
        for high, n in _NODES:
            here = (variance > low) & (variance <= high)
            if np.any(here):
                mean[here] = _average_hermite(eta[here], variance[here], n)
            low = high
        wide = variance > low
        if np.any(wide):
            mean[wide] = _average_logistic(eta[wide], variance[wide])
        return mean

    def deviance(self, y, mean, trials):
        """Unit deviances of y successes among trials with probability `mean`."""
        rest, eta = trials - y, np.log(mean) - np.log1p(-mean)
        fitted = y * log_expit(eta) + rest * log_expit(-eta)
        return 2.0 * (xlogy(y, y / trials) + xlogy(rest, rest / trials) - fitted)


def _average_hermite(eta, variance, n):
    """Sum over Gauss-Hermite nodes of the normal variable."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    sd, total = np.sqrt(variance), np.zeros_like(eta)
    for point, weight in zip(x, w / w.sum(), strict=True):
        total += weight * expit(eta + sd * point)
    return total


def _average_logistic(eta, variance):
    """P(eta + sd Z > L) for a logistic L, by the trapezoidal rule over L.

    Steps of h leave an error of exp(-2 pi^2 / h), for the density's poles at i pi.
    """
    weight = expit(_LOGISTIC) * expit(-_LOGISTIC)
    scale, total = 1.0 / np.sqrt(variance), np.zeros_like(eta)
    for point, w in zip(_LOGISTIC, weight / weight.sum(), strict=True):
        total += w * ndtr((eta + point) * scale)
    return total


def explained_deviance(family, y, mean, trials, weight):
    """D squared: 1 - deviance / deviance of a constant mean."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    total = weight if family.name == "poisson" else weight * trials
    constant = np.sum(weight * y) / np.sum(total)
    null = np.sum(weight * family.deviance(y, np.full(len(y), constant), trials))
    return 1.0 - np.sum(weight * family.deviance(y, mean, trials)) / null


FAMILIES = {family.name: family for family in (Gaussian(), Poisson(), Binomial())}
