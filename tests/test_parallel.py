"""Threads and processes give the numbers of a loop, in all that scikit-learn offers."""

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)

from skglmm import MixedLinearRegressor, MixedLogisticRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI, Laplace

MODEL = MixedLinearRegressor("g0", solver=VI())
CLASSIFIER = MixedLogisticRegressor("g0", solver=VI())


@pytest.fixture(scope="module")
def data():
    return make_mixed_regression(
        240, 2, n_groups=10, n_random_slopes=1, group_std=2.0, random_state=0
    )


def grid_search(X, y):
    grid = {"random_slopes": [None, ["x0"]], "solver__tol": [1e-6, 1e-8]}
    return GridSearchCV(MODEL, grid, cv=3).fit(X, y).cv_results_["mean_test_score"]


def halving_search(X, y):
    grid = {"reml": [True, False], "solver__max_iter": [50, 60]}
    search = HalvingGridSearchCV(MODEL, grid, cv=3, random_state=0)
    return search.fit(X, y).predict(X)


def cross_validation(X, y):
    return cross_validate(MODEL, X, y, cv=3, scoring="r2")["test_score"]


def out_of_fold(X, y):
    return cross_val_predict(MODEL, X, y, cv=3)


def curve(X, y):
    return learning_curve(MODEL, X, y, train_sizes=[80, 160], cv=3)[2]


def importance(X, y):
    model = MixedLinearRegressor("g0").fit(X, y)
    return permutation_importance(
        model, X, y, n_repeats=4, random_state=0
    ).importances_mean


def stack(X, y):
    models = [("levels", MODEL), ("slopes", MixedLinearRegressor("g0", reml=False))]
    return StackingRegressor(models, LinearRegression(), cv=3).fit(X, y).predict(X)


def calibration(X, y):
    model = CalibratedClassifierCV(CLASSIFIER, cv=3)
    return model.fit(X, y > 0).predict_proba(X)[:, 1]


TOOLS = [
    grid_search,
    halving_search,
    cross_validation,
    out_of_fold,
    curve,
    importance,
    stack,
    calibration,
]


@pytest.mark.parametrize("tool", TOOLS)
def test_threads_change_no_number(tool, data):
    alone = tool(*data)
    with joblib.parallel_config("threading", n_jobs=3):
        together = tool(*data)
    assert np.isfinite(alone).all()
    assert together.tolist() == alone.tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_that_meet_a_structure_for_the_first_time_change_no_number(data):
    X, y = data
    X, y = X.assign(x2=X["x0"] * X["x1"]), y > 0
    grid = {"random_slopes": [["x0", "x1", "x2"]], "covariance": ["scalar"]}
    model = MixedLogisticRegressor("g0", solver=Laplace())
    search = GridSearchCV(model, grid, cv=2)
    with joblib.parallel_config("threading", n_jobs=2):
        together = search.fit(X, y).cv_results_["mean_test_score"]
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    assert together.tolist() == alone.tolist()


@pytest.mark.slow  # each process imports TensorFlow
def test_processes_change_no_number(data):
    alone = [tool(*data) for tool in TOOLS]
    with joblib.parallel_config("loky", n_jobs=2):
        together = [tool(*data) for tool in TOOLS]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
