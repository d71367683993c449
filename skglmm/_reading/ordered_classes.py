"""What a user passes as y where its classes have an order."""

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets

from skglmm._reading.labels import lookup
from skglmm._reading.target import Target, read_labels
from skglmm._reading.words import listing, plain


def read_ordered(y, n_rows, estimator, given=None, fitted=None):
    """Target with ordered classes.

    The order is the one given, that of a category dtype, or the sorted one, which
    says little of text: a message tells it then.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
        Rows of X.
    estimator : str
        Name of the estimator, for messages.
    given : array-like of shape (n_classes,), default=None
        All classes in their order.
    fitted : ndarray of shape (n_classes,), default=None
        The classes of an earlier fit, of which y may hold any.

    Returns
    -------
    target : Target

    Raises
    ------
    ValueError
        If y has another length, a missing class, a class that is not among those
        given, or less than two classes.
    """
    known = _categories(y) if given is None else _distinct(given)
    y = read_labels(y, n_rows, estimator)
    if fitted is not None:
        codes = _codes(y, fitted, "fit has seen", "leave such rows out, or fit again")
        return Target(codes.astype(np.float64), fitted)
    check_classification_targets(y)
    if known is None:
        classes, codes = np.unique(y, return_inverse=True)
        messages = _about_text(classes)
    else:
        codes = _codes(y, known, "classes= lists", "add it there")
        counts = np.bincount(codes, minlength=len(known))
        messages = _about_empty(known[counts == 0])
        codes = (np.cumsum(counts > 0) - 1)[codes]
        classes = known[counts > 0]
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class only ({plain(classes[0])!r}): give rows of two classes "
            "or more."
        )
    return Target(codes.astype(np.float64), classes, tuple(messages))


def order_of(y):
    """Ordered categories of a column from the lowest to the highest, or None."""
    dtype = getattr(y, "dtype", None)
    if not (isinstance(dtype, pd.CategoricalDtype) and dtype.ordered):
        return None
    return dtype.categories.to_numpy()


def _categories(y):
    """Categories of a column in their order; None where that is the one of letters."""
    dtype = getattr(y, "dtype", None)
    if not isinstance(dtype, pd.CategoricalDtype):
        return None
    found = dtype.categories
    text = any(isinstance(label, str) for label in found)
    if text and not dtype.ordered and found.is_monotonic_increasing:
        return None
    return found.to_numpy()


def _distinct(given):
    """The classes that a user lists."""
    classes = pd.Index(given)
    if classes.has_duplicates:
        twice = classes[classes.duplicated()][0]
        raise ValueError(
            f"classes={list(given)!r} names {plain(twice)!r} twice: list each class "
            "once, from the lowest to the highest."
        )
    return classes.to_numpy()


def _codes(y, classes, who, remedy):
    """Place of each row's class among the classes."""
    codes = lookup(pd.Index(classes), [y])
    if np.any(codes < 0):
        row = np.flatnonzero(codes < 0)[0]
        raise ValueError(
            f"y holds the class {plain(y[row])!r} in row {row}, and {who} "
            f"{listing(map(plain, classes))}: {remedy}."
        )
    return codes


def _about_text(classes):
    """What to say of classes whose order is that of letters."""
    if len(classes) < 3 or not isinstance(classes[0], str):
        return []
    return [
        f"the classes are text and were sorted, {' < '.join(map(str, classes[:10]))}"
        f"{' < ...' if len(classes) > 10 else ''}: if that is not their order, list "
        "them in classes=, or give a column of ordered categories"
    ]


def _about_empty(classes):
    """What to say of classes without a row."""
    if not len(classes):
        return []
    several = "es" * (len(classes) > 1)
    return [
        f"no row has the class{several} {listing(map(plain, classes))}: nothing tells "
        "where thresholds around it would be, and the model does without"
    ]
