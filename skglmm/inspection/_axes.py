"""Axes to draw on, and words beside them."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

import numpy as np

Plot = TypeVar("Plot", bound=Callable[..., Any])

# Inches: a page on a telephone shows so many without letters that are too small.
WIDEST = 6.0
# Neither a white nor a dark page hides it.
NEUTRAL = "0.5"


def check_axes(ax, n, name, *, size, side_by_side=True, **options):
    """Axes that were handed over, or new ones.

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
    n : int
        Number of axes that are needed.
    name : str
        Of the display.
    size : tuple of float
        Width and height of one of them in inches.
    side_by_side : bool, default=True
        Whether they stand beside each other, or below.
    **options
        Of ``matplotlib.pyplot.subplots``.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes of shape (n,)
    """
    if ax is None:
        shape = (1, n) if side_by_side else (n, 1)
        width, height = size[0] * shape[1], size[1] * shape[0]
        figure, axes = pyplot(name).subplots(
            *shape,
            figsize=(min(width, WIDEST), height),
            layout="constrained",
            squeeze=False,
            **options,
        )
        return figure, axes.ravel()
    axes = np.array(list(ax) if isinstance(ax, Iterable) else [ax], dtype=object)
    if len(axes) != n:
        raise ValueError(
            f"{name} needs {n} axes here, and ax has {len(axes)}: give {n}, or choose "
            "less to draw."
        )
    return axes[0].figure, axes


def names_options(plot: Plot) -> Plot:
    """The method ``plot`` of a display, where matplotlib knows its keywords or not.

    Parameters
    ----------
    plot : callable
        Its last parameter has the keywords that matplotlib is given.
    """
    parameter = list(signature(plot).parameters)[-1]

    @wraps(plot)
    def checked(self, **options):
        try:
            return plot(self, **options)
        except (AttributeError, TypeError) as error:
            words = str(error)
            for key in options:
                if f"unexpected keyword argument {key!r}" in words:
                    raise TypeError(
                        f"{type(self).__name__} got {key!r} in {parameter}, which is "
                        "neither a parameter of the display nor a keyword that "
                        "matplotlib draws with here: correct it or leave it out."
                    ) from error
            raise

    return checked  # type: ignore[return-value]


def pyplot(name):
    """``matplotlib.pyplot``, or what to install.

    Parameters
    ----------
    name : str
        Of the display that needs it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{name} draws with matplotlib: pip install 'skglmm[plot]'."
        ) from error
    return plt


def kept(axes):
    """One Axes as it is, several as an array: the attribute ``ax_``."""
    return axes[0] if len(axes) == 1 else axes


def short(label, most=24):
    """A label as text that leaves room for the picture."""
    if isinstance(label, tuple):
        label = ", ".join(map(str, label))
    label = str(label)
    return label if len(label) <= most else f"{label[: most - 1]}…"


def percent(coverage):
    """A probability in words of a label."""
    return f"{100.0 * coverage:g} %"


def logarithmic(ax):
    """Make the horizontal scale logarithmic, its numbers written out.

    Parameters
    ----------
    ax : Axes
        On which all is drawn.
    """
    from matplotlib.ticker import (
        LogLocator,
        MaxNLocator,
        NullFormatter,
        StrMethodFormatter,
    )

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 3.0 else (1.0, 3.0)
    if decades < 2.0:
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    locator = LogLocator(subs=subs, numticks=8)
    if decades < 0.5:
        locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
