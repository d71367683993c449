"""What displays ask of the levels of a fitted model."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from skglmm._fitted.state import fit_columns
from skglmm._reading.table import Table
from skglmm.inference._rows import check_model


def choose_factor(model, factor):
    """The grouping factor to draw: the one that is named, or the only one.

    Parameters
    ----------
    model : BaseMixedModel
    factor : str, int, tuple or None
        A tuple of columns is the factor of their combinations, as in `groups`.

    Returns
    -------
    factor : str or int
    """
    check_model(model)
    check_is_fitted(model)
    names = list(model.random_effects_)
    if not names:
        raise ValueError("This model has no groups: there are no effects to draw.")
    if factor is None and len(names) == 1:
        return names[0]
    if isinstance(factor, tuple):
        factor = ":".join(map(str, factor))
    if factor not in names:
        found = (
            f"There is no factor {factor!r}"
            if factor is not None
            else "The model has several factors, say which by factor="
        )
        raise ValueError(f"{found}: factor is one of {', '.join(map(repr, names))}.")
    return factor


def choose_effects(model, factor, effects):
    """Names of the effects to draw: those that are named, or all.

    Parameters
    ----------
    model : BaseMixedModel
    factor : str or int
    effects : str, list of str or None

    Returns
    -------
    effects : list of str
    """
    names = list(model.random_effects_[factor].columns)
    if effects is None:
        return names
    effects = [effects] if isinstance(effects, str) else list(effects)
    missing = [name for name in effects if name not in names]
    if missing or not effects:
        raise ValueError(
            f"The effects of {factor!r} are {', '.join(map(repr, names))}, and effects "
            f"has {', '.join(map(repr, missing)) or 'none'}."
        )
    return effects


def codes_of(model, X, factor, groups=None):
    """Level of each row of X, -1 where fit has not seen it.

    Parameters
    ----------
    model : BaseMixedModel
    X : dataframe or array-like
    factor : str or int
    groups : array-like or None, default=None
        As in ``predict``.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
    """
    at = model._fitted.position(factor)
    labels = model._labels_to_predict(fit_columns(model, X, Table(X)), groups)
    return model._known_levels(labels)[at]


def sizes_of(model, X, factor, groups=None):
    """Number of rows of each level.

    Parameters
    ----------
    model : BaseMixedModel
    X : dataframe or array-like
    factor : str or int
    groups : array-like or None, default=None
        As in ``predict``.

    Returns
    -------
    sizes : Series
        Indexed as the effects are.
    """
    index = model.random_effects_[factor].index
    codes = codes_of(model, X, factor, groups)
    counts = np.bincount(codes[codes >= 0], minlength=len(index))
    return pd.Series(counts, index, name="rows")


def columns_of_factor(model, factor):
    """Positions in X of the columns whose labels a factor has, or none.

    Parameters
    ----------
    model : BaseMixedModel
    factor : str or int

    Returns
    -------
    columns : tuple of int
    """
    if model._fitted.from_metadata:
        return ()
    return tuple(model._fitted.terms[model._fitted.position(factor)].columns)
