"""Errors, degrees of freedom, tests and intervals of the fixed effects."""

from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._fitted.report import sentences, warn
from skglmm._fitted.state import family_of
from skglmm._sklearn import HasMethods, Interval, StrOptions, validate_params
from skglmm.inference._rows import check_errors, read_again, working_again
from skglmm.inference._spread import satterthwaite

_RATIOS = ("log", "logit")


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
        _check_asked(model, inputs, df, exponentiate)
        return _table(model, inputs, df, coverage, exponentiate)


def _check_asked(model, inputs, df, exponentiate):
    """Refuse what the model does not have."""
    family, name = family_of(model), type(model).__name__
    if model._fitted.part is not None:
        raise ValueError(
            f"The fixed part of this {name} is {model._fitted.part.about}: it has no "
            "coefficients, and so no tests of them."
        )
    if exponentiate and family.link not in _RATIOS:
        raise ValueError(
            f"exponentiate=True gives rate and odds ratios, and this {name} has the "
            f"{family.link or 'unnamed'} link: its coefficients are differences. Use "
            "exponentiate=False."
        )
    if df == "kenward-roger" and not family.is_linear:
        raise ValueError(
            f"df='kenward-roger' is for linear models, and this {name} has the "
            f"{family.words or family.name} family: use df='normal'."
        )
    if df == "normal" or not family.is_linear:
        return
    if inputs.gaps:
        raise ValueError(
            f"df={df!r} needs all values of the fixed columns, and some are missing: "
            "use df='normal'."
        )
    if not model.noise_variance_ > 0.0:
        raise ValueError(
            f"df={df!r} needs a residual variance, and that of this {name} is zero."
        )
    if df == "kenward-roger" and model.log_likelihood_method_ != "restricted":
        raise ValueError(
            "df='kenward-roger' adjusts the errors of a REML fit: fit with reml=True, "
            "or use df='satterthwaite'."
        )


def _table(model, inputs, df, coverage, exponentiate):
    estimate = model.fixed_effects_["estimate"].to_numpy()
    std_error = model.fixed_effects_["std_error"].to_numpy()
    n_df = np.full(len(estimate), np.inf)
    if df != "normal" and family_of(model).is_linear:
        known = _spread(model, inputs, df)
        check_errors(model, known.plain)
        if df == "kenward-roger":
            std_error = np.sqrt(np.diag(known.covariance))
        n_df = known.degrees_of_freedom(np.eye(len(estimate)))
    unknown = np.isnan(model.fixed_effects_["std_error"])
    std_error, n_df = (np.where(unknown, np.nan, v) for v in (std_error, n_df))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / std_error
        width = std_error * -_t_quantile(0.5 * (1.0 - coverage), n_df)
        p_value = 2.0 * _t_cdf(-np.abs(statistic), n_df)
    columns = {
        "estimate": estimate,
        "std_error": std_error,
        "df": n_df,
        "statistic": statistic,
        "p_value": p_value,
        "lower": estimate - width,
        "upper": estimate + width,
    }
    if exponentiate:
        with np.errstate(over="ignore"):
            columns |= {
                name: np.exp(columns[name]) for name in ("estimate", "lower", "upper")
            }
    return pd.DataFrame(columns, index=model.fixed_effects_.index)


def _spread(model, inputs, df):
    """What is known of the covariance of the coefficients."""
    working = working_again(model, inputs)
    if df == "kenward-roger":
        from skglmm.inference._kenward_roger import kenward_roger

        return kenward_roger(model, working)
    if model.singular_:
        names = " and ".join(repr(name) for name in model._fitted.facts.singular)
        warn(
            sentences(
                [
                    f"the covariance of {names} is singular: its zero variances count "
                    "as known, and degrees of freedom are approximate"
                ]
            )
        )
    return satterthwaite(model, working)


def _t_cdf(value, df):
    return np.where(np.isinf(df), ndtr(value), stdtr(df, value))


def _t_quantile(probability, df):
    return np.where(np.isinf(df), ndtri(probability), stdtrit(df, probability))
