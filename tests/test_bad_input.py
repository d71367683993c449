"""What cannot be fitted or predicted is refused, and the message says what to do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI, Laplace


@pytest.fixture(scope="module")
def data():
    X, y = make_mixed_regression(
        60, 2, n_groups=[6, 5], n_random_slopes=1, group_std=3.0, random_state=0
    )
    return X.set_axis(["x", "w", "g", "h"], axis=1), y


@pytest.fixture(scope="module")
def model(data):
    return MixedLinearRegressor(["g", "h"]).fit(*data)


def with_value(column, row, value):
    out = column.astype(object)
    out.iloc[row] = value
    return out


# Columns


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"groups": "G"}, "groups: 'G' is not a column of X; columns are .*mean 'g'"),
        ({"groups": ["g", "school"]}, "groups: 'school' is not a column of X"),
        ({"groups": ("g", "pupil")}, "groups: 'pupil' is not a column of X"),
        ({"groups": 4}, "groups: position 4 is out of range, X has 4 columns"),
        (
            {"groups": "g", "random_slopes": ["z"]},
            "random_slopes: 'z' is not a column of X",
        ),
        ({"groups": "g", "offset": "z"}, "offset: 'z' is not a column of X"),
        (
            {"groups": "g", "offset": "g"},
            "offset='g' names a column that already has another role",
        ),
        (
            {"groups": "g", "random_slopes": ["g"]},
            "random_slopes: column 'g' holds labels of the factor 'g'",
        ),
        (
            {"groups": "g", "random_slopes": {"h": ["x"]}},
            r"random_slopes: 'h' is not a grouping factor; factors are \['g'\]",
        ),
        (
            {"groups": "g", "covariance": {"h": "diag"}},
            "covariance: 'h' is not a grouping factor",
        ),
        ({"random_slopes": ["x"]}, "random_slopes needs a grouping factor"),
        (
            {"groups": "g", "random_intercepts": False},
            "factor 'g' has neither a random intercept nor random slopes",
        ),
    ],
)
def test_columns_that_do_not_exist_or_cannot_be_what_they_are_named(
    data, parameters, message
):
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor(**parameters).fit(*data)


def test_an_offset_is_no_slope(data):
    model = MixedLinearRegressor("g", random_slopes=["x"], offset="x")
    with pytest.raises(ValueError, match="'x'.*another role"):
        model.fit(*data)


def test_a_name_behind_a_prefix_is_found(data):
    X, y = data
    with pytest.raises(
        ValueError, match="'cat__g' has it behind a ColumnTransformer's"
    ):
        MixedLinearRegressor("g").fit(X.rename(columns={"g": "cat__g"}), y)


def test_names_need_a_dataframe(data):
    X, y = data
    with pytest.raises(
        ValueError, match="groups: 'g' is a column name.*an array: give"
    ):
        MixedLinearRegressor("g").fit(X.to_numpy(), y)


# Values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"X contains NaN.*column 'x' \(NaN or missing in 1 of 60.*row 7\)"),
        (None, r"X contains NaN.*column 'x' \(NaN or missing in 1 of 60.*row 7\)"),
        (np.inf, r"X contains infinity.*column 'x' \(infinite in 1 of 60.*row 7\)"),
        ("a lot", "column 'x' holds text .'a lot' in row 7.: encode it as numbers"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("role", ["fixed", "slope", "offset"])
def test_what_is_no_finite_number_is_refused_with_its_column_and_row(
    data, value, message, role
):
    X, y = data
    roles = {"fixed": {}, "slope": {"random_slopes": ["x"]}, "offset": {"offset": "x"}}
    bad = X.assign(x=with_value(X["x"], 7, value))
    model = MixedLinearRegressor("g", **roles[role])
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(bad, y)
    model.fit(X, y)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.predict(bad)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
def test_a_missing_label_is_refused_in_fit_with_its_row(data, missing):
    X, y = data
    bad = X.assign(g=with_value(X["g"], [3, 9], missing))
    with pytest.raises(ValueError, match="factor 'g' has 2 missing labels.*rows 3, 9"):
        MixedLinearRegressor("g").fit(bad, y)


def test_a_missing_label_in_polars_and_beside_x(data):
    X, y = data
    labels = [None, *X["g"].tolist()[1:]]
    frame = pl.from_pandas(X).with_columns(g=pl.Series(labels))
    with pytest.raises(ValueError, match="factor 'g' has a missing label.*row 0"):
        MixedLinearRegressor("g").fit(frame, y)
    with pytest.raises(ValueError, match="factor 'group' has a missing label.*row 0"):
        MixedLinearRegressor().fit(X[["x"]], y, groups=labels)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda y: y.where(y > -1), "y contains NaN"),
        (lambda y: y.where(y > -1, np.inf), "y contains infinity"),
        (lambda y: y.to_numpy() * 1j, "Complex data not supported"),
        (lambda y: ["much"] * len(y), r"y holds text \('much' in row 0\)"),
        (lambda y: y.iloc[:50], r"inconsistent numbers of samples: \[50, 60\]"),
        (lambda y: np.column_stack([y, y]), "y should be a 1d array, got an array of"),
    ],
    ids=["NaN", "infinite", "complex", "text", "too short", "two columns"],
)
def test_a_target_that_is_no_column_of_numbers(data, target, message):
    X, y = data
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor("g").fit(X, target(y))


def test_weights_that_are_no_frequencies(data):
    X, y = data
    model = MixedLinearRegressor("g")
    for weight, message in (
        (np.where(np.arange(60) == 3, -1.0, 1.0), "Negative values in .*sample_weight"),
        (np.full(60, np.nan), "sample_weight contains NaN"),
        (np.zeros(60), "(at least one|zero for every row)"),
        (np.ones(5), r"sample_weight.shape == \(5,\), expected \(60,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, weight)


# Factors


def test_a_factor_with_one_level(data):
    X, y = data
    with pytest.raises(ValueError, match="factor 'g' has one level .*Leave it out"):
        MixedLinearRegressor("g").fit(X.assign(g="only"), y)
    with pytest.raises(ValueError, match="factor 'g' has one level .*'only'"):
        MixedLinearRegressor(["h", "g"]).fit(X.assign(g="only"), y)
    # the other levels have no rows
    weight = (X["g"] == 2).astype(float)
    with pytest.raises(ValueError, match="factor 'g' has one level .*2"):
        MixedLinearRegressor("g").fit(X, y, weight)


def test_a_factor_with_one_level_a_row(data):
    X, y = data
    each = X.assign(g=np.arange(60))
    message = r"factor 'g' has as many levels \(60\) as there are rows \(60\).*residual"
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor("g").fit(each, y)
    # slopes alone can be told from the residual: their variance grows with x
    slopes = {"random_slopes": {"g": ["x"]}, "random_intercepts": {"g": False}}
    steep = y + np.random.default_rng(0).normal(scale=9.0, size=60) * X["x"]
    assert MixedLinearRegressor("g", **slopes).fit(each, steep).converged_
    with pytest.raises(ValueError, match="'g' are 60 unknowns and explain any values"):
        MixedLinearRegressor("g", **slopes).fit(each.assign(x=np.sign(each["x"])), y)


def test_crossed_factors_too_large_for_a_dense_core(data, plan_limits):
    plan_limits(MAX_CORE=4)
    with pytest.raises(ValueError, match="too large.*5 columns.*drop or coarsen"):
        MixedLinearRegressor(["g", "h"], solver="laplace").fit(*data)


# Options: the message lists those that exist


@pytest.mark.parametrize(
    ("parameters", "valid"),
    [
        ({"solver": "reml"}, ["'vi'", "'laplace'"]),
        ({"solver": VI}, ["'vi'", "'laplace'", "BaseSolver"]),
        ({"solver": VI(device="tpu")}, ["'auto'", "'cpu'", "'gpu'"]),
        ({"solver": Laplace(max_iter=0)}, ["'max_iter'", "[1, inf)"]),
        ({"solver": VI(tol=0.0)}, ["'tol'", "(0.0, inf)"]),
        ({"covariance": "ar1"}, ["'full'", "'diag'", "'scalar'"]),
        ({"covariance": {"g": "ar1"}}, ["'full'", "'diag'", "'scalar'"]),
        ({"handle_unknown": "raise"}, ["'ignore'", "'warn'", "'error'"]),
        ({"reml": "yes"}, ["'reml'", "bool"]),
    ],
    ids=str,
)
def test_an_unknown_option_is_answered_with_the_known_ones(data, parameters, valid):
    with pytest.raises(ValueError) as caught:
        MixedLinearRegressor("g", **parameters).fit(*data)
    for word in valid:
        assert word in str(caught.value)


def test_a_gpu_where_there_is_none(data):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="device='gpu'.*sees no GPU.*device='auto'"):
        MixedLinearRegressor("g", solver=VI(device="gpu")).fit(*data)


def test_a_parameter_of_a_wrong_type(data):
    for parameters, message in (
        ({"groups": 1.5}, "'groups' parameter"),
        ({"groups": [1.5]}, "groups: a factor is a column"),
        ({"groups": "g", "random_slopes": 1.5}, "'random_slopes' parameter"),
        ({"groups": "g", "offset": 1.5}, "'offset' parameter"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            MixedLinearRegressor(**parameters).fit(*data)


# Prediction


def test_prediction_needs_the_columns_of_the_fit_in_their_order(model, data):
    X, _ = data
    for bad, message in (
        (X[["x", "w", "g"]], "X has no column 'h', which holds groups"),
        (X[["x", "g", "h"]], "(?s)feature names should match.*missing.*- w"),
        (X.assign(new=1.0), "(?s)feature names should match.*unseen.*- new"),
        (X[["w", "x", "g", "h"]], "(?s)feature names should match.*same order"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)


def test_prediction_needs_as_many_columns_as_the_fit(data):
    X, y = data
    X = X.to_numpy()
    model = MixedLinearRegressor([2, 3]).fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features.*expecting 4 features"):
        model.predict(X[:, :3])


def test_an_unfitted_model_says_so(data):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        MixedLinearRegressor("g").predict(data[0])


def test_a_refused_fit_leaves_the_last_one_usable(data):
    X, y = data
    model = MixedLinearRegressor("g").fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="as many levels"):
        model.fit(X.assign(g=np.arange(60)), y)
    assert_array_equal(model.predict(X), before)


# Data that determine the target exactly


@pytest.mark.parametrize(
    "target",
    [
        lambda X: np.full(len(X), 3.7),
        lambda X: np.zeros(len(X)),
        lambda X: 2.0 * X["x"] - 1.0,
        lambda X: 2.0 * X["x"] + X["g"],
    ],
    ids=["constant", "zero", "a line", "a line and the groups"],
)
def test_a_target_without_noise_is_said_once_and_reproduced(data, target):
    X, _ = data
    y = target(X)
    with pytest.warns(ConvergenceWarning) as caught:
        model = MixedLinearRegressor("g").fit(X, y)
    assert len(caught) == 1
    assert "residual variance is estimated as zero" in str(caught[0].message)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-5)


def test_a_number_is_no_table():
    with pytest.raises(ValueError, match="Expected 2D array, got scalar array"):
        MixedLinearRegressor().fit(np.array(3.0), [1.0])
