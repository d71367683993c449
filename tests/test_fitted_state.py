"""What a fit leaves on an estimator, and that nothing else leaves anything."""

import inspect
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import MCEM

N = 120
X = pd.DataFrame(
    {
        "x": np.sin(3.0 * np.arange(N)),
        "n": np.full(N, 4.0),
        "g": [f"s{k}" for k in np.arange(N) % 8],
    }
)
rng = np.random.default_rng(5)
ETA = 0.5 * X["x"] + rng.normal(size=8)[np.arange(N) % 8]
TARGETS = {
    MixedLinearRegressor: ETA + rng.normal(size=N),
    MixedPoissonRegressor: rng.poisson(np.exp(ETA)),
    MixedLogisticRegressor: np.where(ETA + rng.logistic(size=N) > 0, "yes", "no"),
    MixedBinomialRegressor: rng.binomial(4, 1 / (1 + np.exp(-ETA))),
}
ESTIMATORS = list(TARGETS)
GAPS = X.assign(x=X["x"].where(np.arange(N) % 9 > 0))
TREES = HistGradientBoostingRegressor(max_iter=3, random_state=0)
SAMPLED = MCEM(n_samples=32, max_iter=60, keep=2)

# Settings of a fit, its table, and the documented attributes that it does not make.
ALWAYS_ABSENT = {"missing_information_", "mc_error_", "sampling_"}
DRAWS = {"random_effects_draws_", "random_effects_trace_"}
ALWAYS_ABSENT |= DRAWS
FITS = {
    "vi": ({}, X, ALWAYS_ABSENT),
    "laplace": ({"solver": "laplace"}, X, ALWAYS_ABSENT | {"elbo_"}),
    "mcem": ({"solver": SAMPLED}, X, {"missing_information_", "elbo_"}),
    "gaps": ({"missing": "model"}, GAPS, DRAWS),
    "trees": ({"fixed_effects": TREES}, X, ALWAYS_ABSENT | {"coef_", "coef_names_"}),
    "no groups": ({"groups": None}, X.drop(columns="g"), ALWAYS_ABSENT),
    "an array": ({"groups": 2}, X.to_numpy(), ALWAYS_ABSENT | {"feature_names_in_"}),
}


def model_of(kind, **parameters):
    if kind is MixedBinomialRegressor:
        groups = parameters.get("groups", "g")
        parameters["trials"] = 1 if groups == 2 else "n"
    return kind(**({"groups": "g", "random_state": 0} | parameters))


def fit(model, table, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(table, y)


def documented(kind):
    """Names in the section on attributes of a docstring."""
    # Python 3.13 takes the indentation off
    text = inspect.cleandoc(kind.__doc__)
    section = re.search(r"\nAttributes\n-+\n(.*?)\n\w[\w ]*\n-+\n", text, re.S)[1]
    names = re.findall(r"^(\w[\w, ]*) : ", section, re.M)
    return {name for line in names for name in line.split(", ")}


def present(model, names):
    return {name for name in names if hasattr(model, name)}


@pytest.mark.parametrize(
    "kind",
    [
        MixedLinearRegressor,
        pytest.param(MixedLogisticRegressor, marks=pytest.mark.slow),
        pytest.param(MixedPoissonRegressor, marks=pytest.mark.slow),
        pytest.param(MixedBinomialRegressor, marks=pytest.mark.slow),
    ],
)
def test_a_fit_makes_what_is_documented_and_a_refit_removes_what_it_does_not_make(kind):
    names, model = documented(kind), model_of(kind)
    assert present(model, names) == set()
    stored = {}
    # each fit comes once more, after others
    for label in [*FITS, "gaps", "laplace", "mcem", "an array", "trees", "vi"]:
        parameters, table, absent = FITS[label]
        model.set_params(**model_of(kind, **parameters).get_params(deep=False))
        fit(model, table, TARGETS[kind])
        assert names - present(model, names) == absent & names, label
        assert stored.setdefault(label, set(vars(model))) == set(vars(model)), label


def test_a_bound_does_not_outlive_its_solver():
    model = model_of(MixedPoissonRegressor)
    fit(model, X, TARGETS[MixedPoissonRegressor])
    assert hasattr(model, "elbo_")
    fit(model.set_params(solver="laplace"), X, TARGETS[MixedPoissonRegressor])
    assert not hasattr(model, "elbo_")


def test_a_refit_that_is_refused_leaves_the_model_as_it_was():
    kind = MixedLogisticRegressor
    model = fit(model_of(kind), X, TARGETS[kind])
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="one level"):
        model.fit(X.assign(g="a"), TARGETS[kind])
    np.testing.assert_array_equal(model.predict_proba(X), before)


def calls(model, y):
    """Every public method but fit and those that set something, called."""
    new = X.assign(g=np.where(np.arange(N) < 9, "another", X["g"]))
    yield lambda: model.predict(new)
    yield lambda: model.linear_predictor(new, return_std=True)
    yield lambda: model.predict_interval(new)
    yield lambda: model.sample_y(new, 3, random_state=0)
    yield lambda: model.score(X, y)
    yield lambda: model.update_random_effects(new, y)
    # rows of one class, in another container
    yield lambda: model.update_random_effects(new[:5], [list(y)[0]] * 5)
    yield lambda: model.summary()
    yield lambda: (repr(model), model._repr_html_(), model._repr_mimebundle_())
    yield lambda: (model.get_params(), model.get_metadata_routing())
    yield lambda: model.variance_components_
    yield lambda: (model.__sklearn_tags__(), model.__sklearn_is_fitted__)
    if hasattr(model, "predict_proba"):
        yield lambda: model.predict_proba(new)
        yield lambda: model.predict_log_proba(new)
        yield lambda: model.decision_function(new)


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        *((kind, "vi") for kind in ESTIMATORS),
        (MixedLinearRegressor, "trees"),
        (MixedLinearRegressor, "gaps"),
        (MixedLogisticRegressor, "mcem"),
        pytest.param(MixedLogisticRegressor, "trees", marks=pytest.mark.slow),
        pytest.param(MixedPoissonRegressor, "gaps", marks=pytest.mark.slow),
    ],
)
def test_only_fit_changes_a_model(kind, label):
    parameters, table, _ = FITS[label]
    y = TARGETS[kind]
    model = fit(model_of(kind, **parameters), table, y)
    before = pickle.dumps(model)
    for call in calls(model, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call()
            except (AttributeError, ValueError):
                pass  # what a model refuses leaves nothing either
        assert pickle.dumps(model) == before


def test_public_methods_are_all_called():
    """The test above knows of every method that there is."""
    setting = {"fit", "set_params", "get_params"}
    known = {
        *("predict", "linear_predictor", "predict_interval", "sample_y", "score"),
        *("update_random_effects", "summary", "get_metadata_routing"),
        *("predict_proba", "predict_log_proba", "decision_function"),
    }
    for kind in ESTIMATORS:
        public = {
            name
            for name in dir(kind)
            if not name.startswith("_")
            and not name.startswith("set_")
            and callable(getattr(kind, name))
        }
        assert public <= known | setting, public - known - setting


def test_only_fit_changes_an_encoder():
    y = TARGETS[MixedLinearRegressor]
    encoder = GroupEffectEncoder("g", random_state=0).fit(X[["g"]], y)
    before = pickle.dumps(encoder)
    encoder.transform(X[["g"]])
    encoder.get_feature_names_out()
    repr(encoder), encoder._repr_html_()
    assert pickle.dumps(encoder) == before


@pytest.mark.parametrize("share", [11, 12, 1, 0])
def test_new_rows_of_one_class_pull_to_their_side(share):
    """12 successes of 12 say more than 11 of 12, whatever else the fit has seen."""
    kind = MixedLogisticRegressor
    model = fit(model_of(kind), X, TARGETS[kind])
    rows = X[X["g"] == "s0"].iloc[:12].assign(g="new")
    y = np.where(np.arange(12) < share, "yes", "no")
    effect = model.update_random_effects(rows, y).random_effects_["g"].loc["new"].item()
    assert (effect > 0) == (share > 6)
    assert model.predict(X).dtype == TARGETS[kind].dtype
    other = model.update_random_effects(rows, np.where(np.arange(12) < 6, "yes", "no"))
    middle = other.random_effects_["g"].loc["new"].item()
    assert abs(effect - middle) > 0.3


def test_classes_of_new_rows_are_those_of_fit():
    kind = MixedLogisticRegressor
    model = fit(model_of(kind), X, TARGETS[kind])
    with pytest.raises(ValueError, match=r"'maybe' in row 3, .* seen \['no', 'yes'\]"):
        model.update_random_effects(X[:5], ["yes", "no", "no", "maybe", "no"])
    numbers = fit(model_of(kind), X, (TARGETS[kind] == "yes") * 1)
    as_bool = numbers.update_random_effects(X[:9], TARGETS[kind][:9] == "yes")
    as_text = model.update_random_effects(X[:9], TARGETS[kind][:9])
    np.testing.assert_array_equal(
        as_bool.random_effects_["g"], as_text.random_effects_["g"]
    )
