"""What a family knows: its likelihood, derivatives, expectations and predictions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, log_expit
from sklearn.metrics import log_loss, mean_poisson_deviance, r2_score

from skglmm._families import FAMILIES
from skglmm._families.base import explained_deviance
from skglmm.engine import likelihoods, quadrature

GENERALISED = ["poisson", "binomial"]
ETA = np.linspace(-6.0, 6.0, 49)


def likelihood(family):
    return FAMILIES[family].likelihood()


def rows(family, n):
    """Responses of all kinds, zeros and (of the trials) all among them."""
    trials = 1.0 + np.arange(n) % 7
    y = np.arange(n) % 12 if family == "poisson" else np.arange(n) % (trials + 1)
    return y.astype(float), trials


def numpy(tensors):
    return [tensor.numpy() for tensor in tensors]


def expectation(fun, mean, variance):
    """E[fun(eta)] for eta ~ N(mean, variance), by adaptive integration."""
    sd = np.sqrt(variance)
    return quad(
        lambda x: fun(mean + sd * x) * stats.norm.pdf(x),
        -12,
        12,
        epsabs=1e-12,
        limit=400,
    )[0]


# The likelihood of a row


@pytest.mark.parametrize("family", GENERALISED)
def test_density_and_constant_add_up_to_the_log_probability(family):
    y, trials = rows(family, len(ETA))
    model = likelihood(family)
    ours = model.log_density(y, trials, ETA) + model.constant(y, trials)
    if family == "poisson":
        theirs = stats.poisson.logpmf(y, np.exp(ETA))
    else:
        theirs = stats.binom.logpmf(y, trials, expit(ETA))
    assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", GENERALISED)
def test_derivatives_are_slopes_of_each_other(family):
    y, trials = rows(family, len(ETA))
    model, h = likelihood(family), 1e-5

    def at(eta):
        density = model.log_density(y, trials, eta)
        return [density.numpy(), *numpy(model.derivatives(y, trials, eta))]

    forward, back, here = at(ETA + h), at(ETA - h), at(ETA)
    # score = l', weight = -score', slope of the weight
    for k, sign in ((0, 1), (1, -1), (2, 1)):
        slope = sign * (forward[k] - back[k]) / (2 * h)
        assert_allclose(here[k + 1], slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("family", GENERALISED)
def test_what_is_computed_together_is_what_is_computed_apart(family):
    y, trials = rows(family, len(ETA))
    model = likelihood(family)
    density, score, weight = model.density_and_derivatives(y, trials, ETA)
    assert_allclose(density, model.log_density(y, trials, ETA), rtol=1e-13)
    apart = model.derivatives(y, trials, ETA)
    assert_allclose(score, apart[0], rtol=1e-12, atol=1e-14)
    assert_allclose(weight, apart[1], rtol=1e-12)


def test_a_logit_does_not_overflow():
    model, eta = likelihood("binomial"), np.array([-800.0, -40.0, 40.0, 800.0])
    for y in (0.0, 1.0):
        density, score, weight = model.density_and_derivatives(y, 1.0, eta)
        assert_allclose(density, log_expit(eta if y else -eta), atol=1e-14)
        assert_allclose(score, y - expit(eta), rtol=1e-14, atol=1e-15)
        assert_allclose(weight, expit(eta) * expit(-eta), rtol=1e-13)


@pytest.mark.parametrize("family", GENERALISED)
def test_the_start_is_finite_for_a_row_of_nothing_and_increases_with_y(family):
    trials = np.full(6, 5.0)
    start = likelihood(family).start(np.arange(6.0), trials).numpy()
    assert np.isfinite(start).all()
    assert (np.diff(start) > 0).all()


# Means under a Gaussian


def expected(family, y, trials, mean, variance, n_nodes):
    args = np.broadcast_arrays(y, trials, mean, variance)
    args = [np.array(a, dtype=float) for a in args]
    return numpy(likelihood(family).expected(*args, likelihoods.normal_nodes(n_nodes)))


def test_poisson_means_have_a_closed_form_that_is_the_integral():
    mean, variance = np.array([-2.0, 0.0, 1.5]), np.array([0.3, 2.0, 1.0])
    y = np.array([0.0, 3.0, 2.0])
    density, score, weight = expected("poisson", y, 1.0, mean, variance, 1)
    for i in range(3):
        args = mean[i], variance[i]
        rate = expectation(np.exp, *args)
        assert weight[i] == pytest.approx(rate, rel=1e-9)
        assert score[i] == pytest.approx(y[i] - rate, rel=1e-9)
        inside = expectation(lambda e, y=y[i]: y * e - np.exp(e), *args)
        assert density[i] == pytest.approx(inside, rel=1e-9)


@pytest.mark.parametrize(
    ("variance", "n_nodes", "error"),
    # What "auto" takes up to each variance. The errors are those of l; they were
    # measured and are what the documentation of the nodes may promise.
    [(1.0, 9, 4e-7), (4.0, 15, 1.2e-5), (16.0, 33, 8e-5), (64.0, 63, 7e-4)],
)
def test_binomial_means_have_the_known_error_of_quadrature(variance, n_nodes, error):
    mean = np.linspace(-8, 8, 17)
    density, score, weight = expected("binomial", 1.0, 1.0, mean, variance, n_nodes)

    def all_of(fun):
        return np.array([expectation(fun, m, variance) for m in mean])

    assert np.abs(density - all_of(log_expit)).max() < error
    assert np.abs(score - 1 + all_of(expit)).max() < 4 * error
    assert np.abs(weight - all_of(lambda e: expit(e) * expit(-e))).max() < 15 * error


def test_binomial_means_scale_with_the_trials():
    one = expected("binomial", 1.0, 1.0, ETA, 0.7, 15)
    seven = expected("binomial", 3.0, 7.0, ETA, 0.7, 15)
    assert_allclose(seven[2], 7 * one[2], rtol=1e-13)
    assert_allclose(3 - seven[1], 7 * (1 - one[1]), rtol=1e-12)
    assert_allclose(3 * ETA - seven[0], 7 * (ETA - one[0]), rtol=1e-12)


def test_without_variance_a_mean_is_the_value():
    y, trials = rows("binomial", len(ETA))
    ours = expected("binomial", y, trials, ETA, 0.0, 9)
    model = likelihood("binomial")
    for a, b in zip(ours, model.density_and_derivatives(y, trials, ETA), strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 9, 33, 63])
def test_nodes_integrate_polynomials_of_a_normal_variable(n):
    x, w = likelihoods.normal_nodes(n).numpy()
    assert np.sum(w) == pytest.approx(1, abs=1e-13)
    assert np.sum(w > 0) <= n
    for power in range(1, min(2 * n, 8)):
        assert np.sum(w * x**power) == pytest.approx(stats.norm.moment(power), abs=1e-9)


def test_a_grid_of_nodes_integrates_products():
    x, log_weight = (part.numpy() for part in quadrature.product_nodes(4, 3))
    assert x.shape == (3, 64)
    w = np.exp(log_weight)
    assert_allclose(x * w @ x.T, np.eye(3), atol=1e-12)
    assert np.sum(w * x[0] ** 4 * x[1] ** 2) == pytest.approx(3)


# Predictions


def test_the_mean_of_a_poisson_variable_is_that_of_a_lognormal_rate():
    eta, variance = np.array([-1.0, 0.0, 2.0]), np.array([0.1, 1.0, 0.5])
    mean = FAMILIES["poisson"].integrated_mean(eta, variance)
    assert_allclose(mean, stats.lognorm(np.sqrt(variance), scale=np.exp(eta)).mean())


@pytest.mark.parametrize(
    ("variance", "error"),
    [(0.0, 0), (1.0, 1e-9), (2.0, 1e-8), (2.5, 1e-8), (16.0, 1e-8), (64.0, 1e-8)],
)
def test_an_integrated_probability_is_the_integral(variance, error):
    eta = np.linspace(-8, 8, 17)
    ours = FAMILIES["binomial"].integrated_mean(eta, np.full(17, variance))
    theirs = [expectation(expit, e, variance) for e in eta]
    assert np.abs(ours - theirs).max() <= error + 1e-11
    assert (np.diff(ours) > 0).all()
    assert_allclose(ours + ours[::-1], 1.0, rtol=1e-13)


def test_deviances_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.1, 4.0, 50)
    y = rng.poisson(mean).astype(float)
    ours = FAMILIES["poisson"].deviance(y, mean, np.ones(50))
    assert np.mean(ours) == pytest.approx(mean_poisson_deviance(y, mean))
    p = rng.uniform(0.05, 0.95, 50)
    y = rng.binomial(1, p).astype(float)
    ours = FAMILIES["binomial"].deviance(y, p, np.ones(50))
    assert np.mean(ours) == pytest.approx(2 * log_loss(y, p))


def test_the_deviance_of_proportions_is_a_ratio_of_likelihoods():
    y, trials = np.array([0.0, 3.0, 7.0]), np.array([4.0, 5.0, 7.0])
    p = np.array([0.2, 0.5, 0.8])
    saturated = stats.binom.logpmf(y, trials, y / trials)
    ratio = 2 * (saturated - stats.binom.logpmf(y, trials, p))
    assert_allclose(FAMILIES["binomial"].deviance(y, p, trials), ratio, atol=1e-12)


def test_a_score_where_nothing_is_to_be_explained_is_one_or_zero():
    """As `sklearn.metrics.r2_score` of a constant target."""
    none, one = np.zeros(4), np.ones(4)
    for name, y, wrong in (
        ("poisson", none, 0.1 * one),
        ("binomial", none, 0.1 * one),
        ("binomial", one, 0.9 * one),
    ):
        for mean, score in ((y, r2_score(y, y)), (wrong, r2_score(y, wrong))):
            found = explained_deviance(FAMILIES[name], y, mean, one, None)
            assert found == score


def test_predictions_at_the_edge_of_their_range_have_a_deviance():
    y, p = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.5, 1.0])
    found = FAMILIES["binomial"].deviance(y, p, np.ones(4))
    assert_allclose(found[:3], [0.0, 0.0, 2 * np.log(2)], rtol=1e-14)
    assert 50 < found[3] < np.inf
    found = FAMILIES["poisson"].deviance(y, np.array([0.0, 0.0, np.inf, np.inf]), y)
    assert_allclose(found, [0.0, np.inf, np.inf, np.inf])


def test_a_mean_count_beyond_all_numbers_is_infinite_without_a_word():
    mean = FAMILIES["poisson"].integrated_mean(np.array([800.0, 0.0]), np.zeros(2))
    assert_allclose(mean, [np.inf, 1.0])
