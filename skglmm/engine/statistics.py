"""Reduction of rows to block statistics.

The statistics are plain sums over rows, so those of two chunks of rows add up
to those of both: that is all that chunked, out-of-core and distributed fitting
need.
"""

import functools

import tensorflow as tf

from skglmm.engine import blocks
from skglmm.engine.structure import FLOAT, INT, graph, index_spec, rows_spec, vector


def core_offsets(structure, n_levels):
    """First column of each core factor, and the number of core columns."""
    offsets, at = [], tf.constant(0, INT)
    for c, q in enumerate(structure.core):
        offsets.append(at)
        at += n_levels[len(structure.chain) + c] * q
    return offsets, at


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


def _segments(table, ids, n):
    """Sums (columns, n) of the rows of a table over sorted ids."""
    sums = tf.math.segment_sum(table, ids)
    return tf.transpose(tf.pad(sums, [[0, n - tf.shape(sums)[0]], [0, 0]]))


def _symmetric(upper, q):
    """(q, q, J) from the entries (i, k), i <= k, in a list of vectors."""
    entries = iter(upper)
    full = [[None] * q for _ in range(q)]
    for i in range(q):
        for k in range(i, q):
            full[i][k] = full[k][i] = next(entries)
    return tf.stack([tf.stack(row) for row in full])


def reduce_matrices(structure, index, rows, weight):
    """Z'WZ by blocks.

    Parameters
    ----------
    structure : Structure
    index, rows : dict
        See `structure.index_spec` and `structure.rows_spec`.
    weight : tensor of shape (n,)

    Returns
    -------
    matrices : dict
        ``own`` is Z_j'WZ_j of the chain's levels; ``link`` couples a level with its
        parents and ``cell`` with the core columns it touches; ``core`` is the upper
        triangle of the core's own matrix, row by row.
    """
    n_chain, n_levels = len(structure.chain), index["n_levels"]
    z = [row_values(structure, rows, r) for r in range(len(structure.n_effects))]
    out = {"own": [], "link": []}
    for t, q in enumerate(structure.chain):
        products = [
            times(weight, z[t][i], z[t][k]) for i in range(q) for k in range(i, q)
        ]
        parents = [s for a, s in structure.links() if a == t]
        for s in parents:
            products += [times(weight, a, b) for a in z[t] for b in z[s]]
        sums = _segments(tf.stack(products, axis=1), rows["level"][t], n_levels[t])
        at = q * (q + 1) // 2
        out["own"].append(_symmetric(tf.unstack(sums[:at], num=at), q))
        for s in parents:
            q_s = structure.chain[s]
            shape = [q, q_s, n_levels[t]]
            out["link"].append(tf.reshape(sums[at : at + q * q_s], shape))
            at += q * q_s
    out = {name: tuple(value) for name, value in out.items()}
    if not structure.core:
        return out

    offsets, m = core_offsets(structure, n_levels)
    cells = []
    for t in range(n_chain):
        n_cells = tf.shape(index["cell_level"][t])[0]
        effects = []
        for a in z[t]:
            row = tf.zeros([n_cells], FLOAT)
            for c in range(len(structure.core)):
                for i, b in enumerate(z[n_chain + c]):
                    row += blocks.scatter(
                        times(weight, a, b)[:, None], rows["cell"][t][c] + i, n_cells
                    )[:, 0]
            effects.append(row)
        cells.append(tf.stack(effects))
    first = [
        offsets[c] + rows["level"][n_chain + c] * q
        for c, q in enumerate(structure.core)
    ]
    core = tf.zeros([m * m], FLOAT)
    for c in range(len(structure.core)):
        for i, a in enumerate(z[n_chain + c]):
            for d in range(c, len(structure.core)):
                for k, b in enumerate(z[n_chain + d]):
                    if (c, i) <= (d, k):
                        place = (first[c] + i) * m + first[d] + k
                        core += tf.math.unsorted_segment_sum(
                            times(weight, a, b), place, m * m
                        )
    return out | {"cell": tuple(cells), "core": core}


def reduce_dense(structure, index, rows, values):
    """Z'D by levels, for dense columns D (n, c) that carry their weights already.

    Returns
    -------
    sums : dict
        ``own_border``, a (q, c, J) tensor for each chain factor, and with a core
        ``core_border`` (m, c).
    """
    n_chain, n_levels = len(structure.chain), index["n_levels"]
    width = tf.shape(values)[1]
    own = []
    for t, q in enumerate(structure.chain):
        columns = [
            values if a is None else values * a[:, None]
            for a in row_values(structure, rows, t)
        ]
        table = columns[0] if q == 1 else tf.concat(columns, axis=1)
        sums = _segments(table, rows["level"][t], n_levels[t])
        own.append(tf.reshape(sums, [q, width, n_levels[t]]))
    out = {"own_border": tuple(own)}
    if structure.core:
        offsets, m = core_offsets(structure, n_levels)
        core = tf.zeros([m, width], FLOAT)
        for c, q in enumerate(structure.core):
            first = offsets[c] + rows["level"][n_chain + c] * q
            for i, a in enumerate(row_values(structure, rows, n_chain + c)):
                value = values if a is None else values * a[:, None]
                core += blocks.scatter(value, first + i, m)
        out["core_border"] = core
    return out


def reduce_rows(structure, index, rows, border, weight):
    """All weighted statistics of a chunk of rows of a linear model.

    Parameters
    ----------
    structure : Structure
    index, rows : dict
    border : tensor of shape (n, p + 1)
        The fixed columns and, last, the response.
    weight : tensor of shape (n,)

    Returns
    -------
    statistics : dict
        See `structure.statistics_spec`.
    """
    weighted = weight[:, None] * border
    return (
        {"border": tf.matmul(border, weighted, transpose_a=True)}
        | reduce_matrices(structure, index, rows, weight)
        | reduce_dense(structure, index, rows, weighted)
    )


def merge(*parts):
    """Statistics of the union of chunks of rows."""
    return tf.nest.map_structure(lambda *tensors: tf.add_n(tensors), *parts)


@functools.cache
def compiled_reduce(structure):
    """`reduce_rows`, traced once for a structure."""
    return graph(
        functools.partial(reduce_rows, structure),
        [
            index_spec(structure),
            rows_spec(structure),
            tf.TensorSpec([None, None], FLOAT),
            vector(),
        ],
    )


def reduce_in_chunks(structure, index, rows, border, weight, chunk):
    """Statistics of all rows, `chunk` rows at a time."""
    reduce = compiled_reduce(structure)
    parts = None
    for start in range(0, len(weight), chunk):
        some = slice(start, start + chunk)
        here = tf.nest.map_structure(lambda a, some=some: a[some], rows)
        part = reduce(index, here, border[some], weight[some])
        parts = part if parts is None else merge(parts, part)
    return parts
