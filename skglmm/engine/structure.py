"""Structures: what is static about a problem once its rows have been sorted.

Two designs with the same `Structure` share every compiled function, whatever
their numbers of rows, levels and fixed columns.
"""

from dataclasses import dataclass

import tensorflow as tf

from skglmm.engine.programs import Device, graph, mapped, signature_of

__all__ = ["Device", "graph", "mapped", "signature_of"]

FLOAT = tf.float64
INT = tf.int32


@dataclass(frozen=True)
class Structure:
    """Static description of an arrow-shaped problem.

    The random factors come in two runs. The *chain* is eliminated factor by
    factor; each of its factors is nested in all later ones, so that a level has
    one parent in each of them and no elimination creates fill. The *core* holds
    the remaining factors as scalar columns of one dense matrix.

    Parameters
    ----------
    chain, core : tuple of int
        Number of effects a level has, for each factor.
    plain : tuple of bool
        For chain then core: whether the factor has an intercept and nothing
        else, so that no row values need to be read.
    covariance : tuple of {"full", "diag", "scalar"}
        For chain then core: the kind of covariance of the effects.
    iterative : bool, default=False
        Whether nothing is dense: then all factors are in the chain, the largest first,
        nested or not.
    related : tuple of bool, default=()
        For each factor of the core, if the levels of any are related: whether its own
        are. Then there is no chain.
    """

    chain: tuple
    core: tuple
    plain: tuple
    covariance: tuple
    iterative: bool = False
    related: tuple = ()

    @property
    def n_effects(self):
        """Effects per level, chain then core."""
        return self.chain + self.core

    def links(self):
        """Pairs (t, s), t before s, of chain positions."""
        n = len(self.chain)
        return [(t, s) for t in range(n) for s in range(t + 1, n)]


def to_numpy(tensors):
    """A structure of tensors as one of arrays."""
    return mapped(lambda t: t.numpy(), tensors)


def core_offsets(structure, n_levels):
    """First column of each core factor, and the number of core columns."""
    offsets, at = [], tf.constant(0, INT)
    for c, q in enumerate(structure.core):
        offsets.append(at)
        at += n_levels[len(structure.chain) + c] * q
    return offsets, at


def vector(dtype=FLOAT):
    return tf.TensorSpec([None], dtype)


def rows_spec(structure):
    """Signature of the rows: what they say about the random effects.

    Those of generalised models, which are read again and again, are sorted by the
    chain's last factor, then the one before it, and so on, so that what belongs
    together is near.
    """
    chain = range(len(structure.chain))
    return {
        "z": tuple(
            tf.TensorSpec([None, 0 if plain else q], FLOAT)
            for q, plain in zip(structure.n_effects, structure.plain, strict=True)
        ),
        "level": tuple(vector(INT) for _ in structure.n_effects),
        "cell": tuple(tuple(vector(INT) for _ in structure.core) for _ in chain),
        "related": roots_spec(structure),
    }


def roots_spec(structure):
    """Signature of the roots L of the relationships between levels."""
    return (tf.TensorSpec([None, None], FLOAT),) * sum(structure.related)


def data_spec(structure, family=None):
    """Signature of the rows of a generalised model, and what its family has of its own.

    ``parameters`` are those of a family (`Family.parameter_names`), one tensor each.
    """
    n_own = 0 if family is None else len(family.parameter_names)
    return {
        "X": tf.TensorSpec([None, None], FLOAT),
        "y": vector(),
        "trials": vector(),
        "offset": vector(),
        "weight": vector(),
        "rows": rows_spec(structure),
        "parameters": (tf.TensorSpec([], FLOAT),) * n_own,
    }


def index_spec(structure):
    """Signature of the integer arrays that describe who touches whom."""
    n_chain = len(structure.chain)
    if structure.iterative:
        places = tf.TensorSpec([None, 2], tf.int64)
        return {
            "n_levels": tf.TensorSpec([n_chain], INT),
            "level_of_row": (places,) * n_chain,
            "cell_of_row": dict.fromkeys(structure.links(), places),
            "cell": dict.fromkeys(structure.links(), places),
            "place": dict.fromkeys(structure.links(), places),
        }
    spec = {
        "n_levels": tf.TensorSpec([len(structure.n_effects)], INT),
        "parent": tuple(vector(INT) for _ in structure.links()),
    }
    if structure.core:
        chain = range(n_chain)
        spec |= {
            "cell_level": tuple(vector(INT) for _ in chain),
            "cell_column": tuple(vector(INT) for _ in chain),
            "cell_place": tuple(tf.TensorSpec([None, 2], tf.int64) for _ in chain),
            "cell_light": tuple(vector(INT) for _ in chain),
            "cell_heavy": tuple(vector(INT) for _ in chain),
            "cell_up": tuple(vector(INT) for _ in structure.links()),
            "pair": tuple(tf.TensorSpec([None, 2], tf.int64) for _ in chain),
            "pair_first": tuple(vector(INT) for _ in chain),
            "pair_second": tuple(vector(INT) for _ in chain),
            "pair_place": tuple(tf.TensorSpec([None, 2], tf.int64) for _ in chain),
            "heavy_level": tuple(vector(INT) for _ in chain),
            "heavy_cell": tuple(vector(INT) for _ in chain),
            "heavy_place": tuple(vector(INT) for _ in chain),
        }
    return spec


def statistics_spec(structure):
    """Signature of the block statistics of a linear model."""
    spec = sums_spec(structure)
    spec["border"] = tf.TensorSpec([None, None], FLOAT)
    if structure.related:
        spec["related"] = roots_spec(structure)
    if structure.core and structure.chain:
        q = structure.chain[0]
        spec["met"] = tf.TensorSpec([q * (q + 1) // 2, None], FLOAT)
    return spec


def sums_spec(structure):
    """The part of it that consists of sums over the rows of levels."""
    spec = {
        "own": tuple(tf.TensorSpec([q, q, None], FLOAT) for q in structure.chain),
        "own_border": tuple(
            tf.TensorSpec([q, None, None], FLOAT) for q in structure.chain
        ),
        "link": tuple(
            tf.TensorSpec([structure.chain[t], structure.chain[s], None], FLOAT)
            for t, s in structure.links()
        ),
    }
    if structure.core:
        spec |= {
            "cell": tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.chain),
            "core": vector(),
            "core_border": tf.TensorSpec([None, None], FLOAT),
        }
    return spec
