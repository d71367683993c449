"""Rows and terms in the order that the engine wants them (numpy only)."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from skglmm._covariances import COVARIANCES, simplest
from skglmm._memory import aligned

MAX_CORE = 8_000
MAX_PAIRS = 100_000_000
# Measured on two cores. A level that touches more than a `HEAVY_SHARE` of the core
# costs less as a dense row than as a list of pairs.
HEAVY_SHARE = 0.08
_SECONDS_A_PAIR = 8e-9
_SECONDS_A_CORE_FLOP = 4e-11
_SECONDS_A_HEAVY_FLOP = 4e-11


@dataclass(frozen=True)
class Factor:
    """One random factor as numbers.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int32
        Level of each row, ``0 .. n_levels - 1``, every level present.
    n_levels : int
    n_effects : int, default=1
        Effects of one level.
    plain : bool, default=True
        Whether the only effect is an intercept.
    covariance : str, default="full"
        Name of the structure in `COVARIANCES`.
    root : ndarray of shape (n_levels, n_levels) or None, default=None
        L, if the levels are related by A = L L'.
    """

    codes: np.ndarray
    n_levels: int
    n_effects: int = 1
    plain: bool = True
    covariance: str = "full"
    root: np.ndarray | None = None

    @property
    def structure(self):
        """Structure of the covariance of the effects of a level."""
        return COVARIANCES[self.covariance]

    @property
    def kind(self):
        """Name of the plainest structure that is the same."""
        return simplest(self.covariance, self.n_effects)

    @property
    def n_parameters(self):
        """Number of parameters of the covariance."""
        return self.structure.n_parameters(self.n_effects)

    @property
    def size(self):
        """Number of effects of all levels."""
        return self.n_levels * self.n_effects


@dataclass(frozen=True)
class Plan:
    """Which factors are eliminated one after the other, which form the core.

    Parameters
    ----------
    chain, core : tuple of int
        Positions of the factors. Each factor of the chain is nested in all later ones.
    n_core : int
        Columns of the dense core.
    n_pairs : int
        Pairs of core columns that meet in an eliminated level, heavy levels apart.
    n_heavy : int
        Rows (levels times effects) of the eliminated levels that are held as
        dense rows because they touch much of the core.
    iterative : bool, default=False
        Whether nothing is dense: factors are coupled by sparse matrices and solved for
        by conjugate gradients, the largest one first.
    """

    chain: tuple
    core: tuple
    n_core: int = 0
    n_pairs: int = 0
    n_heavy: int = 0
    iterative: bool = False

    @property
    def kind(self):
        if self.iterative:
            return "iterative"
        if self.core:
            return "core"
        return {0: "fixed", 1: "single"}.get(len(self.chain), "nested")

    @property
    def seconds(self):
        """Rough cost of one evaluation beyond the row-free sums, in seconds."""
        return (
            self.n_pairs * _SECONDS_A_PAIR
            + self.n_core**3 * _SECONDS_A_CORE_FLOP
            + self.n_heavy * self.n_core**2 * _SECONDS_A_HEAVY_FLOP
        )

    @property
    def too_large(self):
        """Whether the dense core cannot hold it."""
        return self.n_core > MAX_CORE or self.n_pairs > MAX_PAIRS

    def check_size(self, advice):
        """Refuse what the dense core cannot hold, and say what was too large."""
        if self.iterative or self.too_large:
            raise ValueError(
                "The crossed factors are too large for this: after the largest factor "
                f"is eliminated, a dense matrix of {self.n_core:,} columns (at most "
                f"{MAX_CORE:,}) built from {self.n_pairs:,} pairs of levels that meet "
                f"(at most {MAX_PAIRS:,}) is left. {advice}"
            )


@dataclass(frozen=True)
class GroupedDesign:
    """A grouped problem in engine order.

    Parameters
    ----------
    factors : tuple of Factor
        Chain then core; rows and levels in engine order.
    plan : Plan
    level_order : tuple of ndarray or None
        For each factor the engine's place of each of the user's levels; None
        when they are the same.
    order : ndarray or None
        The user's row at each engine row; None when the rows stay as they are.
    index : dict or None
        The integer arrays of `engine.structure.index_spec`; None for an iterative
        plan (see `sparse_index`).
    row_cell : tuple of tuple of ndarray
        For each chain and core factor the first cell that a row falls into.
    """

    factors: tuple
    plan: Plan
    level_order: tuple
    order: np.ndarray | None
    index: dict
    row_cell: tuple

    def rows(self, values):
        """Row values in engine order."""
        return values if self.order is None else np.take(values, self.order, axis=0)

    def step(self, n_rows, linear):
        """Rows or levels that one evaluation reads, and its seconds beside that."""
        if self.plan.iterative or not linear:
            return n_rows, 0.0
        return sum(factor.size for factor in self.factors), self.plan.seconds

    def to_user(self, r, by_level):
        """Values with engine levels on the last axis, in the user's level order."""
        order = self.level_order[r]
        return by_level if order is None else by_level[..., order]

    def effects(self, values):
        """Effects of each factor from those with independent levels, L taken off.

        Parameters
        ----------
        values : sequence of ndarray of shape (..., n_levels)
        """
        return tuple(
            v if factor.root is None else v @ factor.root.T
            for v, factor in zip(values, self.factors, strict=True)
        )


_ADVICE = (
    "Use solver='vi', whose default has no such limit, or drop or coarsen one of the "
    "crossed factors."
)


def build_design(factors, limit=np.inf, advice=_ADVICE, *, sort=True):
    """Sort the rows, choose the plan and index who touches whom.

    Parameters
    ----------
    factors : list of Factor
        As the user ordered them.
    limit : float, default=inf
        Seconds of an evaluation above which crossed factors go without a dense core;
        infinite if they cannot, negative if several factors always do.
    advice : str, optional
        What a message on factors that are too large says should be done.
    sort : bool, default=True
        Whether to sort the rows, which pays when they are read more than once.

    Returns
    -------
    design : GroupedDesign

    Raises
    ------
    ValueError
        If the crossed factors need more than the dense core can hold.
    """
    if not factors:
        index = {"n_levels": np.zeros(0, np.int32), "parent": ()}
        return GroupedDesign((), Plan((), ()), (), None, index, ())
    if any(factor.root is not None for factor in factors):
        return _related_design(factors)
    given, chain = factors, _longest_chain(factors)
    factors, level_order, order = list(factors), [None] * len(factors), None
    for inner, outer in zip(chain[-2::-1], chain[:0:-1], strict=True):
        factors[inner], level_order[inner] = _relabel(factors[inner], factors[outer])
    first = factors[chain[0]]
    if sort and np.any(first.codes[1:] < first.codes[:-1]):
        # a level's number tells the levels around it: one key sorts by all
        order = counting_sort(first.codes, first.n_levels)
        factors = [replace(f, codes=f.codes[order]) for f in factors]

    rest = [r for r in range(len(factors)) if r not in chain]
    meets = {(t, c): _meetings(factors[t], factors[c]) for t in chain for c in rest}
    plan = _cheapest_plan(factors, chain, rest, meets)
    dense = limit == np.inf or not (plan.too_large or plan.seconds > limit)
    if not dense and (rest or limit < 0.0):
        by_size = sorted(range(len(given)), key=lambda r: -given[r].size)
        plan = replace(plan, chain=tuple(by_size), core=(), iterative=True)
        return GroupedDesign(
            factors=tuple(given[r] for r in by_size),
            plan=plan,
            level_order=(None,) * len(given),
            order=None,
            index=None,
            row_cell=((),) * len(given),
        )
    plan.check_size(advice)
    if plan.core:
        for t in plan.chain:
            for c in plan.core:
                if (t, c) not in meets:
                    meets[t, c] = _meetings(factors[t], factors[c])
    index, row_cell = _index(factors, plan, meets)
    engine = plan.chain + plan.core
    return GroupedDesign(
        factors=tuple(factors[r] for r in engine),
        plan=plan,
        level_order=tuple(level_order[r] for r in engine),
        order=order,
        index=index,
        row_cell=row_cell,
    )


def _related_design(factors):
    """A design with nothing but a core, where related levels are whole blocks."""
    everyone = tuple(range(len(factors)))
    plan = Plan((), everyone, sum(factor.size for factor in factors))
    if plan.too_large:
        raise ValueError(
            "The levels of a factor are related, so that the random effects of all "
            f"factors are in one dense matrix, of {plan.n_core:,} columns here and "
            f"{MAX_CORE:,} at most. Drop or coarsen one of the factors."
        )
    index, row_cell = _index(factors, plan, {})
    empty = (None,) * len(factors)
    return GroupedDesign(tuple(factors), plan, empty, None, index, row_cell)


def sparse_index(factors):
    """Integer arrays of `engine.structure.index_spec` for an iterative plan."""
    rows = np.arange(len(factors[0].codes), dtype=np.int64)
    cell_of_row, cell, place = {}, {}, {}
    for r, factor in enumerate(factors):
        for s in range(r + 1, len(factors)):
            level, met, of_row = _meetings(factor, factors[s])
            q, k = factor.n_effects, factors[s].n_effects
            cell[r, s] = place[r, s] = np.stack([level, met], 1).astype(np.int64)
            if q * k > 1:
                first = cell[r, s][:, :1] * q + np.repeat(np.arange(q), k)
                second = cell[r, s][:, 1:] * k + np.tile(np.arange(k), q)
                place[r, s] = np.stack([first.ravel(), second.ravel()], 1)
            cell_of_row[r, s] = np.stack([rows, of_row], 1)
    return {
        "n_levels": np.array([factor.n_levels for factor in factors], np.int32),
        "level_of_row": tuple(np.stack([rows, f.codes], 1) for f in factors),
        "cell_of_row": cell_of_row,
        "cell": cell,
        "place": place,
    }


def counting_sort(codes, n):
    """Stable order that sorts integer codes below n, in linear time."""
    rows = np.arange(len(codes), dtype=np.int32)
    marks = np.ones(len(codes), dtype=np.int8)
    return sparse.csr_matrix((marks, (codes, rows)), shape=(n, len(codes))).indices


def parents(inner, outer):
    """Level of `outer` around each level of `inner`; None if it is not nested."""
    above = np.zeros(inner.n_levels, dtype=np.int32)
    above[inner.codes] = outer.codes
    return above if np.array_equal(above[inner.codes], outer.codes) else None


def _longest_chain(factors):
    """The largest factor, then every factor that all before it are nested in."""
    # what has no parameters is integrated out before all else
    by_size = sorted(
        range(len(factors)),
        key=lambda r: (not factors[r].structure.known, -factors[r].size),
    )
    chain = by_size[:1]
    for r in sorted(by_size[1:], key=lambda r: -factors[r].n_levels):
        if parents(factors[chain[-1]], factors[r]) is not None:
            chain.append(r)
    return chain


def _relabel(inner, outer):
    """Levels of `inner` renumbered in order of those around them, and old -> new."""
    order = counting_sort(parents(inner, outer), outer.n_levels)
    place = np.empty(inner.n_levels, dtype=np.int32)
    place[order] = np.arange(inner.n_levels, dtype=np.int32)
    return replace(inner, codes=place[inner.codes]), place


def _meetings(factor, other):
    """Distinct (level, other level) pairs in order, and the pair of each row."""
    by_other = counting_sort(other.codes, other.n_levels)
    order = by_other[counting_sort(factor.codes[by_other], factor.n_levels)]
    level, met = factor.codes[order], other.codes[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (level[1:] != level[:-1]) | (met[1:] != met[:-1])
    of_row = np.empty(len(order), dtype=np.int32)
    of_row[order] = np.cumsum(first, dtype=np.int32) - 1
    return level[first], met[first], of_row


def _cheapest_plan(factors, chain, rest, meets):
    """How much of the chain to eliminate before the dense core begins."""
    if not rest:
        return Plan(tuple(chain), ())
    plans = []
    for k in range(1, len(chain) + 1):
        core = [*rest, *chain[k:]]
        n_core = sum(factors[c].size for c in core)
        n_pairs = n_heavy = 0
        for t in chain[:k]:
            degree = np.zeros(factors[t].n_levels, dtype=np.int64)
            for c in core:
                q = factors[c].n_effects
                if c in rest:
                    degree += q * np.bincount(
                        meets[t, c][0], minlength=factors[t].n_levels
                    )
                else:
                    degree += q
            heavy = degree > HEAVY_SHARE * n_core
            n_heavy += int(np.sum(heavy)) * factors[t].n_effects
            n_pairs += int(np.sum((degree * (degree + 1) // 2)[~heavy]))
        plans.append(Plan(tuple(chain[:k]), tuple(core), n_core, n_pairs, n_heavy))
    return min(plans, key=lambda plan: plan.seconds)


def _index(factors, plan, meets):
    """Integer arrays of `engine.structure.index_spec`, and each row's cells."""
    chain, core = plan.chain, plan.core
    links = [(t, s) for i, t in enumerate(chain) for s in chain[i + 1 :]]
    above = {(t, s): parents(factors[t], factors[s]) for t, s in links}
    index = {
        "n_levels": np.array([factors[r].n_levels for r in chain + core], np.int32),
        "parent": tuple(above[link] for link in links),
    }
    if not core:
        return index, tuple(() for _ in chain)
    ends = np.cumsum([factors[c].size for c in core])
    starts = {c: end - factors[c].size for c, end in zip(core, ends, strict=True)}
    m = plan.n_core
    cells, row_cell = {}, []
    for t in chain:
        levels, columns, firsts = [], [], []
        for c in core:
            level, met, of_row = meets[t, c]
            q = factors[c].n_effects
            effect = np.arange(q)
            levels.append(np.repeat(level, q))
            columns.append(
                (starts[c] + met[:, None].astype(np.int64) * q + effect).ravel()
            )
            firsts.append((of_row, q, len(level) * q))
        level, column = np.concatenate(levels), np.concatenate(columns)
        by_column = counting_sort(column, m)
        order = by_column[counting_sort(level[by_column], factors[t].n_levels)]
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        cells[t] = level[order].astype(np.int32), column[order].astype(np.int32)
        of_rows, at = [], 0
        for of_row, q, n in firsts:
            of_rows.append(place[at + of_row * q])
            at += n
        row_cell.append(tuple(of_rows))
    pairs = [_pairs(*cells[t], factors[t].n_levels, m) for t in chain]
    key = {t: cells[t][0].astype(np.int64) * m + cells[t][1] for t in chain}
    index |= {
        "cell_level": tuple(cells[t][0] for t in chain),
        "cell_column": tuple(cells[t][1] for t in chain),
        "cell_place": tuple(np.stack(cells[t], 1).astype(np.int64) for t in chain),
        "cell_up": tuple(
            np.searchsorted(
                key[s], above[t, s][cells[t][0]].astype(np.int64) * m + cells[t][1]
            ).astype(np.int32)
            for t, s in links
        ),
    }
    names = ("pair", "pair_first", "pair_second", "pair_place")
    names += ("heavy_level", "heavy_cell", "heavy_place", "cell_light", "cell_heavy")
    by_name = zip(*pairs, strict=True) if pairs else [()] * len(names)
    index |= dict(zip(names, by_name, strict=True))
    return index, tuple(row_cell)


def _pairs(level, column, n_levels, m):
    """Who meets whom in one factor's levels.

    Returns the pairs (a, b), a < b, of cells in one light level, as a table and by
    side, each with its level and its place in the core's upper triangle; then the heavy
    levels, their cells and where these land in a table of dense rows; then for every
    cell its column, or m if its level is heavy, and its place in that table, or the
    table's length if it is not.
    """
    degree = np.bincount(level, minlength=n_levels)
    is_heavy = degree > HEAVY_SHARE * m
    end = np.cumsum(degree)[level]
    # a row of the core at a time: its places are then near each other
    cell = counting_sort(column, m)
    count = np.where(is_heavy[level], 0, end - np.arange(len(level)) - 1)[cell]
    first = aligned(int(count.sum()), np.int32)
    first[:] = np.repeat(cell, count)
    # the next cell, and one more for every pair that the same cell had before
    begin = np.empty_like(count)
    begin[cell] = cell + 1 - (np.cumsum(count) - count)
    second = aligned(len(first), np.int32)
    np.add(np.arange(len(first)), begin[first], out=second, casting="unsafe")
    pair = aligned((len(first), 2), np.int64)
    pair[:, 0], pair[:, 1] = first, second
    place = aligned((len(first), 2), np.int64)
    place[:, 0] = level[first]
    np.add((column.astype(np.int64) * m)[first], column[second], out=place[:, 1])
    heavy_level = np.flatnonzero(is_heavy).astype(np.int32)
    heavy_cell = np.flatnonzero(is_heavy[level]).astype(np.int32)
    row = np.zeros(n_levels, dtype=np.int64)
    row[heavy_level] = np.arange(len(heavy_level))
    heavy_place = row[level[heavy_cell]] * m + column[heavy_cell]
    in_table = np.full(len(level), len(heavy_level) * m)
    in_table[heavy_cell] = heavy_place
    return (
        pair,
        first,
        second,
        place,
        heavy_level,
        heavy_cell,
        heavy_place.astype(np.int32),
        np.where(is_heavy[level], np.int32(m), column).astype(np.int32),
        in_table.astype(np.int32),
    )


# Effects below which a factor counts as small for the partial factorisation.
SMALL_FACTOR = 30


def kept_factors(factors, factorization):
    """Which factors keep their posterior covariances; None when all do.

    Parameters
    ----------
    factors : list of Factor
    factorization : {"full", "partial", "mean_field"}

    Returns
    -------
    kept : tuple of bool or None
    """
    if factorization == "full" or len(factors) < 2:
        return None
    if factorization == "mean_field":
        return (False,) * len(factors)
    sizes = np.array([factor.size for factor in factors])
    kept = sizes < SMALL_FACTOR
    kept[np.argmax(sizes)] = False
    # one large factor beside small ones is the full posterior
    return None if np.sum(~kept) < 2 else tuple(bool(k) for k in kept)
