"""From what the user wrote to a problem in working coordinates, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from skglmm._families import Family
from skglmm._memory import aligned
from skglmm._problem.coding import (
    FixedCoding,
    code_fixed,
    code_random,
    least_squares,
)
from skglmm._problem.design import Factor, GroupedDesign
from skglmm._problem.problem import Problem
from skglmm._problem.sums import centred
from skglmm._reading import identified
from skglmm._reading.inputs import Inputs
from skglmm._reading.terms import row_values

# Sizes of a target beyond which another unit is used, and beyond which its squares
# are no numbers.
_UNUSUAL, _LEAST = 1e-50, 1e-152


@dataclass(frozen=True)
class Working:
    """A problem, and what its numbers mean.

    Parameters
    ----------
    problem : Problem
    coding : FixedCoding
        The user's coefficients from those of the problem.
    origin : ndarray of shape (rank,) or float
        What has been taken off the target, in coefficients of the problem.
    recodings, squares : tuples of ndarray of shape (q, q)
        By term: the user's effects from those of the problem, and the mean over rows of
        z z' in the coordinates of the problem.
    y : ndarray of shape (n_rows,)
        Target in the order of the design, less its offset and in the unit of the
        problem for a linear model.
    columns : ndarray of shape (n_rows, p)
        Fixed columns in the order of the design, NaN where values are missing.
    unidentified : tuple of str
        What the rows cannot tell apart.
    messages : tuple of str
        What else was noticed.
    """

    problem: Problem
    coding: FixedCoding
    origin: np.ndarray | float
    recodings: tuple[np.ndarray, ...]
    squares: tuple[np.ndarray, ...]
    y: np.ndarray
    columns: np.ndarray
    unidentified: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def filled(self) -> np.ndarray:
        """`columns` with means in the place of missing values."""
        if not self.problem.gaps:
            return self.columns
        means = np.nanmean(self.columns, axis=0)
        return np.where(np.isnan(self.columns), means, self.columns)


def factors_of(inputs: Inputs) -> list[Factor]:
    """The terms as a design wants them."""
    return [
        Factor(codes, len(levels), term.n_effects, not term.slopes, term.covariance)
        for term, (codes, levels) in zip(inputs.terms, inputs.encoded, strict=True)
    ]


def to_working(
    inputs: Inputs,
    design: GroupedDesign,
    family: Family,
    *,
    linear_part: bool,
    gaps: bool,
    fit_intercept: bool,
    reml: bool,
    start: Callable,
    seed: int,
    watch=None,
) -> Working:
    """Bring rows into the order of a design, and their columns into coordinates.

    Parameters
    ----------
    inputs : Inputs
    design : GroupedDesign
    family : Family
    linear_part : bool
        Whether the fixed columns have coefficients.
    gaps : bool
        Whether values are missing that are to be drawn.
    fit_intercept, reml : bool
    start : callable
        Gives relative factors to begin from, or None, for recodings by term.
    seed : int
    watch : Progress or None

    Returns
    -------
    working : Working

    Raises
    ------
    ValueError
        If the rows cannot determine the model, or a target no number of 64 bits.
    """
    terms, linear = inputs.terms, family.is_linear
    y, weight, matrix = map(design.rows, (inputs.y, inputs.weight, inputs.matrix))
    offset, trials = (
        v if v is None else design.rows(v) for v in (inputs.offset, inputs.trials)
    )
    size, unit, origin = 0.0, 1.0, 0.0
    if linear:
        y = y if offset is None else y - offset
        size, unit = _size(y), 1.0
        if linear_part and size and not _UNUSUAL < size < 1.0 / _UNUSUAL:
            unit = 2.0 ** np.round(np.log2(size))
            y, size = y / unit, size / unit
    place = {at: k for k, at in enumerate(inputs.numeric)}

    def values(term):
        return row_values(term, lambda at: matrix[:, place[at]], len(matrix))

    if linear:
        identified.check_rank(terms, inputs.encoded, values, weight)
    table = border = z = None
    columns = matrix if linear_part else matrix[:, :0]
    if linear and linear_part and not gaps:
        slopes = [
            ([place[at] for at in term.slopes], term.intercept, term.covariance)
            for term in terms
        ]
        table, coding, origin, recodings, squares = centred(
            matrix, y, weight, fit_intercept, slopes
        )
    if table is None:
        z, recodings, squares = _coded_random(terms, values, weight)
        filled = columns
        if gaps:
            means = np.nanmean(columns, axis=0)
            filled = np.where(np.isnan(columns), means, columns)
        border, coding = code_fixed(filled, weight, fit_intercept)
        if linear:
            origin = least_squares(y, border, weight)
        else:
            border[:, -1] = y
    messages, unidentified = _remarks(inputs, coding, recodings, squares, linear)
    n_coef = coding.transform.shape[1]
    few = any(len(levels) <= n_coef for levels in inputs.levels)
    if few and linear and reml and linear_part:
        unidentified += identified.spanned(
            terms, inputs.encoded, values, columns, weight, fit_intercept
        )
    unidentified += identified.alike(terms, inputs.encoded)
    engine = design.plan.chain + design.plan.core
    if table is not None:
        table = replace(table, z=tuple(table.z[r] for r in engine))
    problem = Problem(
        design=design,
        border=border,
        z=None if z is None else tuple(z[r] for r in engine),
        weight=weight,
        table=table,
        rounding=_rounding(size, origin, coding, fit_intercept),
        unit=unit,
        family=family,
        offset=offset,
        trials=trials,
        reml=reml,
        start=start(engine, recodings),
        names=tuple(terms[r].name for r in engine),
        recodings=tuple(recodings[r] for r in engine),
        squares=tuple(squares[r] for r in engine),
        gaps=gaps,
        seed=seed,
        watch=watch,
    )
    return Working(
        problem=problem,
        coding=coding,
        origin=origin,
        recodings=tuple(recodings),
        squares=tuple(squares),
        y=y,
        columns=columns,
        unidentified=tuple(unidentified),
        messages=tuple(messages),
    )


def _remarks(inputs, coding, recodings, squares, linear):
    """What the coordinates tell of columns and effects: messages, and worse ones."""
    n_coef = coding.transform.shape[1]
    messages = list(identified.check_fixed(n_coef, inputs.weight, linear))
    unidentified = identified.dependent_effects(inputs.terms, recodings, squares)
    if coding.aliased.any():
        first = len(coding.aliased) - len(inputs.names)
        out = np.flatnonzero(coding.aliased) - first
        messages.append(identified.redundant([inputs.names[i] for i in out]))
    return messages, list(unidentified)


def _size(y):
    """Root of the mean square of a target."""
    with np.errstate(over="ignore"):
        size = float(np.sqrt(y.dot(y) / len(y)))
    if 0.0 < size < np.inf and _LEAST < size < 1.0 / _LEAST:
        return size
    largest = float(np.max(np.abs(y), initial=0.0))
    if largest:
        raise ValueError(
            f"y has values of the size of {largest:.3g}, whose squares no number of "
            "64 bits holds: give it in another unit."
        )
    return 0.0


def _rounding(size, fit, coding, fit_intercept):
    """Standard deviation that rounding gives the residuals of a target of this size."""
    explained = np.linalg.norm(np.atleast_1d(fit)[int(fit_intercept) :])
    return 4.0 * np.finfo(float).eps * (size + float(explained) / coding.own)


def _coded_random(terms, values, weight):
    """Row values of each term as the engine wants them, their codings and squares."""
    z, recodings, squares = [], [], []
    for term in terms:
        of_term = values(term)
        recoding = square = np.eye(1)
        if of_term is not None:
            recoding, square = code_random(of_term, weight, term.covariance)
            of_term = np.matmul(of_term, recoding, out=aligned(of_term.shape))
        z.append(of_term)
        recodings.append(recoding)
        squares.append(square)
    return z, recodings, squares
