"""Minimisation with variances at zero settled."""

import numpy as np

# A direction of T below this share of the residual standard deviation may be noise
# around a variance of zero: then the objective is no worse at zero.
_NEARLY_SINGULAR = 0.03
_NO_WORSE = 1e-6
_RESTARTS = 3
# Starts that differ by less than this factor lead to the same minimum.
_APART = 3.0
INTERRUPTED = "the fit was interrupted"
_SPENT = "max_iter="


def of_all(best, max_iter):
    """A report whose limit, if that was reached, is the one that the user gave."""
    if best["outcome"] is not None and best["outcome"].startswith(_SPENT):
        return best | {"outcome": spent(max_iter)}
    return best


def spent(max_iter, what="evaluations"):
    """Outcome of a fit that was not done after so many evaluations."""
    return f"{_SPENT}{max_iter} {what} were not enough"


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
        if best["outcome"] == INTERRUPTED:
            break
        again, found = minimize(run, objective, theta, max_iter, tol, False)
        both = together(best, again)
        if again["value"] < best["value"] - _NO_WORSE:
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
        if factor.covariance != "scalar" or factor.n_effects == 1:
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
    for _ in range(_RESTARTS):
        if best["outcome"] == INTERRUPTED:
            break
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
        left = max_iter - best["n_iter"]
        settled = objective.evaluate(raised)["value"] >= at_zero["value"] - _NO_WORSE
        # where a column of T vanishes, turning the other axes is no move of T: begin
        # anew from the triangular factor that the singular covariance has
        turns = settled and any(
            len(t) > 1 and w.any() for t, w in zip(factors, weak, strict=True)
        )
        if settled and not turns:
            return best | {"theta": zero}, at_zero
        if left < 1:
            break
        again, found = objective.minimize(zero if settled else raised, left, tol, False)
        if settled and not found["value"] < at_zero["value"] - _NO_WORSE:
            return best | {"theta": zero}, at_zero
        out, again = found, of_all(again, max_iter)
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
    factor = np.linalg.qr((axes * sd).T, mode="r").T
    factor[np.abs(factor) < 1e-12] = 0.0
    return factor


def singular_factors(factors):
    """Positions of the factors whose covariance is singular."""
    return tuple(
        r
        for r, t in enumerate(factors)
        if np.linalg.svd(t, compute_uv=False).min() < 1e-5
    )
