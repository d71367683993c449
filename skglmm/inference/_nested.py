"""Whether one model is a special case of another, found from their columns."""

from dataclasses import dataclass

import numpy as np

from skglmm._covariances import COVARIANCES
from skglmm._reading.identified import divide_alike

# Share of a column's length that may be left over once it is explained by others.
_LEFT = 1e-8


@dataclass(frozen=True)
class Effects:
    """Random effects of one grouping factor, by their columns.

    Parameters
    ----------
    name : str or int
    codes : ndarray of shape (n_rows,)
    columns : list of ndarray of shape (n_rows,)
        Ones for an intercept.
    covariance : str
    """

    name: str | int
    codes: np.ndarray
    columns: list
    covariance: str

    @property
    def structure(self):
        """Structure of the covariance; of a single effect that of any one."""
        plain = len(self.columns) == 1 and not COVARIANCES[self.covariance].couples
        return COVARIANCES["full" if plain else self.covariance]

    @property
    def n_parameters(self):
        """Number of parameters of the covariance."""
        return self.structure.n_parameters(len(self.columns))


@dataclass(frozen=True)
class Columns:
    """A model by its columns.

    Parameters
    ----------
    fixed : list of ndarray of shape (n_rows,)
        With ones for the intercept, if there is one.
    random : list of Effects
    offset, trials, precision : ndarray of shape (n_rows,) or None
    """

    fixed: list
    random: list
    offset: np.ndarray | None
    trials: np.ndarray | None
    precision: np.ndarray | None = None


def columns_of(inputs, fit_intercept):
    """`Columns` of a model.

    Parameters
    ----------
    inputs : Inputs
    fit_intercept : bool

    Returns
    -------
    columns : Columns
    """
    ones = np.ones(len(inputs.y))

    def read(positions):
        return [inputs.matrix[:, inputs.numeric.index(at)] for at in positions]

    return Columns(
        fixed=[ones] * fit_intercept + read(inputs.fixed),
        random=[
            Effects(
                term.name,
                codes,
                [ones] * term.intercept + read(term.slopes),
                term.covariance,
            )
            for term, codes in zip(inputs.terms, inputs.codes, strict=True)
        ],
        offset=inputs.offset,
        trials=inputs.trials,
        precision=inputs.precision,
    )


def same_fixed(one, other):
    """Whether two models have the same fixed columns, in whatever order."""
    return len(one.fixed) == len(other.fixed) and all(
        _place(column, other.fixed) is not None for column in one.fixed
    )


def boundaries(small, large):
    """How many variances of the larger model are zero in the smaller one.

    Parameters
    ----------
    small, large : Columns

    Returns
    -------
    n : int
        -1 if the smaller is no special case of the larger.
    why : str
        What stands against it.
    """
    if not (_equal(small.offset, large.offset) and _equal(small.trials, large.trials)):
        return -1, "another offset or other trials"
    if not _equal(small.precision, large.precision):
        return -1, "other precisions"
    if not _spans(large.fixed, small.fixed):
        return -1, "it lacks fixed columns of the model before"
    partners, n = {}, 0
    for effects in small.random:
        partner = next(
            (
                r
                for r, e in enumerate(large.random)
                if divide_alike(effects.codes, e.codes)
            ),
            None,
        )
        if partner is None:
            return -1, f"it lacks the random effects of {effects.name!r}"
        partners[partner] = effects
    for r, effects in enumerate(large.random):
        within = partners.get(r)
        if within is not None and not _contains(effects, within):
            return -1, (
                f"its random effects of {effects.name!r} do not contain those of the "
                "model before"
            )
        n += _added_variances(effects, within)
    return n, ""


def _added_variances(large, small):
    """Variances of the one that are zero in the other, or in a model without it."""
    if large.structure.shares:
        return int(small is None)
    return len(large.columns) - (0 if small is None else len(small.columns))


def _contains(large, small):
    """Whether a covariance of the one effects is one of the other, with zeros."""
    if any(_place(column, large.columns) is None for column in small.columns):
        return False
    same = len(large.columns) == len(small.columns)
    outer, inner = large.structure, small.structure
    if outer.couples or inner.couples:
        return outer.name == inner.name
    if outer.correlates:
        return True
    if outer.independent and not outer.shares:
        return inner.independent or len(small.columns) == 1
    return same and outer.name == inner.name


def _place(column, columns):
    """Which of the columns is the same, or None."""
    found = (at for at, other in enumerate(columns) if np.array_equal(column, other))
    return next(found, None)


def _equal(one, other):
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _spans(columns, others):
    """Whether the others are linear combinations of the columns."""
    others = [column for column in others if _place(column, columns) is None]
    if not others:
        return True
    if not columns:
        return False
    X, Y = (
        np.column_stack([c / (np.linalg.norm(c) or 1.0) for c in found])
        for found in (columns, others)
    )
    left = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    return bool(np.all(np.linalg.norm(left, axis=0) < _LEFT))
