"""Missing values of fixed columns: part of the model, drawn and averaged over."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.base import clone

from skglmm._coding import code_fixed
from skglmm._design import Factor, build_design
from skglmm._flexible import random_part, random_variance
from skglmm._latent import Normal, Other
from skglmm.solvers import MCEM
from skglmm.solvers._base import Problem, Solution
from skglmm.solvers._exact import open_objective
from skglmm.solvers._search import INTERRUPTED, singular_factors

_BURN_IN, _FEWEST, _MOST = 20, 60, 480
# The Monte Carlo error of a coefficient that is small enough, in standard errors.
_ERROR = 0.1
# Newton decrement at which the fit to one completed table ends.
_TOL = 1e-4
_DETERMINED = 1e-8


@dataclass(frozen=True)
class ColumnModel:
    """Joint normal distribution of the fixed columns, for rows with gaps.

    Parameters
    ----------
    mean : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
    """

    mean: np.ndarray
    covariance: np.ndarray

    def fill(self, X, coef):
        """Conditional means in the place of NaN.

        Parameters
        ----------
        X : ndarray of shape (n_rows, p)
        coef : ndarray of shape (p,)

        Returns
        -------
        X : ndarray of shape (n_rows, p)
        variance : ndarray of shape (n_rows,)
            Conditional variance of ``X @ coef``.
        """
        X, variance = X.copy(), np.zeros(len(X))
        scale = np.sqrt(np.diag(self.covariance))
        scale[scale == 0.0] = 1.0
        correlation = self.covariance / np.outer(scale, scale)
        for gaps, rows in patterns(np.isnan(X)):
            known = ~gaps
            inverse = np.linalg.pinv(correlation[np.ix_(known, known)], 1e-10, True)
            slopes = correlation[np.ix_(gaps, known)] @ inverse
            left = correlation[np.ix_(gaps, gaps)] - (
                slopes @ correlation[np.ix_(known, gaps)]
            )
            away = (X[np.ix_(rows, known)] - self.mean[known]) / scale[known]
            filled = self.mean[gaps] + (away @ slopes.T) * scale[gaps]
            X[np.ix_(rows, gaps)] = filled
            size = (scale * coef)[gaps]
            variance[rows] = max(size @ left @ size, 0.0)
        return X, variance


class MissingMixin:
    """What a model does differently that takes gaps in its fixed columns."""

    def _read_fixed(self, table, positions, terms, part):
        """Fixed columns as numbers; NaN where values are missing and may be."""
        if self.missing == "error":
            return table.numeric(positions, advice=self._advice_on_gaps(part))
        if part is not None:
            raise ValueError(
                "missing='model' needs the linear fixed part, but fixed_effects is "
                "given: leave one of the two at its default. (A regressor that takes "
                "missing values, such as HistGradientBoostingRegressor, has them "
                "under missing='error' as well.)"
            )
        slopes = sorted({at for term in terms for at in term.slopes})
        table.numeric(slopes, "random slope")
        values = table.numeric(positions, missing=True)
        if np.isinf(values).any():
            table.numeric(positions)
        return values

    def _advice_on_gaps(self, part):
        """What a message on missing values says of the parameter, if it helps."""
        if part is not None:
            return ""
        return "Or fit with missing='model', which takes them as further unknowns."

    def _read_rows(self, table):
        """Fixed columns of rows to predict, and the variance that gaps add."""
        model = vars(self).get("_column_model")
        if model is None:
            advice = self._advice_on_gaps(vars(self).get("_fixed_part"))
            return table.numeric(self._fixed_columns, advice=advice), None
        X = table.numeric(self._fixed_columns, missing=True)
        if np.isinf(X).any():
            table.numeric(self._fixed_columns)
        if not np.isnan(X).any():
            return X, None
        mean, covariance = model
        return ColumnModel(mean, covariance).fill(X, np.ravel(self.coef_))

    def _store_missing(self, X, weight, imputed):
        """Model of the columns, and the information that gaps have cost."""
        if self.missing == "error":
            return
        if imputed is None:
            mean = weight @ X / weight.sum()
            away = X - mean
            covariance = away.T @ (weight[:, None] * away) / weight.sum()
            lost = np.where(self.fixed_effects_["std_error"].isna(), np.nan, 0.0)
        else:
            mean, covariance, lost = imputed.mean, imputed.covariance, imputed.lost
        self._column_model = (mean, covariance)
        self.missing_information_ = pd.Series(lost, self.fixed_effects_.index)


def patterns(holes):
    """Each pattern of gaps with its rows, rows without a gap left out."""
    kinds, of_row = np.unique(holes, axis=0, return_inverse=True)
    of_row = np.ravel(of_row)
    for k, gaps in enumerate(kinds):
        if gaps.any():
            yield gaps, np.flatnonzero(of_row == k)


def check_gaps(X, names, factors, terms, solver):
    """Refuse gaps that cannot be filled in row by row.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        With NaN.
    names : list of str
    factors : list of Factor
    terms : list of Term
    solver : BaseSolver

    Raises
    ------
    ValueError
        If a column has too few values, or is a property of the levels of a factor;
        if the solver draws at random itself.
    """
    if isinstance(solver, MCEM):
        raise ValueError(
            "missing='model' fits many completed tables, and solver='mcem' would "
            "take long for each: use 'vi', 'laplace' or 'mackay', which maximise the "
            "same likelihood."
        )
    present, least = ~np.isnan(X), X.shape[1] + 3
    for at in np.flatnonzero(~present.all(axis=0)):
        found = int(present[:, at].sum())
        if found < least:
            raise ValueError(
                f"Column {names[at]!r} has {found} values in {len(X)} rows; "
                f"missing='model' needs {least} of them to learn how it depends on "
                f"the other {X.shape[1] - 1} fixed columns: leave it out."
            )
        values = X[present[:, at], at]
        if np.ptp(values) == 0:
            continue
        for factor, term in zip(factors, terms, strict=True):
            codes = factor.codes[present[:, at]]
            low = np.full(factor.n_levels, np.inf)
            high = np.full(factor.n_levels, -np.inf)
            np.minimum.at(low, codes, values)
            np.maximum.at(high, codes, values)
            several = np.bincount(codes, minlength=factor.n_levels) > 1
            if several.sum() > 1 and np.all(low[several] == high[several]):
                raise ValueError(
                    f"Column {names[at]!r} has missing values and is constant within "
                    f"each level of {term.name!r}: missing='model' fills in row by row "
                    "and would give rows of a level different values. Fill it in from "
                    "the other rows of the level, or by one value for each level."
                )


@dataclass(frozen=True)
class Imputed:
    """What is known after the imputations, beside the solution.

    Parameters
    ----------
    mean, covariance : ndarray of shape (p,), (p, p)
        Of the fixed columns.
    lost : ndarray of shape (n_coef,)
        Share of the variance of each fixed effect that is owed to the gaps.
    """

    mean: np.ndarray
    covariance: np.ndarray
    lost: np.ndarray


def impute(problem, y, X, solver, fit_intercept, center):
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
    center : callable
        Writes a target less its least-squares fit into a border, returns the fit.

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
    columns = _Columns(X, problem, solver, center)
    random = np.random.RandomState(problem.seed)
    pool, turn, enough, first = None, 0, _FEWEST, int(fit_intercept)
    while True:
        border, coding = code_fixed(columns.completed, problem.weight, fit_intercept)
        problem = replace(problem, border=border)
        solution, drawn = _turn(problem, y, solver, random, center)
        if solution.cross is None and problem.design.factors:
            raise ValueError(
                "missing='model' has to know how the random effects move with the "
                f"fixed ones, which {solver!r} leaves out: use solver='vi', 'laplace' "
                "or 'mackay'."
            )
        turn += 1
        interrupted = solution.outcome == INTERRUPTED
        if pool is None and (turn > _BURN_IN or interrupted):
            pool = _Pool(border, coding, solution)
        if pool is not None:
            pool.add(solution, coding, columns.moments())
            if interrupted or pool.size == enough:
                if interrupted or enough == _MOST or pool.error() <= _ERROR:
                    break
                enough *= 2
        problem = replace(problem, start=drawn.start)
        coef = coding.transform @ drawn.coef
        base = drawn.part + (coef[0] if first else 0.0)
        if problem.family == "gaussian":
            response = Normal(y, drawn.noise)
        else:
            response = Other(problem.family, y, problem.trials)
            base = base if problem.offset is None else base + problem.offset
        columns.draw(base, coef[first:], response, random)
    return pool.solution(), pool.border, pool.coding, pool.imputed()


class _Columns:
    """The table whose gaps are drawn again and again."""

    def __init__(self, X, problem, solver, center):
        holes = np.isnan(X)
        self._weight, self._center = problem.weight, np.nanmean(X, axis=0)
        self._solver, self._take_off = solver, center
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
            left = np.linalg.inv(precision[np.ix_(gaps, gaps)])
            away = (values - mean)[np.ix_(rows, known)]
            at = mean[np.ix_(rows, gaps)]
            at -= away @ precision[np.ix_(known, gaps)] @ left
            noise = random.standard_normal(at.shape)
            new = at + noise @ np.linalg.cholesky(left).T
            variance = of @ left @ of
            if variance > 0.0:
                others = eta[rows] - values[np.ix_(rows, gaps)] @ of
                part = response.draw(rows, others, at @ of, variance, random)
                new += np.outer(part - new @ of, left @ of / variance)
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
        solution, drawn = _turn(
            problem, design.rows(values), self._solver, random, self._take_off
        )
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


def _turn(problem, y, solver, random, center):
    """`Solution` for a completed table, and a draw given its variances."""
    if problem.family != "gaussian":
        return _working_turn(problem, y, solver, random)
    origin = center(y, problem.border, problem.weight)
    solution = solver.solve(problem)
    noise = solution.noise_variance
    roots = tuple(map(_root, solution.covariances))
    start = _off_zero(roots, noise)
    left = max(problem.weight.sum() - len(solution.coef), 1.0)
    noise *= left / random.chisquare(left)
    coef, part = _draw(problem, y, roots, noise, random, solver.device, center)
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
    roots = tuple(map(_root, solution.covariances))
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
        family="gaussian",
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


class _Pool:
    """Means over completed tables, in the working coordinates of the first one."""

    def __init__(self, border, coding, solution):
        self.border, self.coding = border, coding
        self._method = solution.method
        self._back = np.linalg.pinv(coding.transform)
        self._coef, self._within, self._noise, self._history = [], [], [], []
        self._components = [[] for _ in solution.covariances]
        self._sums = [
            {"b": 0.0, "bb": 0.0, "bc": 0.0, "v": 0.0, "d": 0.0}
            for _ in solution.covariances
        ]
        self._moments, self._outcomes = [], []

    @property
    def size(self):
        """Number of tables."""
        return len(self._coef)

    def add(self, solution, coding, moments):
        """Add the fit to one completed table."""
        move = self._back @ coding.transform
        coef = move @ solution.coef
        within = move @ solution.coef_covariance @ move.T
        self._coef.append(coef)
        self._within.append(within)
        self._noise.append(solution.noise_variance)
        self._history.append(-2.0 * solution.log_likelihood)
        self._moments.append(moments)
        if solution.outcome is not None:
            self._outcomes.append(solution.outcome)
        inverse = np.linalg.inv(within)
        for r, sums in enumerate(self._sums):
            b = solution.means[r]
            self._components[r].append(solution.covariances[r])
            sums["b"] = sums["b"] + b
            sums["bb"] = sums["bb"] + b[:, None] * b
            sums["bc"] = sums["bc"] + b[:, None] * coef[:, None]
            sums["v"] = sums["v"] + solution.posteriors[r]
            moved = np.einsum("qpj,rp->qrj", solution.cross[r], move)
            sums["d"] = sums["d"] + np.einsum("qpj,pr->qrj", moved, inverse)

    def _inflation(self):
        """Variance of a mean over the chain, relative to independent draws.

        In working coordinates, because the user's intercept depends on the origins of
        the columns.
        """
        draws = np.array(self._coef)
        away = draws - draws.mean(axis=0)
        lagged = np.sum(away[1:] * away[:-1], axis=0)
        rho = np.clip(lagged / np.maximum(np.sum(away**2, axis=0), 1e-300), 0.0, 0.95)
        return float(np.max((1.0 + rho) / (1.0 - rho), initial=1.0))

    def _variances(self):
        """Covariance of the coefficients, the part between tables, and its error."""
        inflation, m = self._inflation(), self.size
        between = np.zeros_like(self._within[0])
        if m > 1:
            between = np.atleast_2d(np.cov(np.array(self._coef).T))
        share = min(inflation / m, 0.5)
        between = between / (1.0 - share)
        added = between * (1.0 + share)
        return np.mean(self._within, axis=0) + added, added, between * share

    def error(self):
        """Largest Monte Carlo error of a coefficient, in standard errors."""
        total, _, monte_carlo = map(self._diagonal, self._variances())
        return float(np.sqrt(np.max(monte_carlo / total, initial=0.0)))

    def _diagonal(self, covariance):
        transform = self.coding.transform[~self.coding.aliased]
        return np.einsum("ia,ab,ib->i", transform, covariance, transform)

    def solution(self):
        """Pooled `Solution`; the likelihood of the observed values is not known."""
        total, _, _ = self._variances()
        inflation, m = self._inflation(), self.size
        coefs, noise, errors = np.array(self._coef), None, None
        if None not in self._noise:
            noise = float(np.mean(self._noise))
            errors = inflation**0.5 / m * (np.array(self._noise) - noise)
        coef = coefs.mean(axis=0)
        covariances = tuple(np.mean(c, axis=0) for c in self._components)
        means, posteriors, cross = [], [], []
        away = coefs - coef
        spread = away.T @ away / m
        for sums in self._sums:
            b, slope = sums["b"] / m, sums["d"] / m
            own = sums["bb"] / m - b[:, None] * b
            with_coef = sums["bc"] / m - b[:, None] * coef[:, None]
            shared = np.einsum("qpj,rpj->qrj", with_coef, slope)
            moved = np.einsum("qpj,ps,rsj->qrj", slope, spread, slope)
            own = own - shared - np.swapaxes(shared, 0, 1) + moved
            means.append(b)
            posteriors.append(sums["v"] / m + own)
            cross.append(np.einsum("qpj,pr->qrj", slope, total))
        outcome = None
        if INTERRUPTED in self._outcomes:
            outcome = INTERRUPTED
        elif len(self._outcomes) > 0.1 * m:
            outcome = self._outcomes[-1]
        elif self.error() > _ERROR:
            outcome = (
                f"after {m} completed tables the Monte Carlo error of a coefficient is "
                f"still {self.error():.2g} standard errors. The missing values carry "
                "too much of the information"
            )
        weight = np.sqrt(inflation) / m
        about = {
            "coef": weight * away.T,
            "covariances": tuple(
                weight * np.moveaxis(np.array(c) - v, 0, -1)
                for c, v in zip(self._components, covariances, strict=True)
            ),
            "noise": errors,
            "log_likelihood": np.nan,
            "sampler": "data augmentation",
            "n_samples": m,
            "effective": 1.0 / inflation,
        }
        return Solution(
            coef=coef,
            coef_covariance=total,
            covariances=covariances,
            means=tuple(means),
            posteriors=tuple(posteriors),
            noise_variance=noise,
            log_likelihood=np.nan,
            method=self._method,
            n_iter=m,
            history=np.array(self._history),
            outcome=outcome,
            singular=singular_factors([_root(v / (noise or 1.0)) for v in covariances]),
            extra={"elbo": np.nan, "monte_carlo": about},
            cross=tuple(cross),
        )

    def imputed(self):
        """What the tables say of the columns, and what the gaps have cost."""
        total, added, _ = map(self._diagonal, self._variances())
        lost = np.full(len(self.coding.aliased), np.nan)
        lost[~self.coding.aliased] = added / total
        means, covariances = zip(*self._moments, strict=True)
        return Imputed(np.mean(means, axis=0), np.mean(covariances, axis=0), lost)


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

    Returns
    -------
    coef : ndarray of shape (rank,)
    part : ndarray of shape (n_rows,)
    """
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


def _root(v):
    """Lower triangular T with T T' the covariance, which may be singular."""
    values, axes = np.linalg.eigh(v)
    t = np.linalg.qr((axes * np.sqrt(np.maximum(values, 0.0))).T, mode="r").T
    return t * np.where(np.diag(t) < 0, -1.0, 1.0)
