"""scikit-learn's own checks of models whose fixed part is a regressor."""

import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglmm import (
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    RegressorPart,
)

LINE = RegressorPart(LinearRegression(), n_folds=3, n_repeats=1, n_steps=2)
TREES = RegressorPart(HistGradientBoostingRegressor(max_iter=10), n_repeats=1)
KINDS = [MixedLinearRegressor, MixedPoissonRegressor, MixedLogisticRegressor]


def not_held(estimator):
    """Checks that cannot hold, and why."""
    trees = estimator.fixed_effects is TREES
    linear = isinstance(estimator, MixedLinearRegressor)
    checks = {}
    if not trees or (linear and estimator.groups is not None):
        # otherwise the check has too few rows for a tree to be split
        checks["check_sample_weight_equivalence_on_dense_data"] = (
            "folds are of rows, and a row of weight two is in one of them"
        )
    if trees and estimator.groups is not None:
        checks["check_estimators_pickle"] = (
            "trees take missing values, and the check has some in the group labels"
        )
    return checks


quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@parametrize_with_checks(
    [kind(fixed_effects=LINE) for kind in KINDS], expected_failed_checks=not_held
)
@quiet
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


@parametrize_with_checks(
    # three of six, the others take minutes
    [
        MixedLinearRegressor(fixed_effects=TREES),
        MixedLinearRegressor(0, fixed_effects=TREES),
        MixedPoissonRegressor(fixed_effects=TREES),
    ],
    expected_failed_checks=not_held,
)
@quiet
@pytest.mark.slow
def test_nor_with_trees(estimator, check):
    check(estimator)
