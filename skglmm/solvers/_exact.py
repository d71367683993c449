"""The linear mixed model: the exact likelihood, minimised."""

from contextlib import contextmanager
from dataclasses import replace

from skglmm.solvers._base import Solution, cross_covariances
from skglmm.solvers._flat import flat_linear
from skglmm.solvers._search import INTERRUPTED, search, singular_factors

# Share of the target's square, fixed columns taken off, below which the residual
# variance is what sums of squares have lost.
_EXACT = 1e-12


@contextmanager
def open_objective(problem, device):
    """The session of a linear model and its criterion."""
    from skglmm.engine import linear, session

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
        flat = flat_linear(run, objective, best)
    return replace(solution(problem, best, out), flat=flat)


def solution(problem, best, out):
    """Solution from a report (`optimizers.report`) and the estimates at its end."""
    sigma2 = float(out["fixed"]["variance"])
    half = out["fixed"]["half"]
    factors = out["factors"]
    outcome = best["outcome"]
    exact = sigma2 <= problem.rounding**2 + _EXACT * problem.mean_square
    if (exact or problem.mean_square == 0.0) and outcome != INTERRUPTED:
        outcome = (
            "the residual variance is estimated as zero, because the groups and "
            "columns determine the target exactly. Leave some of them out, or use "
            "another model"
        )
    covariance = sigma2 * half.T @ half
    return Solution(
        coef=out["fixed"]["coef"],
        coef_covariance=covariance,
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
        cross=cross_covariances(out["moves"], covariance),
    )
