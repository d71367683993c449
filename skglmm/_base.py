"""The one path from a table to fitted attributes."""

import functools
from contextlib import nullcontext
from dataclasses import replace
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, StrOptions

from skglmm import _groups, _identified
from skglmm._aligned import aligned
from skglmm._coding import (
    code_fixed,
    code_random,
    least_squares,
    linear_variance,
    row_variance,
)
from skglmm._design import Factor, build_design
from skglmm._families import FAMILIES
from skglmm._flexible import (
    FittedPart,
    FlexibleMixin,
    allows_missing,
    alternate,
    describe,
    resolve_part,
    take,
)
from skglmm._linear_table import centred
from skglmm._missing import MissingMixin, check_gaps, impute
from skglmm._persistence import PersistenceMixin
from skglmm._prediction import row_offset, row_values
from skglmm._predictor import PredictorMixin
from skglmm._progress import CallbackSupportMixin, Progress, with_callbacks
from skglmm._report import redundant, report, separated_columns
from skglmm._summary import SummaryMixin
from skglmm._table import Table, store_features
from skglmm._target import read_numbers, read_weight
from skglmm._threads import one_blas_thread
from skglmm._updating import UpdateMixin
from skglmm.solvers import SOLVERS, BaseSolver
from skglmm.solvers._base import Problem
from skglmm.solvers._exact import NO_RESIDUAL
from skglmm.solvers._search import INTERRUPTED

# Columns up to which products of them are too small to gain by several threads, and
# rows times squared columns up to which OpenBLAS starts none.
_NARROW, _SMALL = 64, 27_000
# Sizes of a target that are brought near one, and sizes of a target and of a column
# that are refused.
_UNUSUAL, _LEAST, _LEAST_COLUMN = 1e-50, 1e-152, 1e-145
# What a fit stores for the methods of this package.
_PRIVATE = (
    "_terms",
    "_named",
    "_fixed_columns",
    "_from_metadata",
    "_coef_covariance",
    "_coef_half",
    "_posteriors",
    "_shifts",
    "_facts",
    "_fixed_part",
    "_column_model",
)


class BaseMixedModel(
    PersistenceMixin,
    FlexibleMixin,
    MissingMixin,
    SummaryMixin,
    UpdateMixin,
    PredictorMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Base of the mixed models: groups and fitting; prediction is in the mixin.

    A subclass names its family and offers the parameters of its constructor.
    """

    _family = "gaussian"
    _column_parameters = ("offset",)

    _parameter_constraints: dict = {
        "groups": [None, str, Integral, tuple, list],
        "fixed_effects": [None, callable, HasMethods(["get_params"])],
        "random_slopes": [None, str, Integral, list, dict],
        "random_intercepts": ["boolean", dict],
        "covariance": [StrOptions({"full", "diag", "scalar"}), dict],
        "offset": [None, str, Integral],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions(set(SOLVERS)), BaseSolver],
        "handle_unknown": [StrOptions({"ignore", "warn", "error"})],
        "missing": [StrOptions({"error", "model"})],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = self.groups is not None
        gaps = self.missing == "model"
        tags.input_tags.allow_nan = gaps or allows_missing(self.fixed_effects)
        return tags

    def set_params(self, **params):
        """Set parameters of the model, and of a solver that is an instance.

        Parameters
        ----------
        **params : dict
            Values by name; ``solver__tol`` is the parameter ``tol`` of the solver.

        Returns
        -------
        self : object
            The model.

        Raises
        ------
        ValueError
            If there is no such parameter, or if the solver is a name, which has none.

        Examples
        --------
        >>> from skglmm import MixedLinearRegressor
        >>> from skglmm.solvers import VI
        >>> MixedLinearRegressor(solver=VI()).set_params(solver__tol=1e-6)
        MixedLinearRegressor(solver=VI(tol=1e-06))
        """
        solver = params.get("solver", self.solver)
        nested = [name for name in params if name.startswith("solver__")]
        if nested and isinstance(solver, str):
            kind = SOLVERS.get(solver, SOLVERS["vi"]).__name__
            raise ValueError(
                f"{nested[0]} cannot be set, because solver={solver!r} is a name and "
                f"has no parameters: write solver={kind}(), from skglmm.solvers."
            )
        return super().set_params(**params)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, groups=None):
        """Fit the model.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Fixed columns, random slopes, group labels and whatever else the
            constructor names, side by side.
        y : array-like of shape (n_samples,)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies: weight 2 equals the row twice, weight 0 equals no row.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model whose constructor names no group columns.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If a column is unknown or holds what it must not hold, if a label is
            missing, or if a factor cannot be estimated from these rows.
        """
        with one_blas_thread() if _waits(X) else nullcontext():
            return self._fit(X, y, sample_weight, groups)

    def _fit(self, X, y, sample_weight, groups):
        progress = Progress(self)
        progress.begin(X, y)
        progress.phase("reading the columns")
        table = Table(X, min_rows=2)
        store_features(self, X, y, table)
        target = self._read_target(y, table.n_rows)
        y, family, weight = target.values, FAMILIES[self._family], None
        if sample_weight is not None:
            weight = read_weight(sample_weight, y)
        terms, labels = self._terms_and_labels(table, groups)
        columns = self._named_columns(table, terms)
        messages = self._advice(groups)

        fixed = self._fixed_positions(table, terms, columns)
        part = resolve_part(self.fixed_effects)
        features, numeric = None, fixed
        if part is not None:
            features = part.read(table, fixed)
            numeric = sorted({at for term in terms for at in term.slopes})
        design_matrix = self._read_fixed(table, numeric, terms, part)
        _check_sizes(design_matrix, [table.describe(at) for at in numeric])
        special = {
            name: table.numeric([at], name)[:, 0] for name, at in columns.items()
        }
        encoded = [
            _groups.encode(parts, term.name, names)
            for term, (parts, names) in zip(terms, labels, strict=True)
        ]
        rows = np.arange(len(y))
        if weight is None:
            weight = aligned(len(y))
            weight[:] = 1.0
        elif np.any(weight == 0):
            present = weight > 0
            rows = rows[present]
            y, weight = y[present], weight[present]
            design_matrix = design_matrix[present]
            special = {name: v[present] for name, v in special.items()}
            encoded = [_present_levels(c[present], levels) for c, levels in encoded]
        self._check_rows(y, target.classes)
        for term, (_, levels) in zip(terms, encoded, strict=True):
            messages += _groups.twins(term.name, levels)
        linear = family.name == "gaussian"
        _identified.check_levels(terms, encoded, weight, linear)
        offset, trials = row_offset(special, rows), special.get("trials")
        messages += family.check(y, trials, rows)
        hopeless = family.no_maximum(y, trials)
        one_row_each = {}
        if family.name == "binomial":
            one_row_each = _identified.one_row_each(terms, encoded, weight, trials)
            hopeless = hopeless or _identified.constant_within(
                terms, encoded, y, trials, weight
            )

        factors = [
            Factor(codes, len(levels), term.n_effects, not term.slopes, term.covariance)
            for term, (codes, levels) in zip(terms, encoded, strict=True)
        ]
        progress.phase("sorting the rows")
        solver = self._resolve_solver()
        names = [table.effect_name(at) for at in fixed] if part is None else []
        gaps = self.missing == "model" and np.isnan(design_matrix).any()
        if gaps:
            check_gaps(design_matrix, names, factors, terms, solver)
        limit = np.inf if gaps else solver.dense_seconds(family.name, factors)
        design = build_design(factors, limit, sort=family.name != "gaussian")
        y, weight, design_matrix = map(design.rows, (y, weight, design_matrix))
        offset, trials = (v if v is None else design.rows(v) for v in (offset, trials))
        size, unit, origin = 0.0, 1.0, 0.0
        if linear:
            y = y if offset is None else y - offset
            size = _size(y)
            if part is None and size and not _UNUSUAL < size < 1.0 / _UNUSUAL:
                unit = 2.0 ** np.round(np.log2(size))
                y, size = y / unit, size / unit
        place = {at: k for k, at in enumerate(numeric)}
        rows_table = border = z = with_gaps = None
        values = functools.partial(_random_values, design_matrix, place)
        if linear:
            _identified.check_rank(terms, encoded, values, weight)
        if linear and part is None and not gaps:
            slopes = [
                ([place[at] for at in term.slopes], term.intercept, term.covariance)
                for term in terms
            ]
            rows_table, fixed_coding, origin, recodings, squares = centred(
                design_matrix, y, weight, self.fit_intercept, slopes
            )
        if rows_table is None:
            z, recodings, squares = _coded_random(terms, design_matrix, place, weight)
            if part is not None:
                features = take(features, design.rows(rows))
                design_matrix = design_matrix[:, :0]
            with_gaps = design_matrix
            if gaps:
                means = np.nanmean(with_gaps, axis=0)
                design_matrix = np.where(np.isnan(with_gaps), means, with_gaps)
            border, fixed_coding = code_fixed(design_matrix, weight, self.fit_intercept)
            if linear:
                origin = least_squares(y, border, weight)
            else:
                border[:, -1] = y
        n_coef = fixed_coding.transform.shape[1]
        messages += _identified.check_fixed(n_coef, weight, linear)
        unidentified = _identified.dependent_effects(terms, recodings, squares)
        few = any(len(levels) <= n_coef for _, levels in encoded)
        if few and linear and getattr(self, "reml", False) and part is None:
            unidentified += _identified.spanned(
                terms, encoded, values, design_matrix, weight, self.fit_intercept
            )
        unidentified += _identified.alike(terms, encoded)
        if fixed_coding.aliased.any():
            out = np.flatnonzero(fixed_coding.aliased) - int(self.fit_intercept)
            messages.append(redundant([names[i] for i in out]))
        engine = design.plan.chain + design.plan.core
        if z is None:
            in_order = tuple(rows_table.z[r] for r in engine)
            rows_table = replace(rows_table, z=in_order)
        watched = progress.needed(*_a_step(design, len(y), linear))
        problem = Problem(
            design=design,
            border=border,
            z=None if z is None else tuple(z[r] for r in engine),
            weight=weight,
            table=rows_table,
            rounding=_rounding(size, origin, fixed_coding, self.fit_intercept),
            unit=unit,
            family=family.name,
            offset=offset,
            trials=trials,
            reml=bool(getattr(self, "reml", False)),
            start=self._start(terms, engine, recodings),
            names=tuple(terms[r].name for r in engine),
            recodings=tuple(recodings[r] for r in engine),
            squares=tuple(squares[r] for r in engine),
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            watch=progress if watched else None,
        )
        progress.phase("estimating")
        fitted, fixed_part, imputed = None, None, None
        if gaps:
            solution, border, fixed_coding, imputed = impute(
                problem, y, with_gaps, solver, self.fit_intercept, least_squares
            )
            origin = 0.0
        elif part is None:
            solution = solver.solve(problem)
        else:
            solution, origin, fixed_part, fitted = alternate(
                part, features, problem, y, solver, least_squares
            )
            held_out = fitted.get("factor")
            if held_out is not None:
                fitted |= {
                    "factor": terms[engine[held_out]].name,
                    "fold_of_level": design.to_user(held_out, fitted["fold_of_level"]),
                }
            fitted = FittedPart(tuple(fixed), describe(part), **fitted)
        progress.phase("storing the estimates")
        solution = solution.checked()
        if linear and part is None and solution.outcome is None:
            if _identified.no_residual(terms, encoded, y):
                solution = replace(solution, outcome=NO_RESIDUAL)
        if solution.outcome not in (None, INTERRUPTED, NO_RESIDUAL):
            reason = _identified.beyond_digits(y, weight, linear)
            solution = replace(solution, outcome=reason or solution.outcome)
        solution = _in_user_order(solution, design, factors, origin)
        if unit != 1.0:
            solution, y = solution.in_unit(unit, float(weight.sum())), y * unit

        self._forget()
        if target.classes is not None:
            self.classes_ = target.classes
        self._terms = terms
        self._fixed_columns = tuple(fixed) if part is None else ()
        self._named = columns
        self._from_metadata = groups is not None
        self.solver_ = solver
        half, inverse = _half(solution.coef_covariance)
        self._store_fixed(names, solution, fixed_coding, half)
        self._store_random(terms, encoded, recodings, solution, inverse)
        self._store_likelihood(solution, fixed_coding, factors, weight)
        self.converged_ = solution.outcome is None and hopeless is None
        self._store_part(fitted)
        self._store_missing(design_matrix, weight, imputed)
        self._store_monte_carlo(terms, fixed_coding, recodings, solution)
        separated = []
        if family.name != "gaussian":
            separated = separated_columns(
                self.fixed_effects_,
                self._coef_covariance,
                np.ptp(design_matrix, axis=0),
                self.fit_intercept,
            )
        if fixed_part is not None:
            by_row = border[:, :-1] @ solution.coef + fixed_part
            fixed_variance = row_variance(by_row, weight)
        else:
            total = weight.sum()
            if rows_table is None:
                mean = weight @ border[:, :-1] / total
            else:
                mean = rows_table.fixed_mean
            fixed_variance = linear_variance(solution.coef, total, mean)
        self._store_facts(
            weight, y, fixed_variance, squares, solution, separated, hopeless
        )
        progress.end()
        self.timings_ = progress.times
        unidentified += [
            text for r, text in one_row_each.items() if r not in solution.singular
        ]
        if not unidentified and hopeless is None:
            unidentified = _identified.undetermined([t.name for t in terms], solution)
        report(
            messages + unidentified,
            solution,
            self.random_effects_covariance_,
            {term.name: term.effects for term in terms},
            separated,
            hopeless,
        )
        return self

    def _read_target(self, y, n_rows, fitted=False):
        """The target as a `Target`; `fitted` if it is to suit an earlier fit."""
        return read_numbers(y, n_rows, type(self).__name__)

    def _check_rows(self, y, classes):
        """Refuse targets (rows of weight zero left out) that cannot be fitted."""

    def _forget(self):
        """Remove what an earlier fit has left: attributes that a fit may not make."""
        kept = {"n_features_in_", "feature_names_in_"}
        for name in list(vars(self)):
            public = name.endswith("_") and not name.startswith("_")
            if (public and name not in kept) or name in _PRIVATE:
                delattr(self, name)

    def _terms_and_labels(self, table, groups):
        if groups is None:
            terms = _groups.resolve_terms(
                table,
                self.groups,
                self.random_slopes,
                self.random_intercepts,
                self.covariance,
            )
            return terms, [_groups.term_labels(table, term) for term in terms]
        if self.groups is not None:
            raise ValueError(
                "The groups are named twice: in the constructor "
                f"(groups={self.groups!r}) and in the call (groups=). Use one of them."
            )
        terms, labels = _groups.resolve_metadata_terms(
            groups, table, self.random_slopes, self.random_intercepts, self.covariance
        )
        return terms, [
            ([part], (t.name,)) for t, part in zip(terms, labels, strict=True)
        ]

    def _named_columns(self, table, terms):
        """Positions of the columns with a role of their own: offset and the like."""
        named = {}
        taken = {at for term in terms for at in term.columns + term.slopes}
        for parameter in self._column_parameters:
            key = getattr(self, parameter)
            if key is None:
                continue
            at = table.position(key, parameter)
            if at in taken:
                raise ValueError(
                    f"{parameter}={key!r} names a column that already has another "
                    "role (group, slope, offset, exposure or trials): name another "
                    "column, or add a copy of this one to X."
                )
            taken.add(at)
            named[parameter] = at
        return named

    @staticmethod
    def _fixed_positions(table, terms, columns):
        gone = {at for term in terms for at in term.columns} | set(columns.values())
        return [at for at in range(table.n_columns) if at not in gone]

    def _advice(self, groups):
        if self.groups is not None or groups is not None:
            return []
        return [
            "no groups were given, so the model has no random effects: name the group "
            "columns of X in the constructor (groups=...). A search or "
            "cross-validation passes groups= to its splitter only, never to fit"
        ]

    def _resolve_solver(self):
        if isinstance(self.solver, str):
            return SOLVERS[self.solver]()
        self.solver._validate_params()
        return self.solver

    def _start(self, terms, engine, recodings):
        """Relative factors of an earlier fit, in engine order, for a warm start."""
        if not (self.warm_start and hasattr(self, "random_effects_covariance_")):
            return None
        start, sigma2 = [], self._scale()
        for term, recoding in zip(terms, recodings, strict=True):
            old = self.random_effects_covariance_.get(term.name)
            if old is None or old.shape != recoding.shape:
                return None
            inverse = np.linalg.inv(recoding)
            working = inverse @ old @ inverse.T / sigma2
            # a variance of zero is stationary: begin beside it
            start.append(np.linalg.cholesky(working + 1e-3 * np.eye(len(old))))
        return tuple(start[r] for r in engine)

    def _scale(self):
        return getattr(self, "noise_variance_", 1.0) or 1.0

    def _store_fixed(self, names, solution, coding, half):
        estimate = coding.transform @ solution.coef
        covariance = coding.transform @ solution.coef_covariance @ coding.transform.T
        std_error = np.sqrt(np.diag(covariance))
        std_error[coding.aliased] = np.nan
        covariance[coding.aliased] = covariance[:, coding.aliased] = np.nan
        names_ = ("Intercept",) * int(self.fit_intercept) + tuple(names)
        self._coef_covariance = covariance
        first = int(self.fit_intercept)
        # the errors of the coefficients are this times independent standard ones
        self._coef_half = np.zeros((1 + len(names), len(solution.coef)))
        self._coef_half[1 - first :] = coding.transform @ half
        self.intercept_ = float(estimate[0]) if first else 0.0
        self.coef_ = estimate[first:]
        self.coef_names_ = list(names)
        self.fixed_effects_ = pd.DataFrame(
            np.column_stack([estimate, std_error]),
            index=_index(names_),
            columns=_index(("estimate", "std_error")),
        )

    def _store_random(self, terms, encoded, recodings, solution, inverse):
        self.random_effects_, self.random_effects_std_ = {}, {}
        self.random_effects_covariance_, self._posteriors = {}, {}
        self._shifts = {}
        cross = solution.cross
        for r, (term, (_, levels), recoding) in enumerate(
            zip(terms, encoded, recodings, strict=True)
        ):
            effects = _index(term.effects)
            b = (recoding @ solution.means[r]).T
            blocks = np.moveaxis(solution.posteriors[r], -1, 0)
            blocks = recoding @ blocks @ recoding.T
            variance = np.diagonal(blocks, axis1=1, axis2=2)
            self._posteriors[term.name] = blocks
            if cross is not None:
                covariance = np.moveaxis(cross[r], -1, 0)
                self._shifts[term.name] = recoding @ covariance @ inverse
            self.random_effects_[term.name] = pd.DataFrame(b, levels, effects)
            self.random_effects_std_[term.name] = pd.DataFrame(
                np.sqrt(np.maximum(variance, 0.0)), levels, effects
            )
            self.random_effects_covariance_[term.name] = (
                recoding @ solution.covariances[r] @ recoding.T
            )
        if solution.noise_variance is not None:
            self.noise_variance_ = solution.noise_variance

    @property
    def fixed_effects_covariance_(self):
        """Covariance matrix of the estimates of the fixed effects."""
        if "_coef_covariance" not in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted: it has no "
                "fixed_effects_covariance_ yet."
            )
        names = self.fixed_effects_.index
        return pd.DataFrame(self._coef_covariance, names, names)

    @property
    def variance_components_(self):
        """Variances, standard deviations and correlations of the random effects."""
        if "random_effects_covariance_" not in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted: it has no "
                "variance_components_ yet."
            )
        return _components_frame(
            self._terms,
            self.random_effects_covariance_,
            getattr(self, "noise_variance_", None),
        )

    def _store_likelihood(self, solution, coding, factors, weight):
        log_likelihood = solution.log_likelihood
        if solution.method == "restricted":
            log_likelihood += coding.log_volume
        n_parameters = int(np.sum(~coding.aliased)) + sum(
            {"full": q * (q + 1) // 2, "diag": q, "scalar": 1}[f.covariance]
            for f in factors
            for q in [f.n_effects]
        )
        n_parameters += solution.noise_variance is not None
        self.log_likelihood_ = float(log_likelihood)
        self.log_likelihood_method_ = solution.method
        self.aic_ = float(2 * n_parameters - 2 * log_likelihood)
        self.bic_ = float(np.log(weight.sum()) * n_parameters - 2 * log_likelihood)
        if "elbo" in solution.extra:
            exact = solution.noise_variance is not None
            self.elbo_ = self.log_likelihood_ if exact else solution.extra["elbo"]
        self.n_iter_ = solution.n_iter
        self.history_ = solution.history
        self.singular_ = bool(solution.singular)

    def _store_monte_carlo(self, terms, coding, recodings, solution):
        """What draws left: their error, how they were made, and some of them."""
        about = solution.extra.get("monte_carlo")
        if about is None:
            return
        fixed = np.linalg.norm(coding.transform @ about["coef"], axis=1)
        moves = dict(zip([t.name for t in terms], about["covariances"], strict=True))
        found = self.variance_components_
        std, components = found["std"], found[["variance", "std"]] * 0.0
        for term, recoding in zip(terms, recodings, strict=True):
            move = np.einsum("ia,abm,kb->ikm", recoding, moves[term.name], recoding)
            for i, effect in enumerate(term.effects):
                error = _length(move[i, i])
                components.loc[(term.name, effect), "variance"] = error
        if about["noise"] is not None:
            error = _length(about["noise"])
            components.loc[("residual", ""), "variance"] = error
        components["std"] = components["variance"] / (2.0 * std.where(std > 0, np.nan))
        components["std"] = components["std"].fillna(0.0)
        self.mc_error_ = {
            "fixed_effects": pd.Series(fixed, self.fixed_effects_.index),
            "variance_components": components,
            "log_likelihood": float(about["log_likelihood"]),
        }
        names = ("sampler", "n_samples", "effective")
        self.sampling_ = {name: about[name] for name in names}
        if "draws" not in solution.extra:
            return
        self.random_effects_draws_ = {
            term.name: np.moveaxis(np.tensordot(recoding, draws, 1), 0, -1)
            for term, recoding, draws in zip(
                terms, recodings, solution.extra["draws"], strict=True
            )
        }


def _waits(X):
    """Whether threads of numpy's would wait for more work and gain nothing."""
    shape = getattr(X, "shape", ())
    if len(shape) != 2:
        return True
    return shape[1] <= _NARROW and shape[0] * (shape[1] + 2) ** 2 > _SMALL


def _length(a):
    """Euclidean length of a vector whose squares may be too large or too small."""
    largest = np.max(np.abs(a), initial=0.0)
    return largest * np.linalg.norm(a / largest) if largest else 0.0


def _size(y):
    """Root of the mean square of a target."""
    with np.errstate(over="ignore"):
        size = float(np.sqrt(y.dot(y) / len(y)))
    if 0.0 < size < np.inf and _LEAST < size < 1.0 / _LEAST:
        return size
    largest = float(np.max(np.abs(y), initial=0.0))
    if largest:
        raise ValueError(
            f"y has values of the size of {largest:.3g}, whose squares no number of "
            "64 bits holds: give it in another unit."
        )
    return 0.0


def _check_sizes(columns, names):
    """Refuse columns whose squares no double holds."""
    if not len(columns):
        return
    sizes = np.fmax(np.fmax.reduce(columns), -np.fmin.reduce(columns))
    wrong = (sizes > 1.0 / _LEAST_COLUMN) | ((sizes > 0.0) & (sizes < _LEAST_COLUMN))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"The {names[at]} has values of the size of {sizes[at]:.3g}, whose squares "
            "no number of 64 bits holds: give it in another unit."
        )


def _rounding(size, fit, coding, fit_intercept):
    """Standard deviation that rounding gives the residuals of a target of this size."""
    explained = np.linalg.norm(np.atleast_1d(fit)[int(fit_intercept) :])
    return 4.0 * np.finfo(float).eps * (size + float(explained) / coding.own)


def _index(names):
    """Index of strings with a name of its own; a new one takes ten times longer."""
    return _kept_index(names).view()


@functools.lru_cache(maxsize=16)
def _kept_index(names):
    return pd.Index(names)


def _a_step(design, n_rows, linear):
    """Rows or levels that one evaluation reads, and seconds it takes beside that."""
    if design.plan.iterative or not linear:
        return n_rows, 0.0
    return sum(factor.size for factor in design.factors), design.plan.seconds


def _random_values(columns, place, term):
    """Row values (n_rows, q) of a term's effects; None for an intercept alone."""
    return row_values(term, lambda at: columns[:, place[at]], len(columns))


def _coded_random(terms, columns, place, weight):
    """Row values of each term as the engine wants them, their codings and squares."""
    z, recodings, squares = [], [], []
    for term in terms:
        values = row_values(term, lambda at: columns[:, place[at]], len(columns))
        recoding = square = np.eye(1)
        if values is not None:
            recoding, square = code_random(values, weight, term.covariance)
            values = np.matmul(values, recoding, out=aligned(values.shape))
        z.append(values)
        recodings.append(recoding)
        squares.append(square)
    return z, recodings, squares


def _half(covariance):
    """H with H H' the covariance, and the transpose of its generalised inverse."""
    if not np.isfinite(covariance).all():
        return np.full(covariance.shape, np.nan), np.full(covariance.shape, np.nan)
    values, axes = np.linalg.eigh(covariance)
    usable = values > 1e-15 * np.max(values, initial=0.0)
    root = np.sqrt(np.where(usable, values, 1.0))
    return np.where(usable, axes * root, 0.0), np.where(usable, axes / root, 0.0)


def _present_levels(codes, levels):
    """Codes and levels after rows have been left out."""
    kept, codes = np.unique(codes, return_inverse=True)
    return codes.astype(np.int32), levels[kept]


def _in_user_order(solution, design, factors, origin):
    """The solution with factors, levels and origin as the user had them."""
    engine = design.plan.chain + design.plan.core
    place = {user: at for at, user in enumerate(engine)}
    users = range(len(factors))
    by_level = {"means": solution.means, "posteriors": solution.posteriors}
    if solution.cross is not None:
        by_level["cross"] = solution.cross
    extra = dict(solution.extra)
    if "draws" in extra:
        draws = extra["draws"]
        extra["draws"] = tuple(design.to_user(place[r], draws[place[r]]) for r in users)
    if "monte_carlo" in extra:
        about = extra["monte_carlo"]
        moves = tuple(about["covariances"][place[r]] for r in users)
        extra["monte_carlo"] = about | {"covariances": moves}
    return replace(
        solution,
        coef=solution.coef + origin,
        extra=extra,
        covariances=tuple(solution.covariances[place[r]] for r in users),
        singular=tuple(sorted(engine[r] for r in solution.singular)),
        flat=tuple(sorted(engine[r] for r in solution.flat)),
        **{
            name: tuple(design.to_user(place[r], values[place[r]]) for r in users)
            for name, values in by_level.items()
        },
    )


def _components_frame(terms, covariances, noise_variance):
    """Variances, standard deviations and correlations as one table."""
    rows, index, width = [], [], max([len(t.effects) for t in terms], default=1)
    first = next((t.effects for t in terms if len(t.effects) == width), ())
    same = all(t.effects == first[: len(t.effects)] for t in terms)
    names = [f"corr({first[k]})" if same else f"corr({k})" for k in range(width - 1)]
    for term in terms:
        sigma = covariances[term.name]
        sd = np.sqrt(np.maximum(np.diag(sigma), 0.0))
        for i, effect in enumerate(term.effects):
            row = {"variance": sigma[i, i], "std": sd[i]}
            for k in range(i):
                scale = sd[i] * sd[k]
                row[names[k]] = sigma[i, k] / scale if scale > 0 else np.nan
            rows.append(row)
            index.append((term.name, effect))
    if noise_variance is not None:
        rows.append({"variance": noise_variance, "std": np.sqrt(noise_variance)})
        index.append(("residual", ""))
    group, effect = zip(*index, strict=True) if index else ([], [])
    return pd.DataFrame(
        {
            name: np.array([row.get(name, np.nan) for row in rows], dtype=float)
            for name in ["variance", "std", *names]
        },
        index=pd.MultiIndex.from_arrays(
            [list(group), list(effect)], names=["group", "effect"]
        ),
    )
