"""Without a dense core a linear model is the same, to the error that it tells."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skglmm import MixedLinearRegressor, MixedPoissonRegressor
from skglmm.datasets import make_mixed_regression


def std(model):
    return model.variance_components_["std"].to_numpy()


def std_error_of(model):
    return model.mc_error_["variance_components"]["std"].to_numpy()


def crossed(n=4000, sizes=(300, 80), seed=0, slopes=0):
    X, y = make_mixed_regression(
        n,
        2,
        n_groups=sizes,
        group_std=tuple(0.9 - 0.2 * k for k in range(len(sizes))),
        n_random_slopes=slopes,
        slope_std=0.5,
        random_state=seed,
    )
    return X, np.asarray(y)


def both(plan_limits, X, y, model, **fit):
    """The same model with a dense core and without one."""
    dense = type(model)(**model.get_params(deep=False)).fit(X, y, **fit)
    before = plan_limits(MAX_CORE=1)
    sparse = type(model)(**model.get_params(deep=False)).fit(X, y, **fit)
    plan_limits(**before)
    assert sparse.sampling_["sampler"] == "probes"
    assert not hasattr(dense, "sampling_")
    return dense, sparse


def check(dense, sparse):
    assert sparse.converged_
    tol = 4 * std_error_of(sparse) + 1e-3 * std(dense)
    assert (abs(std(sparse) - std(dense)) < tol).all()
    ours, theirs = sparse.fixed_effects_, dense.fixed_effects_
    gap = abs(ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
    assert (gap < 0.02).all()
    assert_allclose(ours["std_error"], theirs["std_error"], rtol=2e-2)
    for name, effects in dense.random_effects_.items():
        sd = dense.random_effects_std_[name]
        gap = (sparse.random_effects_[name] - effects) / sd
        assert np.sqrt(np.mean(gap.to_numpy() ** 2)) < 0.03
        ratio = (sparse.random_effects_std_[name] / sd).to_numpy()
        # with twelve levels one common error is most of it
        assert abs(ratio.mean() - 1) < (0.02 if len(ratio) > 12 else 0.05)
        assert np.std(ratio) < 0.1
    error = sparse.mc_error_["log_likelihood"]
    assert abs(sparse.log_likelihood_ - dense.log_likelihood_) < 4 * error + 0.05
    assert error < 2


@pytest.mark.parametrize("reml", [True, False])
def test_two_crossed_factors(reml, plan_limits):
    X, y = crossed()
    model = MixedLinearRegressor(["g0", "g1"], reml=reml, random_state=0)
    check(*both(plan_limits, X, y, model))


def test_three_crossed_factors(plan_limits):
    X, y = crossed(5000, (300, 60, 12))
    model = MixedLinearRegressor(["g0", "g1", "g2"], random_state=0)
    check(*both(plan_limits, X, y, model))


@pytest.mark.parametrize("covariance", ["full", "diag", "scalar"])
def test_slopes(covariance, plan_limits):
    X, y = crossed(6000, (250, 50), slopes=1)
    model = MixedLinearRegressor(
        ["g0", "g1"],
        random_slopes={"g0": ["x0"]},
        covariance={"g0": covariance},
        random_state=0,
    )
    check(*both(plan_limits, X, y, model))


def test_nested_within_crossed(plan_limits):
    X, y = crossed(6000, (60, 50))
    rng = np.random.default_rng(1)
    X = X.assign(h=rng.integers(5, size=len(X)))
    cell = 5 * X["g0"].to_numpy() + X["h"].to_numpy()
    y = y + 0.5 * rng.normal(size=cell.max() + 1)[cell]
    model = MixedLinearRegressor(["g0", ("g0", "h"), "g1"], random_state=0)
    check(*both(plan_limits, X, y, model))


def test_weights_are_repeated_rows(plan_limits):
    X, y = crossed(3000, (200, 40))
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    model = MixedLinearRegressor(["g0", "g1"], random_state=0)
    rows = np.repeat(np.arange(len(y)), weight)
    plan_limits(MAX_CORE=1)
    ours = MixedLinearRegressor(["g0", "g1"], random_state=0).fit(X, y, weight)
    theirs = model.fit(X.iloc[rows], y[rows])
    assert_allclose(std(ours), std(theirs), rtol=1e-6)
    assert_allclose(ours.log_likelihood_, theirs.log_likelihood_, rtol=1e-7)


def test_levels_of_very_different_sizes(plan_limits):
    rng = np.random.default_rng(2)
    n = 8000
    share = 1.0 / np.arange(1, 401)
    a = rng.choice(400, n, p=share / share.sum())
    b = rng.choice(150, n, p=share[:150] / share[:150].sum())
    X = pd.DataFrame({"x": rng.normal(size=n), "a": a, "b": b})
    y = X["x"] + 0.8 * rng.normal(size=400)[a] + 0.5 * rng.normal(size=150)[b]
    y += rng.normal(size=n)
    model = MixedLinearRegressor(["a", "b"], random_state=0)
    check(*both(plan_limits, X, y, model))


def test_a_variance_of_nothing(plan_limits):
    X, y = crossed(3000, (200, 40))
    rng = np.random.default_rng(3)
    X = X.assign(noise=rng.integers(60, size=len(y)))
    model = MixedLinearRegressor(["g0", "g1", "noise"], random_state=0)
    dense, sparse = both(plan_limits, X, y, model)
    assert dense.variance_components_.loc[("noise", "Intercept"), "std"] < 0.1
    assert (abs(std(sparse) - std(dense)) < 4 * std_error_of(sparse) + 1e-3).all()


def test_random_states_scatter_as_the_error_says(plan_limits):
    X, y = crossed(2500, (300, 100))
    exact = std(MixedLinearRegressor(["g0", "g1"]).fit(X, y))
    plan_limits(MAX_CORE=1)
    fits = [
        MixedLinearRegressor(["g0", "g1"], random_state=state).fit(X, y)
        for state in range(12)
    ]
    found, errors = (np.array([f(m) for m in fits]) for f in (std, std_error_of))
    for k in range(2):
        scale = np.sqrt(np.mean(errors[:, k] ** 2))
        assert 0.4 < found[:, k].std(ddof=1) / scale < 2.0
        assert abs(found[:, k].mean() - exact[k]) < 3 * scale
    again = MixedLinearRegressor(["g0", "g1"], random_state=3).fit(X, y)
    assert_array_equal(std(again), found[3])


def test_a_fit_may_begin_at_an_earlier_one(plan_limits):
    X, y = crossed()
    plan_limits(MAX_CORE=1)
    model = MixedLinearRegressor(["g0", "g1"], warm_start=True, random_state=0)
    first = std(model.fit(X, y))
    tol = 6 * std_error_of(model)
    assert (abs(std(model.fit(X, y)) - first) <= tol + 1e-4).all()


def test_predictions_and_intervals_follow(plan_limits):
    X, y = crossed()
    new = X[:50].assign(g0=np.arange(50) + 290)
    model = MixedLinearRegressor(["g0", "g1"], random_state=0)
    dense, sparse = both(plan_limits, X, y, model)
    assert_allclose(sparse.predict(new), dense.predict(new), atol=5e-3)
    ours, theirs = (m.predict_interval(new, 0.9) for m in (sparse, dense))
    assert_allclose(ours, theirs, atol=0.03)


def test_other_models_say_what_is_too_large(plan_limits):
    X, y = crossed(800, (60, 40))
    plan_limits(MAX_CORE=1)
    with pytest.raises(ValueError, match="too large for this"):
        MixedPoissonRegressor(["g0", "g1"], solver="laplace").fit(X, np.abs(y).round())
    with pytest.raises(ValueError, match="solver='vi'"):
        MixedLinearRegressor(["g0", "g1"], solver="mackay").fit(X, y)


def test_the_determinant_has_as_many_lanczos_steps_as_it_needs(monkeypatch):
    from scipy import sparse
    from scipy.linalg import hadamard

    from skglmm.engine import iterative

    # levels in a ring: what one says of another fades slowly
    n, m = 256, 64
    first = np.repeat(np.arange(n), 2)
    second = (np.arange(2 * n) // 8 + np.tile([0, 1], n)) % m
    size = 2 * n
    Z = np.zeros((size, n + m))
    Z[np.arange(size), first] = Z[np.arange(size), n + second] = 1.0
    counts = Z.T @ Z
    own = [np.diag(part)[:, None, None] for part in (counts[:n, :n], counts[n:, n:])]
    system = iterative.System(
        own,
        {(0, 1): sparse.coo_matrix(counts[:n, n:])},
        np.zeros((n + m, 2)),
        np.eye(2),
        size,
        False,
    )
    t = 30.0 * np.eye(1)
    exact = np.linalg.slogdet(t**2 * counts + np.eye(n + m))[1]
    # signs that are orthogonal leave no Monte Carlo error
    signs = np.concatenate([np.zeros((n, m)), hadamard(m)])

    def off():
        found, error = system.log_det([t, t], signs)
        return abs(found - exact) / error

    assert off() < 0.001
    monkeypatch.setattr(iterative, "_MOST_STEPS", 8)
    assert off() > 0.01
