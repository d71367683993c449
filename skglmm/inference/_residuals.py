"""What a fitted model leaves of each row."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skglmm._base import threads_for
from skglmm._sklearn import HasMethods, StrOptions, validate_params
from skglmm.inference._drawn import drawn, observed


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "kind": [StrOptions({"response", "pearson", "deviance", "quantile"})],
        "level": [StrOptions({"conditional", "population"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def residuals(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    kind: str = "quantile",
    *,
    level: str = "conditional",
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> pd.Series:
    r"""Residuals of the rows of a fit.

    Parameters
    ----------
    model : object
        A fitted mixed model.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of the fit.
    y : array-like of shape (n_samples,)
        Target values of the fit.
    kind : {"response", "pearson", "deviance", "quantile"}, default="quantile"
        ``"response"``
            y less its mean, in the unit of ``predict``: a share of successes with
            trials, and 0 or 1 less the probability of the second class for a
            classifier.
        ``"pearson"``
            The same divided by the standard deviation of an observation.
        ``"deviance"``
            Square roots of the unit deviances, with the sign of y less its mean.
        ``"quantile"``
            Normal scores of y in the distribution that the model gives it. They are
            standard normal if the model is right, for counts and classes as well.
    level : {"conditional", "population"}, default="conditional"
        Whether the effects of the levels are given, or random: what is left of a row
        beside its levels, or beside its fixed columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the fit. A row has one residual, whatever its frequency.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.
    random_state : int, RandomState instance or None, default=None
        An integer gives the same quantile residuals each time; the other kinds have
        nothing random.

    Returns
    -------
    residuals : Series of shape (n_samples,)
        Named `kind`, indexed as X if that is a pandas dataframe.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit.

    Notes
    -----
    *Pearson and deviance* residuals given the levels are at the posterior means of the
    effects, as lme4's are at their modes; at ``level="population"`` mean and variance
    have the effects integrated out. The mean of a *response* residual is that of
    ``predict``, which integrates over what is not known of the effects. Deviance
    residuals of a normal response are its response residuals, and Pearson residuals are
    in residual standard deviations.

    A *quantile* residual is :math:`\Phi^{-1}(a + u\,(b - a))` with
    :math:`a = P(Y < y)`, :math:`b = P(Y \le y)` and u uniform between 0 and 1 [1]_: the
    jumps of a discrete distribution are filled at random. Given the levels, effects at
    their posterior means would have seen y: residuals are too small where levels have
    few rows. The effects, fixed ones included, are therefore drawn once from their
    posterior, the same for all rows. If the model is right, y and this draw have the
    joint distribution of y and the effects, so that residuals are independent and
    standard normal given the draw, exactly so at the true variances [2]_. Several
    factors depend on each other given the data: they are drawn together, by one
    solution of the system of all effects with perturbed responses and priors [3]_.
    Another `random_state` gives other residuals: what is seen with each of several is
    there.

    At ``level="population"`` the probabilities have the effects integrated over their
    estimated distribution, with an error of about 1e-8. Such residuals are standard
    normal one by one, but those of rows with a level in common depend on each other.

    References
    ----------
    .. [1] Dunn, P. K. and Smyth, G. K. (1996). Randomized quantile residuals. Journal
       of Computational and Graphical Statistics 5, 236-244.
    .. [2] Waagepetersen, R. (2006). A simulation-based goodness-of-fit test for random
       effects in generalized linear mixed models. Scandinavian Journal of Statistics
       33, 721-731.
    .. [3] Papandreou, G. and Yuille, A. (2010). Gaussian sampling by local
       perturbations. Advances in Neural Information Processing Systems 23.

    Examples
    --------
    >>> from skglmm import MixedPoissonRegressor
    >>> from skglmm.datasets import load_grouseticks
    >>> from skglmm.inference import residuals
    >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
    >>> X = X[["cHEIGHT", "BROOD"]]
    >>> model = MixedPoissonRegressor(groups="BROOD").fit(X, y)
    >>> residuals(model, X, y, random_state=0).shape
    (403,)
    >>> pearson = residuals(model, X, y, "pearson")
    >>> print(pearson.name, pearson.round(2).tolist()[:3])
    pearson [-0.58, -0.58, -0.67]
    """
    with threads_for(X):
        found = observed(model, X, y, sample_weight, groups, level)
        values = _KINDS[kind](found, level, check_random_state(random_state))
    index = X.index if isinstance(X, pd.DataFrame) else None
    return pd.Series(values, index=index, name=kind)


def _response(found, level, random):
    rows = found.rows
    return found.y - found.family.integrated_mean(rows.mean(), rows.random_variance())


def _pearson(found, level, random):
    eta, variance, mean = _moments(found, level)
    spread = found.family.variance(eta, variance, found.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (found.y - mean) / np.sqrt(spread)


def _deviance(found, level, random):
    mean, trials = _moments(found, level)[2], found.trials
    unit = found.family.deviance(trials * found.y, mean, trials)
    return np.sign(found.y - mean) * np.sqrt(np.maximum(unit, 0.0))


def _quantile(found, level, random):
    if level == "population":
        eta, variance, _ = _moments(found, level)
    else:
        eta, _ = drawn(found, random)
        variance = np.zeros(len(eta))
    return found.family.normal_scores(found.y, eta, variance, found.size, random)


def _moments(found, level):
    """Linear predictor, its variance if the effects are random, and the mean of y."""
    eta = found.rows.mean()
    variance = np.zeros(len(eta))
    if level == "population":
        variance = found.rows.random_variance()
    return eta, variance, found.family.integrated_mean(eta, variance)


_KINDS = {
    "response": _response,
    "pearson": _pearson,
    "deviance": _deviance,
    "quantile": _quantile,
}
