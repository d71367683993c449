"""Further passes over rows: sums, and roots where sums lose digits."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skglmm._dask.partitions import computed, merged, shared
from skglmm._dask.sums import Layout, added, few_rows, reduced
from skglmm._reading.roles import row_offset


@dataclass(frozen=True)
class Again:
    """Rows that can be read once more.

    Parameters
    ----------
    elsewhere : Partitions
    reading : Reading
    layout : Layout
    """

    elsewhere: object
    reading: object
    layout: Layout

    def _pass(self, what, function, merge, *more):
        both = shared((self.reading, self.layout, *more), "reading")
        tasks = self.elsewhere.map_in_turn(f"{what}-of-partitions", function, both)
        return computed(self.elsewhere, merged(f"merge-{what}", merge, tasks))[0]

    def sums(self):
        """Sums of the columns as they are."""
        merge = partial(added, n_places=self.layout.n_places)
        return self._pass("sums", sums_of, merge)

    def root(self, fit_intercept):
        """Means of the columns and the target, and a root of their products.

        Parameters
        ----------
        fit_intercept : bool
            Without it the means are zero.

        Returns
        -------
        mean : ndarray of shape (c,)
        root : ndarray of shape (k, c)
            Its products are those of the columns less these means.
        """
        root = self._pass("root", root_of, stacked)
        centre = self.layout.centre
        if fit_intercept:
            return centre + root[0, 1:] / root[0, 0], root[1:, 1:]
        return np.zeros_like(centre), root[:, 1:] + root[:, :1] * centre

    def coded(self, columns):
        """Few rows of columns with slopes, orthonormal columns and the target.

        Parameters
        ----------
        columns : WorkingColumns

        Returns
        -------
        values : ndarray of shape (n_few, 1 + c)
            One, columns with slopes less their centre, orthonormal columns, target.
        gram : ndarray of shape (1 + c, 1 + c)
        places : dict of int
            Where the columns with slopes are now.
        centre : ndarray
            Theirs.
        """
        slopes, old = self.layout.slopes, self.layout.centre
        centre = np.append(old[list(slopes)], np.zeros(columns.make.shape[1] + 1))
        layout = replace(self.layout, centre=centre, slopes=tuple(range(len(slopes))))
        merge = partial(added, n_places=layout.n_places)
        known = slopes, columns
        again = replace(self, layout=layout)
        sums = again._pass("coded-sums", coded_of, merge, known)
        values = few_rows(layout, sums)[1] - centre
        values = np.hstack([np.ones((len(values), 1)), values])
        places = {column: k for k, column in enumerate(slopes)}
        return values, sums.gram, places, centre


def sums_of(at, known, X, *, y, weight=None, into=None):
    """Sums of one partition, and of those before it."""
    reading, layout = known
    rows = reading.rows(at, X, y, weight)
    return reduced(layout, rows, row_offset(rows.special), into)


def root_of(at, known, X, *, y, weight=None, into=None):
    """Triangular root of one partition, and of those before it."""
    reading, layout = known
    rows = reading.rows(at, X, y, weight)
    values = np.column_stack(
        [np.ones(len(rows.y)), rows.matrix - layout.centre[:-1], _target(rows)]
    )
    values[:, -1] -= layout.centre[-1]
    values *= np.sqrt(rows.weight)[:, None]
    return stacked([values] if into is None else [into, values])


def stacked(roots):
    """Root of several partitions together."""
    return np.linalg.qr(np.vstack(roots), mode="r")


def coded_of(at, known, X, *, y, weight=None, into=None):
    """Sums of coded columns of one partition, and of those before it."""
    reading, layout, (slopes, columns) = known
    rows = reading.rows(at, X, y, weight)
    fixed = (rows.matrix[:, : len(columns.mean)] - columns.mean) @ columns.make
    target = _target(rows) / columns.unit - columns.level - fixed @ columns.fit
    matrix = np.hstack([rows.matrix[:, list(slopes)], fixed])
    return reduced(layout, replace(rows, matrix=matrix, y=target), None, into)


def _target(rows):
    offset = row_offset(rows.special)
    return rows.y if offset is None else rows.y - offset
