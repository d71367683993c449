"""Missing values of fixed columns as unknowns of the model."""

import pickle

import numpy as np
import pandas as pd
import pytest
from engine_problems import coded_problem
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime, minimize
from scipy.stats import chi2, multivariate_normal, norm
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglmm import MixedLinearRegressor
from skglmm._fixed import augmentation, column_model, imputed, pooling
from skglmm._problem.coding import least_squares
from skglmm.datasets import make_mixed_regression
from skglmm.inference import coefficients, confidence_intervals
from skglmm.solvers import VI


def with_gaps(seed, n_rows=400, n_groups=40, share=0.3, at_random=True):
    """Rows that lack x0, more often where y and x1 are large; and the whole ones.

    A third of what is left of x0 given x1 is between groups.
    """
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), n_rows // n_groups)
    x1 = random.normal(size=n_rows)
    own = np.sqrt(0.3) * random.normal(size=n_groups)[group]
    own += np.sqrt(0.7) * random.normal(size=n_rows)
    x0 = 0.5 * x1 + np.sqrt(0.75) * own
    effects = 0.8 * random.normal(size=n_groups)
    y = 2.0 + x0 + 0.5 * x1 + effects[group] + random.normal(size=n_rows)
    whole = pd.DataFrame({"x0": x0, "x1": x1, "group": group})
    chance = np.full(n_rows, share)
    if at_random:
        seen = y + x1
        chance = 1.0 / (1.0 + np.exp((seen.mean() - seen) / seen.std()))
        chance *= share / chance.mean()
    gaps = random.random(n_rows) < chance
    return whole.assign(x0=np.where(gaps, np.nan, x0)), y, whole


def observed_objective(theta, X, y):
    """-log p(y, x0 where observed | x1): x0 and y of a group are jointly normal."""
    intercept, b0, b1, a0, a1 = theta[:5]
    between, noise, column_between, column_noise = np.exp(theta[5:])
    value = 0.0
    for group in np.unique(X["group"]):
        rows = (X["group"] == group).to_numpy()
        x0, x1 = X.loc[rows, "x0"].to_numpy(), X.loc[rows, "x1"].to_numpy()
        one, unit = np.ones((len(x0), len(x0))), np.eye(len(x0))
        of_x0 = column_between * one + column_noise * unit
        of_y = b0**2 * of_x0 + between * one + noise * unit
        covariance = np.block([[of_x0, b0 * of_x0], [b0 * of_x0, of_y]])
        mean = a0 + a1 * x1
        mean = np.r_[mean, intercept + b0 * mean + b1 * x1]
        there = np.r_[~np.isnan(x0), np.ones(len(x0), dtype=bool)]
        away = (np.r_[x0, y[rows]] - mean)[there]
        value -= multivariate_normal.logpdf(away, cov=covariance[np.ix_(there, there)])
    return value


@pytest.fixture(scope="module")
def problem():
    X, y, _ = with_gaps(1)
    return (
        X,
        y,
        MixedLinearRegressor("group", missing="model", random_state=0).fit(X, y),
    )


def test_tests_of_coefficients_are_normal_and_say_so(problem):
    X, y, model = problem
    with pytest.warns(UserWarning, match="normal distribution, df='normal'"):
        table = coefficients(model, X, y)
    z = model.fixed_effects_["estimate"] / model.fixed_effects_["std_error"]
    assert_allclose(table["p_value"], 2.0 * norm.sf(np.abs(z)), rtol=1e-12)
    with pytest.warns(UserWarning, match="normal distribution"):
        assert "p_value" in model.summary(X, y).fixed_effects
    with pytest.raises(ValueError, match="use df='normal'"):
        coefficients(model, X, y, df="kenward-roger")
    with pytest.raises(ValueError, match=r"coefficients\(model, X, y\)"):
        confidence_intervals(model, X, y)


@pytest.mark.slow
def test_estimates_and_errors_are_those_of_the_likelihood_of_what_was_observed(problem):
    X, y, model = problem
    start = np.r_[2.0, 1.0, 0.5, 0.0, 0.5, -0.9, 0.0, -1.5, -0.6]
    best = minimize(observed_objective, start, (X, y), method="BFGS")
    hessian = approx_fprime(
        best.x,
        lambda t: approx_fprime(t, observed_objective, 1e-5, X, y),
        1e-4,
    )
    std = np.sqrt(np.diag(np.linalg.inv(0.5 * (hessian + hessian.T))))[:3]
    found = model.fixed_effects_
    assert_allclose(
        (found["estimate"] - best.x[:3]) / std, 0.0, atol=0.25
    )  # a quarter of a standard error: Monte Carlo error and REML
    assert_allclose(found["std_error"], std, rtol=0.12)
    noise = np.exp(best.x[6])
    error = model.mc_error_["variance_components"].loc[("residual", ""), "variance"]
    assert abs(model.noise_variance_ - noise * 400 / 397) < 4 * error + 0.02 * noise


def test_rows_with_gaps_are_worth_more_than_nothing(problem):
    X, y, model = problem
    rows = X["x0"].notna()
    dropped = MixedLinearRegressor("group").fit(X[rows], y[rows])
    ours, theirs = model.fixed_effects_["std_error"], dropped.fixed_effects_
    assert ours["x1"] < 0.95 * theirs.loc["x1", "std_error"]
    lost = model.missing_information_
    assert list(lost.index) == ["Intercept", "x0", "x1"]
    # the gaps are in x0, which can be told from x1 in part only
    assert 0.0 < lost["Intercept"] < lost["x1"] < lost["x0"] < 0.5


@pytest.fixture
def few_tables(monkeypatch):
    monkeypatch.setattr(imputed, "_BURN_IN", 2)
    monkeypatch.setattr(imputed, "_FEWEST", 4)
    monkeypatch.setattr(pooling, "_ERROR", np.inf)


def test_a_seed_gives_the_same_estimates_again(problem, few_tables):
    X, y, _ = problem
    first, again, other = (
        MixedLinearRegressor("group", missing="model", random_state=seed).fit(X, y)
        for seed in (0, 0, 1)
    )
    assert first.sampling_["n_samples"] == 4
    assert_array_equal(again.coef_, first.coef_)
    assert_array_equal(again.random_effects_["group"], first.random_effects_["group"])
    away = (
        np.abs(other.coef_ - first.coef_) / first.fixed_effects_["std_error"].iloc[1:]
    )
    assert 0.0 < away.max() < 1.0


@pytest.mark.parametrize("reml", [True, False])
def test_a_table_without_gaps_is_fitted_as_ever(reml):
    _, y, whole = with_gaps(2)
    ours = MixedLinearRegressor("group", missing="model", reml=reml).fit(whole, y)
    plain = MixedLinearRegressor("group", reml=reml).fit(whole, y)
    assert_array_equal(ours.coef_, plain.coef_)
    assert ours.log_likelihood_ == plain.log_likelihood_
    assert_array_equal(ours.missing_information_, 0.0)
    assert_array_equal(ours.predict(whole), plain.predict(whole))


def test_units_do_not_matter(problem, few_tables):
    X, y, _ = problem
    model = MixedLinearRegressor("group", missing="model", random_state=0).fit(X, y)
    scaled = X.assign(x0=1e6 + 1e3 * X["x0"])
    other = MixedLinearRegressor("group", missing="model", random_state=0)
    other.fit(scaled, y)
    assert_allclose(other.coef_ * [1e3, 1.0], model.coef_, rtol=1e-4)
    std = model.fixed_effects_["std_error"].iloc[1:]
    others = other.fixed_effects_["std_error"].iloc[1:]
    assert_allclose(others * [1e3, 1.0], std, rtol=1e-4)


def test_an_offset_made_of_a_column_is_taken_from_its_coefficient(problem, few_tables):
    X, y, _ = problem
    model = MixedLinearRegressor("group", missing="model", random_state=0).fit(X, y)
    other = MixedLinearRegressor(
        "group", offset="o", missing="model", random_state=0
    ).fit(X.assign(o=4.0 * X["x1"]), y)
    std = model.fixed_effects_["std_error"].iloc[1:]
    moved = (model.coef_ - other.coef_ - [0.0, 4.0]) / std
    assert_allclose(moved, 0.0, atol=0.01)


@pytest.mark.slow
def test_a_slope_and_crossed_factors_may_be_there_as_well():
    X, y = make_mixed_regression(
        600, 2, n_groups=(30, 10), n_random_slopes=1, coef=[1.0, 1.0], random_state=3
    )
    gaps = np.random.default_rng(0).random(600) < 0.3
    holes = X.assign(x1=X["x1"].mask(gaps))
    parameters = {"groups": ["g0", "g1"], "random_slopes": {"g0": ["x0"]}}
    whole = MixedLinearRegressor(**parameters).fit(X, y)
    model = MixedLinearRegressor(**parameters, missing="model", random_state=0)
    model.fit(holes, y)
    std = model.fixed_effects_["std_error"]
    assert (std["x1"] > whole.fixed_effects_["std_error"]["x1"]).all()
    away = model.fixed_effects_["estimate"] - whole.fixed_effects_["estimate"]
    assert (np.abs(away) < 2.5 * std).all()
    for name in ("g0", "g1"):
        ours, theirs = model.random_effects_[name], whole.random_effects_[name]
        assert np.corrcoef(ours["Intercept"], theirs["Intercept"])[0, 1] > 0.9


def test_joint_draws_of_the_effects_have_their_posterior_distribution():
    random = np.random.default_rng(5)
    n, levels, noise, sd = 60, (6, 4), 0.7, (1.2, 0.5)
    codes = [np.r_[np.arange(k), random.integers(0, k, n - k)] for k in levels]
    X, y = random.normal(size=(n, 1)), random.normal(size=n)
    weight = random.integers(1, 4, n).astype(float)
    problem = coded_problem(X, codes, weight)
    design = problem.design
    user = np.argsort(np.arange(n) if design.order is None else design.order)
    Z = np.hstack(
        [c[:, None] == np.arange(k) for c, k in zip(codes, levels, strict=True)]
    )
    D = np.hstack([problem.border[user, :-1], Z.astype(float)])
    prior = np.diag(np.r_[0.0, 0.0, np.repeat(1.0 / np.square(sd), levels)])
    precision = D.T @ (weight[:, None] * D) / noise + prior
    # what is drawn is the coefficients and Z b; one effect is free between factors
    out = np.vstack([np.eye(2, D.shape[1]), np.c_[np.zeros((n, 2)), Z]])
    mean = out @ np.linalg.solve(precision, D.T @ (weight * y) / noise)
    covariance = out @ np.linalg.inv(precision) @ out.T
    inverse = np.linalg.pinv(covariance, 1e-9, True)
    rank = np.linalg.matrix_rank(covariance, 1e-9 * np.linalg.norm(covariance, 2))
    engine = design.plan.chain + design.plan.core
    roots = tuple(np.array([[sd[r]]]) for r in engine)
    generator = np.random.RandomState(0)
    distances, total, n_draws = 0.0, 0.0, 200
    for _ in range(n_draws):
        coef, part, _ = augmentation.draw(
            problem, design.rows(y), roots, noise, generator, "cpu", least_squares
        )
        away = np.r_[coef, part[user]] - mean
        distances += away @ inverse @ away
        total = total + away
    low, high = chi2.ppf([1e-4, 1 - 1e-4], n_draws * rank)
    assert low < distances < high
    at_mean = total @ inverse @ total / n_draws
    assert at_mean < chi2.ppf(1 - 1e-4, rank)


def test_gaps_in_several_columns(problem):
    random = np.random.default_rng(7)
    X, y, whole = with_gaps(3, share=0.2)
    X["x1"] = X["x1"].mask(random.random(len(X)) < 0.2)
    model = MixedLinearRegressor("group", missing="model", random_state=0).fit(X, y)
    complete = MixedLinearRegressor("group").fit(whole, y).fixed_effects_
    away = model.fixed_effects_["estimate"] - complete["estimate"]
    assert (np.abs(away) < 2.5 * model.fixed_effects_["std_error"]).all()
    assert (model.fixed_effects_["std_error"] > complete["std_error"]).all()


# ------------------------------------------------------------------- predictions


def test_a_gap_is_filled_by_its_conditional_mean():
    random = np.random.default_rng(2)
    root = random.normal(size=(4, 4))
    covariance, mean, coef = root @ root.T, random.normal(size=4), random.normal(size=4)
    X = random.normal(size=(5, 4))
    X[0, 1] = X[1, [0, 2]] = X[2, :] = np.nan
    filled, variance = column_model.ColumnModel(mean, covariance).fill(X, coef)
    for row in range(5):
        m, o = np.isnan(X[row]), ~np.isnan(X[row])
        slopes = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        left = covariance[np.ix_(m, m)] - slopes @ covariance[np.ix_(o, m)]
        assert_allclose(filled[row, m], mean[m] + slopes @ (X[row, o] - mean[o]))
        assert_array_equal(filled[row, o], X[row, o])
        assert_allclose(variance[row], coef[m] @ left @ coef[m], atol=1e-12)


def test_predictions_with_gaps_are_less_certain(problem):
    X, y, model = problem
    _, _, whole = with_gaps(1)
    gaps = X["x0"].isna().to_numpy()
    mean, std = model.predict(X, return_std=True)
    whole_mean, whole_std = model.predict(whole, return_std=True)
    assert_array_equal(mean[~gaps], whole_mean[~gaps])
    assert_allclose(std[~gaps], whole_std[~gaps])
    # x0 has the variance 0.75 given x1, and the slope 1
    added = std[gaps] ** 2 - whole_std[gaps] ** 2
    assert_allclose(added, 0.75 * model.coef_[0] ** 2, rtol=0.25)
    inside = np.abs(whole_mean - mean)[gaps] < 1.96 * np.sqrt(added)
    assert 0.88 < inside.mean() <= 1.0
    samples = model.sample_y(X[gaps][:3], 4000, random_state=0)
    assert_allclose(samples.std(axis=1), std[gaps][:3], rtol=0.08)
    interval = model.predict_interval(X[gaps][:3], 0.95)
    assert_allclose(np.diff(interval, axis=1)[:, 0], 2 * 1.95996 * std[gaps][:3], 1e-4)


def test_a_saved_model_predicts_rows_with_gaps(problem):
    X, _, model = problem
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.missing_information_.equals(model.missing_information_)


# ----------------------------------------------------------------------- refusals


def test_a_missing_value_is_an_error_unless_asked_for(problem):
    X, y, model = problem
    with pytest.raises(ValueError, match="column 'x0' .NaN or missing in"):
        MixedLinearRegressor("group").fit(X, y)
    assert not get_tags(MixedLinearRegressor()).input_tags.allow_nan
    assert get_tags(model).input_tags.allow_nan
    infinite = X.assign(x1=np.inf)
    with pytest.raises(ValueError, match="column 'x1' .infinite"):
        model.predict(infinite)
    with pytest.raises(ValueError, match="column 'x1' .infinite"):
        MixedLinearRegressor("group", missing="model").fit(infinite, y)


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({"random_slopes": ["x0"]}, {}, "random slope column 'x0' .NaN or missing"),
        ({"solver": "mcem"}, {}, "solver='mcem'"),
        ({"offset": "x1"}, {"x1": np.nan}, "offset column 'x1'"),
        ({}, {"x1": np.nan}, "'x1' has 0 values in 400 rows"),
        (
            {},
            {"x1": lambda X: (X["group"] * 1.5).mask(X["group"] > 3)},
            "'x1' has 4 values in 40 levels of 'group'",
        ),
        ({}, {"x1": lambda X: 2 * X["x0"]}, "linear combination"),
        ({"fixed_effects": VI}, {}, "fixed_effects"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(problem, parameters, change, message):
    X, y, _ = problem
    parameters = {"groups": "group", "missing": "model", **parameters}
    if parameters.get("fixed_effects"):
        from sklearn.linear_model import LinearRegression

        parameters["fixed_effects"] = LinearRegression()
    with pytest.raises(ValueError, match=message):
        MixedLinearRegressor(**parameters).fit(X.assign(**change), y)


def test_rows_of_weight_zero_may_hold_anything(problem):
    X, y, _ = problem
    rows = X["x0"].notna().to_numpy()
    model = MixedLinearRegressor("group", missing="model")
    model.fit(X, y, sample_weight=rows.astype(float))
    dropped = MixedLinearRegressor("group").fit(X[rows], y[rows])
    assert_allclose(model.coef_, dropped.coef_, rtol=1e-8)


@parametrize_with_checks([MixedLinearRegressor(missing="model")])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------ figures


@pytest.mark.slow
def test_coefficients_are_unbiased_and_intervals_cover():
    tables = [with_gaps(seed) for seed in range(50)]
    plain = MixedLinearRegressor("group")
    models = [
        clone(plain).set_params(missing="model", random_state=s) for s in range(50)
    ]
    models = Parallel(2)(
        delayed(model.fit)(X, y)
        for model, (X, y, _) in zip(models, tables, strict=True)
    )
    fits = [[model.fixed_effects_.to_numpy()] for model in models]
    for fit, (X, y, whole) in zip(fits, tables, strict=True):
        rows = X["x0"].notna()
        fit.append(plain.fit(X[rows], y[rows]).fixed_effects_.to_numpy())
        fit.append(plain.fit(whole, y).fixed_effects_.to_numpy())
    estimates, errors = np.moveaxis(fits, -1, 0)
    ours, dropped, whole = np.moveaxis(estimates, 1, 0)
    # fits to the whole tables have no bias, and share most of the sampling error
    for found, unbiased in ((ours, True), (dropped, False)):
        away = found - whole
        monte_carlo = away.std(axis=0, ddof=1) / np.sqrt(50)
        assert (np.abs(away.mean(axis=0)) < 2 * monte_carlo).all() == unbiased
    covered = np.abs(ours - [2.0, 1.0, 0.5]) < 1.96 * errors[:, 0]
    assert 0.91 <= covered.mean() <= 0.98
    information = np.mean(1.0 / errors[..., 1:] ** 2, axis=0)
    ours, dropped = information[:2] / information[2]
    assert (dropped < 0.72).all()
    assert (ours > dropped + 0.05).all()
