"""Terms: what groups, slopes and covariances ask for."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from skglmm._covariances import COVARIANCES, NAMES
from skglmm._reading.labels import _label_array
from skglmm._reading.table import Table, series_labels
from skglmm._reading.words import did_you_mean, listing


@dataclass(frozen=True, slots=True)
class Term:
    """Random effects of one grouping factor.

    Attributes
    ----------
    name : str or int
        The factor as the user wrote it; ``"g:h"`` for the combination ``("g", "h")``.
    columns : tuple of int
        Positions in X of the columns that hold its labels, several for a combination;
        empty when the labels came through ``fit(groups=)``.
    slopes : tuple of int
        Positions in X of the columns with a random slope, in the user's order.
    intercept : bool
        Whether each level has a random intercept.
    covariance : {"full", "diag", "scalar"}
        Structure of the covariance matrix of the effects of a level.
    effects : tuple of str
        Names of the effects, ``"Intercept"`` first where there is one.
    n_sets : int
        Independent sets of them, one for each class but the first where there are more
        than two.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm._reading.terms import resolve_terms
    >>> from skglmm._reading.table import Table
    >>> sleep = pd.DataFrame({"Days": [0, 1], "Subject": ["308", "309"]})
    >>> (term,) = resolve_terms(Table(sleep), "Subject", random_slopes=["Days"])
    >>> term.effects
    ('Intercept', 'Days')
    """

    name: str | int
    columns: tuple[int, ...]
    slopes: tuple[int, ...]
    intercept: bool
    covariance: str
    effects: tuple[str, ...]
    n_sets: int = 1

    @property
    def n_effects(self) -> int:
        """Number of effects of each level."""
        return len(self.effects)


def resolve_terms(
    table: Table,
    groups: Any,
    random_slopes: Any = None,
    random_intercepts: Any = True,
    covariance: Any = "full",
) -> tuple[Term, ...]:
    """Terms that the constructor's parameters describe.

    Parameters
    ----------
    table : Table
        The columns of X.
    groups : None, str, int, tuple or list
        A column (name or position) is one factor, a tuple of columns is one factor
        made of their combination, and a list holds several factors.
    random_slopes : None, str, int, list or dict, default=None
        Columns with a random slope: a column or a list when there is one factor, else
        a dict from factor to such. A key is the factor as written in `groups`, or its
        name.
    random_intercepts : bool or dict, default=True
        Whether the levels have a random intercept, for all factors or by factor.
    covariance : {"full", "diag", "scalar"} or dict, default="full"
        Structure of the covariance of the effects, for all factors or by factor. A
        factor that a dict leaves out has the default.

    Returns
    -------
    tuple of Term
        One a factor, in the user's order; empty when `groups` is None.

    Raises
    ------
    TypeError
        If a parameter is of another type than those above.
    ValueError
        If a column or factor does not exist or occurs twice, a slope is on a column
        of its own factor, a factor has no effects, or a covariance is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.terms import resolve_terms
    >>> from skglmm._reading.table import Table
    >>> nested = resolve_terms(Table(np.zeros((3, 4))), [0, (0, -1)])
    >>> [term.name for term in nested]
    [0, '0:-1']
    >>> nested[1].columns
    (0, 3)
    """
    if groups is None or (isinstance(groups, list) and not groups):
        _reject_slopes_without_groups(random_slopes)
        return ()
    written = groups if isinstance(groups, list) else [groups]
    names: list[str | int] = []
    columns: list[tuple[int, ...]] = []
    for factor in written:
        positions = _factor_columns(table, factor)
        name = ":".join(map(str, factor)) if isinstance(factor, tuple) else factor
        name = str(name) if isinstance(name, str) else int(name)
        for other, seen in zip(names, columns, strict=True):
            if name == other or set(positions) == set(seen):
                raise ValueError(
                    f"groups: the factor {factor!r} is there twice (also as "
                    f"{other!r}): name each factor once."
                )
        names.append(name)
        columns.append(positions)
    keys = [_keys(name, factor) for name, factor in zip(names, written, strict=True)]
    return _terms(
        table, names, keys, columns, random_slopes, random_intercepts, covariance
    )


def resolve_metadata_terms(
    groups: Any,
    table: Table,
    random_slopes: Any = None,
    random_intercepts: Any = True,
    covariance: Any = "full",
) -> tuple[tuple[Term, ...], list[Any]]:
    """Terms and labels of factors that are no columns of X.

    Parameters
    ----------
    groups : array-like or dataframe of shape (n_rows,) or (n_rows, n_factors)
        Labels as given to ``fit(groups=)``, matched with the rows of X by order (an
        index is ignored). One-dimensional labels are a factor named as the series is,
        else ``"group"``; a dataframe's columns are factors under their names, the
        columns of an array are ``"group0"``, ``"group1"`` and so on. A list of tuples
        is one factor, whose labels are the tuples.
    table : Table
        The columns of X, which hold the slopes.
    random_slopes, random_intercepts, covariance
        As in `resolve_terms`; the keys of a dict are the names above.

    Returns
    -------
    terms : tuple of Term
        One a factor, with empty `columns`.
    labels : list of length n_factors
        Labels of each factor, of shape (n_rows,), as `encode` takes them.

    Raises
    ------
    TypeError
        If a parameter is of a wrong type.
    ValueError
        If the labels do not have one row for each row of X, or for the reasons in
        `resolve_terms`.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.terms import resolve_metadata_terms
    >>> from skglmm._reading.table import Table
    >>> table = Table(np.zeros((3, 1)))
    >>> terms, labels = resolve_metadata_terms(["a", "b", "a"], table)
    >>> terms[0].name
    'group'
    """
    names, labels = _metadata_columns(groups)
    lengths = {len(column) for column in labels}
    if lengths != {table.n_rows}:
        raise ValueError(
            f"groups has {max(lengths)} rows, but X has {table.n_rows}: give one label "
            "for each row of X."
        )
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(
            f"groups: the factor {doubles[0]!r} is there twice: name each column once."
        )
    keys: list[set[Hashable]] = [{name} for name in names]
    columns: list[tuple[int, ...]] = [()] * len(names)
    terms = _terms(
        table, names, keys, columns, random_slopes, random_intercepts, covariance
    )
    return terms, labels


def term_labels(table: Table, term: Term) -> tuple[list[Any], tuple[str | int, ...]]:
    """Label columns of a term and their names, as `encode` takes them.

    Parameters
    ----------
    table : Table
        The columns of X.
    term : Term
        A term whose labels are columns of X.

    Returns
    -------
    labels : list
        One entry a column, of shape (n_rows,).
    names : tuple of str or int
        Names of the columns, their positions where they have no name.
    """
    labels = [table.labels(position) for position in term.columns]
    if len(labels) == 1:
        return labels, (term.name,)
    names = table.names or range(table.n_columns)
    return labels, tuple(names[position] for position in term.columns)


def _factor_columns(table: Table, factor: Any) -> tuple[int, ...]:
    if not isinstance(factor, tuple):
        if isinstance(factor, str) or (
            isinstance(factor, Integral) and not isinstance(factor, bool)
        ):
            return (table.position(factor, "groups"),)
        raise TypeError(
            f"groups: a factor is a column (str or int) or a tuple of columns, got "
            f"{factor!r} of type {type(factor).__name__}."
        )
    if len(factor) < 2:
        raise ValueError(
            f"groups: the tuple {factor!r} has {len(factor)} columns, a combination "
            "has at least two: write the column itself for a factor of one column."
        )
    positions = tuple(table.position(key, "groups") for key in factor)
    if len(set(positions)) < len(positions):
        raise ValueError(
            f"groups: the combination {factor!r} has a column twice: name each column "
            "once."
        )
    return positions


def _keys(name: str | int, factor: Any) -> set[Hashable]:
    return {name, factor} if isinstance(factor, tuple) else {name}


def _reject_slopes_without_groups(random_slopes: Any) -> None:
    if random_slopes:
        raise ValueError(
            "random_slopes needs a grouping factor: name one in groups, or pass the "
            "labels to fit(groups=)."
        )


def _terms(
    table: Table,
    names: Sequence[str | int],
    keys: Sequence[set[Hashable]],
    columns: list[tuple[int, ...]],
    random_slopes: Any,
    random_intercepts: Any,
    covariance: Any,
) -> tuple[Term, ...]:
    slope_keys = _slopes_by_factor(random_slopes, names, keys)
    intercepts = _by_factor(
        random_intercepts, "random_intercepts", names, keys, True, _check_flag
    )
    covariances = _by_factor(
        covariance, "covariance", names, keys, "full", _check_covariance
    )
    terms = []
    for r, name in enumerate(names):
        slopes = []
        for key in slope_keys[r]:
            position = table.position(key, "random_slopes")
            if position in columns[r]:
                raise ValueError(
                    f"random_slopes: {table.describe(position)} holds labels of the "
                    f"factor {name!r} and is the same in all rows of a level: take it "
                    "out of random_slopes, or make it a slope of another factor."
                )
            if position in slopes:
                raise ValueError(
                    f"random_slopes: {table.describe(position)} is there twice for the "
                    f"factor {name!r}: name it once."
                )
            slopes.append(position)
        if not slopes and not intercepts[r]:
            raise ValueError(
                f"The factor {name!r} has neither a random intercept nor random "
                "slopes: give it one of them, or take it out of groups."
            )
        effects = ("Intercept",) * intercepts[r]
        effects += tuple(table.effect_name(position) for position in slopes)
        doubles = [effect for effect in effects if effects.count(effect) > 1]
        if doubles:
            raise ValueError(
                f"The factor {name!r} has two effects named {doubles[0]!r}: rename the "
                "column, or leave it out of random_slopes."
            )
        term = Term(
            name, columns[r], tuple(slopes), intercepts[r], covariances[r], effects
        )
        terms.append(term)
    return tuple(terms)


def _by_factor(
    value: Any,
    parameter: str,
    names: Sequence[str | int],
    keys: Sequence[set[Hashable]],
    default: Any,
    check: Any,
) -> list[Any]:
    """Value of a parameter for each factor."""
    if not isinstance(value, Mapping):
        return [check(value, parameter)] * len(names)
    values = [default] * len(names)
    found: dict[int, Any] = {}
    for key, entry in value.items():
        r = _factor_of_key(key, parameter, names, keys)
        if r in found:
            raise ValueError(
                f"{parameter}: {found[r]!r} and {key!r} are the same factor: write it "
                "once."
            )
        found[r] = key
        values[r] = check(entry, f"{parameter}[{key!r}]")
    return values


def _factor_of_key(
    key: Any, parameter: str, names: Sequence[str | int], keys: Sequence[set[Hashable]]
) -> int:
    # True == 1, but True is no factor.
    if not isinstance(key, bool):
        for r, known in enumerate(keys):
            if key in known:
                return r
    hint = did_you_mean(key, names) if isinstance(key, str) else ""
    raise ValueError(
        f"{parameter}: {key!r} is not a grouping factor; factors are "
        f"{listing(names)}.{hint}"
    )


def _slopes_by_factor(
    value: Any, names: Sequence[str | int], keys: Sequence[set[Hashable]]
) -> list[list[Any]]:
    one = isinstance(value, str | Integral) and not isinstance(value, bool)
    if (one or (isinstance(value, list | tuple) and value)) and len(names) > 1:
        value = [value] if one else value
        raise ValueError(
            f"random_slopes is a list, but there are {len(names)} factors: write a "
            f"dict that says which factor has them, such as "
            f"{{{names[0]!r}: {list(value)!r}}}."
        )
    return _by_factor(value, "random_slopes", names, keys, [], _check_slopes)


def _check_slopes(value: Any, parameter: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str | Integral) and not isinstance(value, bool):
        return [value]
    raise TypeError(
        f"{parameter} must be a list of columns, or a dict from factor to such a list, "
        f"got {value!r} of type {type(value).__name__}."
    )


def _check_flag(value: Any, parameter: str) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(
        f"{parameter} must be True or False, or a dict from factor to such, got "
        f"{value!r} of type {type(value).__name__}."
    )


def _check_covariance(value: Any, parameter: str) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"{parameter} must be a str, or a dict from factor to str, got {value!r} "
            f"of type {type(value).__name__}."
        )
    if value not in NAMES:
        names = [name for name in COVARIANCES if name in NAMES]
        raise ValueError(
            f"{parameter} must be one of {listing(names)}, got {value!r}."
            f"{did_you_mean(value, names)}"
        )
    return str(value)


def _metadata_columns(groups: Any) -> tuple[list[str], list[Any]]:
    if isinstance(groups, pd.Series | pd.Index):
        name = groups.name
        return [str(name) if isinstance(name, str) else "group"], [groups]
    if isinstance(groups, pd.api.extensions.ExtensionArray):
        return ["group"], [groups]
    if isinstance(groups, str | Integral):
        raise TypeError(
            f"fit(groups=) takes one label for each row, got {groups!r}: to name a "
            f"column of X, write groups={groups!r} in the constructor."
        )
    series = None
    if not isinstance(groups, pd.DataFrame):
        series = nw.from_native(groups, pass_through=True, allow_series=True)
    if isinstance(series, nw.Series):
        return [series.name or "group"], [series_labels(series)]
    if not hasattr(groups, "shape"):
        groups = _label_array(groups)
        if groups.ndim == 1:
            return ["group"], [groups]
    elif len(groups.shape) == 1:
        return ["group"], [np.asarray(groups)]
    if len(groups.shape) != 2:
        raise ValueError(
            f"groups has shape {tuple(groups.shape)}: it must have one dimension, or "
            "two with a column for each factor."
        )
    if groups.shape[1] == 0:
        raise ValueError("groups has no column: give one for each grouping factor.")
    if groups.shape[0] == 0:
        raise ValueError("groups has 0 rows: give one label for each row of X.")
    table = Table(groups)
    names = table.names or [f"group{j}" for j in range(table.n_columns)]
    return names, [table.labels(j) for j in range(table.n_columns)]


def row_values(term, column, n_rows):
    """Row values of a term's effects.

    Parameters
    ----------
    term : Term
    column : callable
        Gives the values (n_rows,) of the column at a position of X.
    n_rows : int

    Returns
    -------
    z : ndarray of shape (n_rows, q) or None
        Those of one set; None for an intercept alone.
    """
    if not term.slopes:
        return None
    first = int(term.intercept)
    values = np.ones((n_rows, term.n_effects // term.n_sets))
    for k, at in enumerate(term.slopes):
        values[:, first + k] = column(at)
    return values
