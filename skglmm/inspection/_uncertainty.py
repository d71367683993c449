"""How well the effects of levels are known, by the number of their rows."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm.inspection._axes import (
    NEUTRAL,
    check_axes,
    kept,
    logarithmic,
    names_options,
)
from skglmm.inspection._levels import choose_effects, choose_factor, sizes_of


class UncertaintyDisplay:
    """Posterior standard deviation of the effects against the number of rows.

    A dashed line is the standard deviation of the effects over levels: what would be
    known of a level without a row.

    Parameters
    ----------
    std : DataFrame of shape (n_levels, n_effects)
        Posterior standard deviations.
    sizes : Series of shape (n_levels,)
        Number of rows of each level.
    factor : str or int
        The grouping factor.
    prior : Series, default=None
        Standard deviation of each effect over levels.

    Attributes
    ----------
    ax_ : Axes or ndarray of Axes
        One for each effect.
    figure_ : Figure

    See Also
    --------
    UncertaintyDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_radon
    >>> from skglmm.inspection import UncertaintyDisplay
    >>> X, y = load_radon(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("county").fit(X, y)
    >>> display = UncertaintyDisplay.from_estimator(model, X)
    >>> display.ax_.get_xlabel()
    'rows of county'
    """

    def __init__(
        self,
        std: pd.DataFrame,
        sizes: pd.Series,
        *,
        factor: str | int,
        prior: pd.Series | None = None,
    ) -> None:
        self.std = std
        self.sizes = sizes
        self.factor = factor
        self.prior = prior

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        factor: str | int | None = None,
        effects: str | list[str] | None = None,
        ax: Any = None,
        **scatter_options: Any,
    ) -> Self:
        """Draw it for a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X : dataframe or array-like of shape (n_samples, n_features)
            Rows of the fit.
        groups : array-like, default=None
            Group labels of X, for a model that was fitted with ``fit(groups=)``.
        factor : str or int, default=None
            The grouping factor; the only one if there is one.
        effects : str or list of str, default=None
            Which of its effects; all by default.
        ax : Axes or array-like of Axes, default=None
            Where to draw, one for each effect; new ones by default.
        **scatter_options
            As ``matplotlib.axes.Axes.scatter`` has them.

        Returns
        -------
        display : UncertaintyDisplay
        """
        factor = choose_factor(model, factor)
        chosen = choose_effects(model, factor, effects)
        names = list(model.random_effects_[factor].columns)
        covariance = model.random_effects_covariance_[factor]
        prior = pd.Series(np.sqrt(np.diag(covariance)), names)[chosen]
        std = model.random_effects_std_[factor][chosen]
        sizes = sizes_of(model, X, factor, groups)
        display = cls(std, sizes, factor=factor, prior=prior)
        return display.plot(ax=ax, **scatter_options)

    @names_options
    def plot(self, *, ax: Any = None, **scatter_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
        **scatter_options
            See `from_estimator`.

        Returns
        -------
        display : UncertaintyDisplay
            Itself.
        """
        effects = list(self.std.columns)
        name = type(self).__name__
        width = 4.8 if len(effects) == 1 else 3.2
        figure, axes = check_axes(ax, len(effects), name, size=(width, 3.6))
        n = len(self.std)
        size = np.clip(4000.0 / n, 2.0, 20.0)
        options = {"s": size, "alpha": 0.7 if n < 1000 else 0.4} | scatter_options
        for one, effect in zip(axes, effects, strict=True):
            one.scatter(self.sizes, self.std[effect], **options)
            if self.prior is not None:
                one.axhline(self.prior[effect], color=NEUTRAL, ls="--", lw=1.0)
            logarithmic(one)
            one.set_ylim(bottom=0.0)
            one.set_xlabel(f"rows of {self.factor}")
            one.set_ylabel(f"standard deviation, {effect}")
        self.figure_, self.ax_ = figure, kept(axes)
        return self
