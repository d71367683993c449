"""More than two classes: against quadrature over a level, dense Laplace and R."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression

from skglmm import MixedLogisticRegressor, inference
from skglmm.inspection import EffectsDisplay
from skglmm.solvers import VI, Laplace

J, M = 40, 12
LABELS = np.array(["a", "b", "c"])


def drawn(seed=0, n_levels=J, size=M):
    """Rows of three classes whose levels differ in the second and third."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(n_levels), size)
    x, b = rng.normal(size=len(level)), rng.normal(size=(n_levels, 2)) * [1.0, 0.6]
    eta = np.column_stack([0.0 * x, 0.3 + 0.8 * x, -0.2 - 0.5 * x])
    eta[:, 1:] += b[level]
    chosen = np.argmax(eta + rng.gumbel(size=eta.shape), axis=1)
    return pd.DataFrame({"x": x, "g": level}), LABELS[chosen]


X, Y = drawn()
CODES, LEVEL = np.searchsorted(LABELS, Y), X["g"].to_numpy()
COLUMNS = np.column_stack([np.ones(len(X)), X["x"]])


def parameters(model):
    """Fixed effects by class, and standard deviations."""
    fixed = np.column_stack([model.intercept_, model.coef_])
    return fixed, model.variance_components_["std"].to_numpy()


def by_quadrature(fixed, sd, n_nodes=41, rows=(X, Y)):
    """Log-likelihood, each level integrated over both of its effects."""
    table, y = rows
    codes, level = np.searchsorted(LABELS, y), table["g"].to_numpy()
    nodes, w = np.polynomial.hermite_e.hermegauss(n_nodes)
    points = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    log_w = np.log(np.outer(w, w).ravel() / w.sum() ** 2)
    columns = np.column_stack([np.ones(len(y)), table["x"]])
    eta = (columns @ fixed.T)[:, None, :] + points * sd
    eta = np.concatenate([np.zeros((*eta.shape[:2], 1)), eta], axis=2)
    log_p = eta[np.arange(len(y)), :, codes] - logsumexp(eta, axis=2)
    by_level = np.zeros((level.max() + 1, len(points)))
    np.add.at(by_level, level, log_p)
    return logsumexp(by_level + log_w, axis=1).sum()


def by_laplace(fixed, sd):
    """Laplace's approximation, level by level, by Newton's method."""
    total, eta0 = 0.0, COLUMNS @ fixed.T
    for j in range(J):
        rows, u = LEVEL == j, np.zeros(2)
        y = np.eye(3)[CODES[rows]]
        for _ in range(60):
            eta = np.column_stack([np.zeros(M), eta0[rows] + u * sd])
            p = softmax(eta, axis=1)
            weight = np.diag(p[:, 1:].sum(axis=0)) - p[:, 1:].T @ p[:, 1:]
            inner = np.outer(sd, sd) * weight + np.eye(2)
            u = u + np.linalg.solve(inner, (y - p)[:, 1:].sum(axis=0) * sd - u)
        total += np.log(p[y == 1.0]).sum() - 0.5 * u @ u
        total -= 0.5 * np.linalg.slogdet(inner)[1]
    return total


@pytest.fixture(scope="module")
def laplace():
    return MixedLogisticRegressor("g", solver="laplace").fit(X, Y)


@pytest.fixture(scope="module")
def vi():
    return MixedLogisticRegressor("g").fit(X, Y)


def around(function, fixed, sd):
    """Largest slope of a function of all parameters, in units of a step of .01."""
    at = np.concatenate([fixed.ravel(), sd])

    def value(point):
        return function(point[:4].reshape(2, 2), point[4:])

    steps = 0.01 * np.eye(len(at))
    return max(abs(value(at + s) - value(at - s)) / 2.0 for s in steps)


def test_laplace_is_the_multinomial_one_and_at_its_maximum(laplace):
    fixed, sd = parameters(laplace)
    assert_allclose(laplace.log_likelihood_, by_laplace(fixed, sd), atol=1e-6)
    assert around(by_laplace, fixed, sd) < 1e-4


def test_the_bound_is_close_to_the_likelihood_and_below_it(vi):
    exact = by_quadrature(*parameters(vi))
    assert exact - 0.5 < vi.elbo_ < exact


@pytest.mark.slow
def test_deviations_by_vi_are_near_those_by_quadrature():
    """With 20 rows a level; with 12 the second deviation is 4.6 % too small."""
    many, y = drawn(n_levels=60, size=20)
    model = MixedLogisticRegressor("g").fit(many, y)
    fixed, sd = parameters(model)
    found = minimize(
        lambda p: -by_quadrature(p[:4].reshape(2, 2), p[4:], 25, (many, y)),
        np.concatenate([fixed.ravel(), sd]),
        method="BFGS",
        options={"gtol": 1e-2},
    ).x
    assert_allclose(sd, found[4:], rtol=0.04)
    errors = model.fixed_effects_["std_error"].to_numpy()
    assert np.all(np.abs(fixed.ravel() - found[:4]) < 0.05 * errors)


@pytest.mark.parametrize("solver", ["vi", "laplace"])
def test_without_groups_it_is_the_model_of_scikit_learn(solver):
    model = MixedLogisticRegressor([], solver=solver).fit(X[["x"]], Y)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X[["x"]], Y)
    assert_allclose(model.coef_, other.coef_[1:] - other.coef_[0], rtol=1e-5)
    p = model.predict_proba(X[["x"]])
    assert_allclose(p, other.predict_proba(X[["x"]]), atol=1e-6)
    assert model.log_likelihood_method_ == "exact"
    log_p = np.log(p[np.arange(len(X)), CODES]).sum()
    assert_allclose(model.log_likelihood_, log_p, rtol=1e-7)


def test_a_weight_of_two_is_the_row_twice():
    weight = 1 + (np.arange(len(X)) % 3 == 0)
    again = np.repeat(np.arange(len(X)), weight)
    for solver in ("vi", "laplace"):
        model = MixedLogisticRegressor("g", solver=solver)
        twice = model.fit(X.iloc[again], Y[again])
        value, coef, bic = twice.log_likelihood_, twice.coef_, twice.bic_
        weighted = model.fit(X, Y, sample_weight=weight)
        assert_allclose(weighted.log_likelihood_, value, atol=1e-6)
        assert_allclose(weighted.coef_, coef, atol=1e-5)
        assert_allclose(weighted.bic_, bic, atol=1e-5)


def test_the_reference_does_not_matter_to_the_fixed_part():
    other = np.array([2, 0, 1])[CODES]
    p = MixedLogisticRegressor([]).fit(X[["x"]], Y).predict_proba(X[["x"]])
    q = MixedLogisticRegressor([]).fit(X[["x"]], other).predict_proba(X[["x"]])
    assert_allclose(q[:, [2, 0, 1]], p, atol=1e-7)


def test_probabilities_are_means_over_the_posterior(vi):
    rows, rng = X[:3], np.random.default_rng(1)
    mean = vi.linear_predictor(rows)
    covariance = vi._fitted.posteriors["g"][LEVEL[:3]]
    assert abs(covariance[0, 0, 1]) > 1e-3
    for i, p in enumerate(vi.predict_proba(rows)):
        eta = rng.multivariate_normal(mean[i], covariance[i], 200_000)
        sampled = softmax(np.column_stack([np.zeros(len(eta)), eta]), axis=1)
        assert_allclose(p, sampled.mean(axis=0), atol=3e-3)
    assert_allclose(vi.predict_proba(X).sum(axis=1), 1.0)
    best = vi.predict_proba(X).argmax(axis=1)
    assert np.array_equal(vi.predict(X), LABELS[best])
    assert np.array_equal(vi.decision_function(X).argmax(axis=1), best)


def test_intervals_and_samples_agree(vi):
    low, high = np.moveaxis(vi.predict_interval(X[:4], 0.9), -1, 0)
    p = vi.predict_proba(X[:4])
    assert np.all((low < p) & (p < high))
    samples = vi.sample_y(X[:4], 4000, random_state=0)
    share = np.stack([(samples == label).mean(axis=1) for label in LABELS], axis=1)
    assert_allclose(share, p, atol=0.05)


def test_levels_of_new_rows_are_what_a_fit_to_all_gives(laplace):
    known = LEVEL < 30
    model = MixedLogisticRegressor("g", solver="laplace").fit(X[known], Y[known])
    model = model.update_random_effects(X[~known], Y[~known])
    effects = model.random_effects_["g"]
    assert effects.shape == (J, 2)
    # the mode of a level alone, at the estimates of the fit
    fixed, sd = parameters(model)
    rows, u = LEVEL == 35, np.zeros(2)
    y = np.eye(3)[CODES[rows]]
    for _ in range(60):
        eta = COLUMNS[rows] @ fixed.T + u * sd
        p = softmax(np.column_stack([np.zeros(M), eta]), axis=1)
        weight = np.diag(p[:, 1:].sum(axis=0)) - p[:, 1:].T @ p[:, 1:]
        inner = np.outer(sd, sd) * weight + np.eye(2)
        u = u + np.linalg.solve(inner, (y - p)[:, 1:].sum(axis=0) * sd - u)
    assert_allclose(effects.loc[35], u * sd, atol=1e-5)


@pytest.mark.slow
def test_slopes_and_crossed_factors_have_sets_by_class():
    table = X.assign(h=np.arange(len(X)) % 7)
    model = MixedLogisticRegressor(
        ["g", "h"], random_slopes={"g": "x"}, covariance={"g": "diag"}
    )
    model.fit(table, Y)
    names = ["b: Intercept", "b: x", "c: Intercept", "c: x"]
    assert list(model.random_effects_["g"].columns) == names
    assert model.random_effects_["h"].shape == (7, 2)
    sigma = model.random_effects_covariance_["g"]
    assert_allclose(sigma, np.diag(np.diag(sigma)))
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_proba(table), model.predict_proba(table))
    full = MixedLogisticRegressor("g", random_slopes="x").fit(X, Y)
    assert np.all(full.random_effects_covariance_["g"][:2, 2:] == 0.0)
    assert full.log_likelihood_ > MixedLogisticRegressor("g").fit(X, Y).log_likelihood_


def test_five_classes():
    rng = np.random.default_rng(3)
    b = 1.5 * rng.normal(size=(J, 5))[LEVEL]
    y = np.argmax(b + rng.gumbel(size=b.shape), axis=1)
    model = MixedLogisticRegressor("g", solver="laplace").fit(X, y)
    assert model.predict_proba(X).shape == (len(X), 5)
    assert model.coef_.shape == (4, 1)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_what_goes_with_two_classes_only_says_so(vi):
    for solver in (VI(factorization="mean_field"), Laplace(n_quadrature=5), "mackay"):
        with pytest.raises(ValueError, match="is for two classes, and y has more"):
            MixedLogisticRegressor("g", solver=solver).fit(X, Y)
    with pytest.raises(ValueError, match="offset='x' goes with two only"):
        MixedLogisticRegressor("g", offset="x").fit(X, Y)
    with pytest.raises(ValueError, match="one for each of its 3 classes but the first"):
        inference.residuals(vi, X, Y)
    with pytest.raises(ValueError, match="EffectsDisplay is for models with one"):
        EffectsDisplay.from_estimator(vi, X, "x")
    with pytest.raises(ValueError, match=r"row 0, and fit has seen \['a', 'b', 'c'\]"):
        vi.update_random_effects(X[:2], ["d", "a"])


def test_one_class_in_each_level_has_no_maximum():
    y = LABELS[LEVEL % 3]
    with pytest.warns(match="the class is the same in all rows of each level of 'g'"):
        MixedLogisticRegressor("g").fit(X, y)


def test_glmmtmb_finds_the_same(laplace):
    """Poisson counts by class with a row effect of a standard deviation of e^7.

    glmmTMB(n ~ 0 + b + c + bx + cx + (0 + b | g) + (0 + c | g) + (1 | row), data =
    long, family = poisson, start = list(theta = c(0, 0, 7)), map = list(theta =
    factor(c(1, 2, NA)))), b and c being dummies of classes, bx and cx these times x.
    """
    found = laplace.fixed_effects_
    errors = [0.19101976, 0.13530211, 0.15368412, 0.13398960]
    estimates = [0.29048261, 0.66163087, -0.31008451, -0.38332438]
    assert_allclose(found["estimate"], estimates, atol=3e-5)
    assert_allclose(found["std_error"], errors, rtol=3e-4)
    std = laplace.variance_components_["std"]
    assert_allclose(std, [0.93726073, 0.42209303], rtol=2e-4)
    assert_allclose(laplace.log_likelihood_, -4308.68216044 + 8 * len(X), atol=2e-3)
