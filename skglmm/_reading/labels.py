"""Labels of levels as codes, by value or by name."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from skglmm._reading import names as by_name
from skglmm._reading.words import plain

_MAX_SHOWN = 5
_CATEGORIES = pd.CategoricalDtype


def encode(
    labels: Sequence[Any],
    name: str | int,
    names: Sequence[str | int] | None = None,
) -> tuple[np.ndarray, pd.Index]:
    """Levels of a factor and the level of each row.

    Parameters
    ----------
    labels : sequence of array-like of shape (n_rows,)
        Label columns of one factor; two or more make a combination.
    name : str or int
        Name of the factor, for messages and for the levels of a single column.
    names : sequence of str or int, default=None
        Names of the columns, for messages and for the levels of a combination.

    Returns
    -------
    codes : ndarray of shape (n_rows,), int32
        Position of each row's level in `levels`.
    levels : Index of length n_levels
        Distinct labels that occur, as the user gave them; a MultiIndex for a
        combination. They are sorted where they can be compared (an ordered categorical
        by its own order), else in order of appearance.

    Raises
    ------
    ValueError
        If a label is missing (None, NaN, NaT or NA).
    TypeError
        If a label is not hashable.

    Examples
    --------
    >>> from skglmm._reading.labels import encode
    >>> codes, levels = encode([["b", "a", "b"]], "batch")
    >>> codes
    array([1, 0, 1], dtype=int32)
    >>> list(levels)
    ['a', 'b']
    """
    names = [name] if names is None and len(labels) == 1 else names
    names = list(names or range(len(labels)))
    parts = []
    for column, part in zip(names, labels, strict=True):
        where = f"factor {name!r}"
        if len(names) > 1:
            where += f", column {column!r}"
        parts.append(_encode_column(part, where))
    if len(parts) == 1:
        codes, levels = parts[0]
        return codes, levels.rename(names[0])
    keys = parts[0][0].astype(np.int64)
    for part, part_levels in parts[1:]:
        keys *= len(part_levels)
        keys += part
        # Dense again, so that the product of level counts cannot overflow.
        keys, _ = _sorted_levels(*_factorize_integers(keys))
        keys = keys.astype(np.int64)
    codes = keys.astype(np.int32)
    row = np.empty(int(codes.max(initial=-1)) + 1, dtype=np.intp)
    row[codes] = np.arange(len(codes))
    combined = pd.MultiIndex(
        levels=[part_levels for _, part_levels in parts],
        codes=[part[row] for part, _ in parts],
        names=names,
        verify_integrity=False,
    )
    return codes, combined


def distinct(
    labels: Sequence[Any],
    name: str | int,
    names: Sequence[str | int] | None = None,
) -> list[Any]:
    """Label columns with each level of a factor once.

    `encode` gives the same levels for them as for all rows, and for those of several
    tables put together what it gives for the tables put together.

    Parameters
    ----------
    labels : sequence of array-like of shape (n_rows,)
        Label columns of one factor.
    name, names : str or int, sequence of str or int
        See `encode`.

    Returns
    -------
    list of Series of length n_levels
        In order of appearance, or sorted whole numbers.

    Raises
    ------
    ValueError
        If a label is missing.

    Examples
    --------
    >>> from skglmm._reading.labels import distinct
    >>> [list(part) for part in distinct([["b", "a", "b"]], "batch")]
    [['b', 'a']]
    """
    if len(labels) > 1:
        codes, _ = encode(labels, name, names)
        first = np.sort(np.unique(codes, return_index=True)[1])
        return [pd.Series(part).iloc[first] for part in labels]
    codes, levels, ordered = _factorize(labels[0], f"factor {name!r}")
    _refuse_missing(codes, f"factor {name!r}")
    if not ordered or not isinstance(getattr(labels[0], "dtype", None), _CATEGORIES):
        return [pd.Series(levels)]
    return [pd.Series(pd.Categorical(levels, dtype=labels[0].dtype))]


def lookup(
    levels: pd.Index, labels: Sequence[Any], doubts: list[str] | None = None
) -> np.ndarray:
    """Level of each row among levels that are already known.

    A label that is equal to no level is matched by name: ``"3"`` and ``"3.0"`` are the
    level 3, ``True`` is the level ``"True"``, an instant is its ISO text. Where
    several levels have the name, it is a label that is not known.

    Parameters
    ----------
    levels : Index of length n_levels
        Levels as `encode` returned them.
    labels : sequence of array-like of shape (n_rows,)
        Label columns of the factor, in the order given to `encode`; the container may
        differ from the one in `encode`, and ``1``, ``1.0`` and NumPy's ``1`` are the
        same label.
    doubts : list of str, default=None
        Takes what the user should be told: labels that several levels may be meant by,
        that stand for one level in two ways, or that are all unknown and of another
        type than the levels.

    Returns
    -------
    ndarray of shape (n_rows,), int32
        Position of each row's level, -1 for an unseen or missing label.

    Raises
    ------
    TypeError
        If a label is not hashable.
    ValueError
        If the number of label columns is not that of the levels.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.labels import lookup
    >>> lookup(pd.Index([10, 20]), [[20.0, 30.0, None]])
    array([ 1, -1, -1], dtype=int32)
    """
    if len(labels) != levels.nlevels:
        raise ValueError(
            f"The levels are made of {levels.nlevels} columns, got {len(labels)}."
        )
    if not isinstance(levels, pd.MultiIndex):
        return _lookup_column(levels, labels[0], doubts)
    level_key = np.zeros(len(levels), dtype=np.int64)
    row_key = np.zeros(len(labels[0]), dtype=np.int64)
    last = levels.nlevels - 1
    for c, part in enumerate(labels):
        part_levels = levels.levels[c]
        codes = _lookup_column(part_levels, part, doubts)
        unseen = (codes < 0) | (row_key < 0)
        row_key = row_key * len(part_levels) + codes
        row_key[unseen] = -1
        level_key = level_key * len(part_levels) + levels.codes[c]
        # Dense again before the next column, so that keys cannot overflow.
        known = level_key if c == last else np.unique(level_key)
        row_key = _positions(known, row_key)
        if c < last:
            level_key = np.searchsorted(known, level_key)
    return row_key.astype(np.int32)


def twins(name: str | int, levels: pd.Index) -> list[str]:
    """What to say of levels that differ in their type alone.

    Parameters
    ----------
    name : str or int
        Name of the factor.
    levels : Index
        As `encode` returned them.

    Returns
    -------
    list of str
        One sentence, or none.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.labels import twins
    >>> twins("g", pd.Index([3, "3"], dtype=object))
    ["the factor 'g': 3 (int) and '3' (str) are two levels, which differ in their \
type alone. Give all labels one type"]
    """
    parts = levels.levels if isinstance(levels, pd.MultiIndex) else [levels]
    pairs = [pair for pair in map(by_name.twins, parts) if pair is not None]
    return [
        f"the factor {name!r}: {_typed(a)} and {_typed(b)} are two levels, which "
        "differ in their type alone. Give all labels one type"
        for a, b in pairs[:1]
    ]


def extend(
    levels: pd.Index,
    labels: Sequence[Any],
    name: str | int,
    doubts: list[str] | None = None,
) -> tuple[np.ndarray, pd.Index, np.ndarray]:
    """Levels of rows, some of which may be known already.

    Parameters
    ----------
    levels : Index of length n_known
        Levels as `encode` returned them.
    labels : sequence of array-like of shape (n_rows,)
        Label columns of the factor.
    name : str or int
        Name of the factor, for messages.
    doubts : list of str, default=None
        See `lookup`.

    Returns
    -------
    codes : ndarray of shape (n_rows,), int32
        Position of each row's level in `found`.
    found : Index
        Labels of the levels that occur in these rows.
    place : ndarray of shape (n_found,)
        Their positions in `levels`, -1 for new ones.

    Raises
    ------
    ValueError
        If a label is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.labels import extend
    >>> codes, found, place = extend(pd.Index([10, 20]), [["20", "x", "20"]], "g")
    >>> codes, list(found), place
    (array([0, 1, 0], dtype=int32), ['20', 'x'], array([ 1, -1]))
    """
    own, found = encode(labels, name)
    known = lookup(levels, labels, doubts)
    # two labels may be names of one level
    place = np.empty(len(found), dtype=np.intp)
    place[own] = known
    key = np.where(place >= 0, place, len(levels) + np.arange(len(found)))
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    first = first[order]
    return rank[np.ravel(inverse)][own], found[first], place[first]


def unseen_report(
    name: str | int,
    labels: Sequence[Any],
    codes: np.ndarray,
    doubts: Sequence[str] = (),
) -> str:
    """Sentence about the rows whose label was not seen in fit.

    Parameters
    ----------
    name : str or int
        Name of the factor.
    labels : sequence of array-like of shape (n_rows,)
        Label columns of the factor.
    codes : ndarray of shape (n_rows,)
        What `lookup` returned for them.
    doubts : sequence of str, default=()
        What `lookup` has found doubtful, to be said as well.

    Returns
    -------
    str
        Number of rows and the first few labels; empty if every label was seen.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.labels import unseen_report
    >>> unseen_report("batch", [["a", "z", "z"]], np.array([0, -1, -1]))
    "the factor 'batch': 2 of 3 rows have a label that fit has not seen ('z')"
    """
    rows = np.flatnonzero(np.asarray(codes) < 0)
    if not len(rows):
        return ""
    parts = [_take(part, rows[:10_000]) for part in labels]
    found = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
    found = list(map(plain, found))
    distinct = list(islice(dict.fromkeys(map(repr, found)), _MAX_SHOWN + 1))
    shown = ", ".join(distinct[:_MAX_SHOWN])
    if len(distinct) > _MAX_SHOWN:
        shown += ", ..."
    count = f"{len(rows)} of {len(codes)} rows have"
    if len(rows) == 1:
        count = f"row {rows[0]} has"
    text = f"the factor {name!r}: {count} a label that fit has not seen ({shown})"
    for doubt in doubts:
        text += f"; {doubt}"
    return text


def _label_array(labels: Iterable[Any]) -> np.ndarray:
    """Array of the labels in a list, which keep their types."""
    labels = list(labels)
    if any(isinstance(label, list | np.ndarray) for label in labels):
        return np.asarray(labels, dtype=object)
    return np.fromiter(labels, dtype=object, count=len(labels))


def _take(labels: Any, rows: np.ndarray) -> list[Any]:
    """Labels of some rows as Python objects."""
    if isinstance(labels, pd.Series):
        return labels.iloc[rows].tolist()
    if isinstance(labels, list | tuple):
        return [labels[row] for row in rows]
    labels = labels[rows]
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "mM":
        labels = pd.Index(labels)
    return labels.tolist()


def _encode_column(labels: Any, where: str) -> tuple[np.ndarray, pd.Index]:
    codes, levels, ordered = _factorize(labels, where)
    _refuse_missing(codes, where)
    return _sorted_levels(codes, levels, ordered)


def _refuse_missing(codes: np.ndarray, where: str) -> None:
    if codes.min(initial=0) < 0:
        rows = np.flatnonzero(codes < 0)
        first = ", ".join(map(str, rows[:_MAX_SHOWN]))
        more = ", ..." if len(rows) > _MAX_SHOWN else ""
        one = len(rows) == 1
        count = "a missing label" if one else f"{len(rows)} missing labels"
        raise ValueError(
            f"The {where} has {count} (None, NaN, NaT or NA), in row{'s' * (not one)} "
            f"{first}{more}: drop such rows, or give them a label of their own, such "
            "as 'unknown'."
        )


def _sorted_levels(
    codes: np.ndarray, levels: pd.Index, ordered: bool
) -> tuple[np.ndarray, pd.Index]:
    if not ordered and not levels.is_monotonic_increasing:
        try:
            order = np.asarray(levels.argsort())
        except TypeError:
            order = None
        if order is not None:
            rank = np.empty(len(order), dtype=np.int32)
            rank[order] = np.arange(len(order), dtype=np.int32)
            return rank[codes], levels[order]
    return codes.astype(np.int32, copy=False), levels


def _lookup_column(
    levels: pd.Index, labels: Any, doubts: list[str] | None = None
) -> np.ndarray:
    codes, distinct, _ = _factorize(labels, "groups")
    # The last entry is the one that code -1, a missing label, points to.
    position = np.full(len(distinct) + 1, -1, dtype=np.int32)
    position[:-1] = _match(levels, distinct)
    other = np.flatnonzero(position[:-1] < 0)
    if len(other) and len(levels):
        found, doubtful = by_name.match(levels, distinct[other])
        position[other] = found
        if doubts is not None:
            doubts += _doubts(levels, distinct, position[:-1], other[doubtful])
    return position[codes]


def _doubts(
    levels: pd.Index, distinct: pd.Index, position: np.ndarray, doubtful: np.ndarray
) -> Iterator[str]:
    """What is doubtful about the positions of distinct labels, in words."""
    if len(doubtful):
        label = distinct[doubtful[0]]
        yield (
            f"the label {_typed(label)} is the name of several levels that fit has "
            f"seen, of type {_type(levels[0])}: give labels of that type"
        )
    known = np.sort(position[position >= 0])
    twice = known[1:][known[1:] == known[:-1]]
    if len(twice):
        names = [_typed(label) for label in distinct[position == twice[0]]]
        yield (
            f"the labels {' and '.join(names[:2])} are both read as the level "
            f"{_typed(levels[twice[0]])} that fit has seen"
        )
    if not len(known) + len(doubtful) and not by_name.of_one_kind(levels, distinct):
        yield (
            f"fit saw labels of type {_type(levels[0])}, such as "
            f"{plain(levels[0])!r}, and no row has one of them: these are of type "
            f"{_type(distinct[0])}, such as {plain(distinct[0])!r}"
        )


def _type(label: Any) -> str:
    return type(plain(label)).__name__


def _typed(label: Any) -> str:
    return f"{plain(label)!r} ({_type(label)})"


def _positions(known: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Positions of keys among distinct non-negative ones, -1 where absent."""
    span = int(known.max(initial=-1)) + 1
    if span > 8 * (len(known) + len(keys)):
        return pd.Index(known).get_indexer(keys)
    table = np.full(span + 1, -1, dtype=np.int64)
    table[known] = np.arange(len(known))
    return table[np.minimum(keys, span)]


def _match(levels: pd.Index, labels: pd.Index) -> np.ndarray:
    """Positions of distinct labels among the levels, -1 where absent."""
    if not len(levels):
        return np.full(len(labels), -1)
    kinds = levels.dtype.kind, labels.dtype.kind
    if all(kind in "iuf" for kind in kinds):
        if levels.dtype == labels.dtype:
            return levels.get_indexer(labels)
        values = labels.to_numpy()
        with np.errstate(invalid="ignore", over="ignore"):
            cast = values.astype(levels.dtype)
        found = levels.get_indexer(pd.Index(cast))
        return np.where(cast == values, found, -1)
    if "M" in kinds:
        levels, labels = _dates(levels), _dates(labels)
    same = levels.dtype == labels.dtype
    dates = levels.dtype.kind == labels.dtype.kind and levels.dtype.kind in "mM"
    if (same or dates) and not isinstance(levels, pd.IntervalIndex):
        return levels.get_indexer(labels)
    return levels.astype(object).get_indexer(labels.astype(object))


def _dates(index: pd.Index) -> pd.Index:
    if index.dtype == object and index.inferred_type == "date":
        return pd.DatetimeIndex(index)
    return index


def _factorize(labels: Any, where: str) -> tuple[np.ndarray, pd.Index, bool]:
    """Codes of the labels (-1: missing), the distinct labels, whether in order."""
    if isinstance(labels, pd.Series | pd.Index):
        native = isinstance(labels.dtype, np.dtype)
        labels = labels.to_numpy() if native else labels.array
    elif not isinstance(labels, np.ndarray | pd.api.extensions.ExtensionArray):
        labels = _label_array(labels)
    if isinstance(labels, pd.Categorical):
        return _factorize_categorical(labels)
    if isinstance(labels, np.ndarray):
        kind = labels.dtype.kind
        if not labels.dtype.isnative:
            labels = labels.astype(labels.dtype.newbyteorder("="))
        if kind in "iu":
            return _factorize_integers(labels)
        if kind in "UST":
            labels = labels.astype(object)
        elif kind in "mM":
            labels = pd.Index(labels).array
        elif kind == "f" and labels.dtype.itemsize not in (4, 8):
            labels = labels.astype(np.float64)
    try:
        codes, distinct = pd.factorize(labels)
    except TypeError as error:
        raise TypeError(
            f"The {where}: labels must be hashable; a label or argument must be a "
            f"string, a number or a tuple of them ({error})."
        ) from None
    return codes, _as_index(distinct), False


def _factorize_categorical(
    labels: pd.Categorical,
) -> tuple[np.ndarray, pd.Index, bool]:
    codes, categories = labels.codes, labels.categories
    occurs = np.zeros(len(categories) + 1, dtype=bool)
    occurs[codes] = True
    occurs = occurs[:-1]
    if not occurs.all():
        dense = np.append(np.cumsum(occurs) - 1, -1).astype(np.int32)
        codes, categories = dense[codes], categories[occurs]
    distinct = categories
    if not isinstance(categories.dtype, np.dtype) or categories.dtype == object:
        distinct = _as_index(categories.array)
    return codes, distinct, bool(labels.ordered)


def _factorize_integers(labels: np.ndarray) -> tuple[np.ndarray, pd.Index, bool]:
    if len(labels):
        low, high = labels.min(), labels.max()
        span = int(high) - int(low) + 1
        if span <= max(4 * len(labels), 1 << 10):
            # A table over the range is several times faster than hashing. The
            # difference is right even where the cast to int64 wraps around.
            offset = np.subtract(labels, low, dtype=np.int64, casting="unsafe")
            occurs = np.zeros(span, dtype=bool)
            occurs[offset] = True
            values = np.flatnonzero(occurs)
            if len(values) < span:
                rank = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
                offset = rank[offset]
            distinct = (values.astype(labels.dtype) + low).astype(labels.dtype)
            return offset, pd.Index(distinct), True
    codes, distinct = pd.factorize(labels)
    return codes, pd.Index(distinct), False


def _beyond_floats(label: Any) -> bool:
    """Whether a label is a whole number that a float may not hold."""
    return isinstance(label, Integral) and abs(int(label)) > 2**53


def _as_index(distinct: Any) -> pd.Index:
    """Index of distinct labels, of the plainest type that holds them."""
    if not isinstance(distinct, np.ndarray):
        dtype = distinct.dtype
        kept = (np.dtype, pd.DatetimeTZDtype, pd.PeriodDtype, pd.IntervalDtype)
        if isinstance(dtype, kept) or dtype == "str":
            return pd.Index(distinct)
        distinct = np.asarray(distinct.astype(object), dtype=object)
    if distinct.dtype != object:
        return pd.Index(distinct)
    kind = pd.api.types.infer_dtype(distinct, skipna=False)
    if kind == "string":
        return pd.Index(distinct)
    exact = kind == "floating" or not any(map(_beyond_floats, distinct))
    if kind in ("floating", "mixed-integer-float") and exact:
        return pd.Index(distinct.astype(np.float64))
    index = pd.Index(distinct, dtype=object, tupleize_cols=False)
    # Inference would make a MultiIndex of tuples.
    plain = kind in ("integer", "boolean", "datetime", "datetime64")
    return index.infer_objects() if plain else index
