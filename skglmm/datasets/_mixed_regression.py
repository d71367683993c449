"""Artificial data drawn from a mixed-effects model."""

from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state, check_scalar

FAMILIES = ("gaussian", "poisson", "bernoulli", "binomial")
BALANCES = ("random", "balanced", "power")
MAX_TRIALS = 20
# numpy draws Poisson counts into int64 and refuses means beyond this.
MAX_LOG_MEAN = 43.0


def make_mixed_regression(
    n_samples: int = 200,
    n_features: int = 3,
    *,
    n_groups: int | list = 20,
    n_random_slopes: int = 0,
    family: str = "gaussian",
    coef: ArrayLike | None = None,
    intercept: float = 0.0,
    group_std: ArrayLike = 1.0,
    slope_std: ArrayLike = 1.0,
    covariance: ArrayLike | None = None,
    noise: float = 1.0,
    balance: str = "random",
    nested: bool = False,
    as_frame: bool = True,
    return_effects: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple:
    r"""Random regression problem with grouping factors.

    The features are independent standard normal and the linear predictor is

    .. math::
        \eta_i = \alpha + x_i^\top \beta
            + \sum_f z_{fi}^\top b_{f, g_f(i)}, \qquad
        b_{f, j} \sim N(0, \Sigma_f),

    where :math:`z_{fi}` is 1 for a random intercept, followed in the first
    factor by the first `n_random_slopes` features. The response is drawn from
    `family` around :math:`\eta` with the family's canonical link.

    Parameters
    ----------
    n_samples : int, default=200
        Number of rows.
    n_features : int, default=3
        Number of features, the columns ``x0``, ``x1``, ...
    n_groups : int or list of int, default=20
        Number of levels of the grouping factor, the column ``g0``; a list
        gives several factors ``g0``, ``g1``, ..., crossed with each other
        unless `nested`. A level may happen to have no row.
    n_random_slopes : int, default=0
        Number of features, counted from ``x0``, whose effect varies between
        the levels of the first factor.
    family : {"gaussian", "poisson", "bernoulli", "binomial"}, default="gaussian"
        Distribution of the response: normal, counts (log link), 0 or 1, or
        successes out of 1 to 20 trials (both logit link). The trials are the
        column ``trials`` of X.
    coef : array-like of shape (n_features,), default=None
        Fixed effects. When None they are drawn from a normal distribution with
        standard deviation ``1 / sqrt(n_features)``, so that the features
        explain a variance of about 1 however many they are.
    intercept : float, default=0.0
        Fixed intercept.
    group_std : float or array-like of shape (n_factors,), default=1.0
        Standard deviation of the random intercepts, on the scale of the
        linear predictor.
    slope_std : float or array-like of shape (n_random_slopes,), default=1.0
        Standard deviation of the random slopes, independent of each other and
        of the intercepts.
    covariance : array-like of shape (q, q), default=None
        Covariance of the ``q = 1 + n_random_slopes`` effects of the first
        factor, intercept first. It replaces `slope_std` and the first entry of
        `group_std`.
    noise : float, default=1.0
        Standard deviation of the residuals; only for the Gaussian family.
    balance : {"random", "balanced", "power"}, default="random"
        How rows choose their level, independently for each factor:
        ``"random"`` gives all levels the same probability, ``"balanced"`` the
        same number of rows (up to one), ``"power"`` gives level ``k`` a
        probability proportional to ``1 / (k + 1)``.
    nested : bool, default=False
        Whether each factor is nested within the next one: a level of ``g0``
        then occurs with a single level of ``g1``, and so on. `balance`
        describes the first factor; the levels are spread evenly over their
        parents.
    as_frame : bool, default=True
        Whether X is a pandas DataFrame and y a Series instead of arrays.
    return_effects : bool, default=False
        Whether to return also what the data were drawn from.
    random_state : int, RandomState, Generator or None, default=None
        Source of randomness. An int gives the same data in every call.

    Returns
    -------
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Features, then ``trials`` if the family is binomial, then one column of
        integer labels per factor. An array is float64 throughout.
    y : Series or ndarray of shape (n_samples,)
        Response: float64 for the Gaussian family, otherwise int64.
    effects : :class:`~sklearn.utils.Bunch`
        Only if ``return_effects=True``:

        coef : ndarray of shape (n_features,)
            Fixed effects.
        intercept : float
            Fixed intercept.
        random_effects : dict of str to DataFrame
            For each factor a row per level and a column per effect
            (``"Intercept"``, then the slopes). Levels without rows included.
        covariance : dict of str to ndarray of shape (q, q)
            Covariance the random effects of each factor were drawn from.
        noise : float or None
            Standard deviation of the residuals, None if the family has none.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, size or range; the message says
        which and what would do.

    Examples
    --------
    >>> from skglmm.datasets import make_mixed_regression
    >>> X, y = make_mixed_regression(
    ...     n_samples=500, n_groups=[30, 4], n_random_slopes=1, random_state=0
    ... )
    >>> X.columns.tolist()
    ['x0', 'x1', 'x2', 'g0', 'g1']
    >>> y.shape
    (500,)

    The truth, to compare an estimate with:

    >>> X, y, effects = make_mixed_regression(
    ...     family="binomial", covariance=[[1.0, 0.3], [0.3, 0.5]],
    ...     n_random_slopes=1, return_effects=True, random_state=0
    ... )
    >>> effects.random_effects["g0"].columns.tolist()
    ['Intercept', 'x0']
    >>> effects.covariance["g0"]
    array([[1. , 0.3],
           [0.3, 0.5]])
    >>> bool((y <= X["trials"]).all())
    True
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_features, "n_features", Integral, min_val=0)
    check_scalar(n_random_slopes, "n_random_slopes", Integral, min_val=0)
    if n_random_slopes > n_features:
        raise ValueError(
            f"n_random_slopes={n_random_slopes} is more than n_features={n_features}: "
            "the slopes belong to the first features, so ask for as many at most."
        )
    _check_choice("family", family, FAMILIES)
    _check_choice("balance", balance, BALANCES)
    sizes = _check_sizes(n_groups, nested)
    intercept = float(_vector("intercept", intercept, 1, "one number")[0])
    noise = _deviations("noise", noise, 1, "one number")[0]
    names = [f"g{f}" for f in range(len(sizes))]
    covariances = _covariances(
        len(sizes), n_random_slopes, group_std, slope_std, covariance
    )
    if coef is not None:
        coef = _vector(
            "coef", coef, n_features, f"{n_features} numbers, one per feature"
        )

    rng = _generator(random_state)
    if coef is None:
        coef = rng.standard_normal(n_features) / np.sqrt(max(n_features, 1))
    # Features as rows: each is contiguous, and the frame takes them as they are.
    features = rng.standard_normal((n_features, n_samples))
    codes = _draw_codes(rng, n_samples, sizes, balance, nested)
    b = [
        rng.standard_normal((size, len(sigma))) @ _root(sigma)
        for size, sigma in zip(sizes, covariances, strict=True)
    ]
    eta = _linear_predictor(features, codes, coef, intercept, b)
    y, trials = _draw_response(rng, eta, family, noise)

    columns = {f"x{k}": features[k] for k in range(n_features)}
    if trials is not None:
        columns["trials"] = trials
    columns.update(zip(names, codes, strict=True))
    if as_frame:
        X, y = pd.DataFrame(columns, copy=False), pd.Series(y, name="y", copy=False)
    else:
        X = _as_array(columns, n_samples)
    if not return_effects:
        return X, y
    effects = Bunch(
        coef=coef,
        intercept=intercept,
        random_effects=_as_frames(names, b, n_random_slopes),
        covariance=dict(zip(names, covariances, strict=True)),
        noise=float(noise) if family == "gaussian" else None,
    )
    return X, y, effects


def _linear_predictor(features, codes, coef, intercept, effects):
    """Linear predictor (n_samples,) for features as rows."""
    eta = coef @ features
    eta += intercept
    for b, code in zip(effects, codes, strict=True):
        eta += b[code, 0]
        for k in range(1, b.shape[1]):
            eta += b[code, k] * features[k - 1]
    return eta


def _as_array(columns, n_samples):
    """Columns as an array of floats (n_samples, n_columns)."""
    X = np.empty((len(columns), n_samples))
    for row, column in zip(X, columns.values(), strict=True):
        row[:] = column
    return X.T


def _as_frames(names, effects, n_random_slopes):
    """For each factor a frame with a row a level and a column an effect."""
    labels = ["Intercept", *(f"x{k}" for k in range(n_random_slopes))]
    return {
        name: pd.DataFrame(b, columns=labels[: b.shape[1]]).rename_axis(name)
        for name, b in zip(names, effects, strict=True)
    }


def _generator(random_state):
    """Generator seeded from anything scikit-learn takes for `random_state`."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    legacy = check_random_state(random_state)
    return np.random.default_rng(legacy.randint(0, 2**32, size=4, dtype=np.uint32))


def _draw_codes(rng, n_samples, sizes, balance, nested):
    """Level of each row in each factor, one (n_samples,) array per factor."""
    if not nested:
        return [_draw_levels(rng, n_samples, size, balance) for size in sizes]
    codes = [_draw_levels(rng, n_samples, sizes[0], balance)]
    for size, parents in zip(sizes[:-1], sizes[1:], strict=True):
        parent = np.arange(size) % parents
        codes.append(parent[codes[-1]])
    return codes


def _draw_levels(rng, n_samples, size, balance):
    """Level of each row in one factor."""
    if balance == "random":
        return rng.integers(size, size=n_samples)
    if balance == "balanced":
        counts = np.full(size, n_samples // size)
        counts[: n_samples % size] += 1
    else:
        weights = 1.0 / np.arange(1, size + 1)
        # Multinomial counts in random order are independent draws, without a
        # search of the distribution function for every row.
        counts = rng.multinomial(n_samples, weights / weights.sum())
    levels = np.repeat(np.arange(size), counts)
    rng.shuffle(levels)
    return levels


def _draw_response(rng, eta, family, noise):
    """Response given the linear predictor, and the trials (None but for binomial)."""
    if family == "gaussian":
        return eta + noise * rng.standard_normal(len(eta)), None
    if family == "poisson":
        if eta.max() > MAX_LOG_MEAN:
            raise ValueError(
                f"the linear predictor of row {eta.argmax()} is {eta.max():.3g}: an "
                "expected count of its exponential cannot be drawn as an integer. "
                "Lower coef, intercept, group_std, slope_std or covariance."
            )
        return rng.poisson(np.exp(eta)).astype(np.int64, copy=False), None
    if family == "bernoulli":
        return (rng.random(len(eta)) < expit(eta)).astype(np.int64), None
    trials = rng.integers(1, MAX_TRIALS + 1, size=len(eta))
    return rng.binomial(trials, expit(eta)).astype(np.int64, copy=False), trials


def _root(sigma):
    """Matrix R with R' R = sigma; sigma may be singular."""
    values, vectors = np.linalg.eigh(sigma)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def _covariances(n_factors, n_random_slopes, group_std, slope_std, covariance):
    """Covariance of the effects of each factor."""
    group_std = _deviations(
        "group_std", group_std, n_factors, f"one number or {n_factors}, one per factor"
    )
    slope_std = _deviations(
        "slope_std",
        slope_std,
        n_random_slopes,
        f"one number or {n_random_slopes}, one per random slope",
    )
    covariances = [np.array([[std**2]]) for std in group_std]
    covariances[0] = np.diag(np.r_[group_std[0], slope_std] ** 2)
    if covariance is None:
        return covariances
    sigma = np.array(covariance, dtype=np.float64)
    q = 1 + n_random_slopes
    if sigma.shape != (q, q):
        raise ValueError(
            f"covariance has shape {sigma.shape}, but factor 'g0' has an intercept and "
            f"{n_random_slopes} random slopes: give a matrix of shape ({q}, {q})."
        )
    if not np.isfinite(sigma).all() or not np.allclose(sigma, sigma.T):
        raise ValueError(
            f"covariance must be a finite symmetric matrix, got {sigma.tolist()}."
        )
    smallest = np.linalg.eigvalsh(sigma)[0]
    if smallest < -1e-10 * max(np.abs(sigma).max(), 1.0):
        raise ValueError(
            f"covariance has the negative eigenvalue {smallest:.3g}, so no effects can "
            "have it: lower the covariances or raise the variances on its diagonal."
        )
    covariances[0] = sigma
    return covariances


def _check_choice(name, value, valid):
    if value not in valid:
        raise ValueError(f"{name} must be one of {list(valid)}, got {value!r}.")


def _check_sizes(n_groups, nested):
    """Numbers of levels as a list, one per factor."""
    sizes = [n_groups] if np.ndim(n_groups) == 0 else list(n_groups)
    if not sizes:
        raise ValueError("n_groups is empty: give the number of levels of each factor.")
    for f, size in enumerate(sizes):
        check_scalar(size, f"n_groups of factor 'g{f}'", Integral, min_val=1)
    if nested and len(sizes) < 2:
        raise ValueError(
            f"nested=True needs two factors or more, but n_groups={n_groups} is one: "
            "give a list such as n_groups=[30, 10]."
        )
    if nested and any(a < b for a, b in zip(sizes[:-1], sizes[1:], strict=True)):
        raise ValueError(
            f"n_groups={sizes} cannot be nested: each factor lies within the next, so "
            "it needs at least as many levels. List the finest factor first."
        )
    return [int(size) for size in sizes]


def _vector(name, value, size, expected):
    """Finite float vector of a given size; a single number is repeated."""
    vector = np.array(value, dtype=np.float64)
    if vector.ndim == 0 and name != "coef":
        vector = np.full(size, vector)
    if vector.shape != (size,):
        raise ValueError(f"{name} has shape {vector.shape}: give {expected}.")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite, got {value}.")
    return vector


def _deviations(name, value, size, expected):
    """Vector of standard deviations."""
    vector = _vector(name, value, size, expected)
    if (vector < 0).any():
        raise ValueError(
            f"{name} is a standard deviation, got the negative {value}: give zero or "
            "more."
        )
    return vector
