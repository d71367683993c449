"""Draws from the posterior of a linear model, which is normal."""

import numpy as np
import tensorflow as tf

from skglmm.engine import montecarlo
from skglmm.engine.approximation import Expectation, _tensors
from skglmm.engine.samplers import _BATCHES, KEPT

# Numbers of a piece of work, which are cheaper here than elsewhere.
_VALUES_EXACT = 3e7


class ExactSampler:
    """Draws from the posterior of a linear model, exact at every step.

    Parameters
    ----------
    run : Session
    data : tuple
        See `linear.Objective`.
    width : int
        Number of fixed columns.
    anchor : tuple of ndarray of shape (q, q)
        The factors T that the roots are relative to.
    n_draws : int
        Rounded up to a multiple of eight.
    rng : Generator
    """

    name = "exact"
    steady = True

    def __init__(self, run, data, width, anchor, n_draws, rng):
        self._run, self._data, self._anchor, self._rng = run, data, anchor, rng
        self._width = width
        self._size = int(np.ceil(max(n_draws, 2 * _BATCHES) / _BATCHES))
        self._fill()

    @property
    def n_draws(self):
        return _BATCHES * self._size

    def _fill(self):
        structure, p = self._run.structure, self._width
        n_levels = self._run.index["n_levels"].numpy()
        self._z = []
        for q, n in zip(structure.n_effects, n_levels, strict=True):
            z = self._rng.standard_normal((q, _BATCHES, self._size, n))
            # second moments are exact in every batch
            z /= np.sqrt(np.mean(z * z, 2, keepdims=True))
            self._z.append(z.reshape(q, self.n_draws, n))
        self._z_fixed = self._rng.standard_normal((p, self.n_draws))

    def _chunks(self):
        """Slices of the draws that fit into memory at once."""
        width = sum(len(z) * z.shape[2] for z in self._z)
        if self._run.structure.core:
            width += sum(
                q * int(cells.shape[0])
                for q, cells in zip(
                    self._run.structure.chain,
                    self._run.index["cell_level"],
                    strict=True,
                )
            )
        size = max(1, int(_VALUES_EXACT / max(width, 1)))
        return [slice(a, a + size) for a in range(0, self.n_draws, size)]

    def grow(self):
        """Twice as many draws, all of them new."""
        self._size *= 2
        self._fill()

    def expect(self, coef, roots):
        """Expectation at the roots A of the covariances; fixed effects are profiled."""
        index, statistics, n_rows, reml = self._data
        factors = _tensors([t @ a for t, a in zip(self._anchor, roots, strict=True)])
        exact = montecarlo.compiled_exact(self._run.structure)
        parts, self._draws = [], []
        for some in self._chunks():
            z = _tensors([z[:, some] for z in self._z])
            fixed = tf.convert_to_tensor(self._z_fixed[:, some])
            squares, by_draw, draws = exact(
                index, statistics, factors, n_rows, reml, z, fixed
            )
            parts.append(by_draw)
            if some.start < KEPT:
                self._draws.append(draws)
        squares_by = []
        for mean, *by_draw in zip(squares, *parts, strict=True):
            around = np.concatenate(by_draw, -1)
            around = around.reshape(*around.shape[:2], _BATCHES, self._size).mean(-1)
            squares_by.append(mean.numpy()[..., None] + around)
        return Expectation(
            fixed=np.zeros(0),
            squares=tuple(a.mean(-1) for a in squares_by),
            fixed_by=np.zeros((0, _BATCHES)),
            squares_by=tuple(squares_by),
            share=np.full(_BATCHES, 1.0 / _BATCHES),
            effective=1.0,
        )

    def kept(self, n=KEPT):
        """Draws (q, n, J) of b around its prediction, sigma = 1, at the last place."""
        return tuple(
            np.concatenate(parts, 1)[:, :n] for parts in zip(*self._draws, strict=True)
        )
