"""Errors, degrees of freedom, tests and intervals of the fixed effects."""

from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._sklearn import HasMethods, Interval, StrOptions, validate_params
from skglmm.inference._known import check_asked, known_again
from skglmm.inference._rows import read_again
from skglmm.inference._tables import exponentiated, tests_and_intervals


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "df": [StrOptions({"satterthwaite", "kenward-roger", "normal"})],
        "coverage": [Interval(Real, 0, 1, closed="neither")],
        "exponentiate": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def coefficients(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    df: str = "satterthwaite",
    coverage: float = 0.95,
    exponentiate: bool = False,
) -> pd.DataFrame:
    r"""Tests and intervals of the fixed effects.

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
    df : {"satterthwaite", "kenward-roger", "normal"}, default="satterthwaite"
        Degrees of freedom of the linear model's t distributions: Satterthwaite's;
        those of Kenward and Roger with their adjusted errors (REML only); or none, the
        normal distribution. Counts, classes and proportions have the normal one with
        the default, and no ``"kenward-roger"``.
    coverage : float, default=0.95
        Probability that an interval holds the coefficient.
    exponentiate : bool, default=False
        Whether to give rate ratios (log link) or odds ratios (logit link) in the
        place of coefficients: ``estimate``, ``lower`` and ``upper`` are exponentiated.
        ``std_error`` and ``statistic`` remain those of the coefficient.

    Returns
    -------
    table : DataFrame
        Indexed as `fixed_effects_`, with the columns ``estimate``, ``std_error``,
        ``df``, ``statistic`` (of the test that the coefficient is zero), ``p_value``
        (of both sides), ``lower`` and ``upper``. NaN where a coefficient was set to
        zero because its column depends on others.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or if the model has nothing of the kind
        that is asked for.

    Notes
    -----
    With C the covariance of the coefficients, a function of the variances, and A the
    inverse of half the Hessian of the deviance (of the REML criterion, if the model was
    fitted by it) in these, Satterthwaite's degrees of freedom of a coefficient
    :math:`\ell^\top\beta` are [1]_

    .. math:: \nu = \frac{2 (\ell^\top C \ell)^2}{g^\top A g}, \qquad
        g = \nabla (\ell^\top C \ell),

    so that the variance of the estimated :math:`\ell^\top C \ell` is matched by that of
    a multiple of chi-square. Hessian and gradient are central differences of the exact
    gradient and of C: the rows are read once.

    Kenward and Roger take the expected information in the place of the Hessian, and
    add to C what is owed to estimated variances [2]_,

    .. math:: C_A = C + 2 C \Big[ \sum_{ij} W_{ij} (Q_{ij} - P_i C P_j) \Big] C,

    with :math:`P_i = -X^\top V^{-1} V_i V^{-1} X`,
    :math:`Q_{ij} = X^\top V^{-1} V_i V^{-1} V_j V^{-1} X`, V linear in the variances
    with the derivatives :math:`V_i`, and W the covariance of their estimates. Several
    factors need a dense matrix of all random effects, a single one none.

    Where a covariance is singular its zero variances count as known: nothing depends
    on them to first order. lmerTest does the same. A warning says so, because the
    degrees of freedom are too many if the true variance is not zero.

    References
    ----------
    .. [1] Kuznetsova, A., Brockhoff, P. B. and Christensen, R. H. B. (2017). lmerTest
       package: tests in linear mixed effects models. Journal of Statistical Software
       82(13).
    .. [2] Kenward, M. G. and Roger, J. H. (1997). Small sample inference for fixed
       effects from restricted maximum likelihood. Biometrics 53, 983-997.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inference import coefficients
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> coefficients(model, X, y).drop(columns="p_value").round(2)
               estimate  std_error    df  statistic   lower   upper
    Intercept    251.41       6.82  17.0      36.84  237.01  265.80
    Days          10.47       1.55  17.0       6.77    7.21   13.73
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        df = check_asked(model, inputs, df, exponentiate)
        return _table(model, inputs, df, coverage, exponentiate)


def _table(model, inputs, df, coverage, exponentiate):
    known = known_again(model, inputs, df)
    std_error = model.fixed_effects_["std_error"].to_numpy()
    if known.adjusted:
        std_error = np.sqrt(np.diag(known.covariance))
    n_df = known.df(np.eye(len(std_error)))
    std_error, n_df = (np.where(known.aliased, np.nan, v) for v in (std_error, n_df))
    table = tests_and_intervals(known.estimate, std_error, n_df, coverage, known.names)
    return exponentiated(table) if exponentiate else table
