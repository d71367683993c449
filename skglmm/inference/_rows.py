"""A fitted model and its rows, read again and not fitted again."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES
from skglmm._fitted.state import check_one_predictor, family_of, fit_columns
from skglmm._fixed.parts import resolve_part
from skglmm._problem.roots import covariance_root, in_coordinates
from skglmm._progress import Progress
from skglmm._reading.table import Table

# Share of the size of a target that the means of the same rows may differ by, and share
# of a standard error that it may differ by from that of the fit.
_SAME, _SAME_ERROR = 1e-9, 1e-2
# Units that a log-likelihood may differ by.
_SAME_LIKELIHOOD = 1e-2


def check_model(model):
    """Refuse what is no model of this package.

    Parameters
    ----------
    model : object
    """
    if not isinstance(model, BaseMixedModel):
        raise TypeError(
            f"{model!r} is no mixed model of skglmm: of a pipeline or a search give "
            "the last step (pipeline[-1], search.best_estimator_) and the columns "
            "that it was fitted to."
        )


def check_has_parameters(model, inputs, what):
    """Refuse models whose likelihood is no function of their parameters alone.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    what : str
        For what, in words.
    """
    name = type(model).__name__
    if model._fitted.part is not None:
        raise ValueError(
            f"The fixed part of this {name} is {model._fitted.part.about}: it has no "
            f"coefficients, and so there is no {what}."
        )
    if inputs.gaps:
        raise ValueError(
            f"Some values of the fixed columns are missing, and there is no {what} of "
            "a likelihood that is not known: coefficients(model, X, y) has tests and "
            "intervals of the fixed effects."
        )
    if hasattr(model, "noise_variance_") and not model.noise_variance_ > 0.0:
        raise ValueError(
            f"The residual variance of this {name} is zero, where a likelihood has no "
            f"maximum: there is no {what}."
        )


def read_again(model, X, y, sample_weight, groups):
    """Rows of a fitted model, as its fit has read them.

    Parameters
    ----------
    model : BaseMixedModel
    X, y, sample_weight, groups
        As in ``fit``.

    Returns
    -------
    inputs : Inputs

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit.
    """
    check_model(model)
    check_is_fitted(model)
    check_one_predictor(model, "skglmm.inference")
    if model._fitted.from_metadata and groups is None:
        raise ValueError(
            "The groups of this model came through fit(groups=): hand them over here "
            "as well (groups=)."
        )
    table = fit_columns(model, X, Table(X, min_rows=2))
    part = resolve_part(model.fixed_effects)
    inputs = model._read(table, y, sample_weight, groups, part)
    _check_same(model, inputs)
    return inputs


def _check_same(model, inputs):
    """Refuse rows that the fit has not seen, as far as their number and mean tell."""
    facts, weight, y = model._fitted.facts, inputs.weight, inputs.y
    if family_of(model).is_linear and inputs.offset is not None:
        y = y - inputs.offset
    total = float(weight.sum())
    size = np.max(np.abs(y), initial=0.0)
    moved = abs(weight @ y / total - facts.mean_response)
    levels = [len(model.random_effects_[term.name]) for term in inputs.terms]
    same = abs(total - facts.n_rows) <= _SAME * total and not moved > _SAME * size
    if not same or levels != [len(found) for found in inputs.levels]:
        raise _others(
            f"{total:g} rows, and {facts.n_rows:g} in fit; or another target or other "
            "groups"
        )


def _others(what):
    """The error of rows that the fit has not seen."""
    return ValueError(
        f"These are not the rows that the model was fitted to ({what}): give X, y and "
        "sample_weight as in fit."
    )


def check_errors(model, covariance):
    """Refuse rows that give other standard errors than the fit, which is no accident.

    Parameters
    ----------
    model : BaseMixedModel
    covariance : ndarray of shape (p, p)
        Of the coefficients at the variances of the model, from the rows.
    """
    if hasattr(model, "mc_error_"):
        return
    expected = model.fixed_effects_["std_error"].to_numpy()
    known = ~np.isnan(expected)
    found = np.sqrt(np.diag(covariance)[known])
    if np.any(np.abs(found - expected[known]) > _SAME_ERROR * expected[known]):
        raise _others("standard errors are others")


def check_likelihood(model, working, deviance):
    """Refuse rows that give a linear model another likelihood than its fit.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working
    deviance : callable
        Gives -2 log-likelihood of these rows at the estimates, in the coordinates of
        `working`, or the REML criterion.
    """
    problem = working.problem
    if not problem.family.is_linear or hasattr(model, "mc_error_"):
        return
    restricted = model.log_likelihood_method_ == "restricted"
    found, n = -0.5 * deviance(), float(problem.weight.sum())
    if restricted:
        found += working.coding.log_volume
        n -= problem.n_border - 1
    found -= n * np.log(problem.unit)
    expected = model.log_likelihood_
    if abs(found - expected) > _SAME_LIKELIHOOD * (1.0 + 1e-6 * abs(expected)):
        raise _others(
            f"the log-likelihood at its estimates is {found:.6g}, and {expected:.6g} "
            "in fit"
        )


def working_again(
    model,
    inputs,
    advice="df='normal' needs no such matrix, and with so many levels the degrees of "
    "freedom hardly matter.",
):
    """`Working` of the rows of a model, crossed factors in a dense core.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
        See `read_again`.
    advice : str, optional
        What is said where the core is too large.

    Returns
    -------
    working : Working
    """
    progress = Progress(model)
    working = model._working(inputs, model.solver_, True, False, progress, dense=True)
    working.problem.design.plan.check_size(advice)
    return working


def relative_factors(model, working):
    """T_r of a fitted model, in the order of the design.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working

    Returns
    -------
    factors : list of ndarray of shape (q, q)
        The covariance of the working effects is T T' times the residual variance, if
        there is one.
    """
    problem, found = working.problem, []
    scale = getattr(model, "noise_variance_", 1.0) * problem.unit_precision
    for name, recoding, factor in zip(
        problem.names, problem.recodings, problem.design.factors, strict=True
    ):
        covariance = model.random_effects_covariance_[name] / scale
        structure = COVARIANCES[factor.kind]
        root = covariance_root if structure.correlates else structure.root
        found.append(root(in_coordinates(covariance, recoding)))
    return found
