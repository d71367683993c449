"""Columns of text, categories and truth values, coded inside `fit`."""

import io
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from skglmm import (
    GroupEffectEncoder,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    show_plan,
)
from skglmm._reading.categories import Table, learn
from skglmm.solvers import Laplace

REGIONS = ["land", "city", "suburb"]


def visits():
    """The table that lme4 was given, numbers rounded as here."""
    i = np.arange(96)
    g = i % 12
    region = np.array(REGIONS)[(i // 12) % 3]
    level = np.array([1.0, 0.0, -0.5])[(i // 12) % 3]
    own = 0.8 * np.sin(5.0 * g) * (region == "land")
    own += 0.9 * np.cos(3.0 * g) * (region == "suburb")
    x = np.cos(1.3 * i).round(3)
    noise = 0.5 * np.sin(0.37 * i**2)
    y = (1 + 0.5 * x + level + np.sin(2.0 * g) + own + noise).round(3)
    return pd.DataFrame({"region": region, "x": x, "g": g}), y


X, Y = visits()
BY_HAND = X.drop(columns="region").assign(
    region_land=(X["region"] == "land") * 1.0,
    region_suburb=(X["region"] == "suburb") * 1.0,
)[["region_land", "region_suburb", "x", "g"]]


def same_model(first, second):
    for name in ("fixed_effects_", "fixed_effects_covariance_", "variance_components_"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
    assert first.log_likelihood_ == second.log_likelihood_


def fixed(model):
    return model.fixed_effects_.to_numpy()


# Against lme4 1.1, R 4.2: d <- the table above, text as factors


def test_a_column_of_text_is_a_factor_of_lme4():
    # lmer(y ~ region + x + (1 | g), d, REML = TRUE)
    model = MixedLinearRegressor("g").fit(X, Y)
    assert model.coef_names_ == ["region_land", "region_suburb", "x"]
    answer = [
        [1.1545229461, 0.22486407420],
        [0.8536939020, 0.12894835490],
        [-0.5198071085, 0.14404243333],
        [0.4607204011, 0.07888620397],
    ]
    assert_allclose(fixed(model), answer, rtol=1e-5)
    assert_allclose(model.log_likelihood_, -96.80791353, rtol=1e-9)
    variances = model.variance_components_["variance"]
    assert_allclose(variances, [0.5070926434, 0.2987098825], rtol=1e-5)


def test_another_reference_is_relevel():
    # lmer(y ~ relevel(region, "suburb") + x + (1 | g), d, REML = TRUE)
    model = MixedLinearRegressor("g", reference={"region": "suburb"}).fit(X, Y)
    assert model.coef_names_ == ["region_city", "region_land", "x"]
    answer = [
        [0.6347158375, 0.23389023200],
        [0.5198071085, 0.14404243333],
        [1.3735010106, 0.14407187043],
        [0.4607204011, 0.07888620397],
    ]
    assert_allclose(fixed(model), answer, rtol=1e-5)


def test_slopes_on_a_column_of_text_are_its_dummies_together():
    # lmer(y ~ region + x + (1 + region | g), d, REML = TRUE)
    model = MixedLinearRegressor("g", random_slopes=["region"]).fit(X, Y)
    answer = [
        [1.1551879002, 0.22022470355],
        [0.8524001918, 0.18447418989],
        [-0.5202861136, 0.24912929483],
        [0.4785715202, 0.05023400523],
    ]
    assert_allclose(fixed(model), answer, rtol=1e-4)
    assert_allclose(model.log_likelihood_, -78.63397151, rtol=1e-8)
    covariance = [
        [0.54384773922, -0.11768128116, -0.08526847482],
        [-0.11768128116, 0.33201510786, 0.15775213748],
        [-0.08526847482, 0.15775213748, 0.64951985302],
    ]
    found = model.random_effects_covariance_["g"]
    assert_allclose(found, covariance, rtol=1e-3)
    effects = ["Intercept", "region_land", "region_suburb"]
    assert list(model.random_effects_["g"].columns) == effects
    rows = X.assign(region="city")
    apart = model.predict(X.assign(region="land")) - model.predict(rows)
    own = model.random_effects_["g"]["region_land"].loc[X["g"]]
    assert_allclose(apart, own.to_numpy() + model.coef_[0])


def test_counts_have_factors_as_well():
    # d$z <- round(exp(0.4 * d$y)); glmer(z ~ region + x + (1 | g), d, family = poisson)
    counts = np.round(np.exp(0.4 * Y))
    model = MixedPoissonRegressor("g", solver=Laplace()).fit(X, counts)
    answer = [
        [0.4394227264, 0.1437230997],
        [0.3963501445, 0.1706917146],
        [-0.1475347293, 0.2183745521],
        [0.2091776431, 0.1081712924],
    ]
    assert_allclose(fixed(model), answer, atol=2e-3)
    assert_allclose(model.log_likelihood_, -129.8443452, atol=1e-3)


# Against dummies by hand


@pytest.mark.filterwarnings("ignore:The covariance of the effects of 'g' is estim")
@pytest.mark.parametrize("slopes", [None, ["region"], ["x", "region"]])
def test_the_model_is_that_of_dummies_by_hand(slopes):
    model = MixedLinearRegressor("g", random_slopes=slopes).fit(X, Y)
    names = {"region": ["region_land", "region_suburb"], "x": ["x"]}
    by_hand = [name for slope in slopes or [] for name in names[slope]]
    hand = MixedLinearRegressor("g", random_slopes=by_hand).fit(BY_HAND, Y)
    same_model(model, hand)
    new = [table.assign(g=[*range(90), *range(6)]) for table in (X, BY_HAND)]
    pairs = list(zip((model, hand), new, strict=True))
    for method in ("predict", "linear_predictor", "predict_interval"):
        both = [getattr(m, method)(rows) for m, rows in pairs]
        assert_array_equal(*both)
    draws = [m.sample_y(rows, 3, random_state=0) for m, rows in pairs]
    assert_array_equal(*draws)
    assert model.score(X, Y) == hand.score(BY_HAND, Y)
    rows = slice(None, None, 5)
    updated = model.update_random_effects(new[0][rows], Y[rows])
    hand = hand.update_random_effects(new[1][rows], Y[rows])
    effects = [m.random_effects_["g"] for m in (updated, hand)]
    pd.testing.assert_frame_equal(*effects)
    assert_array_equal(updated.predict(new[0]), hand.predict(new[1]))


@pytest.mark.parametrize("drop", REGIONS)
def test_the_dummies_are_those_of_scikit_learns_encoder(drop):
    encoder = OneHotEncoder(drop=[drop], sparse_output=False).fit(X[["region"]])
    table = Table(X)
    categories, table, _ = learn(table, [0, 1], {"region": drop})
    dummies = categories.expand([0])
    assert_array_equal(table.numeric(dummies), encoder.transform(X[["region"]]))
    names = [table.effect_name(at) for at in dummies]
    assert names == list(encoder.get_feature_names_out())


def test_a_pipeline_with_an_encoder_of_its_own_is_left_alone():
    encoder = make_column_transformer(
        (OneHotEncoder(drop="first", sparse_output=False), ["region"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(encoder, MixedLinearRegressor("g")).fit(X, Y)
    assert not pipeline[-1]._fitted.categories.columns
    model = MixedLinearRegressor("g").fit(X, Y)
    same_model(model, pipeline[-1])
    assert_array_equal(model.predict(X), pipeline.predict(X))


def test_the_features_are_the_users_columns():
    model = MixedLinearRegressor("g").fit(X, Y)
    assert list(model.feature_names_in_) == ["region", "x", "g"]
    assert model.n_features_in_ == 3
    assert list(model.fixed_effects_.index) == ["Intercept", *model.coef_names_]
    assert "region_suburb" in str(model.summary())


def test_columns_keep_the_order_of_the_table():
    table = X.assign(kind=np.where(X.index % 5 < 2, "b", "a"))
    table = table[["x", "region", "g", "kind"]]
    model = MixedLinearRegressor("g").fit(table, Y)
    assert model.coef_names_ == ["x", "region_land", "region_suburb", "kind_b"]


# Order of categories, and the reference level


@pytest.mark.parametrize("ordered", [True, False])
def test_categories_keep_their_own_order(ordered):
    order = ["suburb", "land", "island", "city"]
    region = pd.Categorical(X["region"], order, ordered=ordered)
    model = MixedLinearRegressor("g").fit(X.assign(region=region), Y)
    assert model.coef_names_[:2] == ["region_land", "region_city"]
    other = MixedLinearRegressor("g", reference={"region": "suburb"}).fit(X, Y)
    assert_allclose(model.predict(X), other.predict(X), rtol=1e-9)


CONTAINERS = {
    "pandas": X,
    "arrow in pandas": X.astype({"region": "string[pyarrow]"}),
    "str": X.astype({"region": "string"}),
    "category": X.astype({"region": "category"}),
    "polars": pl.from_pandas(X),
    "polars categories": pl.from_pandas(X).cast({"region": pl.Categorical}),
    "enum": pl.from_pandas(X).cast({"region": pl.Enum(sorted(REGIONS))}),
    "pyarrow": pl.from_pandas(X).to_arrow(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_text_of_any_dataframe_is_read(container):
    model, first = (
        MixedLinearRegressor("g").fit(t, Y) for t in (CONTAINERS[container], X)
    )
    same_model(model, first)
    assert_array_equal(model.predict(CONTAINERS[container]), first.predict(X))


def test_a_model_of_one_container_reads_another():
    model = MixedLinearRegressor("g").fit(X, Y)
    for table in CONTAINERS.values():
        assert_array_equal(model.predict(table), model.predict(X))


def test_categories_that_are_numbers():
    codes = X["region"].map({"city": 1, "land": 2, "suburb": 3})
    table = X.assign(region=pd.Categorical(codes))
    model = MixedLinearRegressor("g", reference={"region": 2}).fit(table, Y)
    assert model.coef_names_[:2] == ["region_1", "region_3"]
    as_numbers = table.assign(region=codes)
    as_text = table.assign(region=codes.astype(str))
    for rows in (as_numbers, as_text):
        assert_array_equal(model.predict(rows), model.predict(table))


def test_truth_values_are_zeros_and_ones_unless_they_have_a_reference():
    flag = X["region"] == "land"
    models = [
        MixedLinearRegressor("g").fit(X.assign(region=values), Y)
        for values in (
            flag,
            flag.astype(float),
            flag.astype(object),
            flag.astype("boolean"),
        )
    ]
    for model in models:
        same_model(model, models[0])
    assert models[0].coef_names_ == ["region", "x"]
    table = X.assign(region=flag)
    turned = MixedLinearRegressor("g", reference={"region": True}).fit(table, Y)
    assert turned.coef_names_ == ["region_False", "x"]
    assert_allclose(turned.coef_[0], -models[0].coef_[0])
    assert_allclose(turned.predict(table), models[0].predict(table))


def test_a_column_without_a_name_of_text():
    table = X.rename(columns={"region": 0, "x": 1, "g": 2})
    model = MixedLinearRegressor(2, reference={0: "land"}).fit(table, Y)
    assert model.coef_names_[:2] == ["x0_city", "x0_suburb"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"region": "citty"}, "'citty' is no category of column 'region'.*'city'\\?"),
        ({"region": ["city"]}, "\\['city'\\] is no category of column 'region'"),
        ({"regio": "city"}, "reference: 'regio' is not a column of X.*'region'\\?"),
        ({"x": 1.0}, "column 'x' holds no text or categories"),
        ({"g": 1}, "column 'g' is not coded by the model"),
        ({"region": "city", 0: "land"}, "column 'region' is there twice"),
        ("city", "'reference' parameter"),
    ],
    ids=str,
)
def test_a_reference_that_cannot_be_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor("g", reference=reference).fit(X, Y)


def test_the_reference_is_a_parameter_like_any_other():
    model = MixedLinearRegressor("g", reference={"region": "land"})
    assert "reference={'region': 'land'}" in repr(model)
    assert clone(model).get_params()["reference"] == {"region": "land"}
    model.set_params(reference={"region": "city"}, handle_unknown_fixed="reference")
    assert model.fit(X, Y).coef_names_[0] == "region_land"
    search = GridSearchCV(
        MixedLinearRegressor("g"),
        {"reference": [None, {"region": "land"}, {"region": "suburb"}]},
        cv=3,
    ).fit(X, Y)
    assert_allclose(search.cv_results_["mean_test_score"], search.best_score_)
    assert np.isfinite(cross_val_score(model, X, Y)).all()


# Categories that are not known, and values that are missing


def test_a_category_not_seen_in_fit_is_named_with_its_column_and_row():
    model = MixedLinearRegressor("g").fit(X, Y)
    rows = X.assign(region=["city"] * 7 + ["citty"] + ["city"] * 88)
    message = (
        "The column 'region' holds 'citty' in row 7, a category that fit has not seen; "
        "it has seen ['city', 'land', 'suburb']. Did you mean 'city'? Fit to rows that "
        "have it, or take such rows for rows of the reference level 'city': "
        "handle_unknown_fixed='reference'."
    )
    calls = [
        model.predict,
        model.predict_interval,
        model.sample_y,
        model.linear_predictor,
        lambda rows: model.score(rows, Y),
        lambda rows: model.update_random_effects(rows, Y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(message)):
            call(rows)
    with pytest.raises(ValueError, match="'x1' in row 0 and 95 more such rows"):
        model.predict(X.assign(region="x1"))


def test_an_unknown_category_may_be_the_reference_level():
    model = MixedLinearRegressor(
        "g", random_slopes=["region"], handle_unknown_fixed="reference"
    ).fit(X, Y)
    rows = X.assign(region="island"), X.assign(region="city")
    assert_array_equal(*map(model.predict, rows))
    model.set_params(handle_unknown_fixed="error")
    with pytest.raises(ValueError, match="'island' in row 0"):
        model.predict(rows[0])


def test_a_category_in_rows_of_weight_zero_only_is_not_seen():
    weight = (X["region"] != "suburb").astype(float)
    model = MixedLinearRegressor("g").fit(X, Y, weight)
    without = MixedLinearRegressor("g").fit(X[weight > 0], Y[weight > 0])
    same_model(model, without)
    with pytest.raises(ValueError, match="'suburb' in row 24"):
        model.predict(X)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.from_pandas])
@pytest.mark.parametrize("missing", ["error", "model"])
def test_missing_text_is_refused_with_its_column_and_row(container, missing):
    bad = X.assign(region=X["region"].astype(object).where(X.index != 5, None))
    message = (
        r"(?s)X contains NaN.*column 'region' \(missing in 1 of 96 rows, the first is "
        "row 5.*'unknown'.*SimpleImputer.*missing='model' fills in numbers only"
    )
    model = MixedLinearRegressor("g", missing=missing)
    with pytest.raises(ValueError, match=message):
        model.fit(container(bad), Y)
    model.fit(container(X), Y)
    with pytest.raises(ValueError, match=message):
        model.predict(container(bad))


def test_numbers_with_gaps_beside_text():
    gaps = X.assign(x=X["x"].where(X.index % 9 != 0))
    hand = BY_HAND.assign(x=gaps["x"])
    models = [
        MixedLinearRegressor("g", missing="model", random_state=0).fit(table, Y)
        for table in (gaps, hand)
    ]
    pd.testing.assert_frame_equal(models[0].fixed_effects_, models[1].fixed_effects_)
    assert_array_equal(models[0].predict(gaps), models[1].predict(hand))


def test_one_category_has_no_coefficient():
    message = r"column 'region' has one category \('city'\) in all rows"
    table = X.assign(region="city")
    with pytest.warns(UserWarning, match=message):
        model = MixedLinearRegressor("g").fit(table, Y)
    same_model(model, MixedLinearRegressor("g").fit(X[["x", "g"]], Y))
    with pytest.raises(ValueError, match="random_slopes: column 'region' has one cat"):
        MixedLinearRegressor("g", random_slopes=["region"]).fit(table, Y)


@pytest.mark.parametrize("n", [96, 60])
def test_names_are_no_categories(n):
    names = [f"visit {min(k, n)}" for k in range(96)]
    with pytest.raises(ValueError, match="'name' has .* categories in 96 rows.*groups"):
        MixedLinearRegressor("g").fit(X.assign(name=names), Y)


def test_text_among_numbers_is_no_category():
    mixed = X["x"].astype(object).where(X.index != 7, "a lot")
    with pytest.raises(ValueError, match=r"holds text \('a lot' in row 7\): encode"):
        MixedLinearRegressor("g").fit(X.assign(x=mixed), Y)
    model = MixedLinearRegressor("g").fit(X, Y)
    with pytest.raises(ValueError, match=r"'x' holds text \('a' in row 0\)"):
        model.predict(X.assign(x="a"))


@pytest.mark.parametrize("container", [pd.DataFrame, pl.from_pandas])
def test_dates_are_refused_with_the_way_to_numbers(container):
    table = X.assign(day=pd.date_range("2024-01-01", periods=len(X)))
    with pytest.raises(ValueError, match="column 'day' holds dates.*days since the"):
        MixedLinearRegressor("g").fit(container(table), Y)


def test_two_columns_of_one_name_are_refused():
    table = X.assign(region_land=0.0)
    with pytest.raises(ValueError, match="would be named 'region_land'.*rename"):
        MixedLinearRegressor("g").fit(table, Y)


# Saved models, other fixed parts, other estimators


@pytest.mark.parametrize("with_skops", [False, True])
def test_a_saved_model_knows_its_categories(with_skops):
    table = X.astype({"region": "category"})
    model = MixedLinearRegressor("g", random_slopes=["region"]).fit(table, Y)
    if with_skops:
        file = io.BytesIO(skops.io.dumps(model))
        trusted = skops.io.get_untrusted_types(file=file)
        assert not [name for name in trusted if "pandas" in name]
        read = skops.io.loads(file.getvalue(), trusted=trusted)
    else:
        read = pickle.loads(pickle.dumps(model))
    assert_array_equal(read.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="'island' in row 0"):
        read.predict(X.assign(region="island"))


def test_a_network_is_given_dummies():
    def network(width):
        from keras import Sequential, layers

        return Sequential([layers.Input((width,)), layers.Dense(1)])

    from skglmm import NetworkPart

    part = NetworkPart(network, epochs=2, max_iter=1, n_folds=2)
    models = [
        MixedLinearRegressor("g", fixed_effects=part, random_state=0).fit(table, Y)
        for table in (X, BY_HAND)
    ]
    assert_allclose(models[0].predict(X), models[1].predict(BY_HAND), rtol=1e-6)


def test_a_regressor_is_given_text_as_it_is():
    trees = DecisionTreeRegressor(max_depth=3, random_state=0)
    encoder = make_column_transformer(
        (OneHotEncoder(), ["region"]), remainder="passthrough"
    )
    model = MixedLinearRegressor(
        "g", fixed_effects=make_pipeline(encoder, trees), random_state=0
    )
    assert np.isfinite(model.fit(X, Y).predict(X)).all()
    with pytest.raises(ValueError, match="fixed_effects reads it as it is"):
        model.set_params(reference={"region": "land"}).fit(X, Y)
    model.set_params(reference=None, random_slopes=["region"]).fit(X, Y)
    assert model.random_effects_["g"].shape == (12, 3)
    assert np.isfinite(model.predict(X)).all()


def test_classes_have_categories():
    model = MixedLogisticRegressor("g").fit(X, Y > 1)
    hand = MixedLogisticRegressor("g").fit(BY_HAND, Y > 1)
    same_model(model, hand)
    assert_array_equal(model.predict_proba(X), hand.predict_proba(BY_HAND))


def test_the_encoder_adjusts_for_text_and_has_no_slopes_on_it():
    of_text, by_hand = (
        GroupEffectEncoder("g", random_state=0).fit(table, Y).transform(table)
        for table in (X, BY_HAND)
    )
    assert_array_equal(of_text, by_hand)
    slopes = MixedLinearRegressor(random_slopes=["region"])
    with pytest.raises(ValueError, match="column 'region' holds text.*fold"):
        GroupEffectEncoder("g", estimator=slopes).fit(X, Y)


def test_the_plan_knows_slopes_on_text():
    model = MixedLinearRegressor("g", random_slopes=["region"])
    assert "3 effects each" in show_plan(model, X)
