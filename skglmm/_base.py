"""The one path from a table to fitted attributes, and from a table to predictions."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from skglmm import _groups, _prediction
from skglmm._coding import code_fixed, code_random
from skglmm._design import Factor, build_design
from skglmm._families import FAMILIES, explained_deviance
from skglmm._table import Table
from skglmm.solvers import SOLVERS, BaseSolver
from skglmm.solvers._base import Problem

# A column separates the outcomes if its whole effect is larger than the one, and the
# standard error of that is larger than the other.
_FAR, _SEPARATED = 5.0, 50.0


class BaseMixedModel(BaseEstimator):
    """Base of the mixed models: groups, fitting and prediction.

    A subclass names its family and offers the parameters of its constructor.
    """

    _family = "gaussian"
    _column_parameters = ("offset",)

    _parameter_constraints: dict = {
        "groups": [None, str, int, tuple, list],
        "random_slopes": [None, list, dict],
        "random_intercepts": ["boolean", dict],
        "covariance": [StrOptions({"full", "diag", "scalar"}), dict],
        "offset": [None, str, int],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions(set(SOLVERS)), BaseSolver],
        "handle_unknown": [StrOptions({"ignore", "warn", "error"})],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = self.groups is not None
        return tags

    # ---------------------------------------------------------------- fitting

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
        table = Table(X, min_rows=2)
        validate_data(self, X, y, skip_check_array=True)
        y = self._check_target(y, table)
        family = FAMILIES[self._family]
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
            if not np.any(weight > 0):
                raise ValueError(
                    "sample_weight is zero for every row: give at least one row a "
                    "positive weight."
                )
        terms, labels = self._terms_and_labels(table, groups)
        columns = self._named_columns(table, terms)
        messages = self._advice(groups)

        fixed = self._fixed_positions(table, terms, columns)
        design_matrix = table.numeric(fixed)
        special = {
            name: table.numeric([at], name)[:, 0] for name, at in columns.items()
        }
        encoded = [
            _groups.encode(parts, term.name, names)
            for term, (parts, names) in zip(terms, labels, strict=True)
        ]
        rows = np.arange(len(y))
        if weight is None:
            weight = np.ones(len(y))
        elif np.any(weight == 0):
            present = weight > 0
            rows = rows[present]
            y, weight = y[present], weight[present]
            design_matrix = design_matrix[present]
            special = {name: v[present] for name, v in special.items()}
            encoded = [_present_levels(c[present], levels) for c, levels in encoded]
        self._check_rows(y)
        self._check_factors(terms, encoded, weight)
        offset, trials = self._offset(special, rows), special.get("trials")
        messages += family.check(y, trials, rows)
        hopeless = family.no_maximum(y, trials)

        factors = [
            Factor(codes, len(levels), term.n_effects, not term.slopes, term.covariance)
            for term, (codes, levels) in zip(terms, encoded, strict=True)
        ]
        design = build_design(factors)
        y, weight, design_matrix = map(design.rows, (y, weight, design_matrix))
        offset, trials = (v if v is None else design.rows(v) for v in (offset, trials))
        place = {at: k for k, at in enumerate(fixed)}
        z, recodings = [], []
        for term in terms:
            values = _row_values(term, lambda at: design_matrix[:, place[at]], len(y))
            recoding = np.eye(1)
            if values is not None:
                recoding = code_random(values, weight, term.covariance)
                values = values @ recoding
            z.append(values)
            recodings.append(recoding)
        solver = self._resolve_solver()
        border, fixed_coding = code_fixed(design_matrix, weight, self.fit_intercept)
        origin, scale = 0.0, 0.0
        if family.name == "gaussian":
            y = y if offset is None else y - offset
            scale = float(np.sqrt(np.mean(y**2)))
            origin = _least_squares(y, border, weight)
        else:
            border[:, -1] = y
        names = [table.effect_name(at) for at in fixed]
        if fixed_coding.aliased.any():
            out = np.flatnonzero(fixed_coding.aliased) - int(self.fit_intercept)
            listed = ", ".join(repr(names[i]) for i in out)
            messages.append(
                f"the fixed columns {listed} are constant or depend linearly on the "
                "columns before them: their coefficients are set to 0 (drop them)"
            )
        engine = design.plan.chain + design.plan.core
        problem = Problem(
            design=design,
            border=border,
            z=tuple(z[r] for r in engine),
            weight=weight,
            scale=scale,
            family=family.name,
            offset=offset,
            trials=trials,
            reml=bool(getattr(self, "reml", False)),
            start=self._start(terms, engine, recodings),
        )
        solution = solver.solve(problem)
        solution = _in_user_order(solution, design, factors)
        solution = replace(solution, coef=solution.coef + origin)

        self._terms = terms
        self._fixed_columns = tuple(fixed)
        self._named = columns
        self._from_metadata = groups is not None
        self._column_range = np.ptp(design_matrix, axis=0)
        self.solver_ = solver
        self._store_fixed(names, solution, fixed_coding)
        self._store_random(terms, encoded, recodings, solution)
        self._store_likelihood(solution, fixed_coding, factors, weight)
        self._report(messages, solution, terms, hopeless)
        return self

    def _check_target(self, y, table):
        y = column_or_1d(y, warn=True)
        check_consistent_length(y, np.empty(table.n_rows))
        if y.dtype.kind not in "biuf":
            if y.dtype.kind == "c":
                raise ValueError("Complex data not supported: y holds complex numbers.")
            y = y.astype(np.float64)
        assert_all_finite(y, input_name="y", estimator_name=type(self).__name__)
        return y.astype(np.float64)

    def _check_rows(self, y):
        """Refuse targets (rows of weight zero left out) that cannot be fitted."""

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
                    "role (group, slope, offset, exposure or trials)."
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

    def _check_factors(self, terms, encoded, weight):
        n_rows = weight.sum()
        for term, (_, levels) in zip(terms, encoded, strict=True):
            if len(levels) < 2:
                only = _plain(levels[0])
                raise ValueError(
                    f"The factor {term.name!r} has one level ({only!r}): its variance "
                    "cannot be estimated. Leave it out of groups."
                )
            if self._family == "gaussian" and term.intercept and len(levels) >= n_rows:
                raise ValueError(
                    f"The factor {term.name!r} has as many levels ({len(levels)}) as "
                    f"there are rows ({n_rows:g}): its variance cannot be told from "
                    "the residual variance. Use a coarser grouping or more rows."
                )

    def _resolve_solver(self):
        solver = self.solver
        solver = SOLVERS[solver]() if isinstance(solver, str) else solver
        solver._validate_params()
        return solver

    @staticmethod
    def _offset(special, rows=None):
        """Offset of the linear predictor, the log of the exposure included."""
        offset = special.get("offset")
        exposure = special.get("exposure")
        if exposure is None:
            return offset
        low = np.flatnonzero(exposure <= 0)
        if len(low):
            row = low[0] if rows is None else rows[low[0]]
            raise ValueError(
                f"The exposure of row {row} is {exposure[low[0]]:g}: exposures are "
                "positive (a count over no time or area says nothing; drop such rows)."
            )
        return np.log(exposure) if offset is None else offset + np.log(exposure)

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

    def _store_fixed(self, names, solution, coding):
        estimate = coding.transform @ solution.coef
        covariance = coding.transform @ solution.coef_covariance @ coding.transform.T
        std_error = np.sqrt(np.diag(covariance))
        std_error[coding.aliased] = np.nan
        covariance[coding.aliased] = covariance[:, coding.aliased] = np.nan
        self._coef_covariance = covariance
        first = int(self.fit_intercept)
        self.intercept_ = float(estimate[0]) if first else 0.0
        self.coef_ = estimate[first:]
        self.coef_names_ = list(names)
        self.fixed_effects_ = pd.DataFrame(
            {"estimate": estimate, "std_error": std_error},
            index=["Intercept"] * first + self.coef_names_,
        )

    def _store_random(self, terms, encoded, recodings, solution):
        self.random_effects_, self.random_effects_std_ = {}, {}
        self.random_effects_covariance_, self._posteriors = {}, {}
        for r, (term, (_, levels), recoding) in enumerate(
            zip(terms, encoded, recodings, strict=True)
        ):
            effects = list(term.effects)
            b = (recoding @ solution.means[r]).T
            blocks = np.moveaxis(solution.posteriors[r], -1, 0)
            blocks = recoding @ blocks @ recoding.T
            variance = np.diagonal(blocks, axis1=1, axis2=2)
            self._posteriors[term.name] = blocks
            self.random_effects_[term.name] = pd.DataFrame(b, levels, effects)
            self.random_effects_std_[term.name] = pd.DataFrame(
                np.sqrt(np.maximum(variance, 0.0)), levels, effects
            )
            self.random_effects_covariance_[term.name] = (
                recoding @ solution.covariances[r] @ recoding.T
            )
        if solution.noise_variance is not None:
            self.noise_variance_ = solution.noise_variance
        self.variance_components_ = _components_frame(
            terms, self.random_effects_covariance_, solution.noise_variance
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
        self.converged_ = solution.outcome is None
        self.n_iter_ = solution.n_iter
        self.history_ = solution.history
        self.singular_ = bool(solution.singular)

    def _report(self, messages, solution, terms, hopeless):
        """At most one warning, with all there is to say."""
        if hopeless is not None:
            messages.append(
                f"{hopeless}. The likelihood has no maximum, and the estimates are as "
                "far out as they had to be: collect more data"
            )
        elif solution.outcome is not None:
            messages.append(
                f"the fit did not converge: {solution.outcome}. Give the solver a "
                "larger max_iter, or simplify the random effects"
            )
        if hopeless is None:
            messages += self._separation()
        for r in solution.singular:
            name = terms[r].name
            if not np.any(np.diag(self.random_effects_covariance_[name]) > 0):
                messages.append(
                    f"the variance of {name!r} is estimated as zero: the model is the "
                    "same without it"
                )
            else:
                messages.append(
                    f"the covariance of the effects of {name!r} is estimated as "
                    "singular: a simpler one (fewer slopes, or covariance='diag') "
                    "fits as well"
                )
        if messages:
            text = "; ".join(messages)
            bare = len(messages) == 1 and solution.outcome is None and not hopeless
            category = ConvergenceWarning
            if bare and not solution.singular:
                category = UserWarning
            warnings.warn(text[0].upper() + text[1:] + ".", category, stacklevel=4)

    def _separation(self):
        """Name the columns whose coefficients want to be infinite."""
        if self._family == "gaussian":
            return []
        first = int(self.fit_intercept)
        frame, scale = self.fixed_effects_.iloc[first:], self._column_range
        size = np.abs(frame["estimate"].to_numpy()) * scale
        loose = frame["std_error"].to_numpy() * scale > _SEPARATED
        names = list(frame.index[loose & (size > _FAR)])
        if first and not names and self._is_intercept_loose():
            names = ["Intercept"]
        if not names:
            return []
        *most, last = map(repr, names)
        named = (
            f"{', '.join(most)} and {last} separate" if most else f"{last} separates"
        )
        return [
            f"{named} the outcomes completely: the likelihood grows without end in "
            "that direction, and the estimate is as large as it had to be. Drop the "
            "column, merge its rare categories or collect more data"
        ]

    def _is_intercept_loose(self):
        """Whether the level of the linear predictor wants to be infinite.

        Far from the data it may well be uncertain: what counts is its error with the
        coefficients known.
        """
        known = ~np.isnan(np.diag(self._coef_covariance))
        precision = np.linalg.pinv(self._coef_covariance[np.ix_(known, known)])
        error = 1.0 / np.sqrt(max(precision[0, 0], 1e-300))
        return error > _SEPARATED and abs(np.ravel(self.intercept_)[0]) > _FAR

    # ------------------------------------------------------------- prediction

    def linear_predictor(self, X, *, groups=None, level="conditional"):
        """Linear predictor of each row.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to add the effects of the levels seen in fit; ``"population"``
            treats every level as unseen.

        Returns
        -------
        eta : ndarray of shape (n_samples,)
            Fixed part, offset and random effects, in the units of the linear
            predictor. A level not seen in fit adds nothing, row by row.
        """
        return self._predict_parts(X, groups, level)[0]

    def _predict_parts(self, X, groups, level, *, spread=False):
        """Linear predictor, variance of its random part, and the columns with a role.

        The variance is 0.0 unless `spread`.
        """
        check_is_fitted(self)
        if level not in ("conditional", "population"):
            raise ValueError(
                f"level must be 'conditional' or 'population', got {level!r}."
            )
        table = Table(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        special = {
            name: table.numeric([at], name)[:, 0] for name, at in self._named.items()
        }
        levels = self._levels(table, groups, level)
        effects, spreads = [], []
        for term, codes, z in levels:
            b = self.random_effects_[term.name].to_numpy()
            effects.append((codes, z, b))
            prior = self.random_effects_covariance_[term.name]
            spreads.append((codes, z, self._posteriors[term.name], prior))
        eta = _prediction.linear_predictor(
            table.numeric(self._fixed_columns),
            np.ravel(self.coef_),
            float(np.ravel(self.intercept_)[0]),
            self._offset(special),
            effects,
        )
        variance = 0.0
        if spread:
            variance = _prediction.random_variance(table.n_rows, spreads)
        return eta, variance, special

    def _mean(self, X, groups, level):
        """Mean of the response, random effects integrated out."""
        eta, variance, special = self._predict_parts(X, groups, level, spread=True)
        return FAMILIES[self._family].integrated_mean(eta, variance), special

    def _explained_deviance(self, X, y, sample_weight, groups):
        mean, special = self._mean(X, groups, "conditional")
        family = FAMILIES[self._family]
        y = column_or_1d(y).astype(np.float64)
        check_consistent_length(y, mean)
        assert_all_finite(y, input_name="y", estimator_name=type(self).__name__)
        trials = special.get("trials", np.ones(len(y)))
        family.check(y, trials, np.arange(len(y)))
        return explained_deviance(family, y, mean, trials, sample_weight)

    def _levels(self, table, groups, level):
        """Term, level and row values of every factor, for new rows."""
        population = level == "population"
        labels = [None] * len(self._terms)
        if not population:
            labels = self._labels_to_predict(table, groups)
        unseen, out = [], []
        for term, parts in zip(self._terms, labels, strict=True):
            levels = self.random_effects_[term.name].index
            if population:
                codes = np.full(table.n_rows, -1, dtype=np.int32)
            else:
                codes = _groups.lookup(levels, parts)
                if self.handle_unknown != "ignore" and np.any(codes < 0):
                    unseen.append(
                        _groups.unseen_report(term.name, parts, codes, levels)
                    )
            z = _row_values(term, lambda at: table.numeric([at])[:, 0], table.n_rows)
            out.append((term, codes, z))
        if unseen and self.handle_unknown == "error":
            raise ValueError(
                "; ".join(unseen) + ". Use handle_unknown='ignore' to predict such "
                "rows without an effect."
            )
        if unseen:
            warnings.warn(
                "; ".join(unseen) + ": they are predicted without an effect.",
                UserWarning,
                stacklevel=5,
            )
        return out

    def _labels_to_predict(self, table, groups):
        if not self._from_metadata:
            if groups is not None:
                source = "was fitted without groups"
                if self.groups is not None:
                    source = (
                        "reads its groups from X "
                        f"(groups={self.groups!r} in the constructor)"
                    )
                raise ValueError(
                    f"groups= was given to a model that {source}: leave it out."
                )
            return [_groups.term_labels(table, term)[0] for term in self._terms]
        if groups is None:
            raise ValueError(
                "This model was fitted with fit(groups=...): pass groups= here as "
                "well, or level='population'. Scorers and cross-validation never pass "
                "it: there, put the groups into X and name them in the constructor."
            )
        names = [term.name for term in self._terms]
        given, labels = _groups.resolve_metadata_terms(groups, table)
        if len(labels) != len(names):
            raise ValueError(
                f"groups has {len(labels)} factors, but the model was fitted with "
                f"{len(names)} ({', '.join(map(repr, names))})."
            )
        by_name = {term.name: part for term, part in zip(given, labels, strict=True)}
        if set(by_name) == set(names):
            return [[by_name[name]] for name in names]
        if len(names) > 1 and hasattr(groups, "columns"):
            raise ValueError(
                f"groups has the columns {', '.join(map(repr, by_name))}, but the "
                f"model was fitted with {', '.join(map(repr, names))}."
            )
        return [[part] for part in labels]


def _plain(label):
    """A label as the user would type it."""
    return label.item() if isinstance(label, np.generic) else label


def _least_squares(y, border, weight):
    """Write y less its least-squares fit into the border; return the fit."""
    columns, total = border[:, :-1], weight.sum()
    origin = np.zeros(columns.shape[1])
    for _ in range(2):  # the second pass removes the rounding of the first
        step = (weight * y) @ columns / total
        y = y - columns @ step
        origin += step
    border[:, -1] = y
    return origin


def _row_values(term, column, n_rows):
    """Row values (n_rows, q) of a term's effects; None for an intercept alone."""
    if not term.slopes:
        return None
    first = int(term.intercept)
    values = np.ones((n_rows, term.n_effects))
    for k, at in enumerate(term.slopes):
        values[:, first + k] = column(at)
    return values


def _present_levels(codes, levels):
    """Codes and levels after rows have been left out."""
    kept, codes = np.unique(codes, return_inverse=True)
    return codes.astype(np.int32), levels[kept]


def _in_user_order(solution, design, factors):
    """The solution with factors and levels as the user had them."""
    engine = design.plan.chain + design.plan.core
    place = {user: at for at, user in enumerate(engine)}
    users = range(len(factors))
    return replace(
        solution,
        covariances=tuple(solution.covariances[place[r]] for r in users),
        means=tuple(design.to_user(place[r], solution.means[place[r]]) for r in users),
        posteriors=tuple(
            design.to_user(place[r], solution.posteriors[place[r]]) for r in users
        ),
        singular=tuple(sorted(engine[r] for r in solution.singular)),
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
