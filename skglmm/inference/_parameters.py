"""What a model has estimated, by name: the rows of tables of intervals."""

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
    for term in model._fitted.terms:
        sigma = model.random_effects_covariance_[term.name]
        sd = np.sqrt(np.maximum(np.diag(sigma), 0.0))
        for effect, value in zip(term.effects, sd, strict=True):
            found[term.name, effect] = value
        if not COVARIANCES[term.covariance].correlates:
            continue
        for i, j in zip(*np.triu_indices(len(sd), 1), strict=True):
            scale = sd[i] * sd[j]
            name = f"corr({term.effects[i]}, {term.effects[j]})"
            found[term.name, name] = sigma[i, j] / scale if scale > 0.0 else np.nan
    if hasattr(model, "noise_variance_"):
        found["residual", ""] = np.sqrt(model.noise_variance_)
    index = pd.MultiIndex.from_tuples(list(found), names=["group", "effect"])
    return pd.Series(list(found.values()), index, dtype=float, name="estimate")
