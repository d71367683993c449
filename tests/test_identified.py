"""What rows cannot tell apart is refused, or named in the one warning."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import MacKay

N, J = 300, 20
rng = np.random.default_rng(0)
G, X1 = rng.integers(0, J, N), rng.normal(size=N)
X = pd.DataFrame({"x": X1, "g": G})
EFFECT = rng.normal(size=J)[G]
Y = 1.0 + 2.0 * X1 + EFFECT + rng.normal(size=N)
COUNTS = rng.poisson(np.exp(0.3 * X1 + 0.5 * EFFECT))
CLASSES = (X1 + EFFECT + rng.logistic(size=N) > 0) * 1
TARGETS = {
    MixedLinearRegressor: Y,
    MixedPoissonRegressor: COUNTS,
    MixedLogisticRegressor: CLASSES,
}


def cells(k, levels):
    """One row for each of k conditions in each level."""
    condition, level = np.tile(np.arange(k), levels), np.repeat(np.arange(levels), k)
    table = pd.DataFrame({f"c{i}": (condition == i) * 1.0 for i in range(k)})
    return table.assign(s=level), rng.normal(size=k * levels)


def fit(model, *data, **more):
    """The model and the text of its one warning, empty if there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data, **more)
    assert len(caught) <= 1
    return model, str(caught[0].message) if caught else ""


# Refused, as lme4 refuses it


def conditions(covariance):
    slopes = {"s": ["c0", "c1", "c2"]}
    return MixedLinearRegressor(
        "s",
        random_slopes=slopes,
        random_intercepts={"s": False},
        covariance=covariance,
    )


PAIRS = pd.DataFrame({"x": X1[:40], "g": np.repeat(np.arange(20), 2)})
WIDE = pd.DataFrame(rng.normal(size=(12, 12))).add_prefix("x")
REFUSED = {
    "as many levels as rows": (
        lambda: MixedLinearRegressor("g").fit(X.assign(g=np.arange(N)), Y),
        "'g' has as many levels .300. as there are rows .300.",
    ),
    "as many effects as rows": (
        lambda: MixedLinearRegressor("g", random_slopes=["x"]).fit(PAIRS, Y[:40]),
        "'g' has as many random effects .2 in each of 20 levels. as there are rows",
    ),
    "effects that explain any rows": (
        lambda: MixedLinearRegressor("g", random_slopes=["x"], covariance="diag").fit(
            PAIRS, Y[:40]
        ),
        "The random effects of 'g' are 40 unknowns and explain any values in 40 rows",
    ),
    "one row a cell": (
        lambda: conditions("full").fit(*cells(3, 60)),
        "'s' has as many random effects .3 in each of 60 levels. as there are rows",
    ),
    "one row a cell, uncorrelated": (
        lambda: conditions("diag").fit(*cells(3, 60)),
        "random effects of 's' are 180 unknowns",
    ),
    "one row a cell, one variance": (
        lambda: conditions("scalar").fit(*cells(3, 60)),
        "random effects of 's' are 180 unknowns",
    ),
    "two factors that explain any rows": (
        lambda: MixedLinearRegressor(["a", "b"]).fit(
            pd.DataFrame({"a": [0, 0, 1, 2, 2], "b": [0, 1, 1, 1, 2]}), Y[:5]
        ),
        "random effects of 'a' and 'b' are 6 unknowns and together explain any values",
    ),
    "as many fixed coefficients as rows": (
        lambda: MixedLinearRegressor("g").fit(WIDE.assign(g=np.arange(12) % 3), Y[:12]),
        "as many fixed coefficients .12, the intercept included. as rows .12.",
    ),
    "the same by maximum likelihood and without groups": (
        lambda: MixedLinearRegressor(reml=False).fit(WIDE, Y[:12]),
        "leaves nothing for the residual variance",
    ),
    "weights that sum to one": (
        lambda: MixedLinearRegressor("g").fit(X, Y, sample_weight=np.full(N, 1 / N)),
        "sample_weight sums to 1 for 300 rows, and weights are frequencies",
    ),
    "an encoder's slopes": (
        lambda: GroupEffectEncoder(
            "g", estimator=MixedLinearRegressor(random_slopes={"g": ["x"]}, groups="g")
        ).fit(PAIRS.assign(g=np.arange(40)), Y[:40]),
        None,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_leaves_nothing_for_the_residual_is_refused(case):
    call, words = REFUSED[case]
    if words is None:
        with pytest.warns(UserWarning, match="effects are set to zero"):
            call()
        return
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match=words),
    ):
        warnings.simplefilter("ignore")
        call()


def test_frequencies_are_rows():
    """Weight 2 on each row of a pair is a level of four rows."""
    model, text = fit(
        MixedLinearRegressor("g", random_slopes=["x"]),
        PAIRS,
        Y[:40],
        sample_weight=np.full(40, 2),
    )
    assert "cannot be told" not in text
    assert len(model.random_effects_["g"]) == 20


def test_a_model_that_can_just_be_told_is_fitted():
    rows = X.assign(g=np.r_[np.arange(N - 1), 0])
    model, _ = fit(MixedLinearRegressor("g"), rows, Y)
    assert np.isfinite(model.log_likelihood_)


# Named, because an estimate can be given


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("groups", [["g", "h"], ["g", ("g", "h")]])
def test_factors_that_divide_the_rows_alike_are_named(kind, groups):
    rows = X.assign(h=[f"level {7 * k % J}" for k in G])
    model, text = fit(kind(groups), rows, TARGETS[kind])
    second = groups[1] if isinstance(groups[1], str) else "g:h"
    assert f"'g' and '{second}' divide the rows in the same way" in text
    one, _ = fit(kind("g"), X, TARGETS[kind])
    together = model.variance_components_["variance"].iloc[:2].sum()
    alone = one.variance_components_["variance"].iloc[0]
    assert together == pytest.approx(alone, rel=1e-3)


def test_an_intercept_and_a_slope_of_the_same_levels_are_two_things():
    """(1 | g) + (0 + x | h) is how lme4 writes uncorrelated effects."""
    rows = X.assign(h=G)
    model, text = fit(
        MixedLinearRegressor(
            ["g", "h"], random_slopes={"h": ["x"]}, random_intercepts={"h": False}
        ),
        rows,
        Y,
    )
    assert "divide" not in text
    same, _ = fit(MixedLinearRegressor("g", random_slopes="x", covariance="diag"), X, Y)
    assert model.log_likelihood_ == pytest.approx(same.log_likelihood_, abs=1e-6)


@pytest.mark.parametrize(
    ("column", "slopes", "covariance", "words"),
    [
        (5.0, ["c"], "full", "effects 'Intercept' and 'c' of 'g' depend linearly"),
        (2.0 * X1, ["x", "c"], "diag", "effects 'x' and 'c' of 'g' depend linearly"),
        (0.0, ["c"], "full", "the column 'c' is zero in every row"),
        (3.0 - X1, ["x", "c"], "full", "'Intercept' and 'x' and 'c' of 'g' depend"),
    ],
)
def test_slopes_on_dependent_columns_are_named(column, slopes, covariance, words):
    model = MixedLinearRegressor("g", random_slopes=slopes, covariance=covariance)
    _, text = fit(model, X.assign(c=column), Y)
    assert words in text or words.capitalize() in text


@pytest.mark.parametrize("model", [MixedLinearRegressor, MixedPoissonRegressor])
def test_a_slope_on_a_column_far_from_zero_is_to_be_centred(model):
    far = pd.DataFrame({"g": G, "year": 2000.0 + 0.001 * X1})
    estimator = model("g", random_slopes="year")
    _, text = fit(estimator, far, TARGETS[model])
    assert "cannot be told from the slope on 'year' (about 2000)" in text
    assert "Centre it: subtract its mean" in text
    # the remedy is one
    centred = far.assign(year=far["year"] - far["year"].mean())
    _, text = fit(estimator, centred, TARGETS[model])
    assert "Centre it" not in text and "depend linearly" not in text


def test_fixed_columns_that_hold_all_levels_are_named():
    dummies = pd.get_dummies(X["g"].astype(str), dtype=float).iloc[:, 1:]
    rows = pd.concat([dummies, X], axis=1)
    model, text = fit(MixedLinearRegressor("g"), rows, Y)
    assert "The fixed columns hold the effects 'Intercept' of all levels of 'g'" in text
    # the criterion is the same whatever the variance is
    other, _ = fit(MixedLinearRegressor("g", solver="mackay"), rows, Y)
    assert other.noise_variance_ == pytest.approx(model.noise_variance_, rel=1e-6)


@pytest.mark.parametrize("solver", ["vi", "mackay", "mcem"])
def test_a_flat_direction_that_no_rule_foresees_is_named(solver):
    """In a 2 x 2 table the exclusive or is what an interaction has beside its margins.

    Under REML each is one contrast, and the variance of the cells and of the
    exclusive or add up in theirs.
    """
    a, b = G % 2, G // 2 % 2
    rows = pd.DataFrame({"a": a, "b": b, "k": a ^ b, "x": X1})
    model = MixedLinearRegressor(
        ["a", "b", ("a", "b"), "k"], solver=solver, random_state=0
    )
    target = Y + 3.0 * np.array([0.0, 2.0, 6.0, 1.0])[2 * a + b]
    _, text = fit(model, rows, target)
    assert "The rows do not determine the variances of" in text
    assert "'a:b' and 'k'" in text


@pytest.mark.slow
def test_no_flat_direction_is_seen_where_there_is_none():
    rows = X.assign(h=G // 4)
    _, text = fit(MixedLinearRegressor(["h", "g"], random_slopes={"g": ["x"]}), rows, Y)
    assert "do not determine" not in text
    for kind in (MixedPoissonRegressor, MixedLogisticRegressor):
        for solver in ("vi", "laplace"):
            model = kind("g", random_slopes=["x"], covariance="diag", solver=solver)
            assert "do not determine" not in fit(model, X, TARGETS[kind])[1]


# Yes and no


@pytest.mark.parametrize("solver", ["vi", "laplace", "mackay"])
def test_one_row_a_level_says_nothing_of_yes_and_no(solver):
    random = np.random.default_rng(0)
    x = random.normal(size=N)
    y = (x + random.normal(size=N) + random.logistic(size=N) > 0) * 1
    model = MixedLogisticRegressor("g", solver=solver)
    model, text = fit(model, pd.DataFrame({"x": x, "g": np.arange(N)}), y)
    assert model.variance_components_["variance"].item() > 0.0
    assert "The factor 'g' has one row a level, and the outcome of a row is yes" in text


def test_one_row_a_level_describes_overdispersion_of_several_trials():
    rows = X.assign(g=np.arange(N), n=9)
    p = 1.0 / (1.0 + np.exp(-X1 - rng.normal(size=N)))
    successes = np.random.default_rng(1).binomial(9, p)
    model, text = fit(MixedBinomialRegressor("g", trials="n"), rows, successes)
    assert text == ""
    assert model.variance_components_["variance"].item() > 0.5


@pytest.mark.parametrize("solver", ["vi", "laplace", "mackay", "mcem"])
def test_an_outcome_alike_within_every_level_has_no_maximum(solver):
    level = np.repeat(np.arange(30), 10)
    y = (np.arange(30) % 5 < 2)[level] * 1
    rows = pd.DataFrame({"z": rng.normal(size=300), "g": level})
    model = MixedLogisticRegressor("g", solver=solver, random_state=0)
    model, text = fit(model, rows, y)
    assert "The likelihood has no maximum: the outcome is the same in all rows" in text
    assert "each level of 'g'" in text
    assert not model.converged_
    assert "no maximum" in str(model.summary())


def test_alike_in_the_levels_of_one_of_several_factors():
    level, other = np.repeat(np.arange(30), 10), np.arange(300) % 10
    y = (np.arange(30) % 5 < 2)[level] * 3
    rows = pd.DataFrame({"g": level, "h": other, "n": 3})
    model, text = fit(MixedBinomialRegressor(["h", "g"], trials="n"), rows, y)
    assert "each level of 'g'" in text
    assert not model.converged_


def test_as_many_fixed_coefficients_as_counts_is_said():
    rows = WIDE.assign(g=np.arange(12) % 3)
    _, text = fit(MixedPoissonRegressor("g"), rows, 5 + np.arange(12) % 4)
    assert "there are as many fixed coefficients (12" in text.replace("There", "there")


def test_the_category_is_about_convergence_where_there_is_no_maximum():
    level = np.repeat(np.arange(20), 10)
    y = (np.arange(20) % 2)[level]
    with pytest.warns(ConvergenceWarning, match="no maximum"):
        MixedLogisticRegressor("g").fit(pd.DataFrame({"g": level}), y)


@pytest.mark.parametrize("solver", ["vi", "mackay", "mcem", MacKay(update="quick")])
def test_a_target_alike_within_every_level_leaves_no_residual(solver):
    model = MixedLinearRegressor(
        "g", random_slopes="x", covariance="diag", solver=solver, random_state=0
    )
    model, text = fit(model, X, EFFECT)
    assert "the residual variance is estimated as zero, because the groups" in text
    assert not model.converged_
