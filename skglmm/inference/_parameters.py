"""What a model has estimated, by name: the rows of tables of intervals."""

from itertools import combinations

import numpy as np
import pandas as pd

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES


def parameters_of(model: BaseMixedModel) -> pd.Series:
    """Estimates by (group, effect): coefficients, deviations and correlations.

    Parameters
    ----------
    model : BaseMixedModel
        Fitted.

    Returns
    -------
    estimates : Series
        ``("fixed", name)`` for each coefficient, and for each grouping factor
        ``(factor, effect)``, a standard deviation, and ``(factor, "corr(a, b)")`` of
        each two effects whose covariance is estimated, a before b. Of a linear model
        ``("residual", "")`` is last, the standard deviation of the residuals.
    """
    fixed = model.fixed_effects_["estimate"]
    found = {("fixed", name): value for name, value in fixed.items()}
    found |= deviations(model._fitted.terms, model.random_effects_covariance_)
    if hasattr(model, "noise_variance_"):
        found["residual", ""] = np.sqrt(model.noise_variance_)
    index = pd.MultiIndex.from_tuples(list(found), names=["group", "effect"])
    return pd.Series(list(found.values()), index, dtype=float, name="estimate")


def deviations(terms, covariances) -> dict:
    """Standard deviations and correlations of covariance matrices.

    Parameters
    ----------
    terms : tuple of Term
    covariances : dict of ndarray of shape (q, q)
        By the name of the term.

    Returns
    -------
    found : dict of float
        In the order of `parameters_of`.
    """
    found = {}
    for term in terms:
        sigma = covariances[term.name]
        sd = np.sqrt(np.maximum(np.diag(sigma), 0.0))
        for effect, value in zip(term.effects, sd, strict=True):
            found[term.name, effect] = value
        if not COVARIANCES[term.covariance].correlates:
            continue
        for i, j in zip(*np.triu_indices(len(sd), 1), strict=True):
            scale = sd[i] * sd[j]
            name = f"corr({term.effects[i]}, {term.effects[j]})"
            found[term.name, name] = sigma[i, j] / scale if scale > 0.0 else np.nan
    return found


def correlated(model: BaseMixedModel, label) -> tuple:
    """The two effects whose correlation a label is; none if it is another parameter.

    Parameters
    ----------
    model : BaseMixedModel
    label : tuple of (str, str)
        Of `parameters_of`.
    """
    for term in model._fitted.terms:
        if term.name != label[0] or label[1] in term.effects:
            continue
        for a, b in combinations(term.effects, 2):
            if label[1] == f"corr({a}, {b})":
                return a, b
    return ()


def selected(labels: pd.MultiIndex, wanted) -> pd.MultiIndex:
    """The labels that a user has asked for, in their order.

    Parameters
    ----------
    labels : MultiIndex
        Of `parameters_of`.
    wanted : None, str, or list of str or of tuple of (str, str)
        Groups and labels; None for all.

    Returns
    -------
    labels : MultiIndex

    Raises
    ------
    ValueError
        If there is no such parameter.
    """
    if wanted is None:
        return labels
    one = isinstance(wanted, str) or (isinstance(wanted, tuple) and wanted in labels)
    wanted = [wanted] if one else list(wanted)
    groups, kept = labels.get_level_values("group"), np.zeros(len(labels), dtype=bool)
    for name in wanted:
        label = tuple(name) if isinstance(name, list | tuple) else name
        found = groups == label if not isinstance(label, tuple) else labels == label
        if not np.any(found):
            like = [known for known in labels if known[1] == name]
            asked = f" Did you mean {like[0]!r}?" if like else ""
            raise ValueError(
                f"parameters= names {name!r}, and the model has no such parameter. It "
                f"has {', '.join(str(known) for known in labels)}; a group alone "
                f"stands for all of its parameters.{asked}"
            )
        kept |= np.asarray(found)
    return labels[kept]
