"""Rows of one partition as numbers, read as those of one table are."""

from dataclasses import dataclass

import numpy as np

from skglmm._dask.digest import Question
from skglmm._dask.partitions import naming
from skglmm._families import Family
from skglmm._reading.categories import Categories
from skglmm._reading.formula import FormulaColumns
from skglmm._reading.inputs import read_matrix
from skglmm._reading.labels import lookup
from skglmm._reading.roles import role_values, row_offset
from skglmm._reading.target import read_weight
from skglmm._reading.terms import term_labels


@dataclass(frozen=True)
class Reading:
    """How every partition is read, once the first pass has told what there is.

    Parameters
    ----------
    question : Question
    model : BaseMixedModel
        Not fitted, but for the classes of a classifier.
    terms : tuple of Term
        With slopes on dummies.
    levels : tuple of Index
    categories : Categories
    formula : FormulaColumns or None
    numeric : tuple of int
    named : dict
    family : Family
    """

    question: Question
    model: object
    terms: tuple
    levels: tuple
    categories: Categories
    formula: FormulaColumns | None
    numeric: tuple
    named: dict
    family: Family

    def rows(self, at, X, y, weight):
        """Rows of a partition with a positive weight.

        Parameters
        ----------
        at : int
            Number of the partition.
        X, y, weight : DataFrame or ndarray, Series or ndarray
            The last may be None.

        Returns
        -------
        rows : Rows
        """
        with naming(at):
            table = self.question.table(X)
            fitted = hasattr(self.model, "classes_")
            y = self.model._read_target(y, table.n_rows, fitted=fitted).values
            codes = [self._codes(table, r) for r in range(len(self.terms))]
            table = self.categories.code(table)
            if self.formula is not None:
                table = self.formula.code(table, self.categories)
            terms = self.terms
            matrix = read_matrix(table, self.numeric, terms, None, "error")
            special = role_values(table, self.named)
            kept = np.arange(len(y))
            if weight is None:
                weight = np.ones(len(y))
            elif len(weight):
                weight = read_weight(weight, y) if np.any(weight) else np.zeros(len(y))
                kept = np.flatnonzero(weight)
            if len(kept) < len(y):
                y, weight, matrix = y[kept], weight[kept], matrix[kept]
                codes = [c[kept] for c in codes]
                special = {name: v[kept] for name, v in special.items()}
            row_offset(special, kept)
            said = self.family.check(y, special.get("trials"), kept)
            return Rows(tuple(codes), matrix, y, weight, special, tuple(said))

    def _codes(self, table, r):
        parts, _ = term_labels(table, self.question.terms[r])
        return lookup(self.levels[r], parts)


@dataclass(frozen=True)
class Rows:
    """Rows of one partition, coded.

    Parameters
    ----------
    codes : tuple of ndarray of shape (n_rows,), int32
    matrix : ndarray of shape (n_rows, n_numeric)
    y, weight : ndarray of shape (n_rows,)
    special : dict of ndarray of shape (n_rows,)
    said : tuple of str
        Messages of the family.
    """

    codes: tuple
    matrix: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    special: dict
    said: tuple


def joined(parts):
    """Rows of all partitions, one below the other.

    Parameters
    ----------
    parts : sequence of Rows
        Those without a row count only where all are without.
    """
    filled = [rows for rows in parts if len(rows.y)] or parts[:1]
    codes = zip(*(rows.codes for rows in filled), strict=True)
    matrix, y, weight = (
        np.concatenate([getattr(rows, name) for rows in filled])
        for name in ("matrix", "y", "weight")
    )
    special = {
        name: np.concatenate([rows.special[name] for rows in filled])
        for name in filled[0].special
    }
    said = tuple(dict.fromkeys(text for rows in filled for text in rows.said))
    codes = tuple(np.concatenate(of_term) for of_term in codes)
    return Rows(codes, matrix, y, weight, special, said)
