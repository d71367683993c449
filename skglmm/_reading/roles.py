"""Columns with a role of their own."""

from collections.abc import Mapping

import numpy as np

from skglmm._reading.table import Table

# Precisions whose squares, and those of their reciprocals, doubles hold.
_LEAST = 1e-145


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


def row_precision(values, where, rows=None):
    """Relative precisions, if they can be some.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    where : str
        The column, for messages.
    rows : ndarray of shape (n_rows,), default=None
        Numbers of the rows as the user knows them.

    Returns
    -------
    values : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        If one is not positive, or has no square of 64 bits.
    """
    wrong = np.flatnonzero(~((values > _LEAST) & (values < 1.0 / _LEAST)))
    if len(wrong):
        row = wrong[0] if rows is None else rows[wrong[0]]
        value = values[wrong[0]]
        advice = (
            "give them in another unit"
            if value > 0
            else "drop rows that say nothing; a frequency of zero is sample_weight"
        )
        raise ValueError(
            f"The precision {where} holds {value:g} in row {row}: precisions are "
            f"positive numbers, to which residual variances are inverse ({advice})."
        )
    return values
