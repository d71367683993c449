"""Columns of a table, or terms of a formula, tested as a whole."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._fitted.state import fit_columns
from skglmm._reading.fixed_terms import fixed_terms
from skglmm._reading.table import Table
from skglmm._sklearn import HasMethods, StrOptions, validate_params
from skglmm.inference._contrasts import joint_table
from skglmm.inference._joint import joint_test
from skglmm.inference._known import check_asked, known_again
from skglmm.inference._rows import read_again

# Largest difference of columns of size one that are the same combinations of others.
_SAME_SPAN = 1e-9


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "df": [StrOptions({"satterthwaite", "kenward-roger", "normal"})],
    },
    prefer_skip_nested_validation=True,
)
def term_tests(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    df: str = "satterthwaite",
) -> pd.DataFrame:
    """Tests of the fixed columns, a column of categories with all its dummies.

    Each term is tested given all others (type III).

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
        Degrees of freedom of the denominator, as in
        :func:`~skglmm.inference.coefficients`.

    Returns
    -------
    table : DataFrame
        A line for each column of the table, or term of the formula, with ``statistic``,
        ``df`` (number of its coefficients), ``df_error`` and ``p_value``: F for linear
        models, and chi-square, with an infinite ``df_error``, for the others and with
        ``df="normal"``. A term all of whose columns depend on others has the ``df`` 0
        and NaN.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or if the model has nothing of the kind
        that is asked for.

    See Also
    --------
    contrasts : Other hypotheses; the tests are described there.

    Notes
    -----
    These are the tests of type III of lmerTest and SAS. Beside an interaction of a
    formula, a main effect is tested in the average of all levels of the other columns
    of categories, each level counting once, however the formula codes them: with S the
    columns of the model in the coding whose levels add up to zero and X = S A, the
    coefficients :math:`A\\beta` of a term are tested. Of a numeric partner it is the
    value zero, in lmerTest as well: centre such columns. Where a combination of
    categories has no rows there is no such average, and the coefficients of a term are
    tested as they stand: beside an interaction, at the reference levels of the others.
    Interactions that are columns of the table by themselves are not known as such, and
    a main effect beside them is tested where they are zero.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_pastes
    >>> from skglmm.inference import term_tests
    >>> X, y = load_pastes(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("sample").fit(X[["cask", "sample"]], y)
    >>> term_tests(model, X[["cask", "sample"]], y).round(2)
          statistic  df  df_error  p_value
    term
    cask       0.48   2      27.0     0.62
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        df = check_asked(model, inputs, df)
        known = known_again(model, inputs, df)
        tests = {}
        for name, weights in _hypotheses(model, X, inputs, known.aliased).items():
            if len(weights):
                tests[name] = joint_test(known, weights)
            else:
                tests[name] = np.nan, 0, np.nan, np.nan
    return joint_table(tests, name="term")


def _hypotheses(model, X, inputs, aliased):
    """Combinations (m, p) of the coefficients that are zero without a term, by term."""
    first = len(aliased) - len(inputs.names)
    axes, terms = np.eye(len(aliased)), fixed_terms(inputs)
    marginal = None if aliased.any() else _marginal(model, X, inputs, first)
    if marginal is not None:
        return dict(zip(terms, marginal, strict=True))
    free = {
        name: [first + at for at in places if not aliased[first + at]]
        for name, places in terms.items()
    }
    return {name: axes[places] for name, places in free.items()}


def _marginal(model, X, inputs, first):
    """The same in the average of the levels of other columns, a matrix for each term.

    With S the columns whose categories add up to zero and X those of the fit, S A = X
    makes A b the coefficients in the coding of S. None if there is no such A, or if the
    coding does not matter.
    """
    if inputs.formula is None:
        return None
    table = inputs.categories.code(fit_columns(model, X, Table(X)))
    found = inputs.formula.balanced(table, inputs.categories, inputs.rows)
    if found is None:
        return None
    values, places = found
    one = np.ones((len(inputs.rows), first))
    here, there = np.hstack([one, inputs.columns]), np.hstack([one, values])
    size, other = (np.abs(v).max(axis=0, initial=0.0) for v in (here, there))
    here, there = here / size, there / np.where(other > 0.0, other, 1.0)
    onto, _, rank, _ = np.linalg.lstsq(there, here)
    off = np.abs(there @ onto - here).max()
    if rank < there.shape[1] or rank != here.shape[1] or off > _SAME_SPAN:
        return None
    onto = onto * size / other[:, None]
    return [onto[[first + at for at in of_term]] for of_term in places]
