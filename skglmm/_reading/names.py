"""Labels by name: what a label of one type is called in another.

R keeps the levels of a factor as text, so that 3, 3.0 and "3" are one level wherever
they come from. Here a level keeps its type, and labels of another type are matched by
what they stand for: a text that is a number is that number, a date its ISO text.
"""

import datetime
import re
from decimal import Decimal, InvalidOperation
from numbers import Real

import numpy as np
import pandas as pd

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?|\d{8}T?\d*")


def kind(label):
    """Kind of a label: text, truth, number, date, duration, or its class.

    Parameters
    ----------
    label : object

    Returns
    -------
    kind : str

    Examples
    --------
    >>> from skglmm._reading.names import kind
    >>> kind("3"), kind(3.0)
    ('text', 'number')
    """
    if isinstance(label, str):
        return "text"
    if isinstance(label, bool | np.bool_):
        return "truth"
    if isinstance(label, Real | Decimal):
        return "number"
    if isinstance(label, np.timedelta64 | datetime.timedelta):
        return "duration"
    if isinstance(label, np.datetime64 | datetime.date):
        return "date"
    return type(label).__name__


def name(label, as_kind):
    """What a label is called as one of another kind, None if it can be none.

    Parameters
    ----------
    label : object
    as_kind : str
        See `kind`.

    Returns
    -------
    name : str or None
        Equal for labels that stand for the same thing.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.names import name
    >>> {name(label, "number") for label in ("3", "03", "3.0", 3, np.float32(3))}
    {'3'}
    """
    own = kind(label)
    if own not in ("text", as_kind):
        return None
    text = label.strip() if own == "text" else str(label)
    if as_kind == "number":
        if own == "text" and not _NUMBER.fullmatch(text):
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None
        return f"{number.normalize() + 0:f}" if number.is_finite() else None
    if as_kind == "truth":
        return text.lower() if text.lower() in ("true", "false") else None
    if as_kind == "date":
        if own == "text" and not _DATE.fullmatch(text):
            return None
        try:
            instant = pd.Timestamp(label)
        except (ValueError, OverflowError):
            return None
        instant = instant if instant.tz is None else instant.tz_convert("UTC")
        return instant.isoformat()
    if as_kind == "duration":
        try:
            return pd.Timedelta(label).isoformat()
        except (ValueError, OverflowError):
            return None
    return text


def match(levels, labels):
    """Positions of labels among levels of another kind, where the name leaves no doubt.

    Parameters
    ----------
    levels : Index
        Distinct.
    labels : Index
        Distinct, none of them equal to a level.

    Returns
    -------
    position : ndarray of shape (n_labels,), int
        -1 where no level has the name, or several have.
    doubtful : ndarray of shape (n_labels,), bool
        Where several levels have the name.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.names import match
    >>> match(pd.Index(["3", "03", "x"]), pd.Index([3, 4]))
    (array([-1, -1]), array([ True, False]))
    >>> match(pd.Index([3, 4]), pd.Index(["04", "5"]))
    (array([ 1, -1]), array([False, False]))
    """
    position = np.full(len(labels), -1)
    doubtful = np.zeros(len(labels), dtype=bool)
    known, given = _kinds(levels), _kinds(labels)
    floats = levels.dtype != labels.dtype and "f" in (
        levels.dtype.kind,
        labels.dtype.kind,
    )
    if len(known) * len(given) == 1 and known == given and not floats:
        return position, doubtful
    of_level = known if len(known) == len(levels) else known * len(levels)
    of_label = given if len(given) == len(labels) else given * len(labels)
    places = {}
    # NumPy's own scalars know how few digits they need
    for j, (label, own) in enumerate(zip(labels.to_numpy(), of_label, strict=True)):
        for other in set(known):
            if own == other and not (floats and own == "number"):
                continue
            if own != other and "text" not in (own, other):
                continue
            as_kind = other if own == "text" else own
            if (other, as_kind) not in places:
                places[other, as_kind] = _places(levels, of_level, other, as_kind)
            found = places[other, as_kind].get(name(label, as_kind), ())
            if len(found) == 1 and position[j] < 0 and not doubtful[j]:
                position[j] = found[0]
            elif found:
                position[j], doubtful[j] = -1, True
    return position, doubtful


def of_one_kind(levels, labels):
    """Whether some label is of a kind that some level is of.

    Parameters
    ----------
    levels, labels : Index

    Returns
    -------
    same : bool
    """
    return not set(_kinds(levels)).isdisjoint(_kinds(labels))


def twins(levels):
    """Two levels of different types with one name, None if there are none.

    Parameters
    ----------
    levels : Index

    Returns
    -------
    pair : tuple or None

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.names import twins
    >>> twins(pd.Index([3, "x", "03"], dtype=object))
    (3, '03')
    """
    kinds = _kinds(levels) if levels.dtype == object else ()
    if len(kinds) < 2:
        return None
    texts = [level for level, k in zip(levels, kinds, strict=True) if k == "text"]
    others = [level for level, k in zip(levels, kinds, strict=True) if k != "text"]
    position, doubtful = match(
        pd.Index(others, dtype=object), pd.Index(texts, dtype=object)
    )
    at = np.flatnonzero((position >= 0) & ~doubtful)
    return (others[position[at[0]]], texts[at[0]]) if len(at) else None


def _places(levels, of_level, other, as_kind):
    """Where each name stands among the levels of one kind."""
    places = {}
    for at, level in enumerate(levels.to_numpy()):
        called = name(level, as_kind) if of_level[at] == other else None
        if called is not None:
            places.setdefault(called, []).append(at)
    return places


_INFERRED = {
    "string": "text",
    "boolean": "truth",
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
}


def _kinds(index):
    """Kinds of labels: one for all of them, or a list."""
    if index.dtype != object:
        return [kind(label) for label in index[:1]]
    inferred = _INFERRED.get(pd.api.types.infer_dtype(index, skipna=False))
    return [kind(label) for label in index] if inferred is None else [inferred]
