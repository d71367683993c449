"""Parameters of a family's own, such as a dispersion, in what the optimiser moves.

They stand before the covariance parameters, each on the whole line. A family need not
know a derivative in them: rows are differentiated automatically, at the fixed solution
of the inner problem.
"""

import tensorflow as tf

# Longest step before the metric is trusted, and the least curvature, a row.
_FAR, _FLAT = 1.0, 1e-8


def split(family, data, point):
    """The rest of a point (k,), and rows that come with the parameters at its head."""
    n_own = len(family.parameter_names)
    if not n_own:
        return point, data
    head = tuple(tf.unstack(point[:n_own], num=n_own))
    return point[n_own:], data | {"parameters": head}


def slope(family, data, total):
    """Derivatives (n_own,) of a total of rows.

    Parameters
    ----------
    family : Family
    data : dict
    total : callable
        Maps a `likelihoods.Likelihood` to the total; nothing else in it is
        differentiated.
    """
    parameters = data["parameters"]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        value = total(family.likelihood().given(parameters))
    found = tape.gradient(value, parameters, unconnected_gradients="zero")
    return tf.stack(found)


class Metric:
    """What a search knows of the parameters before it has learnt more.

    Without any it does nothing.

    Parameters
    ----------
    family : Family
    data : dict
    eta : tensor of shape (n,)
        Linear predictor at which the curvature is that of the rows.
    gradient : tensor of shape (n_own,)
    """

    def __init__(self, family, data, eta, gradient):
        self._family, self._data = family, data
        self._eta, self._gradient = eta, gradient

    @property
    def _none(self):
        return not self._data["parameters"]

    def _inverse(self):
        """Inverse of the curvature of -2 log-likelihood, made positive."""
        data, parameters = self._data, self._data["parameters"]
        y, trials, w = data["y"], data["trials"], data["weight"]
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(parameters)
            with tf.GradientTape() as tape:
                tape.watch(parameters)
                here = self._family.likelihood().given(parameters)
                density = here.log_density(y, trials, self._eta)
                rows = density + here.constant(y, trials)
                value = -2.0 * tf.reduce_sum(w * rows)
            gradient = tape.gradient(value, parameters, unconnected_gradients="zero")
        second = [
            outer.gradient(g, parameters, unconnected_gradients="zero")
            for g in gradient
        ]
        sizes, axes = tf.linalg.eigh(tf.stack([tf.stack(row) for row in second]))
        sizes = tf.maximum(tf.abs(sizes), _FLAT * tf.reduce_sum(w))
        return tf.matmul(axes / sizes, axes, transpose_b=True)

    def step(self):
        """Parameters after a Newton step that is not too long."""
        if self._none:
            return None
        away = tf.linalg.matvec(self._inverse(), self._gradient)
        away *= _FAR / tf.maximum(tf.reduce_max(tf.abs(away)), _FAR)
        return tf.stack(self._data["parameters"]) - away

    def before(self, own, rest):
        """The parameters' part of a vector and the rest of it."""
        return rest if self._none else tf.concat([own, rest], 0)

    def beside(self, rest):
        """Inverse metric of the parameters and, with that of the rest, of all."""
        if self._none:
            return rest
        n = len(self._data["parameters"])
        upper = tf.pad(self._inverse(), [[0, 0], [0, tf.shape(rest)[0]]])
        return tf.concat([upper, tf.pad(rest, [[0, 0], [n, 0]])], 0)
