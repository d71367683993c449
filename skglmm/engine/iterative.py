"""Crossed factors too large for a dense core: conjugate gradients and probes.

The largest factor is eliminated exactly, level by level. What is left,

    S = D - B'D_1^-1 B,    D = blockdiag(T'A_jT + I) + couplings of the other factors,

is never formed: it is applied to many columns at once, with its block diagonal as
preconditioner. The columns are those of the fixed part, which are solved for like
everything else, and random signs z. Their solutions x = M^-1 z give what a dense
inverse would,

    sum_j [M^-1]_jj = E[sum_j x_j z_j'],

and only off-diagonal entries add to the error: z_j z_j' in place of I is corrected by
the block that is known exactly. The signs stay the same from point to point, so that
the estimates are smooth in the parameters.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import alone, covariance, linear
from skglmm.engine.structure import FLOAT, INT, graph, to_numpy

_TOL, _MOST = 1e-9, 500
# Columns that are solved for together: from 32 on, TensorFlow's product with a sparse
# matrix takes five times as long for each of them.
_TOGETHER = 31
# Lanczos steps at first and at most, and the share of the Monte Carlo error that the
# last two of them may be worth.
_LEAST_STEPS, _MOST_STEPS, _SETTLED = 8, 64, 1e-3


def _split(x, sizes):
    return tf.split(x, tf.stack(sizes), num=len(sizes))


def _blocks(x, q):
    """(J q, c) as (J, q, c)."""
    return tf.reshape(x, [-1, q, tf.shape(x)[1]])


def _flat(x):
    """(J, q, c) as (J q, c)."""
    return tf.reshape(x, [-1, tf.shape(x)[2]])


def times_factor(t, x):
    """T x level by level, for T (q, q) and x (J q, c)."""
    q = t.shape[0]
    if q == 1:
        return t[0, 0] * x
    return _flat(tf.einsum("ik,jkc->jic", t, _blocks(x, q)))


def times_blocks(blocks, x):
    """Blocks (J, q, q) times x (J q, c)."""
    q = blocks.shape[1]
    if q == 1:
        return blocks[:, 0] * x
    return _flat(tf.matmul(blocks, _blocks(x, q)))


class Operator:
    """M = Lambda'Z'WZ Lambda + I at given factors, its first factor eliminated."""

    def __init__(self, sizes, own, couplings, factors):
        self.sizes, self._couplings, self.factors = sizes, couplings, factors
        self.inverse, self.roots, log_det = [], [], []
        for t, a in zip(factors, own, strict=True):
            inner = tf.einsum("ki,jkl,lm->jim", t, a, t)
            lower = tf.linalg.cholesky(inner + tf.eye(t.shape[0], dtype=FLOAT))
            self.roots.append(lower)
            # cholesky_solve of a broadcast identity is wrong once graphs are optimised
            half = tf.linalg.inv(lower)
            self.inverse.append(tf.matmul(half, half, transpose_a=True))
            diagonal = tf.linalg.diag_part(lower)
            log_det.append(2.0 * tf.reduce_sum(tf.math.log(diagonal)))
        self.log_det_blocks = tf.add_n(log_det)
        self.own = own

    def couple(self, r, s, x):
        """M_rs x for r != s."""
        x = times_factor(self.factors[s], x)
        if r < s:
            x = tf.sparse.sparse_dense_matmul(self._couplings[r, s], x)
        else:
            x = tf.sparse.sparse_dense_matmul(self._couplings[s, r], x, adjoint_a=True)
        return times_factor(tf.transpose(self.factors[r]), x)

    def diagonal(self, r, x):
        """M_rr x."""
        inner = times_blocks(self.own[r], times_factor(self.factors[r], x))
        return times_factor(tf.transpose(self.factors[r]), inner) + x

    def rest(self, x):
        """S x, for the other factors stacked."""
        parts = _split(x, self.sizes[1:])
        k = len(self.sizes)
        above = tf.add_n([self.couple(0, s, parts[s - 1]) for s in range(1, k)])
        above = times_blocks(self.inverse[0], above)
        out = []
        for r in range(1, k):
            y = self.diagonal(r, parts[r - 1]) - self.couple(r, 0, above)
            for s in range(1, k):
                if s != r:
                    y += self.couple(r, s, parts[s - 1])
            out.append(y)
        return tf.concat(out, 0)

    def precondition(self, x):
        """The block diagonal's inverse, for the other factors stacked."""
        parts = _split(x, self.sizes[1:])
        return tf.concat(
            [times_blocks(b, v) for b, v in zip(self.inverse[1:], parts, strict=True)],
            0,
        )

    def solve(self, rhs, start, goal=None):
        """M^-1 rhs by conjugate gradients; `start` is a guess for all but factor 0.

        Returns the solutions, the number of steps and what is left of each column (see
        `conjugate_gradients`).
        """
        first, *others = _split(rhs, self.sizes)
        k = len(self.sizes)
        lifted = times_blocks(self.inverse[0], first)
        right = tf.concat(
            [others[r - 1] - self.couple(r, 0, lifted) for r in range(1, k)], 0
        )
        x, n, left = conjugate_gradients(
            self.rest, self.precondition, right, start, goal or _strict
        )
        parts = _split(x, self.sizes[1:])
        above = tf.add_n([self.couple(0, s, parts[s - 1]) for s in range(1, k)])
        return tf.concat([lifted - times_blocks(self.inverse[0], above), x], 0), n, left

    def normalised(self, x):
        """C^-1 S C^-T x, C C' the block diagonal of S + B'D_1^-1 B."""
        parts = _split(x, self.sizes[1:])
        y = tf.concat(
            [
                _flat(
                    tf.linalg.triangular_solve(c, _blocks(v, c.shape[1]), adjoint=True)
                )
                for c, v in zip(self.roots[1:], parts, strict=True)
            ],
            0,
        )
        parts = _split(self.rest(y), self.sizes[1:])
        return tf.concat(
            [
                _flat(tf.linalg.triangular_solve(c, _blocks(v, c.shape[1])))
                for c, v in zip(self.roots[1:], parts, strict=True)
            ],
            0,
        )


def _strict(right, size):
    return _TOL**2 * right


def conjugate_gradients(apply, precondition, right, start, goal):
    """Solve for many columns at once, until each residual is small or steps run out.

    Residuals r are measured as r'Pr, P the preconditioner. `goal` maps the measures of
    the right-hand sides and of the first residuals to those that are small enough.

    Returns the solutions, the number of steps and what is left of every column.
    """

    def dot(a, b):
        return tf.reduce_sum(a * b, 0)

    residual = right - apply(start)
    step = precondition(residual)
    size = dot(residual, step)
    goal = goal(dot(right, precondition(right)), size) + 1e-300
    state = (tf.constant(0, INT), start, residual, step, size)

    def body(n, x, residual, direction, size):
        moved = apply(direction)
        curvature = dot(direction, moved)
        alpha = tf.where(size > goal, size / (curvature + 1e-300), tf.zeros_like(size))
        x += alpha * direction
        residual -= alpha * moved
        step = precondition(residual)
        new = dot(residual, step)
        beta = tf.where(size > goal, new / (size + 1e-300), tf.zeros_like(size))
        size = tf.where(size > goal, new, size)
        return n + 1, x, residual, step + beta * direction, size

    shape = tf.TensorShape([None, None])
    n, x, *_, size = tf.while_loop(
        lambda n, x, residual, direction, size: (
            (n < _MOST) & tf.reduce_any(size > goal)
        ),
        body,
        state,
        shape_invariants=(tf.TensorShape([]), *[shape] * 3, tf.TensorShape([None])),
        parallel_iterations=1,
    )
    return x, n, size


def _signature(effects, with_sums):
    pairs = [(r, s) for r in range(len(effects)) for s in range(r + 1, len(effects))]
    matrix = tf.TensorSpec([None, None], FLOAT)
    operator = {
        "sizes": tf.TensorSpec([len(effects)], INT),
        "own": tuple(tf.TensorSpec([None, q, q], FLOAT) for q in effects),
        "couplings": {pair: tf.SparseTensorSpec([None, None], FLOAT) for pair in pairs},
    }
    if not with_sums:
        return operator
    return operator | {"border": matrix, "sums": matrix}


@functools.cache
def compiled_begin(structure):
    """Covariance parameters to begin from: each factor as if it were the only one.

    The last column of the sums is taken to be free of the fixed columns.
    """
    effects = structure.n_effects

    def call(system, n_rows):
        sizes = tf.unstack(system["sizes"], num=len(effects))
        parts = _split(system["sums"][:, -1:], sizes)
        scores = [
            tf.transpose(tf.reshape(part, [-1, q]))
            for part, q in zip(parts, effects, strict=True)
        ]
        own = [tf.transpose(a, [1, 2, 0]) for a in system["own"]]
        variance = system["border"][-1, -1] / n_rows
        return alone.start(structure, own, scores, variance, n_rows)

    return graph(call, [_signature(effects, True), tf.TensorSpec([], FLOAT)])


@functools.cache
def compiled_evaluate(effects):
    """Solve for the border and the probes at given factors, traced once for effects.

    Returns
    -------
    out : dict
        ``fixed`` (see `linear.profile`); ``means`` (q, J) of u; ``moves`` (q, p, J),
        minus their derivatives in the fixed effects; ``squares`` (q, q), sums over
        levels of u u' / sigma^2, the means of u; ``inverse`` (q, q, c), sums of
        [M^-1]_jj by probe; ``own`` (q, q, J), [M^-1]_jj estimated; ``blocks``, the same
        of the block diagonal alone; ``start`` for the next solve; ``n_steps``.
    """

    def call(system, factors, n_rows, reml, probes, start):
        sizes = tf.unstack(system["sizes"], num=len(effects))
        operator = Operator(sizes, system["own"], system["couplings"], factors)
        parts = _split(system["sums"], sizes)
        border = tf.concat(
            [
                times_factor(tf.transpose(t), v)
                for t, v in zip(factors, parts, strict=True)
            ],
            0,
        )
        width = tf.shape(border)[1]
        solved, n_steps, _ = operator.solve(tf.concat([border, probes], 1), start)
        at_border, at_probes = solved[:, :width], solved[:, width:]
        explained = tf.matmul(border, at_border, transpose_a=True)
        fixed = linear.profile(system["border"] - explained, n_rows, reml)
        contrast = linear.contrast_of(fixed)
        out = {"fixed": fixed, "start": solved[sizes[0] :], "n_steps": n_steps}
        names = ("means", "moves", "squares", "inverse", "own", "blocks")
        out |= {name: [] for name in names}
        half = tf.transpose(fixed["half"])
        for q, x, y, z, block in zip(
            effects,
            _split(at_border, sizes),
            _split(at_probes, sizes),
            _split(probes, sizes),
            operator.inverse,
            strict=True,
        ):
            columns = _blocks(x, q)
            mean = tf.tensordot(columns, contrast, 1)  # (J, q)
            out["means"].append(tf.transpose(mean))
            out["moves"].append(tf.transpose(columns[:, :, :-1], [1, 2, 0]))
            out["squares"].append(tf.matmul(mean, mean, transpose_a=True))
            z = _blocks(z, q)
            extra = _blocks(y, q) - tf.matmul(block, z)
            by_probe = tf.einsum("jic,jkc->ikc", extra, z)
            by_probe = 0.5 * (by_probe + tf.transpose(by_probe, [1, 0, 2]))
            count = tf.cast(tf.shape(z)[2], FLOAT)
            by_level = tf.einsum("jic,jkc->ikj", extra, z) / count
            by_level = 0.5 * (by_level + tf.transpose(by_level, [1, 0, 2]))
            exact = tf.transpose(block, [1, 2, 0])
            # what the fixed effects add is known (REML)
            known = tf.matmul(columns[:, :, :-1], half)
            known = reml * tf.einsum("jip,jkp->ikj", known, known)
            by_probe += tf.reduce_sum(exact + known, -1)[:, :, None]
            out["inverse"].append(by_probe)
            out["own"].append(exact + by_level)
            out["blocks"].append(exact)
        out["squares"] = [s / fixed["variance"] for s in out["squares"]]
        return out

    return graph(call, _call_signature(effects, with_probes=True))


def _call_signature(effects, with_probes):
    scalar, matrix = tf.TensorSpec([], FLOAT), tf.TensorSpec([None, None], FLOAT)
    factors = tuple(tf.TensorSpec([q, q], FLOAT) for q in effects)
    system = _signature(effects, with_probes)
    if with_probes:
        return [system, factors, scalar, scalar, matrix, matrix]
    return [system, factors, matrix, tf.TensorSpec([], INT)]


@functools.cache
def compiled_log_det(effects):
    """log|M| by probe: what is known of it, and stochastic Lanczos quadrature.

    Takes signs (m, c) for all factors but the first, and the number of Lanczos steps.
    Returns the known part and, by probe, diagonals and off-diagonals (steps, c) of the
    tridiagonal matrices.
    """

    def call(system, factors, probes, n_steps):
        sizes = tf.unstack(system["sizes"], num=len(effects))
        operator = Operator(sizes, system["own"], system["couplings"], factors)
        norm = tf.norm(probes, axis=0)
        empty = tf.zeros([n_steps, tf.shape(probes)[1]], FLOAT)

        def body(n, v, before, beta, diagonals, others):
            w = operator.normalised(v) - beta * before
            alpha = tf.reduce_sum(w * v, 0)
            w -= alpha * v
            new = tf.norm(w, axis=0)
            here = tf.one_hot(n, n_steps, dtype=FLOAT)[:, None]
            scaled = tf.math.divide_no_nan(w, new)
            return n + 1, scaled, v, new, diagonals + here * alpha, others + here * new

        *_, diagonals, others = tf.while_loop(
            lambda n, *_: n < n_steps,
            body,
            (
                tf.constant(0, INT),
                probes / norm,
                tf.zeros_like(probes),
                tf.zeros_like(norm),
                empty,
                empty,
            ),
            parallel_iterations=1,
        )
        return operator.log_det_blocks, diagonals, others

    return graph(call, _call_signature(effects, with_probes=False))


def quadrature_of_log(diagonals, others, size):
    """z' log(S) z of every probe z of `size` signs, from its Lanczos matrix (numpy)."""
    from scipy.linalg import eigh_tridiagonal

    out = []
    for d, e in zip(diagonals.T, others.T, strict=True):
        short = np.flatnonzero(e < 1e-10)
        n = short[0] + 1 if len(short) else len(d)
        values, axes = eigh_tridiagonal(d[:n], e[: n - 1])
        out.append(size * (axes[0] ** 2) @ np.log(np.maximum(values, 1e-12)))
    return np.array(out)


def log_det(effects, system, factors, probes):
    """log|M| and its standard error, by Lanczos quadrature from signs (m, c).

    There are twice as many Lanczos steps until the last two change next to nothing.

    Parameters
    ----------
    effects : tuple of int
    system : dict
        ``sizes``, ``own`` and ``couplings`` as `compiled_evaluate` takes them.
    """
    sizes = system["sizes"].numpy()
    size = int(sizes[1:].sum())
    system = {name: system[name] for name in ("sizes", "own", "couplings")}
    factors = tuple(tf.convert_to_tensor(t, FLOAT) for t in factors)
    probes = [tf.constant(part, FLOAT) for part in _parts(probes[-size:], _TOGETHER)]
    n_steps = _LEAST_STEPS
    while True:
        n_steps = min(n_steps, size)
        found = [
            compiled_log_det(effects)(system, factors, part, tf.constant(n_steps, INT))
            for part in probes
        ]
        known = found[0][0]
        diagonals, others = (
            np.concatenate([part[k].numpy() for part in found], 1) for k in (1, 2)
        )
        parts = quadrature_of_log(diagonals, others, size)
        mean, error = parts.mean(), parts.std(ddof=1) / np.sqrt(len(parts))
        settled = n_steps >= min(_MOST_STEPS, size)
        if not settled:
            before = quadrature_of_log(diagonals[:-2], others[:-2], size)
            settled = abs(mean - before.mean()) <= _SETTLED * error
        if settled:
            return float(known) + float(mean), float(error)
        n_steps *= 2


class System:
    """One linear model as blocks and sparse couplings, on a device.

    Parameters
    ----------
    own : list of ndarray of shape (J, q, q)
        Z_j'WZ_j of each factor.
    couplings : dict
        For each pair r < s of factors Z_r'WZ_s as a scipy COO matrix.
    sums : ndarray of shape (m, p + 1)
        Z'W[X y], factor by factor, level by level.
    border : ndarray of shape (p + 1, p + 1)
        [X y]'W[X y].
    n_rows : float
    reml : bool
    """

    def __init__(self, own, couplings, sums, border, n_rows, reml):
        self.effects = tuple(a.shape[1] for a in own)
        self.sizes = [len(a) * a.shape[1] for a in own]
        self._system = {
            "sizes": tf.constant(self.sizes, INT),
            "own": tuple(tf.convert_to_tensor(a, FLOAT) for a in own),
            "couplings": {pair: _sparse(a) for pair, a in couplings.items()},
            "border": tf.convert_to_tensor(border, FLOAT),
            "sums": tf.convert_to_tensor(sums, FLOAT),
        }
        self._switches = tf.constant(n_rows, FLOAT), tf.constant(float(reml), FLOAT)
        self._width = sums.shape[1]
        # entries that one application of M touches
        self.work = sum(self.sizes) + sum(a.nnz for a in couplings.values())
        self._start = None

    def begin(self, structure):
        """Factors T to begin from; see `compiled_begin`."""
        theta = compiled_begin(structure)(self._system, self._switches[0])
        return list(covariance.factors_of(structure, theta.numpy()))

    def signs(self, n, rng):
        """Probes of random signs, (m, n)."""
        self._start = None
        return 2.0 * rng.integers(2, size=(sum(self.sizes), n)) - 1.0

    def evaluate(self, factors, probes):
        """See `compiled_evaluate`, as numpy."""
        room = _TOGETHER - self._width
        # every part has the border's columns as well
        parts = _parts(probes, room if 2 * room > _TOGETHER else probes.shape[1])
        if self._start is None:
            rows, width = sum(self.sizes[1:]), self._width
            self._start = [tf.zeros([rows, width + a.shape[1]], FLOAT) for a in parts]
        factors = tuple(tf.convert_to_tensor(t, FLOAT) for t in factors)
        found = []
        for k, part in enumerate(parts):
            out = compiled_evaluate(self.effects)(
                self._system,
                factors,
                *self._switches,
                tf.convert_to_tensor(part, FLOAT),
                self._start[k],
            )
            self._start[k] = out.pop("start")
            found.append(to_numpy(out))
        if len(parts) == 1:
            return found[0]
        share = [a.shape[1] / probes.shape[1] for a in parts]
        inverse = zip(*(out["inverse"] for out in found), strict=True)
        own = zip(*(out["own"] for out in found), strict=True)
        return found[0] | {
            "inverse": [np.concatenate(a, -1) for a in inverse],
            "own": [np.tensordot(share, np.stack(a), 1) for a in own],
            "n_steps": max(out["n_steps"] for out in found),
        }

    def log_det(self, factors, probes):
        """log|M| and its standard error."""
        return log_det(self.effects, self._system, factors, probes)


def _parts(probes, most):
    """The columns in parts of about the same size, `most` at most."""
    n = -(-probes.shape[1] // most)
    return np.array_split(probes, n, axis=1)


def _sparse(matrix):
    indices = np.stack([matrix.row, matrix.col], 1).astype(np.int64)
    return tf.sparse.SparseTensor(indices, matrix.data, matrix.shape)
