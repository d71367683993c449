"""Log-likelihoods of a row, their derivatives and their means under a Gaussian.

A family gives the log-likelihood l(eta) of one row and three derivatives with respect
to the linear predictor. The expectations that variational inference needs follow by
Gauss-Hermite quadrature; a family with a closed form overrides `expected`.
"""

import numpy as np
import tensorflow as tf

from skglmm.engine.structure import FLOAT

# Values at all nodes that fit into the cache.
_AT_ONCE = 500_000
# Size from which Stirling's series is exact to the last digits.
_STIRLING = 1e3


def _mean(terms, mean, variance, nodes, n=3):
    """Means of n functions of eta ~ N(mean, variance).

    A node at a time where all at once would not fit into the cache.
    """
    sd, zero = tf.sqrt(variance), tf.zeros_like(mean)

    def add(k, *sums):
        parts = terms(mean + nodes[0, k] * sd)
        return k + 1, *[a + nodes[1, k] * b for a, b in zip(sums, parts, strict=True)]

    def one_by_one():
        _, *sums = tf.while_loop(
            lambda k, *_: k < tf.shape(nodes)[1],
            add,
            (tf.constant(0), *(zero,) * n),
            parallel_iterations=1,
        )
        return tuple(sums)

    def at_once():
        parts = terms(mean + nodes[0][:, None] * sd)
        return tuple(tf.linalg.matvec(a, nodes[1], transpose_a=True) for a in parts)

    few = tf.size(mean) * tf.shape(nodes)[1] < _AT_ONCE
    return tf.cond(few, at_once, one_by_one)


class Likelihood:
    """Base of the families.

    Every method takes the responses y (n,), the number of trials (n,), which most
    families ignore, and the linear predictor.

    Attributes
    ----------
    is_concave : bool
        Whether the log-density is concave in the linear predictor for every response.
        One that is not has a `majorant` of its own.
    """

    is_concave = True

    def given(self, parameters):
        """The likelihood at parameters of its own (`Family.parameter_names`).

        Parameters
        ----------
        parameters : sequence of tensors
            Each a number, or of the shape of the linear predictor.
        """
        return self

    def centred(self, eta):
        """Linear predictors that say the same and lose fewest digits."""
        return eta

    def log_density(self, y, trials, eta):
        """l(eta) without the terms that do not depend on eta."""
        raise NotImplementedError

    def derivatives(self, y, trials, eta):
        """Score l', weight -l'' and the derivative of the weight, -l'''."""
        raise NotImplementedError

    def majorant(self, y, trials, eta):
        """A positive curvature, for steps where the true one is not."""
        return self.derivatives(y, trials, eta)[1]

    def constant(self, y, trials):
        """What `log_density` leaves out."""
        raise NotImplementedError

    def start(self, y, trials):
        """Linear predictor that a row alone suggests, to begin from."""
        raise NotImplementedError

    def expected(self, y, trials, mean, variance, nodes):
        """Means of l, l' and -l'' for eta ~ N(mean, variance).

        Parameters
        ----------
        y, trials, mean, variance : tensors of shape (n,)
        nodes : tensor of shape (2, K)
            Nodes and weights for a standard normal variable.

        Returns
        -------
        density, score, weight : tensors of shape (n,)
        """

        def terms(eta):
            return self.density_and_derivatives(y, trials, eta)

        return _mean(terms, mean, variance, nodes)

    def density_and_derivatives(self, y, trials, eta):
        """l, l' and -l'' at once, for a family that can share work between them."""
        score, weight, _ = self.derivatives(y, trials, eta)
        return self.log_density(y, trials, eta), score, weight


def slopes(likelihood, parameters, y, trials, eta):
    """Derivatives of every row's log-likelihood in the parameters of a family's own.

    Parameters
    ----------
    likelihood : Likelihood
    parameters : sequence of scalar tensors
    y, trials : tensors of shape (n,)
    eta : tensor of shape (..., n)

    Returns
    -------
    slopes : tuple of tensors of the shape of eta
    """

    def both(here):
        return here.log_density(y, trials, eta) + here.constant(y, trials)

    return _slopes(likelihood, parameters, eta, both)


def _slopes(likelihood, parameters, like, rows):
    """Derivatives of `rows`, a function of a likelihood, in the shape of `like`."""
    by_row = [p + tf.zeros_like(like) for p in parameters]
    with tf.GradientTape() as tape:
        tape.watch(by_row)
        total = rows(likelihood.given(by_row))
    return tuple(tape.gradient(total, by_row, unconnected_gradients="zero"))


def expected_slopes(likelihood, parameters, y, trials, mean, variance, nodes):
    """Means of `slopes` for eta ~ N(mean, variance), all of shape (n,)."""

    def terms(eta):
        def density(here):
            return here.log_density(y, trials, eta)

        return _slopes(likelihood, parameters, eta, density)

    varying = _mean(terms, mean, variance, nodes, len(parameters))
    fixed = _slopes(likelihood, parameters, y, lambda here: here.constant(y, trials))
    return tuple(a + b for a, b in zip(varying, fixed, strict=True))


class Poisson(Likelihood):
    """Counts with a log link: l = y eta - exp(eta)."""

    def log_density(self, y, trials, eta):
        return y * eta - tf.exp(eta)

    def derivatives(self, y, trials, eta):
        mu = tf.exp(eta)
        return y - mu, mu, mu

    def constant(self, y, trials):
        return -tf.math.lgamma(y + 1.0)

    def start(self, y, trials):
        return tf.math.log(y + 0.5)

    def expected(self, y, trials, mean, variance, nodes):
        mu = tf.exp(mean + 0.5 * variance)
        return y * mean - mu, y - mu, mu


class Binomial(Likelihood):
    """Successes among trials with a logit link: l = y eta - n log(1 + exp(eta))."""

    def log_density(self, y, trials, eta):
        return y * eta - trials * tf.math.softplus(eta)

    def derivatives(self, y, trials, eta):
        p = tf.sigmoid(eta)
        weight = trials * p * tf.sigmoid(-eta)
        return y - trials * p, weight, weight * (1.0 - 2.0 * p)

    @staticmethod
    def _parts(eta):
        """log(1 - p), p and p (1 - p)."""
        small = tf.exp(-tf.abs(eta))
        larger = 1.0 / (1.0 + small)
        smaller = small * larger
        p = tf.where(eta >= 0.0, larger, smaller)
        return tf.math.log(larger) - tf.maximum(eta, 0.0), p, larger * smaller

    def density_and_derivatives(self, y, trials, eta):
        rest, p, weight = self._parts(eta)
        return y * eta + trials * rest, y - trials * p, trials * weight

    def expected(self, y, trials, mean, variance, nodes):
        rest, p, weight = _mean(self._parts, mean, variance, nodes)
        return y * mean + trials * rest, y - trials * p, trials * weight

    def constant(self, y, trials):
        return (
            tf.math.lgamma(trials + 1.0)
            - tf.math.lgamma(y + 1.0)
            - tf.math.lgamma(trials - y + 1.0)
        )

    def start(self, y, trials):
        return tf.math.log((y + 0.5) / (trials - y + 0.5))


class NegativeBinomial(Likelihood):
    """Counts with a log link, Var = mu + mu^2 / size; psi = log(size).

    l = y eta - (y + size) log(1 + exp(eta) / size), less y log(size) at psi.
    """

    def given(self, parameters):
        found = NegativeBinomial()
        (found._log_size,) = parameters
        return found

    def log_density(self, y, trials, eta):
        log_size = self._log_size
        both = y + tf.exp(log_size)
        return y * (eta - log_size) - both * tf.math.softplus(eta - log_size)

    def derivatives(self, y, trials, eta):
        share, rest = tf.sigmoid(eta - self._log_size), tf.sigmoid(self._log_size - eta)
        both = y + tf.exp(self._log_size)
        weight = both * share * rest
        return y - both * share, weight, weight * (rest - share)

    def constant(self, y, trials):
        return _rising(tf.exp(self._log_size), y) - tf.math.lgamma(y + 1.0)

    def start(self, y, trials):
        return tf.math.log(y + 0.5)


def _rising(size, y):
    """log(Gamma(size + y) / Gamma(size)), less nothing that rounding would take.

    Where the size is large, by Stirling's series of both.
    """
    large = size > _STIRLING
    some = tf.where(large, tf.ones_like(size), size)
    direct = tf.math.lgamma(some + y) - tf.math.lgamma(some)
    much = tf.where(large, size, _STIRLING * tf.ones_like(size))
    both = much + y
    series = (
        y * tf.math.log(much)
        + (both - 0.5) * tf.math.log1p(y / much)
        - y
        + (1.0 / both - 1.0 / much) / 12.0
        - (1.0 / both**3 - 1.0 / much**3) / 360.0
    )
    return tf.where(large, series, direct)


def normal_nodes(n):
    """Gauss-Hermite nodes and weights (2, n) for a standard normal variable."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    return tf.constant(np.stack([x, w / w.sum()]), FLOAT)


LIKELIHOODS = {
    "poisson": Poisson(),
    "binomial": Binomial(),
    "negative_binomial": NegativeBinomial(),
}
