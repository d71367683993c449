"""New rows without a new fit: effects of levels at estimates that stay as they are."""

import copy
import warnings
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skglmm._dask.update import NewRows, read_new_rows
from skglmm._fitted.prediction import root
from skglmm._fitted.report import sentences, warn
from skglmm._fitted.state import family_of
from skglmm._problem.design import Factor, build_design
from skglmm._problem.problem import Problem
from skglmm._reading.labels import extend
from skglmm._reading.table import is_dask
from skglmm._reading.target import read_weight
from skglmm._reading.terms import row_values


class UpdateMixin:
    """Conditional effects of levels that have appeared, or grown, after the fit."""

    def update_random_effects(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Model with the effects of the levels in new rows, and nothing else changed.

        Fixed effects, covariances and the residual variance stay as they are. What was
        known of a level before the new rows is its prior: the posterior of the fit
        for a level that the fit has seen, N(0, Sigma) for any other. So give each
        row once: those of the fit count already.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        y : array-like of shape (n_samples,)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies, as in `fit`.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.

        Returns
        -------
        model : object
            A copy of this model with other ``random_effects_`` and
            ``random_effects_std_``; levels that are new come last. This model is not
            changed.

        Raises
        ------
        ValueError
            If a label is missing, or a column holds what it must not hold.

        Notes
        -----
        For the linear model with one factor the effects are those that all rows
        together would give at these estimates. Of several factors the covariances
        between levels of different factors that the rows of the fit have left behind
        are not kept; those of the new rows are exact. For counts and binary outcomes
        a level's posterior enters as the Gaussian that the solver has found.
        Predictions take the new effects as independent of the errors of the fixed
        effects.

        Examples
        --------
        A model of 17 subjects meets the eighteenth:

        >>> from skglmm import MixedLinearRegressor
        >>> from skglmm.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
        >>> new = X["Subject"].astype(str) == "372"
        >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"])
        >>> model = model.fit(X[~new], y[~new])
        >>> updated = model.update_random_effects(X[new], y[new])
        >>> updated.random_effects_["Subject"].shape
        (18, 2)
        >>> updated.random_effects_["Subject"].to_numpy()[-1].round(1)
        array([13. ,  1.4])
        """
        check_is_fitted(self)
        if not self._fitted.terms:
            raise ValueError(
                "The model has no random effects to update: name its groups, and fit "
                "it again."
            )
        return self._updated(X, y, sample_weight, groups)

    def _updated(self, X, y, sample_weight, groups):
        if is_dask(X):
            rows = read_new_rows(self, X, y, sample_weight)
        else:
            rows = self._new_rows(X, y, sample_weight, groups)
            rows = self._met_rows(rows, self._table(X), groups)
        if rows.messages:
            warn(sentences(rows.messages))
        rows = self._apart(rows)
        met = [
            _Met(term.name, codes, levels, place, *self._priors(term.name, place), z)
            for term, codes, (levels, place), z in zip(
                self._fitted.terms, rows.codes, rows.found, rows.z, strict=True
            )
        ]
        found = self._condition(met, rows.y, rows.offset, rows.weight, rows.trials)
        return self._with_effects(met, found)

    def _apart(self, rows):
        """The rows as the solver is to see them."""
        return rows

    def _in_common(self, n_rows):
        """Factors beside those of the model, which have no parameters."""
        return []

    def _new_rows(self, X, y, sample_weight, groups):
        """New rows as numbers, but for their levels."""
        table = self._table(X)
        y = self._read_target(y, table.n_rows, fitted=True).values
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = read_weight(sample_weight, y)
        labels = self._labels_to_predict(table, groups)
        at_population, special = self._rows(X, groups, "population", observed=True)
        weight = weight * special.get("precision", 1.0)
        trials = special.get("trials")
        messages = family_of(self).check(y, trials, np.arange(len(y)))
        offset = at_population.mean() + self._part_of_levels(table, labels)
        return NewRows([], [], [], y, offset, weight, trials, messages)

    def _met_rows(self, rows, table, groups):
        """The rows with their levels; what is doubtful joins the messages."""
        labels = self._labels_to_predict(table, groups)
        codes, found, values, messages = [], [], [], list(rows.messages)
        for term, columns in zip(self._fitted.terms, labels, strict=True):
            known, doubts = self.random_effects_[term.name].index, []
            of_rows, levels, place = extend(known, columns, term.name, doubts)
            messages += [f"the factor {term.name!r}: {doubt}" for doubt in doubts]
            z = row_values(term, lambda at: table.numeric([at])[:, 0], table.n_rows)
            codes.append(of_rows)
            found.append((levels, place))
            values.append(np.ones((table.n_rows, 1)) if z is None else z)
        return replace(rows, codes=codes, found=found, z=values, messages=messages)

    def _priors(self, name, place):
        """Means (J, q) and roots (J, q, q) of what is known of levels."""
        old = self.random_effects_[name].to_numpy()
        prior = self.random_effects_covariance_[name]
        mean = np.where(place[:, None] >= 0, old[place], 0.0)
        blocks = np.where(
            place[:, None, None] >= 0, self._fitted.posteriors[name][place], prior
        )
        return mean, root(blocks)

    def _condition(self, met, y, offset, weight, trials):
        """Means and covariances of the whitened effects, by user level.

        The offset is the linear predictor of each row but for its random part.
        """
        offset = sum((factor.expected() for factor in met), offset)
        scale = np.sqrt(getattr(self, "noise_variance_", 1.0))
        whitened = [factor.whitened() / scale for factor in met]
        factors = [
            Factor(factor.codes, len(factor.levels), z.shape[1], False)
            for factor, z in zip(met, whitened, strict=True)
        ] + self._in_common(len(y))
        whitened += [None] * (len(factors) - len(met))
        design = build_design(factors, advice="Give fewer rows at a time.")
        engine = design.plan.chain + design.plan.core
        linear = family_of(self).is_linear
        target = (y - offset) / scale if linear else y
        problem = Problem(
            design=design,
            border=design.rows(target[:, None]),
            z=tuple(
                None if whitened[r] is None else design.rows(whitened[r])
                for r in engine
            ),
            weight=design.rows(weight),
            family=family_of(self),
            offset=None if linear else design.rows(offset),
            trials=None if trials is None else design.rows(trials),
        )
        means, posteriors = self.solver_.posterior(problem)
        out = [None] * len(met)
        for at, r in enumerate(engine):
            if r >= len(met):
                continue
            u, block = design.to_user(at, means[at]), design.to_user(at, posteriors[at])
            out[r] = u.T, np.moveaxis(block, -1, 0)
        return out

    def _with_effects(self, met, found):
        """A copy of this model with what was found of levels, whitened, in it."""
        model = copy.deepcopy(self)
        model.__dict__.pop("random_effects_draws_", None)
        model.__dict__.pop("random_effects_trace_", None)
        for factor, (u, covariance) in zip(met, found, strict=True):
            b = factor.mean + np.einsum("jik,jk->ji", factor.half, u)
            blocks = factor.half @ covariance @ np.swapaxes(factor.half, 1, 2)
            model._replace_effects(factor.name, factor.levels, factor.place, b, blocks)
        return model

    def _replace_effects(self, name, levels, place, b, blocks):
        """Put effects of levels in the place of old ones, or behind them."""
        old, new = place >= 0, place < 0
        frame = self.random_effects_[name]
        with warnings.catch_warnings():
            # pandas warns of labels that it cannot sort, and keeps their order
            warnings.simplefilter("ignore", RuntimeWarning)
            index = frame.index.append(levels[new])
        index.names = frame.index.names
        means = np.concatenate([frame.to_numpy(), b[new]])
        means[place[old]] = b[old]
        covariances = np.concatenate([self._fitted.posteriors[name], blocks[new]])
        covariances[place[old]] = blocks[old]
        self.random_effects_[name] = pd.DataFrame(means, index, frame.columns)
        sd = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0.0))
        self.random_effects_std_[name] = pd.DataFrame(sd, index, frame.columns)
        self._fitted.posteriors[name] = covariances
        if name in self._fitted.shifts:
            shifts = self._fitted.shifts[name]
            blank = np.zeros((int(new.sum()), *shifts.shape[1:]))
            shifts = np.concatenate([shifts, blank])
            shifts[place[old]] = 0.0
            self._fitted.shifts[name] = shifts


@dataclass(frozen=True)
class _Met:
    """Levels of a factor in new rows, and what is known of them before.

    Parameters
    ----------
    name : str
    codes : ndarray of int of shape (n_rows,)
        Level of each row.
    levels : Index of length J
    place : ndarray of int of shape (J,)
        Where the level stands among those of the fit, or -1.
    mean : ndarray of shape (J, q)
    half : ndarray of shape (J, q, q)
        Root of the prior covariance.
    z : ndarray of shape (n_rows, q)
    """

    name: str
    codes: np.ndarray
    levels: pd.Index
    place: np.ndarray
    mean: np.ndarray
    half: np.ndarray
    z: np.ndarray

    def expected(self):
        """Random part (n_rows,) at the prior means."""
        return np.einsum("ij,ij->i", self.z, self.mean[self.codes])

    def whitened(self):
        """Values (n_rows, q) of the columns for effects whose prior is N(0, I)."""
        return np.einsum("ij,ijk->ik", self.z, self.half[self.codes])
