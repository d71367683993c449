"""Columns of the fixed part: those that are named, or all without another role."""

from skglmm._reading.roles import places
from skglmm._reading.table import Table
from skglmm._reading.terms import Term


def fixed_positions(
    table: Table,
    terms: tuple[Term, ...],
    named: dict[str, int | tuple[int, ...]],
    listed: list | None = None,
) -> tuple[int, ...]:
    """Positions of the columns of the fixed part.

    Parameters
    ----------
    table : Table
    terms : tuple of Term
    named : dict of int or tuple of int
        Positions of the columns with a role of their own, by parameter.
    listed : list of str or int, default=None
        Columns that the user names, in that order. With None they are all that are no
        labels and have no role, and those that have random slopes.

    Returns
    -------
    positions : tuple of int

    Raises
    ------
    TypeError, ValueError
        If a column does not exist, is there twice or has a role of its own.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.fixed_columns import fixed_positions
    >>> from skglmm._reading.table import Table
    >>> table = Table(pd.DataFrame({"dose": [1], "age": [2], "year": [3]}))
    >>> fixed_positions(table, (), {"offset": 1})
    (0, 2)
    >>> fixed_positions(table, (), {"offset": 1}, ["year"])
    (2,)
    """
    roles = places(named)
    if listed is None:
        gone = {at for term in terms for at in term.columns}
        gone -= {at for term in terms for at in term.slopes}
        gone |= set(roles)
        return tuple(at for at in range(table.n_columns) if at not in gone)
    found: list[int] = []
    for key in listed:
        at = table.position(key, "fixed_effects")
        if at in roles:
            raise ValueError(
                f"fixed_effects: {table.describe(at)} has another role "
                f"already ({roles[at]}): take it out of one of them, or add a copy of "
                "it to X."
            )
        if at in found:
            raise ValueError(
                f"fixed_effects: {table.describe(at)} is there twice: name it once."
            )
        found.append(at)
    return tuple(found)
