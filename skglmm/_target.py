"""What a user passes as y, as numbers or codes of two classes, and as weights."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight

from skglmm import _groups
from skglmm._table import kind_of_time, listing, plain, unit_advice


@dataclass(frozen=True)
class Target:
    """What is to be explained, as numbers.

    Parameters
    ----------
    values : ndarray of shape (n_rows,), float64
        The target, or for a classifier the position of each row's class in `classes`.
    classes : ndarray of shape (2,) or None
        The classes in order; None for a regressor.
    """

    values: np.ndarray
    classes: np.ndarray | None = None


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
    classes : ndarray of shape (2,), default=None
        The classes of an earlier fit. With them, y may hold one of them only.

    Returns
    -------
    target : Target

    Raises
    ------
    ValueError
        If y has another length, a missing class, or other classes than these two.
    """
    y = _vector(y, n_rows)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y", estimator_name=estimator)
    elif y.dtype.kind in "OMm":
        y = _classes_of_objects(y)
    if classes is not None:
        codes = _groups.lookup(pd.Index(classes), [y])
        if np.any(codes < 0):
            row = np.flatnonzero(codes < 0)[0]
            raise ValueError(
                f"y holds the class {plain(y[row])!r} in row {row}, and fit has seen "
                f"{plain(classes[0])!r} and {plain(classes[1])!r} only: leave such "
                "rows out, or fit again."
            )
        return Target(codes.astype(np.float64), classes)
    check_classification_targets(y)
    found = type_of_target(y, input_name="y", raise_unknown=True)
    if found != "binary":
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"{found}. y holds {len(np.unique(y))} classes: keep two of them, or "
            "merge some."
        )
    classes, codes = np.unique(y, return_inverse=True)
    return Target(codes.astype(np.float64), classes)


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
    kind = getattr(getattr(sample_weight, "dtype", None), "kind", "")
    if kind in "mM" and kind:
        raise ValueError(
            "sample_weight holds times: weights are frequencies, numbers such as 2 "
            "for a row that stands for two."
        )
    weight = _check_sample_weight(
        sample_weight, y, dtype=np.float64, ensure_non_negative=True
    )
    if not np.any(weight > 0):
        raise ValueError(
            "sample_weight is zero for every row: give at least one row a "
            "positive weight."
        )
    return weight


def _vector(y, n_rows):
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


def _classes_of_objects(y):
    """Classes as an array of the type that they have, without missing ones."""
    missing = np.flatnonzero(pd.isna(y))
    if len(missing):
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        count = (
            "a missing class" if len(missing) == 1 else f"{len(missing)} missing ones"
        )
        raise ValueError(
            f"y has {count} (None, NaN, NaT or NA), in row{'s' * (len(missing) > 1)} "
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
    return y if str in kinds else pd.Series(y).infer_objects().to_numpy()
