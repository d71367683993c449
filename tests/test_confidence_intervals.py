"""Intervals and profiles: lme4's answers, closed forms, other optimisers, words."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats

from skglmm import (
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._covariances import Related, add, remove
from skglmm.datasets import (
    load_cbpp,
    load_dyestuff,
    load_dyestuff2,
    load_pastes,
    load_penicillin,
    load_sleepstudy,
)
from skglmm.inference import confidence_intervals, profile
from skglmm.inference._charts import Chart
from skglmm.inference._parameters import parameters_of
from skglmm.inference._profile import profile_of
from skglmm.inference._rows import read_again
from skglmm.inference._space import open_space
from skglmm.solvers import Laplace

CUT = stats.norm.ppf(0.975)


def sleep(**parameters):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    parameters = {"random_slopes": ["Days"]} | parameters
    return MixedLinearRegressor("Subject", **parameters).fit(X, y), X, y


def pastes():
    X, y = load_pastes(return_X_y=True, as_frame=True)
    X = X[["batch", "cask"]]
    return MixedLinearRegressor(["batch", ("batch", "cask")]).fit(X, y), X, y


def penicillin():
    X, y = load_penicillin(return_X_y=True, as_frame=True)
    return MixedLinearRegressor(["plate", "sample"]).fit(X, y), X, y


def three_effects():
    """Seven coefficients of a covariance, and rows that know them well."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(12), 8)
    X = pd.DataFrame(rng.normal(size=(96, 2)), columns=["a", "b"]).assign(g=group)
    root = np.array([[1.0, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.3, 0.2, 0.8]])
    effects = rng.normal(size=(12, 3)) @ root.T
    y = 1.0 + 0.5 * X["a"] + effects[group, 0] + effects[group, 1] * X["a"]
    y = y + effects[group, 2] * X["b"] + rng.normal(size=96)
    return MixedLinearRegressor("g", random_slopes=["a", "b"]).fit(X, y), X, y


def counts(solver="laplace"):
    rng = np.random.default_rng(1)
    g, h = np.repeat(np.arange(8), 10), np.tile(np.arange(5), 16)
    X = pd.DataFrame({"g": g, "h": h, "x": rng.normal(size=80)})
    u, v = rng.normal(size=(8, 2)) * [0.6, 0.4], 0.4 * rng.normal(size=5)
    eta = 0.4 + u[g, 0] + (0.3 + u[g, 1]) * X["x"] + v[h]
    y = rng.poisson(np.exp(eta)).astype(float)
    model = MixedPoissonRegressor(["g", "h"], random_slopes={"g": ["x"]}, solver=solver)
    return model.fit(X, y), X, y


# Against others

# confint(fm, method = "profile", oldNames = FALSE) of
# fm <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE),
# (Days || Subject), lmer(strength ~ 1 + (1 | batch / cask), Pastes, REML = FALSE),
# lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, REML = FALSE),
# lmer(Yield ~ 1 + (1 | Batch), Dyestuff2, REML = FALSE)
LME4 = {
    "full": {
        ("fixed", "Intercept"): (237.6806954694, 265.1295146918),
        ("fixed", "Days"): (7.3586532953, 13.5759187415),
        ("Subject", "Intercept"): (14.3814811165, 37.7160187403),
        ("Subject", "Days"): (3.8011647624, 8.7533666593),
        ("Subject", "corr(Intercept, Days)"): (-0.4815004432, 0.68498613897),
        ("residual", ""): (22.898266215, 28.8579973227),
    },
    "diag": {
        ("fixed", "Intercept"): (237.572148, 265.23806177),
        ("fixed", "Days"): (7.334066827, 13.60050511),
        ("Subject", "Intercept"): (15.258646166, 37.78646394),
        ("Subject", "Days"): (3.964074373, 8.76916043),
        ("residual", ""): (22.88055468, 28.78759756),
    },
    "nested": {
        ("fixed", "Intercept"): (58.6636503786, 61.443016369),
        ("batch", "Intercept"): (0.0, 2.946591263),
        ("batch:cask", "Intercept"): (2.1579337383, 4.053588799),
        ("residual", ""): (0.6520233563, 1.08544809),
    },
    "crossed": {
        ("fixed", "Intercept"): (21.2666273831, 24.6778176162),
        ("plate", "Intercept"): (0.63356596596, 1.1821039753),
        ("sample", "Intercept"): (1.0957894653, 3.5562918644),
        ("residual", ""): (0.48584540012, 0.6294534786),
    },
    "zero": {
        ("fixed", "Intercept"): (4.312100217, 7.019092347),
        ("Batch", "Intercept"): (0.0, 2.084043489),
        ("residual", ""): (2.89283102, 4.815832552),
    },
}


def zero():
    X, y = load_dyestuff2(return_X_y=True, as_frame=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedLinearRegressor("Batch").fit(X, y), X, y


LINEAR = {
    "full": sleep,
    "diag": lambda: sleep(covariance="diag"),
    "nested": pastes,
    "crossed": penicillin,
    "zero": zero,
}


@pytest.mark.parametrize("name", LME4)
def test_profiles_are_lme4s(name):
    found = confidence_intervals(*LINEAR[name]())
    expected = pd.DataFrame(LME4[name], index=["lower", "upper"]).T
    assert list(found.index) == list(expected.index)
    assert found.index.names == ["group", "effect"]
    width = (expected["upper"] - expected["lower"]).to_numpy()[:, None]
    away = (found[["lower", "upper"]] - expected).to_numpy() / width
    assert np.max(np.abs(away)) < 1e-3


def test_counts_and_outcomes_are_lme4s():
    # confint(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp,
    # binomial), oldNames = FALSE)
    X, y = load_cbpp(return_X_y=True, as_frame=True)
    expected = [
        (-1.9012119549, -0.94775400596),
        (-1.6167832557, -0.40776306776),
        (-1.8010243656, -0.51153607127),
        (-2.500750563, -0.80075531529),
        (0.34607320333, 1.0999746482),
    ]
    rows, outcome, weight = outcomes(X, y)
    model = MixedLogisticRegressor("herd", solver="laplace")
    model.fit(rows, outcome, weight)
    found = confidence_intervals(model, rows, outcome, sample_weight=weight)
    away = found[["lower", "upper"]].to_numpy() - expected
    assert np.max(np.abs(away) / np.diff(expected)) < 2e-3


def outcomes(X, y):
    """Rows of successes and failures with frequencies, and dummies of the period."""
    period = pd.get_dummies(X["period"].astype(str), drop_first=True, dtype=float)
    rows = pd.concat([period, X[["herd"]]], axis=1)
    trials = X["size"].to_numpy(float)
    successes = np.round(y.to_numpy(float) * trials) if max(y) <= 1 else y.to_numpy()
    weight = np.r_[successes, trials - successes]
    outcome = np.r_[np.ones(len(X)), np.zeros(len(X))]
    return pd.concat([rows, rows], ignore_index=True), outcome, weight


def test_without_groups_ends_have_a_formula():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X = X[["Days"]]
    with pytest.warns(UserWarning, match="No groups"):
        model = MixedLinearRegressor().fit(X, y)
    found = confidence_intervals(model, X, y)
    n, design = len(y), np.column_stack([np.ones(len(y)), X])
    coef, (square,), *_ = np.linalg.lstsq(design, y.to_numpy(), rcond=None)
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    # the residual sum of squares rises by the factor exp(z^2 / n)
    half = spread * np.sqrt(square * np.expm1(CUT**2 / n))
    assert_allclose(found["lower"].iloc[:2], coef - half, rtol=1e-5)
    assert_allclose(found["upper"].iloc[:2], coef + half, rtol=1e-5)
    best = np.sqrt(square / n)

    def rise(sigma):
        ratio = (best / sigma) ** 2
        return n * (ratio - 1.0 - np.log(ratio)) - CUT**2

    expected = [
        optimize.brentq(rise, 0.5 * best, best),
        optimize.brentq(rise, best, 2.0 * best),
    ]
    assert_allclose(found.loc[("residual", ""), ["lower", "upper"]], expected, 1e-5)


def test_balanced_groups_have_another_formula():
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch").fit(X, y)
    of_batch = y.groupby(X["Batch"].to_numpy())
    J, m = 6, 5
    within = float(np.sum((y.to_numpy() - of_batch.transform("mean")) ** 2))
    between = m * float(np.sum((of_batch.mean() - y.mean()) ** 2))

    def deviance(sd, log_sigma):
        sigma2 = np.exp(2.0 * log_sigma)
        total = sigma2 + m * sd**2
        logs = J * (m - 1) * np.log(sigma2) + J * np.log(total)
        return logs + within / sigma2 + between / total

    def held(sd):
        return optimize.minimize_scalar(
            lambda s: deviance(sd, s), bounds=(2.0, 6.0), options={"xatol": 1e-10}
        ).fun

    best = optimize.minimize_scalar(held, bounds=(1.0, 200.0))
    expected = [
        optimize.brentq(lambda sd: held(sd) - best.fun - CUT**2, *ends)
        for ends in ((0.0, best.x), (best.x, 500.0))
    ]
    found = confidence_intervals(model, X, y, parameters="Batch")
    assert_allclose(found[["lower", "upper"]].to_numpy()[0], expected, rtol=1e-4)
    points = profile_of(
        model, read_again(model, X, y, None, None), ("Batch", "Intercept")
    )
    roots = [np.sqrt(max(held(sd) - best.fun, 0.0)) for sd in points["value"]]
    assert_allclose(np.abs(points["zeta"]), roots, atol=2e-3)
    assert (np.diff(points["zeta"]) > 0.0).all()


def test_three_effects_are_another_optimisers():
    model, X, y = three_effects()
    labels = [("g", "b"), ("g", "corr(Intercept, b)"), ("g", "corr(a, b)")]
    found = confidence_intervals(model, X, y, parameters=labels)
    deviance = dense_deviance(X, y.to_numpy())
    best = minimum(lambda x: deviance(lower(x[:6]), x[6]), 7)

    def held_sd(value, x):
        return permuted(lower(np.r_[value, x[:5]]), (2, 0, 1)), x[5]

    def held_corr(order, value, x):
        b = np.exp(x[1])
        second = b * value, b * np.sqrt(1.0 - value**2)
        return permuted(lower(np.r_[np.exp(x[0]), second, x[2:5]]), order), x[5]

    makers = [
        held_sd,
        lambda value, x: held_corr((0, 2, 1), value, x),
        lambda value, x: held_corr((1, 2, 0), value, x),
    ]
    for (_, row), maker in zip(found.iterrows(), makers, strict=True):
        for end in (row["lower"], row["upper"]):
            held = minimum(lambda x, e=end, m=maker: deviance(*m(e, x)), 6)
            assert_allclose(held - best, CUT**2, atol=2e-3)


def lower(entries):
    root = np.zeros((3, 3))
    root[np.tril_indices(3)] = entries
    return root


def permuted(root, order):
    """A root whose rows belong to effects in another order."""
    return root[np.argsort(order)]


def dense_deviance(X, y):
    parts = [
        (np.column_stack([np.ones(len(rows)), rows[["a", "b"]]]), y[rows.index])
        for _, rows in X.groupby("g")
    ]

    def deviance(root, log_sigma):
        xx, xy, total = 0.0, 0.0, 0.0
        for z, target in parts:
            half = z @ root
            V = half @ half.T + np.exp(2.0 * log_sigma) * np.eye(len(z))
            solved = np.linalg.solve(V, np.column_stack([z, target]))
            xx, xy = xx + z.T @ solved[:, :3], xy + z.T @ solved[:, 3]
            total += target @ solved[:, 3] + np.linalg.slogdet(V)[1]
        return total - xy @ np.linalg.solve(xx, xy)

    return deviance


def minimum(function, n):
    rng, best = np.random.default_rng(0), np.inf
    for _ in range(3):
        start = np.r_[0.5 + 0.2 * rng.normal(size=n - 1), 0.0]
        with np.errstate(all="ignore"):
            best = min(best, optimize.minimize(function, start, method="BFGS").fun)
    return best


# Coordinates


CHARTS = {
    "full": sleep,
    "diag": lambda: sleep(covariance="diag"),
    "scalar": lambda: sleep(covariance="scalar"),
    "nested": pastes,
    "crossed": penicillin,
    "three": three_effects,
    "counts": counts,
}


@pytest.mark.parametrize("name", CHARTS)
def test_gradients_are_differences(name):
    model, X, y = CHARTS[name]()
    inputs = read_again(model, X, y, None, None)
    rng = np.random.default_rng(0)
    with open_space(model, inputs, refit=False) as (space, point):
        for label, estimate in parameters_of(model).items():
            chart = space.chart(*label)
            u = chart.start(point)
            assert_allclose(chart.to_value(u[chart.at]), estimate, rtol=1e-6)
            u = u + 0.1 * chart.sizes(u) * rng.normal(size=len(u))
            for reml in {False, space.restricted and label[0] != "fixed"}:
                _, gradient = chart.evaluate(u, reml)
                steps = np.diag(1e-4 * chart.sizes(u))
                expected = [
                    (chart.evaluate(u + h, reml)[0] - chart.evaluate(u - h, reml)[0])
                    / (2.0 * h.sum())
                    for h in steps
                ]
                scale = np.abs(expected).max() + 1.0
                assert_allclose(gradient, expected, atol=2e-5 * scale)


def test_a_point_is_where_its_coordinates_are():
    model, X, y = three_effects()
    inputs = read_again(model, X, y, None, None)
    with open_space(model, inputs, refit=False) as (space, point):
        for label in parameters_of(model).index[3:]:
            chart = space.chart(*label)
            u = chart.start(point)
            there = space.covariances(chart.point(u))[0]["g"]
            expected = model.random_effects_covariance_["g"]
            assert_allclose(there, expected, rtol=1e-8, atol=1e-10)


# Boundaries


def test_a_correlation_is_open_where_a_deviation_may_be_zero():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"g": np.repeat(np.arange(12), 5), "t": np.tile(np.arange(5), 12)})
    effect = rng.normal(size=(12, 2)) * [1.0, 0.2]
    y = effect[X["g"], 0] + (0.5 + effect[X["g"], 1]) * X["t"] + rng.normal(size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLinearRegressor("g", random_slopes=["t"]).fit(X, y)
        found = confidence_intervals(model, X, y, parameters="g")
    assert found.loc[("g", "t"), "lower"] == 0.0
    correlation = found.loc[("g", "corr(Intercept, t)")]
    assert list(correlation[["lower", "upper"]]) == [-1.0, 1.0]


def test_a_likelihood_that_levels_off_has_no_end():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": np.repeat([0.0, 1.0], 40), "g": np.tile(np.arange(8), 10)})
    y = np.where(X["x"] > 0.0, 1.0, rng.integers(2, size=80))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLogisticRegressor("g", solver="laplace").fit(X, y)
    with pytest.warns(UserWarning, match=r"\('fixed', 'x'\) never falls"):
        found = confidence_intervals(model, X, y, parameters=[("fixed", "x")])
    lower, upper = found[["lower", "upper"]].to_numpy()[0]
    assert np.isfinite(lower)
    assert upper == np.inf


def test_columns_that_depend_on_others_have_none():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X = X.assign(copy=2.0 * X["Days"])
    with pytest.warns(UserWarning, match="copy"):
        model = MixedLinearRegressor("Subject").fit(X, y)
    with pytest.warns(UserWarning, match="depends on others"):
        found = confidence_intervals(model, X, y, parameters="fixed")
    assert list(np.isnan(found["lower"])) == [False, False, True]


# Invariances


def test_origins_units_and_frequencies_change_nothing_else():
    model, X, y = sleep()
    plain = confidence_intervals(model, X, y)
    later = X.assign(Days=X["Days"] + 2000.0)
    moved = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(later, y)
    label = [("fixed", "Days"), ("Subject", "Days"), ("residual", "")]
    found = confidence_intervals(moved, later, y, parameters=label)
    assert_allclose(found, plain.loc[found.index], rtol=1e-4)
    large = sleep()[0].fit(X, 1e60 * y)
    found = confidence_intervals(large, X, 1e60 * y)
    scale = np.array([1e60, 1e60, 1e60, 1e60, 1.0, 1e60])[:, None]
    assert_allclose(found / scale, plain, rtol=1e-5)


def test_a_row_twice_is_a_row_of_weight_two():
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    weight = np.tile([1.0, 2.0, 3.0], 10)
    twice = np.repeat(np.arange(30), weight.astype(int))
    model = MixedLinearRegressor("Batch").fit(X, y, weight)
    found = confidence_intervals(model, X, y, sample_weight=weight)
    X, y = X.iloc[twice], y.iloc[twice]
    expected = confidence_intervals(MixedLinearRegressor("Batch").fit(X, y), X, y)
    assert_allclose(found, expected, rtol=1e-5)


def test_related_levels_have_intervals():
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    batches = sorted(X["Batch"].unique())
    add(Related("unrelated", batches, np.eye(len(batches))))
    try:
        kin = MixedLinearRegressor("Batch", covariance="unrelated").fit(X, y)
        found = confidence_intervals(kin, X, y)
    finally:
        remove("unrelated")
    expected = confidence_intervals(MixedLinearRegressor("Batch").fit(X, y), X, y)
    assert_allclose(found, expected, rtol=1e-5)


def test_bounds_and_laplace_have_one_likelihood():
    model, X, y = counts()
    found = confidence_intervals(model, X, y, parameters="fixed")
    other = confidence_intervals(counts("vi")[0], X, y, parameters="fixed")
    names = ["lower", "upper"]
    assert_allclose(found[names], other[names], rtol=1e-4)
    rough = confidence_intervals(model, X, y, method="wald", parameters="fixed")
    assert_allclose(found[names], rough[names], atol=0.15)


# Wald


def test_wald_is_the_curvature_of_a_balanced_design():
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch").fit(X, y)
    found = confidence_intervals(model, X, y, method="wald")
    sigma2 = model.noise_variance_
    between = model.random_effects_covariance_["Batch"][0, 0]
    total = sigma2 + 5.0 * between
    # REML: mean squares with 24 and 5 degrees of freedom, independent of each other
    v_sigma, v_total = 2.0 * sigma2**2 / 24.0, 2.0 * total**2 / 5.0
    log_sd = np.sqrt((v_total + v_sigma) / 25.0) / (2.0 * between)
    log_sigma = np.sqrt(v_sigma) / (2.0 * sigma2)
    expected = [
        np.sqrt(between) * np.exp([-CUT * log_sd, CUT * log_sd]),
        np.sqrt(sigma2) * np.exp([-CUT * log_sigma, CUT * log_sigma]),
    ]
    assert_allclose(found[["lower", "upper"]].to_numpy()[1:], expected, rtol=1e-5)
    error = model.fixed_effects_["std_error"].iloc[0]
    assert_allclose(found["upper"].iloc[0], 1527.5 + CUT * error)


def test_wald_says_where_there_is_none():
    model, X, y = zero()
    with pytest.warns(UserWarning, match=r"no such interval of \('Batch', 'Inter"):
        found = confidence_intervals(model, X, y, method="wald")
    assert list(np.isnan(found["lower"])) == [False, True, False]


# Words


def test_parameters_are_chosen_by_label_and_by_group():
    model, X, y = sleep()
    both = confidence_intervals(
        model, X, y, parameters=["residual", ("fixed", "Days")], coverage=0.5
    )
    assert list(both.index) == [("fixed", "Days"), ("residual", "")]
    one = confidence_intervals(model, X, y, parameters=("fixed", "Days"), coverage=0.5)
    assert_allclose(one, both.iloc[:1])
    assert 9.0 < one["lower"].iloc[0] < 10.0 < 11.0 < one["upper"].iloc[0] < 12.0
    with pytest.raises(ValueError, match=r"names 'Days'.*\('Subject', 'Days'\)"):
        confidence_intervals(model, X, y, parameters=["Days"])


def test_other_rows_are_refused():
    model, X, y = sleep()
    mixed = y.to_numpy()[np.random.default_rng(0).permutation(len(y))]
    with pytest.raises(ValueError, match="not the rows .* log-likelihood"):
        confidence_intervals(model, X, mixed)


def test_missing_values_are_refused():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X = X.assign(extra=np.where(np.arange(len(y)) % 20 == 0, np.nan, X["Days"] ** 2))
    model = MixedLinearRegressor("Subject", missing="model").fit(X, y)
    with pytest.raises(ValueError, match="values of the fixed columns are missing"):
        confidence_intervals(model, X, y)


def test_profiles_are_a_tidy_table():
    model, X, y = sleep()
    found = profile(model, X, y, parameters=[("fixed", "Days"), "residual"])
    assert list(found.columns) == ["group", "effect", "value", "zeta"]
    for _, part in found.groupby(["group", "effect"]):
        assert (np.diff(part["value"]) > 0.0).all()
        assert (np.diff(part["zeta"]) > 0.0).all()
        assert part["zeta"].min() < -2.5
        assert part["zeta"].max() > 2.5
    days = found[found["effect"] == "Days"]
    assert_allclose(
        np.interp([-CUT, CUT], days["zeta"], days["value"]),
        LME4["full"]["fixed", "Days"],
        rtol=5e-3,
    )


def test_rows_are_read_once(monkeypatch):
    calls, before = [], Chart.evaluate
    monkeypatch.setattr(
        Chart, "evaluate", lambda *args: calls.append(1) or before(*args)
    )
    confidence_intervals(*sleep())
    assert len(calls) < 200  # six parameters, both ends


@pytest.mark.slow
def test_deviations_are_covered():
    path = Path(__file__).parent / "benchmarks" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # three standard errors of 1,000 draws: a profile by ML of 20 groups covers .94
    found = module.coverage(1000, parameters="group")
    assert found.between(0.93, 0.97).all()


def test_quadrature_is_as_it_was_fitted():
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"g": np.repeat(np.arange(15), 6)})
    eta = rng.normal(size=15)[X["g"]]
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    model = MixedLogisticRegressor("g", solver=Laplace(n_quadrature=15)).fit(X, y)
    found = confidence_intervals(model, X, y, parameters="fixed")
    nodes, log_weights = np.polynomial.hermite_e.hermegauss(60)
    ones, trials = (y.reshape(15, 6).sum(axis=1), 6)

    def deviance(beta, sd):
        p = 1.0 / (1.0 + np.exp(-beta - sd * nodes))
        like = p ** ones[:, None] * (1.0 - p) ** (trials - ones[:, None])
        return -2.0 * np.sum(np.log(like @ log_weights / np.sqrt(2.0 * np.pi)))

    def held(beta):
        return optimize.minimize_scalar(
            lambda sd: deviance(beta, sd), bounds=(0.0, 4.0), method="bounded"
        ).fun

    best = optimize.minimize_scalar(held, bounds=(-2.0, 2.0), method="bounded").fun
    for end in found[["lower", "upper"]].to_numpy()[0]:
        assert_allclose(held(end) - best, CUT**2, atol=2e-3)
