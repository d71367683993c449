"""The evidence lower bound: value, slope and optimum, and what the optimum is worth."""

import dense
import dense_generalized as textbook
import enumeration
import numpy as np
import oracle_problems as oracles
import pandas as pd
import pytest
from engine_problems import Engine, random_problem
from generalized_fits import fitted
from numpy.testing import assert_allclose

from skglmm import MixedLogisticRegressor, MixedPoissonRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI

# Family, relation of each factor to the one before it, levels, effects, covariance,
# and which factors keep their posterior covariances (None: all).
CROSSED, NESTED = "crossed", "nested"
BOUNDS = {
    "one factor": ("binomial", [CROSSED], [8], [1], ["full"], None),
    "one factor, counts": ("poisson", [CROSSED], [8], [1], ["full"], None),
    "correlated slope": ("poisson", [CROSSED], [8], [2], ["full"], None),
    "three effects": ("binomial", [CROSSED], [6], [3], ["full"], None),
    "nested, slope within": (
        "poisson",
        [CROSSED, NESTED],
        [4, 3],
        [1, 2],
        ["full", "diag"],
        None,
    ),
    "crossed": ("poisson", [CROSSED] * 2, [7, 5], [1, 1], ["full"] * 2, None),
    "slopes on the core": (
        "binomial",
        [CROSSED] * 2,
        [13, 5],
        [1, 2],
        ["full"] * 2,
        None,
    ),
    "mean field": (
        "binomial",
        [CROSSED] * 2,
        [7, 5],
        [1, 1],
        ["full"] * 2,
        (False, False),
    ),
    "mean field with slopes": (
        "poisson",
        [CROSSED] * 2,
        [7, 5],
        [1, 2],
        ["full", "scalar"],
        (False, False),
    ),
    "partial": (
        "binomial",
        [CROSSED] * 3,
        [8, 6, 3],
        [2, 1, 1],
        ["full"] * 3,
        (False, False, True),
    ),
}
# What the couplings add to second order, where nothing is dense.
COUPLED = ["mean field", "mean field with slopes", "partial"]
SLOW = {"mean field with slopes", "one factor, counts", "correlated slope"}


def random_factors(kinds, effects, seed):
    """Relative factors T, the parameters they come from and the way back."""
    rng = np.random.default_rng(seed)
    sizes = [
        {"full": q * (q + 1) // 2, "diag": q, "scalar": 1}[kind]
        for kind, q in zip(kinds, effects, strict=True)
    ]
    theta = 0.3 + 0.5 * np.abs(rng.normal(size=sum(sizes)))

    def factors(theta):
        parts = np.split(theta, np.cumsum(sizes)[:-1])
        return [dense.to_factor(*a) for a in zip(kinds, effects, parts, strict=True)]

    return theta, factors


def prepared(family, relations, n_levels, effects, kinds, seed, kept=None):
    problem = random_problem(family, relations, n_levels, effects, seed)
    engine = Engine(problem, kinds, dense=kept is None)
    return problem, engine, *random_factors(kinds, effects, seed)


def blocks(problem, factors, solution):
    """Posterior means (J, q) and covariances (J, q, q) of the effects, by factor."""
    at = 0
    for codes, T in zip(problem.codes, factors, strict=True):
        J, q = codes.max() + 1, len(T)
        u = solution["means"][at : at + J * q].reshape(J, q)
        own = [slice(at + j * q, at + (j + 1) * q) for j in range(J)]
        S = np.array([solution["covariance"][s, s] for s in own])
        at += J * q
        yield u @ T.T, T @ S @ T.T


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in BOUNDS],
)
def test_the_bound_and_its_gradient_are_those_of_dense_algebra(name):
    *problem, kept = BOUNDS[name]
    for seed in range(2):
        p, engine, theta, factors = prepared(*problem, seed, kept)
        value, gradient, found = engine.bound(factors(theta), kept)
        book = textbook.bound(p, factors(theta), kept)
        assert value == pytest.approx(book["value"], rel=1e-10)
        slope = dense.slope(
            lambda t, p=p, f=factors: textbook.bound(p, f(t), kept)["value"], theta
        )
        assert_allclose(gradient, slope, rtol=0, atol=1e-6 * np.abs(slope).max())
        assert_allclose(found["coef"], book["coef"], atol=1e-7)
        ours = map(engine.by_user, (found["means"], found["posterior"]))
        theirs = zip(*blocks(p, factors(theta), book), strict=True)
        for a, b in zip(ours, theirs, strict=True):
            for r in range(len(b)):
                assert_allclose(a[r], b[r], atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in COUPLED],
)
def test_so_are_those_to_second_order_in_the_couplings(name):
    *problem, kept = BOUNDS[name]
    p, engine, theta, factors = prepared(*problem, 0, kept)
    value, gradient, found = engine.bound(factors(theta), kept, coupled=True)

    def book(theta):
        return textbook.bound(p, factors(theta), kept, coupled=True)

    there = book(theta)
    assert value == pytest.approx(there["value"], rel=1e-10)
    slope = dense.slope(lambda t: book(t)["value"], theta)
    assert_allclose(gradient, slope, rtol=0, atol=1e-6 * np.abs(slope).max())
    assert_allclose(found["coef"], there["coef"], atol=1e-7)
    ours = map(engine.by_user, (found["means"], found["posterior"]))
    theirs = zip(*blocks(p, factors(theta), there), strict=True)
    for a, b in zip(ours, theirs, strict=True):
        for r in range(len(b)):
            assert_allclose(a[r], b[r], atol=1e-7)


def test_a_variance_of_zero_is_an_ordinary_point_of_the_bound():
    *problem, kept = BOUNDS["slopes on the core"]
    p, engine, theta, factors = prepared(*problem, 0)
    for at in (0, 1, -1):
        edge = theta.copy()
        edge[at] = 0.0
        value, gradient, _ = engine.bound(factors(edge), kept)
        book = textbook.bound(p, factors(edge))["value"]
        assert value == pytest.approx(book, rel=1e-10)
        assert np.isfinite(gradient).all()
    # -T is as good as T: the slope in a variance of zero is zero
    edge = theta.copy()
    edge[0] = 0.0
    assert engine.bound(factors(edge), kept)[1][0] == pytest.approx(0, abs=1e-9)


# Clusters in exact proportions: what the estimates tend to with many of them. Truth
# (intercept, standard deviation) and the known limits of Gaussian VI.

LIMITS = [
    ("bernoulli", 2, (0.5, 1.0), (0.496, 0.976)),
    ("bernoulli", 5, (0.5, 1.0), (0.498, 0.988)),
    ("bernoulli", 5, (-2.0, 1.0), (-1.980, 0.960)),
    ("bernoulli", 10, (0.5, 2.0), (0.494, 1.952)),
    ("poisson", 1, (0.0, 1.0), (0.020, 0.961)),
    ("poisson", 5, (-1.0, 1.0), (-0.989, 0.975)),
]
# Half of the last digit of the limits, and about as much for the rounding of the
# proportions to whole clusters.
LIMIT_TOLERANCE = 0.001


def fit_clusters(family, n_rows, truth, solver, n_clusters=4000):
    """Intercept and standard deviation estimated from clusters in proportion."""
    label, y = enumeration.clusters(family, n_rows, *truth, n_clusters)
    kind = MixedPoissonRegressor if family == "poisson" else MixedLogisticRegressor
    model = kind("g", solver=solver).fit(pd.DataFrame({"g": label}), y)
    assert model.converged_
    return float(np.ravel(model.intercept_)[0]), model.variance_components_[
        "std"
    ].item()


@pytest.mark.parametrize(("family", "n_rows", "truth", "limit"), LIMITS)
def test_estimates_from_many_clusters_tend_to_the_limit_of_gaussian_vi(
    family, n_rows, truth, limit
):
    found = fit_clusters(family, n_rows, truth, VI())
    assert_allclose(found, limit, atol=LIMIT_TOLERANCE)


def test_the_bound_of_a_model_is_that_of_dense_algebra_and_below_its_likelihood():
    label, y = enumeration.clusters("bernoulli", 3, 0.5, 1.2, 60)
    X = pd.DataFrame({"g": label})
    model = MixedLogisticRegressor("g", solver=VI(n_quadrature=61)).fit(X, y)
    one = np.ones(len(y))
    p = textbook.Problem(
        "binomial", one[:, None], y, one, 0 * one, one, [label], [one[:, None]]
    )
    T = [np.sqrt(model.random_effects_covariance_["g"])]
    book = textbook.bound(p, T)
    assert model.elbo_ == pytest.approx(-book["value"] / 2, abs=1e-6)
    assert_allclose(model.intercept_, book["coef"], atol=1e-5)
    (means, covariances), *_ = blocks(p, T, book)
    assert_allclose(model.random_effects_["g"], means, atol=1e-5)
    assert_allclose(
        model.random_effects_std_["g"], np.sqrt(covariances[:, 0]), rtol=1e-5
    )
    exact = enumeration.marginal(
        "bernoulli", 3, model.intercept_.item(), T[0].item(), 3
    )
    sums = y.reshape(-1, 3).sum(1).astype(int)
    # a cluster's rows in one order of the possible ones
    exact = np.log(exact / [1, 3, 3, 1])[sums].sum()
    assert model.log_likelihood_ == pytest.approx(exact, abs=1e-5)
    assert model.elbo_ < exact


# Against quadrature, the exact answer for one factor

QUADRATURE = [
    ("bernoulli_triples", "agq25", 25),
    ("cbpp_binomial", "agq25", 25),
    ("contraception", "agq25", 25),
    ("poisson_exposure", "agq25", 25),
    ("bernoulli_slopes", "laplace", 11),
    pytest.param("poisson_slopes", "laplace", 11, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "method", "n_nodes"), QUADRATURE)
def test_vi_is_close_to_quadrature_for_one_factor(name, method, n_nodes):
    ref, _, exact, _ = fitted(name, method, n_nodes)
    _, _, model, messages = fitted(name, method, "auto")
    assert model.converged_
    assert not messages
    assert model.log_likelihood_method_ == "quadrature"
    ours, theirs = model.fixed_effects_, exact.fixed_effects_
    off = (ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
    assert np.abs(off).max() < 0.1
    assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.05)
    std = model.variance_components_["std"]
    assert_allclose(std, exact.variance_components_["std"], rtol=0.05)
    # the maximum of the likelihood is elsewhere, but not far; the bound is below
    assert exact.log_likelihood_ - 0.1 < model.log_likelihood_
    assert model.log_likelihood_ < exact.log_likelihood_ + 1e-3
    assert exact.log_likelihood_ - 1 < model.elbo_ < model.log_likelihood_


@pytest.mark.slow
def test_vi_finds_the_variance_of_mothers_with_one_or_two_children_laplace_does_not():
    # drawn with standard deviations of 1.2 and 0.7
    laplace, vi = (
        fitted("bernoulli_mothers", "laplace", solver)[2].variance_components_["std"]
        for solver in ("laplace", "auto")
    )
    assert laplace["mother"].item() < 0.75
    assert vi["mother"].item() == pytest.approx(1.2, rel=0.1)
    assert (vi > laplace).all()


# Crossed binary outcomes: which posterior covariances matter


def crossed(factorization):
    return fitted("bernoulli_crossed", "laplace", factorization)[2]


def test_the_full_posterior_has_glmers_standard_errors():
    errors = oracles.fixed_effects(fitted("bernoulli_crossed", "laplace")[0])
    ours = crossed("full").fixed_effects_["std_error"]
    assert_allclose(ours, errors["std_error"], rtol=0.1)


@pytest.mark.slow
def test_so_has_the_partial_one_that_keeps_covariances_with_the_fixed_effects():
    errors = oracles.fixed_effects(fitted("bernoulli_crossed", "laplace")[0])
    ours = crossed("partial").fixed_effects_["std_error"]
    assert_allclose(ours, errors["std_error"], rtol=0.1)


def test_mean_field_is_too_sure_of_the_intercept_but_not_of_a_slope():
    full, apart = (
        crossed(f).fixed_effects_["std_error"] for f in ("full", "mean_field")
    )
    assert apart["Intercept"] < 0.5 * full["Intercept"]
    assert apart["x1"] == pytest.approx(full["x1"], rel=0.1)


def test_the_more_a_posterior_may_covary_the_higher_is_its_bound():
    full, partial, apart = map(crossed, ("full", "partial", "mean_field"))
    assert full.elbo_ > partial.elbo_ + 0.1
    assert partial.elbo_ >= apart.elbo_ - 1e-8


def test_all_of_them_give_about_the_same_estimates():
    full, partial, apart = map(crossed, ("full", "partial", "mean_field"))
    for other in (partial, apart):
        off = other.fixed_effects_["estimate"] - full.fixed_effects_["estimate"]
        assert np.abs(off / full.fixed_effects_["std_error"]).max() < 0.1
        std = full.variance_components_["std"]
        assert_allclose(other.variance_components_["std"], std, rtol=0.1)


def test_auto_is_full():
    assert crossed("auto").elbo_ == crossed("full").elbo_


def test_partial_is_full_beside_one_small_factor():
    X, y = make_mixed_regression(
        600, 1, n_groups=[50, 8], family="bernoulli", random_state=0
    )
    partial, full = (
        MixedLogisticRegressor(["g0", "g1"], solver=VI(factorization=f)).fit(X, y)
        for f in ("partial", "full")
    )
    assert partial.elbo_ == full.elbo_
    assert partial.fixed_effects_.equals(full.fixed_effects_)


@pytest.mark.slow
def test_two_large_factors_beside_a_small_one_are_between_full_and_mean_field():
    X, y = make_mixed_regression(
        800, 1, n_groups=[45, 40, 4], family="bernoulli", random_state=1
    )
    full, partial, apart = (
        MixedLogisticRegressor(["g0", "g1", "g2"], solver=VI(factorization=f)).fit(X, y)
        for f in ("full", "partial", "mean_field")
    )
    assert full.elbo_ > partial.elbo_ > apart.elbo_
    errors = [
        m.fixed_effects_["std_error"]["Intercept"] for m in (full, partial, apart)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
    assert errors[2] < 0.5 * errors[0]


def test_with_one_factor_there_is_nothing_to_drop_but_the_fixed_effects():
    full, partial, apart = (
        fitted("bernoulli_triples", "agq25", f)[2]
        for f in ("full", "partial", "mean_field")
    )
    assert full.elbo_ == partial.elbo_ == apart.elbo_
    assert full.fixed_effects_.equals(partial.fixed_effects_)
    ours, theirs = apart.fixed_effects_["std_error"], full.fixed_effects_["std_error"]
    assert (ours < theirs).all()


def test_more_nodes_than_are_chosen_change_nothing_that_matters():
    X, y = make_mixed_regression(
        400, 1, n_groups=20, group_std=2.5, family="bernoulli", random_state=2
    )
    auto = MixedLogisticRegressor("g0").fit(X, y)
    many = MixedLogisticRegressor("g0", solver=VI(n_quadrature=99)).fit(X, y)
    assert auto.elbo_ == pytest.approx(many.elbo_, abs=1e-3)
    assert_allclose(auto.fixed_effects_, many.fixed_effects_, rtol=1e-3)


def test_the_history_falls_to_the_bound():
    model = crossed("full")
    history = model.history_["objective"].to_numpy()
    assert len(history) == model.n_iter_
    assert (np.diff(history) <= 0).all()
    assert history[-1] == pytest.approx(-2 * model.elbo_, abs=1e-4)
