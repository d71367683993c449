"""A fixed part of another kind and the random effects in turns."""

import heapq
from dataclasses import dataclass, replace

import numpy as np

from skglmm._families import Family
from skglmm._fixed.trainers import Known
from skglmm._problem.coding import least_squares
from skglmm._problem.outcome import Outcome
from skglmm._problem.random_part import random_part, random_variance

# Levels for each fold that a factor needs before its levels are held out whole.
_LEVELS_A_FOLD = 4


@dataclass(frozen=True)
class Data:
    """Rows that the fixed part is fitted to, in the order of the design.

    Parameters
    ----------
    features : ndarray or DataFrame of shape (n_rows, width)
    family : Family
    y, weight : ndarray of shape (n_rows,)
        For the linear model y is less the offset.
    offset, trials : ndarray of shape (n_rows,) or None
    folds : ndarray of shape (n_repeats, n_rows)
        Fold of each row, 0, 1, ..., once for each division.
    units : ndarray of shape (n_rows,)
        Rows of one number are left out together.
    aligned : bool
        Whether the level of the fixed part is left to the intercept.
    random : RandomState
    """

    features: object
    family: Family
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None
    trials: np.ndarray | None
    folds: np.ndarray
    units: np.ndarray
    aligned: bool
    random: np.random.RandomState

    def fold_rows(self):
        """Rows of each fold of each division, and all others."""
        for folds in self.folds:
            for fold in range(folds.max() + 1):
                inside = folds == fold
                yield np.flatnonzero(inside), np.flatnonzero(~inside)

    def fold_of_level(self, n_levels):
        """Fold (n_repeats, n_levels) of each level of the factor that is held out."""
        folds = np.empty((len(self.folds), n_levels), dtype=np.intp)
        folds[:, self.units] = self.folds
        return folds

    def cross_fitted(self, own):
        """Predictions f (n_rows,) for each row by models that have not seen it.

        The levels of the models differ by the mean effect of the levels that each has
        seen, which would add to the variance between folds; so all are moved to the
        same mean over all rows, where there is an intercept to find the right one.

        Parameters
        ----------
        own : list of ndarray of shape (n_rows,)
            Predictions of each model for all rows.

        Returns
        -------
        f : ndarray of shape (n_rows,)
        levels : ndarray of shape (n_models,)
            What was added to the predictions of each model.
        """
        means = np.array([self.weight @ values for values in own]) / self.weight.sum()
        levels = (means.mean() - means) * self.aligned
        f = np.zeros(len(self.y))
        for (inside, _), values, level in zip(
            self.fold_rows(), own, levels, strict=True
        ):
            f[inside] += (values[inside] + level) / len(self.folds)
        return f, levels


def alternate(part, features, problem, y, solver):
    r"""Fixed part and random effects, one given the other, until neither gains.

    The objective is -2 times the marginal log-likelihood of all rows with the
    cross-fitted predictions f as offset, which the solver maximises over the intercept,
    the covariances and the noise. It is computed after each alternation; the least
    value ends up in the model.

    1. The models of the folds are fitted, each without the rows of one fold, whose f it
       predicts, given mean and variance of each row's random part (first: zero).
    2. The solver finds covariances and noise given f.
    3. With these, each model's own predictions for the rows it was fitted to give it
       the random part of these rows for the next turn. Nothing of the rows that are
       held out comes back to it but through the few parameters of step 2.

    The first and third are EM steps in which the random effects are the missing data,
    so that errors common to a level are taken off slowly; the start from plain least
    squares is consistent.

    Parameters
    ----------
    part : FixedPart
    features : ndarray or DataFrame of shape (n_rows, width)
    problem : Problem
        With an intercept, or nothing, as its fixed columns.
    y : ndarray of shape (n_rows,)
    solver : BaseSolver

    Returns
    -------
    solution : Solution
        With the objective at each alternation as its history.
    origin : ndarray or float
        To be added to the coefficients of the solution.
    f : ndarray of shape (n_rows,)
        Cross-fitted predictions.
    fitted : dict
        Content of `FittedPart`, with the number of the factor and the folds of its
        levels in the order of the design.
    """
    data, held_out = _divide(part, features, problem, y)
    models = part.begin(data)
    zero = np.zeros(len(y)), np.zeros(len(y))
    apart = [inside for inside, _ in data.fold_rows()]
    known = Known(zero, [zero] * len(apart), problem.family)
    history, best, words = [], None, ""
    enough = part.tol * problem.weight.sum()
    for _ in range(part.max_iter):
        own = models.step(known)
        f, levels = data.cross_fitted(own)
        current, origin = _given(problem, y, f)
        solution = solver.solve(current)
        objective = -2.0 * solution.log_likelihood
        if not np.isfinite(objective):
            objective = np.inf
        gain = history[-1] - objective if history else np.inf
        history.append(objective)
        if best is None or objective < best[0]:
            best = objective, solution, origin, f, models.state()
            best[-1]["levels"] = tuple(levels.tolist())
        if not problem.design.factors or gain < enough:
            break
        problem = replace(problem, start=_factors(solution, 1e-3))
        intercept = current.border[:, :-1] @ (solution.coef + origin)
        fits = [p + level + intercept for p, level in zip(own, levels, strict=True)]
        given = _expect(problem, solver, solution, y, fits, apart)
        *given, by_all = [(mean + intercept, variance) for mean, variance in given]
        known = Known(by_all, given, problem.family.given(solution.parameters))
    else:
        words = _unsettled(part, gain)
    _, solution, origin, f, fitted = best
    solution = replace(solution, history=np.array(history), n_iter=len(history))
    if words and solution.converged:
        solution = solution.ended(Outcome.UNSETTLED, words)
    if held_out is not None:
        n_levels = problem.design.factors[held_out].n_levels
        fitted |= {"factor": held_out, "fold_of_level": data.fold_of_level(n_levels)}
    return solution, origin, f, fitted


def _divide(part, features, problem, y):
    """`Data` with the folds of its rows, and the factor whose levels are held out."""
    random = np.random.RandomState(problem.seed)
    repeats = [
        assign_folds(problem.design.factors, problem.weight, part.n_folds, random)
        for _ in range(part.n_repeats)
    ]
    _, units, held_out = repeats[0]
    data = Data(
        features=features,
        family=problem.family,
        y=y,
        weight=problem.weight,
        offset=problem.offset,
        trials=problem.trials,
        folds=np.stack([folds for folds, _, _ in repeats]),
        units=units,
        aligned=problem.border.shape[1] > 1,
        random=random,
    )
    return data, held_out


def _unsettled(part, gain):
    """What to say of alternations that were not enough; nothing of a single one."""
    if part.max_iter == 1:
        return ""
    return (
        f"-2 log-likelihood still fell by {gain:.3g} in the last of "
        f"{part.max_iter} alternations of fixed part and random effects: give "
        f"{type(part).__name__} a larger max_iter or tol"
    )


def assign_folds(factors, weight, n_folds, random):
    """Folds of rows: whole levels of a factor where it has enough of them.

    A flexible model recognises the rows of a level by columns that are constant within
    it, and would learn the level's effect from them. So the levels of one factor are
    held out whole: the factor with the fewest levels among those with four for each
    fold. Where there is none, rows are held out at random.

    Parameters
    ----------
    factors : sequence of Factor
    weight : ndarray of shape (n_rows,)
    n_folds : int
    random : RandomState

    Returns
    -------
    folds, units : ndarray of int of shape (n_rows,)
        Fold of each row, and the level, or the row itself, that is held out whole.
    held_out : int or None
        Number of the factor whose levels are held out.
    """
    n_rows = len(weight)
    n_folds = min(n_folds, n_rows)
    enough = _LEVELS_A_FOLD * n_folds
    usable = [r for r, f in enumerate(factors) if f.n_levels >= enough]
    if not usable:
        return random.permutation(n_rows) % n_folds, np.arange(n_rows), None
    held_out = min(usable, key=lambda r: factors[r].n_levels)
    units = factors[held_out].codes
    sizes = np.bincount(units, weight)
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    of_level = np.empty(len(sizes), dtype=np.intp)
    lightest = [(0.0, fold) for fold in range(n_folds)]
    for level in order:
        load, fold = lightest[0]
        of_level[level] = fold
        heapq.heapreplace(lightest, (load + sizes[level], fold))
    return of_level[units], units, held_out


def _expect(problem, solver, solution, y, fits, apart):
    """Means and variances of the random part of each row.

    One pair for each model, given its `fits` and without the rows that it has stood
    `apart` from; the last is that of all rows.
    """
    given = [
        _conditional(problem, solver, solution, y, f, held_out)
        for f, held_out in zip(fits, apart, strict=True)
    ]
    variance = random_variance(problem, solution.posteriors)
    return [*given, (random_part(problem, solution.means), variance)]


def _conditional(problem, solver, solution, y, f, held_out):
    """Random part of each row given f and the covariances, from the other rows."""
    linear = problem.family.is_linear
    offset, weight = None, problem.weight.copy()
    weight[held_out] = 0.0
    if not linear:
        offset = f if problem.offset is None else problem.offset + f
    current = replace(
        problem,
        border=(y - f if linear else y)[:, None],
        weight=weight,
        offset=offset,
        reml=False,
        family=problem.family.given(solution.parameters),
    )
    means, posteriors = solver.posterior(current, _factors(solution, 1e-10))
    scale = solution.noise_variance or 1.0
    variance = random_variance(problem, [scale * block for block in posteriors])
    return random_part(problem, means), variance


def _given(problem, y, f):
    """The problem with the fixed part known, and the origin of its coefficients."""
    if not problem.family.is_linear:
        offset = f if problem.offset is None else problem.offset + f
        return replace(problem, offset=offset), 0.0
    border = problem.border.copy()
    origin = least_squares(y - f, border, problem.weight)
    return replace(problem, border=border), origin


def _factors(solution, least):
    """Relative factors T_r of a solution, off zero, which is stationary."""
    scale = solution.noise_variance or 1.0
    return tuple(
        np.linalg.cholesky(sigma / scale + least * np.eye(len(sigma)))
        for sigma in solution.covariances
    )
