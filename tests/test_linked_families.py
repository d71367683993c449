"""Families of every response against SciPy's distributions and integrals."""

import numpy as np
import pytest
import tensorflow as tf
from linked_families import FAMILIES, TRIALS, family_of, is_count
from numpy.testing import assert_allclose
from scipy import stats

from skglmm._families.chosen import NAMES, chosen
from skglmm.engine.likelihoods import normal_nodes

KEYS = list(FAMILIES)
IDS = ["-".join(map(str, key)) for key in KEYS]
every_family = pytest.mark.parametrize("key", KEYS, ids=IDS)


def responses(family):
    if family.is_bounded:
        return np.arange(TRIALS + 1.0)
    if is_count(family):
        return np.array([0.0, 1.0, 2.0, 7.0, 40.0])
    if family.links[0] == "identity":
        return np.array([-30.0, -1.0, 0.5, 3.0])
    found = np.array([1e-3, 0.2, 0.7, 0.97])
    if family.links[0] == "log":
        found = np.r_[0.0, found, 3.0, 20.0] if family.name == "tweedie" else 3 * found
    return found


def predictors(key):
    if key[1] in ("identity", "inverse") and key[0] not in ("student_t",):
        return np.array([0.1, 0.5, 2.0, 6.0])
    if key[1] == "cloglog":
        return np.array([-4.0, 1.5, -1.0, -2.0])
    return np.array([-4.0, 1.5, -1.0, 0.3])


def tensors(*values):
    return [
        tf.constant(np.broadcast_to(v, values[0].shape), tf.float64) for v in values
    ]


def pairs(key):
    family, dist = family_of(key)
    y, eta = (g.ravel() for g in np.meshgrid(responses(family), predictors(key)))
    likelihood = family.likelihood()
    if family.parameter_names:
        likelihood = likelihood.given([tf.constant(p) for p in family.parameters])
    return family, dist, likelihood, y, eta


@every_family
def test_log_densities_are_scipys(key):
    family, dist, likelihood, y, eta = pairs(key)
    theirs = dist(eta)
    log = theirs.logpmf if hasattr(theirs, "logpmf") else theirs.logpdf
    Y, T, E = tensors(y, TRIALS, eta)
    found = likelihood.log_density(Y, T, E) + likelihood.constant(Y, T)
    assert_allclose(found, log(y), rtol=1e-9, atol=1e-9)


@every_family
def test_derivatives_are_those_of_the_density(key):
    _, _, likelihood, y, eta = pairs(key)
    Y, T, E = tensors(y, TRIALS, eta)
    with tf.GradientTape() as second:
        second.watch(E)
        with tf.GradientTape() as first:
            first.watch(E)
            density = likelihood.log_density(Y, T, E) + 0.0 * E**4
        by_tape = [first.gradient(density, E)]
    by_tape.append(second.gradient(by_tape[0], E))
    ours = likelihood.derivatives(Y, T, E)
    assert_allclose(ours[0], by_tape[0], rtol=1e-7, atol=1e-9)
    assert_allclose(ours[1], -by_tape[1], rtol=1e-6, atol=1e-8)
    h = 1e-5

    def weight(at):
        return likelihood.derivatives(Y, T, at)[1].numpy()

    slope = (weight(E + h) - weight(E - h)) / (2 * h)
    assert_allclose(ours[2], slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max())


@every_family
def test_what_is_not_concave_has_a_majorant(key):
    _, _, likelihood, y, eta = pairs(key)
    Y, T, E = tensors(y, TRIALS, eta)
    weight = likelihood.derivatives(Y, T, E)[1].numpy()
    if likelihood.is_concave:
        assert (weight >= 0).all()
    else:
        assert (likelihood.majorant(Y, T, E).numpy() >= -1e-12).all()


@every_family
def test_expectations_are_those_of_200_nodes(key):
    family, _, likelihood, y, eta = pairs(key)
    if not getattr(family, "is_everywhere", True):
        pytest.skip("a normal predictor has values without a mean")
    few = likelihood.expected(*tensors(y, TRIALS, eta, 0.2), normal_nodes(33))
    x, w = np.polynomial.hermite_e.hermegauss(200)
    at = tensors(eta + np.sqrt(0.2) * x[:, None], y, TRIALS)
    parts = likelihood.density_and_derivatives(at[1], at[2], at[0])
    total = [np.tensordot(w / w.sum(), part, 1) for part in parts]
    for found, theirs in zip(few, total, strict=True):
        assert_allclose(found, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())


# For prediction

AT = {"wide": 1.0, "narrow": 0.01}


def integral(function, eta, variance):
    if not variance:
        return function(eta)
    sd = np.sqrt(variance)
    points = eta + sd * np.linspace(-9, 9, 801)
    weight = stats.norm.pdf(points, eta, sd)
    if np.min(points) < 0 and not np.isfinite(function(np.array([-1.0]))).all():
        pytest.skip("a normal predictor has values without a mean")
    return np.sum(function(points) * weight) / weight.sum()


def at(key, variance):
    family, dist = family_of(key)
    eta = predictors(key)[-2:]
    if not getattr(family, "is_everywhere", True):
        variance, eta = min(variance, 1e-3), eta + 2.0
    size = np.full(2, float(TRIALS)) if family.is_bounded else None
    return family, dist, eta, np.full(2, variance), size


@every_family
@pytest.mark.parametrize("variance", AT.values(), ids=AT)
def test_moments_are_integrals(key, variance):
    family, dist, eta, spread, size = at(key, variance)
    unit = TRIALS if family.is_bounded else 1.0
    mean = family.integrated_mean(eta, spread)
    var = family.variance(eta, spread, size)
    for i in range(2):
        first = integral(lambda e: dist(e).mean() / unit, eta[i], spread[i])
        second = integral(
            lambda e: (dist(e).var() + dist(e).mean() ** 2) / unit**2, eta[i], spread[i]
        )
        assert mean[i] == pytest.approx(first, rel=1e-6)
        assert var[i] == pytest.approx(second - first**2, rel=1e-5)


@every_family
@pytest.mark.parametrize("variance", AT.values(), ids=AT)
def test_quantiles_are_those_of_the_mixture(key, variance):
    family, dist, eta, spread, size = at(key, variance)
    unit = TRIALS if family.is_bounded else 1.0
    for probability in (0.05, 0.975):
        found = unit * family.quantile(probability, eta, spread, size)
        for i in range(2):
            upto = integral(lambda e, q=found[i]: dist(e).cdf(q), eta[i], spread[i])
            if is_count(family) or found[i] == 0:
                below = integral(
                    lambda e, q=found[i]: dist(e).cdf(q - 1), eta[i], spread[i]
                )
                assert below - 1e-7 <= probability <= upto + 1e-7
            else:
                assert upto == pytest.approx(probability, abs=2e-7)


@every_family
def test_samples_have_these_moments_and_are_ranked_evenly(key):
    family, _, eta, spread, size = at(key, 0.0)
    random = np.random.RandomState(0)
    n = 40_000
    many = np.repeat(eta[:1], n)
    of = None if size is None else np.repeat(size[:1], n)
    drawn = family.sample(many, of, random)
    mean, var = drawn.mean(), family.variance(eta, spread, size)[0]
    expected = family.integrated_mean(eta, spread)[0]
    assert abs(mean - expected) < 5 * np.sqrt(var / n)
    few = slice(0, 3000)
    scores = family.normal_scores(
        drawn[few], many[few], 0 * many[few], None if of is None else of[few], random
    )
    assert stats.kstest(scores, "norm").pvalue > 1e-3


@every_family
def test_deviances_are_zero_at_the_best_mean_and_positive_beside(key):
    family, dist = family_of(key)
    y = responses(family)
    trials = np.full(len(y), float(TRIALS))
    mean = np.full(len(y), 0.4)
    found = family.deviance(y, mean, trials)
    assert np.isfinite(found).all()
    assert (found >= -1e-9).all()


def test_the_message_lists_what_goes_together():
    with pytest.raises(ValueError, match="'log', 'identity' and 'inverse'"):
        chosen("gamma", "logit")
    with pytest.raises(ValueError, match="'negative_binomial', .* and 'poisson'"):
        chosen("gamma", None, True)
    for name in NAMES:
        assert chosen(name) is chosen(name)
