"""A fitted model and its rows, read again and not fitted again."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES
from skglmm._fitted.state import family_of
from skglmm._fixed.parts import resolve_part
from skglmm._problem.roots import covariance_root, in_coordinates
from skglmm._progress import Progress
from skglmm._reading.features import check_features
from skglmm._reading.table import Table

# Share of the size of a target that the means of the same rows may differ by, and share
# of a standard error that it may differ by from that of the fit.
_SAME, _SAME_ERROR = 1e-9, 1e-2


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
    if model._fitted.from_metadata and groups is None:
        raise ValueError(
            "The groups of this model came through fit(groups=): hand them over here "
            "as well (groups=)."
        )
    table = Table(X, min_rows=2)
    check_features(model, X, table)
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


def working_again(model, inputs):
    """`Working` of the rows of a linear model, crossed factors in a dense core.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
        See `read_again`.

    Returns
    -------
    working : Working
    """
    progress = Progress(model)
    working = model._working(inputs, model.solver_, True, False, progress, dense=True)
    working.problem.design.plan.check_size(
        "df='normal' needs no such matrix, and with so many levels the degrees of "
        "freedom hardly matter."
    )
    return working


def relative_factors(model, working):
    """T_r of a fitted linear model, in the order of the design.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working

    Returns
    -------
    factors : list of ndarray of shape (q, q)
        The covariance of the working effects is T T' times the residual variance.
    """
    problem, found = working.problem, []
    for name, recoding, factor in zip(
        problem.names, problem.recodings, problem.design.factors, strict=True
    ):
        covariance = model.random_effects_covariance_[name] / model.noise_variance_
        structure = COVARIANCES[factor.kind]
        root = covariance_root if structure.correlates else structure.root
        found.append(root(in_coordinates(covariance, recoding)))
    return found
