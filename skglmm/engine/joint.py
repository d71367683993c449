"""A fitted model as distributions of TensorFlow Probability."""

import numpy as np
import tensorflow as tf

from skglmm.engine.montecarlo import _probability
from skglmm.engine.structure import FLOAT


def joint_distribution(priors, rows):
    """Random effects, and the responses of rows given them.

    Parameters
    ----------
    priors : dict of tuple
        For each name of effects the root (q, q) of their covariance, lower triangular,
        and the number of levels.
    rows : tuple or None
        Linear predictors (n_rows,) without random effects; for each name the levels
        (n_rows,) and row values (n_rows, q); and the response as `responses` has it.

    Returns
    -------
    joint : JointDistributionCoroutineAutoBatched
        Its ``resolve_graph()`` gives each name with those that it depends on.
    """
    tfd = _probability().distributions

    def model():
        effects = {}
        for name, (root, n_levels) in priors.items():
            one = tfd.MultivariateNormalTriL(
                tf.zeros(len(root), FLOAT), tf.constant(root, FLOAT)
            )
            effects[name] = yield tfd.Sample(one, n_levels, name=name)
        if rows is None:
            return
        eta, members, response = rows
        eta = tf.constant(eta, FLOAT)
        for name, (codes, z) in members.items():
            of_rows = tf.gather(effects[name], codes, axis=-2)
            eta = eta + tf.reduce_sum(of_rows * tf.constant(z, FLOAT), axis=-1)
        yield _independent(tfd, response, eta)

    graph = [(name, ()) for name in priors]
    if rows is not None:
        graph.append(("y", tuple(rows[1])))
    return _with_graph(tfd)(model, graph)


def posterior_distribution(posteriors):
    """Gaussian posterior of random effects, the levels independent of each other.

    Parameters
    ----------
    posteriors : dict of tuple
        For each name means (n_levels, q) and roots (n_levels, q, q) of covariances,
        lower triangular.

    Returns
    -------
    posterior : JointDistributionCoroutineAutoBatched
    """
    tfd = _probability().distributions

    def model():
        for name, (mean, root) in posteriors.items():
            levels = tfd.MultivariateNormalTriL(
                tf.constant(mean, FLOAT), tf.constant(root, FLOAT)
            )
            yield tfd.Independent(levels, 1, name=name)

    return _with_graph(tfd)(model, [(name, ()) for name in posteriors])


def _with_graph(tfd):
    """The class of joint distributions, with the graph that others of its kind have."""

    class JointDistributionCoroutineAutoBatched(
        tfd.JointDistributionCoroutineAutoBatched
    ):
        """A joint distribution that says which of its parts depend on which."""

        def __init__(self, model, graph):
            super().__init__(model)
            self._graph = tuple(graph)

        def resolve_graph(self):
            """Names of the parts, each with the names that it depends on."""
            return self._graph

    return JointDistributionCoroutineAutoBatched


def _independent(tfd, response, eta):
    """Distribution of all responses at linear predictors.

    `response` names the distribution, and has what else it depends on.
    """
    name, size = response
    size = None if size is None else tf.constant(np.asarray(size), FLOAT)
    made = {
        "normal": lambda: tfd.Normal(eta, tf.sqrt(size)),
        "poisson": lambda: tfd.Poisson(log_rate=eta),
        "bernoulli": lambda: tfd.Bernoulli(logits=eta, dtype=tf.int32),
        "binomial": lambda: tfd.Binomial(total_count=size, logits=eta),
    }[name]()
    return tfd.Independent(made, 1, name="y")
