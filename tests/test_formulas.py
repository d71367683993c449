"""Formulas of the fixed part, and whole ones in the notation of lme4."""

import io
import pickle
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skglmm import MixedLinearRegressor, from_formula, inference
from skglmm.datasets import (
    load_cbpp,
    load_grouseticks,
    load_pastes,
    load_sleepstudy,
)

SLEEP = load_sleepstudy(as_frame=True).frame
TICKS = load_grouseticks(as_frame=True).frame
TICKS["YEAR"] = TICKS["YEAR"].astype(str)
CBPP = load_cbpp(as_frame=True).frame
CBPP["healthy"] = CBPP["size"] - CBPP["incidence"]
DAYS = pd.DataFrame({"Days": [2.5, 7.25]})
TRUSTED = ["skglmm._linear.MixedLinearRegressor", "skglmm.solvers._vi.VI"]


def sleep_model(formula, **parameters):
    model = MixedLinearRegressor("Subject", fixed_effects=formula, **parameters)
    return model.fit(SLEEP[["Days", "Subject"]], SLEEP["Reaction"])


def ticks_model(formula, X=TICKS, **parameters):
    model = MixedLinearRegressor("BROOD", fixed_effects=formula, **parameters)
    return model.fit(X, np.log(TICKS["TICKS"] + 1.0))


def test_a_spline_against_lme4():
    formula = "bs(Days, df=5)"
    model = sleep_model(formula, random_slopes=["Days"], reml=False)
    # lmer(Reaction ~ bs(Days, df = 5) + (Days | Subject), sleepstudy, REML = FALSE)
    assert model.log_likelihood_ == pytest.approx(-874.603402114, abs=1e-6)
    expected = [257.38228703, 1.651392462, 21.211564148]
    expected += [60.197572032, 70.578189984, 94.320186123]
    assert_allclose(model.fixed_effects_["estimate"], expected, rtol=1e-6)
    # predict(m, data.frame(Days = c(2.5, 7.25)), re.form = NA): the knots are of fit
    found = model.predict(DAYS, level="population")
    assert_allclose(found, [274.671779672, 324.63510568], rtol=1e-8)
    assert model._fitted.fixed_terms == {formula: [0, 1, 2, 3, 4]}
    with pytest.raises(ValueError, match="bs\\(Days, df=5\\).*beyond"):
        model.predict(pd.DataFrame({"Days": [11.0]}), level="population")


def test_polynomials_against_lme4():
    model = sleep_model("poly(Days, 2)")
    # lmer(Reaction ~ poly(Days, 2) + (1 | Subject), sleepstudy)
    assert model.log_likelihood_ == pytest.approx(-884.666316967, abs=1e-6)
    expected = [298.50789167, 403.36416786, 32.85578798]
    assert_allclose(model.fixed_effects_["estimate"], expected, rtol=1e-6)
    found = model.predict(DAYS, level="population")
    assert_allclose(found, [276.140974856, 327.061225205], rtol=1e-8)
    for copy in (
        pickle.loads(pickle.dumps(model)),
        skops.io.load(io.BytesIO(skops.io.dumps(model)), trusted=TRUSTED),
    ):
        assert_array_equal(copy.predict(DAYS, level="population"), found)


def test_interactions_with_text_against_lme4():
    model = ticks_model("YEAR * cHEIGHT", reml=False)
    # lmer(log(TICKS + 1) ~ YEAR * cHEIGHT + (1 | BROOD), grouseticks, REML = FALSE)
    assert model.log_likelihood_ == pytest.approx(-426.081442333, abs=1e-6)
    expected = [1.078666694832, 0.734932280491, -0.559832047169]
    expected += [-0.019259222942, 0.005427427855, 0.011495299059]
    assert_allclose(model.fixed_effects_["estimate"], expected, rtol=1e-5)
    years = ["YEAR_96", "YEAR_97"]
    slopes = [f"{year}:cHEIGHT" for year in years]
    assert model.coef_names_ == [*years, "cHEIGHT", *slopes]
    terms = {"YEAR": [0, 1], "cHEIGHT": [2], "YEAR:cHEIGHT": [3, 4]}
    assert model._fitted.fixed_terms == terms
    small = ticks_model(["YEAR", "cHEIGHT"], reml=False)
    y = np.log(TICKS["TICKS"] + 1.0)
    table = inference.compare([small, model], TICKS, y)
    assert table["df"].iloc[1] == 2 and table["p_value"].notna().iloc[1]


def test_categories_of_a_formula_are_those_of_columns():
    X = pl.DataFrame({name: TICKS[name].to_list() for name in TICKS})
    formula = "C(YEAR) + cHEIGHT"
    model = ticks_model(formula, X, reference={"YEAR": "97"})
    listed = ticks_model(["YEAR", "cHEIGHT"], reference={"YEAR": "97"})
    assert model.coef_names_ == listed.coef_names_ == ["YEAR_95", "YEAR_96", "cHEIGHT"]
    assert_allclose(model.coef_, listed.coef_, rtol=1e-10)
    new = TICKS[:2].assign(YEAR="98")
    with pytest.raises(ValueError, match="column 'YEAR' holds '98' in row 0"):
        model.predict(new)
    model.set_params(handle_unknown_fixed="reference")
    assert_array_equal(model.predict(new), model.predict(new.assign(YEAR="97")))
    free = ticks_model("0 + YEAR", fit_intercept=False)
    assert free.coef_names_ == ["YEAR_95", "YEAR_96", "YEAR_97"]
    means = ticks_model("YEAR")
    assert free.coef_[1] == pytest.approx(means.intercept_ + means.coef_[0], rel=1e-8)


def test_numbers_and_truth_values_in_a_formula():
    X = TICKS.assign(year=TICKS["YEAR"].astype(int), late=TICKS["YEAR"] == "97")
    coded, text = ticks_model("C(year)", X), ticks_model(["YEAR"])
    assert coded.coef_names_ == ["year_96", "year_97"]
    assert_allclose(coded.coef_, text.coef_)
    assert ticks_model("late", X).coef_names_ == ["late"]
    numbers = ticks_model("np.sqrt(HEIGHT) + center(cHEIGHT):late", X)
    assert numbers.coef_names_ == ["np.sqrt(HEIGHT)", "center(cHEIGHT):late"]


def test_rows_of_weight_zero_teach_nothing():
    X, y = SLEEP[["Days", "Subject"]], SLEEP["Reaction"]
    weight = (np.arange(180) % 3 > 0).astype(float)
    model = MixedLinearRegressor("Subject", fixed_effects="bs(Days, df=4)")
    one = clone(model).fit(X, y, weight)
    two = clone(model).fit(X[weight > 0], y[weight > 0])
    assert_allclose(one.coef_, two.coef_, rtol=1e-9)


def test_a_search_over_formulas():
    grid = {"fixed_effects": ["Days", "poly(Days, 3)", ["Days"]]}
    search = GridSearchCV(MixedLinearRegressor("Subject"), grid, cv=3)
    search.fit(SLEEP[["Days", "Subject"]], SLEEP["Reaction"])
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == pytest.approx(scores[2]) and scores[1] != scores[0]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("Reaction ~ Days", "has a '~': write the right-hand side only"),
        ("Days +* Days", r"Days >>\+\*<<"),
        ("Days + (Days", "context marker"),
        ("Days | Subject", "what groups and random_slopes ask for"),
        ("0 + Days", "leave that to fit_intercept=False"),
        ("Days - 1", "leave that to fit_intercept=False"),
        (".", "leave fixed_effects at None"),
        ("Dayz + 1", "'Dayz' is not a column of X"),
        ("I(__import__('os').system('ls'))", "calls '__import__|holds|calls"),
        ("Days.mean()", "calls|holds|not a column"),
        ("lag(Days)", "calls 'lag'"),
        ("np.linalg.norm(Days)", "calls 'np.linalg"),
        ("[d for d in Days]", "fixed_effects: the formula"),
        ("I(Days if 1 else 2)", "a formula may have columns"),
        ("C(Days) + Days", "a number and, in C\\(\\), a category"),
        ("log(Days)", "-inf in row 0"),
    ],
)
def test_formulas_that_are_none(formula, message):
    with pytest.raises(ValueError, match=message):
        sleep_model(formula)


def test_what_does_not_go_with_a_formula():
    with pytest.raises(ValueError, match="missing='model' fills in columns"):
        sleep_model("poly(Days, 2)", missing="model")
    X = SLEEP[["Days", "Subject"]].assign(Days=SLEEP["Days"].where(SLEEP["Days"] != 4))
    model = MixedLinearRegressor("Subject", fixed_effects="poly(Days, 2)")
    with pytest.raises(ValueError, match="'Days' .*missing in 18 of 180 rows"):
        model.fit(X, SLEEP["Reaction"])


def test_without_formulaic(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    with pytest.raises(ImportError, match=r"skglmm\[formula\]"):
        sleep_model("poly(Days, 2)")
    with pytest.raises(ImportError, match=r"skglmm\[formula\]"):
        from_formula("Reaction ~ Days + (Days | Subject)", SLEEP)
    assert sleep_model("Days").coef_names_ == ["Days"]


# ------------------------------------------------------------------ lme4's notation

LME4 = {  # formula, family, parameters: logLik, fixef and sd of lme4
    "||": (
        ("Reaction ~ Days + (Days || Subject)", SLEEP, "linear", {"reml": False}),
        -876.001627572,
        [251.405105, 10.467286],
        [24.1715879, 5.7993662, 25.5561230],
        "MixedLinearRegressor(covariance='diag', fixed_effects=['Days'], "
        "groups='Subject', random_slopes=['Days'], reml=False)",
    ),
    "0 +": (
        ("Reaction ~ 0 + Days + (Days | Subject)", SLEEP, "gaussian", {}),
        -914.169987693,
        [18.300245],
        [252.52672139, 9.81739916, 25.59182636],
        "MixedLinearRegressor(fit_intercept=False, fixed_effects=['Days'], "
        "groups='Subject', random_slopes=['Days'])",
    ),
    "of a function": (
        ("log(Reaction) ~ Days + I(Days^2) + (1 | Subject)", SLEEP, "linear", {}),
        125.600025533,
        [5.536176297588, 0.029084417014, 0.000509290983],
        [0.128100148, 0.097359482],
        "MixedLinearRegressor(fixed_effects='Days + I(Days**2)', groups='Subject')",
    ),
    "factor": (
        ("Reaction ~ factor(Days) + (1 | Subject)", SLEEP, "linear", {}),
        -864.746280118,
        [256.65180556, 7.84395, 8.71009444, 26.34020556, 31.99761667]
        + [51.86665, 55.52645, 62.09877778, 79.9777, 94.19941667],
        [37.087266, 31.425921],
        "MixedLinearRegressor(fixed_effects='C(Days)', groups='Subject')",
    ),
    "nested": (
        (
            "strength ~ 1 + (1 | batch/cask)",
            load_pastes(as_frame=True).frame,
            "linear",
            {},
        ),
        -123.495372927,
        [60.0533333],
        [1.28736588, 2.90407747, 0.82340752],
        "MixedLinearRegressor(fixed_effects=[], groups=['batch', ('batch', 'cask')])",
    ),
    "crossed": (
        ("Reaction ~ Days + (1 + Days | Subject) + (1 | half)", None, "linear", {}),
        None,
        None,
        None,
        "MixedLinearRegressor(fixed_effects=['Days'], groups=['Subject', 'half'], "
        "random_slopes={'Subject': ['Days']})",
    ),
    "cbind": (
        (
            "cbind(incidence, size - incidence) ~ period + (1 | herd)",
            CBPP,
            "binomial",
            {"solver": "laplace"},
        ),
        -92.0262818715,
        [-1.398532099, -0.992332654, -1.128672040, -1.580313728],
        [0.64226136],
        "MixedBinomialRegressor(fixed_effects=['period'], groups='herd', "
        "solver='laplace', trials='size')",
    ),
    "cbind of two columns": (
        (
            "cbind(incidence, healthy) ~ period + (1 | herd)",
            CBPP,
            "binomial",
            {"solver": "laplace"},
        ),
        -92.0262818715,
        [-1.398532099, -0.992332654, -1.128672040, -1.580313728],
        [0.64226136],
        "MixedBinomialRegressor(fixed_effects=['period'], groups='herd', "
        "solver='laplace', trials=['incidence', 'healthy'])",
    ),
    "trials": (
        (
            "incidence | trials(size) ~ period + (1 | herd)",
            CBPP,
            "binomial",
            {"solver": "laplace"},
        ),
        -92.0262818715,
        [-1.398532099, -0.992332654, -1.128672040, -1.580313728],
        [0.64226136],
        "MixedBinomialRegressor(fixed_effects=['period'], groups='herd', "
        "solver='laplace', trials='size')",
    ),
    "offset": (
        (
            "TICKS ~ YEAR + offset(log(HEIGHT)) + (1 | BROOD)",
            TICKS,
            "poisson",
            {"solver": "laplace"},
        ),
        -1019.09560592,
        [-5.810862875, 1.374807185, -0.899095029],
        [1.3252313],
        "MixedPoissonRegressor(exposure='HEIGHT', fixed_effects=['YEAR'], "
        "groups='BROOD', solver='laplace')",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", LME4)
def test_from_formula_against_lme4(name):
    (formula, data, family, parameters), log_likelihood, fixed, std, written = LME4[
        name
    ]
    data = SLEEP.assign(half=np.arange(180) % 2) if data is None else data
    model = from_formula(formula, data, family, **parameters)
    assert " ".join(repr(model).split()).replace("' '", "") == written
    assert model.predict(data).shape == (len(data),)
    assert model.sample_y(data, 2).shape == (len(data), 2)
    if log_likelihood is None:
        return
    # glmer itself ends within some 1e-5 of the maximum
    assert model.log_likelihood_ == pytest.approx(log_likelihood, abs=2e-5)
    assert_allclose(model.fixed_effects_["estimate"], fixed, rtol=5e-5)
    assert_allclose(model.variance_components_["std"], std, rtol=5e-5)


def test_the_fitted_model_takes_the_same_data():
    data = pl.DataFrame({name: SLEEP[name].to_list() for name in SLEEP})
    model = from_formula("Reaction ~ Days + (Days | Subject)", data.with_columns(z=1))
    assert model.feature_names_in_.tolist() == ["Days", "Subject"]
    plain = MixedLinearRegressor("Subject", random_slopes=["Days"])
    plain.fit(SLEEP[["Days", "Subject"]], SLEEP["Reaction"])
    expected = plain.predict(SLEEP[["Days", "Subject"]])
    assert_array_equal(model.predict(data), expected)
    found = inference.coefficients(model, data, data["Reaction"])
    assert list(found.index) == ["Intercept", "Days"]
    again = clone(model).fit(data, data["Reaction"])
    assert_array_equal(again.predict(data), expected)


@pytest.mark.parametrize(
    ("formula", "message", "mark"),
    [
        ("Reaction ~ Days + (Days | Subjec)", "mean 'Subject'", "Subjec"),
        ("Reaction ~ Days + Days | Subject", "stand in parentheses", "Days | Subject"),
        ("Reaction ~ Days * (1 | Subject)", "are added", "Days * (1 | Subject)"),
        ("Reaction ~ (log(Days) | Subject)", "make a column of it", "log(Days)"),
        ("Reaction ~ (Days | Subject) + (1 | Subject)", "there already", "1 | Subject"),
        ("Reaction ~ ( | Subject)", "no effects", "|"),
        ("Reaction ~ foo(Days) + (1 | Subject)", "calls 'foo'", "foo(Days)"),
        ("Reaction ~ . + (1 | Subject)", "no columns", "."),
        ("Reaction ~ (1 | Subject + Days)", "is a column", "Subject + Days"),
        ("Reaction ~ offset(exp(Days))", "An offset is one", "offset(exp(Days))"),
        ("cbind(Reaction, Days) ~ 1", "binomial", "cbind(Reaction, Days)"),
        ("Reaction ~ (1 | Subject", "not closed", "Reaction ~ (1 | Subject"),
        ("~ Days", "response ~ terms", "~ Days"),
        (
            "Reaction ~ (1 + Days | Subject) + (0 + other | Subject)",
            "all are correlated or none is",
            "0 + other | Subject",
        ),
        ("Reaction ~ (0 + text | Subject)", "holds categories", "0 + text"),
    ],
)
def test_formulas_are_refused_at_their_place(formula, message, mark):
    data = SLEEP.assign(other=np.arange(180.0), text=["a", "b"] * 90)
    with pytest.raises(ValueError, match=message) as caught:
        from_formula(formula, data)
    *_, text, under = str(caught.value).splitlines()
    place = slice(under.index("^"), under.rindex("^") + 1)
    assert text[4:] == formula
    assert text[place].strip() == mark


def test_what_else_from_formula_refuses():
    with pytest.raises(ValueError, match="family must be one of"):
        from_formula("Reaction ~ Days", SLEEP, "binomal")
    with pytest.raises(TypeError, match="groups is what the formula says"):
        from_formula("Reaction ~ Days", SLEEP, groups="Subject")
    with pytest.raises(ValueError, match="a dataframe"):
        from_formula("a ~ b", np.zeros((3, 2)))
