"""Averages over draws of the random effects, in graph code.

The effects are spherical, b = T u with u ~ N(0, I) before the data: nothing is divided
by T. Draws are arrays (q, c, J), c of them for each of J levels.
"""

import functools
import warnings

import numpy as np
import tensorflow as tf

from skglmm.engine import blocks, kernel, linear
from skglmm.engine.inner import INNER_STEPS, Inner
from skglmm.engine.rows import Rows, rows_of
from skglmm.engine.structure import (
    FLOAT,
    INT,
    data_spec,
    graph,
    index_spec,
    rows_spec,
    statistics_spec,
    vector,
)

_EXACT = 1e-8
_ACCEPTANCE = 0.8
_QUARTER, _MOST = 0.5 * np.pi, 30


def matrices_spec(structure):
    return tuple(tf.TensorSpec([q, q], FLOAT) for q in structure.n_effects)


def means_spec(structure):
    return tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects)


def draws_spec(structure):
    return tuple(tf.TensorSpec([q, None, None], FLOAT) for q in structure.n_effects)


@functools.cache
def _probability():
    """TensorFlow Probability, which takes a second to import, and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import tensorflow_probability
    return tensorflow_probability


@functools.cache
def compiled_approximation(structure, family):
    """Best Gaussian at given parameters, and how it moves with the fixed effects.

    Returns row weights; ``shift`` (q, p, J), minus the derivative of the means of u in
    the fixed effects; the columns X - Z T shift (n, p), which is what is left of X when
    u moves along; means under the Gaussian: ``score`` (p,) of the fixed effects, u
    moving along, and ``posterior`` (q, q, J), the covariances of u; and where to go on
    from.
    """
    inner = Inner(structure, family, spread=True, joint=False)

    def call(index, data, nodes, coef, factors, aux):
        end = inner.run(
            index,
            data,
            factors,
            aux | {"coef": coef},
            nodes,
            tf.constant(_EXACT, FLOAT),
            tf.constant(INNER_STEPS, INT),
        )
        _, score, weight = inner.terms(data, end["eta"], end["variance"], nodes)
        effects, shift, state = inner.moves(index, data, factors, weight)
        _, information = kernel.posterior(structure, index, state)
        moved = rows_of(structure, data).random_part(effects)
        columns = data["X"] - tf.transpose(moved)
        score = tf.linalg.matvec(columns, score, transpose_a=True)
        for slope, u in zip(shift, end["spherical"], strict=True):
            score += tf.reduce_sum(slope * u[:, None], [0, 2])
        return {
            "weight": weight,
            "shift": shift,
            "columns": columns,
            "score": score,
            "posterior": tuple(
                _spherical_covariance(structure, r, t, info)
                for r, (t, info) in enumerate(zip(factors, information, strict=True))
            ),
            "aux": {name: end[name] for name in ("spherical", "variance", "eta")},
        }

    aux_spec = {
        "spherical": means_spec(structure),
        "variance": vector(),
        "eta": vector(),
    }
    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            tf.TensorSpec([2, None], FLOAT),
            vector(),
            matrices_spec(structure),
            aux_spec,
        ],
    )


def _spherical_covariance(structure, r, factor, information):
    """Blocks [M^-1]_jj = I - T' Z_j'V^-1 Z_j T."""
    if r < len(structure.chain):
        information = blocks.right(information, factor)
    return blocks.identity(factor.shape[0]) - blocks.left(
        tf.transpose(factor), information
    )


@functools.cache
def compiled_lift(structure):
    """Normals to effects with the covariance M^-1, and log|M| by level and in all."""

    def call(index, arrays, weight, factors, z):
        matrices = Rows(structure, index, arrays).matrices(weight)
        state = kernel.factorize(structure, index, matrices, factors)
        by_level = tf.zeros([0], FLOAT)
        if structure.chain:
            by_level = tf.add_n([tf.math.log(c[0]) for c in state["root"][0]])
        u = kernel.lift(structure, index, state, list(z))
        return tuple(u), 2.0 * by_level, state["log_det"]

    return graph(
        call,
        [
            index_spec(structure),
            rows_spec(structure),
            vector(),
            matrices_spec(structure),
            draws_spec(structure),
        ],
    )


def _linear_predictors(structure, data, coef, factors, u):
    """Linear predictor (c, n) of every draw."""
    fixed = data["offset"] + tf.linalg.matvec(data["X"], coef)
    effects = [blocks.left(t, v) for t, v in zip(factors, u, strict=True)]
    return fixed[None] + rows_of(structure, data).random_part(effects)


def _terms(family, data, eta):
    """Weighted log-likelihood, score and weight (c, n)."""
    parts = family.likelihood().density_and_derivatives(
        data["y"][None], data["trials"][None], eta
    )
    return tuple(data["weight"][None] * part for part in parts)


def _log_prior(u):
    """Log-density (c, J) of u ~ N(0, I), constants left out."""
    return -0.5 * tf.reduce_sum(u * u, 0)


def _second(u, weight):
    """Weighted sums (q, q, J) over draws of u u'; weight (c, J) or (c, 1)."""
    effects = tf.unstack(u)
    entries = [[tf.reduce_sum(a * b * weight, 0) for b in effects] for a in effects]
    return blocks.grid(entries)


def _by_draw(u):
    """Sums (q, q, c) over levels of u u'."""
    effects = tf.unstack(u)
    entries = [[tf.reduce_sum(a * b, 1) for b in effects] for a in effects]
    return blocks.grid(entries)


@functools.cache
def compiled_by_level(structure, family):
    """Importance sampling level by level, for one factor.

    Takes ``log_q`` (c, J), the log-density of the draws, and ``base`` (J,), what to
    divide the weights exp(log p - log q) by. Returns their logarithms (c, J), sums of
    them and of their squares by level; weighted sums of scores and weights by row, and
    of u and u u' by level.
    """

    def call(index, data, coef, factors, u, log_q, base):
        level = data["rows"]["level"][0]
        eta = _linear_predictors(structure, data, coef, factors, u)
        density, score, weight = _terms(family, data, eta)
        log_p = _by_level(density, level, index) + _log_prior(u[0])
        log_ratio = log_p - log_q
        ratio = tf.exp(log_ratio - base[None])
        at = tf.gather(ratio, level, axis=-1)
        return {
            "total": tf.reduce_sum(ratio, 0),
            "squares": tf.reduce_sum(ratio * ratio, 0),
            "score": tf.reduce_sum(at * score, 0),
            "weight": tf.reduce_sum(at * weight, 0),
            "first": tf.reduce_sum(u[0] * ratio[None], 1),
            "second": _second(u[0], ratio),
            "log_ratio": log_ratio,
        }

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            vector(),
            matrices_spec(structure),
            draws_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
            vector(),
        ],
    )


def _by_level(values, level, index):
    """Sums (c, J) of (c, n) over the sorted levels of the first factor."""
    sums = tf.math.segment_sum(tf.transpose(values), level)
    n = index["n_levels"][0]
    return tf.transpose(tf.pad(sums, [[0, n - tf.shape(sums)[0]], [0, 0]]))


@functools.cache
def compiled_spread_by_level(structure, family):
    """Sum over levels of the covariance of their complete-data scores.

    Takes weights (c, J) that sum to one, and for the covariance parameters the matrix
    ``map_`` (k, q * q) that their scores take of u u'. Returns sums (p + k, p + k) of
    weighted outer products and the weighted sums (p + k, J), the means.
    """

    def call(index, data, coef, factors, x, shift, u, weight, map_):
        level = data["rows"]["level"][0]
        eta = _linear_predictors(structure, data, coef, factors, u)
        _, score, _ = _terms(family, data, eta)
        fixed = tf.map_fn(
            lambda column: _by_level(column[None] * score, level, index),
            tf.transpose(x),
        )
        fixed += blocks.product_tn(shift[0], u[0])
        q = structure.chain[0]
        outer = tf.stack([u[0][i] * u[0][k] for i in range(q) for k in range(q)])
        scores = tf.concat([fixed, tf.tensordot(map_, outer, 1)], 0)
        weighted = scores * weight[None]
        return tf.tensordot(weighted, scores, [[1, 2], [1, 2]]), tf.reduce_sum(
            weighted, 1
        )

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            vector(),
            matrices_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
            draws_spec(structure),
            draws_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
            tf.TensorSpec([None, structure.chain[0] ** 2], FLOAT),
        ],
    )


@functools.cache
def compiled_joint(structure, family):
    """What draws of all effects at once say, draw by draw and on average.

    Takes ``log_q`` (c,). Draws are weighted by exp(log p - log q - base), or equally
    where `equal` is true. Returns for each draw ``log_ratio`` (c,), ``score`` (p, c) of
    the fixed effects and sums over levels of u u' (q, q, c); weighted sums of row
    weights, of u and of u u' by level.
    """

    def call(index, data, coef, factors, x, shift, u, log_q, base, equal):
        eta = _linear_predictors(structure, data, coef, factors, u)
        density, score, weight = _terms(family, data, eta)
        log_p = tf.reduce_sum(density, 1)
        fixed = tf.matmul(x, score, transpose_a=True, transpose_b=True)
        for v, slope in zip(u, shift, strict=True):
            log_p += tf.reduce_sum(_log_prior(v), 1)
            fixed += tf.tensordot(slope, v, [[0, 2], [0, 2]])
        ratio = tf.where(equal, tf.ones_like(log_q), tf.exp(log_p - log_q - base))
        return {
            "log_ratio": log_p - log_q,
            "score": fixed,
            "by_draw": tuple(map(_by_draw, u)),
            "weight": tf.linalg.matvec(weight, ratio, transpose_a=True),
            "first": tuple(tf.reduce_sum(v * ratio[None, :, None], 1) for v in u),
            "second": tuple(_second(v, ratio[:, None]) for v in u),
        }

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            vector(),
            matrices_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
            draws_spec(structure),
            draws_spec(structure),
            vector(),
            tf.TensorSpec([], FLOAT),
            tf.TensorSpec([], tf.bool),
        ],
    )


@functools.cache
def compiled_chains(structure, family):
    """Hamiltonian Monte Carlo in coordinates whitened by the kernel.

    The state z (q, c, J) of c chains stands for u = mean + L^-T z, L L' = M of the
    Gaussian approximation. Each transition makes as many leapfrog steps as a quarter of
    a turn takes, which leaves nothing of a standard normal state or of its square
    (half a turn would keep the square); their length varies by a fifth. ``rate`` adapts
    the length to an acceptance of 0.8 (zero: not at all).

    Returns
    -------
    z, u : tuples of (q, c, J) tensors
    step : scalar
    acceptance : scalar
        Mean over chains and transitions.
    log_det : scalar
        log|M|.
    """

    def call(index, data, row_weight, factors, coef, mean, z, step, rate, n, seed):
        prepared = rows_of(structure, data, index).prepared()
        matrices = prepared.matrices(row_weight)
        state = kernel.factorize(structure, index, matrices, factors)

        def effects(z):
            lifted = kernel.lift(structure, index, state, z)
            return [m[:, None] + v for m, v in zip(mean, lifted, strict=True)]

        @tf.custom_gradient
        def log_density(*parts):
            u = effects(_swapped(parts))
            value, slopes = _density_and_slopes(
                structure, family, index, data | {"rows": prepared}, coef, factors, u
            )
            slopes = kernel.fold(structure, index, state, slopes)

            def gradient(upstream):
                return [upstream[:, None, None] * slope for slope in _swapped(slopes)]

            return value, gradient

        parts, step, accepted = _transitions(
            log_density, _swapped(z), step, rate, n, seed
        )
        z = _swapped(parts)
        u = effects(z)
        return tuple(z), tuple(u), step, accepted / tf.cast(n, FLOAT), state["log_det"]

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure),
            vector(),
            matrices_spec(structure),
            vector(),
            means_spec(structure),
            draws_spec(structure),
            tf.TensorSpec([], FLOAT),
            tf.TensorSpec([], FLOAT),
            tf.TensorSpec([], INT),
            tf.TensorSpec([2], INT),
        ],
    )


def _swapped(parts):
    """Parts with axes 0 and 1 exchanged: (q, c, J) and (c, q, J)."""
    return [tf.transpose(part, [1, 0, 2]) for part in parts]


def _density_and_slopes(structure, family, index, data, coef, factors, u):
    """Log-density (c,) of each draw and its derivatives (q, c, J) in u."""
    eta = _linear_predictors(structure, data, coef, factors, u)
    density, score, _ = _terms(family, data, eta)
    value = tf.reduce_sum(density, 1)
    score = tf.transpose(score)
    sums = rows_of(structure, data, index).dense(score)
    pulls = list(sums["own_border"])
    if structure.core:
        pulls += kernel.split_core(structure, index["n_levels"], sums["core_border"])
    slopes = []
    for t, v, pull in zip(factors, u, pulls, strict=True):
        value += tf.reduce_sum(_log_prior(v), 1)
        slopes.append(blocks.left(tf.transpose(t), pull) - v)
    return value, slopes


def _transitions(log_density, first, step, rate, n, seed):
    """The state after n transitions, the length of steps and the sum of acceptances."""
    hmc = _probability().mcmc.HamiltonianMonteCarlo(
        log_density,
        step_size=tf.ones([], FLOAT),
        num_leapfrog_steps=tf.ones([], INT),
        store_parameters_in_results=True,
    )

    def transition(i, parts, results, step, accepted):
        key = tf.random.experimental.stateless_fold_in(seed, i)
        jitter = tf.random.stateless_uniform([], key, 0.8, 1.2, FLOAT)
        turn = tf.cast(tf.round(_QUARTER / step), INT)
        results = results._replace(
            accepted_results=results.accepted_results._replace(
                step_size=step * jitter,
                num_leapfrog_steps=tf.clip_by_value(turn, 1, _MOST),
            )
        )
        parts, results = hmc.one_step(parts, results, seed=key)
        share = tf.exp(tf.minimum(results.log_accept_ratio, 0.0))
        share = tf.where(tf.math.is_finite(share), share, tf.zeros_like(share))
        share = tf.reduce_mean(share)
        step *= tf.exp(rate * (share - _ACCEPTANCE))
        return i + 1, parts, results, step, accepted + share

    _, parts, _, step, accepted = tf.while_loop(
        lambda i, *_: i < n,
        transition,
        (
            tf.constant(0, INT),
            first,
            hmc.bootstrap_results(first),
            step,
            tf.zeros([], FLOAT),
        ),
        parallel_iterations=1,
    )
    return parts, step, accepted


@functools.cache
def compiled_exact(structure):
    """Draws from the posterior of a linear model at given factors.

    Takes standard normals for the effects, z, and for the fixed effects, (p, c).

    Returns
    -------
    squares : tuple of (q, q) tensors
        Sums over levels of the predictions' outer products, u u' / sigma^2.
    by_draw : tuple of (q, q, c) tensors
        The same of the draws around them.
    draws : tuple of (q, c, J) tensors
        Draws of the effects around their predictions, sigma = 1.
    """

    def call(index, statistics_, factors, n_rows, reml, z, z_fixed):
        state = kernel.factorize(structure, index, statistics_, factors)
        _, _, spherical, explained = kernel.project(
            structure, index, state, statistics_
        )
        fixed = linear.profile(statistics_["border"] - explained, n_rows, reml)
        contrast = linear.contrast_of(fixed)
        shift = reml * tf.matmul(fixed["half"], z_fixed, transpose_a=True)
        squares, by_draw, draws = [], [], []
        lifted = kernel.lift(structure, index, state, list(z))
        for t, u, v in zip(factors, spherical, lifted, strict=True):
            mean = blocks.combine(u, contrast)
            squares.append(tf.matmul(mean, mean, transpose_b=True) / fixed["variance"])
            v -= tf.matmul(shift, u[:, :-1], transpose_a=True)
            by_draw.append(_by_draw(v))
            draws.append(blocks.left(t, v))
        return tuple(squares), tuple(by_draw), tuple(draws)

    scalar = tf.TensorSpec([], FLOAT)
    return graph(
        call,
        [
            index_spec(structure),
            statistics_spec(structure),
            matrices_spec(structure),
            scalar,
            scalar,
            draws_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
        ],
    )
