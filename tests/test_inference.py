"""Tests of coefficients: lmerTest's answers, closed forms, invariances, words."""

import functools
import json
import warnings

import numpy as np
import oracle_problems as oracles
import pandas as pd
import pytest
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import (
    load_dyestuff,
    load_dyestuff2,
    load_sleepstudy,
    make_mixed_regression,
)
from skglmm.inference import coefficients, compare, random_effects_tests
from skglmm.solvers import Laplace

PROBLEMS = [
    "linear_offset",
    "nested_within_crossed",
    "penicillin_crossed",
    "radon_slopes",
    "slope_without_intercept",
    "slopes_on_two_factors",
    "sleepstudy_slopes",
    "sleepstudy_uncorrelated",
    "three_effects",
]
INFERENCE = sorted(path.stem for path in (oracles.ORACLES / "inference").glob("*.json"))


@functools.cache
def fitted(name, method="reml"):
    """Answer, columns, target, weights and model of a stored problem."""
    ref, data = oracles.load(name, method)
    model = MixedLinearRegressor(
        reml=method == "reml", **oracles.estimator_parameters(ref)
    )
    weight = data["weight"] if ref["has_weight"] else None
    X, y = data[oracles.model_columns(ref)], data["y"]
    return ref, X, y, weight, model.fit(X, y, weight)


@functools.cache
def sleep(**parameters):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    parameters = {"random_slopes": "Days"} | parameters
    return X, y, MixedLinearRegressor("Subject", **parameters).fit(X, y)


@pytest.mark.parametrize("name", PROBLEMS)
def test_satterthwaite_is_lmertests(name):
    ref, X, y, weight, model = fitted(name)
    table = coefficients(model, X, y, sample_weight=weight)
    expected = list(ref["satterthwaite_df"].values())
    np.testing.assert_allclose(table["df"], expected, rtol=2e-3)
    assert table.index.equals(model.fixed_effects_.index)
    assert table[["estimate", "std_error"]].equals(model.fixed_effects_)


def inference_answer(name):
    text = (oracles.ORACLES / "inference" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.mark.parametrize("name", INFERENCE)
def test_tests_are_those_of_lmertest_and_pbkrtest(name):
    answer = inference_answer(name)
    _, X, y, _, model = fitted(name.removesuffix(".reml"))
    table = coefficients(model, X, y)
    np.testing.assert_allclose(table["statistic"], answer["t"], rtol=1e-4)
    np.testing.assert_allclose(table["p_value"], answer["p"], rtol=1e-2)
    table = coefficients(model, X, y, df="kenward-roger")
    np.testing.assert_allclose(table["df"], answer["kenward_roger_df"], rtol=2e-3)
    expected = answer["kenward_roger_std_error"]
    np.testing.assert_allclose(table["std_error"], expected, rtol=1e-4)


@pytest.mark.parametrize("name", INFERENCE)
def test_random_terms_are_tested_as_by_ranova(name):
    answer = inference_answer(name)["random_tests"]
    _, X, y, _, model = fitted(name.removesuffix(".reml"))
    table = random_effects_tests(model, X, y)
    order = np.argsort(np.atleast_1d(answer["lrt"]))
    found = table.sort_values("chi2")
    for column, key in [("chi2", "lrt"), ("df", "df"), ("p_value", "p")]:
        expected = np.atleast_1d(answer[key])[order]
        np.testing.assert_allclose(found[column], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_balanced_designs_have_a_degree_of_freedom_less_than_groups(df):
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch").fit(X, y)
    table = coefficients(model, X, y, df=df)
    assert table["df"].item() == pytest.approx(5.0, rel=1e-5)
    X, y, model = sleep()
    table = coefficients(model, X, y, df=df)
    np.testing.assert_allclose(table["df"], 17.0, rtol=1e-5)


@pytest.mark.parametrize("reml", [True, False])
def test_without_groups_it_is_ordinary_regression(reml):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 2)), columns=["a", "b"])
    y = X["a"] + rng.normal(size=30)
    with pytest.warns(UserWarning, match="no random effects|No groups"):
        model = MixedLinearRegressor(reml=reml).fit(X, y)
    table = coefficients(model, X, y)
    np.testing.assert_allclose(table["df"], 27.0 if reml else 30.0)
    if reml:
        kenward_roger = coefficients(model, X, y, df="kenward-roger")
        pd.testing.assert_frame_equal(kenward_roger, table)


def test_intervals_and_tests_agree():
    X, y, model = sleep()
    table = coefficients(model, X, y)
    level = 1.0 - table.loc["Days", "p_value"]
    edge = coefficients(model, X, y, coverage=level).loc["Days"]
    assert edge["lower"] == pytest.approx(0.0, abs=1e-6)
    normal = coefficients(model, X, y, df="normal")
    np.testing.assert_allclose(
        normal["upper"] - normal["estimate"], 1.959964 * normal["std_error"], rtol=1e-6
    )
    assert np.isinf(normal["df"]).all()


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_units_origins_and_order_do_not_matter(df):
    _, X, y, _, model = fitted("radon_slopes")
    table = coefficients(model, X, y, df=df)
    order = np.random.default_rng(0).permutation(len(y))
    other_X = X.iloc[order].assign(x2=lambda t: 1e6 * t["x2"] + 3.0)
    other_y = 1e70 * y.iloc[order]
    other = coefficients(clone(model).fit(other_X, other_y), other_X, other_y, df=df)
    same = ["x1", "x2"]
    for column in ("df", "statistic"):
        np.testing.assert_allclose(
            other.loc[same, column], table.loc[same, column], rtol=1e-4
        )
    np.testing.assert_allclose(
        other.loc["x2", "std_error"], 1e64 * table.loc["x2", "std_error"], rtol=1e-5
    )


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_weights_are_repeated_rows(df):
    ref, X, y, weight, model = fitted("frequency_weights")
    table = coefficients(model, X, y, sample_weight=weight, df=df)
    repeats = weight.astype(int)
    many_X, many_y = X.loc[X.index.repeat(repeats)], y.loc[y.index.repeat(repeats)]
    many = coefficients(clone(model).fit(many_X, many_y), many_X, many_y, df=df)
    pd.testing.assert_frame_equal(many, table, rtol=1e-5)


def test_groups_that_came_through_fit():
    X, y, model = sleep()
    table = coefficients(model, X, y)
    apart = MixedLinearRegressor(random_slopes="Days")
    apart.fit(X[["Days"]], y, groups=X["Subject"])
    found = coefficients(apart, X[["Days"]], y, groups=X["Subject"])
    pd.testing.assert_frame_equal(found, table)
    with pytest.raises(ValueError, match="hand them over here"):
        coefficients(apart, X[["Days"]], y)


def test_kenward_roger_is_dense_algebra():
    """The formulas with matrices of all rows, two factors that are crossed."""
    X, y = make_mixed_regression(60, 2, n_groups=[6, 5], random_state=0)
    model = MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]}).fit(X, y)
    table = coefficients(model, X, y, df="kenward-roger")
    D = np.column_stack([np.ones(60), X[["x0", "x1"]]])
    one, two = (pd.get_dummies(X[g]).to_numpy(float) for g in ("g0", "g1"))
    slope = one * X["x0"].to_numpy()[:, None]
    a = model.random_effects_covariance_["g0"]
    b = model.random_effects_covariance_["g1"].item()
    mixed = one @ slope.T + slope @ one.T
    parts = [np.eye(60), one @ one.T, mixed, slope @ slope.T, two @ two.T]
    sizes = [model.noise_variance_, a[0, 0], a[0, 1], a[1, 1], b]
    W = np.linalg.inv(sum(s * part for s, part in zip(sizes, parts, strict=True)))
    phi = np.linalg.inv(D.T @ W @ D)
    P = [-D.T @ W @ v @ W @ D for v in parts]
    Q = [[D.T @ W @ v @ W @ u @ W @ D for u in parts] for v in parts]
    information = [
        [
            np.trace(W @ parts[i] @ W @ parts[j])
            - 2.0 * np.trace(phi @ Q[i][j])
            + np.trace(phi @ P[i] @ phi @ P[j])
            for j in range(5)
        ]
        for i in range(5)
    ]
    spread = 2.0 * np.linalg.inv(information)
    inner = sum(
        spread[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i in range(5) for j in range(5)
    )
    adjusted = phi + 2.0 * phi @ inner @ phi
    np.testing.assert_allclose(
        table["std_error"], np.sqrt(np.diag(adjusted)), rtol=1e-6
    )
    slopes = np.array([np.diag(phi @ p @ phi) for p in P])
    df = 2.0 * np.diag(phi) ** 2 / np.einsum("ia,ij,ja->a", slopes, spread, slopes)
    np.testing.assert_allclose(table["df"], df, rtol=1e-6)


def test_a_zero_variance_counts_as_known_and_is_said():
    X, y = load_dyestuff2(return_X_y=True, as_frame=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLinearRegressor("Batch").fit(X, y)
    with pytest.warns(UserWarning, match="'Batch' is singular: its zero variances"):
        table = coefficients(model, X, y)
    # rows less the intercept: nothing but the residual variance is estimated
    assert table["df"].item() == pytest.approx(29.0)


def test_redundant_columns_have_no_test():
    X, y, _ = sleep()
    X = X.assign(again=2.0 * X["Days"])
    with pytest.warns(UserWarning, match="again"):
        model = MixedLinearRegressor("Subject", random_slopes="Days").fit(X, y)
    for df in ("satterthwaite", "kenward-roger"):
        table = coefficients(model, X, y, df=df)
        assert table.loc["again"].drop("estimate").isna().all()
        assert table.loc["Days", "df"] == pytest.approx(17.0, rel=1e-4)


def test_ratios_of_counts_and_odds():
    X, y = make_mixed_regression(200, 1, n_groups=10, random_state=0)
    counts, classes = np.round(np.abs(y)), y > np.median(y)
    for kind, target in (
        (MixedPoissonRegressor, counts),
        (MixedLogisticRegressor, classes),
    ):
        model = kind("g0").fit(X, target)
        table = coefficients(model, X, target)
        ratios = coefficients(model, X, target, exponentiate=True)
        assert np.isinf(table["df"]).all()
        for name in ("estimate", "lower", "upper"):
            np.testing.assert_allclose(ratios[name], np.exp(table[name]))
        for name in ("std_error", "statistic", "p_value"):
            np.testing.assert_allclose(ratios[name], table[name])
        with pytest.raises(ValueError, match="is for linear models"):
            coefficients(model, X, target, df="kenward-roger")


def test_errors_in_words():
    X, y, model = sleep()
    with pytest.raises(NotFittedError, match="not fitted"):
        coefficients(clone(model), X, y)
    with pytest.raises(ValueError, match="'df' parameter of coefficients"):
        coefficients(model, X, y, df="between-within")
    with pytest.raises(ValueError, match="'coverage' parameter"):
        coefficients(model, X, y, coverage=95)
    with pytest.raises(ValueError, match="has the identity link"):
        coefficients(model, X, y, exponentiate=True)
    with pytest.raises(ValueError, match="feature names"):
        coefficients(model, X.rename(columns={"Days": "days"}), y)
    shuffled = np.random.default_rng(0).permutation(y)
    other_days = X.assign(Days=X["Days"] ** 2)
    for other_X, other_y in [
        (X[:90], y[:90]),
        (X, y + 1.0),
        (X, shuffled),
        (other_days, y),
    ]:
        with pytest.raises(ValueError, match="not the rows that the model was fitted"):
            coefficients(model, other_X, other_y)
    with pytest.raises(ValueError, match="adjusts the errors of a REML fit"):
        coefficients(sleep(reml=False)[2], X, y, df="kenward-roger")
    pipeline = make_pipeline(FunctionTransformer(), model)
    with pytest.raises(TypeError, match="give the last step"):
        coefficients(pipeline, X, y)


def test_the_model_is_as_it_was():
    X, y, model = sleep()
    before = dict(vars(model))
    coefficients(model, X, y)
    random_effects_tests(model, X, y)
    compare([model, clone(model).set_params(random_slopes=None)], X, y)
    assert vars(model) == before


def test_compare_keeps_reml_where_fixed_columns_are_the_same():
    # lme4 1.1-31: anova(lmer(Reaction ~ Days + (1 | Subject)),
    #                    lmer(Reaction ~ Days + (Days | Subject)), refit = FALSE)
    X, y, model = sleep()
    table = compare({"slopes": model, "one": MixedLinearRegressor("Subject")}, X, y)
    assert list(table.index) == ["one", "slopes"]
    assert list(table["n_parameters"]) == [4, 6]
    expected = [-893.232542697, -871.814135980]
    np.testing.assert_allclose(table["log_likelihood"], expected, rtol=1e-7)
    np.testing.assert_allclose(table["aic"], [1794.46508539, 1755.62827196])
    np.testing.assert_allclose(table["bic"], [1807.2369128, 1774.78601307])
    assert table.loc["slopes", "chi2"] == pytest.approx(42.836813435, abs=1e-3)
    mixture = 0.5 * (chi2.sf(42.836813435, 1) + chi2.sf(42.836813435, 2))
    assert table.loc["slopes", "p_value"] == pytest.approx(mixture, rel=1e-3)
    assert table.loc["slopes", "how"].startswith("REML: half chi-square with 1")
    assert np.isnan(table.loc["one", "chi2"])


def test_compare_refits_by_ml_where_they_differ():
    # lme4 1.1-31: anova(lmer(Reaction ~ 1 + (1 | Subject)),
    #                    lmer(Reaction ~ Days + (1 | Subject)))
    # refits with ML: log-likelihoods -955.270529, -897.039322
    X, y, _ = sleep()
    large = MixedLinearRegressor("Subject").fit(X, y)
    small = clone(large).fit(X[["Subject"]], y)
    table = compare([small, large], X, y)
    expected = [-955.270529, -897.039322]
    np.testing.assert_allclose(table["log_likelihood"], expected, rtol=1e-7)
    assert table.loc["model 2", "df"] == 1
    assert table.loc["model 2", "how"] == "ML, refitted: chi-square"
    expected = chi2.sf(2 * (955.270529 - 897.039322), 1)
    assert table.loc["model 2", "p_value"] == pytest.approx(expected, rel=1e-2)
    with pytest.raises(ValueError, match="REML.* do not compare: use refit=True"):
        compare([small, large], X, y, refit=False)


def test_compare_glmer():
    # lme4 1.1-31: anova(glmer(cbind(incidence, size - incidence) ~ 1 + (1 | herd)),
    #                    glmer(... ~ period + (1 | herd)), family = binomial)
    ref, data = oracles.load("cbpp_binomial", "laplace")
    parameters = oracles.estimator_parameters(ref)
    model = MixedBinomialRegressor(solver=Laplace(), **parameters)
    X, y = data[oracles.model_columns(ref)], data["y"]
    small = clone(model).fit(X.drop(columns=["x1", "x2", "x3"]), y)
    table = compare({"one": small, "period": model}, X, y)
    assert table.loc["period", "chi2"] == pytest.approx(25.6099376, abs=2e-3)
    assert table.loc["period", "df"] == 3
    assert table.loc["period", "how"] == "Laplace's approximation: chi-square"


NESTED = [
    # smaller, larger, and what the test is
    ({"covariance": "diag"}, {}, "REML: chi-square"),
    ({"covariance": "scalar"}, {"covariance": "diag"}, "REML: chi-square"),
    ({"random_slopes": None}, {"covariance": "diag"}, "half chi-square with 0"),
    ({"random_slopes": None}, {}, "half chi-square with 1, half with 2"),
    (
        {"random_slopes": None},
        {"random_intercepts": False},
        "no test against .*do not contain those",
    ),
    ({"covariance": "scalar", "fit_intercept": False}, {}, "ML: chi-square"),
    ({"groups": None, "random_slopes": None}, {}, "p too large because 2 variances"),
]


@pytest.mark.parametrize(("small", "large", "how"), NESTED)
def test_what_is_nested_and_where_the_boundary_is(small, large, how):
    X, y, model = sleep()
    X = X.assign(Subject=X["Subject"].astype(int))
    models = [clone(model).set_params(**p) for p in (small, large)]
    if small.get("groups", "") is None:
        with pytest.warns(UserWarning, match="No groups"):
            models[0].fit(X[["Days"]], y)
    table = compare(models, X, y)
    assert pd.Series(table["how"].iloc[1]).str.contains(how).item()
    tested = "no test" not in how
    assert table["p_value"].notna().iloc[1] == tested
    assert table["chi2"].notna().iloc[1] == tested


def test_factors_are_known_by_their_rows():
    X, y = make_mixed_regression(300, 1, n_groups=[10, 6], random_state=0)
    X = X.assign(other=X["g0"].astype(str) + "!")
    one = MixedLinearRegressor("other").fit(X[["x0", "other"]], y)
    two = MixedLinearRegressor(["g1", "g0"]).fit(X[["x0", "g0", "g1"]], y)
    table = compare([two, one], X, y)
    assert table["how"].iloc[1].startswith("REML: half chi-square with 0")
    tests = random_effects_tests(two, X[["x0", "g0", "g1"]], y)
    assert tests.loc[("g1", "Intercept"), "chi2"] == pytest.approx(
        table["chi2"].iloc[1], abs=1e-5
    )


def test_independent_effects_are_left_out_one_by_one():
    X, y, model = sleep(covariance="diag")
    table = random_effects_tests(model, X, y)
    assert list(table.index) == [("Subject", "Intercept"), ("Subject", "Days")]
    alone = MixedLinearRegressor("Subject").fit(X, y).log_likelihood_
    expected = 2.0 * (model.log_likelihood_ - alone)
    assert table.loc[("Subject", "Days"), "chi2"] == pytest.approx(expected, abs=1e-5)


def test_compare_of_models_outside_a_list_says_how_to_write_it():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject")
    words = r"first argument is a model .*: write compare\(\[m1, m2\], X, y\)"
    with pytest.raises(TypeError, match=words):
        compare(model, clone(model), X, y)
    with pytest.raises(TypeError, match=words):
        compare(model, clone(model), X=X, y=y)
    with pytest.raises(TypeError, match=words):
        compare(model, X, y)


def test_models_that_do_not_compare():
    X, y, model = sleep()
    with pytest.raises(ValueError, match="two models or more"):
        compare([model], X, y)
    part = clone(model).fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="'model 2': These are not the rows"):
        compare([model, part], X, y)
    counts = MixedPoissonRegressor("Subject")
    with pytest.raises(ValueError, match="the one is a density"):
        compare([clone(model), counts], X, np.round(y))
    with pytest.raises(ValueError, match="'test' parameter of compare"):
        compare([model, model], X, y, test="wald")
    table = compare([model, clone(model)], X, y)
    assert "as many parameters" in table["how"].iloc[1]
    offset = MixedLinearRegressor("Subject", offset="Days")
    table = compare([offset, model], X, y)
    assert "another offset" in table["how"].iloc[1]


def test_covariance_of_the_fixed_effects():
    X, y, model = sleep()
    found = model.fixed_effects_covariance_
    assert found.index.equals(model.fixed_effects_.index)
    std_error = np.sqrt(np.diag(found))
    np.testing.assert_allclose(std_error, model.fixed_effects_["std_error"])
    # R: vcov(lmer(Reaction ~ Days + (Days | Subject), sleepstudy))
    assert found.loc["Days", "Intercept"] == pytest.approx(-1.4510, abs=2e-3)


@pytest.mark.slow
def test_intervals_cover_with_few_groups():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(8), 10)
    X = pd.DataFrame({"w": rng.normal(size=8)[g], "x": rng.normal(size=80), "g": g})
    covered = {name: np.zeros(3) for name in ("normal", "kenward-roger")}
    for _ in range(1000):
        y = 0.5 * X["w"] + rng.normal(size=8)[g] + rng.normal(size=80)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance may be zero
            model = MixedLinearRegressor("g").fit(X, y)
        for name, count in covered.items():
            table = coefficients(model, X, y, df=name)
            count += (table["lower"] <= [0.0, 0.5, 0.0]) & (
                table["upper"] >= [0.0, 0.5, 0.0]
            )
    shares = covered["kenward-roger"] / 1000
    assert np.all((shares > 0.93) & (shares < 0.97))
    assert covered["normal"][1] / 1000 < 0.91
