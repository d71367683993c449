"""Each random term left out in turn."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2 as chi_square
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._covariances import COVARIANCES
from skglmm._fitted.report import sentences, warn
from skglmm._sklearn import HasMethods, validate_params
from skglmm.inference._candidates import fit_again, of_fit
from skglmm.inference._rows import read_again


@validate_params(
    {"model": [HasMethods(["fit", "predict"])]}, prefer_skip_nested_validation=True
)
def random_effects_tests(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> pd.DataFrame:
    r"""Likelihood-ratio tests of the random terms, each left out in turn.

    Parameters
    ----------
    model : object
        A fitted mixed model.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of the fit.
    y : array-like of shape (n_samples,)
        Target values of the fit.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the fit.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.

    Returns
    -------
    table : DataFrame
        Indexed by (group, effects): what is left out, all effects of a factor that
        may correlate together, those of ``covariance="diag"`` one by one. The columns
        are ``n_parameters``, ``log_likelihood`` and ``aic`` of the model without it,
        and ``chi2``, ``df``, ``p_value`` and ``how`` of the test against the model.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or if there are no random effects.

    Notes
    -----
    The fixed columns stay, and so does the kind of likelihood: REML likelihoods with
    the same fixed columns compare. The p-value is that of a chi-square with as many
    degrees of freedom as parameters are left out, as in ``ranova`` of lmerTest [1]_.
    It is too large, because a variance of zero lies on the boundary; `compare` has the
    mixture that allows for it.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. and Christensen, R. H. B. (2017). lmerTest
       package: tests in linear mixed effects models. Journal of Statistical Software
       82(13).

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_penicillin
    >>> from skglmm.inference import random_effects_tests
    >>> X, y = load_penicillin(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor(["plate", "sample"]).fit(X, y)
    >>> random_effects_tests(model, X, y)[["chi2", "df"]].round(1)
                       chi2  df
    group  effects
    plate  Intercept  105.1   1
    sample Intercept  282.4   1
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        if not inputs.terms:
            raise ValueError(
                "The model has no random effects: there is nothing to test."
            )
        if inputs.gaps or model._fitted.part is not None:
            raise ValueError(
                "The likelihood of a model that draws missing values, or has a fixed "
                "part without coefficients, does not compare: there are no such tests."
            )
        return _table(model, inputs)


def _table(model, inputs):
    whole, rows, index, stuck = of_fit(model), [], [], []
    reml = whole.method == "restricted"
    for at, term in enumerate(inputs.terms):
        for gone in _left_out(term):
            less = fit_again(model, _without(inputs, at, gone), reml)
            df = whole.n_parameters - less.n_parameters
            chi2 = 2.0 * (whole.log_likelihood - less.log_likelihood)
            rows.append(
                {
                    "n_parameters": less.n_parameters,
                    "log_likelihood": less.log_likelihood,
                    "aic": less.aic,
                    "chi2": chi2,
                    "df": df,
                    "p_value": float(chi_square.sf(max(chi2, 0.0), df)),
                    "how": "chi-square, p too large at the boundary",
                }
            )
            index.append((term.name, ", ".join(gone)))
            if less.trouble:
                stuck.append(f"without {index[-1]}: {less.trouble}")
    if stuck:
        warn(sentences([f"fits did not converge ({'; '.join(stuck)})"]))
    index = pd.MultiIndex.from_tuples(index, names=["group", "effects"])
    return pd.DataFrame(rows, index=index)


def _left_out(term):
    """Effects that are left out together."""
    structure = COVARIANCES[term.covariance]
    if structure.independent and not structure.shares:
        return [(effect,) for effect in term.effects]
    return [term.effects]


def _without(inputs, at, gone):
    """Rows without effects of a term, or without the term if that was all of it."""
    terms, codes, levels = map(list, (inputs.terms, inputs.codes, inputs.levels))
    term = terms[at]
    kept = np.array([effect not in gone for effect in term.effects])
    if kept.any():
        first = int(term.intercept)
        terms[at] = replace(
            term,
            slopes=tuple(np.array(term.slopes, dtype=int)[kept[first:]].tolist()),
            intercept=bool(term.intercept and kept[0]),
            effects=tuple(e for e in term.effects if e not in gone),
        )
    else:
        del terms[at], codes[at], levels[at]
    return replace(
        inputs,
        terms=tuple(terms),
        codes=tuple(codes),
        levels=tuple(levels),
        one_row_each={},
    )
