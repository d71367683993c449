"""Coordinates of all parameters, one of which is the parameter that is asked about.

To hold a standard deviation or a correlation is to hold a coordinate, if the
coordinates are chosen for it. The covariance S = L L' of a level's effects, the one of
interest first, has its standard deviation at L_11. With the two that correlate first,
the second row of L is b (sin w, cos w), and their correlation sin w. Both reach their
boundaries, 0 and 1, at ordinary points.
"""

import numpy as np

from skglmm._covariances import basis
from skglmm._loops.deviance import Optimum
from skglmm._problem.roots import lower_root

# Least size of a standard deviation, beside the residual's or 1, in steps.
_LEAST = 0.02
# Long steps of a linear predictor of counts or outcomes.
_FAR = 4.0


class Entries:
    """T that is linear in its parameters.

    Parameters
    ----------
    structure : Covariance
    q : int
    """

    def __init__(self, structure, q):
        self._structure, self._basis = structure, basis(structure, q)
        self.n, self.place = len(self._basis), 0
        self.least = np.full(self.n, -np.inf)

    def root(self, x):
        return np.tensordot(x, self._basis, 1)

    def pull(self, x, slope):
        return np.tensordot(self._basis, slope, 2)

    def of(self, t):
        return self._structure.parameters(t)

    def sizes(self, x, unit):
        size = np.sqrt(np.mean(np.sum(self.root(x) ** 2, axis=1)))
        return np.full(self.n, max(size, _LEAST * unit))

    def raised(self, x, unit):
        """The same with what is nearly zero, and would stay there, beside it."""
        return np.where(np.abs(x) < _LEAST * unit, _LEAST * unit, x)


class Cholesky:
    """Cholesky factor of the user's covariance, with some of the effects first.

    Parameters
    ----------
    recoding : ndarray of shape (q, q)
        The user's effects are this times the working ones.
    first : tuple of int, default=()
    """

    def __init__(self, recoding, first=()):
        q = len(recoding)
        order = [*first, *(k for k in range(q) if k not in first)]
        self._places = np.tril_indices(q)
        self._there = recoding[order]
        self._back = np.linalg.inv(recoding)[:, order]
        self.n, self.place = len(self._places[0]), 0
        self.least = np.full(self.n, -np.inf)
        self._on_diagonal = self._places[0] == self._places[1]

    def _lower(self, x):
        lower = np.zeros(self._back.shape)
        lower[self._places] = x
        return lower

    def root(self, x):
        return self._back @ self._lower(x)

    def pull(self, x, slope):
        return (self._back.T @ slope)[self._places]

    def of(self, t):
        return lower_root(self._there @ t)[self._places]

    def sizes(self, x, unit):
        own = np.linalg.norm(self._lower(x), axis=1)
        least = _LEAST * unit * np.linalg.norm(self._there, axis=1)
        return np.maximum(own, least)[self._places[0]]

    def raised(self, x, unit):
        small = self.sizes(x, unit) * _LEAST
        near = self._on_diagonal & (np.abs(x) < small)
        return np.where(near, small, x)


class Polar(Cholesky):
    """The same with the angle whose sine is the correlation of the first two."""

    def __init__(self, recoding, first):
        super().__init__(recoding, first)
        self.place = 1
        self.least[[0, 2]] = 0.0

    def _turned(self, x):
        turned = x.copy()
        turned[1:3] = x[2] * np.sin(x[1]), x[2] * np.cos(x[1])
        return turned

    def root(self, x):
        return super().root(self._turned(x))

    def pull(self, x, slope):
        found = super().pull(x, slope)
        sine, cosine = np.sin(x[1]), np.cos(x[1])
        along, across = found[1], found[2]
        found[1] = x[2] * (along * cosine - across * sine)
        found[2] = along * sine + across * cosine
        return found

    def of(self, t):
        x = super().of(t)
        x[1:3] = np.arctan2(x[1], x[2]), np.hypot(x[1], x[2])
        return x

    def sizes(self, x, unit):
        sizes = super().sizes(self._turned(x), unit)
        sizes[1] = 1.0
        return sizes

    def raised(self, x, unit):
        raised = super().raised(x, unit)
        raised[1] = x[1]
        return raised


class Chart:
    """All parameters as one vector u, and the deviance there.

    Parameters
    ----------
    space : Space
    blocks : list
        Coordinates of each factor, in the design's order.
    place : int or None
        Where the parameter is, of the coordinates of the variances; None: it is a
        coefficient.
    row : ndarray of shape (p,) or None
        The coefficient, of the working ones.
    reading : tuple of (callable, callable)
        The parameter from its coordinate, and the way back.
    limits : tuple of float
        Of the coordinate.

    Attributes
    ----------
    at : int
        Where the parameter is.
    """

    def __init__(self, space, blocks, place, row, reading, limits):
        self._space, self._blocks = space, blocks
        self._cuts = np.cumsum([0, *(block.n for block in blocks)])
        self._row, self._linear = row, space.is_linear
        self._n_own = 1 if self._linear else space.n_own
        n = self._cuts[-1] + self._n_own
        self.at = n if place is None else place
        self.to_value, self.to_coordinate = reading
        self.low, self.high = limits
        if not self._linear:
            p = space.n_coef
            row = np.eye(p)[0] if row is None and p else row
            self._axes = _rotation(row) if p else np.zeros((0, 0))
            n += p
        elif row is not None:
            n += 1
        least = [block.least for block in blocks]
        self.least = np.concatenate([*least, np.full(n - self._cuts[-1], -np.inf)])

    def _split(self, u):
        parts = [u[a:b] for a, b in zip(self._cuts[:-1], self._cuts[1:], strict=True)]
        n = self._cuts[-1] + self._n_own
        return parts, u[self._cuts[-1] : n], u[n:]

    def of_factors(self, places):
        """Which coordinates (n,) are those of factors at given places."""
        found = np.zeros(len(self.least), dtype=bool)
        for r in places:
            found[self._cuts[r] : self._cuts[r + 1]] = True
        return found

    def start(self, optimum):
        """Coordinates of a minimum, or of any point."""
        unit = optimum.sigma or 1.0
        parts = [
            block.of(unit * t)
            for block, t in zip(self._blocks, optimum.factors, strict=True)
        ]
        if not self._linear:
            return np.concatenate([*parts, optimum.own, self._axes.T @ optimum.coef])
        held = [] if self._row is None else [self._row @ optimum.coef]
        return np.concatenate([*parts, [np.log(unit)], held])

    def point(self, u):
        """The way back from `start`, with some T of the covariance T T'."""
        parts, own, rest = self._split(u)
        roots = [b.root(x) for b, x in zip(self._blocks, parts, strict=True)]
        if not self._linear:
            return Optimum(tuple(roots), self._axes @ rest, None, own)
        sigma = float(np.exp(own[0]))
        roots = tuple(root / sigma for root in roots)
        return Optimum(roots, rest, sigma, np.zeros(0))

    def evaluate(self, u, reml=False):
        """The deviance and its gradient; infinite where there is none."""
        away = -np.inf if self._linear and not abs(u[self._cuts[-1]]) < 300.0 else 0.0
        try:
            if np.isfinite(u).all() and np.isfinite(away):
                value, gradient = self._at(u, reml)
                if np.isfinite(value) and np.isfinite(gradient).all():
                    return value, gradient
        except np.linalg.LinAlgError:
            pass
        return np.inf, np.full(len(u), np.nan)

    def _at(self, u, reml):
        parts, _, rest = self._split(u)
        point, deviance = self.point(u), self._space.deviance
        if self._linear:
            held = None if self._row is None else (self._row, rest[0])
            out = deviance.at(point.factors, point.sigma, held, reml)
            scale = 1.0 / point.sigma
            through = sum(
                np.vdot(g, t)
                for g, t in zip(out["factors"], point.factors, strict=True)
            )
            tail = [[out["sigma"] - through], [] if held is None else [out["held"]]]
        else:
            out = deviance.at(point.factors, point.own, point.coef)
            scale, tail = 1.0, [out["own"], self._axes.T @ out["coef"]]
        head = [
            block.pull(x, scale * g)
            for block, x, g in zip(self._blocks, parts, out["factors"], strict=True)
        ]
        return float(out["value"]), np.concatenate([*head, *tail])

    def sizes(self, u):
        """What is a change of each coordinate, roughly."""
        parts, own, rest = self._split(u)
        unit = float(np.exp(own[0])) if self._linear else 1.0
        found = [b.sizes(x, unit) for b, x in zip(self._blocks, parts, strict=True)]
        size = 1.0
        if self._linear and self._row is not None:
            size = unit * np.linalg.norm(self._row) / np.sqrt(self._space.n_rows)
        return np.concatenate([*found, np.ones(self._n_own), np.full(len(rest), size)])

    def reach(self, u):
        """Longest step of the parameter, where a likelihood may level off.

        Linear predictors that differ by so much on the scale of a log or logit are of
        different worlds.
        """
        if self._linear:
            return np.inf
        far = _FAR if self.at >= self._cuts[-1] else _FAR / _LEAST
        return far * self.sizes(u)[self.at]

    def raised(self, u):
        """Beside points where a variance is zero, which are stationary."""
        parts, own, rest = self._split(u)
        unit = float(np.exp(own[0])) if self._linear else 1.0
        found = [b.raised(x, unit) for b, x in zip(self._blocks, parts, strict=True)]
        raised = np.concatenate([*found, own, rest])
        raised[self.at] = u[self.at]
        return raised


def _rotation(row):
    """Orthogonal axes, the first of which is a direction."""
    axes, _ = np.linalg.qr(np.column_stack([row, np.eye(len(row))]))
    return axes if axes[:, 0] @ row > 0.0 else -axes
