"""Columns of a table, or terms of a formula, tested as a whole."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._reading.fixed_terms import fixed_terms
from skglmm._sklearn import HasMethods, StrOptions, validate_params
from skglmm.inference._contrasts import joint_table
from skglmm.inference._joint import joint_test
from skglmm.inference._known import check_asked, known_again
from skglmm.inference._rows import read_again


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

    Each term is tested given all others (type III): that its own coefficients are
    all zero.

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
    Without interactions these are the tests of type III of lmerTest and SAS, and how
    categories are coded makes no difference. *With* an interaction a main effect is
    tested where the other columns of the interaction are zero: at the reference level
    of a column of categories, at zero of a numeric one. Type III in the usual sense
    tests it in the average of all levels, and that is what is tested here if the
    dummies add up to zero (columns of -1, 0 and 1, as contr.sum has them in R). At zero
    of a numeric column it is tested by lmerTest as well: centre such columns.
    Interactions of the highest order have one test, however they are coded.

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
        first = len(known.names) - len(inputs.names)
        axes = np.eye(len(known.names))[first:]
        for name, places in fixed_terms(inputs).items():
            weights = axes[[at for at in places if not known.aliased[first + at]]]
            if len(weights):
                tests[name] = joint_test(known, weights)
            else:
                tests[name] = np.nan, 0, np.nan, np.nan
    return joint_table(tests, name="term")
