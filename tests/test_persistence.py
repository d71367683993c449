"""A model in a file is the model: same numbers, its version, no larger than levels."""

import copy
import datetime
import io
import pickle
import subprocess
import sys
import warnings
from dataclasses import fields, is_dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn import config_context
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skglmm
from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._fitted import persistence
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI, Laplace, MacKay


def problem(family, **columns):
    X, y = make_mixed_regression(
        240, 2, n_groups=[8, 5], family=family, n_random_slopes=1, random_state=7
    )
    return X.assign(g0="pen " + X["g0"].astype(str), **columns), y


MODELS = {
    "linear": (
        MixedLinearRegressor(
            ["g0", ("g0", "g1")], random_slopes={"g0": ["x0"]}, covariance="diag"
        ),
        problem("gaussian"),
    ),
    "poisson": (
        MixedPoissonRegressor(["g0", "g1"], exposure="hours", solver=Laplace(tol=1e-7)),
        problem("poisson", hours=2.0),
    ),
    "logistic": (
        MixedLogisticRegressor("g0", random_slopes=["x0"], solver=VI()),
        problem("bernoulli"),
    ),
    "binomial": (
        MixedBinomialRegressor("g0", trials="trials"),
        problem("binomial"),
    ),
}


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    return joblib.load(io.BytesIO(file.getvalue()))


def by_skops(model):
    content = skops.io.dumps(model)
    types = skops.io.get_untrusted_types(data=content)
    return skops.io.loads(content, trusted=types)


WAYS = {
    "pickle": by_pickle,
    "joblib": by_joblib,
    "skops": by_skops,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    model, (X, y) = MODELS[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of some of these is zero
        model.fit(X, y)
    return model, X.iloc[:30].assign(g0=["pen 0", "pen 3", "a new pen"] * 10)


def same(a, b):
    """Whether all of a value is equal and of the same type."""
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_exact=True)
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, strict=True)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif hasattr(a, "get_params"):
        same(vars(a), vars(b))
    elif is_dataclass(a):
        for field in fields(a):
            same(getattr(a, field.name), getattr(b, field.name))
    else:
        assert a == b


# Everything comes back


@pytest.mark.parametrize("way", WAYS)
def test_everything_that_was_estimated_comes_back_to_the_last_digit(fitted, way):
    model, _ = fitted
    same(vars(model), vars(WAYS[way](model)))


@pytest.mark.parametrize("way", WAYS)
def test_predictions_of_seen_and_new_levels_come_back_to_the_last_digit(fitted, way):
    model, new = fitted
    read = WAYS[way](model)
    methods = {"predict", "predict_proba", "decision_function", "predict_interval"}
    for method in methods & set(dir(model)):
        same(getattr(model, method)(new), getattr(read, method)(new))
    eta, std = model.linear_predictor(new, return_std=True)
    same((eta, std), read.linear_predictor(new, return_std=True))
    same(model.sample_y(new, 3, random_state=0), read.sample_y(new, 3, random_state=0))


@pytest.mark.parametrize("way", WAYS)
def test_what_was_read_can_be_fitted_again(way):
    model, (X, y) = MODELS["logistic"]
    expected = model.fit(X, y).coef_
    same(WAYS[way](model).fit(X, y).coef_, expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("solver", [VI(tol=1e-6), Laplace(n_quadrature=5), MacKay()])
def test_solvers_and_models_before_a_fit_come_back(solver, way):
    same(WAYS[way](solver), solver)
    model = MixedPoissonRegressor(["g", ("g", "h")], solver=solver)
    same(WAYS[way](model), model)


@pytest.mark.parametrize("way", WAYS)
def test_labels_that_came_beside_x_are_needed_after_reading_as_well(way):
    X, y = problem("gaussian")
    model = MixedLinearRegressor().fit(X[["x0"]], y, groups=X["g0"])
    read = WAYS[way](model)
    expected = model.predict(X[["x0"]], groups=X["g0"])
    same(read.predict(X[["x0"]], groups=X["g0"]), expected)
    with pytest.raises(ValueError, match="pass groups= here as well"):
        read.predict(X[["x0"]])


@pytest.mark.parametrize("way", WAYS)
def test_what_metadata_a_model_requests_comes_back(way):
    X, y = problem("gaussian")
    with config_context(enable_metadata_routing=True):
        model = MixedLinearRegressor().set_fit_request(groups=True)
        model.set_predict_request(groups="pens").set_score_request(groups=False)
        read = WAYS[way](model)
        assert repr(read.get_metadata_routing()) == repr(model.get_metadata_routing())
        pipe = make_pipeline(FunctionTransformer(), read)
        pipe.fit(X[["x0"]], y, groups=X["g0"]).predict(X[["x0"]], pens=X["g0"])
    assert len(read.random_effects_["g0"]) == X["g0"].nunique()


@pytest.mark.parametrize("way", WAYS)
def test_pipelines_and_searches_come_back(way):
    X, y = problem("gaussian")
    pipe = make_pipeline(FunctionTransformer(), MixedLinearRegressor("g0"))
    search = GridSearchCV(pipe, {"mixedlinearregressor__reml": [True, False]}, cv=2)
    search.fit(X, y)
    same(WAYS[way](search).predict(X), search.predict(X))


def test_a_model_may_stay_in_its_file_and_be_mapped_into_memory(tmp_path):
    model, (X, y) = MODELS["logistic"]
    joblib.dump(model.fit(X, y), tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    same(mapped.predict_proba(X), model.predict_proba(X))
    mapped.set_params(warm_start=True).fit(X, y)
    np.testing.assert_allclose(mapped.coef_, model.coef_, rtol=1e-4)


# Labels are as the user gave them

PLAIN = {
    "text": ["b", "a", "c"],
    "text of any kind": ["", "a\0", "Ærø \U0001f426"],
    "ints": [3, 1, 2],
    "small ints": np.array([3, 1, 2], dtype=np.int8),
    "floats": [0.5, -1.0, 2.0],
    "bools": [True, False],
    "dates": pd.to_datetime(["2024-02-29", "2023-01-01"]),
    "ints and text": [1, "1", "a"],
    "tuples": [(1, "a"), (2, "b")],
}
PANDAS_ONLY = {
    "time zones": pd.to_datetime(["2024-02-29", "2023-01-01"]).tz_localize("UTC"),
    "periods": pd.period_range("2024-01", periods=3, freq="M"),
    "intervals": pd.interval_range(0, 3),
    "days": [datetime.date(2024, 2, 29), datetime.date(2023, 1, 1)],
}


def labelled(labels):
    """A model whose levels are the labels, and its table."""
    groups = pd.Index(labels, tupleize_cols=False).repeat(8)
    x = np.random.default_rng(0).normal(size=len(groups))
    X = pd.DataFrame({"x": x, "g": groups})
    y = x + np.random.default_rng(1).normal(size=len(labels)).repeat(8) * 9
    y += np.random.default_rng(2).normal(size=len(x))
    with warnings.catch_warnings():
        # 1 and "1" are two levels, which a fit finds worth a word
        warnings.filterwarnings("ignore", ".*differ in their type alone", UserWarning)
        return MixedLinearRegressor("g").fit(X, y), X


@pytest.mark.parametrize("way", ["pickle", "joblib", "skops"])
@pytest.mark.parametrize("labels", PLAIN.values(), ids=PLAIN)
def test_labels_keep_their_type(labels, way):
    model, X = labelled(labels)
    read = WAYS[way](model)
    same(read.random_effects_, model.random_effects_)
    same(read.predict(X), model.predict(X))


@pytest.mark.parametrize("way", ["pickle", "joblib"])
@pytest.mark.parametrize("labels", PANDAS_ONLY.values(), ids=PANDAS_ONLY)
def test_labels_that_only_pandas_or_python_knows_keep_their_type(labels, way):
    model, X = labelled(labels)
    read = WAYS[way](model)
    same(read.random_effects_, model.random_effects_)
    same(read.predict(X), model.predict(X))


def test_text_that_is_not_valid_unicode_is_kept():
    labels = ["\ud83d", "", "a\udcff", "b"]  # as os.fsdecode gives file names
    assert persistence._split(*persistence._join(labels)) == labels


@pytest.mark.parametrize("way", ["pickle", "joblib", "skops"])
def test_a_column_of_numbers_by_effect_comes_back(way):
    model = MixedLinearRegressor("g")
    effects = pd.MultiIndex.from_tuples(
        [("g", "x"), ("residual", "")], names=["a", "b"]
    )
    model.errors_ = {"by effect": pd.Series([0.1, 0.2], effects, name="std")}
    same(WAYS[way](model).errors_, model.errors_)


# What a file consists of


def test_a_user_of_skops_has_two_types_to_trust():
    model, (X, y) = MODELS["logistic"]
    types = skops.io.get_untrusted_types(data=skops.io.dumps(model.fit(X, y)))
    assert types == [
        "skglmm._logistic.MixedLogisticRegressor",
        "skglmm.solvers._vi.VI",
    ]


def parts(value):
    yield value
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, list | tuple | type({}.values())):
        for part in value:
            yield from parts(part)


def test_the_state_has_nothing_of_pandas(fitted):
    model, _ = fitted
    modules = {type(part).__module__.partition(".")[0] for part in parts(vars(model))}
    assert "pandas" in modules
    state = model.__getstate__()
    modules = {type(part).__module__.partition(".")[0] for part in parts(state)}
    assert modules == {"builtins", "numpy", "skglmm"}


def test_the_size_depends_on_the_levels_and_not_on_the_rows():
    X, y = make_mixed_regression(
        400, 2, n_groups=[40, 7], n_random_slopes=1, random_state=0
    )
    model = MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]})
    rng = np.random.default_rng(0)

    def size(repeats):
        rows = np.tile(np.arange(len(y)), repeats)
        model.fit(X.iloc[rows], y.iloc[rows] + rng.normal(size=len(rows)))
        return len(pickle.dumps(model)) - model._fitted.objective.nbytes

    assert size(10) == pytest.approx(size(1), abs=10)


# Versions


@pytest.mark.parametrize("way", ["pickle", "joblib", "skops"])
def test_reading_with_another_version_says_which_one_saved(way, monkeypatch):
    model, (X, y) = MODELS["logistic"]
    model.fit(X, y)
    monkeypatch.setattr(persistence, "__version__", "0.0.7")
    types = ["skglmm._logistic.MixedLogisticRegressor", "skglmm.solvers._vi.VI"]
    save, read = {
        "pickle": (pickle.dumps, pickle.loads),
        "joblib": (joblib_bytes, lambda content: joblib.load(io.BytesIO(content))),
        "skops": (skops.io.dumps, lambda c: skops.io.loads(c, trusted=types)),
    }[way]
    content = save(model)
    monkeypatch.setattr(persistence, "__version__", "2.0")
    message = "MixedLogisticRegressor was saved by version 0.0.7 of skglmm .* 2.0"
    with pytest.warns(InconsistentVersionWarning, match=message) as caught:
        other = read(content)
    assert len(caught) == 1
    assert isinstance(caught[0].message, persistence.OtherVersionWarning)
    assert caught[0].message.saved_version == "0.0.7"
    assert caught[0].message.current_version == "2.0"
    same(vars(other), vars(model))


def joblib_bytes(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def test_a_model_without_a_version_is_of_an_unknown_one():
    state = MixedLinearRegressor("g").__getstate__()
    del state["_skglmm_version"]
    with pytest.warns(InconsistentVersionWarning, match="saved by version unknown"):
        MixedLinearRegressor().__setstate__(state)


def test_the_version_is_no_attribute_of_the_model():
    assert "_skglmm_version" not in vars(by_pickle(MixedLinearRegressor()))


# A fresh process


@pytest.mark.parametrize("way", ["pickle", "skops"])
def test_a_fresh_process_predicts_from_files_without_tensorflow(tmp_path, way):
    expected = []
    for name, (model, (X, y)) in MODELS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        save = {"pickle": pickle.dumps, "skops": skops.io.dumps}[way]
        (tmp_path / f"{name}.model").write_bytes(save(model))
        X.head(1).to_pickle(tmp_path / f"{name}.rows")
        expected.append(model.predict(X.head(1)).item())
    read = {
        "pickle": "pickle.loads(content)",
        "skops": "skops.io.loads(content, "
        "trusted=skops.io.get_untrusted_types(data=content))",
    }[way]
    code = f"""
import pathlib, pickle, sys
sys.path.insert(0, {str(Path(skglmm.__file__).parents[1])!r})
if {way!r} == "skops": import skops.io
import pandas
for name in {list(MODELS)}:
    content = pathlib.Path({str(tmp_path)!r}, name + ".model").read_bytes()
    model = {read}
    X = pandas.read_pickle(pathlib.Path({str(tmp_path)!r}, name + ".rows"))
    print(model.predict(X).item())
    model.linear_predictor(X, return_std=True)
    model.predict_interval(X)
    model.sample_y(X)
    getattr(model, "predict_proba", model.predict)(X)
assert not any(name.startswith(("tensorflow", "tf_")) for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert list(map(float, done.stdout.split())) == expected
