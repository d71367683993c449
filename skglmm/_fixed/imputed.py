"""Missing values drawn in turns with everything else."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone

from skglmm._families import FAMILIES
from skglmm._fixed.column_model import _DETERMINED, patterns
from skglmm._fixed.latent import Normal, Other
from skglmm._fixed.pooling import _Pool
from skglmm._problem.coding import code_fixed, least_squares
from skglmm._problem.design import Factor, build_design
from skglmm._problem.outcome import Outcome
from skglmm._problem.problem import Problem
from skglmm._problem.random_part import random_part, random_variance
from skglmm._problem.roots import covariance_root

_BURN_IN, _FEWEST, _MOST = 20, 60, 480
# Newton decrement at which the fit to one completed table ends.
_TOL = 1e-4


def impute(problem, y, X, solver, fit_intercept):
    r"""Estimates that take missing values of the columns as further unknowns.

    The columns with gaps are normal given the complete ones, with a mean :math:`\mu`
    that is linear in them and has random intercepts of the factors, and the covariance
    S beside these. With :math:`K = S^{-1}` the missing values m of a row are

    .. math:: m \mid x_o \sim
        N(\mu_m - K_{mm}^{-1} K_{mo} (x_o - \mu_o), \; K_{mm}^{-1})

    given its observed ones. The response depends on them through the one number
    :math:`u = \beta_m' m`. So u is drawn from the product of its normal density and the
    likelihood of the row, and m from its normal distribution given u.

    Each turn of a Markov chain draws missing values, fits the mixed model to the
    completed table and one to each column given those before it, and draws residual
    variances and, jointly, fixed and random effects (data augmentation [1]_; the joint
    draw is the answer of the model to a target less a simulated one [2]_). For families
    other than the normal one the effects are drawn from the Gaussian approximation at
    the fit. The covariances of the random effects stay at their estimates. The results
    are the means over the completed tables after 20 turns; the covariance of the
    coefficients is the mean covariance plus that between tables (Rubin's rules [3]_).

    Parameters
    ----------
    problem : Problem
        Its border is not read.
    y : ndarray of shape (n_rows,)
        Target; for the linear model less its offset.
    X : ndarray of shape (n_rows, p)
        Fixed columns, with NaN.
    solver : BaseSolver
    fit_intercept : bool

    Returns
    -------
    solution : Solution
        Coefficients in the coordinates of `coding`, nothing taken off.
    border : ndarray of shape (n_rows, rank + 1)
        Working columns of one of the completed tables.
    coding : FixedCoding
    imputed : Imputed

    References
    ----------
    .. [1] Tanner, M. A. and Wong, W. H. (1987). The calculation of posterior
       distributions by data augmentation. JASA 82, 528-540.
    .. [2] Papandreou, G. and Yuille, A. L. (2010). Gaussian sampling by local
       perturbations. NIPS 23.
    .. [3] Rubin, D. B. (1987). Multiple Imputation for Nonresponse in Surveys. Wiley.
    """
    solver = clone(solver).set_params(tol=max(solver.tol, _TOL))
    columns = _Columns(X, problem, solver)
    random = np.random.RandomState(problem.seed)
    pool, turn, enough, first = None, 0, _FEWEST, int(fit_intercept)
    while True:
        border, coding = code_fixed(columns.completed, problem.weight, fit_intercept)
        problem = replace(problem, border=border)
        solution, drawn = _turn(problem, y, solver, random)
        _check_moves(solution, problem, solver)
        turn += 1
        interrupted = solution.outcome is Outcome.INTERRUPTED
        if pool is None and (turn > _BURN_IN or interrupted):
            pool = _Pool(border, coding, solution)
        if pool is not None:
            pool.add(solution, coding, columns.moments())
            if interrupted or pool.size == enough:
                if interrupted or enough == _MOST or pool.settled:
                    break
                enough *= 2
        problem = replace(problem, start=drawn.start)
        coef = coding.transform @ drawn.coef
        base = drawn.part + (coef[0] if first else 0.0)
        if problem.family.is_linear:
            response = Normal(y, drawn.noise / problem.precision)
        else:
            response = Other(problem.family, y, problem.trials)
            base = base if problem.offset is None else base + problem.offset
        columns.draw(base, coef[first:], response, random)
    return pool.solution(), pool.border, pool.coding, pool.imputed()


def _check_moves(solution, problem, solver):
    """Refuse a solver that does not say how random effects move with fixed ones."""
    if solution.cross is None and problem.design.factors:
        raise ValueError(
            "missing='model' has to know how the random effects move with the "
            f"fixed ones, which {solver!r} leaves out: use solver='vi', 'laplace' "
            "or 'mackay'."
        )


class _Columns:
    """The table whose gaps are drawn again and again."""

    def __init__(self, X, problem, solver):
        holes = np.isnan(X)
        self._weight, self._center = problem.counts, np.nanmean(X, axis=0)
        self._solver = solver
        away = X - self._center
        spread = np.sqrt(np.nanmean(away**2, axis=0))
        constant = np.nanmin(X, axis=0) == np.nanmax(X, axis=0)
        self._scale = np.where(constant, 1.0, spread)
        self._rows = np.where(holes, 0.0, away / self._scale)
        self._original, self._holes = X, holes
        self._random = np.flatnonzero(holes.any(axis=0) & ~constant)
        others = np.setdiff1d(np.arange(X.shape[1]), self._random)
        self._known = self._rows[:, others]
        self._design = build_design(
            [Factor(f.codes, f.n_levels) for f in problem.design.factors]
        )
        self._starts = [None] * len(self._random)
        self._patterns = list(patterns(holes[:, self._random]))

    @property
    def completed(self):
        """The table (n_rows, p) in the user's units."""
        filled = self._center + self._scale * self._rows
        return np.where(self._holes, filled, self._original)

    def moments(self):
        """Mean and covariance of the columns of the completed table."""
        total = self._weight.sum()
        mean = self._weight @ self._rows / total
        away = self._rows - mean
        covariance = away.T @ (self._weight[:, None] * away) / total
        return (
            self._center + self._scale * mean,
            covariance * np.outer(self._scale, self._scale),
        )

    def draw(self, base, coef, response, random):
        """Draw the parameters of the columns, and then the missing values.

        Parameters
        ----------
        base : ndarray of shape (n_rows,)
            Linear predictor but for the fixed columns.
        coef : ndarray of shape (p,)
        response : Normal or Other
        random : RandomState
        """
        if not len(self._random):
            return
        values = self._rows[:, self._random]
        mean, precision = self._draw_parameters(values, random)
        eta = base + (self._center + self._scale * self._rows) @ coef
        slopes = (self._scale * coef)[self._random]
        for gaps, rows in self._patterns:
            of, known = slopes[gaps], ~gaps
            conditional = np.linalg.inv(precision[np.ix_(gaps, gaps)])
            away = (values - mean)[np.ix_(rows, known)]
            at = mean[np.ix_(rows, gaps)]
            at -= away @ precision[np.ix_(known, gaps)] @ conditional
            noise = random.standard_normal(at.shape)
            new = at + noise @ np.linalg.cholesky(conditional).T
            variance = of @ conditional @ of
            if variance > 0.0:
                others = eta[rows] - values[np.ix_(rows, gaps)] @ of
                part = response.draw(rows, others, at @ of, variance, random)
                new += np.outer(part - new @ of, conditional @ of / variance)
            values[np.ix_(rows, gaps)] = new
        self._rows[:, self._random] = values

    def _draw_parameters(self, values, random):
        """Conditional means (n_rows, g) and precision (g, g), from their posterior.

        Each column is regressed on those before it: with x = A x + base + errors of
        the variances D the precision of x is (I - A)'D^-1 (I - A).
        """
        width = values.shape[1]
        base, unit, noise = np.empty_like(values), np.eye(width), np.empty(width)
        n_known = self._known.shape[1]
        for j in range(width):
            before = np.column_stack([self._known, values[:, :j]])
            coef, part, noise[j] = self._draw_column(j, before, values[:, j], random)
            base[:, j] = part + coef[0] + self._known @ coef[1 : 1 + n_known]
            unit[j, :j] = -coef[1 + n_known :]
        return base @ np.linalg.inv(unit).T, (unit.T / noise) @ unit

    def _draw_column(self, j, before, values, random):
        """Coefficients, random part and residual variance of one column."""
        design = self._design
        weight = design.rows(self._weight)
        border, coding = code_fixed(design.rows(before), weight, True)
        problem = Problem(
            design=design,
            border=border,
            z=(None,) * len(design.factors),
            weight=weight,
            reml=True,
            start=self._starts[j],
        )
        solution, drawn = _turn(problem, design.rows(values), self._solver, random)
        if solution.noise_variance < _DETERMINED:
            raise ValueError(
                "A column with missing values is a linear combination of other fixed "
                "columns: leave out one of them, or compute the values from them."
            )
        self._starts[j], part = drawn.start, drawn.part
        if design.order is not None:
            part = np.empty_like(part)
            part[design.order] = drawn.part
        return coding.transform @ drawn.coef, part, drawn.noise


@dataclass(frozen=True)
class _Drawn:
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
    """

    coef: np.ndarray
    part: np.ndarray
    noise: float | None
    start: tuple


def _turn(problem, y, solver, random):
    """`Solution` for a completed table, and a draw given its variances."""
    if not problem.family.is_linear:
        return _working_turn(problem, y, solver, random)
    origin = least_squares(y, problem.border, problem.weight)
    solution = solver.solve(problem)
    noise = solution.noise_variance
    roots = tuple(map(covariance_root, solution.covariances))
    start = _off_zero(roots, noise)
    freedom = max(problem.weight.sum() - len(solution.coef), 1.0)
    noise *= freedom / random.chisquare(freedom)
    coef, part = _draw(problem, y, roots, noise, random, solver.device, least_squares)
    solution = replace(solution, coef=solution.coef + origin)
    return solution, _Drawn(coef, part, noise, start)


def _working_turn(problem, y, solver, random):
    """`_turn` for another family: the draw is from the Gaussian approximation.

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
    _, step, weight = working(problem.family, y, problem.trials, at, variance)
    linear = replace(
        problem,
        border=problem.border.copy(),
        weight=problem.weight * weight,
        family=FAMILIES["gaussian"],
    )
    coef, part = _draw(linear, eta + step, roots, 1.0, random, solver.device, _as_it_is)
    return solution, _Drawn(coef, part, None, _off_zero(roots, 1.0))


def _as_it_is(y, border, weight):
    """Write y into the border, nothing taken off."""
    border[:, -1] = y
    return 0.0


def _off_zero(roots, noise):
    """Relative factors to begin from, off zero, which is stationary."""
    return tuple(
        np.linalg.cholesky(t @ t.T / noise + 1e-3 * np.eye(len(t))) for t in roots
    )


def _draw(problem, y, roots, noise, random, device, center):
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
    return out["fixed"]["coef"] + origin, part
