"""Means of the response at values of some columns, the others averaged over."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from sklearn.base import BaseEstimator

from skglmm._base import threads_for
from skglmm._fitted.report import sentences, warn
from skglmm._fitted.state import family_of
from skglmm._reading.words import plain
from skglmm._sklearn import HasMethods, Interval, StrOptions, validate_params
from skglmm.inference._adjusted import adjusted
from skglmm.inference._cells import make_cells
from skglmm.inference._known import check_asked, known_again
from skglmm.inference._rows import read_again
from skglmm.inference._tables import tests_and_intervals

# Links: the function, its derivative at a mean, and its inverse.
_LINKS = {
    "log": (np.log, lambda mean: 1.0 / mean, np.exp),
    "logit": (logit, lambda mean: 1.0 / (mean * (1.0 - mean)), expit),
}


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "by": [str, Integral, list, tuple, Mapping],
        "contrasts": [None, StrOptions({"pairwise", "reference"})],
        "adjust": [StrOptions({"tukey", "holm", "none"})],
        "over": [StrOptions({"grid", "data"})],
        "scale": [StrOptions({"response", "link"})],
        "df": [StrOptions({"satterthwaite", "kenward-roger", "normal"})],
        "coverage": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def marginal_means(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    by: Any,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    contrasts: str | None = None,
    adjust: str = "tukey",
    over: str = "grid",
    scale: str = "response",
    df: str = "satterthwaite",
    coverage: float = 0.95,
) -> pd.DataFrame:
    r"""Means of the response for values of some columns, and their differences.

    Parameters
    ----------
    model : object
        A fitted mixed model.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of the fit.
    y : array-like of shape (n_samples,)
        Target values of the fit.
    by : str, int, list or dict
        Columns of X whose values the means are for: one, several (all combinations), or
        a dict from columns to lists of values. A column of text, categories or truth
        values has all its categories if no values are given, and a column of numbers
        all its values, if they are at most ten.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the fit.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.
    contrasts : {"pairwise", "reference"} or None, default=None
        None gives the means. ``"pairwise"`` gives all differences between them, the one
        that is listed first minus the other, and ``"reference"`` those from the first.
    adjust : {"tukey", "holm", "none"}, default="tukey"
        What is done about the number of differences. ``"tukey"``: p-values and
        intervals by the studentized range; for ``contrasts="reference"`` Sidak's,
        because Tukey's would be too wide. ``"holm"``: Holm's p-values, and Bonferroni's
        intervals. Without `contrasts` it is not read.
    over : {"grid", "data"}, default="grid"
        What the other columns are. ``"grid"``: all combinations of categories, equally
        often, numbers at their means (those of 0 and 1 as well), offset at its mean and
        exposure 1. ``"data"``: those of each row, weighted by `sample_weight`.
    scale : {"response", "link"}, default="response"
        Whether means are of the response, random effects integrated out as in
        ``predict(level="population")``, or of the linear predictor. There is no
        difference for linear models.
    df : {"satterthwaite", "kenward-roger", "normal"}, default="satterthwaite"
        Degrees of freedom, as in :func:`~skglmm.inference.coefficients`.
    coverage : float, default=0.95
        Probability that an interval holds its mean; that all intervals of differences
        hold at once, unless ``adjust="none"``.

    Returns
    -------
    table : DataFrame
        Indexed by the values of `by`, or by ``"a - b"``, with the columns of
        :func:`~skglmm.inference.coefficients`. NaN, and a warning, where the rows do
        not determine a mean because columns depend on each other.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If a column or a category does not exist, if a column has too many values and
        none are given, if the grid has more than a million rows, if the rows are not
        those of the fit, or if the model has nothing of the kind that is asked for.

    See Also
    --------
    contrasts : Combinations of coefficients.

    Notes
    -----
    A mean over rows i of a cell with weights :math:`w_i` is, with the linear predictor
    :math:`\eta_i = x_i^\top\beta` and the variance :math:`v_i = z_i^\top\Sigma z_i`
    that random effects give it,

    .. math:: \mu = \sum_i w_i\, m(\eta_i, v_i), \qquad
        m(\eta, v) = \mathrm{E}\, g^{-1}(\eta + \sqrt v\, U), \quad U \sim N(0, 1),

    which is :math:`\exp(\eta + v / 2)` for the log link and found by quadrature for the
    logit. Its error is that of the combination :math:`\ell^\top\beta`,
    :math:`\ell = \sum_i w_i\, m'(\eta_i, v_i)\, x_i`, to first order (delta method);
    the variances of random effects count as known. On the scale of the link m is
    :math:`\eta` and this is exact: least-squares means [1]_, as emmeans has them.

    Means of counts and probabilities have the interval that a normal one for their
    logarithm or logit has after the way back, so that it stays within what is possible;
    ``statistic`` and ``p_value`` are of the test that this logarithm or logit is zero,
    a mean of 1 or a probability of one half. Differences are differences of means, also
    for these families, with normal intervals. Logarithms of ratios and odds ratios are
    the differences with ``scale="link"``. The mean of two classes is the probability of
    ``classes_[1]``. That of ordered classes is the expected score, as ``predict_score``
    counts it, with a normal interval that takes thresholds as known relative to the
    first.

    The grid is made of columns of X and read as ``predict`` reads a table. Dummies of
    text follow by themselves, and so does what a formula in ``fixed_effects`` makes, an
    interaction say; a column that was computed from others before the fit does not, and
    is set to its own mean. Write it into the formula, make the cells one column of
    text, or use :func:`~skglmm.inference.contrasts`.

    References
    ----------
    .. [1] Searle, S. R., Speed, F. M. and Milliken, G. A. (1980). Population marginal
       means in the linear model: an alternative to least squares means. The American
       Statistician 34, 216-221.

    Examples
    --------
    >>> from skglmm import MixedLogisticRegressor
    >>> from skglmm.datasets import load_contraception
    >>> from skglmm.inference import marginal_means
    >>> X, y = load_contraception(return_X_y=True, as_frame=True)
    >>> X = X[["age", "urban", "livch", "district"]]
    >>> model = MixedLogisticRegressor("district").fit(X, y)
    >>> means = marginal_means(model, X, y, "urban")
    >>> means[["estimate", "lower", "upper"]].round(2)
           estimate  lower  upper
    urban
    N          0.34   0.31   0.38
    Y          0.50   0.45   0.56
    >>> difference = marginal_means(model, X, y, "urban", contrasts="reference")
    >>> difference[["estimate", "lower", "upper"]].round(2)
           estimate  lower  upper
    Y - N      0.16   0.11   0.21
    """
    with threads_for(X):
        inputs = read_again(model, X, y, sample_weight, groups)
        df = check_asked(model, inputs, df)
        cells = make_cells(model, X, inputs, by, over)
        known = known_again(model, inputs, df)
        means, slopes, lost = _means(model, known, cells, scale)
    link = None if scale == "link" else _LINKS.get(family_of(model).link)
    if contrasts is None:
        # a score has no logarithm or logit that would keep it within what is possible
        way = None if hasattr(model, "predict_score") else link
        table = _table_of_means(known, means, slopes, coverage, cells.index, way)
    else:
        pairs, labels = _pairs(cells.index, contrasts)
        means, slopes, lost = pairs @ means, pairs @ slopes, np.abs(pairs) @ lost > 0.0
        _, std_error, n_df = known.combine(slopes)
        table = tests_and_intervals(means, std_error, n_df, coverage, labels)
    if link is None:
        lost = known.undetermined(slopes)
    table = _without(table, lost, "differences" if contrasts else "means")
    if contrasts is None:
        return table
    method = "sidak" if (contrasts, adjust) == ("reference", "tukey") else adjust
    return adjusted(table, method, coverage, len(cells.index))


def _means(model, known, cells, scale):
    """Means of the cells, their slopes in the coefficients, and which are unknown.

    Returns
    -------
    means : ndarray of shape (k,)
    slopes : ndarray of shape (k, p)
    lost : ndarray of bool of shape (k,)
        Whether the rows of the fit do not determine one of the cell's rows.
    """
    family, weight = family_of(model), cells.weight
    first = len(known.names) - len(model._fitted.fixed_columns)
    means, slopes, lost = [], [], []
    for table in cells.tables():
        rows = model._rows(table, None, "population")[0]
        columns = np.hstack([np.ones((len(rows.X), first)), rows.X])
        mean, slope = rows.mean(), np.ones(len(rows.X))
        lost.append(bool(known.undetermined(columns).any()))
        if scale == "response" and family.link != "identity":
            variance = rows.random_variance()
            mean, slope = model._mean_and_slope(mean, variance)
        means.append(weight @ mean)
        slopes.append((weight * slope) @ columns)
    return np.array(means), np.array(slopes), np.array(lost)


def _table_of_means(known, means, slopes, coverage, index, link):
    """Tests and intervals of means, on the scale of the link if there is one."""
    _, std_error, n_df = known.combine(slopes)
    if link is None:
        return tests_and_intervals(means, std_error, n_df, coverage, index)
    function, derivative, inverse = link
    with np.errstate(divide="ignore", invalid="ignore"):
        table = tests_and_intervals(
            function(means), std_error * derivative(means), n_df, coverage, index
        )
    return table.assign(
        estimate=means,
        std_error=std_error,
        lower=inverse(table["lower"]),
        upper=inverse(table["upper"]),
    )


def _pairs(index, contrasts):
    """Weights of the means in each difference, and what the differences are called."""
    k = len(index)
    if k < 2:
        raise ValueError(
            f"contrasts={contrasts!r} needs two means, and by gives {k}: name a column "
            "with more values."
        )
    if contrasts == "pairwise":
        places = list(zip(*np.triu_indices(k, 1), strict=True))
    else:
        places = [(at, 0) for at in range(1, k)]
    pairs = np.zeros((len(places), k))
    for row, (one, other) in zip(pairs, places, strict=True):
        row[one], row[other] = 1.0, -1.0
    names = [
        f"({', '.join(map(str, label))})" if isinstance(label, tuple) else str(label)
        for label in index
    ]
    return pairs, pd.Index([f"{names[one]} - {names[two]}" for one, two in places])


def _without(table, lost, what):
    """The table without what the rows do not determine, and a warning of it."""
    if not lost.any():
        return table
    example = plain(table.index[int(np.argmax(lost))])
    warn(
        sentences(
            [
                f"the rows do not determine {lost.sum()} of {len(lost)} {what}, such "
                f"as {example!r}, because columns depend on each other: they are NaN"
            ]
        )
    )
    return table.mask(np.tile(lost[:, None], table.shape[1]))
