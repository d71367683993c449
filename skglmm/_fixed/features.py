"""Columns that a fixed part reads, and what its models make of them."""

import numpy as np
import pandas as pd


def columns_of(table, positions):
    """Columns of a dataframe as they are, those of an array as numbers."""
    if table.is_array:
        return table.numeric(positions, missing=True)
    columns = (table.labels(at) for at in positions)
    frame = pd.DataFrame(
        {k: getattr(column, "array", column) for k, column in enumerate(columns)},
        index=range(table.n_rows),
    )
    names = table.names or list(range(table.n_columns))
    return frame.set_axis([names[at] for at in positions], axis=1)


def take(features, rows):
    """Rows of an array or a dataframe."""
    if hasattr(features, "iloc"):
        return features.iloc[rows]
    return features[rows]


def values_of(model, features):
    return np.asarray(model.predict(features), dtype=np.float64).reshape(len(features))
