"""Profiles of the likelihood."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.base import BaseEstimator

from skglmm.inference import profile
from skglmm.inspection._axes import NEUTRAL, check_axes, kept, names_options, short

_LEVELS = (0.5, 0.8, 0.95)


class ProfileDisplay:
    r"""The signed root of the deviance along each parameter.

    A straight line belongs to a parameter whose likelihood is that of a normal
    variable, and a curve to one for which an estimate with plus or minus two errors is
    misleading. Horizontal lines are the normal quantiles of intervals with the
    probabilities .5, .8 and .95: where the curve crosses them these intervals end.

    Parameters
    ----------
    profiles : DataFrame
        As :func:`skglmm.inference.profile` gives them: columns ``group``, ``effect``,
        ``value`` and ``zeta``.

    Attributes
    ----------
    ax_ : Axes or ndarray of Axes
        One for each parameter.
    figure_ : Figure

    See Also
    --------
    ProfileDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_dyestuff
    >>> from skglmm.inspection import ProfileDisplay
    >>> X, y = load_dyestuff(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Batch").fit(X, y)
    >>> display = ProfileDisplay.from_estimator(model, X, y)
    >>> [ax.get_xlabel() for ax in display.ax_]
    ['Intercept', 'Batch: Intercept', 'residual']
    """

    def __init__(self, profiles: pd.DataFrame) -> None:
        self.profiles = profiles

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        parameters: list | None = None,
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw the profiles of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X, y : array-like
            Data of the fit.
        sample_weight, groups : array-like, default=None
            As in the fit.
        parameters : list, default=None
            As :func:`skglmm.inference.profile` has them; all by default.
        ax : array-like of Axes, default=None
            Where to draw, one for each parameter; new ones by default.
        **line_options
            As ``matplotlib.axes.Axes.plot`` has them.

        Returns
        -------
        display : ProfileDisplay
        """
        profiles = profile(
            model,
            X,
            y,
            sample_weight=sample_weight,
            groups=groups,
            parameters=parameters,
        )
        return cls(profiles).plot(ax=ax, **line_options)

    @names_options
    def plot(self, *, ax: Any = None, **line_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : array-like of Axes, default=None
        **line_options
            See `from_estimator`.

        Returns
        -------
        display : ProfileDisplay
            Itself.
        """
        found = list(self.profiles.groupby(["group", "effect"], sort=False))
        name = type(self).__name__
        if ax is None:
            figure, axes = _squares(len(found), name)
        else:
            figure, axes = check_axes(ax, len(found), name, size=(3.0, 2.4))
        for one, ((group, effect), curve) in zip(axes, found, strict=True):
            one.axhline(0.0, color=NEUTRAL, lw=0.8)
            for level in _LEVELS:
                at = ndtri(0.5 + 0.5 * level)
                one.axhline(at, color=NEUTRAL, lw=0.5, ls=":")
                one.axhline(-at, color=NEUTRAL, lw=0.5, ls=":")
            options = {"lw": 1.5} | line_options
            curve = curve.sort_values("value")
            one.plot(curve["value"], curve["zeta"], **options)
            words = effect if group == "fixed" else f"{group}: {effect}"
            one.set_xlabel(short(words.removesuffix(": "), 30))
            one.set_ylim(-3.0, 3.0)
        if ax is None:
            figure.supylabel("signed root of the deviance", fontsize="medium")
        else:
            axes[0].set_ylabel("signed root of the deviance")
        self.figure_, self.ax_ = figure, kept(axes)
        return self


def _squares(n, name):
    """New axes, two beside each other."""
    columns = min(n, 2)
    rows = int(np.ceil(n / columns))
    figure, axes = check_axes(None, rows, name, size=(6.0, 2.3), side_by_side=False)
    if columns == 1:
        return figure, axes
    figure.clear()
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for unused in grid[n:]:
        unused.remove()
    return figure, grid[:n]
