"""Deviances at any parameters, with their gradients: nothing is optimised here.

The criteria of the solvers have the residual variance and the fixed effects at their
best. A profile holds one of these where it is not, so that here

    D(T, sigma, beta) = N log(2 pi sigma^2) + log|V| + |y - X beta|^2_V / sigma^2

is a function of all of them. With S_j = Z_j'V^-1 [X, y] and the contrast
c = (-beta, 1), the derivative of the quadratic form in T_r is
-2 sum_j (S_j c)(S_j c)' T_r: the sums of S_j S_j' give it for every beta, and the rows
are not read again.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import generalized, kernel
from skglmm.engine.inner import INNER_STEPS, RIDGE, Inner
from skglmm.engine.laplace import at_mode, direct_part, total_derivatives
from skglmm.engine.linear import FLOOR
from skglmm.engine.structure import (
    FLOAT,
    INT,
    data_spec,
    graph,
    index_spec,
    statistics_spec,
    to_numpy,
)
from skglmm.engine.variational import initial_aux

# What the search for a mode may leave over.
_EXACT = 1e-9


def _factor_spec(structure):
    return tuple(tf.TensorSpec([q, q], FLOAT) for q in structure.n_effects)


@functools.cache
def compiled_linear(structure):
    """Projected products, log|V| and what their gradients in T_r are made of."""

    def call(index, statistics, factors):
        state = kernel.factorize(structure, index, statistics, factors)
        _, scores, _, explained = kernel.project(structure, index, state, statistics)
        _, information = kernel.posterior(structure, index, state)
        pulls, squares = [], []
        for r, (t, score) in enumerate(zip(factors, scores, strict=True)):
            total = tf.reduce_sum(information[r], -1)
            chained = r < len(structure.chain)
            pulls.append(tf.matmul(total, t) if chained else total)
            q, c = t.shape[0], tf.shape(score)[1]
            flat = tf.reshape(score, [q * c, -1])
            products = tf.matmul(flat, flat, transpose_b=True)
            squares.append(tf.reshape(products, [q, c, q, c]))
        return {
            "log_det": state["log_det"],
            "border": statistics["border"] - explained,
            "pulls": tuple(pulls),
            "squares": tuple(squares),
        }

    signature = [
        index_spec(structure),
        statistics_spec(structure),
        _factor_spec(structure),
    ]
    return graph(call, signature)


class LinearDeviance:
    """-2 log-likelihood of a linear model, or its REML criterion.

    Parameters
    ----------
    run : Session
    sums : RowSums
    """

    def __init__(self, run, sums):
        self._call = compiled_linear(run.structure)
        self._index, self._statistics = sums.index, sums.statistics()
        self._n_rows = float(sums.n_rows)

    def at(self, factors, sigma, held=None, reml=False):
        """Value and gradients at relative factors T_r and a residual deviation.

        Parameters
        ----------
        factors : list of ndarray of shape (q, q)
            Of any shape: T T' is what counts.
        sigma : float
        held : tuple of (ndarray of shape (p,), float) or None, default=None
            a and w if the coefficients are to have a'beta = w, the others at their
            best; None: all are.
        reml : bool, default=False

        Returns
        -------
        out : dict
            ``value``; ``factors``, ``sigma`` and ``held``, derivatives in T_r, in
            log sigma and in w; ``coef``.
        """
        factors = tuple(tf.constant(t, FLOAT) for t in factors)
        out = to_numpy(self._call(self._index, self._statistics, factors))
        border, sigma2 = out["border"], sigma**2
        inverse = np.linalg.inv(border[:-1, :-1])
        coef = inverse @ border[:-1, -1]
        floor = FLOOR * border[-1, -1] + 1e-290
        square = max(border[-1, -1] - border[:-1, -1] @ coef, floor)
        by_held = 0.0
        if held is not None:
            a, w = held
            spread, away = a @ inverse @ a, w - a @ coef
            coef = coef + inverse @ a * (away / spread)
            square += away**2 / spread
            by_held = 2.0 * away / (spread * sigma2)
        contrast = np.append(-coef, 1.0)
        n, restricted = self._n_rows, 0.0
        if reml:
            n -= len(coef)
            restricted = np.linalg.slogdet(border[:-1, :-1])[1]
        slopes = []
        for t, pull, products in zip(
            factors, out["pulls"], out["squares"], strict=True
        ):
            met = np.einsum("acbd,c,d->ab", products, contrast, contrast) / sigma2
            if reml:
                met += np.einsum("acbd,cd->ab", products[:, :-1, :, :-1], inverse)
            slopes.append(2.0 * (pull - met @ t.numpy()))
        return {
            "value": n * np.log(2.0 * np.pi * sigma2)
            + out["log_det"]
            + square / sigma2
            + restricted,
            "factors": slopes,
            "sigma": 2.0 * (n - square / sigma2),
            "held": by_held,
            "coef": coef,
        }


@functools.cache
def compiled_laplace(structure, family, quadrature):
    """The objective of `laplace.evaluate`, its arguments given one by one."""
    inner = Inner(structure, family, spread=False, joint=False)
    q = structure.n_effects[0] if structure.n_effects else 1

    def call(index, data, points, log_weights, coef, factors, eta):
        nodes = (points, log_weights) if quadrature else None
        aux = initial_aux(structure, inner, index, data) | {"coef": coef, "eta": eta}
        exact, steps = tf.constant(_EXACT, FLOAT), tf.constant(INNER_STEPS, INT)
        one_node = tf.zeros([2, 1], FLOAT)
        end = inner.run(index, data, factors, aux, one_node, exact, steps)
        mode = at_mode(inner, index, data, factors, end["eta"])
        direct = direct_part(inner, data, nodes, factors, coef, end, mode)
        by_coef, by_own, by_factor = total_derivatives(
            inner, index, data, factors, coef, end, mode, direct
        )
        return {
            "value": direct.value,
            "coef": by_coef,
            "own": tf.zeros([0], FLOAT) if by_own is None else by_own,
            "factors": tuple(by_factor),
            "eta": end["eta"],
        }

    signature = [
        index_spec(structure),
        data_spec(structure, family),
        tf.TensorSpec([q, None], FLOAT),
        tf.TensorSpec([None], FLOAT),
        tf.TensorSpec([None], FLOAT),
        _factor_spec(structure),
        tf.TensorSpec([None], FLOAT),
    ]
    return graph(call, signature)


class LaplaceDeviance:
    """-2 log-likelihood of counts or outcomes: `generalized.Laplace` without its ridge.

    Parameters
    ----------
    run : Session
    objective : generalized.Laplace
    """

    def __init__(self, run, objective):
        self._call = compiled_laplace(*objective.parts)
        self._index, self._data = run.index, objective.data
        self._nodes, data = objective.nodes, objective.data
        likelihood = objective.parts[1].likelihood().given(data["parameters"])
        self._eta = likelihood.start(data["y"], data["trials"])

    def at(self, factors, own, coef):
        """Value and gradients at factors T_r, own parameters and coefficients.

        Returns
        -------
        out : dict
            ``value``, and derivatives in ``factors``, ``own`` and ``coef``.
        """
        data = generalized.with_parameters(self._data, own)
        coef = tf.constant(coef, FLOAT)
        factors = tuple(tf.constant(t, FLOAT) for t in factors)
        found = self._call(self._index, data, *self._nodes, coef, factors, self._eta)
        out = to_numpy({name: v for name, v in found.items() if name != "eta"})
        if np.isfinite(out["value"]):
            self._eta = found["eta"]
        coef = coef.numpy()
        value = float(out["value"]) - RIDGE * float(coef @ coef)
        return out | {"value": value, "coef": out["coef"] - 2.0 * RIDGE * coef}
