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

from skglmm.engine import blocks, dense
from skglmm.engine.statistics import core_offsets, meetings


def _gather(a, ids):
    return tf.gather(a, ids, axis=-1)


def _core_scale(structure, n_levels, factors):
    """Diagonal (m,) of the core's factor Lambda; None if it is not diagonal."""
    if any(q > 1 for q in structure.core):
        return None
    n_chain = len(structure.chain)
    parts = range(n_chain, n_chain + len(structure.core))
    return tf.concat([tf.fill([n_levels[r]], factors[r][0, 0]) for r in parts], 0)


def _core_apply(structure, n_levels, factors, x, *, adjoint):
    """Lambda x, or Lambda' x, for the core's factor Lambda and x (m, n)."""
    n_chain = len(structure.chain)
    scale = _core_scale(structure, n_levels, factors)
    if scale is not None:
        return scale[:, None] * x
    offsets, _ = core_offsets(structure, n_levels)
    parts = []
    for c, q in enumerate(structure.core):
        n = n_levels[n_chain + c]
        part = tf.reshape(x[offsets[c] : offsets[c] + n * q], [n, q, tf.shape(x)[1]])
        t = factors[n_chain + c]
        t = tf.transpose(t) if adjoint else t
        part = tf.add_n([t[None, :, i, None] * part[:, i, None] for i in range(q)])
        parts.append(tf.reshape(part, [n * q, tf.shape(x)[1]]))
    return tf.concat(parts, 0)


def _core_sandwich(structure, n_levels, factors, a, *, adjoint):
    """A Lambda' and Lambda A Lambda', or A Lambda and Lambda' A Lambda, A symmetric."""
    scale = _core_scale(structure, n_levels, factors)
    if scale is not None:
        half = a * scale
        return half, scale[:, None] * half
    half = _core_apply(structure, n_levels, factors, a, adjoint=adjoint)
    half = tf.transpose(half)
    return half, _core_apply(structure, n_levels, factors, half, adjoint=adjoint)


def _cells(index, t, cell, m):
    """The cells as one sparse matrix (J, m) an effect."""
    shape = tf.cast(tf.stack([index["n_levels"][t], m]), tf.int64)
    return [
        tf.SparseTensor(index["cell_place"][t], values, shape)
        for values in tf.unstack(cell, num=cell.shape[0])
    ]


def _from_core(cells, x):
    """B x by level, (q, c, J), for the `_cells` B and core columns x (m, c)."""
    met = [tf.sparse.sparse_dense_matmul(b, x) for b in cells]
    return blocks.stack([tf.transpose(part) for part in met])


def _to_core(cells, v):
    """B'v, (m, c), for the `_cells` B and v by level (q, c, J)."""
    met = [
        tf.sparse.sparse_dense_matmul(b, tf.transpose(v[i]), adjoint_a=True)
        for i, b in enumerate(cells)
    ]
    return tf.add_n(met)


def _by_place(index, t, met, q, m):
    """The meetings as sparse matrices (J, m m) with their effects, {(i, k): matrix}."""
    shape = tf.cast(tf.stack([index["n_levels"][t], m * m]), tf.int64)
    effects = [(i, k) for i in range(q) for k in range(i, q)]
    return {
        pair: tf.SparseTensor(index["pair_place"][t], met[entry], shape)
        for entry, pair in enumerate(effects)
    }


def _heavy_rows(index, t, cell, m):
    """Dense rows (q, n_heavy, m) of the levels that touch much of the core."""
    n_heavy = tf.shape(index["heavy_level"][t])[0]
    values = tf.transpose(_gather(cell, index["heavy_cell"][t]))
    rows = tf.math.unsorted_segment_sum(values, index["heavy_place"][t], n_heavy * m)
    rows = tf.reshape(tf.transpose(rows), [cell.shape[0], n_heavy, m])
    return tf.unstack(rows)


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
    roots, gains, lifts, heavies = [], [], [], []
    if structure.core:
        cell = list(matrices["cell"])
        up = dict(zip(links, index["cell_up"], strict=True))
        core, mets = matrices["core"], []
        _, m = core_offsets(structure, n_levels)
        diagonal = tf.linalg.diag_part(tf.reshape(core, [m, m]))
        outer = tf.zeros([m, m], core.dtype)

    for t, q in enumerate(structure.chain):
        factor = factors[t]
        gain, half, columns = blocks.gain(factor, own[t])
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
        if structure.core:
            at = index["cell_level"][t]
            pushed = blocks.product(_gather(gain, at), cell[t][:, None])[:, 0]
            for s in later:
                ids, n = up[t, s], tf.shape(cell[s])[1]
                lifted = blocks.product_tn(_gather(link[t, s], at), pushed[:, None])
                cell[s] -= blocks.total(lifted[:, 0], ids, n, is_sorted=False)
            known = "met" in matrices and t == 0
            met = matrices["met"] if known else meetings(index, t, cell[t])
            mets.append(met)
            for (i, k), by_place in _by_place(index, t, met, q, m).items():
                core -= tf.sparse.sparse_dense_matmul(
                    by_place, gain[i, k][:, None], adjoint_a=True
                )[:, 0]
            alone = tf.reduce_sum(cell[t] * pushed, 0)[:, None]
            diagonal -= blocks.scatter(alone, index["cell_column"][t], m)[:, 0]
            heavy = _heavy_rows(index, t, cell[t], m)
            heavies.append(heavy)
            weight = _gather(gain, index["heavy_level"][t])
            for i in range(q):
                row = tf.add_n([weight[i, k][:, None] * heavy[k] for k in range(q)])
                outer += tf.matmul(heavy[i], row, transpose_a=True)

    state = {"own": own, "link": link, "root": roots, "gain": gains, "lift": lifts}
    state["factors"] = factors
    if structure.core:
        upper = tf.reshape(core, [m, m])
        core = tf.linalg.set_diag(upper + tf.transpose(upper) - outer, diagonal)
        _, scaled = _core_sandwich(structure, n_levels, factors, core, adjoint=True)
        scaled = tf.linalg.set_diag(scaled, tf.linalg.diag_part(scaled) + 1.0)
        lower = tf.linalg.cholesky(scaled)
        log_det += 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower)))
        state |= {
            "core": core,
            "lower": lower,
            "cell": cell,
            "met": mets[0],
            "heavy": heavies,
        }
    return state | {"log_det": log_det}


def split_core(structure, n_levels, x):
    """Core rows (m, n) as one (q, n, J) tensor a factor."""
    offsets, _ = core_offsets(structure, n_levels)
    n_chain = len(structure.chain)
    parts = []
    for c, q in enumerate(structure.core):
        n = n_levels[n_chain + c]
        part = tf.reshape(x[offsets[c] : offsets[c] + n * q], [n, q, tf.shape(x)[1]])
        parts.append(tf.transpose(part, [1, 2, 0]))
    return parts


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
    if not n_chain:
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
            core_border -= _to_core(_cells(index, t, state["cell"][t], m), gained)

    effects, scores, spherical = ([None] * n_chain for _ in range(3))
    core_effects, core_scores, core_spherical = [], [], []
    if structure.core:
        factors = state["factors"]
        solved = _core_apply(structure, n_levels, factors, core_border, adjoint=True)
        solved = tf.linalg.cholesky_solve(state["lower"], solved)
        core_spherical = split_core(structure, n_levels, solved)
        solved = _core_apply(structure, n_levels, factors, solved, adjoint=False)
        explained += tf.matmul(core_border, solved, transpose_a=True)
        residual = core_border - tf.matmul(state["core"], solved)
        core_effects = split_core(structure, n_levels, solved)
        core_scores = split_core(structure, n_levels, residual)
    for t in reversed(range(n_chain)):
        rest = own_border[t]
        for s in range(t + 1, n_chain):
            above = _gather(effects[s], parent[t, s])
            rest -= blocks.product(state["link"][t, s], above)
        if structure.core:
            rest -= _from_core(_cells(index, t, state["cell"][t], m), solved)
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
        own[t] += blocks.product(link, _gather(values[s], ids))
        met = blocks.product_tn(link, values[t])
        own[s] += blocks.total(met, ids, n_levels[s])
    if not structure.core:
        return {"own_border": tuple(own)}
    x = _stack_core(values[n_chain:])
    m = tf.shape(x)[0]
    upper = tf.reshape(matrices["core"], [m, m])
    core = tf.matmul(upper, x) + tf.matmul(upper, x, transpose_a=True)
    core -= tf.linalg.diag_part(upper)[:, None] * x
    for t in range(n_chain):
        cells = _cells(index, t, matrices["cell"][t], m)
        own[t] += _from_core(cells, x)
        core += _to_core(cells, values[t])
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
        stacked = _stack_core(z[n_chain:])
        stacked = tf.linalg.triangular_solve(state["lower"], stacked, adjoint=True)
        u += split_core(structure, index["n_levels"], stacked)
        scaled = _core_apply(
            structure, index["n_levels"], factors, stacked, adjoint=False
        )
    for t in reversed(range(n_chain)):
        own = blocks.solve_upper(state["root"][t], z[t])
        met = []
        for s in range(t + 1, n_chain):
            above = _gather(effects[s], parent[t, s])
            met.append(blocks.product(state["link"][t, s], above))
        if structure.core:
            cells = _cells(index, t, state["cell"][t], tf.shape(scaled)[0])
            met.append(_from_core(cells, scaled))
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
        core = _stack_core(g[n_chain:])
        below = tf.zeros_like(core)
    for t in range(n_chain):
        h.append(blocks.solve_lower(state["root"][t], rest[t]))
        pushed = blocks.product_tn(state["lift"][t], rest[t])
        for s in range(t + 1, n_chain):
            met = blocks.product_tn(state["link"][t, s], pushed)
            met = blocks.total(met, parent[t, s], n_levels[s])
            rest[s] -= blocks.left(tf.transpose(factors[s]), met)
        if structure.core:
            cells = _cells(index, t, state["cell"][t], tf.shape(core)[0])
            below += _to_core(cells, pushed)
    if structure.core:
        core -= _core_apply(structure, n_levels, factors, below, adjoint=True)
        core = tf.linalg.triangular_solve(state["lower"], core)
        h += split_core(structure, n_levels, core)
    return h


def _stack_core(parts):
    """Core rows (m, c) of one (q, c, J) tensor a factor: `split_core` undone."""
    rows = [
        tf.reshape(tf.transpose(part, [2, 0, 1]), [-1, tf.shape(part)[1]])
        for part in parts
    ]
    return tf.concat(rows, 0)


def _core_inverse(structure, n_levels, state):
    """S^-1 Lambda' and the core's covariance Lambda S^-1 Lambda'."""
    inverse = dense.gram_of_lower(dense.inverse_of_lower(state["lower"]))
    return _core_sandwich(structure, n_levels, state["factors"], inverse, adjoint=False)


def _within(index, t, cell, flat, dense_covariance, seen_heavy):
    """Core covariance times the cells, each level's cells among themselves.

    Parameters
    ----------
    cell : tensor of shape (q, n_cells)
    flat, dense_covariance : tensors
        The core's covariance, as a vector and as a matrix.
    seen_heavy : list of (n_heavy, m) tensors
        Dense rows times the covariance.
    """
    n_cells, zero = tf.shape(cell)[1], tf.zeros([1], cell.dtype)
    shape = tf.cast(tf.stack([n_cells, n_cells]), tf.int64)
    weight = tf.gather(flat, index["pair_place"][t][:, 1])
    pairs = tf.SparseTensor(index["pair"][t], weight, shape)
    columns = tf.transpose(cell)
    met = tf.sparse.sparse_dense_matmul(pairs, columns)
    met += tf.sparse.sparse_dense_matmul(pairs, columns, adjoint_a=True)
    own = tf.concat([tf.linalg.diag_part(dense_covariance), zero], 0)
    met = tf.transpose(met) + _gather(own, index["cell_light"][t]) * cell
    dense_rows = [
        _gather(tf.concat([tf.reshape(row, [-1]), zero], 0), index["cell_heavy"][t])
        for row in seen_heavy
    ]
    return met + blocks.stack(dense_rows)


def _spread(index, t, state, covered, seen_heavy):
    """B C B' of every level, (q, q, J), for its cells B and the core's covariance C.

    Parameters
    ----------
    covered : tuple of tensors
        C as a vector, and its diagonal.
    seen_heavy : list of (n_heavy, m) tensors
        Dense rows times C.
    """
    flat, diagonal = covered
    cell, heavy = state["cell"][t], state["heavy"][t]
    n, at = index["n_levels"][t], index["cell_level"][t]
    alone = cell * _gather(diagonal, index["cell_column"][t])
    spread = blocks.total(cell[:, None] * alone[None], at, n)
    q = cell.shape[0]
    rows = [[None] * q for _ in range(q)]
    by_place = _by_place(index, t, state["met"], q, tf.shape(diagonal)[0])
    for (i, k), matrix in by_place.items():
        met = tf.sparse.sparse_dense_matmul(matrix, flat[:, None])[:, 0]
        rows[i][k] = rows[k][i] = 2.0 * met if i == k else met
    spread += blocks.grid(rows)
    # the diagonal is counted above
    seen = [row - diagonal * own for row, own in zip(seen_heavy, heavy, strict=True)]
    met = [[tf.reduce_sum(a * b, 1) for b in heavy] for a in seen]
    return spread + blocks.total(blocks.grid(met), index["heavy_level"][t], n)


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
    n_levels = index["n_levels"]
    parent = dict(zip(links, index["parent"], strict=True))
    covariance, information = [None] * n_chain, [None] * n_chain
    cross, cross_cell = {}, {}
    core_covariance, core_information = [], []
    if structure.core:
        up = dict(zip(links, index["cell_up"], strict=True))
        core_half, dense_covariance = _core_inverse(structure, n_levels, state)
        q_core = tf.reshape(dense_covariance, [-1])
        offsets, _ = core_offsets(structure, n_levels)
        for c, q in enumerate(structure.core):
            n = n_levels[n_chain + c]
            rows = slice(offsets[c], offsets[c] + n * q)
            own = tf.reshape(state["core"][rows], [n, q, -1])
            half = tf.reshape(core_half[rows], [n, q, -1])
            core_information.append(
                blocks.grid(
                    [
                        [tf.reduce_sum(own[:, i] * half[:, k], 1) for k in range(q)]
                        for i in range(q)
                    ]
                )
            )
            core_covariance.append(
                dense.diagonal_blocks(dense_covariance[rows, rows], q)
            )

    for t in reversed(range(n_chain)):
        gain, own = state["gain"][t], state["own"][t]
        n, later = n_levels[t], range(t + 1, n_chain)
        link = {s: state["link"][t, s] for s in later}
        reach = {}
        for s in later:
            terms = []
            for r in later:
                if r == s:
                    shared = _gather(covariance[s], parent[t, s])
                elif r < s:
                    shared = _gather(cross[r, s], parent[t, r])
                else:
                    shared = blocks.transpose(_gather(cross[s, r], parent[t, s]))
                terms.append(blocks.product(link[r], shared))
            reach[s] = tf.add_n(terms)
        if structure.core:
            at, cell = index["cell_level"][t], state["cell"][t]
            heavy = state["heavy"][t]
            seen_heavy = [tf.matmul(row, dense_covariance) for row in heavy]
            if t == 0 and not (later or between):
                covered = (q_core, tf.linalg.diag_part(dense_covariance))
                spread = _spread(index, t, state, covered, seen_heavy)
            else:
                across = _within(index, t, cell, q_core, dense_covariance, seen_heavy)
                spread = blocks.total(cell[:, None] * across[None], at, n)
            for s in later:
                seen = _gather(cross_cell[s], up[t, s])
                reach[s] += blocks.total(cell[:, None] * seen[None], at, n)
                linked = blocks.product(_gather(link[s], at), seen[:, None])[:, 0]
                spread += blocks.total(linked[:, None] * cell[None], at, n)
                across += linked
            if t or between:
                pushed = blocks.product(_gather(gain, at), across[:, None])[:, 0]
                cross_cell[t] = -pushed
        else:
            spread = None
        for s in later:
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
    core = dense_covariance if structure.core else None
    return covariance, information, cross, cross_cell, core
