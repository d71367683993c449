"""Columns of text, categories or truth values as columns of zeros and ones."""

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skglmm._reading.labels import encode, lookup
from skglmm._reading.table import Dummy, Table
from skglmm._reading.terms import Term
from skglmm._reading.words import did_you_mean, listing, plain

# Categories from which a column may hold names instead, and from which it does.
_MANY, _MOST = 20, 1000


@dataclass(frozen=True, slots=True)
class CodedColumn:
    """One column by treatment contrasts: a dummy for each category but the reference.

    Parameters
    ----------
    at : int
        Position of the column in X.
    name : str
        What its effects are called by.
    levels : Index
        Categories that fit has seen, in order.
    reference : int
        Position of the reference level among them.
    first : int
        Position of its first dummy, behind the columns of X.
    """

    at: int
    name: str
    levels: pd.Index
    reference: int
    first: int

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions of the dummies, in the order of the categories."""
        return tuple(range(self.first, self.first + len(self.levels) - 1))

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the dummies."""
        return tuple(f"{self.name}_{plain(self.levels[code])}" for code in self.coded)

    @property
    def coded(self) -> list[int]:
        """Categories that have a dummy."""
        return [code for code in range(len(self.levels)) if code != self.reference]

    def codes(self, table: Table, unknown: str) -> np.ndarray:
        """Category of each row of a table, -1 for one that was not seen.

        Parameters
        ----------
        table : Table
        unknown : {"error", "reference"}

        Returns
        -------
        codes : ndarray of shape (n_rows,)

        Raises
        ------
        ValueError
            If a value is missing, or was not seen and that is an error.
        """
        labels = table.labels(self.at)
        _refuse_missing(labels, table.describe(self.at))
        doubts: list[str] = []
        codes = lookup(self.levels, [labels], doubts)
        rows = np.flatnonzero(codes < 0)
        if len(rows) and unknown == "error":
            value = plain(np.asarray(labels, dtype=object)[rows[0]])
            where = f"row {rows[0]}"
            if len(rows) > 1:
                where += f" and {len(rows) - 1} more such row{'s' * (len(rows) > 2)}"
            known = list(map(plain, self.levels))
            doubt = "".join(f" ({text})" for text in doubts[:1])
            guess = did_you_mean(value, known) if isinstance(value, str) else ""
            raise ValueError(
                f"The {table.describe(self.at)} holds {value!r} in {where}, a category "
                f"that fit has not seen; it has seen {listing(known)}{doubt}.{guess} "
                "Fit to rows that have it, or take such rows for rows of the "
                f"reference level {known[self.reference]!r}: "
                "handle_unknown_fixed='reference'."
            )
        return codes


@dataclass(frozen=True, slots=True)
class Categories:
    """How the columns of a table that are no numbers become columns of numbers.

    The dummies stand behind the columns of X, which keep their positions.

    Parameters
    ----------
    columns : tuple of CodedColumn

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.categories import learn
    >>> from skglmm._reading.table import Table
    >>> visits = Table(pd.DataFrame({"region": ["city", "land", "city"], "x": 1.0}))
    >>> categories, table, _ = learn(visits, [0, 1])
    >>> categories.expand([0, 1])
    (2, 1)
    >>> table.effect_name(2), table.numeric([2]).T
    ('region_land', array([[0., 1., 0.]]))
    """

    columns: tuple[CodedColumn, ...] = ()

    def expand(self, positions: Iterable[int]) -> tuple[int, ...]:
        """Positions with those of the dummies in the place of coded columns."""
        dummies = {column.at: column.positions for column in self.columns}
        return tuple(place for at in positions for place in dummies.get(at, (int(at),)))

    def expand_terms(self, terms: tuple[Term, ...], table: Table) -> tuple[Term, ...]:
        """Terms with slopes on the dummies in the place of those on coded columns.

        Parameters
        ----------
        terms : tuple of Term
        table : Table
            With the dummies.

        Returns
        -------
        terms : tuple of Term

        Raises
        ------
        ValueError
            If a column has one category and no dummy.
        """
        single = {column.at for column in self.columns if len(column.levels) == 1}
        expanded = []
        for term in terms:
            slopes = self.expand(term.slopes)
            if slopes == term.slopes:
                expanded.append(term)
                continue
            for at in single.intersection(term.slopes):
                raise ValueError(
                    f"random_slopes: {table.describe(at)} has one category in all "
                    "rows, and a slope needs two: take it out of random_slopes."
                )
            effects = ("Intercept",) * term.intercept
            effects += tuple(table.effect_name(at) for at in slopes)
            expanded.append(replace(term, slopes=slopes, effects=effects))
        return tuple(expanded)

    def code(self, table: Table, unknown: str = "error") -> Table:
        """A table with the dummies behind its columns.

        Parameters
        ----------
        table : Table
        unknown : {"error", "reference"}, default="error"
            What a category is that fit has not seen.

        Returns
        -------
        table : Table

        Raises
        ------
        ValueError
            If a category is missing, or was not seen and that is an error.
        """
        if not self.columns:
            return table
        return self._put(table, [c.codes(table, unknown) for c in self.columns])

    def _put(self, table: Table, codes: Sequence[np.ndarray]) -> Table:
        table = table.with_further(
            Dummy(name, of_rows, level)
            for column, of_rows in zip(self.columns, codes, strict=True)
            for name, level in zip(column.effects, column.coded, strict=True)
        )
        pairs = zip(self.columns, codes, strict=True)
        table.codes = {column.at: of_rows for column, of_rows in pairs}
        return table


def learn(
    table: Table,
    positions: Iterable[int],
    reference: Mapping[Any, Any] | None = None,
    present: np.ndarray | None = None,
    coded: Set[int] = frozenset(),
) -> tuple[Categories, Table, list[str]]:
    """Categories of the columns that are no numbers.

    Parameters
    ----------
    table : Table
    positions : iterable of int
        Columns that are to be numbers.
    reference : dict or None, default=None
        Reference levels by column, where they are not the first.
    present : ndarray of bool of shape (n_rows,) or None, default=None
        Rows that count; None for all.
    coded : set of int, default=frozenset()
        Columns that are coded whatever they hold.

    Returns
    -------
    categories : Categories
    table : Table
        With the dummies behind its columns.
    messages : list of str

    Raises
    ------
    ValueError
        If a value is missing, a column has nearly as many categories as rows, a
        reference level does not exist, or two columns would have one name.
    """
    positions = list(positions)
    chosen = _chosen(table, positions, reference or {}, coded)
    kinds = table.kinds(positions)
    columns, codes, messages = [], [], []
    first = table.n_columns
    for at in positions:
        known = at in chosen or at in coded
        if kinds.get(at, "truth") == "truth" and not known:
            continue
        of_rows, levels = _levels(table, at, present)
        reference_at = 0
        if at in chosen:
            reference_at = _reference_level(levels, *chosen[at])
        column = CodedColumn(at, table.effect_name(at), levels, reference_at, first)
        if len(levels) == 1:
            messages.append(
                f"the {table.describe(at)} has one category ({plain(levels[0])!r}) in "
                "all rows: it has no coefficient (drop it)"
            )
        first += len(levels) - 1
        columns.append(column)
        codes.append(of_rows)
    categories = Categories(tuple(columns))
    if not columns:
        return categories, table, messages
    _refuse_doubles(categories, table)
    return categories, categories._put(table, codes), messages


def _chosen(table, positions, reference, coded) -> dict[int, tuple[Any, str]]:
    """Reference levels that the user names and the columns' words, by position."""
    chosen: dict[int, tuple[Any, str]] = {}
    for key, level in reference.items():
        at = table.position(key, "reference")
        where = table.describe(at)
        if at not in positions:
            raise ValueError(
                f"reference: {where} is not coded by the model, because it has another "
                "role, or fixed_effects reads it as it is or leaves it out: take it "
                "out of reference."
            )
        if at in chosen:
            raise ValueError(f"reference: {where} is there twice: name it once.")
        if at not in table.kinds([at]) and at not in coded:
            raise ValueError(
                f"reference: {where} holds no text or categories, and numbers have no "
                "reference level: take it out of reference, or make it categorical, "
                f"for example X[{key!r}] = X[{key!r}].astype('category')."
            )
        chosen[at] = level, where
    return chosen


def _reference_level(levels: pd.Index, level: Any, where: str) -> int:
    hashable = isinstance(level, Hashable)
    code = int(lookup(levels, [[level]])[0]) if hashable else -1
    if code < 0:
        known = list(map(plain, levels))
        guess = did_you_mean(level, known) if isinstance(level, str) else ""
        raise ValueError(
            f"reference: {level!r} is no category of {where}; its categories are "
            f"{listing(known)}.{guess}"
        )
    return code


def _levels(table, at, present) -> tuple[np.ndarray, pd.Index]:
    """Category of each row (-1: in rows that do not count only), and categories."""
    labels, where = table.labels(at), table.describe(at)
    _refuse_missing(labels, where)
    if isinstance(getattr(labels, "dtype", None), pd.CategoricalDtype):
        labels = getattr(labels, "array", labels)
        if table.is_pandas:
            labels = labels.as_ordered()
    codes, levels = encode([labels], table.effect_name(at))
    n_rows = len(codes)
    if present is not None:
        n_rows = int(present.sum())
        kept = np.unique(codes[present])
        place = np.full(len(levels), -1, dtype=np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        codes, levels = place[codes], levels[kept]
    few = len(levels) <= _MANY or 2 * len(levels) <= n_rows
    if not few or len(levels) > _MOST:
        raise ValueError(
            f"The {where} has {len(levels)} categories in {n_rows} rows, "
            f"such as {plain(levels[0])!r}, and each would have a coefficient: name "
            "it in groups if it holds the levels of a grouping factor, make numbers of "
            "it if they were read as text, or leave it out."
        )
    return codes, levels


def _refuse_missing(labels: Any, where: str) -> None:
    missing = np.asarray(pd.isna(labels))
    if missing.any():
        raise ValueError(
            "Input X contains NaN.\n"
            f"Found in {where} (missing in {missing.sum()} of {len(missing)} rows, the "
            f"first is row {int(missing.argmax())}), which holds categories. Drop "
            "these rows, give them a category of their own, such as 'unknown', or fill "
            "them in beforehand, for example with "
            "sklearn.impute.SimpleImputer(strategy='most_frequent') in a pipeline; "
            "missing='model' fills in numbers only."
        )


def _refuse_doubles(categories: Categories, table: Table) -> None:
    """Refuse dummies that are called as other columns are."""
    coded = {column.at for column in categories.columns}
    others = [at for at in range(table.n_columns) if at not in coded]
    taken = {table.effect_name(at): table.describe(at) for at in others}
    for column in categories.columns:
        where = table.describe(column.at)
        for name in column.effects:
            if name in taken:
                raise ValueError(
                    f"A category of {where} would be named {name!r}, as {taken[name]} "
                    "or one of its categories is: rename a column."
                )
            taken[name] = where
