"""What scikit-learn keeps of the columns of X."""

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from skglmm._reading.table import Table


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
