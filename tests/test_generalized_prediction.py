"""Predictions of counts, classes and proportions."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.metrics import (
    accuracy_score,
    d2_log_loss_score,
    d2_tweedie_score,
    log_loss,
)

from skglmm import (
    MixedBinomialRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import make_mixed_regression

NEW = -1  # the label of a level that no fit has seen


def draw(family, **kwargs):
    return make_mixed_regression(
        500, 1, n_groups=25, family=family, coef=[0.4], random_state=0, **kwargs
    )


@pytest.fixture(scope="module")
def counts():
    X, y = draw("poisson")
    return X, y, MixedPoissonRegressor("g0").fit(X, y)


@pytest.fixture(scope="module")
def binary():
    X, y = draw("bernoulli", group_std=1.5)
    return X, y, MixedLogisticRegressor("g0").fit(X, y)


@pytest.fixture(scope="module")
def proportions():
    X, y = draw("binomial")
    return X, y, MixedBinomialRegressor("g0", trials="trials").fit(X, y)


def prior_std(model):
    return model.variance_components_["std"].item()


def probability(model, X, **kwargs):
    return model.predict_proba(X, **kwargs)[:, 1]


# Levels that were not seen: the random effects are integrated over their distribution


def test_the_mean_of_an_unseen_group_is_that_of_a_lognormal_rate(counts):
    X, _, model = counts
    new = X.assign(g0=NEW)
    eta = model.linear_predictor(new)
    assert_allclose(eta, model.intercept_ + model.coef_[0] * X["x0"])
    assert_allclose(model.predict(new), np.exp(eta + prior_std(model) ** 2 / 2))


def test_counts_of_new_groups_have_the_predicted_mean_and_not_the_plug_in(counts):
    """New groups drawn from the model itself, so that only prediction can err."""
    X, _, model = counts
    rng = np.random.default_rng(0)
    new = X.assign(g0=NEW)
    b = prior_std(model) * rng.normal(size=(4000, 1))
    rate = np.exp(model.linear_predictor(new)[None] + b)
    by_group = rng.poisson(rate).mean(1)
    found, error = by_group.mean(), by_group.std() / np.sqrt(4000)
    assert model.predict(new).mean() == pytest.approx(found, abs=4 * error)
    plug_in = np.exp(model.linear_predictor(new)).mean()
    assert plug_in < found - 10 * error


def test_probabilities_of_new_groups_are_calibrated_and_plug_in_ones_are_not(binary):
    X, _, model = binary
    rng = np.random.default_rng(0)
    new = pd.DataFrame({"x0": np.linspace(-6, 6, 41), "g0": NEW})
    b = prior_std(model) * rng.normal(size=(20_000, 1))
    eta = model.linear_predictor(new)
    found = (rng.random((20_000, 41)) < expit(eta + b)).mean(0)
    error = np.sqrt(found * (1 - found) / 20_000)
    assert (np.abs(probability(model, new) - found) < 4 * error + 1e-4).all()
    # the plug-in exaggerates: it is farther from one half
    off = np.abs(expit(eta) - 0.5) - np.abs(found - 0.5)
    assert off[np.abs(eta) > 1].min() > 0.03


def test_proportions_of_new_groups_are_integrated_as_well(proportions, binary):
    X, _, model = proportions
    new = X.assign(g0=NEW)
    eta, sd = model.linear_predictor(new), prior_std(model)
    x, w = np.polynomial.hermite_e.hermegauss(99)
    theirs = expit(eta[:, None] + sd * x) @ (w / w.sum())
    assert_allclose(model.predict(new), theirs, atol=1e-6)


def test_two_unseen_factors_add_their_variances():
    X, y = make_mixed_regression(
        400, 1, n_groups=[20, 10], family="poisson", group_std=0.6, random_state=1
    )
    model = MixedPoissonRegressor(["g0", "g1"]).fit(X, y)
    variance = model.variance_components_["variance"]
    new = X.assign(g0=NEW)
    own = model.random_effects_std_["g1"].loc[X["g1"], "Intercept"].to_numpy() ** 2
    eta = model.linear_predictor(new)
    assert_allclose(
        model.predict(new), np.exp(eta + (variance.loc["g0"].item() + own) / 2)
    )
    new = new.assign(g1=NEW)
    eta = model.linear_predictor(new)
    assert_allclose(model.predict(new), np.exp(eta + variance.sum() / 2))


def test_the_variance_of_a_new_group_grows_with_its_slope():
    X, y = make_mixed_regression(
        600, 1, n_groups=30, n_random_slopes=1, family="poisson", slope_std=0.4,
        group_std=0.5, random_state=2,
    )  # fmt: skip
    model = MixedPoissonRegressor("g0", random_slopes=["x0"]).fit(X, y)
    new = pd.DataFrame({"x0": [-2.0, 0.0, 1.0, 3.0], "g0": NEW})
    z = np.column_stack([np.ones(4), new["x0"]])
    variance = np.sum(z @ model.random_effects_covariance_["g0"] * z, 1)
    mean = np.exp(model.linear_predictor(new) + variance / 2)
    assert_allclose(model.predict(new), mean)


# Levels that were seen: over their posterior


@pytest.mark.parametrize("rows", [slice(None), slice(3, 9)])
def test_a_seen_group_is_integrated_over_its_posterior(counts, binary, rows):
    X, _, model = counts
    std = model.random_effects_std_["g0"].loc[X["g0"], "Intercept"].to_numpy()
    eta = model.linear_predictor(X)
    assert_allclose(model.predict(X[rows]), np.exp(eta + std**2 / 2)[rows])
    X, _, model = binary
    std = model.random_effects_std_["g0"].loc[X["g0"], "Intercept"].to_numpy()
    eta = model.linear_predictor(X)
    x, w = np.polynomial.hermite_e.hermegauss(99)
    theirs = expit(eta[:, None] + std[:, None] * x) @ (w / w.sum())
    assert_allclose(probability(model, X[rows]), theirs[rows], atol=1e-6)


def test_means_of_the_fitted_rows_add_up(counts, binary, proportions):
    """The estimating equation of the intercept: expected and found totals agree."""
    X, y, model = counts
    assert model.predict(X).sum() == pytest.approx(y.sum(), rel=1e-5)
    X, y, model = binary
    assert probability(model, X).sum() == pytest.approx(y.sum(), rel=1e-4)
    X, y, model = proportions
    assert model.predict(X) @ X["trials"] == pytest.approx(y.sum(), rel=1e-4)


def test_the_more_rows_a_group_has_the_less_is_integrated(counts):
    X, _, model = counts
    n = X["g0"].value_counts()
    total = (
        pd.Series(np.exp(model.linear_predictor(X)), X["g0"].to_numpy())
        .groupby(level=0)
        .sum()
    )
    std = model.random_effects_std_["g0"]["Intercept"]
    assert len(n) == len(std)
    # information is the expected count of the group
    assert np.corrcoef(total.loc[std.index].rank(), std.rank())[0, 1] < -0.99
    assert (std < prior_std(model)).all()


def test_population_is_a_group_that_was_not_seen(counts, binary, proportions):
    for X, _, model in (counts, binary, proportions):
        new = X.assign(g0=NEW)
        predict = getattr(model, "predict_proba", model.predict)
        assert_array_equal(predict(X, level="population"), predict(new))
        assert np.abs(predict(X) - predict(new)).max() > 0.05
        with pytest.raises(ValueError, match="level must be 'conditional'"):
            predict(X, level="marginal")


def test_a_missing_label_is_unseen_and_handle_unknown_says_so(counts):
    X, y, model = counts
    labels = X["g0"].astype(object)
    labels.iloc[:2] = [None, 99]
    ours = model.predict(X.assign(g0=labels))
    assert_array_equal(ours[2:], model.predict(X)[2:])
    assert_array_equal(ours[:2], model.predict(X.assign(g0=NEW))[:2])
    strict = MixedPoissonRegressor("g0", handle_unknown="error").fit(X, y)
    with pytest.raises(ValueError, match="99"):
        strict.predict(X.assign(g0=labels))
    loud = MixedPoissonRegressor("g0", handle_unknown="warn").fit(X, y)
    with pytest.warns(UserWarning, match="99"):
        assert_array_equal(loud.predict(X.assign(g0=labels)), ours)


# Classes


def test_the_decision_is_the_logit_of_the_probability(binary):
    X, _, model = binary
    for new in (X, X.assign(g0=NEW)):
        proba, decision = model.predict_proba(new), model.decision_function(new)
        assert_allclose(decision, logit(proba[:, 1]), rtol=1e-9, atol=1e-9)
        assert_allclose(proba.sum(1), 1, rtol=1e-14)
        assert ((proba > 0) & (proba < 1)).all()
        order = np.argsort(decision)
        assert (np.diff(proba[order, 1]) >= 0).all()
        assert_array_equal(model.predict(new), (decision > 0).astype(int))


def test_probabilities_rise_with_a_column_of_positive_effect(binary):
    _, _, model = binary
    for label in (0, 7, NEW):
        grid = pd.DataFrame({"x0": np.linspace(-300, 300, 400), "g0": label})
        assert (np.diff(probability(model, grid)) >= 0).all()
        assert np.isfinite(model.decision_function(grid)).all()
        assert (np.diff(model.decision_function(grid)) >= 0).all()


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 1], [3.0, 7.0]])
def test_classes_are_the_labels_that_were_given_the_second_is_the_positive_one(
    binary, labels
):
    X, y, model = binary
    named = np.array(labels)[y]
    other = MixedLogisticRegressor("g0").fit(X, named)
    assert_array_equal(other.classes_, np.array(labels))
    assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert_array_equal(other.predict(X), np.array(labels)[model.predict(X)])
    assert other.score(X, named) == model.score(X, y)


def test_swapped_classes_have_swapped_probabilities(binary):
    X, y, model = binary
    swapped = MixedLogisticRegressor("g0").fit(X, np.where(y, "a", "b"))
    assert_allclose(swapped.predict_proba(X), model.predict_proba(X)[:, ::-1], 1e-5)
    assert_allclose(swapped.coef_, -model.coef_, rtol=1e-4)


def test_coefficients_have_the_shape_of_a_linear_classifiers(binary):
    _, _, model = binary
    assert model.coef_.shape == (1, 1)
    assert model.intercept_.shape == (1,)
    assert list(model.fixed_effects_["estimate"]) == [
        model.intercept_[0],
        model.coef_[0, 0],
    ]


# Offsets, exposures, trials


def test_twice_the_exposure_is_twice_the_count(counts):
    X, _, _ = counts
    rng = np.random.default_rng(1)
    X = X.assign(years=rng.uniform(0.5, 4.0, len(X)))
    y = rng.poisson(X["years"] * np.exp(0.4 * X["x0"]))
    y = y + rng.poisson(0.3 * (X["g0"] % 3) * X["years"])
    model = MixedPoissonRegressor("g0", exposure="years").fit(X, y)
    assert model.coef_names_ == ["x0"]
    mean = model.predict(X)
    double = model.predict(X.assign(years=2 * X["years"]))
    assert_allclose(double, 2 * mean, rtol=1e-12)
    logged = X.assign(years=np.log(X["years"]))
    same = MixedPoissonRegressor("g0", offset="years").fit(logged, y)
    assert_allclose(same.predict(logged), mean, rtol=1e-12)
    assert_allclose(same.fixed_effects_, model.fixed_effects_, rtol=1e-12)
    for bad in (0.0, -1.0):
        broken = X["years"].copy()
        broken.iloc[5] = bad
        with pytest.raises(ValueError, match=r"exposure of row 5 is .*positive"):
            model.predict(X.assign(years=broken))


def test_offset_and_exposure_add_up(counts):
    X, y, model = counts
    more = X.assign(o=0.3, e=2.0)
    both = MixedPoissonRegressor("g0", offset="o", exposure="e").fit(more, y)
    shift = 0.3 + np.log(2)
    assert both.intercept_ == pytest.approx(model.intercept_ - shift, abs=1e-6)
    assert_allclose(both.predict(more), model.predict(X), rtol=1e-6)
    nothing = both.predict(X.assign(o=0.0, e=1.0))
    assert_allclose(nothing, model.predict(X) * np.exp(-shift), rtol=1e-6)


@pytest.mark.parametrize("level", ["conditional", "population"])
def test_an_offset_joins_the_linear_predictor_as_it_is(binary, level):
    X, y, model = binary
    X = X.assign(o=np.linspace(-1, 1, len(X)))
    moved = MixedLogisticRegressor("g0", offset="o").fit(X, y)
    eta = moved.linear_predictor(X, level=level)
    other = moved.linear_predictor(X.assign(o=X["o"] + 0.7), level=level)
    assert_allclose(other, eta + 0.7)
    flat = MixedLogisticRegressor("g0", offset="o").fit(X.assign(o=0.7), y)
    assert flat.intercept_[0] == pytest.approx(model.intercept_[0] - 0.7, abs=1e-5)
    assert_allclose(
        flat.predict_proba(X.assign(o=0.7), level=level),
        model.predict_proba(X.drop(columns="o"), level=level),
        rtol=1e-5,
    )


@pytest.mark.parametrize("shift", [-30.0, 30.0])
def test_a_constant_offset_moves_the_intercept_and_nothing_else(counts, shift):
    X, y, model = counts
    for solver in ("vi", "laplace"):
        moved = MixedPoissonRegressor("g0", offset="o", solver=solver)
        moved.fit(X.assign(o=shift), y)
        assert moved.converged_
        assert moved.intercept_ == pytest.approx(model.intercept_ - shift, abs=0.01)
        assert_allclose(moved.coef_, model.coef_, rtol=0.01)


def test_a_proportion_does_not_depend_on_the_trials_it_is_predicted_for(proportions):
    X, _, model = proportions
    few = model.predict(X.assign(trials=1))
    assert_array_equal(few, model.predict(X))
    assert ((few > 0) & (few < 1)).all()


def test_successes_among_trials_are_as_many_rows_of_one_trial(proportions):
    X, y, model = proportions
    rows = np.repeat(np.arange(len(X)), X["trials"])
    success = np.concatenate([np.arange(n) < k for n, k in zip(X["trials"], y)])  # noqa: B905
    long = X.iloc[rows].drop(columns="trials")
    by_row = MixedLogisticRegressor("g0").fit(long, success)
    assert_allclose(by_row.fixed_effects_, model.fixed_effects_, rtol=1e-4)
    assert prior_std(by_row) == pytest.approx(prior_std(model), rel=1e-4)
    short = X.drop(columns="trials")
    assert_allclose(probability(by_row, short), model.predict(X), rtol=1e-5)
    same = MixedBinomialRegressor("g0").fit(long, success.astype(int))
    assert_allclose(same.fixed_effects_, by_row.fixed_effects_, rtol=1e-10)


# Scores


def test_the_score_of_counts_is_the_share_of_deviance_explained(counts):
    X, y, model = counts
    mean = model.predict(X)
    assert model.score(X, y) == pytest.approx(d2_tweedie_score(y, mean, power=1))
    weight = np.arange(len(y)) % 4
    assert model.score(X, y, weight) == pytest.approx(
        d2_tweedie_score(y, mean, power=1, sample_weight=weight)
    )
    assert 0.2 < model.score(X.assign(g0=NEW), y) + 0.2 < model.score(X, y)


def test_the_score_of_single_trials_is_d2_of_the_log_loss(binary):
    X, y, logistic = binary
    model = MixedBinomialRegressor("g0").fit(X, y)
    p = model.predict(X)
    assert_allclose(p, probability(logistic, X), rtol=1e-12)
    assert model.score(X, y) == pytest.approx(d2_log_loss_score(y, p))
    weight = np.arange(len(y)) % 4
    assert model.score(X, y, weight) == pytest.approx(
        d2_log_loss_score(y, p, sample_weight=weight)
    )


def test_the_score_of_proportions_is_a_ratio_of_deviances(proportions):
    X, y, model = proportions
    p, n = model.predict(X), X["trials"].to_numpy()
    both, target = np.r_[p, p], np.r_[np.ones(len(y)), np.zeros(len(y))]
    weight = np.r_[y, n - y]

    def loss(p):
        return weight.sum() * log_loss(target, p, sample_weight=weight)

    def entropy(p):
        p = np.clip(p, 1e-300, 1)
        return -np.sum(y * np.log(p) + (n - y) * np.log(np.clip(1 - p, 1e-300, 1)))

    saturated = entropy(y / n)
    null = loss(np.full(2 * len(y), y.sum() / n.sum()))
    d2 = 1 - (loss(both) - saturated) / (null - saturated)
    assert model.score(X, y) == pytest.approx(d2, rel=1e-6)


def test_the_score_of_a_classifier_is_its_accuracy(binary):
    X, y, model = binary
    assert model.score(X, y) == accuracy_score(y, model.predict(X))
    weight = np.arange(len(y)) % 4
    assert model.score(X, y, weight) == pytest.approx(
        accuracy_score(y, model.predict(X), sample_weight=weight)
    )


# Groups that come with the call


def test_groups_may_come_beside_the_columns(counts):
    X, y, model = counts
    only = X[["x0"]]
    beside = MixedPoissonRegressor().fit(only, y, groups=X["g0"])
    assert_allclose(beside.predict(only, groups=X["g0"]), model.predict(X), 1e-10)
    assert beside.score(only, y, groups=X["g0"]) == pytest.approx(model.score(X, y))
    assert_allclose(
        beside.predict(only, level="population"), model.predict(X, level="population")
    )
    with pytest.raises(ValueError, match="pass groups= here"):
        beside.predict(only)
