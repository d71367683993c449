"""Profiles of the likelihood, and the intervals at which they are cut."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.base import BaseEstimator

from skglmm._base import BaseMixedModel, threads_for
from skglmm._fitted.report import sentences, warn
from skglmm._sklearn import HasMethods, validate_params
from skglmm.inference._parameters import correlated, parameters_of, selected
from skglmm.inference._rows import check_has_parameters, read_again
from skglmm.inference._space import open_space
from skglmm.inference._tracing import LowerDeviance, Trace

# Largest root of a profile that is drawn: beyond that of an interval of 99 per cent.
_DRAWN, _APART = 3.0, 0.5
# How often a profile may begin anew from a lower deviance, and what a search may leave
# of -2 log-likelihood without a word.
_RESTARTS, _LEFT = 4, 1e-2


def profile_intervals(model: BaseMixedModel, inputs, labels, coverage) -> pd.DataFrame:
    """Ends of the parameters where the deviance has risen by a quantile.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    labels : MultiIndex
        Those of `parameters_of` that are asked for.
    coverage : float

    Returns
    -------
    table : DataFrame
        ``lower`` and ``upper``, by label.
    """
    cut = -float(ndtri(0.5 * (1.0 - coverage)))

    def ends(traces, label):
        # a correlation means nothing where a standard deviation is zero
        of = correlated(model, label)
        if any(traces[label[0], effect].side(-1.0).last() < cut for effect in of):
            return -1.0, 1.0
        trace = traces[label]
        low, high = (trace.side(sign).end(cut) for sign in (-1.0, 1.0))
        to_value = trace.chart.to_value
        return float(to_value(low)), float(to_value(high))

    found, unknown = _of_each(model, inputs, labels, ends)
    rows = [found.get(label, (np.nan, np.nan)) for label in labels]
    table = pd.DataFrame(rows, index=labels, columns=["lower", "upper"], dtype=float)
    open_ended = list(labels[np.isinf(table.to_numpy()).any(axis=1)])
    messages = list(unknown)
    if open_ended:
        messages.append(
            f"the likelihood of {_named(open_ended)} never falls by as much as "
            f"{0.5 * cut**2:.3g} on one side, where the interval has no end"
        )
    if messages:
        warn(sentences(messages))
    return table


def profile_of(model: BaseMixedModel, inputs, parameter) -> pd.DataFrame:
    """Points of the profile of one parameter, in its order.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    parameter : tuple of (str, str)
        A label of `parameters_of`.

    Returns
    -------
    profile : DataFrame
        ``value`` and ``zeta``, the signed root of the deviance above its minimum.
    """
    labels = pd.MultiIndex.from_tuples([parameter], names=["group", "effect"])
    return _profiles(model, inputs, labels)[parameter]


def _profiles(model, inputs, labels):
    def points(traces, label):
        trace, found = traces[label], {}
        chart = trace.chart
        for sign in (-1.0, 1.0):
            side = trace.side(sign)
            for zeta in np.arange(_APART, _DRAWN + 0.5 * _APART, _APART):
                if not side.reach(zeta):
                    break
            for point in side.points:
                if point.zeta <= _DRAWN + _APART:
                    u = trace.best[chart.at] + sign * point.away
                    found[float(chart.to_value(u))] = sign * point.zeta
        values = np.array(sorted(found))
        zeta = np.array([found[value] for value in values])
        return pd.DataFrame({"value": values, "zeta": zeta})

    found, unknown = _of_each(model, inputs, labels, points)
    if unknown:
        warn(sentences(list(unknown)))
    blank = pd.DataFrame({"value": [], "zeta": []}, dtype=float)
    return {label: found.get(label, blank) for label in labels}


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "parameters": [None, list, tuple, str],
    },
    prefer_skip_nested_validation=True,
)
def profile(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    parameters: list | str | None = None,
) -> pd.DataFrame:
    r"""Profiles of the likelihood: how fast it falls beside the estimates.

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
    parameters : list or str, default=None
        Which parameters, as in `confidence_intervals`.

    Returns
    -------
    table : DataFrame
        A row a point, with the columns ``group``, ``effect``, ``value`` and ``zeta``,
        ordered by value within a parameter.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or if there is no such parameter.

    See Also
    --------
    confidence_intervals : Values at which zeta is a quantile.

    Notes
    -----
    With :math:`D(\psi)` the least -2 log-likelihood of all models whose parameter is
    :math:`\psi`, and :math:`\hat\psi` the estimate [1]_,

    .. math:: \zeta(\psi) = \mathrm{sign}(\psi - \hat\psi)
        \sqrt{D(\psi) - D(\hat\psi)}.

    A straight line says that a normal distribution describes what is known of the
    parameter. Points reach as far as a zeta of 3, or to a boundary.

    References
    ----------
    .. [1] Bates, D. M. and Watts, D. G. (1988). Nonlinear regression analysis and its
       applications. Wiley, chapter 6.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_dyestuff
    >>> from skglmm.inference import profile
    >>> X, y = load_dyestuff(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Batch").fit(X, y)
    >>> table = profile(model, X, y, parameters=["residual"])
    >>> table[table["zeta"].abs() < 0.6].round(1)
          group effect  value  zeta
    5  residual          46.1  -0.5
    6  residual          49.5   0.0
    7  residual          53.2   0.5
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        check_has_parameters(model, inputs, "profile")
        labels = selected(parameters_of(model).index, parameters)
        found = _profiles(model, inputs, labels)
    parts = [
        frame.assign(group=group, effect=effect)
        for (group, effect), frame in found.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[["group", "effect", "value", "zeta"]]


class _Traces(dict):
    """Traces by label, made as they are asked for.

    Parameters
    ----------
    space : Space
    optimum : Optimum
    """

    def __init__(self, space, optimum):
        super().__init__()
        self._space, self._optimum = space, optimum

    def __missing__(self, label):
        self[label] = Trace(self._space.chart(*label), self._optimum)
        return self[label]


def _of_each(model, inputs, labels, function):
    """What a function of all traces gives for each parameter, by label.

    Those of which the model knows nothing are left out, and there are words for it.
    """
    estimates = parameters_of(model)
    known = [label for label in labels if not _unknown(model, estimates, label)]
    messages = [
        f"of {_named([label])} nothing is known: {_why(label)}"
        for label in labels
        if label not in known
    ]
    if not known:
        return {}, messages
    with open_space(model, inputs, refit=True) as (space, optimum):
        first = None
        for _ in range(_RESTARTS):
            try:
                found, left = {}, []
                traces = _Traces(space, optimum)
                for label in known:
                    found[label] = function(traces, label)
                    left += [label] * (traces[label].left > _LEFT)
                value = traces[label].value
                first = value if first is None else first
                break
            except LowerDeviance as lower:
                first = lower.before if first is None else first
                optimum = lower.point
        else:
            raise RuntimeError(
                "The profiles of this model have met a lower deviance again and again: "
                "its likelihood has no maximum that the search finds."
            )
    if first is not None and first - value > 0.1:
        messages.append(
            f"profiles have met a log-likelihood {0.5 * (first - value):.2g} above "
            "that of the fit, and are those of this better maximum"
        )
    if left:
        messages.append(f"searches for {_named(left)} have not converged")
    return found, messages


def _unknown(model, estimates, label):
    if label[0] == "fixed":
        return bool(np.isnan(model.fixed_effects_.loc[label[1], "std_error"]))
    return bool(np.isnan(estimates[label]))


def _why(label):
    if label[0] == "fixed":
        return "its column depends on others"
    return "a standard deviation is zero"


def _named(labels):
    return ", ".join(str(label) for label in labels)
