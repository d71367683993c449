"""Coefficients with their intervals."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skglmm._fitted.state import family_of
from skglmm.inference import coefficients
from skglmm.inference._rows import check_model
from skglmm.inspection._axes import (
    NEUTRAL,
    check_axes,
    kept,
    logarithmic,
    names_options,
    percent,
    short,
)

_RATIOS = {"log": "rate ratio", "logit": "odds ratio"}


class CoefficientsDisplay:
    """Coefficients of the fixed effects, with intervals.

    Parameters
    ----------
    table : DataFrame
        Indexed by coefficient, with columns ``estimate``, ``lower`` and ``upper``, as
        :func:`skglmm.inference.coefficients` gives it.
    coverage : float, default=0.95
        Probability of the intervals.
    label : str, default="coefficient"
        What is drawn.
    ratio : bool, default=False
        Whether these are ratios: their axis is logarithmic, and 1 is no effect.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    CoefficientsDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedLogisticRegressor
    >>> from skglmm.datasets import load_contraception
    >>> from skglmm.inspection import CoefficientsDisplay
    >>> X, y = load_contraception(return_X_y=True, as_frame=True)
    >>> X = X.drop(columns=["woman", "ch"])
    >>> model = MixedLogisticRegressor("district").fit(X, y)
    >>> display = CoefficientsDisplay.from_estimator(model, exponentiate=True)
    >>> display.ax_.get_xlabel()
    'odds ratio, 95 % interval'
    """

    def __init__(
        self,
        table: pd.DataFrame,
        *,
        coverage: float = 0.95,
        label: str = "coefficient",
        ratio: bool = False,
    ) -> None:
        self.table = table
        self.coverage = coverage
        self.label = label
        self.ratio = ratio

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        df: str = "satterthwaite",
        coverage: float = 0.95,
        exponentiate: bool = False,
        intercept: bool = False,
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw the coefficients of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X, y : array-like, default=None
            Data of the fit, for degrees of freedom. Without them intervals are those of
            the normal distribution.
        sample_weight, groups : array-like, default=None
            As in the fit.
        df : {"satterthwaite", "kenward-roger", "normal"}, default="satterthwaite"
            As :func:`skglmm.inference.coefficients` has it; used with `X` and `y`.
        coverage : float, default=0.95
            Probability of the intervals.
        exponentiate : bool, default=False
            Whether to draw rate or odds ratios.
        intercept : bool, default=False
            Whether to draw the intercept as well.
        ax : Axes, default=None
            Where to draw; new ones by default.
        **line_options
            Of the intervals, as ``matplotlib.axes.Axes.hlines`` has them.

        Returns
        -------
        display : CoefficientsDisplay
        """
        check_model(model)
        check_is_fitted(model)
        link = family_of(model).link
        if X is None or y is None:
            if exponentiate and link not in _RATIOS:
                raise ValueError(
                    f"exponentiate=True gives ratios, and this {type(model).__name__} "
                    f"has the {link} link: use exponentiate=False."
                )
            table = _normal(model, coverage, exponentiate)
        else:
            table = coefficients(
                model,
                X,
                y,
                sample_weight=sample_weight,
                groups=groups,
                df=df,
                coverage=coverage,
                exponentiate=exponentiate,
            )
        if not intercept:
            table = table.drop(index="Intercept", errors="ignore")
        label = _RATIOS.get(link, "ratio") if exponentiate else "coefficient"
        display = cls(table, coverage=coverage, label=label, ratio=exponentiate)
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
        display : CoefficientsDisplay
            Itself.
        """
        n = len(self.table)
        name = type(self).__name__
        if not n:
            raise ValueError(f"{name}: there is no coefficient to draw.")
        figure, axes = check_axes(ax, 1, name, size=(5.2, 0.32 * n + 1.0))
        ax, table = axes[0], self.table.iloc[::-1]
        at = np.arange(n)
        ax.axvline(1.0 if self.ratio else 0.0, color=NEUTRAL, lw=0.8, zorder=0)
        options = {"color": "C0", "lw": 1.5} | line_options
        ax.hlines(at, table["lower"], table["upper"], **options)
        ax.plot(table["estimate"], at, "o", ms=5, color=options["color"])
        ax.set_yticks(at, [short(label, 28) for label in table.index])
        ax.set_ylim(-0.6, n - 0.4)
        if self.ratio:
            logarithmic(ax)
        ax.set_xlabel(f"{self.label}, {percent(self.coverage)} interval")
        self.figure_, self.ax_ = figure, kept(axes)
        return self


def _normal(model, coverage, exponentiate):
    estimate = model.fixed_effects_["estimate"]
    width = ndtri(0.5 + 0.5 * coverage) * model.fixed_effects_["std_error"]
    parts = {"estimate": estimate, "lower": estimate - width, "upper": estimate + width}
    table = pd.DataFrame(parts)
    return np.exp(table) if exponentiate else table
