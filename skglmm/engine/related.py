"""Factors whose levels are related: b = v L', for v with independent levels.

With A = L L' the known relationships between levels, the effects (q, J) of a factor
are T u L', u spherical. The engine estimates v = T u and knows of L in three places
only: where rows are summed up (Z L in the place of Z), where effects are read back to
rows, and where covariances of levels are reported. Such a factor is in the core, whose
columns are the levels' effects, so that L works on whole blocks of rows of it.
"""

import tensorflow as tf

from skglmm.engine.structure import core_offsets


def _times(structure, n_levels, roots, x, *, adjoint):
    """B x, or B' x, for B = blockdiag(L_r x I) and core columns x (m, n)."""
    roots, parts = iter(roots), []
    offsets, _ = core_offsets(structure, n_levels)
    for c, q in enumerate(structure.core):
        n = n_levels[c]
        part = x[offsets[c] : offsets[c] + n * q]
        if structure.related[c]:
            by_level = tf.reshape(part, [n, -1])
            by_level = tf.matmul(next(roots), by_level, transpose_a=adjoint)
            part = tf.reshape(by_level, [n * q, -1])
        parts.append(part)
    return tf.concat(parts, 0)


def _sandwich(structure, n_levels, roots, a, *, adjoint):
    """B A B', or B' A B, for a symmetric A (m, m)."""
    half = _times(structure, n_levels, roots, a, adjoint=adjoint)
    half = tf.transpose(half)
    return _times(structure, n_levels, roots, half, adjoint=adjoint)


def summed(structure, n_levels, roots, sums):
    """Sums over rows by level, as those of Z L.

    Parameters
    ----------
    structure : Structure
    n_levels : int tensor of shape (n_factors,)
    roots : tuple of (J, J) tensors
        L of the factors that have one.
    sums : dict
        With ``core``, ``core_border`` or both, of `statistics.reduce`.
    """
    out, known = dict(sums), (structure, n_levels, roots)
    if "core" in sums:
        _, m = core_offsets(structure, n_levels)
        upper = tf.reshape(sums["core"], [m, m])
        whole = upper + tf.transpose(upper)
        whole = tf.linalg.set_diag(whole, tf.linalg.diag_part(upper))
        whole = _sandwich(*known, whole, adjoint=True)
        out["core"] = tf.reshape(tf.linalg.band_part(whole, 0, -1), [-1])
        out["related"] = roots
    if "core_border" in sums:
        out["core_border"] = _times(*known, sums["core_border"], adjoint=True)
    return out


def covariance(structure, n_levels, roots, a):
    """Covariance (m, m) of b from that of v."""
    return _sandwich(structure, n_levels, roots, a, adjoint=False)


def effects_of(structure, roots, effects):
    """Effects b (q, J) or (q, c, J) of every factor, L on those of related levels."""
    if not roots:
        return effects
    roots = iter(roots)
    return [
        _across_levels(b, next(roots)) if related else b
        for b, related in zip(effects, structure.related, strict=True)
    ]


def _across_levels(b, root):
    flat = tf.reshape(b, [-1, tf.shape(root)[0]])
    return tf.reshape(tf.matmul(flat, root, transpose_b=True), tf.shape(b))
