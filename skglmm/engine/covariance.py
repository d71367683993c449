"""Covariance parameters: theta to the relative factor T and back.

T is linear in theta, vec(T) = E theta, with the constant basis E of a structure. T is
the raw factor, not its logarithm, so that a variance of zero is an ordinary minimum.
"""

import numpy as np
import tensorflow as tf

from skglmm import _covariances
from skglmm._covariances import COVARIANCES

# Standard deviation of effects, on the scale of a log or logit, beyond which a value
# is made of rounding.
_LARGEST = 1e4


def basis(kind, q):
    """Constant (k, q, q) array: dT / dtheta for one factor."""
    return _covariances.basis(COVARIANCES[kind], q)


def n_parameters(structure):
    """Number of covariance parameters of each factor."""
    return tuple(
        len(basis(kind, q))
        for kind, q in zip(structure.covariance, structure.n_effects, strict=True)
    )


def split(structure, theta):
    """Theta as one vector a factor."""
    sizes = list(n_parameters(structure))
    return tf.split(theta, sizes) if sizes else []


def is_known(kind):
    """Whether the covariance is known and has no parameters."""
    return COVARIANCES[kind].known > 0.0


def to_factors(structure, theta):
    """T_r of every factor."""
    factors = []
    for part, kind, q in zip(
        split(structure, theta), structure.covariance, structure.n_effects, strict=True
    ):
        if is_known(kind):
            factors.append(COVARIANCES[kind].known * tf.eye(q, dtype=part.dtype))
        else:
            factors.append(tf.tensordot(part, tf.constant(basis(kind, q)), 1))
    return tuple(factors)


def in_reach(structure, factors, value):
    """A value of counts' or outcomes' objective, infinite where effects are absurd.

    A quasi-Newton step may go anywhere, and with T = 1e9 digits are left for nothing:
    the value there may well be below any other.
    """
    for kind, t in zip(structure.covariance, factors, strict=True):
        if is_known(kind):
            continue
        absurd = ~(tf.reduce_max(tf.abs(t)) < _LARGEST)
        value = tf.where(absurd, tf.constant(np.inf, value.dtype), value)
    return value


def factors_of(structure, theta):
    """T_r of every factor (numpy)."""
    factors, at = [], 0
    for kind, q in zip(structure.covariance, structure.n_effects, strict=True):
        n = len(basis(kind, q))
        factors.append(COVARIANCES[kind].factor(theta[at : at + n], q))
        at += n
    return tuple(factors)


def from_factor(kind, t):
    """Parameters of one factor's T (numpy)."""
    return COVARIANCES[kind].parameters(t)


def pull_back(structure, d_factors):
    """Gradient in theta from gradients in T_r."""
    parts = [
        tf.tensordot(tf.constant(basis(kind, q)), d, 2)
        for d, kind, q in zip(
            d_factors, structure.covariance, structure.n_effects, strict=True
        )
    ]
    return tf.concat([tf.zeros([0], tf.float64), *parts], 0)


def evidence_step(structure, factors, counts, squares):
    """One step of the evidence fixed point, T_r from U_r and Gamma_r.

    Sigma <- T L^-1 U L^-T T' with Gamma = L L' (full), and the same read along
    the diagonal or the trace for the other kinds. Its fixed points are those of
    the likelihood, U = Gamma.
    """
    parts = []
    for t, gamma, u, kind, q in zip(
        factors, counts, squares, structure.covariance, structure.n_effects, strict=True
    ):
        tiny, shape = 1e-12, COVARIANCES[kind]
        if shape.known:
            continue
        if not shape.correlates or q == 1:
            pooling = tf.constant(shape.pooling(q))
            have = tf.reduce_sum(pooling * tf.linalg.diag_part(u), 1)
            want = tf.reduce_sum(pooling * tf.linalg.diag_part(gamma), 1)
            reading = tf.constant(shape.reading(q))
            part = tf.linalg.matvec(reading, tf.reshape(t, [-1]))
            part *= tf.sqrt(have / (want + tiny))
        else:
            eye = tf.eye(q, dtype=t.dtype)
            lower = tf.linalg.cholesky(
                gamma + eye * (1e-10 * tf.linalg.trace(gamma) + tiny)
            )
            x = tf.linalg.triangular_solve(lower, u)
            x = tf.linalg.triangular_solve(lower, tf.transpose(x))
            x = 0.5 * (x + tf.transpose(x))
            root = tf.linalg.cholesky(x + eye * (1e-10 * tf.linalg.trace(x) + tiny))
            new = tf.matmul(t, root)
            e = basis(kind, q)
            part = tf.tensordot(tf.constant(e), new, 2)
        parts.append(part)
    return tf.concat([tf.zeros([0], tf.float64), *parts], 0)
