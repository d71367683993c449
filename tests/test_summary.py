"""The summary of a fitted model: its numbers against lme4's, and how they are shown."""

import functools
import html.parser
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

import skglmm.datasets as datasets
from skglmm import (
    MixedBinomialRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedOrdinalClassifier,
    MixedPoissonRegressor,
)
from skglmm.solvers import VI, Laplace


def sleepstudy(**parameters):
    X, y = datasets.load_sleepstudy(return_X_y=True, as_frame=True)
    return MixedLinearRegressor("Subject", **parameters), X, y


def grouse(columns, **parameters):
    X, y = datasets.load_grouseticks(return_X_y=True, as_frame=True)
    X = X.assign(height=X["cHEIGHT"] / 100, hours=1 + np.arange(1, 1 + len(X)) % 5)
    return MixedPoissonRegressor(solver="laplace", **parameters), X[columns], y


def cbpp(columns, groups=None):
    X, y = datasets.load_cbpp(return_X_y=True, as_frame=True)
    X = X.assign(**{f"p{k}": (X["period"] == k).astype(float) for k in "234"})
    model = MixedBinomialRegressor(groups, trials="size", solver="laplace")
    return model, X[["size", "p2", "p3", "p4", *columns]], y


def contraception():
    X, y = datasets.load_contraception(return_X_y=True, as_frame=True)
    X = X[["age", "district"]].assign(urban=(X["urban"] == "Y").astype(float))
    model = MixedLogisticRegressor(
        "district", random_slopes=["urban"], solver="laplace"
    )
    return model, X, y


def penicillin():
    X, y = datasets.load_penicillin(return_X_y=True, as_frame=True)
    return MixedLinearRegressor(["plate", "sample"]), X, y


def doubled():
    model, X, y = sleepstudy(random_slopes=["Days"])
    return model, X, y, 1.0 + (np.arange(1, 181) % 3 == 0)


CASES = {
    "restricted": lambda: sleepstudy(random_slopes=["Days"]),
    "full likelihood": lambda: sleepstudy(random_slopes=["Days"], reml=False),
    "uncorrelated": lambda: sleepstudy(random_slopes=["Days"], covariance="diag"),
    "slope alone": lambda: sleepstudy(random_slopes=["Days"], random_intercepts=False),
    "rows twice": doubled,
    "crossed": penicillin,
    "counts": lambda: grouse(["height", "BROOD"], groups="BROOD"),
    "exposure": lambda: grouse(
        ["height", "BROOD", "hours"], groups="BROOD", exposure="hours"
    ),
    "overdispersed": lambda: grouse(
        ["height", "INDEX", "BROOD"], groups=["INDEX", "BROOD"]
    ),
    "counts alone": lambda: grouse(["height"]),
    "classes": contraception,
    "proportions": lambda: cbpp(["herd"], "herd"),
    "proportions alone": lambda: cbpp([]),
}


@functools.cache
def fitted(name):
    model, *data = CASES[name]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No groups were given")
        return model.fit(*data)


# lme4 1.1's fits of the same data (glm's without groups) and the formulas of the
# docstring, evaluated in R with var(X beta) and sum(diag(Z S Z')) / n: ICC, marginal
# and conditional R squared. For "rows twice" the rows were repeated. The optimiser was
# bobyqa with rhoend = 1e-11 (1e-9 for glmer).
LME4 = {
    "restricted": (0.72165846, 0.27865204, 0.79921890),
    "full likelihood": (0.70909580, 0.28761152, 0.79276320),
    "uncorrelated": (0.71621706, 0.28298100, 0.79652224),
    "slope alone": (0.64080424, 0.27940616, 0.74116575),
    "rows twice": (0.72311887, 0.27042016, 0.79799311),
    "crossed": (0.93633684, 0.0, 0.93633684),
    "counts": (0.92086172, 0.30846474, 0.94527309),
    "exposure": (0.92148385, 0.30547981, 0.94546895),
    "overdispersed": (0.78224626, 0.28925059, 0.84523166),
    "counts alone": (np.nan, 0.82506880, 0.82506880),
    "classes": (0.08859359, 0.03202844, 0.11778451),
    "proportions": (0.11141511, 0.08541607, 0.18731454),
    "proportions alone": (np.nan, 0.11959307, 0.11959307),
}


# The numbers


@pytest.mark.parametrize("name", LME4)
def test_shares_of_variance_are_those_of_lme4s_fit(name):
    summary = fitted(name).summary()
    shares = (summary.icc, summary.r2_marginal, summary.r2_conditional)
    # glmer's inner iterations leave five digits, lmer's optimum has all
    linear = summary.family == "normal"
    np.testing.assert_allclose(shares, LME4[name], atol=5e-6 if linear else 2e-5)


def test_the_icc_of_balanced_groups_is_that_of_the_analysis_of_variance():
    X, y = datasets.load_dyestuff(return_X_y=True, as_frame=True)
    groups = y.groupby(X["Batch"])
    k = 5
    between = k * groups.mean().var()
    within = groups.var().mean()
    icc = (between - within) / (between + (k - 1) * within)
    summary = MixedLinearRegressor("Batch").fit(X, y).summary()
    np.testing.assert_allclose(summary.icc, icc, rtol=1e-5)


@pytest.mark.slow
def test_the_variance_of_slopes_is_the_mean_over_the_rows():
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"year": rng.integers(1990, 2020, 300), "x": rng.normal(size=300)})
    X["g"], X["h"] = rng.integers(0, 12, 300), rng.integers(0, 9, 300)
    b, c = rng.normal(size=(12, 2)), rng.normal(size=9)
    y = b[X["g"], 0] + 0.2 * b[X["g"], 1] * (X["year"] - 2000) + c[X["h"]] + X["x"]
    y += rng.normal(size=300)
    model = MixedLinearRegressor(["g", "h"], random_slopes={"g": ["year", "x"]})
    partition = model.fit(X, y).summary().variance_partition
    z = np.column_stack([np.ones(300), X["year"], X["x"]])
    sigma = model.random_effects_covariance_["g"]
    # in the user's coordinates the sum cancels; eight digits of it are left
    np.testing.assert_allclose(partition["g"], np.trace(z @ sigma @ z.T) / 300, 1e-6)
    np.testing.assert_allclose(partition["h"], model.variance_components_.iloc[-2, 0])
    fixed = X[["year", "x"]].to_numpy() @ model.coef_
    np.testing.assert_allclose(partition["fixed effects"], fixed.var(ddof=1), 1e-8)
    assert partition.index.tolist() == ["fixed effects", "g", "h", "residual"]


def test_proportions_of_one_trial_are_classes():
    model, X, y = contraception()
    one = MixedBinomialRegressor(
        "district", random_slopes=["urban"], trials="trials", solver="laplace"
    )
    summary = one.fit(X.assign(trials=1), y).summary()
    classes = fitted("classes").summary()
    np.testing.assert_allclose(
        summary.variance_partition, classes.variance_partition, rtol=1e-8
    )


def test_an_offset_is_no_part_of_any_share():
    X, y = datasets.load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"], offset="known")
    known = 100 * np.sin(np.arange(180))
    partition = model.fit(X.assign(known=known), y + known).summary().variance_partition
    without = fitted("restricted").summary().variance_partition
    np.testing.assert_allclose(partition, without, rtol=1e-6)


def test_a_factor_with_one_level_a_row_counts_as_residual():
    summary = fitted("overdispersed").summary()
    assert summary.overdispersion == ("INDEX",)
    fixed, index, brood, distribution = summary.variance_partition
    rest = brood + index + distribution
    np.testing.assert_allclose(summary.icc, brood / rest)
    np.testing.assert_allclose(summary.r2_marginal, fixed / (fixed + rest))
    assert "'INDEX' has one level a row" in str(summary)
    assert fitted("counts").summary().overdispersion == ()


def test_without_groups_there_is_no_icc():
    summary = fitted("proportions alone").summary()
    assert np.isnan(summary.icc)
    assert summary.r2_marginal == summary.r2_conditional
    text = str(summary)
    assert "No random effects" in text and "ICC" not in text and "Rows: 56" in text


def test_targets_without_noise_are_explained_completely():
    X = pd.DataFrame({"x": np.arange(12.0), "g": np.arange(12) % 3})
    with pytest.warns(UserWarning, match="determine the target exactly"):
        model = MixedLinearRegressor("g").fit(X, 2 * X["x"])
    summary = model.summary()
    assert summary.icc == 0.0
    np.testing.assert_allclose(summary.r2_marginal, 1.0)
    np.testing.assert_allclose(summary.variance_partition.iloc[0], 4 * 13.0)
    assert max(map(len, str(summary).split())) < 40


def test_counts_of_zero_have_no_share_explained():
    X = pd.DataFrame({"x": np.arange(12.0), "g": np.arange(12) % 3})
    with pytest.warns(UserWarning, match="no maximum"):
        model = MixedPoissonRegressor("g").fit(X, np.zeros(12))
    summary = model.summary()
    # log(1 + 1 / 0)
    assert summary.variance_partition["distribution"] == np.inf
    assert summary.r2_conditional == 0.0
    assert "The likelihood has no maximum: y is zero in every row" in str(summary)


def test_a_model_may_have_random_effects_alone():
    X, y = datasets.load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch", fit_intercept=False).fit(X, y)
    summary = model.summary()
    assert "No fixed effects." in str(summary)
    assert summary.to_frame().empty
    assert summary.r2_marginal == 0.0
    assert summary.r2_conditional == summary.icc


def test_the_frame_is_a_copy_of_the_fixed_effects_with_their_ratio():
    model = fitted("restricted")
    frame = model.summary().to_frame()
    pd.testing.assert_frame_equal(
        frame[["estimate", "std_error"]], model.fixed_effects_
    )
    # lme4's t values
    np.testing.assert_allclose(frame["z_value"], [36.838, 6.771], atol=6e-4)
    frame[:] = 0.0
    assert model.summary().to_frame()["z_value"].min() > 6
    assert list(model.fixed_effects_) == ["estimate", "std_error"]


# The text


def lines(model):
    return [line.split() for line in str(model.summary()).splitlines()]


def test_text_has_the_lines_of_lme4s_summary():
    shown = lines(fitted("restricted"))
    assert ["Group", "Effect", "Variance", "Std.Dev.", "Corr"] in shown
    assert ["Subject", "Intercept", "612.09", "24.740"] in shown
    assert ["Days", "35.07", "5.922", "0.07"] in shown
    assert ["residual", "654.94", "25.592"] in shown
    assert ["Rows:", "180;", "levels:", "Subject,", "18"] in shown
    assert ["Estimate", "Std.", "Error", "z", "value"] in shown
    assert ["Intercept", "251.405", "6.825", "36.838"] in shown
    assert ["Days", "10.467", "1.546", "6.771"] in shown
    # logLik, AIC and BIC of lme4's fit
    assert ["1755.63", "1774.79", "-871.81"] in shown
    assert ["0.722", "0.279", "0.799"] in shown


def test_rows_of_the_fit_give_the_tests_of_lmertest():
    # summary(lmer(Reaction ~ Days + (Days | Subject), sleepstudy)) of lmerTest
    model, X, y = sleepstudy(random_slopes=["Days"])
    summary = model.fit(X, y).summary(X, y)
    frame = summary.to_frame()
    assert list(frame) == ["estimate", "std_error", "df", "statistic", "p_value"]
    np.testing.assert_allclose(frame["df"], [17.0, 17.0], atol=5e-3)
    np.testing.assert_allclose(frame["statistic"], [36.838, 6.771], atol=6e-4)
    np.testing.assert_allclose(frame["p_value"]["Days"], 3.26e-6, rtol=2e-3)
    shown = [line.split() for line in str(summary).splitlines()]
    head = ["Estimate", "Std.", "Error", "df", "t", "value", "p", "value"]
    assert head in shown
    assert ["Days", "10.467", "1.546", "17.0", "6.771", "<0.0001"] in shown
    page = summary._repr_html_()
    assert "<th>p value</th>" in page
    assert "&lt;0.0001" in page
    normal = model.summary(X, y, df="normal")
    assert ["Days", "10.467", "1.546", "6.771", "<0.0001"] in [
        line.split() for line in str(normal).splitlines()
    ]
    with pytest.raises(ValueError, match="both X and y"):
        model.summary(X)
    with pytest.raises(ValueError, match="not the rows"):
        model.summary(X[:-1], y[:-1])


def test_a_summary_of_counts_with_tests_has_z_and_p():
    # glmer(TICKS ~ ...) prints z and Pr(>|z|), and no degrees of freedom
    model, X, y = grouse(["height", "BROOD"], groups="BROOD")
    text = str(model.fit(X, y).summary(X, y))
    frame = model.summary(X, y).to_frame()
    ratio = frame["estimate"] / frame["std_error"]
    np.testing.assert_allclose(frame["statistic"], ratio)
    assert np.isinf(frame["df"]).all()
    assert "z value  p value" in text
    assert " df " not in text


def test_reml_says_what_its_likelihood_compares():
    line = "(REML: to be compared between models of the same fixed columns only)"
    for name, said in (("restricted", True), ("full likelihood", False)):
        summary = fitted(name).summary()
        assert (line in str(summary).splitlines()) == said
        assert (line in summary._repr_html_()) == said


def test_text_says_who_fitted_and_how():
    heads = {name: str(fitted(name).summary()).splitlines()[:3] for name in LME4}
    assert heads["restricted"][:2] == [
        "MixedLinearRegressor: normal response, identity link",
        "Solver: VI; likelihood: restricted (REML)",
    ]
    assert heads["full likelihood"][1] == "Solver: VI; likelihood: exact"
    assert heads["counts"][:2] == [
        "MixedPoissonRegressor: Poisson response, log link",
        "Solver: Laplace; likelihood: laplace",
    ]
    assert (
        heads["classes"][0] == "MixedLogisticRegressor: binomial response, logit link"
    )
    assert heads["classes"][1] == (
        "Modelled: probability of class '1' (the other is '0')"
    )


def block(text, title):
    """Rows of numbers below a title of a summary, by their label."""
    table = text[text.index(title) :].split("\n\n")[0].splitlines()[2:]
    return {
        " ".join(row.split()[:-2]): [*map(float, row.split()[-2:])] for row in table
    }


def test_thresholds_are_shown_with_the_errors_of_clmm():
    # clmm(rating ~ temp + contact + (1 | judge), wine, nAGQ = 25) of ordinal
    judges = "23344455 12132354 23325544 32323253 23433333 32322454 11222323 22233334"
    rating = np.array([int(r) for r in (judges + " 12323244").replace(" ", "")])
    bottle, judge = np.tile(np.arange(8), 9), np.repeat(np.arange(9), 8)
    X = pd.DataFrame(
        {"warm": bottle > 3, "contact": bottle // 2 % 2, "judge": judge}
    ).astype({"warm": float})
    model = MixedOrdinalClassifier("judge", solver=Laplace(n_quadrature=25))
    summary = model.fit(X, rating).summary()
    found = block(str(summary), "Thresholds:")
    assert list(found) == ["1|2", "2|3", "3|4", "4|5"]
    estimates = [-1.623487455, 1.512796038, 4.227053454, 6.086152277]
    errors = [0.6833853977, 0.6044364883, 0.8089769395, 0.9719382468]
    shown = np.array([*found.values()]).T
    np.testing.assert_allclose(shown, [estimates, errors], rtol=1e-3)
    assert "1|2" in Cells(summary._repr_html_()).cells
    assert "1|2" in Cells(model._components_html()).cells
    pd.testing.assert_frame_equal(summary.family_parameters, model.family_parameters_)


def test_parameters_of_a_family_are_shown_with_the_errors_of_glmmtmb():
    # glmmTMB(TICKS ~ height + YEAR + (1 | BROOD) + (1 | LOCATION), family = nbinom2):
    # the size, and its error by the delta method
    _, X, y = grouse(["height", "YEAR", "BROOD", "LOCATION"])
    model = MixedGeneralizedRegressor(
        ["BROOD", "LOCATION"], family="negative_binomial", solver="laplace"
    )
    summary = model.fit(X, y).summary()
    found = block(str(summary), "Parameters of the family:")
    size, error_of_its_log = 3.29301021, 0.173284764
    np.testing.assert_allclose(
        found["dispersion"], [size, size * error_of_its_log], rtol=1e-3
    )
    assert fitted("counts").summary().family_parameters is None
    assert "Parameters" not in str(fitted("counts").summary())


def test_columns_of_numbers_are_aligned():
    text = str(fitted("proportions").summary()).splitlines()
    table = text[text.index("Fixed effects:") + 1 :][:5]
    assert len({len(line) for line in table}) == 1
    assert len({line.index(".") for line in table[1:]}) == 1


def test_correlations_that_are_assumed_to_be_zero_are_not_shown():
    assert ["Group", "Effect", "Variance", "Std.Dev."] in lines(fitted("uncorrelated"))


def test_a_correlation_stands_below_the_effect_it_is_with():
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.normal(size=(400, 2)), columns=["u", "v"])
    X["g"] = np.arange(400) % 40
    b = rng.normal(size=(40, 3)) @ np.array([[1, 0.5, 0.8], [0, 1, 0], [0, 0, 1]])
    y = b[X["g"], 0] + b[X["g"], 1] * X["u"] + b[X["g"], 2] * X["v"]
    y += rng.normal(size=400)
    model = MixedLinearRegressor("g", random_slopes=["u", "v"]).fit(X, y)
    sigma = model.random_effects_covariance_["g"]
    correlation = sigma / np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    random = lines(model)[: lines(model).index(["Fixed", "effects:"])]
    shown = {line[0]: line[3:] for line in random if line[:1] in (["u"], ["v"])}
    assert shown["u"] == [f"{correlation[1, 0]:.2f}"]
    assert shown["v"] == [f"{value:.2f}" for value in correlation[2, :2]]


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6, 1e12])
def test_numbers_have_four_digits_in_any_unit(unit):
    model, X, y = sleepstudy(random_slopes=["Days"])
    model.fit(X.assign(Days=X["Days"] * unit), y / unit**0.5)
    frame = model.summary().to_frame()
    shown = lines(model)
    at = shown.index(["Fixed", "effects:"]) + 2
    for row, line in zip(frame.itertuples(), shown[at:], strict=False):
        estimate, error = float(line[1]), float(line[2])
        np.testing.assert_allclose(estimate, row.estimate, 1e-3, 1e-3 * row.std_error)
        np.testing.assert_allclose(error, row.std_error, 1e-3)
        assert max(map(len, line)) <= 12


def test_zero_variance_is_noted():
    X, y = datasets.load_dyestuff2(return_X_y=True, as_frame=True)
    with pytest.warns(UserWarning, match="estimated as zero"):
        model = MixedLinearRegressor("Batch").fit(X, y)
    summary = model.summary()
    assert summary.notes == ("Variance of 'Batch' estimated as zero.",)
    assert str(summary).endswith("\n\nVariance of 'Batch' estimated as zero.")
    assert summary.icc == 0.0


def test_a_fit_that_stopped_short_is_noted():
    model, X, y = sleepstudy(random_slopes=["Days"], solver=VI(max_iter=2))
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(X, y)
    (note,) = model.summary().notes
    assert note == "Not converged: max_iter=2 evaluations were not enough."
    assert fitted("restricted").summary().notes == ()


def test_columns_without_a_coefficient_are_noted_and_have_no_error():
    model, X, y = sleepstudy()
    with pytest.warns(UserWarning, match="depends linearly"):
        model.fit(X.assign(hours=24 * X["Days"]), y)
    assert ["hours", "0.0000", "nan", "nan"] in lines(model)
    (note,) = model.summary().notes
    assert note == "Set to 0, constant or dependent on the columns before: 'hours'."
    alone = fitted_intercepts()
    np.testing.assert_allclose(model.summary().icc, alone.summary().icc, rtol=1e-6)


@functools.cache
def fitted_intercepts():
    model, X, y = sleepstudy()
    return model.fit(X, y)


def test_separated_outcomes_are_noted():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=200), "g": np.arange(200) % 10})
    with pytest.warns(UserWarning, match="separates the outcomes"):
        model = MixedLogisticRegressor("g").fit(X, X["x"] > 0)
    summary = model.summary()
    assert any("Outcomes separated by 'x'" in note for note in summary.notes)
    assert 0.9 < summary.r2_marginal <= summary.r2_conditional <= 1


def test_columns_may_be_known_by_their_position():
    model, X, y = sleepstudy()
    model = MixedLinearRegressor(1, random_slopes=[0])
    model.fit(X.astype({"Subject": int}).to_numpy(), y)
    np.testing.assert_allclose(model.summary().icc, LME4["restricted"][0], atol=5e-6)
    assert ["Rows:", "180;", "levels:", "1,", "18"] in lines(model)


# Kept, passed on and shown


def test_a_model_without_fit_has_no_summary():
    with pytest.raises(NotFittedError):
        MixedLinearRegressor("g").summary()


@pytest.mark.parametrize("name", ["restricted", "overdispersed", "classes"])
def test_a_summary_outlives_pickling_of_the_model_and_its_own(name):
    model = fitted(name)
    text = str(model.summary())
    assert str(pickle.loads(pickle.dumps(model)).summary()) == text
    assert repr(pickle.loads(pickle.dumps(model.summary()))) == text


def test_a_summary_does_not_need_tensorflow(tmp_path):
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(fitted("counts")))
    program = (
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'));"
        "print(model.summary(), model._repr_html_()[:0]);"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "model.pickle")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(fitted("counts").summary()).strip()


def test_what_the_summary_keeps_has_no_size_of_the_rows():
    sizes = []
    for n in (200, 2000):
        X, y = datasets.make_mixed_regression(n, 2, n_groups=10, random_state=0)
        facts = MixedLinearRegressor("g0").fit(X, y)._fitted.facts
        sizes.append(len(pickle.dumps(facts)))
    assert sizes[0] == sizes[1]


class Cells(html.parser.HTMLParser):
    """Texts of the cells of a page, and whether every tag is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag in ("th", "td"):
            self.cells.append("")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1] += data


@pytest.mark.parametrize("name", CASES)
def test_html_has_the_cells_of_the_text(name):
    summary = fitted(name).summary()
    page = Cells(summary._repr_html_())
    assert page.open == []
    words = str(summary).split()
    for cell in page.cells:
        assert set(cell.split()) <= set(words)
    assert page.cells.count("Estimate") == 1


def test_names_are_text_in_html():
    model, X, y = sleepstudy()
    name = "<script>alert('&')</script>"
    X = X.rename(columns={"Days": name, "Subject": "a<b"})
    model = MixedLinearRegressor("a<b", random_slopes=[name]).fit(X, y)
    page = model.summary()._repr_html_()
    assert "<script" not in page and "a<b" not in page
    assert {name, "a<b"} <= set(Cells(page).cells)
    assert "<script>alert" not in model._repr_html_()


def test_a_fitted_model_shows_its_components_in_a_notebook():
    model = fitted("restricted")
    for page in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert page.count("Fitted components") == 1
        start = page.index('<details open class="skglmm-components">')
        end = page.index("</details>", start) + len("</details>")
        cells = Cells(page[start:end]).cells
        assert {"Subject", "35.07", "0.07", "654.94", "251.405"} <= set(cells)
        # the rest of the page is scikit-learn's
        assert (page[:start] + page[end:]).count("<") == (
            estimator_html_repr(model).count("<")
        )
    assert model._repr_mimebundle_()["text/plain"] == repr(model)


def test_a_model_without_fit_shows_its_parameters_alone():
    model = clone(fitted("restricted"))
    assert "Fitted components" not in model._repr_html_()
    assert "Fitted components" not in model._repr_mimebundle_()["text/html"]


def test_scikit_learns_display_setting_is_obeyed():
    import sklearn

    model = fitted("restricted")
    with sklearn.config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert set(model._repr_mimebundle_()) == {"text/plain"}
    assert hasattr(model, "_repr_html_")


def test_a_pipeline_shows_a_fitted_model():
    page = make_pipeline("passthrough", fitted("restricted"))._repr_html_()
    assert "MixedLinearRegressor" in page


def test_a_notebook_shows_the_first_of_many_coefficients():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 30))).rename(columns="x{}".format)
    X["g"] = np.arange(200) % 10
    y = X.sum(axis=1) + rng.normal(size=10)[X["g"]] + rng.normal(size=200)
    model = MixedLinearRegressor("g").fit(X, y)
    page = model._components_html()
    assert page.count("<tr>") == 3 + 1 + 20 and "and 11 more" in page
    assert ["x29"] == [line[0] for line in lines(model) if line[:1] == ["x29"]]
