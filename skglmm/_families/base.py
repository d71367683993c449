"""What prediction and scoring need to know of a family (numpy only)."""

import copy

import numpy as np
from scipy.special import ndtri

# Samples that a response is ranked among where its distribution is not known, and
# probabilities that have a finite normal score.
_SAMPLES = 1000
_LEAST, _MOST = 1e-300, 1.0 - 2.0**-53


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
    is_linear : bool
        Whether the likelihood is that of a linear model: a normal response with the
        identity link, so that sums over rows are all that a solver needs.
    is_bounded : bool
        Whether a response has a largest value, which the best mean may reach without
        end: yes or no, and successes among trials.
    is_everywhere : bool
        Whether every linear predictor has a mean: not so with a link such as the
        inverse of positive means.
    is_by_class : bool
        Whether a row of the user is a row for each class, with an effect in common
        (see `by_class`).
    parameter_names : tuple of str
        Parameters of its own, such as a dispersion, as users read them. The optimiser
        moves each on the whole line, beside the variances.
    parameters : ndarray of shape (n_own,) or None
        Their values there, once they are known; see `given`.
    """

    words, link, residual = "", "", "distribution"
    is_linear, is_bounded, is_everywhere = False, False, True
    is_by_class = False
    parameter_names: tuple[str, ...] = ()
    parameters = None

    @property
    def in_words(self):
        """The parameters of its own as a message calls them."""
        names = (name.replace("_", " ") for name in self.parameter_names)
        return f"a {' and '.join(names)}"

    @property
    def origin(self):
        """The family before it was given values of its parameters."""
        return self if self.parameters is None else self._origin

    def given(self, parameters):
        """The same with values of the parameters of its own.

        Parameters
        ----------
        parameters : ndarray of shape (n_own,)
            On the whole line, as the optimiser moves them.
        """
        if not self.parameter_names:
            return self
        found = copy.copy(self)
        found.parameters, found._origin = np.asarray(parameters), self.origin
        return found

    def first_parameters(self, y, trials, weight):
        """Parameters (n_own,) to begin a search from."""
        raise NotImplementedError

    def natural(self, parameters):
        """The parameters (n_own,) in the user's terms, and their derivatives.

        In the base they are positive, and their logarithms are moved.
        """
        values = np.exp(parameters)
        return values, values

    @property
    def _dispersion(self):
        """The first parameter, where it is as `natural` of the base has it."""
        return float(np.exp(self.parameters[0]))

    def events(self, y, weight, trials):
        """What levels are informed by: rows, or counted events.

        Parameters
        ----------
        y, weight : ndarray of shape (n,)
        trials : ndarray of shape (n,) or None

        Returns
        -------
        events : float
        """
        return float(np.sum(weight))

    def limit(self, mean):
        """Simpler models that the family's own parameters have run to.

        Parameters
        ----------
        mean : float
            Mean of the response over rows.

        Returns
        -------
        limits : list of tuples of str
            Name of each parameter at a limit, what the simpler model is called, and
            what to write for it.
        """
        return []

    def reported(self, parameters, covariance, intercept):
        """Names, values and standard errors of what users read of the parameters.

        Parameters
        ----------
        parameters, covariance : ndarrays of shape (n_own,), (n_own, n_own) or None
            On the whole line; None without any.
        intercept : tuple
            Fixed intercept, its variance, and its covariances (n_own,) with the
            parameters or None.

        Returns
        -------
        names, values, std_errors : sequences of equal length, or None without any
        """
        if not self.parameter_names:
            return None
        values, slopes = self.natural(parameters)
        std_errors = np.abs(slopes) * np.sqrt(np.diag(covariance))
        return self.parameter_names, values, std_errors

    def likelihood(self):
        """What the engine computes with: an `engine.likelihoods.Likelihood`.

        It is asked for when a model is fitted, and TensorFlow is imported then. The
        base has the one of the family's name.
        """
        from skglmm.engine.likelihoods import LIKELIHOODS

        return LIKELIHOODS[self.name]

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
        _, at = halved(
            lambda eta: self.inverse_link(eta) < mean,
            np.full(1, -700.0),
            np.full(1, 700.0),
            turns=200,
        )
        step = 1e-5
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

    def integrated_slope(self, eta, variance):
        """Derivative of `integrated_mean` in `eta`; by differences in the base."""
        step = 1e-5
        ahead, behind = (
            self.integrated_mean(eta + sign * step, variance) for sign in (1.0, -1.0)
        )
        return (ahead - behind) / (2.0 * step)

    def variance(self, eta, variance, size):
        """Variance of a new observation."""
        raise NotImplementedError

    def quantile(self, probability, eta, variance, size):
        """Quantile of a new observation, for a probability that all rows share."""
        raise NotImplementedError

    def normal_scores(self, y, eta, variance, size, random):
        """Normal scores of observations, independent of eta if the model is right.

        The quantile of the standard normal distribution at P(Y < y) + u P(Y = y), u
        uniform between 0 and 1. The base knows the distribution by its samples: the
        rank of y among them, u between its ties.

        Parameters
        ----------
        y : ndarray of shape (n,)
            In the units of `integrated_mean`.
        eta, variance : ndarray of shape (n,)
            Mean and variance of the linear predictor.
        size : ndarray of shape (n,) or None
        random : RandomState

        Returns
        -------
        scores : ndarray of shape (n,)
        """
        below, equal = np.zeros(len(y)), np.ones(len(y))
        for _ in range(_SAMPLES):
            eta_drawn = eta + np.sqrt(variance) * random.standard_normal(len(y))
            drawn = self.sample(eta_drawn, size, random)
            below += drawn < y
            equal += drawn == y
        u = random.uniform(size=len(y))
        return ndtri(np.clip((below + u * equal) / (_SAMPLES + 1), _LEAST, _MOST))

    def sample(self, eta, size, random):
        """Observations where the linear predictor is known, in the shape of `eta`.

        `random` is a RandomState, and `size` broadcasts with `eta`.
        """
        raise NotImplementedError


def moments(y, weight):
    """Mean and variance of responses."""
    mean = np.average(y, weights=weight)
    return mean, np.average((y - mean) ** 2, weights=weight)


def halved(below, low, high, turns):
    """Intervals that hold the place where a condition ends, halved many times.

    Parameters
    ----------
    below : callable
        Maps points (n,) to whether they lie below what is looked for.
    low, high : ndarray of shape (n,)
    turns : int

    Returns
    -------
    low, high : ndarray of shape (n,)
    """
    for _ in range(turns):
        middle = 0.5 * (low + high)
        is_below = below(middle)
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return low, high


def between(below, upto, random):
    """Normal scores of uniform draws between the probabilities `below` and `upto`."""
    u = random.uniform(size=len(below))
    return ndtri(np.clip(below + u * np.maximum(upto - below, 0.0), _LEAST, _MOST))


def _number(value):
    """A number in few digits, or in all where few would hide that it is not whole."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def explained_deviance(family, y, mean, trials, weight):
    """D squared: 1 - deviance / deviance of a constant mean."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    total = weight * trials
    constant = np.sum(weight * y) / np.sum(total)
    null = np.sum(weight * family.deviance(y, np.full(len(y), constant), trials))
    left = np.sum(weight * family.deviance(y, mean, trials))
    if null == 0.0:
        # there is nothing to explain: as `sklearn.metrics.r2_score` has it
        return 1.0 if left == 0.0 else 0.0
    return 1.0 - left / null
