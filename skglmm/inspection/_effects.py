"""Predictions along a column, for groups and the population."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skglmm._fitted.state import check_one_predictor, fit_columns
from skglmm._reading.table import Table
from skglmm.inference._rows import check_model
from skglmm.inspection._axes import check_axes, kept, names_options, percent, short
from skglmm.inspection._levels import choose_factor, columns_of_factor, sizes_of

_POPULATION = "population"


class EffectsDisplay:
    """Predicted means along one column, for chosen groups and for the population.

    Parameters
    ----------
    curves : DataFrame
        Columns ``group`` (a label, or ``"population"``), ``value`` (of the column),
        ``mean``, ``lower`` and ``upper``.
    column : str or int
        The column of X.
    factor : str, int or None
        The factor whose levels are drawn.
    coverage : float, default=0.95
        Probability of the bands.
    response : str, default="prediction"
        Name of the response.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    EffectsDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inspection import EffectsDisplay
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> display = EffectsDisplay.from_estimator(model, X, "Days", levels=["308", "309"])
    >>> display.curves.groupby("group")["mean"].last().round(1)
    group
    308           430.7
    309           227.6
    population    345.6
    Name: mean, dtype: float64
    """

    def __init__(
        self,
        curves: pd.DataFrame,
        *,
        column: str | int,
        factor: str | int | None,
        coverage: float = 0.95,
        response: str = "prediction",
    ) -> None:
        self.curves = curves
        self.column = column
        self.factor = factor
        self.coverage = coverage
        self.response = response

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        column: str | int,
        *,
        levels: Sequence | int = 5,
        factor: str | int | None = None,
        population: bool = True,
        n_points: int = 50,
        coverage: float = 0.95,
        response: str = "prediction",
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw the predictions of a fitted model along a column.

        The other columns stand still: numbers at their mean, others at the value that
        is most frequent, labels of other factors unknown. A column that was made from
        `column` (a square, a product) stands still as well: in such a model let the
        pipeline or the formula make it.

        Parameters
        ----------
        model : object
            A fitted mixed model that reads its groups from X.
        X : dataframe or array-like of shape (n_samples, n_features)
            Rows that say what is usual: those of the fit.
        column : str or int
            The column to follow, by name or position. Of text all categories are
            drawn, of numbers `n_points` from the least to the largest.
        levels : sequence of labels or int, default=5
            Levels of the factor to draw, or how many of those with the most rows. With
            0 the population alone is drawn, whatever the factors.
        factor : str, int or tuple, default=None
            The grouping factor; the only one if there is one.
        population : bool, default=True
            Whether to draw the population: means over all levels, of which none is
            known.
        n_points : int, default=50
            Number of points of a curve.
        coverage : float, default=0.95
            Probability of the bands, which are of the expected response of known
            levels. The population's is of the expected response of a new level, so that
            it holds the differences between levels, and with crossed factors all bands
            hold those between levels of the other factors. How well the mean of the
            population is known, `skglmm.inference.marginal_means` says.
        response : str, default="prediction"
            Name of the response, with its unit.
        ax : Axes, default=None
            Where to draw; new ones by default.
        **line_options
            Of the curves, as ``matplotlib.axes.Axes.plot`` has them.

        Returns
        -------
        display : EffectsDisplay
        """
        check_model(model)
        check_is_fitted(model)
        check_one_predictor(model, "EffectsDisplay")
        grid = _Grid(model, X, column, n_points)
        alone = isinstance(levels, Integral) and levels == 0
        factor = None if alone else grid.beside(choose_factor(model, factor))
        chosen = () if alone else _chosen_levels(model, X, factor, levels)
        curves = [
            grid.curve(name, labels, "conditional", coverage) for name, labels in chosen
        ]
        if population:
            curves.append(grid.curve(_POPULATION, {}, "population", coverage))
        if not curves:
            raise ValueError("There is nothing to draw: name levels, or population.")
        display = cls(
            pd.concat(curves, ignore_index=True),
            column=column if isinstance(column, str) else f"column {column}",
            factor=factor,
            coverage=coverage,
            response=response,
        )
        return display.plot(ax=ax, **line_options)

    @names_options
    def plot(self, *, ax: Any = None, **line_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes, default=None
        **line_options
            See `from_estimator`.

        Returns
        -------
        display : EffectsDisplay
            Itself.
        """
        figure, axes = check_axes(ax, 1, type(self).__name__, size=(5.2, 3.8))
        ax = axes[0]
        groups = list(self.curves.groupby("group", sort=False))
        numeric = pd.api.types.is_numeric_dtype(self.curves["value"])
        for at, (name, curve) in enumerate(groups):
            whole = name == _POPULATION
            color = "0.5" if whole else f"C{at % 10}"
            style = {"color": color, "lw": 2.0 if whole else 1.5, "label": name}
            if whole:
                style["ls"] = "--"
            bounds = curve["lower"], curve["upper"]
            if numeric:
                ax.plot(curve["value"], curve["mean"], **style | line_options)
                ax.fill_between(curve["value"], *bounds, color=color, alpha=0.15, lw=0)
                continue
            place = np.arange(len(curve)) + 0.6 * ((at + 0.5) / len(groups) - 0.5)
            ax.vlines(place, *bounds, color=color, lw=1.5)
            ax.plot(place, curve["mean"], "o", color=color, label=name)
        if not numeric:
            values = self.curves["value"].drop_duplicates()
            ax.set_xticks(range(len(values)), [short(value) for value in values])
        ax.set_xlabel(self.column)
        ax.set_ylabel(f"{self.response}, {percent(self.coverage)} band")
        ax.legend(title=self.factor, frameon=False, loc="best")
        self.figure_, self.ax_ = figure, kept(axes)
        return self


def _frame(X):
    """X as a dataframe of pandas, its columns by position."""
    if isinstance(X, pd.DataFrame):
        found = X.reset_index(drop=True)
    else:
        native = nw.from_native(X, pass_through=True)
        found = native.to_pandas() if isinstance(native, nw.DataFrame) else None
        found = pd.DataFrame(np.asarray(X)) if found is None else found
    return found.set_axis(range(found.shape[1]), axis=1)


class _Grid:
    """Rows that differ in one column, and may be given labels.

    Parameters
    ----------
    model : BaseMixedModel
    X : dataframe or array-like
    column : str or int
    n_points : int
    """

    def __init__(self, model, X, column, n_points):
        self.model, table = model, fit_columns(model, X, Table(X))
        given, X = Table(X).names or (), table.native
        self.names, self.plain = getattr(X, "columns", None), table.is_array
        if column in given and column not in (table.names or ()):
            raise _no_part(f"column {column!r}")
        frame, self.at = _frame(X), table.position(column, "column")
        fitted = model._fitted
        self.fixed = fitted.needed(frame.shape[1], "population")
        labels = fitted.needed(frame.shape[1]) - self.fixed
        coded = {column.at for column in fitted.categories.columns}
        if self.at in labels:
            raise ValueError(
                f"The {table.describe(self.at)} holds groups: give a column that has "
                "an effect, and the groups in levels."
            )
        if self.at not in self.fixed:
            raise _no_part(table.describe(self.at))
        own = frame[self.at].dropna()
        numeric = is_numeric_dtype(own) and not is_bool_dtype(own)
        numeric = numeric and self.at not in coded
        if numeric and own.nunique() > 2:
            self.values = np.linspace(float(own.min()), float(own.max()), n_points)
        else:
            self.values = np.sort(own.unique())
        rows = {
            at: None if at in labels else self._usual(frame[at], at in coded)
            for at in frame
        }
        self.rows = pd.DataFrame(rows, index=range(len(self.values)))
        self.rows[self.at] = pd.Series(self.values).astype(
            own.dtype if not numeric else float
        )

    @staticmethod
    def _usual(column, is_coded):
        """The mean of numbers, of categories the one that is most frequent."""
        if is_numeric_dtype(column) and not is_bool_dtype(column) and not is_coded:
            return column.mean()
        return next(iter(column.mode()), None)

    def beside(self, factor):
        """The factor, unless its labels change along the curve."""
        if self.at in columns_of_factor(self.model, factor):
            raise ValueError(
                f"Along the column {self.at if self.plain else self.names[self.at]!r} "
                f"the levels of {factor!r} change: name another factor, or levels=0 "
                "for the population alone."
            )
        return factor

    def _mean(self, rows, level):
        if hasattr(self.model, "predict_score"):
            return self.model.predict_score(rows, level=level)
        if hasattr(self.model, "predict_proba"):
            return self.model.predict_proba(rows, level=level)[:, -1]
        return self.model.predict(rows, level=level)

    def curve(self, name, labels, level, coverage):
        """Means and their band, with labels at some positions."""
        rows = self.rows.copy()
        for at, label in labels.items():
            labelled = pd.Series([label] * len(rows), dtype=object)
            rows[at] = labelled.infer_objects() if at in self.fixed else labelled
        if self.plain:
            rows = rows.to_numpy(dtype=object)
        else:
            rows.columns = list(self.names)
        low, high = self.model.predict_interval(
            rows, coverage, of="mean", level=level
        ).T
        return pd.DataFrame(
            {
                "group": name,
                "value": self.values,
                "mean": self._mean(rows, level),
                "lower": low,
                "upper": high,
            }
        )


def _no_part(column):
    return ValueError(
        f"The {column} has no part in this model, whose predictions are the same "
        "whatever it is: give a column that has an effect."
    )


def _chosen_levels(model, X, factor, levels):
    """Labels to draw, each as (name, labels by position)."""
    columns = columns_of_factor(model, factor)
    if not columns:
        raise ValueError(
            "EffectsDisplay needs a model that reads its groups from X: name them in "
            "the constructor (groups=)."
        )
    known = model.random_effects_[factor].index
    if isinstance(levels, Integral):
        sizes = sizes_of(model, X, factor)
        chosen = sizes.sort_values(ascending=False, kind="stable").index[:levels]
        chosen = [label for label in known if label in set(chosen)]
    else:
        chosen = list(levels)
    unknown = [label for label in chosen if label not in known]
    if unknown:
        raise ValueError(
            f"levels has {unknown[0]!r}, and {factor!r} has no such level in fit: "
            f"give labels of model.random_effects_[{factor!r}].index."
        )
    for label in chosen:
        parts = label if len(columns) > 1 else (label,)
        yield short(label), dict(zip(columns, parts, strict=True))
