"""Residuals against what they should not depend on."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skglmm.inference import residuals
from skglmm.inference._drawn import drawn, observed
from skglmm.inspection._axes import NEUTRAL, check_axes, kept, names_options
from skglmm.inspection._levels import choose_factor, codes_of

_VIEWS = ("fitted", "quantiles", "histogram", "groups")


class ResidualsDisplay:
    """Residuals of a model: against fitted values, quantiles, histogram, by group.

    Parameters
    ----------
    residuals : ndarray of shape (n_rows,)
    fitted : ndarray of shape (n_rows,)
        Linear predictor of each row.
    kind : str, default="quantile"
        What they are called on an axis.
    codes : ndarray of shape (n_rows,), default=None
        Level of each row, for the view by group.
    factor : str or int, default=None
        The factor that has these levels.

    Attributes
    ----------
    ax_ : Axes or ndarray of Axes
        One for each view.
    figure_ : Figure

    See Also
    --------
    ResidualsDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedPoissonRegressor
    >>> from skglmm.datasets import load_grouseticks
    >>> from skglmm.inspection import ResidualsDisplay
    >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
    >>> X = X[["cHEIGHT", "BROOD"]]
    >>> model = MixedPoissonRegressor("BROOD").fit(X, y)
    >>> display = ResidualsDisplay.from_estimator(model, X, y, random_state=0)
    >>> [ax.get_xlabel() for ax in display.ax_]
    ['linear predictor', 'normal quantile']
    """

    def __init__(
        self,
        residuals: np.ndarray,
        fitted: np.ndarray,
        *,
        kind: str = "quantile",
        codes: np.ndarray | None = None,
        factor: str | int | None = None,
    ) -> None:
        self.residuals = residuals
        self.fitted = fitted
        self.kind = kind
        self.codes = codes
        self.factor = factor

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        kind: str = "quantile",
        views: str | list[str] = ("fitted", "quantiles"),
        factor: str | int | None = None,
        random_state: int | np.random.RandomState | None = None,
        ax: Any = None,
        **scatter_options: Any,
    ) -> Self:
        """Draw the residuals of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X, y : array-like
            Data of the fit.
        sample_weight, groups : array-like, default=None
            As in the fit.
        kind : {"quantile", "response", "pearson", "deviance"}, default="quantile"
            As :func:`skglmm.inference.residuals` has it. Quantile residuals of a model
            that is right are standard normal, those of counts as well.
        views : str or list of str, default=("fitted", "quantiles")
            Any of ``"fitted"``, ``"quantiles"``, ``"histogram"`` and ``"groups"``.
        factor : str or int, default=None
            The factor of ``"groups"``; the only one if there is one.
        random_state : int, RandomState instance or None, default=None
            An integer gives the same picture each time.
        ax : Axes or array-like of Axes, default=None
            Where to draw, one for each view; new ones by default.
        **scatter_options
            As ``matplotlib.axes.Axes.scatter`` has them.

        Returns
        -------
        display : ResidualsDisplay
        """
        views = [views] if isinstance(views, str) else list(views)
        if not isinstance(random_state, Integral):
            random_state = check_random_state(random_state).randint(2**31 - 1)
        found = residuals(
            model,
            X,
            y,
            kind=kind,
            sample_weight=sample_weight,
            groups=groups,
            random_state=random_state,
        )
        codes = None
        if "groups" in views:
            factor = choose_factor(model, factor)
            codes = codes_of(model, X, factor, groups)
        if kind == "quantile":
            # Residuals given drawn effects depend on the estimated ones.
            rows = observed(model, X, y, sample_weight, groups, "conditional")
            fitted, _ = drawn(rows, check_random_state(random_state))
        else:
            fitted = model.linear_predictor(X, groups=groups)
        display = cls(np.asarray(found), fitted, kind=kind, codes=codes, factor=factor)
        return display.plot(views=views, ax=ax, **scatter_options)

    @names_options
    def plot(
        self,
        *,
        views: str | list[str] = ("fitted", "quantiles"),
        ax: Any = None,
        **scatter_options: Any,
    ) -> Self:
        """Draw them.

        Parameters
        ----------
        views : str or list of str, default=("fitted", "quantiles")
        ax : Axes or array-like of Axes, default=None
        **scatter_options
            See `from_estimator`.

        Returns
        -------
        display : ResidualsDisplay
            Itself.
        """
        views = [views] if isinstance(views, str) else list(views)
        unknown = [view for view in views if view not in _VIEWS]
        if unknown or not views:
            raise ValueError(f"views are of {_VIEWS}, got {views!r}.")
        width = 4.8 if len(views) == 1 else 3.2
        name = type(self).__name__
        side = len(views) < 3
        size = (width if side else 5.2, 3.6 if side else 2.8)
        figure, axes = check_axes(ax, len(views), name, size=size, side_by_side=side)
        n = len(self.residuals)
        options = {"s": np.clip(3000.0 / n, 1.0, 16.0), "alpha": 0.6} | scatter_options
        for one, view in zip(axes, views, strict=True):
            getattr(self, f"_plot_{view}")(one, options)
        self.figure_, self.ax_ = figure, kept(axes)
        return self

    @property
    def _words(self):
        return f"{self.kind} residual"

    def _plot_fitted(self, ax, options):
        ax.axhline(0.0, color=NEUTRAL, lw=0.8)
        ax.scatter(self.fitted, self.residuals, **options)
        ax.plot(*_running_mean(self.fitted, self.residuals), color="C1", lw=1.5)
        ax.set_xlabel("linear predictor")
        ax.set_ylabel(self._words)

    def _plot_quantiles(self, ax, options):
        n = len(self.residuals)
        expected = ndtri((np.arange(n) + 0.5) / n)
        ordered = np.sort(self.residuals)
        scale = 1.0 if self.kind == "quantile" else float(np.std(ordered))
        ax.axline((0.0, 0.0), slope=scale, color=NEUTRAL, lw=0.8)
        ax.scatter(expected, ordered, **options)
        ax.set_xlabel("normal quantile")
        ax.set_ylabel(self._words)

    def _plot_histogram(self, ax, options):
        ax.hist(self.residuals, bins="auto", density=True, color="C0", alpha=0.6)
        scale = 1.0 if self.kind == "quantile" else float(np.std(self.residuals))
        at = np.linspace(*ax.get_xlim(), 200)
        density = np.exp(-0.5 * (at / scale) ** 2) / (scale * np.sqrt(2.0 * np.pi))
        ax.plot(at, density, color=NEUTRAL, lw=1.2, label="normal")
        ax.set_xlabel(self._words)
        ax.set_ylabel("density")
        ax.legend(frameon=False)

    def _plot_groups(self, ax, options):
        if self.codes is None:
            raise ValueError("The view 'groups' needs the levels of the rows: codes.")
        counts = np.bincount(self.codes)
        means = np.bincount(self.codes, self.residuals) / np.maximum(counts, 1)
        order = np.argsort(means, kind="stable")
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order))
        ax.axhline(0.0, color=NEUTRAL, lw=0.8)
        ax.scatter(place[self.codes], self.residuals, **options)
        ax.plot(np.arange(len(order)), means[order], color="C1", lw=1.5)
        ax.set_xlabel(f"{len(order):,} levels of {self.factor}, by mean")
        ax.set_xticks([])
        ax.set_ylabel(self._words)


def _running_mean(x, y, n_pieces=20):
    """Means of y in pieces of equal numbers of rows, in the order of x."""
    order = np.argsort(x, kind="stable")
    pieces = np.array_split(order, min(n_pieces, max(len(x) // 10, 1)))
    return [x[p].mean() for p in pieces], [y[p].mean() for p in pieces]
