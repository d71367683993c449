"""Rows that means are taken over: a balanced grid, or those of the data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from skglmm._fitted.state import fit_columns
from skglmm._reading.inputs import Inputs
from skglmm._reading.labels import encode
from skglmm._reading.table import Table
from skglmm._reading.words import listing, plain

# Distinct values of a numeric column that need not be named, and rows of a grid.
_FEW, _MOST = 10, 1_000_000


@dataclass(frozen=True)
class Cells:
    """Combinations of values, and tables of rows that have them.

    Parameters
    ----------
    positions : list of int
        Columns that `by` names.
    names : list
        What they are called.
    values : list of list
        Values of each.
    rows : DataFrame of shape (n_rows, n_columns)
        All that the rows of a cell are, apart from its own values.
    weight : ndarray of shape (n_rows,)
        They add up to one.
    as_array : bool
        Whether the model was fitted to an array.
    """

    positions: list[int]
    names: list[Any]
    values: list[list]
    rows: pd.DataFrame
    weight: np.ndarray
    as_array: bool

    @property
    def index(self) -> pd.Index:
        """Index of the cells: values, or tuples of them."""
        if len(self.names) == 1:
            return pd.Index(self.values[0], name=self.names[0])
        return pd.MultiIndex.from_product(self.values, names=self.names)

    def tables(self) -> Iterator[Any]:
        """Rows of one cell after the other, as `predict` reads them."""
        for combination in product(*self.values):
            rows = self.rows.copy(deep=False)
            for at, value in zip(self.positions, combination, strict=True):
                rows.isetitem(at, _repeated(value, len(rows)))
            yield rows.to_numpy() if self.as_array else rows


def make_cells(model, X: Any, inputs: Inputs, by: Any, over: str) -> Cells:
    """Cells of the columns that a user names.

    Parameters
    ----------
    model : BaseMixedModel
    X : dataframe or array-like of shape (n_rows, n_columns)
    inputs : Inputs
        See `read_again`.
    by : str, int, list or dict
        See `skglmm.inference.marginal_means`.
    over : {"grid", "data"}

    Returns
    -------
    cells : Cells

    Raises
    ------
    ValueError
        If a column cannot be named, its values are not known, or the grid is too large.
    """
    columns = _Columns(model, X, inputs)
    named = columns.named(by)
    if over == "data":
        if inputs.gaps:
            raise ValueError(
                "over='data' needs all values of the fixed columns, and some are "
                "missing: use over='grid', or give the rows that have none."
            )
        rows, weight = columns.frame(inputs.rows), inputs.weight
    else:
        rows = columns.grid(set(named))
        weight = np.ones(len(rows))
    return Cells(
        positions=list(named),
        names=[columns.name(at) for at in named],
        values=list(named.values()),
        rows=rows,
        weight=weight / weight.sum(),
        as_array=columns.table.is_array,
    )


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table hold, and which of them the model reads."""

    model: Any
    X: Any
    inputs: Inputs
    given: list[str] | tuple = field(init=False)
    table: Table = field(init=False)
    kinds: dict[int, str] = field(init=False)

    def __post_init__(self):
        given = Table(self.X)
        table = fit_columns(self.model, self.X, given)
        object.__setattr__(self, "X", table.native)
        object.__setattr__(self, "given", given.names or ())
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "kinds", table.kinds(range(table.n_columns)))

    def name(self, at):
        return at if self.table.names is None else self.table.names[at]

    def labels_of_groups(self):
        """Positions of the columns that hold labels of groups and nothing else."""
        labels = {at for term in self.inputs.terms for at in term.columns}
        return labels - self.fixed()

    def fixed(self):
        """Positions of the columns that are named in the fixed part."""
        inputs = self.inputs
        if inputs.formula is not None:
            return set(inputs.formula.columns.values())
        return set(inputs.fixed) | {column.at for column in inputs.categories.columns}

    def read(self):
        """Positions of the columns that have a part in linear predictors.

        Where the fixed part is made of other things than columns and their dummies,
        every column without a role may be in it.
        """
        inputs, n = self.inputs, self.table.n_columns
        coded = {column.at: column.positions for column in inputs.categories.columns}
        dummies = {place for places in coded.values() for place in places}
        slopes = {at for term in inputs.terms for at in term.slopes}
        if inputs.formula is not None:
            return self.fixed() | {at for at in slopes if at < n}
        known = set(inputs.fixed) | slopes | set(coded)
        if all(at < n or at in dummies for at in known):
            return {at for at in known if at < n}
        return set(range(n)) - self.labels_of_groups() - set(inputs.named.values())

    def levels(self, at):
        """Categories of a column, None for one of numbers."""
        for column in self.inputs.categories.columns:
            if column.at == at:
                return list(column.levels)
        if at not in self.kinds:
            return None
        if self.kinds[at] == "truth":
            return [False, True]
        labels = self.table.labels(at)
        labels = getattr(labels, "array", labels)[self.inputs.rows]
        return list(encode([labels], str(self.name(at)))[1])

    def numbers(self, at):
        """Values of a column in the rows that count, gaps left out, and weights."""
        values = self.table.numeric([at], missing=True)[self.inputs.rows, 0]
        known = ~np.isnan(values)
        return values[known], self.inputs.weight[known]

    def named(self, by):
        """Values of the columns that `by` names, by position."""
        if not isinstance(by, Mapping):
            by = dict.fromkeys(by if isinstance(by, list | tuple) else [by])
        if not by:
            raise ValueError("by names no column: give at least one.")
        found = {}
        for key, values in by.items():
            at = self._position(key)
            if at in self.labels_of_groups():
                raise ValueError(
                    f"by: {self.table.describe(at)} holds the groups, and means are "
                    "those of the population. random_effects_ has the effects of the "
                    "levels, and predict their means."
                )
            if at in found:
                raise ValueError(f"by: {self.table.describe(at)} is there twice.")
            found[at] = self._values(at, values)
        return found

    def _position(self, key):
        """Position of a column, which has a part in the model."""
        inputs, names = self.inputs, self.table.names or ()
        if not (isinstance(key, str) and key in self.given and key not in names):
            at = self.table.position(key, "by")
            used = self.read() | set(inputs.named.values()) | self.labels_of_groups()
            if at in used:
                return at
            key = self.name(at)
        raise ValueError(
            f"by: column {key!r} has no part in this model, whose means are the same "
            "whatever it is: name a fixed column."
        )

    def _values(self, at, values):
        """Values of one column: those that are asked for, or all."""
        where, levels = self.table.describe(at), self.levels(at)
        if values is not None:
            if isinstance(values, str) or not np.iterable(values):
                values = [values]
            values = list(map(plain, values))
            if not values:
                raise ValueError(f"by: no values of {where} are given.")
        if levels is not None:
            unknown = [v for v in values or () if v not in levels]
            if unknown:
                raise ValueError(
                    f"by: {unknown[0]!r} is no category of {where}; they are "
                    f"{listing(map(plain, levels))}."
                )
            return values or levels
        if values is None:
            values = list(map(_whole, np.unique(self.numbers(at)[0])))
            if len(values) > _FEW:
                raise ValueError(
                    f"by: {where} has {len(values)} values; say at which of them, for "
                    f"example by={{{self.name(at)!r}: [{values[0]:g}, "
                    f"{values[-1]:g}]}}."
                )
        try:
            finite = np.isfinite(np.asarray(values, dtype=float)).all()
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise ValueError(
                f"by: {where} holds numbers, and {listing(values)} are not finite ones."
            )
        return values

    def frame(self, rows):
        """Some rows of the table as a pandas dataframe."""
        if self.table.is_pandas:
            return self.X.iloc[rows]
        taken = self.labels_of_groups() | set(self.kinds)
        found = {}
        for at in range(self.table.n_columns):
            if at in taken or self._is_text(at):
                column = pd.Series(self.table.labels(at))
            else:
                column = pd.Series(self.table.numeric([at], missing=True)[:, 0])
            found[at] = column.iloc[rows].reset_index(drop=True)
        frame = pd.DataFrame(found)
        if self.table.names is not None:
            frame.columns = self.table.names
        return frame

    def _is_text(self, at):
        """Whether a column that no model reads holds no numbers."""
        return at not in self.read() and at not in self.inputs.named.values()

    def grid(self, named):
        """All combinations of categories, numbers at their means."""
        inputs = self.inputs
        levels, numbers = {}, {}
        for at in sorted(self.read() - named):
            of_column = self.levels(at)
            if of_column is None:
                values, weight = self.numbers(at)
                numbers[at] = np.average(values, weights=weight)
            else:
                levels[at] = of_column
        for role, at in inputs.named.items():
            if at not in named:
                values, weight = self.numbers(at)
                offset = role == "offset"
                numbers[at] = np.average(values, weights=weight) if offset else 1.0
        n_rows = int(np.prod([len(of) for of in levels.values()], dtype=float))
        if n_rows > _MOST:
            raise ValueError(
                f"The grid of all categories has {n_rows:,} rows: use over='data', or "
                "leave columns out of the model."
            )
        rows = self.frame(inputs.rows[:1])
        rows = rows.iloc[np.zeros(n_rows, dtype=int)].reset_index(drop=True)
        combinations = list(product(*levels.values()))
        for k, at in enumerate(levels):
            rows.isetitem(at, _column([values[k] for values in combinations]))
        for at, value in numbers.items():
            rows.isetitem(at, np.full(n_rows, value))
        return rows


def _whole(value):
    """A number, as an int where it is one."""
    return int(value) if float(value).is_integer() else float(value)


def _repeated(value, n):
    return _column([value])[np.zeros(n, dtype=int)]


def _column(values):
    """An array of truth values or numbers, or of objects: no index to align."""
    numbers = all(isinstance(plain(v), bool | int | float) for v in values)
    return pd.Series(values, dtype=None if numbers else object).to_numpy()
