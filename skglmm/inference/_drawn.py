"""The rows of a fit, and all effects drawn from their posterior."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from skglmm._families import Family
from skglmm._fitted.prediction import Rows, root
from skglmm._fitted.state import family_of
from skglmm._sklearn import check_sample_weight
from skglmm.inference._rows import read_again

# Draws that tell the variances of linear predictors, and how often they are improved.
_DRAWS, _TURNS = 32, 3
# Step of the slope of an inverse link.
_SHORT = 1e-4
# Share of the right side that conjugate gradients leave, and how long they may take.
_EXACT, _ITERATIONS = 1e-6, 2000


@dataclass(frozen=True)
class Observed:
    """The rows of a fit, and what the model says of them.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Responses in the units of the family's means: shares of successes, not numbers.
    rows : Rows
        With the levels that fit has seen, or none of them.
    size : ndarray of shape (n,) or None
        What else an observation's distribution depends on.
    family : Family
    weight : ndarray of shape (n,)
    """

    y: np.ndarray
    rows: Rows
    size: np.ndarray | None
    family: Family
    weight: np.ndarray

    @property
    def trials(self) -> np.ndarray:
        """Number of trials of each row; ones in families without."""
        if self.family.is_bounded and self.size is not None:
            return self.size
        return np.ones(len(self.y))


def observed(model, X, y, sample_weight, groups, level):
    """Read the rows of a fit.

    Parameters
    ----------
    model, X, y, sample_weight, groups
        See `read_again`.
    level : {"conditional", "population"}

    Returns
    -------
    observed : Observed
    """
    read_again(model, X, y, sample_weight, groups)
    family = family_of(model)
    groups = groups if model._fitted.from_metadata else None
    rows, special = model._rows(X, groups, level)
    n = len(rows.X)
    values = model._read_target(y, n, fitted=True).values
    size = model._observation_size(special, n)
    weight = check_sample_weight(sample_weight, values)
    found = Observed(values, rows, size, family, weight)
    return replace(found, y=values / found.trials) if family.is_bounded else found


def drawn(found, random):
    """One draw of all effects given the data.

    Fixed effects have a flat prior. One factor has the joint normal distribution that
    `Rows` has; several depend on each other given the data, see `_jointly`.

    Parameters
    ----------
    found : Observed
    random : RandomState

    Returns
    -------
    eta : ndarray of shape (n,)
        Linear predictors.
    effects : tuple of ndarray of shape (n_levels, q)
        Of each factor.
    """
    rows = found.rows
    errors = rows.X @ rows.half[1:] + rows.half[0]
    unit, moves = (_jointly if len(rows.effects) > 1 else _alone)(found, errors, random)
    eta = rows.X @ rows.coef + rows.intercept + errors @ unit
    if rows.offset is not None:
        eta += rows.offset
    if rows.gap_variance is not None:
        eta += np.sqrt(rows.gap_variance) * random.standard_normal(len(eta))
    drawn_effects = []
    for effects, move in zip(rows.effects, moves, strict=True):
        b = effects.means + move
        other = root(effects.prior[None])[0]
        other = other @ random.standard_normal(len(effects.prior))
        effects.add_to(eta, effects.padded(b, other))
        drawn_effects.append(b)
    return eta, tuple(drawn_effects)


def _alone(found, errors, random):
    """What is added to the means: units of the fixed errors, and effects by level."""
    unit = random.standard_normal(errors.shape[1])
    moves = []
    for effects in found.rows.effects:
        scores = random.standard_normal((*effects.means.shape, 1))
        move = (root(effects.posteriors) @ scores)[:, :, 0]
        if effects.shifts is not None:
            move = move + effects.shifts @ unit
        moves.append(move)
    return unit, moves


def _jointly(found, errors, random):
    """The same from the joint posterior of all factors, by one solution of its system.

    With A the columns of all effects, spherical, times the square roots of the rows'
    information, and D their prior precision (0 or 1), the posterior has the precision
    A'A + D, and (A'A + D)^-1 (A'e + D^(1/2) f) has its covariance for standard normal e
    and f. The information of a row is averaged over its linear predictor, whose
    variance comes from other draws.
    """
    rows, family, columns = found.rows, found.family, [sparse.csr_array(errors)]
    roots = [root(effects.prior[None])[0] for effects in rows.effects]
    for effects, half in zip(rows.effects, roots, strict=True):
        columns.append(_spread(effects, half))
    table = sparse.hstack(columns, format="csr")
    prior = np.ones(table.shape[1])
    prior[: errors.shape[1]] = 0.0
    eta, variance = rows.mean(), np.zeros(table.shape[0])
    for _ in range(1 if family.is_linear else _TURNS):
        information = found.weight * _information(family, eta, variance, found.size)
        scaled = sparse.diags_array(np.sqrt(information)) @ table
        e = random.standard_normal((table.shape[0], _DRAWS))
        f = random.standard_normal((table.shape[1], _DRAWS))
        x = _solved(scaled, prior, scaled.T @ e + prior[:, None] * f)
        variance = np.mean((table @ x) ** 2, axis=1)
    ends = np.cumsum([part.shape[1] for part in columns])
    unit, *parts = np.split(x[:, 0], ends[:-1])
    return unit, [
        part.reshape(-1, len(half)) @ half.T
        for part, half in zip(parts, roots, strict=True)
    ]


def _spread(effects, half):
    """Columns (n, n_levels q) of a factor's spherical effects, 0 of unseen levels."""
    n, q = len(effects.codes), len(half)
    z = np.ones((n, 1)) if effects.z is None else effects.z
    values = (z @ half) * (effects.codes >= 0)[:, None]
    at = np.maximum(effects.codes, 0)[:, None] * q + np.arange(q)
    place = np.arange(0, n * q + 1, q)
    shape = (n, len(effects.means) * q)
    return sparse.csr_array((values.ravel(), at.ravel(), place), shape=shape)


def _information(family, eta, variance, size):
    """Mean information of a row on its linear predictor, by quadrature."""
    none, total, sd = np.zeros(len(eta)), np.zeros(len(eta)), np.sqrt(variance)
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        at = eta + sd * node
        rise = family.inverse_link(at + _SHORT) - family.inverse_link(at - _SHORT)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = (rise / (2.0 * _SHORT)) ** 2 / family.variance(at, none, size)
        total += weight * np.where(np.isfinite(part), part, 0.0)
    return total


def _solved(scaled, prior, right):
    """Solve (A'A + D) x = right, by conjugate gradients for all columns at once."""
    own = sparse.csr_array(scaled.multiply(scaled)).sum(axis=0) + prior
    scale = 1.0 / np.maximum(own, 1e-300)[:, None]
    x, left = np.zeros_like(right), right.copy()
    step = scale * left
    size = np.sum(left * step, axis=0)
    enough = _EXACT**2 * size
    for _ in range(_ITERATIONS):
        if np.all(size <= enough):
            break
        image = scaled.T @ (scaled @ step) + prior[:, None] * step
        length = size / np.maximum(np.sum(step * image, axis=0), 1e-300)
        x += length * step
        left -= length * image
        before, better = size, scale * left
        size = np.sum(left * better, axis=0)
        step = better + size / np.maximum(before, 1e-300) * step
    return x
