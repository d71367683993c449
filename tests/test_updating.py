"""Effects of new levels, and of old ones with new rows, at estimates that stay."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_sleepstudy, make_mixed_regression


def dense_posterior(model, name, X, y, z, level):
    """Mean and covariance of one level of a linear model from all its rows."""
    mine = (X[name] == level).to_numpy()
    sigma = model.random_effects_covariance_[name]
    fixed = model.linear_predictor(X[mine], level="population")
    precision = z[mine].T @ z[mine] / model.noise_variance_ + np.linalg.inv(sigma)
    covariance = np.linalg.inv(precision)
    return covariance @ z[mine].T @ (
        y[mine] - fixed
    ) / model.noise_variance_, covariance


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return X.assign(Subject=X["Subject"].astype(str)), y.to_numpy()


def test_new_and_known_levels_are_what_all_rows_say(sleep):
    X, y = sleep
    later = (X["Days"] > 6).to_numpy()
    new = X["Subject"].isin(["371", "372"]).to_numpy()
    first = ~later & ~new
    model = MixedLinearRegressor("Subject", random_slopes=["Days"])
    model.fit(X[first], y[first])
    before = model.random_effects_["Subject"].copy()
    updated = model.update_random_effects(X[~first], y[~first])
    z = np.column_stack([np.ones(len(X)), X["Days"]])
    for level in X["Subject"].unique():
        mean, covariance = dense_posterior(model, "Subject", X, y, z, level)
        assert_allclose(updated.random_effects_["Subject"].loc[level], mean, rtol=1e-6)
        assert_allclose(
            updated.random_effects_std_["Subject"].loc[level],
            np.sqrt(np.diag(covariance)),
            rtol=1e-6,
        )
    assert list(updated.random_effects_["Subject"].index[-2:]) == ["371", "372"]
    # nothing else has changed, in either model
    assert_array_equal(model.random_effects_["Subject"], before)
    assert_array_equal(updated.coef_, model.coef_)
    assert updated.noise_variance_ == model.noise_variance_


def test_rows_in_portions_are_rows_at_once(sleep):
    X, y = sleep
    days = X["Days"].to_numpy()
    model = MixedLinearRegressor("Subject", random_slopes=["Days"])
    model.fit(X[days < 4], y[days < 4])
    steps = model
    for day in range(4, 10):
        steps = steps.update_random_effects(X[days == day], y[days == day])
    once = model.update_random_effects(X[days >= 4], y[days >= 4])
    for ours, theirs in (
        (steps.random_effects_, once.random_effects_),
        (steps.random_effects_std_, once.random_effects_std_),
    ):
        assert_allclose(ours["Subject"], theirs["Subject"], rtol=1e-7, atol=1e-9)


def test_prediction_uses_the_new_effects(sleep):
    X, y = sleep
    new = (X["Subject"] == "372").to_numpy()
    early = new & (X["Days"] < 6).to_numpy()
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(
        X[~new], y[~new]
    )
    updated = model.update_random_effects(X[early], y[early])
    late = new & ~early
    errors = [np.mean((m.predict(X[late]) - y[late]) ** 2) for m in (model, updated)]
    assert errors[1] < 0.5 * errors[0]
    std = [m.predict(X[late], return_std=True)[1] for m in (model, updated)]
    assert (std[1] < std[0]).all()
    assert_allclose(updated.predict(X[~new]), model.predict(X[~new]))


def test_new_levels_of_crossed_factors_with_known_ones():
    X, y = make_mixed_regression(
        800, 1, n_groups=(40, 15), group_std=(1.0, 0.7), random_state=1
    )
    y = y.to_numpy() if hasattr(y, "to_numpy") else y
    new = (X["g0"] >= 35).to_numpy()
    model = MixedLinearRegressor(["g0", "g1"]).fit(X[~new], y[~new])
    updated = model.update_random_effects(X[new], y[new])
    rows, target = X[new], y[new]
    fixed = model.linear_predictor(rows, level="population")
    a = np.sort(rows["g0"].unique())
    b = np.asarray(model.random_effects_["g1"].index)
    Z = np.hstack([rows[["g0"]].to_numpy() == a, rows[["g1"]].to_numpy() == b])
    Z = Z.astype(float)
    prior_mean = np.r_[np.zeros(len(a)), model.random_effects_["g1"].to_numpy()[:, 0]]
    prior_var = np.r_[
        np.full(len(a), model.random_effects_covariance_["g0"][0, 0]),
        model.random_effects_std_["g1"].to_numpy()[:, 0] ** 2,
    ]
    precision = Z.T @ Z / model.noise_variance_ + np.diag(1 / prior_var)
    covariance = np.linalg.inv(precision)
    mean = covariance @ (
        Z.T @ (target - fixed) / model.noise_variance_ + prior_mean / prior_var
    )
    ours = updated.random_effects_
    assert_allclose(ours["g0"].loc[a, "Intercept"], mean[: len(a)], atol=1e-8)
    assert_allclose(ours["g1"].loc[b, "Intercept"], mean[len(a) :], atol=1e-8)
    sd = np.sqrt(np.diag(covariance))
    ours = updated.random_effects_std_
    assert_allclose(ours["g0"].loc[a, "Intercept"], sd[: len(a)], rtol=1e-7)
    assert_allclose(ours["g1"].loc[b, "Intercept"], sd[len(a) :], rtol=1e-7)


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
def test_new_levels_of_counts_and_outcomes(family):
    X, y = make_mixed_regression(
        600, 1, n_groups=40, group_std=0.8, family=family, random_state=3
    )
    y = np.asarray(y)
    new = (X["g0"] >= 36).to_numpy()
    kind = {"poisson": MixedPoissonRegressor, "bernoulli": MixedLogisticRegressor}
    x, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    for solver in ("vi", "laplace"):
        model = kind[family]("g0", solver=solver).fit(X[~new], y[~new])
        updated = model.update_random_effects(X[new], y[new])
        sigma = model.random_effects_covariance_["g0"][0, 0]
        for level in range(36, 40):
            mine = (X["g0"] == level).to_numpy()
            fixed = model.linear_predictor(X[mine], level="population")
            counts = (y[mine] == 1) if family == "bernoulli" else y[mine]

            def density(b, fixed=fixed, counts=counts, sigma=sigma):
                eta = fixed[:, None] + b
                rows = (
                    counts[:, None] * eta - np.exp(eta)
                    if family == "poisson"
                    else np.where(counts[:, None], log_expit(eta), log_expit(-eta))
                )
                return rows.sum(0) - 0.5 * b**2 / sigma

            mean = updated.random_effects_["g0"].loc[level, "Intercept"]
            sd = updated.random_effects_std_["g0"].loc[level, "Intercept"]
            if solver == "laplace":
                mode = minimize(lambda b: -density(b)[0], [0.0], tol=1e-12).x[0]
                eta = fixed + mode
                weight = (
                    np.exp(eta) if family == "poisson" else expit(eta) * expit(-eta)
                )
                assert_allclose(mean, mode, atol=1e-4)
                assert_allclose(sd, (weight.sum() + 1 / sigma) ** -0.5, rtol=1e-3)
                continue

            def bound(q, density=density):
                b = q[0] + np.exp(q[1]) * x
                return -(density(b) @ w + q[1])

            best = minimize(bound, [0.0, -1.0], tol=1e-12).x
            assert_allclose(mean, best[0], atol=1e-4)
            assert_allclose(sd, np.exp(best[1]), rtol=1e-3)


def test_proportions_exposures_and_weights_enter():
    rng = np.random.default_rng(0)
    X, _ = make_mixed_regression(300, 1, n_groups=20, random_state=0)
    X = X.assign(n=rng.integers(1, 9, 300).astype(float))
    eta = 0.3 * X["x0"] + rng.normal(size=20)[X["g0"]]
    y = rng.binomial(X["n"].astype(int), expit(eta)) / X["n"]
    y = (y * X["n"]).round().to_numpy()
    model = MixedBinomialRegressor("g0", trials="n").fit(X[:200], y[:200])
    weight = rng.integers(0, 3, 100)
    ours = model.update_random_effects(X[200:], y[200:], sample_weight=weight)
    rows = np.repeat(np.arange(200, 300), weight)
    theirs = model.update_random_effects(X.iloc[rows], y[rows])
    seen = X.iloc[rows]["g0"].unique()
    assert_allclose(
        ours.random_effects_["g0"].loc[seen],
        theirs.random_effects_["g0"].loc[seen],
        atol=1e-6,
    )
    assert not np.allclose(
        ours.random_effects_["g0"].loc[seen], model.random_effects_["g0"].loc[seen]
    )


def test_groups_that_came_with_fit_come_again(sleep):
    X, y = sleep
    new = (X["Subject"] == "372").to_numpy()
    days = X[["Days"]]
    model = MixedLinearRegressor().fit(days[~new], y[~new], groups=X["Subject"][~new])
    updated = model.update_random_effects(days[new], y[new], groups=X["Subject"][new])
    (name,) = updated.random_effects_
    assert updated.random_effects_[name].index[-1] == "372"
    with pytest.raises(ValueError, match="pass groups="):
        model.update_random_effects(days[new], y[new])


def test_what_cannot_be_updated_is_said(sleep):
    X, y = sleep
    plain = MixedLinearRegressor(groups=None)
    with pytest.warns(UserWarning, match="No groups"):
        plain.fit(X[["Days"]], y)
    with pytest.raises(ValueError, match="no random effects"):
        plain.update_random_effects(X[["Days"]], y)
    model = MixedLinearRegressor("Subject").fit(X, y)
    missing = X.assign(Subject=X["Subject"].where(X.index > 3))
    with pytest.raises(ValueError, match="missing"):
        model.update_random_effects(missing, y)
    with pytest.raises(ValueError, match="NaN"):
        model.update_random_effects(X, np.where(np.arange(len(y)) == 3, np.nan, y))
