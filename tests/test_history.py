"""The steps of a solver: what `history_` keeps of them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skglmm import MixedLinearRegressor, MixedLogisticRegressor, MixedPoissonRegressor
from skglmm.datasets import load_sleepstudy, make_mixed_regression
from skglmm.solvers import MCEM, MacKay


def sleepstudy(**parameters):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"], **parameters)
    return model.fit(X, y), X, y


NAMES = ["variance(Subject, Intercept)", "variance(Subject, Days)"]


def test_a_minimiser_keeps_its_objective():
    model, _, _ = sleepstudy(reml=False)
    history = model.history_
    assert list(history) == ["objective"]
    assert history.index.name == "step"
    assert list(history.index) == [*range(1, model.n_iter_ + 1)]
    # lme4's deviance of the ML fit
    np.testing.assert_allclose(history["objective"].iloc[-1], 1751.939, atol=1e-3)


def test_a_model_without_fit_has_none():
    with pytest.raises(AttributeError, match="not fitted"):
        getattr(MixedLinearRegressor("g"), "history_")  # noqa: B009
    model, _, _ = sleepstudy()
    assert not hasattr(clone(model), "history_")


def test_the_evidence_framework_keeps_variances_a_turn():
    model, X, y = sleepstudy(reml=False, solver="mackay", covariance="diag")
    history = model.history_
    assert list(history) == ["objective", *NAMES, "variance(residual)"]
    kept = history.dropna()
    assert 3 < len(kept) <= model.n_iter_
    # the objective belongs to the variances beside it: a dense computation
    subject = X["Subject"].to_numpy()
    same = subject[:, None] == subject
    days = X["Days"].to_numpy(dtype=float)
    table = np.column_stack([np.ones(180), days])
    best = np.inf
    for value, intercept, slope, noise in kept.to_numpy():
        V = same * (intercept + slope * np.outer(days, days)) + noise * np.eye(180)
        inverse = np.linalg.inv(V)
        gram = table.T @ inverse @ table
        left = y - table @ np.linalg.solve(gram, table.T @ inverse @ y)
        log_det = np.linalg.slogdet(V)[1]
        best = min(best, left @ inverse @ left + log_det + 180 * np.log(2 * np.pi))
        np.testing.assert_allclose(value, best, rtol=1e-9)
    end = model.variance_components_["variance"]
    np.testing.assert_allclose(kept.iloc[-1, 1:], end, rtol=1e-2)


def test_the_shortcut_ends_where_its_document_does():
    # 302.9, 31.09 and 671: sleepstudy, uncorrelated, covariances of predicted effects
    model, _, _ = sleepstudy(covariance="diag", solver=MacKay(update="quick"))
    history = model.history_
    assert len(history) == model.n_iter_
    end = history[[*NAMES, "variance(residual)"]].iloc[-1]
    np.testing.assert_allclose(end, [302.9, 31.09, 671.0], rtol=1e-3)
    assert history.iloc[:, 1:].notna().all(axis=None)
    # no turn but the last one has an objective
    assert history["objective"].isna().sum() == len(history) - 1


@pytest.mark.parametrize("solver", [MacKay(curvature="vi"), MacKay(curvature="pql")])
def test_counts_keep_variances_a_turn(solver):
    X, y = make_mixed_regression(
        300, 1, n_groups=30, family="poisson", random_state=0, as_frame=True
    )
    model = MixedPoissonRegressor("g0", solver=solver).fit(X, y)
    kept = model.history_["variance(g0, Intercept)"].dropna()
    end = model.variance_components_["variance"].item()
    np.testing.assert_allclose(kept.iloc[-1], end, rtol=1e-2)
    # it begins at T = 1
    assert kept.iloc[0] == pytest.approx(1.0)


def test_monte_carlo_em_begins_where_the_variational_fit_ends():
    X, y = make_mixed_regression(
        600, 1, n_groups=200, group_std=1.5, family="bernoulli", random_state=0
    )
    solver = MCEM(n_samples=64)
    model = MixedLogisticRegressor("g0", solver=solver, random_state=0).fit(X, y)
    start = MixedLogisticRegressor("g0").fit(X, y)
    history = model.history_
    assert list(history) == ["objective", "variance(g0, Intercept)"]
    assert len(history) == model.n_iter_
    path = history["variance(g0, Intercept)"]
    begun = start.variance_components_["variance"].item()
    np.testing.assert_allclose(path.iloc[0], begun, rtol=1e-6)
    end = model.variance_components_["variance"].item()
    np.testing.assert_allclose(path.iloc[-1], end, rtol=0.1)
    assert abs(end - begun) > 0.01


def test_a_saved_model_has_its_history():
    model, _, _ = sleepstudy(solver="mackay")
    again = pickle.loads(pickle.dumps(model)).history_
    pd.testing.assert_frame_equal(again, model.history_)


def test_variances_are_in_the_unit_of_the_target():
    # a target whose squares are too small for the engine is fitted in another unit
    model, X, y = sleepstudy(solver="mackay")
    small = clone(model).fit(X, y * 1e-60)
    kept = model.history_[NAMES].dropna()
    np.testing.assert_allclose(small.history_[NAMES].dropna() * 1e120, kept, rtol=1e-6)
