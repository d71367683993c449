"""How a fit has come to its end, step by step."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skglmm.inference._rows import check_model
from skglmm.inspection._axes import check_axes, kept, names_options


class ConvergenceDisplay:
    """The objective at each step, and the variances on their way.

    Parameters
    ----------
    history : DataFrame
        As ``history_``: indexed by step, with a column ``objective`` and, after some
        solvers, variances.

    Attributes
    ----------
    ax_ : Axes or ndarray of Axes
        The objective, and below it the standard deviations where they are known.
    figure_ : Figure

    See Also
    --------
    ConvergenceDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inspection import ConvergenceDisplay
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> len(display.history) == len(model.history_)
    True
    """

    def __init__(self, history: pd.DataFrame) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls, model: BaseEstimator, *, ax: Any = None, **line_options: Any
    ) -> Self:
        """Draw how a fitted model has come to its end.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        ax : Axes or array-like of Axes, default=None
            Where to draw; new ones by default.
        **line_options
            As ``matplotlib.axes.Axes.plot`` has them.

        Returns
        -------
        display : ConvergenceDisplay
        """
        check_model(model)
        check_is_fitted(model)
        return cls(model.history_).plot(ax=ax, **line_options)

    @names_options
    def plot(self, *, ax: Any = None, **line_options: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
        **line_options
            See `from_estimator`.

        Returns
        -------
        display : ConvergenceDisplay
            Itself.
        """
        variances = self.history.drop(columns="objective").dropna(how="all", axis=1)
        n = 1 + bool(variances.shape[1])
        figure, axes = check_axes(
            ax, n, type(self).__name__, size=(5.2, 2.6), side_by_side=False, sharex=True
        )
        options = {"marker": ".", "lw": 1.2} | line_options
        axes[0].plot(self.history.index, self.history["objective"], **options)
        axes[0].set_ylabel("objective")
        axes[0].ticklabel_format(axis="y", useOffset=False)
        if n == 2:
            for name, values in variances.items():
                label = name.removeprefix("variance(").removesuffix(")")
                axes[1].plot(variances.index, np.sqrt(values), **options, label=label)
            axes[1].set_ylim(bottom=0.0)
            axes[1].set_ylabel("standard deviation")
            axes[1].legend(frameon=False)
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        self.figure_, self.ax_ = figure, kept(axes)
        return self
