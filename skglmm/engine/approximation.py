"""The Gaussian that draws begin from, and what they are averaged to."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from skglmm.engine import montecarlo
from skglmm.engine.structure import FLOAT, to_numpy

# Values of the linear predictor that are held at once.
_VALUES = 8e6


@dataclass(frozen=True)
class Expectation:
    """Means over the posterior, and replicates that tell their error.

    Parameters
    ----------
    fixed : ndarray of shape (p,)
        Score of the fixed effects.
    squares : tuple of ndarray of shape (q, q)
        Sums over levels of u u', for each factor.
    fixed_by : ndarray of shape (p, R)
    squares_by : tuple of ndarray of shape (q, q, R)
        The same of independent replicates.
    share : ndarray of shape (R,)
        Their weights; they sum to one.
    effective : float
        Effective number of draws, as a share of their number.
    """

    fixed: np.ndarray
    squares: tuple
    fixed_by: np.ndarray
    squares_by: tuple
    share: np.ndarray
    effective: float


@dataclass(frozen=True)
class Finish:
    """What the last draws say beside the estimates.

    Parameters
    ----------
    means, covariances, draws : tuple of ndarray
        (q, J), (q, q, J) and (q, n_draws, J) of u, for each factor.
    shift : tuple of ndarray of shape (q, p, J)
        Minus the derivatives of the means of u in the fixed effects.
    complete : ndarray of shape (p, p)
        Complete-data information of the fixed effects.
    across : tuple of ndarray of shape (p, q, q)
        Sums over levels of their shifts times the means of u.
    spread : ndarray of shape (p + k, p + k)
        Covariance of the complete-data score.
    spread_error : float
        Its relative standard error, roughly.
    log_likelihood, error : float
        The logarithm of the likelihood and its standard error.
    """

    means: tuple
    covariances: tuple
    draws: tuple
    shift: tuple
    complete: np.ndarray
    across: tuple
    spread: np.ndarray
    spread_error: float
    log_likelihood: float
    error: float


class Approximation:
    """The best Gaussian at given parameters, from which draws start.

    The effects are thought of as moving along with the fixed effects, u = v - shift
    coef for v with a density: then the complete-data score of the fixed effects hardly
    varies over the posterior, and means of few draws are good ones.

    Parameters
    ----------
    run : Session
    objective : generalized.Variational
        At its optimum.
    anchors : tuple of ndarray of shape (q, q)
        Factors that the roots A are relative to: T = anchor A.
    """

    def __init__(self, run, objective, anchors):
        self.run, self.family = run, run.problem.family
        self.structure, self.index, self.data = run.structure, run.index, objective.data
        self.n_levels = run.index["n_levels"].numpy()
        self.n_rows = int(self.data["y"].shape[0])
        self._anchors, self._nodes = anchors, objective.nodes
        self._aux = objective.last

    def move(self, coef, roots):
        """Fit the Gaussian at these fixed effects and covariances."""
        self.coef = tf.convert_to_tensor(coef, FLOAT)
        self.factors = _tensors(
            [t @ a for t, a in zip(self._anchors, roots, strict=True)]
        )
        fit = montecarlo.compiled_approximation(self.structure, self.family)
        found = fit(
            self.index, self.data, self._nodes, self.coef, self.factors, self._aux
        )
        self._aux, self.weight = found["aux"], found["weight"]
        self.shift, self.columns = found["shift"], found["columns"]
        self.means = self._aux["spherical"]
        self.score = found["score"].numpy()
        self.covariances = to_numpy(found["posterior"])

    def lift(self, z):
        """Effects u for standard normals z, log|M| by level and in all."""
        u, by_level, log_det = montecarlo.compiled_lift(self.structure)(
            self.index, self.data["rows"], self.weight, self.factors, z
        )
        u = tuple(m[:, None] + v for m, v in zip(self.means, u, strict=True))
        return u, by_level, log_det

    def complete(self, weight):
        """Complete-data information of the fixed effects, u moving along."""
        x = self.columns.numpy()
        out = x.T @ (weight[:, None] * x)
        for shift in self.shift:
            out += np.einsum("apj,arj->pr", *[shift.numpy()] * 2)
        return out

    def across(self, means):
        """Sums over levels of shift and mean of u, (p, q, q) for each factor."""
        return tuple(
            np.einsum("apj,bj->pab", shift.numpy(), mean)
            for shift, mean in zip(self.shift, means, strict=True)
        )

    def moments(self):
        """Sums over levels of u u' under the Gaussian, (q, q) for each factor."""
        return [
            own.sum(-1) + mean.numpy() @ mean.numpy().T
            for own, mean in zip(self.covariances, self.means, strict=True)
        ]

    def chunk(self, n_draws):
        """Slices of the draws that fit into memory at once."""
        size = max(1, int(_VALUES / max(self.n_rows, 1)))
        return [slice(a, min(a + size, n_draws)) for a in range(0, n_draws, size)]


def _tensors(arrays):
    return tuple(tf.convert_to_tensor(np.asarray(a), FLOAT) for a in arrays)


def _add(sums, part):
    return part if sums is None else tf.nest.map_structure(np.add, sums, part)
