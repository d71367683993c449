"""A start for the covariance parameters: every factor as if it were the only one.

With A_j = Z_j'WZ_j and h_j = Z_j'W(y - X b) of the levels by themselves, a few steps of
the evidence fixed point cost sums over levels and nothing else, whatever the factors
have to do with each other.
"""

import numpy as np
import tensorflow as tf

from skglmm.engine import blocks, covariance, dense, kernel
from skglmm.engine.structure import FLOAT, INT, core_offsets

# Most steps, and the change of one, in all of theta, after which there is no other.
_STEPS, _SETTLED = 8, 0.05
# Shares that are left to the residual at least: of the variance by a factor alone, and
# of what the best of them leaves by all of them.
_LEAST, _OF_BEST = 1e-8, 0.05
# Standard deviations that a start may have.
_SMALLEST, _LARGEST = 0.1, 1e6


def _eliminate(t, own, score):
    """Effects, what they leave of the scores, and information of the levels."""
    gain, _, _ = blocks.gain(t, own)
    effects = blocks.product(gain, score[:, None])[:, 0]
    remaining = score - blocks.product(own, effects[:, None])[:, 0]
    return effects, remaining, own - blocks.product(own, blocks.product(gain, own))


def by_factor(structure, index, matrices, sums):
    """A_j and Z_j'D of all levels, (q, q, J) and (q, c, J) by factor.

    Parameters
    ----------
    structure : Structure
    index, matrices, sums : dict
        See `statistics.reduce`.
    """
    own, dense_sums = list(matrices["own"]), list(sums["own_border"])
    if structure.core:
        n_levels = index["n_levels"]
        offsets, m = core_offsets(structure, n_levels)
        upper = tf.reshape(matrices["core"], [m, m])
        for c, q in enumerate(structure.core):
            size = n_levels[len(structure.chain) + c] * q
            here = slice(offsets[c], offsets[c] + size)
            block = dense.diagonal_blocks(upper[here, here], q)
            once = block * blocks.identity(q)
            own.append(block + blocks.transpose(block) - once)
        dense_sums += kernel.split_core(structure, n_levels, sums["core_border"])
    return own, dense_sums


def start(structure, own, scores, variance, n_rows):
    """Covariance parameters (k,) to begin from.

    Parameters
    ----------
    structure : Structure
    own : list of (q, q, J) tensors
        A of every factor.
    scores : list of (q, J) tensors
        h of every factor.
    variance : scalar tensor
        Mean square of the residuals when no factor is there.
    n_rows : scalar tensor

    Returns
    -------
    theta : tensor of shape (k,)
        Of factors relative to the residual that all of them together leave.
    """

    def residual(effects, score):
        explained = tf.reduce_sum(effects * score) / n_rows
        return tf.maximum(variance - explained, _LEAST * variance)

    def step(i, theta, _):
        factors = covariance.to_factors(structure, theta)
        counts, squares = [], []
        for t, a, h in zip(factors, own, scores, strict=True):
            effects, remaining, info = _eliminate(t, a, h)
            info = tf.matmul(tf.reduce_sum(info, -1), t)
            outer = tf.matmul(tf.matmul(remaining, remaining, transpose_b=True), t)
            counts.append(tf.matmul(t, info, transpose_a=True))
            outer = tf.matmul(t, outer, transpose_a=True)
            squares.append(outer / residual(effects, h))
        following = covariance.evidence_step(structure, factors, counts, squares)
        change = dense.length(following - theta) / dense.length(following)
        return i + 1, following, change

    ones = [
        covariance.from_factor(kind, np.eye(q))
        for kind, q in zip(structure.covariance, structure.n_effects, strict=True)
    ]
    ones = tf.constant(np.concatenate(ones), FLOAT)
    diagonal = ones > 0.0
    _, theta, _ = tf.while_loop(
        lambda i, _, change: (i < _STEPS) & (change > _SETTLED),
        step,
        (tf.constant(0, INT), ones, tf.constant(np.inf, FLOAT)),
    )
    parts, scales, rest = covariance.split(structure, theta), [], variance
    factors = covariance.to_factors(structure, theta)
    for t, a, h in zip(factors, own, scores, strict=True):
        effects, _, _ = _eliminate(t, a, h)
        scales.append(residual(effects, h))
        rest -= variance - scales[-1]
    rest = tf.maximum(rest, _OF_BEST * tf.reduce_min(tf.stack(scales)))
    scaled = [p * tf.sqrt(s / rest) for p, s in zip(parts, scales, strict=True)]
    theta = tf.concat(scaled, 0)
    # a variance of zero is not left by any step
    theta = tf.where(diagonal, tf.maximum(theta, _SMALLEST), theta)
    usable = tf.reduce_all(tf.abs(theta) < _LARGEST)
    return tf.where(usable, theta, ones)
