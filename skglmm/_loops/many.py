"""Many responses of one linear model: what `_loops/linear` does, for all at once."""

from dataclasses import dataclass

import numpy as np

from skglmm._covariances import COVARIANCES, NEARLY_SINGULAR
from skglmm._loops.boundary import NO_WORSE, RESTARTS
from skglmm._loops.linear import EXACT, SMALL, open_objective
from skglmm._problem.outcome import Outcome
from skglmm._problem.problem import Problem
from skglmm._problem.roots import SINGULAR
from skglmm.engine import covariance, many, optimizers


@dataclass(frozen=True)
class ManySolutions:
    """Estimates of many responses, in working coordinates, the response as first axis.

    Parameters
    ----------
    coef : ndarray of shape (m, p)
    coef_covariance : ndarray of shape (m, p, p)
    covariances : tuple of ndarray of shape (m, q, q)
        Of the effects of each factor, in the design's order.
    noise_variance, value : ndarray of shape (m,)
        The residual variance, and the criterion, -2 log-likelihood or that of REML.
    n_iter : ndarray of shape (m,), int
    outcomes : list of Outcome
    singular : ndarray of shape (m,), bool
    """

    coef: np.ndarray
    coef_covariance: np.ndarray
    covariances: tuple[np.ndarray, ...]
    noise_variance: np.ndarray
    value: np.ndarray
    n_iter: np.ndarray
    outcomes: list[Outcome]
    singular: np.ndarray


def can_solve(problem: Problem) -> bool:
    """Whether the responses of a problem can be fitted side by side.

    One variance for effects of different scales has several minima, which are looked
    for one by one, and the iterative plan has no criterion.
    """
    design = problem.design
    several = any(f.structure.shares and f.n_effects > 1 for f in design.factors)
    return not several and not design.plan.iterative


def solve_many(problem, responses, max_iter, tol, device, start=None, done=None):
    """Minimise the criterion of each response.

    Parameters
    ----------
    problem : Problem
        Of any response on this design.
    responses : ndarray of shape (n_rows, m)
        Without what least squares on the fixed columns explains.
    max_iter, tol, device
        See `solve_linear`.
    start : tuple of ndarray or None, default=None
        Relative factors to begin from with every response.
    done : callable or None, default=None
        Is told how many responses have ended, now and then.

    Returns
    -------
    solutions : ManySolutions
    """
    squares = problem.weight @ responses**2
    if not problem.design.factors:
        best = _least_squares(problem, squares)
        return _solutions(problem, best, squares, [])
    border, z = problem.rows()
    fixed = border[:, :-1]
    with open_objective(problem, device) as (run, objective):
        criteria = many.Many(run, objective, z, problem.weight, fixed, responses)
        cold = start is None
        if cold:
            start = [np.eye(f.n_effects) for f in problem.design.factors]
        everyone = np.arange(responses.shape[1])
        theta = np.tile(run.theta(start), (len(everyone), 1))
        best = _minimize(run, criteria, everyone, theta, max_iter, tol, cold, done)
        beside = np.flatnonzero(
            best["value"] > _without_effects(problem, squares) + NO_WORSE
        )
        if len(beside):
            # a maximum beside the boundary, and the boundary is higher
            small = [SMALL * np.eye(f.n_effects) for f in problem.design.factors]
            theta = np.tile(run.theta(small), (len(beside), 1))
            again = _minimize(run, criteria, beside, theta, max_iter, tol, False)
            again["n_evaluations"] += best["n_evaluations"][beside]
            better = again["value"] < best["value"][beside]
            _put(best, beside[better], again, better)
        factors = _factors(run, best["theta"])
    return _solutions(problem, best, squares, factors)


def _least_squares(problem, squares):
    """The minima where there are no random effects."""
    m, p = len(squares), problem.n_border - 1
    aux = np.zeros((m, p + 1, p + 1))
    aux[:, :p, :p] = problem.weight.sum() * np.eye(p)
    aux[:, p, p] = squares
    return {
        "aux": aux,
        "value": _without_effects(problem, squares),
        "n_evaluations": np.ones(m),
        "status": np.full(m, optimizers.CONVERGED),
        "decrement": np.zeros(m),
    }


def _without_effects(problem, squares):
    """The criterion of each response where there is no variance but the residual's."""
    total, p = problem.weight.sum(), problem.n_border - 1
    n = total - p if problem.reml else total
    value = n * (np.log(np.maximum(squares, 1e-290) / n) + 1.0 + np.log(2.0 * np.pi))
    return value + (p * np.log(total) if problem.reml else 0.0)


def _put(best, at, other, which):
    for name, values in best.items():
        values[at] = other[name][which]


def _minimize(run, criteria, which, theta, max_iter, tol, cold, done=None):
    """`boundary.minimize`, for some responses."""
    best = criteria.minimize(theta, which, max_iter, tol, cold, done)
    unsettled = np.arange(len(which))
    for _ in range(RESTARTS):
        weak, turns = _weak(run, best["theta"][unsettled])
        unsettled, turns = unsettled[weak], turns[weak]
        if not len(unsettled):
            break
        unsettled = _settle(run, criteria, which, best, unsettled, turns, max_iter, tol)
    return best


def _factors(run, thetas):
    """T_r of each factor, (m, q, q), for parameters (m, k)."""
    structure, found, at = run.structure, [], 0
    for kind, q in zip(structure.covariance, structure.n_effects, strict=True):
        axes = covariance.basis(kind, q)
        found.append(np.tensordot(thetas[:, at : at + len(axes)], axes, 1))
        at += len(axes)
    return found


def _least(t):
    """Least singular value of each T (m, q, q)."""
    return np.linalg.svd(t, compute_uv=False).min(axis=1)


def _weak(run, thetas):
    """Which responses have a nearly singular factor, and one with axes to turn."""
    weak, turns = np.zeros((2, len(thetas)), dtype=bool)
    for t in _factors(run, thetas):
        found = _least(t) < NEARLY_SINGULAR
        weak |= found
        turns |= found & (t.shape[1] > 1)
    return weak, turns


def _reset(run, thetas, size):
    """Parameters with standard deviations that are nearly zero at a given size."""
    kinds = run.structure.covariance
    return np.array(
        [
            run.theta(
                [
                    COVARIANCES[kind].reset(t, size)
                    for kind, t in zip(kinds, run.factors(theta), strict=True)
                ]
            )
            for theta in thetas
        ]
    )


def _settle(run, criteria, which, best, places, turns, max_iter, tol):
    """Settle what is nearly singular; the places that were minimised again."""
    zero = _reset(run, best["theta"][places], 0.0)
    at_zero = criteria.evaluate(zero, which[places])
    at_zero["theta"] = zero
    near = at_zero["value"] <= best["value"][places] + NO_WORSE
    places, turns = places[near], turns[near]
    at_zero = {name: values[near] for name, values in at_zero.items()}
    if not len(places):
        return places
    raised = _reset(run, best["theta"][places], NEARLY_SINGULAR)
    value = criteria.evaluate(raised, which[places])["value"]
    settled = value >= at_zero["value"] - NO_WORSE

    def take_zero(some):
        for name, values in at_zero.items():
            best[name][places[some]] = values[some]

    take_zero(settled & ~turns)
    left = max_iter - best["n_evaluations"][places]
    again = np.flatnonzero((~settled | turns) & (left >= 1))
    if not len(again):
        return places[again]
    theta = np.where(settled[:, None], at_zero["theta"], raised)[again]
    n_more = int(left[again].min())
    found = criteria.minimize(theta, which[places[again]], n_more, tol, False)
    found["n_evaluations"] += best["n_evaluations"][places[again]]
    lower = found["value"] < at_zero["value"][again] - NO_WORSE
    back = settled[again] & ~lower
    take_zero(again[back])
    _put(best, places[again[~back]], found, ~back)
    return places[again[~back]]


def _solutions(problem, best, squares, factors):
    """What the minima are, from what was kept there."""
    border, p = best["aux"], problem.n_border - 1
    total = problem.weight.sum()
    xx, xy, yy = border[:, :p, :p], border[:, :p, p:], border[:, p, p]
    inverse = np.linalg.inv(np.linalg.cholesky(xx))
    coef = np.swapaxes(inverse, 1, 2) @ (inverse @ xy)
    floor = 1e-14 * yy + 1e-290
    rss = np.maximum(yy - np.sum(xy * coef, axis=(1, 2)), floor)
    noise = rss / (total - p if problem.reml else total)
    covariance = noise[:, None, None] * (np.swapaxes(inverse, 1, 2) @ inverse)
    singular = np.zeros(len(noise), dtype=bool)
    for t in factors:
        singular |= _least(t) < SINGULAR
    exact = (noise <= EXACT * squares / total) | (squares == 0.0)
    return ManySolutions(
        coef=coef[:, :, 0],
        coef_covariance=covariance,
        covariances=tuple(
            noise[:, None, None] * (t @ np.swapaxes(t, 1, 2)) for t in factors
        ),
        noise_variance=noise,
        value=best["value"],
        n_iter=best["n_evaluations"].astype(int),
        outcomes=[
            Outcome.NO_RESIDUAL if e else optimizers.outcome_of(int(s), d)
            for e, s, d in zip(exact, best["status"], best["decrement"], strict=True)
        ],
        singular=singular,
    )
