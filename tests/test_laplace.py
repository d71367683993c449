"""Laplace's approximation and adaptive quadrature: values, slopes, what they find."""

import os
import subprocess
import sys
from pathlib import Path

import dense
import dense_generalized as textbook
import enumeration
import numpy as np
import pandas as pd
import pytest
from engine_problems import Engine, compiled_laplace, random_problem
from generalized_fits import fitted
from numpy.testing import assert_allclose

import skglmm
from skglmm import MixedLogisticRegressor, MixedPoissonRegressor
from skglmm.solvers import VI, Laplace

# Family, relation of each factor to the one before it, levels, effects, covariance,
# and numbers of quadrature nodes.
CROSSED, NESTED = "crossed", "nested"
OBJECTIVES = {
    "one factor": ("binomial", [CROSSED], [8], [1], ["full"], [1, 2, 5]),
    "one factor, counts": ("poisson", [CROSSED], [8], [1], ["full"], [1, 4]),
    "correlated slope": ("poisson", [CROSSED], [8], [2], ["full"], [1, 3]),
    "uncorrelated slope": ("binomial", [CROSSED], [8], [2], ["diag"], [1, 4]),
    "three effects": ("binomial", [CROSSED], [6], [3], ["full"], [1, 2, 3]),
    "nested": ("binomial", [CROSSED, NESTED], [4, 3], [1, 1], ["full"] * 2, [1]),
    "nested, slope within": (
        "poisson",
        [CROSSED, NESTED],
        [4, 3],
        [1, 2],
        ["full", "diag"],
        [1],
    ),
    "crossed": ("poisson", [CROSSED] * 2, [7, 5], [1, 1], ["full"] * 2, [1]),
    "slopes on the core": (
        "binomial",
        [CROSSED] * 2,
        [13, 5],
        [1, 2],
        ["full"] * 2,
        [1],
    ),
    "one variance for two effects": (
        "poisson",
        [CROSSED] * 2,
        [7, 5],
        [2, 1],
        ["scalar", "full"],
        [1],
    ),
    "a chain and a third": (
        "binomial",
        [CROSSED, NESTED, CROSSED],
        [4, 4, 5],
        [1, 1, 1],
        ["full"] * 3,
        [1],
    ),
}
SLOW = {
    "one factor, counts",
    "uncorrelated slope",
    "nested",
    "one variance for two effects",
    "a chain and a third",
}


def prepared(family, relations, n_levels, effects, kinds, seed):
    """Problem, engine, a point (beta, theta) and how it becomes factors T."""
    problem = random_problem(family, relations, n_levels, effects, seed)
    rng = np.random.default_rng(seed)
    sizes = [
        {"full": q * (q + 1) // 2, "diag": q, "scalar": 1}[kind]
        for kind, q in zip(kinds, effects, strict=True)
    ]
    theta = 0.3 + 0.5 * np.abs(rng.normal(size=sum(sizes)))

    def split(phi):
        parts = np.split(phi[2:], np.cumsum(sizes)[:-1])
        each = zip(kinds, effects, parts, strict=True)
        return phi[:2], [dense.to_factor(*part) for part in each]

    return problem, Engine(problem, kinds), np.r_[0.2, 0.3, theta], split


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in OBJECTIVES],
)
def test_the_objective_and_its_total_derivative_are_those_of_dense_algebra(name):
    *problem, counts = OBJECTIVES[name]
    for seed in range(2):
        p, engine, phi, split = prepared(*problem, seed)
        for K in counts:

            def book(phi, p=p, split=split, K=K):
                return textbook.laplace(p, *split(phi), K)

            value, gradient, _ = engine.laplace(*split(phi), K)
            assert value == pytest.approx(book(phi), rel=1e-10)
            slope = dense.slope(book, phi)
            assert_allclose(gradient, slope, rtol=0, atol=1e-6 * np.abs(slope).max())


def test_a_variance_of_zero_is_an_ordinary_point():
    *problem, _ = OBJECTIVES["slopes on the core"]
    p, engine, phi, split = prepared(*problem, 0)
    for at in (2, 3, -1):
        edge = phi.copy()
        edge[at] = 0.0
        value, gradient, _ = engine.laplace(*split(edge))
        assert value == pytest.approx(textbook.laplace(p, *split(edge)), rel=1e-10)
        assert np.isfinite(gradient).all()


def test_one_node_is_laplaces_approximation():
    *problem, _ = OBJECTIVES["three effects"]
    _, engine, phi, split = prepared(*problem, 0)
    import tensorflow as tf

    from skglmm.engine.quadrature import product_nodes

    value, gradient, _ = engine.laplace(*split(phi))
    one = product_nodes(1, 3)
    assert_allclose(one[0], 0, atol=1e-15)
    assert_allclose(one[1], 0, atol=1e-15)
    # the quadrature's own code, at the mode
    with engine.session as run:
        solve = compiled_laplace(run.structure, engine.family, True)
        whole = tf.constant(phi)
        at_mode = solve(run.index, engine.data, *one, whole)
    assert at_mode[0].numpy() == pytest.approx(value, rel=1e-12)
    assert_allclose(at_mode[1], gradient, rtol=0, atol=1e-9 * np.abs(gradient).max())


# What the estimates tend to with many clusters in exact proportions

LIMITS = [
    # family, rows, truth, Laplace, five nodes
    ("bernoulli", 2, (0.5, 1.0), (0.467, 0.717), (0.500, 0.998)),
    ("bernoulli", 5, (0.5, 1.0), (0.495, 0.935), (0.500, 0.999)),
    ("bernoulli", 5, (-2.0, 1.0), (-2.003, 0.973), (-1.999, 0.998)),
    ("bernoulli", 10, (0.5, 2.0), (0.499, 1.947), (0.498, 1.986)),
    ("poisson", 1, (0.0, 1.0), (-0.002, 0.990), (0.001, 0.997)),
    ("poisson", 5, (-1.0, 1.0), (-0.998, 0.985), (-0.999, 0.998)),
]
# Half of the last digit of the limits, and about as much for the rounding of the
# proportions to whole clusters.
LIMIT_TOLERANCE = 0.001


def fit_clusters(family, n_rows, truth, n_quadrature, n_clusters=4000):
    label, y = enumeration.clusters(family, n_rows, *truth, n_clusters)
    kind = MixedPoissonRegressor if family == "poisson" else MixedLogisticRegressor
    model = kind("g", solver=Laplace(n_quadrature=n_quadrature))
    model.fit(pd.DataFrame({"g": label}), y)
    return np.ravel(model.intercept_)[0], model.variance_components_["std"].item()


@pytest.mark.parametrize(("family", "n_rows", "truth", "limit", "five"), LIMITS)
def test_estimates_from_many_clusters_tend_to_the_limit_of_laplace(
    family, n_rows, truth, limit, five
):
    # which is not the truth, as the fit says
    with pytest.warns(UserWarning, match="log-likelihood units off at these estimates"):
        found = fit_clusters(family, n_rows, truth, 1)
    assert_allclose(found, limit, atol=LIMIT_TOLERANCE)


@pytest.mark.parametrize(("family", "n_rows", "truth", "limit", "five"), LIMITS)
def test_five_nodes_are_nearly_exact_and_many_are(family, n_rows, truth, limit, five):
    assert_allclose(fit_clusters(family, n_rows, truth, 5), five, atol=LIMIT_TOLERANCE)
    # what is left is the rounding of the proportions
    assert_allclose(fit_clusters(family, n_rows, truth, 41), truth, atol=0.002)


# Quadrature as a likelihood


@pytest.mark.parametrize("name", ["bernoulli_triples", "poisson_exposure"])
def test_more_nodes_settle_on_one_likelihood(name):
    values = [fitted(name, "agq25", k)[2].log_likelihood_ for k in (1, 9, 15, 25)]
    assert abs(values[3] - values[2]) < 1e-5
    assert abs(values[3] - values[2]) < abs(values[3] - values[1]) + 1e-9
    assert abs(values[3] - values[1]) < abs(values[3] - values[0])


def test_quadrature_ends_at_a_maximum_where_one_level_has_a_million_events():
    random = np.random.default_rng(3)
    g, x = np.repeat(np.arange(8), 6), random.normal(size=48)
    y = random.poisson(np.exp(0.3 * x + np.linspace(-2.0, 2.0, 8)[g]))
    y[0] = 1_000_000
    X = pd.DataFrame({"x": x, "g": g})
    model = MixedPoissonRegressor("g", solver=Laplace(n_quadrature=15)).fit(X, y)
    columns = np.column_stack([np.ones(48), x])
    one = np.ones(48)
    problem = textbook.Problem(
        "poisson", columns, y, one, 0.0 * one, one, [g], [one[:, None]], 0.0
    )
    coef = np.append(model.intercept_, model.coef_)
    root = np.sqrt(model.random_effects_covariance_["g"])

    def value(scale):
        return textbook.laplace(problem, coef, [scale * root], 15)

    assert_allclose(-2.0 * model.log_likelihood_, value(1.0), rtol=1e-9)
    assert value(1.0) < min(value(0.99), value(1.01))
    assert_allclose(value(1.001), value(0.999), atol=2e-5)


def test_methods_are_named():
    assert (
        fitted("bernoulli_triples", "agq25", 1)[2].log_likelihood_method_ == "laplace"
    )
    for k in (9, 25):
        model = fitted("bernoulli_triples", "agq25", k)[2]
        assert model.log_likelihood_method_ == "quadrature"
    crossed = fitted("bernoulli_crossed", "laplace")[2]
    assert crossed.log_likelihood_method_ == "laplace"


def test_only_the_variational_solver_has_a_bound():
    assert not hasattr(fitted("bernoulli_triples", "agq25", 1)[2], "elbo_")
    assert hasattr(fitted("bernoulli_triples", "agq25", "full")[2], "elbo_")


@pytest.mark.parametrize(
    ("groups", "slopes", "found"),
    [
        (["g", "h"], None, "2 grouping factors"),
        (None, None, "0 grouping factors"),
        ("g", ["x1", "x2", "x3"], "4 effects a level"),
    ],
)
def test_quadrature_needs_one_factor_with_few_effects(groups, slopes, found):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=["x1", "x2", "x3"])
    X = X.assign(g=np.arange(60) % 6, h=np.arange(60) // 10)
    model = MixedLogisticRegressor(
        groups, random_slopes=slopes, solver=Laplace(n_quadrature=5)
    )
    message = (
        "n_quadrature > 1 needs one grouping factor with at most 3 effects a level, "
        f"and this model has {found}. Use solver='vi', or n_quadrature=1."
    )
    with pytest.raises(ValueError, match=message.replace(">", ".")):
        model.fit(X, rng.integers(2, size=60))


def test_standard_errors_are_those_of_the_inverse_hessian():
    """Not of a Hessian at fixed variances, which would be smaller."""
    rng = np.random.default_rng(5)
    label = np.repeat(np.arange(40), 4)
    x = rng.normal(size=160)
    y = (rng.logistic(size=160) < 0.5 + x + 1.5 * rng.normal(size=40)[label]) * 1.0
    data = pd.DataFrame({"x": x, "g": label})
    model = MixedLogisticRegressor("g", solver=Laplace(n_quadrature=9)).fit(data, y)
    one = np.ones(160)
    p = textbook.Problem(
        family="binomial",
        X=np.column_stack([one, x]),
        y=y,
        weight=one,
        offset=0 * one,
        trials=one,
        codes=[label],
        z=[one[:, None]],
    )
    estimate = model.fixed_effects_["estimate"].to_numpy()
    phi = np.r_[estimate, model.variance_components_["std"]]

    def slope(phi):
        return dense.slope(
            lambda a: textbook.laplace(p, a[:2], [a[2:, None]], 9), phi, 1e-4
        )

    h = 1e-3
    hessian = np.array(
        [(slope(phi + h * e) - slope(phi - h * e)) / (2 * h) for e in np.eye(3)]
    )
    errors = np.sqrt(np.diag(2 * np.linalg.inv(hessian))[:2])
    assert_allclose(model.fixed_effects_["std_error"], errors, rtol=1e-3)
    fixed = np.sqrt(np.diag(2 * np.linalg.inv(hessian[:2, :2])))
    assert (fixed < 0.99 * errors).any()


def test_both_solvers_agree_where_the_posterior_is_nearly_normal():
    """Twenty rows a level with counts of about 150 leave little to approximate."""
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(40), 20)
    b = 0.5 * rng.normal(size=40)
    y = rng.poisson(np.exp(5 + b[label]))
    X = pd.DataFrame({"g": label})
    vi, laplace = (
        MixedPoissonRegressor("g", solver=solver).fit(X, y)
        for solver in (VI(), Laplace())
    )
    assert_allclose(vi.fixed_effects_, laplace.fixed_effects_, rtol=1e-3)
    assert_allclose(vi.random_effects_["g"], laplace.random_effects_["g"], atol=2e-3)
    assert vi.elbo_ == pytest.approx(laplace.log_likelihood_, abs=0.01)


def test_modes_are_not_means_where_the_posterior_leans():
    """Of a group without successes the mode is nearer to zero than the mean."""
    _, data, mode, _ = fitted("bernoulli_triples", "agq25", 25)
    mean = fitted("bernoulli_triples", "agq25", "full")[2]
    none = data.groupby("g")["y"].sum().eq(0)
    none = none.index[none]
    assert len(none) > 5
    scale = (
        mode.variance_components_["std"].item()
        / mean.variance_components_["std"].item()
    )
    ratio = scale * mean.random_effects_["g"] / mode.random_effects_["g"]
    assert (ratio.loc[none, "Intercept"] > 1.0).all()


@pytest.mark.slow
def test_models_of_many_structures_do_not_make_tensorflow_complain_of_retracing():
    """Each structure has a graph of its own, which is no accident."""
    code = (
        "from skglmm import MixedPoissonRegressor\n"
        "from skglmm.datasets import make_mixed_regression\n"
        "data = make_mixed_regression(200, 2, family='poisson', random_state=0)\n"
        "for slopes in ([], ['x0'], ['x0', 'x1']):\n"
        "    for kind in ('diag', 'full', 'scalar'):\n"
        "        MixedPoissonRegressor('g0', random_slopes=slopes, covariance=kind,\n"
        "                              solver='laplace').fit(*data)\n"
    )
    where = str(Path(skglmm.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": where},
    )
    assert done.returncode == 0, done.stderr
    assert "retracing" not in done.stderr
