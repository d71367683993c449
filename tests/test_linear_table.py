"""The table of a linear model's rows, and the maps to working coordinates."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_coding import user_columns

import skglmm._problem.working
from skglmm import MixedLinearRegressor
from skglmm._problem.sums import centred, of_coded
from skglmm.datasets import load_sleepstudy

COVARIANCES = ["full", "diag", "scalar"]
PLACES = {
    "as they are": lambda x: x,
    "other units": lambda x: x * [1e9, 1.0, 1e-9],
    "far from zero": lambda x: x + 1e6,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def weight(rng):
    return rng.integers(1, 4, 60).astype(float)


@pytest.fixture
def y(rng):
    return rng.normal(size=60) + 30.0


def least_squares(D, y, weight):
    root = np.sqrt(weight)
    scale = np.linalg.norm(D, axis=0)
    return np.linalg.lstsq(root[:, None] * D / scale, root * y, rcond=None)[0] / scale


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("columns", PLACES.values(), ids=PLACES)
def test_the_border_is_orthonormal_and_free_of_least_squares(
    columns, fit_intercept, rng, weight, y
):
    X = columns(rng.normal(size=(60, 3)))
    if not fit_intercept and np.mean(X) > 1e3:
        # three columns that are nearly the same lose digits
        assert centred(X, X.shape[1], y, weight, fit_intercept, [])[0] is None
        return
    table, coding, origin, *_ = centred(X, X.shape[1], y, weight, fit_intercept, [])
    border, D = table.values @ table.border, user_columns(X, fit_intercept)
    W, total = border[:, :-1], weight.sum()
    unit = np.eye(3 + fit_intercept)
    # means of numbers about 1e6 are known to 1e-10
    close = 1e-9 if np.mean(X) > 1e5 else 1e-12
    assert_allclose(W.T @ (weight[:, None] * W) / total, unit, atol=close)
    beta = least_squares(D, y, weight)
    assert_allclose(coding.transform @ origin, beta, rtol=1e-8)
    assert_allclose(border[:, -1], y - D @ beta, atol=1e-8)
    assert_allclose(W, D @ coding.transform, atol=1e-8)
    assert_allclose(table.coded_gram, border.T @ (weight[:, None] * border), atol=1e-9)
    assert_allclose(table.fixed_mean, weight @ W / total, atol=close)
    assert table.mean_square == pytest.approx(weight @ border[:, -1] ** 2 / total)
    assert table.total == total


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", COVARIANCES)
def test_random_columns_are_the_users_times_their_recoding(
    kind, intercept, fit_intercept, rng, weight, y
):
    X = rng.normal(size=(60, 3)) + [0.0, 5.0, -3.0]
    slopes = [([2, 0], intercept, kind), ([], True, "full")]
    table, _, _, recodings, squares = centred(
        X, X.shape[1], y, weight, fit_intercept, slopes
    )
    z = X[:, [2, 0]]
    z = np.column_stack([np.ones(60), z]) if intercept else z
    values = table.values @ table.z[0]
    assert_allclose(values, z @ recodings[0], atol=1e-10)
    gram = values.T @ (weight[:, None] * values) / weight.sum()
    assert_allclose(squares[0], gram, atol=1e-12)
    wanted = {
        "full": np.eye(len(gram)),
        "diag": np.where(np.eye(len(gram)) > 0, 1.0, gram),
        "scalar": gram / np.mean(np.diag(gram)),
    }
    assert_allclose(gram, wanted[kind], atol=1e-10)
    assert_array_equal(table.values @ table.z[1], 1.0)
    assert_array_equal(recodings[1], 1.0)


def test_a_constant_column_is_left_out(rng, weight, y):
    X = np.column_stack([rng.normal(size=60), np.full(60, 1e3 / 3)])
    table, coding, *_ = centred(X, X.shape[1], y, weight, True, [])
    assert_array_equal(coding.aliased, [False, False, True])
    assert table.border.shape == (4, 3)
    assert_array_equal(coding.transform[2], 0.0)


def test_sums_that_would_lose_digits_are_refused(rng, weight, y):
    x = rng.normal(size=(60, 2))
    near = np.column_stack([x[:, 0], x[:, 0] + 1e-4 * x[:, 1]])
    alike, linear = np.column_stack([x, x[:, 0]]), x[:, 0] + 1e-4 * y
    both = [([0, 1], True, "full")]
    assert centred(x, x.shape[1], y, weight, True, both)[0] is not None
    for X, target, slopes in (
        (near, y, []),  # nearly collinear
        (alike, y, []),  # collinear
        (x, linear, []),  # a target that the columns explain
        (x, np.full(60, 3.0), []),  # a constant one
        (x * [1.0, 0.0], y, both),  # a slope without a column
    ):
        assert centred(X, X.shape[1], target, weight, True, slopes) == (None,) * 5


@pytest.mark.parametrize("n_columns", [3, 40])
def test_many_rows_are_worked_on_in_blocks(n_columns, rng):
    X = rng.normal(size=(90_000, n_columns)) + 2.0
    y = rng.normal(size=90_000)
    weight = np.ones(90_000)
    table = centred(X, X.shape[1], y, weight, True, [])[0]
    away = np.column_stack([weight, X - X.mean(0), y - y.mean()])
    assert_allclose(table.values, away, atol=1e-12)
    assert_allclose(table.gram, away.T @ away, atol=1e-6)


def test_columns_that_are_coded_stay_as_they_are(rng, weight):
    border, z = rng.normal(size=(60, 3)), [None, rng.normal(size=(60, 2))]
    table = of_coded(border, z, weight)
    assert_array_equal(table.values @ table.border, border)
    assert_array_equal(table.values @ table.z[0], 1.0)
    assert_array_equal(table.values @ table.z[1], z[1])
    assert_allclose(table.coded_gram, border.T @ (weight[:, None] * border))


def test_rows_that_are_coded_first_give_lme4s_estimates_as_well(monkeypatch):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    monkeypatch.setattr(skglmm._problem.working, "centred", lambda *_: (None,) * 5)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    assert model.log_likelihood_ == pytest.approx(-1743.6283 / 2, abs=1e-4)
    sigma = model.random_effects_covariance_["Subject"]
    assert_allclose(sigma, [[612.10, 9.6044], [9.6044, 35.0717]], rtol=1e-4)
    assert model.noise_variance_ == pytest.approx(654.94, rel=1e-4)
