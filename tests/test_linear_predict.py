"""Predictions of the linear model for levels seen, unseen and unnamed."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import r2_score

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression


@pytest.fixture(scope="module")
def data():
    """Slopes of x0 differ between the levels of g0; g1 is crossed with g0."""
    return make_mixed_regression(
        160, 2, n_groups=[12, 6], n_random_slopes=1, intercept=3.0, random_state=3
    )


@pytest.fixture(scope="module")
def model(data):
    return MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]}).fit(*data)


def fixed_part(model, X):
    return model.intercept_ + X[["x0", "x1"]].to_numpy() @ model.coef_


def effect_of_g0(model, X):
    b = model.random_effects_["g0"].loc[X["g0"]].to_numpy()
    return b[:, 0] + b[:, 1] * X["x0"].to_numpy()


def effect_of_g1(model, X):
    return model.random_effects_["g1"].loc[X["g1"], "Intercept"].to_numpy()


def test_a_prediction_is_the_fixed_part_and_the_effects_of_the_rows_levels(model, data):
    X, _ = data
    by_hand = fixed_part(model, X) + effect_of_g0(model, X) + effect_of_g1(model, X)
    assert_allclose(model.predict(X), by_hand, rtol=1e-12)


def test_for_the_identity_link_the_linear_predictor_is_the_prediction(model, data):
    X, _ = data
    assert_array_equal(model.linear_predictor(X), model.predict(X))
    assert_array_equal(
        model.linear_predictor(X, level="population"),
        model.predict(X, level="population"),
    )


def test_the_population_has_no_effects_of_levels(model, data):
    X, _ = data
    population = model.predict(X, level="population")
    assert_allclose(population, fixed_part(model, X), rtol=1e-12)
    # whatever the labels are
    assert_array_equal(model.predict(X.assign(g0=-1, g1=-1)), population)


def test_a_level_is_conditional_or_population(model, data):
    with pytest.raises(ValueError, match="'conditional' or 'population', got 'group'"):
        model.predict(data[0], level="group")


def test_the_score_is_r_squared_of_the_predictions(model, data):
    X, y = data
    weight = np.arange(len(y)) % 3
    assert model.score(X, y) == r2_score(y, model.predict(X))
    weighted = r2_score(y, model.predict(X), sample_weight=weight)
    assert model.score(X, y, weight) == weighted


# Unseen and missing levels


def test_an_unseen_level_adds_nothing_row_by_row(model, data):
    X, _ = data
    new = X.copy()
    new.loc[::2, "g0"] = 99
    even = np.arange(len(X)) % 2 == 0
    expected = model.predict(X)
    expected[even] = (fixed_part(model, X) + effect_of_g1(model, X))[even]
    assert_allclose(model.predict(new), expected, rtol=1e-12)


def test_of_several_factors_each_may_be_unseen_on_its_own(model, data):
    X, _ = data
    first = X.iloc[:4].assign(g0=[0, 99, 0, 99], g1=[0, 0, 99, 99])
    seen = first.assign(g0=0, g1=0)
    expected = fixed_part(model, first)
    expected[[0, 2]] += effect_of_g0(model, seen)[[0, 2]]
    expected[[0, 1]] += effect_of_g1(model, seen)[[0, 1]]
    assert_allclose(model.predict(first), expected, rtol=1e-12)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=repr)
def test_a_missing_label_is_an_unseen_level(model, data, missing):
    X, _ = data
    labels = X["g0"].astype(object)
    labels.iloc[::3] = missing
    expected = model.predict(X.assign(g0=X["g0"].where(np.arange(len(X)) % 3 > 0, 99)))
    assert_array_equal(model.predict(X.assign(g0=labels)), expected)


def test_a_combination_is_unseen_when_its_pair_is(data):
    X, y = data
    model = MixedLinearRegressor(("g0", "g1")).fit(X, y)
    pairs = model.random_effects_["g0:g1"]
    assert pairs.index.names == ["g0", "g1"]
    absent = next(
        (a, b) for a in range(12) for b in range(6) if (a, b) not in pairs.index
    )
    rows = X.iloc[:3].assign(g0=[absent[0]] * 3, g1=[absent[1], 99, None])
    assert_allclose(model.predict(rows), fixed_part(model, rows), rtol=1e-12)
    rows = X.iloc[:2].assign(g0=pairs.index[7][0], g1=pairs.index[7][1])
    assert_allclose(
        model.predict(rows), fixed_part(model, rows) + pairs.iloc[7, 0], rtol=1e-12
    )


@pytest.fixture
def strict(model):
    """Set what the model does with unknown levels, and undo it."""
    yield lambda what: model.set_params(handle_unknown=what)
    model.set_params(handle_unknown="ignore")


def test_unknown_levels_are_silently_new_by_default(model, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(data[0].assign(g0=99))


def test_unknown_levels_can_be_warned_of_once_with_factor_rows_and_labels(strict, data):
    X = data[0].iloc[:5]
    model = strict("warn")
    with pytest.warns(UserWarning) as caught:
        ours = model.predict(X.assign(g0=[0, 77, 88, 77, 1], g1=99))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "factor 'g0': 3 of 5 rows have a label that fit has not seen" in message
    assert "(77, 88)" in message
    assert "factor 'g1': 5 of 5 rows" in message
    assert "without an effect" in message
    assert caught[0].filename == __file__
    strict("ignore")
    assert_array_equal(model.predict(X.assign(g0=[0, 77, 88, 77, 1], g1=99)), ours)


def test_unknown_levels_can_be_an_error(strict, data):
    X = data[0].iloc[:5]
    model = strict("error")
    model.predict(X)
    with pytest.raises(ValueError, match=r"factor 'g0': row 3 has a label.*\(77\)"):
        model.predict(X.assign(g0=[0, 1, 2, 77, 1]))
    # a population has no levels, known or not
    model.predict(X.assign(g0=77), level="population")


# Containers


@pytest.mark.parametrize("fit_in", ["pandas", "polars", "numpy"])
@pytest.mark.parametrize("predict_in", ["pandas", "polars", "numpy"])
def test_the_container_does_not_matter(data, fit_in, predict_in):
    X, y = data
    containers = {
        "pandas": lambda frame: frame,
        "polars": pl.from_pandas,
        "numpy": lambda frame: frame.to_numpy(),
    }
    by_name = {"groups": ["g0", "g1"], "random_slopes": {"g0": ["x0"]}}
    by_place = {"groups": [2, -1], "random_slopes": {2: [0]}}
    new = X.iloc[:20].assign(g0=[*range(15), *range(5)])
    expected = MixedLinearRegressor(**by_name).fit(X, y).predict(new)
    model = MixedLinearRegressor(**(by_place if fit_in == "numpy" else by_name))
    model.fit(containers[fit_in](X), y)
    with warnings.catch_warnings():
        # scikit-learn says so when only one of the two has column names
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature names")
        ours = model.predict(containers[predict_in](new))
    assert isinstance(ours, np.ndarray)
    assert_allclose(ours, expected, rtol=1e-9)


def test_text_labels_in_an_array_of_objects(data):
    X, y = data
    X = X.assign(g0="level " + X["g0"].astype(str))
    frame = MixedLinearRegressor("g0").fit(X, y)
    array = MixedLinearRegressor(2).fit(X.to_numpy(dtype=object), y)
    assert list(array.random_effects_) == [2]
    assert_allclose(array.predict(X.to_numpy(dtype=object)), frame.predict(X), 1e-9)


def test_rows_are_predicted_independently(model, data):
    X, _ = data
    expected = model.predict(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert_array_equal(model.predict(X.iloc[order]), expected[order])
    halves = [model.predict(X.iloc[:50]), model.predict(X.iloc[50:])]
    assert_array_equal(np.concatenate(halves), expected)
    assert_array_equal(model.predict(X.iloc[[17]]), expected[[17]])


def test_predicting_leaves_the_model_as_it_was(model, data):
    before = set(vars(model))
    model.predict(data[0].assign(g0=99))
    assert set(vars(model)) == before


def test_an_offset_is_part_of_the_prediction(data):
    X, y = data
    known = X.assign(known=np.linspace(0, 9, len(X)))
    model = MixedLinearRegressor("g0", offset="known").fit(known, y)
    assert model.coef_names_ == ["x0", "x1", "g1"]
    for level in ("conditional", "population"):
        more = known.assign(known=known["known"] + 2.5)
        difference = model.predict(more, level=level) - model.predict(
            known, level=level
        )
        assert_allclose(difference, 2.5)


def test_columns_that_are_no_effect_do_not_matter(data):
    """A group column is read for its labels and nothing else."""
    X, y = data
    model = MixedLinearRegressor(["g0", "g1"]).fit(X, y)
    assert model.coef_names_ == ["x0", "x1"]
    assert model.n_features_in_ == 4


# Groups that are no columns of X


@pytest.fixture(scope="module")
def apart(data):
    X, y = data
    model = MixedLinearRegressor(random_slopes={"g0": ["x0"]})
    return model.fit(X[["x0", "x1"]], y, groups=X[["g0", "g1"]])


def test_groups_may_come_beside_x(apart, model, data):
    X, y = data
    numbers, groups = X[["x0", "x1"]], X[["g0", "g1"]]
    assert list(apart.random_effects_) == ["g0", "g1"]
    assert_allclose(apart.predict(numbers, groups=groups), model.predict(X), 1e-6)
    assert apart.score(numbers, y, groups=groups) == pytest.approx(model.score(X, y))
    new = groups.assign(g0=99)
    assert_allclose(
        apart.predict(numbers, groups=new), model.predict(X.assign(g0=99)), 1e-6
    )
    population = apart.predict(numbers, level="population")
    assert_allclose(population, model.predict(X, level="population"), 1e-6)


def test_one_factor_beside_x_is_a_vector_of_labels(data):
    X, y = data
    numbers = X[["x0", "x1"]]
    model = MixedLinearRegressor().fit(numbers, y, groups=X["g0"].to_numpy())
    assert list(model.random_effects_) == ["group"]
    inside = MixedLinearRegressor("g0").fit(X[["x0", "x1", "g0"]], y)
    ours = model.predict(numbers, groups=list(X["g0"]))
    assert_allclose(ours, inside.predict(X[["x0", "x1", "g0"]]), 1e-9)


def test_groups_beside_x_are_matched_by_name_or_refused(apart, data):
    X, _ = data
    numbers, groups = X[["x0", "x1"]], X[["g0", "g1"]]
    expected = apart.predict(numbers, groups=groups)
    try:
        ours = apart.predict(numbers, groups=groups[["g1", "g0"]])
    except ValueError as error:
        assert "g1" in str(error)
    else:
        assert_allclose(ours, expected)


def test_groups_beside_x_are_needed_again(apart, data):
    X, _ = data
    with pytest.raises(
        ValueError, match=r"fitted with fit\(groups=...\): pass groups="
    ):
        apart.predict(X[["x0", "x1"]])
    with pytest.raises(ValueError, match=r"1 factor, but.*with 2 \('g0', 'g1'\)"):
        apart.predict(X[["x0", "x1"]], groups=X["g0"])
    with pytest.raises(ValueError, match="groups has 3 rows, but X has 160"):
        apart.predict(X[["x0", "x1"]], groups=X[["g0", "g1"]].iloc[:3])


def test_groups_are_named_once(model, data):
    X, y = data
    with pytest.raises(ValueError, match="named twice: in the constructor .*and in"):
        MixedLinearRegressor("g0").fit(X, y, groups=X["g1"])
    with pytest.raises(ValueError, match="reads its groups from X.*leave it out"):
        model.predict(X, groups=X["g0"])
