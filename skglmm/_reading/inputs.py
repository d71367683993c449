"""All that the user wrote, in numbers, and what there is to say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skglmm._families import Family
from skglmm._memory import aligned
from skglmm._reading import identified
from skglmm._reading.categories import Categories, learn
from skglmm._reading.fixed_columns import fixed_positions
from skglmm._reading.formula import Formula, FormulaColumns
from skglmm._reading.labels import encode, twins
from skglmm._reading.moments import Moments
from skglmm._reading.roles import role_values, row_offset, row_precision
from skglmm._reading.table import Table
from skglmm._reading.target import Target
from skglmm._reading.terms import Term

# Values of columns whose squares, and those of their reciprocals, doubles hold.
_LEAST_COLUMN = 1e-145
# Columns below which each is looked at by itself, where there are so many rows.
_FEW, _LONG = 16, 4096


@dataclass(frozen=True)
class Inputs:
    """Rows with a positive weight, in the order of the user.

    Parameters
    ----------
    terms : tuple of Term
    categories : Categories
        How columns that are no numbers have become numbers.
    formula : FormulaColumns or None
        How a formula has made the fixed columns.
    codes : tuple of ndarray of shape (n_rows,)
        Level of each row, by term.
    levels : tuple of Index
        Labels of the levels, by term.
    fixed : tuple of int
        Positions of the columns of the fixed part in X with its dummies.
    names : tuple of str
        Of the columns that have coefficients: none if the fixed part is not linear.
    numeric : tuple of int
        Positions of the columns of `matrix` in X with its dummies: the fixed ones
        that have coefficients, and behind them those that have random slopes only.
    matrix : ndarray of shape (n_rows, n_numeric)
        Columns as numbers; NaN where values are missing and may be.
    features : object
        What a fixed part that is not linear reads; None for a linear one.
    y, weight : ndarray of shape (n_rows,)
    offset, trials : ndarray of shape (n_rows,) or None
        Offset of the linear predictor, exposures included, and numbers of trials.
    classes : ndarray of shape (n_classes,) or None
        What the target was before it became zeros, ones and so on.
    rows : ndarray of shape (n_rows,)
        Positions of the rows in X.
    named : dict of int or tuple of int
        Positions of the columns with a role of their own, by parameter; several are
        added up.
    from_metadata : bool
        Whether the groups were given to `fit`.
    by_name : bool
        Whether the user has named the columns of the fixed part.
    messages : tuple of str
        What was noticed.
    hopeless : str or None
        Why the likelihood has no maximum.
    one_row_each : dict of str
        What is to be said of terms, by position, unless their variance is zero.
    precision : ndarray of shape (n_rows,) or None, default=None
        Numbers to which the residual variances of the rows are inverse.
    properties : tuple of tuple of int, default=()
        Columns of `matrix` with gaps that are properties of levels, each with the
        position of the term.
    moments : Moments or None, default=None
        Of all rows, where those at hand stand for several each.
    n_copies : int, default=1
        How many rows stand for one of the user's: one for each class, where there are
        more than two (see `by_class`).
    """

    terms: tuple[Term, ...]
    categories: Categories
    formula: FormulaColumns | None
    codes: tuple[np.ndarray, ...]
    levels: tuple[pd.Index, ...]
    fixed: tuple[int, ...]
    names: tuple[str, ...]
    numeric: tuple[int, ...]
    matrix: np.ndarray
    features: Any
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None
    trials: np.ndarray | None
    classes: np.ndarray | None
    rows: np.ndarray
    named: dict[str, int | tuple[int, ...]]
    from_metadata: bool
    by_name: bool
    messages: tuple[str, ...]
    hopeless: str | None
    one_row_each: dict[int, str]
    precision: np.ndarray | None = None
    properties: tuple[tuple[int, int], ...] = ()
    moments: Moments | None = None
    n_copies: int = 1

    @property
    def encoded(self) -> list[tuple[np.ndarray, pd.Index]]:
        """Codes and levels by term."""
        return list(zip(self.codes, self.levels, strict=True))

    @property
    def gaps(self) -> bool:
        """Whether values of the fixed columns are missing."""
        return bool(np.isnan(self.matrix).any())

    @property
    def columns(self) -> np.ndarray:
        """Values of the columns that have coefficients."""
        return self.matrix[:, : len(self.names)]


def read(
    table: Table,
    target: Target,
    weight: np.ndarray | None,
    terms: tuple[Term, ...],
    labels: list,
    named: dict[str, int | tuple[int, ...]],
    *,
    family: Family,
    part: Any,
    listed: list | Formula | None,
    missing: str,
    reference: dict | None,
    check_rows: Callable[[np.ndarray, Any], None],
    from_metadata: bool,
) -> Inputs:
    """Read the columns of a table.

    Parameters
    ----------
    table : Table
    target : Target
    weight : ndarray of shape (n_rows,) or None
        None counts every row once.
    terms : tuple of Term
    labels : list of tuple
        Label columns of each term, and their names.
    named : dict of int or tuple of int
        See `Inputs`.
    family, part : Family, FixedPart or None
    listed : list of str or int, Formula or None
        Columns of the fixed part, or a formula over them; None for all that have no
        other role.
    missing : {"error", "model"}
    reference : dict or None
        Reference levels of columns, where they are not the first.
    check_rows : callable
        Refuses a target without the rows of weight zero.
    from_metadata : bool

    Returns
    -------
    inputs : Inputs

    Raises
    ------
    TypeError, ValueError
        If a column cannot be read, or if the rows cannot determine the model.
    """
    found = wanted(table, terms, named, listed, part, missing)
    found = learned(table, terms, found, reference, weight)
    categories, formula, table, terms, fixed, messages = found
    messages += target.messages
    features = None if part is None else part.read(table, fixed)
    numeric = numeric_positions(fixed if part is None else (), terms)
    matrix = read_matrix(table, numeric, terms, part, missing)
    special = role_values(table, named)
    rows, weight, y, matrix, special, encoded = counted(
        weight, target.values, matrix, special, _encoded(terms, labels)
    )
    check_rows(y, target.classes)
    return Inputs(
        terms=terms,
        categories=categories,
        formula=formula,
        fixed=fixed,
        names=tuple(table.effect_name(at) for at in fixed) if part is None else (),
        numeric=numeric,
        matrix=matrix,
        features=features,
        y=y,
        weight=weight,
        classes=target.classes,
        rows=rows,
        named=named,
        from_metadata=from_metadata,
        by_name=listed is not None,
        precision=_precision(table, special, named, rows),
        **judged(terms, encoded, weight, family, y, special, rows, messages),
    )


def _precision(table, special, named, rows):
    """Precisions of the rows, if they have any."""
    if "precision" not in special:
        return None
    where = table.describe(named["precision"])
    return row_precision(special["precision"], where, rows)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the columns of a table are read as, before their values are known.

    Parameters
    ----------
    formula : FormulaColumns or None
    as_categories : frozenset of int
        Columns that the formula makes categories of.
    fixed : tuple of int
        Columns of the fixed part.
    numbers : tuple of int
        Columns that are to be numbers.
    coded : bool
        Whether fixed columns that are none become dummies.
    """

    formula: FormulaColumns | None
    as_categories: frozenset[int]
    fixed: tuple[int, ...]
    numbers: tuple[int, ...]
    coded: bool


def wanted(table, terms, named, listed, part, missing) -> Wanted:
    """What the columns of a table are read as."""
    formula = None
    as_categories: frozenset[int] = frozenset()
    if isinstance(listed, Formula) and listed.text in (table.names or ()):
        listed = [listed.text]
    if isinstance(listed, Formula):
        formula, found = listed.read(table)
        as_categories, listed = frozenset(found), list(formula.columns)
        _check_formula(formula, as_categories, table, terms, missing)
    fixed = fixed_positions(table, terms, named, listed)
    coded = part is None or not part.takes_text
    numbers = {at for term in terms for at in term.slopes}
    if coded:
        numbers.update(fixed)
    return Wanted(formula, as_categories, fixed, tuple(sorted(numbers)), coded)


def learned(table, terms, found: Wanted, reference, weight):
    """Categories and formula; table, terms and fixed positions with them; messages."""
    present = None if weight is None else weight > 0
    categories, table, messages = learn(
        table, found.numbers, reference, present, found.as_categories
    )
    fixed, formula = found.fixed, found.formula
    if found.coded:
        fixed = categories.expand(fixed)
    terms = categories.expand_terms(terms, table)
    if formula is not None:
        formula, table = formula.learned(table, categories, present)
        fixed = formula.positions
    return categories, formula, table, terms, fixed, messages


def _check_formula(formula, as_categories, table, terms, missing):
    """Refuse a formula beside what it does not go with."""
    if missing != "error":
        raise ValueError(
            "missing='model' fills in columns, and the formula in fixed_effects "
            "computes with them: name the columns in a list, or leave missing at its "
            "default and fill them in beforehand."
        )
    kinds = table.kinds(as_categories)
    for at in _slopes(terms):
        if at in as_categories and kinds.get(at, "truth") == "truth":
            raise ValueError(
                f"random_slopes: {table.describe(at)} is a category in the formula of "
                "fixed_effects and a number here: add a copy of it to X."
            )


def counted(weight, y, matrix, special, encoded):
    """Positions and weights of the rows that count, and what was read of them."""
    rows = np.arange(len(y))
    if weight is None:
        weight = _ones(len(y))
    elif np.any(weight == 0):
        present = weight > 0
        rows, y, weight, matrix = (v[present] for v in (rows, y, weight, matrix))
        special = {name: v[present] for name, v in special.items()}
        encoded = [present_levels(c[present], levels) for c, levels in encoded]
    return rows, weight, y, matrix, special, encoded


def _encoded(terms, labels):
    """Codes and levels by term."""
    pairs = zip(terms, labels, strict=True)
    return [encode(parts, term.name, names) for term, (parts, names) in pairs]


def judged(terms, encoded, weight, family, y, special, rows, messages):
    """Levels, roles and what the rows cannot determine, as fields of `Inputs`."""
    trials, offset = special.get("trials"), row_offset(special, rows)
    for term, (_, levels) in zip(terms, encoded, strict=True):
        messages += twins(term.name, levels)
    identified.check_levels(terms, encoded, weight, family.is_linear)
    messages += family.check(y, trials, rows)
    hopeless, one_row_each = family.no_maximum(y, trials), {}
    if family.is_bounded:
        one_row_each = identified.one_row_each(terms, encoded, weight, trials)
        hopeless = hopeless or identified.constant_within(
            terms, encoded, y, trials, weight
        )
    return {
        "codes": tuple(codes for codes, _ in encoded),
        "levels": tuple(levels for _, levels in encoded),
        "offset": offset,
        "trials": trials,
        "messages": tuple(messages),
        "hopeless": hopeless,
        "one_row_each": one_row_each,
    }


def read_matrix(table, positions, terms, part, missing) -> np.ndarray:
    """Columns as numbers; NaN where values are missing and may be."""
    matrix = _numbers(table, positions, terms, part, missing)
    _check_sizes(matrix, [table.describe(at) for at in positions])
    return matrix


def _numbers(table, positions, terms, part, missing):
    if missing == "error":
        return table.numeric(positions, advice=advice_on_gaps(part))
    if part is not None:
        raise ValueError(
            "missing='model' needs the linear fixed part, but fixed_effects is "
            "given: leave one of the two at its default. (A regressor that takes "
            "missing values, such as HistGradientBoostingRegressor, has them "
            "under missing='error' as well.)"
        )
    table.numeric(_slopes(terms), "random slope")
    values = table.numeric(positions, missing=True)
    if np.isinf(values).any():
        table.numeric(positions)
    return values


def advice_on_gaps(part) -> str:
    """What a message on missing values says of the parameter, if it helps."""
    if part is not None:
        return ""
    return "Or fit with missing='model', which takes them as further unknowns."


def _check_sizes(columns, names):
    """Refuse columns whose squares no double holds."""
    if not columns.size:
        return
    most, least = _extremes(columns)
    sizes = np.fmax(most, -least)
    wrong = (sizes > 1.0 / _LEAST_COLUMN) | ((sizes > 0.0) & (sizes < _LEAST_COLUMN))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"The {names[at]} has values of the size of {sizes[at]:.3g}, whose squares "
            "no number of 64 bits holds: give it in another unit."
        )


def _slopes(terms):
    """Positions of the columns that have random slopes."""
    return sorted({at for term in terms for at in term.slopes})


def _extremes(columns):
    """Largest and least values of each column, gaps left out."""
    n_rows, n = columns.shape
    if n_rows < _LONG or n > _FEW:
        return np.fmax.reduce(columns), np.fmin.reduce(columns)
    # rows of few columns are slow to reduce together
    return tuple(
        np.array([reduced.reduce(column) for column in columns.T])
        for reduced in (np.fmax, np.fmin)
    )


def numeric_positions(fixed, terms):
    """Positions of the fixed columns, and behind them of other slopes."""
    return (*fixed, *(at for at in _slopes(terms) if at not in fixed))


def _ones(n):
    """Weights of rows that count once."""
    weight = aligned(n)
    weight[:] = 1.0
    return weight


def present_levels(codes, levels):
    """Codes and levels after rows have been left out."""
    seen = np.zeros(len(levels), dtype=bool)
    seen[codes] = True
    if seen.all():
        return codes, levels
    place = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    return place[codes], levels[seen]
