"""From what the user wrote to a problem in working coordinates, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from skglmm._covariances import COVARIANCES
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
from skglmm._problem.sums import LinearTable, centred, coded_elsewhere
from skglmm._reading import identified
from skglmm._reading.inputs import Inputs
from skglmm._reading.moments import Moments
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
        return _filled(self.columns) if self.problem.gaps else self.columns


def factors_of(terms, encoded) -> list[Factor]:
    """The terms as a design wants them."""
    return [
        Factor(
            codes,
            len(levels),
            term.n_effects,
            not term.slopes,
            term.covariance,
            COVARIANCES[term.covariance].levels_root(levels),
        )
        for term, (codes, levels) in zip(terms, encoded, strict=True)
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
    rows = _rows(inputs, design, family, linear_part)
    if family.is_linear:
        identified.check_rank(inputs.terms, inputs.encoded, rows.values, rows.counts)
    found = _coordinates(rows, family.is_linear, linear_part, gaps, fit_intercept)
    spanned = reml and linear_part and family.is_linear
    messages, unidentified = _remarks(
        rows, found, family.is_linear, fit_intercept, spanned
    )
    engine = design.plan.chain + design.plan.core

    def in_order(by_term):
        return None if by_term is None else tuple(by_term[r] for r in engine)

    table = found.table and replace(found.table, z=in_order(found.table.z))
    problem = Problem(
        design=design,
        border=found.border,
        z=in_order(found.z),
        weight=rows.weight,
        frequency=rows.frequency,
        unit_precision=rows.unit_precision,
        table=table,
        rounding=_rounding(rows.size, found.origin, found.coding, fit_intercept),
        unit=rows.unit,
        family=family,
        offset=rows.offset,
        trials=rows.trials,
        reml=reml,
        start=start(engine, found.recodings),
        names=tuple(inputs.terms[r].name for r in engine),
        recodings=in_order(found.recodings),
        squares=in_order(found.squares),
        gaps=gaps,
        seed=seed,
        watch=watch,
    )
    meaning = found.coding, found.origin, tuple(found.recodings), tuple(found.squares)
    said = tuple(unidentified), tuple(messages)
    return Working(problem, *meaning, rows.y, rows.columns, *said)


@dataclass(frozen=True)
class _Rows:
    """Rows in the order of a design.

    Parameters
    ----------
    inputs : Inputs
    y, weight : ndarray of shape (n_rows,)
        The target of a linear model less its offset, and in another unit; weights as
        in `Problem`, as are the last two.
    matrix, columns : ndarray
        Columns that are read as numbers, and those with a coefficient.
    offset, trials : ndarray of shape (n_rows,) or None
    size, unit : float
        Root of the mean square of the target of a linear model, and its unit.
    frequency : ndarray of shape (n_rows,) or None
    unit_precision : float
    moments : Moments or None
        In that unit.
    """

    inputs: Inputs
    y: np.ndarray
    weight: np.ndarray
    matrix: np.ndarray
    columns: np.ndarray
    offset: np.ndarray | None
    trials: np.ndarray | None
    size: float
    unit: float
    frequency: np.ndarray | None
    unit_precision: float
    moments: Moments | None

    @property
    def counts(self):
        """How often each row counts."""
        return self.weight if self.frequency is None else self.frequency

    def places(self, term):
        """Columns of `matrix` that are the slopes of a term."""
        return [self.inputs.numeric.index(at) for at in term.slopes]

    def values(self, term):
        """Row values (n_rows, q) of a term's effects; None for an intercept alone."""
        place = self.inputs.numeric.index
        return row_values(term, lambda at: self.matrix[:, place(at)], len(self.matrix))


@dataclass(frozen=True)
class _Coordinates:
    """Working columns of rows, and how they came about; see `Problem` and `Working`."""

    table: LinearTable | None
    border: np.ndarray | None
    z: list | None
    coding: FixedCoding
    origin: np.ndarray | float
    recodings: list
    squares: list


def _rows(inputs, design, family, linear_part):
    y, weight, matrix = map(design.rows, (inputs.y, inputs.weight, inputs.matrix))
    offset, trials = (
        v if v is None else design.rows(v) for v in (inputs.offset, inputs.trials)
    )
    size, unit, moments = 0.0, 1.0, inputs.moments
    if family.is_linear:
        y = y if offset is None else y - offset
        size = _size(y) if moments is None else moments.size
        if linear_part and size and not _UNUSUAL < size < 1.0 / _UNUSUAL:
            unit = 2.0 ** np.round(np.log2(size))
            y, size = y / unit, size / unit
            moments = moments and moments.in_unit(unit)
    columns = matrix[:, : len(inputs.names)] if linear_part else matrix[:, :0]
    own = offset, trials, size, unit
    frequency, weight, unit_precision = _weighed(inputs, design, weight)
    own += frequency, unit_precision, moments
    return _Rows(inputs, y, weight, matrix, columns, *own)


def _weighed(inputs, design, frequency):
    """Frequencies if they are not the weights, weights, and the unit of precisions.

    The precisions are multiplied by what leaves the sum of the weights that of the
    frequencies: so the number of rows, which the likelihood asks for, stays right.
    """
    if inputs.precision is None:
        return None, frequency, 1.0
    precision = design.rows(inputs.precision)
    largest = precision.max()
    precision = precision / largest
    unit = float(frequency.sum() / (frequency * precision).sum())
    weight = frequency * (unit * precision)
    return frequency, weight, unit / float(largest)


def _coordinates(rows, linear, linear_part, gaps, fit_intercept):
    """Sums of columns as they are where that loses no digits, else coded rows."""
    y, weight, terms = rows.y, rows.weight, rows.inputs.terms
    if linear and linear_part and not gaps:
        slopes = [(rows.places(t), t.intercept, t.covariance) for t in terms]
        table, coding, origin, recodings, squares = centred(
            rows.matrix,
            rows.columns.shape[1],
            y,
            weight,
            fit_intercept,
            slopes,
            rows.moments,
        )
        if table is None and rows.moments is not None:
            table, coding, origin, recodings, squares = coded_elsewhere(
                rows.moments, rows.columns.shape[1], fit_intercept, slopes
            )
        if table is not None:
            return _Coordinates(table, None, None, coding, origin, recodings, squares)
    z, recodings, squares = _coded_random(terms, rows.values, weight)
    columns, origin = _filled(rows.columns) if gaps else rows.columns, 0.0
    border, coding = code_fixed(columns, weight, fit_intercept)
    if linear:
        origin = least_squares(y, border, weight)
    else:
        border[:, -1] = y
    return _Coordinates(None, border, z, coding, origin, recodings, squares)


def _filled(columns):
    """Columns with means in the place of missing values."""
    return np.where(np.isnan(columns), np.nanmean(columns, axis=0), columns)


def _remarks(rows, found, linear, fit_intercept, spanned):
    """What the coordinates tell of columns and effects: messages, and worse ones."""
    inputs, coding = rows.inputs, found.coding
    n_coef = coding.transform.shape[1]
    messages = list(identified.check_fixed(n_coef, rows.counts, linear))
    unidentified = list(
        identified.dependent_effects(
            inputs.terms, found.recodings, found.squares, rows.values
        )
    )
    if spanned and any(len(levels) <= n_coef for levels in inputs.levels):
        unidentified += identified.spanned(
            inputs.terms,
            inputs.encoded,
            rows.values,
            rows.columns,
            rows.weight,
            fit_intercept,
        )
    unidentified += identified.alike(inputs.terms, inputs.encoded)
    if coding.aliased.any():
        out = np.flatnonzero(coding.aliased) - int(fit_intercept)
        messages.append(identified.redundant([inputs.names[i] for i in out]))
    return messages, unidentified


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
