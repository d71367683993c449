"""Mixed models inside scikit-learn's compositions, and as its users handle them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from skglmm import MixedLinearRegressor, MixedLogisticRegressor, MixedPoissonRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI, Laplace


@pytest.fixture(scope="module")
def data():
    X, y = make_mixed_regression(
        240, 2, n_groups=12, n_random_slopes=1, group_std=2.0, random_state=0
    )
    return X.assign(x0=3 * X["x0"] + 5, g0="site " + X["g0"].astype(str)), y


@pytest.fixture(scope="module")
def plain(data):
    return MixedLinearRegressor("g0", random_slopes=["x0"]).fit(*data)


def scaled(remainder="passthrough", **options):
    return ColumnTransformer(
        [("scale", StandardScaler(), make_column_selector(dtype_include=float))],
        remainder=remainder,
        **options,
    )


# Labels behind a ColumnTransformer


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_scaling_a_column_scales_its_coefficient_and_no_prediction(
    container, data, plain
):
    X, y = data
    if container == "polars":
        X = pl.from_pandas(X)
        columns = ["x0", "x1"]  # scikit-learn selects by type in pandas only
        scale = ColumnTransformer(
            [("scale", StandardScaler(), columns)],
            remainder="passthrough",
            verbose_feature_names_out=False,
        )
    else:
        scale = scaled(verbose_feature_names_out=False)
    scale.set_output(transform=container)
    pipe = make_pipeline(scale, MixedLinearRegressor("g0", random_slopes=["x0"]))
    pipe.fit(X, y)
    model = pipe[-1]
    # A full covariance takes any shift and scale of a slope's column.
    np.testing.assert_allclose(pipe.predict(X), plain.predict(data[0]), rtol=1e-5)
    width = data[0][["x0", "x1"]].std(ddof=0)
    np.testing.assert_allclose(model.coef_, plain.coef_ * width, rtol=1e-5)
    slope = [m.random_effects_["g0"]["x0"] for m in (model, plain)]
    np.testing.assert_allclose(slope[0], slope[1] * width["x0"], rtol=1e-3)
    assert model.coef_names_ == ["x0", "x1"]
    names = pipe[:-1].get_feature_names_out()
    assert model.feature_names_in_.tolist() == names.tolist()


def test_with_arrays_the_labels_are_a_position_behind_the_transformed_columns(
    data, plain
):
    X, y = data
    pipe = make_pipeline(scaled(), MixedLinearRegressor(-1, random_slopes=[0]))
    pipe.fit(X, y)
    assert isinstance(pipe[:-1].transform(X), np.ndarray)
    np.testing.assert_allclose(pipe.predict(X), plain.predict(X), rtol=1e-5)
    assert pipe[-1].random_effects_[-1].index.equals(plain.random_effects_["g0"].index)
    assert not hasattr(pipe[-1], "feature_names_in_")


def test_labels_may_be_encoded_or_even_scaled_on_the_way(data, plain):
    X, y = data
    codes = ColumnTransformer(
        [("code", OrdinalEncoder(), ["g0"])], remainder="passthrough"
    )
    pipe = make_pipeline(
        codes, StandardScaler(), MixedLinearRegressor(0, random_slopes=[1])
    ).fit(X, y)
    np.testing.assert_allclose(pipe.predict(X), plain.predict(X), rtol=1e-5)


def test_an_imputer_before_the_model_leaves_the_labels_alone(data):
    X, y = data
    holes = X.assign(x1=X["x1"].where(np.arange(len(X)) % 7 > 0))
    impute = ColumnTransformer(
        [("impute", SimpleImputer(), ["x1"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(impute, MixedLinearRegressor("g0")).fit(holes, y)
    filled = holes.fillna({"x1": holes["x1"].mean()})[["x1", "x0", "g0"]]
    by_hand = MixedLinearRegressor("g0").fit(filled, y)
    np.testing.assert_allclose(pipe[-1].coef_, by_hand.coef_, rtol=1e-12)
    with pytest.raises(ValueError, match=r"column 'x1' \(NaN .*SimpleImputer in a pip"):
        MixedLinearRegressor("g0").fit(holes, y)


def test_a_prefix_is_found_and_both_remedies_are_said(data):
    X, y = data
    pipe = make_pipeline(
        scaled().set_output(transform="pandas"), MixedLinearRegressor("g0")
    )
    message = "write 'remainder__g0', or set verbose_feature_names_out=False"
    with pytest.raises(ValueError, match=message):
        pipe.fit(X, y)
    pipe[-1].set_params(groups="remainder__g0")
    assert pipe.fit(X, y)[-1].coef_names_ == ["scale__x0", "scale__x1"]
    pipe.set_params(
        columntransformer__verbose_feature_names_out=False,
        mixedlinearregressor__groups="g0",
    )
    assert pipe.fit(X, y)[-1].coef_names_ == ["x0", "x1"]


def test_a_name_behind_a_transformer_without_set_output_asks_for_a_position(data):
    X, y = data
    pipe = make_pipeline(scaled(), MixedLinearRegressor("g0"))
    message = "'g0' is a column name, but X is an array: give the position .*0 to 2"
    with pytest.raises(ValueError, match=message):
        pipe.fit(X, y)
    with config_context(transform_output="pandas"):
        pipe.set_params(columntransformer__verbose_feature_names_out=False).fit(X, y)


def test_a_transformer_that_drops_the_labels_is_found_out(data):
    X, y = data
    with pytest.raises(ValueError, match="'g0' is not a column of X; columns are"):
        make_pipeline(
            scaled("drop", verbose_feature_names_out=False).set_output(
                transform="pandas"
            ),
            MixedLinearRegressor("g0"),
        ).fit(X, y)


def test_one_hot_columns_join_the_fixed_part_if_they_are_dense(data):
    X, y = data
    X = X.assign(soil=np.array(["clay", "loam", "sand"])[np.arange(len(X)) % 3])
    encode = ColumnTransformer(
        [("soil", OneHotEncoder(drop="first", sparse_output=False), ["soil"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(encode, MixedLinearRegressor("g0")).fit(X, y)[-1]
    assert model.coef_names_ == ["soil_loam", "soil_sand", "x0", "x1"]
    sparse = ColumnTransformer(
        [("all", OneHotEncoder(), ["soil", "g0"])], sparse_threshold=1.0
    )
    with pytest.raises(TypeError, match="[Ss]parse"):
        make_pipeline(sparse, MixedLinearRegressor(0)).fit(X, y)


# Compositions that fit the model for themselves


def test_a_transformed_target_is_a_fit_of_the_transformed_target(data):
    X, y = data
    positive = np.exp(y / 4)
    model = MixedLinearRegressor("g0")
    whole = TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)
    expected = np.exp(model.fit(X, np.log(positive)).predict(X))
    np.testing.assert_allclose(whole.fit(X, positive).predict(X), expected, rtol=1e-10)


def test_a_stack_weighs_out_of_fold_predictions(data):
    X, y = data
    cv = KFold(3, shuffle=True, random_state=0)
    models = [
        ("levels", MixedLinearRegressor("g0")),
        ("slopes", MixedLinearRegressor("g0", random_slopes=["x0"])),
    ]
    stack = StackingRegressor(models, LinearRegression(), cv=cv).fit(X, y)
    out = [cross_val_predict(model, X, y, cv=cv) for _, model in models]
    weights = LinearRegression().fit(np.column_stack(out), y)
    np.testing.assert_allclose(stack.final_estimator_.coef_, weights.coef_, rtol=1e-9)
    inside = [model.fit(X, y).predict(X) for _, model in models]
    expected = weights.predict(np.column_stack(inside))
    np.testing.assert_allclose(stack.predict(X), expected, rtol=1e-9)


def test_a_vote_is_the_mean_of_its_models(data):
    X, y = data
    models = [
        ("levels", MixedLinearRegressor("g0")),
        ("none", make_pipeline(scaled("drop"), LinearRegression())),
    ]
    vote = VotingRegressor(models).fit(X, y)
    parts = [model.fit(X, y).predict(X) for _, model in models]
    np.testing.assert_allclose(vote.predict(X), np.mean(parts, axis=0), rtol=1e-12)


def test_calibration_is_a_sigmoid_of_the_decision_function():
    X, y = make_mixed_regression(
        240, 2, n_groups=12, family="bernoulli", group_std=2.0, random_state=0
    )
    model = MixedLogisticRegressor("g0")
    whole = CalibratedClassifierCV(model, cv=3, ensemble=False).fit(X, y)
    (fitted,) = whole.calibrated_classifiers_
    (sigmoid,) = fitted.calibrators
    decision = model.fit(X, y).decision_function(X)
    expected = expit(-(sigmoid.a_ * decision + sigmoid.b_))
    np.testing.assert_allclose(whole.predict_proba(X)[:, 1], expected, rtol=1e-10)


def test_the_mean_partial_dependence_is_the_line_of_the_fixed_part(data):
    X, y = data
    model = MixedLinearRegressor("g0").fit(X, y)
    found = partial_dependence(model, X, ["x0"], kind="average", grid_resolution=5)
    slopes = np.diff(found["average"][0]) / np.diff(found["grid_values"][0])
    np.testing.assert_allclose(slopes, model.coef_[0], rtol=1e-10)


# Parameters


def test_a_clone_has_the_parameters_and_nothing_of_the_fit(plain):
    copy = clone(plain)
    assert repr(copy) == repr(plain)
    assert {name for name in vars(copy) if name.endswith("_")} == set()
    model = MixedLinearRegressor("g", solver=VI(tol=1e-5))
    assert clone(model).solver is not model.solver
    assert clone(model).solver.get_params() == model.solver.get_params()


def test_parameters_of_the_solver_are_parameters_of_the_model():
    model = MixedPoissonRegressor(["g", ("g", "h")], solver=VI())
    model.set_params(solver__max_iter=7, covariance={"g": "diag"})
    deep = model.get_params(deep=True)
    assert deep["solver__max_iter"] == model.solver.max_iter == 7
    assert deep["covariance"] == {"g": "diag"}
    assert "solver__max_iter" not in model.get_params(deep=False)
    model.set_params(solver=Laplace(), solver__n_quadrature=3)
    assert model.solver.n_quadrature == 3
    again = MixedPoissonRegressor(**model.get_params(deep=False))
    assert repr(again) == repr(model)


def test_a_representation_shows_what_is_not_default():
    model = MixedLinearRegressor(
        ["g", ("g", "h")], random_slopes={"g": ["x"]}, solver=VI(max_iter=50)
    )
    assert " ".join(repr(model).split()) == (
        "MixedLinearRegressor(groups=['g', ('g', 'h')], random_slopes={'g': ['x']}, "
        "solver=VI(max_iter=50))"
    )
    assert repr(MixedPoissonRegressor("g")) == "MixedPoissonRegressor(groups='g')"


def test_a_diagram_of_a_pipeline_is_drawn(data):
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor("g0", solver=VI()))
    assert "MixedLinearRegressor" in pipe._repr_html_()


def test_a_fit_leaves_the_parameters_as_they_were(data):
    slopes, solver = {"g0": ["x0"]}, VI()
    model = MixedLinearRegressor(["g0"], random_slopes=slopes, solver=solver)
    before = model.get_params()
    model.fit(*data)
    assert model.get_params() == before
    assert model.random_slopes is slopes and model.solver is solver
    assert slopes == {"g0": ["x0"]}


def test_a_model_is_what_it_does():
    assert is_regressor(MixedLinearRegressor()) and is_regressor(
        MixedPoissonRegressor()
    )
    assert is_classifier(MixedLogisticRegressor())
    assert not hasattr(MixedLinearRegressor(), "set_output")  # it transforms nothing


# Columns


@pytest.mark.parametrize("container", [pd.DataFrame, pl.from_pandas])
def test_names_and_number_of_all_columns_are_kept(container, data):
    X, y = data
    model = MixedLinearRegressor("g0").fit(container(X), y)
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["x0", "x1", "g0"]
    assert model.coef_names_ == ["x0", "x1"]


def test_columns_in_another_order_or_number_are_refused(data, plain):
    X, y = data
    with pytest.raises(ValueError, match="must be in the same order as they were"):
        plain.predict(X[["g0", "x0", "x1"]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- z"):
        plain.predict(X.rename(columns={"x1": "z"}))
    with pytest.raises(ValueError, match="seen at fit time, yet now missing:\n- x1"):
        plain.predict(X[["x0", "g0"]])
    message = "X has 2 features, but MixedLinearRegressor is expecting 3 features"
    by_position = MixedLinearRegressor(2).fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match=message):
        by_position.predict(X[["x0", "g0"]].to_numpy())


def test_arrays_after_names_are_warned_of_as_scikit_learn_does(data, plain):
    X, _ = data
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        predicted = plain.predict(X.to_numpy())
    np.testing.assert_array_equal(predicted, plain.predict(X))


def test_selected_columns_may_be_any_as_long_as_the_labels_stay(data):
    X, y = data
    select = ColumnTransformer(
        [("best", SelectKBest(f_regression, k=1), ["x0", "x1"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(select, MixedLinearRegressor("g0")).fit(X, y)
    correlation = X[["x0", "x1"]].corrwith(y).abs()
    assert pipe[-1].coef_names_ == [correlation.idxmax()]


def test_a_function_may_make_columns_for_slopes(data):
    X, y = data
    square = FunctionTransformer(lambda table: table.assign(x2=table["x1"] ** 2))
    pipe = make_pipeline(
        square, MixedLinearRegressor("g0", random_slopes=["x2"], covariance="diag")
    )
    by_hand = clone(pipe[-1]).fit(square.transform(X), y)
    expected = by_hand.predict(square.transform(X))
    np.testing.assert_allclose(pipe.fit(X, y).predict(X), expected, rtol=1e-12)
    assert list(pipe[-1].random_effects_["g0"]) == ["Intercept", "x2"]
