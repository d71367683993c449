"""Families with parameters of their own on several structures, by two solvers.

Rows are drawn from the model that is fitted. Two approximations that have nothing in
common but the kernel, the variational bound and Laplace's, have to agree where rows are
many, and both have to find what was drawn.
"""

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
from drawn_structures import add_effects
from numpy.testing import assert_allclose

from skglmm import MixedGeneralizedRegressor, MixedOrdinalClassifier

N_ROWS = 2000
CORRELATED = np.array([[0.36, 0.09], [0.09, 0.16]])
# Levels and covariance of the effects by factor, and the model's options.
STRUCTURES = {
    "correlated slope": (
        {"g": (50, CORRELATED)},
        {"groups": "g", "random_slopes": ["x"]},
    ),
    "nested": (
        {"g": (20, np.eye(1) * 0.36), "g:h": (80, np.eye(1) * 0.25)},
        {"groups": ["g", ("g", "h")]},
    ),
    "crossed": (
        {"g": (50, np.eye(1) * 0.36), "h": (30, np.eye(1) * 0.25)},
        {"groups": ["g", "h"]},
    ),
}
THRESHOLDS = np.array([-1.0, 0.2, 1.5])


def counts(rng, eta):
    return rng.poisson(rng.gamma(2.0, np.exp(eta) / 2.0))


def durations(rng, eta):
    return rng.gamma(4.0, np.exp(eta) / 4.0)


def shares(rng, eta):
    mean = 1.0 / (1.0 + np.exp(-eta))
    return np.clip(rng.beta(12.0 * mean, 12.0 * (1.0 - mean)), 1e-9, 1.0 - 1e-9)


def ratings(rng, eta):
    return (eta + rng.logistic(size=len(eta)) > THRESHOLDS[:, None]).sum(axis=0)


# How rows are drawn, and what the family has of its own.
FAMILIES = {
    "negative_binomial": (counts, {"dispersion": 2.0}),
    "gamma": (durations, {"dispersion": 0.5}),
    "beta": (shares, {"dispersion": 12.0}),
    "ordinal": (ratings, dict(zip(["0|1", "1|2", "2|3"], THRESHOLDS, strict=True))),
}


@functools.cache
def problem(structure, family):
    """Columns and responses."""
    rng = np.random.default_rng(list(STRUCTURES).index(structure))
    x = rng.normal(size=N_ROWS)
    X, eta = pd.DataFrame({"x": x}), 0.5 * x
    if family != "ordinal":
        eta = eta + 0.3
    eta = add_effects(rng, X, eta, x[:, None], STRUCTURES[structure][0])
    return X, FAMILIES[family][0](rng, eta)


def fitted(structure, family, solver):
    options = STRUCTURES[structure][1] | {"solver": solver}
    if family == "ordinal":
        model = MixedOrdinalClassifier(**options)
    else:
        model = MixedGeneralizedRegressor(**options, family=family)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return model.fit(*problem(structure, family))


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_solvers_agree_and_find_what_was_drawn(family, structure):
    bound, laplace = (fitted(structure, family, s) for s in ("vi", "laplace"))
    first, second = (m.variance_components_["std"] for m in (bound, laplace))
    assert_allclose(first, second, rtol=0.02)
    for name in ("fixed_effects_", "family_parameters_"):
        ours, theirs = (getattr(m, name) for m in (bound, laplace))
        away = (ours["estimate"] - theirs["estimate"]) / theirs["std_error"]
        assert np.abs(away).max() < 0.1
        assert_allclose(ours["std_error"], theirs["std_error"], rtol=0.05)
    for model in (bound, laplace):
        own = model.family_parameters_
        away = (own["estimate"] - pd.Series(FAMILIES[family][1])) / own["std_error"]
        assert np.abs(away).max() < 4.0
        slope = model.fixed_effects_.loc["x"]
        spread = np.sqrt(CORRELATED[1, 1] / 50) if structure.endswith("slope") else 0.0
        error = np.hypot(slope["std_error"], spread)
        assert abs(slope["estimate"] - 0.5) < 4.0 * error
        truth = [
            sd
            for _, covariance in STRUCTURES[structure][0].values()
            for sd in np.sqrt(np.diag(covariance))
        ]
        # a deviation of 20 levels has an error of .16 of it, three of which are .5
        found = model.variance_components_["std"][: len(truth)]
        assert_allclose(found, truth, rtol=0.5)
