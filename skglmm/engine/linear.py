"""Restricted or full likelihood of the linear mixed model.

With the fixed effects and the residual variance profiled out,

    f(theta) = log|V| + n log(r^2 / n) + n (1 + log 2 pi) [+ log|X'V^-1 X|],

r^2 = min_b (y - X b)'V^-1 (y - X b) and n = N, or N - p with the bracket for
REML, which is what integrating the fixed effects over a flat prior leaves.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from skglmm.engine import (
    alone,
    blocks,
    covariance,
    dense,
    gradient,
    kernel,
    optimizers,
)
from skglmm.engine.statistics import read_spec, reduce_whole, unpacked
from skglmm.engine.structure import (
    FLOAT,
    INT,
    graph,
    index_spec,
    signature_of,
    statistics_spec,
    to_numpy,
)

# Share of the tolerance that BFGS may promise at the end.
_PROMISED = 1e-2
# Share of a square that its own rounding may leave as residual.
FLOOR = 1e-14


def profile(border, n_rows, reml):
    """Fixed effects, their scaled covariance and the residual variance."""
    p = tf.shape(border)[0] - 1
    xx, xy, yy = border[:-1, :-1], border[:-1, -1:], border[-1, -1]
    lower = tf.linalg.cholesky(xx)
    coef = tf.linalg.cholesky_solve(lower, xy)
    n = n_rows - reml * tf.cast(p, FLOAT)
    # yy is at least the smallest residual that its own rounding allows
    floor = FLOOR * yy + 1e-290
    rss = tf.maximum(yy - tf.reduce_sum(xy * coef), floor)
    return {
        "coef": coef[:, 0],
        "half": tf.linalg.triangular_solve(lower, dense.identity(p)),
        "variance": rss / n,
        "n": n,
        "log_det": 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower))),
    }


def evaluate(structure, index, statistics, theta, n_rows, reml):
    """Objective, gradient and metric at theta, and what `estimates` are made of.

    ``metric`` gives the expected information of theta with the levels taken as
    independent of each other, or the average information of several factors, the
    residual variance to be profiled out by ``pull`` (`optimizers.inverse_metric`), and
    ``evidence`` the next point of the evidence fixed point: all three are functions.
    """
    factors = covariance.to_factors(structure, theta)
    state = kernel.factorize(structure, index, statistics, factors)
    effects, scores, _, explained = kernel.project(structure, index, state, statistics)
    posterior, information = kernel.posterior(structure, index, state)
    projected = statistics["border"] - explained
    fixed = profile(projected, n_rows, reml)
    sigma2, n = fixed["variance"], fixed["n"]
    value = (
        state["log_det"]
        + n * tf.math.log(sigma2)
        + n * (1.0 + math.log(2.0 * math.pi))
        + reml * fixed["log_det"]
    )
    contrast = contrast_of(fixed)
    half = reml * fixed["half"]
    known = []
    for score in scores:
        known.append(blocks.square_nt(tf.matmul(half, score[:, :-1])))
    residuals = [blocks.combine(score, contrast) for score in scores]
    terms = gradient.covariance_terms(
        structure, factors, residuals, information, known, sigma2
    )
    if len(factors) > 1:
        terms |= _average_information(
            structure, index, statistics, state, factors, scores, residuals, fixed
        )
    return {
        "value": value,
        "gradient": terms["gradient"],
        "metric": terms["metric"],
        "pull": terms["pull"],
        "n": n,
        "evidence": terms["evidence"],
        "kept": {
            "projected": projected,
            "effects": tuple(effects),
            "posterior": tuple(posterior),
        },
    }


def estimates(structure, theta, kept, n_rows, reml):
    """What a solution is made of, from what has been kept of the evaluation at theta.

    ``moves`` (q, p, J) are minus the derivatives of the means in the fixed effects.
    """
    fixed = profile(kept["projected"], n_rows, reml)
    contrast = contrast_of(fixed)
    return {
        "fixed": {name: fixed[name] for name in ("coef", "half", "variance")},
        "means": tuple(blocks.combine(b, contrast) for b in kept["effects"]),
        "moves": tuple(b[:, :-1] for b in kept["effects"]),
        "posterior": kept["posterior"],
        "factors": covariance.to_factors(structure, theta),
    }


def contrast_of(fixed):
    """What makes residuals of the fixed columns and the response."""
    return tf.concat([-fixed["coef"], tf.ones([1], FLOAT)], 0)


def _average_information(
    structure, index, statistics, state, factors, scores, residuals, fixed
):
    """Mean of observed and expected information of theta, factors not independent.

    With V_a the derivative of V, that of -2 log-likelihood is
    y'P V_a P V_b P y / sigma^2, where P y is known by its sums over levels, h:
    V_a P y = Z (E_a T' + T E_a') h.
    """
    k = sum(covariance.n_parameters(structure))
    values, at = [], 0
    for t, h, kind in zip(factors, residuals, structure.covariance, strict=True):
        basis = covariance.basis(kind, t.shape[0])
        moved = []
        for e in basis:
            moved_t = tf.matmul(tf.constant(e), t, transpose_b=True)
            moved.append(tf.matmul(moved_t + tf.transpose(moved_t), h))
        moved = tf.stack(moved, 1)
        values.append(tf.pad(moved, [[0, 0], [at, k - at - len(basis)], [0, 0]]))
        at += len(basis)
    sums = kernel.across(structure, index, statistics, values)
    *_, explained = kernel.project(structure, index, state, sums)
    found = list(sums["own_border"])
    if structure.core:
        found += kernel.split_core(structure, index["n_levels"], sums["core_border"])
    whole, through, pull = 0.0, 0.0, 0.0
    for v, s, score, h in zip(values, found, scores, residuals, strict=True):
        whole += blocks.inner_total(v, s)
        through += blocks.inner_total(v, score[:, :-1])
        pull += tf.tensordot(v, h, [[0, 2], [0, 1]])
    known = tf.matmul(through, fixed["half"], transpose_b=True)
    metric = whole - explained - tf.matmul(known, known, transpose_b=True)
    metric = 0.5 * (metric + tf.transpose(metric))
    scale = 1.0 / fixed["variance"]
    return {"metric": lambda: scale * metric, "pull": lambda: scale * pull}


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
        out = evaluate(structure, index, statistics, theta, n_rows, reml)
        kept = out.pop("kept")
        out |= {name: out[name]() for name in ("metric", "pull", "evidence")}
        return out | estimates(structure, theta, kept, n_rows, reml)

    return graph(call, [*_signature(structure), tf.TensorSpec([k], FLOAT)])


def objective(structure, index, statistics, n_rows, reml):
    """The criterion as `optimizers.advance` wants it."""

    def fun(theta, *_):
        out = evaluate(structure, index, statistics, theta, n_rows, reml)
        return {
            "value": out["value"],
            "slack": tf.zeros([], FLOAT),
            "stiffness": tf.zeros([], FLOAT),
            "gradient": out["gradient"],
            "inverse": lambda: optimizers.inverse_metric(
                out["metric"](), n_rows, (out["pull"](), out["n"])
            ),
            "fixed_point": out["evidence"],
            "is_newton": len(structure.n_effects) > 1,
            "aux": out["kept"],
        }

    return fun


def alone_start(structure, index, statistics, n_rows):
    """Parameters to begin from (`alone.start`)."""
    own, sums = alone.by_factor(structure, index, statistics, statistics)
    fixed = profile(statistics["border"], n_rows, 0.0)
    scores = [blocks.combine(s, contrast_of(fixed)) for s in sums]
    return alone.start(structure, own, scores, fixed["variance"], n_rows)


def _initial(structure, index, statistics, theta, max_iter):
    border, n_levels = statistics["border"], index["n_levels"]
    p, effects = tf.shape(border)[0], list(enumerate(structure.n_effects))
    blank = {
        "projected": border,
        "effects": tuple(tf.zeros([q, p, n_levels[r]], FLOAT) for r, q in effects),
        "posterior": tuple(tf.zeros([q, q, n_levels[r]], FLOAT) for r, q in effects),
    }
    return optimizers.initial_state(theta, max_iter, blank)


def _final(structure, state, n_rows, reml):
    """What is left of a state, and the estimates there."""
    out = estimates(structure, state["theta"], state["aux"], n_rows, reml)
    return optimizers.summary(state), out | {"value": state["value"]}


def _n_warm(cold):
    """Evaluations until the optimiser trusts the metric."""
    return tf.where(cold, tf.constant(2, INT), 1)


def strict(structure, tol):
    """The tolerance, and less for BFGS: after two or three steps of a single factor it
    knows the curvature to a factor, not more.
    """
    return tol if len(structure.n_effects) > 1 else _PROMISED * tol


def _begin(structure, index, statistics, n_rows, theta, cold):
    """A better start than theta, if that is no more than a guess.

    Related levels by themselves say nothing: there may be one row of each.
    """
    if not structure.n_effects or structure.related:
        return theta
    return tf.cond(
        cold,
        lambda: alone_start(structure, index, statistics, n_rows),
        lambda: theta,
    )


def _solve(structure, index, statistics, n_rows, reml, theta, tol, cold, max_iter):
    """Minimise, and keep what belongs to the minimum."""
    fun = objective(structure, index, statistics, n_rows, reml)
    theta = _begin(structure, index, statistics, n_rows, theta, cold)
    state = _initial(structure, index, statistics, theta, max_iter)
    tol, n_warm = strict(structure, tol), _n_warm(cold)
    state = optimizers.minimize(fun, state, tol, n_warm, max_iter)
    return _final(structure, state, n_rows, reml)


def _solve_spec(structure):
    """Signature of the start, the tolerance, whether the start is cold, and steps."""
    k = sum(covariance.n_parameters(structure))
    return [
        tf.TensorSpec([k], FLOAT),
        tf.TensorSpec([], FLOAT),
        tf.TensorSpec([], tf.bool),
        tf.TensorSpec([], INT),
    ]


@functools.cache
def compiled_solve(structure):
    """Minimise, traced once a structure."""
    spec = [*_signature(structure), *_solve_spec(structure)]
    return graph(functools.partial(_solve, structure), spec)


@functools.cache
def compiled_fit(structure):
    """Sum up the rows and minimise, traced once a structure.

    The rows of a small problem are summed up faster than another graph is called, or
    another tensor is handed over: `how` has the REML switch, the tolerance, whether the
    start is cold, the number of steps, and then the start.
    """
    k = sum(covariance.n_parameters(structure))

    def call(index, rows, table, weight, maps, how):
        maps = unpacked(structure, maps)
        sums = reduce_whole(structure, index, rows, table, weight, maps)
        (reml, tol, cold, max_iter), theta = tf.unstack(how[:4]), how[4:]
        cold, max_iter = cold > 0.0, tf.cast(max_iter, INT)
        n_rows = maps["gram"][0, 0]
        return sums, *_solve(
            structure, index, sums, n_rows, reml, theta, tol, cold, max_iter
        )

    how = tf.TensorSpec([4 + k], FLOAT)
    return graph(call, [*read_spec(structure), how])


@functools.cache
def compiled_steps(structure):
    """The same in steps: the state to begin with, one evaluation, and the end."""
    k = sum(covariance.n_parameters(structure))
    theta, integer = tf.TensorSpec([k], FLOAT), tf.TensorSpec([], INT)
    switch = tf.TensorSpec([], tf.bool)

    def start(index, statistics, n_rows, reml, theta, cold, max_iter):
        theta = _begin(structure, index, statistics, n_rows, theta, cold)
        return _initial(structure, index, statistics, theta, max_iter)

    def advance(index, statistics, n_rows, reml, state, tol, cold):
        fun = objective(structure, index, statistics, n_rows, reml)
        return optimizers.advance(fun, state, strict(structure, tol), _n_warm(cold))

    start = graph(start, [*_signature(structure), theta, switch, integer])
    state = signature_of(start)
    scalar = tf.TensorSpec([], FLOAT)
    advance = graph(advance, [*_signature(structure), state, scalar, switch])
    finish = functools.partial(_final, structure)
    return start, advance, graph(finish, [state, scalar, scalar])


class Objective:
    """The criterion of one data set, as numbers in and numbers out.

    Parameters
    ----------
    sums : RowSums
    reml : bool
        Whether the fixed effects are integrated out as well.
    watch : Progress or None
        Who wants to know of every evaluation.
    """

    def __init__(self, sums, reml, watch=None):
        self._structure, self._sums, self._watch = sums.structure, sums, watch
        self._reml = float(reml)

    @property
    def data(self):
        """Index, statistics, number of rows and the REML switch, as tensors."""
        sums = self._sums
        scalars = tf.constant(sums.n_rows, FLOAT), tf.constant(self._reml, FLOAT)
        return sums.index, sums.statistics(), *scalars

    def evaluate(self, theta):
        """Everything `evaluate` returns, as numpy."""
        return self.evaluate_with(theta, self._reml)

    def evaluate_with(self, theta, reml):
        """`evaluate`, the REML switch given."""
        out = compiled_evaluate(self._structure)(
            *self.data[:-1],
            tf.convert_to_tensor(reml, FLOAT),
            tf.convert_to_tensor(theta, FLOAT),
        )
        return to_numpy(out)

    def minimize(self, theta, max_iter, tol, cold):
        """Minimise from theta, or, where that is cold, from a better start.

        Returns
        -------
        report : dict
            See `optimizers.report`.
        estimates : dict
            See `estimates`, with the ``value``, at the minimum.
        """
        sums = self._sums
        if self._watch is None and sums.at_once:
            fit = compiled_fit(self._structure)
            how = np.concatenate([[self._reml, tol, cold, max_iter], theta])
            sums.found, state, out = fit(*sums.read, tf.constant(how))
            return optimizers.report(state), to_numpy(out)
        theta, data = tf.convert_to_tensor(theta, FLOAT), self.data
        tol, cold = tf.constant(tol, FLOAT), tf.constant(bool(cold))
        n_steps = tf.constant(max_iter, INT)
        if self._watch is None:
            solve = compiled_solve(self._structure)
            state, out = solve(*data, theta, tol, cold, n_steps)
        else:
            start, advance, finish = compiled_steps(self._structure)
            state = optimizers.drive(
                lambda state: advance(*data, state, tol, cold),
                start(*data, theta, cold, n_steps),
                max_iter,
                self._watch,
            )
            state, out = finish(state, *data[2:])
        return optimizers.report(state), to_numpy(out)
