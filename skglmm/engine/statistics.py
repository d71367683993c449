"""Reduction of rows to block statistics.

The statistics are plain sums over rows, so those of two chunks of rows add up
to those of both: that is all that chunked, out-of-core and distributed fitting
need.
"""

import functools

import tensorflow as tf

from skglmm.engine.structure import FLOAT, INT, index_spec, rows_spec


def core_offsets(structure, n_levels):
    """First column of each core factor, and the number of core columns."""
    offsets, at = [], tf.constant(0, INT)
    for c, q in enumerate(structure.core):
        offsets.append(at)
        at += n_levels[len(structure.chain) + c] * q
    return offsets, at


def _values(structure, rows, r):
    """Row values of factor r as a list of vectors; None stands for ones."""
    if structure.plain[r]:
        return [None]
    return tf.unstack(rows["z"][r], axis=1)


def _times(*vectors):
    out = None
    for v in vectors:
        if v is not None:
            out = v if out is None else out * v
    return out


def _symmetric(upper, q):
    """(q, q, J) from the entries (i, k), i <= k, in a list of vectors."""
    entries = iter(upper)
    full = [[None] * q for _ in range(q)]
    for i in range(q):
        for k in range(i, q):
            full[i][k] = full[k][i] = next(entries)
    return tf.stack([tf.stack(row) for row in full])


def reduce_rows(structure, index, rows):
    """Weighted block statistics of a chunk of rows.

    Parameters
    ----------
    structure : Structure
    index : dict
        See `structure.index_spec`.
    rows : dict
        See `structure.rows_spec`; sorted by the chain's last factor, then the
        one before it, and so on. ``border`` holds the dense columns: the fixed
        effects and, last, the response.

    Returns
    -------
    statistics : dict
        See `structure.statistics_spec`. ``own`` is Z_j'WZ_j, ``link`` couples a
        level with its parents, ``cell`` with the core columns it touches,
        ``own_border`` and ``core_border`` with the dense columns, ``core`` is
        the upper triangle of the core's own matrix, row by row.
    """
    n_chain = len(structure.chain)
    w, border, level = rows["weight"], rows["border"], rows["level"]
    n_levels = index["n_levels"]
    z = [_values(structure, rows, r) for r in range(len(structure.n_effects))]
    weighted = w[:, None] * border
    out = {
        "border": tf.matmul(border, weighted, transpose_a=True),
        "own": [],
        "own_border": [],
        "link": [],
    }

    for t, q in enumerate(structure.chain):
        products = [_times(w, z[t][i], z[t][k]) for i in range(q) for k in range(i, q)]
        parents = [s for a, s in structure.links() if a == t]
        for s in parents:
            products += [_times(w, a, b) for a in z[t] for b in z[s]]
        dense = [
            weighted if a is None else weighted * a[:, None] for a in z[t]
        ]  # q times (n, p + 1)
        table = tf.concat([tf.stack(products, axis=1), *dense], axis=1)
        sums = tf.math.segment_sum(table, level[t])
        sums = tf.transpose(
            tf.pad(sums, [[0, n_levels[t] - tf.shape(sums)[0]], [0, 0]])
        )
        at = q * (q + 1) // 2
        out["own"].append(_symmetric(tf.unstack(sums[:at], num=at), q))
        for s in parents:
            q_s = structure.chain[s]
            out["link"].append(
                tf.reshape(sums[at : at + q * q_s], [q, q_s, n_levels[t]])
            )
            at += q * q_s
        out["own_border"].append(
            tf.reshape(sums[at:], [q, tf.shape(border)[1], n_levels[t]])
        )

    if structure.core:
        offsets, m = core_offsets(structure, n_levels)
        first = [
            offsets[c] + level[n_chain + c] * q for c, q in enumerate(structure.core)
        ]
        out["cell"] = []
        for t in range(n_chain):
            n_cells = tf.shape(index["cell_level"][t])[0]
            cells = []
            for a in z[t]:
                row = tf.zeros([n_cells], FLOAT)
                for c in range(len(structure.core)):
                    for i, b in enumerate(z[n_chain + c]):
                        row += tf.math.unsorted_segment_sum(
                            _times(w, a, b), rows["cell"][t][c] + i, n_cells
                        )
                cells.append(row)
            out["cell"].append(tf.stack(cells))
        core = tf.zeros([m * m], FLOAT)
        core_border = tf.zeros([m, tf.shape(border)[1]], FLOAT)
        for c in range(len(structure.core)):
            for i, a in enumerate(z[n_chain + c]):
                column = first[c] + i
                value = weighted if a is None else weighted * a[:, None]
                core_border += tf.math.unsorted_segment_sum(value, column, m)
                for d in range(c, len(structure.core)):
                    for k, b in enumerate(z[n_chain + d]):
                        if (c, i) <= (d, k):
                            core += tf.math.unsorted_segment_sum(
                                _times(w, a, b), column * m + first[d] + k, m * m
                            )
        out |= {"core": core, "core_border": core_border, "cell": tuple(out["cell"])}
    return out | {k: tuple(out[k]) for k in ("own", "own_border", "link")}


def merge(*parts):
    """Statistics of the union of chunks of rows."""
    return tf.nest.map_structure(lambda *tensors: tf.add_n(tensors), *parts)


@functools.cache
def compiled_reduce(structure):
    """`reduce_rows`, traced once for a structure."""
    return tf.function(
        functools.partial(reduce_rows, structure),
        input_signature=[index_spec(structure), rows_spec(structure)],
        autograph=False,
    )


def reduce_in_chunks(structure, index, rows, chunk):
    """Statistics of all rows, `chunk` rows at a time."""
    n = len(rows["weight"])
    reduce = compiled_reduce(structure)
    parts = None
    for start in range(0, n, chunk):
        here = slice(start, start + chunk)
        part = reduce(index, tf.nest.map_structure(lambda a, s=here: a[s], rows))
        parts = part if parts is None else merge(parts, part)
    return parts
