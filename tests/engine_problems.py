"""Generalised problems as the engine sees them, and its answers in the user's order."""

import functools
from dataclasses import replace

import dense_generalized
import numpy as np
import tensorflow as tf

from skglmm._families import FAMILIES
from skglmm._problem.coding import code_fixed
from skglmm._problem.design import Factor, build_design
from skglmm.engine import (
    generalized,
    inner,
    laplace,
    likelihoods,
    quadrature,
    variational,
)
from skglmm.engine.structure import data_spec, index_spec, vector
from skglmm.solvers import Problem


def random_problem(family, relations, n_levels, effects, seed):
    """`dense_generalized.random_problem` with the engine's curvature in beta."""
    problem = dense_generalized.random_problem(
        family, relations, n_levels, effects, seed
    )
    return replace(problem, ridge=inner.RIDGE)


def coded_problem(X, codes, weight, family="gaussian"):
    """Problem with an intercept, columns X and random intercepts; y is to be written.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
    codes : list of ndarray of int of shape (n_rows,)
        Level of each row, by factor.
    weight : ndarray of shape (n_rows,)
    family : str, default="gaussian"
    """
    design = build_design([Factor(c.astype(np.int32), c.max() + 1) for c in codes])
    weight = design.rows(weight)
    border, _ = code_fixed(design.rows(X), weight, True)
    return Problem(
        design=design,
        border=border,
        z=(None,) * len(codes),
        weight=weight,
        family=FAMILIES[family],
    )


class Engine:
    """Objectives of the engine at one point, traced as in a fit.

    Parameters
    ----------
    problem : dense_generalized.Problem
    kinds : sequence of {"full", "diag", "scalar"}
        Covariance of each factor.
    dense : bool, default=True
        Whether the design has a dense core, which only the full posterior wants.
    """

    def __init__(self, problem, kinds, *, dense=True):
        factors = [
            Factor(codes.astype(np.int32), codes.max() + 1, z.shape[1], plain, kind)
            for codes, z, kind in zip(problem.codes, problem.z, kinds, strict=True)
            for plain in [z.shape[1] == 1]
        ]
        self.design = build_design(factors, np.inf if dense else -1.0)
        plan, rows = self.design.plan, self.design.rows
        self.order = plan.chain + plan.core
        self.family, self.kinds = FAMILIES[problem.family], kinds
        working = Problem(
            design=self.design,
            border=rows(np.column_stack([problem.X, problem.y])),
            z=tuple(
                None if factors[r].plain else rows(problem.z[r]) for r in self.order
            ),
            weight=rows(problem.weight),
            family=FAMILIES[problem.family],
            offset=rows(problem.offset),
            trials=rows(problem.trials),
        )
        self.session = generalized.open_session(working, "cpu")
        with self.session as run:
            self.data = generalized.load(run)

    def bound(self, factors, kept=None, n_nodes=41, *, coupled=False):
        """-2 ELBO, its gradient in the free entries of T, and the estimates."""
        if kept is not None:
            kept = tuple(kept[r] for r in self.order)
        with self.session as run:
            solve = compiled_bound(run.structure, self.family, kept, coupled)
            nodes = likelihoods.normal_nodes(n_nodes)
            out = solve(run.index, self.data, nodes, self._theta(factors))
        return self._answer(out, 0)

    def laplace(self, coef, factors, n_nodes=1):
        """-2 log-likelihood, its gradient in beta and in T, and the estimates."""
        with self.session as run:
            solve = compiled_laplace(run.structure, self.family, n_nodes > 1)
            nodes = quadrature.product_nodes(n_nodes, run.structure.n_effects[0])
            phi = tf.concat([coef, self._theta(factors)], 0)
            out = solve(run.index, self.data, *nodes, phi)
        return self._answer(out, len(coef))

    def _theta(self, factors):
        return tf.constant(self.session.theta([factors[r] for r in self.order]))

    def _answer(self, out, p):
        value, gradient, estimates = tf.nest.map_structure(lambda t: t.numpy(), out)
        sizes = [
            {"full": q * (q + 1) // 2, "diag": q, "scalar": 1}[kind]
            for q, kind in zip(
                self.session.structure.n_effects,
                self.session.structure.covariance,
                strict=True,
            )
        ]
        parts = np.split(gradient[p:], np.cumsum(sizes)[:-1])
        by_user = [parts[self.order.index(r)] for r in range(len(parts))]
        return value, np.concatenate([gradient[:p], *by_user]), estimates

    def by_user(self, values):
        """One array (n_levels, ...) a factor, in the user's order of everything."""
        out = [None] * len(self.order)
        for at, r in enumerate(self.order):
            out[r] = np.moveaxis(self.design.to_user(at, values[at]), -1, 0)
        return out


def _signature(structure, family, heads):
    """Index, data, arrays with as many rows as `heads` says and the parameters."""
    arrays = [tf.TensorSpec([n, None], tf.float64) if n else vector() for n in heads]
    specs = index_spec(structure), data_spec(structure, family)
    return [*specs, *arrays, vector()]


@functools.cache
def compiled_bound(structure, family, kept, coupled):
    loop = variational.inner_of(structure, family, kept, coupled)

    def call(index, data, nodes, theta):
        aux = variational.initial_aux(structure, loop, index, data)
        tol = tf.constant(1e-20, tf.float64)
        out = variational.evaluate(loop, index, data, nodes, theta, aux, tol)
        return out["value"], out["gradient"], _found(out)

    return tf.function(
        call, input_signature=_signature(structure, family, [2]), autograph=False
    )


@functools.cache
def compiled_laplace(structure, family, quadrature):
    loop = inner.Inner(structure, family, spread=False, joint=False)

    def call(index, data, points, log_weights, phi):
        nodes = (points, log_weights) if quadrature else None
        aux = variational.initial_aux(structure, loop, index, data)
        tol = tf.constant(1e-20, tf.float64)
        out = laplace.evaluate(loop, index, data, nodes, phi, aux, tol)
        return out["value"], out["gradient"], _found(out)

    signature = _signature(structure, family, [structure.n_effects[0], None])
    return tf.function(call, input_signature=signature, autograph=False)


def _found(out):
    aux = out["aux"]
    names = ("means", "posterior")
    return {"coef": aux["coef"], **{name: aux["estimates"][name] for name in names}}
