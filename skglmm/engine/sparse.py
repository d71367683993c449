"""The inner problem of crossed factors too large for a dense core.

The means of the fixed and of all random effects are moved together, by conjugate
gradients on the operator of `engine.iterative`. The posterior covariance is the partial
one: that of each large factor alone with its rows, and the covariances with the small
factors, which are solved for like columns of the fixed part. It costs sums over rows
and nothing else. What couples the large factors is added by `engine.couplings`.
"""

import functools
from dataclasses import dataclass

import tensorflow as tf

from skglmm.engine import blocks, couplings, covariance, dense
from skglmm.engine.couplings import Sums, by_level
from skglmm.engine.inner import INNER_STEPS, RIDGE, Inner
from skglmm.engine.iterative import Operator, times_factor
from skglmm.engine.rows import rows_of
from skglmm.engine.statistics import by_effect, times
from skglmm.engine.structure import FLOAT, INT, data_spec, graph, index_spec

# Share of the error, in the operator's norm, that a turn leaves in the step and in the
# columns that it shares with the next turn.
_STEP, _COLUMNS, _END = 1e-4, 1e-4, 1e-16


@dataclass(frozen=True)
class SparseInner(Inner):
    """`Inner` for an iterative plan; see there.

    Parameters
    ----------
    kept : tuple of bool
        The small factors, which keep their covariances with everything. They come
        last.
    coupled : bool, default=False
        Whether the couplings between the large factors count, to second order.
    """

    kept: tuple = ()
    coupled: bool = False

    @property
    def _large(self):
        return [r for r, keep in enumerate(self.kept) if not keep]

    @property
    def _small(self):
        return [r for r, keep in enumerate(self.kept) if keep]

    def _size(self, index, r):
        """Number of effects of all levels."""
        return index["n_levels"][r] * self.structure.n_effects[r]

    def blank_memory(self, index, p):
        n_rest = sum(self._size(index, r) for r in self._large[1:])
        width = p if self.joint else 0 * p
        width += sum(self._size(index, r) for r in self._small)
        return tf.zeros([n_rest, width], FLOAT)

    @property
    def careful(self):
        """Weights are positive: where the true ones are not, a majorant's."""
        return False

    def terms(self, data, eta, variance, nodes):
        """See `Inner.terms`."""
        density, score, weight = super().terms(data, eta, variance, nodes)
        return density, score, self.steep(data, eta, weight)

    # ------------------------------------------------------------------- sums

    def _reduce(self, index, data, r, values):
        """Z_r'D as (J q, c), for D (n, c) that carries its weights."""
        n_levels, q = index["n_levels"][r], self.structure.n_effects[r]
        z = rows_of(self.structure, data).values(r)
        sums = by_effect(values, index["level_of_row"][r], n_levels, None, z)
        shape = [n_levels * q, tf.shape(values)[1]]
        return tf.reshape(blocks.stack(sums, 1), shape)

    def matrices(self, index, data, factors, weight, joined=None):
        """Z'WZ, and the sums Z'D of columns D that are read in the same pass."""
        structure, n_levels = self.structure, index["n_levels"]
        effects = structure.n_effects
        here = rows_of(structure, data)
        z = [here.values(r) for r in range(len(effects))]
        own, sums, couplings = [], [], {}
        for r, q in enumerate(effects):
            table = blocks.stack([times(weight, a) for a in z[r]], 1)
            if joined is not None:
                table = tf.concat([table, joined], 1)
            found = self._reduce(index, data, r, table)
            own.append(tf.ensure_shape(by_level(found[:, :q], q), [q, q, None]))
            sums.append(found[:, q:])
            for s in range(r + 1, len(effects)):
                cell = index["cell_of_row"][r, s]
                place = index["place"][r, s]
                n_cells = tf.shape(place)[0] // (q * effects[s])
                products = [times(weight, a, b) for a in z[r] for b in z[s]]
                values = blocks.scatter_at(blocks.stack(products, 1), cell, n_cells)
                shape = tf.stack([n_levels[r] * q, n_levels[s] * effects[s]])
                couplings[r, s] = tf.SparseTensor(
                    place, tf.reshape(values, [-1]), tf.cast(shape, tf.int64)
                )
        return Sums(effects, tuple(factors), own, couplings), sums

    def _operator(self, index, sums):
        large = self._large
        return Operator(
            [self._size(index, r) for r in large],
            [tf.transpose(sums.own[r], [2, 0, 1]) for r in large],
            {
                (i, k): sums.couplings[large[i], large[k]]
                for i in range(len(large))
                for k in range(i + 1, len(large))
            },
            [sums.factors[r] for r in large],
        )

    # ------------------------------------------------------------------ newton

    def _eliminate(self, index, sums, operator, by_factor, p, start, goal):
        """Solve for the columns of the fixed part, of the small factors and others.

        Parameters
        ----------
        by_factor : list of (J q, p + c) tensors
            Right-hand sides, Z'WX and c others; for the large factors times T'.
        p : scalar
            Number of columns of the fixed part.
        start : (n_rest, p + m + c) tensor
        goal : callable
            See `iterative.conjugate_gradients`.

        Returns
        -------
        system : dict
            ``right`` and ``solved``, stacked, p + m + c columns; by large factor
            ``alone``, the solutions but for the small factors, ``small``, those for
            them, and ``seen``, their columns; ``left``, what conjugate gradients
            left over.
        """
        large, small = self._large, self._small
        right, seen = [], {}
        for r in large:
            parts = [by_factor[r][:, :p], by_factor[r][:, p:]]
            if small:
                columns = [sums.across(r, s, self._eye(index, s)) for s in small]
                seen[r] = tf.concat(columns, 1)
                parts.insert(1, times_factor(tf.transpose(sums.factors[r]), seen[r]))
            right.append(tf.concat(parts, 1))
        right = tf.concat(right, 0)
        solved, _, left = operator.solve(right, start, goal)
        found = dict(zip(large, tf.split(solved, operator.sizes), strict=True))
        m = sum(self._size(index, r) for r in small)
        return {
            "right": right,
            "solved": solved,
            "alone": {
                r: tf.concat([x[:, :p], x[:, p + m :]], 1) for r, x in found.items()
            },
            "small": {r: x[:, p : p + m] for r, x in found.items()},
            "seen": seen,
            "left": left,
        }

    def _eye(self, index, r):
        return tf.eye(self._size(index, r), dtype=FLOAT)

    def _schur(self, index, sums, by_factor, system, among_fixed):
        """What is left for the fixed effects and the small factors.

        Returns
        -------
        matrix : (p + m, p + m) tensor
            For the fixed effects and the spherical effects of the small factors.
        scale : (m, m) tensor
            Lambda of the small factors.
        unscaled : (m, m) tensor
            Their information, unscaled, the large factors integrated out.
        """
        small, p = self._small, tf.shape(among_fixed)[0]
        width = p + sum(self._size(index, r) for r in small)
        right, solved = system["right"][:, :width], system["solved"][:, :width]
        explained = tf.matmul(right, solved, transpose_a=True)
        explained = 0.5 * (explained + tf.transpose(explained))
        fixed = among_fixed + RIDGE * tf.eye(p, dtype=FLOAT)
        if not small:
            return fixed - explained, None, None
        own = [
            tf.concat([sums.across(r, s, self._eye(index, s)) for s in small], 1)
            for r in small
        ]
        scale = dense.block_diagonal(
            [times_factor(sums.factors[r], self._eye(index, r)) for r in small]
        )
        across = tf.concat([by_factor[r][:, :p] for r in small], 0) - explained[p:, :p]
        unscaled = tf.concat(own, 0) - explained[p:, p:]
        across = tf.matmul(scale, across, transpose_a=True)
        corner = tf.matmul(scale, tf.matmul(unscaled, scale), transpose_a=True)
        corner += tf.eye(tf.shape(corner)[0], dtype=FLOAT)
        upper = tf.concat([fixed - explained[:p, :p], tf.transpose(across)], 1)
        return tf.concat([upper, tf.concat([across, corner], 1)], 0), scale, unscaled

    def _marginal(self, matrix, p):
        """The fixed effects' part of `_schur` without the small factors.

        Returns
        -------
        normal : (p, p) tensor
        within : (m, p) tensor or None
            What the small factors take up of the columns.
        """
        normal = matrix[:p, :p]
        if not self._small:
            return normal, None
        within = tf.linalg.solve(matrix[p:, p:], matrix[p:, :p])
        return normal - tf.matmul(matrix[:p, p:], within), within

    def _with_small(self, index, system, scale, steps, within):
        """Steps of all factors, from those of the large without the small ones."""
        if not self._small:
            return steps
        moved = tf.matmul(scale, within)
        steps = {r: x - tf.matmul(system["small"][r], moved) for r, x in steps.items()}
        sizes = [self._size(index, r) for r in self._small]
        parts = tf.split(within, tf.stack(sizes), num=len(sizes))
        return steps | dict(zip(self._small, parts, strict=True))

    def newton(self, index, data, factors, weight, response, s, tol):
        """See `Inner.newton`; the step is solved for up to a share of its size."""
        coef, u = s["coef"], s["spherical"]
        if not self.joint:
            data, coef = data | {"X": data["X"][:, :0]}, coef[:0]
        x = data["X"]
        p, small = tf.shape(x)[1], self._small
        effects = [tf.matmul(t, v) for t, v in zip(factors, u, strict=True)]
        here = rows_of(self.structure, data).random_part(effects)
        here += tf.linalg.matvec(x, coef)
        missing = response - weight * here
        columns = tf.concat([weight[:, None] * x, missing[:, None]], 1)
        sums, reduced = self.matrices(index, data, factors, weight, columns)
        operator = self._operator(index, sums)
        stacked = [tf.reshape(tf.transpose(v), [-1, 1]) for v in u]
        by_factor = list(reduced)
        for r in self._large:
            found = times_factor(tf.transpose(factors[r]), reduced[r])
            away = found[:, p:] - stacked[r]
            by_factor[r] = tf.concat([found[:, :p], away], 1)

        def goal(right, size):
            share = tf.constant(_COLUMNS**2, FLOAT)
            if small:
                # the posterior is made of these columns
                share = tf.minimum(share, 1e-4 * tol)
            wanted = tf.concat([share * right[:-1], right[-1:] * _STEP], 0)
            floor = tf.concat([tf.zeros_like(right[:-1]), 1e-2 * tol[None]], 0)
            return tf.maximum(wanted, floor)

        start = tf.pad(s["memory"], [[0, 0], [0, 1]])
        system = self._eliminate(index, sums, operator, by_factor, p, start, goal)
        among = tf.matmul(x, columns, transpose_a=True)
        matrix, scale, unscaled = self._schur(
            index, sums, by_factor, system, among[:, :p]
        )
        explained = tf.linalg.matvec(
            system["solved"][:, :-1], system["right"][:, -1], transpose_a=True
        )
        toward = among[:, p] - RIDGE * coef - explained[:p]
        if small:
            wanted = tf.concat([reduced[r][:, p] for r in small], 0) - explained[p:]
            pulled = tf.linalg.matvec(scale, wanted, transpose_a=True)
            pulled -= tf.concat([stacked[r][:, 0] for r in small], 0)
            toward = tf.concat([toward, pulled], 0)
        step = _solve(matrix, toward)[:, None]
        steps = {
            r: found[:, p:] - tf.matmul(found[:, :p], step[:p])
            for r, found in system["alone"].items()
        }
        steps = self._with_small(index, system, scale, steps, step[p:])
        h, spherical = [], []
        for r, q in enumerate(self.structure.n_effects):
            remaining = reduced[r][:, p:] - tf.matmul(reduced[r][:, :p], step[:p])
            remaining -= sums.applied(r, steps)
            h.append(by_level(remaining, q)[:, 0])
            spherical.append(u[r] + by_level(steps[r], q)[:, 0])
        normal, alone = s["normal"], s["alone"]
        if self.joint:
            coef += step[:p, 0]
            normal, _ = self._marginal(matrix, p)
            alone = among[:, :p] + RIDGE * tf.eye(p, dtype=FLOAT)
        return {
            "coef": coef if self.joint else s["coef"],
            "spherical": tuple(spherical),
            "scores": tuple(h),
            "normal": normal,
            "alone": alone,
            "memory": system["solved"][operator.sizes[0] :, :-1],
            "left": system["left"][-1],
            "state": (sums, operator, system, scale, unscaled, matrix[p:, p:]),
        }

    def end(self, index, data, aux, weight):
        """See `Inner.end`; columns are solved for exactly."""
        x, factors = data["X"], aux["estimates"]["factors"]
        p = tf.shape(x)[1]
        weighted = weight[:, None] * x
        sums, by_factor = self.matrices(index, data, factors, weight, weighted)
        operator = self._operator(index, sums)
        for r in self._large:
            by_factor[r] = times_factor(tf.transpose(factors[r]), by_factor[r])
        system = self._eliminate(
            index,
            sums,
            operator,
            by_factor,
            p,
            aux["memory"],
            lambda right, size: _END * right,
        )
        among = tf.matmul(x, weighted, transpose_a=True)
        matrix, scale, _ = self._schur(index, sums, by_factor, system, among)
        normal, within = self._marginal(matrix, p)
        moves = self._with_small(index, system, scale, system["alone"], within)
        posterior = list(aux["estimates"]["posterior"])
        if self.coupled:
            for r, wider in couplings.smooth(sums, operator, self._large).items():
                posterior[r] += wider
        return {
            "moves": tuple(
                by_level(times_factor(factors[r], moves[r]), q)
                for r, q in enumerate(self.structure.n_effects)
            ),
            "normal": normal,
            "posterior": tuple(posterior),
        }

    # ------------------------------------------------------------------ spread

    def spread_of(self, index, data, factors, state):
        """Posterior blocks, row variances and the bound's remaining terms."""
        sums, operator, system, scale, unscaled, inner = state
        structure, effects = self.structure, self.structure.n_effects
        own = [
            tf.zeros([q, q, index["n_levels"][r]], FLOAT) for r, q in enumerate(effects)
        ]
        info = list(own)
        for i, r in enumerate(self._large):
            t, a = factors[r], sums.own[r]
            inverse = tf.transpose(operator.inverse[i], [1, 2, 0])
            own[r] = blocks.right(blocks.left(t, inverse), tf.transpose(t))
            info[r] = a - blocks.product(a, blocks.product(own[r], a))
        log_det, variance = operator.log_det_blocks, tf.zeros([], FLOAT)
        if self.coupled:
            met, log_det_met, variance = couplings.second_order(
                structure, index, data, sums, own, self._large
            )
            log_det -= log_det_met
            for r in self._large:
                a, c = sums.own[r], own[r]
                shrink = blocks.identity(effects[r]) - blocks.product(a, c)
                info[r] -= blocks.product_nt(blocks.product(shrink, met[r]), shrink)
                own[r] = c + blocks.product(c, blocks.product(met[r], c))
        variance += rows_of(structure, data).variance_apart(own)
        if self._small:
            lower = tf.linalg.cholesky(inner)
            log_det += 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower)))
            # covariance of the small factors is half'half
            half = tf.linalg.triangular_solve(lower, tf.transpose(scale))
            covariance = tf.matmul(half, half, transpose_a=True)
            projected = unscaled - tf.matmul(unscaled, tf.matmul(covariance, unscaled))
            at = tf.constant(0)
            halves = {}
            for r in self._small:
                here = slice(at, at + self._size(index, r))
                own[r] = dense.diagonal_blocks(covariance[here, here], effects[r])
                info[r] = dense.diagonal_blocks(projected[here, here], effects[r])
                halves[r] = tf.transpose(half[:, here])
                at = here.stop
            for r in self._large:
                # minus T F half', and half of what the scores lose
                moved = times_factor(factors[r], system["small"][r])
                halves[r] = -tf.matmul(moved, half, transpose_b=True)
                own[r] += blocks.square_nt(by_level(halves[r], effects[r]))
                lost = system["seen"][r] - sums.applied(r, system["small"])
                lost = tf.matmul(lost, half, transpose_b=True)
                info[r] -= blocks.square_nt(by_level(lost, effects[r]))
            variance += self._shared_variance(data, halves, tf.shape(half)[0])
        counts = self._counts(factors, info)
        return tuple(own), tuple(info), variance, log_det, counts

    def _shared_variance(self, data, halves, m):
        """Row variances that come from the small factors, one axis at a time."""
        effects = self.structure.n_effects

        def add(a, total):
            by_effect = [
                by_level(halves[r][:, a : a + 1], q)[:, 0]
                for r, q in enumerate(effects)
            ]
            part = rows_of(self.structure, data).random_part(by_effect)
            return a + 1, total + part * part

        return tf.while_loop(
            lambda a, _: a < m,
            add,
            (tf.constant(0), tf.zeros_like(data["y"])),
            parallel_iterations=1,
        )[1]


@functools.cache
def compiled_mode(structure, family):
    """-2 log-likelihood at the mode, less log|M|, and the blocks of Z'WZ there."""
    kept = (False,) * len(structure.n_effects)
    inner = SparseInner(structure, family, spread=False, joint=False, kept=kept)

    def call(index, data, coef, means, theta, tol):
        factors = covariance.to_factors(structure, theta)
        p, zeros = tf.shape(coef)[0], tf.zeros_like(data["y"])
        start = {
            "coef": coef,
            "spherical": tuple(tf.zeros_like(m) for m in means),
            "variance": zeros,
            "eta": inner.eta(data, coef, means),
            "memory": inner.blank_memory(index, p),
        }
        steps = tf.constant(INNER_STEPS, INT)
        nodes = tf.zeros([2, 1], FLOAT)
        end = inner.run(index, data, factors, start, nodes, tol, steps)
        _, _, weight = inner.terms(data, end["eta"], zeros, nodes)
        sums, _ = inner.matrices(index, data, factors, weight)
        own = tuple(tf.transpose(a, [2, 0, 1]) for a in sums.own)
        value = end["value"] - end["penalty"]
        return value, own, sums.couplings, factors

    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure, family),
            tf.TensorSpec([None], FLOAT),
            tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects),
            tf.TensorSpec([sum(covariance.n_parameters(structure))], FLOAT),
            tf.TensorSpec([], FLOAT),
        ],
    )


def _solve(matrix, right):
    lower = tf.linalg.cholesky(matrix)
    return tf.linalg.cholesky_solve(lower, right[:, None])[:, 0]
