"""What was observed beside what the model would have given."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skglmm._fitted.state import family_of
from skglmm.inference._rows import check_model
from skglmm.inspection._axes import NEUTRAL, check_axes, kept, percent, short
from skglmm.inspection._levels import choose_factor, codes_of
from skglmm.inspection._unpooled import codes_of_classes, numbers

_KINDS = ("density", "counts", "zeros", "groups")
_MOST_COUNTS = 40


class PredictiveCheckDisplay:
    """Observed responses beside responses that the model has simulated.

    Parameters
    ----------
    observed : ndarray of shape (n_rows,)
        Responses.
    simulated : ndarray of shape (n_rows, n_samples)
        Responses that a model has simulated for the same rows.
    codes : ndarray of shape (n_rows,), default=None
        Level of each row, for ``kind="groups"``.
    factor : str or int, default=None
        The factor that has these levels.
    response : str, default="response"
        Name of the response.
    classes : ndarray of shape (n_classes,), default=None
        Labels of more than two classes, whose places from 0 on are the responses.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    PredictiveCheckDisplay.from_estimator : The display of a fitted model.

    Examples
    --------
    >>> from skglmm import MixedPoissonRegressor
    >>> from skglmm.datasets import load_grouseticks
    >>> from skglmm.inspection import PredictiveCheckDisplay
    >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
    >>> X = X[["cHEIGHT", "BROOD"]]
    >>> model = MixedPoissonRegressor("BROOD").fit(X, y)
    >>> display = PredictiveCheckDisplay.from_estimator(
    ...     model, X, y, kind="zeros", random_state=0
    ... )
    >>> display.ax_.get_xlabel()
    'share of zeros'
    """

    def __init__(
        self,
        observed: np.ndarray,
        simulated: np.ndarray,
        *,
        codes: np.ndarray | None = None,
        factor: str | int | None = None,
        response: str = "response",
        classes: np.ndarray | None = None,
    ) -> None:
        self.observed = observed
        self.simulated = simulated
        self.codes = codes
        self.factor = factor
        self.response = response
        self.classes = classes

    @classmethod
    def from_estimator(
        cls,
        model: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        kind: str = "auto",
        factor: str | int | None = None,
        level: str = "conditional",
        n_samples: int = 100,
        coverage: float = 0.95,
        response: str = "response",
        random_state: int | np.random.RandomState | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw the check of a fitted model.

        Parameters
        ----------
        model : object
            A fitted mixed model.
        X, y : array-like
            Rows to check, those of the fit or others.
        groups : array-like, default=None
            Group labels of X, for a model that was fitted with ``fit(groups=)``.
        kind : {"auto", "density", "counts", "zeros", "groups"}, default="auto"
            Densities of all responses; how many rows have each count; the share of
            zeros; or the mean of each level. By default counts for counts and classes
            and densities for what is continuous.
        factor : str or int, default=None
            The factor of ``kind="groups"``; the only one if there is one.
        level : {"conditional", "population"}, default="conditional"
            Whether to simulate for the levels as they are known, or for new ones.
        n_samples : int, default=100
            Number of simulated samples.
        coverage : float, default=0.95
            Share of the simulations that the intervals hold.
        response : str, default="response"
            Name of the response, with its unit.
        random_state : int, RandomState instance or None, default=None
            An integer gives the same picture each time.
        ax : Axes, default=None
            Where to draw; new ones by default.

        Returns
        -------
        display : PredictiveCheckDisplay
        """
        check_model(model)
        check_is_fitted(model)
        simulated = model.sample_y(
            X, n_samples, groups=groups, level=level, random_state=random_state
        )
        observed = numbers(model, y, X, groups)
        classes = getattr(model, "classes_", None)
        if classes is not None:
            simulated = codes_of_classes(simulated, classes)
            if len(classes) == 2 and list(classes) != [0, 1]:
                response = f"{response}, 1 for {short(classes[-1])}"
        codes = None
        if kind == "groups":
            factor = choose_factor(model, factor)
            codes = codes_of(model, X, factor, groups)
        if kind == "auto":
            whole = np.all(observed == np.floor(observed))
            kind = "density" if family_of(model).is_linear or not whole else "counts"
        display = cls(
            observed,
            simulated,
            codes=codes,
            factor=factor,
            response=response,
            classes=classes if classes is not None and len(classes) > 2 else None,
        )
        return display.plot(kind=kind, coverage=coverage, ax=ax)

    def plot(
        self, *, kind: str = "density", coverage: float = 0.95, ax: Any = None
    ) -> Self:
        """Draw it.

        Parameters
        ----------
        kind : {"density", "counts", "zeros", "groups"}, default="density"
        coverage : float, default=0.95
        ax : Axes, default=None
            See `from_estimator`.

        Returns
        -------
        display : PredictiveCheckDisplay
            Itself.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind is one of {_KINDS}, got {kind!r}.")
        figure, axes = check_axes(ax, 1, type(self).__name__, size=(5.2, 3.8))
        getattr(self, f"_plot_{kind}")(axes[0], coverage)
        self.figure_, self.ax_ = figure, kept(axes)
        return self

    def _plot_density(self, ax, coverage):
        from scipy.stats import gaussian_kde

        values = [self.observed, *self.simulated.T[:30]]
        low = min(np.quantile(value, 0.001) for value in values)
        high = max(np.quantile(value, 0.999) for value in values)
        margin = 0.1 * (high - low) or 1.0
        at = np.linspace(low - margin, high + margin, 200)
        for i, value in enumerate(values[1:]):
            if np.ptp(value) > 0:
                label = "simulated" if i == 0 else None
                density = gaussian_kde(_some(value))(at)
                ax.plot(at, density, color="C0", alpha=0.3, lw=0.8, label=label)
        if np.ptp(self.observed) > 0:
            density = gaussian_kde(_some(self.observed))(at)
            ax.plot(at, density, color="C1", lw=2.0, label="observed")
        ax.set_ylim(bottom=0.0)
        ax.set_xlabel(self.response)
        ax.set_ylabel("density")
        ax.legend(frameon=False)

    def _plot_counts(self, ax, coverage):
        most = int(max(self.observed.max(), np.quantile(self.simulated, 0.999)))
        width = max(1, int(np.ceil((most + 1) / _MOST_COUNTS)))
        edges = np.arange(0, most + width + 1, width) - 0.5
        clip = [np.minimum(v, most) for v in (self.observed, *self.simulated.T)]
        observed, *simulated = (np.histogram(v, edges)[0] for v in clip)
        _intervals(ax, edges[:-1] + 0.5 * width, np.array(simulated), coverage)
        ax.bar(
            edges[:-1] + 0.5 * width,
            observed,
            0.9 * width,
            color="C1",
            alpha=0.5,
            label="observed",
        )
        words = self.response if width == 1 else f"{self.response}, {width} a bar"
        ax.set_xlabel(words)
        ax.set_ylabel("rows")
        if most < 12:
            names = None if self.classes is None else self.classes[: most + 1]
            ax.set_xticks(range(most + 1), names)
        ax.legend(title=f"{percent(coverage)} interval", frameon=False)

    def _plot_zeros(self, ax, coverage):
        shares = np.mean(self.simulated == 0, axis=0)
        ax.hist(shares, bins="auto", color="C0", alpha=0.6, label="simulated")
        share = np.mean(self.observed == 0)
        ax.axvline(share, color="C1", lw=2.0, label="observed")
        ax.set_xlabel("share of zeros")
        ax.set_ylabel("samples")
        ax.legend(frameon=False)

    def _plot_groups(self, ax, coverage):
        if self.codes is None:
            raise ValueError("kind='groups' needs the levels of the rows: codes.")
        frame = pd.DataFrame(np.column_stack([self.observed, self.simulated]))
        means = frame.groupby(np.asarray(self.codes)).mean().sort_values(0).to_numpy()
        at = np.arange(len(means))
        _intervals(ax, at, means[:, 1:].T, coverage)
        size = np.clip(400.0 / len(at), 0.7, 5.0)
        ax.plot(at, means[:, 0], "o", ms=size, color="C1", label="observed")
        ax.set_xlabel(f"{len(at):,} levels of {self.factor}, by observed mean")
        ax.set_ylabel(f"mean {self.response}")
        ax.set_xticks([])
        ax.legend(title=f"{percent(coverage)} interval", loc="upper left")


def _some(values, most=5_000):
    """No more values than a density needs."""
    return values if len(values) <= most else values[:: len(values) // most + 1]


def _intervals(ax, at, simulated, coverage):
    tails = 0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage
    low, high = np.quantile(simulated, tails, axis=0)
    width = np.clip(300.0 / len(at), 0.3, 3.0)
    ax.vlines(at, low, high, color=NEUTRAL if len(at) > 500 else "C0", lw=width)
    middle = np.median(simulated, axis=0)
    size = np.clip(300.0 / len(at), 0.5, 4.0)
    ax.plot(at, middle, "o", ms=size, color="C0", label="simulated")
