"""The linear mixed model: the exact likelihood, minimised."""

import numpy as np

from skglmm.solvers._base import Solution

# A direction of T below this share of the residual standard deviation may be noise
# around a variance of zero: then the objective is no worse at zero.
_NEARLY_SINGULAR = 0.03
_NO_WORSE = 1e-6
_RESTARTS = 3


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
        best, out = _minimize(run, objective, theta, max_iter, tol, start is None)

    return _solution(problem, best, out)


def _minimize(run, objective, theta, max_iter, tol, cold):
    """Minimise, then settle the directions in which T is nearly singular."""
    best, out = objective.minimize(theta, max_iter, tol, cold)
    for _ in range(_RESTARTS):
        factors = run.factors(best["theta"])
        weak = [_weak_directions(t) for t in factors]
        if not any(w.any() for w in weak):
            break
        kinds = run.structure.covariance
        zero, raised = (
            run.theta(
                [_reset(*a, size) for a in zip(factors, kinds, weak, strict=True)]
            )
            for size in (0.0, _NEARLY_SINGULAR)
        )
        at_zero = objective.evaluate(zero)
        if not at_zero["value"] <= best["value"] + _NO_WORSE:
            break
        if objective.value(raised) >= at_zero["value"] - _NO_WORSE:
            return best | {"theta": zero}, at_zero
        left = max_iter - best["n_iter"]
        if left < 1:
            break
        again, out = objective.minimize(raised, left, tol, False)
        best = again | {
            "n_iter": best["n_iter"] + again["n_iter"],
            "history": np.concatenate([best["history"], again["history"]]),
        }
    return best, out


def _weak_directions(t):
    """Which principal axes of T T' are negligible beside the residual."""
    return np.linalg.svd(t, compute_uv=False) < _NEARLY_SINGULAR


def _reset(t, kind, weak, size):
    """T with the weak principal axes set to a given standard deviation."""
    if kind != "full":
        diagonal = np.diag(t).copy()
        diagonal[np.abs(diagonal) < _NEARLY_SINGULAR] = size
        return np.diag(diagonal)
    axes, sd, _ = np.linalg.svd(t)
    sd = np.where(weak, size, sd)
    return np.linalg.qr((axes * sd).T, mode="r").T


def _solution(problem, best, out):
    sigma2 = float(out["fixed"]["variance"])
    half = out["fixed"]["half"]
    factors = out["factors"]
    singular = tuple(
        r
        for r, t in enumerate(factors)
        if np.linalg.svd(t, compute_uv=False).min() < 1e-5
    )
    outcome = best["outcome"]
    if outcome is None and sigma2 < 1e-12 * np.mean(problem.border[:, -1] ** 2):
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
        singular=singular,
    )
