"""The one path from a table to fitted attributes."""

from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from numbers import Integral
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skglmm._covariances import COVARIANCES, NAMES
from skglmm._dask.inputs import read_partitions
from skglmm._families import FAMILIES
from skglmm._fitted.attributes import (
    attributes,
    components_frame,
    history_frame,
    user_solution,
)
from skglmm._fitted.persistence import PersistenceMixin
from skglmm._fitted.predictor import PredictorMixin
from skglmm._fitted.report import report
from skglmm._fitted.state import family_of
from skglmm._fitted.summary import SummaryMixin
from skglmm._fitted.updating import UpdateMixin
from skglmm._fixed.estimate import fixed_part, judged
from skglmm._fixed.level_columns import (
    check_gaps,
    doubtful,
    filled_from_levels,
    levels_of_columns,
)
from skglmm._fixed.parts import allows_missing, resolve_part
from skglmm._problem.design import build_design
from skglmm._problem.roots import in_coordinates
from skglmm._problem.working import factors_of, to_working
from skglmm._progress import CallbackSupportMixin, Progress, with_callbacks
from skglmm._reading.features import store_features
from skglmm._reading.formula import written
from skglmm._reading.inputs import read
from skglmm._reading.table import Table, is_dask
from skglmm._reading.target import read_numbers, read_weight
from skglmm._reading.terms import (
    resolve_metadata_terms,
    resolve_terms,
    term_labels,
)
from skglmm._sklearn import HasMethods, StrOptions, fit_context
from skglmm._threads import one_blas_thread
from skglmm.solvers import SOLVERS, BaseSolver

# Columns up to which products of them are too small to gain by several threads, and
# rows times squared columns up to which OpenBLAS starts none.
_NARROW, _SMALL = 64, 27_000


class BaseMixedModel(
    PersistenceMixin,
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
        "fixed_effects": [None, str, list, callable, HasMethods(["get_params"])],
        "random_slopes": [None, str, Integral, list, dict],
        "random_intercepts": ["boolean", dict],
        "covariance": [StrOptions(NAMES), dict],
        "offset": [None, str, Integral],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions(set(SOLVERS)), BaseSolver],
        "handle_unknown": [StrOptions({"ignore", "warn", "error"})],
        "reference": [None, dict],
        "handle_unknown_fixed": [StrOptions({"error", "reference"})],
        "missing": [StrOptions({"error", "model"})],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    @classmethod
    @cache
    def _get_param_names(cls):
        # a signature takes as long to read as the columns of a small table
        return super()._get_param_names()

    def __getattr__(self, name):
        fitted = vars(self).get("_fitted")
        if name in ("coef_", "coef_names_") and fitted and fitted.part:
            raise AttributeError(
                f"There is no {name}: the fixed part of this {type(self).__name__} is "
                f"{fitted.part.about} and has no coefficients. "
                "predict(X, level='population') gives its values; "
                "sklearn.inspection shows how they depend on the columns."
            )
        return object.__getattribute__(self, name)

    def _distribution(self):
        """Distribution of the target, before anything of its own is estimated."""
        return FAMILIES[self._family]

    def _distribution_of(self, classes):
        """The same for a target with these classes, or None."""
        return self._distribution()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = self.groups is not None
        gaps = self.missing == "model"
        tags.input_tags.allow_nan = gaps or allows_missing(self.fixed_effects)
        return tags

    def set_params(self, **params) -> Self:
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
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
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
        with threads_for(X):
            return self._fit(X, y, sample_weight, groups)

    def _fit(self, X, y, sample_weight, groups):
        progress = Progress(self)
        progress.begin(X, y)
        progress.phase("reading the columns")
        part, solver = resolve_part(self.fixed_effects), self._resolve_solver()
        if is_dask(X):
            read = X, y, sample_weight, groups, part, progress
            inputs, table = read_partitions(self, *read)
            store_features(self, X, y, table)
        else:
            table = Table(X, min_rows=2)
            store_features(self, X, y, table)
            inputs = self._read(table, y, sample_weight, groups, part)
        asked = self._asked(inputs, part)
        working, estimate = self._estimate(asked, part, solver, progress)
        progress.phase("storing the estimates")
        solution = user_solution(working, estimate)
        public, fitted = self._answer(inputs, asked, working, estimate, solution)
        self._store(public, fitted, solver)
        progress.end()
        self.timings_ = progress.times
        messages = self._messages(groups) + self._at_limit()
        report(messages, asked, working, solution, fitted.facts)
        return self

    def _asked(self, inputs, part):
        """Inputs as the solver is to see them."""
        return inputs

    def _answer(self, inputs, asked, working, estimate, solution):
        """Attributes of the fit for the user's inputs, and what the model keeps."""
        return attributes(
            asked,
            working,
            estimate,
            solution,
            self._distribution_of(inputs.classes),
            fit_intercept=self._has_intercept(asked),
            missing=self.missing,
        )

    def _has_intercept(self, inputs):
        """Whether there is an intercept beside the columns."""
        return self.fit_intercept and inputs.n_copies == 1

    def _at_limit(self):
        """What is to be said of parameters that have run to simpler models."""
        found = family_of(self).limit(self._fitted.facts.mean_response)
        for name, _, _ in found:
            self.family_parameters_.loc[name, "std_error"] = np.nan
        return [
            f"the {name.replace('_', ' ')} has run to its limit, which is the "
            f"{simpler} model: it has a parameter less and fits as well ({instead})"
            for name, simpler, instead in found
        ]

    def _read(self, table, y, sample_weight, groups, part):
        """What the user wrote, as `Inputs`."""
        target, weight = self._read_target(y, table.n_rows), None
        if sample_weight is not None:
            weight = read_weight(sample_weight, target.values)
        terms, labels = self._terms_and_labels(table, groups)
        inputs = read(
            table,
            target,
            weight,
            terms,
            labels,
            self._named_columns(table, terms),
            family=self._distribution_of(target.classes),
            part=part,
            listed=written(self.fixed_effects, self.fit_intercept),
            missing=self.missing,
            reference=self.reference,
            check_rows=self._check_rows,
            from_metadata=groups is not None,
        )
        return inputs if self.missing == "error" else _with_properties(inputs)

    def _estimate(self, inputs, part, solver, progress):
        """The same in working coordinates, as `Working`, and the `Estimate`."""
        progress.phase("sorting the rows")
        gaps = self.missing == "model" and inputs.gaps
        working = self._working(inputs, solver, part is None, gaps, progress)
        refused = solver.supports(working.problem)
        if refused is not None:
            raise ValueError(refused)
        progress.phase("estimating")
        kind = fixed_part(part, gaps, self._has_intercept(inputs))
        estimate = kind.estimate(working, inputs, solver)
        return working, judged(estimate, inputs, working, solver.max_iter)

    def _working(self, inputs, solver, linear_part, gaps, progress, dense=False):
        """Rows in working coordinates; `dense` if crossed factors need a core."""
        family = self._distribution_of(inputs.classes)
        factors = factors_of(inputs.terms, inputs.encoded)
        if gaps:
            check_gaps(inputs.columns, inputs.names, factors, inputs.terms)
        dense = dense or gaps or inputs.n_copies > 1
        limit = np.inf if dense else solver.dense_seconds(family, factors)
        design = build_design(factors, limit, sort=not family.is_linear)
        step = design.step(len(inputs.y), family.is_linear)
        return to_working(
            inputs,
            design,
            family,
            linear_part=linear_part,
            gaps=gaps,
            fit_intercept=self._has_intercept(inputs),
            reml=bool(getattr(self, "reml", False)),
            start=partial(self._start, inputs.terms),
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            watch=progress if progress.needed(*step) else None,
        )

    def _store(self, public, fitted, solver):
        """Write all attributes of this fit, and none of an earlier one."""
        self._forget()
        for name, value in public.items():
            setattr(self, name, value)
        self.solver_, self._fitted = solver, fitted

    def _messages(self, groups):
        if self.groups is not None or groups is not None:
            return []
        return [
            "no groups were given, so the model has no random effects: name the group "
            "columns of X in the constructor (groups=...). A search or "
            "cross-validation passes groups= to its splitter only, never to fit. If "
            "there are none, groups=[] says so"
        ]

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
            if (public and name not in kept) or name == "_fitted":
                delattr(self, name)

    def _terms_and_labels(self, table, groups):
        if groups is None:
            terms = resolve_terms(
                table,
                self.groups,
                self.random_slopes,
                self.random_intercepts,
                self.covariance,
            )
            return terms, [term_labels(table, term) for term in terms]
        if self.groups is not None:
            raise ValueError(
                "The groups are named twice: in the constructor "
                f"(groups={self.groups!r}) and in the call (groups=). Use one of them."
            )
        terms, labels = resolve_metadata_terms(
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
            keys = key if isinstance(key, list) else [key]
            for at in (found := [table.position(k, parameter) for k in keys]):
                if at in taken:
                    raise ValueError(
                        f"{parameter}={key!r} names a column that already has another "
                        "role (group, slope, offset, precision, exposure or "
                        "trials): name another column, or add a copy of this one to X."
                    )
                taken.add(at)
            named[parameter] = tuple(found) if isinstance(key, list) else found[0]
        return named

    def _validate_params(self):
        """Parameters as scikit-learn checks them; labels are no parameter."""
        if getattr(self.groups, "shape", ()):
            raise TypeError(
                "groups names columns of X in the constructor, got labels of type "
                f"{type(self.groups).__name__}: name their column, such as "
                "groups='site', or pass them to fit(groups=)."
            )
        super()._validate_params()

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
            if COVARIANCES[term.covariance].known:
                start.append(recoding)
                continue
            old = self.random_effects_covariance_.get(term.name)
            if old is None or old.shape != recoding.shape:
                return None
            working = in_coordinates(old, recoding) / sigma2
            # a variance of zero is stationary: begin beside it
            start.append(np.linalg.cholesky(working + 1e-3 * np.eye(len(old))))
        return tuple(start[r] for r in engine)

    def _scale(self):
        noise = getattr(self, "noise_variance_", 1.0) or 1.0
        return noise * self._fitted.facts.unit_precision

    @property
    def fixed_effects_covariance_(self) -> pd.DataFrame:
        """Covariance matrix of the estimates of the fixed effects."""
        if "_fitted" not in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted: it has no "
                "fixed_effects_covariance_ yet."
            )
        names = self.fixed_effects_.index
        return pd.DataFrame(self._fitted.coef_covariance, names, names)

    @property
    def history_(self) -> pd.DataFrame:
        """Objective at each step of the solver, and variances where it keeps them."""
        if "_fitted" not in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted: it has no history_ yet."
            )
        return history_frame(self._fitted, self.variance_components_)

    @property
    def variance_components_(self) -> pd.DataFrame:
        """Variances, standard deviations and correlations of the random effects."""
        if "_fitted" not in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} is not fitted: it has no "
                "variance_components_ yet."
            )
        return components_frame(
            self._fitted.terms,
            self.random_effects_covariance_,
            getattr(self, "noise_variance_", None),
        )


def _with_properties(inputs):
    """Inputs without gaps where another row of the level says what belongs there."""
    if not inputs.gaps:
        return inputs
    factors = factors_of(inputs.terms, inputs.encoded)
    X = inputs.matrix
    said = doubtful(X, inputs.names, factors, inputs.terms)
    return replace(
        inputs,
        matrix=filled_from_levels(X, factors),
        properties=tuple(levels_of_columns(X, factors).items()),
        messages=(*inputs.messages, *said),
    )


def threads_for(X):
    """Context in which numpy has one thread, where more would wait and gain nothing."""
    shape = getattr(X, "shape", ())
    if len(shape) != 2 or is_dask(X):
        return one_blas_thread()
    waits = shape[1] <= _NARROW and shape[0] * (shape[1] + 2) ** 2 > _SMALL
    return one_blas_thread() if waits else nullcontext()
