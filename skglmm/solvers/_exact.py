"""The linear mixed model: the exact likelihood, minimised."""

import numpy as np

from skglmm.solvers._base import Solution
from skglmm.solvers._search import minimize, singular_factors


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
    from skglmm.engine import linear, session

    design = problem.design
    run = session.Session(design, device, problem.border.shape[1])
    with run:
        statistics = run.statistics(problem.border, problem.weight, problem.z)
        fixed = (
            run.index,
            statistics,
            run.scalar(problem.weight.sum()),
            run.scalar(float(problem.reml)),
        )
        objective = linear.Objective(run.structure, fixed)
        start = problem.start
        theta = run.theta([np.eye(f.n_effects) for f in design.factors])
        if start is not None:
            theta = run.theta(start)
        best, out = minimize(run, objective, theta, max_iter, tol, start is None)

    return _solution(problem, best, out)


def _solution(problem, best, out):
    sigma2 = float(out["fixed"]["variance"])
    half = out["fixed"]["half"]
    factors = out["factors"]
    outcome = best["outcome"]
    negligible = 1e-18 * problem.scale**2 + 1e-12 * np.mean(problem.border[:, -1] ** 2)
    if outcome is None and (sigma2 <= negligible or problem.scale == 0.0):
        outcome = (
            "the residual variance is estimated as zero: the groups and columns "
            "determine the target exactly"
        )
    return Solution(
        coef=out["fixed"]["coef"],
        coef_covariance=sigma2 * half.T @ half,
        covariances=tuple(sigma2 * t @ t.T for t in factors),
        means=out["means"],
        posteriors=tuple(sigma2 * c for c in out["posterior"]),
        noise_variance=sigma2,
        log_likelihood=-0.5 * float(out["value"]),
        method="restricted" if problem.reml else "exact",
        n_iter=best["n_iter"],
        history=best["history"],
        outcome=outcome,
        singular=singular_factors(factors),
    )
