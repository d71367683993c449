"""Is a model right? Checks of a fit against what it says of its own data."""

from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import kstest, shapiro
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skglmm._base import threads_for
from skglmm._sklearn import HasMethods, Interval, check_sample_weight, validate_params
from skglmm.inference._drawn import drawn, observed

# P-values below it are more than chance in the sentences.
_CHANCE = 0.05
# Levels that Shapiro and Wilk's test is made for, and has a p-value from.
_MOST_LEVELS, _LEAST_LEVELS = 5000, 3
# Normal score beyond which a row is counted in the sentence on outliers.
_FAR = 3.0


@validate_params(
    {
        "model": [HasMethods(["fit", "predict"])],
        "n_samples": [Interval(Integral, 19, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def diagnostics(
    model: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_samples: int = 250,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    r"""Checks of a fitted model against its own data, each with a sentence.

    Parameters
    ----------
    model : object
        A fitted mixed model.
    X : dataframe or array-like of shape (n_samples, n_features)
        Columns of the fit.
    y : array-like of shape (n_samples,)
        Target values of the fit.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the fit, whole numbers: a row counts as often as it says.
    groups : array-like or dataframe of shape (n_samples, n_factors), default=None
        Group labels, for a model that was fitted with ``fit(groups=)``.
    n_samples : int, default=250
        Simulated data sets for the checks of dispersion and zeros, whose p-values are
        multiples of 2 / (n_samples + 1).
    random_state : int, RandomState instance or None, default=None
        An integer gives the same table each time.

    Returns
    -------
    table : DataFrame
        Indexed by the name of the ``check``, with the columns ``statistic``,
        ``p_value`` (small where the data contradict the model) and ``sentence``:

        ``"dispersion"``
            Sum of squares of y less its mean, as a multiple of what the model expects.
            Counts, and successes among several trials.
        ``"zeros"``
            Rows of zero, as a multiple of what the model expects. The same models, but
            not ordered classes.
        ``"outliers"``
            The largest quantile residual, in absolute value.
        ``"uniformity"``
            Kolmogorov and Smirnov's distance of quantile residuals from the standard
            normal distribution.
        ``"normality(group, effect)"``
            Shapiro and Wilk's W of the effects of the levels, for each effect: 1 where
            they are normal. Of the first 5,000 levels if there are more. NaN with less
            than 3 levels or without variance.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If the rows are not those of the fit, or weights are no whole numbers.

    See Also
    --------
    residuals : Quantile residuals, which these checks are made of.

    Notes
    -----
    All checks share one draw of the effects from their posterior, b. If the model is
    right, y and b have the joint distribution of responses and effects: b is normal
    with the estimated covariance, and given b the rows of y are independent with known
    distributions [1]_. So responses that are simulated given the same b are as good
    as y, and p-values are uniform, but for the estimation of variances and dispersion,
    which makes them a little too large, and for the posterior of counts and
    proportions, which is approximated by a normal one. Effects at their posterior
    means, or simulated anew for each data set, would not do: the first have seen y, the
    second hide what is wrong within levels behind the variance between them.

    P-values of dispersion and zeros count simulated data sets on the nearer side and
    are doubled, that of the largest residual r of n is
    :math:`1 - (1 - 2 \Phi(-|r|))^n`, and the others are those of the tests. A normal
    response has an estimated variance and classes have none of their own: there is
    nothing to check of the dispersion. Another `random_state` gives another draw. With
    the numbers of rows where a p-value finds the smallest flaw the statistic says
    whether it matters.

    References
    ----------
    .. [1] Waagepetersen, R. (2006). A simulation-based goodness-of-fit test for random
       effects in generalized linear mixed models. Scandinavian Journal of Statistics
       33, 721-731.

    Examples
    --------
    Ticks on chicks vary more than a Poisson variable does within a brood:

    >>> from skglmm import MixedPoissonRegressor
    >>> from skglmm.datasets import load_grouseticks
    >>> from skglmm.inference import diagnostics
    >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
    >>> X = X[["cHEIGHT", "BROOD"]]
    >>> model = MixedPoissonRegressor(groups="BROOD").fit(X, y)
    >>> table = diagnostics(model, X, y, random_state=0)
    >>> table["p_value"].round(3)["dispersion"]
    np.float64(0.008)
    """
    random = check_random_state(random_state)
    with threads_for(X):
        found = observed(model, X, y, sample_weight, groups, "conditional")
        rows = _counted(sample_weight, X, found)
        eta, effects = drawn(found, random)
        y, eta, trials = found.y[rows], eta[rows], found.trials[rows]
        size = None if found.size is None else found.size[rows]
        family, checks = found.family, []
        if not family.is_linear and not (family.is_bounded and np.all(trials == 1)):
            checks += _simulated(family, y, eta, size, n_samples, random)
        scores = family.normal_scores(y, eta, np.zeros(len(y)), size, random)
        checks += [_outliers(scores, _label(X, rows)), _uniformity(scores)]
        checks += _effects(model, effects)
    names, *columns = zip(*checks, strict=True)
    return pd.DataFrame(
        dict(zip(("statistic", "p_value", "sentence"), columns, strict=True)),
        index=pd.Index(names, name="check"),
    )


def _counted(sample_weight, X, found):
    """Positions of the rows, each as often as its weight says."""
    rows = np.arange(len(found.y))
    if sample_weight is None:
        return rows
    weight = check_sample_weight(sample_weight, found.y)
    if np.any(weight != np.floor(weight)):
        at = int(np.flatnonzero(weight != np.floor(weight))[0])
        raise ValueError(
            f"sample_weight holds {weight[at]:g} in row {at}: diagnostics count rows, "
            "and weights must be whole numbers. residuals() takes any."
        )
    return np.repeat(rows, weight.astype(np.int64))


def _label(X, rows):
    """What a user calls the row at a place of `rows`."""
    index = X.index if isinstance(X, pd.DataFrame) else None
    return lambda at: rows[at] if index is None else index[rows[at]]


def _simulated(family, y, eta, size, n_samples, random):
    """Checks of dispersion and zeros, by responses given the same effects."""
    none = np.zeros(len(eta))
    mean = family.integrated_mean(eta, none)
    weight = np.ones(len(y)) if size is None else np.asarray(size, dtype=float)
    expected = np.sum(weight * family.variance(eta, none, size))

    def statistics(values):
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sum(weight * (values - mean) ** 2) / expected
        return spread, np.sum(values == 0.0)

    drawn_ones = np.array(
        [statistics(family.sample(eta, size, random)) for _ in range(n_samples)]
    )
    ratio, zeros = statistics(y)
    zeros_expected = drawn_ones[:, 1].mean()
    p_ratio = _two_sided(ratio, drawn_ones[:, 0])
    sentence = (
        f"responses vary {ratio:.3g} times as much as the model says"
        f"{_verdict(p_ratio, ratio > 1.0, 'more', 'less')}"
    )
    yield "dispersion", float(ratio), p_ratio, sentence
    # the lowest of ordered classes is no number
    if family.name != "ordinal" and (zeros or zeros_expected):
        share = zeros / zeros_expected if zeros_expected else np.inf
        p_zeros = _two_sided(zeros, drawn_ones[:, 1])
        sentence = (
            f"observed zeros are {share:.3g} times those expected ({zeros:g} and "
            f"{zeros_expected:.1f}){_verdict(p_zeros, share > 1.0, 'more', 'fewer')}"
        )
        yield "zeros", float(share), p_zeros, sentence


def _two_sided(value, values):
    """Monte Carlo p-value of both sides."""
    sides = np.sum(values <= value), np.sum(values >= value)
    return float(min(2.0 * (1 + min(sides)) / (1 + len(values)), 1.0))


def _verdict(p_value, above, more, less):
    if p_value >= _CHANCE:
        return ": within chance"
    return f": {more if above else less} than chance allows"


def _outliers(scores, label):
    at = int(np.argmax(np.abs(scores)))
    largest, n = float(np.abs(scores[at])), len(scores)
    p_value = float(-np.expm1(n * np.log1p(-2.0 * ndtr(-largest))))
    far, expected = int(np.sum(np.abs(scores) > _FAR)), 2.0 * n * ndtr(-_FAR)
    verdict = "within chance" if p_value >= _CHANCE else "farther than chance allows"
    sentence = (
        f"the farthest row is {label(at)}, {largest:.2f} standard deviations off: "
        f"{verdict}; {far} of {n} are beyond {_FAR:g}, {expected:.1f} expected"
    )
    return "outliers", largest, p_value, sentence


def _uniformity(scores):
    scores = np.clip(scores, ndtri(1e-300), -ndtri(1e-300))
    found = kstest(scores, "norm")
    verdict = "within chance" if found.pvalue >= _CHANCE else "more than chance allows"
    sentence = (
        "probabilities of the responses are up to "
        f"{found.statistic:.3f} from uniform ones: {verdict}"
    )
    return "uniformity", float(found.statistic), float(found.pvalue), sentence


def _effects(model, effects):
    """Checks of the normality of each effect of each factor."""
    for term, b in zip(model._fitted.terms, effects, strict=True):
        names = model.random_effects_[term.name].columns
        variances = np.diag(model.random_effects_covariance_[term.name])
        for name, values, variance in zip(names, b.T, variances, strict=True):
            check = f"normality({term.name}, {name})"
            values = values[:_MOST_LEVELS]
            if len(values) < _LEAST_LEVELS or not variance > 0.0:
                why = (
                    "no variance" if len(values) >= _LEAST_LEVELS else "too few levels"
                )
                yield check, np.nan, np.nan, f"{why}: nothing to check"
                continue
            found = shapiro(values)
            normal = found.pvalue >= _CHANCE
            sentence = (
                f"effects of {len(values)} levels are "
                f"{'as' if normal else 'not'} normal as chance allows"
            )
            sentence = sentence if normal else sentence.replace(" as chance allows", "")
            yield check, float(found.statistic), float(found.pvalue), sentence
