"""Families with parameters of their own: negative binomial counts."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from engine_problems import (
    FAMILIES,
    Factor,
    build_design,
    compiled_bound,
    compiled_laplace,
)
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln

from skglmm import MixedPoissonRegressor
from skglmm._families.mixed_counts import NegativeCounts, distribution
from skglmm.engine import generalized, likelihoods, quadrature
from skglmm.solvers import Laplace, Problem

ORACLES = Path(__file__).parent / "oracles" / "families"
FAMILY = FAMILIES["negative_binomial"]
QUADRATURE = Laplace(n_quadrature=25)


class MixedNegativeBinomialRegressor(MixedPoissonRegressor):
    _family = "negative_binomial"


def problem(name):
    reference = json.loads((ORACLES / f"{name}.json").read_text())
    data = pd.read_csv(ORACLES / f"{name}.csv.gz")
    groups = ["g", "h"] if "crossed" in name else ["g"]
    return data[["x1", "x2", *groups]], data["y"].to_numpy(float), groups, reference


@pytest.fixture(scope="module")
def fitted():
    X, y, groups, _ = problem("nbinom2_one")
    return {
        name: MixedNegativeBinomialRegressor(groups, solver=solver).fit(X, y)
        for name, solver in (("vi", "vi"), ("quadrature", QUADRATURE))
    }


def log_probability(y, eta, size):
    p = size / (size + np.exp(eta))
    return stats.nbinom.logpmf(y, size, p)


# Against others


@pytest.mark.parametrize(
    "name",
    ["nbinom2_one", pytest.param("nbinom2_crossed", marks=pytest.mark.slow)],
)
def test_laplace_is_glmmtmbs(name):
    X, y, groups, ref = problem(name)
    model = MixedNegativeBinomialRegressor(groups, solver="laplace").fit(X, y)
    errors = np.array(ref["std_error"])
    coef = np.r_[model.intercept_, model.coef_]
    assert np.abs((coef - ref["coef"]) / errors).max() < 1e-3
    assert_allclose(model.fixed_effects_["std_error"], errors, rtol=1e-3)
    sd = [float(np.sqrt(model.random_effects_covariance_[g][0, 0])) for g in groups]
    assert_allclose(sd, ref["sd"], rtol=1e-4)
    found = model.family_parameters_.loc["dispersion", "estimate"]
    assert found == pytest.approx(ref["dispersion"], rel=1e-4)
    assert model.log_likelihood_ == pytest.approx(ref["loglik"], abs=1e-6)
    assert model.aic_ == pytest.approx(2 * (4 + len(groups)) - 2 * ref["loglik"])


def test_quadrature_is_the_integral_of_every_group(fitted):
    X, y, _, _ = problem("nbinom2_one")
    model = fitted["quadrature"]
    size = model.family_parameters_.loc["dispersion", "estimate"]
    sd = float(np.sqrt(model.random_effects_covariance_["g"][0, 0]))
    fixed = model.linear_predictor(X, level="population")
    total = 0.0
    for level in X["g"].unique():
        here = np.flatnonzero(X["g"] == level)
        at = float(model.random_effects_["g"].loc[level].iloc[0]) / sd
        top = log_probability(y[here], fixed[here] + sd * at, size).sum() - at**2 / 2

        def ratio(u, here=here, top=top):
            eta = fixed[here] + sd * u
            return np.exp(log_probability(y[here], eta, size).sum() - u**2 / 2 - top)

        area = quad(ratio, at - 8, at + 8, epsabs=0, epsrel=1e-10, limit=200)[0]
        total += top + np.log(area / np.sqrt(2 * np.pi))
    assert model.log_likelihood_ == pytest.approx(total, abs=1e-6)


def test_vi_is_close_to_quadrature(fitted):
    vi, exact = fitted["vi"], fitted["quadrature"]
    for name in ("estimate", "std_error"):
        assert_allclose(
            vi.family_parameters_[name], exact.family_parameters_[name], 2e-3
        )
    assert_allclose(vi.coef_, exact.coef_, rtol=1e-3)
    assert vi.elbo_ < exact.log_likelihood_ < vi.elbo_ + 0.2


def test_the_standard_error_is_that_of_the_profile(fitted):
    """Its second difference, all else maximised anew with the size known."""
    X, y, groups, _ = problem("nbinom2_one")
    model, step = fitted["quadrature"], 0.02
    estimate, error = model.family_parameters_.loc["dispersion"]

    class Known(MixedNegativeBinomialRegressor):
        _family = "size_known"

    def profile(log_size):
        FAMILIES["size_known"] = _known(np.exp(log_size))
        try:
            return Known(groups, solver=QUADRATURE).fit(X, y).log_likelihood_
        finally:
            del FAMILIES["size_known"]

    at = np.log(estimate)
    top, up, down = (profile(at + d) for d in (0.0, step, -step))
    assert top == pytest.approx(model.log_likelihood_, abs=1e-6)
    assert top > max(up, down)
    curvature = (2 * top - up - down) / step**2
    assert estimate / np.sqrt(curvature) == pytest.approx(error, rel=0.01)


def _known(size):
    """The family with a size that is no parameter."""

    class Known(type(FAMILY)):
        name, parameter_names = "size_known", ()
        _dispersion = size

        def likelihood(self):
            return _KNOWN.setdefault(size, _bound(size))

    return Known()


_KNOWN = {}


def _bound(size):
    bound = FAMILY.likelihood().given([tf.constant(np.log(size))])
    bound.given = lambda parameters: bound
    return bound


# The gradient in the outer vector


@pytest.mark.parametrize("method", ["laplace", "quadrature", "bound"])
def test_gradients_are_differences_of_the_objective(method):

    rng = np.random.default_rng(3)
    n, codes = 120, np.repeat(np.arange(12), 10).astype(np.int32)
    factors, z = [Factor(codes, 12, 2, False, "full")], rng.normal(size=(n, 2))
    if method != "quadrature":
        factors.append(Factor(np.tile(np.arange(6), 20).astype(np.int32), 6, 1, True))
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = rng.negative_binomial(1.5, 0.3, n).astype(float)
    design = build_design(factors)
    values = [design.rows(z) if f.n_effects == 2 else None for f in design.factors]
    work = Problem(
        design=design,
        border=design.rows(np.column_stack([x, y])),
        z=tuple(values),
        weight=np.ones(n),
        family=FAMILY,
    )
    with generalized.open_session(work, "cpu") as run:
        data = generalized.load(run)
        theta = run.theta([0.4 * np.eye(f.n_effects) for f in design.factors])
        psi = np.array([0.3])
        if method == "bound":
            solve = compiled_bound(run.structure, FAMILY, None, False)
            args, point = (likelihoods.normal_nodes(31),), np.concatenate([psi, theta])
        else:
            few = method == "quadrature"
            solve = compiled_laplace(run.structure, FAMILY, few)
            args = quadrature.product_nodes(7 if few else 1, run.structure.n_effects[0])
            point = np.concatenate([[0.8, 0.1], psi, theta])

        def at(point):
            value, gradient, _ = solve(run.index, data, *args, tf.constant(point))
            return float(value), gradient.numpy()

        gradient, h = at(point)[1], 1e-4
        for i, axis in enumerate(np.eye(len(point))):
            up, down = at(point + h * axis)[0], at(point - h * axis)[0]
            slope = (up - down) / (2 * h)
            assert gradient[i] == pytest.approx(slope, rel=1e-6, abs=2e-5), i


def test_the_size_is_exact_where_counts_are_nearly_poisson():
    likelihood, y = FAMILY.likelihood(), np.array([0.0, 1.0, 7.0, 300.0])
    for log_size in (-5.0, 0.0, 6.9, 6.91, 12.0, 18.0, 30.0):
        model = likelihood.given([tf.constant(log_size, tf.float64)])
        found = model.log_density(y, 1.0, np.full(4, 1.3)) + model.constant(y, 1.0)
        steps = np.arange(300.0) * np.exp(-log_size)
        rising = [np.log1p(steps[: int(k)]).sum() for k in y]
        theirs = rising - gammaln(y + 1) + 1.3 * y
        theirs -= (y + np.exp(log_size)) * np.log1p(np.exp(1.3 - log_size))
        assert_allclose(found, theirs, rtol=1e-9, atol=1e-9)


# What follows from a fit


def test_predictions_are_those_of_a_mixture(fitted):
    model = fitted["vi"]
    X = problem("nbinom2_one")[0].iloc[:6]
    size = model.family_parameters_.loc["dispersion", "estimate"]
    new = X.assign(g=9999)
    mean, sd = model.predict(new, return_std=True)
    eta, spread = model.linear_predictor(new, return_std=True)
    u = np.random.default_rng(0).normal(size=(400_000, 1))
    mu = np.exp(eta + spread * u)
    y = np.random.default_rng(1).negative_binomial(size, size / (size + mu))
    assert_allclose(sd, y.std(axis=0), rtol=0.05)
    low, high = model.predict_interval(new, 0.9).T
    for limit, share in ((high, 0.95), (low, 0.05)):
        assert ((y <= limit).mean(axis=0) >= share - 2e-3).all()
        assert ((y < limit).mean(axis=0) <= share + 2e-3).all()
    samples = model.sample_y(new, 4000, random_state=0)
    assert_allclose(samples.mean(axis=1), y.mean(axis=0), rtol=0.15)
    assert (np.abs(mean / y.mean(axis=0) - 1) < 0.05).all()


def test_the_distribution_function_is_an_integral():
    size, k = 1.7, np.array([0.0, 2.0, 9.0, 40.0])
    for mean, variance in ((0.5, 0.01), (2.0, 0.5), (1.0, 6.0)):
        full = np.full(4, mean), np.full(4, variance)
        ours = distribution(NegativeCounts(size), k, *full)
        for i in range(4):

            def integrand(u, i=i, mean=mean, variance=variance):
                mu = np.exp(mean + np.sqrt(variance) * u)
                p = size / (size + mu)
                return stats.nbinom.cdf(k[i], size, p) * stats.norm.pdf(u)

            assert ours[i] == pytest.approx(quad(integrand, -10, 10)[0], abs=1e-7)


def test_deviances_are_ratios_of_likelihoods():
    y, mu = np.array([0.0, 1.0, 5.0]), np.array([0.5, 3.0, 2.0])
    family = FAMILY.given([np.log(1.7)])
    best = log_probability(y, np.log(np.maximum(y, 1e-300)), 1.7)
    ratio = 2 * (best - log_probability(y, np.log(mu), 1.7))
    assert_allclose(family.deviance(y, mu, np.ones(3)), ratio, atol=1e-10)


def test_a_saved_model_predicts_as_before(fitted):
    X, y, _, _ = problem("nbinom2_one")
    model, rows = fitted["vi"], X.iloc[:5]
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_interval(rows), model.predict_interval(rows))
    assert again.score(X, y) == model.score(X, y)
    assert "negative binomial response" in str(again.summary())


def test_updated_effects_are_those_that_a_fit_would_give(fitted):
    """Rows of a group that fit has not seen, at the estimates as they are."""
    X, y, _, _ = problem("nbinom2_one")
    model, here = fitted["vi"], X["g"] == X["g"].iloc[0]
    rows = X[here].assign(g=9999)
    updated = model.update_random_effects(rows, y[here])
    effect = float(updated.random_effects_["g"].loc[9999].iloc[0])
    known = float(model.random_effects_["g"].loc[X["g"].iloc[0]].iloc[0])
    assert effect == pytest.approx(known, abs=2e-4)


@pytest.mark.parametrize("solver", ["mcem", "mackay"])
def test_a_solver_that_cannot_says_which_can(solver):
    X, y, groups, _ = problem("nbinom2_one")
    model = MixedNegativeBinomialRegressor(groups, solver=solver)
    with pytest.raises(ValueError, match="has a dispersion .* use 'vi' or 'laplace'"):
        model.fit(X, y)


def test_without_groups_it_is_maximum_likelihood():
    X, y, _, _ = problem("nbinom2_one")
    model = MixedNegativeBinomialRegressor(solver="laplace")
    with pytest.warns(UserWarning, match="No groups were given"):
        model.fit(X[["x1"]], y)
    size = model.family_parameters_.loc["dispersion", "estimate"]

    def value(shift, factor):
        eta = model.intercept_ + shift + model.coef_[0] * X["x1"]
        return log_probability(y, eta, size * factor).sum()

    best = value(0.0, 1.0)
    assert best == pytest.approx(model.log_likelihood_, abs=1e-6)
    for shift, factor in ((0.02, 1), (-0.02, 1), (0, 1.03), (0, 0.97)):
        assert value(shift, factor) < best
