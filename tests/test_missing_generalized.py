"""Missing values of fixed columns where the response is a count or a class."""

import numpy as np
import pandas as pd
import pytest
from engine_problems import FAMILIES, coded_problem
from joblib import Parallel, delayed
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, logsumexp
from scipy.stats import chi2, kstest, norm
from sklearn.base import clone

from skglmm import (
    MixedBinomialRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._fixed import augmentation, imputed, latent, pooling
from skglmm.solvers import VI, MacKay

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
TRUTH = np.array([0.3, 0.8, -0.5])


def filled_in(model):
    """The model with gaps as unknowns."""
    return model.set_params(missing="model")


def log_density(family, y, eta):
    if family == "poisson":
        return y * eta - np.exp(eta)
    return y * eta - np.logaddexp(0.0, eta)


def with_gaps(family, seed, n_rows=400, n_groups=None, share=0.35):
    """Rows that lack x0, more often where y and x1 are large; and the whole ones."""
    random = np.random.default_rng(seed)
    x1 = random.normal(size=n_rows)
    x0 = 0.5 * x1 + 0.8 * random.normal(size=n_rows)
    eta = TRUTH @ [np.ones(n_rows), x0, x1]
    whole = pd.DataFrame({"x0": x0, "x1": x1})
    if n_groups:
        whole["group"] = np.arange(n_rows) % n_groups
        eta = eta + 0.7 * random.normal(size=n_groups)[whole["group"]]
    if family == "poisson":
        y = random.poisson(np.exp(eta))
    else:
        y = (random.uniform(size=n_rows) < expit(eta)).astype(int)
    seen = x1 + (y - y.mean()) / y.std()
    gaps = random.uniform(size=n_rows) < 2.0 * share * expit(seen)
    return whole.assign(x0=np.where(gaps, np.nan, x0)), y, whole


# ------------------------------------------------------------- one missing number


@pytest.mark.parametrize(
    ("family", "y", "trials", "eta", "mean", "variance"),
    [
        ("binomial", 1.0, 1.0, -4.0, 0.0, 9.0),
        ("binomial", 3.0, 40.0, 1.0, 0.5, 4.0),
        ("poisson", 0.0, None, 2.0, 1.0, 1.0),
        ("poisson", 900.0, None, 0.0, 2.0, 4.0),
        ("poisson", 2.0, None, 0.3, 0.0, 1e-4),
    ],
)
def test_what_is_missing_has_its_density_given_the_response(
    family, y, trials, eta, mean, variance
):
    n = 4000
    response = latent.Other(
        FAMILIES[family], np.full(n, y), None if trials is None else np.full(n, trials)
    )
    rows = np.arange(n)
    found = response.draw(
        rows,
        np.full(n, eta),
        np.full(n, mean),
        variance,
        np.random.RandomState(0),
    )

    def log(u):
        at = eta + u
        value = y * at - (
            np.exp(at) if family == "poisson" else trials * np.logaddexp(0.0, at)
        )
        return value - 0.5 * (u - mean) ** 2 / variance

    best = minimize(lambda u: -log(u[0]), [found.mean()], method="Nelder-Mead").x[0]
    sd = found.std()
    grid = np.linspace(best - 9 * sd, best + 9 * sd, 400)
    pieces = [
        quad(lambda u: np.exp(log(u) - log(best)), a, b)[0]
        for a, b in zip(grid[:-1], grid[1:], strict=True)
    ]
    below = np.r_[0.0, np.cumsum(pieces)] / np.sum(pieces)
    assert kstest(found, lambda u: np.interp(u, grid, below)).pvalue > 1e-3


def test_a_normal_response_and_a_normal_unknown_have_a_normal_posterior():
    n, y, noise, eta, mean, variance = 4000, 1.7, 0.5, 0.4, -1.0, 2.0
    found = latent.Normal(np.full(n, y), noise).draw(
        np.arange(n),
        np.full(n, eta),
        np.full(n, mean),
        variance,
        np.random.RandomState(0),
    )
    gain = variance / (variance + noise)
    at, sd = mean + gain * (y - eta - mean), np.sqrt((1 - gain) * variance)
    assert kstest(found, norm(at, sd).cdf).pvalue > 1e-3


def test_draws_of_the_effects_have_the_precision_of_the_expected_likelihood():
    random = np.random.default_rng(5)
    n, levels = 120, 8
    codes = np.arange(n) % levels
    X = random.normal(size=(n, 1))
    eta = 0.5 + 0.3 * X[:, 0] + random.normal(size=levels)[codes]
    y = random.poisson(np.exp(eta)).astype(float)
    weight = random.integers(1, 3, n).astype(float)
    problem = coded_problem(X, [codes], weight, "poisson")
    design, border = problem.design, problem.border
    y, codes = design.rows(y), design.rows(codes)
    generator = np.random.RandomState(0)
    solver, distances, total, n_draws = VI(), 0.0, 0.0, 200
    for _ in range(n_draws):
        solution, drawn = augmentation.turn(problem, y, solver, generator)
        Z = np.eye(levels)[codes]
        order = [np.flatnonzero(codes == j)[0] for j in range(levels)]
        D = np.hstack([border[:, :-1], Z])
        sigma2 = solution.covariances[0].item()
        # exp has the mean exp(m + v / 2) under the posterior of the effects
        means, posteriors = solution.means[0][0], solution.posteriors[0][0, 0]
        m, v = np.empty(levels), np.empty(levels)
        engine = problem.design.factors[0].codes
        m[codes], v[codes] = means[engine], posteriors[engine]
        mean = D @ np.r_[solution.coef, m] + 0.5 * v[codes]
        W = problem.weight * np.exp(mean)
        precision = D.T @ (W[:, None] * D) + np.diag(
            np.r_[0.0, 0.0, np.full(levels, 1.0 / sigma2)]
        )
        away = np.r_[drawn.coef - solution.coef, drawn.part[order] - m]
        distances += away @ precision @ away
        total = total + away
    low, high = chi2.ppf([1e-4, 1 - 1e-4], n_draws * len(away))
    assert low < distances < high
    assert total @ precision @ total / n_draws < chi2.ppf(1 - 1e-4, len(away))


# ------------------------------------------------------------------ estimates


def observed_objective(theta, X, y, family):
    """-log p(y, x0 where observed | x1), the missing x0 integrated out numerically."""
    intercept, b0, b1, a0, a1, log_sd = theta
    sd, gaps = np.exp(log_sd), X["x0"].isna().to_numpy()
    x0, x1 = X["x0"].fillna(0.0).to_numpy(), X["x1"].to_numpy()
    mean, base = a0 + a1 * x1, intercept + b1 * x1
    there = log_density(family, y, base + b0 * x0) + norm.logpdf(x0, mean, sd)
    nodes = (base + b0 * mean)[:, None] + b0 * sd * NODES
    out = log_density(family, y[:, None], nodes)
    out = logsumexp(out, axis=1, b=WEIGHTS / WEIGHTS.sum())
    return -np.sum(np.where(gaps, out, there))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("poisson", MixedPoissonRegressor),
        pytest.param("binomial", MixedLogisticRegressor, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:No groups were given:UserWarning")
def test_estimates_and_errors_are_those_of_the_likelihood_of_what_was_observed(
    family, kind
):
    X, y, _ = with_gaps(family, 0)
    start = np.r_[TRUTH, 0.0, 0.5, np.log(0.8)]
    best = minimize(observed_objective, start, (X, y, family), method="BFGS")
    hessian = approx_fprime(
        best.x,
        lambda t: approx_fprime(t, observed_objective, 1e-5, X, y, family),
        1e-4,
    )
    std = np.sqrt(np.diag(np.linalg.inv(0.5 * (hessian + hessian.T))))[:3]
    model = filled_in(kind(random_state=0)).fit(X, y)
    found = model.fixed_effects_
    away = (found["estimate"] - best.x[:3]) / std
    assert_allclose(away, 0.0, atol=0.25)  # Monte Carlo error
    assert_allclose(found["std_error"], std, rtol=0.12)
    assert model.missing_information_["x0"] > 0.25
    # the mean of a row with a gap is that over what x0 may be given x1
    x1 = X["x1"].to_numpy()[:, None]
    x0 = best.x[3] + best.x[4] * x1 + np.exp(best.x[5]) * NODES
    eta = best.x[0] + best.x[1] * x0 + best.x[2] * x1
    inverse = np.exp if family == "poisson" else expit
    expected = inverse(eta) @ WEIGHTS / WEIGHTS.sum()
    means = model.predict(X) if family == "poisson" else model.predict_proba(X)[:, 1]
    gaps = X["x0"].isna().to_numpy()
    assert_allclose(means[gaps], expected[gaps], rtol=0.1)


def test_rows_with_gaps_are_predicted_by_a_wider_distribution():
    X, y, whole = with_gaps("poisson", 1, n_rows=300, n_groups=20)
    model = filled_in(MixedPoissonRegressor("group", random_state=0)).fit(X, y)
    complete = MixedPoissonRegressor("group").fit(whole, y)
    away = model.fixed_effects_["estimate"] - complete.fixed_effects_["estimate"]
    std = model.fixed_effects_["std_error"]
    assert (np.abs(away) < 2.5 * std).all()
    assert (std > complete.fixed_effects_["std_error"]).iloc[1:].all()
    effects = [m.random_effects_["group"]["Intercept"] for m in (model, complete)]
    assert np.corrcoef(*effects)[0, 1] > 0.9
    gaps = X["x0"].isna().to_numpy()
    std = model.linear_predictor(X, return_std=True)[1]
    known = model.linear_predictor(whole, return_std=True)[1]
    assert_allclose(std[~gaps], known[~gaps])
    # x0 has the variance 0.64 given x1
    added = std[gaps] ** 2 - known[gaps] ** 2
    assert_allclose(added, 0.64 * model.coef_[0] ** 2, rtol=0.35)


def test_trials_and_offsets_stay_with_their_rows(monkeypatch):
    random = np.random.default_rng(2)
    X, _, whole = with_gaps("binomial", 2, n_rows=300, n_groups=15)
    trials = random.integers(1, 9, 300)
    eta = TRUTH @ [np.ones(300), whole["x0"], whole["x1"]]
    effects = 0.7 * random.normal(size=15)
    y = random.binomial(trials, expit(eta + effects[X["group"]])).astype(float)
    monkeypatch.setattr(imputed, "_BURN_IN", 5)
    monkeypatch.setattr(imputed, "_FEWEST", 10)
    monkeypatch.setattr(pooling, "_ERROR", np.inf)
    parameters = {"groups": "group", "trials": "n", "random_state": 0}
    model = filled_in(MixedBinomialRegressor(**parameters))
    model.fit(X.assign(n=trials), y)
    complete = MixedBinomialRegressor("group", trials="n")
    complete.fit(whole.assign(n=trials), y)
    away = (model.fixed_effects_ - complete.fixed_effects_)["estimate"]
    assert (np.abs(away) < 2.5 * model.fixed_effects_["std_error"]).all()
    # an offset made of a column is taken from its coefficient, in each draw
    other = filled_in(MixedBinomialRegressor(offset="o", **parameters))
    other.fit(X.assign(n=trials, o=0.4 * X["x1"]), y)
    std = model.fixed_effects_["std_error"].iloc[1:]
    moved = (model.coef_ - other.coef_ - [0.0, 0.4]) / std
    assert_allclose(moved, 0.0, atol=0.02)


# ------------------------------------------------------------------------ figures


@pytest.mark.slow
def test_coefficients_are_those_of_the_whole_tables_on_average():
    n, plain = 20, MixedPoissonRegressor("group")
    tables = [with_gaps("poisson", seed, 300, 30) for seed in range(n)]
    models = [filled_in(clone(plain).set_params(random_state=s)) for s in range(n)]
    models = Parallel(2)(
        delayed(model.fit)(X, y)
        for model, (X, y, _) in zip(models, tables, strict=True)
    )
    fits = [[model.fixed_effects_.to_numpy()] for model in models]
    for fit, (X, y, whole) in zip(fits, tables, strict=True):
        rows = X["x0"].notna()
        fit.append(plain.fit(whole, y).fixed_effects_.to_numpy())
        fit.append(plain.fit(X[rows], y[rows]).fixed_effects_.to_numpy())
    estimates, errors = np.moveaxis(fits, -1, 0)
    ours, whole, dropped = np.moveaxis(estimates, 1, 0)
    for found, unbiased in ((ours, True), (dropped, False)):
        away = found - whole
        monte_carlo = away.std(axis=0, ddof=1) / np.sqrt(n)
        assert (np.abs(away.mean(axis=0)) < 2.5 * monte_carlo).all() == unbiased
    covered = np.abs(ours - TRUTH) < 1.96 * errors[:, 0]
    assert 0.85 <= covered.mean() <= 1.0


@pytest.mark.parametrize("settings", [{"update": "quick"}, {"curvature": "pql"}])
def test_a_solver_that_does_not_couple_the_effects_is_refused(settings):
    """How random effects move with fixed ones is what a completed table has to say."""
    random = np.random.default_rng(0)
    X = pd.DataFrame({"x": random.normal(size=60), "g": np.arange(60) % 6})
    X.loc[3, "x"] = np.nan
    model = MixedPoissonRegressor("g", missing="model", solver=MacKay(**settings))
    with pytest.raises(ValueError, match="MacKay.*leaves out: use solver='vi'"):
        model.fit(X, random.poisson(2.0, size=60))
