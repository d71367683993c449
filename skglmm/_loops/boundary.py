"""Minimisation with variances at zero settled."""

import numpy as np

from skglmm._covariances import COVARIANCES, NEARLY_SINGULAR
from skglmm._problem.outcome import Outcome

# A direction of T below this share of the residual standard deviation may be noise
# around a variance of zero: then the objective is no worse at zero.
NO_WORSE = 1e-6
RESTARTS = 3
# Starts that differ by less than this factor lead to the same minimum.
_APART = 3.0


def begin(problem, run):
    """Parameters to begin from: those of a warm start, or T = I."""
    start = problem.start
    if start is None:
        start = [np.eye(factor.n_effects) for factor in problem.design.factors]
    return run.theta(start)


def search(problem, run, objective, max_iter, tol):
    """Minimise from the start that a problem has, and from others where that is wise.

    Parameters
    ----------
    problem : Problem
    run, objective, max_iter, tol
        See `minimize`.

    Returns
    -------
    best : dict
    estimates : dict
    """
    cold = problem.start is None
    best, out = minimize(run, objective, begin(problem, run), max_iter, tol, cold)
    return from_others(problem, run, objective, best, out, max_iter, tol)


def from_others(problem, run, objective, best, out, max_iter, tol):
    """The best of a minimum and those reached from other starts.

    One variance for effects of very different scales has a minimum where it suits
    the one, and another where it suits the other. A warm start is taken as it is.
    """
    if problem.start is not None:
        return best, out
    for theta in _other_starts(problem, run, best["theta"]):
        if best["outcome"] is Outcome.INTERRUPTED:
            break
        again, found = minimize(run, objective, theta, max_iter, tol, False)
        both = together(best, again)
        if again["value"] < best["value"] - NO_WORSE:
            best, out = again, found
        best = best | both
    return best, out


def together(*reports):
    """Evaluations of several searches as those of one."""
    history = np.concatenate([report["history"] for report in reports])
    return {
        "n_iter": sum(report["n_iter"] for report in reports),
        "history": np.minimum.accumulate(history),
    }


def _other_starts(problem, run, theta):
    """Parameters at which one variance suits each of the scales of its effects."""
    factors = None
    for r, factor in enumerate(problem.design.factors):
        if not factor.structure.shares or factor.n_effects == 1:
            continue
        sizes = np.sqrt(np.diag(problem.squares[r])) if problem.squares else np.zeros(1)
        if not sizes.all():
            continue
        factors = factors or run.factors(theta)
        tried = [abs(factors[r][0, 0])]
        for sd in np.sort(1.0 / sizes):
            if all(not t / _APART < sd < t * _APART for t in tried):
                tried.append(sd)
                changed = list(factors)
                changed[r] = sd * np.eye(factor.n_effects)
                yield run.theta(changed)


def minimize(run, objective, theta, max_iter, tol, cold):
    """Minimise, then settle the directions in which T is nearly singular.

    Parameters
    ----------
    run : Session
    objective : object
        With ``minimize(theta, max_iter, tol, cold)``, which returns a report and the
        estimates at the minimum, and ``evaluate(theta)``, which returns the estimates
        with ``value``, the other parameters at their best.
    theta : ndarray of shape (k,)
    max_iter : int
    tol : float
    cold : bool
        Whether theta is no more than a first guess.

    Returns
    -------
    best : dict
        See `engine.optimizers.report`.
    estimates : dict
    """
    best, out = objective.minimize(theta, max_iter, tol, cold)
    for _ in range(RESTARTS):
        if best["outcome"] is Outcome.INTERRUPTED:
            break
        factors = run.factors(best["theta"])
        weak = [_weak_directions(t) for t in factors]
        if not any(w.any() for w in weak):
            break
        kinds = run.structure.covariance
        zero, raised = (
            run.theta(
                [
                    COVARIANCES[kind].reset(t, size)
                    for kind, t in zip(kinds, factors, strict=True)
                ]
            )
            for size in (0.0, NEARLY_SINGULAR)
        )
        at_zero = objective.evaluate(zero)
        if not at_zero["value"] <= best["value"] + NO_WORSE:
            break
        n_more = max_iter - best["n_iter"]
        settled = objective.evaluate(raised)["value"] >= at_zero["value"] - NO_WORSE
        # where a column of T vanishes, turning the other axes is no move of T: begin
        # anew from the triangular factor that the singular covariance has
        turns = settled and any(
            len(t) > 1 and w.any() for t, w in zip(factors, weak, strict=True)
        )
        if settled and not turns:
            return best | {"theta": zero}, at_zero
        if n_more < 1:
            break
        again, found = objective.minimize(
            zero if settled else raised, n_more, tol, False
        )
        if settled and not found["value"] < at_zero["value"] - NO_WORSE:
            return best | {"theta": zero}, at_zero
        out = found
        best = again | {
            "n_iter": best["n_iter"] + again["n_iter"],
            "history": np.concatenate([best["history"], again["history"]]),
        }
    return best, out


def _weak_directions(t):
    """Which principal axes of T T' are negligible beside the residual."""
    return np.linalg.svd(t, compute_uv=False) < NEARLY_SINGULAR
