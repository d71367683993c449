"""Random numbers of samples, of rows together or of rows in several places."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from skglmm._reading.labels import encode


class Draws:
    """Random numbers of rows that are drawn together.

    Parameters
    ----------
    random : RandomState
    """

    def __init__(self, random):
        self.random = random

    def of_fixed(self, rank, samples):
        """Standard normals (rank, n_samples) of the fixed effects."""
        return self.random.standard_normal((rank, len(samples)))

    def of_levels(self, level, samples):
        """Standard normals (n_levels, q, n_samples) of the levels of a factor."""
        return self.random.standard_normal((*level.means.shape, len(samples)))

    def kin(self, parts, codes):
        """Numbers that rows of one unseen level share.

        A missing label may be any: such a row is a level of its own, and so is every
        row where there are no labels at all.
        """
        kin = np.arange(len(codes))
        rows, parts = _unseen(parts, codes)
        if len(rows):
            of_row, _ = encode([part[rows] for part in parts], "groups")
            kin[rows] = len(codes) + of_row
        return kin


class SharedDraws:
    """Random numbers of rows in several places, which share effects.

    What belongs to a level or to the fixed effects is a function of the seed, the level
    and the number of the sample, by the mixing function of SplitMix64 [1]_; what
    belongs to rows has a generator for each place.

    Parameters
    ----------
    seed : int
    at : int
        Number of the place.

    References
    ----------
    .. [1] Steele, G. L., Lea, D. and Flood, C. H. (2014). Fast splittable pseudorandom
       number generators. OOPSLA 2014, 453-472.
    """

    def __init__(self, seed, at):
        self._seed, self._at = seed, at
        mixed = np.random.SeedSequence([seed, at])
        self.random = np.random.RandomState(np.random.MT19937(mixed))

    def of_fixed(self, rank, samples):
        """Standard normals (rank, n_samples) of the fixed effects."""
        return self._normals(0, np.arange(rank), samples)

    def of_levels(self, level, samples):
        """Standard normals (n_levels, q, n_samples) of the levels of a factor."""
        q, own = level.means.shape[1], 2 * level.factor + 1
        found = []
        for domain, names in ((own, level.seen), (own + 1, level.new)):
            keys = names.astype(np.uint64)[:, None] * np.uint64(q) + np.arange(
                q, dtype=np.uint64
            )
            found.append(self._normals(domain, keys, samples))
        return np.concatenate(found)

    def _normals(self, domain, keys, samples):
        start = np.array([self._seed * 64 + domain], dtype=np.uint64)
        key = _mixed(_mixed(start) + keys.astype(np.uint64))
        bits = _mixed(key[..., None] + samples.astype(np.uint64))
        return ndtri(((bits >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)

    def kin(self, parts, codes):
        """Numbers that rows of one unseen level share, wherever they are."""
        place = np.array([self._seed * 64 + 63], dtype=np.uint64) + np.uint64(self._at)
        kin = _mixed(_mixed(place) + np.arange(len(codes), dtype=np.uint64))
        rows, parts = _unseen(parts, codes)
        if len(rows):
            key = np.zeros(len(rows), dtype=np.uint64)
            for part in parts:
                of_part = pd.util.hash_array(_comparable(part[rows]))
                key = _mixed(key + of_part)
            kin[rows] = key
        return kin


def _comparable(labels):
    """Labels of which equal ones have equal hashes, whatever their container."""
    kind = pd.api.types.infer_dtype(labels, skipna=False)
    if kind in ("integer", "floating", "mixed-integer-float"):
        return np.asarray(labels, dtype=float)
    return np.asarray(labels).astype(str).astype(object)


def _unseen(parts, codes):
    """Rows with a label that was not seen, and the label columns as arrays."""
    if parts is None:
        return np.arange(0), ()
    parts = [part.to_numpy() if hasattr(part, "to_numpy") else part for part in parts]
    missing = np.any([pd.isna(part) for part in parts], axis=0)
    rows = np.flatnonzero((codes < 0) & ~missing)
    return rows, [np.asarray(part) for part in parts]


def _mixed(bits):
    """SplitMix64's mixing function of 64-bit numbers."""
    with np.errstate(over="ignore"):
        bits = bits + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
