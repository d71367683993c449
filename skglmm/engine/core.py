"""The core: the factors that are eliminated last, as one dense matrix.

Its m columns are the effects of all levels of its factors, level by level. A level of
a chain factor meets few of these columns, and its cells say which; the rows of levels
that meet many are dense.
"""

import tensorflow as tf

from skglmm.engine import blocks, dense, related
from skglmm.engine.statistics import meetings
from skglmm.engine.structure import core_offsets


def gather(a, ids):
    return tf.gather(a, ids, axis=-1)


def _core_scale(structure, n_levels, factors):
    """Diagonal (m,) of the core's factor Lambda; None if it is not diagonal."""
    if any(q > 1 for q in structure.core):
        return None
    n_chain = len(structure.chain)
    parts = range(n_chain, n_chain + len(structure.core))
    return tf.concat([tf.fill([n_levels[r]], factors[r][0, 0]) for r in parts], 0)


def core_apply(structure, n_levels, factors, x, *, adjoint):
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
    half = core_apply(structure, n_levels, factors, a, adjoint=adjoint)
    half = tf.transpose(half)
    return half, core_apply(structure, n_levels, factors, half, adjoint=adjoint)


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


def stack_core(parts):
    """Core rows (m, c) of one (q, c, J) tensor a factor: `split_core` undone."""
    rows = [
        tf.reshape(tf.transpose(part, [2, 0, 1]), [-1, tf.shape(part)[1]])
        for part in parts
    ]
    return tf.concat(rows, 0)


def core_cells(index, t, cell, m):
    """The cells as one sparse matrix (J, m) an effect."""
    shape = tf.cast(tf.stack([index["n_levels"][t], m]), tf.int64)
    return [
        tf.SparseTensor(index["cell_place"][t], values, shape)
        for values in tf.unstack(cell, num=cell.shape[0])
    ]


def from_core(cells, x):
    """B x by level, (q, c, J), for the `core_cells` B and core columns x (m, c)."""
    met = [tf.sparse.sparse_dense_matmul(b, x) for b in cells]
    return blocks.stack([tf.transpose(part) for part in met])


def to_core(cells, v):
    """B'v, (m, c), for the `core_cells` B and v by level (q, c, J)."""
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
    values = tf.transpose(gather(cell, index["heavy_cell"][t]))
    rows = tf.math.unsorted_segment_sum(values, index["heavy_place"][t], n_heavy * m)
    rows = tf.reshape(tf.transpose(rows), [cell.shape[0], n_heavy, m])
    return tf.unstack(rows)


class CoreMatrix:
    """The core's unscaled matrix, while the chain's factors are taken off it.

    The diagonal and what levels with dense rows contribute are summed apart.
    """

    def __init__(self, structure, index, matrices):
        self._structure, self._index = structure, index
        self._up = dict(zip(structure.links(), index["cell_up"], strict=True))
        self._cell, self._heavy = list(matrices["cell"]), []
        self._upper, self._met = matrices["core"], matrices.get("met")
        self._roots = matrices.get("related", ())
        _, self._m = core_offsets(structure, index["n_levels"])
        square = tf.reshape(self._upper, [self._m, self._m])
        self._diagonal = tf.linalg.diag_part(square)
        self._outer = tf.zeros([self._m, self._m], self._upper.dtype)

    def take_off(self, t, gain, links):
        """Take off what chain factor t explains, which is linked to later ones."""
        index, cell, m = self._index, self._cell[t], self._m
        at, q = index["cell_level"][t], self._structure.chain[t]
        pushed = blocks.product(gather(gain, at), cell[:, None])[:, 0]
        for s, link in links.items():
            ids, n = self._up[t, s], tf.shape(self._cell[s])[1]
            lifted = blocks.product_tn(gather(link, at), pushed[:, None])
            self._cell[s] -= blocks.total(lifted[:, 0], ids, n, is_sorted=False)
        known = self._met is not None and t == 0
        met = self._met if known else meetings(index, t, cell)
        if t == 0:
            self._met = met
        for (i, k), by_place in _by_place(index, t, met, q, m).items():
            self._upper -= tf.sparse.sparse_dense_matmul(
                by_place, gain[i, k][:, None], adjoint_a=True
            )[:, 0]
        alone = tf.reduce_sum(cell * pushed, 0)[:, None]
        self._diagonal -= blocks.scatter(alone, index["cell_column"][t], m)[:, 0]
        heavy = _heavy_rows(index, t, cell, m)
        self._heavy.append(heavy)
        weight = gather(gain, index["heavy_level"][t])
        for i in range(q):
            row = tf.add_n([weight[i, k][:, None] * heavy[k] for k in range(q)])
            self._outer += tf.matmul(heavy[i], row, transpose_a=True)

    def factorize(self, factors):
        """What `factorize` keeps of the core."""
        structure, n_levels = self._structure, self._index["n_levels"]
        upper = tf.reshape(self._upper, [self._m, self._m])
        both = upper + tf.transpose(upper) - self._outer
        core = tf.linalg.set_diag(both, self._diagonal)
        _, scaled = _core_sandwich(structure, n_levels, factors, core, adjoint=True)
        scaled = tf.linalg.set_diag(scaled, tf.linalg.diag_part(scaled) + 1.0)
        return {
            "core": core,
            "lower": tf.linalg.cholesky(scaled),
            "cell": self._cell,
            "met": self._met,
            "heavy": self._heavy,
            "related": self._roots,
        }


class CoreCovariance:
    """The core's covariance, and that of chain factors with it, from the last on.

    Attributes
    ----------
    matrix : tensor of shape (m, m)
    cross_cell : dict
        See `posterior`.
    """

    def __init__(self, structure, index, state, between):
        self._structure, self._index, self._state = structure, index, state
        self._between = between
        self._up = dict(zip(structure.links(), index["cell_up"], strict=True))
        self._half, self.matrix = _core_inverse(structure, index["n_levels"], state)
        if structure.related:
            known = structure, index["n_levels"], state["related"]
            self.matrix = related.covariance(*known, self.matrix)
        self._flat = tf.reshape(self.matrix, [-1])
        self.cross_cell = {}

    def of_levels(self):
        """Covariance and information of every level, as `posterior` returns them."""
        structure, n_levels = self._structure, self._index["n_levels"]
        covariance, information = [], []
        offsets, _ = core_offsets(structure, n_levels)
        for c, q in enumerate(structure.core):
            n = n_levels[len(structure.chain) + c]
            rows = slice(offsets[c], offsets[c] + n * q)
            own = tf.reshape(self._state["core"][rows], [n, q, -1])
            half = tf.reshape(self._half[rows], [n, q, -1])
            entries = [
                [tf.reduce_sum(own[:, i] * half[:, k], 1) for k in range(q)]
                for i in range(q)
            ]
            information.append(blocks.grid(entries))
            covariance.append(dense.diagonal_blocks(self.matrix[rows, rows], q))
        return covariance, information

    def spread(self, t, link, reach):
        """Cells of chain factor t times their covariance, (q, q, J).

        The core's part in its `_reach` is added, and its covariance with the core
        kept for the factors before it.
        """
        index, state = self._index, self._state
        at, n, cell = index["cell_level"][t], index["n_levels"][t], state["cell"][t]
        heavy = state["heavy"][t]
        seen_heavy = [tf.matmul(row, self.matrix) for row in heavy]
        if t == 0 and not (link or self._between):
            covered = (self._flat, tf.linalg.diag_part(self.matrix))
            return _spread(index, t, state, covered, seen_heavy)
        across = _within(index, t, cell, self._flat, self.matrix, seen_heavy)
        spread = blocks.total(cell[:, None] * across[None], at, n)
        for s in link:
            seen = gather(self.cross_cell[s], self._up[t, s])
            reach[s] += blocks.total(cell[:, None] * seen[None], at, n)
            linked = blocks.product(gather(link[s], at), seen[:, None])[:, 0]
            spread += blocks.total(linked[:, None] * cell[None], at, n)
            across += linked
        if t or self._between:
            pushed = blocks.product(gather(state["gain"][t], at), across[:, None])
            self.cross_cell[t] = -pushed[:, 0]
        return spread


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
    met = tf.transpose(met) + gather(own, index["cell_light"][t]) * cell
    dense_rows = [
        gather(tf.concat([tf.reshape(row, [-1]), zero], 0), index["cell_heavy"][t])
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
    alone = cell * gather(diagonal, index["cell_column"][t])
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
