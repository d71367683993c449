"""Models of the same rows compared by their likelihoods."""

from dataclasses import dataclass, replace
from functools import wraps
from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2 as chi_square

from skglmm._base import BaseMixedModel, threads_for
from skglmm._fitted.report import sentences, warn
from skglmm._fixed.parts import resolve_part
from skglmm._reading.inputs import Inputs
from skglmm._reading.table import Table
from skglmm._sklearn import Interval, StrOptions, safe_indexing, validate_params
from skglmm.inference._candidates import Likelihood, fit_again, of_fit
from skglmm.inference._nested import Columns, boundaries, columns_of, same_fixed
from skglmm.inference._ratio import BootstrapTest
from skglmm.inference._rows import check_model, read_again

_METHODS = {
    "exact": "ML",
    "restricted": "REML",
    "laplace": "Laplace's approximation",
}


@dataclass(frozen=True)
class _Candidate:
    """A model, its rows and its likelihood."""

    name: str
    model: BaseMixedModel
    inputs: Inputs
    columns: Columns
    fitted: bool
    found: Likelihood | None = None

    @property
    def is_linear(self):
        return self.model._distribution().is_linear

    @property
    def restricted(self):
        """Whether the likelihood is restricted, or would be in a fit."""
        if self.fitted:
            return self.model.log_likelihood_method_ == "restricted"
        return bool(getattr(self.model, "reml", False))

    def likelihood(self, reml):
        """By ML or REML, from the fit where that was it."""
        if self.fitted and (reml is None or reml == self.restricted):
            return of_fit(self.model)
        found = fit_again(self.model, self.inputs, reml)
        return replace(found, refitted=self.fitted)


def _in_one_list(function):
    """Say how to write it where models are given one by one."""

    @wraps(function)
    def checked(*args, **keywords):
        if args and hasattr(args[0], "fit"):
            raise TypeError(
                "compare takes its models in one list or dict, and its first argument "
                f"is a model ({type(args[0]).__name__}): write "
                "compare([m1, m2], X, y)."
            )
        return function(*args, **keywords)

    return checked


@_in_one_list
@validate_params(
    {
        "models": [dict, list, tuple],
        "refit": ["boolean"],
        "test": [StrOptions({"chi2", "bootstrap"})],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def compare(
    models: dict | list,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    refit: bool = True,
    test: str = "chi2",
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> pd.DataFrame:
    r"""Likelihoods, information criteria and likelihood-ratio tests of models.

    Parameters
    ----------
    models : dict or list of estimators
        Two or more mixed models, by name or numbered. Those that are not fitted are
        fitted to all of X; those that are read the columns of X that they were fitted
        to.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of all models.
    y : array-like of shape (n_samples,)
        Target values.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for the models whose constructor names no group columns.
    refit : bool, default=True
        Whether to fit linear models by maximum likelihood where restricted likelihoods
        would not compare: those of different fixed columns do not. With False that is
        an error.
    test : {"chi2", "bootstrap"}, default="chi2"
        Distribution of the statistic if the smaller model is true: in large samples, or
        in responses that the smaller model draws.
    n_resamples : int, default=1000
        Responses that ``test="bootstrap"`` draws, to which both models are fitted.
    random_state : int, RandomState instance or None, default=None
        For ``test="bootstrap"``; an integer gives the same p-values each time.
    verbose : int, default=0
        Above 0 a bar or a line tells how many of these fits are done.

    Returns
    -------
    table : DataFrame
        A row a model, by number of parameters, with the columns ``n_parameters``,
        ``log_likelihood``, ``aic``, ``bic``, and for the test of the model before
        against this one ``chi2``, ``df``, ``p_value`` and, in words, ``how`` all of it
        was found. Where the one is no special case of the other there is no test:
        NaN, and ``how`` says what stands against it.

    Raises
    ------
    ValueError
        If the models are of different rows, or their likelihoods cannot be compared.

    Notes
    -----
    Twice the difference of the log-likelihoods is chi-square with as many degrees of
    freedom as there are more parameters, :math:`k`. If a variance of the larger model
    is zero in the smaller one it lies on the boundary of what it can be, and the
    distribution is [1]_, [2]_

    .. math:: \tfrac12 \chi^2_{k-1} + \tfrac12 \chi^2_k

    for one such variance, with all its covariances and whatever other parameters.
    For two or more there is no such formula: :math:`\chi^2_k` gives a p-value that is
    too large.

    The parametric bootstrap [3]_ needs no such formula: the smaller model, at its
    estimates, draws :math:`B` responses with new random effects, both models are fitted
    to each (linear models by `fit_many`), and with :math:`t^*_b` the statistics

    .. math:: p = \frac{1 + \#\{b: t^*_b \ge t\}}{1 + B}.

    Restricted likelihoods are kept where all models are linear ones with ``reml=True``
    and the same fixed columns.

    References
    ----------
    .. [1] Self, S. G. and Liang, K.-Y. (1987). Asymptotic properties of maximum
       likelihood estimators and likelihood ratio tests under nonstandard conditions.
       JASA 82, 605-610.
    .. [2] Stram, D. O. and Lee, J. W. (1994). Variance components testing in the
       longitudinal mixed effects model. Biometrics 50, 1171-1177.
    .. [3] Halekoh, U. and Hojsgaard, S. (2014). A Kenward-Roger approximation and
       parametric bootstrap methods for tests in linear mixed models: the R package
       pbkrtest. Journal of Statistical Software 59(9), section 4.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inference import compare
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> models = {
    ...     "intercepts": MixedLinearRegressor("Subject"),
    ...     "slopes": MixedLinearRegressor("Subject", random_slopes=["Days"]),
    ... }
    >>> table = compare(models, X, y)
    >>> table[["n_parameters", "log_likelihood", "chi2", "df"]].round(2)
                n_parameters  log_likelihood   chi2   df
    intercepts             4         -893.23    NaN  NaN
    slopes                 6         -871.81  42.84  2.0
    >>> print(table["how"].iloc[1])
    REML: half chi-square with 1, half with 2 degrees of freedom
    """
    with threads_for(X):
        found = _read(models, X, y, sample_weight, groups)
        _check_comparable(found)
        reml = _common(found, refit)
        found = [replace(one, found=one.likelihood(reml)) for one in found]
        bootstrap = None
        if test == "bootstrap":
            bootstrap = BootstrapTest(n_resamples, random_state, reml, verbose)
        return _table(found, bootstrap)


def _read(models, X, y, sample_weight, groups):
    """The models with their rows."""
    if not isinstance(models, dict):
        models = {f"model {at + 1}": model for at, model in enumerate(models)}
    if len(models) < 2:
        raise ValueError(
            f"compare needs two models or more, and was given {len(models)}."
        )
    found = []
    for name, model in models.items():
        check_model(model)
        fitted = "_fitted" in vars(model)
        part = resolve_part(model.fixed_effects)
        if part is not None:
            raise ValueError(
                f"The model {name!r} has a fixed part without coefficients "
                "(fixed_effects): its parameters cannot be counted."
            )
        own = groups if model.groups is None else None
        try:
            if fitted:
                own_X = _columns_of_fit(model, X)
                inputs = read_again(model, own_X, y, sample_weight, own)
            else:
                model._validate_params()
                table = Table(X, min_rows=2)
                inputs = model._read(table, y, sample_weight, own, part)
        except ValueError as error:
            raise ValueError(f"The model {name!r}: {error}") from error
        columns = columns_of(inputs, model.fit_intercept)
        found.append(_Candidate(str(name), model, inputs, columns, fitted))
    return found


def _columns_of_fit(model, X):
    """The columns of a table that a model was fitted to, where X has more."""
    names, given = getattr(model, "feature_names_in_", None), Table(X).names
    if names is None or given is None or not set(names) < set(given):
        return X
    return safe_indexing(X, list(names), axis=1)


def _check_comparable(found):
    """Refuse likelihoods that have nothing to do with each other."""
    first = found[0]
    for other in found[1:]:
        if first.is_linear != other.is_linear:
            raise ValueError(
                f"The likelihood of {first.name!r} and that of {other.name!r} do not "
                "compare: the one is a density, the other a probability."
            )
        if not (
            np.array_equal(first.inputs.y, other.inputs.y)
            and np.array_equal(first.inputs.weight, other.inputs.weight)
        ):
            raise ValueError(
                f"{first.name!r} and {other.name!r} are models of different targets or "
                "rows: likelihoods of different data do not compare."
            )
    for one in found:
        if one.inputs.gaps:
            raise ValueError(
                f"{one.name!r} draws missing values, and its likelihood is not known: "
                "compare models of complete rows."
            )


def _common(found, refit):
    """Whether all likelihoods are to be restricted (True) or not; None: as they are."""
    restricted = [one.restricted for one in found]
    if not any(restricted):
        return None
    first = found[0]
    alike = all(same_fixed(first.columns, one.columns) for one in found[1:])
    if all(restricted) and alike:
        return True
    if not refit:
        raise ValueError(
            "Restricted likelihoods (REML) of models with different fixed columns, or "
            "beside likelihoods that are not restricted, do not compare: use "
            "refit=True, or fit with reml=False."
        )
    return False


def _table(found, bootstrap=None):
    found = sorted(found, key=lambda one: one.found.n_parameters)
    stuck = [f"{one.name!r}: {one.found.trouble}" for one in found if one.found.trouble]
    if stuck:
        warn(sentences([f"fits did not converge ({'; '.join(stuck)})"]))
    rows, before = [], None
    for one in found:
        chi2, df, p_value, how = np.nan, np.nan, np.nan, _words(one.found)
        if before is not None:
            chi2, df, p_value, test = _tested(before, one, bootstrap)
            how = f"{how}: {test}"
        rows.append(
            {
                "n_parameters": one.found.n_parameters,
                "log_likelihood": one.found.log_likelihood,
                "aic": one.found.aic,
                "bic": one.found.bic,
                "chi2": chi2,
                "df": df,
                "p_value": p_value,
                "how": how,
            }
        )
        before = one
    return pd.DataFrame(rows, index=pd.Index([one.name for one in found]))


def _words(found):
    """How a likelihood was found."""
    method = _METHODS.get(found.method, found.method)
    return f"{method}, refitted" if found.refitted else method


def _tested(small, large, bootstrap=None):
    """Statistic, degrees of freedom, p-value, and how."""
    k = large.found.n_parameters - small.found.n_parameters
    no_test = np.nan, np.nan, np.nan
    if small.model._distribution() != large.model._distribution():
        return *no_test, f"no test, another distribution than {small.name!r}"
    n_boundaries, why = boundaries(small.columns, large.columns)
    if n_boundaries < 0:
        return *no_test, f"no test against {small.name!r}, {why}"
    if not k:
        return *no_test, f"no test, as many parameters as {small.name!r}"
    chi2 = 2.0 * (large.found.log_likelihood - small.found.log_likelihood)
    if small.found.method != large.found.method:
        chi2 = max(chi2, 0.0)
    if bootstrap is not None:
        p_value, how = bootstrap.p_value(small, large, chi2)
    else:
        p_value, how = boundary_test(chi2, k, n_boundaries)
    return chi2, float(k), p_value, how


def boundary_test(chi2, k, n_boundaries):
    """P-value of a likelihood-ratio statistic, and how it was found.

    Parameters
    ----------
    chi2 : float
    k : int
        Parameters more.
    n_boundaries : int
        Variances among them that are zero in the smaller model.

    Returns
    -------
    p_value : float
    how : str
    """
    chi2 = max(chi2, 0.0)
    p_value = float(chi_square.sf(chi2, k))
    if n_boundaries == 0:
        return p_value, "chi-square"
    if n_boundaries > 1:
        return p_value, (
            f"chi-square, p too large because {n_boundaries} variances are at their "
            "boundary"
        )
    fewer = float(chi_square.sf(chi2, k - 1)) if k > 1 else float(chi2 <= 0.0)
    how = f"half chi-square with {k - 1}, half with {k} degrees of freedom"
    return 0.5 * (p_value + fewer), how
