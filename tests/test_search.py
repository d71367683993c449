"""Searches and cross-validation: every parameter, every way a group can arrive."""

import numpy as np
import pandas as pd
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    PredefinedSplit,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_sleepstudy, make_mixed_regression
from skglmm.solvers import VI, Laplace, MacKay


@pytest.fixture(scope="module")
def data():
    """Pupils in schools, with different slopes; classes that differ little."""
    return make_mixed_regression(
        240,
        2,
        n_groups=[12, 5],
        n_random_slopes=1,
        group_std=[2.0, 0.3],
        random_state=0,
    )


@pytest.fixture(scope="module")
def binary():
    return make_mixed_regression(
        240, 2, n_groups=12, family="bernoulli", group_std=2.0, random_state=0
    )


def scores_by_hand(model, X, y, cv, groups=None):
    scores = []
    for train, test in cv.split(X, y, groups):
        model.fit(X.iloc[train], y.iloc[train])
        scores.append(r2_score(y.iloc[test], model.predict(X.iloc[test])))
    return scores


# Scores are those of lme4 (oracles/cross_validation.R)

KNOWN = {
    "intercepts": [
        0.6412555670,
        0.5610351114,
        0.6087107657,
        0.7463703182,
        0.6961796295,
    ],
    "slopes": [0.7099850932, 0.6333900397, 0.6588082935, 0.8554388220, 0.7195679258],
}
# With the same days for each subject the slopes do not change the population's line.
NEW = [0.27179660215, 0.09091654181, -1.25895500115]
NEW += [0.12866405553, 0.48571021795, 0.38197277888]


@pytest.mark.parametrize("model", KNOWN)
def test_scores_of_known_and_of_new_subjects_are_those_of_lme4(model):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    slopes = ["Days"] if model == "slopes" else None
    estimator = MixedLinearRegressor("Subject", random_slopes=slopes)
    by_row = PredefinedSplit(np.arange(len(y)) % 5)
    known = cross_val_score(estimator, X, y, cv=by_row)
    np.testing.assert_allclose(known, KNOWN[model], rtol=1e-6)
    by_subject = PredefinedSplit(pd.factorize(X["Subject"])[0] % 6)
    new = cross_val_score(estimator, X, y, cv=by_subject)
    np.testing.assert_allclose(new, NEW, rtol=1e-6)


# Every parameter can be searched

LINEAR = MixedLinearRegressor("g0", solver=VI())
GRIDS = {
    "structure": {
        "groups": ["g0", ["g0", ("g0", "g1")]],
        "random_slopes": [None, {"g0": ["x0"]}],
    },
    "covariance": {
        "random_slopes": [["x0"]],
        "covariance": ["full", "diag", "scalar", {"g0": "diag"}],
        "random_intercepts": [True, {"g0": False}],
    },
    "solver": {"solver": ["vi", "laplace", VI(tol=1e-6), Laplace(), MacKay()]},
    "inside the solver": {"solver__tol": [1e-6, 1e-8], "solver__max_iter": [50, 99]},
    "the rest": {"reml": [True, False], "fit_intercept": [True, False]},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
# A slope alone, or no covariance between them, may be a bad description of the data.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_has_the_scores_of_its_models_fitted_one_by_one(grid, data):
    X, y = data
    cv = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(LINEAR, grid, cv=cv, error_score="raise").fit(X, y)
    for parameters, score in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        strict=True,
    ):
        model = MixedLinearRegressor("g0", solver=VI()).set_params(**parameters)
        by_hand = np.mean(scores_by_hand(model, X, y, cv))
        assert score == pytest.approx(by_hand, abs=1e-12)


def test_a_search_finds_the_slopes_that_are_there(data):
    grid = {"random_slopes": [None, ["x0"], ["x1"]]}
    search = GridSearchCV(LINEAR, grid).fit(*data)
    assert search.best_params_ == {"random_slopes": ["x0"]}
    assert list(search.best_estimator_.random_effects_["g0"]) == ["Intercept", "x0"]


def test_solvers_and_their_factorizations_can_be_searched_for_a_classifier(binary):
    model = MixedLogisticRegressor("g0", solver=VI())
    grid = [
        {"solver__factorization": ["full", "mean_field"], "solver__n_quadrature": [9]},
        {"solver": [Laplace(), "mackay"]},
    ]
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=3)
    search.fit(*binary)
    full, mean_field, *others = search.cv_results_["mean_test_score"]
    # All describe one posterior, and predictions of many rows a level hardly differ.
    np.testing.assert_allclose([mean_field, *others], full, atol=5e-3)
    alone = cross_val_score(model, *binary, scoring="neg_log_loss", cv=3)
    assert full == pytest.approx(alone.mean(), abs=1e-6)


def test_positions_may_be_integers_of_numpy(data):
    X, y = data
    search = GridSearchCV(MixedLinearRegressor(), {"groups": np.array([2, -2])}, cv=2)
    search.fit(X.to_numpy(), y)
    assert len(set(search.cv_results_["mean_test_score"])) == 1
    assert list(search.best_estimator_.random_effects_) == [2]
    at = {"groups": np.int64(2), "exposure": np.int64(1), "offset": np.int64(0)}
    MixedPoissonRegressor(**at)._validate_params()
    MixedBinomialRegressor(np.int64(2), trials=np.int64(1))._validate_params()


def test_an_unknown_solver_parameter_lists_the_valid_ones(data):
    search = GridSearchCV(LINEAR, {"solver__n_samples": [3]})
    with pytest.raises(ValueError, match=r"Invalid parameter 'n_samples'.*'factori"):
        search.fit(*data)


def test_a_solver_that_is_a_name_has_no_parameters_to_search(data):
    search = GridSearchCV(MixedLinearRegressor("g0"), {"solver__tol": [1e-8]})
    message = r"solver__tol cannot be set.* solver='vi' is a name .* write solver=VI"
    with pytest.raises(ValueError, match=message):
        search.fit(*data)
    grid = {"solver": [VI(), Laplace()], "solver__tol": [1e-8]}
    search.set_params(param_grid=grid).fit(*data)
    assert search.best_estimator_.solver_.tol == 1e-8


# With a third of the rows a slope that is not there has no variance.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_halving_over_rows_keeps_what_a_full_search_prefers(data):
    grid = {"random_slopes": [None, ["x0"], ["x1"]]}
    search = HalvingGridSearchCV(
        LINEAR, grid, min_resources=80, factor=2, random_state=0, cv=3
    ).fit(*data)
    assert search.best_params_ == {"random_slopes": ["x0"]}
    assert search.n_resources_ == [80, 160]


def test_a_random_search_draws_parameters_of_the_solver(data):
    draws = {"solver__max_iter": range(50, 60), "covariance": ["full", "diag"]}
    model = MixedLinearRegressor("g0", random_slopes=["x0"], solver=VI())
    search = RandomizedSearchCV(model, draws, n_iter=3, cv=2, random_state=0)
    search.fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.solver_.max_iter in range(50, 60)


# Curves, importances and predictions out of fold


def test_cross_validate_keeps_its_models_and_scores_them_by_name(data):
    X, y = data
    cv = GroupKFold(4)
    result = cross_validate(
        LINEAR,
        X,
        y,
        groups=X["g0"],
        cv=cv,
        scoring=["r2", "neg_mean_squared_error"],
        return_estimator=True,
    )
    expected = scores_by_hand(LINEAR, X, y, cv, X["g0"])
    np.testing.assert_allclose(result["test_r2"], expected, rtol=1e-12)
    for model, (train, _) in zip(
        result["estimator"], cv.split(X, y, X["g0"]), strict=True
    ):
        levels = set(model.random_effects_["g0"].index)
        assert levels == set(X["g0"].iloc[train])


def test_out_of_fold_predictions_of_new_groups_are_the_population_s(data):
    X, y = data
    cv = GroupKFold(4)
    out = cross_val_predict(LINEAR, X, y, groups=X["g0"], cv=cv)
    for train, test in cv.split(X, y, X["g0"]):
        model = LINEAR.fit(X.iloc[train], y.iloc[train])
        population = model.intercept_ + X[["x0", "x1", "g1"]].iloc[test] @ model.coef_
        np.testing.assert_allclose(out[test], population, rtol=1e-10)


def test_out_of_fold_probabilities_add_up_to_one(binary):
    model = MixedLogisticRegressor("g0")
    proba = cross_val_predict(model, *binary, cv=3, method="predict_proba")
    decision = cross_val_predict(model, *binary, cv=3, method="decision_function")
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.log(proba[:, 1] / proba[:, 0]), decision, rtol=1e-9)


def test_a_learning_curve_needs_two_levels_and_rises(data):
    X, y = data
    sizes, train, test = learning_curve(
        LINEAR, X, y, train_sizes=[40, 160], cv=3, shuffle=True, random_state=0
    )
    assert sizes.tolist() == [40, 160]
    assert np.isfinite(train).all()
    assert test[1].mean() > test[0].mean()


def test_a_validation_curve_runs_over_a_parameter_of_the_model(data):
    X, y = data
    slopes = [None, ["x0"]]
    _, test = validation_curve(
        LINEAR, X, y, param_name="random_slopes", param_range=slopes, cv=3
    )
    assert test[1].mean() > test[0].mean()


def test_the_importance_of_groups_is_what_their_permutation_costs(data):
    X, y = data
    model = MixedLinearRegressor("g0").fit(X, y)
    importance = permutation_importance(
        model, X, y, n_repeats=5, random_state=0, scoring="neg_mean_squared_error"
    )
    effects = model.random_effects_["g0"]["Intercept"].loc[X["g0"]].to_numpy()
    rest = y - model.predict(X, level="population")
    # A random pairing of effects b with what they explain costs 2 cov(b, y - Xb).
    expected = 2 * np.cov(effects, rest, bias=True)[0, 1]
    assert importance.importances_mean[2] == pytest.approx(expected, rel=0.1)
    assert abs(importance.importances_mean[3]) < 0.01 * expected


def test_exposures_travel_in_columns():
    X, y = make_mixed_regression(240, 2, n_groups=12, family="poisson", random_state=3)
    X = X.assign(hours=2.0)
    model = MixedPoissonRegressor("g0", exposure="hours")
    plain = cross_val_predict(
        MixedPoissonRegressor("g0"), X[["x0", "x1", "g0"]], y, cv=3
    )
    np.testing.assert_allclose(cross_val_predict(model, X, y, cv=3), plain, rtol=1e-4)
