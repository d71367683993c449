"""The evidence framework ends where the likelihood does; its shortcuts do not."""

import warnings

import enumeration
import numpy as np
import oracle_problems as oracles
import pandas as pd
import pytest
import test_linear_oracles as linear
from numpy.testing import assert_allclose

from skglmm import (
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_contraception, load_sleepstudy, make_mixed_regression
from skglmm.solvers import VI, MacKay


def fit(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def std(model):
    return model.variance_components_["std"].iloc[0]


@pytest.fixture(scope="module")
def sleepstudy():
    return load_sleepstudy(return_X_y=True, as_frame=True)


def slopes(solver, covariance="full"):
    return MixedLinearRegressor(
        "Subject", random_slopes=["Days"], covariance=covariance, solver=solver
    )


# Evidence


@pytest.mark.parametrize(("name", "method"), oracles.problems(linear.LINEAR))
def test_the_evidence_framework_finds_lme4s_optimum(name, method):
    ref, data, model, _ = linear.fitted(name, method, solver="mackay")
    assert model.converged_
    assert model.n_iter_ < 60
    assert model.singular_ == linear.is_singular(ref)
    linear.check_log_likelihood(ref, model)
    linear.check_fixed_effects(ref, model)
    linear.check_variances(ref, data, model)
    linear.check_posterior(ref, model)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_weak_signals_with_correlated_slopes_do_not_collapse(seed, reml):
    """Standard deviations of .2 and .05 and five rows a group."""
    X, y = make_mixed_regression(
        2000,
        1,
        n_groups=[400],
        n_random_slopes=1,
        group_std=[0.2],
        slope_std=0.05,
        random_state=seed,
    )
    found = [
        fit(
            MixedLinearRegressor("g0", random_slopes=["x0"], reml=reml, solver=solver),
            X,
            y,
        )
        for solver in ("laplace", "mackay")
    ]
    assert found[1].n_iter_ < 60
    assert found[1].log_likelihood_ == pytest.approx(found[0].log_likelihood_, abs=1e-5)
    assert_allclose(*[m.random_effects_covariance_["g0"] for m in found], atol=1e-4)
    assert found[1].singular_ == found[0].singular_


@pytest.mark.slow
def test_twenty_thousand_clusters_of_five_show_the_bias_of_each_curvature():
    """Clusters in exact proportion; the limits are those of exact enumeration."""
    label, y = enumeration.clusters("bernoulli", 5, 0.5, 1.0, 20_000)
    X = pd.DataFrame({"g": label})
    limits = {"vi": (0.498, 0.988), "laplace": (0.495, 0.935), "pql": (0.440, 0.819)}
    for curvature, (intercept, sd) in limits.items():
        solver = MacKay(curvature=curvature)
        model = fit(MixedLogisticRegressor("g", solver=solver), X, y)
        assert model.converged_
        assert model.intercept_[0] == pytest.approx(intercept, abs=2e-3)
        assert std(model) == pytest.approx(sd, abs=2e-3)
        if curvature == "vi":
            assert 0.94 < std(model) < 1.04


def test_penalised_quasi_likelihood_of_counts_is_as_biased_as_is_known():
    label, y = enumeration.clusters("poisson", 5, -1.0, 1.0, 4000)
    model = fit(
        MixedPoissonRegressor("g", solver=MacKay(curvature="pql")),
        pd.DataFrame({"g": label}),
        y,
    )
    assert_allclose([model.intercept_, std(model)], [-0.813, 0.898], atol=5e-3)


@pytest.mark.parametrize("curvature", ["vi", "laplace"])
def test_for_binary_outcomes_the_optimum_is_that_of_the_solver_of_that_name(curvature):
    X, y = load_contraception(return_X_y=True, as_frame=True)
    X = X[["age", "district"]]
    ours, theirs = (
        fit(MixedLogisticRegressor("district", solver=solver), X, y)
        for solver in (MacKay(curvature=curvature), curvature)
    )
    assert ours.converged_
    assert_allclose(ours.fixed_effects_, theirs.fixed_effects_, rtol=1e-3)
    assert std(ours) == pytest.approx(std(theirs), rel=1e-4)
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-4)
    if curvature == "vi":
        assert ours.elbo_ == pytest.approx(theirs.elbo_, abs=1e-4)


# The textbook shortcut


def test_the_quick_update_has_its_published_fixed_point(sleepstudy):
    model = fit(slopes(MacKay(update="quick"), "diag"), *sleepstudy)
    assert model.converged_
    variances = model.variance_components_["variance"].to_numpy()
    assert_allclose(variances, [302.9045, 31.0890, 670.855], rtol=2e-6)
    assert_allclose(
        model.random_effects_["Subject"].loc["308"], [2.0140, 9.1480], atol=5e-5
    )
    assert model.coef_[0] == pytest.approx(10.46729, abs=5e-6)


@pytest.mark.parametrize("sd", [2.0, 1.0, 0.3, 0.0])
def test_without_the_posterior_variance_weak_signals_collapse(sd):
    """Balanced intercepts: [V - 2c + sqrt(V (V - 4c))] / 2, or zero below V = 4c."""
    rng = np.random.default_rng(1)
    b, e = rng.normal(size=200), rng.normal(size=(200, 5))
    y = sd * b[:, None] + e
    X = pd.DataFrame({"g": np.repeat(np.arange(200), 5)})
    model = fit(MixedLinearRegressor("g", solver=MacKay(update="quick")), X, y.ravel())
    V, c = y.mean(axis=1).var(ddof=1), model.noise_variance_ / 5
    limit = 0.0
    if V > 4 * c:
        limit = (V - 2 * c + np.sqrt(V * (V - 4 * c))) / 2
    assert (limit == 0.0) == (sd < 0.5)
    assert std(model) ** 2 == pytest.approx(limit, rel=1e-5)


def test_the_quick_update_collapses_for_binary_outcomes_where_vi_does_not():
    label, y = enumeration.clusters("bernoulli", 5, 0.5, 1.0, 2000)
    X = pd.DataFrame({"g": label})
    quick, vi = (
        fit(MixedLogisticRegressor("g", solver=solver), X, y)
        for solver in (MacKay(update="quick"), VI())
    )
    assert quick.converged_
    assert std(quick) == 0.0
    assert std(vi) > 0.9


# Known variances


def test_at_known_variances_the_effects_are_the_best_linear_unbiased_ones(sleepstudy):
    """lme4's variances, and the predictions that it has for them."""
    known = {"Subject": [[612.100158, 9.604409], [9.604409, 35.071714]]}
    solver = MacKay(covariances=known, noise_variance=654.940008)
    model = slopes(solver).fit(*sleepstudy)
    effects = model.random_effects_["Subject"]
    assert_allclose(effects.loc["308"], [2.2629, 9.1983], atol=6e-3)
    assert_allclose(effects.loc["309"], [-40.3996, -8.6198], atol=2e-3)
    assert model.noise_variance_ == 654.940008
    assert_allclose(model.random_effects_covariance_["Subject"], known["Subject"])
    assert model.log_likelihood_ == pytest.approx(-871.8141, abs=1e-4)


def test_at_known_variances_everything_is_what_dense_algebra_says(sleepstudy):
    X, y = sleepstudy
    sigma, noise = np.array([[300.0, -20.0], [-20.0, 50.0]]), 900.0
    solver = MacKay(covariances={"Subject": sigma}, noise_variance=noise)
    model = MixedLinearRegressor(
        "Subject", random_slopes=["Days"], reml=False, solver=solver
    ).fit(X, y)
    D = np.column_stack([np.ones(len(y)), X["Days"]])
    same = X["Subject"].to_numpy()[:, None] == X["Subject"].to_numpy()
    V = noise * np.eye(len(y)) + same * (D @ sigma @ D.T)
    coef = np.linalg.solve(D.T @ np.linalg.solve(V, D), D.T @ np.linalg.solve(V, y))
    rest = y - D @ coef
    here = (X["Subject"] == "337").to_numpy()
    b = sigma @ D[here].T @ np.linalg.solve(V, rest)[here]
    assert_allclose([model.intercept_, *model.coef_], coef, rtol=1e-8)
    assert_allclose(model.random_effects_["Subject"].loc["337"], b, rtol=1e-6)
    error = np.sqrt(np.diag(np.linalg.inv(D.T @ np.linalg.solve(V, D))))
    assert_allclose(model.fixed_effects_["std_error"], error, rtol=1e-8)
    value = np.linalg.slogdet(2 * np.pi * V)[1] + rest @ np.linalg.solve(V, rest)
    assert model.log_likelihood_ == pytest.approx(-value / 2, rel=1e-10)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (MacKay(noise_variance=1.0), "noise_variance was given without covariances"),
        (MacKay(covariances={"Subject": np.eye(2)}), "without noise_variance"),
        (
            MacKay(covariances={"subject": np.eye(2)}, noise_variance=1.0),
            "factors of the model are 'Subject'",
        ),
        (
            MacKay(covariances={"Subject": 2.0}, noise_variance=1.0),
            r"has the shape \(1, 1\)",
        ),
        (
            MacKay(covariances={"Subject": [[1, 2], [2, 1]]}, noise_variance=1.0),
            "not symmetric and positive",
        ),
    ],
)
def test_known_variances_that_do_not_fit_the_model_are_refused(
    sleepstudy, solver, message
):
    with pytest.raises(ValueError, match=message):
        slopes(solver).fit(*sleepstudy)


@pytest.mark.parametrize("max_iter", [1, 3, 60])
def test_the_limit_that_is_named_is_the_one_that_was_given(max_iter):
    """The fixed point and the gradient share it; neither is what a user has set."""
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.integers(0, [10, 9], (200, 2)), columns=["g", "h"])
    effects = random.normal(size=10)[X["g"]] + random.normal(size=9)[X["h"]]
    y = effects + random.normal(size=200)
    solver = MacKay(max_iter=max_iter, tol=1e-300)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MixedLinearRegressor(["g", "h"], solver=solver).fit(X, y)
    texts = [str(w.message) for w in caught]
    assert all(f"max_iter={max_iter} " in t for t in texts if "max_iter" in t)
    assert max_iter == 60 or "max_iter" in texts[0]
