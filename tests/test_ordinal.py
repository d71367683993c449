"""Ordered classes: cumulative links with thresholds."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from engine_problems import Factor, build_design, compiled_bound, compiled_laplace
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, log_expit
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglmm import (
    GroupEffectEncoder,
    MixedLogisticRegressor,
    MixedOrdinalClassifier,
    from_formula,
    inference,
    inspection,
)
from skglmm._families.ordered import ordered
from skglmm.datasets import load_insteval
from skglmm.engine import generalized, likelihoods, quadrature
from skglmm.solvers import Laplace, Problem

ORACLES = Path(__file__).parent / "oracles" / "families"
QUADRATURE = Laplace(n_quadrature=25)
LINKS = ["logit", "probit", "cloglog"]
# Bitterness of eight bottles, warm in the last four, contact in every other two, as
# nine judges rate it (Randall 1989; R's ordinal::wine).
RATINGS = """23344455 12132354 23325544 32323253 23433333 32322454 11222323 22233334
12323244"""


@pytest.fixture(scope="module")
def wine():
    rating = [int(r) for judge in RATINGS.split() for r in judge]
    bottle = np.tile(np.arange(8), 9)
    X = pd.DataFrame(
        {
            "warm": 1.0 * (bottle > 3),
            "contact": bottle // 2 % 2 * 1.0,
            "judge": np.repeat(np.arange(9), 8),
        }
    )
    return X, np.array(rating)


@pytest.fixture(scope="module")
def fitted(wine):
    solvers = {"vi": "vi", "quadrature": QUADRATURE}
    return {
        name: MixedOrdinalClassifier("judge", solver=solver).fit(*wine)
        for name, solver in solvers.items()
    }


def below(link, x):
    """P(latent variable <= x)."""
    if link == "cloglog":
        return -np.expm1(-np.exp(x))
    return {"logit": expit, "probit": stats.norm.cdf}[link](x)


def log_probability(link, y, thresholds, eta):
    """By differences of logarithms of the nearer tail."""
    c = np.concatenate([[-np.inf], thresholds, [np.inf]])
    u, low = c[y + 1] - eta, c[y] - eta
    if link == "cloglog":
        above, first = -np.exp(u), -np.exp(low)
        return first + np.log(-np.expm1(above - first))
    log_cdf = {"logit": log_expit, "probit": stats.norm.logcdf}[link]
    turned = u + low > 0
    u, low = np.where(turned, -low, u), np.where(turned, -u, low)
    return log_cdf(u) + np.log(-np.expm1(log_cdf(low) - log_cdf(u)))


# The likelihood of a row

GAPS = np.array([0.4, 3.0, 1.1])


def rows(link, gaps=GAPS, reach=25.0):
    """Likelihood, classes and linear predictors, all of both."""
    eta = np.linspace(-3.0 if link == "cloglog" else -reach, reach, 61)
    y, eta = (a.ravel() for a in np.meshgrid(np.arange(len(gaps) + 2), eta))
    likelihood = ordered(link, len(gaps) + 2).likelihood()
    return likelihood, tf.constant(np.log(gaps)), y, eta


@pytest.mark.parametrize("link", LINKS)
def test_log_probabilities_are_scipys(link):
    likelihood, psi, y, eta = rows(link)
    model = likelihood.given(tf.unstack(psi))
    ours = model.log_density(1.0 * y, 1.0, eta) + model.constant(1.0 * y, 1.0)
    thresholds = np.concatenate([[0.0], np.cumsum(GAPS)])
    theirs = log_probability(link, y, thresholds, eta)
    assert_allclose(ours, theirs, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("link", LINKS)
def test_thresholds_that_are_close_lose_no_digits(link):
    """Their probability is the density between them times the gap."""
    gap, eta = 1e-7, np.linspace(-3.0 if link == "cloglog" else -20.0, 20.0, 41)
    model = ordered(link, 3).likelihood().given([tf.constant(np.log(gap))])
    y = np.ones_like(eta)
    ours = model.log_density(y, 1.0, eta) + model.constant(y, 1.0)
    x = 0.5 * gap - eta
    law = {"logit": stats.logistic, "probit": stats.norm, "cloglog": stats.gumbel_l}
    assert_allclose(ours, law[link].logpdf(x) + np.log(gap), rtol=1e-9, atol=1e-9)
    score, weight, _ = (part.numpy() for part in model.derivatives(y, 1.0, eta))
    exact = {
        "logit": (-np.tanh(x / 2), 2 * expit(x) * expit(-x)),
        "probit": (x, np.ones_like(x)),
        "cloglog": (np.exp(x) - 1, np.exp(x)),
    }[link]
    sign = {"logit": -1, "probit": 1, "cloglog": 1}[link]
    assert_allclose(score, sign * exact[0], rtol=1e-6, atol=2e-7)
    assert_allclose(weight, exact[1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("link", LINKS)
def test_derivatives_are_slopes_of_each_other(link):
    likelihood, psi, y, eta = rows(link, reach=12.0)
    model, h = likelihood.given(tf.unstack(psi)), 1e-5

    def at(eta):
        density, *more = (
            model.log_density(1.0 * y, 1.0, eta),
            *model.derivatives(1.0 * y, 1.0, eta),
        )
        return [part.numpy() for part in (density, *more)]

    ahead, behind, here = at(eta + h), at(eta - h), at(eta)
    for k, sign in ((0, 1), (1, -1), (2, 1)):
        slope = sign * (ahead[k] - behind[k]) / (2 * h)
        assert_allclose(here[k + 1], slope, rtol=1e-6, atol=1e-6)
    assert (here[2] >= 0.0).all()


@pytest.mark.parametrize("link", LINKS)
def test_slopes_in_the_gaps_are_differences(link):
    likelihood, psi, y, eta = rows(link, reach=12.0)
    found = likelihoods.slopes(likelihood, tf.unstack(psi), 1.0 * y, 1.0 + 0 * eta, eta)
    for k, axis in enumerate(np.eye(len(GAPS))):

        def at(h, axis=axis):
            model = likelihood.given(tf.unstack(psi + h * axis))
            return model.log_density(1.0 * y, 1.0, eta) + model.constant(1.0 * y, 1.0)

        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        assert_allclose(found[k], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "link"),
    [
        ("laplace", "cloglog"),
        ("quadrature", "logit"),
        ("bound", "logit"),
        pytest.param("laplace", "probit", marks=pytest.mark.slow),
        pytest.param("bound", "probit", marks=pytest.mark.slow),
    ],
)
def test_gradients_are_differences_of_the_objective(method, link):
    rng = np.random.default_rng(3)
    n, codes = 120, np.repeat(np.arange(12), 10).astype(np.int32)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = rng.integers(0, 4, n).astype(float)
    design = build_design([Factor(codes, 12, 1, True)])
    work = Problem(
        design=design,
        border=design.rows(np.column_stack([x, y])),
        z=(None,),
        weight=np.ones(n),
        family=ordered(link, 4),
    )
    with generalized.open_session(work, "cpu") as run:
        data, theta = generalized.load(run), run.theta([0.6 * np.eye(1)])
        point = np.concatenate([[-0.1, 0.4], theta])
        if method == "bound":
            solve = compiled_bound(run.structure, work.family, None, False)
            args = (likelihoods.normal_nodes(31),)
        else:
            few = method == "quadrature"
            solve = compiled_laplace(run.structure, work.family, few)
            args = quadrature.product_nodes(7 if few else 1, 1)
            point = np.concatenate([[0.8, 0.1], point])

        def at(point):
            value, gradient, _ = solve(run.index, data, *args, tf.constant(point))
            return float(value), gradient.numpy()

        gradient, h = at(point)[1], 1e-4
        for i, axis in enumerate(np.eye(len(point))):
            up, down = at(point + h * axis)[0], at(point - h * axis)[0]
            assert gradient[i] == pytest.approx((up - down) / (2 * h), 1e-6, 2e-5), i


# Against others


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("logit_one", QUADRATURE),
        pytest.param("probit_crossed", "laplace", marks=pytest.mark.slow),
    ],
)
def test_fits_are_clmms(name, solver):
    ref = json.loads((ORACLES / f"ordinal_{name}.json").read_text())
    data = pd.read_csv(ORACLES / f"ordinal_{name}.csv.gz")
    groups = ["g", "h"] if "crossed" in name else ["g"]
    model = MixedOrdinalClassifier(groups, link=name.split("_")[0], solver=solver)
    model.fit(data[["x1", "x2", *groups]], data["y"])
    errors = np.array(ref["std_error"])
    assert np.abs((model.coef_ - ref["coef"]) / errors).max() < 1e-3
    assert_allclose(model.fixed_effects_["std_error"][1:], errors, rtol=1e-3)
    errors = np.array(ref["threshold_std_error"])
    assert np.abs((model.thresholds_ - ref["thresholds"]) / errors).max() < 1e-3
    assert_allclose(model.family_parameters_["std_error"], errors, rtol=1e-3)
    sd = [float(np.sqrt(model.random_effects_covariance_[g][0, 0])) for g in groups]
    assert_allclose(sd, ref["sd"], rtol=1e-4)
    assert model.log_likelihood_ == pytest.approx(ref["loglik"], abs=1e-6)
    n = len(ref["coef"]) + len(ref["thresholds"]) + len(groups)
    assert model.aic_ == pytest.approx(2 * n - 2 * ref["loglik"], abs=1e-5)


def test_wine_is_clmms(wine, fitted):
    """clmm(rating ~ temp + contact + (1 | judge), nAGQ = 25)."""
    model = fitted["quadrature"]
    table = model.family_parameters_
    assert list(table.index) == ["1|2", "2|3", "3|4", "4|5"]
    thresholds = [-1.623487455, 1.512796038, 4.227053454, 6.086152277]
    errors = [0.6833853977, 0.6044364883, 0.8089769395, 0.9719382468]
    assert_allclose(table["estimate"], thresholds, rtol=1e-4)
    assert_allclose(table["std_error"], errors, rtol=1e-3)
    assert_allclose(model.coef_, [3.061890993, 1.833433362], rtol=1e-4)
    errors = model.fixed_effects_["std_error"][1:]
    assert_allclose(errors, [0.5950756089, 0.5121709339], rtol=1e-3)
    assert model.variance_components_["std"].item() == pytest.approx(1.134783297, 1e-4)
    assert model.log_likelihood_ == pytest.approx(-81.53246071, abs=1e-6)


def test_vi_is_close_to_quadrature(fitted):
    vi, exact = fitted["vi"], fitted["quadrature"]
    sd = [model.variance_components_["std"].item() for model in (vi, exact)]
    assert sd[0] == pytest.approx(sd[1], rel=2e-3)
    assert_allclose(vi.family_parameters_, exact.family_parameters_, rtol=5e-3)
    assert_allclose(vi.coef_, exact.coef_, rtol=1e-3)
    assert vi.elbo_ < exact.log_likelihood_ < vi.elbo_ + 0.2


def test_without_groups_it_is_clm(wine):
    X, y = wine
    model = MixedOrdinalClassifier([], solver="laplace").fit(X[["warm", "contact"]], y)
    assert_allclose(model.coef_, [2.503102008, 1.527797658], rtol=1e-5)
    thresholds = [-1.344383411, 1.250808798, 3.466886926, 5.006404204]
    assert_allclose(model.thresholds_, thresholds, rtol=1e-5)
    errors = [0.5171020453, 0.4378802030, 0.5977604246, 0.7309063437]
    assert_allclose(model.family_parameters_["std_error"], errors, rtol=1e-3)
    errors = model.fixed_effects_["std_error"][1:]
    assert_allclose(errors, [0.5286801008, 0.4766226296], rtol=1e-3)
    assert model.log_likelihood_ == pytest.approx(-86.49192337, abs=1e-7)
    # predict(clm, type = "prob") for cold without and warm with contact
    two = pd.DataFrame({"warm": [0.0, 1.0], "contact": [0.0, 1.0]})
    proba = model.predict_proba(two)
    cold = [0.2067901324, 0.5706497043, 0.1922909373, 0.02361881639, 0.006650409639]
    warm = [0.004608273511, 0.05380128431, 0.3042099408, 0.3635958098, 0.2737846916]
    assert_allclose(proba, [cold, warm], rtol=1e-4)


def test_cloglog_maximises_the_integral_of_every_group(wine):
    X, y = wine
    model = MixedOrdinalClassifier("judge", link="cloglog", solver=QUADRATURE)
    model.fit(X, y)
    c = np.concatenate([[-np.inf], model.thresholds_, [np.inf]])
    sd = model.variance_components_["std"].item()
    fixed = X[["warm", "contact"]].to_numpy() @ model.coef_

    def total(shift, factor):
        def likelihood(b, here):
            eta = factor * fixed[here] + shift + sd * b
            k = y[here]
            parts = below("cloglog", c[k] - eta) - below("cloglog", c[k - 1] - eta)
            return np.prod(parts) * stats.norm.pdf(b)

        places = [np.arange(8 * j, 8 * j + 8) for j in range(9)]
        return sum(
            np.log(quad(likelihood, -8, 8, args=(here,), epsabs=0, limit=200)[0])
            for here in places
        )

    best = total(0.0, 1.0)
    assert best == pytest.approx(model.log_likelihood_, abs=1e-6)
    for other in ((0.03, 1.0), (-0.03, 1.0), (0.0, 1.02), (0.0, 0.98)):
        assert total(*other) < best


def test_two_classes_are_the_logistic_model(wine):
    X, y = wine
    ours = MixedOrdinalClassifier("judge", solver="laplace").fit(X, y > 2)
    theirs = MixedLogisticRegressor("judge", solver="laplace").fit(X, y > 2)
    assert_allclose(ours.fixed_effects_, theirs.fixed_effects_, rtol=1e-4)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    assert_allclose(ours.thresholds_, -theirs.intercept_, rtol=1e-4)
    assert ours.thresholds_.index.tolist() == ["False|True"]


# What follows from a fit


@pytest.mark.parametrize("link", LINKS)
def test_probabilities_are_integrals(link):
    family = ordered(link, 4).given(np.log([0.7, 1.5]))
    c = np.array([-np.inf, 0.0, 0.7, 2.2, np.inf])
    for mean, variance in ((0.4, 0.02), (-1.0, 0.8), (2.0, 5.0)):
        at, spread = np.array([mean]), np.array([variance])
        proba, sd = family.probabilities(at, spread)[0], np.sqrt(variance)
        for k in range(4):

            def integrand(x, k=k, mean=mean, sd=sd):
                eta = mean + sd * x
                inside = below(link, c[k + 1] - eta) - below(link, c[k] - eta)
                return inside * stats.norm.pdf(x)

            exact = quad(integrand, -12, 12, epsabs=1e-12, limit=200)[0]
            assert proba[k] == pytest.approx(exact, abs=1e-7)
        mean_class = proba @ np.arange(4)
        assert family.integrated_mean(at, spread)[0] == pytest.approx(mean_class)
        square = proba @ np.arange(4) ** 2 - mean_class**2
        assert family.variance(at, spread, None)[0] == pytest.approx(square)
        upto = np.cumsum(proba)
        for p in (0.05, 0.5, 0.9):
            found = family.quantile(p, at, spread, None)[0]
            assert found == np.searchsorted(upto, p)


def test_predictions_agree_with_each_other(wine, fitted):
    X, y = wine
    model, rows = fitted["vi"], X.iloc[[0, 5, 30, 71]]
    proba = model.predict_proba(rows)
    assert_allclose(proba.sum(axis=1), 1.0)
    assert_allclose(np.exp(model.predict_log_proba(rows)), proba)
    assert (model.predict(rows) == proba.argmax(axis=1) + 1).all()
    assert_allclose(model.predict_score(rows), proba @ [1, 2, 3, 4, 5])
    assert model.score(X, y) == (model.predict(X) == y).mean()
    draws = model.sample_y(rows, 20_000, random_state=0)
    share = (draws[:, :, None] == model.classes_).mean(axis=1)
    assert_allclose(share, proba, atol=0.03)
    low, high = model.predict_interval(rows, 0.8).T
    for a, b, p in zip(low - 1, high - 1, share, strict=True):
        assert p[: a + 1].sum() > 0.09
        assert p[:b].sum() < 0.91
        assert p[a : b + 1].sum() > 0.79
    low, high = model.predict_interval(rows, 0.8, of="mean").T
    score = model.predict_score(rows)
    assert ((low < score) & (score < high)).all()


def test_a_saved_model_predicts_as_before(wine, fitted):
    model, rows = fitted["vi"], wine[0].iloc[:5]
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_proba(rows), model.predict_proba(rows), rtol=1e-14)
    assert "ordered response, logit link" in str(again.summary())
    assert "1 < 2 < 3 < 4 < 5" in str(again.summary())


def test_updated_effects_are_those_that_a_fit_would_give(wine, fitted):
    X, y = wine
    here, model = X["judge"] == 4, fitted["vi"]
    updated = model.update_random_effects(X[here].assign(judge=99), y[here])
    effects = updated.random_effects_["judge"]["Intercept"]
    assert effects.loc[99] == pytest.approx(effects.loc[4], abs=2e-3)


def test_odds_ratios_and_residuals(wine, fitted):
    X, y = wine
    model = fitted["quadrature"]
    table = inference.coefficients(model, X, y, exponentiate=True)
    assert table.loc["warm", "estimate"] == pytest.approx(np.exp(3.061890993), 1e-3)
    scores = inference.residuals(model, X, y, kind="quantile", random_state=0)
    assert stats.kstest(scores, "norm").pvalue > 0.05
    with pytest.raises(ValueError, match="no deviance of a mean: use kind='quantile'"):
        inference.residuals(model, X, y, kind="deviance")


def test_means_of_classes_are_those_of_emmeans(wine):
    """emmeans(clm(rating ~ temp + contact, wine), ~temp, mode = "mean.class")."""
    X, y = wine
    X = X.assign(contact=np.where(X["contact"] > 0, "yes", "no")).drop(columns="judge")
    model = MixedOrdinalClassifier([]).fit(X, y)
    table = inference.marginal_means(model, X, y, {"warm": [0.0, 1.0]})
    assert_allclose(table["estimate"], [2.361813278, 3.478352133], rtol=1e-5)


def test_means_of_classes_are_integrals_with_intervals(wine, fitted):
    X, y = wine
    model = fitted["quadrature"]
    std = model.variance_components_["std"].item()
    gaps = model.thresholds_.to_numpy() - model.thresholds_.iloc[0]
    contact = X["contact"].mean()

    def mean(fixed, warm):
        eta = fixed[0] + warm * fixed[1] + contact * fixed[2]

        def above(b, c):
            return expit(eta + b - c) * stats.norm.pdf(b, 0.0, std)

        return 1.0 + sum(quad(above, -9, 9, args=(c,))[0] for c in gaps)

    fixed = model.fixed_effects_["estimate"].to_numpy()
    table = inference.marginal_means(model, X, y, {"warm": [0.0, 1.0]})
    for warm, row in table.iterrows():
        assert row["estimate"] == pytest.approx(mean(fixed, warm), rel=1e-5)
        slopes = [
            (mean(fixed + step, warm) - mean(fixed - step, warm)) / 2e-4
            for step in 1e-4 * np.eye(3)
        ]
        error = np.sqrt(slopes @ model.fixed_effects_covariance_.to_numpy() @ slopes)
        assert row["std_error"] == pytest.approx(error, rel=1e-4)
        half = stats.norm.ppf(0.975) * row["std_error"]
        assert row["upper"] == pytest.approx(row["estimate"] + half)


def test_displays_and_checks_show_every_class(wine, fitted):
    X, y = wine
    model = fitted["vi"]
    check = inspection.PredictiveCheckDisplay.from_estimator(
        model, X, y, n_samples=20, random_state=0
    )
    assert_allclose([bar.get_height() for bar in check.ax_.patches], np.bincount(y)[1:])
    assert [t.get_text() for t in check.ax_.get_xticklabels()] == list("12345")
    assert set(np.unique(check.simulated)) <= set(range(5))
    curves = inspection.EffectsDisplay.from_estimator(model, X, "warm", levels=[])
    line = curves.ax_.lines[0].get_ydata()
    proba = model.predict_proba(
        pd.DataFrame({"warm": [0.0, 1.0], "contact": 0.5, "judge": 99})
    )
    assert_allclose(line, proba @ np.arange(1, 6), rtol=1e-6)
    table = inference.diagnostics(model, X, y, random_state=0)
    assert "zeros" not in table.index and table.loc["dispersion", "p_value"] > 0.05


@pytest.mark.slow
def test_profiles_and_ratios_of_likelihoods(wine, fitted):
    """The likelihood at the ends of an interval is 1.92 below the maximum."""
    X, y = wine
    model = fitted["quadrature"]
    table = inference.confidence_intervals(model, X, y, method="profile")
    end = table.loc[("fixed", "warm"), "upper"]
    held = MixedOrdinalClassifier("judge", offset="o", solver=QUADRATURE)
    held.fit(X.drop(columns="warm").assign(o=end * X["warm"]), y)
    drop = model.log_likelihood_ - held.log_likelihood_
    assert drop == pytest.approx(stats.chi2(1).ppf(0.95) / 2, abs=1e-3)
    small = MixedOrdinalClassifier(
        "judge", fixed_effects=["contact"], solver=QUADRATURE
    ).fit(X, y)
    tested = inference.compare([small, model], X, y)
    ratio = 2 * (model.log_likelihood_ - small.log_likelihood_)
    assert tested["chi2"].iloc[-1] == pytest.approx(ratio)


# Classes and their order

WORDS = np.array(["", "bad", "poor", "fair", "good", "fine"])


def test_the_order_is_the_one_given(wine, fitted):
    X, y = wine
    same = fitted["vi"].thresholds_.to_numpy()
    words = WORDS[y]
    listed = MixedOrdinalClassifier("judge", classes=WORDS[1:]).fit(X, words)
    assert listed.classes_.tolist() == WORDS[1:].tolist()
    assert_allclose(listed.thresholds_, same, rtol=1e-6)
    assert listed.predict(X[:2])[0] in WORDS
    column = pd.Series(pd.Categorical(words, WORDS[1:], ordered=True))
    found = MixedOrdinalClassifier("judge").fit(X, column)
    assert found.classes_.tolist() == WORDS[1:].tolist()
    assert found.score(X, column) == fitted["vi"].score(X, y)
    assert_allclose(found.predict_score(X), fitted["vi"].predict_score(X) - 1, 1e-6)
    turned = MixedOrdinalClassifier("judge", classes=[5, 4, 3, 2, 1]).fit(X, y)
    assert_allclose(turned.thresholds_, -same[::-1], rtol=1e-4)
    assert_allclose(turned.coef_, -fitted["vi"].coef_, rtol=1e-4)


def test_an_order_of_letters_is_told(wine):
    X, y = wine
    with pytest.warns(UserWarning, match="sorted, bad < fair < fine < .* classes="):
        MixedOrdinalClassifier([]).fit(X, WORDS[y])
    column = pd.Categorical(WORDS[y], [*WORDS[1:4], "odd", *WORDS[4:]], ordered=True)
    with pytest.warns(UserWarning, match=r"No row has the class \['odd'\]"):
        model = MixedOrdinalClassifier([]).fit(X, column)
    assert model.classes_.tolist() == WORDS[1:].tolist()


def test_impossible_classes_are_refused(wine):
    X, y = wine
    with pytest.raises(ValueError, match="class 1 in row 8, and classes= lists"):
        MixedOrdinalClassifier("judge", classes=[5, 4, 3, 2]).fit(X, y)
    with pytest.raises(ValueError, match="names 2 twice"):
        MixedOrdinalClassifier("judge", classes=[5, 4, 3, 2, 2]).fit(X, y)
    with pytest.raises(ValueError, match=r"one class only \(3\)"):
        MixedOrdinalClassifier("judge").fit(X, 0 * y + 3)
    with pytest.raises(ValueError, match="class 1 have the weight zero"):
        MixedOrdinalClassifier("judge").fit(X, y, sample_weight=y > 1)
    with pytest.raises(ValueError, match="has thresholds to be estimated .* 'laplace'"):
        MixedOrdinalClassifier("judge", solver="mcem").fit(X, y)


def test_a_formula_and_the_encoder_know_them(wine, fitted):
    X, y = wine
    data = X.assign(rating=pd.Categorical(y, ordered=True))
    text = "rating ~ warm + contact + (1 | judge)"
    model = from_formula(text, data, family="ordinal")
    assert_allclose(model.coef_, fitted["vi"].coef_, rtol=1e-6)
    with pytest.raises(ValueError, match="takes the intercept out, and thresholds"):
        from_formula(text.replace("~", "~ 0 +"), data, family="ordinal")
    encoder = GroupEffectEncoder("judge", std=False)
    encoded = encoder.fit(X, data["rating"]).transform(X)
    assert encoder.target_type_ == "ordinal"
    effects = fitted["vi"].random_effects_["judge"]["Intercept"]
    assert_allclose(encoded[:, 0], effects[X["judge"]], rtol=1e-5)


def test_missing_values_are_drawn_with_the_thresholds():
    """Estimates are within what the lost information allows, of those of all values."""
    rng = np.random.default_rng(0)
    g, x = rng.integers(0, 40, 1500), rng.normal(size=(1500, 2))
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    latent = x @ [1.0, 0.5] + 0.8 * rng.normal(size=40)[g] + rng.logistic(size=1500)
    X = pd.DataFrame(x, columns=["x", "z"]).assign(g=g)
    y = np.digitize(latent, [-2.0, 0.0, 1.5])
    full = MixedOrdinalClassifier("g").fit(X, y)
    X.loc[rng.random(1500) < 0.25, "z"] = np.nan
    model = MixedOrdinalClassifier("g", missing="model", random_state=0).fit(X, y)
    for name in ("fixed_effects_", "family_parameters_"):
        ours, theirs = getattr(model, name), getattr(full, name)
        away = (ours["estimate"] - theirs["estimate"]) / ours["std_error"]
        assert np.abs(away).max() < 1.0
        ratio = ours["std_error"] / theirs["std_error"]
        assert ((ratio > 0.98) & (ratio < 1.3)).all()


@pytest.mark.slow
def test_a_regressor_as_fixed_part_finds_what_columns_do(wine):
    X, y = wine
    model = MixedOrdinalClassifier(
        "judge", fixed_effects=LinearRegression(), random_state=0
    ).fit(X, y)
    columns = MixedOrdinalClassifier("judge").fit(X, y)
    away = model.predict_proba(X) - columns.predict_proba(X)
    assert np.abs(away).max() < 0.1


# scikit-learn and size


@pytest.mark.slow
@parametrize_with_checks([MixedOrdinalClassifier(), MixedOrdinalClassifier(groups=0)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_ratings_of_lecturers_are_calibrated():
    """73,421 ratings, students, lecturers and departments: rows that were held out."""
    X, y = load_insteval(return_X_y=True, as_frame=True)
    out = np.random.default_rng(0).random(len(y)) < 0.1
    model = MixedOrdinalClassifier(["s", "d", "dept"], fixed_effects=["service"])
    model.fit(X[~out], y[~out])
    assert model.converged_
    proba, seen = model.predict_proba(X[out]), np.asarray(y)[out]
    for k, rating in enumerate(model.classes_):
        is_it, p = seen == rating, proba[:, k]
        error = np.sqrt(np.sum(p * (1 - p))) / len(p)
        assert abs(p.mean() - is_it.mean()) < 3 * error
        for part in np.array_split(np.argsort(p), 5):
            spread = np.sqrt(np.sum(p[part] * (1 - p[part]))) / len(part)
            assert abs(p[part].mean() - is_it[part].mean()) < 4 * spread
