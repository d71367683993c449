"""Marginal means: emmeans' answers, enumeration, closed forms, other tables, words."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from scipy.stats import norm, studentized_range
from sklearn.base import clone

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm._families import FAMILIES, Family
from skglmm.datasets import load_cbpp, load_contraception, load_grouseticks
from skglmm.inference import contrasts, marginal_means
from skglmm.solvers import Laplace

# In R, with emmeans::emm_options(cov.keep = character(0), lmerTest.limit = 1e5,
# pbkrtest.limit = 1e5), on women of the first 20 districts:
#   g$cell <- factor(paste(g$usen, g$urban))
#   m <- lmer(age ~ livch + cell + (1 | district), g)
#   e <- emmeans(m, ~cell, lmer.df = "satterthwaite"); confint(e)
MEANS = [
    [-0.80784421, 0.41150767, 18.909791, -1.6694178, 0.053729432],
    [-0.80720462, 0.73250924, 36.459435, -2.2921525, 0.677743229],
    [-2.64301819, 0.60492221, 87.562761, -3.8452576, -1.440778742],
    [-1.98873903, 0.65641687, 21.669154, -3.3512704, -0.626207669],
]
# the same with weights = "proportional"
PROPORTIONAL = [
    [0.20465268, 0.39731245, 16.448083, -0.6357511, 1.04505647],
    [0.20529227, 0.72689108, 35.332541, -1.2698788, 1.68046330],
    [-1.63052130, 0.59924539, 84.340724, -2.8221161, -0.43892646],
    [-0.97624214, 0.65274814, 21.378583, -2.3322440, 0.37975970],
]
# summary(pairs(e), infer = TRUE, adjust = ...): lower, upper, p
PAIRS = {
    "tukey": [
        [-2.03024752, 2.0289683, 1.000000000],
        [0.08690525, 3.5834427, 0.035368639],
        [-0.71330233, 3.0750920, 0.365745306],
        [-0.54030448, 4.2119316, 0.190675486],
        [-1.08069352, 3.4437623, 0.534423520],
        [-2.87508344, 1.5665251, 0.869364880],
    ],
    "holm": [
        [-2.08897363, 2.0876945, 0.999348344],
        [0.03899680, 3.6313512, 0.042202499],
        [-0.77151326, 3.1333029, 0.424377892],
        [-0.60836872, 4.2799959, 0.233246887],
        [-1.14273865, 3.5058075, 0.537080646],
        [-2.94037994, 1.6318216, 0.889420551],
    ],
    "none": [
        [-1.544605003, 1.5433258, 0.9993483442],
        [0.502286055, 3.1680619, 0.0070337498],
        [-0.256461461, 2.6182511, 0.1060944731],
        [0.027505345, 3.6441218, 0.0466493773],
        [-0.543139555, 2.9062084, 0.1790268820],
        [-2.342576929, 1.0340186, 0.4447102754],
    ],
}
# summary(contrast(e, "trt.vs.ctrl"), infer = TRUE, adjust = "tukey"), made "sidak"
REFERENCE = [
    [0.00063958541, 0.78190600, 163.076431, -1.8857162, 1.88699532, 1.000000000],
    [-1.83517398486, 0.67887712, 697.396337, -3.4600575, -0.21029042, 0.020953176],
    [-1.18089481968, 0.72319535, 87.313567, -2.9414430, 0.57965333, 0.285709511],
]
# pairs(emmeans(m, ~cell, lmer.df = "kenward-roger")): error, df, p
KENWARD_ROGER = [
    [0.80532286, 299.70861, 1.000000000],
    [0.68143120, 700.71171, 0.036371408],
    [0.75518370, 181.84781, 0.401981431],
    [0.94248295, 335.52995, 0.210212298],
    [0.88651107, 686.56205, 0.542294463],
    [0.88276341, 255.94645, 0.880347447],
]
ENDS = ["estimate", "std_error", "df", "lower", "upper"]


@functools.cache
def ages():
    X, use = load_contraception(return_X_y=True, as_frame=True)
    kept = X["district"].astype(int) <= 20
    X = X.assign(cell=[f"{u} {w}" for u, w in zip(use, X["urban"], strict=True)])[kept]
    y, X = X["age"], X[["livch", "cell", "district"]]
    return MixedLinearRegressor("district").fit(X, y), X, y


@functools.cache
def users(solver=None):
    X, y = load_contraception(return_X_y=True, as_frame=True)
    X = X.assign(cell=[f"{c} {u}" for c, u in zip(X["ch"], X["urban"], strict=True)])
    X = X[["age", "cell", "district"]]
    return (
        MixedLogisticRegressor("district", solver=solver or Laplace()).fit(X, y),
        X,
        y,
    )


@functools.cache
def ticks(**parameters):
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X.assign(YEAR=X["YEAR"].astype(str), hx=X["cHEIGHT"] / 100)
    for year in ("96", "97"):
        X[f"hx{year}"] = X["hx"] * (X["YEAR"] == year)
    X = X[["YEAR", "hx", "BROOD", *parameters.pop("products", ())]]
    model = MixedPoissonRegressor("BROOD", solver=Laplace(), **parameters)
    return model.fit(X, y), X, y


def test_means_are_those_of_emmeans():
    table = marginal_means(*ages(), "cell")
    assert list(table.index) == ["0 N", "0 Y", "1 N", "1 Y"]
    assert table.index.name == "cell"
    assert_allclose(table[ENDS], MEANS, rtol=2e-5)
    table = marginal_means(*ages(), "cell", over="data")
    assert_allclose(table[ENDS], PROPORTIONAL, rtol=2e-5)
    linear = marginal_means(*ages(), "cell", over="data", scale="link")
    assert linear.equals(table)


@pytest.mark.parametrize("adjust", PAIRS)
def test_differences_are_those_of_emmeans(adjust):
    table = marginal_means(*ages(), "cell", contrasts="pairwise", adjust=adjust)
    assert list(table.index[:2]) == ["0 N - 0 Y", "0 N - 1 N"]
    expected = np.array(PAIRS[adjust])
    assert_allclose(table[["lower", "upper"]], expected[:, :2], rtol=5e-5)
    assert_allclose(table["p_value"], expected[:, 2], rtol=5e-5)


def test_differences_from_a_reference_and_by_kenward_roger():
    table = marginal_means(*ages(), "cell", contrasts="reference")
    assert list(table.index) == ["0 Y - 0 N", "1 N - 0 N", "1 Y - 0 N"]
    # the first difference is a thousandth of its error
    found = table[[*ENDS, "p_value"]]
    assert_allclose(found, REFERENCE, rtol=5e-5, atol=2e-7)
    table = marginal_means(*ages(), "cell", contrasts="pairwise", df="kenward-roger")
    assert_allclose(table[["std_error", "df", "p_value"]], KENWARD_ROGER, rtol=2e-5)


def test_two_columns_have_all_combinations():
    # emmeans(m, ~livch + cell, at = list(livch = c("0", "2"), cell = c("0 N", "1 Y")))
    expected = [
        [-7.35635936, 0.54182429, 59.876943, -8.44021512, -6.2725036],
        [0.53357835, 0.69721314, 124.878922, -0.84630606, 1.9134628],
        [-8.53725418, 0.76749117, 43.436715, -10.08459775, -6.9899106],
        [-0.64731647, 0.84759161, 58.697240, -2.34352642, 1.0488935],
    ]
    by = {"cell": ["0 N", "1 Y"], "livch": ["0", "2"]}
    table = marginal_means(*ages(), by)
    assert table.index.names == ["cell", "livch"]
    assert_allclose(table[ENDS], expected, rtol=2e-5)
    pairs = marginal_means(*ages(), by, contrasts="pairwise")
    assert pairs.index[2] == "(0 N, 0) - (1 Y, 2)"
    assert_allclose(pairs.iloc[2, :3], [-6.7090429, 1.02753162, 255.35138], rtol=2e-5)
    assert_allclose(pairs["p_value"].iloc[2], 2.1248e-9, rtol=1e-3)


def test_logits_are_those_of_emmeans():
    # emmeans(glmmTMB(use ~ age + cell + (1 | district), binomial), ~cell); pairs(.)
    means = [-1.76813863, -0.74982211, -0.37915318, 0.24687624]
    # Errors of generalised models are from a Hessian by differences, which is good
    # to about 3e-4 of them.
    errors = [0.165226368, 0.188371297, 0.094409123, 0.132936307]
    table = marginal_means(*users(), "cell", scale="link")
    model, X, y = users()
    named = clone(model).set_params(fixed_effects=["age", "cell"]).fit(X, y)
    more = X.assign(other="a")[["other", "district", "cell", "age"]]
    for rows in (more, pl.from_pandas(more), more.drop(columns="other")):
        again = marginal_means(named, rows, y, "cell", scale="link")
        assert_allclose(again["estimate"], means, rtol=5e-5)
    assert_allclose(table["estimate"], means, rtol=5e-5)
    assert_allclose(table["std_error"], errors, rtol=5e-4)
    assert np.isinf(table["df"]).all()
    pairs = marginal_means(*users(), "cell", scale="link", contrasts="pairwise")
    expected = [-1.01831653, -1.38898546, -2.01501488, -0.37066893, -0.99669835]
    assert_allclose(pairs["estimate"], [*expected, -0.62602942], rtol=5e-5)
    size = np.sqrt(2.0) * np.abs(pairs["statistic"])
    assert_allclose(pairs["p_value"], studentized_range.sf(size, 4, np.inf))


def test_logarithms_are_those_of_emmeans_and_products_need_contrasts():
    # m <- glmer(TICKS ~ YEAR + hx + (1 | BROOD), poisson); emmeans(m, ~YEAR)
    table = marginal_means(*ticks(), "YEAR", scale="link")
    assert_allclose(table["estimate"], [0.50918470, 1.64507858, -0.49194721], rtol=5e-5)
    errors = [0.18661646, 0.15742501, 0.20246300]
    assert_allclose(table["std_error"], errors, rtol=3e-4)
    # m <- glmer(TICKS ~ YEAR * hx + (1 | BROOD)); emmeans(m, ~YEAR, at = list(hx = .3))
    model, X, y = ticks(products=("hx96", "hx97"))
    asked = {
        "95": "Intercept + 0.3 * hx",
        "96": "Intercept + YEAR_96 + 0.3 * (hx + hx96)",
        "97": "Intercept + YEAR_97 + 0.3 * (hx + hx97)",
    }
    table = contrasts(model, X, y, asked)
    assert_allclose(table["estimate"], [-0.54837948, 1.16072850, -1.1003229], rtol=2e-4)
    errors = [0.25165083, 0.21132862, 0.28370518]
    assert_allclose(table["std_error"], errors, rtol=5e-4)


def moments(model, X, mean):
    """Mean, and its slopes by central differences in the coefficients."""
    b = model.fixed_effects_["estimate"].to_numpy()
    slopes = [
        (mean(X @ (b + h)) - mean(X @ (b - h))) / 2e-5 for h in 1e-5 * np.eye(len(b))
    ]
    error = np.sqrt(slopes @ model.fixed_effects_covariance_.to_numpy() @ slopes)
    return mean(X @ b), error


def test_counts_have_the_mean_of_a_lognormal():
    model, X, y = ticks()
    variance = model.random_effects_covariance_["BROOD"].item()
    table = marginal_means(model, X, y, "YEAR")
    hx = X["hx"].mean()
    for year, row in zip([[0, 0], [1, 0], [0, 1]], table.to_numpy(), strict=True):
        x = np.array([1.0, *year, hx])
        found = moments(model, x, lambda eta: np.exp(eta + variance / 2.0))
        assert_allclose(row[:2], found, rtol=1e-8)
        width = norm.ppf(0.975) * found[1] / found[0]
        assert_allclose(row[5:], found[0] * np.exp([-width, width]), rtol=1e-7)
    rows = np.column_stack([np.ones(len(X)), np.ones(len(X)), 0 * y, X["hx"]])
    over = marginal_means(model, X, y, {"YEAR": ["96"]}, over="data")
    found = moments(model, rows, lambda eta: np.exp(eta + variance / 2.0).mean())
    assert_allclose(over.iloc[0, :2], found, rtol=1e-7)
    # pairs(regrid(emmeans(m, ~YEAR)), adjust = "holm"): the factor exp(v / 2) cancels
    pairs = marginal_means(model, X, y, "YEAR", contrasts="pairwise", adjust="holm")
    assert_allclose(pairs["statistic"], [-4.0498503, 3.1937105, 5.5576359], rtol=3e-4)
    expected = [1.0250081e-4, 1.4045691e-3, 8.2035904e-8]
    assert_allclose(pairs["p_value"], expected, rtol=5e-3)


@pytest.mark.parametrize("family", list(FAMILIES.values()), ids=list(FAMILIES))
def test_slopes_of_integrated_means_are_differences(family):
    eta, variance = np.linspace(-3.0, 3.0, 13), np.linspace(0.0, 4.0, 13)
    found = family.integrated_slope(eta, variance)
    assert_allclose(found, Family.integrated_slope(family, eta, variance), rtol=1e-7)


def test_probabilities_are_integrated():
    model, X, y = users()
    std = np.sqrt(model.random_effects_covariance_["district"].item())
    u = np.linspace(-9.0, 9.0, 4001)
    weight = norm.pdf(u) / norm.pdf(u).sum()

    def mean(eta):
        return np.mean(expit(np.atleast_1d(eta)[:, None] + std * u) @ weight)

    table = marginal_means(model, X, y, {"cell": ["N Y", "Y Y"]}, coverage=0.9)
    for cell, row in zip([[1, 0, 0], [0, 0, 1]], table.to_numpy(), strict=True):
        found = moments(model, np.array([1.0, X["age"].mean(), *cell]), mean)
        assert_allclose(row[:2], found, rtol=1e-6)
        centre, error = logit(found[0]), found[1] / (found[0] * (1.0 - found[0]))
        assert_allclose(row[3], centre / error, rtol=1e-5)
        ends = centre + norm.ppf([0.05, 0.95]) * error
        assert_allclose(row[5:], expit(ends), rtol=1e-6)
    over = marginal_means(model, X, y, "cell", over="data").loc["Y Y"]
    rows = np.column_stack([np.ones(len(X)), X["age"], 0 * y, 0 * y, np.ones(len(X))])
    assert_allclose(over[:2], moments(model, rows, mean), rtol=1e-6)
    population = model.predict_proba(X.assign(cell="Y Y"), level="population")[:, 1]
    assert_allclose(over["estimate"], population.mean())


@functools.cache
def table_of_all_kinds():
    rng = np.random.default_rng(0)
    n = 120
    X = pd.DataFrame(
        {
            "arm": rng.choice(["a", "b", "c"], n),
            "flag": rng.random(n) < 0.4,
            "x": rng.normal(size=n),
            "z": rng.integers(0, 3, n),
            "place": np.repeat(np.arange(12), 10),
        },
        index=np.arange(n)[::-1] // 2,
    )
    y = X["x"] + (X["arm"] == "b") + rng.normal(size=12)[X["place"]]
    return X, (y + rng.normal(size=n)).to_numpy()


def test_a_grid_is_a_table_that_predict_reads():
    X, y = table_of_all_kinds()
    model = MixedLinearRegressor("place").fit(X, y)
    table = marginal_means(model, X, y, ["z", "flag"])
    assert table.index.tolist()[:2] == [(0, False), (0, True)]
    grid = pd.DataFrame({"arm": list("abc"), "flag": True, "x": X["x"].mean(), "z": 2})
    grid["place"] = -1
    mean = model.predict(grid, level="population").mean()
    assert table.loc[(2, True), "estimate"] == pytest.approx(mean)
    over = marginal_means(model, X, y, {"x": [0.5]}, over="data")
    mean = model.predict(X.assign(x=0.5), level="population").mean()
    assert over["estimate"].item() == pytest.approx(mean)


def test_tables_of_other_kinds_have_the_same_means():
    X, y = table_of_all_kinds()
    expected = marginal_means(MixedLinearRegressor("place").fit(X, y), X, y, "arm")
    frame = pl.DataFrame({name: X[name].to_list() for name in X})
    model = MixedLinearRegressor("place").fit(frame, y)
    for over in ("grid", "data"):
        table = marginal_means(model, frame, y, "arm", over=over)
        same = marginal_means(
            MixedLinearRegressor("place").fit(X, y), X, y, "arm", over=over
        )
        assert_allclose(table, same, rtol=1e-6)
    numbers = X[["z", "x", "place"]]
    model = MixedLinearRegressor("place").fit(numbers, y)
    of_array = MixedLinearRegressor(2).fit(numbers.to_numpy(), y)
    for over in ("grid", "data"):
        table = marginal_means(of_array, numbers.to_numpy(), y, 0, over=over)
        same = marginal_means(model, numbers, y, "z", over=over)
        assert_allclose(table, same, rtol=1e-6)
    columns, place = X[["arm", "x"]], X["place"]
    handed = MixedLinearRegressor().fit(columns, y, groups=place)
    table = marginal_means(handed, columns, y, "arm", groups=place)
    named = MixedLinearRegressor("place").fit(X[["arm", "x", "place"]], y)
    same = marginal_means(named, X[["arm", "x", "place"]], y, "arm")
    assert_allclose(table, same, rtol=1e-6)
    assert expected.shape == table.shape


@pytest.mark.parametrize("over", ["grid", "data"])
def test_a_weight_counts_rows(over):
    X, y = table_of_all_kinds()
    weight = np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), weight)
    model = MixedLinearRegressor("place").fit(X, y, weight)
    table = marginal_means(model, X, y, "arm", sample_weight=weight, over=over)
    X, y = X.iloc[rows], y[rows]
    repeated = MixedLinearRegressor("place").fit(X, y)
    assert_allclose(
        table, marginal_means(repeated, X, y, "arm", over=over), rtol=1e-5, atol=1e-9
    )


def test_exposure_is_one_and_trials_do_not_matter():
    X, y = load_cbpp(return_X_y=True, as_frame=True)
    X = X.assign(period=X["period"].astype(str))
    model = MixedBinomialRegressor("herd", trials="size", solver=Laplace()).fit(X, y)
    table = marginal_means(model, X, y, "period")
    grid = pd.DataFrame({"period": list("1234"), "herd": "1", "size": 7.0})[X.columns]
    assert_allclose(table["estimate"], model.predict(grid, level="population"))
    counts = X.assign(size=X["size"].astype(float))
    model = MixedPoissonRegressor("herd", exposure="size", solver=Laplace()).fit(
        counts, y
    )
    rates = marginal_means(model, counts, y, "period")["estimate"]
    per_ten = marginal_means(model, counts, y, {"size": [10.0], "period": None})
    assert_allclose(per_ten["estimate"], 10.0 * rates)
    assert_allclose(
        rates, model.predict(grid.assign(size=1.0), level="population"), rtol=1e-9
    )


def test_an_offset_is_at_its_mean():
    X, y = table_of_all_kinds()
    X = X[["arm", "z", "place"]]
    model = MixedLinearRegressor("place", offset="z").fit(X, y)
    grid = pd.DataFrame({"arm": list("abc"), "z": X["z"].mean(), "place": 0})
    table = marginal_means(model, X, y, "arm")
    assert_allclose(table["estimate"], model.predict(grid, level="population"))


def test_what_rows_do_not_determine_is_nan():
    X, y = table_of_all_kinds()
    X = X.assign(double=2 * X["x"])
    with pytest.warns(UserWarning, match="double"):
        model = MixedLinearRegressor("place").fit(X, y)
    with pytest.warns(UserWarning, match="do not determine 2 of 2 means, such as 0"):
        table = marginal_means(model, X, y, {"x": [0, 1]})
    assert table.isna().all(axis=None)
    with pytest.warns(UserWarning, match="1 of 1 differences, such as '1 - 0'"):
        marginal_means(model, X, y, {"x": [0, 1]}, contrasts="reference")
    assert marginal_means(model, X, y, "arm").notna().all(axis=None)


def test_columns_and_values_that_cannot_be():
    X, y = table_of_all_kinds()
    model = MixedLinearRegressor("place").fit(X, y)
    for by, word in [
        ("x", "has 120 values; say at which"),
        ("place", "holds the groups"),
        ("Arm", "Did you mean 'arm'"),
        ({"arm": ["d"]}, "'d' is no category of column 'arm'"),
        ({"z": ["d"]}, "not finite"),
        ({"z": [np.inf]}, "not finite"),
        ({"arm": []}, "no values"),
        ([], "names no column"),
        (["arm", 0], "there twice"),
    ]:
        with pytest.raises(ValueError, match=word):
            marginal_means(model, X, y, by)
    with pytest.raises(ValueError, match="needs two means"):
        marginal_means(model, X, y, {"arm": ["a"]}, contrasts="pairwise")
    with pytest.raises(ValueError, match="not the rows"):
        marginal_means(model, X[:100], y[:100], "arm")


def test_gaps_are_left_out_of_the_means_of_a_grid():
    X, y = table_of_all_kinds()
    X = X[["z", "x", "place"]].reset_index(drop=True)
    X.loc[3:9, "x"] = np.nan
    model = MixedLinearRegressor("place", missing="model").fit(X, y)
    table = marginal_means(model, X, y, "z", df="normal")
    b = model.fixed_effects_["estimate"]
    mean = b["Intercept"] + b["x"] * X["x"].mean() + b["z"] * np.arange(3)
    assert_allclose(table["estimate"], mean)
    with pytest.raises(ValueError, match="over='data' needs all values"):
        marginal_means(model, X, y, "z", df="normal", over="data")
    with pytest.warns(UserWarning, match="df='normal'"):
        assert marginal_means(model, X, y, "z").equals(table)


def test_a_column_of_a_formula_may_be_a_part_of_the_groups_too():
    # balanced, so that classical analysis of variance has the answer
    rng = np.random.default_rng(0)
    plate, arm, late, _ = (v.ravel() for v in np.indices((8, 3, 2, 2)))
    X = pd.DataFrame({"plate": plate, "arm": np.array(list("abc"))[arm], "late": late})
    y = rng.normal(size=24)[3 * plate + arm] + arm * late + rng.normal(size=96)
    model = MixedLinearRegressor([("plate", "arm")], fixed_effects="arm * late")
    table = marginal_means(model.fit(X, y), X, y, "arm", df="kenward-roger")
    assert_allclose(table["estimate"], pd.Series(y).groupby(X["arm"]).mean())
    # the error is that of a mean of 8 independent means, 21 degrees of freedom
    by_plate = pd.Series(y).groupby([X["arm"], plate]).mean()
    variance = by_plate.groupby("arm").var().mean()
    assert_allclose(table["std_error"], np.sqrt(variance / 8), rtol=1e-4)
    assert_allclose(table["df"], 21, rtol=1e-4)


def test_a_column_without_a_part_has_no_means():
    X, y = load_contraception(return_X_y=True, as_frame=True)
    model = MixedLogisticRegressor("district", fixed_effects=["urban"]).fit(X, y)
    for rows in (X, X.assign(later="b")):
        with pytest.raises(ValueError, match="column 'livch' has no part in this"):
            marginal_means(model, rows, y, ["urban", "livch"])
    with pytest.raises(ValueError, match="column 'later' has no part in this"):
        marginal_means(model, rows, y, "later")
