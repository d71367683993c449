"""Linear predictors of new rows from fitted numbers: means, variances, draws."""

from dataclasses import dataclass

import numpy as np

_BLOCK = 1 << 15
_DRAWS = 1 << 20


@dataclass(frozen=True)
class Effects:
    """The effects of one factor's levels, and which of them a row has.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Level of each row, -1 where it was not seen in fit: the effect is then zero in
        the mean and has the prior covariance.
    z : ndarray of shape (n_rows, q) or None
        Row values of the effects; None for an intercept alone.
    means : ndarray of shape (n_levels, q)
    posteriors : ndarray of shape (n_levels, q, q)
        Covariances given the fixed effects.
    prior : ndarray of shape (q, q)
    shifts : ndarray of shape (n_levels, q, rank) or None
        What one unit of each independent error of the fixed effects adds to the means;
        None where the effects are taken as independent of the fixed ones.
    """

    codes: np.ndarray
    z: np.ndarray | None
    means: np.ndarray
    posteriors: np.ndarray
    prior: np.ndarray
    shifts: np.ndarray | None = None

    def add_to(self, total, values, where=slice(None)):
        """Add z' b, with effects from a table of (n_levels + 1, q, ...) values."""
        codes = self.codes[where]
        for i in range(values.shape[1]):
            part = np.ascontiguousarray(values[:, i]).take(codes, axis=0)
            if self.z is not None:
                z = self.z[where, i]
                part *= z.reshape(-1, *[1] * (part.ndim - 1))
            total += part

    def padded(self, values, last=0.0):
        """A table of the levels' values with what code -1 picks in the last row."""
        last = np.broadcast_to(last, (1, *values.shape[1:]))
        return np.concatenate([values, last])


@dataclass(frozen=True)
class Rows:
    """New rows as numbers, and what has been learned of the effects in them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
    offset : ndarray of shape (n_rows,) or None
    coef : ndarray of shape (p,)
    intercept : float
    half : ndarray of shape (p + 1, rank)
        The errors of the intercept and of the coefficients are this matrix times
        `rank` independent standard normal variables.
    effects : tuple of Effects
    gap_variance : ndarray of shape (n_rows,) or None
        Variance of the fixed part of a row from values of X that are missing.
    """

    X: np.ndarray
    offset: np.ndarray | None
    coef: np.ndarray
    intercept: float
    half: np.ndarray
    effects: tuple
    gap_variance: np.ndarray | None = None

    def mean(self):
        """Linear predictor at the posterior means.

        Returns
        -------
        eta : ndarray of shape (n_rows,)
        """
        eta = self.X @ self.coef + self.intercept
        if self.offset is not None:
            eta += self.offset
        for effects in self.effects:
            effects.add_to(eta, effects.padded(effects.means))
        return eta

    def random_variance(self):
        """Variance of the linear predictor with the fixed effects as known.

        The factors are taken as independent of each other given the data.

        Returns
        -------
        variance : ndarray of shape (n_rows,)
        """
        variance = np.zeros(len(self.X))
        if self.gap_variance is not None:
            variance += self.gap_variance
        for effects in self.effects:
            z, codes = effects.z, effects.codes
            padded = effects.padded(effects.posteriors, effects.prior)
            if z is None:
                variance += np.ascontiguousarray(padded[:, 0, 0]).take(codes)
                continue
            for i in range(z.shape[1]):
                for k in range(i + 1):
                    part = np.ascontiguousarray(padded[:, i, k]).take(codes)
                    part *= z[:, i]
                    part *= z[:, k]
                    variance += part if i == k else 2.0 * part
        return np.maximum(variance, 0.0)

    def fixed_variance(self):
        """Variance that the errors of the fixed effects add.

        They move the means of the levels' effects with them, where the solver knows
        how much: the variance of x'beta + z'b is z'V z + |(x'H + z'S)|^2 for the
        conditional covariance V, the half H and the shifts S.

        Returns
        -------
        variance : ndarray of shape (n_rows,)
        """
        n, moved = len(self.X), self._moved()
        variance = np.empty(n)
        for start in range(0, n, _BLOCK):
            here = slice(start, start + _BLOCK)
            errors = self.errors(here, moved)
            variance[here] = np.einsum("ij,ij->i", errors, errors)
        return variance

    def _moved(self):
        """Effects that move with the fixed ones, and how."""
        return [
            (effects, effects.padded(effects.shifts))
            for effects in self.effects
            if effects.shifts is not None
        ]

    def errors(self, here, moved=None):
        """What a unit of each error of the fixed effects adds to rows (n_here, rank).

        Parameters
        ----------
        here : slice
        moved : list, default=None
            See `_moved`.
        """
        errors = self.X[here] @ self.half[1:] + self.half[0]
        for effects, shifts in self._moved() if moved is None else moved:
            effects.add_to(errors, shifts, here)
        return errors

    def draw(self, n_samples, kin, draws):
        """Linear predictors that share the effects of a level within a sample.

        Parameters
        ----------
        n_samples : int
        kin : list of ndarray of shape (n_rows,)
            For each factor, numbers that rows of one unseen level share, counted from
            zero; not read where the level was seen.
        draws : Draws or SharedDraws

        Returns
        -------
        eta : ndarray of shape (n_rows, n_samples)
        """
        n = len(self.X)
        known = self.X @ self.coef + self.intercept
        if self.offset is not None:
            known += self.offset
        errors = self.X @ self.half[1:] + self.half[0]
        levels = levels_of(self.effects, kin)
        eta = np.empty((n, n_samples))
        largest = max([n, *(level.size for level in levels)])
        block = max(1, _DRAWS // max(largest, 1))
        for start in range(0, n_samples, block):
            size = min(block, n_samples - start)
            samples = np.arange(start, start + size)
            unit = draws.of_fixed(errors.shape[1], samples)
            part = known[:, None] + errors @ unit
            if self.gap_variance is not None:
                part += np.sqrt(self.gap_variance)[:, None] * (
                    draws.random.standard_normal(part.shape)
                )
            for level in levels:
                level.add(part, level.values(unit, draws.of_levels(level, samples)))
            eta[:, start : start + size] = part
        return eta


def levels_of(effects, kin):
    """The levels of each factor that some rows have, unseen ones by kinship."""
    return [
        _Levels(r, of_factor, unseen)
        for r, (of_factor, unseen) in enumerate(zip(effects, kin, strict=True))
    ]


class _Levels:
    """The levels of one factor that some rows have, seen ones first."""

    def __init__(self, r, effects, unseen):
        codes = effects.codes
        seen, place = np.unique(codes[codes >= 0], return_inverse=True)
        new, new_place = np.unique(unseen[codes < 0], return_inverse=True)
        self.place = np.empty(len(codes), dtype=np.intp)
        self.place[codes >= 0] = place
        self.place[codes < 0] = len(seen) + new_place
        q = len(effects.prior)
        self.factor, self.seen, self.new = r, seen, new
        self.z = effects.z
        self.means = np.zeros((len(seen) + len(new), q))
        self.means[: len(seen)] = effects.means[seen]
        self.roots = np.empty((len(self.means), q, q))
        self.roots[: len(seen)] = root(effects.posteriors[seen])
        self.roots[len(seen) :] = root(effects.prior[None])
        self.shifts = None
        if effects.shifts is not None:
            self.shifts = effects.shifts[seen]

    @property
    def size(self):
        """Number of effects."""
        return self.means.size

    def values(self, unit, own):
        """Effects (n_levels, q, n_samples) of one draw each.

        `unit` (rank, n_samples) holds the independent errors of the fixed effects, and
        `own` (n_levels, q, n_samples) those of the levels.
        """
        b = self.roots @ own
        b += self.means[:, :, None]
        if self.shifts is not None:
            b[: len(self.shifts)] += self.shifts @ unit
        return b

    def add(self, eta, b):
        """Add z' b to linear predictors (n_rows, n_samples)."""
        for i in range(b.shape[1]):
            part = b[self.place, i]
            eta += part if self.z is None else self.z[:, i, None] * part


def root(covariances):
    """R with R R' = V for many covariances, singular ones too."""
    values, axes = np.linalg.eigh(covariances)
    return axes * np.sqrt(np.maximum(values, 0.0))[:, None, :]
