"""Networks and regressors as the fixed part."""

import pickle
import random

import numpy as np
import pandas as pd
import pytest
from flexible_parts import Known, Network, Recorder, line, network
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import get_tags
from test_engine_rules import run_python

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    NetworkPart,
    RegressorPart,
    _families,
)
from skglmm._fixed.cross_fitted import assign_folds
from skglmm._problem.design import Factor

FAMILIES = {
    "gaussian": MixedLinearRegressor,
    "poisson": MixedPoissonRegressor,
    "logistic": MixedLogisticRegressor,
    "binomial": MixedBinomialRegressor,
}
KNOWN = RegressorPart(Known(), n_repeats=1, n_steps=1)
QUICK = {"epochs": 100, "patience": 8, "tol": 0.01, "n_folds": 3}
# The second turn is the last, whatever it gains.
TWO_TURNS = {"n_folds": 2, "tol": 100.0}


def problem(family="gaussian", n=600, n_groups=30, seed=0, curve=np.sin):
    """Rows with a curve in x0 (also given as f), groups, and a role column."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.uniform(-2.0, 2.0, (n, 2)), columns=["x0", "x1"])
    f = curve(2.0 * X["x0"]) + 0.5 * X["x1"]
    X["g"] = rng.integers(0, n_groups, n)
    eta = f + 0.8 * rng.standard_normal(n_groups)[X["g"]]
    X["f"], X["size"] = f, rng.integers(1, 6, n)
    if family == "gaussian":
        y = eta + 0.5 * rng.standard_normal(n)
    elif family == "poisson":
        y = rng.poisson(X["size"] * np.exp(eta)).astype(float)
    elif family == "logistic":
        y = (rng.uniform(size=n) < expit(eta)).astype(int)
    else:
        y = rng.binomial(X["size"], expit(eta)).astype(float)
    return X, np.asarray(y)


# A known fixed part is an offset: then the answer is that of the linear model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fixed_part_that_is_known_is_an_offset(family):
    X, y = problem(family)
    roles = {"poisson": {"exposure": "size"}, "binomial": {"trials": "size"}}
    columns = ["f", "g", "size"] if family in roles else ["f", "g"]
    X, roles = X[columns], roles.get(family, {})
    flexible = FAMILIES[family]("g", fixed_effects=KNOWN, **roles).fit(X, y)
    linear = FAMILIES[family]("g", offset="f", **roles).fit(X, y)
    assert_allclose(
        flexible.variance_components_["std"],
        linear.variance_components_["std"],
        rtol=2e-5,
    )
    effects = [m.random_effects_["g"]["Intercept"] for m in (flexible, linear)]
    assert_allclose(*effects, atol=2e-5)
    assert_allclose(flexible.log_likelihood_, linear.log_likelihood_, rtol=1e-8)
    for method in ("predict", "linear_predictor", "predict_interval"):
        values = [getattr(m, method)(X.head(20)) for m in (flexible, linear)]
        assert_allclose(*values, rtol=1e-3, atol=1e-4)


def test_rows_weights_and_slopes_stay_together():
    X, y = problem()
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, len(y))
    options = {"random_slopes": ["x0"], "covariance": "diag"}
    model = MixedLinearRegressor("g", fixed_effects=KNOWN, **options)
    model.fit(X[["x0", "f", "g"]], y, weight)
    # the same without weights, offsets and a fixed column: rows repeated, f subtracted
    rows = np.repeat(np.arange(len(y)), weight)
    known, rest = X.iloc[rows].assign(f=0.0), (y - X["f"]).iloc[rows]
    other = clone(model).fit(known[["x0", "f", "g"]], rest)
    stds = [m.variance_components_["std"] for m in (model, other)]
    assert_allclose(*stds, rtol=1e-5)


def test_without_an_intercept_there_is_none():
    X, y = problem()
    options = {"fit_intercept": False}
    flexible = MixedLinearRegressor("g", fixed_effects=KNOWN, **options)
    linear = MixedLinearRegressor("g", offset="f", **options)
    X = X[["f", "g"]]
    stds = [m.fit(X, y).variance_components_["std"] for m in (flexible, linear)]
    assert flexible.intercept_ == 0.0
    assert_allclose(*stds, rtol=1e-5)


# Cross-fitting


def test_a_level_is_predicted_by_models_that_have_not_seen_it():
    X, y = problem(n_groups=30)
    X = X[["g"]].assign(row=np.arange(len(X)))
    Recorder.calls.clear()
    MixedLinearRegressor("g", fixed_effects=Recorder(), random_state=0).fit(X, y)
    level = X["g"].to_numpy()
    assert len(Recorder.calls) >= 5
    for fitted, asked in Recorder.calls:
        held_out = sorted(asked - fitted)
        assert asked == set(range(len(X)))
        assert not set(level[list(fitted)]) & set(level[held_out])
    # each row is predicted by the models that have not been fitted to it, and no other
    f, n = np.zeros(len(X)), np.zeros(len(X))
    for fitted, asked in Recorder.calls[:15]:
        held_out = sorted(asked - fitted)
        f[held_out] += y[sorted(fitted)].mean()
        n[held_out] += 1
    assert_array_equal(n, 3)
    Recorder.calls.clear()
    one = RegressorPart(Recorder(), max_iter=1)
    model = MixedLinearRegressor("g", fixed_effects=one, random_state=0).fit(X, y)
    fixed = model.predict(X) - model.random_effects_["g"].loc[level, "Intercept"]
    # all are constants, and moved to the same mean
    assert_allclose(fixed, fixed.iloc[0], atol=1e-12)


def test_a_column_of_the_group_does_not_take_its_effect_away():
    # deep trees know each group by z, which says nothing of its effect
    rng = np.random.default_rng(0)
    g = rng.integers(0, 60, 1200)
    X = pd.DataFrame({"z": rng.uniform(size=60)[g], "g": g})
    b = rng.standard_normal(60)
    y = b[g] + 0.5 * rng.standard_normal(1200)
    exact = MixedLinearRegressor("g").fit(X[["g"]], y)
    trees = DecisionTreeRegressor()
    model = MixedLinearRegressor("g", fixed_effects=trees, random_state=0).fit(X, y)
    stds = [m.variance_components_["std"].to_numpy() for m in (model, exact)]
    assert stds[0][0] > 0.95 * stds[1][0]
    assert_allclose(stds[0][1], stds[1][1], rtol=0.01)
    # nor is the effect counted twice, in the fixed part and in the random one
    assert np.sqrt(np.mean((model.predict(X) - b[g]) ** 2)) < 0.2


def test_levels_of_the_models_do_not_add_to_the_variance_between_groups():
    X, y = problem(n=2000, n_groups=100, curve=np.zeros_like)
    X = X[["x0", "g"]]
    part = RegressorPart(LinearRegression(), n_repeats=1)
    model = MixedLinearRegressor("g", fixed_effects=part, random_state=0).fit(X, y)
    linear = MixedLinearRegressor("g").fit(X, y)
    stds = [m.variance_components_["std"] for m in (model, linear)]
    assert_allclose(*stds, rtol=3e-3)
    assert_allclose(model.predict(X), linear.predict(X), atol=0.05)


def test_few_levels_are_not_held_out_whole():
    factor = Factor(np.arange(100) % 6, 6)
    random = np.random.RandomState(0)
    folds, units, held_out = assign_folds([factor], np.ones(100), 5, random)
    assert_array_equal(np.bincount(folds), 20)
    assert len(set(units)) == 100
    assert held_out is None


def test_folds_are_of_the_factor_with_the_fewest_levels_that_are_enough():
    rng = np.random.RandomState(0)
    factors = [Factor(rng.randint(k, size=5000), k) for k in (8, 40, 700)]
    folds, units, held_out = assign_folds(factors, np.ones(5000), 5, rng)
    assert held_out == 1
    assert_array_equal(units, factors[1].codes)
    assert pd.Series(folds).groupby(units).nunique().max() == 1
    sizes = np.bincount(folds)
    assert np.ptp(sizes) < 200


def test_residuals_of_a_memory_do_not_become_the_noise():
    # a nearest neighbour has no error in its own rows, and twice the variance in new
    X, y = problem(n=1000, curve=np.zeros_like)
    memory = KNeighborsRegressor(1)
    model = MixedLinearRegressor("g", fixed_effects=memory, random_state=0)
    X = X[["x0", "g"]]
    model.fit(X, y)
    exact = MixedLinearRegressor("g").fit(X, y)
    assert model.noise_variance_ > 1.5 * exact.noise_variance_


# Working responses, against integrals


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_working_responses_are_ratios_of_expected_derivatives(family):
    from skglmm.engine.pointwise import working

    y, trials = np.array([0.0, 3.0]), np.array([4.0, 5.0])
    mean, variance = np.array([-0.5, 1.2]), np.array([0.3, 1.4])
    _, step, weight = working(_families.FAMILIES[family], y, trials, mean, variance)
    for i in range(2):

        def expected(function, i=i):
            sd = np.sqrt(variance[i])
            return quad(
                lambda e: function(e) * norm.pdf(e, mean[i], sd),
                mean[i] - 10 * sd,
                mean[i] + 10 * sd,
            )[0]

        if family == "poisson":
            score, curvature = (
                expected(lambda e, i=i: y[i] - np.exp(e)),
                expected(np.exp),
            )
        else:
            score = expected(lambda e, i=i: y[i] - trials[i] * expit(e))
            curvature = expected(lambda e, i=i: trials[i] * expit(e) * expit(-e))
        assert_allclose([step[i], weight[i]], [score / curvature, curvature], rtol=1e-6)


def test_reweighted_lines_are_a_poisson_regression():
    X, y = problem("poisson", n=2000, n_groups=2000, curve=lambda v: 0.2 * v)
    X = X[["x0", "x1"]]
    with pytest.warns(UserWarning, match="no random effects"):
        model = MixedPoissonRegressor(fixed_effects=LinearRegression()).fit(X, y)
    glm = PoissonRegressor(alpha=0.0, tol=1e-8).fit(X, y)
    assert_allclose(model.linear_predictor(X), np.log(glm.predict(X)), atol=0.03)


@pytest.mark.parametrize(
    "family", ["poisson", pytest.param("logistic", marks=pytest.mark.slow)]
)
def test_a_network_without_hidden_layers_is_a_linear_model(family):
    X, y = problem(family, n=1500, n_groups=1500, curve=lambda v: 0.3 * v)
    X = X[["x0", "x1"]]
    part = NetworkPart(line, validation_fraction=0.0, learning_rate=0.02)
    with pytest.warns(UserWarning, match="no random effects"):
        model = FAMILIES[family](fixed_effects=part, random_state=0).fit(X, y)
    if family == "poisson":
        eta = np.log(PoissonRegressor(alpha=0.0, tol=1e-8).fit(X, y).predict(X))
    else:
        eta = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y).decision_function(X)
    assert_allclose(model.linear_predictor(X), eta, atol=0.04)


# What is estimated


@pytest.fixture(scope="module")
def curved():
    return problem(n=2000, n_groups=60)


@pytest.fixture(scope="module")
def fitted(curved):
    X, y = curved
    part = NetworkPart(network, **QUICK)
    model = MixedLinearRegressor("g", fixed_effects=part, random_state=0)
    return model.fit(X[["x0", "x1", "g"]], y)


def test_a_network_finds_the_curve_and_the_variances(curved, fitted):
    X, y = curved
    exact = MixedLinearRegressor("g", offset="f").fit(X[["f", "g"]], y)
    found = fitted.predict(X[["x0", "x1", "g"]], level="population")
    centred = [v - v.mean() for v in (found, X["f"])]
    assert np.sqrt(np.mean((centred[0] - centred[1]) ** 2)) < 0.15
    stds = [m.variance_components_["std"] for m in (fitted, exact)]
    assert_allclose(*stds, rtol=0.05)


def test_the_objective_falls_and_its_least_value_is_kept(fitted):
    history = fitted.history_["objective"]
    assert history.iloc[0] > history.min()
    assert_allclose(-2.0 * fitted.log_likelihood_, history.min())
    assert fitted.n_iter_ == len(history)


def test_effects_are_residuals_shrunk_by_the_two_variances(curved):
    X, y = curved
    model = MixedLinearRegressor("g", fixed_effects=KNOWN).fit(X[["f", "g"]], y)
    ratio = model.noise_variance_ / model.random_effects_covariance_["g"][0, 0]
    rest = (y - X["f"] - model.intercept_).groupby(X["g"])
    assert_allclose(
        model.random_effects_["g"]["Intercept"], rest.sum() / (rest.size() + ratio)
    )


def test_an_unseen_level_has_no_effect_and_the_prior_variance(curved, fitted):
    X = curved[0][["x0", "x1", "g"]].head(5)
    new = X.assign(g=-1)
    assert_array_equal(fitted.predict(new), fitted.predict(X, level="population"))
    _, std = fitted.linear_predictor(new, return_std=True)
    _, population = fitted.linear_predictor(X, level="population", return_std=True)
    assert_allclose(std, population)
    assert (std > fitted.linear_predictor(X, return_std=True)[1]).all()


def test_intervals_hold_new_responses(fitted):
    X, y = problem(n=3000, n_groups=1000, seed=1)
    bounds = fitted.predict_interval(
        X[["x0", "x1", "g"]], 0.8, level="population", of="response"
    )
    inside = (bounds[:, 0] <= y) & (y <= bounds[:, 1])
    assert 0.72 < inside.mean() < 0.88


def test_there_are_no_coefficients_and_the_error_says_why(fitted):
    assert not hasattr(fitted, "coef_")
    with pytest.raises(AttributeError, match="network of 'network' and has no coeff"):
        fitted.coef_  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'coeff_'"):
        fitted.coeff_  # noqa: B018
    assert fitted.fixed_effects_.index.tolist() == ["Intercept"]
    assert "Intercept" in str(fitted.summary())


def test_a_linear_fit_afterwards_has_coefficients(curved):
    X, y = curved[0][["x0", "x1", "g"]], curved[1]
    model = MixedLinearRegressor("g", fixed_effects=LinearRegression()).fit(X, y)
    model.set_params(fixed_effects=None).fit(X, y)
    again = MixedLinearRegressor("g").fit(X, y)
    assert_array_equal(model.coef_, again.coef_)
    assert_array_equal(model.predict(X), again.predict(X))


def test_one_seed_gives_one_model_and_leaves_other_generators_alone():
    X, y = problem(n=400)
    X, part = X[["x0", "x1", "g"]], NetworkPart(network, epochs=10, **TWO_TURNS)
    model = MixedLinearRegressor("g", fixed_effects=part, random_state=0).fit(X, y)
    assert model.n_iter_ == 2
    states = random.getstate(), np.random.get_state()[1].copy()
    again = clone(model).fit(X, y)
    assert random.getstate() == states[0]
    assert_array_equal(np.random.get_state()[1], states[1])
    assert_array_equal(again.predict(X), model.predict(X))
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert np.ptp(other.predict(X) - model.predict(X)) > 0.01


def test_rows_are_predicted_alike_alone_and_together(curved, fitted):
    X = curved[0][["x0", "x1", "g"]]
    together = fitted.predict(X)
    assert_allclose(fitted.predict(X[10:17]), together[10:17], rtol=1e-6, atol=1e-6)


def test_rows_of_seen_levels_update_them_relative_to_their_own_model():
    X, y = problem(n=900, n_groups=30)
    X, trees = X[["x0", "x1", "g"]], DecisionTreeRegressor(max_depth=5)
    model = MixedLinearRegressor("g", fixed_effects=trees, random_state=0)
    model.fit(X[:600], y[:600])
    of_level = 600 + np.flatnonzero(X["g"][600:] == 3)
    new, target = X.iloc[of_level], y[of_level]
    updated = model.update_random_effects(new, target)
    # the posterior of the fit is the prior of the update
    before = model.random_effects_["g"].loc[3, "Intercept"]
    variance = model.random_effects_std_["g"].loc[3, "Intercept"] ** 2
    rest = target - model.predict(new)
    gain = rest.sum() / (len(new) + model.noise_variance_ / variance)
    assert_allclose(updated.random_effects_["g"].loc[3, "Intercept"], before + gain)


def test_new_rows_update_the_effects(curved, fitted):
    X, y = curved[0][["x0", "x1", "g"]], curved[1]
    new = X.head(6).assign(g=1000)
    updated = fitted.update_random_effects(new, y[:6])
    ratio = fitted.noise_variance_ / fitted.random_effects_covariance_["g"][0, 0]
    rest = y[:6] - fitted.predict(new)
    assert_allclose(
        updated.random_effects_["g"].loc[1000].item(), rest.sum() / (6 + ratio)
    )


# Files, searches, tables


@pytest.mark.slow
def test_a_model_with_a_network_is_read_in_another_process(fitted, curved, tmp_path):
    from keras import Model

    X = curved[0][["x0", "x1", "g"]].head(4)
    text = pickle.dumps(fitted)
    assert b"keras.src" not in text
    assert not isinstance(fitted._fitted.part.networks[0], Model)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((fitted, X)))
    code = (
        "import pathlib, pickle, flexible_parts\n"
        "model, X = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print('tensorflow' in sys.modules)\n"
        "print(*model.predict(X).tolist(), sep='\\n')"
    )
    lines, _ = run_python(
        "import sys; sys.path.insert(0, sys.argv[2])\n" + code, path, *_here()
    )
    assert lines[0] == "False"
    assert_allclose(list(map(float, lines[1:])), fitted.predict(X), rtol=1e-6)


def test_trees_predict_without_tensorflow(curved, tmp_path):
    X, y = curved[0][["x0", "x1", "g"]], curved[1]
    trees = DecisionTreeRegressor(max_depth=4)
    model = MixedLinearRegressor("g", fixed_effects=trees, random_state=0).fit(X, y)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, X.head(3))))
    lines, loaded = run_python(
        "import pathlib, pickle\n"
        "model, X = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(*model.predict(X).tolist(), sep='\\n')",
        path,
    )
    assert list(map(float, lines)) == model.predict(X.head(3)).tolist()
    assert loaded == []


def _here():
    from pathlib import Path

    return (Path(__file__).parent,)


def test_hyperparameters_of_a_network_can_be_searched():
    X, y = problem(n=300)
    X = X[["x0", "x1", "g"]]
    part = NetworkPart(Network(), n_folds=2, max_iter=1, epochs=15, patience=3)
    model = MixedLinearRegressor("g", fixed_effects=part, random_state=0)
    grid = {"fixed_effects__build__units": [1, 16]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_params_ == {"fixed_effects__build__units": 16}
    weights = search.best_estimator_._fitted.part.networks[0][1]
    assert weights[0].shape == (2, 16)


def test_a_callable_with_parameters_is_searched_without_a_wrapper():
    model = MixedLinearRegressor("g", fixed_effects=Network())
    assert clone(model).set_params(fixed_effects__units=3).fixed_effects.units == 3


def test_depths_of_trees_are_searched_and_scored():
    X, y = problem(n=400)
    X = X[["x0", "x1", "g"]]
    trees = RegressorPart(DecisionTreeRegressor(random_state=0), tol=0.05)
    model = MixedLinearRegressor("g", fixed_effects=trees, random_state=0)
    grid = {"fixed_effects__regressor__max_depth": [1, 6]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_ == {"fixed_effects__regressor__max_depth": 6}
    linear = cross_val_score(MixedLinearRegressor("g"), X, y, cv=3).mean()
    assert search.best_score_ > linear


@pytest.mark.parametrize("as_frame", [True, False])
def test_trees_take_missing_values_where_their_regressor_does(as_frame):
    X, y = problem(n=300)
    X = X[["x0", "x1", "g"]]
    X.loc[::7, "x0"] = np.nan
    trees = DecisionTreeRegressor(max_depth=4)
    assert not get_tags(MixedLinearRegressor()).input_tags.allow_nan
    assert get_tags(MixedLinearRegressor(fixed_effects=trees)).input_tags.allow_nan
    data, groups = (X, "g") if as_frame else (X.to_numpy(), 2)
    model = MixedLinearRegressor(groups, fixed_effects=trees, random_state=0)
    assert np.isfinite(model.fit(data, y).predict(data)).all()
    with pytest.raises(
        ValueError, match="'?x?0'? .*missing in 43 of 300 rows|column 0"
    ):
        MixedLinearRegressor(groups, fixed_effects=network).fit(data, y)


def test_a_pipeline_is_given_the_columns_with_their_names_and_text():
    X, y = problem(n=400)
    kind = np.where(X["x0"] > 0, "up", "down")
    X = X[["x1", "g"]].assign(kind=kind)
    encode = make_column_transformer(
        (OneHotEncoder(), ["kind"]), ("passthrough", ["x1"])
    )
    pipeline = make_pipeline(encode, LinearRegression())
    model = MixedLinearRegressor("g", fixed_effects=pipeline, random_state=0).fit(X, y)
    numbers = X.assign(kind=(kind == "up").astype(float))
    linear = MixedLinearRegressor("g").fit(numbers, y)
    assert_allclose(model.predict(X), linear.predict(numbers), atol=0.1)


def test_a_pipeline_takes_the_weights_of_its_last_step():
    X, y = problem("poisson", n=400)
    X = X[["x0", "x1", "g"]]
    pipeline = make_pipeline(DecisionTreeRegressor(max_depth=3))
    alone = DecisionTreeRegressor(max_depth=3)
    parts = [
        RegressorPart(trees, n_repeats=1, **TWO_TURNS) for trees in (pipeline, alone)
    ]
    models = [
        MixedPoissonRegressor("g", fixed_effects=part, random_state=0).fit(X, y)
        for part in parts
    ]
    assert_array_equal(models[0].predict(X), models[1].predict(X))


# What cannot be a fixed part


def two_outputs(width):
    from keras import Sequential, layers

    return Sequential([layers.Input((width,)), layers.Dense(2)])


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (lambda width: "network", TypeError, "returned str for 1 inputs"),
        (two_outputs, ValueError, r"outputs of shape \(None, 2\)"),
        (LinearRegression, TypeError, "is the class LinearRegression"),
        (LogisticRegression(), TypeError, "is the classifier LogisticRegression"),
        (NetworkPart(network, n_folds=1), ValueError, "'n_folds'"),
        (3, ValueError, "'fixed_effects'"),
    ],
)
def test_what_cannot_be_a_fixed_part_is_refused(part, error, message):
    X, y = problem(n=60, n_groups=5)
    with pytest.raises(error, match=message):
        MixedLinearRegressor("g", fixed_effects=part).fit(X[["x0", "g"]], y)


def test_a_network_is_no_function_that_builds_one():
    X, y = problem(n=60, n_groups=5)
    with pytest.raises(TypeError, match="give a function"):
        MixedLinearRegressor("g", fixed_effects=network(1)).fit(X[["x0", "g"]], y)


def test_a_fixed_part_needs_a_column():
    X, y = problem(n=60, n_groups=5)
    model = MixedLinearRegressor("g", fixed_effects=LinearRegression())
    with pytest.raises(ValueError, match="a LinearRegression and has no column"):
        model.fit(X[["g"]], y)


def test_counts_need_a_regressor_with_weights():
    X, y = problem("poisson", n=60, n_groups=5)
    model = MixedPoissonRegressor("g", fixed_effects=KNeighborsRegressor())
    with pytest.raises(ValueError, match="KNeighborsRegressor, whose fit takes no"):
        model.fit(X[["x0", "g"]], y)


# The figures of the user guide, at full size


@pytest.mark.slow
@pytest.mark.parametrize("curve", ["surface", "line"])
def test_variances_at_20000_rows_and_500_groups(curve):
    rng = np.random.default_rng(0)
    n, J = 40_000, 500
    X = pd.DataFrame(rng.uniform(size=(n, 5))).add_prefix("x")
    if curve == "line":
        f = X["x0"] - 2.0 * X["x1"] + 1.5 * X["x3"]
    else:
        f = (
            2.0 * np.sin(np.pi * X["x0"] * X["x1"])
            + 4.0 * (X["x2"] - 0.5) ** 2
            + 2.0 * X["x3"]
            + X["x4"]
        )
    X["g"] = rng.integers(0, J, n)
    b = 0.7 * rng.standard_normal(J)
    y = np.asarray(f + b[X["g"]] + rng.standard_normal(n))
    half = n // 2
    model = MixedLinearRegressor("g", fixed_effects=network, random_state=0)
    model.fit(X[:half], y[:half])
    known = X[["g"]].assign(f=f)
    exact = MixedLinearRegressor("g", offset="f").fit(known[:half], y[:half])
    if curve == "line":
        exact = MixedLinearRegressor("g").fit(X[:half], y[:half])
    stds = [m.variance_components_["std"] for m in (model, exact)]
    assert_allclose(*stds, rtol=0.05)
    # 500 draws have a standard deviation of their own, known to 3 % beforehand
    drawn = [np.sqrt(np.mean(b**2)), 1.0]
    assert_allclose(stds[0], drawn, rtol=0.05)
    rest = np.bincount(X["g"][:half], (y - f)[:half], J)
    size = np.bincount(X["g"][:half], minlength=J)
    oracle = f + (rest / (size + 1.0 / 0.49))[X["g"]]
    errors = [
        np.sqrt(np.mean((y[half:] - p) ** 2))
        for p in (model.predict(X[half:]), oracle[half:])
    ]
    assert errors[0] < 1.05 * errors[1]
