"""Monte Carlo EM finds what the exact integrals say, and knows its own error."""

import functools
import itertools
import warnings

import dense_generalized
import numpy as np
import pandas as pd
import pytest
from engine_problems import Engine
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp
from sklearn.exceptions import ConvergenceWarning

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._loops.coordinates import Coordinates
from skglmm._loops.linear import open_objective
from skglmm._loops.monte_carlo import ascend, louis, scores
from skglmm.datasets import (
    load_cbpp,
    load_dyestuff2,
    load_grouseticks,
    load_sleepstudy,
    make_mixed_regression,
)
from skglmm.engine import approximation, exact_sampler, generalized, samplers
from skglmm.solvers import MCEM, Laplace, Outcome


def std(model):
    return model.variance_components_["std"].to_numpy()


def std_error_of(model):
    return model.mc_error_["variance_components"]["std"].to_numpy()


# One factor: adaptive quadrature is exact


@functools.cache
def clusters_of_three(solver="mcem", state=0, **parameters):
    X, y = make_mixed_regression(
        3000, 1, n_groups=1000, group_std=1.5, family="bernoulli", random_state=5
    )
    solvers = {"mcem": MCEM(**parameters), "laplace": Laplace()}
    solver = solvers.get(solver) or Laplace(n_quadrature=15)
    model = MixedLogisticRegressor("g0", solver=solver, random_state=state)
    return model.fit(X, y)


def test_clusters_of_three_binary_rows_where_laplace_is_off():
    exact = clusters_of_three("quadrature")
    with pytest.warns(UserWarning, match="log-likelihood units off"):
        laplace = clusters_of_three("laplace")
    model = clusters_of_three()
    assert abs(std(laplace)[0] / std(exact)[0] - 1) > 0.05
    assert abs(std(model)[0] / std(exact)[0] - 1) < 0.01
    assert abs(std(model) - std(exact))[0] < 4 * std_error_of(model)[0]
    error = model.mc_error_["log_likelihood"]
    assert abs(model.log_likelihood_ - exact.log_likelihood_) < 4 * error < 1
    assert model.log_likelihood_method_ == "importance"
    assert model.sampling_["effective"] > 0.9
    ours, theirs = model.fixed_effects_, exact.fixed_effects_
    error = model.mc_error_["fixed_effects"]
    assert (abs(ours["estimate"] - theirs["estimate"]) < 4 * error).all()
    np.testing.assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.02)


@pytest.mark.slow
def test_chains_agree_with_quadrature():
    exact, model = clusters_of_three("quadrature"), clusters_of_three(sampler="hmc")
    assert model.sampling_["sampler"] == "hmc"
    assert model.log_likelihood_method_ == "bridge"
    assert abs(std(model) - std(exact))[0] < 4 * std_error_of(model)[0] < 0.1
    error = model.mc_error_["log_likelihood"]
    assert abs(model.log_likelihood_ - exact.log_likelihood_) < 4 * error < 1
    ours, theirs = model.fixed_effects_, exact.fixed_effects_
    error = model.mc_error_["fixed_effects"]
    assert (abs(ours["estimate"] - theirs["estimate"]) < 4 * error).all()
    np.testing.assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.05)


def test_posteriors_of_the_effects_are_those_of_one_dimensional_integrals():
    model = clusters_of_three()
    X, y = make_mixed_regression(
        3000, 1, n_groups=1000, group_std=1.5, family="bernoulli", random_state=5
    )
    grid = np.linspace(-9, 9, 2001) * std(model)[0]
    eta = model.intercept_ + X["x0"].to_numpy() * model.coef_[0, 0]
    means, sds = model.random_effects_["g0"], model.random_effects_std_["g0"]
    for level in means.index[:20]:
        mine = (X["g0"] == level).to_numpy()
        sign = np.where(y[mine] == 1, 1.0, -1.0)
        log_p = log_expit(sign[:, None] * (eta[mine][:, None] + grid)).sum(0)
        p = np.exp(log_p - 0.5 * (grid / std(model)[0]) ** 2)
        p /= p.sum()
        mean = p @ grid
        sd = np.sqrt(p @ (grid - mean) ** 2)
        assert abs(means.loc[level, "Intercept"] - mean) < 0.05 * sd
        assert abs(sds.loc[level, "Intercept"] / sd - 1) < 0.05


def test_estimates_scatter_as_their_monte_carlo_error_says():
    models = [clusters_of_three(state=state, n_samples=64) for state in range(12)]
    ours = np.array([std(model)[0] for model in models])
    errors = np.array([std_error_of(model)[0] for model in models])
    # the root of a mean of 11 chi-squares of one degree: 0.5 to 1.6 in 999 of 1000
    assert 0.5 < ours.std(ddof=1) / np.sqrt(np.mean(errors**2)) < 1.6
    exact = std(clusters_of_three("quadrature"))[0]
    assert abs(ours.mean() - exact) < 4 * ours.std(ddof=1) / np.sqrt(12)


def test_two_effects_a_level_and_counts_agree_with_quadrature():
    X, y = make_mixed_regression(
        1200,
        1,
        n_groups=200,
        n_random_slopes=1,
        group_std=0.8,
        family="poisson",
        random_state=2,
    )
    models = [
        MixedPoissonRegressor(
            "g0", random_slopes=["x0"], solver=solver, random_state=0
        ).fit(X, y)
        for solver in (Laplace(n_quadrature=11), MCEM())
    ]
    exact, model = models
    assert (abs(std(model) - std(exact)) < 4 * std_error_of(model) + 1e-3).all()
    np.testing.assert_allclose(std(model), std(exact), rtol=0.01)
    np.testing.assert_allclose(
        model.fixed_effects_["std_error"], exact.fixed_effects_["std_error"], rtol=0.03
    )


def test_one_level_a_row_and_proportions():
    X, y = load_cbpp(return_X_y=True, as_frame=True)
    X = X.assign(row=np.arange(len(X)), period=X["period"].astype(float))
    exact, model = (
        MixedBinomialRegressor("row", trials="size", solver=solver, random_state=0).fit(
            X.drop(columns="herd"), y
        )
        for solver in (Laplace(n_quadrature=25), MCEM(n_samples=1024))
    )
    assert abs(std(model) - std(exact))[0] < 4 * std_error_of(model)[0] + 1e-3
    assert abs(std(model) / std(exact) - 1)[0] < 0.02


# Several factors: small enough for a grid


def crossed_problem(seed=3):
    return dense_generalized.random_problem(
        "binomial", ["crossed", "crossed"], [3, 2], [1, 1], seed=seed, n=40
    )


def log_density(problem, coef, sds, effects):
    """Log-density of outcomes and effects, (m,) for effects (m, 5)."""
    eta = problem.offset + problem.X @ coef
    b = np.concatenate([sd * effects[:, :3] for sd in sds[:1]], 1)
    c = sds[1] * effects[:, 3:]
    first, second = problem.codes
    z_first, z_second = (z[:, 0] for z in problem.z)
    eta = eta + b[:, first] * z_first + c[:, second] * z_second
    n, y = problem.trials, problem.y
    rows = y * log_expit(eta) + (n - y) * log_expit(-eta)
    constant = dense_log_choose(n, y) @ problem.weight
    return rows @ problem.weight + constant - 0.5 * np.sum(effects**2, 1)


def dense_log_choose(n, y):
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)


def integral(problem, coef, sds, nodes=8):
    """Log-likelihood by Gauss-Hermite quadrature around the mode in five dimensions."""
    start = minimize(
        lambda u: -log_density(problem, coef, sds, u[None])[0], np.zeros(5)
    )
    step = 1e-4
    hessian = np.zeros((5, 5))
    for i, j in itertools.product(range(5), repeat=2):
        corner = [
            log_density(
                problem,
                coef,
                sds,
                (start.x + step * (a * np.eye(5)[i] + b * np.eye(5)[j]))[None],
            )[0]
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        hessian[i, j] = -(corner[0] - corner[1] - corner[2] + corner[3]) / (4 * step**2)
    root = np.linalg.cholesky(np.linalg.inv(hessian))
    x, w = hermegauss(nodes)
    grid = np.array(list(itertools.product(x, repeat=5)))
    weight = sum(np.meshgrid(*[np.log(w / w.sum())] * 5, indexing="ij")).ravel()
    values = log_density(problem, coef, sds, start.x + grid @ root.T)
    values += 0.5 * np.sum(grid**2, 1) + weight
    # the density of the effects is standard normal, without its constant
    return logsumexp(values) + np.log(np.diag(root)).sum()


@pytest.mark.parametrize(
    "kind", ["joint", pytest.param("chains", marks=pytest.mark.slow)]
)
def test_expectations_over_crossed_effects_are_those_of_a_grid(kind):
    problem = crossed_problem()
    engine = Engine(problem, ["full", "full"])
    order = engine.order
    coef, sds = np.array([0.3, -0.4]), np.array([0.9, 0.6])
    anchors = [np.array([[sds[r]]]) for r in order]
    with engine.session as run:
        objective = generalized.Variational(run, engine.family, None)
        objective.set_nodes(33)
        objective.evaluate(run.theta(anchors))
        gauss = approximation.Approximation(run, objective, anchors)
        make = {"joint": samplers.JointSampler, "chains": samplers.ChainSampler}[kind]
        sampler = make(gauss, 8192, np.random.default_rng(0))
        coordinates = Coordinates(
            run.structure.covariance, anchors, gauss.n_levels, len(coef)
        )
        roots = [np.eye(1), np.eye(1)]
        found = sampler.expect(coef, roots)
        score, noise = scores(coordinates, roots, found)
        value, error = sampler.log_likelihood()
        value -= 0.5 * objective.constant()

    def by_grid(phi):
        relative = np.empty(2)
        relative[list(order)] = phi[2:]
        return integral(problem, phi[:2], sds * relative)

    phi = np.array([*coef, 1.0, 1.0])
    exact = by_grid(phi)
    assert error < 0.05
    assert abs(value - exact) < 4 * error
    steps = 1e-3 * np.eye(4)
    slope = [(by_grid(phi + e) - by_grid(phi - e)) / 2e-3 for e in steps]
    errors = np.sqrt(np.diag(noise))
    assert (errors < 0.1).all()
    assert (abs(score - slope) < 4 * errors + 1e-3).all()


@pytest.mark.slow
def test_louis_information_is_the_second_derivative_of_the_grid():
    problem = crossed_problem()
    engine = Engine(problem, ["full", "full"])
    order = engine.order
    coef, sds = np.array([0.3, -0.4]), np.array([0.9, 0.6])
    anchors = [np.array([[sds[r]]]) for r in order]
    with engine.session as run:
        objective = generalized.Variational(run, engine.family, None)
        objective.set_nodes(33)
        objective.evaluate(run.theta(anchors))
        gauss = approximation.Approximation(run, objective, anchors)
        sampler = samplers.JointSampler(gauss, 65536, np.random.default_rng(0))
        coordinates = Coordinates(
            run.structure.covariance, anchors, gauss.n_levels, len(coef)
        )
        roots = [np.eye(1), np.eye(1)]
        found = sampler.expect(coef, roots)
        ours = louis(coordinates, roots, found, sampler.finish(coordinates))

    def by_grid(phi):
        relative = np.empty(2)
        relative[list(order)] = phi[2:]
        return integral(problem, phi[:2], sds * relative)

    phi, step = np.array([*coef, 1.0, 1.0]), 1e-2
    theirs = np.zeros((4, 4))
    for i, j in itertools.product(range(4), repeat=2):
        e, f = step * np.eye(4)[i], step * np.eye(4)[j]
        corners = by_grid(phi + e + f), by_grid(phi + e - f)
        others = by_grid(phi - e + f), by_grid(phi - e - f)
        theirs[i, j] = -(corners[0] - corners[1] - others[0] + others[1])
    theirs /= 4 * step**2
    assert (abs(ours - theirs) < 0.02 * abs(theirs).max()).all()


@functools.cache
def crossed_fit(sampler, state=0):
    X, y = make_mixed_regression(
        1200,
        1,
        n_groups=(60, 20),
        group_std=(1.0, 0.7),
        family="bernoulli",
        random_state=4,
    )
    model = MixedLogisticRegressor(
        ["g0", "g1"], solver=MCEM(sampler=sampler, n_samples=1024), random_state=state
    )
    return model.fit(X, y)


def test_importance_sampling_and_chains_agree_on_crossed_outcomes():
    joint, chains = crossed_fit("importance"), crossed_fit("hmc")
    assert joint.sampling_["sampler"] == "importance"
    error = np.hypot(std_error_of(joint), std_error_of(chains))
    assert (abs(std(joint) - std(chains)) < 4 * error).all()
    error = np.hypot(*(m.mc_error_["fixed_effects"] for m in (joint, chains)))
    difference = joint.fixed_effects_["estimate"] - chains.fixed_effects_["estimate"]
    assert (abs(difference) < 4 * error).all()
    error = np.hypot(*(m.mc_error_["log_likelihood"] for m in (joint, chains)))
    assert abs(joint.log_likelihood_ - chains.log_likelihood_) < 4 * error
    np.testing.assert_allclose(
        joint.fixed_effects_["std_error"],
        chains.fixed_effects_["std_error"],
        rtol=0.05,
    )
    for name, effects in joint.random_effects_.items():
        sd = joint.random_effects_std_[name]
        assert (abs(effects - chains.random_effects_[name]) < 0.3 * sd).all(axis=None)
        np.testing.assert_allclose(sd, chains.random_effects_std_[name], rtol=0.3)


@functools.cache
def many_effects(sampler):
    X, y = make_mixed_regression(
        6000,
        1,
        n_groups=(1500, 500),
        group_std=(1.0, 1.0),
        family="bernoulli",
        random_state=4,
    )
    solver = MCEM(n_samples=64, tol=0.5, sampler=sampler)
    model = MixedLogisticRegressor(["g0", "g1"], solver=solver, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return model.fit(X, y), [str(warning.message) for warning in caught]


@pytest.mark.slow
def test_many_effects_are_left_to_chains():
    model, caught = many_effects("auto")
    assert model.sampling_["sampler"] == "hmc"
    assert model.converged_
    assert not caught
    assert np.all(abs(std(model) - 1.0) < 0.2)


# The linear model


def test_a_linear_model_ends_at_its_maximum_to_the_error_that_it_tells():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    for reml in (True, False):
        exact, model = (
            MixedLinearRegressor(
                "Subject",
                random_slopes=["Days"],
                reml=reml,
                solver=solver,
                random_state=0,
            ).fit(X, y)
            for solver in ("vi", "mcem")
        )
        assert (abs(std(model) - std(exact)) < 4 * std_error_of(model)).all()
        assert (std_error_of(model) < 0.1 * std(model)).all()
        assert model.sampling_["sampler"] == "exact"
        gap = exact.log_likelihood_ - model.log_likelihood_
        assert -1e-6 < gap < 0.05


@pytest.mark.parametrize("reml", [True, False])
def test_draws_from_a_linear_model_find_the_maximum_from_far_away(reml):
    from types import SimpleNamespace

    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    caught = {}

    class Spy(MCEM):
        def solve(self, problem):
            caught["problem"] = problem
            return super().solve(problem)

    model = MixedLinearRegressor(
        "Subject", random_slopes=["Days"], reml=reml, solver=Spy(), random_state=0
    ).fit(X, y)
    problem = caught["problem"]
    with open_objective(problem, "cpu") as (run, objective):
        far = [np.array([[0.5, 0.0], [0.1, 0.8]])]
        coordinates = Coordinates(run.structure.covariance, far, [18], 0)
        sampler = exact_sampler.ExactSampler(
            run, objective.data, 2, far, 512, np.random.default_rng(1)
        )
        # a rough information: what the complete data would have
        information = np.diag([4.0 * 18, 2.0 * 18, 4.0 * 18]) / 2
        end = ascend(
            sampler,
            coordinates,
            coordinates.start(np.zeros(0)),
            np.linalg.inv(information),
            np.eye(0),
            0.0,
            SimpleNamespace(max_iter=2000, tol=0.1, n_kept=0),
        )
        root = far[0] @ coordinates.split(end.phi)[1][0]
        out = objective.evaluate(run.theta([root]))
    assert end.outcome is Outcome.CONVERGED
    sigma = float(out["fixed"]["variance"]) * root @ root.T
    recoding = problem.recodings[0]
    found = np.sqrt(np.diag(recoding @ sigma @ recoding.T))
    exact = MixedLinearRegressor("Subject", random_slopes=["Days"], reml=reml)
    np.testing.assert_allclose(found, std(exact.fit(X, y))[:2], rtol=0.02)
    np.testing.assert_allclose(found, std(model)[:2], rtol=0.03)


def test_a_variance_of_zero_stays_at_zero():
    X, y = load_dyestuff2(return_X_y=True, as_frame=True)
    with pytest.warns(UserWarning, match="Batch"):
        model = MixedLinearRegressor("Batch", solver="mcem", random_state=0).fit(X, y)
    assert model.singular_
    assert std(model)[0] == 0.0 == std_error_of(model)[0]


# Behaviour


def test_the_same_random_state_gives_the_same_numbers():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    for solver in (MCEM(n_samples=64), MCEM(n_samples=64, sampler="hmc")):
        fits = [
            MixedPoissonRegressor("BROOD", solver=solver, random_state=state).fit(X, y)
            for state in (1, 1, 2)
        ]
        same = [std(model)[0] for model in fits]
        assert same[0] == same[1] != same[2]
        draws = [model.random_effects_draws_["BROOD"] for model in fits]
        np.testing.assert_array_equal(draws[0], draws[1])
        effects = fits[0].random_effects_["BROOD"].to_numpy()
        sd = fits[0].random_effects_std_["BROOD"].to_numpy()
        kept = 100 if solver.sampler == "auto" else 64
        assert draws[0].shape == (kept, *effects.shape)
        far = (draws[0].mean(0) - effects) / (sd / 10)
        assert np.sqrt(np.mean(far**2)) < 1.5


def test_draws_of_a_linear_model_have_its_posterior():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    # with REML draws have the uncertainty of the fixed effects as well
    model = MixedLinearRegressor(
        "Subject", random_slopes=["Days"], reml=False, solver="mcem", random_state=0
    ).fit(X, y)
    draws = model.random_effects_draws_["Subject"]
    effects, sd = (
        frames["Subject"].to_numpy()
        for frames in (model.random_effects_, model.random_effects_std_)
    )
    assert draws.shape == (100, 18, 2)
    far = (draws.mean(0) - effects) / (sd / 10)
    assert 0.6 < np.sqrt(np.mean(far**2)) < 1.4
    assert 0.9 < np.mean(draws.var(0, ddof=1) / sd**2) < 1.1


def near_its_posterior(draws, model, name):
    """Whether draws (n, n_levels, q) have a model's means and standard deviations."""
    effects = model.random_effects_[name].to_numpy()
    sd = model.random_effects_std_[name].to_numpy()
    far = (draws.mean(0) - effects) / (sd / np.sqrt(len(draws)))
    assert 0.6 < np.sqrt(np.mean(far**2)) < 1.5
    assert 0.85 < np.mean(draws.var(0, ddof=1) / sd**2) < 1.15


@pytest.mark.parametrize("sampler", ["importance", "hmc"])
def test_draws_are_kept_of_each_step_and_change_nothing(sampler):
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    plain, kept = (
        MixedPoissonRegressor(
            "BROOD", solver=MCEM(sampler=sampler, keep=keep), random_state=0
        ).fit(X, y)
        for keep in (0, 64)
    )
    assert not hasattr(plain, "random_effects_trace_")
    np.testing.assert_array_equal(plain.coef_, kept.coef_)
    np.testing.assert_array_equal(std(plain), std(kept))
    trace = kept.random_effects_trace_["BROOD"]
    assert trace.shape == (kept.n_iter_, 64, 118, 1)
    near_its_posterior(trace[-1], kept, "BROOD")


def test_kept_draws_of_a_linear_model_have_its_posterior():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor(
        "Subject",
        random_slopes=["Days"],
        reml=False,
        solver=MCEM(keep=100),
        random_state=0,
    ).fit(X, y)
    trace = model.random_effects_trace_["Subject"]
    assert trace.shape == (len(model.history_), 100, 18, 2)
    for draws in trace:
        near_its_posterior(draws, model, "Subject")


@pytest.mark.slow
def test_a_smaller_tolerance_takes_more_draws_and_leaves_less_error():
    models = [clusters_of_three(sampler="hmc", tol=tol) for tol in (0.4, 0.05)]
    draws = [model.sampling_["n_samples"] for model in models]
    errors = [std_error_of(model)[0] for model in models]
    assert draws[0] < draws[1]
    assert errors[0] > errors[1]


def test_too_few_draws_from_the_approximation_are_reported():
    model, caught = many_effects("importance")
    assert not model.converged_
    assert len(caught) == 1
    assert "sampler='hmc'" in caught[0]


def test_a_count_of_iterations_is_no_convergence():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    solver = MCEM(max_iter=1, tol=1e-6)
    with pytest.warns(ConvergenceWarning, match="max_iter=1 "):
        MixedPoissonRegressor("BROOD", solver=solver, random_state=0).fit(X, y)


def test_samplers_have_their_models():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    with pytest.raises(ValueError, match="drawn from exactly"):
        MixedLinearRegressor("Subject", solver=MCEM(sampler="hmc")).fit(X, y)
    with pytest.raises(ValueError, match="for the linear model"):
        MixedPoissonRegressor("Subject", solver=MCEM(sampler="exact")).fit(
            X, np.round(y / 100)
        )


def test_without_groups_nothing_is_drawn():
    X, y = make_mixed_regression(200, 2, n_groups=5, family="bernoulli", random_state=0)
    X = X.drop(columns="g0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = MixedLogisticRegressor(solver="mcem").fit(X, y)
        theirs = MixedLogisticRegressor().fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_)
    p = expit(ours.intercept_ + X.to_numpy() @ ours.coef_[0])
    np.testing.assert_allclose(X.to_numpy().T @ (y - p), 0, atol=1e-4)


def test_a_weak_variance_does_not_collapse_whatever_the_random_state():
    rng = np.random.default_rng(3)
    n = 600
    X = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "g": rng.integers(20, size=n),
            "h": rng.integers(4, size=n),
        }
    )
    eta = 0.5 * X["x"] + 0.8 * rng.normal(size=20)[X["g"]]
    eta += 0.5 * rng.normal(size=80)[4 * X["g"] + X["h"]]
    y = rng.binomial(1, expit(eta))
    found, errors = [], []
    for state in (12, 13, 14, 19):
        model = MixedLogisticRegressor(
            ["g", ("g", "h")], solver=MCEM(), random_state=state
        ).fit(X, y)
        assert model.converged_
        found.append(std(model)[1])
        errors.append(std_error_of(model)[1])
    assert np.ptp(found) < 4 * np.sqrt(2) * max(errors) < 0.3


def test_few_draws_to_begin_with_become_more():
    model = clusters_of_three(n_samples=2)
    assert model.converged_
    assert model.sampling_["n_samples"] > 2


def test_chains_leave_neither_the_effects_nor_their_squares_where_they_were():
    model = clusters_of_three(sampler="hmc", n_samples=1024)
    assert model.sampling_["effective"] > 0.3


def test_without_any_variance_the_likelihood_is_that_of_the_plain_model():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=400), "g": np.arange(400) % 20})
    y = np.repeat([0, 1], 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLogisticRegressor("g", solver="mcem").fit(X, y)
        plain = MixedLogisticRegressor().fit(X[["x"]], y)
    if np.all(std(model) == 0):
        np.testing.assert_allclose(
            model.log_likelihood_, plain.log_likelihood_, rtol=1e-8
        )
    else:
        pytest.fail("the data were to have less variation than chance")
