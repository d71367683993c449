"""Objectives of the generalised models: numbers in and numbers out."""

import numpy as np
import tensorflow as tf

from skglmm.engine import (
    covariance,
    iterative,
    laplace,
    optimizers,
    session,
    sparse,
    variational,
)
from skglmm.engine.likelihoods import normal_nodes
from skglmm.engine.quadrature import product_nodes
from skglmm.engine.structure import FLOAT, INT, mapped, to_numpy

_SETTLE = 20
# Largest factor on the tolerance, that of a million rows.
_MOST_TOLERANT = 1e4
# Probes of the log-determinant of a design without a dense core.
N_SIGNS = 16
# Effects a level up to which quadrature gives the likelihood, and its nodes.
_MOST_EFFECTS = {1: 21, 2: 11, 3: 7}


def open_session(problem, device):
    """A session that holds the rows of a problem as tensors."""
    run = session.Session(problem.design, device, problem.border.shape[1])
    run.problem = problem
    return run


def objective_size(problem):
    """Factor on the tolerance: decreases are judged against a hundred rows.

    Many millions of rows, or weights of such a size, have no less to gain by a step.
    """
    return min(max(1.0, float(np.sum(problem.weight)) / 100.0), _MOST_TOLERANT)


def load(run):
    """Rows of the session's problem (`structure.data_spec`)."""
    problem = run.problem
    n_rows = len(problem.weight)
    zeros, ones = np.zeros(n_rows), np.ones(n_rows)
    return mapped(
        tf.convert_to_tensor,
        {
            "X": np.ascontiguousarray(problem.border[:, :-1]),
            "y": np.ascontiguousarray(problem.border[:, -1]),
            "trials": ones if problem.trials is None else problem.trials,
            "offset": zeros if problem.offset is None else problem.offset,
            "weight": problem.weight,
            "rows": run.rows(problem.z),
            "parameters": tuple(_first_parameters(problem)),
        },
    )


def _first_parameters(problem):
    """What the family has of its own, to begin with."""
    family = problem.family
    if not family.parameter_names or family.parameters is not None:
        return np.zeros(0) if family.parameters is None else family.parameters
    return family.first_parameters(
        problem.border[:, -1], problem.trials, problem.weight
    )


def with_parameters(data, parameters):
    """Rows (`load`) with other values of what the family has of its own."""
    return data | {"parameters": tuple(tf.constant(v, FLOAT) for v in parameters)}


def _minimize(module, parts, data, theta, tol, n_warm, max_iter, watch):
    """Run a module's minimiser at once, or in steps where somebody watches."""
    theta, tol = tf.convert_to_tensor(theta, FLOAT), tf.constant(tol, FLOAT)
    n_warm, wanted = tf.constant(n_warm, INT), tf.constant(True)
    n_steps = tf.constant(max_iter, INT)
    if watch is None:
        solve = module.compiled_solve(*parts)
        return solve(*data, theta, tol, n_warm, n_steps, wanted)
    start, advance, finish = module.compiled_steps(*parts)
    state = optimizers.drive(
        lambda state: advance(*data, state, tol, n_warm),
        start(*data, theta, n_warm, n_steps),
        max_iter,
        watch,
    )
    stopped = int(state["status"]) == optimizers.INTERRUPTED
    return finish(*data, state, tol, tf.constant(not stopped))


def _estimates(aux, value):
    estimates = aux["estimates"] | {"value": value, "coef": aux["coef"]}
    return estimates | {
        "spread": tf.reduce_max(aux["variance"]),
        "turns": aux["turns"],
        "moves": aux["moves"],
        "parameters": tf.stack(aux["estimates"]["parameters"])
        if aux["estimates"]["parameters"]
        else tf.zeros([0], FLOAT),
    }


class Variational:
    """-2 ELBO as a function of the covariance parameters.

    Parameters
    ----------
    run : Session
    family : Family
    kept : tuple of bool or None, default=None
    coupled : bool, default=False
        See `sparse.SparseInner`.

    Attributes
    ----------
    parameters : ndarray of shape (n_own,)
        The family's own parameters that the next search begins from.
    """

    def __init__(self, run, family, kept=None, coupled=False):
        self._parts = (run.structure, family.origin, kept, coupled)
        self._watch = run.problem.watch
        self._index, self.data = run.index, load(run)
        self._size = objective_size(run.problem)
        self._family = family
        self.parameters = np.array(to_numpy(self.data["parameters"]))

    def set_nodes(self, n):
        """Use n Gauss-Hermite nodes."""
        self.nodes = normal_nodes(n)

    def constant(self):
        """-2 times the part of the log-likelihood that depends on no parameter."""
        data = with_parameters(self.data, self.parameters)
        likelihood = self._family.likelihood().given(data["parameters"])
        constant = likelihood.constant(data["y"], data["trials"])
        return -2.0 * float(tf.reduce_sum(data["weight"] * constant))

    def minimize(self, theta, max_iter, tol, cold):
        """Minimise from theta; see `solvers._search.minimize`."""
        state, aux, hessian, slopes = _minimize(
            variational,
            self._parts,
            (self._index, self.data, self.nodes),
            np.concatenate([self.parameters, theta]),
            tol * self._size,
            3 if cold else 1,
            max_iter,
            self._watch,
        )
        self.last = {name: aux[name] for name in ("spherical", "variance", "eta")}
        out = _estimates(aux, state["value"]) | {"hessian": hessian, "slopes": slopes}
        report, out = optimizers.report(state), to_numpy(out)
        self.parameters = out["parameters"]
        report["theta"] = report["theta"][len(self.parameters) :]
        return report, out

    def evaluate(self, theta):
        """Estimates at theta, other parameters at their best where theta is zero."""
        before = self.parameters
        if not len(before):
            return self.at(theta)
        out = self.minimize(theta, _SETTLE, 1e-8, False)[1]
        self.parameters = before
        return out

    def at(self, theta):
        """Estimates at theta and at the family's own parameters as they are."""
        return self.minimize(theta, 1, 1e-8, False)[1]


class Laplace:
    """Laplace's or quadrature's objective; the fixed effects follow along.

    Parameters
    ----------
    run : Session
    family : Family
    n_quadrature : int

    Attributes
    ----------
    coef, parameters : ndarrays of shape (p,) and (n_own,)
        Fixed effects and the family's own parameters that the next search begins from.
    parts, nodes : tuple
        What tells its graphs apart, and quadrature nodes with their log weights.
    """

    def __init__(self, run, family, n_quadrature):
        quadrature = n_quadrature > 1
        self.parts = (run.structure, family.origin, quadrature)
        self._watch = run.problem.watch
        self._index, self.data = run.index, load(run)
        self._size = objective_size(run.problem)
        q = run.structure.n_effects[0] if run.structure.n_effects else 1
        self.nodes = product_nodes(n_quadrature if quadrature else 1, q)
        self.coef = _least_squares(run.problem, self.data, family)
        self.parameters = np.array(to_numpy(self.data["parameters"]))

    def minimize(self, theta, max_iter, tol, cold):
        """Minimise from theta; see `solvers._search.minimize`."""
        n_before = len(self.coef) + len(self.parameters)
        state, aux, hessian = _minimize(
            laplace,
            self.parts,
            (self._index, self.data, *self.nodes),
            np.concatenate([self.coef, self.parameters, theta]),
            tol * self._size,
            4 if cold else 1,
            max_iter,
            self._watch,
        )
        report = optimizers.report(state)
        self.coef = aux["coef"].numpy()
        report["theta"] = report["theta"][n_before:]
        out = to_numpy(_estimates(aux, state["value"]) | {"hessian": hessian})
        self.parameters = out["parameters"]
        return report, out

    def evaluate(self, theta):
        """Estimates at theta, other parameters at their best where theta is zero."""
        before = self.coef, self.parameters
        out = self.minimize(theta, _SETTLE, 1e-8, False)[1]
        self.coef, self.parameters = before
        return out


def _least_squares(problem, data, family):
    """Fixed effects of what each row alone suggests; X is orthonormal."""
    likelihood = family.likelihood().given(data["parameters"])
    eta = likelihood.start(data["y"], data["trials"]) - data["offset"]
    weight = problem.weight
    return (weight * eta.numpy()) @ problem.border[:, :-1] / weight.sum()


def _point(run, out):
    """Coefficients, means, covariance parameters and the tolerance at estimates."""
    return (
        tf.constant(out["coef"], FLOAT),
        tuple(tf.constant(m, FLOAT) for m in out["means"]),
        tf.constant(run.theta(out["factors"]), FLOAT),
        tf.constant(1e-8 * objective_size(run.problem), FLOAT),
    )


def log_likelihood(run, family, data, out):
    """-2 log-likelihood at given estimates, its error, and how it was computed."""
    effects, family = run.structure.n_effects, family.origin
    known = [covariance.is_known(kind) for kind in run.structure.covariance]
    data = with_parameters(data, out["parameters"])
    if run.structure.iterative:
        return "laplace", *_sparse_log_likelihood(run, family, data, out)
    method, n = "laplace", 1
    alone = len(effects) == 1 and not run.structure.related and not any(known)
    if alone and effects[0] in _MOST_EFFECTS:
        method, n = "quadrature", _MOST_EFFECTS[effects[0]]
    if all(known):
        method = "exact"
    solve = laplace.compiled_value(run.structure, family, n > 1)
    value = solve(
        run.index,
        data,
        *product_nodes(n, effects[0] if effects else 1),
        *_point(run, out),
    )
    return method, float(value), 0.0


def _sparse_log_likelihood(run, family, data, out):
    """-2 log-likelihood by Laplace's approximation, and its Monte Carlo error."""
    effects = run.structure.n_effects
    solve = sparse.compiled_mode(run.structure, family)
    value, own, couplings, factors = solve(run.index, data, *_point(run, out))
    sizes = run.index["n_levels"] * np.array(effects, np.int32)
    system = {"sizes": sizes, "own": own, "couplings": couplings}
    size = int(tf.reduce_sum(sizes[1:]))
    signs = np.random.default_rng(run.problem.seed).integers(2, size=(size, N_SIGNS))
    log_det, error = iterative.log_det(effects, system, factors, 2.0 * signs - 1.0)
    return float(value) + log_det, error
