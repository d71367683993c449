"""The plan of a fit can be read before it is carried out."""

import numpy as np
import pandas as pd
import pytest

from skglmm import MixedLinearRegressor, show_plan
from skglmm.datasets import load_pastes, make_mixed_regression


def test_nested_factors_leave_nothing_dense():
    X, _ = load_pastes(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor(["batch", ("batch", "cask")])
    lines = show_plan(model, X).splitlines()
    assert lines[0] == (
        "eliminated level by level: 'batch:cask' (30 levels), 'batch' (10 levels)"
    )
    assert len(lines) == 2


def test_crossed_factors_leave_the_smaller_one():
    X, _ = make_mixed_regression(500, 1, n_groups=(40, 7), random_state=0)
    model = MixedLinearRegressor(["g0", "g1"], random_slopes={"g1": ["x0"]})
    lines = show_plan(model, X).splitlines()
    assert lines[0] == "eliminated level by level: 'g0' (40 levels)"
    assert lines[1] == (
        "dense: 'g1' (7 levels, 2 effects each), a matrix of 14 columns"
    )


def test_what_is_too_large_is_not_dense(plan_limits):
    plan_limits(MAX_CORE=5)
    X, _ = make_mixed_regression(500, 1, n_groups=(40, 7), random_state=0)
    text = show_plan(MixedLinearRegressor(["g0", "g1"]), X)
    assert "conjugate gradients, traces by random signs: 'g1' (7 levels)" in text
    assert "a dense matrix of 7 columns" in text


def test_a_dense_core_that_would_take_long_is_avoided():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.integers(9000, size=60_000)})
    X["b"] = rng.integers(5000, size=60_000)
    model = MixedLinearRegressor(["a", "b"])
    assert "conjugate gradients" in show_plan(model, X)


def test_groups_may_come_separately():
    X, _ = make_mixed_regression(100, 1, n_groups=5, random_state=0)
    text = show_plan(MixedLinearRegressor(), X[["x0"]], groups=X["g0"])
    assert "'g0' (5 levels)" in text
    assert show_plan(MixedLinearRegressor(), X[["x0"]]) == "no random effects"
    with pytest.raises(ValueError, match="missing"):
        show_plan(MixedLinearRegressor("g0"), X.assign(g0=None))
