"""Counts and outcomes of large crossed designs: no dense core, the same numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skglmm import MixedLogisticRegressor, MixedPoissonRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI, _vi

ESTIMATORS = {"binomial": MixedLogisticRegressor, "poisson": MixedPoissonRegressor}


def std(model):
    return model.variance_components_["std"].to_numpy()


def crossed(family, n=5000, sizes=(500, 150), seed=0, slopes=0, power=False):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({f"x{k}": rng.normal(size=n) for k in range(2)})
    eta = -0.5 + 0.5 * X["x0"] - 0.3 * X["x1"]
    for r, size in enumerate(sizes):
        share = 1.0 / np.arange(1, size + 1) if power else np.ones(size)
        codes = rng.choice(size, n, p=share / share.sum())
        X[f"g{r}"] = codes
        eta += (0.8 - 0.2 * r) * rng.normal(size=size)[codes]
        if r < slopes:
            eta += 0.4 * rng.normal(size=size)[codes] * X["x0"]
    if family == "poisson":
        return X, rng.poisson(np.exp(eta))
    return X, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)


def factors(X):
    return [name for name in X if name.startswith("g")]


def fits(monkeypatch, family, X, y, **params):
    """With a dense core, without one, and without couplings at all."""
    model = ESTIMATORS[family](factors(X), random_state=0, **params)
    full, partial = (
        type(model)(**model.get_params(deep=False) | {"solver": VI(factorization=f)})
        for f in ("full", "partial")
    )
    full.fit(X, y)
    monkeypatch.setattr(_vi, "_GENERALIZED", -1.0)
    coupled = model.fit(X, y)
    monkeypatch.undo()
    return full, coupled, partial.fit(X, y)


def check(full, coupled, partial, rtol=3e-3):
    """The second order in the couplings is most of what partial posteriors lack."""
    assert coupled.converged_
    gap, lost = abs(std(coupled) - std(full)), abs(std(partial) - std(full))
    assert_allclose(std(coupled), std(full), rtol=rtol)
    assert (gap < 0.5 * lost + 1e-4 * std(full)).all()
    ours, theirs = coupled.fixed_effects_, full.fixed_effects_
    shift = abs(ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
    assert (shift < 0.03).all()
    assert_allclose(ours["std_error"], theirs["std_error"], rtol=1e-2)
    for name, effects in full.random_effects_.items():
        sd = full.random_effects_std_[name]
        shift = (coupled.random_effects_[name] - effects) / sd
        assert np.sqrt(np.mean(shift.to_numpy() ** 2)) < 0.03
        ratio = (coupled.random_effects_std_[name] / sd).to_numpy()
        assert 0.98 < np.median(ratio) < 1.001
        assert 0.92 < ratio.min() <= ratio.max() < 1.005
    assert coupled.log_likelihood_method_ == "laplace"
    error = coupled.mc_error_["log_likelihood"]
    assert 0.0 < error < 1.0
    assert abs(coupled.log_likelihood_ - full.log_likelihood_) < 4 * error + 0.05


@pytest.mark.parametrize(
    "family", [pytest.param("binomial", marks=pytest.mark.slow), "poisson"]
)
def test_estimates_are_those_of_the_full_posterior(monkeypatch, family):
    check(*fits(monkeypatch, family, *crossed(family)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ESTIMATORS)
def test_levels_of_very_different_sizes(monkeypatch, family):
    check(*fits(monkeypatch, family, *crossed(family, power=True)), rtol=5e-3)


@pytest.mark.slow
def test_slopes_and_a_small_factor(monkeypatch):
    X, y = crossed("poisson", sizes=(400, 120, 8), slopes=1, seed=1)
    slopes = {"g0": ["x0"]}
    check(*fits(monkeypatch, "poisson", X, y, random_slopes=slopes), rtol=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The variance of 'g2' is estimated as zero")
def test_a_variance_of_nothing(monkeypatch):
    X, y = crossed("poisson", n=3000, sizes=(300, 60), seed=3)
    X["g2"] = np.random.default_rng(4).integers(80, size=len(y))
    full, coupled, _ = fits(monkeypatch, "poisson", X, y)
    assert std(full)[2] < 0.1
    assert_allclose(std(coupled), std(full), rtol=5e-3, atol=1e-2)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(_vi, "_GENERALIZED", -1.0)
    return MixedPoissonRegressor(["g0", "g1"], random_state=0)


def test_weights_are_repeated_rows(model):
    X, y = crossed("poisson", n=3000, sizes=(300, 60))
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = std(model.fit(X, y, sample_weight=weight))
    value, coef = model.log_likelihood_, model.coef_
    repeated = model.fit(X.iloc[rows], y[rows])
    assert_allclose(weighted, std(repeated), rtol=1e-6)
    assert_allclose(coef, repeated.coef_, rtol=1e-6)
    assert value == pytest.approx(repeated.log_likelihood_, rel=1e-7)


def test_the_order_of_rows_and_of_factors_does_not_matter(model):
    X, y = crossed("poisson", n=3000, sizes=(300, 60))
    one = std(model.fit(X, y))
    rows = np.random.default_rng(0).permutation(len(y))
    model.set_params(groups=["g1", "g0"]).fit(X.iloc[rows], y[rows])
    assert_allclose(std(model)[::-1], one, rtol=1e-5)


def test_predictions_follow(monkeypatch, model):
    X, y = crossed("poisson", n=3000, sizes=(300, 60))
    new = X[:200].assign(g0=np.arange(200) + 200)
    full = MixedPoissonRegressor(["g0", "g1"]).fit(X, y)
    monkeypatch.setattr(_vi, "_GENERALIZED", -1.0)
    model = pickle.loads(pickle.dumps(model.fit(X, y)))
    (ours, sd), (theirs, other) = (
        m.predict(new, return_std=True) for m in (model, full)
    )
    assert_allclose(ours, theirs, rtol=1e-2)
    assert_allclose(sd, other, rtol=3e-2)
    assert_allclose(
        model.predict_interval(new, 0.9), full.predict_interval(new, 0.9), atol=1
    )


def test_a_fit_may_begin_at_an_earlier_one(model):
    X, y = crossed("poisson", n=3000, sizes=(300, 60))
    model.set_params(warm_start=True).fit(X, y)
    first, n_iter = std(model), model.n_iter_
    assert_allclose(std(model.fit(X, y)), first, rtol=1e-4)
    assert model.n_iter_ <= n_iter


def test_the_full_posterior_says_what_is_too_large(plan_limits):
    X, y = make_mixed_regression(800, 1, n_groups=(60, 40), random_state=0)
    y = np.abs(y).round()
    plan_limits(MAX_CORE=1)
    assert MixedPoissonRegressor(["g0", "g1"]).fit(X, y).converged_
    full = MixedPoissonRegressor(["g0", "g1"], solver=VI(factorization="full"))
    with pytest.raises(ValueError, match="solver='vi'"):
        full.fit(X, y)
