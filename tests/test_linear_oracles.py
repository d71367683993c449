"""lme4's answers to linear problems, with the tolerances that a user may rely on."""

import functools
import warnings

import dense
import numpy as np
import oracle_problems as oracles
import pytest

from skglmm import MixedLinearRegressor

LINEAR = ("reml", "ml")


@functools.cache
def fitted(name, method, folder=oracles.ORACLES, solver="vi"):
    """Answer, data, model and the warnings of its fit, computed once a session."""
    ref, data = oracles.load(name, method, folder)
    model = MixedLinearRegressor(
        reml=method == "reml", solver=solver, **oracles.estimator_parameters(ref)
    )
    weight = data["weight"] if ref["has_weight"] else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data[oracles.model_columns(ref)], data["y"], weight)
    return ref, data, model, [str(warning.message) for warning in caught]


def is_singular(ref):
    return bool(ref.get("singular"))


def content(ref):
    """Whether lme4 had nothing to complain about, so that all its numbers are right."""
    return not (is_singular(ref) or ref.get("warnings") or ref.get("conv"))


def rms(ref, data, group):
    """Root mean square of the columns of a group's effects."""
    effects = [e for t in ref["terms"] if t["group"] == group for e in t["effects"]]
    weight = data["weight"] if ref["has_weight"] else np.ones(len(data))
    return np.array(
        [
            1.0 if e == "1" else np.sqrt(np.average(data[e] ** 2, weights=weight))
            for e in effects
        ]
    )


def check_log_likelihood(ref, model):
    difference = model.log_likelihood_ - ref["loglik"]
    assert difference >= -0.001
    if content(ref):
        assert difference <= 0.5


def check_against_dense(ref, data, model):
    """The log-likelihood is what the textbook says of the model's own variances."""
    T = []
    for covariance in model.random_effects_covariance_.values():
        values, axes = np.linalg.eigh(covariance / model.noise_variance_)
        T.append(axes * np.sqrt(np.maximum(values, 0.0)))
    columns = list(ref["columns"].values())
    X = np.column_stack([np.ones(len(data)), data[columns]])
    unit = np.linalg.norm(X, axis=0)
    codes, z = [], []
    for group in model.random_effects_:
        codes.append(np.unique(data[group], return_inverse=True)[1])
        effects = [e for t in ref["terms"] if t["group"] == group for e in t["effects"]]
        z.append(
            np.column_stack(
                [np.ones(len(data)) if e == "1" else data[e] for e in effects]
            )
        )
    rows = np.ones(len(data), int)
    problem = dense.Problem(X / unit, data["y"].to_numpy(), codes, z, rows)
    book = dense.solve(problem, T, model.reml)["objective"]
    if model.reml:
        book += 2 * np.log(unit).sum()
    assert model.log_likelihood_ == pytest.approx(-book / 2, abs=1e-5)


def check_criteria(ref, model):
    """Both count the same parameters and rows."""
    difference = model.log_likelihood_ - ref["loglik"]
    assert model.aic_ - ref["aic"] == pytest.approx(-2 * difference, abs=1e-6)
    assert model.bic_ - ref["bic"] == pytest.approx(-2 * difference, abs=1e-6)


def check_fixed_effects(ref, model):
    ours, theirs = model.fixed_effects_, oracles.fixed_effects(ref)
    assert list(ours.index) == list(theirs.index)
    off = (ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
    assert np.abs(off).max() < 0.002
    np.testing.assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.005)


def check_variances(ref, data, model):
    sigma = ref["sigma"]
    assert np.sqrt(model.noise_variance_) == pytest.approx(sigma, rel=0.0005)
    stored = oracles.random_effects_covariance(ref)
    scale = {group: rms(ref, data, group) for group in stored}
    sd = {group: np.sqrt(np.diag(cov)) * scale[group] for group, cov in stored.items()}
    largest = max([sigma, *np.concatenate(list(sd.values()))])
    for group, covariance in stored.items():
        ours = model.random_effects_covariance_[group]
        off = np.sqrt(np.diag(ours)) * scale[group] - sd[group]
        assert np.abs(off).max() < 0.002 * largest
        off = (ours - covariance) * np.outer(scale[group], scale[group])
        assert np.abs(off).max() < 0.004 * largest**2


def check_posterior(ref, model):
    """Means and variances where R stores them, that is, for the smaller problems."""
    for group, (modes, covariances) in oracles.random_effects(ref).items():
        ours = model.random_effects_[group].loc[modes.index, modes.columns]
        std = model.random_effects_std_[group].loc[modes.index, modes.columns]
        if is_singular(ref):
            # The posterior has no width along a direction of zero variance, where
            # lme4 stops at a variance of about 1e-10: the residual is the yardstick.
            tolerance = 0.001 * ref["sigma"]
            assert np.abs(ours - modes).to_numpy().max() < tolerance
            continue
        theirs = std**2
        if covariances is not None:
            theirs = np.diagonal(covariances, 0, 1, 2)
            np.testing.assert_allclose(std**2, theirs, rtol=0.01)
        assert (np.abs(ours - modes) / np.sqrt(theirs)).to_numpy().max() < 0.001


@pytest.mark.parametrize(("name", "method"), oracles.problems(LINEAR))
def test_the_answer_is_that_of_lme4(name, method):
    ref, data, model, messages = fitted(name, method)
    assert model.converged_
    assert model.singular_ == is_singular(ref)
    assert len(messages) == is_singular(ref)
    check_log_likelihood(ref, model)
    check_criteria(ref, model)
    check_fixed_effects(ref, model)
    check_variances(ref, data, model)
    check_posterior(ref, model)


@pytest.mark.parametrize("name", ["radon_slopes", "nested_within_crossed"])
def test_rows_that_are_summed_up_in_chunks_give_the_answer_of_lme4(name, monkeypatch):
    from skglmm.engine import session

    monkeypatch.setattr(session, "_CHUNK_BYTES", 0)
    monkeypatch.setattr(session, "_LEAST_CHUNK", 300)
    ref, data, model, _ = fitted.__wrapped__(name, "reml")
    check_log_likelihood(ref, model)
    check_fixed_effects(ref, model)
    check_variances(ref, data, model)
    check_posterior(ref, model)


def small(pair):
    return oracles.load(*pair)[0]["nobs"] < 5000


@pytest.mark.parametrize(
    ("name", "method"), [pair for pair in oracles.problems(LINEAR) if small(pair)]
)
def test_for_a_linear_model_both_solvers_are_exact_and_agree_to_the_last_digit(
    name, method
):
    vi, laplace = (fitted(name, method, solver=s)[2] for s in ("vi", "laplace"))
    assert laplace.log_likelihood_ == vi.log_likelihood_ == vi.elbo_
    assert laplace.noise_variance_ == vi.noise_variance_
    assert laplace.fixed_effects_.equals(vi.fixed_effects_)
    for group, effects in vi.random_effects_.items():
        assert laplace.random_effects_[group].equals(effects)


def corpus():
    folder = oracles.corpus_folder()
    if folder is None:
        reason = "the corpus of redistribution-restricted data sets is not here"
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=reason))]
    return oracles.problems(LINEAR, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), corpus())
def test_the_larger_corpus_has_lme4s_answers(name, method):
    ref, data, model, _ = fitted(name, method, oracles.corpus_folder())
    check_log_likelihood(ref, model)
    if content(ref):
        assert model.converged_
        check_fixed_effects(ref, model)
        check_variances(ref, data, model)
        check_posterior(ref, model)
    elif ref["nobs"] < 2500:
        check_against_dense(ref, data, model)
