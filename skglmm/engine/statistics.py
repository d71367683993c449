"""Reduction of rows to block statistics.

The statistics are plain sums over rows, so those of two chunks of rows add up
to those of both: that is all that chunked, out-of-core and distributed fitting
need.
"""

import functools
import itertools

import tensorflow as tf

from skglmm.engine import blocks, related
from skglmm.engine.structure import (
    FLOAT,
    INT,
    core_offsets,
    graph,
    index_spec,
    rows_spec,
    sums_spec,
    vector,
)


def row_values(structure, rows, r):
    """Row values of factor r as a list of vectors; None stands for ones."""
    if structure.plain[r]:
        return [None]
    return tf.unstack(rows["z"][r], axis=1)


def times(*vectors):
    """Product of vectors, None standing for ones."""
    out = None
    for v in vectors:
        if v is not None:
            out = v if out is None else out * v
    return out


def _layout(structure, t):
    """What a row gives to the matrices of chain factor t.

    Returns
    -------
    columns : list of (r, i) or None
        Effect i of factor r; None stands for ones.
    first : dict
        The first column of factor t, and of each of its parents.
    """
    columns, first = [], {}
    for r in [t, *(s for a, s in structure.links() if a == t)]:
        own = [(r, i) for i in range(structure.n_effects[r])]
        if structure.plain[r]:
            own = [None]
        if own[0] not in columns:
            columns += own
        first[r] = columns.index(own[0])
    return columns, first


def _table(structure, rows, t, x):
    """The columns of `_layout`, and those of x."""
    n = tf.shape(rows["level"][t])[0]
    ones = tf.ones([n, 1], FLOAT)
    columns, _ = _layout(structure, t)
    parts = [
        ones if c is None else rows["z"][c[0]][:, c[1] : c[1] + 1] for c in columns
    ]
    parts += [] if x is None else [x]
    return blocks.concat(parts, 1)


def by_effect(table, places, n, weight, z):
    """Sums of the rows of a table times W z over places, (n, c) by effect."""
    return [blocks.scatter_at(table, places, n, times(weight, a)) for a in z]


def reduce(structure, index, rows, weight=None, x=None, values=None):
    """Z'WZ by blocks, and by levels Z'WX and Z'D, in one pass over the rows.

    Parameters
    ----------
    structure : Structure
    index, rows : dict
        See `structure.index_spec` and `structure.rows_spec`.
    weight : tensor of shape (n,), optional
        W; without it there is no Z'WZ.
    x : tensor of shape (n, p), optional
        X, for which there must be weights.
    values : tensor of shape (n, c), optional
        D, dense columns that carry their weights already.

    Returns
    -------
    matrices : dict
        With `weight`: ``own`` is Z_j'WZ_j of the chain's levels; ``link`` couples a
        level with its parents and ``cell`` with the core columns it touches; ``core``
        is the upper triangle of the core's own matrix, row by row.
    sums : dict
        With `x` or `values`: ``own_border``, a (q, p + c, J) tensor for each chain
        factor, and with a core ``core_border`` (m, p + c).
    """
    rows = prepared(structure, index, rows, x)
    n_levels = index["n_levels"]
    z = [row_values(structure, rows, r) for r in range(len(structure.n_effects))]
    matrices, sums = {"own": (), "link": ()}, {"own_border": ()}
    for t, q in enumerate(structure.chain):
        border = []

        def summed(table, weight, t=t):
            found = by_effect(table, rows["to_level"][t], n_levels[t], weight, z[t])
            return blocks.stack([tf.transpose(part) for part in found])

        if weight is not None:
            columns, first = _layout(structure, t)
            found = summed(rows["table"][t], weight)
            for r, at in first.items():
                k = structure.chain[r]
                part = tf.ensure_shape(found[:, at : at + k], [q, k, None])
                matrices["own" if r == t else "link"] += (part,)
            border += [] if x is None else [found[:, len(columns) :]]
        if values is not None:
            border.append(summed(values, None))
        if border:
            sums["own_border"] += (blocks.concat(border, 1),)
    if structure.core and weight is not None:
        matrices |= _core_matrices(structure, index, rows, z, weight)
    if structure.core:
        parts = [] if x is None else [_core_sums(structure, index, rows, z, x, weight)]
        if values is not None:
            parts.append(_core_sums(structure, index, rows, z, values))
        if parts:
            sums["core_border"] = blocks.concat(parts, 1)
    if structure.related:
        known = structure, n_levels, rows["related"]
        matrices, sums = (related.summed(*known, part) for part in (matrices, sums))
    return matrices, sums


def reduce_matrices(structure, index, rows, weight):
    """The matrices of `reduce` alone."""
    return reduce(structure, index, rows, weight)[0]


def reduce_dense(structure, index, rows, values):
    """The sums of `reduce` alone."""
    return reduce(structure, index, rows, values=values)[1]


def prepared(structure, index, rows, x=None):
    """The rows with what `reduce` would otherwise work out each time.

    ``to_level``, the levels as places for `blocks.scatter_at`; ``table``, the columns
    that are summed over them, by chain factor. With a core: ``column``, the core column
    that each core effect of a row falls into, by factor and effect; ``to_core`` and
    ``to_cell``, the same and the cells as places.
    """
    if structure.iterative or "to_level" in rows:
        return rows
    chain = range(len(structure.chain))
    rows = rows | {
        "to_level": [blocks.places_of(rows["level"][t]) for t in chain],
    }
    if "z" in rows:
        rows["table"] = [_table(structure, rows, t, x) for t in chain]
    if not structure.core:
        return rows
    offsets, _ = core_offsets(structure, index["n_levels"])
    column = [
        [offsets[c] + rows["level"][len(structure.chain) + c] * q + i for i in range(q)]
        for c, q in enumerate(structure.core)
    ]
    return rows | {
        "column": column,
        "to_core": [[blocks.places_of(at) for at in effects] for effects in column],
        "to_cell": [
            [
                [blocks.places_of(cells[c] + i) for i in range(q)]
                for c, q in enumerate(structure.core)
            ]
            for cells in rows["cell"]
        ],
    }


def _core_matrices(structure, index, rows, z, weight):
    """``cell`` and ``core`` of `reduce`."""
    n_chain = len(structure.chain)
    cells = []
    for t in range(n_chain):
        n_cells = tf.shape(index["cell_level"][t])[0]
        effects = []
        for a in z[t]:
            row = tf.zeros([n_cells], FLOAT)
            for c in range(len(structure.core)):
                for i, b in enumerate(z[n_chain + c]):
                    row += blocks.scatter_at(
                        times(weight, a, b)[:, None], rows["to_cell"][t][c][i], n_cells
                    )[:, 0]
            effects.append(row)
        cells.append(blocks.stack(effects))
    _, m = core_offsets(structure, index["n_levels"])
    column = rows["column"]
    core = tf.zeros([m * m], FLOAT)
    for c in range(len(structure.core)):
        for i, a in enumerate(z[n_chain + c]):
            for d in range(c, len(structure.core)):
                for k, b in enumerate(z[n_chain + d]):
                    if (c, i) <= (d, k):
                        place = column[c][i] * m + column[d][k]
                        core += tf.math.unsorted_segment_sum(
                            times(weight, a, b), place, m * m
                        )
    return {"cell": tuple(cells), "core": core}


def _core_sums(structure, index, rows, z, values, weight=None):
    """``core_border`` of `reduce`."""
    _, m = core_offsets(structure, index["n_levels"])
    parts = [
        blocks.scatter_at(values, at, m, times(weight, a))
        for c, places in enumerate(rows["to_core"])
        for a, at in zip(z[len(structure.chain) + c], places, strict=True)
    ]
    return tf.add_n(parts)


def meetings(index, t, cell):
    """What two cells of a level do to the core, for all pairs of the chain factor t.

    Parameters
    ----------
    index : dict
    t : int
    cell : tensor of shape (q, n_cells)

    Returns
    -------
    met : tensor of shape (q (q + 1) / 2, n_pairs)
        For the effects i <= k, in rows; of i < k both products.
    """
    first = tf.gather(cell, index["pair_first"][t], axis=-1)
    second = tf.gather(cell, index["pair_second"][t], axis=-1)
    met = []
    for i in range(cell.shape[0]):
        met.append(first[i] * second[i])
        for k in range(i + 1, cell.shape[0]):
            met.append(first[i] * second[k] + first[k] * second[i])
    return blocks.stack(met)


def reduce_rows(structure, index, rows, table, weight, maps):
    """All weighted sums of some rows of a linear model, in any order.

    Parameters
    ----------
    structure : Structure
    index : dict
    rows : dict
        ``level`` and ``cell`` of `structure.rows_spec`.
    table : tensor of shape (n, c)
        Columns of which everything is made.
    weight : tensor of shape (n,)
    maps : dict
        ``border`` (c, p + 1) makes the fixed columns and the response of the table,
        ``z`` the row values (c, q) of each factor.

    Returns
    -------
    sums : dict
        See `structure.sums_spec`.
    """
    rows, n_levels = prepared(structure, index, rows), index["n_levels"]
    border = maps["border"]
    z = [
        [None] if plain else tf.unstack(tf.matmul(table, values), axis=1)
        for plain, values in zip(structure.plain, maps["z"], strict=True)
    ]
    sums = {"own": (), "own_border": (), "link": ()}
    for t in range(len(structure.chain)):
        places = rows["to_level"][t]
        found = by_effect(table, places, n_levels[t], weight, z[t])

        def of(values, found=found):
            parts = [tf.matmul(values, f, True, True) for f in found]
            return blocks.stack(parts)

        sums["own"] += (of(maps["z"][t]),)
        sums["own_border"] += (of(border),)
        for s in [s for a, s in structure.links() if a == t]:
            sums["link"] += (of(maps["z"][s]),)
    if structure.core:
        sums |= _core_matrices(structure, index, rows, z, weight)
        found = _core_sums(structure, index, rows, z, table, weight)
        sums["core_border"] = tf.matmul(found, border)
    return sums


def merge(*parts):
    """Statistics of the union of chunks of rows."""
    return tf.nest.map_structure(lambda *tensors: tf.add_n(tensors), *parts)


def _nothing(structure, index, width):
    """Sums of no rows."""
    n_levels, effects = index["n_levels"], list(enumerate(structure.chain))
    zeros = functools.partial(tf.zeros, dtype=FLOAT)
    out = {
        "own": tuple(zeros([q, q, n_levels[t]]) for t, q in effects),
        "own_border": tuple(zeros([q, width, n_levels[t]]) for t, q in effects),
        "link": tuple(
            zeros([structure.chain[t], structure.chain[s], n_levels[t]])
            for t, s in structure.links()
        ),
    }
    if structure.core:
        _, m = core_offsets(structure, n_levels)
        n_cells = [tf.shape(levels)[0] for levels in index["cell_level"]]
        out |= {
            "cell": tuple(zeros([q, n_cells[t]]) for t, q in effects),
            "core": zeros([m * m]),
            "core_border": zeros([m, width]),
        }
    return out


def unpacked(structure, maps):
    """What `Session.sums` packs: `maps` of `reduce_rows`, and the table's ``gram``."""
    ends = [0, *itertools.accumulate(structure.n_effects)]
    z = [
        tf.ensure_shape(maps[:, a:b], [None, b - a])
        for a, b in itertools.pairwise(ends)
    ]
    rest, c = maps[:, ends[-1] :], tf.shape(maps)[0]
    return {"z": z, "border": rest[:, :-c], "gram": rest[:, -c:]}


def reduce_whole(structure, index, rows, table, weight, maps):
    """Statistics of all rows at once, with what is no sum over levels.

    For the parameters see `reduce_rows`; `maps` as `unpacked` gives them.
    """
    sums = reduce_rows(structure, index, rows, table, weight, maps)
    return completed(structure, index, rows["related"], sums, maps)


def completed(structure, index, roots, sums, maps):
    """Statistics with what is no sum over levels."""
    border = maps["border"]
    border = tf.matmul(border, tf.matmul(maps["gram"], border), transpose_a=True)
    if structure.related:
        sums = related.summed(structure, index["n_levels"], roots, sums)
    if structure.core and structure.chain:
        sums |= {"met": meetings(index, 0, sums["cell"][0])}
    return sums | {"border": border}


def read_spec(structure):
    """Signature of what the statistics are made of (`RowSums.read`)."""
    rows = rows_spec(structure)
    return [
        index_spec(structure),
        {name: rows[name] for name in ("level", "cell", "related")},
        tf.TensorSpec([None, None], FLOAT),
        vector(),
        tf.TensorSpec([None, None], FLOAT),
    ]


@functools.cache
def compiled_reduce(structure):
    """Statistics of all rows at once, traced once for a structure."""

    def call(*read):
        *read, maps = read
        return reduce_whole(structure, *read, unpacked(structure, maps))

    return graph(call, read_spec(structure))


@functools.cache
def compiled_chunks(structure):
    """Statistics of so many rows at a time, traced once for a structure."""

    def call(index, rows, table, weight, maps, chunk):
        n, maps = tf.shape(weight)[0], unpacked(structure, maps)
        places = {name: rows[name] for name in ("level", "cell")}

        def add(start, sums):
            some = slice(start, start + chunk)
            here = tf.nest.map_structure(lambda a: a[some], places)
            part = reduce_rows(structure, index, here, table[some], weight[some], maps)
            return start + chunk, merge(sums, part)

        spec = sums_spec(structure)
        shapes = tf.nest.map_structure(lambda t: t.shape, spec)
        # the sums of one chunk may run while those of another are added
        _, sums = tf.while_loop(
            lambda start, _: start < n,
            add,
            (tf.constant(0), _nothing(structure, index, tf.shape(maps["border"])[1])),
            shape_invariants=(tf.TensorShape([]), shapes),
            parallel_iterations=2,
        )
        return completed(structure, index, rows["related"], sums, maps)

    return graph(call, [*read_spec(structure), tf.TensorSpec([], INT)])


class RowSums:
    """Statistics (`structure.statistics_spec`) of a data set, once they are wanted.

    A linear model asks its rows for nothing else. What stands in its place for rows
    elsewhere has ``structure``, ``index``, ``n_rows``, ``statistics()`` and a false
    ``at_once``.

    Parameters
    ----------
    structure : Structure
    read : tuple
        Index, rows, table, weight (see `reduce_rows`) and maps (see `unpacked`).
    n_rows : float
        Sum of the weights.
    chunk : int
        Number of rows that are summed together.
    """

    def __init__(self, structure, read, n_rows, chunk):
        self.structure, self.read, self.n_rows = structure, read, n_rows
        self._chunk = chunk
        self.found = None

    @property
    def index(self):
        return self.read[0]

    @property
    def at_once(self):
        """Whether all rows are summed together."""
        return len(self.read[3]) <= self._chunk

    def statistics(self):
        """The statistics, worked out the first time."""
        if self.found is None:
            if self.at_once:
                self.found = compiled_reduce(self.structure)(*self.read)
            else:
                chunk = tf.constant(self._chunk, INT)
                self.found = compiled_chunks(self.structure)(*self.read, chunk)
        return self.found
