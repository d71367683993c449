"""Shares of variance, and standard deviations with intervals."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skglmm.inference._parameters import parameters_of
from skglmm.inference._rows import check_model
from skglmm.inspection._axes import check_axes, kept, names_options, percent, short


class VarianceComponentsDisplay:
    """How the variance divides among fixed part, groups and residual.

    Without intervals one bar a source, its share of the variance of the linear
    predictor with the residual (see ``summary``). With intervals the standard
    deviations and what is known of them.

    Parameters
    ----------
    shares : Series
        Variance by source, as ``summary().variance_partition``.
    intervals : DataFrame, default=None
        Standard deviations by (group, effect) with columns ``estimate``, ``lower`` and
        ``upper``.
    coverage : float, default=0.95
        Probability of the intervals.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    VarianceComponentsDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_penicillin
    >>> from skglmm.inspection import VarianceComponentsDisplay
    >>> X, y = load_penicillin(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor(groups=["plate", "sample"]).fit(X, y)
    >>> display = VarianceComponentsDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel()
    'share of the variance'
    """

    def __init__(
        self,
        shares: pd.Series,
        *,
        intervals: pd.DataFrame | None = None,
        coverage: float = 0.95,
    ) -> None:
        self.shares = shares
        self.intervals = intervals
        self.coverage = coverage

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        *,
        intervals: pd.DataFrame | None = None,
        coverage: float = 0.95,
        ax: Any = None,
        **bar_options: Any,
    ) -> Self:
        """Draw the variance components of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        intervals : DataFrame, default=None
            What :func:`skglmm.inference.confidence_intervals` has given for this
            model: its standard deviations are drawn, and not the shares.
        coverage : float, default=0.95
            Probability of these intervals.
        ax : Axes, default=None
            Where to draw; new ones by default.
        **bar_options
            Of the bars or intervals, as ``matplotlib.axes.Axes.barh`` and ``hlines``
            have them.

        Returns
        -------
        display : VarianceComponentsDisplay
        """
        check_model(model)
        check_is_fitted(model)
        table = None
        if intervals is not None:
            table = _deviations(model, intervals)
        shares = model.summary().variance_partition
        display = cls(shares, intervals=table, coverage=coverage)
        return display.plot(ax=ax, **bar_options)

    @names_options
    def plot(self, *, ax: Any = None, **bar_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes, default=None
        **bar_options
            See `from_estimator`.

        Returns
        -------
        display : VarianceComponentsDisplay
            Itself.
        """
        drawn = self.shares if self.intervals is None else self.intervals
        figure, axes = check_axes(
            ax, 1, type(self).__name__, size=(5.2, 0.4 * len(drawn) + 1.0)
        )
        draw = self._plot_shares if self.intervals is None else self._plot_intervals
        draw(axes[0], bar_options)
        self.figure_, self.ax_ = figure, kept(axes)
        return self

    def _plot_shares(self, ax, options):
        share = (self.shares / self.shares.sum()).iloc[::-1]
        at = np.arange(len(share))
        options = {"color": "C0", "height": 0.7} | options
        ax.barh(at, share, **options)
        for y, value in zip(at, share, strict=True):
            inside = value > 0.85
            ax.annotate(
                f"{100.0 * value:.1f} %",
                (value, y),
                xytext=(-4 if inside else 4, 0),
                textcoords="offset points",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else None,
            )
        ax.set_yticks(at, [short(name) for name in share.index])
        ax.set_xlim(0.0, 1.0)
        ax.set_xlabel("share of the variance")

    def _plot_intervals(self, ax, options):
        table = self.intervals.iloc[::-1]
        at = np.arange(len(table))
        options = {"color": "C0", "lw": 1.5} | options
        ax.hlines(at, table["lower"], table["upper"], **options)
        ax.plot(table["estimate"], at, "o", ms=5, color=options["color"])
        names = [
            f"{group}: {effect}" if effect else group for group, effect in table.index
        ]
        ax.set_yticks(at, [short(name, 28) for name in names])
        ax.set_ylim(-0.6, len(table) - 0.4)
        ax.set_xlim(left=0.0)
        ax.set_xlabel(f"standard deviation, {percent(self.coverage)} interval")


def _deviations(model, intervals):
    """Rows of a table of intervals that are standard deviations, with estimates."""
    estimates = parameters_of(model)
    wanted = [
        key
        for key in estimates.index
        if key[0] != "fixed" and not str(key[1]).startswith("corr(")
    ]
    found = [key for key in wanted if key in intervals.index]
    if not found:
        raise ValueError(
            "intervals has no standard deviation of this model: give what "
            "skglmm.inference.confidence_intervals(model, X, y) returns."
        )
    table = intervals.loc[found, ["lower", "upper"]].astype(float)
    return table.assign(estimate=estimates[found])
