r"""Rows of a linear model reduced to a few for each combination of levels.

A linear model is known by sums of products. For the rows of one combination of
levels they are :math:`\sum w`, :math:`\sum w d` and :math:`\sum w z d'`, z being the
columns with random slopes and d all columns and the target, less one centre for all
partitions. These add up over partitions. At the end k rows, one more than there are
slopes, have the sums of all rows of a combination: with the mean :math:`\bar d` and the
triangular root L of the covariances of z, extended to d,

.. math:: d_i = \bar d + \sqrt k \sum_s h_{is} L_s, \qquad w_i = \frac{1}{k} \sum w,

h being orthogonal with a first column that is constant.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Share of a combination's mean square below which a column does not vary in it.
_NOTHING = 1e-14
# Combinations, and these a row, up to which there is a place for each that may be.
_PLACES, _EACH = 1 << 16, 4
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Layout:
    """Which sums there are.

    Parameters
    ----------
    shape : tuple of int
        Levels of each term.
    centre : ndarray of shape (c,)
        What is taken off the columns of numbers, and off the target at last.
    slopes : tuple of int
        Columns with random slopes.
    """

    shape: tuple
    centre: np.ndarray
    slopes: tuple

    @property
    def n_places(self):
        """Combinations that may be; a Python integer, which may be large."""
        out = 1
        for n in self.shape:
            out *= int(n)
        return out

    def pairs(self):
        """Columns whose products are summed by combination: (slope, other)."""
        seen, c = set(), len(self.centre)
        for s in self.slopes:
            for d in range(c):
                pair = (min(s, d), max(s, d))
                if pair not in seen:
                    seen.add(pair)
                    yield s, d

    def keys(self, codes, n_rows):
        """One number for the combination of each row."""
        if not codes:
            return np.zeros(n_rows, dtype=np.int64)
        if len(codes) == 1:
            return codes[0]
        keys = codes[0].astype(np.int64)
        for of_term, n in zip(codes[1:], self.shape[1:], strict=True):
            keys *= n
            keys += of_term
        return keys

    def codes(self, keys):
        """Levels of combinations, by term."""
        out = []
        for n in self.shape[:0:-1]:
            keys, code = np.divmod(keys, n)
            out.append(code.astype(np.int32))
        out.append(keys.astype(np.int32))
        return out[::-1] if self.shape else []


@dataclass(frozen=True)
class Sums:
    """Sums of some rows.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), int64, or None
        Combinations in ascending order; None for all that may be.
    table : ndarray of shape (1 + c + n_pairs, n_keys)
        Weights, columns and products of `Layout.pairs`.
    gram : ndarray of shape (1 + c, 1 + c)
        Products of one and all columns, of all rows.
    n_rows : int
    said : tuple of str
        Messages on rows.
    """

    keys: np.ndarray | None
    table: np.ndarray
    gram: np.ndarray
    n_rows: int
    said: tuple


def reduced(layout, rows, offset=None, into=None):
    """Sums of coded rows.

    Parameters
    ----------
    layout : Layout
    rows : Rows
    offset : ndarray of shape (n_rows,), default=None
        Taken off the target.
    into : Sums, default=None
        Sums of rows before these, which are added to and not to be used any more.

    Returns
    -------
    sums : Sums
    """
    n, c, pairs = len(rows.y), len(layout.centre), list(layout.pairs())
    place, keys = layout.keys(rows.codes, n), None
    n_keys = layout.n_places
    if n_keys > max(_EACH * n, _PLACES):
        place, keys = pd.factorize(place, sort=True)
        n_keys = len(keys)
    dense = keys is None and into is not None and into.keys is None
    table = into.table if dense else np.zeros((1 + c + len(pairs), n_keys))
    target = rows.y if offset is None else rows.y - offset
    gram, alike = np.zeros((1 + c, 1 + c)), bool(np.all(rows.weight == 1.0))
    for at in range(0, n, _BLOCK):
        some = slice(at, at + _BLOCK)
        weight = rows.weight[some]
        block = np.empty((1 + c, len(weight)))
        block[0] = 1.0
        for k in range(c - 1):
            np.subtract(rows.matrix[some, k], layout.centre[k], out=block[1 + k])
        np.subtract(target[some], layout.centre[-1], out=block[c])
        weighted = block if alike else block * weight
        gram += block @ weighted.T
        # a place may be there twice; in place, because new memory is slow to get
        here = place[some].astype(np.intp)
        for k in range(1 + c):
            np.add.at(table[k], here, weighted[k])
        for k, (s, d) in enumerate(pairs, start=1 + c):
            np.add.at(table[k], here, block[1 + s] * weighted[1 + d])
    own = Sums(keys, table, gram, n, rows.said)
    if into is None:
        return own
    if dense:
        said = tuple(dict.fromkeys(into.said + own.said))
        return Sums(None, table, into.gram + gram, into.n_rows + n, said)
    return added([into, own], layout.n_places)


def added(parts, n_places):
    """Sums of several parts, added in their order."""
    first = parts[0]
    gram = sum((part.gram for part in parts[1:]), first.gram)
    n_rows = sum(part.n_rows for part in parts)
    said = tuple(dict.fromkeys(text for part in parts for text in part.said))
    keys, table = None, first.table
    if all(part.keys is None for part in parts):
        table = table.copy()
        for part in parts[1:]:
            table += part.table
        return Sums(keys, table, gram, n_rows, said)
    sparse_keys = [part.keys for part in parts if part.keys is not None]
    whole = len(sparse_keys) < len(parts)
    places = sparse_keys
    if not whole:
        found, keys = pd.factorize(np.concatenate(sparse_keys), sort=True)
        places = np.split(found, np.cumsum([len(k) for k in sparse_keys])[:-1])
        whole = 2 * len(keys) > n_places
    if whole:
        keys, places = None, sparse_keys
    places = iter(places)
    table = np.zeros((len(table), n_places if keys is None else len(keys)))
    for part in parts:
        if part.keys is None:
            table += part.table
        else:
            table[:, next(places)] += part.table
    return Sums(keys, table, gram, n_rows, said)


def few_rows(layout, sums):
    """Rows that have the sums of all rows, by combination of levels.

    Parameters
    ----------
    layout : Layout
    sums : Sums

    Returns
    -------
    codes : list of ndarray of shape (n_few,), int32
    values : ndarray of shape (n_few, c)
        Columns of numbers and the target, with their centre.
    weight : ndarray of shape (n_few,)
    """
    c, k = len(layout.centre), 1 + len(layout.slopes)
    there = sums.table[0] > 0.0
    table = sums.table if there.all() else sums.table[:, there]
    keys = np.flatnonzero(there) if sums.keys is None else sums.keys[there]
    weight = table[0].copy()
    mean = (table[1 : 1 + c] / weight).T
    square = {}
    for at, (s, d) in enumerate(layout.pairs()):
        square[s, d] = square[d, s] = table[1 + c + at] / weight
    loadings, varies = _loadings(layout.slopes, mean, square)
    turn = _turn(k)
    out = (
        [
            mean + np.sqrt(k) * sum(turn[i, s + 1] * v for s, v in enumerate(loadings))
            for i in range(k)
        ]
        if k > 1
        else [mean]
    )
    codes = layout.codes(keys)
    if k > 1:
        alone = ~varies
        out = [mean[alone], *(part[varies] for part in out)]
        codes = [np.concatenate([v[alone], np.tile(v[varies], k)]) for v in codes]
        weight = np.concatenate([weight[alone], np.tile(weight[varies] / k, k)])
    return codes, np.concatenate(out) + layout.centre, weight


def _loadings(slopes, mean, square):
    """Rows of the extended roots L by slope, (n, c) each; whether there are any."""
    n, c = mean.shape
    left, found, varies = {}, [], np.zeros(n, dtype=bool)
    for s in slopes:
        for d in range(c):
            left[s, d] = square[s, d] - mean[:, s] * mean[:, d]
    for i, s in enumerate(slopes):
        own = left[s, s]
        some = own > _NOTHING * square[s, s]
        root = np.sqrt(np.where(some, own, 1.0))
        loading = np.stack([left[s, d] / root for d in range(c)], axis=1)
        loading[~some] = 0.0
        varies |= some
        found.append(loading)
        for t in slopes[i + 1 :]:
            for d in range(c):
                left[t, d] = left[t, d] - loading[:, t] * loading[:, d]
    return found, varies


def _turn(k):
    """Orthogonal matrix (k, k) whose first column is constant (Helmert's)."""
    turn = np.zeros((k, k))
    turn[:, 0] = 1.0 / np.sqrt(k)
    for j in range(1, k):
        turn[:j, j] = 1.0 / np.sqrt(j * (j + 1))
        turn[j, j] = -j / np.sqrt(j * (j + 1))
    return turn
