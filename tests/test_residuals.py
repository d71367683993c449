"""Residuals: against lme4, against integrals, and against what a true model leaves."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom, kstest, nbinom, norm, poisson

import skglmm.datasets as datasets
from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._families import FAMILIES
from skglmm._families.base import Family
from skglmm._families.overdispersed import NegativeBinomial
from skglmm.inference import residuals
from skglmm.inference._drawn import drawn, observed


def sleepstudy():
    X, y = datasets.load_sleepstudy(return_X_y=True, as_frame=True)
    return MixedLinearRegressor("Subject", random_slopes=["Days"]), X, y


def grouse():
    X, y = datasets.load_grouseticks(return_X_y=True, as_frame=True)
    X = X.assign(height=X["cHEIGHT"] / 100)[["height", "BROOD"]]
    return MixedPoissonRegressor("BROOD", solver="laplace"), X, y


def cbpp():
    X, y = datasets.load_cbpp(return_X_y=True, as_frame=True)
    X = X.assign(**{f"p{k}": (X["period"] == k).astype(float) for k in "234"})
    model = MixedBinomialRegressor("herd", trials="size", solver="laplace")
    return model, X[["size", "herd", "p2", "p3", "p4"]], y


def simulated(family, seed, crossed=False):
    """Rows of a true model: 60 levels of 6 rows, or a second factor of 12 as well."""
    random = np.random.RandomState(seed)
    g, x = np.repeat(np.arange(60), 6), random.standard_normal(360)
    eta, groups = 0.3 + 0.5 * x + 0.8 * random.standard_normal(60)[g], ["g"]
    X = pd.DataFrame({"x": x, "g": g})
    if crossed:
        X["h"], groups = random.randint(0, 12, 360), ["g", "h"]
        eta += 0.6 * random.standard_normal(12)[X["h"]]
    if family == "linear":
        y = eta + 0.7 * random.standard_normal(360)
        return MixedLinearRegressor(groups), X, y
    if family == "poisson":
        return MixedPoissonRegressor(groups), X, random.poisson(np.exp(eta))
    if family == "logistic":
        y = np.where(random.uniform(size=360) < expit(eta), "yes", "no")
        return MixedLogisticRegressor(groups), X, y
    X["n"] = random.randint(1, 9, 360)
    y = random.binomial(X["n"], expit(eta))
    return MixedBinomialRegressor(groups, trials="n"), X, y


# residuals(lmer(Reaction ~ Days + (Days | Subject)), "pearson", scaled = TRUE), and of
# glmer's fits with tolPwrss = 1e-12 and xtol_abs = ftol_abs = 1e-11 of nloptwrap:
# TICKS ~ I(cHEIGHT / 100) + (1 | BROOD), cbpp's incidence ~ period + (1 | herd)
LME4 = {
    (sleepstudy, "pearson"): [-0.16035044, -0.57148071, 5.17926037, -0.20935886],
    (sleepstudy, "deviance"): [-4.1036558, -14.6252175, 132.5465735, -5.3578693],
    (grouse, "pearson"): [-0.64016956, -1.11941608, -0.87238064, -1.09716437],
    (grouse, "deviance"): [-0.90533647, -1.58309340, -0.91139247, -1.55162473],
    (cbpp, "pearson"): [-1.33985843, 1.07512513, -0.65811377, -0.66989011],
    (cbpp, "deviance"): [-1.43802837, 0.98874254, -0.91454384, -0.94039467],
}
ROWS = {sleepstudy: [0, 1, 56, 179], grouse: [0, 3, 129, 402], cbpp: [0, 1, 29, 55]}


@pytest.mark.parametrize(("problem", "kind"), LME4)
def test_pearson_and_deviance_residuals_are_lme4s(problem, kind):
    model, X, y = problem()
    found = residuals(model.fit(X, y), X, y, kind)
    assert found.name == kind
    assert found.index.equals(X.index)
    expected = LME4[problem, kind]
    np.testing.assert_allclose(found.iloc[ROWS[problem]], expected, rtol=2e-5)


def test_response_residuals_are_what_predict_leaves():
    for model, X, y in (sleepstudy(), grouse(), cbpp()):
        mean = model.fit(X, y).predict(X, level="population")
        share = y / X["size"] if "size" in X else y
        found = residuals(model, X, y, "response", level="population")
        np.testing.assert_allclose(found, share - mean, atol=1e-12)
    model, X, y = simulated("logistic", 0)
    second = model.fit(X, y).predict_proba(X)[:, 1]
    np.testing.assert_allclose(
        residuals(model, X, y, "response"), (y == "yes") - second, atol=1e-12
    )


def test_pearson_residuals_of_the_population_have_the_lognormal_moments():
    model, X, y = grouse()
    found = residuals(model.fit(X, y), X, y, "pearson", level="population")
    eta = model.linear_predictor(X, level="population")
    v = model.random_effects_covariance_["BROOD"][0, 0]
    mean = np.exp(eta + v / 2)
    spread = mean + (np.exp(v) - 1) * mean**2
    np.testing.assert_allclose(found, (y - mean) / np.sqrt(spread), rtol=1e-10)


@pytest.mark.parametrize("problem", [grouse, cbpp])
def test_population_quantiles_are_integrals_over_the_effects(problem):
    model, X, y = problem()
    eta = model.fit(X, y).linear_predictor(X, level="population")
    (sd,) = (np.sqrt(s[0, 0]) for s in model.random_effects_covariance_.values())
    u = np.random.RandomState(7).uniform(size=len(y))
    found = residuals(model, X, y, level="population", random_state=7)
    for row in range(0, len(y), len(y) // 6):

        def upto(k, at=eta[row], n=X.iloc[row, 0]):
            def inside(b):
                by = poisson.cdf(k, np.exp(at + b))
                if problem is cbpp:
                    by = binom.cdf(k, n, expit(at + b))
                return by * norm.pdf(b, scale=sd)

            return quad(inside, -9 * sd, 9 * sd, epsabs=1e-10, limit=200)[0]

        below, to = upto(y.iloc[row] - 1), upto(y.iloc[row])
        expected = below + u[row] * (to - below)
        np.testing.assert_allclose(ndtr(found.iloc[row]), expected, atol=3e-8)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("family", ["linear", "poisson", "binomial", "logistic"])
def test_quantile_residuals_of_a_true_model_are_standard_normal(family, crossed):
    model, X, y = simulated(family, 1, crossed)
    model.fit(X, y)
    conditional = residuals(model, X, y, random_state=0)
    assert kstest(conditional, "norm").pvalue > 0.05
    assert abs(conditional.std() - 1.0) < 0.1
    population = residuals(model, X, y, level="population", random_state=0)
    # rows of a level depend on each other: first rows of each do not
    assert kstest(population[::6], "norm").pvalue > 0.05


def test_effects_at_their_means_would_leave_too_little():
    # two rows a level: the means have seen both
    random = np.random.RandomState(0)
    g = np.repeat(np.arange(300), 2)
    y = random.standard_normal(300)[g] + random.standard_normal(600)
    X = pd.DataFrame({"g": g})
    model = MixedLinearRegressor("g").fit(X, y)
    assert residuals(model, X, y, "pearson").std() < 0.85
    assert abs(residuals(model, X, y, random_state=0).std() - 1.0) < 0.06


@pytest.mark.parametrize("groups", [["g"], ["g", "h"]])
def test_draws_have_the_posterior_of_a_dense_computation(groups):
    random = np.random.RandomState(3)
    X = pd.DataFrame({"x": random.standard_normal(40)})
    X["g"], X["h"] = np.repeat(np.arange(10), 4), np.tile(np.arange(5), 8)
    y = random.standard_normal(10)[X["g"]] + random.standard_normal(5)[X["h"]]
    y += X["x"] * random.standard_normal(10)[X["g"]]
    y += 0.5 * random.standard_normal(40)
    X, slopes = X[["x", *groups]], ["x"] if groups == ["g"] else None
    model = MixedLinearRegressor(groups, random_slopes=slopes).fit(X, y)
    columns, prior = [np.ones((40, 1)), X[["x"]].to_numpy()], [np.zeros((2, 2))]
    for name in groups:
        z = (np.arange(X[name].max() + 1) == X[name].to_numpy()[:, None]).astype(float)
        parts = [z, z * X[["x"]].to_numpy()] if slopes else [z]
        columns += parts
        sigma = model.random_effects_covariance_[name]
        prior.append(np.kron(np.linalg.inv(sigma), np.eye(z.shape[1])))
    table = np.hstack(columns)
    size = table.shape[1]
    precision, at = table.T @ table / model.noise_variance_, 0
    for part in prior:
        precision[at : at + len(part), at : at + len(part)] += part
        at += len(part)
    assert at == size
    expected = table @ np.linalg.inv(precision) @ table.T
    found = observed(model, X, y, None, None, "conditional")
    draws = np.array([drawn(found, random)[0] for _ in range(3000)])
    mean = model.linear_predictor(X)
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * 0.5 / np.sqrt(3000))
    error = np.cov(draws.T) - expected
    scale = np.sqrt(np.outer(*[np.diag(expected)] * 2))
    assert np.max(np.abs(error) / scale) < 5.5 * np.sqrt(2 / 3000)


def test_scores_of_negative_binomial_counts_are_scipys():
    family, random = NegativeBinomial().given(np.log([2.5])), np.random.RandomState(0)
    eta, y = random.standard_normal(200), random.poisson(2.0, 200).astype(float)
    p = 2.5 / (2.5 + np.exp(eta))
    u = np.random.RandomState(1).uniform(size=200)
    below, upto = nbinom.cdf(y - 1, 2.5, p), nbinom.cdf(y, 2.5, p)
    found = family.normal_scores(y, eta, 0 * eta, None, np.random.RandomState(1))
    np.testing.assert_allclose(ndtr(found), below + u * (upto - below), atol=1e-8)


def test_a_family_that_only_draws_has_scores_by_its_samples():
    family, random = FAMILIES["poisson"], np.random.RandomState(0)
    eta, v = np.linspace(0, 3, 400), np.full(400, 0.5)
    y = random.poisson(np.exp(eta + np.sqrt(v) * random.standard_normal(400)))
    found = Family.normal_scores(family, y, eta, v, None, random)
    exact = family.normal_scores(y, eta, v, None, random)
    assert kstest(found, "norm").pvalue > 0.05
    large = y > 8
    np.testing.assert_allclose(ndtr(found[large]), ndtr(exact[large]), atol=0.15)
    assert np.corrcoef(found, exact)[0, 1] > 0.9


def test_far_tails_are_finite_and_fractions_do_not_jump():
    family, eta = FAMILIES["poisson"], np.zeros(3)
    y = np.array([0.0, 2.5, 900.0])
    found = family.normal_scores(y, eta, eta, None, np.random.RandomState(0))
    np.testing.assert_allclose(found[1], ndtri(poisson.cdf(2, 1.0)), atol=1e-7)
    assert 8 < found[2] < 9


def test_an_integer_gives_the_same_residuals_and_other_kinds_have_nothing_random():
    model, X, y = simulated("poisson", 0, True)
    model.fit(X, y)
    first, again, other = (residuals(model, X, y, random_state=s) for s in (0, 0, 1))
    assert first.equals(again)
    assert not np.isclose(first, other).any()
    assert residuals(model, X, y, "deviance").equals(residuals(model, X, y, "deviance"))


def test_groups_of_fit_arrays_and_rows_of_weight_zero():
    model, X, y = simulated("poisson", 0)
    weight = np.r_[np.zeros(6), np.ones(354)]
    found = residuals(
        model.fit(X, y, weight), X, y, sample_weight=weight, random_state=0
    )
    assert np.isfinite(found).all()
    given = MixedPoissonRegressor().fit(X[["x"]].to_numpy(), y, groups=X["g"])
    found = residuals(given, X[["x"]].to_numpy(), y, groups=X["g"], random_state=0)
    assert found.index.equals(pd.RangeIndex(360))
    assert kstest(found, "norm").pvalue > 0.05


def test_what_cannot_be_asked():
    model, X, y = simulated("poisson", 0)
    model.fit(X, y)
    with pytest.raises(ValueError, match="not the rows that the model was fitted to"):
        residuals(model, X[:-1], y[:-1])
    with pytest.raises(ValueError, match="'kind' parameter"):
        residuals(model, X, y, "raw")
