"""A deviance with nothing profiled out, and where its minimum is."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from skglmm._loops.boundary import minimize
from skglmm.engine import deviance, generalized, linear, session


@dataclass(frozen=True)
class Optimum:
    """Where a deviance is least.

    Parameters
    ----------
    factors : tuple of ndarray of shape (q, q)
        Relative factors T_r, in the design's order.
    coef : ndarray of shape (p,)
    sigma : float or None
        Residual standard deviation of a linear model.
    own : ndarray of shape (n_own,)
        What the family has of its own.
    """

    factors: tuple[np.ndarray, ...]
    coef: np.ndarray
    sigma: float | None
    own: np.ndarray


@contextmanager
def open_deviance(problem, start, n_quadrature, max_iter, tol, device, refit=True):
    """A session, the deviance of its rows, and the minimum that is near a start.

    Parameters
    ----------
    problem : Problem
    start : Optimum
    n_quadrature : int
        Of counts and outcomes: nodes, 1 for Laplace's approximation.
    max_iter : int
    tol : float
    device : {"auto", "cpu", "gpu"}
    refit : bool, default=True
        Whether to search; otherwise the start is what is returned.

    Yields
    ------
    deviance : LinearDeviance or LaplaceDeviance
    optimum : Optimum
    """
    is_linear = problem.family.is_linear
    run = session.Session(problem.design, device, problem.n_border)
    run.problem = problem
    with run:
        if is_linear:
            sums = run.sums(problem.linear_table(), problem.weight)
            objective = linear.Objective(sums, False)
            found = deviance.LinearDeviance(run, sums)
        else:
            objective = generalized.Laplace(run, problem.family, n_quadrature)
            objective.coef = start.coef
            if len(start.own):
                objective.parameters = start.own
            found = deviance.LaplaceDeviance(run, objective)
        if refit:
            theta = run.theta(start.factors)
            _, out = minimize(run, objective, theta, max_iter, tol, False)
            start = _optimum(out, is_linear)
        yield found, start


def _optimum(out, is_linear):
    if not is_linear:
        own = np.asarray(out["parameters"])
        return Optimum(tuple(out["factors"]), np.asarray(out["coef"]), None, own)
    fixed = out["fixed"]
    sigma = float(np.sqrt(fixed["variance"]))
    return Optimum(tuple(out["factors"]), fixed["coef"], sigma, np.zeros(0))
