"""Columns that `fixed_effects` lists; slopes without one; groups that are trends."""

import io
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skglmm import (
    GroupEffectEncoder,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    inference,
    show_plan,
)
from skglmm._fitted.state import Fitted
from skglmm.datasets import load_contraception, load_grouseticks, load_sleepstudy

SLEEP, REACTION = load_sleepstudy(return_X_y=True, as_frame=True)
TICKS, COUNT = load_grouseticks(return_X_y=True, as_frame=True)
TICKS["YEAR"] = TICKS["YEAR"].astype(str)


def check(model, log_likelihood, fixed, std, rtol=1e-5):
    assert model.log_likelihood_ == pytest.approx(log_likelihood, abs=2e-5)
    assert_allclose(model.fixed_effects_["estimate"], fixed, rtol=rtol)
    assert_allclose(model.variance_components_["std"], std, rtol=max(rtol, 3e-5))


@pytest.mark.parametrize(
    ("reml", "intercept", "log_likelihood", "fixed", "std"),
    [
        # lmer(Reaction ~ 1 + (Days | Subject), sleepstudy)
        (True, True, -884.922451931, 257.76217, [25.527118, 11.926638, 25.591811]),
        # lmer(Reaction ~ 1 + (0 + Days | Subject), sleepstudy)
        (True, False, -894.614490203, 254.41827, [12.240204, 29.064230]),
        # the same with REML = FALSE
        (False, False, -896.901601435, 254.40787, [12.226493, 28.978129]),
    ],
)
def test_slopes_without_a_fixed_effect(reml, intercept, log_likelihood, fixed, std):
    model = MixedLinearRegressor(
        "Subject",
        fixed_effects=[],
        random_slopes=["Days"],
        random_intercepts=intercept,
        reml=reml,
    ).fit(SLEEP, REACTION)
    check(model, log_likelihood, [fixed], std)
    assert model.coef_names_ == [] and model.coef_.shape == (0,)


def test_predictions_without_a_fixed_effect():
    model = MixedLinearRegressor("Subject", fixed_effects=[], random_slopes=["Days"])
    model.fit(SLEEP, REACTION)
    # fitted(m)[1:3] of the first fit above
    found = model.predict(SLEEP[:3])
    assert_allclose(found, [249.4571757, 270.0582026, 290.6592294], rtol=1e-5)
    row = pd.DataFrame({"Days": [3.0]})
    mean, std = model.predict(row, level="population", return_std=True)
    # lmer ends 2e-9 below this likelihood, a ten-thousandth of an error away
    assert mean[0] == pytest.approx(257.7622, abs=6.8e-4)
    prior = model.random_effects_covariance_["Subject"]
    z = np.array([1.0, 3.0])
    variance = z @ prior @ z + model.noise_variance_
    variance += model.fixed_effects_["std_error"].iloc[0] ** 2
    assert std[0] == pytest.approx(np.sqrt(variance), rel=1e-10)
    low, high = model.predict_interval(row, level="population")[0]
    assert high - low == pytest.approx(2 * 1.959963985 * std[0], rel=1e-6)
    samples = model.sample_y(row, 4000, level="population", random_state=0)
    assert samples.std() == pytest.approx(std[0], rel=0.05)
    new = SLEEP[:10].assign(Subject="new")
    updated = model.update_random_effects(new, REACTION[:10])
    known = model.random_effects_["Subject"].loc["308"]
    assert_allclose(updated.random_effects_["Subject"].loc["new"], known, rtol=0.05)
    assert "Days" in str(model.summary())
    assert "2 effects each" in show_plan(model, SLEEP)


def test_counts_with_slopes_without_a_fixed_effect():
    model = MixedPoissonRegressor(
        "BROOD",
        fixed_effects=["YEAR"],
        random_slopes="cHEIGHT",
        random_intercepts=False,
        solver="laplace",
    ).fit(TICKS, COUNT)
    # glmer(TICKS ~ YEAR + (0 + cHEIGHT | BROOD), grouseticks, poisson)
    expected = [0.159132565, 1.573585073, -0.196891089]
    check(model, -1031.2894857, expected, [0.052355116], 2e-4)


def test_outcomes_with_slopes_without_a_fixed_effect():
    X, y = load_contraception(return_X_y=True, as_frame=True)
    X["children"] = (X["livch"].astype(str) != "0").astype(float)
    model = MixedLogisticRegressor(
        "district",
        fixed_effects=["age"],
        random_slopes="children",
        random_intercepts=False,
        solver="laplace",
    ).fit(X, y)
    # glmer((use == "Y") ~ age + (0 + children | district), Contraception, binomial)
    # ends a little below the maximum: a thousandth of a standard error away
    assert -1258.53066471 <= model.log_likelihood_ <= -1258.5306
    off = model.fixed_effects_["estimate"] - [-0.81130053985, -0.00492615003]
    assert np.all(np.abs(off) < 2e-3 * model.fixed_effects_["std_error"])
    assert_allclose(model.variance_components_["std"], [0.76941228], rtol=5e-4)


def test_a_column_is_a_group_and_a_trend():
    y = np.log(COUNT + 1.0)
    model = MixedLinearRegressor(["HEIGHT", "BROOD"], fixed_effects=["HEIGHT"])
    model.fit(TICKS, y)
    # lmer(log(TICKS + 1) ~ HEIGHT + (1 | HEIGHT) + (1 | BROOD), grouseticks)
    std = [0.16792931, 0.79831652, 0.56355255]
    check(model, -463.126366131, [7.7336729367, -0.0142519242], std, 3e-4)
    trend = 7.7336729367 - 0.0142519242 * 470.0
    new = pd.DataFrame({"HEIGHT": [470.0]})
    assert model.predict(new, level="population")[0] == pytest.approx(trend, rel=1e-3)


def test_a_slope_on_the_labels_of_another_factor_has_a_fixed_effect():
    i = np.arange(80)
    X = pd.DataFrame({"s": i % 8, "year": 1.0 + i // 8})
    y = np.sin(7.0 * i) + 0.3 * X["year"] * np.cos(X["s"]) + np.cos(5.0 * X["year"])
    model = MixedLinearRegressor(
        ["s", "year"], random_slopes={"s": ["year"]}, covariance="diag"
    ).fit(X, y)
    assert model.coef_names_ == ["year"]
    copied = X.assign(trend=X["year"])
    other = clone(model).set_params(random_slopes={"s": ["trend"]}).fit(copied, y)
    assert_allclose(model.coef_, other.coef_, rtol=1e-12)
    model.set_params(fixed_effects=[]).fit(X, y)
    assert model.coef_names_ == []


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_predictions_need_the_columns_of_the_model(frame):
    X = SLEEP.assign(Subject=SLEEP["Subject"].astype(str), note="x", age=30.0)
    rows = frame({name: X[name].to_numpy() for name in X})
    listed = MixedLinearRegressor("Subject", fixed_effects=["Days"])
    listed.fit(rows, REACTION)
    expected = listed.predict(rows)
    assert_array_equal(listed.predict(rows[["Subject", "Days"]]), expected)
    with pytest.raises(ValueError, match=r"no column 'Days'.*\['Days', 'Subject'\]"):
        listed.predict(rows[["Subject"]])
    plain = MixedLinearRegressor("Subject").fit(rows[["Days", "Subject"]], REACTION)
    for model in (listed, plain):
        population = model.predict(rows[["Days", "Subject"]], level="population")
        found = model.predict(rows[["Days"]], level="population")
        assert_array_equal(found, population)
        assert model.sample_y(rows[["Days"]], 2, level="population").shape == (180, 2)
        with pytest.raises(ValueError, match="'Subject', which holds groups.*level="):
            model.predict(rows[["Days"]])
    with pytest.raises(ValueError, match="feature names"):
        plain.predict(rows[["Subject"]], level="population")


def test_positions_of_an_array():
    X = np.column_stack([SLEEP["Days"], np.arange(180.0) % 7, SLEEP["Subject"]])
    X = X.astype(float)
    model = MixedLinearRegressor(-1, fixed_effects=[0]).fit(X, REACTION)
    other = MixedLinearRegressor(-1).fit(X[:, [0, 2]], REACTION)
    assert_array_equal(model.predict(X), other.predict(X[:, [0, 2]]))
    assert model.coef_names_ == ["x0"]


def test_text_in_the_list_has_its_dummies_together():
    y = np.log(COUNT + 1.0)
    listed = ["cHEIGHT", "YEAR"]
    model = MixedLinearRegressor("BROOD", fixed_effects=listed).fit(TICKS, y)
    assert model.coef_names_ == ["cHEIGHT", "YEAR_96", "YEAR_97"]
    assert isinstance(model._fitted, Fitted)
    assert model._fitted.fixed_terms == {"cHEIGHT": [0], "YEAR": [1, 2]}
    model = MixedLinearRegressor("BROOD", fixed_effects="YEAR").fit(TICKS, y)
    assert model.coef_names_ == ["YEAR_96", "YEAR_97"]


def test_nested_lists_are_compared():
    small = MixedLinearRegressor("Subject", fixed_effects=[], reml=False)
    large = clone(small).set_params(fixed_effects=["Days"])
    models = [small.fit(SLEEP, REACTION), large.fit(SLEEP, REACTION)]
    table = inference.compare(models, SLEEP, REACTION)
    # anova(lmer(Reaction ~ 1 + (1 | Subject)), lmer(Reaction ~ Days + (1 | Subject)))
    assert table["chi2"].iloc[1] == pytest.approx(116.4624, abs=1e-3)
    assert table["df"].iloc[1] == 1
    found = inference.coefficients(large, SLEEP[["Subject", "Days"]], REACTION)
    assert list(found.index) == ["Intercept", "Days"]


def test_a_search_over_lists_and_what_is_saved():
    X = SLEEP.assign(noise=np.sin(1e4 * np.arange(180.0)))
    grid = {"fixed_effects": [[], ["Days"], ["noise"]]}
    search = GridSearchCV(MixedLinearRegressor("Subject"), grid, cv=3)
    model = search.fit(X, REACTION).best_estimator_
    assert model.fixed_effects == ["Days"]
    assert (
        repr(model) == "MixedLinearRegressor(fixed_effects=['Days'], groups='Subject')"
    )
    trusted = ["skglmm._linear.MixedLinearRegressor", "skglmm.solvers._vi.VI"]
    for copy in (
        pickle.loads(pickle.dumps(model)),
        skops.io.load(io.BytesIO(skops.io.dumps(model)), trusted=trusted),
    ):
        assert_array_equal(copy.predict(X[["Days", "Subject"]]), model.predict(X))


def test_missing_values_of_listed_columns_are_modelled():
    X = SLEEP.assign(other=np.nan)
    X["dose"] = np.where(np.arange(180) % 9 == 4, np.nan, np.cos(np.arange(180.0)))
    model = MixedLinearRegressor(
        "Subject",
        fixed_effects=["dose"],
        random_slopes=["Days"],
        missing="model",
        random_state=0,
    ).fit(X, REACTION)
    assert model.coef_names_ == ["dose"]
    assert np.isfinite(model.predict(X)).all()
    assert list(model.missing_information_.index) == ["Intercept", "dose"]


def test_the_encoder_takes_a_model_with_a_list():
    X = SLEEP.assign(one=SLEEP["Subject"].astype(str), two="a")
    model = MixedLinearRegressor(fixed_effects=["Days"])
    encoder = GroupEffectEncoder(["one", "two"], estimator=model, std=False)
    with pytest.warns(UserWarning, match="'two' has one level"):
        found = encoder.fit(X, REACTION).transform(X)
    alone = GroupEffectEncoder("one", estimator=model, std=False)
    assert_allclose(found[:, 0], alone.fit(X, REACTION).transform(X)[:, 0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fixed_effects": ["Dayz"]}, "fixed_effects: 'Dayz' is not .*mean 'Days'"),
        ({"fixed_effects": ["Days", "Days"]}, "'Days' is there twice: name it once"),
        ({"fixed_effects": [0, "Days"]}, "'Days' is there twice"),
        ({"fixed_effects": [7]}, "fixed_effects: position 7 is out of range"),
        (
            {"fixed_effects": ["Days"], "offset": "Days"},
            "fixed_effects: column 'Days' has another role already \\(offset\\)",
        ),
        (
            {"fixed_effects": [], "reference": {"Subject": "308"}},
            "reference: column 'Subject' is not coded.*leaves it out",
        ),
    ],
)
def test_lists_that_say_nothing(parameters, message):
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor("Subject", **parameters).fit(SLEEP, REACTION)
