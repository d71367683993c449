"""Fits of the generalised oracle problems, each done once a session."""

import functools
import warnings

import oracle_problems as oracles

from skglmm import (
    MixedBinomialRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import VI, Laplace


@functools.cache
def fitted(name, method, solver="laplace", folder=oracles.ORACLES):
    """An answer of glmer's, its data, our model and the warnings of the fit.

    Parameters
    ----------
    name, method : str
        As `oracle_problems.problems` lists them.
    solver : str, default="laplace"
        ``"laplace"`` is what the method says: 25 nodes for ``"agq25"``; a number
        stands for as many nodes. Everything else is a factorisation of `VI`.
    """
    ref, data = oracles.load(name, method, folder)
    if solver == "laplace":
        solver = 25 if method == "agq25" else 1
    if isinstance(solver, int):
        engine = Laplace(n_quadrature=solver)
    else:
        engine = VI(factorization=solver)
    model = estimator(ref)(**oracles.estimator_parameters(ref), solver=engine)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data[oracles.model_columns(ref)], data["y"])
    return ref, data, model, [str(warning.message) for warning in caught]


def estimator(ref):
    """Class that states the problem of an answer."""
    if ref["family"] == "poisson":
        return MixedPoissonRegressor
    return MixedBinomialRegressor if ref["has_trials"] else MixedLogisticRegressor
