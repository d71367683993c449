"""Families of TensorFlow Probability, whose densities are differentiated here."""

from bisect import bisect_left

import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import Likelihood
from skglmm.engine.structure import FLOAT


class Foreign(Likelihood):
    """The density of a ``tfp.glm.ExponentialFamily``.

    Parameters
    ----------
    model : tfp.glm.ExponentialFamily
    """

    is_concave = False

    def __init__(self, model):
        self._model = model

    def log_density(self, y, trials, eta):
        return self._model.log_prob(y + tf.zeros_like(eta), eta)

    def derivatives(self, y, trials, eta):
        with tf.GradientTape() as outer:
            outer.watch(eta)
            with tf.GradientTape() as middle:
                middle.watch(eta)
                with tf.GradientTape() as inner:
                    inner.watch(eta)
                    density = self.log_density(y, trials, eta)
                score = inner.gradient(density, eta)
            curvature = middle.gradient(
                score, eta, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
        third = outer.gradient(
            curvature, eta, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return score, -curvature, -third

    def majorant(self, y, trials, eta):
        """The expected information."""
        _, variance, slope = self._model(eta)
        return slope * slope / tf.maximum(variance, 1e-300)

    def constant(self, y, trials):
        return tf.zeros_like(y)

    def start(self, y, trials):
        """Where the density is highest, of predictors that are tried."""
        tried = tf.constant(np.linspace(-8.0, 8.0, 33), FLOAT)[:, None]
        density = self.log_density(y[None], trials, tried + tf.zeros_like(y)[None])
        density = tf.where(tf.math.is_finite(density), density, -np.inf)
        return tf.gather(tried[:, 0], tf.argmax(density, 0))


def asked(model, what, eta, *more):
    """What a family of TensorFlow Probability says, as numpy arrays.

    Parameters
    ----------
    model : tfp.glm.ExponentialFamily
    what : {"mean", "variance", "log_prob", "sample"}
    eta : ndarray
    more : responses for ``"log_prob"``, two integers for ``"sample"``

    Returns
    -------
    found : ndarray of the shape of eta, or None if it has no samples
    """
    at = tf.constant(np.asarray(eta, dtype=float), FLOAT)
    if what == "log_prob":
        return model.log_prob(tf.constant(more[0], FLOAT), at).numpy()
    if what == "sample":
        try:
            drawn = model.as_distribution(at).sample(
                seed=tf.constant(more[0], tf.int32)
            )
        except (NotImplementedError, AttributeError):
            return None
        return drawn.numpy()
    mean, variance, _ = model(at)
    found = mean if what == "mean" else variance
    return np.broadcast_to(found.numpy(), at.shape)


def first_outside(model, y):
    """The first row whose response the family's distribution refuses.

    Densities are finite beside some supports. Distributions that validate what they are
    given, which they do if they are asked to, know theirs.

    Parameters
    ----------
    model : tfp.glm.ExponentialFamily
    y : ndarray of shape (n,)

    Returns
    -------
    row : int or None
        None if no row is refused, or if the family makes no distribution.
    """
    from tensorflow_probability.python.distributions import Gamma

    try:
        made = model.as_distribution(tf.zeros(1, FLOAT)).copy(validate_args=True)
    except (*_NO_ANSWER, tf.errors.InvalidArgumentError):
        return None

    def refused(n):
        # at zero a gamma density may be finite, and without a bound as the mean falls
        if type(made) is Gamma and np.any(y[:n] <= 0.0):
            return True
        try:
            made.log_prob(tf.constant(y[:n], FLOAT))
        except tf.errors.InvalidArgumentError:
            return True
        except _NO_ANSWER:
            return False
        return False

    if not refused(len(y)):
        return None
    return bisect_left(range(len(y)), True, key=lambda row: refused(row + 1))


_NO_ANSWER = (NotImplementedError, AttributeError, TypeError, ValueError)
