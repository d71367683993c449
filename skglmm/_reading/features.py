"""What scikit-learn keeps of the columns of X."""

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from skglmm._reading.table import Table
from skglmm._reading.words import listing


def store_features(estimator: Any, X: Any, y: Any, table: Table) -> None:
    """Store the number and names of the columns, as scikit-learn does.

    Parameters
    ----------
    estimator : object
    X : dataframe or array-like
    y : array-like
    table : Table
        The same as X.
    """
    if table.names is None or y is None:
        validate_data(estimator, X, y, skip_check_array=True)
        return
    # what scikit-learn would find, which takes longer to find it
    estimator.feature_names_in_ = np.array(table.names, dtype=object)
    estimator.n_features_in_ = table.n_columns


def arranged(
    estimator: Any, X: Any, table: Table, needed: set[int], by_name: bool
) -> Table:
    """Rows with the columns of fit at their positions.

    Parameters
    ----------
    estimator : object
        With what scikit-learn stores of the columns.
    X : dataframe or array-like
    table : Table
        The same.
    needed : set of int
        Positions of the columns that are read; others may be missing.
    by_name : bool
        Whether the user has named all of these, so that other columns do not matter.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError
        If a column is missing that is read, or for the reasons of scikit-learn.
    """
    known = list(getattr(estimator, "feature_names_in_", ()))
    names = table.names
    if not known or names is None or names == known or len(set(known)) < len(known):
        check_features(estimator, X, table)
        return table
    absent = [name for name in known if name not in names]
    lacking = [at for at, name in enumerate(known) if name in absent and at in needed]
    if by_name:
        if lacking:
            raise ValueError(
                f"X has no column {known[lacking[0]]!r}, and the model reads the "
                f"columns {listing(known[at] for at in sorted(needed))}."
            )
        for at in needed:
            table.position(known[at], "X")
        return table.arranged(known)
    if not lacking and names == [name for name in known if name not in absent]:
        return table.arranged(known)
    check_features(estimator, X, table)
    return table


def check_features(estimator: Any, X: Any, table: Table) -> None:
    """Refuse a table whose columns are not those that an estimator was fitted to.

    Parameters
    ----------
    estimator : object
        With what scikit-learn stores of the columns.
    X : dataframe or array-like
    table : Table
        The same.

    Raises
    ------
    ValueError
        If there are more or fewer columns, or others.
    """
    names = table.names
    if names is None or len(set(names)) == len(names):
        validate_data(estimator, X, reset=False, skip_check_array=True)
    elif list(getattr(estimator, "feature_names_in_", ())) != names:
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"X has several columns named {double!r}, and fit has seen other columns: "
            "give the columns of fit, in their order."
        )
