"""Z'WZ of factors too large for a dense core, and what its couplings add.

With M = D + E, D the blocks of each factor's levels alone and E what couples factors,

    log|M| = log|D| - tr((D^-1 E)^2) / 2 + ...

and the derivatives of the second term in the row weights are the row variances that the
couplings add. Smooth directions, of which that knows little, are added to the
covariances of the levels at the end.
"""

from dataclasses import dataclass

import tensorflow as tf

from skglmm.engine import blocks, dense
from skglmm.engine.iterative import times_blocks, times_factor
from skglmm.engine.rows import rows_of
from skglmm.engine.statistics import times
from skglmm.engine.structure import FLOAT

# Steps from constant effects to smooth ones.
_KRYLOV = 12


def flat(values):
    """(q, c, J) as (J q, c), level by level."""
    q, c = values.shape[0], tf.shape(values)[1]
    return tf.reshape(tf.transpose(values, [2, 0, 1]), [tf.shape(values)[2] * q, c])


def by_level(values, q):
    """(J q, c) as (q, c, J)."""
    c = tf.shape(values)[1]
    return tf.transpose(tf.reshape(values, [-1, q, c]), [1, 2, 0])


@dataclass(frozen=True)
class Sums:
    """Z'WZ at given weights, with the factors that scale it.

    Parameters
    ----------
    effects : tuple of int
    factors : tuple of (q, q) tensors
    own : list of (q, q, J) tensors
    couplings : dict
        Sparse Z_r'WZ_s for r < s.
    """

    effects: tuple
    factors: tuple
    own: list
    couplings: dict

    def across(self, r, s, b):
        """Z_r'WZ_s b for b (J_s q_s, c)."""
        if r == s:
            return flat(blocks.product(self.own[r], by_level(b, self.effects[r])))
        if r < s:
            return tf.sparse.sparse_dense_matmul(self.couplings[r, s], b)
        return tf.sparse.sparse_dense_matmul(self.couplings[s, r], b, adjoint_a=True)

    def applied(self, r, u):
        """Z_r'WZ T u for the spherical effects of some factors, a dict."""
        return tf.add_n(
            [self.across(r, s, times_factor(self.factors[s], v)) for s, v in u.items()]
        )


def second_order(structure, index, data, sums, own, large):
    """What the couplings between large factors add, to second order.

    Parameters
    ----------
    own : list of (q, q, J) tensors
        C_j, the covariances of the levels alone, of every large factor.
    large : list of int

    Returns
    -------
    met : dict
        P_j = sum B C_s B' over the levels s that j meets, B what couples them,
        (q, q, J) by factor.
    log_det : scalar
        sum tr(C_r B C_s B').
    variance : (n,) tensor
        -2 z_r'C_r B C_s z_s summed over pairs, by row.
    """
    effects = structure.n_effects
    met = {r: tf.zeros_like(own[r]) for r in large}
    variance = tf.zeros([], FLOAT)
    here = rows_of(structure, data)
    z = [here.values(r) for r in range(len(effects))]
    for i, r in enumerate(large):
        for s in large[i + 1 :]:
            q, k = effects[r], effects[s]
            cell = index["cell"][r, s]
            shape = tf.stack([index["n_levels"][r], index["n_levels"][s]])
            shape = tf.cast(shape, tf.int64)
            values = tf.reshape(sums.couplings[r, s].values, [-1, q, k])
            b = tf.transpose(values, [1, 2, 0])
            met[r] += _met(cell, shape, b, own[s], adjoint=False)
            met[s] += _met(cell, shape, blocks.transpose(b), own[r], adjoint=True)
            left = tf.gather(own[r], cell[:, 0], axis=-1)
            right = tf.gather(own[s], cell[:, 1], axis=-1)
            across = blocks.product(blocks.product(left, b), right)
            of_row = index["cell_of_row"][r, s][:, 1]
            for e in range(q):
                for f in range(k):
                    at = tf.gather(across[e, f], of_row)
                    variance -= 2.0 * times(z[r][e], z[s][f], at)
    log_det = 0.5 * tf.add_n([tf.reduce_sum(own[r] * met[r]) for r in large])
    return met, log_det, variance


def _met(cell, shape, b, own, *, adjoint):
    """Sum of B C B' over the cells of a level, (q, q, J), for B (q, k, n_cells)."""
    q, k = b.shape[0], b.shape[1]
    entries = {}
    for e in range(q):
        for f in range(e, q):
            total = []
            for i in range(k):
                for j in range(k):
                    pattern = tf.SparseTensor(cell, b[e, i] * b[f, j], shape)
                    found = tf.sparse.sparse_dense_matmul(
                        pattern, own[i, j][:, None], adjoint_a=adjoint
                    )
                    total.append(found[:, 0])
            entries[e, f] = entries[f, e] = tf.add_n(total)
    return blocks.grid([[entries[e, f] for f in range(q)] for e in range(q)])


def smooth(sums, operator, large):
    """What smooth directions add to the covariances of the levels.

    All levels of a factor may move one way and those of another the other way: the
    second order in the couplings knows little of that. With pairs E y = e D y,
    y'Dy = 1, the diagonal blocks of M^-1 are those of the second order plus the sum of
    -e^3 / (1 + e) y_j y_j'. The pairs are Ritz pairs of the space that begins with
    constant effects.

    Parameters
    ----------
    sums : Sums
    operator : iterative.Operator
        Of the large factors.
    large : list of int

    Returns
    -------
    wider : dict
        (q, q, J) by large factor.
    """
    n = tf.stack(operator.sizes)

    def split(y):
        return tf.split(y, n, num=len(large))

    def scaled(by_factor, y):
        """Blocks (J, q, q) of every factor times y."""
        parts = zip(by_factor, split(y), strict=True)
        return tf.concat([times_blocks(b, v) for b, v in parts], 0)

    def coupled(y):
        parts = dict(zip(large, split(y), strict=True))
        out = []
        for r in large:
            met = sums.applied(r, {s: v for s, v in parts.items() if s != r})
            out.append(times_factor(tf.transpose(sums.factors[r]), met))
        return tf.concat(out, 0)

    whole = [tf.matmul(b, b, transpose_b=True) for b in operator.roots]
    last = dense.block_diagonal(
        [
            tf.tile(tf.eye(b.shape[1], dtype=FLOAT), [tf.shape(b)[0], 1])
            for b in operator.roots
        ]
    )
    space, images = [], []
    for _ in range(_KRYLOV):
        last /= tf.sqrt(tf.reduce_sum(last * scaled(whole, last), 0)) + 1e-300
        space.append(last)
        images.append(coupled(last))
        last = scaled(operator.inverse, images[-1])
    y, image = tf.concat(space, 1), tf.concat(images, 1)
    gram = tf.matmul(y, scaled(whole, y), transpose_a=True)
    values, axes = tf.linalg.eigh(0.5 * (gram + tf.transpose(gram)))
    usable = values > 1e-8 * values[-1]
    root = tf.where(usable, tf.math.rsqrt(tf.where(usable, values, 1.0)), 0.0)
    turn = axes * root
    inner = tf.matmul(turn, tf.matmul(y, image, transpose_a=True), transpose_a=True)
    inner = tf.matmul(inner, turn)
    e, axes = tf.linalg.eigh(0.5 * (inner + tf.transpose(inner)))
    y = tf.matmul(y, tf.matmul(turn, axes))
    share = -(e**3) / tf.maximum(1.0 + e, 1e-6)
    wider = {}
    for r, part in zip(large, split(y), strict=True):
        part = by_level(times_factor(sums.factors[r], part), sums.effects[r])
        wider[r] = tf.reduce_sum(share[:, None] * part[:, None] * part[None], 2)
    return wider
