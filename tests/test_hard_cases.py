"""Counts and binary outcomes that are hard to fit, and targets that are refused."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from skglmm import (
    MixedBinomialRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import VI, Laplace

BOTH = pytest.mark.parametrize("solver", [VI(), Laplace()], ids=["vi", "laplace"])


def fit(model, X, y, sample_weight=None):
    """The fitted model and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, sample_weight)
    return model, [str(warning.message) for warning in caught]


def is_finite(model):
    """Whether all that a user reads is a number."""
    tables = [
        model.fixed_effects_,
        model.variance_components_[["variance", "std"]],
        *model.random_effects_.values(),
        *model.random_effects_std_.values(),
    ]
    numbers = np.concatenate([np.ravel(table) for table in tables])
    return np.isfinite([*numbers, model.log_likelihood_, model.aic_]).all()


def draw(n_groups=20, n_rows=10, std=0.7, seed=0):
    """One column, groups and a linear predictor around zero."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n_rows)
    x = rng.normal(size=len(g))
    eta = 0.5 * x + rng.normal(scale=std, size=n_groups)[g]
    return pd.DataFrame({"x": x, "g": g}), eta, rng


def binary(intercept=0.0, **kwargs):
    X, eta, rng = draw(**kwargs)
    return X, (rng.random(len(X)) < 1 / (1 + np.exp(-eta - intercept))).astype(int)


def counts(intercept=0.0, **kwargs):
    X, eta, rng = draw(**kwargs)
    return X, rng.poisson(np.exp(intercept + eta))


# Outcomes that a column or a group decides


@BOTH
def test_a_column_that_separates_the_outcomes_is_named_once(solver):
    X, y = binary()
    X["decisive"] = np.where(y == 1, 1.0, 0.0)
    model, messages = fit(MixedLogisticRegressor("g", solver=solver), X, y)
    assert is_finite(model)
    (message,) = messages
    assert "'decisive' separates the outcomes completely" in message
    assert "'x'" not in message
    # it still predicts what it saw
    assert (model.predict(X) == y).all()


@BOTH
def test_groups_without_any_success_have_a_finite_effect(solver):
    X, y = binary()
    y[X["g"] < 3] = 0
    model, messages = fit(MixedLogisticRegressor("g", solver=solver), X, y)
    assert not [text for text in messages if "log-likelihood units off" not in text]
    assert model.converged_ and is_finite(model)
    effects = model.random_effects_["g"]["Intercept"]
    assert effects[:3].max() < effects[3:].median()


@BOTH
def test_groups_without_any_count_have_a_finite_effect(solver):
    X, y = counts()
    y[X["g"] < 3] = 0
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X, y)
    assert not messages
    assert model.converged_ and is_finite(model)
    effects = model.random_effects_["g"]["Intercept"]
    assert effects[:3].max() < effects[3:].median()


@BOTH
def test_a_group_of_one_row_is_known_less_well_than_the_others(solver):
    X, y = counts()
    keep = (X["g"] > 0) | (X.index == 0)
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X[keep], y[keep])
    assert not messages
    assert is_finite(model)
    std = model.random_effects_std_["g"]["Intercept"]
    assert std[0] > 1.5 * std[1:].median()


# Numbers far from one


@BOTH
def test_counts_up_to_a_million(solver):
    X, y = counts(11.5)
    assert y.max() > 5e5
    model, messages = fit(MixedPoissonRegressor("g", solver=solver), X, y)
    assert not messages
    assert model.converged_ and is_finite(model)
    assert model.coef_[0] == pytest.approx(0.5, abs=1e-3)
    # so many counts tell the mean of each group almost exactly
    sums = pd.DataFrame({"y": y, "mean": model.predict(X)}).groupby(X["g"]).sum()
    np.testing.assert_allclose(sums["mean"], sums["y"], rtol=1e-4)


@BOTH
def test_one_success_in_a_thousand(solver):
    X, y = binary(-7.2, n_groups=20, n_rows=1000, seed=3)
    assert 0.0005 < y.mean() < 0.002
    model, messages = fit(MixedLogisticRegressor("g", solver=solver), X, y)
    assert not any("separates" in message for message in messages)
    assert model.converged_ and is_finite(model)
    assert model.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), rel=0.1)


# Variances


@BOTH
def test_an_effect_a_row_is_overdispersion(solver):
    """One level a row is legitimate for counts, unlike in the linear model."""
    rng = np.random.default_rng(0)
    row = np.arange(600)
    y = rng.poisson(np.exp(1.5 + 0.6 * rng.normal(size=len(row))))
    model, messages = fit(
        MixedPoissonRegressor("row", solver=solver), pd.DataFrame({"row": row}), y
    )
    assert not messages
    assert model.converged_ and is_finite(model)
    assert model.variance_components_["std"].item() == pytest.approx(0.6, rel=0.15)


@BOTH
@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_a_variance_of_zero_is_one_warning_that_names_the_factor(family, solver):
    """Every group has the same rows, so that nothing differs between them."""
    x = np.tile([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 15)
    y = np.tile([0, 1, 1, 0, 0, 1], 15)
    X = pd.DataFrame({"x": x, "herd": np.repeat(np.arange(15), 6)})
    kind = MixedPoissonRegressor if family == "poisson" else MixedLogisticRegressor
    model, messages = fit(kind("herd", solver=solver), X, y)
    (message,) = messages
    assert "variance of 'herd' is estimated as zero" in message
    assert model.singular_
    assert model.variance_components_["variance"].item() == 0.0
    assert not model.random_effects_["herd"].to_numpy().any()
    assert is_finite(model)


# Without groups


@BOTH
def test_counts_without_groups_are_those_of_scikit_learn(solver):
    X, y = counts()
    X = X[["x"]]
    model, messages = fit(MixedPoissonRegressor(solver=solver), X, y)
    (message,) = messages
    assert message.startswith("No groups were given")
    plain = PoissonRegressor(alpha=0, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-4)
    assert model.intercept_ == pytest.approx(plain.intercept_, abs=1e-4)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-4)
    poisson = scipy.stats.poisson(plain.predict(X)).logpmf(y).sum()
    assert model.log_likelihood_ == pytest.approx(poisson, abs=1e-6)


def test_a_likelihood_without_random_effects_is_exact():
    X, y = counts()
    model, _ = fit(MixedPoissonRegressor(), X[["x"]], y)
    assert model.log_likelihood_method_ == "exact"
    assert model.elbo_ == pytest.approx(model.log_likelihood_, abs=1e-6)


@BOTH
def test_classes_without_groups_are_those_of_scikit_learn(solver):
    X, y = binary()
    X = X[["x"]]
    model, messages = fit(MixedLogisticRegressor(solver=solver), X, y)
    (message,) = messages
    assert message.startswith("No groups were given")
    plain = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-4)
    np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=1e-4)
    ours, theirs = model.predict_proba(X), plain.predict_proba(X)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


# Targets that are refused, or doubted


def test_a_negative_count_is_refused_with_its_row():
    X, y = counts()
    y[7] = -2
    with pytest.raises(ValueError, match="row 7 holds -2"):
        MixedPoissonRegressor("g").fit(X, y)


def test_fractional_counts_are_one_warning():
    X, y = counts()
    _, messages = fit(MixedPoissonRegressor("g"), X, y + 0.5 * (X.index == 4))
    (message,) = messages
    assert message.startswith("Fractional counts in y: row 4 holds ")


def test_one_class_is_refused_also_when_the_other_has_no_weight():
    X, y = binary()
    with pytest.raises(ValueError, match="one class only"):
        MixedLogisticRegressor("g").fit(X, y, sample_weight=y == 1)


@pytest.mark.parametrize(
    ("successes", "trials", "found"),
    [
        (6, 5, "more successes than trials (y=6, trials=5)"),
        (-1, 5, "a negative number of successes (y=-1, trials=5)"),
        (0.5, 5, "a fractional number of successes"),
        (0, 0, "trials below 1 (y=0, trials=0)"),
        (1, 2.5, "a fractional number of trials"),
    ],
)
def test_impossible_successes_are_refused_with_their_row(successes, trials, found):
    X, y = binary()
    X["n"] = 5.0
    y = y.astype(float)
    y[9], X.loc[9, "n"] = successes, trials
    with pytest.raises(ValueError, match=re.escape(f"Row 9 has {found}")):
        MixedBinomialRegressor("g", trials="n").fit(X, y)


@pytest.mark.parametrize("exposure", [0.0, -1.5])
def test_an_exposure_that_is_not_positive_is_refused_with_its_row(exposure):
    X, y = counts()
    X["years"] = 1.0
    X.loc[5, "years"] = exposure
    with pytest.raises(ValueError, match=f"exposure of row 5 is {exposure:g}"):
        MixedPoissonRegressor("g", exposure="years").fit(X, y)
