"""Many responses on one design: lme4's answers, fits column by column, closed forms."""

import warnings

import numpy as np
import oracle_problems as oracles
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from skglmm import MixedLinearRegressor, MixedPoissonRegressor
from skglmm.datasets import load_grouseticks, load_penicillin, load_sleepstudy
from skglmm.inference import fit_many
from skglmm.inference._batches import fit_batch
from skglmm.inference._parameters import parameters_of
from skglmm.inference._rows import read_again

# lme4: fixef, standard errors, sdcor of VarCorr and logLik of
# lmer(y ~ Days + (Days | Subject), sleepstudy, control = lmerControl(optimizer =
# "bobyqa", optCtrl = list(rhobeg = 1e-2, rhoend = 1e-11, maxfun = 1e5))) for
# y = log(Reaction) and 1000 / Reaction. (refit of lme4 1.1-31 gives another
# REML likelihood for the first, 150.83, than lmer for the same y.)
REFITS = {
    "log": (
        *(5.530064806, 0.03366803586, 0.02700861942, 0.004753842568),
        *(0.1041862032, 0.0180813778, -0.04579451657, 0.08116221444, 149.2405856),
    ),
    "speed": (
        *(3.965811975, -0.1109935923, 0.1086642545, 0.01550097302),
        *(0.4328833321, 0.05867219075, -0.1879767427, 0.269844218, -67.10275799),
    ),
}


def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return X, y, MixedLinearRegressor("Subject", random_slopes=["Days"])


def hard_responses(y, seed=0):
    """A target, others like it, and some without any effect of groups."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(len(y), 6)) * 10.0 ** np.arange(-3, 3)
    columns = [y, random.permutation(y), y + y.std() * random.normal(size=len(y))]
    return np.column_stack([*columns, noise])


def assert_same_as_fits(model, X, Y, weight=None):
    results = fit_many(model, X, Y, sample_weight=weight)
    singular = 0
    for j, y in enumerate(Y.T):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y, weight)
        fixed, found = model.fixed_effects_, results.fixed_effects.loc[j]
        error = fixed["std_error"]
        assert np.all(abs(fixed["estimate"] - found["estimate"]) <= 1e-6 * error)
        np.testing.assert_allclose(found["std_error"], error, rtol=1e-6)
        components = results.variance_components.loc[j]
        expected = model.variance_components_[["variance", "std"]]
        pd.testing.assert_frame_equal(
            components, expected, rtol=1e-6, atol=1e-9 * expected["variance"].max()
        )
        of_fit = results.fits.loc[j]
        assert of_fit["log_likelihood"] == pytest.approx(model.log_likelihood_)
        assert of_fit["singular"] == model.singular_
        assert of_fit["converged"] == model.converged_
        singular += model.singular_
    return singular


def test_answers_of_lme4():
    X, y, model = sleep()
    results = fit_many(model, X, pd.DataFrame({"log": np.log(y), "speed": 1000 / y}))
    for name, expected in REFITS.items():
        fixed = results.fixed_effects.loc[name].to_numpy().T.ravel()
        parameters = results.parameters.loc[name].to_numpy()[2:]
        np.testing.assert_allclose(fixed, expected[:4], rtol=1e-6)
        np.testing.assert_allclose(parameters, expected[4:-1], rtol=1e-5, atol=1e-6)
        found = results.fits.loc[name, "log_likelihood"]
        assert found == pytest.approx(expected[-1], abs=1e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_correlated_slopes_are_those_of_fit(reml):
    X, y, model = sleep()
    model.set_params(reml=reml)
    assert assert_same_as_fits(model, X, hard_responses(y)) >= 3


@pytest.mark.slow
def test_crossed_factors_are_those_of_fit():
    X, y = load_penicillin(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor(["plate", "sample"])
    assert assert_same_as_fits(model, X, hard_responses(y)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "badly_scaled",
        "frequency_weights",
        "linear_offset",
        "nested_three_deep",
        "nested_within_crossed",
        "slope_without_intercept",
        "slope_zero_correlated",
        "slopes_on_two_factors",
        "three_effects",
        "unbalanced_partially_crossed",
    ],
)
def test_other_designs_are_those_of_fit(name):
    ref, data = oracles.load(name, "reml")
    model = MixedLinearRegressor(**oracles.estimator_parameters(ref))
    weight = data["weight"] if ref["has_weight"] else None
    X, y = data[oracles.model_columns(ref)], data["y"].to_numpy(float)
    assert_same_as_fits(model, X, hard_responses(y), weight)


def test_without_groups_it_is_least_squares():
    X, y, _ = sleep()
    Y = np.column_stack([y, np.log(y)])
    with pytest.warns(UserWarning, match="No groups were given"):
        model = MixedLinearRegressor().fit(X[["Days"]], y)
    results = fit_many(model, X[["Days"]], Y)
    expected = LinearRegression().fit(X[["Days"]], Y)
    coef = results.fixed_effects["estimate"].unstack()
    np.testing.assert_allclose(coef["Days"], expected.coef_[:, 0])
    rss = ((Y - expected.predict(X[["Days"]])) ** 2).sum(axis=0)
    variance = results.variance_components["variance"]
    np.testing.assert_allclose(variance, rss / (len(y) - 2))


def test_weight_zero_is_no_row_and_two_is_two():
    X, y, model = sleep()
    Y, weight = hard_responses(y)[:, :3], np.tile([1.0, 2.0, 0.0], 60)
    found = fit_many(model, X, Y, sample_weight=weight)
    rows = np.repeat(np.arange(180), weight.astype(int))
    expected = fit_many(model, X.iloc[rows], Y[rows])
    pd.testing.assert_frame_equal(found.parameters, expected.parameters, rtol=1e-6)


def test_who_shares_the_batch_does_not_matter():
    X, y, model = sleep()
    Y = np.asarray(y)[:, None] + np.random.default_rng(0).normal(0, 30, (180, 400))
    together = fit_many(model, X, Y).parameters
    for j in (0, 255, 399):
        alone = fit_many(model, X, Y[:, [j]]).parameters
        np.testing.assert_allclose(together.loc[j], alone.loc[0], rtol=1e-9)


def test_parameters_are_named_as_those_of_a_fit():
    X, y, model = sleep()
    expected = parameters_of(model.fit(X, y))
    before = dict(vars(model))
    found = fit_many(model, X, pd.DataFrame({"time": y})).parameters.loc["time"]
    pd.testing.assert_series_equal(found, expected, check_names=False)
    assert vars(model) == before


def test_counts_are_fitted_one_by_one():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    Y = pd.DataFrame({"ticks": y, "doubled": 2 * y})
    model = MixedPoissonRegressor("BROOD")
    found = fit_many(model, X, Y)
    for name in Y:
        model.fit(X, Y[name])
        expected = model.fixed_effects_.rename_axis("effect")
        pd.testing.assert_frame_equal(found.fixed_effects.loc[name], expected)
        of_fit = found.fits.loc[name]
        assert of_fit["log_likelihood"] == model.log_likelihood_
        assert of_fit["converged"] and found.variance_components.shape == (2, 2)
    with pytest.raises(ValueError, match="response 'less': Negative values"):
        fit_many(model, X, pd.DataFrame({"ticks": y, "less": y - 9}))


def test_responses_that_the_columns_determine_are_marked():
    X, y, model = sleep()
    line = 3.0 + 2.0 * X["Days"].to_numpy(float)
    Y = np.column_stack([y, np.zeros(180), line])
    with pytest.warns(
        UserWarning, match=r"2 of 3 fits did not converge \(1: the resid"
    ):
        found = fit_many(model, X, Y)
    assert found.fits["converged"].tolist() == [True, False, False]
    assert np.isfinite(found.fixed_effects["estimate"]).all()


def test_bad_responses_are_named():
    X, y, model = sleep()
    with pytest.raises(ValueError, match=r"shape \(180,\), and needs a column"):
        fit_many(model, X, y.to_numpy())
    gap = pd.DataFrame({"a": y, "b": y.where(y > 200)})
    with pytest.raises(ValueError, match="response 'b': Input y contains NaN"):
        fit_many(model, X, gap)
    twice = pd.concat([y, y], axis=1)
    with pytest.raises(ValueError, match="Two responses of Y are named 'Reaction'"):
        fit_many(model, X, twice)
    with pytest.raises(ValueError, match="has none: fit such a model"):
        fit_many(
            MixedLinearRegressor("Subject", fixed_effects=LinearRegression()), X, gap
        )
    with pytest.raises(TypeError, match="no mixed model"):
        fit_many(LinearRegression(), X, gap)
    with pytest.raises(NotFittedError):
        read_again(model, X, y, None, None)


def test_it_says_how_far_it_is_and_can_be_interrupted(capsys):
    X, y, model = sleep()
    fit_many(model, X, np.column_stack([y, y]), verbose=1)
    assert "fit_many, responses: 2 in" in capsys.readouterr().out
    told, inputs = [], read_again(model.fit(X, y), X, y, None, None)

    def stop(n):
        told.append(n)
        raise KeyboardInterrupt

    Y = hard_responses(y)
    with pytest.raises(KeyboardInterrupt):
        fit_batch(model, inputs, Y, done=stop)
    told.clear()
    fit_batch(model, inputs, Y, done=told.append)
    assert sum(told) == Y.shape[1]
