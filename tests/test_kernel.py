"""The arrow kernel gives what dense textbook algebra gives."""

from contextlib import contextmanager

import dense
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skglmm._memory import aligned, is_aligned
from skglmm._problem.design import Factor, Plan, build_design
from skglmm._problem.sums import of_coded
from skglmm.engine import kernel, linear, session, statistics

COVARIANCES = ("full", "diag", "scalar")


@contextmanager
def eagerly():
    """Graph code run without tracing it: a random structure is seen only once."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


# Random designs


def factor_codes(rng, n, relation, above, n_levels):
    """Levels of the rows: crossed with what is there, or nested within it."""
    codes = rng.integers(n_levels, size=n)
    if relation == "nested" and above is not None:
        codes = above * n_levels + codes
    return np.unique(codes, return_inverse=True)[1].astype(np.int32)


def random_problem(seed, n, p, relations, n_levels, effects, intercepts, weighted):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p))])[:, : p + 1]
    codes, z, above = [], [], None
    for relation, J, q, intercept in zip(
        relations, n_levels, effects, intercepts, strict=True
    ):
        above = factor_codes(rng, n, relation, above, J)
        codes.append(above)
        values = rng.normal(size=(n, q))
        if intercept:
            values[:, 0] = 1.0
        z.append(values)
    shuffle = rng.permutation(len(codes))
    codes, z = [codes[r] for r in shuffle], [z[r] for r in shuffle]
    y = rng.normal(size=n) + sum(
        (rng.normal(size=(c.max() + 1, v.shape[1]))[c] * v).sum(1)
        for c, v in zip(codes, z, strict=True)
    )
    weight = rng.integers(1, 4, n) if weighted else np.ones(n, int)
    return dense.Problem(X, y, codes, z, weight)


@st.composite
def problems(draw):
    """Up to 60 rows, three factors and three effects a level."""
    n = draw(st.integers(12, 60))
    K = draw(st.integers(0, 3))
    many = {"min_size": K, "max_size": K}
    intercepts = draw(st.lists(st.booleans(), **many))
    effects = draw(st.lists(st.sampled_from([1, 1, 2, 3]), **many))
    problem = random_problem(
        seed=draw(st.integers(0, 2**32 - 1)),
        n=n,
        p=draw(st.integers(0, 3)),
        relations=draw(st.lists(st.sampled_from(["crossed", "nested"]), **many)),
        n_levels=draw(st.lists(st.integers(2, 9), **many)),
        effects=effects,
        intercepts=intercepts,
        weighted=draw(st.booleans()),
    )
    kinds = draw(st.lists(st.sampled_from(COVARIANCES), **many))
    return problem, kinds


def random_factors(problem, kinds, seed, singular=False):
    """Relative factors T of moderate size; singular ones with a variance of zero."""
    rng = np.random.default_rng(seed)
    out = []
    for z, kind in zip(problem.z, kinds, strict=True):
        q = z.shape[1]
        size = 1 if kind == "scalar" else q * (q + 1) // 2 if kind == "full" else q
        theta = rng.normal(size=size) * rng.choice([0.1, 1.0, 5.0])
        T = dense.to_factor(kind, q, theta)
        if singular:
            T = 0 * T if kind == "scalar" else T * (np.arange(q) < q - 1)
        out.append(T)
    return out


# The two ways to compute


class Engine:
    """An objective of the engine that speaks in the user's order of things."""

    def __init__(self, problem, kinds, reml):
        factors = [
            Factor(codes, int(codes.max()) + 1, z.shape[1], bool(np.all(z == 1)), kind)
            for codes, z, kind in zip(problem.codes, problem.z, kinds, strict=True)
        ]
        self.design = build_design(factors)
        plan = self.design.plan
        self.order = plan.chain + plan.core
        border = self.design.rows(np.column_stack([problem.X, problem.y]))
        weight = self.design.rows(problem.weight.astype(float))
        z = [
            None if factors[r].plain else self.design.rows(problem.z[r])
            for r in self.order
        ]
        self.session = session.Session(self.design, "cpu", border.shape[1])
        self.table, self.weight = of_coded(border, z, weight), weight
        with self.session as run:
            sums = run.sums(self.table, weight)
            self.objective = linear.Objective(sums, reml)

    def evaluate(self, factors):
        theta = self.session.theta([factors[r] for r in self.order])
        return self.objective.evaluate(theta)

    def by_user(self, values):
        """One array a factor, in the user's order of factors and levels."""
        out = [None] * len(self.order)
        for at, r in enumerate(self.order):
            out[r] = np.moveaxis(self.design.to_user(at, values[at]), -1, 0)
        return out

    def places(self, out):
        """Where the free entries of each factor are, in the user's order."""
        kinds = self.session.structure.covariance
        parts, start = [None] * len(self.order), 0
        for r, kind, T in zip(self.order, kinds, out["factors"], strict=True):
            end = start + len(dense.parameters(kind, T))
            parts[r], start = np.arange(start, end), end
        return np.concatenate(parts)


def assert_close(ours, theirs, tol=1e-8):
    scale = max(np.abs(theirs).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tol * scale)


def check_against_dense(problem, kinds, factors, reml):
    engine = Engine(problem, kinds, reml)
    out = engine.evaluate(factors)
    fixed, book = out["fixed"], dense.solve(problem, factors, reml)
    assert_close(out["value"], book["objective"])
    assert_close(fixed["variance"], book["variance"])
    assert_close(fixed["coef"], book["coef"])
    covariance = fixed["variance"] * fixed["half"].T @ fixed["half"]
    assert_close(covariance, book["coef_covariance"])
    std_error = np.sqrt(np.diag(book["coef_covariance"]))
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), std_error, rtol=1e-8)
    if factors:
        means, covariances = dense.posterior(problem, factors, reml)
        ours = engine.by_user(out["means"]), engine.by_user(out["posterior"])
        for r in range(len(factors)):
            assert_close(ours[0][r], means[r])
            assert_close(fixed["variance"] * ours[1][r], covariances[r])
        assert_close(
            out["gradient"][engine.places(out)],
            numerical_gradient(problem, kinds, factors, reml),
            1e-6,
        )
    if len(factors) > 1:
        at = engine.places(out)
        metric, pull = dense.average_information(problem, kinds, factors, reml)
        assert_close(out["metric"][np.ix_(at, at)], metric)
        assert_close(out["pull"][at], pull)
    return engine


def numerical_gradient(problem, kinds, factors, reml):
    """Central differences of the dense objective in the free entries of each T."""
    sizes = [len(T) for T in factors]
    theta = [dense.parameters(k, T) for k, T in zip(kinds, factors, strict=True)]
    ends = np.cumsum([len(part) for part in theta])[:-1]

    def objective(theta):
        parts = zip(kinds, sizes, np.split(theta, ends), strict=True)
        factors = [dense.to_factor(*part) for part in parts]
        return dense.solve(problem, factors, reml)["objective"]

    return dense.slope(objective, np.concatenate(theta))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems(), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0, 0, 1]))
def test_any_small_design_agrees_with_dense_algebra(drawn, seed, reml, singular):
    problem, kinds = drawn
    with eagerly():
        factors = random_factors(problem, kinds, seed, singular)
        check_against_dense(problem, kinds, factors, reml)


# Every plan of elimination, traced. A relation is to the factor before it.

DESIGNS = {
    "no groups": ([], []),
    "one factor": (["crossed"], [1]),
    "correlated slopes": (["crossed"], [3]),
    "nested": (["crossed", "nested"], [1, 1]),
    "nested, slopes within and around": (["crossed", "nested", "nested"], [2, 1, 2]),
    "crossed": (["crossed", "crossed"], [1, 1]),
    "crossed, slopes on both": (["crossed", "crossed"], [2, 2]),
    "three crossed": (["crossed", "crossed", "crossed"], [1, 1, 1]),
    "a chain and a third": (["crossed", "nested", "crossed"], [1, 1, 1]),
    "with slopes": (["crossed", "nested", "crossed"], [2, 1, 2]),
}
LEVELS = [3, 4, 4]


def design(name, seed=0, weighted=True):
    relations, effects = DESIGNS[name]
    K = len(relations)
    intercepts = [True, False, True][:K]
    return random_problem(
        seed, 55, 2, relations, LEVELS[:K], effects, intercepts, weighted
    )


@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
@pytest.mark.parametrize("name", DESIGNS)
def test_every_plan_agrees_with_dense_algebra(name, reml):
    problem = design(name)
    kinds = ["full", "diag", "full"][: len(problem.codes)]
    for seed in range(3):
        factors = random_factors(problem, kinds, seed, singular=seed == 2)
        check_against_dense(problem, kinds, factors, reml)


@pytest.mark.parametrize("name", [name for name in DESIGNS if DESIGNS[name][0]])
def test_roots_of_the_posterior_precision_agree_with_dense_algebra(name):
    import tensorflow as tf

    problem = design(name)
    kinds = ["full", "diag", "full"][: len(problem.codes)]
    engine = Engine(problem, kinds, False)
    run = engine.session
    with run:
        statistics = run.sums(engine.table, engine.weight).statistics()
    for seed in range(3):
        factors = random_factors(problem, kinds, seed, singular=seed == 2)
        ours = tuple(tf.constant(factors[r]) for r in engine.order)
        state = kernel.factorize(run.structure, run.index, statistics, ours)
        shapes = [(len(t), n) for t, n in zip(ours, run.index["n_levels"], strict=True)]
        d = sum(q * n for q, n in shapes)
        parts = np.split(np.eye(d), np.cumsum([q * n for q, n in shapes])[:-1], axis=1)
        unit = [
            tf.constant(part.T.reshape(q, n, d).transpose(0, 2, 1))
            for part, (q, n) in zip(parts, shapes, strict=True)
        ]
        root, adjoint = (
            np.concatenate([x.numpy().transpose(0, 2, 1).reshape(-1, d) for x in found])
            for found in (
                kernel.lift(run.structure, run.index, state, unit),
                kernel.fold(run.structure, run.index, state, unit),
            )
        )
        np.testing.assert_allclose(adjoint, root.T, atol=1e-12)
        columns = []
        for at, r in enumerate(engine.order):
            z, codes = problem.z[r] @ factors[r], problem.codes[r]
            dense_z = dense.random_columns(codes, z)
            q, n = shapes[at]
            by_level = dense_z.reshape(len(z), n, q).transpose(2, 1, 0)
            order = engine.design.level_order[at]
            back = slice(None) if order is None else np.argsort(order)
            columns.append(by_level[:, back].reshape(q * n, -1))
        z = np.concatenate(columns).T
        precision = z.T @ (problem.weight[:, None] * z) + np.eye(d)
        assert_close(root @ root.T, np.linalg.inv(precision), 1e-9)


@pytest.mark.parametrize("share", [0, 0.08, 2.0], ids="heavy above {}".format)
@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("name", ["a chain and a third", "with slopes"])
def test_it_does_not_matter_how_much_is_eliminated_before_the_core(
    name, length, share, monkeypatch, plan_limits
):
    plan_limits(HEAVY_SHARE=share)
    # the plan that keeps this much of the chain becomes the cheapest
    monkeypatch.setattr(Plan, "seconds", property(lambda p: abs(len(p.chain) - length)))
    problem, kinds = design(name), ["full", "full", "diag"]
    for seed in range(2):
        factors = random_factors(problem, kinds, seed)
        engine = check_against_dense(problem, kinds, factors, reml=True)
    plan = engine.design.plan
    assert (len(plan.chain), len(plan.core)) == (length, 3 - length)
    if share == 0:
        assert plan.n_pairs == 0 < plan.n_heavy
    if share == 2.0:
        assert plan.n_heavy == 0 < plan.n_pairs


@pytest.mark.parametrize("name", ["correlated slopes", "with slopes"])
def test_statistics_of_chunks_of_rows_add_up_to_those_of_all_rows(name):
    import tensorflow as tf

    problem = design(name)
    engine, n = Engine(problem, ["full"] * len(problem.codes), True), len(problem.y)

    run, table = engine.session, engine.table
    maps = np.hstack([*table.z, table.border, table.gram])

    def reduced(chunk):
        read = run.index, run.places(), table.values, engine.weight, maps
        found = statistics.RowSums(run.structure, read, n, chunk).statistics()
        return tf.nest.flatten(found)

    whole = reduced(n)
    for chunk in (20, 7, 1):
        for ours, theirs in zip(reduced(chunk), whole, strict=True):
            assert_close(ours.numpy(), theirs.numpy(), 1e-13)


def test_arrays_that_are_aligned_are_read_in_place():
    for shape, dtype in (((3, 5), np.float64), ((7, 2), np.int64), (11, np.int32)):
        array = aligned(shape, dtype)
        assert array.dtype == dtype and array.shape == np.empty(shape).shape
        assert is_aligned(array)
    assert not is_aligned(aligned((4, 3))[:, :2])
    assert not is_aligned(aligned(9, np.int32)[1:])

    engine = Engine(design("crossed"), ["full"] * 2, True)
    engine.design.index["pair_first"][0][:] = 7
    assert np.all(engine.session.index["pair_first"][0].numpy() == 7)
