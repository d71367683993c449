"""What a fit to a collection of Dask would read, send, hold and take."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from skglmm._dask.inputs import first_table
from skglmm._dask.partitions import Partitions
from skglmm._reading.inputs import wanted
from skglmm._reading.labels import distinct
from skglmm._reading.table import Table
from skglmm._reading.terms import term_labels

# Seconds of one core, measured on one machine: a row in the first pass and in the
# second, a sum of a row, and a number that is merged with another.
SECONDS_A_ROW, SECONDS_A_READING = 1.0e-7, 1.5e-7
SECONDS_A_SUM, SECONDS_A_MERGE = 3.5e-8, 2.0e-9
# Bytes of a number, and of a label with what Python needs around it.
BYTES_A_NUMBER, BYTES_A_LABEL = 8, 16


@dataclass(frozen=True)
class Sizes:
    """How large a problem is.

    Parameters
    ----------
    rows : float
    partitions : int
    levels : tuple of float
        By factor.
    columns : int
        Columns of numbers and the target.
    slopes : int
        Columns with random slopes.
    workers : int
        Cores that work at the same time.
    row_bytes : float
        Of a row in memory.
    """

    rows: float
    partitions: int
    levels: tuple
    columns: int
    slopes: int
    workers: int
    row_bytes: float

    @property
    def n_sums(self):
        """Sums by combination of levels."""
        k = self.slopes
        return 1 + self.columns + k * self.columns - k * (k - 1) // 2

    @property
    def combinations(self):
        """Combinations of levels that occur, all as likely as each other."""
        return occurring(float(np.prod(self.levels)), self.rows)

    @property
    def of_partition(self):
        """Those of one partition."""
        n = self.rows / self.partitions
        return occurring(float(np.prod(self.levels)), n)

    @property
    def sums_bytes(self):
        """Bytes of the sums of one partition."""
        return BYTES_A_NUMBER * self.n_sums * self.of_partition

    @property
    def labels_bytes(self):
        """Bytes of the labels of one partition."""
        n = self.rows / self.partitions
        return BYTES_A_LABEL * sum(occurring(j, n) for j in self.levels)

    @property
    def client_bytes(self):
        """Bytes of what is merged at last, and of the few rows made of it."""
        few = (1 + self.slopes) * (self.columns + 3) + 2 * self.n_sums
        return BYTES_A_NUMBER * few * self.combinations

    @property
    def worker_bytes(self):
        """Bytes that one core holds: a partition, its sums and those it merges."""
        partition = self.rows / self.partitions * (self.row_bytes + 8 * self.n_sums)
        return partition + 5 * self.sums_bytes

    def seconds(self):
        """Seconds of the first pass, the second, and the merges."""
        reading = self.rows * SECONDS_A_ROW
        summing = self.rows * (SECONDS_A_READING + SECONDS_A_SUM * self.n_sums)
        merging = SECONDS_A_MERGE * self.partitions * self.n_sums * self.of_partition
        # the last merges are done by one core
        last = SECONDS_A_MERGE * 4 * self.n_sums * self.combinations
        share = 1.0 / self.workers
        return reading * share, summing * share, merging * share + last


def occurring(possible, rows):
    """How many of so many levels occur in so many rows, all as likely as each other."""
    if not possible:
        return 0.0
    return possible * -np.expm1(-rows / possible)


def levels_behind(seen, rows):
    """How many levels there are, of which so many were seen in so many rows."""
    if seen >= 0.999 * rows:
        return np.inf
    if occurring(1.001 * seen, rows) >= seen:
        return float(seen)
    return brentq(lambda j: occurring(j, rows) - seen, seen, 1e4 * rows)


def plan_of(estimator, X):
    """Text that says what a fit to a collection would do; one partition is read.

    Parameters
    ----------
    estimator : BaseMixedModel
    X : dask dataframe or dask array

    Returns
    -------
    text : str
    """
    elsewhere, sketch = Partitions(X), first_table(X)
    terms, _ = estimator._terms_and_labels(sketch, None)
    named = estimator._named_columns(sketch, terms)
    found = wanted(sketch, terms, named, None, None, "error")
    part = next(filter(len, (task.compute() for task in elsewhere.first(3))), None)
    if part is None:
        return f"{len(elsewhere)} partitions, the first of which have no rows"
    table, levels = Table(part), []
    for term in terms:
        labels, names = term_labels(table, term)
        seen = len(distinct(labels, term.name, names)[0])
        levels.append(levels_behind(seen, table.n_rows))
    rows = table.n_rows * len(elsewhere)
    sizes = Sizes(
        rows=rows,
        partitions=len(elsewhere),
        levels=tuple(min(j, rows) for j in levels),
        columns=len(found.numbers) + 1,
        slopes=len({at for term in terms for at in term.slopes}),
        workers=elsewhere.n_workers(),
        row_bytes=_bytes(part) / table.n_rows,
    )
    return _text(sizes, [term.name for term in terms], estimator)


def _bytes(part):
    if hasattr(part, "memory_usage"):
        return float(part.memory_usage(deep=True).sum())
    return float(part.nbytes)


def _text(sizes, names, estimator):
    first, second, merges = sizes.seconds()
    linear = estimator._distribution().is_linear
    n = sizes.partitions
    factors = ", ".join(
        f"{name!r} (about {levels:,.0f} levels)"
        for name, levels in zip(names, sizes.levels, strict=True)
    )
    lines = [
        f"{n} partitions of about {sizes.rows / n:,.0f} rows, "
        f"{sizes.workers} at a time; {factors or 'no factor'}",
        f"pass 1, labels: {_megabytes(n * sizes.labels_bytes)} travel, "
        f"{_seconds(first)}",
    ]
    worker, client = sizes.worker_bytes, sizes.client_bytes
    if linear:
        lines.append(
            f"pass 2, {sizes.n_sums} sums for each of about {sizes.combinations:,.0f} "
            f"combinations of levels: {_megabytes(n * sizes.sums_bytes)} travel, "
            f"{_seconds(second + merges)}"
        )
    else:
        coded = sizes.rows * (8 * (sizes.columns + 1) + 4 * len(names))
        worker, client = sizes.rows / n * sizes.row_bytes * 2, 3 * coded
        lines.append(
            f"pass 2, rows as numbers: {_megabytes(coded)} travel to this process, "
            f"{_seconds(sizes.rows * SECONDS_A_READING / sizes.workers)}"
        )
        merges = 0.0
    lines += [
        f"memory: {_megabytes(worker)} for each partition that is worked on, "
        f"{_megabytes(client)} in this process"
        + ("" if linear else ", which holds all rows; the fit adds to it"),
        f"expected: {_seconds(first + second + merges)}, and the fit as in memory",
    ]
    return "\n".join(lines)


def _megabytes(n):
    return f"{n / 1e6:,.1f} MB" if n < 1e8 else f"{n / 1e9:,.2f} GB"


def _seconds(value):
    return "less than 0.1 s" if value < 0.1 else f"about {value:.2g} s"
