"""Linear combinations of coefficients, one by one or together."""

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._reading.words import listing
from skglmm._sklearn import HasMethods, Interval, StrOptions, validate_params
from skglmm.inference._hypotheses import read_hypotheses
from skglmm.inference._joint import joint_test
from skglmm.inference._known import check_asked, known_again
from skglmm.inference._rows import read_again
from skglmm.inference._tables import exponentiated, tests_and_intervals


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "joint": ["boolean"],
        "df": [StrOptions({"satterthwaite", "kenward-roger", "normal"})],
        "coverage": [Interval(Real, 0, 1, closed="neither")],
        "exponentiate": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def contrasts(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    hypotheses: Any,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    joint: bool = False,
    df: str = "satterthwaite",
    coverage: float = 0.95,
    exponentiate: bool = False,
) -> pd.DataFrame:
    r"""Tests and intervals of linear combinations of the fixed effects.

    Parameters
    ----------
    model : object
        A fitted mixed model.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of the fit.
    y : array-like of shape (n_samples,)
        Target values of the fit.
    hypotheses : dict, str, list of str, dataframe or array of shape (m, n_coef)
        Combinations, each of which is tested to be zero: a dict from their names to
        texts such as ``"days - 2 * sex"`` or to dicts from coefficients to weights; one
        text or a list of them; a dataframe with coefficients as columns, those that it
        does not name having weight zero; or an array with a column for each line of
        `fixed_effects_`. In a text coefficients are added, subtracted, multiplied and
        divided by numbers; ``a = b`` is ``a - b``; names that are no identifiers stand
        between backticks.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the fit.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.
    joint : bool, default=False
        Whether to test that all combinations are zero together, in the place of one by
        one.
    df : {"satterthwaite", "kenward-roger", "normal"}, default="satterthwaite"
        Degrees of freedom, as in :func:`~skglmm.inference.coefficients`.
    coverage : float, default=0.95
        Probability that an interval holds the combination. A joint test has none.
    exponentiate : bool, default=False
        Whether to give rate ratios (log link) or odds ratios (logit link):
        ``estimate``, ``lower`` and ``upper`` are exponentiated, the others are not.

    Returns
    -------
    table : DataFrame
        A line for each hypothesis, with the columns of
        :func:`~skglmm.inference.coefficients`, in the units of the linear predictor.
        With ``joint=True`` one line, ``joint``, with the columns ``statistic``, ``df``
        (number of independent combinations), ``df_error`` and ``p_value``: F for linear
        models, and chi-square, with an infinite ``df_error``, for the others and with
        ``df="normal"``.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    TypeError, ValueError
        If a hypothesis cannot be read or names no coefficient, if the rows do not
        determine a combination (a column depends on others), if the rows are not those
        of the fit, or if the model has nothing of the kind that is asked for.

    Notes
    -----
    A combination :math:`\ell^\top\beta` has the error
    :math:`(\ell^\top C \ell)^{1/2}`, and the degrees of freedom of a coefficient, which
    is one as well.

    Together, with the weights as the rows of L, the covariance of the combinations
    :math:`L C L^\top = P D P^\top` gives q independent ones, the rows of
    :math:`P^\top L`, and

    .. math:: F = \frac{1}{q} \sum_m t_m^2, \qquad
        \nu = \frac{2 E}{E - q}, \qquad E = \sum_m \frac{\nu_m}{\nu_m - 2},

    for their t statistics with Satterthwaite's degrees of freedom :math:`\nu_m`: the
    mean of F then has the expectation of the squares' [1]_, as in lmerTest [2]_. Some
    :math:`\nu_m` of 2 or below makes :math:`\nu` 2. With ``df="kenward-roger"`` the
    adjusted covariance is used, and F has a factor and degrees of freedom that match
    its first two moments [3]_, as in ``KRmodcomp`` of pbkrtest.

    References
    ----------
    .. [1] Fai, A. H.-T. and Cornelius, P. L. (1996). Approximate F-tests of multiple
       degree of freedom hypotheses in generalized least squares analyses of unbalanced
       split-plot experiments. Journal of Statistical Computation and Simulation 54,
       363-378.
    .. [2] Kuznetsova, A., Brockhoff, P. B. and Christensen, R. H. B. (2017). lmerTest
       package: tests in linear mixed effects models. Journal of Statistical Software
       82(13).
    .. [3] Halekoh, U. and Hojsgaard, S. (2014). A Kenward-Roger approximation and
       parametric bootstrap methods for tests in linear mixed models. Journal of
       Statistical Software 59(9).

    Examples
    --------
    The reaction time that is expected on day 9, and its trend:

    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.inference import contrasts
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    >>> asked = {"day 9": "Intercept + 9 * Days", "a day": {"Days": 1.0}}
    >>> table = contrasts(model, X, y, asked)
    >>> table[["estimate", "std_error", "df", "lower", "upper"]].round(2)
           estimate  std_error    df   lower   upper
    day 9    345.61      14.63  17.0  314.75  376.47
    a day     10.47       1.55  17.0    7.21   13.73
    """
    if joint and exponentiate:
        raise ValueError(
            "A joint test has no estimate to exponentiate: leave out exponentiate=True "
            "or joint=True."
        )
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        df = check_asked(model, inputs, df, exponentiate)
        labels, weights = read_hypotheses(hypotheses, model.fixed_effects_.index)
        known = known_again(model, inputs, df)
        _refuse_undetermined(known, labels, weights)
        if joint:
            return joint_table({"joint": joint_test(known, weights)})
        index = pd.Index(labels)
        table = tests_and_intervals(*known.combine(weights), coverage, index)
    return exponentiated(table) if exponentiate else table


def joint_table(tests, name=None):
    """Frame of joint tests.

    Parameters
    ----------
    tests : dict of tuple
        See `joint_test`.
    name : str or None, default=None
        What the index is called.

    Returns
    -------
    table : DataFrame
    """
    columns = ["statistic", "df", "df_error", "p_value"]
    index = pd.Index(list(tests), name=name)
    return pd.DataFrame(list(tests.values()), index, columns).astype({"df": int})


def _refuse_undetermined(known, labels, weights):
    """Refuse combinations that weigh a column which depends on others."""
    given = np.any(weights[:, known.aliased] != 0.0, axis=1)
    wrong = given & known.undetermined(weights)
    if not wrong.any():
        return
    at = int(np.argmax(wrong))
    dependent = known.names[known.aliased & (weights[at] != 0.0)]
    one = len(dependent) == 1
    raise ValueError(
        f"hypotheses: the rows do not determine {labels[at]!r}, because the column"
        f"{'' if one else 's'} {listing(dependent)} depend{'s' * one} on the columns "
        f"before {'it' if one else 'them'} and {'has' if one else 'have'} no "
        "coefficient. Leave it out of the hypothesis, or take columns out of the model."
    )
