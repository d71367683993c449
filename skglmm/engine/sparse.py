"""The inner problem of crossed factors too large for a dense core.

The means of the fixed and of all random effects are moved together, by conjugate
gradients on the operator of `engine.iterative`. The posterior covariance is the partial
one: that of each large factor alone with its rows, and the covariances with the small
factors, which are solved for like columns of the fixed part. It costs sums over rows
and nothing else.

Sums over rows are products with sparse matrices of ones: TensorFlow's segment sums
over unsorted rows take ten times as long.
"""

import functools
from dataclasses import dataclass

import tensorflow as tf

from skglmm.engine import blocks, covariance, rows
from skglmm.engine.inner import RIDGE, Inner
from skglmm.engine.iterative import Operator
from skglmm.engine.statistics import row_values, times
from skglmm.engine.structure import FLOAT, INT, data_spec, graph, index_spec

# Share of the error, in the operator's norm, that a turn leaves in the step and in the
# columns that it shares with the next turn.
_STEP, _COLUMNS, _END = 1e-4, 1e-4, 1e-16
# Steps from constant effects to smooth ones.
_KRYLOV = 12


def _ones(indices, n_rows, n_columns):
    """Sparse matrix of ones."""
    values = tf.ones([tf.shape(indices)[0]], FLOAT)
    shape = tf.cast(tf.stack([n_rows, n_columns]), tf.int64)
    return tf.SparseTensor(indices, values, shape)


def _flat(values):
    """(q, c, J) as (J q, c), level by level."""
    q, c = values.shape[0], tf.shape(values)[1]
    return tf.reshape(tf.transpose(values, [2, 0, 1]), [tf.shape(values)[2] * q, c])


def _by_level(values, q):
    """(J q, c) as (q, c, J)."""
    c = tf.shape(values)[1]
    return tf.transpose(tf.reshape(values, [-1, q, c]), [1, 2, 0])


def _times(t, x):
    """T x level by level, for T (q, q) and x (J q, c)."""
    q = t.shape[0]
    if q == 1:
        return t[0, 0] * x
    return _flat(blocks.left(t, _by_level(x, q)))


@dataclass(frozen=True)
class _Sums:
    """Z'WZ at given weights, with the factors that scale it.

    Parameters
    ----------
    effects : tuple of int
    factors : tuple of (q, q) tensors
    own : list of (q, q, J) tensors
    couplings : dict
        Sparse Z_r'WZ_s for r < s.
    """

    effects: tuple
    factors: tuple
    own: list
    couplings: dict

    def across(self, r, s, b):
        """Z_r'WZ_s b for b (J_s q_s, c)."""
        if r == s:
            return _flat(blocks.product(self.own[r], _by_level(b, self.effects[r])))
        if r < s:
            return tf.sparse.sparse_dense_matmul(self.couplings[r, s], b)
        return tf.sparse.sparse_dense_matmul(self.couplings[s, r], b, adjoint_a=True)

    def applied(self, r, u):
        """Z_r'WZ T u for the spherical effects of some factors, a dict."""
        return tf.add_n(
            [self.across(r, s, _times(self.factors[s], v)) for s, v in u.items()]
        )


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

    # ------------------------------------------------------------------- sums

    def _reduce(self, index, data, r, values):
        """Z_r'D as (J q, c), for D (n, c) that carries its weights."""
        n_levels = index["n_levels"][r]
        to_level = _ones(index["level_of_row"][r], tf.shape(values)[0], n_levels)
        columns = [
            values if z is None else z[:, None] * values
            for z in row_values(self.structure, data["rows"], r)
        ]
        table = columns[0] if len(columns) == 1 else tf.concat(columns, 1)
        sums = tf.sparse.sparse_dense_matmul(to_level, table, adjoint_a=True)
        q = self.structure.n_effects[r]
        return tf.reshape(sums, [n_levels * q, tf.shape(values)[1]])

    def matrices(self, index, data, factors, weight, joined=None):
        """Z'WZ, and the sums Z'D of columns D that are read in the same pass."""
        structure, n_levels = self.structure, index["n_levels"]
        effects = structure.n_effects
        z = [row_values(structure, data["rows"], r) for r in range(len(effects))]
        own, sums, couplings = [], [], {}
        for r, q in enumerate(effects):
            products = [weight] if z[r] == [None] else [times(weight, a) for a in z[r]]
            table = tf.stack(products, 1)
            if joined is not None:
                table = tf.concat([table, joined], 1)
            found = self._reduce(index, data, r, table)
            own.append(tf.ensure_shape(_by_level(found[:, :q], q), [q, q, None]))
            sums.append(found[:, q:])
            for s in range(r + 1, len(effects)):
                cell = index["cell_of_row"][r, s]
                place = index["place"][r, s]
                n_cells = tf.shape(place)[0] // (q * effects[s])
                to_cell = _ones(cell, tf.shape(weight)[0], n_cells)
                products = [times(weight, a, b) for a in z[r] for b in z[s]]
                values = tf.sparse.sparse_dense_matmul(
                    to_cell, tf.stack(products, 1), adjoint_a=True
                )
                shape = tf.stack([n_levels[r] * q, n_levels[s] * effects[s]])
                couplings[r, s] = tf.SparseTensor(
                    place, tf.reshape(values, [-1]), tf.cast(shape, tf.int64)
                )
        return _Sums(effects, tuple(factors), own, couplings), sums

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

    def _eliminate(self, index, data, sums, operator, by_factor, start, goal):
        """Solve for the columns of the fixed part, of the small factors and others.

        Parameters
        ----------
        by_factor : list of (J q, p + c) tensors
            Right-hand sides, Z'WX and c others; for the large factors times T'.
        start : (n_rest, p + m_small + c) tensor
        goal : callable
            See `iterative.conjugate_gradients`.

        Returns
        -------
        system : dict
            ``solved`` by large factor; ``rest``, a start for the next turn; ``left``,
            what conjugate gradients left over; ``seen``, the columns of the small
            factors by large factor.
        """
        large, small = self._large, self._small
        p = tf.shape(data["X"])[1]
        right, seen = [], {}
        for r in large:
            scaled = by_factor[r]
            parts = [scaled[:, :p]]
            if small:
                seen[r] = tf.concat(
                    [
                        sums.across(r, s, tf.eye(self._size(index, s), dtype=FLOAT))
                        for s in small
                    ],
                    1,
                )
                parts.append(_times(tf.transpose(sums.factors[r]), seen[r]))
            right.append(tf.concat([*parts, scaled[:, p:]], 1))
        right = tf.concat(right, 0)
        solved, _, left = operator.solve(right, start, goal)
        return {
            "right": right,
            "solved": dict(zip(large, tf.split(solved, operator.sizes), strict=True)),
            "stacked": solved,
            "rest": solved[operator.sizes[0] :],
            "left": left,
            "seen": seen,
        }

    def _small_matrix(self, index, sums):
        """Z'WZ of the small factors among themselves, dense, and their Lambda."""
        small = self._small
        sizes = [self._size(index, r) for r in small]
        eyes = [tf.eye(n, dtype=FLOAT) for n in sizes]
        matrix = tf.concat(
            [
                tf.concat(
                    [sums.across(r, s, e) for s, e in zip(small, eyes, strict=True)], 1
                )
                for r in small
            ],
            0,
        )
        scale = tf.linalg.LinearOperatorBlockDiag(
            [
                tf.linalg.LinearOperatorFullMatrix(_times(sums.factors[r], e))
                for r, e in zip(small, eyes, strict=True)
            ]
        ).to_dense()
        return matrix, scale, sizes

    def _schur(self, index, data, sums, by_factor, system, among_fixed):
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
        p = tf.shape(data["X"])[1]
        width = tf.shape(system["right"])[1] - self._n_others(system, by_factor, p)
        right, solved = system["right"][:, :width], system["stacked"][:, :width]
        explained = tf.matmul(right, solved, transpose_a=True)
        explained = 0.5 * (explained + tf.transpose(explained))
        fixed = among_fixed + RIDGE * tf.eye(p, dtype=FLOAT)
        if not self._small:
            return fixed - explained, None, None
        own, scale, _ = self._small_matrix(index, sums)
        across = tf.concat([by_factor[r][:, :p] for r in self._small], 0)
        matrix = tf.concat(
            [
                tf.concat([fixed, tf.transpose(across)], 1),
                tf.concat([across, own], 1),
            ],
            0,
        )
        matrix -= explained
        unscaled = matrix[p:, p:]
        lower = tf.matmul(scale, matrix[p:], transpose_a=True)
        corner = tf.matmul(lower[:, p:], scale)
        corner += tf.eye(tf.shape(corner)[0], dtype=FLOAT)
        upper = tf.concat([matrix[:p, :p], tf.transpose(lower[:, :p])], 1)
        matrix = tf.concat([upper, tf.concat([lower[:, :p], corner], 1)], 0)
        return matrix, scale, unscaled

    @staticmethod
    def _n_others(system, by_factor, p):
        return tf.shape(by_factor[0])[1] - p

    def newton(self, index, data, factors, weight, response, s, tol):
        """See `Inner.newton`; the step is solved for up to a share of its size."""
        coef, u = s["coef"], s["spherical"]
        if not self.joint:
            data, coef = data | {"X": data["X"][:, :0]}, coef[:0]
        x = data["X"]
        p, large, small = tf.shape(x)[1], self._large, self._small
        effects = [tf.matmul(t, v) for t, v in zip(factors, u, strict=True)]
        here = rows.random_part(self.structure, data["rows"], effects)
        here += tf.linalg.matvec(x, coef)
        missing = response - weight * here
        weighted = weight[:, None] * x
        columns = tf.concat([weighted, missing[:, None]], 1)
        sums, reduced = self.matrices(index, data, factors, weight, columns)
        operator = self._operator(index, sums)
        by_factor = []
        for r, (t, v, found) in enumerate(zip(factors, u, reduced, strict=True)):
            if r in large:
                found = _times(tf.transpose(t), found)
                away = tf.reshape(tf.transpose(v), [-1, 1])
                found = tf.concat([found[:, :p], found[:, p:] - away], 1)
            by_factor.append(found)

        def goal(right, size):
            share = tf.constant(_COLUMNS**2, FLOAT)
            if small:
                # the posterior is made of these columns
                share = tf.minimum(share, 1e-4 * tol)
            wanted = tf.concat([share * right[:-1], right[-1:] * _STEP], 0)
            floor = tf.concat([tf.zeros_like(right[:-1]), 1e-2 * tol[None]], 0)
            return tf.maximum(wanted, floor)

        start = tf.pad(s["memory"], [[0, 0], [0, 1]])
        system = self._eliminate(index, data, sums, operator, by_factor, start, goal)
        among = tf.matmul(x, columns, transpose_a=True)
        matrix, scale, unscaled = self._schur(
            index, data, sums, by_factor, system, among[:, :p]
        )
        solved, right = system["stacked"], system["right"]
        toward = [among[:, p] - RIDGE * coef]
        if small:
            wanted = tf.concat([reduced[r][:, p] for r in small], 0)
            # the columns of the small factors are not scaled: neither is their step
            toward.append(wanted)
        toward = tf.concat(toward, 0)
        toward -= tf.linalg.matvec(solved[:, :-1], right[:, -1], transpose_a=True)
        if small:
            pulled = tf.linalg.matvec(scale, toward[p:], transpose_a=True)
            pulled -= tf.concat(
                [tf.reshape(tf.transpose(u[r]), [-1]) for r in small], 0
            )
            toward = tf.concat([toward[:p], pulled], 0)
        step = _solve(matrix, toward)
        moved = step
        if small:
            moved = tf.concat([step[:p], tf.linalg.matvec(scale, step[p:])], 0)
        by_large = {
            r: part[:, -1:] - tf.matmul(part[:, :-1], moved[:, None])
            for r, part in system["solved"].items()
        }
        steps = dict(by_large)
        if small:
            sizes = [self._size(index, r) for r in small]
            parts = tf.split(step[p:, None], tf.stack(sizes), num=len(small))
            steps |= dict(zip(small, parts, strict=True))
        h, spherical = [], []
        for r, q in enumerate(self.structure.n_effects):
            left = reduced[r][:, p:] - tf.matmul(reduced[r][:, :p], step[:p, None])
            left -= sums.applied(r, steps)
            h.append(_by_level(left, q)[:, 0])
            spherical.append(u[r] + _by_level(steps[r], q)[:, 0])
        normal = matrix[:p, :p]
        if small:
            across = matrix[:p, p:]
            within = tf.linalg.solve(matrix[p:, p:], tf.transpose(across))
            normal -= tf.matmul(across, within)
        alone = among[:, :p] + RIDGE * tf.eye(p, dtype=FLOAT)
        return {
            "coef": coef + step[:p] if self.joint else s["coef"],
            "spherical": tuple(spherical),
            "scores": tuple(h),
            "normal": normal if self.joint else s["normal"],
            "alone": alone if self.joint else s["alone"],
            "memory": system["rest"][:, :-1],
            "left": system["left"][-1],
            "state": (sums, operator, system, scale, unscaled),
        }

    def end(self, index, data, aux, weight):
        """See `Inner.end`; columns are solved for exactly."""
        x, factors = data["X"], aux["estimates"]["factors"]
        p = tf.shape(x)[1]
        weighted = weight[:, None] * x
        sums, reduced = self.matrices(index, data, factors, weight, weighted)
        operator = self._operator(index, sums)
        by_factor = [
            _times(tf.transpose(t), found) if r in self._large else found
            for r, (t, found) in enumerate(zip(factors, reduced, strict=True))
        ]
        system = self._eliminate(
            index,
            data,
            sums,
            operator,
            by_factor,
            aux["memory"],
            lambda right, size: _END * right,
        )
        among = tf.matmul(x, weighted, transpose_a=True)
        matrix, scale, _ = self._schur(index, data, sums, by_factor, system, among)
        normal, within = matrix[:p, :p], None
        if self._small:
            within = tf.linalg.solve(matrix[p:, p:], matrix[p:, :p])
            normal -= tf.matmul(matrix[:p, p:], within)
        moves = {
            r: part[:, :p]
            if within is None
            else part[:, :p] - tf.matmul(part[:, p:], tf.matmul(scale, within))
            for r, part in system["solved"].items()
        }
        if self._small:
            sizes = [self._size(index, r) for r in self._small]
            parts = tf.split(within, tf.stack(sizes), num=len(sizes))
            moves |= dict(zip(self._small, parts, strict=True))
        posterior = list(aux["estimates"]["posterior"])
        if self.coupled:
            for r, wider in self._smooth(index, sums, operator).items():
                posterior[r] += wider
        return {
            "moves": tuple(
                _by_level(_times(factors[r], moves[r]), q)
                for r, q in enumerate(self.structure.n_effects)
            ),
            "normal": normal,
            "posterior": tuple(posterior),
        }

    def _smooth(self, index, sums, operator):
        """What smooth directions add to the covariances of the levels.

        All levels of a factor may move one way and those of another the other way: the
        second order in the couplings knows little of that. With M = D + E and pairs
        E y = e D y, y'Dy = 1, the diagonal blocks of M^-1 are those of the second order
        plus the sum of -e^3 / (1 + e) y_j y_j'. The pairs are Ritz pairs of the space
        that begins with constant effects.
        """
        effects, large = self.structure.n_effects, self._large
        sizes = [self._size(index, r) for r in large]

        def split(y):
            return dict(
                zip(large, tf.split(y, tf.stack(sizes), num=len(large)), strict=True)
            )

        def scaled(blocks_, y):
            """Blocks (J, q, q) of every factor times y."""
            parts = split(y)
            return tf.concat(
                [
                    _flat(
                        blocks.product(
                            tf.transpose(b, [1, 2, 0]), _by_level(parts[r], effects[r])
                        )
                    )
                    for r, b in zip(large, blocks_, strict=True)
                ],
                0,
            )

        def coupled(y):
            parts = split(y)
            out = []
            for r in large:
                met = sums.applied(r, {s: v for s, v in parts.items() if s != r})
                out.append(_times(tf.transpose(sums.factors[r]), met))
            return tf.concat(out, 0)

        whole = [tf.matmul(b, b, transpose_b=True) for b in operator.roots]
        first = tf.linalg.LinearOperatorBlockDiag(
            [
                tf.linalg.LinearOperatorFullMatrix(
                    tf.tile(tf.eye(effects[r], dtype=FLOAT), [index["n_levels"][r], 1])
                )
                for r in large
            ]
        ).to_dense()
        space, images, last = [], [], first
        for _ in range(_KRYLOV):
            last /= tf.sqrt(tf.reduce_sum(last * scaled(whole, last), 0)) + 1e-300
            space.append(last)
            images.append(coupled(last))
            last = scaled(operator.inverse, images[-1])
        y, image = tf.concat(space, 1), tf.concat(images, 1)
        gram = tf.matmul(y, scaled(whole, y), transpose_a=True)
        values, axes = tf.linalg.eigh(0.5 * (gram + tf.transpose(gram)))
        usable = values > 1e-8 * values[-1]
        root = tf.where(usable, tf.math.rsqrt(tf.where(usable, values, 1.0)), 0.0)
        turn = axes * root
        inner = tf.matmul(turn, tf.matmul(y, image, transpose_a=True), transpose_a=True)
        inner = tf.matmul(inner, turn)
        e, axes = tf.linalg.eigh(0.5 * (inner + tf.transpose(inner)))
        y = tf.matmul(y, tf.matmul(turn, axes))
        share = -(e**3) / tf.maximum(1.0 + e, 1e-6)
        out = {}
        for r, part in split(y).items():
            part = _by_level(_times(sums.factors[r], part), effects[r])
            out[r] = tf.reduce_sum(share[:, None] * part[:, None] * part[None], 2)
        return out

    # ------------------------------------------------------------------ spread

    def spread_of(self, index, data, factors, state):
        """Posterior blocks, row variances and the bound's remaining terms."""
        sums, operator, system, scale, unscaled = state
        structure, p = self.structure, tf.shape(data["X"])[1]
        effects = structure.n_effects
        own, info = [None] * len(effects), [None] * len(effects)
        for i, r in enumerate(self._large):
            t, a = factors[r], sums.own[r]
            inverse = tf.transpose(operator.inverse[i], [1, 2, 0])
            own[r] = blocks.right(blocks.left(t, inverse), tf.transpose(t))
            info[r] = a - blocks.product(a, blocks.product(own[r], a))
        log_det = operator.log_det_blocks
        alone = [
            tf.zeros([q, q, index["n_levels"][r]], FLOAT)
            if r in self._small
            else own[r]
            for r, q in enumerate(effects)
        ]
        variance = tf.zeros([], FLOAT)
        if self.coupled:
            met, log_det_met, variance = self._couple(index, data, sums, own)
            log_det -= log_det_met
            for r in self._large:
                a, c = sums.own[r], own[r]
                shrink = blocks.identity(effects[r]) - blocks.product(a, c)
                lost = blocks.product_nt(blocks.product(shrink, met[r]), shrink)
                info[r] -= lost
                alone[r] = own[r] = c + blocks.product(c, blocks.product(met[r], c))
        variance += rows.variance_apart(structure, data["rows"], alone)
        if self._small:
            inner = tf.matmul(tf.matmul(scale, unscaled, transpose_a=True), scale)
            inner += tf.eye(tf.shape(inner)[0], dtype=FLOAT)
            lower = tf.linalg.cholesky(inner)
            log_det += 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower)))
            # covariance of the small factors is half'half
            half = tf.linalg.triangular_solve(lower, tf.transpose(scale))
            covariance = tf.matmul(half, half, transpose_a=True)
            projected = unscaled - tf.matmul(unscaled, tf.matmul(covariance, unscaled))
            at = tf.constant(0)
            halves = {}
            for r in self._small:
                q = effects[r]
                size = index["n_levels"][r] * q
                here = slice(at, at + size)
                own[r] = _diagonal_blocks(covariance[here, here], q)
                info[r] = _diagonal_blocks(projected[here, here], q)
                halves[r] = tf.transpose(half[:, here])
                at += size
            m = tf.shape(half)[0]
            for r in self._large:
                q, columns = effects[r], system["solved"][r][:, p : p + m]
                # minus T F half', and half of what the scores lose
                moved = -tf.matmul(_times(factors[r], columns), half, transpose_b=True)
                halves[r] = moved
                own[r] += _outer(_by_level(moved, q))
                u = {s: part[:, p : p + m] for s, part in system["solved"].items()}
                lost = system["seen"][r] - sums.applied(r, u)
                info[r] -= _outer(_by_level(tf.matmul(lost, half, transpose_b=True), q))
            variance += self._shared_variance(data, halves, m)
        counts = tf.zeros([], FLOAT)
        for r, t in enumerate(factors):
            counts += tf.reduce_sum(t * tf.matmul(tf.reduce_sum(info[r], -1), t))
        return tuple(own), tuple(info), variance, log_det, counts

    def _couple(self, index, data, sums, own):
        """What the couplings between large factors add, to second order.

        With C_j the covariances of the levels alone and B a coupling,

            log|M| = sum_j log|D_j| - sum tr(C_r B C_s B') + ...

        and its derivatives in the row weights are the row variances.

        Parameters
        ----------
        own : list of (q, q, J) tensors
            C of every large factor.

        Returns
        -------
        met : dict
            P_j = sum B C_s B' over the levels s that j meets, (q, q, J) by factor.
        log_det : scalar
            sum tr(C_r B C_s B').
        variance : (n,) tensor
            -2 z_r'C_r B C_s z_s summed over pairs, by row.
        """
        effects, large = self.structure.n_effects, self._large
        met = {r: tf.zeros_like(own[r]) for r in large}
        variance = tf.zeros([], FLOAT)
        z = [row_values(self.structure, data["rows"], r) for r in range(len(effects))]
        for i, r in enumerate(large):
            for s in large[i + 1 :]:
                q, k = effects[r], effects[s]
                cell = index["cell"][r, s]
                shape = tf.cast(
                    tf.stack([index["n_levels"][a] for a in (r, s)]), tf.int64
                )
                values = tf.reshape(sums.couplings[r, s].values, [-1, q, k])
                b = tf.transpose(values, [1, 2, 0])
                met[r] += self._met(cell, shape, b, own[s], adjoint=False)
                met[s] += self._met(
                    cell, shape, blocks.transpose(b), own[r], adjoint=True
                )
                left = tf.gather(own[r], cell[:, 0], axis=-1)
                right = tf.gather(own[s], cell[:, 1], axis=-1)
                across = blocks.product(blocks.product(left, b), right)
                of_row = index["cell_of_row"][r, s][:, 1]
                for e in range(q):
                    for f in range(k):
                        at = tf.gather(across[e, f], of_row)
                        variance -= 2.0 * times(z[r][e], z[s][f], at)
        log_det = 0.5 * tf.add_n([tf.reduce_sum(own[r] * met[r]) for r in large])
        return met, log_det, variance

    @staticmethod
    def _met(cell, shape, b, own, *, adjoint):
        """Sum of B C B' over the cells of a level, (q, q, J), for B (q, k, n_cells)."""
        q, k = b.shape[0], b.shape[1]
        entries = {}
        for e in range(q):
            for f in range(e, q):
                total = []
                for i in range(k):
                    for j in range(k):
                        pattern = tf.SparseTensor(cell, b[e, i] * b[f, j], shape)
                        total.append(
                            tf.sparse.sparse_dense_matmul(
                                pattern, own[i, j][:, None], adjoint_a=adjoint
                            )[:, 0]
                        )
                entries[e, f] = entries[f, e] = tf.add_n(total)
        return tf.stack([tf.stack([entries[e, f] for f in range(q)]) for e in range(q)])

    def _shared_variance(self, data, halves, m):
        """Row variances that come from the small factors, one axis at a time."""
        effects = self.structure.n_effects

        def add(a, total):
            by_effect = [
                _by_level(halves[r][:, a : a + 1], q)[:, 0]
                for r, q in enumerate(effects)
            ]
            part = rows.random_part(self.structure, data["rows"], by_effect)
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
        steps = tf.constant(50, INT)
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
            data_spec(structure),
            tf.TensorSpec([None], FLOAT),
            tuple(tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects),
            tf.TensorSpec([sum(covariance.n_parameters(structure))], FLOAT),
            tf.TensorSpec([], FLOAT),
        ],
    )


def _solve(matrix, right):
    lower = tf.linalg.cholesky(matrix)
    return tf.linalg.cholesky_solve(lower, right[:, None])[:, 0]


def _outer(values):
    """Sum over columns of v v' level by level, (q, q, J) from (q, c, J)."""
    return tf.reduce_sum(values[:, None] * values[None], 2)


def _diagonal_blocks(matrix, q):
    """(q, q, J) diagonal blocks of a dense matrix."""
    return tf.stack(
        [
            tf.stack([tf.linalg.diag_part(matrix[i::q, k::q]) for k in range(q)])
            for i in range(q)
        ]
    )
