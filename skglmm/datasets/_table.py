"""One stored table, read into a Bunch: the common part of every loader."""

from importlib import resources

import numpy as np
import pandas as pd
from sklearn.utils import Bunch


def load_table(
    name, *, features, target, target_names=None, return_X_y=False, as_frame=False
):
    """Stored data set as a Bunch or as a pair (data, target).

    Parameters
    ----------
    name : str
        Stem of ``data/{name}.csv.gz`` and of ``descr/{name}.rst``.
    features : dict of str to type
        Columns of X in their order, each with its dtype; ``str`` marks labels.
    target : tuple of (str, type)
        Name and dtype of the target.
    target_names : list of str, default=None
        Names of the target's classes; the target's own name when None.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` only.
    as_frame : bool, default=False
        Whether to return pandas objects instead of arrays.

    Returns
    -------
    sklearn.utils.Bunch or tuple of (data, target)
    """
    for option, value in {"return_X_y": return_X_y, "as_frame": as_frame}.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"load_{name}: {option} must be True or False, got {value!r}."
            )
    folder = resources.files(__package__)
    source = folder / "data" / f"{name}.csv.gz"
    target_name, target_dtype = target
    dtypes = {**features, target_name: target_dtype}
    with source.open("rb") as stream:
        # A label is text whatever it looks like: no "NA" may turn into a gap.
        frame = pd.read_csv(
            stream,
            compression="gzip",
            usecols=list(dtypes),
            dtype=dtypes,
            keep_default_na=False,
        )[list(dtypes)]

    data, y = frame[list(features)], frame[target_name]
    coded = {
        column: pd.factorize(data[column], sort=True)
        for column, dtype in features.items()
        if dtype is str
    }
    categories = {
        column: np.asarray(levels, dtype=object)
        for column, (_, levels) in coded.items()
    }
    if not as_frame:
        frame, y = None, y.to_numpy()
        data = np.column_stack(
            [coded[c][0] if c in coded else data[c].to_numpy() for c in features]
        ).astype(np.float64)
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        frame=frame,
        feature_names=list(features),
        target_names=[target_name] if target_names is None else list(target_names),
        DESCR=(folder / "descr" / f"{name}.rst").read_text(encoding="utf-8"),
        filename=str(source),
        categories=categories,
    )
