"""Contrasts and tests of terms: lmerTest, pbkrtest, closed forms, words."""

import functools
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import f as f_distribution

from skglmm import MixedLinearRegressor, MixedLogisticRegressor
from skglmm.datasets import load_contraception, load_sleepstudy
from skglmm.inference import coefficients, contrasts, term_tests
from skglmm.solvers import Laplace

# The formula in R: arms by subject, unbalanced, products with Days made by hand.
#   s <- sleepstudy; k <- as.integer(factor(s$Subject))
#   s$arm <- factor(c("a", "b", "c")[k %% 3 + 1]); s <- s[!(k %% 4 == 0 & s$Days > 5), ]
#   m <- lmerTest::lmer(Reaction ~ arm * Days + (Days | Subject), s)
SLOPES = [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
THREE = [[0, 1, 0, 0, 9, 0], [0, 0, 1, 0, 0, 9], [0, 0, 0, 1, 0, 0]]
# lmerTest::contestMD(m, L) and pbkrtest::KRmodcomp(m, L): F, df of the denominator, p
JOINT = [
    ("satterthwaite", SLOPES, [0.9756447, 2, 13.245773, 0.40246734]),
    ("kenward-roger", SLOPES, [0.96004415, 2, 14.223459, 0.40634915]),
    ("satterthwaite", THREE, [10.042937, 3, 16.153004, 0.00056535714]),
    ("kenward-roger", THREE, [9.7655867, 3, 16.46288, 0.00061731185]),
]
# lmerTest::contest1D(m, c(0, 1, -1, 0, 4, -4)): estimate, error, df, t, p
ONE = {
    "satterthwaite": [32.16199, 20.509676, 15.323044, 1.5681374, 0.13726526],
    "kenward-roger": [32.16199, 20.531569, 15.015876, 1.5664653, 0.13806762],
}


@functools.cache
def arms():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    k = pd.factorize(X["Subject"].astype(str), sort=True)[0] + 1
    X = X.assign(arm=np.array(list("abc"))[k % 3])
    kept = ~((k % 4 == 0) & (X["Days"] > 5))
    X = X[kept].assign(
        bd=lambda d: (d["arm"] == "b") * d["Days"],
        cd=lambda d: (d["arm"] == "c") * d["Days"],
    )[["arm", "Days", "bd", "cd", "Subject"]]
    return (
        X,
        y[kept],
        MixedLinearRegressor("Subject", random_slopes="Days").fit(X, y[kept]),
    )


@functools.cache
def ages():
    """The ages of women of the first 20 districts, by children and by cell."""
    X, _ = load_contraception(return_X_y=True, as_frame=True)
    _, use = load_contraception(return_X_y=True, as_frame=True)
    kept = X["district"].astype(int) <= 20
    X = X.assign(cell=[f"{u} {w}" for u, w in zip(use, X["urban"], strict=True)])[kept]
    columns = X[["livch", "cell", "district"]]
    return columns, X["age"], MixedLinearRegressor("district").fit(columns, X["age"])


@functools.cache
def yes_and_no():
    X, y = load_contraception(return_X_y=True, as_frame=True)
    X = X.assign(cell=[f"{c} {u}" for c, u in zip(X["ch"], X["urban"], strict=True)])
    X = X[["age", "cell", "district"]]
    return X, y, MixedLogisticRegressor("district", solver=Laplace()).fit(X, y)


@pytest.mark.parametrize(("df", "weights", "expected"), JOINT)
def test_joint_tests_are_those_of_lmertest_and_pbkrtest(df, weights, expected):
    table = contrasts(*_swapped(arms()), weights, joint=True, df=df)
    assert list(table.columns) == ["statistic", "df", "df_error", "p_value"]
    assert_allclose(table.iloc[0], expected, rtol=5e-5)


@pytest.mark.parametrize("df", ONE)
def test_one_contrast_is_that_of_lmertest(df):
    model, X, y = _swapped(arms())
    table = contrasts(model, X, y, "arm_b + 4 * bd = arm_c + 4*cd", df=df)
    assert_allclose(table.iloc[0, :5], ONE[df], rtol=5e-5)
    width = table["upper"] - table["estimate"]
    assert_allclose(width, table["estimate"] - table["lower"])


def test_trends_are_those_of_emtrends():
    # pairs(emmeans::emtrends(m, ~arm, "Days", lmer.df = "satterthwaite"))
    expected = [
        [-4.92149822, 3.8249877, 13.503555, -1.28667033, 0.21983040],
        [-0.58596542, 3.7482282, 12.774198, -0.15633131, 0.87821546],
        [4.33553279, 3.8249877, 13.503555, 1.13347626, 0.27673776],
    ]
    asked = {"a - b": {"bd": -1}, "a - c": {"cd": -1}, "b - c": {"bd": 1, "cd": -1}}
    table = contrasts(*_swapped(arms()), asked)
    assert list(table.index) == list(asked)
    assert_allclose(table.iloc[:, :5], expected, rtol=5e-5)


@pytest.mark.parametrize(
    ("df", "expected"),
    [
        # anova(lmerTest::lmer(age ~ livch + cell + (1 | district), g), type = "III",
        # ddf = ...) with g <- contraception[district <= 20], cell of use and urban
        ("satterthwaite", [[203.0808, 3, 702.1869], [3.0223201, 3, 212.40875]]),
        ("kenward-roger", [[201.08574, 3, 701.202], [2.9723719, 3, 316.92572]]),
    ],
)
def test_terms_are_tested_as_by_anova(df, expected):
    table = term_tests(*_swapped(ages()), df=df)
    assert list(table.index) == ["livch", "cell"]
    assert table.index.name == "term"
    assert_allclose(table.iloc[:, :3], expected, rtol=1e-5)
    assert_allclose(table.loc["cell", "p_value"], 0.031, rtol=0.05)


def test_main_effects_beside_an_interaction():
    # lmerTest's anova(m, type = "III"): of arm at day 0, of Days in the average arm
    model, X, y = _swapped(arms())
    found = term_tests(model, X, y).loc["arm"]
    assert_allclose(found, [0.49376371, 2, 14.737869, 0.62006880], rtol=5e-5)
    found = contrasts(model, X, y, "Days + (bd + cd) / 3", joint=True).iloc[0]
    assert_allclose(found, [37.2244084, 1, 13.260538, 3.4628858e-5], rtol=2e-4)


@pytest.mark.parametrize("written", ["arm * Days", "C(arm, contr.helmert) * Days"])
def test_main_effects_of_a_formula_are_averages_over_levels(written):
    # anova(lmerTest::lmer(Reaction ~ arm * Days + (Days | Subject), s), type = "III")
    X, y, _ = arms()
    model = MixedLinearRegressor(
        "Subject", fixed_effects=written, random_slopes="Days"
    ).fit(X, y)
    found = term_tests(model, X, y)
    expected = [
        [0.49376371, 2, 14.737869, 0.62006880],
        [37.2244084, 1, 13.260538, 3.4628858e-5],
        [0.9756447, 2, 13.245773, 0.40246734],
    ]
    assert_allclose(found, expected, rtol=2e-4)
    assert list(found.index)[1] == "Days"


def test_main_effects_where_a_combination_has_no_rows_are_coefficients():
    X, y, _ = arms()
    kept = ~((X["arm"] == "c") & (X["Days"] > 4))
    X, y = X[kept].assign(late=lambda d: np.where(d["Days"] > 4, "y", "n")), y[kept]
    model = MixedLinearRegressor("Subject", fixed_effects="arm * late")
    with pytest.warns(UserWarning, match="set to 0"):
        model.fit(X, y)
    found = term_tests(model, X, y).loc["late"]
    alone = contrasts(model, X, y, {"late": "late_y"}).loc["late"]
    assert found["statistic"] == pytest.approx(alone["statistic"] ** 2)


def test_the_covariance_of_coefficients_is_labelled():
    model, X, y = _swapped(arms())
    found = pickle.loads(pickle.dumps(model)).fixed_effects_covariance_
    names = model.fixed_effects_.index
    assert found.index.equals(names)
    assert found.columns.equals(names)
    errors = model.fixed_effects_["std_error"]
    assert_allclose(np.sqrt(np.diag(found)), errors)
    table = contrasts(model, X, y, "Days - bd", df="normal")
    variance = found.loc["Days", "Days"] + found.loc["bd", "bd"]
    variance -= 2.0 * found.loc["Days", "bd"]
    assert_allclose(table["std_error"].item() ** 2, variance)


def test_counts_and_classes_have_chi_square():
    model, X, y = _swapped(yes_and_no())
    table = term_tests(model, X, y)
    assert np.isinf(table["df_error"]).all()
    # glmmTMB(use ~ age + cell + (1 | district), binomial): b' V^-1 b of the cells
    assert_allclose(table.loc["cell", "statistic"], 105.81844, rtol=2e-4)
    # the interaction, emmeans::contrast(emmeans(m, ~cell), list(c(1, -1, -1, 1)))
    text = "-`cell_N Y` - `cell_Y N` + `cell_Y Y`"
    odds = contrasts(model, X, y, {"inter": text}, exponentiate=True)
    assert_allclose(odds["std_error"], 0.24915752, rtol=5e-4)
    assert_allclose(odds["p_value"], 0.11511, rtol=5e-3)
    bounds = np.exp([-0.39228711, -0.88093, 0.096359])
    assert_allclose(
        odds.loc["inter", ["estimate", "lower", "upper"]], bounds, rtol=2e-3
    )


def test_a_balanced_design_has_the_f_of_its_analysis_of_variance():
    rng = np.random.default_rng(3)
    block, arm = np.divmod(np.arange(48), 4)
    y = rng.normal(size=12)[block] * 2.0 + arm * 0.4 + rng.normal(size=48)
    X = pd.DataFrame({"arm": np.array(list("wxyz"))[arm], "block": block})
    grid = y.reshape(12, 4)
    left = grid - grid.mean(axis=0) - grid.mean(axis=1)[:, None] + grid.mean()
    between = 12 * np.sum((grid.mean(axis=0) - grid.mean()) ** 2) / 3
    expected = between / (np.sum(left**2) / 33)
    model = MixedLinearRegressor("block").fit(X, y)
    for df in ("satterthwaite", "kenward-roger"):
        found = term_tests(model, X, y, df=df).loc["arm"]
        p_value = f_distribution.sf(expected, 3, 33)
        assert_allclose(found, [expected, 3, 33, p_value], rtol=1e-5)


def test_one_line_together_is_the_square_of_t():
    model, X, y = _swapped(arms())
    for df in ("satterthwaite", "kenward-roger", "normal"):
        alone = contrasts(model, X, y, ["Days + bd"], df=df).iloc[0]
        both = contrasts(model, X, y, ["Days + bd"], joint=True, df=df).iloc[0]
        assert_allclose(both["statistic"], alone["statistic"] ** 2)
        assert_allclose(both["p_value"], alone["p_value"], rtol=1e-6)
        assert_allclose(both["df_error"], alone["df"], rtol=1e-6)
        # the same hypothesis twice is one
        twice = ["Days + bd", "2 * Days + 2 * bd"]
        again = contrasts(model, X, y, twice, joint=True, df=df).iloc[0]
        assert_allclose(again, both, rtol=1e-6)


def test_units_that_differ_much_hide_no_hypothesis():
    model, X, y = _swapped(arms())
    small = {"a": {"bd": 1e-7}, "b": {"cd": 1e3}}
    table = contrasts(model, X, y, small, joint=True)
    assert table["df"].item() == 2
    assert_allclose(table["statistic"], 0.9756447, rtol=5e-5)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "normal"])
def test_contrasts_of_one_coefficient_are_coefficients(df):
    model, X, y = _swapped(arms())
    expected = coefficients(model, X, y, df=df, coverage=0.9)
    for asked in (list(expected.index), {n: {n: 1} for n in expected.index}, np.eye(6)):
        found = contrasts(model, X, y, asked, df=df, coverage=0.9)
        assert_allclose(found, expected, rtol=1e-9)
        assert list(found.columns) == list(expected.columns)
    frame = pd.DataFrame({"Days": [1.0, 9.0], "bd": [0.0, 9.0]}, index=["a", "b"])
    found = contrasts(model, X, y, frame, df=df)
    texts = {"a": "Days", "b": "9 * (`Days` + bd)"}
    assert found.equals(contrasts(model, X, y, texts, df=df))


def test_texts_are_read_and_nothing_is_run():
    model, X, y = _swapped(arms())

    def estimate(text):
        return contrasts(model, X, y, text, df="normal")["estimate"].item()

    b = model.fixed_effects_["estimate"]
    assert estimate("-(Days - 2*bd)/4 + +cd*.5") == pytest.approx(
        -(b["Days"] - 2 * b["bd"]) / 4 + 0.5 * b["cd"]
    )
    assert estimate("3 * Days = Days + 1 * bd") == pytest.approx(
        2 * b["Days"] - b["bd"]
    )
    for text in (
        "__import__('os')",
        "Days.real",
        "Days ** 2",
        "Days * bd",
        "2 / Days",
        "Days / 0",
        "[Days]",
        "Days bd",
        "",
        "-" * 50_000 + "Days",
        "True * Days",
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            estimate(text)
    with pytest.raises(ValueError, match="no coefficient.*Did you mean 'Days'"):
        estimate("days - bd")
    with pytest.raises(ValueError, match="marginal_means.*by=column"):
        estimate("pairwise")
    with pytest.raises(ValueError, match="number without a coefficient"):
        estimate("Days = 2")
    with pytest.raises(ValueError, match="several equals"):
        estimate("Days = bd = cd")
    with pytest.raises(ValueError, match="all zero"):
        estimate("Days - Days")


def test_other_hypotheses_are_refused():
    model, X, y = _swapped(arms())
    for wrong, word in [
        ({"a": {"day": 1.0}}, "no coefficient"),
        ({"a": {"Days": np.nan}}, "not finite"),
        (np.ones((2, 3)), "a column for each of the 6"),
        (pd.DataFrame({"x": [1.0]}), "no coefficient"),
        ([], "empty"),
        ({}, "empty"),
    ]:
        with pytest.raises(ValueError, match=word):
            contrasts(model, X, y, wrong)
    for wrong in ({"a": {"Days": "1"}}, {"a": 3.0}):
        with pytest.raises(TypeError, match="'a'"):
            contrasts(model, X, y, wrong)
    with pytest.raises(ValueError, match="has the identity link"):
        contrasts(model, X, y, "Days", exponentiate=True)
    with pytest.raises(ValueError, match="no estimate to exponentiate"):
        contrasts(model, X, y, "Days", joint=True, exponentiate=True)


def test_columns_that_depend_on_others():
    X, y, _ = arms()
    X = X.assign(hours=24.0 * X["Days"])[["Days", "hours", "arm", "Subject"]]
    with pytest.warns(UserWarning, match="hours"):
        model = MixedLinearRegressor("Subject").fit(X, y)
    alone = MixedLinearRegressor("Subject").fit(X.drop(columns="hours"), y)
    # what both columns say of a day is determined, what one of them says is not
    found = contrasts(model, X, y, "Days + 24 * hours")
    expected = contrasts(alone, X.drop(columns="hours"), y, "Days")
    assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"do not determine.*'hours'"):
        contrasts(model, X, y, "Days - hours")
    table = term_tests(model, X, y)
    assert table.loc["hours", "df"] == 0
    assert table.loc["hours", ["statistic", "p_value"]].isna().all()
    expected = term_tests(alone, X.drop(columns="hours"), y)
    assert_allclose(table.loc[["Days", "arm"]], expected, rtol=1e-6)


def _swapped(fitted):
    X, y, model = fitted
    return model, X, y
