"""Second moments of all rows, where the rows at hand stand for several each."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Weighted sums of products of the columns of rows, about some point.

    Parameters
    ----------
    centre : ndarray of shape (c,)
        Of the numeric columns, and last of the target.
    gram : ndarray of shape (1 + c, 1 + c)
        Sums of products of one and these columns less their centre.
    n_rows : int
        How many rows there were.
    within : float
        Weighted sum of squares of the target that the rows at hand do not show.
    source : object
        Reads the rows again: ``root`` and ``coded``, see `skglmm._dask.again`.
    unit : float
        What the target was divided by.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.moments import Moments
    >>> moments = Moments(np.array([2.0]), np.array([[2.0, 1.0], [1.0, 5.0]]), 2, 0.0)
    >>> moments.about(np.array([2.5]))
    array([[2. , 0. ],
           [0. , 4.5]])
    """

    centre: np.ndarray
    gram: np.ndarray
    n_rows: int
    within: float = 0.0
    source: Any = None
    unit: float = 1.0

    def about(self, point: np.ndarray) -> np.ndarray:
        """The sums about another point (c,)."""
        shift = np.eye(len(self.gram))
        shift[0, 1:] = self.centre - point
        return shift.T @ self.gram @ shift

    @property
    def size(self) -> float:
        """Root of the mean square of the target."""
        raw = self.about(np.zeros_like(self.centre))
        return float(np.sqrt(max(raw[-1, -1], 0.0) / raw[0, 0]))

    @property
    def within_levels(self) -> bool:
        """Whether the target varies in ways that the rows at hand do not show."""
        return self.within > 1e-20 * self.gram[-1, -1]

    def in_unit(self, unit: float) -> "Moments":
        """The same of a target in another unit."""
        scale = np.ones(len(self.gram))
        scale[-1] = 1.0 / unit
        gram = scale[:, None] * self.gram * scale
        return replace(self, centre=self.centre * scale[1:], gram=gram, unit=unit)


@dataclass(frozen=True)
class WorkingColumns:
    """Columns of a linear model that rows are to be read as.

    Parameters
    ----------
    mean : ndarray of shape (p,)
        Of the fixed columns.
    make : ndarray of shape (p, rank)
        Orthonormal columns from fixed ones less their means.
    level : float
    fit : ndarray of shape (rank,)
        Taken off the target, with the orthonormal columns.
    unit : float
        What the target is divided by before.
    """

    mean: np.ndarray
    make: np.ndarray
    level: float
    fit: np.ndarray
    unit: float
