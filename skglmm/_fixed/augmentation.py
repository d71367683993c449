"""One turn of data augmentation: the fit to a completed table, and a draw around it."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._families import FAMILIES, Family
from skglmm._problem.coding import least_squares
from skglmm._problem.random_part import random_part, random_variance
from skglmm._problem.roots import covariance_root


@dataclass(frozen=True)
class Drawn:
    """A draw of the parameters of a mixed model.

    Parameters
    ----------
    coef : ndarray of shape (rank,)
    part : ndarray of shape (n_rows,)
        Random part of each row.
    noise : float or None
        Residual variance, where the family has one.
    start : tuple of ndarray
        Relative factors to begin the next fit from.
    effects, roots : tuple of ndarray of shape (q, n_levels), (q, q)
        Of the random effects and of their covariances, by factor.
    family : Family or None, default=None
        With the parameters of its own, where it has any.
    """

    coef: np.ndarray
    part: np.ndarray
    noise: float | None
    start: tuple
    effects: tuple
    roots: tuple
    family: Family | None = None


def turn(problem, y, solver, random):
    """`Solution` for a completed table, and a draw given its variances.

    Parameters
    ----------
    problem : Problem
    y : ndarray of shape (n_rows,)
    solver : BaseSolver
    random : RandomState

    Returns
    -------
    solution : Solution
    drawn : Drawn
    """
    if not problem.family.is_linear:
        return _working_turn(problem, y, solver, random)
    origin = least_squares(y, problem.border, problem.weight)
    solution = solver.solve(problem)
    noise = solution.noise_variance
    roots = tuple(map(covariance_root, solution.covariances))
    start = _off_zero(roots, noise)
    freedom = max(problem.weight.sum() - len(solution.coef), 1.0)
    noise *= freedom / random.chisquare(freedom)
    coef, part, effects = draw(
        problem, y, roots, noise, random, solver.device, least_squares
    )
    solution = replace(solution, coef=solution.coef + origin)
    return solution, Drawn(coef, part, noise, start, effects, roots)


def _working_turn(problem, y, solver, random):
    """`turn` for another family: the draw is from the Gaussian approximation.

    It is the posterior of a linear model with the working responses f + s / w and the
    weights w, where s = E[l'(eta)] and w = E[-l''(eta)] over the random effects.
    """
    from skglmm.engine.pointwise import working

    problem.border[:, -1] = y
    solution = solver.solve(problem)
    roots = tuple(map(covariance_root, solution.covariances))
    fixed = problem.border[:, :-1] @ solution.coef
    mean = random_part(problem, solution.means)
    variance = random_variance(problem, solution.posteriors)
    eta = fixed + mean
    at = eta if problem.offset is None else eta + problem.offset
    family = problem.family.given(solution.parameters)
    _, step, weight = working(family, y, problem.trials, at, variance)
    linear = replace(
        problem,
        border=problem.border.copy(),
        weight=problem.weight * weight,
        family=FAMILIES["gaussian"],
    )
    coef, part, effects = draw(
        linear, eta + step, roots, 1.0, random, solver.device, _as_it_is
    )
    start = _off_zero(roots, 1.0)
    return solution, Drawn(coef, part, None, start, effects, roots, family)


def _as_it_is(y, border, weight):
    """Write y into the border, nothing taken off."""
    border[:, -1] = y
    return 0.0


def _off_zero(roots, noise):
    """Relative factors to begin from, off zero, which is stationary."""
    return tuple(
        np.linalg.cholesky(t @ t.T / noise + 1e-3 * np.eye(len(t))) for t in roots
    )


def draw(problem, y, roots, noise, random, device, center):
    """Joint draw of the coefficients and of each row's random part.

    Parameters
    ----------
    problem : Problem
        Its target is overwritten.
    y : ndarray of shape (n_rows,)
    roots : tuple of ndarray of shape (q, q)
        Of the covariances of the effects.
    noise : float
        Residual variance.
    random : RandomState
    device : str
    center : callable
        Writes a target less the fit to it that it returns into the border:
        `least_squares`, or `_as_it_is` where the columns are not orthonormal.

    Returns
    -------
    coef : ndarray of shape (rank,)
    part : ndarray of shape (n_rows,)
    effects : tuple of ndarray of shape (q, n_levels)
    """
    from skglmm._loops.linear import open_objective

    factors = problem.design.factors
    b = [
        root @ random.standard_normal((factor.n_effects, factor.n_levels))
        for root, factor in zip(roots, factors, strict=True)
    ]
    errors = np.sqrt(noise / problem.weight) * random.standard_normal(len(y))
    simulated = random_part(problem, b)
    origin = center(y - simulated - errors, problem.border, problem.weight)
    with open_objective(problem, device) as (run, objective):
        theta = run.theta([root / np.sqrt(noise) for root in roots])
        out = objective.evaluate(theta)
    part = simulated + random_part(problem, out["means"])
    effects = tuple(map(np.add, b, out["means"]))
    return out["fixed"]["coef"] + origin, part, effects
