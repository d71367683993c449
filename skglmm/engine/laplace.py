"""Laplace's approximation and adaptive quadrature, with exact total derivatives.

At the mode u of the penalised likelihood, in spherical coordinates b = T u,

    f(beta, theta) = -2 sum_i l_i + |u|^2 + log|M|,    M = Lambda' Z' W Z Lambda + I.

The mode moves with the parameters. Its derivative is never formed: the cotangent of u
goes once through the kernel (e = M^-1 u_bar), and

    df/dbeta = -2 X's + X'(a - W Z Lambda e)
    df/dT    = -2 sum (Z_j's) u_j' + 2 sum (Z'WZ Lambda N)_jj
               + sum (Z_j'(a - W Z Lambda e)) u_j' + sum (Z_j's) e_j',

where N = M^-1 is the derivative of log|M| and a_i = W'_i z_i' Lambda N Lambda' z_i.

With one factor, adaptive Gauss-Hermite quadrature replaces the integral of each level
by a sum over nodes u + L^-T x, M_j = L L'. The same formulas hold once N and the
cotangent of the mode are complemented by the nodes' share.
"""

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from skglmm.engine import blocks, covariance, kernel, optimizers, rows, statistics
from skglmm.engine.gradient import covariance_terms
from skglmm.engine.inner import INNER_STEPS, RIDGE, Inner
from skglmm.engine.structure import (
    FLOAT,
    INT,
    data_spec,
    graph,
    index_spec,
    signature_of,
)
from skglmm.engine.variational import (
    first_promise,
    initial_aux,
    inner_tolerance,
)

# As for the variational bound; the mode is found by Newton's method proper and the
# differences give all of the standard errors.
_STEP, _EXACT = 0.01, 1e-9


def product_nodes(n, q):
    """Nodes x (q, n^q) and log weights (n^q,) of a standard normal in q dimensions."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    w = w / w.sum()
    points = np.array(list(itertools.product(x, repeat=q))).T
    weights = np.array([np.prod(c) for c in itertools.product(w, repeat=q)])
    return tf.constant(points.reshape(q, -1), FLOAT), tf.constant(
        np.log(weights), FLOAT
    )


@dataclass(frozen=True)
class _Direct:
    """What the objective depends on at a fixed mode.

    Parameters
    ----------
    value : scalar
    coef : (p,)
        Partial derivative in beta.
    factors : list of (q, q)
        Partial derivatives in T_r, except through M.
    curvature : list of (q, q, J)
        Lambda N Lambda', N the derivative in M.
    moved : list of (q, q)
        Derivative in T_r through M at fixed weights, 2 sum (Z'WZ Lambda N)_jj.
    mode : (q, J) or None
        Derivative in u beyond the stationary part (quadrature only).
    shrunk : (q, q, J) or None
        M_j^-1 (quadrature only).
    """

    value: object
    coef: object
    factors: list
    curvature: list
    moved: list
    mode: object = None
    shrunk: object = None


def _information_t(structure, information, factors):
    """Sum over levels of Z_j'V^-1 Z_j T, for every factor."""
    out = []
    for r, t in enumerate(factors):
        total = tf.reduce_sum(information[r], -1)
        out.append(tf.matmul(total, t) if r < len(structure.chain) else total)
    return out


def _quadrature(inner, data, nodes, factor, u, coef, own):
    """Sum over nodes of every level, with derivatives at fixed nodes and through them.

    Parameters
    ----------
    own : (q, q, J)
        Z_j'WZ_j.
    """
    structure = inner.structure
    points, log_weights = nodes
    y, trials, w, x = data["y"], data["trials"], data["weight"], data["X"]
    level = data["rows"]["level"][0]
    z = statistics.row_values(structure, data["rows"], 0)
    q, n = factor.shape[0], tf.shape(u)[1]
    base = data["offset"] + tf.linalg.matvec(x, coef)
    _, _, columns = blocks.gain(factor, own)
    log_det = blocks.log_determinant(columns)
    lower_inverse = blocks.solve_lower(columns, blocks.identity(q))
    # I - T'Z_j'V^-1Z_jT would lose its digits where the rows say much
    shrunk = blocks.product_tn(lower_inverse, lower_inverse)

    def add(k, top, total, score, z_score, z_score_u, mean, mean_x, score_x):
        point = points[:, k]
        # u + L^-T x
        at = u + tf.add_n([lower_inverse[i] * point[i] for i in range(q)])
        b = tf.matmul(factor, at)
        eta = base
        for i, values in enumerate(z):
            eta += statistics.times(values, tf.gather(b[i], level))
        s, _, _ = inner.likelihood.derivatives(y, trials, eta)
        s *= w
        density = tf.math.segment_sum(
            w * inner.likelihood.log_density(y, trials, eta), level
        )
        log_term = (
            log_weights[k]
            + density
            - 0.5 * tf.reduce_sum(at * at, 0)
            + 0.5 * tf.reduce_sum(point * point)
        )
        new_top = tf.maximum(top, log_term)
        fade, weight = tf.exp(top - new_top), tf.exp(log_term - new_top)
        z_s = tf.stack(
            [tf.math.segment_sum(statistics.times(s, values), level) for values in z]
        )
        return (
            k + 1,
            new_top,
            fade * total + weight,
            tf.gather(fade, level) * score + tf.gather(weight, level) * s,
            fade * z_score + weight * z_s,
            fade * z_score_u + weight * z_s[:, None] * at[None],
            fade * mean + weight * at,
            fade * mean_x + weight * at[:, None] * point[None, :, None],
            fade * score_x + weight * z_s[:, None] * point[None, :, None],
        )

    vector, square = tf.zeros([q, n], FLOAT), tf.zeros([q, q, n], FLOAT)
    _, top, total, score, z_score, z_score_u, mean, mean_x, score_x = tf.while_loop(
        lambda k, *_: k < tf.shape(log_weights)[0],
        add,
        (
            tf.constant(0, INT),
            tf.fill([n], tf.constant(-np.inf, FLOAT)),
            tf.zeros([n], FLOAT),
            tf.zeros_like(y),
            vector,
            square,
            vector,
            square,
            square,
        ),
    )
    score /= tf.gather(total, level)
    z_score, z_score_u, mean = z_score / total, z_score_u / total, mean / total
    mean_x, score_x = mean_x / total, score_x / total
    mode = -2.0 * (tf.matmul(factor, z_score, transpose_a=True) - mean)
    root_bar = -2.0 * (blocks.left(tf.transpose(factor), score_x) - mean_x)
    # cotangent of M = L L' from that of L^-T
    y_bar = blocks.transpose(blocks.product(lower_inverse, root_bar))
    mask = tf.constant(np.tril(np.ones((q, q)))[:, :, None])
    half = 0.5 * tf.where(mask > 0, y_bar, blocks.transpose(y_bar))
    node_n = -blocks.product_tn(lower_inverse, blocks.product(half, lower_inverse))
    n_bar = shrunk + node_n
    return _Direct(
        value=log_det - 2.0 * tf.reduce_sum(tf.math.log(total) + top),
        coef=-2.0 * tf.linalg.matvec(x, score, transpose_a=True),
        factors=[-2.0 * tf.reduce_sum(z_score_u, -1)],
        curvature=[blocks.left(factor, blocks.right(n_bar, tf.transpose(factor)))],
        moved=[
            2.0 * tf.reduce_sum(blocks.product(blocks.right(own, factor), n_bar), -1)
        ],
        mode=mode,
        shrunk=shrunk,
    )


def value(inner, index, data, nodes, coef, means, factors, tol):
    """Objective alone, at given fixed effects and covariances.

    The search for the mode begins at the effects `means`.
    """
    aux = initial_aux(inner.structure, inner, index, data) | {"coef": coef}
    aux |= {"eta": inner.eta(data, coef, means)}
    steps = tf.constant(INNER_STEPS, INT)
    end = inner.run(index, data, factors, aux, tf.zeros([2, 1], FLOAT), tol, steps)
    y, trials, w = data["y"], data["trials"], data["weight"]
    _, weight, _ = inner.likelihood.derivatives(y, trials, end["eta"])
    matrices = statistics.reduce_matrices(
        inner.structure, index, data["rows"], w * weight
    )
    if nodes is None:
        state = kernel.factorize(inner.structure, index, matrices, factors)
        return end["value"] - end["penalty"] + state["log_det"]
    own, t = matrices["own"][0], factors[0]
    u = end["spherical"][0]
    found = _quadrature(inner, data, nodes, t, u, coef, own)
    return found.value + inner.constant(data)


@functools.cache
def compiled_value(structure, family, quadrature):
    """`value`, traced once a structure."""
    inner = Inner(structure, family, spread=False, joint=False)
    q = structure.n_effects[0] if structure.n_effects else 1

    def call(index, data, points, log_weights, coef, means, theta, tol):
        nodes = (points, log_weights) if quadrature else None
        factors = covariance.to_factors(structure, theta)
        return value(inner, index, data, nodes, coef, means, factors, tol)

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            tf.TensorSpec([q, None], FLOAT),
            tf.TensorSpec([None], FLOAT),
            tf.TensorSpec([None], FLOAT),
            tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects),
            tf.TensorSpec([sum(covariance.n_parameters(structure))], FLOAT),
            tf.TensorSpec([], FLOAT),
        ],
    )


def evaluate(inner, index, data, nodes, phi, aux, tol):
    """Objective, gradient and inverse metric at phi = (beta, theta).

    Parameters
    ----------
    inner : Inner
        With neither `spread` nor `joint`.
    index, data : dict
    nodes : tuple or None
        Quadrature nodes (q, K) and log weights (K,), or None for Laplace.
    phi : tensor of shape (p + k,)
    aux : dict
        Last solution of the inner problem.
    tol : scalar tensor

    Returns
    -------
    out : dict
        As `optimizers.advance` wants it.
    """
    structure = inner.structure
    k = sum(covariance.n_parameters(structure))
    x = data["X"]
    p = tf.shape(x)[1]
    coef, theta = phi[:p], tf.ensure_shape(phi[p:], [k])
    factors = covariance.to_factors(structure, theta)
    start = aux | {"coef": coef}
    one_node = tf.zeros([2, 1], FLOAT)
    end = inner.run(
        index, data, factors, start, one_node, tol, tf.constant(INNER_STEPS, INT)
    )
    eta, u = end["eta"], end["spherical"]
    y, trials, w = data["y"], data["trials"], data["weight"]
    score, weight, slope = (w * d for d in inner.likelihood.derivatives(y, trials, eta))
    state, effects, scores, _, left, right = inner.solve(
        index, data, factors, weight, weight * (eta - data["offset"]) + score
    )
    own, info, cross, cross_cell, core = kernel.posterior(
        structure, index, state, between=True
    )
    info_t = _information_t(structure, info, factors)

    # Z's and, once the curvature is known, Z'a
    z_score = _by_factor(
        structure,
        index,
        statistics.reduce_dense(structure, index, data["rows"], score[:, None]),
    )
    if nodes is None:
        direct = _Direct(
            value=end["value"] + state["log_det"],
            coef=-2.0 * tf.linalg.matvec(x, score, transpose_a=True),
            factors=[
                -2.0 * tf.matmul(s[:, 0], b, transpose_b=True)
                for s, b in zip(z_score, u, strict=True)
            ],
            curvature=own,
            moved=[2.0 * part for part in info_t],
        )
    else:
        t = factors[0]
        direct = _quadrature(inner, data, nodes, t, u[0], coef, state["own"][0])
        direct = replace(
            direct, value=direct.value + end["penalty"] + inner.constant(data)
        )

    spread = rows.variance(
        structure,
        index,
        data["rows"],
        (direct.curvature, cross, cross_cell, core),
        signed=True,
    )
    a = slope * spread
    sums = statistics.reduce_dense(structure, index, data["rows"], a[:, None])
    _, through, _, _ = kernel.project(structure, index, state, sums)
    z_a = _by_factor(structure, index, sums)
    gradient_coef = (
        direct.coef
        + 2.0 * RIDGE * coef
        + tf.linalg.matvec(x, a, transpose_a=True)
        - sum(
            tf.reduce_sum(e[:, :-1] * s, [0, 2])
            for e, s in zip(effects, z_a, strict=True)
        )
    )
    d_factors = []
    for r, t in enumerate(factors):
        shift = through[r][:, 0]
        e = tf.matmul(t, shift, transpose_a=True)
        if direct.mode is not None:
            moved = tf.reduce_sum(direct.shrunk * direct.mode[None], 1)
            e += moved
            lifted = tf.matmul(t, moved)
            shift -= tf.reduce_sum(state["own"][0] * lifted[None], 1)
            solved = blocks.left(tf.transpose(t), scores[0][:, :-1])
            gradient_coef -= tf.reduce_sum(solved * direct.mode[:, None], [0, 2])
        d_factors.append(
            direct.factors[r]
            + direct.moved[r]
            + tf.matmul(shift, u[r], transpose_b=True)
            + tf.matmul(z_score[r][:, 0], e, transpose_b=True)
        )

    lower = tf.linalg.cholesky(left["normal"])
    newton = tf.linalg.cholesky_solve(lower, right)[:, 0]
    contrast = tf.concat([-newton, tf.ones([1], FLOAT)], 0)
    h = [blocks.combine(s, contrast) for s in scores]
    terms = covariance_terms(structure, factors, h, info)

    def inverse():
        by_coef = 0.5 * tf.linalg.cholesky_solve(lower, tf.eye(p, dtype=FLOAT))
        by_theta = optimizers.inverse_metric(
            terms["metric"](), tf.reduce_sum(data["weight"])
        )
        upper = tf.pad(by_coef, [[0, 0], [0, k]])
        return tf.concat([upper, tf.pad(by_theta, [[0, 0], [p, 0]])], 0)

    return {
        "value": covariance.in_reach(factors, direct.value),
        "slack": tf.sqrt(end["slack"]),
        "stiffness": tf.zeros([], FLOAT),
        "gradient": tf.concat(
            [gradient_coef, covariance.pull_back(structure, d_factors)], 0
        ),
        "inverse": inverse,
        "fixed_point": lambda: tf.concat([newton, terms["evidence"]()], 0),
        "aux": {
            "coef": coef,
            "spherical": u,
            "variance": tf.zeros_like(eta),
            "eta": eta,
            "memory": end["memory"],
            "turns": aux["turns"] + end["n"],
            "estimates": {
                "normal": left["normal"],
                "information": left["alone"],
                "means": end["effects"],
                "posterior": tuple(own),
                "factors": factors,
                "penalty": end["penalty"],
            },
        },
    }


def _by_factor(structure, index, sums):
    """Sums Z'D as one (q, c, J) tensor a factor, chain then core."""
    parts = list(sums["own_border"])
    if structure.core:
        parts += kernel.split_core(structure, index["n_levels"], sums["core_border"])
    return parts


def _objective(inner, index, data, nodes, tol):
    """The objective as `optimizers.advance` wants it."""

    def fun(point, aux, promise):
        inner_tol = inner_tolerance(promise, tol, _EXACT)
        return evaluate(inner, index, data, nodes, point, aux, inner_tol)

    return fun


def _initial(inner, index, data, phi, n_warm, max_iter):
    aux = initial_aux(inner.structure, inner, index, data)
    return optimizers.initial_state(phi, max_iter, aux, first_promise(n_warm))


def _finish(inner, index, data, fun, state, wanted):
    """What is left to do at the optimum: derivatives, and how effects move."""
    hessian, _ = optimizers.differences(
        fun, state, lambda out: out["gradient"], wanted, _STEP
    )
    aux, one_node = state["aux"], tf.zeros([2, 1], FLOAT)
    _, _, weight = inner.terms(data, aux["eta"], aux["variance"], one_node)
    moves, *_ = inner.moves(index, data, aux["estimates"]["factors"], weight)
    return optimizers.summary(state), aux | {"moves": moves}, hessian


def _parts(structure, family, quadrature):
    """The inner problem, what picks its nodes, and the signature of both."""
    inner = Inner(structure, family, spread=False, joint=False)
    q = structure.n_effects[0] if structure.n_effects else 1
    signature = [
        index_spec(structure),
        data_spec(structure),
        tf.TensorSpec([q, None], FLOAT),
        tf.TensorSpec([None], FLOAT),
    ]
    options = [
        tf.TensorSpec([None], FLOAT),
        tf.TensorSpec([], FLOAT),
        tf.TensorSpec([], INT),
        tf.TensorSpec([], INT),
        tf.TensorSpec([], tf.bool),
    ]
    return inner, lambda *nodes: nodes if quadrature else None, signature, options


@functools.cache
def compiled_solve(structure, family, quadrature):
    """Minimise the objective and difference its gradient, traced once a structure."""
    inner, pick, signature, options = _parts(structure, family, quadrature)

    def call(index, data, points, log_weights, phi, tol, n_warm, max_iter, wanted):
        fun = _objective(inner, index, data, pick(points, log_weights), tol)
        state = _initial(inner, index, data, phi, n_warm, max_iter)
        state = optimizers.minimize(fun, state, tol, n_warm, max_iter)
        return _finish(inner, index, data, fun, state, wanted)

    return graph(call, [*signature, *options])


@functools.cache
def compiled_steps(structure, family, quadrature):
    """The same in steps: a state to begin with, one evaluation of it, and the end."""
    inner, pick, signature, options = _parts(structure, family, quadrature)
    phi, tol, n_warm, max_iter, wanted = options

    def start(index, data, points, log_weights, phi, n_warm, max_iter):
        return _initial(inner, index, data, phi, n_warm, max_iter)

    def advance(index, data, points, log_weights, state, tol, n_warm):
        fun = _objective(inner, index, data, pick(points, log_weights), tol)
        return optimizers.advance(fun, state, tol, n_warm)

    def finish(index, data, points, log_weights, state, tol, wanted):
        fun = _objective(inner, index, data, pick(points, log_weights), tol)
        return _finish(inner, index, data, fun, state, wanted)

    start = graph(start, [*signature, phi, n_warm, max_iter])
    state = signature_of(start)
    return (
        start,
        graph(advance, [*signature, state, tol, n_warm]),
        graph(finish, [*signature, state, tol, wanted]),
    )
