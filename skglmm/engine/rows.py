"""Between rows and levels: sums over rows, and what levels are to rows.

The generalised models ask rows for nothing else, so that rows in pieces, or elsewhere,
may stand where arrays stand (`Rows`). A linear model asks once
(`statistics.RowSums`).
"""

import tensorflow as tf

from skglmm.engine import related, statistics
from skglmm.engine.statistics import row_values, times
from skglmm.engine.structure import core_offsets


class Rows:
    """What rows know of levels: ``sums`` reduces rows, the other methods read levels.

    Values by row are tensors of shape (n,). A class of one's own with these methods may
    keep rows in pieces, as one in `tests/test_rows.py` does.

    Parameters
    ----------
    structure : Structure
    index : dict or None
        See `structure.index_spec`; only ``sums`` and ``variance`` need it.
    arrays : dict
        See `structure.rows_spec`.
    """

    def __init__(self, structure, index, arrays):
        self._structure, self._index, self._arrays = structure, index, arrays

    def prepared(self, x=None):
        """The same, quicker for sums that are taken again and again, with columns x."""
        arrays = statistics.prepared(self._structure, self._index, self._arrays, x)
        return Rows(self._structure, self._index, arrays)

    def sums(self, weight=None, x=None, values=None):
        """Z'WZ by blocks, and Z'WX and Z'D by levels; see `statistics.reduce`."""
        return statistics.reduce(
            self._structure, self._index, self._arrays, weight, x, values
        )

    def matrices(self, weight):
        """Z'WZ by blocks."""
        return self.sums(weight)[0]

    def dense(self, values):
        """Z'D by levels."""
        return self.sums(values=values)[1]

    def by_level(self, values):
        """Sums (J,) over the levels of the only factor, whose rows are sorted."""
        return tf.math.segment_sum(values, self._arrays["level"][0])

    def of_level(self, values):
        """Values (..., n) of the only factor's levels, by row."""
        return tf.gather(values, self._arrays["level"][0], axis=-1)

    def values(self, r=0):
        """Row values of a factor's effects, a list of (n,); None stands for ones."""
        return row_values(self._structure, self._arrays, r)

    def random_part(self, effects):
        """Z b (n,) or (c, n), of effects (q, J) or (q, c, J); None without factors."""
        return random_part(self._structure, self._arrays, effects)

    def variance(self, posterior, *, signed=False):
        """Posterior variance (n,) of Z b; see `variance`."""
        parts = self._structure, self._index, self._arrays
        return variance(*parts, posterior, signed=signed)

    def variance_apart(self, own):
        """Variance (n,) of Z b for blocks (q, q, J) that do not covary."""
        return variance_apart(self._structure, self._arrays, own)


def rows_of(structure, data, index=None):
    """The `Rows` of some data, which may hold arrays."""
    found = data["rows"]
    return Rows(structure, index, found) if isinstance(found, dict) else found


def random_part(structure, rows, effects):
    """Z b by row, for effects (q, J) of every factor, or (q, c, J) for c of them."""
    total = None
    effects = related.effects_of(structure, rows["related"], effects)
    for r, b in enumerate(effects):
        for i, z in enumerate(row_values(structure, rows, r)):
            part = times(z, tf.gather(b[i], rows["level"][r], axis=-1))
            total = part if total is None else total + part
    return total


def variance(structure, index, rows, posterior, *, signed=False):
    """Posterior variance of Z b by row.

    Parameters
    ----------
    structure : Structure
    index, rows : dict
    posterior : tuple
        Blocks (q, q, J) of the chain's factors, covariances between them, covariances
        with the core's columns and the core's covariance matrix (None without core),
        as `kernel.posterior` gives them.
    signed : bool, default=False
        Whether the blocks are no covariances, so that the result may be negative.

    Returns
    -------
    variance : tensor of shape (n,)
    """
    own, cross, cross_cell, core = posterior
    n_chain = len(structure.chain)
    z = [row_values(structure, rows, r) for r in range(len(structure.n_effects))]
    parts = [tf.zeros([], tf.float64)]
    for t, q in enumerate(structure.chain):
        level = rows["level"][t]
        for i in range(q):
            for k in range(i, q):
                scale = 1.0 if i == k else 2.0
                at = tf.gather(own[t][i, k], level)
                parts.append(scale * times(z[t][i], z[t][k], at))
        for s in range(t + 1, n_chain):
            for i in range(q):
                for k in range(structure.chain[s]):
                    at = tf.gather(cross[t, s][i, k], level)
                    parts.append(2.0 * times(z[t][i], z[s][k], at))
        for c, q_c in enumerate(structure.core):
            for i in range(q):
                for k in range(q_c):
                    at = tf.gather(cross_cell[t][i], rows["cell"][t][c] + k)
                    parts.append(2.0 * times(z[t][i], z[n_chain + c][k], at))
    if structure.core:
        offsets, m = core_offsets(structure, index["n_levels"])
        flat = tf.reshape(core, [-1])
        places = [
            (c, i, offsets[c] + rows["level"][n_chain + c] * q + i)
            for c, q in enumerate(structure.core)
            for i in range(q)
        ]
        for a, (c, i, first) in enumerate(places):
            for d, k, second in places[a:]:
                scale = 1.0 if (c, i) == (d, k) else 2.0
                at = tf.gather(flat, first * m + second)
                parts.append(scale * times(z[n_chain + c][i], z[n_chain + d][k], at))
    total = sum(parts[1:], parts[0])
    return total if signed else tf.maximum(total, 0.0)


def variance_apart(structure, rows, own):
    """Variance of Z b by row for blocks (q, q, J) that do not covary."""
    parts = []
    for r, q in enumerate(structure.n_effects):
        z, level = row_values(structure, rows, r), rows["level"][r]
        for i in range(q):
            for k in range(i, q):
                scale = 1.0 if i == k else 2.0
                parts.append(scale * times(z[i], z[k], tf.gather(own[r][i, k], level)))
    return tf.add_n(parts)
