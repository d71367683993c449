"""Uncertainty of predictions: standard deviations, intervals and samples."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import quad
from scipy.linalg import block_diag
from scipy.special import betainc, expit, gammaincc

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._families import FAMILIES
from skglmm._families.mixed_counts import (
    Counts,
    Successes,
    distribution,
    logistic_moments,
)
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI

NEW = -1  # the label of a level that no fit has seen


# A solver whose covariances of fixed and random effects are checked


class Joint(VI):
    """VI, compared with the covariance of all effects from dense matrices."""

    def solve(self, problem):
        """Solution whose field ``cross`` is that of dense matrices."""
        solution = super().solve(problem)
        theirs = cross_covariance(problem, solution)
        for ours, dense in zip(solution.cross, theirs, strict=True):
            assert_allclose(ours, dense, atol=1e-3 * np.abs(dense).max())
        return solution


def columns(factor, z):
    """Z of one factor, level by level."""
    member = factor.codes[:, None] == np.arange(factor.n_levels)
    z = np.ones((len(member), 1)) if z is None else z
    return (member[:, :, None] * z[:, None, :]).reshape(len(member), -1)


def cross_covariance(problem, solution):
    """-(Z'WZ + Sigma^-1)^-1 Z'WX Cov(beta), cut into the levels of each factor."""
    factors = problem.design.factors
    (border, z), W = problem.rows(), problem.weight
    X = border[:, :-1]
    Z = np.hstack([columns(*part) for part in zip(factors, z, strict=True)])
    prior = block_diag(
        *[
            np.kron(np.eye(factor.n_levels), sigma)
            for factor, sigma in zip(factors, solution.covariances, strict=True)
        ]
    )
    blocks = [
        block for post in solution.posteriors for block in np.moveaxis(post, 2, 0)
    ]
    if problem.family.is_linear:
        W = W / solution.noise_variance
    else:
        b = np.concatenate([m.T.ravel() for m in solution.means])
        eta = X @ solution.coef + Z @ b
        variance = np.einsum("ij,jk,ik->i", Z, block_diag(*blocks), Z)
        if problem.family.name == "poisson":
            W = W * np.exp(eta + variance / 2)
        else:
            trials = 1.0 if problem.trials is None else problem.trials
            W = W * trials * logistic_moments(eta, variance)[1]
    V = np.linalg.solve(np.eye(len(prior)) + prior @ (Z.T * W) @ Z, prior)
    cross = -V @ (Z.T * W) @ X @ solution.coef_covariance
    out, at = [], 0
    for factor in factors:
        size, q = factor.size, factor.n_effects
        part = cross[at : at + size].reshape(factor.n_levels, q, -1)
        # if the posteriors are those of the solver, so are the weights
        here = [V[i : i + q, i : i + q] for i in range(at, at + size, q)]
        own = blocks[: factor.n_levels]
        del blocks[: factor.n_levels]
        assert_allclose(here, own, atol=1e-3 * np.abs(own).max())
        out.append(np.moveaxis(part, 0, -1))
        at += size
    return tuple(out)


# Data


def draw(kind, seed, n_groups=40, n_rows=12):
    """Training rows, new rows of their groups and rows of new groups.

    Each is a triple: columns, responses in the units of a prediction, and means.
    """
    rng = np.random.default_rng(seed)
    b = rng.normal(size=(2 * n_groups, 2)) * [0.7, 0.4]
    intercept = {"linear": 1.0, "poisson": 2.7, "binomial": -0.5, "logistic": -0.5}

    def rows(g):
        x = rng.normal(size=len(g))
        eta = intercept[kind] + 0.5 * x + b[g, 0] + b[g, 1] * x
        X = pd.DataFrame({"x": x, "g": g})
        if kind == "linear":
            return X, eta + 0.8 * rng.normal(size=len(g)), eta
        if kind == "poisson":
            return X, rng.poisson(np.exp(eta)), np.exp(eta)
        n = 60 if kind == "binomial" else 1
        if kind == "binomial":
            X["n"] = n
        return X, rng.binomial(n, expit(eta)) / n, expit(eta)

    old, new = np.arange(n_groups), np.arange(n_groups, 2 * n_groups)
    return (
        rows(np.repeat(old, n_rows)),
        rows(np.repeat(old, 4)),
        rows(np.repeat(new, 4)),
    )


def make(kind, **kwargs):
    models = {
        "linear": MixedLinearRegressor,
        "poisson": MixedPoissonRegressor,
        "binomial": MixedBinomialRegressor,
        "logistic": MixedLogisticRegressor,
    }
    if kind == "binomial":
        kwargs["trials"] = "n"
    return models[kind]("g", random_slopes=["x"], **kwargs)


def fit(kind, seed=0, labels=None, **kwargs):
    X, y, _ = draw(kind, seed)[0]
    if labels is not None:
        y = np.array(labels)[y.astype(int)]
    return X, make(kind, **kwargs).fit(X, np.rint(60 * y) if kind == "binomial" else y)


@pytest.fixture(scope="module")
def linear():
    return fit("linear")


@pytest.fixture(scope="module")
def counts():
    return fit("poisson")


@pytest.fixture(scope="module")
def proportions():
    return fit("binomial")


@pytest.fixture(scope="module")
def binary():
    return fit("logistic")


# How often they are right


@pytest.mark.parametrize("kind", ["linear", "poisson", "binomial", "logistic"])
def test_nine_of_ten_intervals_hold_what_they_are_for(kind):
    n_fits = 12
    # single trials say little about the variances, which intervals take as known
    size = {"n_groups": 150, "n_rows": 20} if kind == "logistic" else {}
    held = []
    for seed in range(n_fits):
        train, *others = draw(kind, seed, **size)
        X, y, _ = train
        model = make(kind, solver=Joint()).fit(
            X, np.rint(60 * y) if kind == "binomial" else y
        )
        shares = []
        for X, y, mean in others:
            for of, target in (("response", y), ("mean", mean)):
                if kind == "logistic" and of == "response":
                    continue
                low, high = model.predict_interval(X, 0.9, of=of).T
                shares.append(np.mean((low <= target) & (target <= high)))
        held.append(shares)
    held = np.mean(held, axis=0)
    assert (held > 0.86).all() and (held < 0.94).all()


# The linear model, against dense matrices


def henderson(X, Z, sigma2, prior):
    """Covariance of the errors of fixed and random effects together."""
    rows = np.hstack([X, Z])
    P = block_diag(np.zeros((X.shape[1],) * 2), prior)
    return sigma2 * np.linalg.inv(rows.T @ rows + sigma2 * P)


@pytest.mark.parametrize(
    ("shift", "unit", "covariance"),
    [(0, 1, "full"), (2000, 1, "full"), (0, 1e-9, "diag"), (0, 1e6, "full")],
)
def test_errors_of_all_effects_are_those_of_hendersons_equations(
    shift, unit, covariance
):
    """Whatever the unit and the origin of the column."""
    (X, y, _), _, (other, _, _) = draw("linear", 0)
    model = make("linear", solver=Joint(), covariance=covariance)
    moved, there = (frame.assign(x=shift + unit * frame["x"]) for frame in (X, other))
    model.fit(moved, y)
    # the textbook works with the column as it was drawn
    change = np.array([[1.0, shift], [0.0, unit]])
    sigma = change @ model.random_effects_covariance_["g"] @ change.T
    fixed = np.column_stack([np.ones(len(X)), X["x"]])
    member = X["g"].to_numpy()[:, None] == np.arange(40)
    Z = (member[:, :, None] * fixed[:, None, :]).reshape(len(X), -1)
    prior = np.kron(np.eye(40), np.linalg.inv(sigma))
    C = henderson(fixed, Z, model.noise_variance_, prior)
    rows = np.hstack([fixed, Z])
    variance = np.einsum("ij,jk,ik->i", rows, C, rows)
    eta, std = model.linear_predictor(moved, return_std=True)
    assert_allclose(std, np.sqrt(variance), rtol=1e-6)
    mean, total = model.predict(moved, return_std=True)
    assert_array_equal(mean, model.predict(moved))
    assert_array_equal(mean, eta)
    assert_allclose(total, np.sqrt(variance + model.noise_variance_), rtol=1e-6)
    # a group that was not seen has the prior variance, and no ties to the others
    fixed = np.column_stack([np.ones(len(other)), other["x"]])
    variance = np.einsum("ij,jk,ik->i", fixed, C[:2, :2] + sigma, fixed)
    std = model.linear_predictor(there, return_std=True)[1]
    assert_allclose(std, np.sqrt(variance), rtol=1e-6)
    # intervals are quantiles of the normal distribution
    mean, std = model.predict(there, return_std=True)
    low, high = model.predict_interval(there, 0.8).T
    assert_allclose([low, high], stats.norm(mean, std).ppf([[0.1], [0.9]]))


def test_two_factors_move_with_the_fixed_effects_each_in_its_way():
    """Their own covariance is left out, and nothing else."""
    X, y = make_mixed_regression(300, 1, n_groups=[15, 8], random_state=1)
    model = MixedLinearRegressor(["g0", "g1"], solver=Joint()).fit(X, y)
    fixed = np.column_stack([np.ones(len(X)), X["x0"]])
    Z = np.hstack(
        [
            X["g0"].to_numpy()[:, None] == np.arange(15),
            X["g1"].to_numpy()[:, None] == np.arange(8),
        ]
    ).astype(float)
    sd = model.variance_components_["std"]
    prior = np.repeat([sd["g0"].item() ** -2, sd["g1"].item() ** -2], [15, 8])
    C = henderson(fixed, Z, model.noise_variance_, np.diag(prior))
    given = np.linalg.inv(Z.T @ Z / model.noise_variance_ + np.diag(prior))
    rows = np.hstack([fixed, Z])
    both = 2 * Z[:, :15] @ given[:15, 15:] * Z[:, 15:]
    variance = np.einsum("ij,jk,ik->i", rows, C, rows) - both.sum(1)
    std = model.linear_predictor(X, return_std=True)[1]
    assert_allclose(std, np.sqrt(variance), rtol=1e-6)


def test_without_groups_the_errors_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 2)), columns=["a", "b"])
    X["twice"] = 2 * X["a"]
    y = X["a"] - X["b"] + rng.normal(size=30)
    model = MixedLinearRegressor()
    with pytest.warns(UserWarning, match="no random effects"):
        model.fit(X, y)
    rows = np.column_stack([np.ones(30), X[["a", "b"]]])
    rest = y - rows @ np.linalg.lstsq(rows, y)[0]
    sigma2 = rest @ rest / 27
    leverage = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(rows.T @ rows), rows)
    std = model.predict(X, return_std=True)[1]
    assert_allclose(std, np.sqrt(sigma2 * (1 + leverage)))


def test_without_an_intercept_nothing_is_uncertain_at_zero():
    X, y, _ = draw("linear", 0)[0]
    model = MixedLinearRegressor("g", random_slopes=["x"], random_intercepts=False)
    model.set_params(fit_intercept=False).fit(X, y)
    std = model.linear_predictor(X.assign(x=0.0), return_std=True)[1]
    assert_array_equal(std, 0.0)
    double = model.linear_predictor(X.assign(x=2.0), return_std=True)[1]
    once = model.linear_predictor(X.assign(x=1.0), return_std=True)[1]
    assert_allclose(double, 2 * once)


# Row by row


def test_a_row_has_the_uncertainty_of_the_levels_that_it_has():
    """Seen, unseen or both; the fixed part is that of a row without groups."""
    X, y = make_mixed_regression(
        500, 1, n_groups=[25, 10], n_random_slopes=1, random_state=3
    )
    # the fixed and the random effects as independent
    model = MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]}).fit(X, y)
    model._fitted.shifts.clear()
    rows = pd.DataFrame({"x0": 1.5, "g0": [3, NEW, 3, NEW], "g1": [4, 4, NEW, NEW]})
    z = np.array([1.0, 1.5])
    fixed = z @ model.fixed_effects_covariance_.to_numpy() @ z
    g0 = model.random_effects_std_["g0"].loc[3]
    seen = {
        "g0": z @ model._fitted.posteriors["g0"][3] @ z,
        "g1": model.random_effects_std_["g1"].loc[4].item() ** 2,
    }
    assert_allclose(np.diag(model._fitted.posteriors["g0"][3]), g0**2)
    prior = {
        "g0": z @ model.random_effects_covariance_["g0"] @ z,
        "g1": model.random_effects_covariance_["g1"].item(),
    }
    std = model.linear_predictor(rows, return_std=True)[1]
    expected = [
        fixed + g0[0] + g1[1]
        for g1 in ((seen, seen["g1"]), (prior, prior["g1"]))
        for g0 in ((seen["g0"],), (prior["g0"],))
    ]
    assert_allclose(std**2, expected)
    assert (np.diff(std[[0, 2, 3]]) > 0).all()


@pytest.mark.parametrize("kind", ["linear", "poisson", "binomial", "logistic"])
def test_population_is_a_level_that_was_not_seen(kind, request):
    names = {"poisson": "counts", "binomial": "proportions", "logistic": "binary"}
    X, model = request.getfixturevalue(names.get(kind, kind))
    X = X[::7]
    new = X.assign(g=NEW)
    for method in ("predict_interval", "linear_predictor"):
        kwargs = {"return_std": True} if method == "linear_predictor" else {}
        call = getattr(model, method)
        ours = call(X, level="population", **kwargs)
        assert_array_equal(ours, call(new, **kwargs))
        assert np.abs(np.subtract(ours, call(X, **kwargs))).max() > 0.01
    if kind != "logistic":
        assert_array_equal(
            model.predict(X, level="population", return_std=True),
            model.predict(new, return_std=True),
        )


def test_an_interval_of_the_mean_is_inside_that_of_the_response(
    linear, counts, proportions
):
    for X, model in (linear, counts, proportions):
        mean = model.predict_interval(X, of="mean")
        response = model.predict_interval(X)
        assert np.mean(response[:, 0] < mean[:, 0]) > 0.9
        assert np.mean(response[:, 1] > mean[:, 1]) > 0.9
        assert (mean[:, 0] < model.predict(X)).all()
        assert (mean[:, 1] > model.predict(X)).all()
        wide = model.predict_interval(X, 0.99)
        assert (wide[:, 0] <= response[:, 0]).all()
        assert (wide[:, 1] >= response[:, 1]).all()


def test_twice_the_exposure_is_twice_the_mean_and_less_than_twice_the_noise():
    X, y, _ = draw("poisson", 0)[0]
    X = X.assign(years=2.0)
    model = make("poisson", exposure="years").fit(X, y)
    once = model.predict_interval(X, of="mean")
    twice = model.predict_interval(X.assign(years=4.0), of="mean")
    assert_allclose(twice, 2 * once)
    once = model.predict(X, return_std=True)[1]
    twice = model.predict(X.assign(years=4.0), return_std=True)[1]
    assert (twice > 1.4 * once).all() and (twice < 2 * once).all()


# Counts: a Poisson variable with lognormal mean


def test_the_variance_of_a_count_is_that_of_its_mean_and_about_its_mean(counts):
    X, model = counts
    for level in ("conditional", "population"):
        eta, sd = model.linear_predictor(X, level=level, return_std=True)
        rate = stats.lognorm(sd, scale=np.exp(eta))
        mean, std = model.predict(X, level=level, return_std=True)
        assert_allclose(std, np.sqrt(rate.mean() + rate.var()))
        assert_array_equal(mean, model.predict(X, level=level))


def average(fun, mean, variance):
    """E[fun(eta)] for eta ~ N(mean, variance), by adaptive integration."""
    sd = np.sqrt(variance)
    pieces = np.linspace(-9, 9, 13)
    return sum(
        quad(
            lambda x: fun(mean + sd * x) * stats.norm.pdf(x),
            a,
            b,
            epsabs=1e-12,
            limit=200,
        )[0]
        for a, b in zip(pieces[:-1], pieces[1:], strict=True)
    )


@pytest.mark.parametrize("variance", [0.0, 1e-4, 0.02, 0.3, 0.9, 1.5, 4.0, 30.0])
def test_the_distribution_of_counts_is_an_integral(variance):
    k = np.array([0.0, 1.0, 4.0, 30.0, 1000.0])
    for m in (-5.0, 0.0, 1.5, 7.0):
        ours = distribution(Counts(), k, np.full(5, m), np.full(5, variance))
        for i in range(5):
            theirs = average(lambda e, k=k[i]: gammaincc(k + 1, np.exp(e)), m, variance)
            assert ours[i] == pytest.approx(theirs, abs=2e-8)


@pytest.mark.parametrize("variance", [0.0, 1e-4, 0.02, 0.3, 0.9, 1.5, 4.0, 30.0])
@pytest.mark.parametrize("n", [1.0, 4.0, 500.0])
def test_the_distribution_of_successes_is_an_integral(variance, n):
    k = np.unique(np.floor([0.0, 0.4 * n, n - 1]))
    size = len(k)
    for m in (-6.0, -1.0, 0.5, 4.0):
        ours = distribution(
            Successes(np.full(size, n)), k, np.full(size, m), np.full(size, variance)
        )
        for i in range(size):
            theirs = average(
                lambda e, k=k[i]: betainc(n - k, k + 1, expit(-e)), m, variance
            )
            assert ours[i] == pytest.approx(theirs, abs=2e-8)


def test_without_variance_quantiles_are_those_of_scipy():
    rng = np.random.default_rng(0)
    eta, zero = rng.uniform(-4, 8, 500), np.zeros(500)
    n = np.floor(10 ** rng.uniform(0, 4, 500))
    for p in (0.001, 0.05, 0.5, 0.975):
        ours = FAMILIES["poisson"].quantile(p, eta, zero, None)
        assert_array_equal(ours, stats.poisson(np.exp(eta)).ppf(p))
        ours = FAMILIES["binomial"].quantile(p, eta, zero, n)
        assert_allclose(ours * n, stats.binom(n, expit(eta)).ppf(p), rtol=1e-14)


@pytest.mark.parametrize("p", [1e-4, 0.025, 0.5, 0.975, 0.9999])
def test_a_quantile_is_the_smallest_number_that_is_enough(p):
    rng = np.random.default_rng(1)
    eta, variance = rng.uniform(-6, 8, 400), 10 ** rng.uniform(-5, 1, 400)
    n = np.floor(10 ** rng.uniform(0, 4, 400))
    for kind, name, size in (
        (Counts(), "poisson", None),
        (Successes(n), "binomial", n),
    ):
        k = FAMILIES[name].quantile(p, eta, variance, size)
        k = np.rint(k if size is None else k * n)
        last = np.inf if size is None else n - 1
        enough = distribution(kind, np.minimum(k, last), eta, variance)
        assert (enough[k <= last] >= p).all()
        less = distribution(kind, np.maximum(k - 1, 0), eta, variance)
        assert (less[k > 0] < p).all()


def test_counts_beyond_counting_have_the_quantiles_of_their_mean():
    eta, variance = np.array([35.0, 300.0]), np.array([0.5, 2.0])
    ours = FAMILIES["poisson"].quantile(0.9, eta, variance, None)
    assert_allclose(ours, stats.lognorm(np.sqrt(variance), scale=np.exp(eta)).ppf(0.9))


# Proportions: a binomial variable with logit-normal probability


@pytest.mark.parametrize("n", [1.0, 8.0, 1e4])
@pytest.mark.parametrize("variance", [0.0, 0.01, 0.6, 1.8, 2.5, 20.0])
def test_the_variance_of_a_proportion_is_an_integral(n, variance):
    for m in (-7.0, -2.0, 0.3, 3.0):
        p = average(expit, m, variance)
        inside = average(lambda e: expit(e) * expit(-e), m, variance)
        around = average(lambda e, p=p: (expit(e) - p) ** 2, m, variance)
        ours = FAMILIES["binomial"].variance(
            np.array([m]), np.array([variance]), np.array([n])
        )
        assert ours[0] == pytest.approx(around + inside / n, rel=1e-6, abs=1e-11)


def test_one_trial_has_the_variance_of_its_probability():
    eta, variance = np.linspace(-9, 9, 37), np.full(37, 1.3)
    p = FAMILIES["binomial"].integrated_mean(eta, variance)
    ours = FAMILIES["binomial"].variance(eta, variance, 1.0)
    assert_allclose(ours, p * (1 - p), rtol=1e-8)


@pytest.mark.parametrize("variance", [0.5, 3.0, 16.0, 64.0])
def test_small_probabilities_keep_their_digits(variance):
    """Where e^(m + v / 2) is the mean but for a few parts in a thousand."""
    m = np.array([-20.0, -40.0, -300.0]) - variance - 4 * np.sqrt(variance)
    ours = FAMILIES["binomial"].integrated_mean(m, np.full(3, variance))
    assert_allclose(ours, np.exp(m + variance / 2), rtol=1e-3)
    assert_allclose(ours[1:] / np.exp(m + variance / 2)[1:], 1, rtol=3e-5)


def test_intervals_of_rare_successes_end_at_zero(proportions):
    X, model = proportions
    rare = X.assign(n=200, x=-8.0)
    low, high = model.predict_interval(rare, of="mean", level="population").T
    assert (low > 0).all() and (low < 0.001).all()
    low, high = model.predict_interval(rare, level="population").T
    assert (low == 0).all() and (high < 1).all() and (high > 0).all()
    assert_allclose(high * 200, np.rint(high * 200), atol=1e-9)


def test_a_class_has_no_interval_but_its_probability_has(binary):
    X, model = binary
    eta, sd = model.linear_predictor(X, return_std=True)
    low, high = model.predict_interval(X, 0.5).T
    quartile = stats.norm.ppf(0.75)
    assert_allclose(low, expit(eta - quartile * sd))
    assert_allclose(high, expit(eta + quartile * sd))
    with pytest.raises(ValueError, match="'mean' for a classifier, got 'response'"):
        model.predict_interval(X, of="response")


# Samples


def test_samples_have_the_predicted_means_and_standard_deviations(
    linear, counts, proportions
):
    for X, model in (linear, counts, proportions):
        rows = pd.concat([X[:20], X[:20].assign(g=NEW)])
        y = model.sample_y(rows, 20_000, random_state=0)
        mean, std = model.predict(rows, return_std=True)
        error = y.std(1) / np.sqrt(y.shape[1])
        # the mean of a curved response moves with the error of the fixed effects
        fixed = model.predict(rows) / np.sqrt(len(X))
        assert (np.abs(y.mean(1) - mean) < 4.5 * error + 0.5 * np.abs(fixed)).all()
        off = (y - y.mean(1, keepdims=True)) ** 2
        error = off.std(1) / np.sqrt(y.shape[1])
        assert (np.abs(off.mean(1) - std**2) < 4.5 * error).all()


def test_samples_of_counts_have_the_mean_of_the_whole_lognormal(counts):
    X, model = counts
    rows = pd.concat([X[:20], X[:20].assign(g=NEW)])
    y = model.sample_y(rows, 20_000, random_state=1)
    eta, sd = model.linear_predictor(rows, return_std=True)
    error = y.std(1) / np.sqrt(y.shape[1])
    assert (np.abs(y.mean(1) - np.exp(eta + sd**2 / 2)) < 4.5 * error).all()


def test_samples_lie_in_intervals_as_often_as_these_say(linear, counts, proportions):
    for X, model in (linear, counts, proportions):
        rows = pd.concat([X[:20], X[:20].assign(g=NEW)])
        y = model.sample_y(rows, 20_000, random_state=2)
        low, high = model.predict_interval(rows, 0.9).T[:, :, None]
        noise = 4.5 * np.sqrt(0.05 * 0.95 / 20_000)
        # a bound is the first number with so much probability up to it
        assert (np.mean(y < low, axis=1) < 0.05 + noise).all()
        assert (np.mean(y <= low, axis=1) > 0.05 - noise).all()
        assert (np.mean(y < high, axis=1) < 0.95 + noise).all()
        assert (np.mean(y <= high, axis=1) > 0.95 - noise).all()


def test_rows_of_a_level_are_drawn_together_whether_it_was_seen_or_not(linear):
    _, model = linear
    rows = pd.DataFrame({"x": 0.5, "g": [3, 3, 7, "new", "new", "other", None, None]})
    y = model.sample_y(rows, 40_000, random_state=0)
    covariance, z = np.cov(y), np.array([1.0, 0.5])
    eta, std = model.linear_predictor(rows.astype({"g": object}), return_std=True)
    fixed = z @ model.fixed_effects_covariance_.to_numpy() @ z
    prior = z @ model.random_effects_covariance_["g"] @ z
    assert_allclose(y.mean(1), eta, atol=0.03)
    assert_allclose(np.diag(covariance), std**2 + model.noise_variance_, rtol=0.04)
    assert covariance[0, 1] == pytest.approx(std[0] ** 2, abs=0.02)
    assert covariance[3, 4] == pytest.approx(prior + fixed, abs=0.04)
    for i, j in ((3, 5), (5, 6), (6, 7), (4, 6)):
        assert covariance[i, j] == pytest.approx(fixed, abs=0.03)
    assert (covariance[0, 3:] < covariance[3, 4] / 3).all()


def test_a_sample_has_one_draw_of_the_fixed_effects():
    """What is uncertain about them is uncertain for all rows alike."""
    X, y, _ = draw("linear", 0, 40)[0]
    model = make("linear", solver=Joint()).fit(X, y)
    rows = pd.DataFrame({"x": [-1.0, 0.0, 2.0], "g": [0, 1, 2]})
    samples = model.sample_y(rows, 40_000, random_state=0)
    fixed = np.column_stack([np.ones(len(X)), X["x"]])
    member = X["g"].to_numpy()[:, None] == np.arange(40)
    Z = (member[:, :, None] * fixed[:, None, :]).reshape(len(X), -1)
    prior = np.linalg.inv(model.random_effects_covariance_["g"])
    C = henderson(fixed, Z, model.noise_variance_, np.kron(np.eye(40), prior))
    at = np.column_stack([np.ones(3), rows["x"]])
    new = np.zeros((3, len(C)))
    new[:, :2] = at
    for i in range(3):
        new[i, 2 + 2 * i : 4 + 2 * i] = at[i]
    expected = new @ C @ new.T + model.noise_variance_ * np.eye(3)
    error = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) / 40_000)
    assert (np.abs(np.cov(samples) - expected) < 4.5 * 1.5 * error).all()


def test_samples_of_a_population_share_levels_that_nobody_has_seen(linear):
    X, model = linear
    y = model.sample_y(X[:24], 20_000, level="population", random_state=0)
    z = np.array([1.0, X["x"][0]]), np.array([1.0, X["x"][1]])
    between = z[0] @ model.random_effects_covariance_["g"] @ z[1]
    fixed = z[0] @ model.fixed_effects_covariance_.to_numpy() @ z[1]
    assert X["g"][0] == X["g"][1]
    ours = np.cov(y[0], y[1])[0, 1]
    assert ours == pytest.approx(between + fixed, abs=0.06)


def test_samples_are_in_the_units_of_the_response(linear, counts, proportions, binary):
    X, model = counts
    y = model.sample_y(X, 3, random_state=0)
    assert y.shape == (len(X), 3)
    assert (y >= 0).all() and (y == np.floor(y)).all()
    X, model = proportions
    y = model.sample_y(X.assign(n=np.arange(len(X)) % 7 + 1), random_state=0)[:, 0]
    successes = y * (np.arange(len(X)) % 7 + 1)
    assert_allclose(successes, np.rint(successes), atol=1e-12)
    assert ((y >= 0) & (y <= 1)).all()
    X, model = binary
    one = model.sample_y(X, 2, random_state=0)
    assert set(np.ravel(one)) == {0, 1}
    named = fit("logistic", labels=["no", "yes"])[1]
    y = named.sample_y(X, 2, random_state=0)
    assert_array_equal(y, np.where(one == 1, "yes", "no"))


def test_classes_are_drawn_with_the_predicted_probabilities(binary):
    X, model = binary
    y = model.sample_y(X, 20_000, random_state=0)
    eta, sd = model.linear_predictor(X, return_std=True)
    p = FAMILIES["binomial"].integrated_mean(eta, sd**2)
    assert np.abs(y.mean(1) - p).max() < 4.5 * 0.5 / np.sqrt(20_000)
    # the errors of the fixed effects draw towards one half, and by little
    assert np.abs(model.predict_proba(X)[:, 1] - p).max() < 0.03


def test_a_seed_repeats_the_samples(counts):
    X, model = counts
    one = model.sample_y(X, 4, random_state=5)
    assert_array_equal(one, model.sample_y(X, 4, random_state=5))
    assert (one != model.sample_y(X, 4, random_state=6)).any()
    random = np.random.RandomState(5)
    assert_array_equal(one, model.sample_y(X, 4, random_state=random))


def test_many_samples_of_many_rows_are_drawn_in_parts(linear):
    X, model = linear
    rows = X.sample(3000, replace=True, random_state=0)
    y = model.sample_y(rows, 800, random_state=0)
    assert (y.std(1) > 0).all()
    mean, std = model.predict(rows, return_std=True)
    assert np.abs((y.mean(1) - mean) / std).max() < 5 / np.sqrt(800)


# Groups beside X, and containers


def test_groups_beside_x_are_the_same_groups(linear):
    X, model = linear
    y = np.asarray(draw("linear", 0)[0][1])
    apart = MixedLinearRegressor(random_slopes=["x"]).fit(X[["x"]], y, groups=X["g"])
    kwargs = {"groups": X["g"]}
    assert_allclose(
        apart.predict_interval(X[["x"]], **kwargs), model.predict_interval(X), 1e-6
    )
    assert_allclose(
        apart.sample_y(X[["x"]], 2, random_state=0, **kwargs),
        model.sample_y(X, 2, random_state=0),
        rtol=1e-6,
    )
    # rows of a population without labels have nothing to do with each other
    y = apart.sample_y(
        X[["x"]][:24].assign(x=0.0), 20_000, level="population", random_state=0
    )
    fixed = model.fixed_effects_covariance_.iloc[0, 0]
    assert np.cov(y)[0, 1] == pytest.approx(fixed, abs=0.03)
    y = apart.sample_y(
        X[["x"]][:24].assign(x=0.0),
        20_000,
        level="population",
        random_state=0,
        groups=X["g"][:24],
    )
    between = model.random_effects_covariance_["g"][0, 0]
    assert np.cov(y)[0, 1] == pytest.approx(fixed + between, abs=0.06)


# What cannot be


@pytest.mark.parametrize(
    ("method", "kwargs", "message"),
    [
        ("predict_interval", {"coverage": 1.0}, "coverage == 1.0, must be < 1"),
        ("predict_interval", {"coverage": 0}, "coverage == 0, must be > 0"),
        ("predict_interval", {"of": "median"}, "of must be 'response' or 'mean'"),
        ("predict_interval", {"level": "new"}, "level must be 'conditional' or"),
        ("sample_y", {"n_samples": 0}, "n_samples == 0, must be >= 1"),
        ("sample_y", {"level": "new"}, "level must be 'conditional' or"),
    ],
)
def test_what_is_asked_for_must_make_sense(counts, method, kwargs, message):
    X, model = counts
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, **kwargs)


@pytest.mark.parametrize(
    "method", ["predict", "linear_predictor", "predict_interval", "sample_y"]
)
def test_unseen_levels_are_reported_at_the_line_that_asked(method):
    X, y, _ = draw("poisson", 0)[0]
    model = make("poisson", handle_unknown="warn").fit(X, y)
    with pytest.warns(UserWarning, match="a label that fit has not seen") as caught:
        getattr(model, method)(X.assign(g=NEW))
    assert [w.filename for w in caught] == [__file__]


def test_a_separated_column_leaves_no_doubt_that_it_is_doubtful():
    X, y, _ = draw("poisson", 0)[0]
    rare = np.arange(len(X)) < 12
    X = X.assign(d=rare.astype(float))
    with pytest.warns(UserWarning, match="'d' separates"):
        model = make("poisson").fit(X, np.where(rare, 0, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = model.predict_interval(X, of="mean").T
        std = model.predict(X, return_std=True)[1]
        response = model.predict_interval(X)
    assert (low[rare] < 1e-3).all() and (high[rare] > 1e3).all()
    assert (high[~rare] < 1e3).all()
    assert not np.isnan(std).any() and not np.isnan(response).any()
