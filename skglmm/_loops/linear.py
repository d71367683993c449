"""The linear mixed model: the exact likelihood, minimised."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from skglmm._loops.boundary import (
    minimize,
    search,
    together,
)
from skglmm._loops.flat import flat_linear
from skglmm._problem.outcome import Outcome
from skglmm._problem.roots import singular_factors
from skglmm._problem.solution import Solution, cross_covariances
from skglmm.engine import linear, session

# Share of the target's square, fixed columns taken off, below which the residual
# variance is what sums of squares have lost.
EXACT = 1e-12
# Relative standard deviations to begin from beside the boundary.
SMALL = 0.02


@contextmanager
def open_objective(problem, device):
    """The session of a linear model and its criterion."""
    run = session.Session(problem.design, device, problem.n_border)
    with run:
        sums = run.sums(problem.linear_table(), problem.weight)
        yield run, linear.Objective(sums, problem.reml, problem.watch)


def solve_linear(problem, max_iter, tol, device):
    """Minimise -2 log-likelihood (or the REML criterion) of a linear mixed model.

    Parameters
    ----------
    problem : Problem
    max_iter : int
    tol : float
    device : {"auto", "cpu", "gpu"}

    Returns
    -------
    solution : Solution
    """
    with open_objective(problem, device) as (run, objective):
        best, out = search(problem, run, objective, max_iter, tol)
        interrupted = best["outcome"] is Outcome.INTERRUPTED
        beside = best["value"] > _without_effects(problem) + 1e-6
        if problem.design.factors and beside and not interrupted:
            # a maximum beside the boundary, and the boundary is higher
            small = [SMALL * np.eye(len(t)) for t in run.factors(best["theta"])]
            again, found = minimize(
                run, objective, run.theta(small), max_iter, tol, False
            )
            if again["value"] < best["value"]:
                both = together(best, again)
                best, out = again | both, found
        flat = () if interrupted else flat_linear(run, objective, best)
    return replace(solution(problem, best, out), flat=flat)


def _without_effects(problem):
    """The criterion where all variances but that of the residual are zero."""
    total, p = problem.weight.sum(), problem.n_border - 1
    if problem.table is None:
        rss = problem.weight @ problem.border[:, -1] ** 2
    else:
        rss = total * problem.mean_square
    n = total - p if problem.reml else total
    value = n * (np.log(max(rss, 1e-290) / n) + 1.0 + np.log(2.0 * np.pi))
    return value + (p * np.log(total) if problem.reml else 0.0)


def solution(problem, best, out):
    """Solution from a report (`optimizers.report`) and the estimates at its end."""
    sigma2 = float(out["fixed"]["variance"])
    half = out["fixed"]["half"]
    factors = out["factors"]
    outcome = best["outcome"]
    exact = sigma2 <= problem.rounding**2 + EXACT * problem.mean_square
    if (exact or problem.mean_square == 0.0) and outcome is not Outcome.INTERRUPTED:
        outcome = Outcome.NO_RESIDUAL
    covariance = sigma2 * half.T @ half
    return Solution(
        coef=out["fixed"]["coef"],
        coef_covariance=covariance,
        covariances=tuple(sigma2 * t @ t.T for t in factors),
        means=problem.design.effects(out["means"]),
        posteriors=tuple(sigma2 * c for c in out["posterior"]),
        noise_variance=sigma2,
        log_likelihood=-0.5 * float(out["value"]),
        method="restricted" if problem.reml else "exact",
        n_iter=best["n_iter"],
        history=best["history"],
        outcome=outcome,
        singular=singular_factors(factors),
        cross=cross_covariances(problem.design.effects(out["moves"]), covariance),
    )
