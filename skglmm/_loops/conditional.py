"""Effects given all other parameters, for rows that a model has not been fitted to."""

import numpy as np

from skglmm._loops.generalized import settle_nodes
from skglmm._loops.linear import open_objective
from skglmm.engine import generalized


def best_gaussian(problem, roots, device):
    """Means (q, J) and covariances (q, q, J) of effects that are N(0, T T') before.

    For the linear model this is the posterior itself; see `BaseSolver.posterior`.
    """
    if problem.family.is_linear:
        return _exact(problem, roots, device)
    with generalized.open_session(problem, device) as run:
        theta = run.theta(_known(problem, roots))
        objective = generalized.Variational(run, problem.family, None)
        out = settle_nodes(objective, lambda: objective.at(theta), len(problem.weight))
    return out["means"], out["posterior"]


def mode(problem, roots, device):
    """The same with the mode, and the curvature there, in the place of the mean."""
    if problem.family.is_linear:
        return _exact(problem, roots, device)
    with generalized.open_session(problem, device) as run:
        theta = run.theta(_known(problem, roots))
        objective = generalized.Laplace(run, problem.family, 1)
        out = objective.minimize(theta, 1, 1e-8, False)[1]
    return out["means"], out["posterior"]


def _exact(problem, roots, device):
    with open_objective(problem, device) as (run, objective):
        out = objective.evaluate(run.theta(_known(problem, roots)))
    return out["means"], out["posterior"]


def _known(problem, roots):
    if roots is not None:
        return roots
    return [np.eye(factor.n_effects) for factor in problem.design.factors]
