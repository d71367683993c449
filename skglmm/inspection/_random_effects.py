"""Random effects with their intervals."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.base import BaseEstimator

from skglmm.inspection._axes import (
    NEUTRAL,
    check_axes,
    kept,
    names_options,
    percent,
    short,
)
from skglmm.inspection._levels import choose_effects, choose_factor, sizes_of

_ORDERS = ("effect", "size", "label")


class RandomEffectsDisplay:
    """Effects of the levels of a factor, with intervals: a caterpillar.

    Levels are sorted by their effect, their size or their label. Up to `most_labels`
    of them have their label beside them; of more the highest and lowest are named.

    Parameters
    ----------
    effects : DataFrame
        Indexed by level, its columns (effect, ``"estimate"``), (effect, ``"lower"``)
        and (effect, ``"upper"``).
    factor : str or int
        The grouping factor.
    coverage : float, default=0.95
        Probability of the intervals.
    sizes : Series, default=None
        Number of rows of each level.

    Attributes
    ----------
    ax_ : Axes or ndarray of Axes
        One for each effect.
    figure_ : Figure
        What they are on.

    See Also
    --------
    RandomEffectsDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inspection import RandomEffectsDisplay
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> display = RandomEffectsDisplay.from_estimator(model)
    >>> [axes.get_xlabel() for axes in display.ax_]
    ['Intercept', 'Days']
    """

    def __init__(
        self,
        effects: pd.DataFrame,
        *,
        factor: str | int,
        coverage: float = 0.95,
        sizes: pd.Series | None = None,
    ) -> None:
        self.effects = effects
        self.factor = factor
        self.coverage = coverage
        self.sizes = sizes

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        factor: str | int | None = None,
        effects: str | list[str] | None = None,
        coverage: float = 0.95,
        sort_by: str = "effect",
        most_labels: int = 40,
        n_named: int = 5,
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw the random effects of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X : dataframe or array-like of shape (n_samples, n_features), default=None
            Rows of the fit, for ``sort_by="size"`` alone.
        groups : array-like, default=None
            Group labels of X, for a model that was fitted with ``fit(groups=)``.
        factor : str or int, default=None
            The grouping factor; the only one if there is one.
        effects : str or list of str, default=None
            Which of its effects; all by default.
        coverage : float, default=0.95
            Probability of the intervals, which are normal with the standard
            deviations of `random_effects_std_`.
        sort_by : {"effect", "size", "label"}, default="effect"
            Order of the levels from below: by the first effect drawn, by their number
            of rows, or by label.
        most_labels : int, default=40
            Number of levels up to which each has its label.
        n_named : int, default=5
            Of more levels, how many are named at either end.
        ax : Axes or array-like of Axes, default=None
            Where to draw, one for each effect; new ones by default.
        **line_options
            Of the intervals, as ``matplotlib.axes.Axes.hlines`` has them.

        Returns
        -------
        display : RandomEffectsDisplay
        """
        factor = choose_factor(model, factor)
        chosen = choose_effects(model, factor, effects)
        estimate = model.random_effects_[factor][chosen]
        width = ndtri(0.5 + 0.5 * coverage) * model.random_effects_std_[factor][chosen]
        parts = {"estimate": estimate, "lower": estimate - width}
        parts["upper"] = estimate + width
        table = pd.concat(parts, axis=1).swaplevel(axis=1)
        sizes = None if X is None else sizes_of(model, X, factor, groups)
        display = cls(table, factor=factor, coverage=coverage, sizes=sizes)
        return display.plot(
            sort_by=sort_by,
            most_labels=most_labels,
            n_named=n_named,
            ax=ax,
            **line_options,
        )

    @names_options
    def plot(
        self,
        *,
        sort_by: str = "effect",
        most_labels: int = 40,
        n_named: int = 5,
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw it.

        Parameters
        ----------
        sort_by : {"effect", "size", "label"}, default="effect"
        most_labels : int, default=40
        n_named : int, default=5
        ax : Axes or array-like of Axes, default=None
        **line_options
            See `from_estimator`.

        Returns
        -------
        display : RandomEffectsDisplay
            Itself.
        """
        effects = list(dict.fromkeys(self.effects.columns.get_level_values(0)))
        order, n = self._order(effects[0], sort_by), len(self.effects)
        labelled = n <= most_labels
        height = max(2.2, 0.2 * n + 1.0) if labelled else 4.2
        figure, axes = check_axes(
            ax,
            len(effects),
            type(self).__name__,
            size=(4.8 if len(effects) == 1 else 3.2, height),
            sharey=True,
        )
        table = self.effects.iloc[order]
        words_of_bars = f"with {percent(self.coverage)} intervals"
        for one, effect in zip(axes, effects, strict=True):
            _caterpillar(one, table[effect], line_options)
            one.set_xlabel(effect if ax is None else f"{effect}, {words_of_bars}")
            one.margins(y=0.5 / n if labelled else 0.02)
            if (
                not labelled
                and n_named
                and sort_by == "effect"
                and effect == effects[0]
            ):
                _name_ends(one, table.index, n_named)
        if labelled:
            axes[0].set_yticks(range(n), [short(label) for label in table.index])
        else:
            axes[0].set_yticks([])
        words = {"effect": "", "size": ", by size", "label": ", by label"}[sort_by]
        many = "" if labelled else f"{n:,} levels of "
        axes[0].set_ylabel(f"{many}{self.factor}{words}")
        if ax is None:
            figure.supxlabel(words_of_bars, fontsize="medium")
        self.figure_, self.ax_ = figure, kept(axes)
        return self

    def _order(self, effect, sort_by):
        if sort_by not in _ORDERS:
            raise ValueError(f"sort_by is one of {_ORDERS}, got {sort_by!r}.")
        if sort_by == "label":
            return np.arange(len(self.effects))[::-1]
        if sort_by == "effect":
            return np.argsort(
                self.effects[effect, "estimate"].to_numpy(), kind="stable"
            )
        if self.sizes is None:
            raise ValueError(
                "sort_by='size' needs the number of rows of each level: give X, the "
                "rows of the fit."
            )
        return np.argsort(self.sizes.to_numpy(), kind="stable")


def _caterpillar(ax, table, options):
    n = len(table)
    at = np.arange(n)
    ax.axvline(0.0, color=NEUTRAL, lw=0.8, zorder=0)
    options = {"color": "C0", "lw": np.clip(150.0 / n, 0.2, 1.5)} | options
    if n > 300:
        options = {"alpha": 0.4} | options
    ax.hlines(at, table["lower"], table["upper"], **options)
    size = np.clip(250.0 / n, 0.3, 4.0)
    ax.plot(table["estimate"], at, "o", ms=size, color="C0" if n <= 300 else "C1")


def _name_ends(ax, labels, n_named):
    """Names of the highest in the corner above, and of the lowest below, both empty."""
    highest = [short(label, 18) for label in labels[-n_named:][::-1]]
    lowest = [short(label, 18) for label in labels[:n_named][::-1]]
    for text, x, y, side in (
        ("\n".join(["highest:", *highest]), 0.03, 0.98, "left"),
        ("\n".join(["lowest:", *lowest]), 0.97, 0.02, "right"),
    ):
        above = "top" if side == "left" else "bottom"
        box = {"facecolor": ax.get_facecolor(), "alpha": 0.7, "lw": 0.0, "pad": 1.5}
        at = {"transform": ax.transAxes, "ha": side, "va": above}
        ax.text(x, y, text, bbox=box, **at)
