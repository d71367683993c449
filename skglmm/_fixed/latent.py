"""Unknown parts of linear predictors, drawn given the responses of their rows."""

from dataclasses import dataclass

import numpy as np

from skglmm._families import Family

_POINTS, _REFINEMENTS, _REACH = 65, 4, 12.0
# Log density below its maximum from which on nothing is drawn.
_DEPTH = 25.0


@dataclass(frozen=True)
class Normal:
    """Responses that are normal with the identity link.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    noise : float or ndarray of shape (n_rows,)
        Residual variance.
    """

    y: np.ndarray
    noise: float | np.ndarray

    def draw(self, rows, eta, mean, variance, random):
        """Unknown parts u of the rows, N(mean, variance) but for the response.

        Parameters
        ----------
        rows : ndarray of int of shape (k,)
        eta, mean : ndarray of shape (k,)
            Linear predictors without u, and the means of u.
        variance : float
        random : RandomState

        Returns
        -------
        u : ndarray of shape (k,)
        """
        noise = self.noise if np.ndim(self.noise) == 0 else self.noise[rows]
        precision = 1.0 / variance + 1.0 / noise
        at = (mean / variance + (self.y[rows] - eta) / noise) / precision
        return at + random.standard_normal(len(rows)) / np.sqrt(precision)


@dataclass(frozen=True)
class Other:
    """Responses of another family.

    The density of u has one maximum and tails as light as those of a normal one. It is
    tabulated where it is not negligible, and its integral inverted at uniform numbers.

    Parameters
    ----------
    family : Family
    y : ndarray of shape (n_rows,)
    trials : ndarray of shape (n_rows,) or None
    """

    family: Family
    y: np.ndarray
    trials: np.ndarray | None

    def draw(self, rows, eta, mean, variance, random):
        """Unknown parts u of the rows; see `Normal.draw`."""
        from skglmm.engine.pointwise import log_density

        y = self.y[rows]
        trials = None if self.trials is None else self.trials[rows]
        grid = np.linspace(0.0, 1.0, _POINTS)
        low = mean - _REACH * np.sqrt(variance)
        high = mean + _REACH * np.sqrt(variance)
        every = np.arange(len(rows))
        for turn in range(_REFINEMENTS):
            u = low[:, None] + (high - low)[:, None] * grid
            log = log_density(self.family, y, trials, eta[:, None] + u)
            log -= 0.5 * (u - mean[:, None]) ** 2 / variance
            log -= log.max(axis=1, keepdims=True)
            if turn < _REFINEMENTS - 1:
                inside = log > -_DEPTH
                first = np.maximum(inside.argmax(axis=1) - 1, 0)
                last = _POINTS - 1 - inside[:, ::-1].argmax(axis=1)
                last = np.minimum(last + 1, _POINTS - 1)
                low, high = u[every, first], u[every, last]
        density = np.exp(log)
        mass = np.cumsum(density[:, 1:] + density[:, :-1], axis=1)
        wanted = random.uniform(size=len(rows)) * mass[:, -1]
        cell = (mass < wanted[:, None]).sum(axis=1)
        before = np.where(cell > 0, mass[every, np.maximum(cell - 1, 0)], 0.0)
        left, right = density[every, cell], density[every, cell + 1]
        # the density is linear in a cell: the root of a quadratic equation
        missing = wanted - before
        rise = right - left
        root = np.sqrt(np.maximum(left**2 + rise * missing, 0.0))
        share = missing / np.maximum(left + root, 1e-300)
        return u[every, cell] + np.clip(share, 0.0, 1.0) * (high - low) / (_POINTS - 1)
