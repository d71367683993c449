"""The table a user passes as X: columns by name or position, labels and numbers."""

import copy
import numbers
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from sklearn.utils import assert_all_finite, check_array

from skglmm._reading.values import (
    check_numbers,
    complex_numbers,
    kind_of_objects,
    no_numbers,
    no_times,
    not_numeric,
    objects_to_float,
)
from skglmm._reading.words import did_you_mean, listing

_MAX_LISTED = 10
# Whole numbers from here on may be no floating point numbers.
_WHOLE = 2.0**53


def is_dask(*collections: Any) -> bool:
    """Whether any of these is a collection of Dask, which is not imported to tell."""
    return "dask" in sys.modules and any(map(_is_dask, collections))


def _is_dask(collection: Any) -> bool:
    return hasattr(type(collection), "__dask_graph__") and any(
        kind.__module__.partition(".")[0] in ("dask", "dask_expr")
        for kind in type(collection).__mro__
    )


class Dummy(NamedTuple):
    """A column of zeros and ones: where the code of a row is that of a level."""

    name: str
    codes: np.ndarray
    level: int

    @property
    def values(self) -> np.ndarray:
        """Zeros and ones of shape (n_rows,)."""
        return self.codes == self.level


class Derived(NamedTuple):
    """A column that was computed from others."""

    name: str
    values: np.ndarray


# What is meant where a formula stands in the place of a name.
_NO_FORMULA = {
    "groups": (
        " Several factors are a list, such as ['g', 'h'], and one of combinations is a "
        "tuple, ('g', 'h'); skglmm.from_formula reads formulas."
    ),
    "fixed_effects": " A formula is a text of its own, and no element of a list.",
}


class Table:
    """Read-only view of a dataframe or array, addressed by column.

    Parameters
    ----------
    X : dataframe or array-like of shape (n_rows, n_columns)
        A pandas dataframe, any eager dataframe that narwhals understands (polars,
        pyarrow, modin) or whatever `sklearn.utils.check_array` accepts. It is
        neither copied nor changed.
    min_rows : int, default=1
        Fewest rows accepted.

    Attributes
    ----------
    n_rows, n_columns : int
        Shape of the table.
    names : list of str or None
        Column names; None for an array, or when a name is not a str.
    codes : dict of ndarray of shape (n_rows,)
        Category of each row in the columns that are coded, by position.
    absent : frozenset of int
        Positions of columns of fit that X does not have.

    Raises
    ------
    TypeError
        If X is sparse or a lazy frame.
    ValueError
        If X is not two-dimensional, is complex, or has too few rows or no column.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.table import Table
    >>> table = Table(pd.DataFrame({"dose": [1, 2], "batch": ["a", "b"]}))
    >>> table.names
    ['dose', 'batch']
    >>> table.numeric([table.position("dose", "offset")])
    array([[1.],
           [2.]])
    """

    def __init__(self, X: Any, *, min_rows: int = 1) -> None:
        frame = X
        if is_dask(X):
            raise TypeError(
                f"X is a collection of Dask ({type(X).__name__}), and this reads all "
                "rows together: give X.compute(), or some of its rows."
            )
        if not isinstance(X, pd.DataFrame):
            frame = nw.from_native(X, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            raise TypeError(
                f"X is a lazy frame ({type(X).__module__}.{type(X).__name__}): "
                "collect it first, for example with X.collect()."
            )
        if not isinstance(frame, pd.DataFrame | nw.DataFrame):
            frame = _as_array(X, min_rows)
        elif frame.shape[0] < min_rows or frame.shape[1] < 1:
            # Only reached to let scikit-learn word the error.
            check_array(np.empty(frame.shape), ensure_min_samples=min_rows)
        self._data = frame
        self.n_rows, self.n_columns = map(int, frame.shape)
        self.names: list[str] | None = None
        if not isinstance(frame, np.ndarray):
            names = list(frame.columns)
            if all(isinstance(name, str) for name in names):
                self.names = [str(name) for name in names]
        self._further: tuple[Dummy | Derived, ...] = ()
        self.codes: dict[int, np.ndarray] = {}
        self.absent: frozenset[int] = frozenset()

    def with_further(self, columns: Iterable[Dummy | Derived]) -> "Table":
        """The table with further columns, whose positions are behind all others.

        Parameters
        ----------
        columns : iterable of Dummy or Derived

        Returns
        -------
        table : Table
            With the shape and the names of this one.
        """
        table = copy.copy(self)
        table._further = (*self._further, *columns)
        return table

    @property
    def n_further(self) -> int:
        """Number of columns behind those of X."""
        return len(self._further)

    def arranged(self, names: list[str]) -> "Table":
        """A dataframe with these columns in this order, and nothing in missing ones.

        Parameters
        ----------
        names : list of str

        Returns
        -------
        table : Table
        """
        table, found = copy.copy(self), self.names or []
        table.absent = frozenset(j for j, n in enumerate(names) if n not in found)
        if isinstance(self._data, pd.DataFrame):
            taken = self._data.iloc[:, [found.index(n) for n in names if n in found]]
            table._data = taken.reindex(columns=names) if table.absent else taken
        else:
            blank = (nw.lit(None).alias(names[j]) for j in table.absent)
            table._data = self._data.with_columns(*blank).select(names)
        table.names, table.n_columns = list(names), len(names)
        return table

    @property
    def native(self) -> Any:
        """The rows as a dataframe of the kind that was given, or an array."""
        data = self._data
        return data.to_native() if isinstance(data, nw.DataFrame) else data

    @property
    def is_pandas(self) -> bool:
        """Whether X is a dataframe of pandas."""
        return isinstance(self._data, pd.DataFrame)

    @property
    def is_array(self) -> bool:
        """Whether X is an array, that is, has no column names of any kind."""
        return isinstance(self._data, np.ndarray)

    def describe(self, position: int) -> str:
        """Words for a column in a message: ``column 'dose'`` or ``column 3``."""
        if position >= self.n_columns:
            return f"column {self.effect_name(position)!r}"
        key = position if self.names is None else self.names[position]
        return f"column {key!r}"

    def effect_name(self, position: int) -> str:
        """Name of the effect of a column: its own, or ``x3`` where it has none."""
        if position >= self.n_columns:
            return self._further[position - self.n_columns].name
        return f"x{position}" if self.names is None else self.names[position]

    def position(self, key: Any, parameter: str) -> int:
        """Position of the column that a user named.

        Parameters
        ----------
        key : str or int
            A str is a name, an int is a position (negative: from the end).
        parameter : str
            Name of the estimator's parameter that holds the key, for messages.

        Returns
        -------
        int
            Position in ``range(n_columns)``.

        Raises
        ------
        TypeError
            If the key is neither a str nor an int.
        ValueError
            If X has no such column.
        """
        if isinstance(key, str):
            return self._position_of_name(str(key), parameter)
        if isinstance(key, bool | np.bool_) or not isinstance(key, numbers.Integral):
            raise TypeError(
                f"{parameter}: a column is a name (str) or a position (int), "
                f"got {key!r} of type {type(key).__name__}."
            )
        if not -self.n_columns <= int(key) < self.n_columns:
            raise ValueError(
                f"{parameter}: position {key} is out of range, X has "
                f"{self.n_columns} columns: positions go from 0 to "
                f"{self.n_columns - 1}, or from -{self.n_columns} to -1."
            )
        return int(key) % self.n_columns

    def _position_of_name(self, key: str, parameter: str) -> int:
        if self.names is None:
            found = "an array" if self.is_array else "a dataframe with other names"
            raise ValueError(
                f"{parameter}: {key!r} is a column name, but X is {found}: give the "
                f"position of the column (0 to {self.n_columns - 1}, negative from "
                "the end), or pass a dataframe whose column names are all strings."
            )
        count = self.names.count(key)
        if count == 1:
            return self.names.index(key)
        if count > 1:
            places = [i for i, name in enumerate(self.names) if name == key]
            raise ValueError(
                f"{parameter}: {count} columns of X are named {key!r}, at positions "
                f"{places}: give the position of the one meant, or rename them."
            )
        message = (
            f"{parameter}: {key!r} is not a column of X; columns are "
            f"{listing(self.names)}."
        )
        index = getattr(getattr(self._data, "index", None), "names", ())
        if key in index:
            raise ValueError(
                f"{parameter}: {key!r} is no column of X but a level of its index: "
                "make it a column with X.reset_index()."
            )
        prefixed = [name for name in self.names if name.endswith(f"__{key}")]
        if len(prefixed) == 1:
            message += (
                f" Column {prefixed[0]!r} has it behind a ColumnTransformer's prefix: "
                f"write {prefixed[0]!r}, or set verbose_feature_names_out=False "
                "in the ColumnTransformer."
            )
        else:
            formula = re.search(r"[:+*|~/]", key) and _NO_FORMULA.get(parameter)
            message += formula or did_you_mean(key, self.names)
        raise ValueError(message)

    def labels(self, position: int) -> Any:
        """Labels of one column, as the user gave them.

        Parameters
        ----------
        position : int
            Position of the column, in ``range(n_columns)``.

        Returns
        -------
        Series, pandas array or ndarray of shape (n_rows,)
            A view of X where possible.

        Raises
        ------
        ValueError
            If X is an array of numbers and the column has NaN or infinite values. In
            a dataframe or an array of objects a missing label is left to the caller.
        """
        if isinstance(self._data, np.ndarray):
            column = self._data[:, position]
            if column.dtype.kind == "f":
                self._check_finite(column[:, None], [position], "group ")
            return column
        if isinstance(self._data, pd.DataFrame):
            return self._series(position)
        return series_labels(self._data.get_column(self._data.columns[position]))

    def _series(self, position: int) -> pd.Series:
        """One column of a pandas dataframe; by name is faster where that is sure."""
        if self.names is not None and self._data.columns.is_unique:
            return self._data[self.names[position]]
        return self._data.iloc[:, position]

    def kinds(self, positions: Iterable[int]) -> dict[int, str]:
        """Which columns of a dataframe hold categories, and of what kind.

        Parameters
        ----------
        positions : iterable of int
            Positions of the columns, in ``range(n_columns)``.

        Returns
        -------
        dict of {"text", "categories", "truth"}
            By position. Columns without any value are none of them.
        """
        if isinstance(self._data, np.ndarray):
            return {}
        native = isinstance(self._data, pd.DataFrame)
        dtypes = list(self._data.dtypes if native else self._data.schema.values())
        kind = self._kind_in_pandas if native else self._kind_in_narwhals
        found = {at: kind(at, dtypes[at]) for at in positions}
        return {at: word for at, word in found.items() if word}

    def _kind_in_pandas(self, position: int, dtype: Any) -> str:
        if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
            word = "text" if isinstance(dtype, pd.StringDtype) else "categories"
            return word if self._series(position).notna().any() else ""
        if dtype.kind == "b":
            return "truth"
        if dtype.kind not in "OUST":
            return ""
        return kind_of_objects(self._series(position).to_numpy(dtype=object))

    def _kind_in_narwhals(self, position: int, dtype: Any) -> str:
        if dtype == nw.Boolean:
            return "truth"
        column = self._data.get_column(self._data.columns[position])
        if isinstance(dtype, nw.String | nw.Categorical | nw.Enum):
            word = "text" if isinstance(dtype, nw.String) else "categories"
            return word if column.null_count() < self.n_rows else ""
        return kind_of_objects(column.to_numpy()) if dtype == nw.Object else ""

    def numeric(
        self,
        positions: Sequence[int],
        what: str = "",
        missing: bool = False,
        advice: str = "",
    ) -> np.ndarray:
        """Columns as floating point numbers.

        Parameters
        ----------
        positions : sequence of int of length k
            Positions of the columns, in ``range(n_columns)``.
        what : str, default=""
            Role of the columns, for messages: ``"exposure"`` gives
            ``exposure column 'days' holds text``.
        missing : bool, default=False
            Whether missing and infinite values may be.
        advice : str, default=""
            What else can be done about missing values, for messages.

        Returns
        -------
        ndarray of shape (n_rows, k), float64, C-ordered
            May share memory with X: not to be written to.

        Raises
        ------
        ValueError
            If a column holds text, dates, categories or complex numbers, or has a
            missing or infinite value.
        TypeError
            If an object column holds something that is no number.
        """
        positions = [int(position) for position in positions]
        role = f"{what} " if what else ""
        if self.is_array and self._data.dtype.kind in "biuf" and not self._further:
            values = self._data
            if positions != list(range(self.n_columns)):
                values = values[:, positions]
            values = np.ascontiguousarray(values, dtype=np.float64)
        else:
            values = np.empty((self.n_rows, len(positions)))
            for j, position in enumerate(positions):
                if position >= self.n_columns:
                    values[:, j] = self._further[position - self.n_columns].values
                    continue
                where = role + self.describe(position)
                values[:, j] = self._float_column(position, where)
        if values.size and not missing:
            self._check_finite(values, positions, role, advice)
        return values

    def _check_finite(
        self, values: np.ndarray, positions: list[int], role: str, advice: str = ""
    ):
        if np.isfinite(values).all():
            return
        try:
            assert_all_finite(values, input_name="X")
        except ValueError as error:
            detail = self._not_finite(values, positions, role)
            if advice and np.isnan(values).any():
                detail += f" {advice}"
            raise ValueError(f"{str(error).rstrip()}\n{detail}") from None

    def _float_column(self, position: int, where: str) -> np.ndarray:
        column: Any
        if isinstance(self._data, nw.DataFrame):
            column = self._data.get_column(self._data.columns[position])
            dtype = column.dtype
            if dtype.is_numeric() or dtype == nw.Boolean:
                # to_numpy may hand out a view, and nulls become NaN.
                return column.cast(nw.Float64).to_numpy()
            if isinstance(dtype, nw.String | nw.Categorical | nw.Enum):
                kind = "text" if isinstance(dtype, nw.String) else "categories"
                return no_numbers(column, where, kind)
            records, column = column.to_list, column.to_numpy()
            if dtype.is_nested() or column.ndim > 1:
                # as an array they may have a column for each of their parts
                check_numbers(records(), where)
                return np.full(self.n_rows, np.nan)
        elif isinstance(self._data, pd.DataFrame):
            column = self._series(position)
            if isinstance(column.dtype, pd.CategoricalDtype):
                return no_numbers(column, where, "categories")
            if pd.api.types.is_numeric_dtype(column.dtype):
                if column.dtype.kind == "c":
                    raise complex_numbers(where)
                if isinstance(column.dtype, np.dtype | pd.SparseDtype):
                    return column.to_numpy(dtype=np.float64)
                return column.to_numpy(dtype=np.float64, na_value=np.nan)
            column = column.to_numpy(dtype=object)
        else:
            column = self._data[:, position]
            if column.dtype.kind in "UST":
                tip = (
                    " X is an array of text throughout; to keep numbers beside text, "
                    "pass a dataframe or an array with dtype=object."
                )
                raise not_numeric(where, "text", str(column[0]), 0, tip)
        if column.dtype.kind in "mM":
            return no_times(column, where)
        return objects_to_float(column, where)

    def _not_finite(self, values: np.ndarray, positions: list[int], role: str) -> str:
        found = []
        for j, position in enumerate(positions):
            for kind, bad in (
                ("NaN or missing", np.isnan(values[:, j])),
                ("infinite", np.isinf(values[:, j])),
            ):
                if bad.any():
                    found.append(
                        f"{role}{self.describe(position)} ({kind} in {bad.sum()} "
                        f"of {len(bad)} rows, the first is row {int(bad.argmax())})"
                    )
        more = len(found) - _MAX_LISTED
        text = ", ".join(found[:_MAX_LISTED]) + (
            f" and {more} more" if more > 0 else ""
        )
        return (
            f"Found in {text}. Drop these rows, or fill them in beforehand, for "
            "example with sklearn.impute.SimpleImputer in a pipeline."
        )


def _as_array(X: Any, min_rows: int) -> np.ndarray:
    if isinstance(X, list | tuple):
        try:
            array = np.asarray(X)
        except ValueError:
            array = None
        # NumPy turns the numbers of a mixed list into text or complex numbers, and
        # whole ones beside others lose their last digits; objects stay as given.
        if array is None or array.dtype.kind in "USTc" or _loses_digits(array):
            array = np.asarray(X, dtype=object)
        X = array
    return check_array(
        X, dtype=None, ensure_all_finite=False, ensure_min_samples=min_rows
    )


def _loses_digits(array: np.ndarray) -> bool:
    """Whether whole numbers may have been too long for the array's type."""
    return array.dtype.kind == "f" and bool(np.any(np.abs(array) >= _WHOLE))


def series_labels(series: Any) -> Any:
    """Labels of a narwhals series, in a container that pandas can encode.

    Parameters
    ----------
    series : narwhals.Series
        Labels of any type.

    Returns
    -------
    pandas array or ndarray of shape (n_rows,)
        Whole numbers with nulls stay whole numbers, an Enum keeps its order, and an
        instant keeps its time zone.
    """
    dtype = series.dtype
    if dtype.is_integer() and series.null_count():
        missing = series.is_null().to_numpy()
        return pd.arrays.IntegerArray(series.fill_null(0).to_numpy().copy(), missing)
    if isinstance(dtype, nw.String | nw.Categorical | nw.Enum):
        return _text_labels(series)
    labels = series.to_numpy()
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        zone = dtype.time_zone
        return pd.DatetimeIndex(labels).tz_localize("UTC").tz_convert(zone).array
    return labels


def _text_labels(series: Any) -> Any:
    ordered = isinstance(series.dtype, nw.Enum)
    if not series.implementation.is_polars():
        labels = series.to_numpy()
        if not ordered:
            return labels
        categories = list(series.dtype.categories)
        return pd.Categorical(labels, categories=categories, ordered=True)
    if ordered:
        categories = list(series.dtype.categories)
    else:
        categories = series.drop_nulls().unique().to_list()
    if not categories:
        return series.to_numpy()
    # Replaced by its code in polars, a label never becomes a Python object, which
    # would take longer than all the rest.
    codes = series.replace_strict(
        categories, list(range(len(categories))), return_dtype=nw.Int32
    )
    codes = codes.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories, ordered=ordered)
