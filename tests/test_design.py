"""Rows, levels and factors in the order that elimination wants them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skglmm._problem.design import Factor, build_design, counting_sort, parents


def factor(codes, **kwargs):
    """A factor from labels that need not be 0, 1, 2, ..."""
    codes = np.unique(codes, return_inverse=True)[1].astype(np.int32)
    return Factor(codes, int(codes.max()) + 1, **kwargs)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def school(rng):
    return factor(rng.permutation(np.arange(60) % 4))


@pytest.fixture
def pupil(school, rng):
    """Twelve pupils, each in one school."""
    return factor(school.codes * 10 + rng.integers(3, size=60))


@pytest.fixture
def item(rng):
    """Five items, answered in every school."""
    return factor(rng.permutation(np.arange(60) % 5))


# The plan


def test_without_factors_there_is_nothing_to_eliminate():
    design = build_design([])
    assert design.plan.kind == "fixed"
    assert design.factors == ()
    assert design.rows("as they are") == "as they are"


def test_one_factor_is_eliminated_alone(school):
    plan = build_design([school]).plan
    assert (plan.kind, plan.chain, plan.core) == ("single", (0,), ())


def test_nested_factors_are_eliminated_from_the_inside_out(school, pupil):
    for factors, chain in (([school, pupil], (1, 0)), ([pupil, school], (0, 1))):
        plan = build_design(factors).plan
        assert (plan.kind, plan.chain, plan.core) == ("nested", chain, ())


def test_of_crossed_factors_the_largest_is_eliminated_and_the_others_are_the_core(
    school, item
):
    for factors, chain in (([school, item], 1), ([item, school], 0)):
        plan = build_design(factors).plan
        assert (plan.kind, plan.chain, plan.core) == ("core", (chain,), (1 - chain,))
        assert plan.n_core == school.n_levels


def test_one_stray_row_makes_nested_factors_crossed(school, pupil):
    codes = school.codes.copy()
    codes[0] = (codes[0] + 1) % 4
    assert build_design([factor(codes), pupil]).plan.kind == "core"


def test_what_is_nested_in_a_chain_joins_it_and_the_rest_is_the_core(
    school, pupil, item
):
    plan = build_design([item, school, pupil]).plan
    assert plan.chain[0] == 2
    assert set(plan.core) >= {0}
    assert sorted(plan.chain + plan.core) == [0, 1, 2]


def test_effects_count_when_the_largest_factor_is_chosen(school, item):
    slopes = factor(school.codes, n_effects=3, plain=False)
    plan = build_design([slopes, item]).plan
    assert plan.chain == (0,)
    assert plan.n_core == item.n_levels
    plan = build_design([school, factor(item.codes, n_effects=3, plain=False)]).plan
    assert plan.chain == (1,)
    plan = build_design([factor(school.codes, n_effects=2, plain=False), item]).plan
    assert plan.n_core == item.n_levels


@pytest.mark.parametrize("share", [0.0, 0.3, 2.0])
def test_pairs_are_the_core_columns_that_meet_in_a_level(
    pupil, item, share, plan_limits
):
    plan_limits(HEAVY_SHARE=share)
    met = [set(item.codes[pupil.codes == j]) for j in range(pupil.n_levels)]
    heavy = [len(items) > share * item.n_levels for items in met]
    plan = build_design([pupil, item]).plan
    assert plan.n_heavy == sum(heavy)
    assert plan.n_pairs == sum(
        len(items) * (len(items) + 1) // 2
        for items, many in zip(met, heavy, strict=True)
        if not many
    )


# Too large a core


def test_a_core_that_no_dense_matrix_can_hold_is_refused(school, item, plan_limits):
    plan_limits(MAX_CORE=3)
    with pytest.raises(
        ValueError, match=r"too large.*dense matrix of 4 columns \(at most 3\)"
    ):
        build_design([school, item])


def test_too_many_pairs_are_refused(pupil, item, plan_limits):
    plan_limits(HEAVY_SHARE=2.0)
    n_pairs = build_design([pupil, item]).plan.n_pairs
    plan_limits(MAX_PAIRS=n_pairs)
    build_design([pupil, item])
    plan_limits(MAX_PAIRS=n_pairs - 1)
    with pytest.raises(ValueError, match=rf"built from {n_pairs} pairs.*coarsen"):
        build_design([pupil, item])


# Rows and levels


@pytest.mark.parametrize("user_order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_rows_are_sorted_from_the_outside_in_and_no_row_is_lost(
    school, pupil, item, user_order
):
    by_user = [(school, pupil, item)[i] for i in user_order]
    design = build_design(by_user)
    assert sorted(design.rows(np.arange(60))) == list(range(60))
    keys = [f.codes for f in design.factors[: len(design.plan.chain)]]
    assert_array_equal(np.lexsort(keys), np.arange(60))


@pytest.mark.parametrize("user_order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_row_keeps_its_levels(school, pupil, item, user_order):
    by_user = [(school, pupil, item)[i] for i in user_order]
    design = build_design(by_user)
    for at, r in enumerate(design.plan.chain + design.plan.core):
        n_levels = by_user[r].n_levels
        engine_level = design.to_user(at, np.arange(n_levels))
        theirs = design.rows(by_user[r].codes)
        assert_array_equal(engine_level[theirs], design.factors[at].codes)


def test_rows_that_are_sorted_already_stay_where_they_are(school):
    assert build_design([factor(np.sort(school.codes))]).order is None


def test_every_row_finds_its_cell(school, pupil, item):
    slopes = factor(item.codes, n_effects=2, plain=False)
    design = build_design([school, pupil, slopes])
    n_chain, index = len(design.plan.chain), design.index
    starts = np.cumsum([0, *(f.size for f in design.factors[n_chain:])])
    for t in range(n_chain):
        for c, core in enumerate(design.factors[n_chain:]):
            for effect in range(core.n_effects):
                cell = design.row_cell[t][c] + effect
                level = index["cell_level"][t][cell]
                assert_array_equal(level, design.factors[t].codes)
                column = starts[c] + core.codes * core.n_effects + effect
                assert_array_equal(index["cell_column"][t][cell], column)


def test_every_level_finds_the_level_around_it(school, pupil):
    above = parents(pupil, school)
    assert_array_equal(above[pupil.codes], school.codes)
    assert parents(school, pupil) is None


def test_counting_is_a_stable_sort(rng):
    codes = rng.integers(7, size=100).astype(np.int32)
    assert_array_equal(counting_sort(codes, 7), np.argsort(codes, kind="stable"))
