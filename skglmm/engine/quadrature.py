"""Adaptive Gauss-Hermite quadrature of every level, with exact derivatives.

The integral of a level is a sum over nodes u + L^-T x, M_j = L L', at the mode u. It
moves with the parameters directly, through the mode, and through M.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from skglmm.engine import blocks, statistics
from skglmm.engine.likelihoods import slopes
from skglmm.engine.rows import rows_of
from skglmm.engine.structure import FLOAT, INT


def product_nodes(n, q):
    """Nodes x (q, n^q) and log weights (n^q,) of a standard normal in q dimensions."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    w = w / w.sum()
    points = np.array(list(itertools.product(x, repeat=q))).T
    weights = np.array([np.prod(c) for c in itertools.product(w, repeat=q)])
    return tf.constant(points.reshape(q, -1), FLOAT), tf.constant(
        np.log(weights), FLOAT
    )


@dataclass(frozen=True)
class Direct:
    """What the objective depends on at a fixed mode.

    Parameters
    ----------
    value : scalar
    coef : (p,)
        Partial derivative in beta.
    factors : list of (q, q)
        Partial derivatives in T_r, except through M.
    curvature : list of (q, q, J)
        Lambda N Lambda', N the derivative in M.
    moved : list of (q, q)
        Derivative in T_r through M at fixed weights, 2 sum (Z'WZ Lambda N)_jj.
    own : (n_own,) or None
        Partial derivative in the family's own parameters, except through M (quadrature
        only; Laplace's is that of the rows at the mode).
    mode : (q, J) or None
        Derivative in u beyond the stationary part (quadrature only).
    shrunk : (q, q, J) or None
        M_j^-1 (quadrature only).
    """

    value: object
    coef: object
    factors: list
    curvature: list
    moved: list
    own: object = None
    mode: object = None
    shrunk: object = None


class _Nodes:
    """Sums over the nodes of every level, a node at a time.

    Parameters
    ----------
    inner : Inner
    data : dict
    nodes : tuple
        Points (q, K) and log weights (K,).
    factor : (q, q)
    u : (q, J)
        Mode.
    coef : (p,)
    lower_inverse : (q, q, J)
        L^-1 of M_j = L L'.
    """

    def __init__(self, inner, data, nodes, factor, u, coef, lower_inverse):
        self._inner, self._data, self._nodes = inner, data, nodes
        self._factor, self._u, self._lower_inverse = factor, u, lower_inverse
        self._rows = rows_of(inner.structure, data)
        self._z = self._rows.values()
        self._base = data["offset"] + tf.linalg.matvec(data["X"], coef)

    def _own(self, eta):
        """Derivatives by level in the family's own parameters, one tensor each."""
        data, parameters = self._data, self._data["parameters"]
        if not parameters:
            return ()
        family = self._inner.family.likelihood()
        found = slopes(family, parameters, data["y"], data["trials"], eta)
        return tuple(self._rows.by_level(data["weight"] * part) for part in found)

    def _add(self, k, top, total, score, *sums):
        points, log_weights = self._nodes
        data, w = self._data, self._data["weight"]
        point, q = points[:, k], self._factor.shape[0]
        # u + L^-T x
        at = self._u + tf.add_n([self._lower_inverse[i] * point[i] for i in range(q)])
        b = tf.matmul(self._factor, at)
        eta = self._base
        for i, values in enumerate(self._z):
            eta += statistics.times(values, self._rows.of_level(b[i]))
        likelihood = self._inner.likelihood(data)
        s, _, _ = likelihood.derivatives(data["y"], data["trials"], eta)
        s *= w
        density = self._rows.by_level(
            w * likelihood.log_density(data["y"], data["trials"], eta)
        )
        if data["parameters"]:
            density += self._rows.by_level(
                w * likelihood.constant(data["y"], data["trials"])
            )
        log_term = (
            log_weights[k]
            + density
            - 0.5 * tf.reduce_sum(at * at, 0)
            + 0.5 * tf.reduce_sum(point * point)
        )
        new_top = tf.maximum(top, log_term)
        fade, weight = tf.exp(top - new_top), tf.exp(log_term - new_top)
        z_s = tf.stack([self._rows.by_level(statistics.times(s, z)) for z in self._z])
        here = (
            weight * z_s,
            weight * z_s[:, None] * at[None],
            weight * at,
            weight * at[:, None] * point[None, :, None],
            weight * z_s[:, None] * point[None, :, None],
            *(weight * part for part in self._own(eta)),
        )
        of_level = self._rows.of_level
        score = of_level(fade) * score + of_level(weight) * s
        sums = [fade * a + b for a, b in zip(sums, here, strict=True)]
        return k + 1, new_top, fade * total + weight, score, *sums

    def run(self):
        """Log of every level's sum, and means over nodes.

        Returns
        -------
        log_total : (J,)
        score : (n,)
        means : list
            Of Z's (q, J), Z's u' (q, q, J), u (q, J), u x' (q, q, J), Z's x' (q, q, J)
            and the derivatives (J,) in each of the family's own parameters.
        """
        q, n = self._factor.shape[0], tf.shape(self._u)[1]
        vector, square = tf.zeros([q, n], FLOAT), tf.zeros([q, q, n], FLOAT)
        own = (tf.zeros([n], FLOAT),) * len(self._data["parameters"])
        _, top, total, score, *sums = tf.while_loop(
            lambda k, *_: k < tf.shape(self._nodes[1])[0],
            self._add,
            (
                tf.constant(0, INT),
                tf.fill([n], tf.constant(-np.inf, FLOAT)),
                tf.zeros([n], FLOAT),
                tf.zeros_like(self._data["y"]),
                vector,
                square,
                vector,
                square,
                square,
                *own,
            ),
        )
        score /= self._rows.of_level(total)
        return tf.math.log(total) + top, score, [part / total for part in sums]


def integrate(inner, data, nodes, factor, u, coef, own):
    """Sum over nodes of every level, with derivatives at fixed nodes and through them.

    Parameters
    ----------
    own : (q, q, J)
        Z_j'WZ_j.
    """
    q = factor.shape[0]
    _, _, columns = blocks.gain(factor, own)
    log_det = blocks.log_determinant(columns)
    lower_inverse = blocks.solve_lower(columns, blocks.identity(q))
    # I - T'Z_j'V^-1Z_jT would lose its digits where the rows say much
    shrunk = blocks.product_tn(lower_inverse, lower_inverse)
    run = _Nodes(inner, data, nodes, factor, u, coef, lower_inverse).run
    log_total, score, (z_score, z_score_u, mean, mean_x, score_x, *by_own) = run()
    mode = -2.0 * (tf.matmul(factor, z_score, transpose_a=True) - mean)
    root_bar = -2.0 * (blocks.left(tf.transpose(factor), score_x) - mean_x)
    # cotangent of M = L L' from that of L^-T
    y_bar = blocks.transpose(blocks.product(lower_inverse, root_bar))
    mask = tf.constant(np.tril(np.ones((q, q)))[:, :, None])
    half = 0.5 * tf.where(mask > 0, y_bar, blocks.transpose(y_bar))
    node_n = -blocks.product_tn(lower_inverse, blocks.product(half, lower_inverse))
    n_bar = shrunk + node_n
    return Direct(
        value=log_det - 2.0 * tf.reduce_sum(log_total),
        coef=-2.0 * tf.linalg.matvec(data["X"], score, transpose_a=True),
        factors=[-2.0 * tf.reduce_sum(z_score_u, -1)],
        curvature=[blocks.left(factor, blocks.right(n_bar, tf.transpose(factor)))],
        moved=[
            2.0 * tf.reduce_sum(blocks.product(blocks.right(own, factor), n_bar), -1)
        ],
        own=-2.0 * tf.stack([tf.reduce_sum(part) for part in by_own])
        if by_own
        else None,
        mode=mode,
        shrunk=shrunk,
    )


def left_out(inner, data):
    """What the sums over nodes leave out, which is nothing where it moves."""
    return 0.0 if data["parameters"] else inner.constant(data)
