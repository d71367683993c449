"""Fitted attributes of the linear model, and what survives a fit."""

import datetime
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_pastes, load_sleepstudy, make_mixed_regression
from skglmm.solvers import VI, Laplace


@pytest.fixture(scope="module")
def data():
    """Slopes of x0 differ between the levels of g0; g1 is crossed with g0."""
    return make_mixed_regression(
        160, 2, n_groups=[12, 6], n_random_slopes=1, intercept=3.0, random_state=3
    )


@pytest.fixture(scope="module")
def model(data):
    return MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]}).fit(*data)


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return X, y, MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)


# Attributes


def test_fixed_effects_are_a_table_and_coefficients(model):
    assert isinstance(model.intercept_, float)
    assert model.coef_.shape == (2,)
    assert model.coef_names_ == ["x0", "x1"]
    table = model.fixed_effects_
    assert list(table.index) == ["Intercept", "x0", "x1"]
    assert list(table.columns) == ["estimate", "std_error"]
    assert_array_equal(table["estimate"], [model.intercept_, *model.coef_])
    assert (table["std_error"] > 0).all()


def test_random_effects_are_tables_of_levels_by_effects(model, data):
    X, _ = data
    for effects in (model.random_effects_, model.random_effects_std_):
        assert list(effects) == ["g0", "g1"]
        assert list(effects["g0"].columns) == ["Intercept", "x0"]
        assert list(effects["g1"].columns) == ["Intercept"]
        assert_array_equal(effects["g0"].index, np.unique(X["g0"]))
        assert effects["g0"].index.name == "g0"


def test_the_posterior_is_narrower_than_the_prior(model):
    for name, std in model.random_effects_std_.items():
        prior = np.sqrt(np.diag(model.random_effects_covariance_[name]))
        assert ((0 < std) & (std < prior)).to_numpy().all()


def test_a_level_with_more_rows_is_known_better():
    X, y = make_mixed_regression(200, 1, n_groups=12, balance="power", random_state=0)
    std = MixedLinearRegressor("g0").fit(X, y).random_effects_std_["g0"]["Intercept"]
    rows = X["g0"].value_counts().loc[std.index]
    assert std[rows.idxmax()] < 0.5 * std[rows.idxmin()]


def test_the_variance_components_are_one_table(model):
    table = model.variance_components_
    assert table.index.names == ["group", "effect"]
    assert list(table.index) == [
        ("g0", "Intercept"),
        ("g0", "x0"),
        ("g1", "Intercept"),
        ("residual", ""),
    ]
    sigma = model.random_effects_covariance_["g0"]
    assert_allclose(table.loc["g0", "variance"], np.diag(sigma))
    assert_allclose(table["std"] ** 2, table["variance"])
    correlation = sigma[0, 1] / np.sqrt(sigma[0, 0] * sigma[1, 1])
    assert table.loc[("g0", "x0"), "corr(Intercept)"] == pytest.approx(correlation)
    assert table["corr(Intercept)"].notna().sum() == 1
    assert table.loc[("residual", ""), "variance"] == model.noise_variance_


def test_sleepstudy_has_the_published_numbers(sleep):
    *_, model = sleep
    assert_allclose(model.coef_, 10.467, atol=0.001)
    assert_allclose(model.intercept_, 251.405, atol=0.001)
    variance = model.variance_components_["variance"]
    assert_allclose(variance, [612.1, 35.07, 654.94], rtol=1e-4)
    assert model.log_likelihood_ == pytest.approx(-1743.628 / 2, abs=1e-3)
    assert_allclose(model.random_effects_["Subject"].loc["308"], [2.259, 9.199], 1e-3)


def test_the_history_descends_to_minus_twice_the_log_likelihood(model, data):
    assert list(model.history_.index) == [*range(1, model.n_iter_ + 1)]
    assert np.all(np.diff(model.history_["objective"]) <= 0)
    assert model.n_iter_ < 20
    ml = clone(model).set_params(reml=False).fit(*data)
    assert ml.history_["objective"].iloc[-1] == pytest.approx(
        -2 * ml.log_likelihood_, abs=1e-6
    )
    assert (model.log_likelihood_method_, ml.log_likelihood_method_) == (
        "restricted",
        "exact",
    )


def test_information_criteria_count_coefficients_variances_and_the_residual(model):
    k = 3 + (3 + 1) + 1
    assert model.aic_ == pytest.approx(2 * k - 2 * model.log_likelihood_)
    assert model.bic_ == pytest.approx(k * np.log(160) - 2 * model.log_likelihood_)


def test_the_resolved_solver_is_kept_and_the_parameter_left_alone(data):
    X, y = data
    model = MixedLinearRegressor("g0").fit(X, y)
    assert (model.solver, type(model.solver_)) == ("vi", VI)
    assert model.elbo_ == model.log_likelihood_
    solver = Laplace(max_iter=50)
    model = MixedLinearRegressor("g0", solver=solver).fit(X, y)
    assert model.solver is solver
    assert model.solver_.max_iter == 50
    assert not hasattr(model, "elbo_")


def test_too_few_evaluations_are_a_warning_with_a_remedy(data):
    X, y = data
    model = MixedLinearRegressor("g0", solver=VI(max_iter=2))
    with pytest.warns(
        ConvergenceWarning, match="max_iter=2.*larger max_iter"
    ) as caught:
        model.fit(X, y)
    assert len(caught) == 1
    assert not model.converged_
    assert model.n_iter_ == 2
    assert np.isfinite(model.predict(X)).all()


PLAIN = (np.ndarray, pd.DataFrame, pd.Series, pd.Index, str, bytes, float, int, bool)


def everything(value, path):
    """All that is reachable from a value, with the way to it."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from everything(key, f"{path} key {key!r}")
            yield from everything(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple | set):
        for i, item in enumerate(value):
            yield from everything(item, f"{path}[{i}]")
    elif isinstance(value, np.ndarray | pd.Index) and value.dtype == object:
        for i, item in enumerate(value):
            yield from everything(item, f"{path}[{i}]")
    elif not isinstance(value, PLAIN) and value is not None:
        names = getattr(value, "__slots__", None) or vars(value)
        for name in names:
            yield from everything(getattr(value, name), f"{path}.{name}")


def test_a_fitted_model_holds_plain_numbers_and_nothing_of_tensorflow(model):
    walked = list(everything(vars(model), "model"))
    assert len(walked) > 50
    for path, value in walked:
        module = type(value).__module__.split(".")[0]
        assert module in {"builtins", "numpy", "pandas", "skglmm"}, path
    for name, value in vars(model).items():
        if name.endswith("_") and name != "solver_":
            assert type(value).__module__.split(".")[0] != "skglmm", name


# Labels of any kind

DAYS = [datetime.date(2024, 1, day) for day in range(1, 7)]
LABELS = {
    "text": list("abcdef"),
    "whole numbers": [10, -3, 7, 0, 99, 5],
    "numbers": [0.5, -1.0, 2.25, 1e9, 3.0, 7.0],
    "days": DAYS,
    "truth": [True, False],
    "mixed": ["a", 1, (2, "b"), 3.5, "c", DAYS[0]],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_levels_keep_the_labels_of_the_user(data, labels):
    X, y = data
    J = len(labels)
    column = pd.Series([labels[i % J] for i in X["g1"]], dtype=object)
    model = MixedLinearRegressor("g").fit(X[["x0"]].assign(g=column), y)
    index = model.random_effects_["g"].index
    assert set(index) == set(labels)
    for label in labels:
        row = X[["x0"]].iloc[:1].assign(g=pd.Series([label], dtype=object))
        known = model.predict(row) - model.predict(row, level="population")
        effect = model.random_effects_["g"]["Intercept"].to_numpy()
        place = list(index).index(label)
        assert_allclose(known, effect[place], rtol=1e-9)


def categorical(labels, kind):
    if kind == "pandas":
        return pd.Series(pd.Categorical(labels))
    if kind == "pandas, ordered, with levels that do not occur":
        levels = ["none", "f", "e", "d", "c", "b", "a"]
        return pd.Series(pd.Categorical(labels, categories=levels, ordered=True))
    return pl.Series(
        labels, dtype=pl.Enum(list("fedcba")) if "Enum" in kind else pl.Categorical
    )


@pytest.mark.parametrize(
    "kind",
    [
        "pandas",
        "pandas, ordered, with levels that do not occur",
        "polars",
        "polars Enum",
    ],
)
def test_categorical_labels_are_labels(data, kind):
    X, y = data
    labels = ["abcdef"[i] for i in X["g1"]]
    text = MixedLinearRegressor("g").fit(X[["x0"]].assign(g=labels), y)
    column = categorical(labels, kind)
    if "polars" in kind:
        frame = pl.from_pandas(X[["x0"]]).with_columns(g=column)
    else:
        frame = X[["x0"]].assign(g=column)
    model = MixedLinearRegressor("g").fit(frame, y)
    levels = list(model.random_effects_["g"].index)
    ordered = "ordered" in kind or "Enum" in kind
    assert levels == list("fedcba" if ordered else "abcdef")
    assert_allclose(
        model.predict(frame), text.predict(X.assign(g=labels)[["x0", "g"]]), 1e-6
    )


def test_a_combination_has_an_index_of_its_columns():
    X, y = load_pastes(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor(["batch", ("batch", "cask")]).fit(
        X[["batch", "cask"]], y
    )
    effects = model.random_effects_["batch:cask"]
    assert isinstance(effects.index, pd.MultiIndex)
    assert effects.index.names == ["batch", "cask"]
    assert len(effects) == 30
    assert np.isfinite(effects.loc[("A", "b"), "Intercept"])


# Fitting again


def test_fitting_twice_gives_the_same_bytes(model, data):
    again = clone(model).fit(*data)
    assert again.log_likelihood_ == model.log_likelihood_
    assert_array_equal(again.coef_, model.coef_)
    assert again.random_effects_["g0"].equals(model.random_effects_["g0"])


def test_a_clone_is_unfitted_and_has_the_same_parameters(model):
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "coef_")


@pytest.mark.parametrize("covariance", ["full", "diag", "scalar"])
@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
def test_a_warm_start_begins_where_the_last_fit_ended(data, covariance, reml):
    X, y = data
    parameters = {
        "random_slopes": {"g0": ["x0"]},
        "covariance": covariance,
        "reml": reml,
    }
    cold = MixedLinearRegressor(["g0", "g1"], **parameters).fit(X, y)
    warm = clone(cold).set_params(warm_start=True).fit(X, y)
    first = warm.n_iter_
    assert first == cold.n_iter_
    warm.fit(X, y)
    assert warm.n_iter_ < first
    assert warm.log_likelihood_ == pytest.approx(cold.log_likelihood_, abs=1e-6)
    assert_allclose(warm.fixed_effects_, cold.fixed_effects_, rtol=1e-4)
    # the first objective is the old optimum, not that of a cold start
    first, last = (m.history_["objective"] for m in (warm, cold))
    assert first.iloc[0] == pytest.approx(last.iloc[-1], abs=0.01)


def test_a_warm_start_may_meet_other_data_and_other_effects(data):
    X, y = data
    model = MixedLinearRegressor("g0", warm_start=True).fit(X, y)
    half = X.iloc[:80], y.iloc[:80]
    cold = MixedLinearRegressor("g0").fit(*half)
    assert model.fit(*half).log_likelihood_ == pytest.approx(cold.log_likelihood_)
    model.set_params(random_slopes=["x0"]).fit(X, y)
    cold = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    assert model.log_likelihood_ == pytest.approx(cold.log_likelihood_, abs=1e-6)
    model.set_params(groups="g1", random_slopes=None).fit(X, y)
    assert list(model.random_effects_) == ["g1"]


def test_a_warm_start_can_leave_a_variance_of_zero(data):
    X, y = data
    flat = MixedLinearRegressor("g0", warm_start=True)
    with pytest.warns(ConvergenceWarning, match="'g0' is estimated as zero"):
        flat.fit(X, y - y.groupby(X["g0"]).transform("mean"))
    flat.fit(X, y)
    cold = MixedLinearRegressor("g0").fit(X, y)
    assert flat.log_likelihood_ == pytest.approx(cold.log_likelihood_, abs=1e-6)


# Files


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("through", [by_pickle, by_joblib])
def test_a_model_comes_back_from_a_file_as_it_was(model, data, through):
    back = through(model)
    X = data[0].assign(g0=np.arange(160) % 15)
    assert_array_equal(back.predict(X), model.predict(X))
    assert_array_equal(back.fixed_effects_, model.fixed_effects_)
    assert back.get_params() == model.get_params()


def test_a_file_grows_with_the_levels_and_not_with_the_rows():
    X, y = make_mixed_regression(200, 2, n_groups=10, random_state=0)
    few = MixedLinearRegressor("g0").fit(X, y)
    rows = np.repeat(np.arange(200), 50)
    many = MixedLinearRegressor("g0").fit(X.iloc[rows], y.iloc[rows])
    sizes = [len(pickle.dumps(m)) for m in (few, many)]
    assert abs(sizes[1] - sizes[0]) < 200
    assert sizes[0] < 10_000
