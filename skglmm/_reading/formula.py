"""A formula over the columns of a table, read by formulaic, as further columns."""

import ast
import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skglmm._reading.categories import Categories
from skglmm._reading.table import Derived, Table
from skglmm._reading.words import did_you_mean, plain

# What a formula may call, beside functions of numpy that work value by value. Others of
# formulaic look at the order of the rows, or forget what they have seen.
FUNCTIONS = {"C", "I", "bs", "cc", "center", "contr", "cr", "cs", "exp", "exp10"}
FUNCTIONS |= {"exp2", "log", "log10", "log2", "poly", "scale", "standardize"}
_ALLOWED = (
    *(ast.Expression, ast.Name, ast.Load, ast.Call, ast.keyword, ast.Constant),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Compare, ast.cmpop),
    *(ast.List, ast.Tuple, ast.Attribute),
)
_ELSEWHERE = (
    "random effects are what groups and random_slopes ask for (skglmm.from_formula "
    "reads them)"
)
_QUOTED = re.compile(r"`([^`]*)`")


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula as it is written.

    Parameters
    ----------
    text : str
    intercept : bool
        Whether the model has an intercept, which is no column of its own.
    """

    text: str
    intercept: bool

    def terms(self) -> list:
        """Terms of formulaic, without the intercept.

        Returns
        -------
        terms : list of formulaic.parser.types.Term

        Raises
        ------
        ImportError
            If formulaic is not there.
        ValueError
            If the text is no formula over columns, or has something against the
            intercept.
        """
        formulaic = import_formulaic("A formula in fixed_effects")
        if re.search(r"(^|[\s+*:(-])\.($|[\s+*:)-])", self.text):
            raise self._refused(
                "'.' stands for no columns: name them, or leave fixed_effects at None "
                "for all columns that have no other role"
            )
        try:
            terms = formulaic.Formula(self.text)
        except Exception as error:
            said = _said(error)
            if re.search(r"\([^()|]*\|[^()|]*\)", self.text):
                said += f"; {_ELSEWHERE}"
            raise self._refused(said) from None
        if not isinstance(terms, formulaic.SimpleFormula):
            sign = "~" if "~" in self.text else "|"
            advice = (
                "write the right-hand side only, the response is y"
                if sign == "~"
                else _ELSEWHERE
            )
            raise self._refused(f"it has a {sign!r}: {advice}")
        found = [term for term in terms if str(term) != "1"]
        if self.intercept and len(found) == len(terms):
            raise self._refused(
                "it takes the intercept out: leave that to fit_intercept=False"
            )
        for term in found:
            for factor in term.factors:
                self._check(factor)
        return found

    def _check(self, factor: Any) -> None:
        """Refuse what is no column, number or known function of columns."""
        if _method(factor) != "python":
            return
        text = _QUOTED.sub("_", factor.expr)
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except SyntaxError as error:
            raise self._refused(f"{factor.expr!r}: {error.msg}") from None
        for node in ast.walk(tree):
            if not isinstance(node, _ALLOWED):
                raise self._refused(
                    f"{factor.expr!r} holds {ast.unparse(node)!r}; a formula may have "
                    "columns, numbers, arithmetic and functions"
                )
            if isinstance(node, ast.Attribute):
                known = ast.unparse(node.value) == "contr" or isinstance(
                    getattr(np, node.attr, None), np.ufunc
                )
                if not known or ast.unparse(node.value) not in ("contr", "np"):
                    raise self._unknown(ast.unparse(node), factor)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id not in FUNCTIONS:
                    raise self._unknown(node.func.id, factor)

    def _unknown(self, name: str, factor: Any) -> ValueError:
        return self._refused(
            f"{factor.expr!r} calls {name!r}; known are {', '.join(sorted(FUNCTIONS))} "
            f"and functions of numpy such as np.sqrt.{did_you_mean(name, FUNCTIONS)} "
            "Make anything else a column of X"
        )

    def _refused(self, why: str) -> ValueError:
        return ValueError(f"fixed_effects: the formula {self.text!r}: {why}.")

    def read(self, table: Table) -> tuple["FormulaColumns", set[int]]:
        """Columns of a table that the formula reads.

        Parameters
        ----------
        table : Table

        Returns
        -------
        columns : FormulaColumns
        coded : set of int
            Positions of those that are read as categories: text, and what stands in
            ``C()``.

        Raises
        ------
        ValueError
            If a column does not exist, or is a number and a category.
        """
        names: dict[str, None] = {}
        named, alone, numbers = set(), set(), set()
        for term in self.terms():
            for factor in term.factors:
                found = _columns(factor)
                names.update(dict.fromkeys(found))
                if _within_c(factor) is not None:
                    named.update(found)
                elif _method(factor) == "python":
                    numbers.update(found)
                else:
                    alone.update(found)
        places = {name: table.position(name, "fixed_effects") for name in names}
        kinds = table.kinds(places.values())
        coded = {at for at, kind in kinds.items() if kind != "truth"}
        for name in named:
            if places[name] not in coded and name in alone | numbers:
                raise self._refused(
                    f"{name!r} is a number and, in C(), a category: add a copy to X "
                    "for one of them"
                )
            coded.add(places[name])
        return FormulaColumns(self, places), coded


@dataclass(frozen=True, slots=True)
class FormulaColumns:
    """Columns that a formula has made of a table, and how it makes them again.

    Parameters
    ----------
    formula : Formula
    columns : dict of int
        Positions in X of the columns that it reads, by name.
    first : int
        Position of its first column, behind those of X and the dummies.
    names : tuple of str
        Of its columns.
    terms : dict of list of int
        Which of its columns each term has.
    state : dict
        What its functions have learned of the rows, by call.
    """

    formula: Formula
    columns: dict[str, int]
    first: int = 0
    names: tuple[str, ...] = ()
    terms: dict[str, list[int]] | None = None
    state: dict[str, Any] | None = None

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions of its columns."""
        return tuple(range(self.first, self.first + len(self.names)))

    def learned(
        self, table: Table, categories: Categories, present: np.ndarray | None
    ) -> tuple["FormulaColumns", Table]:
        """The columns that the formula makes of the rows of fit.

        Parameters
        ----------
        table : Table
            With the dummies of these categories.
        categories : Categories
        present : ndarray of bool of shape (n_rows,) or None
            Rows that count; None for all.

        Returns
        -------
        columns : FormulaColumns
        table : Table
            With the columns behind its own.
        """
        rows = np.arange(table.n_rows) if present is None else np.flatnonzero(present)
        values, names, terms, state = self._evaluated(table, categories, {}, rows)
        first = table.n_columns + table.n_further
        columns = replace(self, first=first, names=names, terms=terms, state=state)
        every = np.zeros((table.n_rows, len(names)))
        every[rows] = values
        return columns, table.with_further(_derived(names, every))

    def code(self, table: Table, categories: Categories) -> Table:
        """A table of new rows with the columns behind its own.

        Parameters
        ----------
        table : Table
            With the dummies of these categories.
        categories : Categories

        Returns
        -------
        table : Table
        """
        rows = np.arange(table.n_rows)
        values = self._evaluated(table, categories, self.state or {}, rows)[0]
        return table.with_further(_derived(self.names, values))

    def balanced(
        self, table: Table, categories: Categories, rows: np.ndarray
    ) -> tuple[np.ndarray, list[list[int]]] | None:
        """The columns with categories coded so that the levels add up to zero.

        Parameters
        ----------
        table : Table
            With the dummies of these categories.
        categories : Categories
        rows : ndarray of int of shape (n_rows,)
            Those that count.

        Returns
        -------
        values : ndarray of shape (n_rows, n_columns)
        places : list of list of int
            Which columns each term of `terms` has.
        None if no term is an interaction with a category, so that the coding does not
        matter.
        """
        terms = self.formula.terms()
        coded = {c.name for c in categories.columns if c.at in self.columns.values()}
        mixed = [t for t in terms if len(t.factors) > 1 and _categories(t, coded)]
        if not mixed:
            return None
        found = self._evaluated(
            table, categories, self.state or {}, rows, lambda t: _balanced(t, coded)
        )
        return found[0], list(found[2].values())

    def _evaluated(self, table, categories, state, rows, write=str):
        formulaic = import_formulaic("A formula in fixed_effects")
        terms = self.formula.terms()
        one = ["1"] * self.formula.intercept
        spec = formulaic.ModelSpec(
            formula=formulaic.Formula([*one, *map(write, terms)] or ["0"]),
            na_action="ignore",
            output="pandas",
            transform_state=copy.deepcopy(state),
        )
        data = self._data(table, categories, rows)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                matrix = spec.get_model_matrix(data, context={})
        except Exception as error:
            raise self.formula._refused(_said(error)) from None
        found = matrix.model_spec
        first = int(self.formula.intercept)
        values = np.asarray(matrix, dtype=np.float64)[:, first:]
        self._check_finite(values, list(matrix.columns)[first:], rows)
        places = {
            str(term): list(range(piece.start - first, piece.stop - first))
            for term, piece in found.term_slices.items()
            if str(term) != "1"
        }
        names = _names(terms, list(matrix.columns)[first:], categories)
        return values, names, places, _plain_state(found.transform_state)

    def _data(self, table, categories, rows):
        """The columns that the formula reads, categories in their order."""
        coded = {column.at: column for column in categories.columns}
        columns = {}
        for name, at in self.columns.items():
            column = coded.get(at)
            if column is None:
                columns[name] = table.numeric([at])[rows, 0]
                continue
            order = [column.reference, *column.coded]
            codes = table.codes[at][rows]
            place = np.argsort(order)
            columns[name] = pd.Categorical.from_codes(
                np.where(codes < 0, 0, place[codes]),
                [plain(column.levels[code]) for code in order],
            )
        return pd.DataFrame(columns, index=range(len(rows)))

    def _check_finite(self, values, names, rows):
        wrong = ~np.isfinite(values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise self.formula._refused(
                f"{names[column]!r} is {values[row, column]} in row {rows[row]}: "
                "change the formula, or leave such rows out"
            )


def import_formulaic(what: str) -> Any:
    """The module formulaic.

    Parameters
    ----------
    what : str
        What it is needed for, for the message.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import formulaic
    except ImportError:
        raise ImportError(
            f"{what} is read by formulaic, which is not installed: pip install "
            "'skglmm[formula]', or name the columns in a list."
        ) from None
    return formulaic


def written(fixed_effects: Any, fit_intercept: bool) -> list | Formula | None:
    """What ``fixed_effects`` says of columns, None if nothing.

    Parameters
    ----------
    fixed_effects : object
        As the user has written it.
    fit_intercept : bool

    Returns
    -------
    listed : list, Formula or None
        A single name is a list of one column.
    """
    if isinstance(fixed_effects, str):
        return Formula(fixed_effects, fit_intercept)
    return fixed_effects if isinstance(fixed_effects, list) else None


def _method(factor: Any) -> str:
    return str(factor.eval_method.value)


def _columns(factor: Any) -> list[str]:
    """Columns that a factor reads."""
    if _method(factor) == "literal":
        return []
    if _method(factor) == "lookup":
        return [factor.expr]
    quoted = _QUOTED.findall(factor.expr)
    text = _QUOTED.sub(lambda found: f"_q{quoted.index(found[1])}_", factor.expr)
    tree = ast.parse(text.strip(), mode="eval")
    called = {
        id(node.func if isinstance(node, ast.Call) else node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Attribute)
    }
    names = [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in called
    ]
    marks = {f"_q{k}_": name for k, name in enumerate(quoted)}
    return list(dict.fromkeys(marks.get(name, name) for name in names))


def _within_c(factor: Any) -> str | None:
    """The column in ``C(column)``."""
    found = re.match(r"C\(\s*(?:`([^`]+)`|([^\W\d][\w.]*))\s*[,)]", factor.expr)
    return (found[1] or found[2]) if found else None


def _categories(term, coded) -> list[str | None]:
    """The columns of categories among the factors of a term."""
    columns = (_within_c(factor) or factor.expr for factor in term.factors)
    return [column for column in columns if column in coded]


def _balanced(term, coded) -> str:
    """A term with its categories coded by contrasts that add up to zero."""
    factors = []
    for factor in term.factors:
        column = _within_c(factor) or factor.expr
        factors.append(f"C(`{column}`, contr.sum)" if column in coded else str(factor))
    return ":".join(factors)


def _names(terms, columns, categories: Categories) -> tuple[str, ...]:
    """Names of the columns: ``region_city`` where formulaic says ``region[T.city]``."""
    levels = {
        column.name: sorted((str(plain(level)) for level in column.levels), key=len)
        for column in categories.columns
    }
    names = list(columns)
    for factor in {factor for term in terms for factor in term.factors}:
        of = _within_c(factor) or factor.expr
        for level in reversed(levels.get(of, [])):
            for text in (f"{factor.expr}[T.{level}]", f"{factor.expr}[{level}]"):
                names = [name.replace(text, f"{of}_{level}") for name in names]
    return tuple(names if len(set(names)) == len(names) else columns)


def _derived(names, values):
    return (Derived(name, values[:, k]) for k, name in enumerate(names))


def _plain_state(value: Any) -> Any:
    """What functions have learned, as numbers and arrays."""
    if isinstance(value, Mapping):
        return {key: _plain_state(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_state(entry) for entry in value]
    return plain(value)


def _said(error: Exception) -> str:
    """What formulaic says, without the colours of a terminal."""
    text = re.sub(r"⧛?(\x1b)?\[1;31m", ">>", str(error))
    text = re.sub(r"(\x1b)?\[0m⧚?", "<<", text)
    return " ".join(text.split()).rstrip(".")
