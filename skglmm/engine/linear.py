"""Restricted or full likelihood of the linear mixed model.

With the fixed effects and the residual variance profiled out,

    f(theta) = log|V| + n log(r^2 / n) + n (1 + log 2 pi) [+ log|X'V^-1 X|],

r^2 = min_b (y - X b)'V^-1 (y - X b) and n = N, or N - p with the bracket for
REML, which is what integrating the fixed effects over a flat prior leaves.
"""

import functools
import math

import tensorflow as tf

from skglmm.engine import blocks, covariance, kernel, optimizers
from skglmm.engine.structure import FLOAT, INT, index_spec, statistics_spec


def profile(border, n_rows, reml):
    """Fixed effects, their scaled covariance and the residual variance."""
    p = tf.shape(border)[0] - 1
    xx, xy, yy = border[:p, :p], border[:p, p:], border[p, p]
    lower = tf.linalg.cholesky(xx)
    coef = tf.linalg.cholesky_solve(lower, xy)
    n = n_rows - reml * tf.cast(p, FLOAT)
    # yy is at least the smallest residual that its own rounding allows
    floor = 1e-14 * yy + 1e-290
    rss = tf.maximum(yy - tf.reduce_sum(xy * coef), floor)
    return {
        "coef": coef[:, 0],
        "half": tf.linalg.triangular_solve(lower, tf.eye(p, dtype=FLOAT)),
        "variance": rss / n,
        "n": n,
        "log_det": 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower))),
    }


def evaluate(structure, index, statistics, theta, n_rows, reml):
    """Objective, gradient and metric at theta, with everything they came from.

    ``metric`` is the expected information of theta with the levels taken as
    independent of each other, the residual variance profiled out by ``pull``
    (`optimizers.inverse_metric`).
    """
    factors = covariance.to_factors(structure, theta)
    state = kernel.eliminate(structure, index, statistics, factors)
    fixed = profile(state["border"], n_rows, reml)
    effects, scores = kernel.back_substitute(structure, index, state)
    posterior, information = kernel.posterior(structure, index, state)
    sigma2, n = fixed["variance"], fixed["n"]
    value = (
        state["log_det"]
        + n * tf.math.log(sigma2)
        + n * (1.0 + math.log(2.0 * math.pi))
        + reml * fixed["log_det"]
    )
    contrast = tf.concat([-fixed["coef"], tf.ones([1], FLOAT)], 0)
    half = reml * fixed["half"]
    n_chain = len(structure.chain)
    means, squares, counts, slopes, pulls, metrics = [], [], [], [], [], []
    for r, _q in enumerate(structure.n_effects):
        t = factors[r]
        means.append(tf.tensordot(effects[r], contrast, [[1], [0]]))
        score = tf.tensordot(scores[r], contrast, [[1], [0]])  # (q, J)
        projected = tf.tensordot(scores[r][:, :-1], half, [[1], [1]])  # (q, J, p)
        known = blocks.square_nt(tf.transpose(projected, [0, 2, 1]))
        if r < n_chain:
            info = information[r] - known
            info_t = tf.matmul(tf.reduce_sum(info, -1), t)
        else:
            by_level = information[r] - blocks.right(known, t)
            info_t = tf.reduce_sum(by_level, -1)
            info = blocks.right(by_level, _safe_inverse(t))
        outer_t = tf.matmul(tf.matmul(score, score, transpose_b=True), t) / sigma2
        counts.append(tf.matmul(t, info_t, transpose_a=True))
        squares.append(tf.matmul(t, outer_t, transpose_a=True))
        slopes.append(2.0 * (info_t - outer_t))
        pulls.append(2.0 * info_t)
        metrics.append(_metric(structure.covariance[r], t, info))
    gradient = covariance.pull_back(structure, slopes)
    pull = covariance.pull_back(structure, pulls)
    return {
        "value": value,
        "gradient": gradient,
        "metric": _block_diagonal(metrics),
        "pull": pull,
        "n": n,
        "evidence": covariance.evidence_step(structure, factors, counts, squares),
        "fixed": fixed,
        "means": tuple(means),
        "posterior": tuple(posterior),
        "factors": factors,
        "log_det": state["log_det"],
    }


def _safe_inverse(t):
    """Inverse of a lower-triangular T whose diagonal may hold zeros (metric only)."""
    diagonal = tf.linalg.diag_part(t)
    tiny = 1e-6 * tf.ones_like(diagonal)
    safe = tf.linalg.set_diag(t, tf.where(tf.abs(diagonal) < tiny, tiny, diagonal))
    return tf.linalg.triangular_solve(safe, tf.eye(t.shape[0], dtype=FLOAT))


def _metric(kind, t, info):
    """Expected information of one factor's parameters, level by level."""
    q = t.shape[0]
    e = tf.constant(covariance.basis(kind, q))
    flat = tf.reshape(info, [q * q, -1])
    fourth = tf.reshape(tf.matmul(flat, flat, transpose_b=True), [q, q, q, q])
    fourth = tf.reshape(tf.transpose(fourth, [1, 2, 3, 0]), [q * q, q * q])
    d = tf.einsum("aik,jk->aij", e, t)
    d = tf.reshape(d + tf.transpose(d, [0, 2, 1]), [-1, q * q])
    return tf.matmul(d, tf.matmul(fourth, d, transpose_b=True))


def _block_diagonal(parts):
    if not parts:
        return tf.zeros([0, 0], FLOAT)
    sizes = [part.shape[0] for part in parts]
    total = sum(sizes)
    rows, at = [], 0
    for part, k in zip(parts, sizes, strict=True):
        rows.append(tf.pad(part, [[0, 0], [at, total - at - k]]))
        at += k
    return tf.concat(rows, 0)


def _signature(structure):
    return [
        index_spec(structure),
        statistics_spec(structure),
        tf.TensorSpec([], FLOAT),
        tf.TensorSpec([], FLOAT),
    ]


@functools.cache
def compiled_evaluate(structure):
    """`evaluate(index, statistics, n_rows, reml, theta)`, traced once a structure."""
    k = sum(covariance.n_parameters(structure))

    def call(index, statistics, n_rows, reml, theta):
        return evaluate(structure, index, statistics, theta, n_rows, reml)

    return tf.function(
        call,
        input_signature=[*_signature(structure), tf.TensorSpec([k], FLOAT)],
        autograph=False,
    )


@functools.cache
def compiled_solve(structure):
    """Minimise, then evaluate at the minimum, traced once a structure."""
    k = sum(covariance.n_parameters(structure))

    def call(index, statistics, n_rows, reml, theta, tol, n_warm, max_iter):
        def fun(theta, _):
            out = evaluate(structure, index, statistics, theta, n_rows, reml)
            return {
                "value": out["value"],
                "gradient": out["gradient"],
                "inverse": optimizers.inverse_metric(
                    out["metric"], out["pull"], out["n"]
                ),
                "fixed_point": out["evidence"],
                "aux": estimates(out),
            }

        blank = _blank_estimates(structure, index["n_levels"], statistics["border"])
        state = optimizers.initial_state(theta, max_iter, blank)
        state = optimizers.minimize(fun, state, tol, n_warm, max_iter)
        return optimizers.summary(state), state["aux"]

    return tf.function(
        call,
        input_signature=[
            *_signature(structure),
            tf.TensorSpec([k], FLOAT),
            tf.TensorSpec([], FLOAT),
            tf.TensorSpec([], INT),
            tf.TensorSpec([], INT),
        ],
        autograph=False,
    )


def estimates(out):
    """The part of an evaluation that outlives it."""
    fixed = {name: out["fixed"][name] for name in ("coef", "half", "variance")}
    names = ("value", "means", "posterior", "factors")
    return {"fixed": fixed} | {name: out[name] for name in names}


def _blank_estimates(structure, n_levels, border):
    p = tf.shape(border)[0] - 1
    zero = tf.zeros([], FLOAT)
    effects = list(enumerate(structure.n_effects))
    return {
        "value": zero,
        "fixed": {
            "coef": tf.zeros([p], FLOAT),
            "half": tf.zeros([p, p], FLOAT),
            "variance": zero,
        },
        "means": tuple(tf.zeros([q, n_levels[r]], FLOAT) for r, q in effects),
        "posterior": tuple(tf.zeros([q, q, n_levels[r]], FLOAT) for r, q in effects),
        "factors": tuple(tf.zeros([q, q], FLOAT) for _, q in effects),
    }


class Objective:
    """The criterion of one data set, as numbers in and numbers out.

    Parameters
    ----------
    structure : Structure
    data : tuple
        Index, statistics, number of rows and the REML switch, as tensors.
    """

    def __init__(self, structure, data):
        self._structure, self._data = structure, data

    def evaluate(self, theta):
        """Everything `evaluate` returns, as numpy."""
        out = compiled_evaluate(self._structure)(
            *self._data, tf.convert_to_tensor(theta, FLOAT)
        )
        return tf.nest.map_structure(lambda t: t.numpy(), out)

    def value(self, theta):
        """The objective alone; infinite where it cannot be computed."""
        value = float(self.evaluate(theta)["value"])
        return value if math.isfinite(value) else math.inf

    def minimize(self, theta, max_iter, tol, cold):
        """Minimise from theta; a cold start begins with the evidence fixed point.

        Returns
        -------
        report : dict
            See `optimizers.report`.
        estimates : dict
            See `estimates`, at the minimum.
        """
        state, out = compiled_solve(self._structure)(
            *self._data,
            tf.convert_to_tensor(theta, FLOAT),
            tf.constant(tol, FLOAT),
            tf.constant(3 if cold else 1, INT),
            tf.constant(max_iter, INT),
        )
        out = tf.nest.map_structure(lambda t: t.numpy(), out)
        return optimizers.report(state), out
