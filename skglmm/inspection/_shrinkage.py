"""What the model has made of the levels' own estimates."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._fitted.state import check_one_predictor
from skglmm.inspection._axes import (
    NEUTRAL,
    check_axes,
    kept,
    logarithmic,
    names_options,
)
from skglmm.inspection._levels import choose_effects, choose_factor, sizes_of
from skglmm.inspection._unpooled import unpooled


class ShrinkageDisplay:
    """Unpooled estimates of the levels, those of the model, and the population's.

    Of one effect both are drawn over the number of rows; of two effects they are
    points of a plane, with arrows from the level's own estimate to that of the model,
    coloured by the number of rows. An effect is shown together with the coefficient
    of its name, if there is one: as the level's intercept or slope.

    Parameters
    ----------
    unpooled, pooled : DataFrame of shape (n_levels, n_effects)
        Estimates from the rows of the level alone, and of the model; one or two
        effects. A level whose unpooled estimate is NaN is drawn without.
    population : Series of shape (n_effects,)
        Values of a level of which nothing is known.
    sizes : Series of shape (n_levels,)
        Number of rows of each level.
    factor : str or int
        The grouping factor.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    ShrinkageDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inspection import ShrinkageDisplay
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> display = ShrinkageDisplay.from_estimator(model, X, y)
    >>> display.unpooled.loc["308"].round(2)
    Intercept    244.19
    Days          21.76
    Name: 308, dtype: float64
    >>> display.pooled.loc["308"].round(2)
    Intercept    253.66
    Days          19.67
    Name: 308, dtype: float64
    """

    def __init__(
        self,
        unpooled: pd.DataFrame,
        pooled: pd.DataFrame,
        population: pd.Series,
        sizes: pd.Series,
        *,
        factor: str | int,
    ) -> None:
        self.unpooled = unpooled
        self.pooled = pooled
        self.population = population
        self.sizes = sizes
        self.factor = factor

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        factor: str | int | None = None,
        effects: str | list[str] | None = None,
        ax: Any = None,
        **scatter_options: Any,
    ) -> Self:
        """Draw what a fitted model has made of the levels' own estimates.

        A level's own estimates are those of maximum likelihood from its rows, with the
        fixed part and the effects of other factors as the model has them.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X, y : array-like
            Data of the fit.
        groups : array-like, default=None
            Group labels of X, for a model that was fitted with ``fit(groups=)``.
        factor : str or int, default=None
            The grouping factor; the only one if there is one.
        effects : str or list of str, default=None
            One or two of its effects; the first two by default.
        ax : Axes, default=None
            Where to draw; new ones by default.
        **scatter_options
            As ``matplotlib.axes.Axes.scatter`` has them.

        Returns
        -------
        display : ShrinkageDisplay

        Notes
        -----
        One effect is drawn above the number of rows of the level; where all levels have
        as many, side by side in the order of their own estimates.
        """
        check_one_predictor(model, "ShrinkageDisplay")
        factor = choose_factor(model, factor)
        chosen = choose_effects(model, factor, effects)
        if effects is None:
            chosen = chosen[:2]
        if len(chosen) > 2:
            raise ValueError(
                f"ShrinkageDisplay draws one or two effects, and effects={chosen!r}: "
                "leave out some."
            )
        fixed = model.fixed_effects_["estimate"]
        population = fixed.reindex(chosen).fillna(0.0)
        display = cls(
            unpooled(model, X, y, factor, groups)[chosen] + population,
            model.random_effects_[factor][chosen] + population,
            population,
            sizes_of(model, X, factor, groups),
            factor=factor,
        )
        return display.plot(ax=ax, **scatter_options)

    @names_options
    def plot(self, *, ax: Any = None, **scatter_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes, default=None
        **scatter_options
            See `from_estimator`.

        Returns
        -------
        display : ShrinkageDisplay
            Itself.
        """
        figure, axes = check_axes(ax, 1, type(self).__name__, size=(5.4, 4.2))
        if self.pooled.shape[1] == 1:
            self._plot_one(axes[0], scatter_options)
        else:
            drawn = self._plot_two(axes[0], scatter_options)
            if self.sizes.nunique() > 1:
                figure.colorbar(drawn, ax=axes[0], label=f"rows of {self.factor}")
        axes[0].legend(frameon=False)
        self.figure_, self.ax_ = figure, kept(axes)
        return self

    def _style(self, options):
        from matplotlib.colors import LogNorm, Normalize

        low, high = self.sizes.min(), self.sizes.max()
        norm = LogNorm(max(low, 1), high) if high > 5 * low else Normalize(low, high)
        n = len(self.pooled)
        size = np.clip(3000.0 / n, 3.0, 28.0)
        return {"c": self.sizes, "norm": norm, "s": size} | options

    def _plot_one(self, ax, options):
        own, pooled = self.unpooled.iloc[:, 0], self.pooled.iloc[:, 0]
        width = np.clip(100.0 / len(own), 0.1, 1.0)
        balanced = self.sizes.nunique() == 1
        at = own.fillna(pooled).rank(method="first") if balanced else self.sizes
        ax.vlines(at, own, pooled, color=NEUTRAL, lw=width, zorder=1)
        style = self._style(options)
        ax.scatter(at, own, s=style["s"], color=NEUTRAL, marker="_", label="own rows")
        ax.scatter(at, pooled, **style, label="model", zorder=2)
        label = "population"
        ax.axhline(self.population.iloc[0], color=NEUTRAL, ls="--", lw=1, label=label)
        if balanced:
            each = f"{int(self.sizes.iloc[0]):,} rows each"
            ax.set_xlabel(f"{len(own):,} levels of {self.factor}, {each}")
            ax.set_xticks([])
        else:
            logarithmic(ax)
            ax.set_xlabel(f"rows of {self.factor}")
        ax.set_ylabel(self.pooled.columns[0])

    def _plot_two(self, ax, options):
        start, end = self.unpooled.to_numpy(), self.pooled.to_numpy()
        known = ~np.isnan(start).any(axis=1)
        move = (end - start)[known]
        ax.quiver(
            *start[known].T,
            *move.T,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            color=NEUTRAL,
            width=0.003 if len(move) < 300 else 0.001,
            zorder=1,
        )
        style = self._style(options)
        ax.scatter(*start[known].T, s=0.5 * style["s"], color=NEUTRAL, label="own rows")
        drawn = ax.scatter(*end.T, **style, label="model", zorder=2)
        ax.plot(*self.population, "*", color="C3", ms=12, label="population", zorder=3)
        ax.set_xlabel(self.pooled.columns[0])
        ax.set_ylabel(self.pooled.columns[1])
        return drawn
