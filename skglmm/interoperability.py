"""Fitted models for other libraries: draws for ArviZ, distributions for TensorFlow."""

import re
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES
from skglmm._fitted.prediction import root
from skglmm._fitted.state import check_one_predictor, family_of
from skglmm._reading.target import read_numbers

__all__ = ["Distributions", "to_arviz", "to_tfp"]


class Distributions(NamedTuple):
    """What `to_tfp` returns.

    Parameters
    ----------
    joint : tfp.distributions.JointDistributionCoroutineAutoBatched
        Random effects by the name of their factor, and with rows ``y``.
    posterior : tfp.distributions.JointDistributionCoroutineAutoBatched
        Random effects given the data of the fit.
    """

    joint: Any
    posterior: Any


def to_arviz(
    model: BaseMixedModel,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_samples: int = 1000,
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    r"""Draws from a fitted model as ArviZ has them.

    Each draw has fixed effects :math:`\hat\beta + Hu` with independent standard normals
    u and :math:`HH'` their covariance, and for each level effects

    .. math:: b = \hat b + Su + V^{1/2} v, \quad v \sim N(0, I),

    with their covariance V given the fixed effects and the shifts S that these entail.
    Factors are independent of each other given u. It is the Gaussian posterior that
    `predict`, `predict_interval` and `sample_y` use, with the variances at their
    estimates. Of these there are no draws, because the fit has no distribution of them:
    they are constants of the group ``constant_data``.

    Parameters
    ----------
    model : mixed model of skglmm
        Fitted.
    X : dataframe or array-like of shape (n_rows, n_features)
        Rows with the columns of the fit, and with levels that it has seen.
    y : array-like of shape (n_rows,)
        Their responses.
    n_samples : int, default=1000
        Number of draws, all of one chain.
    groups : array-like or dataframe of shape (n_rows, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.
    random_state : int, RandomState instance or None, default=None
        An integer gives the same draws each time.

    Returns
    -------
    data : arviz.InferenceData, or xarray.DataTree with ArviZ 1.0 and later
        ``posterior`` has ``fixed_effects`` and for each factor g ``random_effects_g``,
        with the dimensions ``g`` (levels) and ``g_effect``. ``posterior_predictive``
        and ``log_likelihood`` have ``y`` for each ``row``, which counts from zero;
        ``observed_data`` has y, and ``constant_data`` the ``variance_components``.

    Raises
    ------
    ImportError
        If ArviZ is not installed (``pip install skglmm[arviz]``).
    ValueError
        If a row has a level that the fit has not seen.

    References
    ----------
    .. [1] Kumar, R., Carroll, C., Hartikainen, A. and Martin, O. (2019). ArviZ a
       unified library for exploratory analysis of Bayesian models in Python. Journal of
       Open Source Software 4(33), 1143.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.interoperability import to_arviz
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> data = to_arviz(model, X, y, n_samples=200, random_state=0)
    >>> dict(data["posterior"]["random_effects_Subject"].sizes)
    {'chain': 1, 'draw': 200, 'Subject': 18, 'Subject_effect': 2}
    """
    arviz, xarray = _arviz()
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_is_fitted(model)
    check_one_predictor(model, "to_arviz")
    random = check_random_state(random_state)
    rows = _read(model, X, groups)
    coef, effects, eta = _draws(model, rows, n_samples, random)
    y = _responses(model, y, len(eta))
    sampled = family_of(model).sample(eta, _column(rows.size), random)
    density = _log_likelihood(model, y, rows, eta)
    by_row = ("chain", "draw", "row")
    posterior = {"fixed_effects": (("chain", "draw", "coefficient"), coef.T[None])}
    names = {"coefficient": list(model.fixed_effects_.index)}
    for name, b in effects.items():
        frame = model.random_effects_[name]
        dims = str(name), f"{name}_effect"
        names |= {dims[0]: _labels(frame.index), dims[1]: list(frame.columns)}
        posterior[f"random_effects_{name}"] = (("chain", "draw", *dims), b[None])
    components = model.variance_components_["variance"]
    of_components = {"component": _labels(components.index)}
    groups_of = {
        "posterior": (posterior, names),
        "posterior_predictive": ({"y": (by_row, sampled.T[None])}, {}),
        "log_likelihood": ({"y": (by_row, density.T[None])}, {}),
        "observed_data": ({"y": (("row",), y)}, {}),
        "constant_data": (
            {"variance_components": (("component",), components.to_numpy())},
            of_components,
        ),
    }
    steps = {"chain": [0], "draw": range(n_samples), "row": range(len(y))}
    made = {}
    for name, (values, labels) in groups_of.items():
        of_steps = {
            d: steps[d] for dims, _ in values.values() for d in dims if d in steps
        }
        made[name] = xarray.Dataset(values, of_steps | labels)
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**made)
    return xarray.DataTree.from_dict(made)


def to_tfp(
    model: BaseMixedModel,
    X: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
) -> Distributions:
    r"""A fitted model as distributions of TensorFlow Probability.

    The joint distribution is that of the model at its estimates,

    .. math:: p(b, y) = \prod_r \prod_j N(b_{rj} \mid 0, \hat\Sigma_r) \;
        \prod_i p(y_i \mid x_i'\hat\beta + o_i + \sum_r z_{ri}' b_{r, j(i)}),

    and the posterior the Gaussian one of the random effects given the data of the fit,
    the fixed effects at their estimates and the levels independent of each other. For
    the linear model with one factor it is exact: ``joint.log_prob(b, y) -
    posterior.log_prob(b)`` is then the same for every b.

    Parameters
    ----------
    model : mixed model of skglmm
        Fitted.
    X : dataframe or array-like of shape (n_rows, n_features), default=None
        Rows whose responses are part of the joint distribution, with levels that the
        fit has seen. None leaves the random effects alone.
    groups : array-like or dataframe of shape (n_rows, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.

    Returns
    -------
    distributions : Distributions
        ``joint`` and ``posterior``. Effects have the shape (n_levels, q), in the order
        of ``random_effects_``, and the name of their factor, with underscores for what
        no name in Python may have (``g:h`` becomes ``g_h``). ``y`` has (n_rows,).
        ``resolve_graph()`` says what depends on what.

    Raises
    ------
    ValueError
        If the model has no random effects, if a covariance is singular, so that there
        is no density, or if a row has a level that the fit has not seen.

    References
    ----------
    .. [1] Piponi, D., Moore, D. and Dillon, J. V. (2020). Joint distributions for
       TensorFlow Probability. arXiv:2001.11819.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.interoperability import to_tfp
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> joint, posterior = to_tfp(model, X)
    >>> joint.resolve_graph()
    (('Subject', ()), ('y', ('Subject',)))
    >>> posterior.sample(seed=0).Subject.shape.as_list()
    [18, 2]
    """
    check_is_fitted(model)
    check_one_predictor(model, "to_tfp")
    _check_density(model)
    names = _python_names([term.name for term in model._fitted.terms])
    priors, posteriors = {}, {}
    for term, name in zip(model._fitted.terms, names, strict=True):
        means = model.random_effects_[term.name].to_numpy()
        priors[name] = (
            _triangular(model.random_effects_covariance_[term.name], term),
            len(means),
        )
        posteriors[name] = means, _triangular(model._fitted.posteriors[term.name], term)
    found = None
    if X is not None:
        rows = _read(model, X, groups)
        members = {
            name: (effects.codes, _row_values(effects))
            for name, effects in zip(names, rows.known.effects, strict=True)
        }
        found = _fixed_part(rows.known), members, _response(model, rows)
    # TensorFlow comes with the first model that is fitted, or here
    from skglmm.engine import joint

    return Distributions(
        joint.joint_distribution(priors, found),
        joint.posterior_distribution(posteriors),
    )


@dataclass(frozen=True)
class _Read:
    """Rows as numbers.

    Parameters
    ----------
    known : Rows
    size, trials : ndarray of shape (n_rows,) or None
        What the distribution of an observation depends on, and numbers of trials.
    """

    known: Any
    size: np.ndarray | None
    trials: np.ndarray | None


def _read(model, X, groups):
    """Rows with levels that the fit has seen."""
    rows, special = model._rows(X, groups, "conditional", observed=True)
    for term, effects in zip(model._fitted.terms, rows.effects, strict=True):
        unseen = np.flatnonzero(effects.codes < 0)
        if len(unseen):
            raise ValueError(
                f"Row {unseen[0]} has a level of {term.name!r} that the fit has not "
                "seen, and there is no posterior of its effects: leave such rows out, "
                "or use update_random_effects first."
            )
    size = model._observation_size(special, len(rows.X))
    return _Read(rows, size, special.get("trials"))


def _responses(model, y, n_rows):
    """Responses as numbers, classes as zeros and ones."""
    if hasattr(model, "classes_"):
        return model._read_target(y, n_rows, fitted=True).values
    return read_numbers(y, n_rows, type(model).__name__).values


def _draws(model, read, n_samples, random):
    """Coefficients (p, S), effects (S, n_levels, q) and linear predictors (n, S)."""
    rows = read.known
    unit = random.standard_normal((rows.half.shape[1], n_samples))
    first = len(model.fixed_effects_) - rows.X.shape[1]
    estimate = np.r_[rows.intercept, rows.coef]
    drawn = estimate[:, None] + rows.half @ unit
    eta = rows.X @ drawn[1:] + drawn[0]
    if rows.offset is not None:
        eta += rows.offset[:, None]
    if rows.gap_variance is not None:
        noise = random.standard_normal(eta.shape)
        eta += np.sqrt(rows.gap_variance)[:, None] * noise
    drawn_effects = {}
    for term, effects in zip(model._fitted.terms, rows.effects, strict=True):
        shape = (*effects.means.shape, n_samples)
        b = root(effects.posteriors) @ random.standard_normal(shape)
        b += effects.means[:, :, None]
        if effects.shifts is not None:
            b += effects.shifts @ unit
        effects.add_to(eta, b)
        drawn_effects[term.name] = np.moveaxis(b, -1, 0)
    return drawn[1 - first :], drawn_effects, eta


def _log_likelihood(model, y, read, eta):
    """Log densities or probabilities (n, S) of responses at linear predictors."""
    family = family_of(model)
    if family.is_linear:
        size = read.size[:, None]
        return -0.5 * ((y[:, None] - eta) ** 2 / size + np.log(2.0 * np.pi * size))
    from skglmm.engine.pointwise import log_probability

    return log_probability(family, y, read.trials, eta)


def _response(model, read):
    """The distribution of responses by name, and what it depends on."""
    family = family_of(model)
    if family.is_linear:
        return "normal", read.size
    if not family.parameter_names and (family.name, family.link) in _DISCRETE:
        name = _DISCRETE[family.name, family.link][read.trials is None]
        return name, read.trials
    raise ValueError(
        f"to_tfp has no distribution for the {family.words} response of this model: "
        "leave X out for the distributions of its random effects."
    )


# Distributions by family and link: with numbers of trials, and without.
_DISCRETE = {
    ("poisson", "log"): ("poisson", "poisson"),
    ("binomial", "logit"): ("binomial", "bernoulli"),
}


def _check_density(model):
    """Refuse models without random effects, and levels that are related."""
    if not model._fitted.terms:
        raise ValueError(
            "The model has no random effects: there is no joint distribution of them "
            "and the responses."
        )
    for term in model._fitted.terms:
        levels = model.random_effects_[term.name].index
        if COVARIANCES[term.covariance].levels_root(levels) is not None:
            raise ValueError(
                f"The levels of {term.name!r} are related: to_tfp takes levels that "
                "are independent."
            )


def _triangular(covariance, term):
    """Lower triangular root of covariances (..., q, q), if they have one."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            f"The covariance of {term.name!r} is singular, so that its effects have no "
            "density: fit without the effects whose variance is zero."
        ) from None


def _fixed_part(rows):
    """Linear predictors without random effects."""
    eta = rows.X @ rows.coef + rows.intercept
    return eta if rows.offset is None else eta + rows.offset


def _row_values(effects):
    """Row values (n_rows, q) of effects."""
    return np.ones((len(effects.codes), 1)) if effects.z is None else effects.z


def _column(values):
    """Values of rows beside draws."""
    return None if values is None else np.reshape(values, (-1, 1))


def _labels(index):
    """Labels of an index, each as one: those of a combination as text."""
    if index.nlevels == 1:
        return index.to_numpy()
    return [":".join(str(part) for part in label if part != "") for label in index]


def _python_names(names):
    """Names of factors as Python allows them, each another one, and none of them y."""
    found: list[str] = []
    for name in names:
        text = re.sub(r"\W", "_", str(name))
        text = text if text.isidentifier() and text != "y" else f"g_{text}"
        while text in found:
            text += "_"
        found.append(text)
    return found


def _arviz():
    """ArviZ and xarray, which comes with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import arviz
            import xarray
    except ImportError as error:
        raise ImportError(
            "to_arviz needs ArviZ, which is an extra: pip install 'skglmm[arviz]'."
        ) from error
    return arviz, xarray
