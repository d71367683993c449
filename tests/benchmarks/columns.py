"""A table as one file a column, which Python and R read without further packages.

``NAME.float64`` holds numbers, ``NAME.codes`` the levels of a factor as int32 and
``NAME.levels`` their labels, a line each. A benchmark's table is written once, and
every package starts from these files: none has the making of it in its memory.
"""

import numpy as np


def write_columns(frame, problem, folder):
    """Store the columns of a problem.

    Parameters
    ----------
    frame : pandas.DataFrame
        Holds at least ``problem.columns``.
    problem : Problem
        Says which columns are factors.
    folder : pathlib.Path
        Where the files go.
    """
    for name in problem.columns:
        column = frame[name]
        if name not in problem.groups:
            column.to_numpy(np.float64).tofile(folder / f"{name}.float64")
            continue
        column = column.astype("category").cat
        column.codes.to_numpy(np.int32).tofile(folder / f"{name}.codes")
        levels = "".join(f"{label}\n" for label in column.categories)
        (folder / f"{name}.levels").write_text(levels, encoding="utf-8")


def read_columns(problem, folder):
    """Stored columns as a DataFrame, its factors categorical.

    Parameters
    ----------
    problem : Problem
        Says which columns there are.
    folder : pathlib.Path
        Holds the files.

    Returns
    -------
    pandas.DataFrame
    """
    import pandas as pd

    columns = {}
    for name in problem.columns:
        if name not in problem.groups:
            columns[name] = np.fromfile(folder / f"{name}.float64")
            continue
        levels = (folder / f"{name}.levels").read_text(encoding="utf-8").splitlines()
        codes = np.fromfile(folder / f"{name}.codes", np.int32)
        columns[name] = pd.Categorical.from_codes(codes, levels)
    return pd.DataFrame(columns, copy=False)
