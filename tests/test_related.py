"""Factors whose levels are related in a known way, against dense algebra."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats

from skglmm import MixedLinearRegressor, MixedPoissonRegressor
from skglmm._covariances import Related, add, remove
from skglmm.solvers import Laplace

N, J = 160, 40


def kinship(n, seed=0):
    """Relationships of animals whose parents are earlier ones (Henderson's table)."""
    rng, a = np.random.default_rng(seed), np.eye(n)
    for i in range(8, n):
        s, d = rng.choice(i, 2, replace=False)
        a[i, :i] = a[:i, i] = 0.5 * (a[s, :i] + a[d, :i])
        a[i, i] = 1.0 + 0.5 * a[s, d]
    return a


A = kinship(J)
LABELS = np.array([f"a{i:02d}" for i in range(J)])


@pytest.fixture(autouse=True)
def related():
    shuffled = np.random.default_rng(5).permutation(J)
    add(Related("kin", LABELS[shuffled], A[np.ix_(shuffled, shuffled)]))
    yield
    remove("kin")


def table(family, *, slopes=False, herds=False, n=N, seed=1):
    rng = np.random.default_rng(seed)
    animal = rng.permutation(np.arange(n) % J)
    X = pd.DataFrame({"x": rng.normal(size=n), "animal": LABELS[animal]})
    X["herd"] = rng.integers(6, size=n)
    root = np.linalg.cholesky(A)
    b = root @ rng.normal(size=(J, 2)) * [0.9, 0.5]
    eta = 0.4 + 0.6 * X["x"].to_numpy() + b[animal, 0]
    if slopes:
        eta = eta + b[animal, 1] * X["x"].to_numpy()
    if herds:
        eta = eta + 0.5 * rng.normal(size=6)[X["herd"]]
    y = (
        eta + 0.7 * rng.normal(size=n)
        if family == "linear"
        else rng.poisson(np.exp(eta))
    )
    return X, y.astype(float), animal


def dense(X, animal, *, slopes=False, herds=False):
    """Fixed columns, and Z with the derivatives of its covariance's root."""
    fixed = np.column_stack([np.ones(len(X)), X["x"]])
    one = np.eye(J)[animal]
    z = [one, one * X["x"].to_numpy()[:, None]] if slopes else [one]
    herd = np.eye(6)[X["herd"]] if herds else None
    return fixed, z, herd


def covariance(z, herd, sigma, herd_variance=0.0):
    """Z G Z' for the covariance sigma (q, q) of the effects of an animal."""
    v = sum(
        sigma[i, k] * z[i] @ A @ z[k].T for i in range(len(z)) for k in range(len(z))
    )
    return v if herd is None else v + herd_variance * herd @ herd.T


def reml(fixed, y, v):
    """Restricted log-likelihood of y with the covariance v, and the coefficients."""
    solve = np.linalg.inv(v)
    xx = fixed.T @ solve @ fixed
    coef = np.linalg.solve(xx, fixed.T @ solve @ y)
    r = y - fixed @ coef
    n, p = fixed.shape
    terms = np.linalg.slogdet(v)[1] + np.linalg.slogdet(xx)[1] + r @ solve @ r
    return -0.5 * (terms + (n - p) * np.log(2 * np.pi)), coef


@pytest.mark.parametrize("slopes", [False, True])
@pytest.mark.parametrize("herds", [False, True])
def test_a_linear_model_is_that_of_dense_algebra(slopes, herds):
    X, y, animal = table("linear", slopes=slopes, herds=herds)
    groups = ["herd", "animal"] if herds else ["animal"]
    model = MixedLinearRegressor(
        groups,
        random_slopes={"animal": ["x"]} if slopes else None,
        covariance={"animal": "kin"},
    ).fit(X[["x", *groups]], y)
    fixed, z, herd = dense(X, animal, slopes=slopes, herds=herds)
    sigma = model.random_effects_covariance_["animal"]
    of_herds = model.random_effects_covariance_["herd"][0, 0] if herds else 0.0
    v = covariance(z, herd, sigma, of_herds) + model.noise_variance_ * np.eye(N)
    value, coef = reml(fixed, y, v)
    assert model.log_likelihood_ == pytest.approx(value, abs=1e-6)
    assert_allclose(np.r_[model.intercept_, model.coef_], coef, rtol=1e-7)

    # best predictions, and their covariances
    solve = np.linalg.inv(v)
    p = solve - solve @ fixed @ np.linalg.solve(
        fixed.T @ solve @ fixed, fixed.T @ solve
    )
    g = np.kron(sigma, A)
    side = g @ np.hstack(z).T
    effects = (side @ p @ y).reshape(-1, J).T
    found = model.random_effects_["animal"].loc[LABELS]
    assert_allclose(found, effects, atol=1e-6)
    known = np.diag(g - side @ solve @ side.T).reshape(-1, J).T
    assert_allclose(
        model.random_effects_std_["animal"].loc[LABELS] ** 2, known, rtol=1e-5
    )

    # nothing near is better
    def value_at(logs):
        root = np.linalg.cholesky(sigma + 1e-12 * np.eye(len(sigma)))
        scale = np.exp(logs)
        near = covariance(
            z, herd, root @ np.diag(scale[2:]) @ root.T, of_herds * scale[0]
        )
        return reml(fixed, y, near + model.noise_variance_ * scale[1] * np.eye(N))[0]

    for axis in np.eye(2 + len(sigma)):
        for step in (0.05, -0.05):
            assert value_at(step * axis) <= value + 1e-7


def test_one_row_an_animal_is_enough_where_animals_are_related():
    a = kinship(150, seed=2)
    labels = np.arange(150)
    add(Related("kin", labels, a))
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=150), np.linalg.cholesky(a) @ rng.normal(size=150)
    y = 1 + 0.5 * x + b + 0.7 * rng.normal(size=150)
    X = pd.DataFrame({"x": x, "animal": labels})
    model = MixedLinearRegressor("animal", covariance="kin", reml=False).fit(X, y)
    spread, axes = np.linalg.eigh(a)
    fixed, turned = axes.T @ np.column_stack([np.ones(150), x]), axes.T @ y

    def value(logs):
        v = np.exp(logs[0]) * spread + np.exp(logs[1])
        weighted = fixed.T / v
        coef = np.linalg.solve(weighted @ fixed, weighted @ turned)
        return -stats.norm.logpdf(turned, fixed @ coef, np.sqrt(v)).sum()

    best = optimize.minimize(value, [0.0, 0.0], method="Nelder-Mead")
    assert model.log_likelihood_ == pytest.approx(-best.fun, abs=1e-6)
    variances = model.random_effects_covariance_["animal"][0, 0], model.noise_variance_
    assert_allclose(variances, np.exp(best.x), rtol=1e-3)


@pytest.mark.parametrize("herds", [False, True])
def test_counts_by_laplace_are_those_of_dense_algebra(herds):
    X, y, animal = table("poisson", herds=herds)
    groups = ["herd", "animal"] if herds else ["animal"]
    model = MixedPoissonRegressor(
        groups, covariance={"animal": "kin"}, solver="laplace"
    ).fit(X[["x", *groups]], y)
    fixed, z, herd = dense(X, animal, herds=herds)
    z = z[0] if herd is None else np.hstack([z[0], herd])

    def value(parameters):
        coef, sd = parameters[:2], parameters[2:]
        root = np.linalg.cholesky(A) * sd[0]
        if herds:
            root = np.block(
                [[root, np.zeros((J, 6))], [np.zeros((6, J)), sd[1] * np.eye(6)]]
            )
        whole, u = z @ root, np.zeros(root.shape[1])
        for _ in range(60):
            mu = np.exp(fixed @ coef + whole @ u)
            hessian = whole.T @ (mu[:, None] * whole) + np.eye(len(u))
            u = u + np.linalg.solve(hessian, whole.T @ (y - mu) - u)
        eta = fixed @ coef + whole @ u
        log_density = stats.poisson.logpmf(y, np.exp(eta)).sum() - 0.5 * u @ u
        hessian = whole.T @ (np.exp(eta)[:, None] * whole) + np.eye(len(u))
        return log_density - 0.5 * np.linalg.slogdet(hessian)[1], root @ u

    sd = [np.sqrt(model.random_effects_covariance_[g][0, 0]) for g in groups[::-1]]
    at = np.r_[model.intercept_, model.coef_, sd]
    best, effects = value(at)
    assert model.log_likelihood_ == pytest.approx(best, abs=1e-5)
    found = model.random_effects_["animal"].loc[LABELS].to_numpy()[:, 0]
    assert_allclose(found, effects[:J], atol=1e-5)
    for axis in np.eye(len(at)):
        for step in (1e-2, -1e-2):
            assert value(at + step * axis)[0] < best + 1e-7


def test_vi_is_close_to_laplace_where_counts_are_large():
    X, y, animal = table("poisson")
    b = np.linalg.cholesky(A) @ np.random.default_rng(3).normal(size=J)
    mean = np.exp(3.0 + 0.3 * X["x"].to_numpy() + 0.8 * b[animal])
    y = np.random.default_rng(4).poisson(mean).astype(float)
    fits = [
        MixedPoissonRegressor("animal", covariance="kin", solver=solver).fit(
            X[["x", "animal"]], y
        )
        for solver in ("vi", "laplace")
    ]
    assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-3)
    a, b = (m.random_effects_covariance_["animal"][0, 0] for m in fits)
    assert a == pytest.approx(b, rel=0.02)
    rows = X[["x", "animal"]].iloc[:8]
    assert_allclose(fits[0].predict(rows), fits[1].predict(rows), rtol=2e-2)


def test_the_identity_is_a_factor_of_unrelated_levels():
    X, y, _ = table("poisson", slopes=True)
    add(Related("alone", LABELS, np.eye(J)))
    try:
        plain, alone = (
            MixedPoissonRegressor(
                "animal", random_slopes=["x"], covariance=kind, solver="vi"
            ).fit(X[["x", "animal"]], y)
            for kind in ("full", "alone")
        )
    finally:
        remove("alone")
    assert_allclose(alone.coef_, plain.coef_, rtol=1e-5)
    assert_allclose(
        alone.random_effects_covariance_["animal"],
        plain.random_effects_covariance_["animal"],
        rtol=1e-4,
    )
    assert_allclose(
        alone.random_effects_["animal"], plain.random_effects_["animal"], atol=1e-5
    )


def test_a_level_without_relationship_is_named():
    X, y, _ = table("linear")
    X.loc[3, "animal"] = "stranger"
    model = MixedLinearRegressor("animal", covariance="kin")
    with pytest.raises(ValueError, match=r"no relationship of the level 'stranger'"):
        model.fit(X[["x", "animal"]], y)


@pytest.mark.parametrize("solver", [Laplace(n_quadrature=5), "mcem"])
def test_what_goes_level_by_level_is_refused(solver):
    X, y, _ = table("poisson")
    model = MixedPoissonRegressor("animal", covariance="kin", solver=solver)
    with pytest.raises(ValueError, match="levels of a factor are related"):
        model.fit(X[["x", "animal"]], y)


def test_mackay_ends_where_the_likelihood_does():
    X, y, _ = table("linear")
    fits = [
        MixedLinearRegressor("animal", covariance="kin", solver=solver).fit(
            X[["x", "animal"]], y
        )
        for solver in ("vi", "mackay")
    ]
    assert fits[0].log_likelihood_ == pytest.approx(fits[1].log_likelihood_, abs=1e-6)
