"""Many small blocks, stored with the level as the last axis.

A tensor of shape ``(r, c, J)`` holds J blocks of r rows and c columns. Every
operation is unrolled over the small axes and runs along J, which is several
times faster than TensorFlow's batched linear algebra on tiny matrices and never
waits for the host on a GPU.
"""

import tensorflow as tf


def stack(parts, axis=0):
    """`tf.stack`, which copies even a single part, as nothing where there is one."""
    if len(parts) == 1:
        return tf.expand_dims(parts[0], axis)
    return tf.stack(parts, axis)


def concat(parts, axis):
    """`tf.concat`, likewise."""
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis)


def grid(rows):
    """(r, c, ...) from a list of lists."""
    return stack([stack(row) for row in rows])


def product(a, b):
    """Blockwise a b, for (r, k, J) and (k, c, J)."""
    k = a.shape[1]
    if k == 1:
        return a * b
    pairs = zip(tf.split(a, k, 1), tf.split(b, k, 0), strict=True)
    return tf.add_n([column * row for column, row in pairs])


def product_tn(a, b):
    """Blockwise a' b, for (k, r, J) and (k, c, J)."""
    return tf.add_n([a[i, :, None] * b[i, None] for i in range(a.shape[0])])


def product_nt(a, b):
    """Blockwise a b', for (r, k, J) and (c, k, J)."""
    return tf.add_n([a[:, None, i] * b[None, :, i] for i in range(a.shape[1])])


def left(t, b):
    """t b for one matrix t (r, k) and blocks (k, c, J)."""
    r, (k, c) = t.shape[0], b.shape[:2]
    shape = [r, c, -1] if c else tf.concat([[r], tf.shape(b)[1:]], 0)
    return tf.reshape(tf.matmul(t, tf.reshape(b, [k, -1])), shape)


def right(a, t):
    """a t for blocks (r, k, J) and one matrix t (k, c)."""
    return tf.matmul(t, a, transpose_a=True)


def combine(a, v):
    """v'a for blocks (q, c, J) and one vector v (c,), as (q, J)."""
    return tf.matmul(v[None], a)[:, 0]


def transpose(a):
    """Blockwise transpose."""
    return tf.transpose(a, [1, 0, 2])


def identity(n):
    """One n x n identity that broadcasts over levels."""
    return tf.eye(n, dtype=tf.float64)[:, :, None]


def cholesky(a):
    """Columns of the blockwise Cholesky factor: column k from its diagonal down."""
    columns, rest = [], a
    for _ in range(a.shape[0] - 1):
        column = rest[:, 0] / tf.sqrt(rest[0, 0])
        columns.append(column)
        rest = rest[1:, 1:] - column[1:, None] * column[None, 1:]
    return [*columns, tf.sqrt(rest[:, 0])]


def log_determinant(columns):
    """Sum over all blocks of the log-determinant, from the Cholesky columns."""
    return 2.0 * tf.add_n([tf.reduce_sum(tf.math.log(c[0])) for c in columns])


def gain(t, a):
    """T (T' A T + I)^-1 T' for one matrix T and blocks A (q, q, J).

    Returns
    -------
    gain : tensor of shape (q, q, J)
    half : tensor of shape (q, q, J)
        H with the gain H'H.
    columns : list of tensors
        Cholesky columns of T' A T + I.
    """
    turned = tf.transpose(t)
    columns = cholesky(left(turned, right(a, t)) + identity(t.shape[0]))
    half = solve_lower(columns, turned[:, :, None])
    return product_tn(half, half), half, columns


def solve_lower(columns, b):
    """Blockwise L^-1 b for (q, c, J); b may broadcast over J."""
    rows, rest = [], b
    for column in columns:
        row = rest[0] / column[0]
        rows.append(row)
        rest = rest[1:] - column[1:, None] * row[None]
    return stack(rows)


def solve_upper(columns, b):
    """Blockwise L^-T b for (q, c, J)."""
    rows = []
    for k in reversed(range(len(columns))):
        rest = b[k]
        for i, row in enumerate(rows[::-1], 1):
            rest -= columns[k][i][None] * row
        rows.append(rest / columns[k][0])
    return stack(rows[::-1])


def scatter(values, ids, n):
    """Sum rows of (m, c) over ids (m,) in any order, to (n, c).

    A product with a sparse matrix of ones: on a CPU TensorFlow's own sum over unsorted
    segments takes several times as long, and the longer the more columns there are.
    """
    return scatter_at(values, places_of(ids), n)


def places_of(ids):
    """Pairs of each row and its place, (m, 2) int64, for `scatter_at`."""
    rows = tf.range(tf.cast(tf.shape(ids)[0], tf.int64))
    return tf.stack([rows, tf.cast(ids, tf.int64)], 1)


def scatter_at(values, places, n, weight=None):
    """`scatter` for pairs (m, 2) of each row and its place, as int64.

    `weight` (m,) multiplies the rows.
    """
    m = tf.shape(places)[0]
    shape = tf.cast(tf.stack([m, n]), tf.int64)
    weight = tf.ones([m], values.dtype) if weight is None else weight
    matrix = tf.SparseTensor(places, weight, shape)
    return tf.sparse.sparse_dense_matmul(matrix, values, adjoint_a=True)


def total(a, ids, n, *, is_sorted=True):
    """Sum blocks (..., m) over segments given by ids (m,), to (..., n)."""
    lead = a.shape[:-1].as_list()
    dynamic = tf.shape(a)[:-1]
    flat = tf.reshape(a, [-1, tf.shape(a)[-1]])
    flat = tf.transpose(flat)
    if is_sorted:
        summed = tf.math.segment_sum(flat, ids)
        summed = tf.pad(summed, [[0, n - tf.shape(summed)[0]], [0, 0]])
    else:
        summed = scatter(flat, ids, n)
    out = tf.reshape(tf.transpose(summed), tf.concat([dynamic, [n]], 0))
    out.set_shape([*lead, None])
    return out


def inner_total(a, b):
    """Sum over blocks and rows of a_j' b_j, for (q, r, J) and (q, c, J)."""
    return tf.reduce_sum(tf.matmul(a, b, transpose_b=True), 0)


def square_nt(a):
    """Blockwise a a' for (q, p, J) with many columns p."""
    q = a.shape[0]
    rows = [[None] * q for _ in range(q)]
    for i in range(q):
        for k in range(i, q):
            rows[i][k] = rows[k][i] = tf.reduce_sum(a[i] * a[k], 0)
    return grid(rows)
