"""Values of one column as floating point numbers, or why they are none."""

import datetime
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from skglmm._reading.words import plain

_NUMERIC_OBJECTS = {
    "boolean",
    "decimal",
    "empty",
    "floating",
    "integer",
    "mixed-integer-float",
}
_TOO_LARGE = "Input X contains infinity or a value too large for dtype('float64')."


def kind_of_objects(column: np.ndarray) -> str:
    """Whether objects are text or truth values throughout, in a word; else nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.values import kind_of_objects
    >>> kind_of_objects(np.array([None, "a"], dtype=object))
    'text'
    """
    for value in column:
        if isinstance(value, str | bool | np.bool_):
            break
        if not (pd.api.types.is_scalar(value) and pd.isna(value)):
            return ""
    words = {"string": "text", "boolean": "truth"}
    return words.get(pd.api.types.infer_dtype(column, skipna=True), "")


def kind_of_dtype(dtype: Any) -> str:
    """What a column of a pandas type holds, in a word.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.values import kind_of_dtype
    >>> kind_of_dtype(np.dtype("int64"))
    'numbers'
    """
    if isinstance(dtype, pd.CategoricalDtype):
        return "categories"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if pd.api.types.is_numeric_dtype(dtype):
        return "numbers"
    return "times" if dtype.kind in "mM" else "objects"


def objects_to_float(column: np.ndarray, where: str) -> np.ndarray:
    """Objects as numbers, missing ones as NaN; anything else raises."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "complex":
        raise complex_numbers(where)
    if kind not in _NUMERIC_OBJECTS:
        check_numbers(column, where)
    missing = pd.isna(column)
    if missing.any():
        column = np.where(missing, np.nan, column)
    try:
        return column.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{_TOO_LARGE}\nFound in {where}.") from None


def check_numbers(column: Iterable[Any], where: str) -> None:
    """Refuse the first value that is no number, by its row."""
    for row, value in enumerate(column):
        if value is None or value is pd.NA:
            continue
        if isinstance(value, str | bytes):
            raise not_numeric(where, "text", value, row)
        kind = kind_of_time(value)
        if kind is not None:
            raise _of_time(where, kind, value, row)
        if isinstance(value, complex | np.complexfloating):
            raise complex_numbers(where)
        try:
            number = float(value) if np.ndim(value) == 0 else None
        except OverflowError:
            continue
        except (TypeError, ValueError):
            number = None
        if number is None:
            # scikit-learn's checks look for the words behind the semicolon
            raise TypeError(
                f"The {where} holds {reprlib.repr(plain(value))} of type "
                f"{type(value).__name__} in row {row}; an argument must be a string "
                "or a real number, and this column needs numbers."
            )


def no_numbers(column: Iterable[Any], where: str, kind: str) -> np.ndarray:
    """NaNs for a column of nulls; anything in it raises."""
    rows = 0
    for row, value in enumerate(column):
        if not pd.isna(value):
            raise not_numeric(where, kind, value, row)
        rows += 1
    return np.full(rows, np.nan)


def no_times(column: np.ndarray, where: str) -> np.ndarray:
    """NaNs for a column of missing times; anything in it raises."""
    rows = np.flatnonzero(~np.isnat(column))
    if len(rows):
        kind = "dates" if column.dtype.kind == "M" else "durations"
        raise _of_time(where, kind, pd.Series(column[rows[:1]])[0], int(rows[0]))
    return np.full(len(column), np.nan)


def kind_of_time(value: Any) -> str | None:
    """What kind of time a value is, in a word for messages; None if it is none.

    Examples
    --------
    >>> import datetime
    >>> from skglmm._reading.values import kind_of_time
    >>> kind_of_time(datetime.timedelta(days=1))
    'durations'
    """
    if isinstance(value, np.timedelta64 | datetime.timedelta):
        return "durations"
    if isinstance(value, pd.Period):
        return "periods"
    if isinstance(value, np.datetime64 | datetime.date):
        return "dates"
    return "times of day" if isinstance(value, datetime.time) else None


def unit_advice(kind: str) -> str:
    """How times of a kind become numbers whose unit is known.

    Examples
    --------
    >>> from skglmm._reading.values import unit_advice
    >>> unit_advice("times of day")
    'encode them as numbers, for example hours since midnight'
    """
    way = {
        "durations": "hours, by dividing them by pd.Timedelta('1h')",
        "dates": "days since the first, by subtracting that and dividing by "
        "pd.Timedelta('1D')",
        "periods": "days since the first, after .dt.to_timestamp()",
        "times of day": "hours since midnight",
    }
    return f"encode them as numbers, for example {way[kind]}"


def _of_time(where: str, kind: str, value: Any, row: int) -> ValueError:
    return ValueError(
        f"The {where} holds {kind} ({value!r} in row {row}): {unit_advice(kind)}; or "
        "name it in groups if it holds the levels of a grouping factor."
    )


def not_numeric(
    where: str, kind: str, value: Any, row: int, tip: str = ""
) -> ValueError:
    """The error on a value that is no number, and what to do about it."""
    return ValueError(
        f"The {where} holds {kind} ({plain(value)!r} in row {row}): encode it as "
        "numbers, or name it in groups if it holds the levels of a grouping factor."
        f"{tip}"
    )


def complex_numbers(where: str) -> ValueError:
    """The error on complex numbers, and what to do about them."""
    return ValueError(
        f"Complex data not supported: the {where} holds complex numbers. Give real "
        "and imaginary parts as two columns."
    )
