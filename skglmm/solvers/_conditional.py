"""Effects given all other parameters, for rows that a model has not been fitted to."""

import numpy as np

from skglmm.solvers._exact import open_objective
from skglmm.solvers._generalized import settle_nodes
from skglmm.solvers._laplace import Laplace


def condition(problem, solver, factors=None):
    """Means (q, J) and covariances (q, q, J) of effects that are N(0, T T') before.

    Parameters
    ----------
    problem : Problem
        Without fixed columns, and for the linear model with a residual variance of one.
    solver : BaseSolver
        Whose notion of a posterior to use: `Laplace` takes the mode, all others the
        best Gaussian; for the linear model they are the same.
    factors : tuple of ndarray of shape (q, q), default=None
        Lower triangular T of each factor; None means that all are the identity.

    Returns
    -------
    means, covariances : tuples of ndarray
    """
    if factors is None:
        factors = [np.eye(factor.n_effects) for factor in problem.design.factors]
    if problem.family == "gaussian":
        with open_objective(problem, solver.device) as (run, objective):
            out = objective.evaluate(run.theta(factors))
        return out["means"], out["posterior"]
    from skglmm.engine import generalized

    with generalized.open_session(problem, solver.device) as run:
        theta = run.theta(factors)
        if isinstance(solver, Laplace):
            objective = generalized.Laplace(run, problem.family, 1)
            out = objective.minimize(theta, 1, 1e-8, False)[1]
        else:
            objective = generalized.Variational(run, problem.family, None)
            out = settle_nodes(
                objective, lambda: objective.evaluate(theta), len(problem.weight)
            )
    return out["means"], out["posterior"]
