"""What prediction and scoring need to know of a family (numpy only)."""

import numpy as np
from scipy.special import expit, log_expit, ndtri, xlogy

from skglmm._mixtures import Counts, Successes, logistic_moments, quantile

# Above this NumPy draws no Poisson variables.
_LARGEST_MEAN = 9e18
_LEAST_PROBABILITY = 1e-300


class Family:
    """Base of the families.

    Methods take the responses y (n,), the trials (n,) or None, and linear predictors
    that are normal with mean `eta` and a variance (n,). A new observation is
    in the units of `integrated_mean`; its `size` (n,) is what else its distribution
    depends on: the residual variance, the number of trials, or nothing (None).

    Attributes
    ----------
    name : str
        As an estimator's ``_family`` has it.
    words, link : str
        Distribution and link as a summary calls them.
    residual : str
        What the variance is called that groups and columns leave on the scale of the
        linear predictor.
    """

    words, link, residual = "", "", "distribution"

    def latent_variance(self, mean, noise_variance):
        """Variance of an observation on the scale of the linear predictor.

        By the delta method, Var(y) / (d mu / d eta)^2 at the mean of the response, for
        a family that does not know it better.

        Parameters
        ----------
        mean : float
            Mean of the response over rows.
        noise_variance : float or None
            Residual variance of the model, if it has one.
        """
        low, high = -700.0, 700.0
        for _ in range(200):
            eta = 0.5 * (low + high)
            below = self.inverse_link(np.array([eta]))[0] < mean
            low, high = (eta, high) if below else (low, eta)
        at, step = np.array([high]), 1e-5
        slope = (self.inverse_link(at + step) - self.inverse_link(at - step)) / 2e-5
        size = self.observation_size({}, 1, noise_variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.variance(at, np.zeros(1), size) / slope**2)[0]

    def observation_size(self, special, n_rows, noise_variance):
        """What else the distribution of an observation depends on, or None.

        `special` holds the columns with a role, such as trials.
        """
        return None

    def check(self, y, trials, rows):
        """Raise for impossible responses; return advice on doubtful ones.

        `rows` are the numbers of the rows as the user knows them.
        """
        return []

    def no_maximum(self, y, trials):
        """Why the likelihood has no maximum for these responses, or None."""
        return None

    def inverse_link(self, eta):
        """Mean of the response where the linear predictor is known."""
        raise NotImplementedError

    def integrated_mean(self, eta, variance):
        """Mean of the response."""
        raise NotImplementedError

    def variance(self, eta, variance, size):
        """Variance of a new observation."""
        raise NotImplementedError

    def quantile(self, probability, eta, variance, size):
        """Quantile of a new observation, for a probability that all rows share."""
        raise NotImplementedError

    def sample(self, eta, size, random):
        """Observations where the linear predictor is known, in the shape of `eta`.

        `random` is a RandomState, and `size` broadcasts with `eta`.
        """
        raise NotImplementedError


class Gaussian(Family):
    """Normal response with the identity link."""

    name, words, link, residual = "gaussian", "normal", "identity", "residual"

    def latent_variance(self, mean, noise_variance):
        """The residual variance."""
        return noise_variance

    def observation_size(self, special, n_rows, noise_variance):
        """The residual variance."""
        return np.full(n_rows, noise_variance)

    def inverse_link(self, eta):
        """The linear predictor itself."""
        return eta

    def integrated_mean(self, eta, variance):
        """The linear predictor itself."""
        return eta

    def variance(self, eta, variance, size):
        """Sum of the two variances."""
        return variance + size

    def quantile(self, probability, eta, variance, size):
        """That of a normal variable."""
        return eta + ndtri(probability) * np.sqrt(variance + size)

    def sample(self, eta, size, random):
        """Normal variables."""
        return eta + np.sqrt(size) * random.standard_normal(eta.shape)


class Poisson(Family):
    """Counts with the log link."""

    name, words, link = "poisson", "Poisson", "log"

    def latent_variance(self, mean, noise_variance):
        """log(1 + 1 / mean), that of a lognormal with the same moments."""
        return np.log1p(1.0 / mean) if mean else np.inf

    def check(self, y, trials, rows):
        negative = np.flatnonzero(y < 0)
        if len(negative):
            at = negative[0]
            raise ValueError(
                f"Negative values in y: row {rows[at]} holds {y[at]:g}. Counts are 0, "
                "1, 2, ...: drop such rows, or use MixedLinearRegressor."
            )
        if np.any(y != np.floor(y)):
            at = np.flatnonzero(y != np.floor(y))[0]
            return [
                f"fractional counts in y: row {rows[at]} holds {_number(y[at])}. The "
                "estimates are those of a quasi-likelihood; for rates give the counts "
                "and name the exposure"
            ]
        return []

    def no_maximum(self, y, trials):
        if np.any(y > 0):
            return None
        return "y is zero in every row, so that the best mean is zero, which has no log"

    def inverse_link(self, eta):
        """exp(eta)."""
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def integrated_mean(self, eta, variance):
        """exp(m + v / 2), the mean of a lognormal."""
        with np.errstate(over="ignore"):
            return np.exp(eta + 0.5 * variance)

    def variance(self, eta, variance, size):
        """E[mu] + Var[mu] = e^(m + v / 2) + (e^v - 1) e^(2 m + v), of a lognormal."""
        with np.errstate(over="ignore", divide="ignore"):
            log_excess = variance + np.log(-np.expm1(-variance))
            own = np.exp(eta + 0.5 * variance)
            return own + np.exp(2.0 * eta + variance + log_excess)

    def quantile(self, probability, eta, variance, size):
        """That of a Poisson variable with lognormal mean."""
        return quantile(Counts(), probability, eta, variance)

    def sample(self, eta, size, random):
        """Poisson variables."""
        mean = np.minimum(self.inverse_link(eta), _LARGEST_MEAN)
        return random.poisson(mean)

    def deviance(self, y, mean, trials):
        """Unit deviances 2 (y log(y / mu) - y + mu)."""
        some = np.where((mean > 0.0) & (mean < np.inf), mean, 1.0)
        deviance = 2.0 * (xlogy(y, y / some) - y + mean)
        return np.where((mean == 0.0) & (y > 0.0), np.inf, deviance)


class Binomial(Family):
    """Successes among trials with the logit link."""

    name, words, link = "binomial", "binomial", "logit"

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

    def variance(self, eta, variance, size):
        """Var[p] + E[p (1 - p)] / n, of the share of successes among n trials."""
        _, inner, spread = logistic_moments(eta, variance)
        return spread + inner / size

    def quantile(self, probability, eta, variance, size):
        """That of the share of successes, whose logit is normal in the mean."""
        return quantile(Successes(size), probability, eta, variance) / size

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


def _number(value):
    """A number in few digits, or in all where few would hide that it is not whole."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def explained_deviance(family, y, mean, trials, weight):
    """D squared: 1 - deviance / deviance of a constant mean."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    total = weight if family.name == "poisson" else weight * trials
    constant = np.sum(weight * y) / np.sum(total)
    null = np.sum(weight * family.deviance(y, np.full(len(y), constant), trials))
    left = np.sum(weight * family.deviance(y, mean, trials))
    if null == 0.0:
        # there is nothing to explain: as `sklearn.metrics.r2_score` has it
        return 1.0 if left == 0.0 else 0.0
    return 1.0 - left / null


FAMILIES = {family.name: family for family in (Gaussian(), Poisson(), Binomial())}
