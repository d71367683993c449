"""Gaussian variational inference: the profiled bound and its minimiser.

With q(b) = N(m, V) and V^-1 = Sigma^-1 + Z' W Z, W = E_q[-l''],

    -2 ELBO(theta) = -2 sum_i E_q[l_i] + |u|^2 + log|M| - sum_r tr Gamma_r,

M = Lambda' Z' W Z Lambda + I, u the spherical means and Gamma = J I - sum [M^-1]_jj. At
the inner optimum its derivative in T_r is that of the linear model with sigma = 1.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import covariance, optimizers
from skglmm.engine.gradient import covariance_terms
from skglmm.engine.inner import Inner
from skglmm.engine.structure import FLOAT, INT, graph, index_spec, rows_spec, vector

INNER_STEPS = 50


def data_spec(structure):
    """Signature of the rows of a generalised model."""
    return {
        "X": tf.TensorSpec([None, None], FLOAT),
        "y": vector(),
        "trials": vector(),
        "offset": vector(),
        "weight": vector(),
        "rows": rows_spec(structure),
    }


def initial_aux(structure, inner, index, data):
    """Start of the inner problem: what each row alone suggests."""
    p, n_levels = tf.shape(data["X"])[1], index["n_levels"]
    eta = inner.likelihood.start(data["y"], data["trials"])
    return {
        "coef": tf.zeros([p], FLOAT),
        "spherical": tuple(
            tf.zeros([q, n_levels[r]], FLOAT) for r, q in enumerate(structure.n_effects)
        ),
        "variance": tf.zeros_like(eta),
        "eta": eta,
        "fresh": tf.constant(True),
        "turns": tf.constant(0, INT),
        "estimates": blank_estimates(structure, index, p),
    }


def blank_estimates(structure, index, p):
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
    }


def restart(inner, data, factors, aux):
    """Where the inner problem begins: at the last solution, in spherical terms."""
    effects = [tf.matmul(t, u) for t, u in zip(factors, aux["spherical"], strict=True)]
    eta = inner.eta(data, aux["coef"], effects)
    return aux | {"eta": tf.where(aux["fresh"], aux["eta"], eta)}


def inner_tolerance(promise, tol):
    """How exactly to solve the inner problem when the outer promises a decrease.

    A promise of zero asks for all that can be had: a gradient to be differenced. What
    is left undone is about a hundredth of the last inner decrease, because the loop
    converges that fast.
    """
    share = tf.clip_by_value(1e-2 * promise, tol, 1e8 * tol)
    return tf.where(promise > 0.0, share, 0.1 * tol)


def first_promise(n_warm):
    """A first guess need not be evaluated exactly; a point that is asked about must."""
    cold = n_warm > 1
    return tf.where(cold, tf.constant(np.inf, FLOAT), tf.zeros([], FLOAT))


def evaluate(inner, index, data, nodes, theta, aux, tol):
    """Bound, gradient and metric at theta, the inner problem solved."""
    structure = inner.structure
    factors = covariance.to_factors(structure, theta)
    start = restart(inner, data, factors, aux)
    end = inner.run(
        index, data, factors, start, nodes, tol, tf.constant(INNER_STEPS, INT)
    )
    terms = covariance_terms(
        structure, factors, list(end["scores"]), list(end["information"])
    )
    return {
        "value": end["value"],
        "gradient": terms["gradient"],
        "inverse": optimizers.inverse_metric(
            terms["metric"], tf.reduce_sum(data["weight"])
        ),
        "fixed_point": terms["evidence"],
        "aux": {
            "coef": end["coef"],
            "spherical": end["spherical"],
            "variance": end["variance"],
            "eta": end["eta"],
            "fresh": tf.constant(False),
            "turns": aux["turns"] + end["n"],
            "estimates": {
                "normal": end["normal"],
                "information": end["alone"],
                "means": end["effects"],
                "posterior": end["posterior"],
                "factors": factors,
                "penalty": end["penalty"],
            },
        },
    }


@functools.cache
def compiled_solve(structure, family, kept=None):
    """Minimise -2 ELBO and difference its gradient, traced once a structure."""
    inner = Inner(structure, family, spread=True, joint=True, kept=kept)
    k = sum(covariance.n_parameters(structure))

    def call(index, data, nodes, theta, tol, n_warm, max_iter, wanted):
        def fun(point, aux, promise):
            inner_tol = inner_tolerance(promise, tol)
            return evaluate(inner, index, data, nodes, point, aux, inner_tol)

        aux = initial_aux(structure, inner, index, data)
        state = optimizers.initial_state(theta, max_iter, aux, first_promise(n_warm))
        state = optimizers.minimize(fun, state, tol, n_warm, max_iter)
        hessian, slopes = optimizers.differences(
            fun, state, lambda out: out["aux"]["coef"], wanted
        )
        return optimizers.summary(state), state["aux"], hessian, slopes

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            tf.TensorSpec([2, None], FLOAT),
            tf.TensorSpec([k], FLOAT),
            tf.TensorSpec([], FLOAT),
            tf.TensorSpec([], INT),
            tf.TensorSpec([], INT),
            tf.TensorSpec([], tf.bool),
        ],
    )
