"""Gaussian variational inference: the profiled bound and its minimiser.

With q(b) = N(m, V) and V^-1 = Sigma^-1 + Z' W Z, W = E_q[-l''],

    -2 ELBO(theta) = -2 sum_i E_q[l_i] + |u|^2 + log|M| - sum_r tr Gamma_r,

M = Lambda' Z' W Z Lambda + I, u the spherical means and Gamma = J I - sum [M^-1]_jj. At
the inner optimum its derivative in T_r is that of the linear model with sigma = 1.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import covariance, optimizers, own_parameters
from skglmm.engine.gradient import covariance_terms
from skglmm.engine.inner import INNER_STEPS, Inner
from skglmm.engine.likelihoods import expected_slopes
from skglmm.engine.sparse import SparseInner
from skglmm.engine.structure import (
    FLOAT,
    INT,
    data_spec,
    graph,
    index_spec,
    signature_of,
)

# Length of the steps of differences, in units of the metric's axes, at which the
# objective changes by its square, and what the inner problem may leave over there.
_STEP, _EXACT = 0.05, 1e-7


def initial_aux(structure, inner, index, data):
    """Start of the inner problem: what each row alone suggests."""
    p, n_levels = tf.shape(data["X"])[1], index["n_levels"]
    eta = inner.likelihood(data).start(data["y"], data["trials"])
    return {
        "coef": tf.zeros([p], FLOAT),
        "spherical": tuple(
            tf.zeros([q, n_levels[r]], FLOAT) for r, q in enumerate(structure.n_effects)
        ),
        "variance": tf.zeros_like(eta),
        "eta": eta,
        "memory": inner.blank_memory(index, p),
        "turns": tf.constant(0, INT),
        "estimates": blank_estimates(structure, index, p, len(data["parameters"])),
    }


def blank_estimates(structure, index, p, n_own=0):
    """Zeros in the shape of `estimates`."""
    n_levels = index["n_levels"]
    sizes = list(enumerate(structure.n_effects))
    return {
        "normal": tf.zeros([p, p], FLOAT),
        "information": tf.zeros([p, p], FLOAT),
        "means": tuple(tf.zeros([q, n_levels[r]], FLOAT) for r, q in sizes),
        "posterior": tuple(tf.zeros([q, q, n_levels[r]], FLOAT) for r, q in sizes),
        "factors": tuple(tf.zeros([q, q], FLOAT) for _, q in sizes),
        "penalty": tf.zeros([], FLOAT),
        "parameters": (tf.zeros([], FLOAT),) * n_own,
    }


def inner_of(structure, family, kept, coupled=False):
    """The inner problem of a structure."""
    if structure.iterative:
        return SparseInner(
            structure, family, spread=True, joint=True, kept=kept, coupled=coupled
        )
    return Inner(structure, family, spread=True, joint=True)


def inner_tolerance(promise, tol, exact=_EXACT):
    """How much the inner problem may leave over when the outer promises a decrease.

    The gradient is wrong by the root of its share: a hundredth leaves it right to a
    tenth. A promise of zero asks for a gradient to be differenced, `exact` for that.
    """
    share = tf.clip_by_value(1e-2 * promise, 1e-5 * tol, 1e8 * tol)
    return tf.where(promise > 0.0, share, exact)


def first_promise(n_warm):
    """A first guess need not be evaluated exactly; a point that is asked about must."""
    cold = n_warm > 1
    return tf.where(cold, tf.constant(np.inf, FLOAT), tf.zeros([], FLOAT))


def evaluate(inner, index, data, nodes, point, aux, tol):
    """Bound, gradient and metric at (psi, theta), the inner problem solved.

    psi are the family's own parameters.
    """
    structure = inner.structure
    theta, data = own_parameters.split(inner.family, data, point)
    factors = covariance.to_factors(structure, theta)
    end = inner.run(
        index, data, factors, aux, nodes, tol, tf.constant(INNER_STEPS, INT)
    )
    terms = covariance_terms(
        structure, factors, list(end["scores"]), list(end["information"])
    )
    by_own = _by_own(inner, data, end, nodes)
    own = own_parameters.Metric(inner.family, data, end["eta"], by_own)
    return {
        "value": covariance.in_reach(structure, factors, end["value"]),
        "slack": end["slack"],
        "stiffness": 16.0 * tf.add_n([tf.reduce_sum(h * h) for h in end["scores"]])
        if end["scores"]
        else tf.zeros([], FLOAT),
        "gradient": own.before(by_own, terms["gradient"]),
        "inverse": lambda: own.beside(
            optimizers.inverse_metric(terms["metric"](), tf.reduce_sum(data["weight"]))
        ),
        "fixed_point": lambda: own.before(own.step(), terms["evidence"]()),
        "aux": {
            "coef": end["coef"],
            "spherical": end["spherical"],
            "variance": end["variance"],
            "eta": end["eta"],
            "memory": end["memory"],
            "turns": aux["turns"] + end["n"],
            "estimates": {
                "normal": end["normal"],
                "information": end["alone"],
                "means": end["effects"],
                "posterior": end["posterior"],
                "factors": factors,
                "penalty": end["penalty"],
                "parameters": data["parameters"],
            },
        },
    }


def _by_own(inner, data, end, nodes):
    """Derivative of the bound in the family's own parameters, all else at its best."""
    parameters = data["parameters"]
    if not parameters:
        return None
    family, at = inner.family.likelihood(), (end["eta"], end["variance"], nodes)
    found = expected_slopes(family, parameters, data["y"], data["trials"], *at)
    return -2.0 * tf.stack([tf.reduce_sum(data["weight"] * part) for part in found])


def _objective(inner, index, data, nodes, tol):
    """The bound as `optimizers.advance` wants it."""

    def fun(point, aux, promise):
        inner_tol = inner_tolerance(promise, tol)
        return evaluate(inner, index, data, nodes, point, aux, inner_tol)

    return fun


def _initial(inner, index, data, theta, n_warm, max_iter):
    aux = initial_aux(inner.structure, inner, index, data)
    return optimizers.initial_state(theta, max_iter, aux, first_promise(n_warm))


def _coef(out):
    return out["aux"]["coef"]


def _finish(inner, index, data, nodes, state, hessian, slopes):
    """What is left to do at the optimum: how effects move."""
    aux = state["aux"]
    data = data | {"parameters": aux["estimates"]["parameters"]}
    _, _, weight = inner.terms(data, aux["eta"], aux["variance"], nodes)
    end = inner.end(index, data, aux, weight)
    moves = end.pop("moves")
    aux = aux | {"estimates": aux["estimates"] | end, "moves": moves}
    return optimizers.summary(state), aux, hessian, slopes


@functools.cache
def compiled_solve(structure, family, kept=None, coupled=False):
    """Minimise -2 ELBO and difference its gradient, traced once a structure."""
    inner = inner_of(structure, family, kept, coupled)

    def call(index, data, nodes, theta, tol, n_warm, max_iter, wanted):
        fun = _objective(inner, index, data, nodes, tol)
        state = _initial(inner, index, data, theta, n_warm, max_iter)
        found = optimizers.minimize_and_differ(
            fun, state, tol, n_warm, max_iter, _coef, wanted, _STEP
        )
        return _finish(inner, index, data, nodes, *found)

    return graph(call, [*_signature(structure, family), *_options(structure, family)])


@functools.cache
def compiled_steps(structure, family, kept=None, coupled=False):
    """The same in steps: a state to begin with, one evaluation of it, and the end."""
    inner = inner_of(structure, family, kept, coupled)
    theta, tol, n_warm, max_iter, wanted = _options(structure, family)
    signature = _signature(structure, family)

    def start(index, data, nodes, theta, n_warm, max_iter):
        return _initial(inner, index, data, theta, n_warm, max_iter)

    def advance(index, data, nodes, state, tol, n_warm):
        fun = _objective(inner, index, data, nodes, tol)
        return optimizers.advance(fun, state, tol, n_warm)

    def finish(index, data, nodes, state, tol, wanted):
        fun = _objective(inner, index, data, nodes, tol)
        found = optimizers.differences(fun, state, _coef, wanted, _STEP)
        return _finish(inner, index, data, nodes, state, *found)

    start = graph(start, [*signature, theta, n_warm, max_iter])
    state = signature_of(start)
    return (
        start,
        graph(advance, [*signature, state, tol, n_warm]),
        graph(finish, [*signature, state, tol, wanted]),
    )


def _signature(structure, family):
    return [
        index_spec(structure),
        data_spec(structure, family),
        tf.TensorSpec([2, None], FLOAT),
    ]


def _options(structure, family):
    """Signature of psi and theta, tol, n_warm, max_iter and wanted."""
    n_own = len(family.parameter_names)
    return [
        tf.TensorSpec([n_own + sum(covariance.n_parameters(structure))], FLOAT),
        tf.TensorSpec([], FLOAT),
        tf.TensorSpec([], INT),
        tf.TensorSpec([], INT),
        tf.TensorSpec([], tf.bool),
    ]
