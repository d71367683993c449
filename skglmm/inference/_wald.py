"""Intervals from the curvature of the likelihood at the estimates."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from skglmm._base import BaseMixedModel
from skglmm._fitted.report import sentences, warn
from skglmm.inference._parameters import correlated, deviations, parameters_of
from skglmm.inference._space import open_space
from skglmm.inference._tracing import hessian

# Step of differences of the parameters, and eigenvalues of the scaled curvature that
# count as zero beside the largest.
_STEP, _ZERO = 1e-5, 1e-9


def wald_intervals(model: BaseMixedModel, inputs, labels, coverage) -> pd.DataFrame:
    """Estimates plus or minus a multiple of their standard errors.

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
    z = -float(ndtri(0.5 * (1.0 - coverage)))
    estimate = parameters_of(model)[labels]
    fixed = labels.get_level_values("group") == "fixed"
    rows = np.full((len(labels), 2), np.nan)
    sign = np.array([-1.0, 1.0])
    of_fixed = labels[fixed].get_level_values("effect")
    error = model.fixed_effects_.loc[of_fixed, "std_error"].to_numpy()
    rows[fixed] = estimate[fixed].to_numpy()[:, None] + z * error[:, None] * sign
    if not fixed.all():
        found = _errors(model, inputs)
        for at in np.flatnonzero(~fixed):
            label = labels[at]
            onto, back = _scale(model, label)
            with np.errstate(divide="ignore"):
                here = onto(estimate[label])
            rows[at] = back(here + z * found.get(label, np.nan) * sign)
    unknown = labels[np.isnan(rows).any(axis=1)]
    if len(unknown):
        warn(
            sentences(
                [
                    "there is no such interval of "
                    f"{', '.join(str(label) for label in unknown)}: at a boundary, or "
                    "where the likelihood is flat, no curvature says how much is known"
                ]
            )
        )
    return pd.DataFrame(rows, index=labels, columns=["lower", "upper"])


def _scale(model, label):
    """Scale of the normal distribution, and the way back."""
    if correlated(model, label):
        return np.arctanh, np.tanh
    return np.log, np.exp


def _errors(model, inputs):
    """Standard errors of log deviations and inverse hyperbolic tangents, by label."""
    with open_space(model, inputs, refit=False) as (space, point):
        chart = space.chart(None, None)
        u = chart.start(point)
        curved, sizes = hessian(chart, u, space.restricted, central=True)
        singular = set(model._fitted.facts.singular)
        inside = ~chart.of_factors(space.places(singular))

        def scaled(u):
            return _on_scale(model, space, chart.point(u))

        here = scaled(u)
        jacobian = []
        for step, axis in zip(_STEP * sizes, np.eye(len(u)), strict=True):
            ahead, behind = scaled(u + step * axis), scaled(u - step * axis)
            with np.errstate(invalid="ignore"):
                jacobian.append(
                    [(ahead[label] - behind[label]) / (2.0 * step) for label in here]
                )
    jacobian = np.reshape(jacobian, (len(u), len(here)))[inside]
    size = sizes[inside]
    values, axes = np.linalg.eigh(curved[np.ix_(inside, inside)] * np.outer(size, size))
    usable = values > _ZERO * np.max(values, initial=0.0)
    moved = (jacobian * size[:, None]).T @ axes
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = 2.0 * np.sum(moved[:, usable] ** 2 / values[usable], axis=1)
    flat = np.linalg.norm(moved[:, ~usable], axis=1) > 1e-6
    error = np.where(flat, np.nan, np.sqrt(variance))
    return {
        label: value
        for label, value in zip(here, error, strict=True)
        if label[0] not in singular
    }


def _on_scale(model, space, point):
    covariances, sigma = space.covariances(point)
    found = deviations(model._fitted.terms, covariances)
    if sigma is not None:
        found["residual", ""] = sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        return {label: _scale(model, label)[0](value) for label, value in found.items()}
