"""Gradient, metric and fixed point in the covariance parameters.

With K_r = sum_j Z_j' P Z_j and H_r = sum_j h_j h_j', h_j = Z_j' P y, the derivative of
every objective whose other parts are stationary is d f / d T_r = 2 (K_r - H_r) T_r:
the linear model's (divided by sigma^2 where needed) and the variational bound's.
"""

import tensorflow as tf

from skglmm.engine import blocks, covariance
from skglmm.engine.structure import FLOAT


def covariance_terms(structure, factors, scores, information, known=None, scale=1.0):
    """What an optimiser of the covariance parameters wants to know.

    Parameters
    ----------
    structure : Structure
    factors : tuple of (q, q) tensors
    scores : list of (q, J) tensors
        h_j of every factor.
    information : list of (q, q, J) tensors
        As `kernel.posterior` gives it: times T for the core's factors.
    known : list of (q, q, J) tensors or None
        What the fixed effects take from the information (REML).
    scale : scalar tensor
        Divides H_r.

    Returns
    -------
    terms : dict
        ``gradient`` (k,); ``by_factor``, the two parts K_r T_r and H_r T_r;
        ``counts``, the effective number of parameters of each factor, tr(T' K T); and
        as functions ``pull`` (k,), the part of the gradient that comes from K,
        ``metric`` (k, k), the expected information with levels independent of each
        other, and ``evidence`` (k,), the next point of the evidence fixed point.
    """
    n_chain = len(structure.chain)
    squares, counts, slopes, pulls, infos, by_factor = [], [], [], [], [], []
    for r, t in enumerate(factors):
        if r < n_chain:
            info = information[r] if known is None else information[r] - known[r]
            info_t = tf.matmul(tf.reduce_sum(info, -1), t)
        else:
            by_level = information[r]
            if known is not None:
                by_level -= blocks.right(known[r], t)
            info_t = tf.reduce_sum(by_level, -1)
            info = blocks.right(by_level, _safe_inverse(t))
        outer_t = tf.matmul(tf.matmul(scores[r], scores[r], transpose_b=True), t)
        outer_t /= scale
        counts.append(tf.matmul(t, info_t, transpose_a=True))
        squares.append(tf.matmul(t, outer_t, transpose_a=True))
        by_factor.append((info_t, outer_t))
        slopes.append(2.0 * (info_t - outer_t))
        pulls.append(2.0 * info_t)
        infos.append(info)

    def metric():
        kinds = structure.covariance
        parts = [_metric(*part) for part in zip(kinds, factors, infos, strict=True)]
        return _block_diagonal(parts)

    def evidence():
        return covariance.evidence_step(structure, factors, counts, squares)

    return {
        "gradient": covariance.pull_back(structure, slopes),
        "pull": lambda: covariance.pull_back(structure, pulls),
        "metric": metric,
        "evidence": evidence,
        "by_factor": by_factor,
        "counts": [tf.linalg.trace(c) for c in counts],
    }


def _safe_inverse(t):
    """Inverse of a lower-triangular T whose diagonal may hold zeros (metric only)."""
    diagonal = tf.linalg.diag_part(t)
    tiny = 1e-6 * tf.ones_like(diagonal)
    safe = tf.linalg.set_diag(t, tf.where(tf.abs(diagonal) < tiny, tiny, diagonal))
    return tf.linalg.triangular_solve(safe, tf.eye(t.shape[0], dtype=FLOAT))


def _metric(kind, t, info):
    """Expected information of one factor's parameters, level by level."""
    q = t.shape[0]
    e = tf.constant(covariance.basis(kind, q))
    flat = tf.reshape(info, [q * q, -1])
    fourth = tf.reshape(tf.matmul(flat, flat, transpose_b=True), [q, q, q, q])
    fourth = tf.reshape(tf.transpose(fourth, [1, 2, 3, 0]), [q * q, q * q])
    d = tf.einsum("aik,jk->aij", e, t)
    d = tf.reshape(d + tf.transpose(d, [0, 2, 1]), [-1, q * q])
    return tf.matmul(d, tf.matmul(fourth, d, transpose_b=True))


def _block_diagonal(parts):
    if not parts:
        return tf.zeros([0, 0], FLOAT)
    sizes = [part.shape[0] for part in parts]
    total = sum(sizes)
    rows, at = [], 0
    for part, k in zip(parts, sizes, strict=True):
        rows.append(tf.pad(part, [[0, 0], [at, total - at - k]]))
        at += k
    return tf.concat(rows, 0)
