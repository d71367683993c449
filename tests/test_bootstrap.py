"""The parametric bootstrap: lme4's and pbkrtest's answers, closed forms, words."""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import norm

from skglmm import MixedLinearRegressor, MixedPoissonRegressor
from skglmm.datasets import load_grouseticks, load_sleepstudy
from skglmm.inference import compare
from skglmm.inference._bootstrap import (
    _outermost,
    _shifted,
    bootstrap_draws,
    bootstrap_intervals,
)
from skglmm.inference._parameters import parameters_of
from skglmm.inference._rows import read_again
from skglmm.inference._simulation import once_each, truth_of


@functools.cache
def sleep(**parameters):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"], **parameters)
    model.fit(X, y)
    return X, y, model, read_again(model, X, y, None, None)


# lme4: quantiles of 2,000 draws of bootMer(lmer(Reaction ~ Days + (Days | Subject)),
# function(m) c(fixef(m), as.data.frame(VarCorr(m))$sdcor)), in its order.
SHARES = 0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975
BOOTMER = (
    (237.754998, 239.892014, 246.516108, 251.09404, 255.761667, 262.628684, 264.36536),
    (7.314435, 7.845631, 9.404791, 10.502859, 11.525618, 13.080495, 13.45271),
    (11.813989, 14.152043, 20.400071, 24.28329, 28.011408, 33.621524, 35.56804),
    (3.205914, 3.648665, 4.914608, 5.8344427, 6.686346, 7.879990, 8.28929),
    (-0.503184, -0.416852, -0.144892, 0.0836379, 0.340981, 0.753263, 0.89282),
    (22.728142, 23.129998, 24.597793, 25.5464509, 26.587422, 28.035615, 28.51398),
)


def test_quantiles_of_bootmer():
    _, _, model, inputs = sleep()
    draws = bootstrap_draws(model, inputs, 4000, 0).to_numpy()
    for column, quantiles in zip(draws.T, BOOTMER, strict=True):
        column = column[np.isfinite(column)]
        for share, quantile in zip(SHARES, quantiles, strict=True):
            error = np.sqrt(share * (1 - share) * (1 / 2000 + 1 / 4000))
            assert abs(np.mean(column <= quantile) - share) < 4 * error


def test_responses_have_the_moments_of_the_model():
    X, _, model, inputs = sleep()
    Y = truth_of(model).draw(inputs, 20_000, np.random.RandomState(0))
    mean = model.predict(X, level="population")
    z = np.column_stack([np.ones(180), X["Days"]])
    sigma = z @ model.random_effects_covariance_["Subject"] @ z.T
    same = X["Subject"].to_numpy()[:, None] == X["Subject"].to_numpy()
    sigma = np.where(same, sigma, 0.0) + model.noise_variance_ * np.eye(180)
    sd = np.sqrt(np.diag(sigma))
    assert np.max(abs(Y.mean(axis=1) - mean) / sd) < 4.5 / np.sqrt(20_000)
    found = np.cov(Y) / np.outer(sd, sd)
    assert np.max(abs(found - sigma / np.outer(sd, sd))) < 5.5 * np.sqrt(2 / 20_000)


def test_draws_are_named_seeded_and_those_of_the_seed(capsys):
    _, _, model, inputs = sleep()
    first = bootstrap_draws(model, inputs, 30, 1, verbose=1)
    assert "bootstrap, refits: 30 in" in capsys.readouterr().out
    again = bootstrap_draws(model, inputs, 30, 1)
    pd.testing.assert_frame_equal(first, again)
    assert first.columns.equals(parameters_of(model).index)
    assert not first.equals(bootstrap_draws(model, inputs, 30, 2))


def test_whole_frequencies_are_rows_and_others_are_refused():
    X, y, model, _ = sleep()
    weight = np.tile([1.0, 2.0], 90)
    rows = np.repeat(np.arange(180), weight.astype(int))
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y, weight)
    inputs = read_again(model, X, y, weight, None)
    draws = bootstrap_draws(model, inputs, 20, 0)
    of_rows = read_again(model, X.iloc[rows], y.iloc[rows], None, None)
    expected = bootstrap_draws(model, of_rows, 20, 0)
    pd.testing.assert_frame_equal(draws, expected, rtol=1e-6)
    half = MixedLinearRegressor("Subject").fit(X, y, weight / 4)
    inputs = read_again(half, X, y, weight / 4, None)
    with pytest.raises(ValueError, match="row 0 is 0.25, no whole number"):
        bootstrap_draws(half, inputs, 20, 0)
    assert len(once_each(of_rows).y) == 270


def test_bca_reads_the_quantiles_that_the_formula_names():
    draws = np.sort(np.random.default_rng(0).normal(size=1000))
    tails = np.array([0.025, 0.975])
    assert np.allclose(_shifted(tails, draws, np.median(draws), 0.0), tails, atol=2e-3)
    # 40 % below and a = .05: Efron and Tibshirani (1993), eq. 14.10, by hand
    z0, z = norm.ppf(0.4), norm.ppf(tails)
    expected = norm.cdf(z0 + (z0 + z) / (1.0 - 0.05 * (z0 + z)))
    found = _shifted(tails, draws, 0.5 * (draws[399] + draws[400]), 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_bca_of_a_mean_is_that_of_the_exact_distribution():
    random = np.random.default_rng(3)
    X = pd.DataFrame({"x": random.normal(size=80)})
    y = 2.0 * X["x"] + random.normal(size=80)
    model = MixedLinearRegressor().fit(X, y)
    inputs = read_again(model, X, y, None, None)
    found = bootstrap_intervals(model, inputs, 0.9, "bca", 4000, 0)
    estimate, error = model.fixed_effects_.loc["x"]
    # the draws are normal with this error; the skewness of the influence is small
    expected = estimate + norm.ppf([0.05, 0.95]) * error
    assert np.max(abs(found.loc[("fixed", "x")] - expected)) < 0.15 * error
    # sigma^2 is chi-square: pivotal, and BCa is close to the exact interval
    percentile = bootstrap_intervals(model, inputs, 0.9, "percentile", 4000, 0)
    assert found.loc["residual"].iloc[0, 1] > percentile.loc["residual"].iloc[0, 1]


@pytest.mark.filterwarnings("ignore")
def test_groups_that_are_independent():
    rows = pd.DataFrame({"a": np.repeat(range(4), 12), "b": np.repeat(range(12), 4)})
    rows["x"] = np.tile(range(6), 8)
    y = np.random.default_rng(0).normal(size=48)

    def outermost(*groups):
        model = MixedLinearRegressor(list(groups))
        table = rows[list(groups)]
        model.fit(table, y)
        return groups[_outermost(read_again(model, table, y, None, None))]

    assert outermost("a", "b") == outermost("b", "a") == "a"
    assert outermost("a", "x") == "x"


def test_counts_are_drawn_and_refitted():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    model = MixedPoissonRegressor("BROOD").fit(X, y)
    inputs = read_again(model, X, y, None, None)
    draws = bootstrap_draws(model, inputs, 8, 0)
    estimate = parameters_of(model)
    assert draws.shape == (8, 3)
    error = model.fixed_effects_["std_error"].to_numpy()
    away = draws["fixed"].mean() - estimate["fixed"]
    assert np.all(abs(away) < 4 * error / np.sqrt(8))


@pytest.mark.filterwarnings("ignore")
def test_compare_with_the_exact_distribution():
    # without groups t is a function of F, whose distribution is known
    random = np.random.default_rng(5)
    X = pd.DataFrame(random.normal(size=(12, 4)), columns=list("abcd"))
    y = X["a"] + 0.7 * X["b"] + random.normal(size=12)
    models = [MixedLinearRegressor(reml=False).fit(X[["a"]], y),
              MixedLinearRegressor(reml=False).fit(X, y)]  # fmt: skip
    table = compare(models, X, y, test="bootstrap", n_resamples=4000, random_state=0)
    chi2 = table["chi2"].iloc[1]
    exact = f_distribution.sf((np.exp(chi2 / 12) - 1) * 7 / 3, 3, 7)
    error = np.sqrt(exact * (1 - exact) / 4000)
    assert abs(table["p_value"].iloc[1] - exact) < 4 * error
    assert table["how"].iloc[1] == "ML: parametric bootstrap, 4000 draws"
    again = compare(models, X, y, test="bootstrap", n_resamples=4000, random_state=0)
    assert again["p_value"].iloc[1] == table["p_value"].iloc[1]


def test_p_value_of_pbmodcomp():
    # pbkrtest: PBmodcomp(lmer(y ~ Days + g + (1 | Subject)), lmer(y ~ Days +
    # (1 | Subject)), nsim = 2000) by ML, the first six subjects, g odd ones: the plain
    # chi-square has .3800
    X, y, _, _ = sleep()
    X = X[X["Subject"].isin(sorted(X["Subject"].unique())[:6])]
    X = X.assign(g=X["Subject"].astype(int) % 2.0)
    y = y[X.index]
    model = MixedLinearRegressor("Subject", reml=False)
    small = MixedLinearRegressor("Subject", reml=False).fit(X[["Days", "Subject"]], y)
    table = compare(
        [small, model], X, y, test="bootstrap", n_resamples=4000, random_state=0
    )
    assert table["chi2"].iloc[1] == pytest.approx(0.7706, abs=1e-4)
    error = np.sqrt(0.25 * (1 / 2000 + 1 / 4000))
    assert abs(table["p_value"].iloc[1] - 0.4888) < 4 * error


def test_compare_fits_what_is_not_fitted():
    X, y, model, _ = sleep()
    small = MixedLinearRegressor("Subject")
    table = compare(
        [small, model], X, y, test="bootstrap", n_resamples=19, random_state=0
    )
    assert table["p_value"].iloc[1] == 1 / 20
    assert table["how"].iloc[1] == "REML: parametric bootstrap, 19 draws"
