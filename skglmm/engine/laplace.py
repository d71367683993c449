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
from dataclasses import replace
from typing import NamedTuple

import tensorflow as tf

from skglmm.engine import (
    blocks,
    covariance,
    kernel,
    optimizers,
    own_parameters,
)
from skglmm.engine.gradient import covariance_terms
from skglmm.engine.inner import INNER_STEPS, RIDGE, Inner
from skglmm.engine.quadrature import Direct, integrate, left_out
from skglmm.engine.rows import rows_of
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


class _Mode(NamedTuple):
    """Rows, kernel and sums at the mode.

    Parameters
    ----------
    score, weight, slope : (n,)
        Derivatives of the rows' weighted log-likelihood: the first, minus the second,
        and the derivative of the weight.
    state : dict
        See `kernel.factorize`.
    effects, scores : lists of (q, p + 1, J)
        See `kernel.project`; the columns are X and the working response.
    left : dict
    right : (p, 1)
        See `Inner.solve`.
    posterior : tuple
        See `kernel.posterior`.
    z_score : list of (q, 1, J)
        Z_j's.
    """

    score: object
    weight: object
    slope: object
    state: dict
    effects: list
    scores: list
    left: dict
    right: object
    posterior: tuple
    z_score: list

    @property
    def information(self):
        """Z_j'V^-1 Z_j of every factor, times T for the core's."""
        return self.posterior[1]


def _information_t(structure, information, factors):
    """Sum over levels of Z_j'V^-1 Z_j T, for every factor."""
    out = []
    for r, t in enumerate(factors):
        total = tf.reduce_sum(information[r], -1)
        out.append(tf.matmul(total, t) if r < len(structure.chain) else total)
    return out


def value(inner, index, data, nodes, coef, means, factors, tol):
    """Objective alone, at given fixed effects and covariances.

    The search for the mode begins at the effects `means`.
    """
    aux = initial_aux(inner.structure, inner, index, data) | {"coef": coef}
    aux |= {"eta": inner.eta(data, coef, means)}
    steps = tf.constant(INNER_STEPS, INT)
    end = inner.run(index, data, factors, aux, tf.zeros([2, 1], FLOAT), tol, steps)
    y, trials, w = data["y"], data["trials"], data["weight"]
    _, weight, _ = inner.likelihood(data).derivatives(y, trials, end["eta"])
    matrices = rows_of(inner.structure, data, index).matrices(w * weight)
    if nodes is None:
        state = kernel.factorize(inner.structure, index, matrices, factors)
        return end["value"] - end["penalty"] + state["log_det"]
    own, t = matrices["own"][0], factors[0]
    u = end["spherical"][0]
    found = integrate(inner, data, nodes, t, u, coef, own)
    return found.value + left_out(inner, data)


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
            data_spec(structure, family),
            tf.TensorSpec([q, None], FLOAT),
            tf.TensorSpec([None], FLOAT),
            tf.TensorSpec([None], FLOAT),
            tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects),
            tf.TensorSpec([sum(covariance.n_parameters(structure))], FLOAT),
            tf.TensorSpec([], FLOAT),
        ],
    )


def at_mode(inner, index, data, factors, eta):
    """Rows, kernel and sums at the mode with the linear predictor `eta`."""
    structure = inner.structure
    y, trials, w = data["y"], data["trials"], data["weight"]
    derivatives = inner.likelihood(data).derivatives(y, trials, eta)
    score, weight, slope = (w * d for d in derivatives)
    response = weight * (eta - data["offset"]) + score
    state, effects, scores, _, left, right = inner.solve(
        index, data, factors, weight, response
    )
    posterior = kernel.posterior(structure, index, state, between=True)
    sums = rows_of(structure, data, index).dense(score[:, None])
    z_score = _by_factor(structure, index, sums)
    by_row = score, weight, slope
    return _Mode(*by_row, state, effects, scores, left, right, posterior, z_score)


def direct_part(inner, data, nodes, factors, coef, end, mode):
    """Laplace's or quadrature's share that does not come through the mode."""
    u = end["spherical"]
    if nodes is not None:
        own = mode.state["own"][0]
        found = integrate(inner, data, nodes, factors[0], u[0], coef, own)
        value = found.value + end["penalty"] + left_out(inner, data)
        return replace(found, value=value)
    info_t = _information_t(inner.structure, mode.information, factors)
    return Direct(
        value=end["value"] + mode.state["log_det"],
        coef=-2.0 * tf.linalg.matvec(data["X"], mode.score, transpose_a=True),
        factors=[
            -2.0 * tf.matmul(s[:, 0], b, transpose_b=True)
            for s, b in zip(mode.z_score, u, strict=True)
        ],
        curvature=mode.posterior[0],
        moved=[2.0 * part for part in info_t],
    )


def total_derivatives(inner, index, data, factors, coef, end, mode, direct):
    """Total derivatives in beta, in the family's own parameters and in T_r."""
    structure, x, u = inner.structure, data["X"], end["spherical"]
    _, _, *between = mode.posterior
    here = rows_of(structure, data, index)
    spread = here.variance((direct.curvature, *between), signed=True)
    a = mode.slope * spread
    sums = here.dense(a[:, None])
    follows, through, _, _ = kernel.project(structure, index, mode.state, sums)
    z_a = _by_factor(structure, index, sums)
    by_coef = (
        direct.coef
        + 2.0 * RIDGE * coef
        + tf.linalg.matvec(x, a, transpose_a=True)
        - sum(
            tf.reduce_sum(e[:, :-1] * s, [0, 2])
            for e, s in zip(mode.effects, z_a, strict=True)
        )
    )
    by_factor, follows = [], [e[:, 0] for e in follows]
    for r, t in enumerate(factors):
        shift = through[r][:, 0]
        e = tf.matmul(t, shift, transpose_a=True)
        if direct.mode is not None:
            moved = tf.reduce_sum(direct.shrunk * direct.mode[None], 1)
            e += moved
            lifted = tf.matmul(t, moved)
            follows[r] += lifted
            shift -= tf.reduce_sum(mode.state["own"][0] * lifted[None], 1)
            solved = blocks.left(tf.transpose(t), mode.scores[0][:, :-1])
            by_coef -= tf.reduce_sum(solved * direct.mode[:, None], [0, 2])
        by_factor.append(
            direct.factors[r]
            + direct.moved[r]
            + tf.matmul(shift, u[r], transpose_b=True)
            + tf.matmul(mode.z_score[r][:, 0], e, transpose_b=True)
        )
    by_own = _by_own(inner, data, end["eta"], spread, follows, direct)
    return by_coef, by_own, by_factor


def _by_own(inner, data, eta, spread, follows, direct):
    """Total derivative in the family's own parameters.

    That of -2 sum l_i, of log|M| through the weights, v_i dW_i, and of the mode, whose
    derivative is M^-1 Lambda' Z' ds: (Z Lambda e)_i ds_i.
    """
    if not data["parameters"]:
        return None
    y, trials, w = data["y"], data["trials"], data["weight"]
    lifted = rows_of(inner.structure, data).random_part(follows)
    lifted = tf.zeros_like(eta) if lifted is None else lifted

    def total(likelihood):
        score, weight, _ = likelihood.derivatives(y, trials, eta)
        found = spread * weight + lifted * score
        if direct.own is None:
            density = likelihood.log_density(y, trials, eta)
            found -= 2.0 * (density + likelihood.constant(y, trials))
        return tf.reduce_sum(w * found)

    found = own_parameters.slope(inner.family, data, total)
    return found if direct.own is None else found + direct.own


def evaluate(inner, index, data, nodes, phi, aux, tol):
    """Objective, gradient and inverse metric at phi = (beta, psi, theta).

    Parameters
    ----------
    inner : Inner
        With neither `spread` nor `joint`.
    index, data : dict
    nodes : tuple or None
        Quadrature nodes (q, K) and log weights (K,), or None for Laplace.
    phi : tensor of shape (p + n_own + k,)
        psi are the family's own parameters.
    aux : dict
        Last solution of the inner problem.
    tol : scalar tensor

    Returns
    -------
    out : dict
        As `optimizers.advance` wants it.
    """
    structure = inner.structure
    k, p = sum(covariance.n_parameters(structure)), tf.shape(data["X"])[1]
    theta, data = own_parameters.split(inner.family, data, phi[p:])
    theta = tf.ensure_shape(theta, [k])
    coef, factors = phi[:p], covariance.to_factors(structure, theta)
    one_node, steps = tf.zeros([2, 1], FLOAT), tf.constant(INNER_STEPS, INT)
    start = aux | {"coef": coef}
    end = inner.run(index, data, factors, start, one_node, tol, steps)
    mode = at_mode(inner, index, data, factors, end["eta"])
    direct = direct_part(inner, data, nodes, factors, coef, end, mode)
    by_coef, by_own, by_factor = total_derivatives(
        inner, index, data, factors, coef, end, mode, direct
    )
    by_theta = covariance.pull_back(structure, by_factor)

    lower = _root(inner, mode.left["normal"])
    newton = tf.linalg.cholesky_solve(lower, mode.right)[:, 0]
    contrast = tf.concat([-newton, tf.ones([1], FLOAT)], 0)
    h = [blocks.combine(s, contrast) for s in mode.scores]
    terms = covariance_terms(structure, factors, h, mode.information)
    own = own_parameters.Metric(inner.family, data, end["eta"], by_own)

    def inverse():
        of_coef = 0.5 * tf.linalg.cholesky_solve(lower, tf.eye(p, dtype=FLOAT))
        of_theta = optimizers.inverse_metric(
            terms["metric"](), tf.reduce_sum(data["weight"])
        )
        of_theta = own.beside(of_theta)
        upper = tf.pad(of_coef, [[0, 0], [0, tf.shape(of_theta)[0]]])
        return tf.concat([upper, tf.pad(of_theta, [[0, 0], [p, 0]])], 0)

    return {
        "value": covariance.in_reach(structure, factors, direct.value),
        "slack": tf.sqrt(end["slack"]),
        "stiffness": tf.zeros([], FLOAT),
        "gradient": tf.concat([by_coef, own.before(by_own, by_theta)], 0),
        "inverse": inverse,
        "fixed_point": lambda: tf.concat(
            [newton, own.before(own.step(), terms["evidence"]())], 0
        ),
        "aux": {
            "coef": coef,
            "spherical": end["spherical"],
            "variance": tf.zeros_like(end["eta"]),
            "eta": end["eta"],
            "memory": end["memory"],
            "turns": aux["turns"] + end["n"],
            "estimates": {
                "normal": mode.left["normal"],
                "information": mode.left["alone"],
                "means": end["effects"],
                "posterior": tuple(mode.posterior[0]),
                "factors": factors,
                "penalty": end["penalty"],
                "parameters": data["parameters"],
            },
        },
    }


def _root(inner, normal):
    """Cholesky factor of X'V^-1 X, of its absolute value where it may be indefinite."""
    if inner.careful:
        sizes, axes = tf.linalg.eigh(0.5 * (normal + tf.transpose(normal)))
        sizes = tf.maximum(tf.abs(sizes), RIDGE)
        normal = tf.matmul(axes * sizes, axes, transpose_b=True)
    return tf.linalg.cholesky(normal)


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


def _no_more(out):
    """Nothing is differenced beside the gradient."""
    return tf.zeros([0], FLOAT)


def _finish(inner, index, data, state, hessian, _):
    """What is left to do at the optimum: how effects move."""
    aux, one_node = state["aux"], tf.zeros([2, 1], FLOAT)
    data = data | {"parameters": aux["estimates"]["parameters"]}
    _, _, weight = inner.terms(data, aux["eta"], aux["variance"], one_node)
    moves, *_ = inner.moves(index, data, aux["estimates"]["factors"], weight)
    return optimizers.summary(state), aux | {"moves": moves}, hessian


def _parts(structure, family, quadrature):
    """The inner problem, what picks its nodes, and the signature of both."""
    inner = Inner(structure, family, spread=False, joint=False)
    q = structure.n_effects[0] if structure.n_effects else 1
    signature = [
        index_spec(structure),
        data_spec(structure, family),
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
        found = optimizers.minimize_and_differ(
            fun, state, tol, n_warm, max_iter, _no_more, wanted, _STEP
        )
        return _finish(inner, index, data, *found)

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
        found = optimizers.differences(fun, state, _no_more, wanted, _STEP)
        return _finish(inner, index, data, state, *found)

    start = graph(start, [*signature, phi, n_warm, max_iter])
    state = signature_of(start)
    return (
        start,
        graph(advance, [*signature, state, tol, n_warm]),
        graph(finish, [*signature, state, tol, wanted]),
    )
