"""Columns with a role of their own."""

from collections.abc import Mapping

import numpy as np

from skglmm._reading.table import Table


def places(named: Mapping[str, int | tuple[int, ...]]) -> dict[int, str]:
    """Columns with a role, by position, and the parameter that names them."""
    return {
        at: parameter
        for parameter, found in named.items()
        for at in (found if isinstance(found, tuple) else (found,))
    }


def role_values(
    table: Table, named: Mapping[str, int | tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Values of the columns with a role.

    Parameters
    ----------
    table : Table
    named : dict of int or tuple of int
        Positions by parameter; several columns are added up.

    Returns
    -------
    special : dict of ndarray of shape (n_rows,)
    """
    return {
        name: table.numeric(list(at), name).sum(axis=1)
        if isinstance(at, tuple)
        else table.numeric([at], name)[:, 0]
        for name, at in named.items()
    }


def row_offset(special, rows=None):
    """Offset of the linear predictor, the log of the exposure included.

    Parameters
    ----------
    special : dict of ndarray of shape (n_rows,)
        Columns with a role, by role.
    rows : ndarray of shape (n_rows,), default=None
        Numbers of the rows as the user knows them.

    Returns
    -------
    offset : ndarray of shape (n_rows,) or None

    Raises
    ------
    ValueError
        If an exposure is not positive.
    """
    offset = special.get("offset")
    exposure = special.get("exposure")
    if exposure is None:
        return offset
    low = np.flatnonzero(exposure <= 0)
    if len(low):
        row = low[0] if rows is None else rows[low[0]]
        raise ValueError(
            f"The exposure of row {row} is {exposure[low[0]]:g}: exposures are "
            "positive (a count over no time or area says nothing; drop such rows)."
        )
    return np.log(exposure) if offset is None else offset + np.log(exposure)
