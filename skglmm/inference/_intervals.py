"""Intervals of everything that a model estimates."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._sklearn import HasMethods, Interval, StrOptions, validate_params
from skglmm.inference._parameters import parameters_of, selected
from skglmm.inference._profile import profile_intervals
from skglmm.inference._rows import check_has_parameters, read_again
from skglmm.inference._wald import wald_intervals


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "method": [StrOptions({"profile", "wald", "bootstrap"})],
        "coverage": [Interval(Real, 0, 1, closed="neither")],
        "parameters": [None, list, tuple, str],
        "bootstrap": [StrOptions({"bca", "percentile"})],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def confidence_intervals(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    method: str = "profile",
    coverage: float = 0.95,
    parameters: list | str | None = None,
    bootstrap: str = "bca",
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    r"""Intervals of coefficients, standard deviations and correlations.

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
    method : {"profile", "wald", "bootstrap"}, default="profile"
        Where the likelihood has fallen by a quantile; plus or minus a multiple of
        standard errors, which is quick; or what refits to simulated responses give,
        which takes the longest and assumes the least.
    coverage : float, default=0.95
        Probability that an interval holds the parameter.
    parameters : list or str, default=None
        Which parameters: labels ``(group, effect)`` of the result, or groups, such as
        ``"fixed"``, for all of theirs. None for all.
    bootstrap : {"bca", "percentile"}, default="bca"
        Which intervals the bootstrap makes of its refits: bias-corrected and
        accelerated ones, or plain quantiles.
    n_resamples : int, default=1000
        Refits of the bootstrap.
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap's responses.

    Returns
    -------
    table : DataFrame
        Indexed by (group, effect): ``("fixed", name)`` for coefficients; the factor
        and the effect for standard deviations, and the factor and ``corr(a, b)`` for
        correlations; ``("residual", "")`` for the standard deviation of the residuals.
        The columns are ``estimate``, ``lower`` and ``upper``.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or if there is no such parameter or
        interval.

    See Also
    --------
    coefficients : Intervals of the coefficients that allow for few groups.
    profile : The profiles themselves.

    Notes
    -----
    **Profile.** With :math:`D(\psi)` the least -2 log-likelihood of all models whose
    parameter is :math:`\psi`, the interval holds the values whose signed root

    .. math:: \zeta(\psi) = \mathrm{sign}(\psi - \hat\psi)
        \sqrt{D(\psi) - D(\hat\psi)}

    is between plus and minus the normal quantile [1]_, [2]_. The ends are found by
    Newton's method, whose slope is the gradient of D where the parameter is held. A
    standard deviation has the lower end 0 if even there the likelihood has not fallen
    by so much, a correlation the ends -1 and 1. An end is infinite, with a warning,
    where the likelihood levels off.

    It is maximum likelihood throughout: a model that was fitted by REML keeps its
    estimates in the table and is fitted anew for the intervals, as lme4's ``confint``
    does. Counts and outcomes have the likelihood of `Laplace` as it was fitted; those
    that were fitted by a bound or by draws have quadrature with 11 nodes for a factor
    with at most three effects, and Laplace's approximation otherwise.

    **Wald.** The normal distribution of coefficients, of the logarithms of standard
    deviations and of :math:`\tanh^{-1}` of correlations. The errors of the latter come
    from the observed information of the likelihood (the restricted one for a REML fit)
    by the delta method. A parameter at its boundary has none, and gets NaN with a
    warning.

    References
    ----------
    .. [1] Venzon, D. J. and Moolgavkar, S. H. (1988). A method for computing
       profile-likelihood-based confidence intervals. Applied Statistics 37, 87-94.
    .. [2] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
       mixed-effects models using lme4. Journal of Statistical Software 67(1).

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inference import confidence_intervals
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> confidence_intervals(model, X, y).round(2)
                                   estimate   lower   upper
    group    effect
    fixed    Intercept               251.41  237.68  265.13
             Days                     10.47    7.36   13.58
    Subject  Intercept                24.74   14.38   37.72
             Days                      5.92    3.80    8.75
             corr(Intercept, Days)     0.07   -0.48    0.69
    residual                          25.59   22.90   28.86
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        check_has_parameters(model, inputs, "such interval")
        estimates = parameters_of(model)
        labels = selected(estimates.index, parameters)
        if method == "profile":
            found = profile_intervals(model, inputs, labels, coverage)
        elif method == "wald":
            found = wald_intervals(model, inputs, labels, coverage)
        else:
            from skglmm.inference._bootstrap import bootstrap_intervals

            found = bootstrap_intervals(
                model,
                inputs,
                coverage,
                bootstrap,
                n_resamples,
                random_state,
                model.verbose,
            )
    found = found.loc[labels]
    found.insert(0, "estimate", estimates[labels])
    return found
