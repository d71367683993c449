"""Known relative precisions of rows, beside frequencies."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from skglmm import MixedLinearRegressor, RegressorPart, inference
from skglmm._fixed.latent import Normal
from skglmm.datasets import load_penicillin, load_sleepstudy
from skglmm.solvers import VI, MacKay

# lme4 1.1: d$w <- 0.25 + (seq_len(180) * 7) %% 11;
# lmer(Reaction ~ Days + (Days|Subject), d, weights=w, REML=...), bobyqa, rhoend 1e-10
# fixef, std errors, sigma, logLik, AIC, BIC
SLEEP = {
    True: [
        *(251.83054385243, 10.58963408963, 7.31946510547, 1.59805078837),
        *(50.68997336679, -882.52616764903, 1777.05233529806, 1796.21007640341),
    ],
    False: [
        *(251.83653882030, 10.58791394030, 7.11438358030, 1.55371481557),
        *(50.68662430768, -886.77837831741, 1785.55675663481, 1804.71449774015),
    ],
}
SLEEP_COVARIANCE = {
    True: [785.43614388271, -9.43671559844, 39.76014788250],
    False: [732.27367018655, -7.52750483686, 37.24902009852],
}
# the same with p <- Penicillin; p$w <- c(1, 2, 5, 0.5)[(seq_len(144) * 3) %% 4 + 1];
# lmer(diameter ~ 1 + (1|plate) + (1|sample), p, weights=w, REML=...)
# fixef, std error, sigma, logLik, AIC, variances
PENICILLIN = {
    True: [
        *(22.955958327071, 0.789522132585, 0.727417390270, -179.722456368137),
        *(367.444912736273, 0.786947785914, 3.530846086808),
    ],
    False: [
        *(22.955604356412, 0.727938624944, 0.727420520070, -180.363108795683),
        *(368.726217591366, 0.784696043521, 2.970706960189),
    ],
}
SLOPES = {"groups": "Subject", "random_slopes": ["Days"]}


def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return X.assign(w=0.25 + (np.arange(1, 181) * 7) % 11), y


def numbers(model):
    """Estimates, errors, residual deviation and likelihood."""
    fixed = model.fixed_effects_
    own = np.sqrt(model.noise_variance_), model.log_likelihood_, model.aic_
    return [*fixed["estimate"], *fixed["std_error"], *own]


@pytest.fixture(scope="module")
def fitted():
    X, y = sleep()
    return MixedLinearRegressor(**SLOPES, precision="w").fit(X, y), X, y


@pytest.mark.parametrize("reml", [True, False])
def test_slopes_are_those_of_lme4(reml):
    X, y = sleep()
    model = MixedLinearRegressor(**SLOPES, precision="w", reml=reml).fit(X, y)
    assert_allclose([*numbers(model), model.bic_], SLEEP[reml], rtol=1e-6)
    covariance = model.random_effects_covariance_["Subject"][[0, 0, 1], [0, 1, 1]]
    assert_allclose(covariance, SLEEP_COVARIANCE[reml], rtol=1e-4)
    assert model.coef_names_ == ["Days"]


@pytest.mark.parametrize("reml", [True, False])
def test_crossed_effects_are_those_of_lme4(reml):
    X, y = load_penicillin(return_X_y=True, as_frame=True)
    X["w"] = np.array([1, 2, 5, 0.5])[(np.arange(1, 145) * 3) % 4]
    model = MixedLinearRegressor(["plate", "sample"], precision="w", reml=reml)
    model.fit(X, y)
    variances = model.variance_components_["variance"].iloc[:2]
    assert_allclose([*numbers(model), *variances], PENICILLIN[reml], rtol=2e-6)


def test_tests_are_those_of_scaled_rows(fitted):
    """lmerTest and pbkrtest for rows times sqrt(w), whose residuals are alike.

    lmer(ys ~ 0 + s + Ds + (0 + s + Ds|Subject), d); given weights, pbkrtest takes the
    residual variances for equal.
    """
    model, X, y = fitted
    expected = {
        "satterthwaite": [[7.319464308, 1.598050824], [16.89211123, 17.13530073]],
        "kenward-roger": [[7.321869116, 1.598429581], [16.97428266, 16.98537902]],
    }
    for df, values in expected.items():
        found = inference.coefficients(model, X, y, df=df)
        assert_allclose(found[["std_error", "df"]].to_numpy().T, values, rtol=1e-5)
    # lmerTest::ranova(lmer(Reaction ~ Days + (Days||Subject), d, weights=w))
    diagonal = MixedLinearRegressor(**SLOPES, precision="w", covariance="diag")
    tests = inference.random_effects_tests(diagonal.fit(X, y), X, y)
    assert_allclose(tests["log_likelihood"], [-901.5199781, -912.2423358], rtol=1e-7)
    with pytest.raises(ValueError, match="standard errors are others"):
        inference.coefficients(model, X.assign(w=X["w"].to_numpy()[::-1]), y)


def test_models_of_other_precisions_are_not_nested(fitted):
    model, X, y = fitted
    plain = MixedLinearRegressor("Subject").fit(X[["Days", "Subject"]], y)
    table = inference.compare({"plain": plain, "weighted": model}, X, y)
    assert "other precisions" in table["how"].iloc[1]


@pytest.mark.parametrize("solver", ["laplace", "mackay", "mcem"])
def test_every_solver_takes_them(solver):
    X, y = sleep()
    model = MixedLinearRegressor(
        **SLOPES, precision="w", solver=solver, random_state=0
    ).fit(X, y)
    rtol = 2e-2 if solver == "mcem" else 1e-5
    assert_allclose(numbers(model), SLEEP[True][:-1], rtol=rtol)


def test_known_variances(fitted):
    model, X, y = fitted
    solver = MacKay(
        covariances=model.random_effects_covariance_,
        noise_variance=model.noise_variance_,
    )
    known = clone(model).set_params(solver=solver).fit(X, y)
    assert_allclose(numbers(known), numbers(model), rtol=1e-9)


def test_ones_change_no_bit():
    X, y = sleep()
    weight = np.random.default_rng(0).integers(1, 4, 180)
    for sample_weight in (None, weight):
        plain = MixedLinearRegressor(**SLOPES).fit(
            X.drop(columns="w"), y, sample_weight
        )
        ones = MixedLinearRegressor(**SLOPES, precision="w")
        ones.fit(X.assign(w=1.0), y, sample_weight)
        assert_array_equal([*numbers(ones), ones.bic_], [*numbers(plain), plain.bic_])
        assert_array_equal(ones.history_, plain.history_)
        assert_array_equal(
            ones.random_effects_std_["Subject"], plain.random_effects_std_["Subject"]
        )


@pytest.mark.parametrize("size", [3.0, 1e-60])
def test_unit_of_precisions(fitted, size):
    model, X, y = fitted
    other = clone(model).fit(X.assign(w=size * X["w"]), y)
    assert_allclose(other.noise_variance_, size * model.noise_variance_, rtol=1e-6)
    assert_allclose(other.log_likelihood_, model.log_likelihood_, rtol=1e-10)
    assert_allclose(
        other.summary().variance_partition, model.summary().variance_partition
    )
    assert_allclose(other.fixed_effects_, model.fixed_effects_, rtol=1e-6)


def test_frequencies_repeat_rows_of_a_precision():
    X, y = sleep()
    times = np.random.default_rng(1).integers(0, 4, 180)
    model = MixedLinearRegressor(**SLOPES, precision="w").fit(X, y, times)
    rows = np.repeat(np.arange(180), times)
    long = clone(model).fit(X.iloc[rows], y.iloc[rows])
    assert_allclose(
        [*numbers(model), model.bic_], [*numbers(long), long.bic_], rtol=1e-6
    )
    assert model.summary().n_rows == len(rows)


def test_a_new_observation_has_its_own_precision(fitted):
    model, X, _ = fitted
    rows = X.iloc[[3, 3, 3]].assign(w=[1.0, 4.0, 0.25])
    eta, sd = model.linear_predictor(rows, return_std=True)
    mean, std = model.predict(rows, return_std=True)
    expected = np.sqrt(sd**2 + model.noise_variance_ / rows["w"])
    assert_allclose(mean, eta)
    assert_allclose(std, expected)
    interval = model.predict_interval(rows)
    assert_allclose(np.diff(interval).ravel(), 2 * 1.959963985 * expected, rtol=1e-8)
    draws = model.sample_y(rows, 20_000, random_state=0)
    assert_allclose(draws.std(axis=1), expected, rtol=0.03)


def test_means_do_not_read_the_column(fitted):
    model, X, y = fitted
    unknown = X.assign(w=np.nan)
    assert_array_equal(model.predict(unknown), model.predict(X))
    assert_array_equal(
        model.predict_interval(unknown, of="mean"), model.predict_interval(X, of="mean")
    )
    assert model.score(unknown, y) == model.score(X, y)
    with pytest.raises(ValueError, match="'w'"):
        model.predict(unknown, return_std=True)
    with pytest.raises(ValueError, match="'w'.*-1 in row 2"):
        model.sample_y(X.assign(w=np.where(np.arange(180) == 2, -1.0, 1.0)))


@pytest.mark.parametrize("wrong", [0.0, -2.0, np.nan, np.inf, 1e200])
def test_what_is_no_precision_is_refused(wrong):
    X, y = sleep()
    X.loc[7, "w"] = wrong
    with pytest.raises(ValueError, match="column 'w'.*row 7|column 'w' has"):
        MixedLinearRegressor(**SLOPES, precision="w").fit(X, y)


def test_text_and_taken_columns_are_refused():
    X, y = sleep()
    with pytest.raises(ValueError, match="precision column 'w' holds text"):
        MixedLinearRegressor("Subject", precision="w").fit(X.assign(w="high"), y)
    with pytest.raises(ValueError, match="already has another role"):
        MixedLinearRegressor(**SLOPES, precision="Days").fit(X, y)


def test_updated_effects_are_the_closed_form():
    X, y = sleep()
    new = (X["Subject"].astype(str) == "372").to_numpy()
    model = MixedLinearRegressor(**SLOPES, precision="w").fit(X[~new], y[~new])
    updated = model.update_random_effects(X[new], y[new])
    Z = np.column_stack([np.ones(new.sum()), X["Days"][new]])
    residual = (y[new] - model.predict(X[new], level="population")).to_numpy()
    W = np.diag(X["w"][new] / model.noise_variance_)
    precision = np.linalg.inv(model.random_effects_covariance_["Subject"])
    posterior = np.linalg.inv(precision + Z.T @ W @ Z)
    mean = posterior @ Z.T @ W @ residual
    assert_allclose(updated.random_effects_["Subject"].iloc[-1], mean, rtol=1e-6)
    std = updated.random_effects_std_["Subject"].iloc[-1]
    assert_allclose(std, np.sqrt(np.diag(posterior)), rtol=1e-6)


def test_position_pickle_and_warm_start(fitted):
    model, X, y = fitted
    table = X[["Days", "Subject", "w"]].assign(Subject=X["Subject"].astype(int))
    array = MixedLinearRegressor(1, random_slopes=[0], precision=-1)
    array.fit(table.to_numpy(), y)
    assert_allclose(numbers(array), numbers(model), rtol=1e-9)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(
        again.predict(X, return_std=True)[1], model.predict(X, return_std=True)[1]
    )
    warm = clone(model).set_params(warm_start=True).fit(X, y)
    first = warm.n_iter_
    assert warm.fit(X, y).n_iter_ <= first
    assert_allclose(warm.log_likelihood_, model.log_likelihood_, rtol=1e-9)


def test_regressor_as_the_fixed_part_weighs_rows():
    """A linear one has the coefficients of weighted least squares without effects."""
    random = np.random.default_rng(0)
    X, y = sleep()
    X["w"] = np.where(random.random(180) < 0.5, 50.0, 0.02)
    y = y + 100.0 * random.normal(size=180) / np.sqrt(X["w"])
    part = RegressorPart(LinearRegression())
    model = MixedLinearRegressor(
        "Subject", fixed_effects=part, precision="w", random_state=0
    ).fit(X, y)
    linear = MixedLinearRegressor("Subject", precision="w").fit(X, y)
    new = X.iloc[:10]
    assert_allclose(
        model.predict(new, level="population"),
        linear.predict(new, level="population"),
        rtol=0.02,
    )
    assert_allclose(model.noise_variance_, linear.noise_variance_, rtol=0.1)


def test_missing_values_with_precisions():
    """The draw of an unknown part of a row of known precision is the closed form."""
    y, eta, mean = np.array([3.0, 1.0]), np.array([1.0, 0.5]), np.array([0.2, -0.1])
    noise, variance = np.array([0.5, 8.0]), 2.0
    rows = np.tile([0, 1], 40_000)
    random = np.random.RandomState(0)
    drawn = Normal(y, noise).draw(rows, eta[rows], mean[rows], variance, random)
    exact = 1.0 / (1.0 / variance + 1.0 / noise)
    center = exact * (mean / variance + (y - eta) / noise)
    for at in (0, 1):
        assert_allclose(drawn[rows == at].mean(), center[at], atol=0.03)
        assert_allclose(drawn[rows == at].var(), exact[at], rtol=0.03)
    X, y = sleep()
    X["x"] = np.where(
        np.arange(180) % 7 == 0, np.nan, np.random.default_rng(2).normal(size=180)
    )
    same = [
        MixedLinearRegressor(
            "Subject", precision="w", missing="model", random_state=0, solver=VI()
        ).fit(X.assign(w=w), y)
        for w in (1.0, 4.0)
    ]
    assert_allclose(same[0].fixed_effects_, same[1].fixed_effects_, rtol=1e-6)
    assert_allclose(4.0 * same[0].noise_variance_, same[1].noise_variance_, rtol=1e-6)
