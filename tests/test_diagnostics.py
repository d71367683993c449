"""Diagnostics: silent about true models, and clear about wrong ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, ndtr
from scipy.stats import kstest

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.inference import diagnostics, residuals


def simulated(seed, *, rate=None, effects=None, per=6, levels=60):
    """Counts of a Poisson model with other rates or effects, if there are functions."""
    random = np.random.RandomState(seed)
    g, x = np.repeat(np.arange(levels), per), random.standard_normal(levels * per)
    b = random.standard_normal(levels) if effects is None else effects(random, levels)
    mean = np.exp(1.0 + 0.5 * x + 0.8 * b[g])
    mean = mean if rate is None else mean * rate(random, len(mean))
    return pd.DataFrame({"x": x, "g": g}), random.poisson(mean)


def checked(X, y, **parameters):
    return diagnostics(
        MixedPoissonRegressor("g").fit(X, y), X, y, random_state=0, **parameters
    )


CHECKS = ["dispersion", "zeros", "outliers", "uniformity", "normality(g, Intercept)"]


def test_a_true_model_passes():
    table = checked(*simulated(0))
    assert list(table.index) == CHECKS
    assert table.index.name == "check"
    assert list(table) == ["statistic", "p_value", "sentence"]
    assert (table["p_value"] > 0.05).all()
    np.testing.assert_allclose(table["statistic"][["dispersion", "zeros"]], 1, atol=0.3)
    assert "within chance" in table["sentence"]["dispersion"]


def test_overdispersion_is_found():
    X, y = simulated(0, rate=lambda random, n: random.gamma(1.0, 1.0, n))
    table = checked(X, y)
    assert table["statistic"]["dispersion"] > 1.5
    # the smallest p-value that 250 simulations have
    np.testing.assert_allclose(table["p_value"]["dispersion"], 2 / 251)
    assert "more than chance allows" in table["sentence"]["dispersion"]
    assert table["p_value"]["uniformity"] < 0.01


def test_underdispersion_is_found():
    X, y = simulated(0)
    y = np.round(np.exp(1.0 + 0.5 * X["x"]))
    with pytest.warns(UserWarning, match="estimated as zero"):
        table = checked(X, y)
    assert table["statistic"]["dispersion"] < 0.5
    assert "less than chance allows" in table["sentence"]["dispersion"]
    assert np.isnan(table["p_value"]["normality(g, Intercept)"])
    assert table["sentence"]["normality(g, Intercept)"].startswith("no variance")


def test_too_many_zeros_are_found_and_counted():
    X, y = simulated(0, rate=lambda random, n: random.uniform(size=n) > 0.2, per=12)
    table = checked(X, y)
    assert table["p_value"]["zeros"] < 0.01
    assert f"({np.sum(y == 0)} and " in table["sentence"]["zeros"]
    assert table["sentence"]["zeros"].startswith("observed zeros are ")
    assert table["statistic"]["zeros"] > 1.3


def test_the_outlier_is_named():
    X, y = simulated(0, per=30, levels=20)
    y[100] = 2 * y.max()
    X.index = [f"row {i}" for i in range(len(X))]
    table = checked(X, y)
    assert table["p_value"]["outliers"] < 1e-3
    assert "the farthest row is row 100," in table["sentence"]["outliers"]


def test_the_outlier_of_a_linear_model_has_the_closed_p_value():
    X, _ = simulated(0)
    random = np.random.RandomState(5)
    y = X["x"] + random.standard_normal(60)[X["g"]] + random.standard_normal(360)
    model = MixedLinearRegressor("g").fit(X, y)
    table = diagnostics(model, X, y, random_state=3)
    assert list(table.index) == CHECKS[2:]
    left = residuals(model, X, y, random_state=3)
    largest = left.abs().max()
    np.testing.assert_allclose(table["statistic"]["outliers"], largest)
    expected = 1 - (1 - 2 * ndtr(-largest)) ** 360
    np.testing.assert_allclose(table["p_value"]["outliers"], expected, rtol=1e-6)
    found = kstest(left, "norm")
    np.testing.assert_allclose(
        table.loc["uniformity", ["statistic", "p_value"]].astype(float), found[:2]
    )


def test_effects_that_are_not_normal_are_found():
    def two_kinds(random, n):
        return np.where(random.uniform(size=n) < 0.15, 3.0, -0.5)

    table = checked(*simulated(0, effects=two_kinds, per=10))
    assert table["p_value"]["normality(g, Intercept)"] < 1e-3
    assert table["statistic"]["normality(g, Intercept)"] < 0.9
    assert table["sentence"]["normality(g, Intercept)"].endswith("are not normal")


def test_classes_have_no_dispersion_and_proportions_have():
    X, _ = simulated(0)
    random = np.random.RandomState(1)
    p = expit(X["x"] + random.standard_normal(60)[X["g"]])
    y = random.binomial(1, p)
    table = diagnostics(MixedLogisticRegressor("g").fit(X, y), X, y)
    assert list(table.index) == CHECKS[2:]
    X["n"] = 10
    y = random.binomial(10, random.beta(3 * p, 3 * (1 - p)))
    shares = MixedBinomialRegressor("g", trials="n").fit(X, y)
    table = diagnostics(shares, X, y, random_state=0)
    assert list(table.index) == CHECKS
    # a beta-binomial variance is 1 + (n - 1) / (a + b + 1) times the binomial one
    assert 2.0 < table["statistic"]["dispersion"] < 1 + 9 / 4


def test_slopes_and_several_factors_have_a_line_each():
    X, _ = simulated(0)
    random = np.random.RandomState(2)
    X["h"] = random.randint(0, 8, 360)
    y = random.standard_normal(60)[X["g"]] + random.standard_normal(8)[X["h"]]
    y += random.standard_normal(360)
    slopes = y + X["x"] * random.standard_normal(60)[X["g"]]
    names = ["normality(g, Intercept)", "normality(h, Intercept)"]
    model = MixedLinearRegressor(["g", "h"]).fit(X, y)
    table = diagnostics(model, X, y, random_state=0)
    assert list(table.index[2:]) == names
    model = MixedLinearRegressor("g", random_slopes=["x"]).fit(X, slopes)
    table = diagnostics(model, X, slopes, random_state=0)
    assert list(table.index[2:]) == [names[0], "normality(g, x)"]
    assert (table["p_value"][2:] > 0.01).all()


def test_a_weight_of_two_is_the_row_twice():
    X, y = simulated(0)
    weight = np.where(np.arange(360) % 2, 2.0, 1.0)
    model = MixedPoissonRegressor("g").fit(X, y, weight)
    table = diagnostics(model, X, y, sample_weight=weight, random_state=0)
    assert "of 540 are" in table["sentence"]["outliers"]
    weight[3] = 1.5
    model.fit(X, y, weight)
    with pytest.raises(ValueError, match=r"1\.5 in row 3"):
        diagnostics(model, X, y, sample_weight=weight)


def test_an_integer_gives_the_same_table():
    X, y = simulated(0)
    pd.testing.assert_frame_equal(checked(X, y), checked(X, y))


@pytest.mark.slow
def test_p_values_of_true_models_are_uniform():
    # zeros are whole numbers, and few: ties count on both sides
    p_values = []
    for seed in range(150):
        X, y = simulated(1000 + seed)
        model = MixedPoissonRegressor("g").fit(X, y)
        table = diagnostics(model, X, y, n_samples=99, random_state=seed)
        p_values.append(table["p_value"])
    found = pd.DataFrame(p_values)
    for check in set(CHECKS) - {"zeros"}:
        assert kstest(found[check], "uniform").pvalue > 1e-3, check
    # five per cent, and three standard errors
    assert ((found < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)).all()
