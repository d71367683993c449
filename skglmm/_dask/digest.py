"""The first pass: labels and categories of all partitions, and where columns lie."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from skglmm._dask.partitions import computed, merged, naming, shared
from skglmm._reading.labels import distinct, encode
from skglmm._reading.table import Table
from skglmm._reading.target import read_numbers
from skglmm._reading.terms import term_labels
from skglmm._reading.values import kind_of_dtype


@dataclass(frozen=True)
class Digest:
    """What one pass tells of a partition, or of several.

    Parameters
    ----------
    counts : tuple of int
        Rows of each partition.
    head : DataFrame or ndarray
        A few rows, the first of which there are any.
    labels : tuple of list of Series
        Label columns of each term, every level once.
    values : dict of list of Series
        Different values of columns that may be categories, by position, and of the
        target under "y" if that holds classes.
    sums : ndarray of shape (c,)
        Of the columns of numbers and, at last, of the target.
    """

    counts: tuple
    head: object
    labels: tuple
    values: dict
    sums: np.ndarray

    @property
    def n_rows(self):
        return sum(self.counts)


@dataclass(frozen=True)
class Question:
    """What the first pass asks of a partition.

    Parameters
    ----------
    terms : tuple of Term
    candidates : tuple of int
        Columns that may be categories.
    numbers : tuple of int
        Columns that are numbers.
    classes : bool
        Whether the target holds classes.
    kinds : tuple of str
        Of the columns, which every partition has to have.
    names : tuple of str or None
    estimator : str
        For messages.
    """

    terms: tuple
    candidates: tuple
    numbers: tuple
    classes: bool
    kinds: tuple
    names: tuple | None
    estimator: str

    def table(self, X, min_rows=0):
        """Rows of a partition as a table, if its columns are those of the others."""
        found = tuple(X.columns) if self.names is not None else None
        if found != self.names:
            raise ValueError(f"the columns are {found}, and were to be {self.names}.")
        if self.names is not None:
            self._check_kinds(X)
        return Table(X, min_rows=min_rows)

    def _check_kinds(self, X):
        for name, dtype, kind in zip(self.names, X.dtypes, self.kinds, strict=True):
            found = kind_of_dtype(dtype)
            alike = found == kind or {found, kind} == {"text", "objects"}
            if not alike and kind != "objects":
                raise TypeError(
                    f"the column {name!r} holds {found} ({dtype}), and {kind} in the "
                    "other partitions: give the column one type in all files, for "
                    f"example X[{name!r}] = X[{name!r}].astype(...)."
                )


def digest_of(at, question, X, *, y, weight=None):
    """The digest of one partition."""
    with naming(at):
        if not len(X):
            return Digest((0,), X, (), {}, np.zeros(len(question.numbers) + 1))
        table = question.table(X)
        labels = []
        for term in question.terms:
            parts, names = term_labels(table, term)
            labels.append(distinct(parts, term.name, names))
        values = {place: _values(table.labels(place)) for place in question.candidates}
        total = 0.0
        if question.classes:
            values["y"] = _values(y)
        else:
            total = float(np.sum(np.asarray(y, dtype=float))) if _plain(y) else 0.0
            if not np.isfinite(total):
                read_numbers(y, len(X), question.estimator)
        sums = [table.numeric([place])[:, 0].sum() for place in question.numbers]
        head = X[:2] if isinstance(X, np.ndarray) else X.iloc[:2]
        return Digest((len(X),), head, tuple(labels), values, np.array([*sums, total]))


def digested(elsewhere, question):
    """The digest of all partitions."""
    asked = shared(question, "question")
    tasks = elsewhere.map("levels-of-partition", digest_of, asked)
    return computed(elsewhere, merged("merge-levels", together, tasks))[0]


def _plain(y):
    return getattr(y.dtype, "kind", "O") in "biuf"


def _values(column):
    """Different values of a column, missing ones included."""
    column = pd.Series(column)
    found = column.drop_duplicates()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return found
    return found.reset_index(drop=True)


def together(parts):
    """Digests of several partitions as one."""
    counts = tuple(n for part in parts for n in part.counts)
    filled = [part for part in parts if part.n_rows] or parts[:1]
    first = filled[0]
    labels = tuple(
        distinct([_joined(columns) for columns in zip(*of_term, strict=True)], "groups")
        for of_term in zip(*(part.labels for part in filled), strict=True)
    )
    values = {
        place: _values(_joined([part.values[place] for part in filled]))
        for place in first.values
    }
    sums = np.sum([part.sums for part in parts], axis=0)
    return Digest(counts, first.head, labels, values, sums)


def _joined(columns):
    """Columns of several partitions one below the other."""
    if len(columns) == 1:
        return columns[0]
    if all(isinstance(c.dtype, pd.CategoricalDtype) for c in columns):
        arrays = [c.array for c in columns]
        return pd.Series(pd.api.types.union_categoricals(arrays))
    return pd.concat(columns, ignore_index=True)


def levels_of(digest, terms, names):
    """Levels of each term, in the order that a fit to all rows together gives."""
    return tuple(
        encode(columns, term.name, of_term)[1]
        for term, columns, of_term in zip(terms, digest.labels, names, strict=True)
    )


def representative(digest):
    """A small table in which every category occurs, and what else columns may be."""
    longest = max([len(found) for found in digest.values.values()], default=1)
    n = min(max(2 * longest, 2), digest.n_rows)
    take = partial(_cycled, n=n)
    if isinstance(digest.head, np.ndarray):
        rows = take(digest.head).copy()
        for place, found in digest.values.items():
            if place != "y":
                rows[:, place] = take(found.to_numpy())
        return rows
    rows = take(digest.head).reset_index(drop=True)
    for place, found in digest.values.items():
        if place != "y":
            column = take(found).reset_index(drop=True)
            rows.isetitem(place, column)
    return rows


def _cycled(values, n):
    rows = np.arange(n) % len(values)
    return values[rows] if isinstance(values, np.ndarray) else values.iloc[rows]
