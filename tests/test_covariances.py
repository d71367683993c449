"""Structures of a covariance: parameters and T, closed steps, coordinates and zeros."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime, minimize

from skglmm._covariances import COVARIANCES, NAMES, Covariance, add, remove


class CompoundSymmetry(Covariance):
    """Needs nothing of the base to be overridden but what the base cannot know."""

    name = "cs"

    def basis(self, q):
        return np.stack([np.eye(q), np.ones((q, q))])[: min(q, 2)]

    def nearest(self, moments):
        q, trace = len(moments), np.trace(moments)
        pairs = (moments.sum() - trace) / max(q * (q - 1), 1)
        return np.full((q, q), pairs) + (trace / q - pairs) * np.eye(q)


NAMED = [COVARIANCES[name] for name in ("full", "diag", "scalar")]
STRUCTURES = [*NAMED, CompoundSymmetry()]
every = pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.name)
sizes = pytest.mark.parametrize("q", [1, 2, 4])


def positive(q, seed=0):
    a = np.random.default_rng(seed).normal(size=(q, q + 3))
    return a @ a.T


@every
@sizes
def test_parameters_and_factors_are_the_same_thing(structure, q):
    theta = np.random.default_rng(1).normal(size=structure.n_parameters(q))
    assert_allclose(structure.parameters(structure.factor(theta, q)), theta)
    slopes = approx_fprime(theta, lambda t: structure.factor(t, q).ravel(), 1e-6)
    basis = structure.basis(q).reshape(len(theta), -1)
    assert_allclose(np.reshape(slopes, basis.T.shape), basis.T, atol=1e-8)


@every
@sizes
def test_the_root_has_the_nearest_covariance(structure, q):
    v = positive(q)
    root = structure.root(v)
    assert_allclose(root @ root.T, structure.nearest(v), atol=1e-12)


@every
@pytest.mark.parametrize("q", [2, 3])
def test_the_nearest_covariance_is_the_most_likely_one(structure, q):
    v = positive(q, seed=2)

    def deviance(theta):
        t = structure.factor(theta, q)
        covariance = t @ t.T + 1e-12 * np.eye(q)
        return np.linalg.slogdet(covariance)[1] + np.trace(
            np.linalg.solve(covariance, v)
        )

    start = structure.parameters(structure.root(v)) * 1.3 + 0.1
    found = minimize(deviance, start, tol=1e-12).x
    best = structure.factor(found, q)
    assert_allclose(best @ best.T, structure.nearest(v), rtol=1e-3, atol=1e-3)


@every
@sizes
def test_a_recoding_keeps_the_structure(structure, q):
    recoding = structure.recoding(positive(q, seed=3))
    covariance = structure.nearest(positive(q, seed=4))
    moved = recoding @ covariance @ recoding.T
    assert_allclose(structure.nearest(moved), moved, rtol=1e-10, atol=1e-12)
    assert np.linalg.cond(recoding) < 1e6


@pytest.mark.parametrize("name", ["full", "diag", "scalar"])
def test_what_is_nearly_zero_is_reset_and_nothing_else(name):
    structure = COVARIANCES[name]
    t = structure.root(structure.nearest(np.diag([4.0, 4.0])))
    assert_allclose(structure.reset(t, 0.0), t, atol=1e-12)
    small = 0.01 * np.eye(2)
    assert_allclose(structure.reset(small, 0.0), 0.0)
    assert_allclose(np.abs(np.diag(structure.reset(small, 0.5))), 0.5)


@every
def test_the_evidence_step_stays_where_count_and_square_agree(structure):
    gamma = structure.nearest(positive(3, seed=5))
    step = structure.evidence(gamma, gamma, 1e-9)
    assert_allclose(step @ step.T, np.eye(3), atol=1e-6)


def test_a_structure_is_added_and_removed_by_its_name():
    add(CompoundSymmetry())
    try:
        assert "cs" in NAMES
        assert COVARIANCES["cs"].n_parameters(3) == 2
    finally:
        remove("cs")
    assert "cs" not in COVARIANCES
