"""MixedGeneralizedRegressor: fits as glmmTMB has them, and what follows from a fit."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skglmm import MixedBinomialRegressor, MixedGeneralizedRegressor, from_formula
from skglmm._families.chosen import chosen
from skglmm._families.foreign import foreign
from skglmm.datasets import load_cbpp, load_sleepstudy
from skglmm.solvers import Laplace

# glmmTMB 1.1.5 (R 4.2.2): Reaction / 100 ~ Days + (1 | Subject); the beta family has
# (Reaction / 100 - 1.5) / 4. Intercept and slope, errors, standard deviation, own
# parameters and log-likelihood.
SLEEP = {
    ("gamma", None): (
        [0.9287750867, 0.0338450586],
        [0.032271012, 0.002506451],
        0.1245868,
        [0.096641677],
        -54.64770322,
    ),
    ("gamma", "inverse"): (
        [0.3959858529, -0.0116012641],
        [0.0116303460, 0.0008077692],
        0.04506795,
        [0.093277673],
        -50.13900325,
    ),
    ("student_t", None): (
        [2.50932693, 0.10534291],
        [0.095202509, 0.007643338],
        0.3687176,
        [0.23470557, 4.5389606],
        -62.36005221,
    ),
    ("gaussian", "log"): (
        [0.9156618350, 0.0364665308],
        [0.03389909, 0.00255798],
        0.128818,
        [0.29332137],
        -60.75033067,
    ),
    ("beta", "cloglog"): (
        [-1.237372216, 0.094179162],
        [0.09056371, 0.00671230],
        0.3456327,
        [41.745692],
        194.1788893,
    ),
    # lmer(log(y), REML = FALSE), less the logs of y
    ("lognormal", None): (
        [0.9248946198, 0.0336680359],
        [0.032227378, 0.002512871],
        0.1243202,
        [0.09683523],
        -54.65777,
    ),
}


def sleep(family):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    y = y / 100
    return X, (y - 1.5) / 4 if family == "beta" else y


@pytest.mark.parametrize(("family", "link"), SLEEP)
def test_sleep_is_glmmtmbs(family, link):
    coef, errors, sd, own, log_likelihood = SLEEP[family, link]
    model = MixedGeneralizedRegressor(
        "Subject", family=family, link=link, solver="laplace"
    ).fit(*sleep(family))
    found = np.r_[model.intercept_, model.coef_]
    assert np.abs((found - coef) / errors).max() < 0.03
    assert_allclose(model.fixed_effects_["std_error"], errors, rtol=0.03)
    assert model.variance_components_["std"].item() == pytest.approx(sd, rel=0.015)
    assert_allclose(model.family_parameters_["estimate"], own, rtol=0.02)
    assert model.log_likelihood_ > log_likelihood - 0.01


@pytest.mark.parametrize(
    ("link", "coef", "sd", "log_likelihood"),
    [
        (
            "probit",
            [-0.831849998, -0.526596297, -0.615071573, -0.797944217],
            0.3386345,
            -92.5833377,
        ),
        (
            "cloglog",
            [-1.532095597, -0.912990305, -1.031104657, -1.479419946],
            0.5858983,
            -91.75800202,
        ),
    ],
)
def test_links_of_the_binomial_are_glmmtmbs(link, coef, sd, log_likelihood):
    X, y = load_cbpp(return_X_y=True, as_frame=True)
    model = MixedBinomialRegressor("herd", link=link, trials="size", solver="laplace")
    model.fit(X, y)
    assert_allclose(np.r_[model.intercept_, model.coef_], coef, atol=2e-3)
    assert model.variance_components_["std"].item() == pytest.approx(sd, rel=5e-3)
    assert model.log_likelihood_ == pytest.approx(log_likelihood, abs=1e-3)
    mean = model.predict(X)
    low, high = model.predict_interval(X, 0.8, of="mean").T
    assert ((low < mean) & (mean < high)).all()


def draw(family, parameters, zeros=False, n_groups=40, seed=1):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.normal(size=10 * n_groups)})
    X["g"] = np.repeat(np.arange(n_groups), 10)
    eta = 0.5 + 0.4 * X["x"] + 0.6 * rng.normal(size=n_groups)[X["g"]]
    of = chosen(family, None, zeros).given(np.asarray(parameters))
    size = np.full(len(X), 5.0) if of.is_bounded else None
    y = of.sample(eta.to_numpy(), size, np.random.RandomState(seed))
    if of.is_bounded:
        X["n"], y = size, np.round(y * size)
    return X, y


DRAWN = {
    "negative_binomial_1": ([0.0], False),
    "inverse_gaussian": ([-1.0], False),
    "tweedie": ([0.0, 0.0], False),
    "beta_binomial": ([1.5], False),
    "student_t": ([-0.5, 1.3], False),
    "poisson": ([-1.0], True),
    "negative_binomial": ([0.7, -1.0], "hurdle"),
}


@pytest.fixture(scope="module")
def fitted():
    made = {}

    def fit(family):
        if family not in made:
            parameters, zeros = DRAWN[family]
            X, y = draw(family, parameters, zeros)
            trials = "n" if "n" in X else None
            model = MixedGeneralizedRegressor(
                "g", family=family, zero_inflation=zeros, trials=trials
            )
            made[family] = model.fit(X, y), X, y
        return made[family]

    return fit


@pytest.mark.slow
@pytest.mark.parametrize("family", DRAWN)
def test_vi_is_close_to_quadrature(fitted, family):
    model, X, y = fitted(family)
    exact = clone(model).set_params(solver=Laplace(n_quadrature=25)).fit(X, y)
    for name in ("variance_components_", "family_parameters_"):
        ours, theirs = (getattr(m, name).iloc[:, -1] for m in (model, exact))
        assert_allclose(ours, theirs, rtol=0.04)
    sd = exact.variance_components_["std"].item()
    assert model.variance_components_["std"].item() == pytest.approx(sd, rel=0.04)
    assert_allclose(model.coef_, exact.coef_, atol=0.02)
    assert model.elbo_ < exact.log_likelihood_


@pytest.mark.slow
@pytest.mark.parametrize("family", DRAWN)
def test_parameters_are_those_drawn_from(fitted, family):
    model, _, _ = fitted(family)
    parameters, zeros = DRAWN[family]
    truth, _ = chosen(family, None, zeros).natural(np.asarray(parameters))
    table = model.family_parameters_
    assert (np.abs(table["estimate"] - truth) < 3 * table["std_error"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", DRAWN)
def test_intervals_cover_known_and_new_groups(fitted, family):
    """Responses drawn anew for the groups that fit has seen, and for others."""
    model, X, _ = fitted(family)
    parameters, zeros = DRAWN[family]
    of = chosen(family, None, zeros).given(np.asarray(parameters))
    rng, random = np.random.default_rng(1), np.random.RandomState(5)
    x = rng.normal(size=len(X))
    known = 0.5 + 0.4 * x + 0.6 * rng.normal(size=40)[X["g"]]
    assert_allclose(x, X["x"])
    new = 0.5 + 0.4 * x + 0.6 * np.random.default_rng(9).normal(size=len(X))
    size = X["n"].to_numpy() if "n" in X else None
    # a Tweedie variable has one probability, that of zero
    discrete = not hasattr(of, "_to_line") or family == "tweedie"
    for eta, level in ((known, "conditional"), (new, "population")):
        low, high = model.predict_interval(X, 0.9, level=level).T
        y = np.array([of.sample(eta, size, random) for _ in range(20)])
        covered = np.mean((low <= y) & (y <= high))
        assert covered > 0.86
        inside = np.mean((low < y) & (y < high)) if discrete else covered
        assert inside < 0.94


@pytest.mark.parametrize("family", ["poisson"])
def test_what_follows_from_a_fit(fitted, family):
    model, X, y = fitted(family)
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_interval(X[:4]), model.predict_interval(X[:4]))
    assert 0.1 < model.score(X, y) < 1.0
    assert "zero-inflated Poisson response, log link" in str(model.summary())
    new = model.update_random_effects(X[:10].assign(g=99), y[:10])
    known = model.random_effects_["g"].loc[0]
    assert_allclose(new.random_effects_["g"].loc[99], known, atol=1e-3)
    mean, std = model.predict(X[:3], return_std=True)
    samples = model.sample_y(X[:3], 20_000, random_state=0)
    assert_allclose(samples.mean(axis=1), mean, rtol=0.05)
    assert_allclose(samples.std(axis=1), std, rtol=0.05)


def test_a_formula_names_the_family():
    X, y = sleep("gamma")
    model = from_formula("y ~ Days + (1 | Subject)", X.assign(y=y), "gamma")
    assert model.family == "gamma"
    assert "dispersion" in model.family_parameters_.index


def test_the_linear_model_is_one_of_them():
    X, y = sleep("gaussian")
    model = MixedGeneralizedRegressor("Subject", family="gaussian").fit(X, y)
    assert not hasattr(model, "family_parameters_")
    # lmer(REML = FALSE)
    assert model.intercept_ == pytest.approx(2.514051, abs=1e-4)
    assert np.sqrt(model.noise_variance_) == pytest.approx(0.3089543, rel=1e-3)


# Limits and mistakes


def test_a_dispersion_that_runs_to_its_limit_is_one_warning():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": np.repeat(np.arange(30), 10)})
    # counts that vary less than Poisson ones
    y = rng.binomial(4, 0.5, size=300)
    model = MixedGeneralizedRegressor("g", family="negative_binomial")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert len(seen) == 1
    assert "family='poisson'" in str(seen[0].message)
    assert np.isnan(model.family_parameters_.loc["dispersion", "std_error"])


@pytest.mark.slow
def test_all_parameters_that_run_to_their_limits_are_in_one_warning():
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"g": np.repeat(np.arange(15), 20)})
    y = rng.poisson(np.exp(1.0 + 0.5 * rng.normal(size=15)[X["g"]]))
    model = MixedGeneralizedRegressor(
        "g", family="negative_binomial", zero_inflation=True
    )
    with pytest.warns(UserWarning) as seen:
        model.fit(X, y)
    assert len(seen) == 1
    for remedy in ("family='poisson'", "zero_inflation=False"):
        assert remedy in str(seen[0].message)
    assert model.family_parameters_["std_error"].isna().all()


@pytest.mark.parametrize("zeros", [True, "hurdle"])
def test_limits_of_a_family_and_of_its_zeros_are_told_apart(zeros):
    family = chosen("negative_binomial", None, zeros)
    for size, zero in ((1.0, 0.0), (1e9, 0.0), (1.0, -40.0), (1e9, -40.0)):
        found = family.given(np.array([np.log(size), zero])).limit(2.0)
        at_limit = {"dispersion": size > 1.0, "zero_inflation": zero < 0.0}
        assert [name for name, _, _ in found] == [n for n, at in at_limit.items() if at]


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({"family": "gamma", "link": "logit"}, 1.0, "has 'log', 'identity'"),
        ({"family": "beta", "zero_inflation": True}, 0.5, "it is for counts"),
        ({"family": "gamma"}, 0.0, "Row 0 holds 0 in y, which is not positive"),
        ({"family": "tweedie"}, -1.0, "zero or positive"),
        ({"family": "beta"}, 1.0, "shares between 0 and 1"),
        ({"family": "poisson"}, -1.0, "Negative values in y"),
        ({"family": "gamma", "trials": "x"}, 1.0, "'binomial' and 'beta_binomial'"),
        ({"family": "beta", "exposure": "x"}, 0.5, "needs the log link"),
        ({"family": "gamma", "link": "inverse"}, 1.0, "solver='laplace'"),
    ],
)
def test_messages_say_what_to_do(parameters, y, message):
    X = pd.DataFrame({"x": np.arange(1.0, 13.0), "g": np.repeat([0, 1, 2], 4)})
    with pytest.raises(ValueError, match=message):
        MixedGeneralizedRegressor("g", **parameters).fit(X, np.full(12, y))


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("Poisson", [0.0, 1.0, 70.0], [-1.0, 0.5]),
        ("NegativeBinomial", [0.0, 1.0, 70.0], [-1.0, 0.5]),
        ("Bernoulli", [0.0, 1.0], [-1.0, 0.5, 2.0]),
        ("GammaExp", [1e-9, 0.5, 70.0], [-1.0, 0.0]),
        ("LogNormal", [1e-9, 0.5, 70.0], [-1.0, 0.0]),
        ("Normal", [-1.0, 0.0, 0.5], []),
    ],
)
def test_families_of_tfp_take_responses_of_their_support(name, inside, outside):
    import tensorflow_probability as tfp

    family = foreign(getattr(tfp.glm, name)())
    y, rows = np.array(inside), np.arange(10, 17)
    assert family.check(y, None, rows) == []
    for value in outside:
        message = rf"Row 12 holds {value:g} in y.*{name} of Tensor.*another family"
        with pytest.raises(ValueError, match=message):
            # the first of two rows
            family.check(np.array([*y[:2], value, y[0], value]), None, rows)
