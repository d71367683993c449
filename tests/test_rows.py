"""Rows in pieces, and rows in a file, in the place of arrays."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from engine_problems import FAMILIES, Factor, build_design
from numpy.testing import assert_allclose

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_sleepstudy
from skglmm.engine import (
    generalized,
    inner,
    laplace,
    likelihoods,
    linear,
    rows,
    session,
    statistics,
    variational,
)
from skglmm.solvers import Problem

CUTS = [0, 50, 120, 200]


class Pieces:
    """`Rows` in pieces, each with arrays of its own: sums are added, rows put together.

    Nothing but sums of levels goes from a piece to another.
    """

    def __init__(self, pieces):
        self.pieces, self.asked = pieces, []

    def prepared(self, x=None):
        parts = [x[a:b] for a, b in self._cuts()]
        out = Pieces([p.prepared(q) for p, q in zip(self.pieces, parts, strict=True)])
        out.asked = self.asked
        return out

    @staticmethod
    def _cuts():
        return list(zip(CUTS[:-1], CUTS[1:], strict=True))

    def sums(self, weight=None, x=None, values=None):
        self.asked.append("sums")
        found = [
            piece.sums(*(None if v is None else v[a:b] for v in (weight, x, values)))
            for piece, (a, b) in zip(self.pieces, self._cuts(), strict=True)
        ]
        return statistics.merge(*found)

    def dense(self, values):
        return self.sums(values=values)[1]

    def random_part(self, effects):
        self.asked.append("rows")
        return tf.concat([piece.random_part(effects) for piece in self.pieces], 0)

    def variance(self, posterior, *, signed=False):
        parts = [piece.variance(posterior, signed=signed) for piece in self.pieces]
        return tf.concat(parts, 0)


def split(run, arrays):
    pieces = []
    for a, b in Pieces._cuts():
        some = {name: arrays[name] for name in ("z", "level", "cell")}
        some = tf.nest.map_structure(lambda v, a=a, b=b: v[a:b], some)
        pieces.append(rows.Rows(run.structure, run.index, {**some, "related": ()}))
    return Pieces(pieces)


@pytest.fixture
def opened():
    rng, n = np.random.default_rng(0), 200
    first = np.arange(n, dtype=np.int32) % 20
    factors = [
        Factor(first, 20, 2, False),
        Factor(rng.permutation(np.arange(n, dtype=np.int32) % 7), 7),
        Factor((first // 4).astype(np.int32), 5),
    ]
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = rng.poisson(np.exp(0.5 + 0.3 * rng.normal(size=20)[first])).astype(float)
    design = build_design(factors)
    z = [design.rows(x) if f.n_effects == 2 else None for f in design.factors]
    border = design.rows(np.column_stack([x, y]))
    family = FAMILIES["poisson"]
    problem = Problem(design, border, tuple(z), np.ones(n), family=family)
    with generalized.open_session(problem, "cpu") as run:
        yield run


@pytest.mark.parametrize("method", ["bound", "laplace"])
def test_the_objective_of_rows_in_pieces_is_that_of_all(opened, method):
    run, family = opened, FAMILIES["poisson"]
    data = generalized.load(run)
    pieces = split(run, data["rows"])
    theta = tf.constant(run.theta([0.5 * np.eye(q) for q in run.structure.n_effects]))
    tol = tf.constant(1e-18, tf.float64)

    def value(data):
        bound = method == "bound"
        loop = inner.Inner(run.structure, family, spread=bound, joint=bound)
        aux = variational.initial_aux(run.structure, loop, run.index, data)
        if bound:
            nodes = likelihoods.normal_nodes(9)
            return variational.evaluate(loop, run.index, data, nodes, theta, aux, tol)
        phi = tf.concat([tf.constant([0.4, 0.1], tf.float64), theta], 0)
        return laplace.evaluate(loop, run.index, data, None, phi, aux, tol)

    whole, apart = value(data), value(data | {"rows": pieces})
    assert float(apart["value"]) == pytest.approx(float(whole["value"]), rel=1e-12)
    assert_allclose(apart["gradient"], whole["gradient"], atol=1e-9)
    means = zip(
        apart["aux"]["estimates"]["means"],
        whole["aux"]["estimates"]["means"],
        strict=True,
    )
    for ours, theirs in means:
        assert_allclose(ours, theirs, atol=1e-9)
    assert {"sums", "rows"} <= set(pieces.asked)


class SumsOfFile:
    """Statistics of a file that is read in pieces: `RowSums` elsewhere."""

    at_once = False

    def __init__(self, path, run, levels, maps, n_rows):
        self._path, self.structure, self.index = path, run.structure, run.index
        self._levels, self._maps, self.n_rows = levels, maps, float(n_rows)
        self.largest = 0

    def statistics(self):
        parts, gram = [], 0.0
        with pd.read_csv(self._path, chunksize=37, dtype={"Subject": str}) as reader:
            for piece in reader:
                values = np.column_stack(
                    [np.ones(len(piece)), piece["Days"], piece["Reaction"]]
                )
                parts.append(self._reduced(values, piece["Subject"]))
                gram = gram + values.T @ values
                self.largest = max(self.largest, len(piece))
        maps = self._maps | {"gram": tf.constant(gram)}
        sums = statistics.merge(*parts)
        return statistics.completed(self.structure, self.index, (), sums, maps)

    def _reduced(self, values, subjects):
        codes = self._levels.get_indexer(subjects).astype(np.int32)
        places = {"level": (tf.constant(codes),), "cell": ((),), "related": ()}
        weight = tf.ones(len(values), tf.float64)
        read = self.index, places, tf.constant(values), weight
        return statistics.reduce_rows(self.structure, *read, self._maps)


def test_a_linear_model_of_a_file_is_that_of_the_table(tmp_path):
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X.assign(Reaction=y).sample(frac=1.0, random_state=0).to_csv(tmp_path / "rows.csv")
    codes, levels = pd.factorize(X["Subject"].astype(str), sort=True)
    design = build_design([Factor(codes.astype(np.int32), 18, 2, False)], sort=False)
    # columns as they are, the days less their mean, which is 4.5
    border = np.array([[1.0, -4.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    maps = {"border": tf.constant(border), "z": [tf.constant(border[:, :2])]}
    with session.Session(design, "cpu", 3) as run:
        sums = SumsOfFile(tmp_path / "rows.csv", run, pd.Index(levels), maps, len(X))
        objective = linear.Objective(sums, True)
        report, found = objective.minimize(run.theta([np.eye(2)]), 100, 1e-10, True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    assert sums.largest == 37
    assert -0.5 * report["value"] == pytest.approx(model.log_likelihood_, abs=1e-6)
    assert found["fixed"]["coef"][1] == pytest.approx(model.coef_[0], rel=1e-8)
    assert found["fixed"]["variance"] == pytest.approx(model.noise_variance_, rel=1e-5)
