"""Data at the edge of what can be estimated: the numbers stay right or say why not.

What `test_hard_cases` asks of hard data in general is asked here of standard errors,
of parts that are separated while the rest is not, and of rows that hardly suffice.
"""

import warnings

import dense_generalized as textbook
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import VI, Laplace, MacKay

SOLVERS = pytest.mark.parametrize("solver", [VI(), Laplace()], ids=["vi", "laplace"])
N, J = 300, 30


@pytest.fixture(scope="module")
def data():
    """Column x, ten rows in each of thirty groups, and the effects of these."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=N), "g": np.arange(N) % J})
    return X, rng.normal(size=J)[X["g"]]


@pytest.fixture(scope="module")
def binary(data):
    X, b = data
    rng = np.random.default_rng(1)
    return X, (rng.random(N) < expit(0.3 + X["x"] + b)).astype(int)


@pytest.fixture(scope="module")
def counts(data):
    X, b = data
    return X, np.random.default_rng(2).poisson(np.exp(0.5 + 0.3 * X["x"] + 0.7 * b))


def fit(model, X, y, *args):
    """Model and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, *args)
    return model, [str(warning.message) for warning in caught]


def check_finite(model):
    assert np.isfinite(model.fixed_effects_["estimate"]).all()
    assert np.isfinite(model.log_likelihood_)
    for name, b in model.random_effects_.items():
        assert np.isfinite(b).all(axis=None)
        assert np.isfinite(model.random_effects_std_[name]).all(axis=None)
        assert np.isfinite(model.random_effects_covariance_[name]).all()


def std(model, group="g"):
    return model.variance_components_["std"].loc[group].iloc[0]


# A cell of a rare category that has one outcome only


@pytest.fixture(scope="module")
def cell(binary):
    """A dummy of 20 rows that are all successes."""
    X, y = binary
    rare = np.arange(N) < 20
    return X.assign(d=rare.astype(float))[["x", "d", "g"]], np.where(rare, 1, y)


@SOLVERS
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_a_cell_with_successes_only_is_named_once_whatever_its_unit(cell, solver, unit):
    X, y = cell
    model, messages = fit(
        MixedLogisticRegressor("g", solver=solver), X.assign(d=unit * X["d"]), y
    )
    check_finite(model)
    assert len(messages) == 1
    assert messages[0].startswith("'d' separates the outcomes")


@SOLVERS
def test_a_cell_without_any_count_is_named_once(counts, solver):
    X, y = counts
    rare = np.arange(N) < 20
    X = X.assign(d=rare.astype(float))[["x", "d", "g"]]
    model, messages = fit(
        MixedPoissonRegressor("g", solver=solver), X, np.where(rare, 0, y)
    )
    check_finite(model)
    assert model.fixed_effects_.loc["d", "std_error"] > 10
    assert len(messages) == 1
    assert messages[0].startswith("'d' separates the outcomes")


@SOLVERS
def test_what_is_not_separated_is_estimated_as_without_the_separated_rows(data, solver):
    """These rows are certain whatever the other parameters are."""
    X, b = data
    rare = np.arange(N) < 20
    for seed in (1, 5):
        draw = np.random.default_rng(seed).random(N)
        y = ((draw < expit(0.3 + X["x"] + b)) | rare).astype(int)
        dummy = X.assign(d=rare.astype(float))[["x", "d", "g"]]
        model, _ = fit(MixedLogisticRegressor("g", solver=solver), dummy, y)
        without, messages = fit(
            MixedLogisticRegressor("g", solver=solver), X[~rare], y[~rare]
        )
        assert not messages
        ours = model.fixed_effects_.loc[["Intercept", "x"]]
        theirs = without.fixed_effects_
        off = (ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
        assert np.abs(off).max() < 0.01
        assert std(model) == pytest.approx(std(without), rel=1e-3)
        assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.03)


@SOLVERS
def test_a_column_far_from_zero_separates_nothing(counts, solver):
    """The intercept of a year is an extrapolation, and as uncertain as that."""
    X, y = counts
    plain, _ = fit(MixedPoissonRegressor("g", solver=solver), X, y)
    year, messages = fit(
        MixedPoissonRegressor("g", solver=solver), X.assign(x=2000 + X["x"]), y
    )
    assert_allclose(year.coef_, plain.coef_, rtol=1e-4)
    assert not messages


@SOLVERS
def test_groups_that_determine_the_outcome_leave_the_intercept_uncertain(data, solver):
    X, _ = data
    y = (X["g"] > 14).astype(int)
    model, _ = fit(MixedLogisticRegressor("g", solver=solver), X[["g"]], y)
    check_finite(model)
    assert std(model) > 3
    # thirty groups of two kinds say little about their mean
    assert model.fixed_effects_.loc["Intercept", "std_error"] > 1
    assert model.score(X[["g"]], y) == 1.0


# So much information in a row that only the groups are uncertain


@SOLVERS
@pytest.mark.parametrize(("level", "spread"), [(13.0, 0.1), (10.0, 2.0)])
def test_with_huge_counts_the_intercept_is_the_mean_of_the_groups(
    data, solver, level, spread
):
    X, b = data
    rng = np.random.default_rng(3)
    y = rng.poisson(np.exp(level + 0.1 * X["x"] + spread * b))
    assert y.max() > 3e5
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X, y)
    assert not messages
    assert model.converged_
    group = np.log(pd.Series(y / np.exp(0.1 * X["x"])).groupby(X["g"]).mean())
    assert model.intercept_ == pytest.approx(group.mean(), abs=0.01)
    assert std(model) == pytest.approx(group.std(ddof=0), rel=0.01)
    error = model.fixed_effects_.loc["Intercept", "std_error"]
    assert error == pytest.approx(std(model) / np.sqrt(J), rel=0.03)


@SOLVERS
def test_with_a_million_trials_a_row_the_intercept_is_the_mean_of_the_groups(
    data, solver
):
    X, b = data
    p = expit(0.3 + X["x"] + b)
    y = np.random.default_rng(4).binomial(1_000_000, p)
    X = X.assign(n=1_000_000)
    model, messages = fit(MixedBinomialRegressor("g", trials="n", solver=solver), X, y)
    assert not messages
    assert_allclose(model.predict(X), y / 1e6, atol=2e-3)
    error = model.fixed_effects_.loc["Intercept", "std_error"]
    assert error == pytest.approx(std(model) / np.sqrt(J), rel=0.03)


@SOLVERS
def test_one_count_of_a_million_among_small_ones(counts, solver):
    X, y = counts
    y = np.where(np.arange(N) == 5, 1_000_000, y)
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X, y)
    assert not messages
    check_finite(model)
    error = model.fixed_effects_.loc["Intercept", "std_error"]
    assert error == pytest.approx(std(model) / np.sqrt(J), rel=0.1)


# Too little information


@SOLVERS
def test_for_single_trials_one_level_a_row_says_nothing(binary, solver):
    X, y = binary
    X = X.drop(columns="g").assign(row=np.arange(N))
    model, messages = fit(MixedLogisticRegressor("row", solver=solver), X, y)
    assert messages == [
        "The variance of 'row' is estimated as zero: the model is the same without it."
    ]
    assert std(model, "row") == 0.0


@SOLVERS
def test_groups_that_are_exactly_alike_have_a_variance_of_zero(data, solver):
    X, _ = data
    x, n = X["x"][: N // J], N // J
    y = np.random.default_rng(2).poisson(np.exp(1 + 0.3 * x))
    X = pd.DataFrame({"x": np.tile(x, J), "g": np.arange(N) // n})
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X, np.tile(y, J))
    assert messages == [
        "The variance of 'g' is estimated as zero: the model is the same without it."
    ]
    assert model.converged_
    assert std(model) == 0.0


@SOLVERS
@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_a_handful_of_rows_gives_finite_numbers_and_one_warning_at_most(
    data, solver, n
):
    X, _ = data
    for kind, y in (
        (MixedLogisticRegressor, [1, 0, 1, 1, 0, 0]),
        (MixedPoissonRegressor, [1, 3, 0, 2, 5, 1]),
        (MixedPoissonRegressor, [1, 0, 0, 0, 2, 0]),
    ):
        few = X[:n].assign(g=np.arange(n) % (1 + n // 2))
        model, messages = fit(kind("g", solver=solver), few, y[:n])
        check_finite(model)
        assert len(messages) <= 1


@SOLVERS
def test_if_no_row_counts_anything_the_message_is_about_zeros(data, solver):
    """No estimate exists, and no setting of a solver would help."""
    X, _ = data
    try:
        messages = fit(MixedPoissonRegressor("g", solver=solver), X, np.zeros(N))[1]
    except ValueError as error:
        messages = [str(error)]
    assert len(messages) == 1
    assert "zero" in messages[0]
    assert "max_iter" not in messages[0]


# Complaints name the row that the user sees


@pytest.mark.parametrize("what", ["count", "successes", "exposure"])
def test_rows_without_weight_are_counted_when_a_row_is_named(counts, what):
    X, _ = counts
    weight = (np.arange(N) > 9).astype(float)
    y, at = np.ones(N), np.arange(N) == 20
    X = X.assign(n=np.where(at, -1.0, 1.0))
    if what == "count":
        model, y = MixedPoissonRegressor("g"), np.where(at, -1.0, y)
    elif what == "successes":
        model, y = MixedBinomialRegressor("g"), np.where(at, 2.0, y)
    else:
        model = MixedPoissonRegressor("g", exposure="n")
    with pytest.raises(ValueError, match="(?i)row 20 "):
        model.fit(X, y, weight)


# Size of a target


def spread_of(model, unit):
    return np.sqrt(model.variance_components_["variance"].to_numpy()) / unit


@pytest.mark.parametrize(
    ("shift", "unit", "tol"),
    [
        (3e10, 1.0, 1e-5),
        (200.0, 1e-7, 1e-5),
        (-7e8, 1e-3, 1e-4),
        (0.0, 1e-150, 1e-9),
        (0.0, 1e-40, 1e-9),
        (0.0, 1e70, 1e-9),
        (0.0, 1e150, 1e-9),
    ],
)
@pytest.mark.parametrize("solver", ["vi", "mackay", "mcem"])
def test_a_target_of_any_size_and_place_has_the_same_model(shift, unit, tol, solver):
    random = np.random.default_rng(0)
    g, x = random.integers(0, 20, 300), random.normal(size=300)
    y = 1 + 2 * x + random.normal(size=20)[g] + random.normal(size=300)
    rows = pd.DataFrame({"x": x, "g": g})
    model = MixedLinearRegressor("g", solver=solver, random_state=0)
    base = clone(model).fit(rows, y)
    model.fit(rows, shift + unit * y)
    assert model.converged_
    assert_allclose(spread_of(model, unit), spread_of(base, 1.0), rtol=tol)
    assert_allclose(model.coef_ / unit, base.coef_, rtol=tol)
    # the density of y / unit, of which n - p contrasts count
    density = model.log_likelihood_ + 298 * np.log(unit)
    assert density == pytest.approx(base.log_likelihood_, abs=300 * tol)
    assert_allclose(
        model.fixed_effects_covariance_ / unit**2,
        base.fixed_effects_covariance_,
        rtol=10 * tol,
    )
    effects = model.random_effects_std_["g"] / unit
    assert_allclose(effects, base.random_effects_std_["g"], rtol=tol)


def test_known_variances_are_in_the_unit_of_a_small_target():
    random = np.random.default_rng(0)
    g = np.arange(100) % 10
    y = random.normal(size=10)[g] + random.normal(size=100)
    rows = pd.DataFrame({"g": g})
    fits = [
        MixedLinearRegressor(
            "g",
            solver=MacKay(covariances={"g": [[unit**2]]}, noise_variance=2.0 * unit**2),
        ).fit(rows, unit * y)
        for unit in (1.0, 1e-120)
    ]
    means = [
        np.bincount(g, y - fit.intercept_ / unit)
        for fit, unit in zip(fits, (1.0, 1e-120), strict=True)
    ]
    for fit, unit, sums in zip(fits, (1.0, 1e-120), means, strict=True):
        effects = fit.random_effects_["g"].to_numpy()[:, 0] / unit
        assert_allclose(effects, sums / (10 + 2.0), rtol=1e-9)


@pytest.mark.parametrize(
    "target",
    [
        lambda x, g: 2.0 * x,
        lambda x, g: 2.0 * x + 3.0 * g,
        lambda x, g: 1e6 * x + 1e-3 * g,
        lambda x, g: 5.0 + 0.0 * x,
        lambda x, g: 1e9 + x,
    ],
)
def test_a_target_without_a_residual_is_told_as_such(target):
    g, x = np.arange(100) % 7, np.sin(np.arange(100.0))
    with pytest.warns(ConvergenceWarning, match="residual variance is estimated as ze"):
        model = MixedLinearRegressor("g").fit(
            pd.DataFrame({"x": x, "g": g}), target(x, g)
        )
    assert not model.converged_


# Weights beyond any number of rows


def test_a_row_of_weight_1e12_does_not_make_the_others_count_less(binary):
    """A tolerance that grew with the weights would stop far below the maximum."""
    X, y = binary
    X, y = X[:60].assign(g=np.arange(60) % 10), np.asarray(y, dtype=float)[:60]
    weight = np.where(np.arange(60) == 0, 1e12, 1.0)
    model, _ = fit(MixedLogisticRegressor("g"), X, y, weight)
    x = X["x"].to_numpy()
    problem = textbook.Problem(
        "binomial",
        np.column_stack([np.ones(60), x]),
        y,
        weight,
        np.zeros(60),
        np.ones(60),
        [X["g"].to_numpy()],
        [np.ones((60, 1))],
    )

    def bound(sd):
        return -0.5 * textbook.bound(problem, [np.array([[sd]])])["value"]

    found = std(model)
    others = [bound(found * factor) for factor in (0.9, 0.97, 1.03, 1.1)]
    assert max(others) < bound(found) + 1e-3


def test_effects_that_depend_on_each_other_under_weights_of_1e9_end_in_words():
    """Of a metric nothing but rounding is left; TensorFlow raises no error of it."""
    g = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0]
    y = [0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1]
    X = pd.DataFrame({"x": 0.1, "g": g})
    model, messages = fit(
        MixedBinomialRegressor("g", random_slopes=["x"], solver=Laplace()),
        X,
        y,
        np.full(16, 1e9),
    )
    assert len(messages) == 1
    assert "depend linearly on each other" in messages[0]
    assert np.isfinite(model.predict(X)).all()


def test_a_step_that_leads_beyond_all_digits_is_not_taken_for_a_gain():
    """Where T is 1e9, a bound of rounding alone was the best one: variance 8e17."""
    x = np.array([9.0, 15, 4, 1, 2, 15, 4, 8, 7, 0, 11, 21])
    g = np.array([0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1])
    y = np.array([7.0, 5, 3, 0, 2, 1, 3, 1, 2, 0, 1, 2])
    model, _ = fit(
        MixedPoissonRegressor(
            "g", random_slopes=["x"], fit_intercept=False, solver=MacKay()
        ),
        pd.DataFrame({"x": x, "g": g}),
        y,
    )
    zeros, ones = np.zeros(12), np.ones(12)
    z = np.column_stack([ones, x / 10])
    problem = textbook.Problem("poisson", z[:, 1:], y, ones, zeros, ones, [g], [z])
    root = np.array([[1.1134, 0.0], [-0.2403, 0.0]])
    bound = -0.5 * textbook.bound(problem, [root])["value"]
    assert model.elbo_ == pytest.approx(bound, abs=1e-3)
    assert_allclose(model.variance_components_["std"], [1.1134, 0.0240], rtol=0.01)
