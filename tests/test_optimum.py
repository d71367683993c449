"""A fit ends at a maximum of the likelihood, on the boundary or inside."""

import warnings
from pathlib import Path

import dense
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from skglmm import MixedLinearRegressor, MixedLogisticRegressor
from skglmm.datasets import make_mixed_regression

REML = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


def gain(model, X, y, slopes):
    """How much a dense search can add to the log-likelihood of a fit.

    It begins beside the fit's own covariances, and moves square factors, which have
    no direction in which a triangular one would be stationary by construction.
    """
    fixed = np.column_stack([np.ones(len(y)), X[model.coef_names_]])
    codes, z, roots = [], [], []
    for name, covariance in model.random_effects_covariance_.items():
        columns = slopes.get(name, [])
        codes.append(np.unique(X[name], return_inverse=True)[1])
        z.append(np.column_stack([np.ones(len(y)), X[columns]]))
        size = np.sqrt(np.mean(z[-1] ** 2, axis=0))
        z[-1] = z[-1] / size
        values, axes = np.linalg.eigh(np.outer(size, size) * covariance)
        sd = np.sqrt(np.maximum(values, 0.0) / model.noise_variance_)
        roots.append(axes * sd)
    problem = dense.Problem(fixed, y.to_numpy(), codes, z, np.ones(len(y), int))
    ends = np.cumsum([root.size for root in roots])[:-1]

    def objective(theta):
        parts = zip(np.split(theta, ends), roots, strict=True)
        factors = [part.reshape(root.shape) for part, root in parts]
        return dense.solve(problem, factors, model.reml)["objective"]

    start = np.concatenate([root.ravel() for root in roots])
    beside = start + 1e-3 * np.random.default_rng(0).normal(size=len(start))
    assert model.log_likelihood_ == pytest.approx(-objective(start) / 2, abs=1e-5)
    return (objective(start) - minimize(objective, beside, method="L-BFGS-B").fun) / 2


def fit(X, y, groups, slopes, reml):
    model = MixedLinearRegressor(groups, random_slopes=slopes, reml=reml)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a covariance may well be singular
        return model.fit(X, y)


@REML
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("n_groups", "slopes"),
    [([8], {}), ([8], {"g0": ["x0"]}), ([8, 6], {}), ([8, 6], {"g0": ["x0"]})],
    ids=["intercepts", "slopes", "crossed", "crossed with slopes"],
)
def test_no_other_covariance_has_a_higher_likelihood(n_groups, slopes, seed, reml):
    """With variances from clearly positive to none at all."""
    X, y = make_mixed_regression(
        50,
        1,
        n_groups=n_groups,
        n_random_slopes=len(slopes),
        group_std=[(0.0, 0.3, 2.0)[seed % 3]] * len(n_groups),
        slope_std=(0.0, 1.0)[seed % 2],
        random_state=seed,
    )
    X["x0"] += (0.0, 5.0)[seed // 4]
    model = fit(X, y, [f"g{k}" for k in range(len(n_groups))], slopes, reml)
    assert model.converged_
    assert gain(model, X, y, slopes) < 1e-3


@REML
def test_a_start_that_lands_on_the_boundary_does_not_end_there(reml):
    """The fixed point gives a variance of almost exactly zero at the third step."""
    X, y = make_mixed_regression(
        25,
        1,
        n_groups=[4],
        n_random_slopes=1,
        group_std=[0.5],
        slope_std=0.3,
        random_state=1152,
    )
    X["x0"] += 5.0
    slopes = {"g0": ["x0"]}
    model = fit(X, y, ["g0"], slopes, reml)
    assert gain(model, X, y, slopes) < 1e-3


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_effects_a_thousand_times_the_residual_are_found_at_once(seed):
    """Random slopes of a column far from zero make large intercepts at its mean."""
    X, y = make_mixed_regression(120, 1, n_groups=[12, 6], random_state=seed)
    X["x0"] += 300.0
    codes = np.unique(X["g0"], return_inverse=True)[1]
    slope = 3.0 * np.random.default_rng(seed).normal(size=12)
    model = fit(X, y + slope[codes] * X["x0"], ["g0", "g1"], {"g0": ["x0"]}, False)
    assert model.converged_
    assert model.n_iter_ < 20  # 26 to more than 100 from effects of the residual's size
    assert gain(model, X, y + slope[codes] * X["x0"], {"g0": ["x0"]}) < 1e-3


# Two maxima


def test_of_two_maxima_of_laplaces_approximation_the_higher_is_reported_and_doubted():
    """144 rows, 38 levels and 8 ones; the expected values are of 41 x 41 nodes."""
    data = pd.read_csv(Path(__file__).parent / "oracles" / "laplace_two_maxima.csv")
    model = MixedLogisticRegressor(
        "g", random_slopes=["x1"], covariance="diag", solver="laplace"
    )
    with pytest.warns(UserWarning, match=r"two maxima.*0\.32 log-likelihood units off"):
        model.fit(data[["x1", "x2", "g"]], data["y"])
    assert model.log_likelihood_ == pytest.approx(-27.544521, abs=1e-5)
    np.testing.assert_allclose(model.intercept_, [-3.81316], rtol=1e-4)
    np.testing.assert_allclose(model.coef_, [[0.118324, -6.43553]], rtol=1e-4)
    assert len(model.history_) == model.n_iter_
    # the quadrature that the warning quotes
    assert -27.864414 - model.log_likelihood_ == pytest.approx(-0.32, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["vi", "mackay", "mcem"])
@pytest.mark.parametrize("seed", [3, 12, 15])
def test_one_variance_for_effects_of_different_scales_is_the_best_of_all(seed, solver):
    """The likelihood has several maxima; a grid of the one parameter knows which."""
    random = np.random.default_rng(seed)
    n, n_levels = int(random.integers(60, 300)), int(random.integers(5, 20))
    g = random.integers(0, n_levels, n)
    scale = 10 ** random.uniform(-3, 3, 2)
    rows = pd.DataFrame(
        {
            "a": (random.normal(size=n) + random.choice([0, 5])) * scale[0],
            "b": random.normal(size=n) * scale[1],
            "g": g,
        }
    )
    u = random.normal(size=(n_levels, 3)) * 10 ** random.uniform(-1, 1, 3)
    z = np.column_stack([np.ones(n), rows["a"], rows["b"]])
    y = np.sum(u[g] * z / [1.0, *scale], axis=1) + random.normal(size=n)
    model = MixedLinearRegressor(
        "g",
        random_slopes=["a", "b"],
        covariance="scalar",
        solver=solver,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows, y)
    same = (g[:, None] == g) * (z @ z.T)

    def likelihood(ratio):
        """Of the contrasts, the residual variance at its best (a dense textbook)."""
        v = np.eye(n) + ratio * same
        inverse = np.linalg.inv(v)
        information = z.T @ inverse @ z
        residual = y - z @ np.linalg.solve(information, z.T @ inverse @ y)
        s2 = residual @ inverse @ residual / (n - 3)
        logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1]
        return -0.5 * (logs + (n - 3) * (np.log(2 * np.pi * s2) + 1))

    best = max(likelihood(10.0**k) for k in np.arange(-9, 9.1, 0.25))
    assert model.log_likelihood_ > best - 1e-2


@pytest.mark.parametrize("seed", [4, 15, 17, 46, 151])
def test_the_boundary_is_not_worse_than_the_maximum_beside_it(seed):
    """One slope, and a level that has nearly all rows: two maxima of one variance.

    Without the variance the model is ordinary least squares, a closed form.
    """
    random = np.random.default_rng(seed)
    g = np.r_[np.zeros(37, int), 1, 2, 3]
    x = random.normal(size=40)
    y = random.normal(size=40) + x * np.array([0, 3, 1, 2])[g] * random.normal()
    columns = np.column_stack([np.ones(40), x])
    left = y - columns @ np.linalg.lstsq(columns, y)[0]
    plain = -20 * (np.log(2 * np.pi * np.mean(left**2)) + 1)
    model = MixedLinearRegressor(
        "g", random_slopes="x", random_intercepts={"g": False}, reml=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(pd.DataFrame({"x": x, "g": g}), y)
    assert model.log_likelihood_ > plain - 1e-6
    assert len(model.history_) == model.n_iter_
