"""One model for each of many responses."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from skglmm._base import threads_for
from skglmm._fitted.report import sentences, warn
from skglmm._fixed.parts import resolve_part
from skglmm._progress import Tally
from skglmm._reading.features import check_features
from skglmm._reading.table import Table
from skglmm._sklearn import HasMethods, validate_params
from skglmm.inference._batches import fit_batch, parameters_frame
from skglmm.inference._rows import check_model

# Responses that did not converge which a warning names.
_NAMED = 3


@validate_params(
    {"model": [HasMethods(["fit", "predict"])], "verbose": ["verbose"]},
    prefer_skip_nested_validation=True,
)
def fit_many(
    model: BaseEstimator,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    verbose: int = 0,
) -> Bunch:
    r"""Fit the same model to each of many responses on one design.

    Parameters
    ----------
    model : object
        A mixed model, fitted or not, of which the parameters count. It is not changed.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns, as in ``fit``.
    Y : dataframe or array-like of shape (n_samples, n_responses)
        A response a column.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model whose constructor names no group columns.
    verbose : int, default=0
        Above 0 a bar or a line tells how many responses are done.

    Returns
    -------
    results : Bunch
        Frames whose first index level is the response, a column name of Y or its
        number:

        ``fixed_effects``, by (response, effect)
            ``estimate`` and ``std_error``, as `fixed_effects_` of each fit.
        ``variance_components``, by (response, group, effect)
            ``variance`` and ``std``, the residual last for a linear model.
        ``parameters``, by response
            A column for each coefficient, standard deviation and correlation of
            effects, by (group, effect).
        ``fits``, by response
            ``log_likelihood``, ``converged``, ``singular`` and ``n_iter``.

    Raises
    ------
    TypeError
        If the model is none of this package.
    ValueError
        If X or Y cannot be read, or if the rows cannot determine the model.

    Notes
    -----
    A linear model needs sums of products of columns only. Those among fixed columns and
    random effects are the same for all responses and are computed once; each response
    adds its own products with these columns. The criterion of a linear model [1]_ is
    then minimised for many responses at a time, each with its own variances. The
    estimates are those of ``fit``, column by column.

    Responses of other families, and of linear models whose random effects are solved
    for iteratively or have one variance for several scales (``covariance="scalar"``
    with slopes), are fitted one after another. Their rows are read once.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
       mixed-effects models using lme4. Journal of Statistical Software 67(1), eq. 34
       and 41.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inference import fit_many
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> Y = np.column_stack([y, np.log(y), 1000 / y])
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"])
    >>> results = fit_many(model, X, Y)
    >>> results.fixed_effects.loc[0].round(3)
               estimate  std_error
    effect
    Intercept   251.405      6.825
    Days         10.467      1.546
    """
    check_model(model)
    with threads_for(X):
        inputs, columns, Y = _read(model, X, Y, sample_weight, groups)
        with Tally("fit_many, responses", Y.shape[1], verbose) as done:
            batch = fit_batch(model, inputs, Y, done=done)
    _report(batch, columns)
    names = ("Intercept",) * int(model.fit_intercept) + inputs.names
    return Bunch(
        fixed_effects=_fixed(batch, columns, names),
        variance_components=_components(batch, columns, inputs.terms),
        parameters=parameters_frame(model, inputs, batch, columns),
        fits=pd.DataFrame(
            {
                "log_likelihood": batch.log_likelihood,
                "converged": batch.converged,
                "singular": batch.singular,
                "n_iter": batch.n_iter,
            },
            index=columns,
        ),
    )


def _read(model, X, Y, sample_weight, groups):
    """Rows as `Inputs`; the responses' names, and their values in rows that count."""
    model._validate_params()
    table, part = Table(X, min_rows=2), resolve_part(model.fixed_effects)
    if part is not None:
        raise ValueError(
            "fit_many tells of coefficients, and a fixed part of another kind "
            "(fixed_effects) has none: fit such a model to each response."
        )
    if "_fitted" in vars(model):
        check_features(model, X, table)
    Y = Y if hasattr(Y, "columns") else np.asarray(Y)
    if len(Y.shape) != 2 or not Y.shape[1]:
        raise ValueError(
            f"Y has the shape {tuple(Y.shape)}, and needs a column for each response: "
            "(n_samples, n_responses)."
        )
    if hasattr(Y, "columns"):
        names = pd.Index(list(Y.columns), name="response")
        values = [Y[name] for name in Y.columns]
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise ValueError(f"Two responses of Y are named {twice!r}: rename one.")
    else:
        names = pd.RangeIndex(Y.shape[1], name="response")
        values = list(Y.T)
    columns = []
    for name, column in zip(names, values, strict=True):
        try:
            columns.append(model._read_target(column, table.n_rows))
        except (TypeError, ValueError) as error:
            raise type(error)(f"The response {name!r}: {error}") from error
    weight, first = sample_weight, columns[0].values
    inputs = model._read(table, values[0], weight, groups, part)
    found = np.column_stack([column.values[inputs.rows] for column in columns])
    if not model._distribution().is_linear:
        _check(model, inputs, names, columns, found)
    return inputs, names, found.reshape(len(first[inputs.rows]), -1)


def _check(model, inputs, names, columns, found):
    """Refuse responses that the family does not have."""
    family = model._distribution()
    for name, column, y in zip(names, columns, found.T, strict=True):
        try:
            model._check_rows(y, column.classes)
            family.check(y, inputs.trials, inputs.rows)
        except ValueError as error:
            raise ValueError(f"The response {name!r}: {error}") from error


def _report(batch, columns):
    """Warn once, of the rows and of the fits that did not converge."""
    messages, stuck = list(batch.said), np.flatnonzero(~batch.converged)
    if len(stuck):
        named = "; ".join(f"{columns[k]!r}: {batch.words[k]}" for k in stuck[:_NAMED])
        more = "; ..." if len(stuck) > _NAMED else ""
        messages.append(
            f"{len(stuck)} of {len(columns)} fits did not converge ({named}{more}). "
            "They are marked in the frame fits"
        )
    if messages:
        warn(sentences(messages))


def _fixed(batch, columns, names):
    index = pd.MultiIndex.from_product(
        [columns, list(names)], names=["response", "effect"]
    )
    return pd.DataFrame(
        {
            "estimate": batch.coef.ravel(),
            "std_error": batch.std_error.ravel(),
        },
        index=index,
    )


def _components(batch, columns, terms):
    """Variances by (response, group, effect)."""
    pairs = [(term.name, effect) for term in terms for effect in term.effects]
    values = [np.diagonal(s, axis1=1, axis2=2) for s in batch.covariances]
    if batch.noise_variance is not None:
        pairs.append(("residual", ""))
        values.append(batch.noise_variance[:, None])
    keys = [(name, *pair) for name in columns for pair in pairs]
    index = pd.MultiIndex.from_tuples(keys, names=["response", "group", "effect"])
    variance = np.concatenate([np.zeros((len(columns), 0)), *values], axis=1).ravel()
    std = np.sqrt(np.maximum(variance, 0.0))
    return pd.DataFrame({"variance": variance, "std": std}, index=index)
