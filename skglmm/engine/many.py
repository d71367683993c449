"""The linear model of many responses on one design, side by side.

Responses share the sums of all columns but their own. The criterion of one response is
`linear.objective`, and `runtime.side_by_side` makes of its evaluation, and of the step
of the minimiser that follows, those of a batch: the operations of one response, each
with the response as first axis. Every response has its own parameters and its own
state, so that what it gets does not depend on who shares the batch with it.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import covariance, linear, optimizers
from skglmm.engine.runtime import side_by_side
from skglmm.engine.statistics import reduce_dense
from skglmm.engine.structure import (
    FLOAT,
    INT,
    graph,
    index_spec,
    mapped,
    rows_spec,
    signature_of,
    statistics_spec,
    to_numpy,
)

# Responses that are worked on together, and the most values of one matrix for them.
_TOGETHER, _VALUES = 256, 4_000_000


@functools.cache
def compiled_sums(structure):
    """Sums of dense columns by level, the column as first axis: traced once."""

    def call(index, rows, values):
        sums = reduce_dense(structure, index, rows, values)
        own = tuple(tf.transpose(part, [1, 0, 2]) for part in sums["own_border"])
        core = (tf.transpose(sums["core_border"]),) if structure.core else ()
        return {"own": own, "core": core}

    values = tf.TensorSpec([None, None], FLOAT)
    return graph(call, [index_spec(structure), rows_spec(structure), values])


def _response_spec(structure, lead=(None,)):
    """Signature of what is a response's own."""
    return {
        "own": tuple(tf.TensorSpec([*lead, q, None], FLOAT) for q in structure.chain),
        "core": (tf.TensorSpec([*lead, None], FLOAT),) * bool(structure.core),
        "border": tf.TensorSpec([*lead, None], FLOAT),
    }


def _complete(statistics, response):
    """Statistics with a response's own sums in the place of the last column."""
    out = dict(statistics)
    out["own_border"] = tuple(
        tf.concat([shared[:, :-1], own[:, None]], 1)
        for shared, own in zip(statistics["own_border"], response["own"], strict=True)
    )
    for core in response["core"]:
        shared = statistics["core_border"][:, :-1]
        out["core_border"] = tf.concat([shared, core[:, None]], 1)
    last = response["border"]
    top = tf.concat([statistics["border"][:-1, :-1], last[:-1, None]], 1)
    out["border"] = tf.concat([top, last[None]], 0)
    return out


def _criterion(structure, index, statistics, response, n_rows, reml):
    """`linear.objective` of a response, of which less is kept."""
    complete = _complete(statistics, response)
    fun = linear.objective(structure, index, complete, n_rows, reml)

    def call(theta, *_):
        out = fun(theta)
        return out | {"aux": out["aux"]["projected"]}

    return call


def _signature(structure):
    scalar = tf.TensorSpec([], FLOAT)
    return [index_spec(structure), statistics_spec(structure), scalar, scalar]


def _theta_spec(structure):
    k = sum(covariance.n_parameters(structure))
    return tf.TensorSpec([None, k], FLOAT)


@functools.cache
def compiled_start(structure, cold):
    """States to begin from, at theta or, `cold`, from a better start."""

    def call(index, statistics, n_rows, reml, responses, theta):
        def one(item):
            response, theta = item
            if cold and structure.n_effects and not structure.related:
                complete = _complete(statistics, response)
                theta = linear.alone_start(structure, index, complete, n_rows)
            blank = tf.zeros_like(statistics["border"])
            return optimizers.initial_state(theta, 1, blank)

        return side_by_side(one, (responses, theta))

    spec = [*_signature(structure), _response_spec(structure), _theta_spec(structure)]
    return graph(call, spec)


@functools.cache
def compiled_advance(structure):
    """One evaluation of every response, and the states after it."""

    def call(index, statistics, n_rows, reml, responses, states, tol, n_warm):
        def one(item):
            response, state = item
            fun = _criterion(structure, index, statistics, response, n_rows, reml)
            return optimizers.advance(fun, state, tol, n_warm)

        return side_by_side(one, (responses, states))

    states = mapped(
        lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype),
        signature_of(compiled_start(structure, False)),
    )
    scalars = tf.TensorSpec([], FLOAT), tf.TensorSpec([], INT)
    spec = [*_signature(structure), _response_spec(structure), states, *scalars]
    return graph(call, spec)


@functools.cache
def compiled_evaluate(structure):
    """Values of every response at its theta, and the projected products there."""

    def call(index, statistics, n_rows, reml, responses, theta):
        def one(item):
            response, theta = item
            complete = _complete(statistics, response)
            out = linear.evaluate(structure, index, complete, theta, n_rows, reml)
            return {"value": out["value"], "aux": out["kept"]["projected"]}

        return side_by_side(one, (responses, theta))

    spec = [*_signature(structure), _response_spec(structure), _theta_spec(structure)]
    return graph(call, spec)


class Many:
    """The criteria of many responses, as numbers in and numbers out.

    Parameters
    ----------
    run : Session
    objective : linear.Objective
        Of any response on this design.
    z : tuple of ndarray or None
        Row values of each factor (`Problem.rows`).
    weight : ndarray of shape (n_rows,)
    border : ndarray of shape (n_rows, p)
        Fixed working columns.
    responses : ndarray of shape (n_rows, m)
    """

    def __init__(self, run, objective, z, weight, border, responses):
        self._structure, self._data = run.structure, objective.data
        self._index, rows = run.index, run.rows(z)
        self._sums = _sums(run.structure, self._index, rows, weight, border, responses)
        design = run.design
        size = design.plan.n_core**2 + sum(
            f.n_levels * f.n_effects * (border.shape[1] + 1) for f in design.factors
        )
        self.together = int(np.clip(_VALUES // max(size, 1), 1, _TOGETHER))

    def _call(self, function, which, items, *settings):
        """A compiled function of some responses and what goes with them, as arrays."""
        items = mapped(lambda a: a[which], self._sums), items
        return to_numpy(function(*self._data, *mapped(tf.constant, items), *settings))

    def evaluate(self, theta, which):
        """Values and projected products of some responses.

        Parameters
        ----------
        theta : ndarray of shape (m, k)
        which : ndarray of shape (m,), int

        Returns
        -------
        out : dict
            ``value`` (m,) and ``aux`` (m, p + 1, p + 1).
        """
        call, found = compiled_evaluate(self._structure), []
        for some in _slices(len(which), self.together):
            found.append(self._call(call, which[some], theta[some]))
        return {name: np.concatenate([f[name] for f in found]) for name in found[0]}

    def minimize(self, theta, which, max_iter, tol, cold, done=None):
        """Minimise the criteria of some responses.

        Parameters
        ----------
        theta : ndarray of shape (m, k)
        which : ndarray of shape (m,), int
        max_iter : int
        tol : float
        cold : bool
            Whether theta is no more than a first guess.
        done : callable, optional
            Is told how many responses have ended, now and then.

        Returns
        -------
        found : dict
            By response ``theta``, ``value``, ``aux``, ``decrement``, ``status`` and
            ``n_evaluations``.
        """
        names = "theta", "value", "aux", "decrement", "status", "n_evaluations"
        begin = compiled_start(self._structure, bool(cold))
        advance = compiled_advance(self._structure)
        tol = tf.constant(linear.strict(self._structure, tol), FLOAT)
        n_warm = tf.constant(2 if cold else 1, INT)
        found, active, states, at = None, np.zeros(0, dtype=int), None, 0
        while at < len(which) or len(active):
            # who has ended makes room for others
            new = np.arange(at, min(at + self.together - len(active), len(which)))
            at += len(new)
            if len(new):
                fresh = self._call(begin, which[new], theta[new])
                states = fresh if states is None else _joined(states, fresh)
                active = np.concatenate([active, new])
            if found is None:
                found = {
                    name: np.zeros((len(which), *states[name].shape[1:]))
                    for name in names
                }
            states = self._call(advance, which[active], states, tol, n_warm)
            ended = states["status"] != optimizers.RUNNING
            ended |= states["n_evaluations"] >= max_iter
            for name in names:
                found[name][active[ended]] = states[name][ended]
            if done is not None and ended.any():
                done(int(ended.sum()))
            active = active[~ended]
            states = mapped(lambda a, kept=~ended: a[kept], states)
        return found


def _slices(n, size):
    return [slice(at, min(at + size, n)) for at in range(0, n, size)]


def _joined(first, second):
    """Two batches as one."""
    return tf.nest.map_structure(lambda a, b: np.concatenate([a, b]), first, second)


def _sums(structure, index, rows, weight, border, responses):
    """What is a response's own (`_response_spec`), as arrays."""
    call, parts = compiled_sums(structure), []
    for some in _slices(responses.shape[1], 4 * _TOGETHER):
        weighted = weight[:, None] * responses[:, some]
        part = to_numpy(call(index, rows, tf.constant(weighted, FLOAT)))
        squares = np.einsum("ij,ij->j", weighted, responses[:, some])
        part["border"] = np.column_stack([weighted.T @ border, squares])
        parts.append(part)
    return tf.nest.map_structure(lambda *a: np.concatenate(a), *parts)
