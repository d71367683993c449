"""Four solvers on one zoo of problems, and by how much they differ.

The linear model has one optimum, which all of them find. For counts and binary outcomes
Monte Carlo EM is the reference, exact up to the error that it states.
"""

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
from drawn_structures import add_effects
from numpy.testing import assert_allclose
from scipy.special import expit

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import MCEM, Laplace

# What is drawn: for each factor its levels and the covariance of its effects, which are
# an intercept and then slopes of x0 and x1. What is fitted: the model's options.
CORRELATED = np.array([[0.64, 0.16], [0.16, 0.25]])
STRUCTURES = {
    "one factor": ({"g": (50, np.eye(1) * 0.64)}, {"groups": "g"}),
    "correlated slope": (
        {"g": (50, CORRELATED)},
        {"groups": "g", "random_slopes": ["x0"]},
    ),
    "uncorrelated slopes": (
        {"g": (50, np.diag([0.64, 0.25, 0.16]))},
        {"groups": "g", "random_slopes": ["x0", "x1"], "covariance": "diag"},
    ),
    "nested": (
        {"g": (20, np.eye(1) * 0.64), "g:h": (80, np.eye(1) * 0.36)},
        {"groups": ["g", ("g", "h")]},
    ),
    "crossed": (
        {"g": (50, np.eye(1) * 0.64), "h": (30, np.eye(1) * 0.36)},
        {"groups": ["g", "h"]},
    ),
    "crossed with a slope": (
        {"g": (50, CORRELATED), "h": (30, np.eye(1) * 0.36)},
        {"groups": ["g", "h"], "random_slopes": {"g": ["x0"]}},
    ),
    "three crossed": (
        {
            "g": (50, np.eye(1) * 0.64),
            "h": (30, np.eye(1) * 0.36),
            "k": (10, np.eye(1) * 0.5),
        },
        {"groups": ["g", "h", "k"]},
    ),
}
FAMILIES = {
    "linear": MixedLinearRegressor,
    "counts": MixedPoissonRegressor,
    "binary": MixedLogisticRegressor,
    "proportions": MixedBinomialRegressor,
}
# A binary outcome says little: with 40 rows a level Laplace's bias is moderate.
N_ROWS = {"linear": 1200, "counts": 1200, "binary": 2000, "proportions": 1200}
LINEAR = [(s, "linear", reml) for s in STRUCTURES for reml in (True, False)]
GENERALISED = [
    pytest.param(s, f, marks=[] if s == "one factor" else pytest.mark.slow)
    for s in STRUCTURES
    for f in ("counts", "binary", "proportions")
    if (s, f) != ("three crossed", "binary")
]
REFERENCE = MCEM(n_samples=4096)


def problem(structure, family):
    """Rows (X, y) drawn from the model that is fitted."""
    rng = np.random.default_rng(list(STRUCTURES).index(structure))
    n, (factors, _) = N_ROWS[family], STRUCTURES[structure]
    x = rng.normal(size=(n, 2))
    X = pd.DataFrame(x, columns=["x0", "x1"])
    eta = 0.3 + x @ [0.5, -0.4]
    eta = add_effects(rng, X, eta, x, factors)
    if family == "linear":
        return X, eta + rng.normal(size=n)
    if family == "counts":
        return X, rng.poisson(np.exp(eta))
    if family == "binary":
        return X, rng.binomial(1, expit(eta))
    X["trials"] = rng.integers(1, 11, size=n)
    return X, rng.binomial(X["trials"], expit(eta))


@functools.cache
def fitted(structure, family, solver, reml=None):
    """Fit of one problem by one solver, done once."""
    options = dict(STRUCTURES[structure][1])
    if reml is not None:
        options["reml"] = reml
    if family == "proportions":
        options["trials"] = "trials"
    by = {"reference": REFERENCE, "quadrature": Laplace(n_quadrature=9, tol=1e-12)}
    model = FAMILIES[family](**options, solver=by.get(solver, solver), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return model.fit(*problem(structure, family))


def estimates(model):
    """Fixed effects, and standard deviations of all effects."""
    fixed = model.fixed_effects_["estimate"].to_numpy()
    return fixed, model.variance_components_["std"].to_numpy()


def monte_carlo_errors(model):
    error = model.mc_error_
    return error["fixed_effects"], error["variance_components"]["std"]


def std_errors(model):
    return model.fixed_effects_["std_error"].to_numpy()


def correlations(model):
    names = [c for c in model.variance_components_ if c.startswith("corr")]
    return model.variance_components_[names].to_numpy()


def effects(model, reference):
    """Means and standard deviations of effects in posterior standard deviations.

    Yields, for each kind of effect, the means of both and the differences of the means
    and ratios of the standard deviations, by level.
    """
    for name, ours in model.random_effects_.items():
        theirs = reference.random_effects_[name]
        assert theirs.index.equals(ours.index)
        sd, true_sd = (m.random_effects_std_[name] for m in (model, reference))
        for effect in ours:
            difference = (ours[effect] - theirs[effect]) / true_sd[effect]
            yield ours[effect], theirs[effect], difference, sd[effect] / true_sd[effect]


def check_estimates(model, reference, share, noise=4.0):
    """Agreement but for `share` and so many Monte Carlo errors of the reference.

    The share is of standard errors for the fixed effects, and of the standard
    deviations themselves.
    """
    (fixed, std), (true, true_std) = estimates(model), estimates(reference)
    error, std_error = monte_carlo_errors(reference)
    bound = share[0] * std_errors(reference) + noise * error
    assert np.all(np.abs(fixed - true) <= bound)
    assert np.all(np.abs(std - true_std) <= share[1] * true_std + noise * std_error)


# The linear model


@pytest.mark.parametrize(("structure", "family", "reml"), LINEAR)
@pytest.mark.parametrize("solver", ["laplace", "mackay"])
def test_the_linear_model_has_one_optimum(structure, family, reml, solver):
    ours, theirs = (fitted(structure, family, s, reml) for s in (solver, "vi"))
    assert ours.converged_ and theirs.converged_
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-7)
    assert_allclose(estimates(ours)[1], estimates(theirs)[1], rtol=2e-5)
    difference = estimates(ours)[0] - estimates(theirs)[0]
    assert np.all(np.abs(difference) < 1e-5 * std_errors(theirs))
    assert_allclose(std_errors(ours), std_errors(theirs), rtol=2e-5)
    assert_allclose(correlations(ours), correlations(theirs), atol=2e-5)
    for _, _, moved, ratio in effects(ours, theirs):
        assert np.abs(moved).max() < 1e-4
        assert np.abs(ratio - 1.0).max() < 1e-5


@pytest.mark.parametrize(("structure", "family", "reml"), LINEAR)
def test_draws_end_at_the_optimum_of_the_linear_model(structure, family, reml):
    drawn, exact = (fitted(structure, family, s, reml) for s in ("mcem", "vi"))
    assert drawn.converged_
    assert drawn.sampling_["sampler"] == "exact"
    check_estimates(exact, drawn, (1e-4, 1e-4))
    assert np.abs(monte_carlo_errors(drawn)[1]).max() < 0.01
    lost = exact.log_likelihood_ - drawn.log_likelihood_
    assert -1e-7 < lost < 2e-3
    assert_allclose(std_errors(drawn), std_errors(exact), rtol=0.01)
    for _, _, moved, ratio in effects(drawn, exact):
        assert np.abs(moved).max() < 0.01
        assert np.abs(ratio - 1.0).max() < 0.003


# Counts, binary outcomes and proportions


@pytest.mark.parametrize(("structure", "family"), GENERALISED)
def test_the_evidence_framework_has_the_fixed_point_of_variational_inference(
    structure, family
):
    ours, theirs = (fitted(structure, family, s) for s in ("mackay", "vi"))
    assert ours.converged_ and theirs.converged_
    difference = estimates(ours)[0] - estimates(theirs)[0]
    assert np.all(np.abs(difference) < 3e-4 * std_errors(theirs))
    assert_allclose(estimates(ours)[1], estimates(theirs)[1], rtol=2e-4)
    assert_allclose(std_errors(ours), std_errors(theirs), rtol=5e-4)
    assert_allclose(correlations(ours), correlations(theirs), atol=2e-4)
    assert ours.elbo_ == pytest.approx(theirs.elbo_, abs=1e-5)
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-4)
    for _, _, moved, ratio in effects(ours, theirs):
        assert np.abs(moved).max() < 1e-3
        assert np.abs(ratio - 1.0).max() < 1e-3


# Shares of bias: of fixed effects in standard errors, of standard deviations, of
# standard errors; of posterior means in posterior standard deviations, and of these,
# both on average over levels. Laplace's conditional modes lie beside the means of
# posteriors that are skew, by a tenth or two of a standard deviation.
BIAS = {
    "vi": (0.01, 0.01, 0.01, 0.03, 0.02),
    "laplace": (0.01, 0.05, 0.02, 0.2, 0.04),
}


@pytest.mark.parametrize(("structure", "family"), GENERALISED)
@pytest.mark.parametrize("solver", BIAS)
def test_approximations_are_close_to_the_maximum_of_the_exact_likelihood(
    structure, family, solver
):
    model, exact = (fitted(structure, family, s) for s in (solver, "reference"))
    assert model.converged_ and exact.converged_
    fixed, std, se, means, deviations = BIAS[solver]
    check_estimates(model, exact, (fixed, std))
    assert_allclose(std_errors(model), std_errors(exact), rtol=se)
    assert_allclose(correlations(model), correlations(exact), atol=0.01)
    for ours, theirs, moved, ratio in effects(model, exact):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.999
        assert np.abs(moved).mean() < means
        assert abs(ratio.mean() - 1.0) < deviations
        assert np.abs(ratio - 1.0).max() < 0.12


@pytest.mark.parametrize(("structure", "family"), GENERALISED)
@pytest.mark.parametrize("solver", BIAS)
def test_log_likelihoods_differ_by_what_their_methods_leave_out(
    structure, family, solver
):
    """Quadrature by nothing; Laplace's formula by up to a hundredth for each effect."""
    model, exact = (fitted(structure, family, s) for s in (solver, "reference"))
    assert exact.log_likelihood_method_ == "importance"
    error = exact.mc_error_["log_likelihood"]
    assert error < 0.02
    left_out = exact.log_likelihood_ - model.log_likelihood_
    if model.log_likelihood_method_ == "quadrature":
        assert abs(left_out) < 4.0 * error + 1e-3
    else:
        assert model.log_likelihood_method_ == "laplace"
        n_effects = sum(b.size for b in exact.random_effects_.values())
        assert 0.0 < left_out < 0.01 * n_effects


@pytest.mark.parametrize(
    ("structure", "family"),
    [p for p in GENERALISED if isinstance(STRUCTURES[p.values[0]][1]["groups"], str)],
)
def test_quadrature_and_draws_find_the_same_maximum(structure, family):
    """Two exact likelihoods: nine nodes an effect, and 4096 draws a level."""
    nodes, draws = (fitted(structure, family, s) for s in ("quadrature", "reference"))
    assert nodes.converged_
    check_estimates(nodes, draws, (1e-4, 1e-4))
    assert_allclose(std_errors(nodes), std_errors(draws), rtol=2e-3)
    error = draws.mc_error_["log_likelihood"]
    assert abs(nodes.log_likelihood_ - draws.log_likelihood_) < 4.0 * error + 1e-3


@pytest.mark.parametrize(
    ("structure", "family"),
    [
        ("one factor", "counts"),
        pytest.param("crossed", "proportions", marks=pytest.mark.slow),
    ],
)
def test_estimates_scatter_over_random_states_as_their_errors_say(structure, family):
    base = fitted(structure, family, "reference")
    X, y = problem(structure, family)
    found, claimed = [], []
    for seed in range(16):
        model = type(base)(**base.get_params(deep=False))
        model.set_params(solver="mcem", random_state=seed).fit(X, y)
        found.append(np.concatenate(estimates(model)))
        claimed.append(np.concatenate(monte_carlo_errors(model)))
    scatter = np.std(found, axis=0, ddof=1)
    ratio = scatter / np.sqrt(np.mean(np.square(claimed), axis=0))
    assert np.all((0.5 < ratio) & (ratio < 2.0))
    off = np.mean(found, axis=0) - np.concatenate(estimates(base))
    error = np.hypot(scatter / 4.0, np.concatenate(monte_carlo_errors(base)))
    assert np.all(np.abs(off) < 4.0 * error)
