"""Draws for ArviZ and distributions for TensorFlow Probability."""

import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, multivariate_normal, norm, poisson

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_cbpp, load_penicillin, load_sleepstudy
from skglmm.interoperability import to_arviz, to_tfp

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:arviz")


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X = X.assign(w=1.0 + np.arange(180) % 3)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"], precision="w")
    return model.fit(X, y), X, y


@pytest.fixture(scope="module")
def draws(sleep):
    return to_arviz(*sleep, n_samples=4000, random_state=0)


@pytest.fixture(scope="module")
def herds():
    X, y = load_cbpp(return_X_y=True, as_frame=True)
    trials = X["size"].to_numpy()
    counts = MixedPoissonRegressor("herd", exposure="size").fit(X, y)
    successes = MixedBinomialRegressor("herd", trials="size").fit(X, y)
    some = X.drop(columns="size")
    random = np.random.default_rng(0)
    shift = 2.0 * random.normal(size=15)[X["herd"].astype("category").cat.codes]
    classes = np.where(shift + random.logistic(size=len(X)) > 0, "sick", "well")
    binary = MixedLogisticRegressor("herd").fit(some, classes)
    well = (classes == "well").astype(float)
    return {
        "counts": (counts, X, y, lambda eta: poisson.logpmf(y, np.exp(eta))),
        "successes": (
            successes,
            X,
            y,
            lambda eta: binom.logpmf(y, trials, 1.0 / (1.0 + np.exp(-eta))),
        ),
        "binary": (
            binary,
            some,
            classes,
            lambda eta: binom.logpmf(well, 1, 1.0 / (1.0 + np.exp(-eta))),
        ),
    }


def linear_predictors(model, X, data, factor, slopes=()):
    """Those (n_draws, n_rows) of a model with one factor, put together from draws."""
    posterior = data["posterior"]
    coef = posterior["fixed_effects"].values[0]
    b = posterior[f"random_effects_{factor}"].sel({factor: X[factor].to_numpy()})
    fixed = X[[c for c in model.coef_names_ if c in X]].to_numpy(float)
    if not fixed.shape[1]:
        fixed = np.column_stack(
            [X["period"].astype(str) == c.split("_")[1] for c in model.coef_names_]
        )
    eta = coef[:, :1] + coef[:, 1:] @ fixed.T
    z = np.column_stack([np.ones(len(X)), *(X[c] for c in slopes)])
    return eta + np.einsum("srq,rq->sr", b.values[0], z)


def test_draws_have_the_moments_of_the_posterior(sleep, draws):
    model, X, _ = sleep
    posterior = draws["posterior"]
    coef = posterior["fixed_effects"].values[0]
    sd = model.fixed_effects_["std_error"].to_numpy()
    assert np.all(
        np.abs(coef.mean(axis=0) - model.fixed_effects_["estimate"]) < 0.08 * sd
    )
    assert_allclose(
        np.cov(coef.T), model.fixed_effects_covariance_, rtol=0.15, atol=0.5
    )
    eta, std = model.linear_predictor(X, return_std=True)
    found = linear_predictors(model, X, draws, "Subject", ["Days"])
    assert np.all(np.abs(found.mean(axis=0) - eta) < 0.08 * std)
    assert_allclose(found.std(axis=0), std, rtol=0.06)
    drawn = draws["posterior_predictive"]["y"].values[0]
    _, std = model.predict(X, return_std=True)
    assert_allclose(drawn.std(axis=0), std, rtol=0.06)


def test_log_likelihood_of_rows_is_that_of_scipy(sleep, draws, herds):
    model, X, y = sleep
    eta = linear_predictors(model, X, draws, "Subject", ["Days"])
    size = np.sqrt(model.noise_variance_ / X["w"].to_numpy())
    expected = norm.logpdf(y.to_numpy(), eta, size)
    assert_allclose(draws["log_likelihood"]["y"].values[0], expected, rtol=1e-9)
    for name, (of_herds, rows, response, density) in herds.items():
        data = to_arviz(of_herds, rows, response, n_samples=5, random_state=0)
        eta = linear_predictors(of_herds, rows, data, "herd")
        if name == "counts":
            eta = eta + np.log(rows["size"].to_numpy())
        found = data["log_likelihood"]["y"].values[0]
        assert_allclose(found, density(eta), rtol=1e-9)
        assert data["posterior_predictive"]["y"].shape == (1, 5, len(rows))


def test_names_and_constants(sleep, draws):
    model, X, y = sleep
    effects = draws["posterior"]["random_effects_Subject"]
    assert effects.dims == ("chain", "draw", "Subject", "Subject_effect")
    assert list(effects.coords["Subject"].values) == list(
        model.random_effects_["Subject"].index
    )
    assert list(draws["posterior"].coords["coefficient"].values) == [
        "Intercept",
        "Days",
    ]
    assert_array_equal(draws["observed_data"]["y"], y)
    components = draws["constant_data"]["variance_components"]
    assert float(components.sel(component="residual")) == model.noise_variance_
    again = to_arviz(model, X, y, n_samples=3, random_state=1)
    same = to_arviz(model, X, y, n_samples=3, random_state=1)
    assert again["posterior"].equals(same["posterior"])


@pytest.mark.filterwarnings("ignore")
def test_arviz_reads_them(draws):
    import arviz

    table = arviz.summary(draws, var_names=["fixed_effects"], kind="stats")
    assert list(table.index) == ["fixed_effects[Intercept]", "fixed_effects[Days]"]
    assert arviz.loo(draws).elpd_loo < 0.0


def test_combinations_and_factors_that_cross():
    X, y = load_penicillin(return_X_y=True, as_frame=True)
    X = X.assign(half=np.arange(len(X)) % 2)
    model = MixedLinearRegressor(["plate", ("sample", "half")]).fit(
        X[["plate", "sample", "half"]], y
    )
    data = to_arviz(model, X[["plate", "sample", "half"]], y, n_samples=2)
    assert "A:0" in data["posterior"].coords["sample:half"].values
    joint, _ = to_tfp(model, X[["plate", "sample", "half"]])
    assert joint.resolve_graph()[-1] == ("y", ("plate", "sample_half"))
    draw = joint.sample(seed=0)
    index = model.random_effects_["sample:half"].index
    eta = (
        model.intercept_
        + draw.plate.numpy()[
            model.random_effects_["plate"].index.get_indexer(X["plate"]), 0
        ]
    )
    places = index.get_indexer(list(zip(X["sample"], X["half"], strict=True)))
    eta += draw.sample_half.numpy()[places, 0]
    sd = np.sqrt(model.variance_components_["variance"].to_numpy())
    expected = norm.logpdf(draw.plate, 0.0, sd[0]).sum()
    expected += norm.logpdf(draw.sample_half, 0.0, sd[1]).sum()
    expected += norm.logpdf(draw.y, eta, sd[2]).sum()
    assert_allclose(joint.log_prob(draw), expected, rtol=1e-12)


def test_newer_arviz_gets_a_tree(sleep, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", types.ModuleType("arviz"))
    data = to_arviz(*sleep, n_samples=2, random_state=0)
    assert data["posterior/fixed_effects"].shape == (1, 2, 2)
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"skglmm\[arviz\]"):
        to_arviz(*sleep)


def test_joint_of_a_linear_model_is_that_of_scipy(sleep):
    model, X, y = sleep
    joint, posterior = to_tfp(model, X)
    b = posterior.sample(4, seed=0).Subject
    covariance = model.random_effects_covariance_["Subject"]
    Z = np.column_stack([np.ones(180), X["Days"]])
    codes = model.random_effects_["Subject"].index.get_indexer(X["Subject"])
    fixed = model.predict(X, level="population")
    size = np.sqrt(model.noise_variance_ / X["w"])
    for one in b.numpy():
        eta = fixed + np.einsum("iq,iq->i", Z, one[codes])
        expected = multivariate_normal.logpdf(one, cov=covariance).sum()
        expected += norm.logpdf(y, eta, size).sum()
        assert_allclose(joint.log_prob(one, y.to_numpy()), expected, rtol=1e-12)
    # Bayes: what is left is the density of y at these parameters, whatever b is
    V = np.where(codes[:, None] == codes, Z @ covariance @ Z.T, 0.0) + np.diag(size**2)
    left = joint.log_prob(b, np.tile(y, (4, 1))) - posterior.log_prob(b)
    assert_allclose(left, multivariate_normal.logpdf(y, fixed, V), rtol=1e-10)
    drawn = joint.sample(4000, seed=1).y.numpy()
    assert_allclose(drawn.var(axis=0), np.diag(V), rtol=0.15)
    assert np.all(np.abs(drawn.mean(axis=0) - fixed) < 5 * np.sqrt(np.diag(V) / 4000))


@pytest.mark.parametrize("name", ["counts", "successes", "binary"])
def test_joint_of_other_responses_is_that_of_scipy(herds, name):
    model, X, _, density = herds[name]
    joint, posterior = to_tfp(model, X)
    b = posterior.sample(seed=0).herd.numpy()
    codes = model.random_effects_["herd"].index.get_indexer(X["herd"])
    eta = model.linear_predictor(X, level="population") + b[codes, 0]
    sd = np.sqrt(model.random_effects_covariance_["herd"].item())
    expected = norm.logpdf(b, 0.0, sd).sum() + density(eta).sum()
    response = herds["counts"][2].to_numpy(float)
    if name == "binary":
        response = (herds[name][2] == "well").astype(np.int32)
    assert_allclose(joint.log_prob(b, response), expected, rtol=1e-9)
    assert joint.sample(seed=0).y.shape == (len(X),)


def test_posterior_is_that_of_the_model(sleep):
    model, X, _ = sleep
    alone = to_tfp(model)
    assert alone.joint.resolve_graph() == (("Subject", ()),)
    drawn = alone.posterior.sample(4000, seed=0).Subject.numpy()
    std = model.random_effects_std_["Subject"].to_numpy()
    away = drawn.mean(axis=0) - model.random_effects_["Subject"].to_numpy()
    assert np.all(np.abs(away) < 5 * std / np.sqrt(4000))
    assert_allclose(drawn.std(axis=0), std, rtol=0.07)


@pytest.mark.filterwarnings("ignore:The variance of")
def test_what_has_no_such_distribution_is_refused(sleep):
    model, X, y = sleep
    new = X.assign(Subject="new")
    with pytest.raises(ValueError, match="Row 0 has a level of 'Subject'"):
        to_tfp(model, new)
    with pytest.raises(ValueError, match="Row 0 has a level of 'Subject'"):
        to_arviz(model, new, y)
    flat = np.random.default_rng(0).normal(size=180)
    flat -= np.repeat(flat.reshape(18, 10).mean(axis=1), 10)
    zero = MixedLinearRegressor("Subject").fit(X[["Days", "Subject"]], flat)
    with pytest.raises(ValueError, match="covariance of 'Subject' is singular"):
        to_tfp(zero)
