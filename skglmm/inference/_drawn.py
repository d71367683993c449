"""The rows of a fit with random effects drawn from their posterior."""

from dataclasses import dataclass

import numpy as np

from skglmm._families import Family
from skglmm._fitted.prediction import Rows, root
from skglmm._fitted.state import family_of
from skglmm.inference._rows import read_again


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
    """

    y: np.ndarray
    rows: Rows
    size: np.ndarray | None
    family: Family

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
    found = Observed(values, rows, size, family)
    if family.is_bounded:
        found = Observed(values / found.trials, rows, size, family)
    return found


def drawn(rows, random):
    """One draw of all effects given the data.

    Fixed effects have a flat prior, so that they and the random effects have the joint
    normal distribution of `Rows`. Factors are independent of each other given the data
    and the fixed effects.

    Parameters
    ----------
    rows : Rows
    random : RandomState

    Returns
    -------
    eta : ndarray of shape (n,)
        Linear predictors.
    effects : tuple of ndarray of shape (n_levels, q)
        Of each factor.
    """
    unit = random.standard_normal(rows.half.shape[1])
    error = rows.half @ unit
    eta = rows.X @ (rows.coef + error[1:]) + (rows.intercept + error[0])
    if rows.offset is not None:
        eta = eta + rows.offset
    if rows.gap_variance is not None:
        eta = eta + np.sqrt(rows.gap_variance) * random.standard_normal(len(eta))
    found = []
    for effects in rows.effects:
        scores = random.standard_normal((*effects.means.shape, 1))
        b = effects.means + (root(effects.posteriors) @ scores)[:, :, 0]
        if effects.shifts is not None:
            b = b + effects.shifts @ unit
        other = root(effects.prior[None])[0] @ random.standard_normal(len(effects.prior))
        effects.add_to(eta, effects.padded(b, other))
        found.append(b)
    return eta, tuple(found)
