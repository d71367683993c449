"""The prediction half of the models: means, intervals and samples for new rows."""

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skglmm._dask.lazy import by_partition
from skglmm._families.base import explained_deviance
from skglmm._fitted.draws import Draws, SharedDraws
from skglmm._fitted.prediction import Effects, Rows
from skglmm._fitted.report import sentences, warn
from skglmm._fitted.state import family_of, fit_columns
from skglmm._fixed.column_model import read_rows
from skglmm._reading.labels import lookup, unseen_report
from skglmm._reading.roles import role_values, row_offset, row_precision
from skglmm._reading.table import Table
from skglmm._reading.target import read_numbers
from skglmm._reading.terms import resolve_metadata_terms, row_values, term_labels


class PredictorMixin:
    """Predictions of a fitted model, with NumPy and SciPy alone."""

    @by_partition
    def linear_predictor(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
        return_std: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
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
        return_std : bool, default=False
            Whether to return standard deviations as well.

        Returns
        -------
        eta : ndarray of shape (n_samples,)
            Fixed part, offset and random effects, in the units of the linear
            predictor. A level not seen in fit adds nothing, row by row.
        std : ndarray of shape (n_samples,)
            Only with ``return_std=True``: the uncertainty of the fixed effects, and of
            the random ones after the data (levels seen in fit) or before any (others).
            The variances of the model are taken as known.

        Examples
        --------
        >>> from skglmm import MixedPoissonRegressor
        >>> from skglmm.datasets import load_grouseticks
        >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
        >>> X = X[["cHEIGHT", "BROOD"]]
        >>> model = MixedPoissonRegressor(groups="BROOD").fit(X, y)
        >>> eta, std = model.linear_predictor(X[:1], return_std=True)
        >>> new, new_std = model.linear_predictor(
        ...     X[:1], level="population", return_std=True
        ... )
        >>> bool(std < new_std)
        True
        """
        rows = self._rows(X, groups, level)[0]
        if not return_std:
            return rows.mean()
        return rows.mean(), np.sqrt(rows.random_variance() + rows.fixed_variance())

    @by_partition
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.95,
        *,
        of: str = "response",
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Interval that holds the response, or its mean, with a given probability.

        The bounds are quantiles, with equal probability outside either of them. The
        linear predictor is normal with the mean and the standard deviation that
        `linear_predictor` gives. The quantiles of its mean are transformed by the
        inverse link; those of the response are quantiles of the normal, the
        Poisson-lognormal or the binomial-logitnormal distribution, whose distribution
        function is computed by quadrature, with an error of about 1e-8.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        coverage : float, default=0.95
            Probability of the interval, between 0 and 1.
        of : {"response", "mean"}, default="response"
            Whether the interval is for a new observation or for its expectation.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bound, in the units of `predict`. Intervals of counts hold
            more than `coverage` where no whole number gives it exactly.

        Examples
        --------
        The ticks on the chicks of a brood that has not been seen:

        >>> from skglmm import MixedPoissonRegressor
        >>> from skglmm.datasets import load_grouseticks
        >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
        >>> X = X[["cHEIGHT", "BROOD"]]
        >>> model = MixedPoissonRegressor(groups="BROOD").fit(X, y)
        >>> model.predict_interval(X[:1], 0.8, level="population")
        array([[0., 9.]])
        """
        if of not in ("response", "mean"):
            raise ValueError(f"of must be 'response' or 'mean', got {of!r}.")
        check_coverage(coverage)
        rows, special = self._rows(X, groups, level, observed=of == "response")
        eta = rows.mean()
        variance = rows.random_variance() + rows.fixed_variance()
        bounds = 0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage
        family = family_of(self)
        if of == "mean":
            std = np.sqrt(variance)
            columns = [self._mean_at(eta + ndtri(p) * std) for p in bounds]
        else:
            size = self._observation_size(special, len(eta))
            columns = [family.quantile(p, eta, variance, size) for p in bounds]
        return np.column_stack(columns)

    @by_partition
    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Random responses.

        Each sample has one draw of the fixed effects and one of the effects of each
        level, so that its rows depend on each other as rows of new data would: rows of
        a level have its effects in common, also if the level was not seen in fit. The
        variances of the model are taken as known.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        n_samples : int, default=1
            Number of samples of all rows.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.
        random_state : int, RandomState instance or None, default=None
            An integer gives the same samples each time.

        Returns
        -------
        y : ndarray of shape (n_rows, n_samples)
            Responses, in the units of `predict`.

        Examples
        --------
        Would the model give counts as large as the largest one?

        >>> from skglmm import MixedPoissonRegressor
        >>> from skglmm.datasets import load_grouseticks
        >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
        >>> X = X[["cHEIGHT", "BROOD"]]
        >>> model = MixedPoissonRegressor(groups="BROOD").fit(X, y)
        >>> samples = model.sample_y(X, 200, random_state=0)
        >>> samples.shape
        (403, 200)
        >>> bool((samples.max(axis=0) >= y.max()).mean() > 0.2)
        True
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        draws = random_state
        if not isinstance(draws, SharedDraws):
            draws = Draws(check_random_state(random_state))
        rows, special, kin = self._rows(X, groups, level, kin=draws.kin, observed=True)
        eta = rows.draw(n_samples, kin, draws)
        size = self._observation_size(special, len(eta))
        if size is not None:
            size = np.reshape(size, (-1, 1))
        return family_of(self).sample(eta, size, draws.random)

    def _mean_at(self, eta):
        """Mean of the response where the linear predictor is known."""
        return family_of(self).inverse_link(eta)

    def _mean_and_slope(self, eta, variance):
        """Mean where the linear predictor is normal, and its derivative in `eta`."""
        family = family_of(self)
        mean = family.integrated_mean(eta, variance)
        return mean, family.integrated_slope(eta, variance)

    def _mean(self, X, groups, level):
        """Mean of the response, random effects integrated out."""
        rows, special = self._rows(X, groups, level)
        family = family_of(self)
        return family.integrated_mean(rows.mean(), rows.random_variance()), special

    def _mean_and_std(self, X, groups, level):
        """Mean of the response, and standard deviation of a new observation."""
        rows, special = self._rows(X, groups, level, observed=True)
        family, eta = family_of(self), rows.mean()
        variance = rows.random_variance()
        mean = family.integrated_mean(eta, variance)
        variance += rows.fixed_variance()
        size = self._observation_size(special, len(eta))
        return mean, np.sqrt(family.variance(eta, variance, size))

    def _predict(self, X, groups, level, return_std):
        if return_std:
            return self._mean_and_std(X, groups, level)
        return self._mean(X, groups, level)[0]

    def _observation_size(self, special, n_rows):
        """What an observation's distribution needs beside its linear predictor."""
        noise_variance = getattr(self, "noise_variance_", None)
        return family_of(self).observation_size(special, n_rows, noise_variance)

    def _explained_deviance(self, X, y, sample_weight, groups):
        mean, special = self._mean(X, groups, "conditional")
        family = family_of(self)
        y = read_numbers(y, len(mean), type(self).__name__).values
        trials = special.get("trials", np.ones(len(y)))
        family.check(y, trials, np.arange(len(y)))
        return explained_deviance(family, y, mean, trials, sample_weight)

    # ------------------------------------------------------------------- rows

    def _rows(self, X, groups, level, *, kin=None, observed=False):
        """The rows as numbers, the columns with a role, and kinship if asked for.

        The function `kin` is that of `Draws`.

        Precisions are read only of rows that are `observed`: means do not have any.
        """
        check_is_fitted(self)
        if level not in ("conditional", "population"):
            raise ValueError(
                f"level must be 'conditional' or 'population', got {level!r}."
            )
        table = self._table(X, level)
        special = self._special(table, observed)
        labels = [None] * len(self._fitted.terms)
        conditional = level == "conditional"
        if conditional or (
            kin and (groups is not None or not self._fitted.from_metadata)
        ):
            labels = self._labels_to_predict(table, groups)
        codes = [np.full(table.n_rows, -1, dtype=np.int32) for _ in labels]
        if conditional:
            codes = self._known_levels(labels)
        coef = np.ravel(getattr(self, "coef_", ()))
        X, gap_variance = read_rows(table, self._fitted, coef, codes)
        kind, fixed = self._fixed_of_rows(coef)
        rows = kind(
            X=X,
            offset=self._offset_with_part(row_offset(special), table, codes),
            **fixed,
            half=self._fitted.coef_half,
            effects=tuple(
                Effects(
                    codes=of_term,
                    z=row_values(
                        term, lambda at: table.numeric([at])[:, 0], table.n_rows
                    ),
                    means=self.random_effects_[term.name].to_numpy(),
                    posteriors=self._fitted.posteriors[term.name],
                    prior=self.random_effects_covariance_[term.name],
                    shifts=self._fitted.shifts.get(term.name),
                )
                for term, of_term in zip(self._fitted.terms, codes, strict=True)
            ),
            gap_variance=gap_variance,
        )
        if kin is None:
            return rows, special
        return rows, special, list(map(kin, labels, codes))

    def _fixed_of_rows(self, coef):
        """What the rows are called, and their fixed effects."""
        return Rows, {"coef": coef, "intercept": float(np.ravel(self.intercept_)[0])}

    def _special(self, table, observed):
        """Columns with a role of their own, by role."""
        named = self._fitted.named
        if not observed:
            named = {name: at for name, at in named.items() if name != "precision"}
        special = role_values(table, named)
        if "precision" in special:
            where = table.describe(self._fitted.named["precision"])
            row_precision(special["precision"], where)
        return special

    def _table(self, X, level="conditional"):
        """The columns of fit in new rows, with the dummies behind them."""
        table = fit_columns(self, X, Table(X), level)
        fitted = self._fitted
        table = fitted.categories.code(table, self.handle_unknown_fixed)
        if fitted.formula is None:
            return table
        return fitted.formula.code(table, fitted.categories)

    def _offset_with_part(self, offset, table, codes):
        """Offset and fixed part, for levels (-1: unseen) of each factor."""
        part = self._fitted.part
        if part is None:
            return offset
        known = None
        if part.factor is not None:
            known = codes[self._fitted.position(part.factor)]
        values = part.predict(table, known)
        return values if offset is None else values + offset

    def _part_of_levels(self, table, labels):
        """What the fixed part of levels seen in fit has beyond that of unseen ones."""
        part = self._fitted.part
        if part is None or part.factor is None:
            return 0.0
        columns = labels[self._fitted.position(part.factor)]
        codes = lookup(self.random_effects_[part.factor].index, columns)
        unseen = np.full_like(codes, -1)
        return part.predict(table, codes) - part.predict(table, unseen)

    def _known_levels(self, labels):
        """Level of each row for each factor, -1 where it was not seen."""
        levels = [self.random_effects_[term.name].index for term in self._fitted.terms]
        names = [term.name for term in self._fitted.terms]
        return known_levels(names, levels, labels, self.handle_unknown, "predict")

    def _labels_to_predict(self, table, groups):
        if not self._fitted.from_metadata:
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
            terms = self._fitted.terms
            absent = [table.absent.intersection(term.columns) for term in terms]
            return [
                None if gone else term_labels(table, term)[0]
                for term, gone in zip(terms, absent, strict=True)
            ]
        if groups is None:
            raise ValueError(
                "This model was fitted with fit(groups=...): pass groups= here as "
                "well, or level='population'. Scorers and cross-validation never pass "
                "it: there, put the groups into X and name them in the constructor."
            )
        names = [term.name for term in self._fitted.terms]
        given, labels = resolve_metadata_terms(groups, table)
        if len(labels) != len(names):
            found = f"{len(labels)} factor{'s' * (len(labels) != 1)}"
            raise ValueError(
                f"groups has {found}, but the model was fitted with {len(names)} "
                f"({', '.join(map(repr, names))}): give the labels of each."
            )
        by_name = {term.name: part for term, part in zip(given, labels, strict=True)}
        if set(by_name) == set(names):
            return [[by_name[name]] for name in names]
        if len(names) > 1 and hasattr(groups, "columns"):
            raise ValueError(
                f"groups has the columns {', '.join(map(repr, by_name))}, but the "
                f"model was fitted with {', '.join(map(repr, names))}: give those."
            )
        return [[part] for part in labels]


def check_coverage(coverage):
    """Refuse what is no probability between 0 and 1."""
    check_scalar(
        coverage,
        "coverage",
        Real,
        min_val=0.0,
        max_val=1.0,
        include_boundaries="neither",
    )


# What becomes of rows with a label that fit has not seen, and the infinitive for it.
_CONSEQUENCES = {
    "predict": (
        "Such rows are predicted without an effect.",
        "predict such rows without an effect",
    ),
    "encode": (
        "The effects of such rows are zero.",
        "give such rows an effect of zero",
    ),
}


def known_levels(names, levels, labels, handle_unknown, purpose):
    """Level of each row for each factor, and what is to be said about labels.

    Parameters
    ----------
    names : list of str
        Names of the factors.
    levels : list of Index
        Levels that fit has seen.
    labels : list
        Label columns of each factor, as `lookup` takes them.
    handle_unknown : {"ignore", "warn", "error"}
    purpose : {"predict", "encode"}

    Returns
    -------
    codes : list of ndarray of shape (n_rows,)
        -1 for a label that was not seen.

    Raises
    ------
    ValueError
        If ``handle_unknown="error"`` and a label was not seen.
    """
    codes, unseen, doubtful = [], [], []
    for name, of_factor, parts in zip(names, levels, labels, strict=True):
        doubts = []
        codes.append(lookup(of_factor, parts, doubts))
        if handle_unknown != "ignore" and np.any(codes[-1] < 0):
            unseen.append(unseen_report(name, parts, codes[-1], doubts))
        elif doubts:
            doubtful.append(f"the factor {name!r}: {'; '.join(doubts)}")
    consequence, infinitive = _CONSEQUENCES[purpose]
    if unseen and handle_unknown == "error":
        raise ValueError(
            f"{sentences(unseen)} Use handle_unknown='ignore' to {infinitive}."
        )
    if unseen or doubtful:
        text = sentences(unseen + doubtful)
        warn(f"{text} {consequence}" if unseen else text)
    return codes
