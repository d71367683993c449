"""Missing values drawn in turns with everything else."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone

from skglmm._fixed.augmentation import turn
from skglmm._fixed.column_model import patterns
from skglmm._fixed.latent import Normal, Other
from skglmm._fixed.level_columns import Children, LevelColumns, levels_of_columns
from skglmm._fixed.pooling import _Pool
from skglmm._fixed.regressions import Regressions
from skglmm._problem.coding import code_fixed
from skglmm._problem.design import Factor, build_design
from skglmm._problem.outcome import Outcome

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
    the fit. Covariances of random effects stay at their estimates. The results are
    means over tables after 20 turns, with covariances by Rubin's rules [3]_.

    Parameters
    ----------
    problem : Problem
        Its border is not read.
    y : ndarray of shape (n_rows,)
        Target; for the linear model less its offset.
    X : ndarray of shape (n_rows, p)
        Fixed columns, with NaN; for properties of levels see `LevelColumns`.
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
    pool, turns, enough, first = None, 0, _FEWEST, int(fit_intercept)
    while True:
        border, coding = code_fixed(columns.completed, problem.weight, fit_intercept)
        problem = replace(problem, border=border)
        solution, drawn = turn(problem, y, solver, random)
        _check_moves(solution, problem, solver)
        turns += 1
        interrupted = solution.outcome is Outcome.INTERRUPTED
        if pool is None and (turns > _BURN_IN or interrupted):
            pool = _Pool(border, coding, solution)
        if pool is not None:
            pool.add(solution, coding, columns.moments())
            columns.remember()
            if interrupted or pool.size == enough:
                if interrupted or enough == _MOST or pool.settled:
                    break
                enough *= 2
        problem = replace(problem, start=drawn.start)
        coef = coding.transform @ drawn.coef
        base = drawn.part + (coef[0] if first else 0.0)
        if problem.family.is_linear:
            response = Normal(y, drawn.noise / problem.precision, drawn.roots)
        else:
            response = Other(drawn.family, y, problem.trials)
            base = base if problem.offset is None else base + problem.offset
        columns.draw(base, coef[first:], response, drawn, random)
    return pool.solution(), pool.border, pool.coding, pool.imputed(columns)


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
        away = X - self._center
        spread = np.sqrt(np.nanmean(away**2, axis=0))
        constant = np.nanmin(X, axis=0) == np.nanmax(X, axis=0)
        self._scale = np.where(constant, 1.0, spread)
        self._rows = np.where(holes, 0.0, away / self._scale)
        self._original, self._holes = X, holes
        gaps = np.flatnonzero(holes.any(axis=0) & ~constant)
        of_level = levels_of_columns(X, problem.design.factors)
        self._random = np.array([at for at in gaps if at not in of_level], dtype=int)
        self._others = np.setdiff1d(np.arange(X.shape[1]), self._random)
        factors = [Factor(f.codes, f.n_levels) for f in problem.design.factors]
        self._model = Regressions(
            build_design(factors), self._weight, len(self._random), solver
        )
        complete = np.setdiff1d(np.arange(X.shape[1]), gaps)
        self._of_levels = [
            LevelColumns(
                problem,
                r,
                np.array([at for at in gaps if of_level.get(at) == r]),
                self._rows,
                complete,
                holes,
                solver,
            )
            for r in sorted(set(of_level.values()))
        ]
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

    def remember(self):
        """Count the present values of properties of levels among their draws."""
        for columns in self._of_levels:
            columns.remember(self._rows)

    def properties(self):
        """Means and variances (n_levels,) of them by column, in the user's units."""
        return {
            int(at): (
                self._center[at] + self._scale[at] * mean,
                self._scale[at] ** 2 * variance,
            )
            for columns in self._of_levels
            for at, mean, variance in columns.remembered()
        }

    def draw(self, base, coef, response, drawn, random):
        """Draw the parameters of the columns, and then the missing values.

        Parameters
        ----------
        base : ndarray of shape (n_rows,)
            Linear predictor but for the fixed columns.
        coef : ndarray of shape (p,)
        response : Normal or Other
        drawn : Drawn
        random : RandomState
        """
        children = None
        if len(self._random):
            children = self._draw_rows(base, coef, response, random)
        if self._of_levels:
            eta = base + (self._center + self._scale * self._rows) @ coef
            for columns in self._of_levels:
                columns.draw(
                    self._rows,
                    eta,
                    self._scale * coef,
                    children,
                    response,
                    drawn.effects,
                    random,
                )

    def _draw_rows(self, base, coef, response, random):
        """Draw what differs between the rows of a level; what depends on the levels."""
        values = self._rows[:, self._random]
        known = self._rows[:, self._others]
        mean, precision, of_known = self._model.draw(values, known, random)
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
        return Children(values - mean, precision, of_known, self._others)
