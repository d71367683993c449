"""Working coordinates: well scaled, and one linear map away from the user's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skglmm._problem.coding import code_fixed, code_random

COVARIANCES = ("full", "diag", "scalar")


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def weight(rng):
    return rng.integers(1, 4, 50).astype(float)


def user_columns(X, fit_intercept):
    return np.column_stack([np.ones((len(X), int(fit_intercept))), X])


HARD = {
    "ordinary": lambda x: x,
    "nanometres beside light years": lambda x: x * [1e-9, 1.0, 1e15],
    "years": lambda x: x + [2000.0, 0.0, 2000.0],
    "far from zero": lambda x: x + 1e6,
    "nearly collinear": lambda x: x + x[:, :1] * [0.0, 1e4, -1e4],
}


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("columns", HARD.values(), ids=HARD)
def test_working_columns_are_orthonormal_under_the_weights(
    columns, fit_intercept, rng, weight
):
    X = columns(rng.normal(size=(50, 3)))
    border, coding = code_fixed(X, weight, fit_intercept)
    assert not coding.aliased.any()
    W = border[:, :-1]
    assert W.shape == (50, 3 + fit_intercept)
    assert_allclose(
        W.T @ (weight[:, None] * W) / weight.sum(), np.eye(W.shape[1]), atol=1e-6
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("columns", HARD.values(), ids=HARD)
def test_they_span_what_the_users_columns_span(columns, fit_intercept, rng, weight):
    X = columns(rng.normal(size=(50, 3)))
    border, coding = code_fixed(X, weight, fit_intercept)
    D = user_columns(X, fit_intercept)
    cancellation = np.abs(D).max(0) @ np.abs(coding.transform)
    off = np.abs(D @ coding.transform - border[:, :-1])
    assert np.all(off < 1e-14 * len(X) * cancellation)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_volume_is_that_of_the_change_of_coordinates(fit_intercept, rng, weight):
    X = rng.normal(size=(50, 3)) * [1.0, 10.0, 1e3] + 5.0
    border, coding = code_fixed(X, weight, fit_intercept)
    D = user_columns(X, fit_intercept)
    theirs = np.linalg.slogdet(D.T @ (weight[:, None] * D))[1]
    W = border[:, :-1]
    ours = np.linalg.slogdet(W.T @ (weight[:, None] * W))[1]
    assert 2 * coding.log_volume == pytest.approx(ours - theirs)


def test_a_constant_column_is_aliased_with_the_intercept(rng, weight):
    X = np.column_stack([rng.normal(size=50), np.full(50, 1e3 / 3)])
    border, coding = code_fixed(X, weight, True)
    assert_array_equal(coding.aliased, [False, False, True])
    assert border.shape == (50, 3)
    assert_array_equal(coding.transform[2], 0.0)


def test_without_an_intercept_a_constant_column_is_one(rng, weight):
    X = np.column_stack([rng.normal(size=50), np.full(50, 3.0)])
    assert not code_fixed(X, weight, False)[1].aliased.any()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_of_dependent_columns_the_later_one_is_aliased(scale, rng, weight):
    x = rng.normal(size=(50, 2))
    X = np.column_stack([x, scale * (x[:, 0] - 2 * x[:, 1]) + 7.0, x[:, 0] ** 2])
    for fit_intercept, third in ((True, True), (False, False)):
        coding = code_fixed(X, weight, fit_intercept)[1]
        expected = [False] * fit_intercept + [False, False, third, False]
        assert_array_equal(coding.aliased, expected)


def test_more_columns_than_rows_leave_as_many_as_there_are_rows(rng):
    X = rng.normal(size=(5, 8))
    border, coding = code_fixed(X, np.ones(5), True)
    assert_array_equal(np.flatnonzero(coding.aliased), [5, 6, 7, 8])
    assert border.shape == (5, 6)


def test_no_columns_but_the_intercept(weight):
    border, coding = code_fixed(np.empty((50, 0)), weight, True)
    assert_array_equal(border[:, 0], 1.0)
    assert coding.transform.tolist() == [[1.0]]
    border, coding = code_fixed(np.empty((50, 0)), weight, False)
    assert border.shape == (50, 1)
    assert coding.log_volume == 0.0


# Random columns


@pytest.mark.parametrize("kind", COVARIANCES)
def test_a_random_column_in_other_units_gives_the_same_working_column(
    kind, rng, weight
):
    z = np.column_stack([np.ones(50), rng.normal(size=(50, 2))])
    units = np.array([1.0, 1e6, 1e-6]) if kind != "scalar" else np.full(3, 1e6)
    ours = z @ code_random(z, weight, kind)[0]
    theirs = (z * units) @ code_random(z * units, weight, kind)[0]
    assert_allclose(theirs, ours, rtol=1e-9)


def test_an_unrestricted_covariance_allows_orthonormal_columns(rng, weight):
    z = np.column_stack([np.ones(50), rng.normal(size=50) + 1e3])
    values = z @ code_random(z, weight, "full")[0]
    gram = values.T @ (weight[:, None] * values) / weight.sum()
    assert_allclose(gram, np.eye(2), atol=1e-8)


def test_uncorrelated_effects_stay_apart(rng, weight):
    z = rng.normal(size=(50, 3)) * [1.0, 1e3, 1e-3] + 2.0
    recoding, _ = code_random(z, weight, "diag")
    assert_array_equal(recoding, np.diag(np.diag(recoding)))
    mean_square = np.average((z @ recoding) ** 2, axis=0, weights=weight)
    assert_allclose(mean_square, 1.0)


def test_effects_of_one_variance_keep_their_common_scale(rng, weight):
    recoding, _ = code_random(
        rng.normal(size=(50, 3)) * [1.0, 5.0, 9.0], weight, "scalar"
    )
    assert_allclose(recoding, recoding[0, 0] * np.eye(3))


@pytest.mark.parametrize("kind", COVARIANCES)
def test_columns_that_carry_no_information_of_their_own_are_coded_all_the_same(
    kind, rng, weight
):
    x = rng.normal(size=50)
    for z in (np.column_stack([x, 2 * x]), np.column_stack([x, 0 * x])):
        recoding, _ = code_random(z, weight, kind)
        assert np.linalg.matrix_rank(recoding) == 2
