"""Gaps of columns that are properties of levels, such as the age of a patient."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime, minimize
from scipy.stats import multivariate_normal

from skglmm import MixedLinearRegressor, MixedLogisticRegressor, inference
from skglmm._families import FAMILIES
from skglmm._fixed import imputed, latent, pooling
from skglmm._fixed.level_columns import Children, LevelColumns, levels_of_columns
from skglmm._problem.design import Factor, build_design
from skglmm._problem.problem import Problem
from skglmm.solvers import VI


def with_gaps(seed, n_levels=40, size=6, share=0.3):
    """Rows of groups whose age is unknown, more often where y is large; whole ages."""
    random = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_levels), size)
    z = random.normal(size=n_levels)
    age = 0.5 * z + np.sqrt(0.75) * random.normal(size=n_levels)
    x = random.normal(size=len(g)) + 0.5 * z[g]
    y = (
        1.0
        + 0.8 * age[g]
        + 0.5 * x
        + 0.3 * z[g]
        + 0.7 * random.normal(size=n_levels)[g]
    )
    y += random.normal(size=len(g))
    mean = np.bincount(g, y) / size
    chance = 1.0 / (1.0 + np.exp((mean.mean() - mean) / mean.std()))
    gaps = (random.random(n_levels) < chance * share / chance.mean())[g]
    X = pd.DataFrame({"age": age[g], "z": z[g], "x": x, "g": g})
    return X.assign(age=X["age"].mask(gaps)), y, X["age"]


@pytest.fixture
def few_tables(monkeypatch):
    monkeypatch.setattr(imputed, "_BURN_IN", 2)
    monkeypatch.setattr(imputed, "_FEWEST", 4)
    monkeypatch.setattr(pooling, "_ERROR", np.inf)


class Known:
    """A distribution of the columns that is known, in the place of a drawn one."""

    def __init__(self, mean, precision):
        self.answer = mean, precision, None

    def draw(self, values, known, random):
        return self.answer


def test_values_are_drawn_from_their_exact_posterior():
    """Two columns of a level given y, effects out, and a column of the rows.

    The posterior is that of a dense normal distribution of all of them.
    """
    random = np.random.default_rng(0)
    n_levels, noise = 3, 0.7
    codes = np.array([0, 0, 0, 1, 1, 2], dtype=np.int32)
    times = np.array([1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    z = random.normal(size=(6, 2)) + [1.0, 0.0]
    root = np.array([[0.8, 0.0], [0.3, 0.5]])
    slopes, of_u = np.array([1.5, -0.6, 0.4]), np.array([[0.7, 0.2]])
    mean, cover = random.normal(size=(n_levels, 2)), np.array([[1.0, 0.4], [0.4, 0.8]])
    child_noise, base, child_base = 0.5, random.normal(size=6), random.normal(size=6)
    y, child = 2.0 * random.normal(size=6), random.normal(size=6)
    # u of level 2: the first one is known
    holes = np.ones((6, 3), dtype=bool)
    holes[5, 0], holes[:, 2] = False, False
    design = build_design([Factor(codes, n_levels, 2, False)])
    codes = design.factors[0].codes
    problem = Problem(design, np.zeros((6, 2)), (z,), times)
    rows = np.zeros((6, 3))
    rows[:, 2], rows[5, 0] = child, 0.9
    level = LevelColumns(
        problem, 0, np.array([0, 1]), rows, np.array([], int), holes, VI()
    )
    level._model = Known(mean, np.linalg.inv(cover))
    response = latent.Normal(y, noise, (root,))
    effects, draws, drawn_b = (np.zeros((2, n_levels)),), [], []
    generator = np.random.RandomState(0)
    for _ in range(4000):
        eta = base + rows @ slopes + np.einsum("ij,ji->i", z, effects[0][:, codes])
        away = (child - child_base - rows[:, :2] @ of_u[0])[:, None]
        children = Children(away, np.eye(1) / child_noise, of_u, np.array([0, 1]))
        level.draw(rows, eta, slopes, children, response, effects, generator)
        draws.append(rows[level._first, :2].copy())
        drawn_b.append(effects[0].T.copy())
    assert_array_equal(rows[:3, :2], rows[[0, 0, 0], :2])
    draws, drawn_b = np.array(draws), np.array(drawn_b)
    for j in range(n_levels):
        i = np.flatnonzero(codes == j)
        left = y[i] - base[i] - slopes[2] * child[i], child[i] - child_base[i]
        maps = slopes[:2], z[i], of_u
        spreads = noise / times[i], np.full(len(i), child_noise), cover, root @ root.T
        known = 0.9 if 5 in i else None
        exact, spread = exact_posterior(left, maps, spreads, mean[j], known)
        found = np.column_stack([draws[:, j], drawn_b[:, j]])
        sd = np.sqrt(np.maximum(np.diag(spread), 1e-12))
        assert np.all(np.abs(found.mean(axis=0) - exact) < 4 * sd / np.sqrt(4000))
        assert_allclose(np.cov(found.T), spread, atol=0.08 * sd.max() ** 2 + 1e-9)


def exact_posterior(left, maps, spreads, mean, known):
    """Of two columns and two effects of a level, from the joint normal distribution."""
    (of_u, z, of_child), (noise, child_noise, cover, covariance) = maps, spreads
    one, prior = np.ones((len(z), 1)), np.zeros((4, 4))
    of_y = np.column_stack([one * of_u, z])
    H = np.vstack([of_y, np.column_stack([one * of_child, np.zeros((len(z), 2))])])
    prior[:2, :2], prior[2:, 2:] = cover, covariance
    center, seen, R = (
        np.r_[mean, 0.0, 0.0],
        np.concatenate(left),
        [*noise, *child_noise],
    )
    if known is not None:
        H, seen, R = np.vstack([H, np.eye(4)[:1]]), np.r_[seen, known], [*R, 1e-12]
    gain = prior @ H.T @ np.linalg.inv(H @ prior @ H.T + np.diag(R))
    return center + gain @ (seen - H @ center), prior - gain @ H @ prior


def test_other_responses_share_one_unknown_number():
    """The density of a part that rows of a level share, by integration on a grid."""
    y, eta = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.3, -0.2, 0.5, 0.0])
    codes, times = (
        np.array([0, 0, 0, 1], dtype=np.int32),
        np.array([1.0, 2.0, 1.0, 1.0]),
    )
    design = build_design([Factor(codes, 2)])
    problem = Problem(design, np.zeros((4, 1)), (None,), times)
    response = latent.Other(FAMILIES["binomial"], y, None)
    now, mean, variance = np.array([0.1]), np.array([0.4]), np.array([0.8])
    shared = response.shared(problem, 0, eta + [0.1, 0.1, 0.1, 0.0], None)
    random = np.random.RandomState(0)
    u = np.ravel(
        [shared.draw(np.array([0]), now, mean, variance, random) for _ in range(1500)]
    )
    grid = np.linspace(-8.0, 8.0, 4001)
    at = eta[:3, None] + grid
    log = times[:3] @ (y[:3, None] * at - np.logaddexp(0.0, at))
    density = np.exp(log - 0.5 * (grid - mean) ** 2 / variance)
    density /= density.sum()
    exact = density @ grid
    sd = np.sqrt(density @ (grid - exact) ** 2)
    assert abs(u.mean() - exact) < 4 * sd / np.sqrt(1500)
    assert_allclose(u.std(), sd, rtol=0.08)


def observed_objective(theta, X, y):
    """-log p(y, age where it is known | z, x)."""
    beta, (a0, a1, a2) = theta[:4], theta[4:7]
    between, noise, spread = np.exp(theta[7:])
    value = 0.0
    for _, rows in X.groupby("g"):
        at, n = rows.index, len(rows)
        mean_age = a0 + a1 * rows["z"].iloc[0] + a2 * rows["x"].mean()
        mean = beta[0] + beta[1] * mean_age + beta[2] * rows["z"] + beta[3] * rows["x"]
        of_y = (between + beta[1] ** 2 * spread) * np.ones((n, n)) + noise * np.eye(n)
        with_age = np.full((n, 1), beta[1] * spread)
        covariance = np.block([[np.full((1, 1), spread), with_age.T], [with_age, of_y]])
        away = np.r_[rows["age"].iloc[0] - mean_age, y[at] - mean]
        there = ~np.isnan(away)
        value -= multivariate_normal.logpdf(
            away[there], cov=covariance[there][:, there]
        )
    return value


@pytest.fixture(scope="module")
def problem():
    X, y, _ = with_gaps(3)
    model = MixedLinearRegressor("g", missing="model", random_state=0)
    return X, y, model.fit(X, y)


@pytest.mark.slow
def test_estimates_are_those_of_the_likelihood_of_what_was_observed(problem):
    X, y, model = problem
    start = np.r_[1.0, 0.8, 0.3, 0.5, 0.0, 0.5, 0.0, -0.7, 0.0, -0.3]
    best = minimize(observed_objective, start, (X, y), method="BFGS")
    hessian = approx_fprime(
        best.x, lambda t: approx_fprime(t, observed_objective, 1e-5, X, y), 1e-4
    )
    std = np.sqrt(np.diag(np.linalg.inv(0.5 * (hessian + hessian.T))))[:4]
    found = model.fixed_effects_
    # a quarter of a standard error: Monte Carlo error and REML
    assert_allclose((found["estimate"] - best.x[:4]) / std, 0.0, atol=0.25)
    assert_allclose(found["std_error"], std, rtol=0.15)


@pytest.mark.slow
def test_intervals_cover(seeds=60):
    """The coefficient of the age lies in its interval; the gaps leave no bias."""
    found = []
    for seed in range(seeds):
        X, y, whole = with_gaps(1000 + seed)
        model = MixedLinearRegressor("g", missing="model", random_state=seed).fit(X, y)
        complete = MixedLinearRegressor("g").fit(X.assign(age=whole), y)
        of_age = model.fixed_effects_.loc["age"], complete.fixed_effects_.loc["age"]
        found.append(np.ravel(of_age))
    found = np.array(found)
    away = np.abs(found[:, 0] - 0.8) / found[:, 1]
    assert 0.90 <= np.mean(away < 1.96) <= 0.99
    error = np.std(found[:, 0] - found[:, 2]) / np.sqrt(seeds)
    assert abs(np.mean(found[:, 0] - found[:, 2])) < 3 * error
    assert np.mean(found[:, 1]) > np.mean(found[:, 3])
    # the errors that are stated are those that are made
    assert_allclose(np.mean(found[:, 1] ** 2), np.var(found[:, 0]), rtol=0.5)


def test_known_rows_of_a_level_fill_in_the_others():
    X, y, whole = with_gaps(0)
    X["age"] = whole.mask(np.arange(len(X)) % 6 > 3)
    model = MixedLinearRegressor("g", missing="model", random_state=0).fit(X, y)
    complete = MixedLinearRegressor("g").fit(X.assign(age=whole), y)
    assert_array_equal(model.coef_, complete.coef_)
    assert model.log_likelihood_ == complete.log_likelihood_
    assert_allclose(
        inference.coefficients(model, X, y),
        inference.coefficients(complete, X.assign(age=whole), y),
    )


def test_few_levels_that_agree_are_named():
    X, y, whole = with_gaps(0)
    group = X["g"].to_numpy()
    X["age"] = whole.mask((np.arange(len(X)) % 6 > 0) & (group > 2))
    X.loc[group > 20, "age"] = np.nan
    X["age"] = X["age"].where(np.arange(len(X)) % 6 < 2)
    model = MixedLinearRegressor("g", missing="model", random_state=0)
    with pytest.warns(UserWarning, match="'age' was taken for a property.*the 3 of"):
        model.fit(X, y)


@pytest.mark.filterwarnings("ignore:The variance of")
def test_the_coarsest_factor_owns_a_column(few_tables):
    X, y, _ = with_gaps(0)
    inner = X["g"] * 2 + (np.arange(len(X)) % 2)
    factors = [
        Factor(inner.to_numpy(np.int32), 80),
        Factor(X["g"].to_numpy(np.int32), 40),
    ]
    assert levels_of_columns(X[["z", "age"]].to_numpy(), factors) == {1: 1}
    model = MixedLinearRegressor(
        ["g", "inner"], random_slopes={"g": ["x"]}, missing="model", random_state=0
    ).fit(X.assign(inner=inner), y)
    assert np.all(np.isfinite(model.coef_))


@pytest.mark.filterwarnings("ignore:The variance of")
def test_nested_properties_gaps_of_rows_and_other_families(few_tables):
    """A class and a school have gaps of their own, and so have rows."""
    X, y, _ = with_gaps(0)
    random = np.random.default_rng(0)
    school = X["g"] // 2
    size = random.normal(size=20)[school]
    X = X.assign(
        school=school,
        size=pd.Series(size).mask(random.random(20)[school] < 0.2),
        x=X["x"].mask(random.random(len(X)) < 0.2),
        w=random.integers(1, 3, len(X)).astype(float),
    )
    model = MixedLinearRegressor(
        ["school", "g"], missing="model", precision="w", random_state=0
    ).fit(X, y, np.arange(len(X)) % 3 + 1)
    assert list(model.missing_information_.index) == [
        *("Intercept", "age", "z", "x", "size")
    ]
    assert np.all(model.missing_information_ > 0.0)
    classes = MixedLogisticRegressor("g", missing="model", random_state=0)
    classes.fit(X.drop(columns=["w", "size", "school"]), y > 1)
    assert np.all(np.isfinite(classes.coef_))


def test_predictions_know_the_properties_of_levels(problem):
    """What was drawn of a level goes with its effect: the sum is known the better."""
    X, y, model = problem
    known = X["age"].notna().to_numpy()
    level = X.loc[known, "g"].iloc[0]
    rows = X[X["g"] == level]
    without = rows.assign(age=np.nan)
    assert_allclose(model.predict(without), model.predict(rows), rtol=1e-12)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    # exact means of the responses' levels: their residuals sum to little where n is 6
    fit = pd.Series(y - model.predict(X)).groupby(X["g"]).mean()
    gaps = X.groupby("g")["age"].first().isna()
    assert fit[gaps].std() < 1.5 * fit[~gaps].std()
    away = model.predict(X, level="population") - model.predict(X)
    assert np.all(np.isfinite(away))
