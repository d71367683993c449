"""The arrow kernel: elimination of all effects at given covariances.

With V = I + Z Lambda Lambda' Z' and Lambda = blockdiag(T_r), the kernel turns
block statistics into V^-1 applied to the dense columns, log|V|, and for every
level the blocks that estimation and prediction need. Levels are eliminated
factor by factor along the chain (sums over sorted segments), then the core as
one dense matrix, then the fixed effects.

The elimination works on the unscaled information of a factor, the matrix A_j
of a level after everything before it has been integrated out, through

    C_j = T (T' A_j T + I)^-1 T',        R_j = I - C_j A_j,

which stay well defined when T is singular: nothing is ever divided by T.
"""

import tensorflow as tf

from skglmm.engine import blocks
from skglmm.engine.core import (
    CoreCovariance,
    CoreMatrix,
    core_apply,
    core_cells,
    from_core,
    gather,
    split_core,
    stack_core,
    to_core,
)


def factorize(structure, index, matrices, factors):
    """Integrate out every random effect, factor by factor.

    Parameters
    ----------
    structure : Structure
    index : dict
    matrices : dict
        See `statistics.reduce`; with ``met``, the `statistics.meetings` of the first
        chain factor, if they are known already.
    factors : tuple of tensors
        Relative covariance factors T_r.

    Returns
    -------
    state : dict
        ``log_det`` is log|V|; ``own``, ``link`` and ``cell`` the matrices that each
        chain factor had when its turn came; ``root`` the Cholesky columns of its
        blocks T' A_j T + I, ``gain`` the blocks C_j = T K_j T', ``lift`` the K_j T' and
        ``heavy`` its dense rows; ``met`` the `statistics.meetings` of
        the first; ``core`` the core's unscaled matrix and ``lower`` the
        Cholesky factor of S = Lambda' A Lambda + I; ``factors`` the T_r.
    """
    n_levels, links = index["n_levels"], structure.links()
    own = list(matrices["own"])
    link = dict(zip(links, matrices["link"], strict=True))
    parent = dict(zip(links, index["parent"], strict=True))
    log_det = tf.constant(0.0, tf.float64)
    roots, gains, lifts = [], [], []
    core = CoreMatrix(structure, index, matrices) if structure.core else None
    for t in range(len(structure.chain)):
        gain, half, columns = blocks.gain(factors[t], own[t])
        log_det += blocks.log_determinant(columns)
        roots.append(columns)
        gains.append(gain)
        lifts.append(blocks.solve_upper(columns, half))

        later = [s for a, s in links if a == t]
        gained = {s: blocks.product(gain, link[t, s]) for s in later}
        for s in later:
            ids, n = parent[t, s], n_levels[s]
            own[s] -= blocks.total(blocks.product_tn(link[t, s], gained[s]), ids, n)
            for r in later:
                if r > s:
                    shared = blocks.product_tn(link[t, s], gained[r])
                    link[s, r] -= blocks.total(shared, ids, n)
        if core is not None:
            core.take_off(t, gain, {s: link[t, s] for s in later})

    state = {"own": own, "link": link, "root": roots, "gain": gains, "lift": lifts}
    state["factors"] = factors
    if core is not None:
        state |= core.factorize(factors)
        diagonal = tf.linalg.diag_part(state["lower"])
        log_det += 2.0 * tf.reduce_sum(tf.math.log(diagonal))
    return state | {"log_det": log_det}


def project(structure, index, state, sums):
    """Solve for dense columns D, given their sums Z'D.

    Parameters
    ----------
    structure : Structure
    index, state : dict
    sums : dict
        See `statistics.reduce`.

    Returns
    -------
    effects, scores, spherical : lists of (q, c, J) tensors
        Lambda u, Z' V^-1 D and u = Lambda' Z' V^-1 D, chain then core; u is exact
        where the scores, a small difference of large numbers, are not.
    explained : tensor of shape (c, c)
        D'D - D' V^-1 D.
    """
    links, n_chain = structure.links(), len(structure.chain)
    n_levels = index["n_levels"]
    parent = dict(zip(links, index["parent"], strict=True))
    own_border = list(sums["own_border"])
    explained = tf.constant(0.0, tf.float64)
    if not structure.n_effects:
        return [], [], [], explained
    if structure.core:
        core_border = sums["core_border"]
        m = tf.shape(core_border)[0]
    for t in range(n_chain):
        gained = blocks.product(state["gain"][t], own_border[t])
        explained += blocks.inner_total(own_border[t], gained)
        for s in range(t + 1, n_chain):
            lifted = blocks.product_tn(state["link"][t, s], gained)
            own_border[s] -= blocks.total(lifted, parent[t, s], n_levels[s])
        if structure.core:
            core_border -= to_core(core_cells(index, t, state["cell"][t], m), gained)

    effects, scores, spherical = ([None] * n_chain for _ in range(3))
    core_effects, core_scores, core_spherical = [], [], []
    if structure.core:
        factors = state["factors"]
        solved = core_apply(structure, n_levels, factors, core_border, adjoint=True)
        solved = tf.linalg.cholesky_solve(state["lower"], solved)
        core_spherical = split_core(structure, n_levels, solved)
        solved = core_apply(structure, n_levels, factors, solved, adjoint=False)
        explained += tf.matmul(core_border, solved, transpose_a=True)
        residual = core_border - tf.matmul(state["core"], solved)
        core_effects = split_core(structure, n_levels, solved)
        core_scores = split_core(structure, n_levels, residual)
    for t in reversed(range(n_chain)):
        rest = own_border[t]
        for s in range(t + 1, n_chain):
            above = gather(effects[s], parent[t, s])
            rest -= blocks.product(state["link"][t, s], above)
        if structure.core:
            rest -= from_core(core_cells(index, t, state["cell"][t], m), solved)
        effects[t] = blocks.product(state["gain"][t], rest)
        scores[t] = rest - blocks.product(state["own"][t], effects[t])
        spherical[t] = blocks.product(state["lift"][t], rest)
    return (
        effects + core_effects,
        scores + core_scores,
        spherical + core_spherical,
        explained,
    )


def across(structure, index, matrices, values):
    """Z'WZ v by levels, as `statistics.reduce` gives the sums of dense columns.

    Parameters
    ----------
    structure : Structure
    index, matrices : dict
    values : list of (q, c, J) tensors
        v, chain then core.

    Returns
    -------
    sums : dict
    """
    n_levels, n_chain = index["n_levels"], len(structure.chain)
    own = [blocks.product(a, v) for a, v in zip(matrices["own"], values, strict=False)]
    for (t, s), link, ids in zip(
        structure.links(), matrices["link"], index["parent"], strict=True
    ):
        own[t] += blocks.product(link, gather(values[s], ids))
        met = blocks.product_tn(link, values[t])
        own[s] += blocks.total(met, ids, n_levels[s])
    if not structure.core:
        return {"own_border": tuple(own)}
    x = stack_core(values[n_chain:])
    m = tf.shape(x)[0]
    upper = tf.reshape(matrices["core"], [m, m])
    core = tf.matmul(upper, x) + tf.matmul(upper, x, transpose_a=True)
    core -= tf.linalg.diag_part(upper)[:, None] * x
    for t in range(n_chain):
        cells = core_cells(index, t, matrices["cell"][t], m)
        own[t] += from_core(cells, x)
        core += to_core(cells, values[t])
    return {"own_border": tuple(own), "core_border": core}


def lift(structure, index, state, z):
    """L^-T z for the Cholesky factor L of M = Lambda' Z'WZ Lambda + I.

    Standard normal z become spherical effects with the posterior covariance M^-1.

    Parameters
    ----------
    structure : Structure
    index, state : dict
    z : list of (q, c, J) tensors
        Chain then core.

    Returns
    -------
    u : list of (q, c, J) tensors
    """
    links, n_chain = structure.links(), len(structure.chain)
    parent = dict(zip(links, index["parent"], strict=True))
    factors = state["factors"]
    u, effects = [None] * n_chain, [None] * n_chain
    if structure.core:
        stacked = stack_core(z[n_chain:])
        stacked = tf.linalg.triangular_solve(state["lower"], stacked, adjoint=True)
        u += split_core(structure, index["n_levels"], stacked)
        scaled = core_apply(
            structure, index["n_levels"], factors, stacked, adjoint=False
        )
    for t in reversed(range(n_chain)):
        own = blocks.solve_upper(state["root"][t], z[t])
        met = []
        for s in range(t + 1, n_chain):
            above = gather(effects[s], parent[t, s])
            met.append(blocks.product(state["link"][t, s], above))
        if structure.core:
            cells = core_cells(index, t, state["cell"][t], tf.shape(scaled)[0])
            met.append(from_core(cells, scaled))
        if met:
            own -= blocks.product(state["lift"][t], tf.add_n(met))
        u[t] = own
        effects[t] = blocks.left(factors[t], own)
    return u


def fold(structure, index, state, g):
    """L^-1 g, the adjoint of `lift`.

    Parameters
    ----------
    structure : Structure
    index, state : dict
    g : list of (q, c, J) tensors
        Chain then core.

    Returns
    -------
    h : list of (q, c, J) tensors
    """
    links, n_chain = structure.links(), len(structure.chain)
    n_levels, factors = index["n_levels"], state["factors"]
    parent = dict(zip(links, index["parent"], strict=True))
    rest, h = list(g[:n_chain]), []
    if structure.core:
        core = stack_core(g[n_chain:])
        below = tf.zeros_like(core)
    for t in range(n_chain):
        h.append(blocks.solve_lower(state["root"][t], rest[t]))
        pushed = blocks.product_tn(state["lift"][t], rest[t])
        for s in range(t + 1, n_chain):
            met = blocks.product_tn(state["link"][t, s], pushed)
            met = blocks.total(met, parent[t, s], n_levels[s])
            rest[s] -= blocks.left(tf.transpose(factors[s]), met)
        if structure.core:
            cells = core_cells(index, t, state["cell"][t], tf.shape(core)[0])
            below += to_core(cells, pushed)
    if structure.core:
        core -= core_apply(structure, n_levels, factors, below, adjoint=True)
        core = tf.linalg.triangular_solve(state["lower"], core)
        h += split_core(structure, n_levels, core)
    return h


def posterior(structure, index, state, *, between=False):
    """Posterior covariance and projected information of every level.

    Both are relative to the residual variance and take the fixed effects as
    known.

    Parameters
    ----------
    structure : Structure
    index, state : dict
    between : bool, default=False
        Whether to return the covariances between factors as well.

    Returns
    -------
    covariance : list of (q, q, J) tensors
        Blocks of Lambda (Lambda' Z'Z Lambda + I)^-1 Lambda', chain then core.
    information : list of (q, q, J) tensors
        Z_j' V^-1 Z_j for the chain; for the core Z_j' V^-1 Z_j T, which is
        what the dense matrices give without a division by T.
    cross : dict
        With `between`, the covariance (q_t, q_s, J_t) of a level of chain factor t
        with its parent in s, for each (t, s).
    cross_cell : dict
        With `between`, the covariance (q_t, n_cells) of a level of chain factor t
        with each core column that it touches, for each t.
    core : tensor of shape (m, m) or None
        With `between`, the covariance of the core's columns.
    """
    links, n_chain = structure.links(), len(structure.chain)
    parent = dict(zip(links, index["parent"], strict=True))
    covariance, information = [None] * n_chain, [None] * n_chain
    core_covariance, core_information = [], []
    cross, core = {}, None
    if structure.core:
        core = CoreCovariance(structure, index, state, between)
        core_covariance, core_information = core.of_levels()

    for t in reversed(range(n_chain)):
        gain, own = state["gain"][t], state["own"][t]
        link = {s: state["link"][t, s] for s in range(t + 1, n_chain)}
        reach = _reach(t, link, parent, covariance, cross)
        spread = None if core is None else core.spread(t, link, reach)
        for s in link:
            term = blocks.product_nt(reach[s], link[s])
            spread = term if spread is None else spread + term
            cross[t, s] = -blocks.product(gain, reach[s])
        shrink = blocks.identity(structure.chain[t]) - blocks.product(gain, own)
        information[t] = blocks.product(own, shrink)
        covariance[t] = gain
        if spread is not None:
            information[t] -= blocks.product_tn(shrink, blocks.product(spread, shrink))
            covariance[t] += blocks.product(gain, blocks.product(spread, gain))
    covariance, information = (
        covariance + core_covariance,
        information + core_information,
    )
    if not between:
        return covariance, information
    if core is None:
        return covariance, information, cross, {}, None
    return covariance, information, cross, core.cross_cell, core.matrix


def _reach(t, link, parent, covariance, cross):
    """Links of chain factor t times the covariance of their levels, by later factor.

    Parameters
    ----------
    t : int
    link, parent, cross : dict
        Links (q_t, q_s, J_t) by later factor s; parents, and the covariances between
        later factors, by pair.
    covariance : list of (q, q, J) tensors
        Of which those of later factors are there.
    """
    reach = {}
    for s in link:
        terms = []
        for r in link:
            if r == s:
                shared = gather(covariance[s], parent[t, s])
            elif r < s:
                shared = gather(cross[r, s], parent[t, r])
            else:
                shared = blocks.transpose(gather(cross[s, r], parent[t, s]))
            terms.append(blocks.product(link[r], shared))
        reach[s] = tf.add_n(terms)
    return reach
