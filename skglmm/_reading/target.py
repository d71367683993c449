"""What a user passes as y, as numbers or codes of two classes, and as weights."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skglmm._reading.labels import lookup
from skglmm._reading.values import kind_of_time, unit_advice
from skglmm._reading.words import listing, plain
from skglmm._sklearn import check_sample_weight


@dataclass(frozen=True)
class Target:
    """What is to be explained, as numbers.

    Parameters
    ----------
    values : ndarray of shape (n_rows,), float64
        The target, or for a classifier the position of each row's class in `classes`.
    classes : ndarray of shape (n_classes,) or None
        The classes in order; None for a regressor.
    messages : tuple of str, default=()
        What was noticed.
    """

    values: np.ndarray
    classes: np.ndarray | None = None
    messages: tuple[str, ...] = ()


def read_numbers(y, n_rows, estimator):
    """Target of a regressor.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
        Rows of X.
    estimator : str
        Name of the estimator, for messages.

    Returns
    -------
    target : Target

    Raises
    ------
    ValueError
        If y has another length, or holds text, times, complex numbers, missing or
        infinite values.
    """
    y = _vector(y, n_rows)
    if y.dtype.kind not in "biuf":
        if y.dtype.kind == "c":
            raise ValueError(
                "Complex data not supported: y holds complex numbers. Give real ones."
            )
        y = _numbers(y, estimator)
    if not np.isfinite(y).all():
        assert_all_finite(y, input_name="y", estimator_name=estimator)
    return Target(y.astype(np.float64))


def read_classes(y, n_rows, estimator, classes=None):
    """Target of a classifier.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
        Rows of X.
    estimator : str
        Name of the estimator, for messages.
    classes : ndarray of shape (n_classes,), default=None
        The classes of an earlier fit. With them, y may hold one of them only.

    Returns
    -------
    target : Target

    Raises
    ------
    ValueError
        If y has another length, a missing class, no classes, or others than these.
    """
    y = read_labels(y, n_rows, estimator)
    if classes is not None:
        codes = lookup(pd.Index(classes), [y])
        if np.any(codes < 0):
            row = np.flatnonzero(codes < 0)[0]
            raise ValueError(
                f"y holds the class {plain(y[row])!r} in row {row}, and fit has seen "
                f"{listing([plain(c) for c in classes])} only: leave such rows out, or "
                "fit again."
            )
        return Target(codes.astype(np.float64), classes)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    return Target(codes.astype(np.float64), classes)


def read_labels(y, n_rows, estimator):
    """Target that may be numbers or labels of classes, as an array of one type.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
        Rows of X.
    estimator : str
        Name of the estimator, for messages.

    Returns
    -------
    y : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        If y has another length, missing or infinite values, or labels of several
        types.
    """
    y = _vector(y, n_rows)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y", estimator_name=estimator)
    return _classes_of_objects(y, estimator) if y.dtype.kind in "OMm" else y


def refuse_times(y):
    """Raise for a target of times, whose unit only the user knows."""
    for row, value in enumerate(y if y.dtype.kind in "OMm" else ()):
        kind = "durations" if y.dtype.kind == "m" else kind_of_time(value)
        if kind is not None:
            raise ValueError(
                f"y holds {kind} ({pd.Series(y[[row]])[0]!r} in row {row}): "
                f"{unit_advice(kind)}."
            )


def read_weight(sample_weight, y):
    """Frequencies of the rows.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,)
    y : ndarray of shape (n_rows,)

    Returns
    -------
    weight : ndarray of shape (n_rows,), float64

    Raises
    ------
    ValueError
        If a weight is negative, not finite or a time, or if all are zero.
    """
    if not isinstance(sample_weight, Real | None):
        sample_weight = _weights(sample_weight)
    weight = check_sample_weight(
        sample_weight, y, dtype=np.float64, ensure_non_negative=True
    )
    if not np.any(weight > 0):
        raise ValueError(
            "sample_weight is zero for every row: give at least one row a "
            "positive weight."
        )
    return weight


def _weights(sample_weight):
    """Weights as they are, if they are numbers or no vector at all."""
    values = np.asarray(sample_weight)
    if values.dtype.kind in "biuf" or values.ndim != 1:
        return sample_weight
    for row, value in enumerate(values):
        kind = kind_of_time(value) or ("text" if isinstance(value, str) else None)
        if kind is not None:
            raise ValueError(
                f"sample_weight holds {kind} ({plain(value)!r} in row {row}): weights "
                "are frequencies, numbers such as 2 for a row that stands for two."
            )
    return np.where(pd.isna(values), np.nan, values)


def _vector(y, n_rows):
    if isinstance(y, list | tuple) and {str} < set(map(type, y)):
        # NumPy would make text of all of them
        y = np.fromiter(y, dtype=object, count=len(y))
    known = isinstance(y, np.ndarray | pd.Series) and isinstance(y.dtype, np.dtype)
    if not (known and y.ndim == 1 and y.dtype.kind in "biuf"):
        y = column_or_1d(y, warn=True)
    if len(y) != n_rows:
        check_consistent_length(y, np.empty(n_rows))
    return np.asarray(y)


def _numbers(y, estimator):
    """Objects or text as numbers, or an error that names the row."""
    missing = pd.isna(y)
    for row in np.flatnonzero(~missing):
        value = y[row]
        kind = kind_of_time(value)
        if kind is not None:
            raise ValueError(
                f"y holds {kind} ({plain(value)!r} in row {row}): {unit_advice(kind)}."
            )
        try:
            float(value)
        except OverflowError:
            continue
        except (TypeError, ValueError):
            if isinstance(value, str | bytes):
                text = _about_text(y, missing, value, row, estimator)
                raise ValueError(text) from None
            raise TypeError(
                f"y holds {value!r} of type {type(value).__name__} in row {row}; "
                f"a label or argument must be a string or a real number, and "
                f"{estimator} needs numbers."
            ) from None
    if missing.any():
        y = np.where(missing, np.nan, y)
    try:
        return y.astype(np.float64)
    except OverflowError:
        raise ValueError(
            "Input y contains infinity or a value too large for dtype('float64')."
        ) from None


def _about_text(y, missing, value, row, estimator):
    labels = list(dict.fromkeys(map(str, y[~missing])))
    text = (
        f"y holds text ({plain(value)!r} in row {row}), and {estimator} needs numbers"
    )
    if len(labels) == 2:
        return (
            f"{text}: for two classes such as {listing(labels)} use "
            "MixedLogisticRegressor, which takes them as they are."
        )
    return f"{text}: encode it as numbers."


def _classes_of_objects(y, estimator):
    """Classes as an array of the type that they have, without missing ones."""
    missing = np.flatnonzero(pd.isna(y))
    if len(missing):
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        one = len(missing) == 1
        count = "a missing class" if one else f"{len(missing)} missing classes"
        raise ValueError(
            f"y has {count} (None, NaN, NaT or NA), in row{'s' * (not one)} "
            f"{first}: drop such rows."
        )
    if y.dtype.kind != "O":
        return y
    kinds = {}
    for row, value in enumerate(y):
        kind = str if isinstance(value, str) else type(value)
        kinds.setdefault(kind, (row, value))
    if str in kinds and len(kinds) > 1:
        (row, value), (other, number) = (
            kinds[str],
            next(found for kind, found in kinds.items() if kind is not str),
        )
        raise ValueError(
            f"y mixes classes of several types ({value!r} in row {row}, "
            f"{plain(number)!r} in row {other}): give classes of one type."
        )
    if str in kinds:
        return y
    y = pd.Series(y).infer_objects().to_numpy()
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y", estimator_name=estimator)
    return y
