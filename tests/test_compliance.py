"""scikit-learn's own checks, and its tools around the estimator."""

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI


@parametrize_with_checks([MixedLinearRegressor(), MixedLinearRegressor(groups=0)])
# The checks fit without groups, constant columns, and groups without variance: the
# model says so.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    return make_mixed_regression(200, 2, n_groups=10, n_random_slopes=1, random_state=4)


def test_a_search_reaches_the_parameters_of_model_and_solver(data):
    grid = {
        "reml": [True, False],
        "random_slopes": [None, ["x0"]],
        "solver__max_iter": [50, 100],
    }
    search = GridSearchCV(MixedLinearRegressor("g0", solver=VI()), grid).fit(*data)
    assert search.best_params_["random_slopes"] == ["x0"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_folds_by_group_predict_levels_that_were_not_seen(data):
    X, y = data
    model = MixedLinearRegressor("g0", random_slopes=["x0"])
    out_of_fold = cross_val_predict(
        model, X, y, groups=X["g0"], cv=GroupKFold(5), method="predict"
    )
    inside = model.fit(X, y)
    population = inside.predict(X, level="population")
    # the fixed effects of four fifths of the groups are close to those of all
    assert np.corrcoef(out_of_fold, population)[0, 1] > 0.95
    assert inside.score(X, y) > 1 - np.var(y - out_of_fold) / np.var(y)


def test_a_pipeline_keeps_the_group_column_in_a_dataframe(data):
    X, y = data
    scale = make_column_transformer(
        (StandardScaler(), ["x0", "x1"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(scale, MixedLinearRegressor("g0", random_slopes=["x0"]))
    pipe.fit(X, y)
    plain = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    np.testing.assert_allclose(pipe.predict(X), plain.predict(X), rtol=1e-4)
    named = scale.set_params(verbose_feature_names_out=True)
    with pytest.raises(ValueError, match="'remainder__g0' has it behind a ColumnTrans"):
        make_pipeline(named, MixedLinearRegressor("g0")).fit(X, y)


def test_the_group_column_can_be_permuted_like_any_other(data):
    X, y = data
    model = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    assert importance.importances_mean[2] > 0.1


def test_labels_that_are_numbers_may_be_numbers_of_any_type(data):
    X, y = data
    model = MixedLinearRegressor(2).fit(X.to_numpy(), y)
    for dtype in (np.float32, np.float64):
        np.testing.assert_allclose(
            model.predict(X.to_numpy().astype(dtype)), model.predict(X.to_numpy()), 1e-4
        )
