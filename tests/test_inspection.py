"""Displays: what they draw, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from sklearn.base import clone

from skglmm import (
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    inspection,
)
from skglmm.datasets import load_contraception, load_grouseticks, load_sleepstudy
from skglmm.inspection import (
    CoefficientsDisplay,
    EffectsDisplay,
    PredictiveCheckDisplay,
    RandomEffectsDisplay,
    ShrinkageDisplay,
    UncertaintyDisplay,
    VarianceComponentsDisplay,
)
from skglmm.inspection._unpooled import unpooled

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y), X, y


@pytest.fixture(scope="module")
def ticks():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    return MixedPoissonRegressor("BROOD").fit(X, y), X, y


@pytest.fixture(scope="module")
def women():
    X, y = load_contraception(return_X_y=True, as_frame=True)
    X = X.drop(columns=["woman", "ch"])
    return MixedLogisticRegressor("district").fit(X, y), X, y


def test_random_effects_are_drawn_in_order_with_their_intervals(sleep):
    model, _, _ = sleep
    display = RandomEffectsDisplay.from_estimator(model, coverage=0.8)
    effects = model.random_effects_["Subject"].sort_values("Intercept")
    std = model.random_effects_std_["Subject"].loc[effects.index]
    assert display.figure_ is display.ax_[0].figure
    labels = [text.get_text() for text in display.ax_[0].get_yticklabels()]
    assert labels == list(effects.index.astype(str))
    for ax, effect in zip(display.ax_, effects, strict=True):
        points = ax.lines[-1].get_xdata()
        np.testing.assert_array_equal(points, effects[effect])
        (lines,) = ax.collections
        ends = np.array([line[:, 0] for line in lines.get_segments()])
        width = ndtri(0.9) * std[effect]
        np.testing.assert_allclose(ends[:, 1] - points, width, rtol=1e-9)


def test_many_levels_are_named_at_the_ends():
    names = [f"site {i:04d}" for i in range(500)]
    values = np.random.default_rng(0).normal(size=500)
    table = pd.DataFrame(
        {("b", "estimate"): values, ("b", "lower"): values - 1, ("b", "upper"): values},
        index=names,
    )
    display = RandomEffectsDisplay(table, factor="site").plot(n_named=2)
    highest, lowest = (text.get_text() for text in display.ax_.texts)
    order = table[("b", "estimate")].sort_values().index
    assert highest.split("\n")[1:] == [order[-1], order[-2]]
    assert lowest.split("\n")[1:] == [order[1], order[0]]
    assert "500 levels" in display.ax_.get_ylabel()


def test_order_by_size_needs_rows(ticks):
    model, X, _ = ticks
    with pytest.raises(ValueError, match="give X"):
        RandomEffectsDisplay.from_estimator(model, sort_by="size")
    display = RandomEffectsDisplay.from_estimator(
        model, X, sort_by="size", most_labels=200
    )
    sizes = X["BROOD"].value_counts()
    drawn = [int(text.get_text()) for text in display.ax_.get_yticklabels()]
    assert np.all(np.diff(sizes.loc[[str(label) for label in drawn]]) >= 0)


def test_coefficients_are_those_of_inference(sleep):
    from skglmm.inference import coefficients

    model, X, y = sleep
    table = coefficients(model, X, y).loc[["Days"]]
    display = CoefficientsDisplay.from_estimator(model, X, y)
    pd.testing.assert_frame_equal(display.table, table)
    ((ends,),) = [c.get_segments() for c in display.ax_.collections]
    np.testing.assert_allclose(ends[:, 0], table.loc["Days", ["lower", "upper"]])


def test_ratios_have_a_logarithmic_axis(women, sleep):
    display = CoefficientsDisplay.from_estimator(women[0], exponentiate=True)
    assert display.ax_.get_xscale() == "log"
    coef = women[0].fixed_effects_["estimate"].drop("Intercept")
    np.testing.assert_allclose(display.table["estimate"], np.exp(coef))
    with pytest.raises(ValueError, match="identity link"):
        CoefficientsDisplay.from_estimator(sleep[0], exponentiate=True)


def test_bars_are_the_shares_of_the_summary(sleep):
    model, _, _ = sleep
    display = VarianceComponentsDisplay.from_estimator(model)
    shares = model.summary().variance_partition
    widths = [bar.get_width() for bar in display.ax_.patches][::-1]
    np.testing.assert_allclose(widths, shares / shares.sum())


def test_intervals_of_deviations_are_drawn_if_handed_over(sleep):
    model, _, _ = sleep
    index = pd.MultiIndex.from_tuples(
        [("fixed", "Days"), ("Subject", "Days"), ("residual", "")]
    )
    intervals = pd.DataFrame(
        {"lower": [7.4, 3.8, 22.9], "upper": [13.6, 8.8, 28.9]}, index
    )
    display = VarianceComponentsDisplay.from_estimator(model, intervals=intervals)
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["residual", "Subject: Days"]
    with pytest.raises(ValueError, match="confidence_intervals"):
        VarianceComponentsDisplay.from_estimator(model, intervals=intervals.iloc[:1])


def test_uncertainty_is_drawn_over_the_number_of_rows(ticks):
    model, X, _ = ticks
    display = UncertaintyDisplay.from_estimator(model, X)
    drawn = np.asarray(display.ax_.collections[0].get_offsets())
    sizes = X["BROOD"].value_counts()
    index = model.random_effects_["BROOD"].index
    np.testing.assert_array_equal(drawn[:, 0], sizes.loc[index])
    np.testing.assert_array_equal(
        drawn[:, 1], model.random_effects_std_["BROOD"]["Intercept"]
    )


def test_own_estimates_of_a_linear_model_are_least_squares(sleep):
    model, X, y = sleep
    found = ShrinkageDisplay.from_estimator(model, X, y).unpooled
    for subject, rows in X.groupby("Subject", observed=True):
        line = np.polyfit(rows["Days"], y[rows.index], 1)
        np.testing.assert_allclose(found.loc[subject], line[::-1], rtol=1e-8)


def test_own_estimates_of_counts_are_logarithms_of_ratios(ticks):
    model, X, y = ticks
    found = unpooled(model, X, y, "BROOD")["Intercept"]
    fixed = np.exp(model.linear_predictor(X, level="population"))
    sums = pd.DataFrame({"y": y, "fixed": fixed}).groupby(X["BROOD"], observed=True)
    sums = sums.sum().loc[found.index]
    none = sums["y"] == 0
    assert none.any() and found[none].isna().all()
    expected = np.log(sums["y"][~none] / sums["fixed"][~none])
    np.testing.assert_allclose(found[~none], expected, rtol=1e-6, atol=1e-6)


def test_own_estimates_are_not_made_up(sleep):
    model, X, y = sleep
    few = X["Subject"].ne("308") | X["Days"].eq(3)
    found = unpooled(model, X[few], y[few], "Subject")
    assert found.loc["308"].isna().all() and found.drop("308").notna().all(axis=None)


def test_curves_are_predictions(sleep, women):
    model, X, _ = sleep
    display = EffectsDisplay.from_estimator(model, X, "Days", levels=["335"])
    curve = display.curves.set_index("group").loc["335"]
    rows = pd.DataFrame({"Days": curve["value"].to_numpy(), "Subject": "335"})
    np.testing.assert_allclose(curve["mean"], model.predict(rows[list(X)]))
    model, X, _ = women
    display = EffectsDisplay.from_estimator(model, X, "livch", levels=1)
    whole = display.curves.set_index("group").loc["population"]
    rows = X.iloc[: len(whole)].assign(
        livch=whole["value"].to_numpy(), urban="N", age=X["age"].mean()
    )
    expected = model.predict_proba(rows, level="population")[:, 1]
    np.testing.assert_allclose(whole["mean"], expected)


def test_other_factors_have_no_level_in_a_curve():
    random = np.random.default_rng(1)
    X = pd.DataFrame(
        {"x": random.normal(size=400), "g": random.integers(0, 8, 400) * 1.0}
    )
    X["h"] = random.integers(0, 9, 400)
    y = X["x"] + 2 * random.normal(size=8)[X["g"].astype(int)] + X["h"]
    y += random.normal(size=400)
    for table, column, factor in ((X, "x", "g"), (X.to_numpy(), 0, 1)):
        groups = ["g", "h"] if factor == "g" else [1, 2]
        model = MixedLinearRegressor(groups=groups).fit(table, y)
        display = EffectsDisplay.from_estimator(
            model, table, column, factor=factor, levels=[3.0], population=False
        )
        effect = model.random_effects_[factor].loc[3.0, "Intercept"]
        expected = model.intercept_ + model.coef_[0] * display.curves["value"] + effect
        np.testing.assert_allclose(display.curves["mean"], expected)


@pytest.fixture(scope="module")
def machines():
    random = np.random.default_rng(2)
    X = pd.DataFrame({"worker": np.repeat(np.arange(6), 9), "hours": 1.0})
    X["machine"] = np.tile(np.repeat(["A", "B", "C"], 3), 6)
    X["hours"] = random.integers(1, 4, 54)
    y = X["machine"].map({"A": 52.0, "B": 60.0, "C": 66.0}) + X["hours"]
    y += 4.0 * random.normal(size=18)[np.repeat(np.arange(18), 3)]
    y += random.normal(size=54)
    model = MixedLinearRegressor(
        ["worker", ("worker", "machine")], fixed_effects="machine + C(hours)"
    )
    return model.fit(X, y), X, y


def test_a_curve_follows_a_fixed_column_that_is_part_of_a_factor(machines):
    model, X, _ = machines
    display = EffectsDisplay.from_estimator(
        model, X, "machine", factor="worker", levels=[3]
    )
    hours = X["hours"].mode()[0]
    rows = pd.DataFrame({"worker": 3, "hours": hours, "machine": ["A", "B", "C"]})
    curve = display.curves.set_index("group")
    np.testing.assert_allclose(curve.loc["3", "mean"], model.predict(rows))
    whole = model.predict(rows, level="population")
    np.testing.assert_allclose(curve.loc["population", "mean"], whole)
    with pytest.raises(ValueError, match="the levels of 'worker:machine' change"):
        EffectsDisplay.from_estimator(model, X, "machine", factor=("worker", "machine"))


def test_numbers_that_are_categories_are_not_filled_in(machines):
    model, X, _ = machines
    display = EffectsDisplay.from_estimator(model, X, "hours", levels=0)
    assert display.curves["value"].tolist() == [1, 2, 3]
    assert set(display.curves["group"]) == {"population"} and display.factor is None
    rows = pd.DataFrame({"hours": [1, 2, 3], "machine": X["machine"].mode()[0]})
    expected = model.predict(rows, level="population")
    np.testing.assert_allclose(display.curves["mean"], expected)


def test_the_population_of_labels_beside_x(machines):
    _, X, y = machines
    model = MixedLinearRegressor(fixed_effects=["machine"])
    model.fit(X[["hours", "machine"]], y, groups=X["worker"])
    rows = X[["machine"]].drop_duplicates()
    expected = model.predict(rows, level="population")
    for table in (X, X[["machine"]]):
        display = EffectsDisplay.from_estimator(model, table, "machine", levels=0)
        np.testing.assert_allclose(display.curves["mean"], expected)


def test_columns_are_found_by_name_where_the_model_finds_them_so(machines):
    model, X, y = machines
    more = X.assign(other="z")[["other", "machine", "worker", "hours"]]
    later = more.assign(later=1.0)
    for column in ("other", "later"):
        with pytest.raises(ValueError, match=f"'{column}' has no part in this model"):
            EffectsDisplay.from_estimator(model, later, column, levels=0)
    for rows in (X, more):
        display = EffectsDisplay.from_estimator(
            model, rows, "machine", factor="worker", levels=[5], population=False
        )
        hours = X["hours"].mode()[0]
        new = pd.DataFrame({"worker": 5, "hours": hours, "machine": ["A", "B", "C"]})
        np.testing.assert_allclose(display.curves["mean"], model.predict(new))
        check = PredictiveCheckDisplay.from_estimator(
            model, rows, y, kind="groups", factor="worker", n_samples=2
        )
        np.testing.assert_array_equal(check.codes, X["worker"])


@pytest.mark.parametrize("kind", ["auto", "density", "counts", "zeros", "groups"])
def test_checks_are_drawn_from_samples_of_the_model(ticks, kind):
    model, X, y = ticks
    display = PredictiveCheckDisplay.from_estimator(
        model, X, y, kind=kind, n_samples=20, random_state=0
    )
    samples = model.sample_y(X, 20, random_state=0)
    np.testing.assert_array_equal(display.simulated, samples)
    np.testing.assert_array_equal(display.observed, y)


def test_what_cannot_be_drawn_is_refused(sleep, machines):
    model, X, y = sleep
    with pytest.raises(ValueError, match="factor is one of 'Subject'"):
        RandomEffectsDisplay.from_estimator(model, factor="subject")
    with pytest.raises(ValueError, match="by factor=: factor is one of 'worker', "):
        RandomEffectsDisplay.from_estimator(machines[0])
    with pytest.raises(ValueError, match="'Intercept', 'Days'"):
        RandomEffectsDisplay.from_estimator(model, effects="days")
    with pytest.raises(ValueError, match="no such level"):
        EffectsDisplay.from_estimator(model, X, "Days", levels=["400"])
    with pytest.raises(ValueError, match="holds groups"):
        EffectsDisplay.from_estimator(model, X, "Subject")
    with pytest.raises(ValueError, match="needs 2 axes"):
        RandomEffectsDisplay.from_estimator(model, ax=plt.subplots()[1])
    with pytest.raises(TypeError, match="no mixed model"):
        CoefficientsDisplay.from_estimator(y)


def test_levels_of_one_size_are_drawn_side_by_side(sleep):
    _, X, y = sleep
    model = MixedLinearRegressor("Subject").fit(X, y)
    display = ShrinkageDisplay.from_estimator(model, X, y)
    own, pooled = (c.get_offsets().data for c in display.ax_.collections[1:])
    assert sorted(own[:, 0]) == list(range(1, 19)) and (own[:, 0] == pooled[:, 0]).all()
    np.testing.assert_allclose(
        np.sort(own[:, 1]), np.sort(display.unpooled["Intercept"])
    )
    assert np.all(np.diff(own[np.argsort(own[:, 0]), 1]) > 0)
    assert display.ax_.get_xlabel() == "18 levels of Subject, 10 rows each"


def test_a_check_says_which_class_is_one(women):
    model, X, y = women
    assert _class_label(model, X, y) == "response"
    y = np.where(y == 1, "user", "none")
    named = clone(model).fit(X, y)
    assert _class_label(named, X, y) == "response, 1 for user"


def _class_label(model, X, y):
    display = PredictiveCheckDisplay.from_estimator(model, X, y, n_samples=2)
    return display.ax_.get_xlabel()


def test_displays_draw_on_axes_that_are_handed_over(sleep):
    model, X, y = sleep
    figure, axes = plt.subplots(1, 2)
    display = RandomEffectsDisplay.from_estimator(model, ax=axes)
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert figure.get_supxlabel() == ""
    assert axes[1].get_xlabel() == "Days, with 95 % intervals"
    for draw in (
        lambda ax: CoefficientsDisplay.from_estimator(model, ax=ax),
        lambda ax: EffectsDisplay.from_estimator(model, X, "Days", ax=ax),
        lambda ax: ShrinkageDisplay.from_estimator(model, X, y, ax=ax),
        lambda ax: VarianceComponentsDisplay.from_estimator(model, ax=ax),
    ):
        ax = plt.subplots()[1]
        assert draw(ax).ax_ is ax


def test_every_display_is_public():
    assert all(name.endswith("Display") for name in inspection.__all__)
    for name in inspection.__all__:
        assert getattr(inspection, name).from_estimator.__doc__


def test_keywords_that_matplotlib_does_not_know_are_named_with_their_display(sleep):
    model, X, y = sleep
    words = "RandomEffectsDisplay got 'colour' in line_options, which is neither"
    with pytest.raises(TypeError, match=words):
        RandomEffectsDisplay.from_estimator(model, colour="red")
    words = "VarianceComponentsDisplay got 'widht' in bar_options"
    with pytest.raises(TypeError, match=words):
        VarianceComponentsDisplay.from_estimator(model).plot(lw=1.0, widht=2.0)
    words = "ShrinkageDisplay got 'colour' in scatter_options"
    with pytest.raises(TypeError, match=words):
        ShrinkageDisplay.from_estimator(model, X, y, colour="red")
    # what is wrong in a value stays in matplotlib's words
    with pytest.raises(ValueError, match="nocolor"):
        RandomEffectsDisplay.from_estimator(model, color="nocolor")
