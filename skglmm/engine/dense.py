"""One large dense matrix: triangular inverses and products by blocks.

TensorFlow has no inverse of a triangular matrix and no product that knows of the
zeros in one. Splitting both in halves twice leaves matrix products of half the work.
"""

import tensorflow as tf

from skglmm.engine import blocks

_DEPTH = 2


def identity(n):
    """(n, n); `tf.eye` takes twice as many steps where no graph knows n beforehand."""
    return tf.linalg.diag(tf.ones([n], tf.float64))


def length(v):
    """Euclidean length of a vector.

    `tf.norm` drops every axis of one item on its way, and that of a batch with it
    (`runtime.side_by_side`).
    """
    return tf.sqrt(tf.reduce_sum(v * v))


def _halves(a):
    h = tf.shape(a)[0] // 2
    return a[:h, :h], a[h:, :h], a[h:, h:]


def inverse_of_lower(lower, depth=_DEPTH):
    """L^-1 of a lower-triangular (m, m) matrix."""
    if depth == 0:
        return tf.linalg.triangular_solve(lower, identity(tf.shape(lower)[0]))
    first, below, last = _halves(lower)
    first = inverse_of_lower(first, depth - 1)
    last = inverse_of_lower(last, depth - 1)
    below = -tf.matmul(last, tf.matmul(below, first))
    top = tf.concat([first, tf.zeros_like(tf.transpose(below))], 1)
    return tf.concat([top, tf.concat([below, last], 1)], 0)


def diagonal_blocks(matrix, q):
    """The (q, q) blocks along the diagonal of (J q, J q), as (q, q, J)."""
    return blocks.grid(
        [[tf.linalg.diag_part(matrix[i::q, k::q]) for k in range(q)] for i in range(q)]
    )


def block_diagonal(parts):
    """One matrix with the given ones, square or not, along its diagonal."""
    operators = [tf.linalg.LinearOperatorFullMatrix(part) for part in parts]
    return tf.linalg.LinearOperatorBlockDiag(operators).to_dense()


def gram_of_lower(lower, depth=_DEPTH):
    """L' L of a lower-triangular (m, m) matrix."""
    if depth == 0:
        return tf.matmul(lower, lower, transpose_a=True)
    first, below, last = _halves(lower)
    corner = gram_of_lower(first, depth - 1)
    corner += tf.matmul(below, below, transpose_a=True)
    across = tf.matmul(last, below, transpose_a=True)
    top = tf.concat([corner, tf.transpose(across)], 1)
    return tf.concat([top, tf.concat([across, gram_of_lower(last, depth - 1)], 1)], 0)
