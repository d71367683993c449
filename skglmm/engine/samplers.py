"""Expectations over the random effects by Monte Carlo, numbers in and numbers out.

Every sampler answers `expect(coef, roots)` at fixed effects and roots A, which give the
factors T = anchor A, and after that `finish`. Effects u are spherical, b = T u.
"""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp, ndtri
from scipy.stats import qmc

from skglmm.engine import montecarlo
from skglmm.engine.approximation import Expectation, Finish, _add, _tensors
from skglmm.engine.structure import FLOAT, INT, to_numpy

# Independent randomisations of the quasi-random numbers, which give the error.
_BATCHES = 8
# Proposals are z + _TAIL z^3: heavier tails than any posterior with a normal prior.
_TAIL = 0.02
_CHAINS = 32
_WARM_UP = 60
_SETTLE = 3
# Draws that are kept for the user.
KEPT = 100


class LevelSampler:
    """Importance sampling level by level, for one factor, with quasi-random normals.

    Parameters
    ----------
    approximation : Approximation
    n_draws : int
        Rounded up to eight times a power of two.
    rng : Generator
    """

    name = "importance"
    steady = True

    def __init__(self, approximation, n_draws, rng):
        self._gauss, self._rng = approximation, rng
        self._size = int(np.ceil(np.log2(max(n_draws, 2 * _BATCHES) / _BATCHES)))
        self._fill()

    @property
    def n_draws(self):
        return _BATCHES * 2**self._size

    def _fill(self):
        q, n_levels = self._gauss.structure.n_effects[0], self._gauss.n_levels[0]
        parts = []
        for _ in range(_BATCHES):
            points = qmc.Sobol(q, scramble=True, rng=self._rng).random_base2(self._size)
            shift = self._rng.random((q, 1, n_levels))
            parts.append((points.T[:, :, None] + shift) % 1.0)
        z = ndtri(np.clip(np.concatenate(parts, 1), 1e-12, 1.0 - 1e-12))
        log_q = -np.sum(0.5 * z * z + np.log1p(3.0 * _TAIL * z * z), 0)
        self._z = _tensors([z + _TAIL * z**3])
        self._log_q = tf.convert_to_tensor(log_q)

    def grow(self):
        """Twice as many draws, all of them new."""
        self._size += 1
        self._fill()

    def _call(self, u, log_q, base):
        g = self._gauss
        step = montecarlo.compiled_by_level(g.structure, g.family)
        base = tf.convert_to_tensor(base, FLOAT)
        return to_numpy(step(g.index, g.data, g.coef, g.factors, u, log_q, base))

    def expect(self, coef, roots):
        """Expectation at the fixed effects and the roots A of the covariances."""
        g = self._gauss
        g.move(coef, roots)
        level, x = g.run.problem.design.factors[0].codes, g.columns.numpy()
        shift = g.shift[0].numpy()
        u, log_det, _ = g.lift(self._z)
        log_q = self._log_q + 0.5 * log_det
        mode = tuple(m[:, None] for m in g.means)
        at_mode = self._call(mode, 0.5 * log_det[None], np.zeros(g.n_levels[0]))
        base = at_mode["log_ratio"][0]
        pooled, fixed_by, squares_by, totals, ratios = None, [], [], [], []
        for batch in range(_BATCHES):
            sums, first = None, batch * 2**self._size
            for some in g.chunk(2**self._size):
                here = slice(first + some.start, first + some.stop)
                part = self._call(tuple(v[:, here] for v in u), log_q[here], base)
                ratios.append(part.pop("log_ratio"))
                sums = _add(sums, part)
            totals.append(sums["total"])
            fixed_by.append(self._fixed(sums, level, x, shift))
            squares_by.append(np.sum(sums["second"] / sums["total"], -1))
            pooled = _add(pooled, sums)
        total = pooled["total"]
        self._last = {
            "u": u[0],
            "roots": roots,
            "base": base,
            "pooled": pooled,
            "totals": np.stack(totals),
            "log_ratio": np.concatenate(ratios),
        }
        effective = float(np.mean(total**2 / pooled["squares"]) / self.n_draws)
        fixed_by, squares_by = np.stack(fixed_by, -1), np.stack(squares_by, -1)
        return Expectation(
            fixed=_jackknife(self._fixed(pooled, level, x, shift), fixed_by),
            squares=(_jackknife(np.sum(pooled["second"] / total, -1), squares_by),),
            fixed_by=fixed_by,
            squares_by=(squares_by,),
            share=np.full(_BATCHES, 1.0 / _BATCHES),
            effective=effective,
        )

    @staticmethod
    def _fixed(sums, level, x, shift):
        """Score of the fixed effects, the effects moving along."""
        score = (sums["score"] / sums["total"][level]) @ x
        return score + np.einsum("apj,aj->p", shift, sums["first"] / sums["total"])

    def log_likelihood(self):
        """Logarithm of the likelihood at the last expectation, and its error."""
        total = self._last["totals"]
        value = np.sum(np.log(total.sum(0) / self.n_draws) + self._last["base"])
        ratio = total / total.mean(0)
        return float(value), float(np.sqrt(np.sum(ratio.var(0, ddof=1)) / _BATCHES))

    def kept(self, n):
        """Draws (q, n, J) of u at the last place, equally likely."""
        log_ratio, rng = self._last["log_ratio"], self._rng.spawn(1)[0]
        weights = np.exp(log_ratio - logsumexp(log_ratio, 0))
        return (_resampled(self._last["u"].numpy(), weights, rng, n),)

    def finish(self, coordinates):
        """Estimates by level, spread of the scores and draws, at the last place."""
        g, last = self._gauss, self._last
        pooled, log_ratio, u = last["pooled"], last["log_ratio"], last["u"]
        level = g.run.problem.design.factors[0].codes
        total = pooled["total"]
        weights = np.exp(log_ratio - logsumexp(log_ratio, 0))
        first, second = pooled["first"] / total, pooled["second"] / total
        map_ = tf.convert_to_tensor(coordinates.score_map(last["roots"])[0])
        spread_by = montecarlo.compiled_spread_by_level(g.structure, g.family)
        spread, mean = 0.0, 0.0
        for some in g.chunk(self.n_draws):
            at = tf.convert_to_tensor(weights[some])
            outer, sums = spread_by(
                g.index,
                g.data,
                g.coef,
                g.factors,
                g.columns,
                g.shift,
                (u[:, some],),
                at,
                map_,
            )
            spread, mean = spread + outer.numpy(), mean + sums.numpy()
        value, error = self.log_likelihood()
        return Finish(
            means=(first,),
            covariances=(second - first[:, None] * first[None],),
            draws=(_resampled(u.numpy(), weights, self._rng),),
            shift=to_numpy(g.shift),
            complete=g.complete(pooled["weight"] / total[level]),
            across=g.across((first,)),
            spread=spread - mean @ mean.T,
            spread_error=float(np.sqrt(2.0 / (self.n_draws * len(total)))),
            log_likelihood=value,
            error=error,
        )


def _jackknife(pooled, by_batch):
    """Ratio estimate less its bias, which batches have as many times over."""
    return pooled - (by_batch.mean(-1) - pooled) / (by_batch.shape[-1] - 1.0)


def _resampled(u, weights, rng, n=KEPT):
    """Equally likely draws (q, n, J) from weighted ones (q, S, J), by level."""
    ends = np.cumsum(weights, 0)
    n_draws, n_levels = weights.shape
    out = np.empty((u.shape[0], n, n_levels))
    points = (np.arange(n)[:, None] + rng.random(n_levels)) / n
    for j in range(n_levels):
        at = np.searchsorted(ends[:, j] / ends[-1, j], points[:, j])
        at = rng.permutation(np.minimum(at, n_draws - 1))
        out[:, :, j] = u[:, at, j]
    return out


class _ByDraw:
    """What samplers of all effects at once share: sums over draws."""

    def _call(self, u, log_q, base, equal):
        g = self._gauss
        step = montecarlo.compiled_joint(g.structure, g.family)
        base, equal = tf.constant(base, FLOAT), tf.constant(equal)
        return to_numpy(
            step(
                g.index,
                g.data,
                g.coef,
                g.factors,
                g.columns,
                g.shift,
                u,
                log_q,
                base,
                equal,
            )
        )

    def _sum(self, parts, base, equal):
        """One pass over draws, in parts (u, log_q)."""
        sums, by_draw = None, []
        for u, log_q in parts:
            for some in self._gauss.chunk(log_q.shape[0]):
                here = tuple(v[:, some] for v in u)
                part = self._call(here, log_q[some], base, equal)
                names = ("log_ratio", "score", "by_draw")
                by_draw.append({name: part.pop(name) for name in names})
                sums = _add(sums, part)
        found = tf.nest.map_structure(lambda *a: np.concatenate(a, -1), *by_draw)
        return sums, found

    def _by_level(self, total):
        """Means (q, J) of u and (q, q, J) of u u', for each factor."""
        return [
            (first / total, second / total)
            for first, second in zip(
                self._sums["first"], self._sums["second"], strict=True
            )
        ]

    def _finish(self, coordinates, weights, total, effective, draws):
        sums, found = self._sums, self._found
        by_covariance = coordinates.covariance_scores(self._roots, found["by_draw"])
        scores = np.concatenate([found["score"], by_covariance])
        centred = scores - (scores @ weights)[:, None]
        first, second = zip(*self._by_level(total), strict=True)
        value, error = self.log_likelihood()
        return Finish(
            means=first,
            covariances=tuple(
                b - a[:, None] * a[None] for a, b in zip(first, second, strict=True)
            ),
            draws=draws,
            shift=to_numpy(self._gauss.shift),
            complete=self._gauss.complete(sums["weight"] / total),
            across=self._gauss.across(first),
            spread=(centred * weights) @ centred.T,
            spread_error=float(np.sqrt(2.0 / max(effective * self.n_draws, 2.0))),
            log_likelihood=value,
            error=error,
        )


class JointSampler(_ByDraw):
    """Importance sampling of all effects at once from the approximation.

    Parameters
    ----------
    approximation : Approximation
    n_draws : int
    rng : Generator
    """

    name = "importance"
    steady = True

    def __init__(self, approximation, n_draws, rng):
        self._gauss, self.n_draws, self._rng = approximation, n_draws, rng
        self._fill()

    def _fill(self):
        self._z = normals(self._gauss, self.n_draws, self._rng)

    def grow(self):
        """Twice as many draws, all of them new."""
        self.n_draws *= 2
        self._fill()

    def expect(self, coef, roots):
        """Expectation at the fixed effects and the roots A of the covariances."""
        g = self._gauss
        g.move(coef, roots)
        self._roots = roots
        u, _, log_det = g.lift(self._z)
        mode = tuple(m[:, None] for m in g.means)
        at_mode = self._call(mode, 0.5 * log_det[None], 0.0, True)
        base = float(at_mode["log_ratio"][0])
        log_q = log_density(self._z) + 0.5 * log_det
        self._sums, self._found = self._sum([(u, log_q)], base, False)
        found = self._found
        weights = np.exp(found["log_ratio"] - base)
        self._u, self._total = u, weights.sum()
        self._weights = weights / self._total
        fixed, fixed_by = self._corrected(g.score, found["score"])
        squares, squares_by = zip(
            *map(self._corrected, g.moments(), found["by_draw"]), strict=True
        )
        return Expectation(
            fixed=fixed,
            squares=squares,
            fixed_by=fixed_by,
            squares_by=squares_by,
            share=np.full(self.n_draws, 1.0 / self.n_draws),
            effective=float(1.0 / np.sum(self._weights**2) / self.n_draws),
        )

    def _corrected(self, known, by_draw):
        """Mean over the posterior, the mean under the Gaussian being known.

        Weighted less plain means of the draws are all that has to be estimated.
        Returned with it are replicates that scatter around it as its error says.
        """
        weights, n = self._weights, self.n_draws
        weighted, plain = by_draw @ weights, by_draw.mean(-1)
        influence = n * weights * (by_draw - weighted[..., None])
        influence -= by_draw - plain[..., None]
        mean = known + weighted - plain
        return mean, mean[..., None] + influence

    def _by_level(self, total):
        g, out = self._gauss, []
        for (first, second), u, mean, own in zip(
            super()._by_level(total), self._u, g.means, g.covariances, strict=True
        ):
            u, mean = u.numpy(), mean.numpy()
            plain = np.einsum("asj,bsj->abj", u, u) / self.n_draws
            own = own + mean[:, None] * mean[None]
            out.append((mean + first - u.mean(1), own + second - plain))
        return out

    def log_likelihood(self):
        """Logarithm of the likelihood at the last expectation, and its error."""
        value = logsumexp(self._found["log_ratio"]) - np.log(self.n_draws)
        squares = np.sum(self._weights**2) - 1.0 / self.n_draws
        return float(value), float(np.sqrt(max(squares, 0.0)))

    def kept(self, n):
        """Draws (q, n, J) of u at the last place, equally likely."""
        at = self._rng.spawn(1)[0].choice(self.n_draws, n, p=self._weights)
        return tuple(v.numpy()[:, at] for v in self._u)

    def finish(self, coordinates):
        """Estimates by level, spread of the scores and draws, at the last place."""
        at = self._rng.choice(self.n_draws, KEPT, p=self._weights)
        draws = tuple(v.numpy()[:, at] for v in self._u)
        effective = float(1.0 / np.sum(self._weights**2) / self.n_draws)
        return self._finish(coordinates, self._weights, self._total, effective, draws)


def normals(approximation, n_draws, rng):
    """Standard normals (q, n_draws, J) for every factor."""
    sizes = zip(approximation.structure.n_effects, approximation.n_levels, strict=True)
    return _tensors([rng.standard_normal((q, n_draws, n)) for q, n in sizes])


def log_density(z):
    """Log-density (n_draws,) of standard normals, constants left out."""
    return tf.add_n([-0.5 * tf.reduce_sum(a * a, (0, 2)) for a in z])


class ChainSampler(_ByDraw):
    """Hamiltonian Monte Carlo, whitened by the Cholesky factor of the approximation.

    Parameters
    ----------
    approximation : Approximation
    n_draws : int
        Rounded up to a multiple of 32, the number of chains.
    rng : Generator
    """

    name = "hmc"
    steady = False

    def __init__(self, approximation, n_draws, rng):
        self._gauss, self._rng = approximation, rng
        self._length = max(2, int(np.ceil(n_draws / _CHAINS)))
        self._z = normals(approximation, _CHAINS, rng)
        d = sum(z.shape[0] * z.shape[2] for z in self._z)
        self._step, self._fresh = tf.constant(1.6 * d**-0.25, FLOAT), True

    @property
    def n_draws(self):
        return self._length * _CHAINS

    def grow(self):
        """Twice as many draws from here on."""
        self._length *= 2

    def _move(self, n, rate=0.0):
        g = self._gauss
        seed = self._rng.integers(2**31 - 1, size=2)
        self._z, u, self._step, accepted, log_det = montecarlo.compiled_chains(
            g.structure, g.family
        )(
            g.index,
            g.data,
            g.weight,
            g.factors,
            g.coef,
            g.means,
            self._z,
            self._step,
            tf.constant(rate, FLOAT),
            tf.constant(n, INT),
            tf.convert_to_tensor(seed, INT),
        )
        return u, log_density(self._z) + 0.5 * log_det, float(accepted)

    def expect(self, coef, roots):
        """Expectation at the fixed effects and the roots A of the covariances."""
        self._roots = roots
        self._gauss.move(coef, roots)
        for rate in (0.2, 0.05) if self._fresh else ():
            self._move(_WARM_UP // 2, rate)
        self._fresh = False
        self._move(_SETTLE)
        parts, accepted = [], []
        for _ in range(self._length):
            *part, share = self._move(1)
            parts.append(part)
            accepted.append(share)
        self.acceptance = float(np.mean(accepted))
        self._sums, self._found = self._sum(parts, 0.0, True)
        self._parts = parts

        def by_chain(a):
            return a.reshape(*a.shape[:-1], self._length, _CHAINS).mean(-2)

        fixed = by_chain(self._found["score"])
        squares = tuple(map(by_chain, self._found["by_draw"]))
        self._effective = _effective_share(self._found["by_draw"], self._length)
        return Expectation(
            fixed=fixed.mean(-1),
            squares=tuple(a.mean(-1) for a in squares),
            fixed_by=fixed,
            squares_by=squares,
            share=np.full(_CHAINS, 1.0 / _CHAINS),
            effective=self._effective,
        )

    def log_likelihood(self):
        """Bridge sampling between the chains and the approximation, and its error."""
        n = self.n_draws
        z = normals(self._gauss, n, self._rng)
        u, _, log_det = self._gauss.lift(z)
        parts = [(u, log_density(z) + 0.5 * log_det)]
        log_q = self._sum(parts, 0.0, True)[1]["log_ratio"]
        return bridge(self._found["log_ratio"], log_q, max(self._effective * n, 2.0))

    def kept(self, n):
        """Last states (q, n, J) of the chains, as u."""
        last = self._parts[-(n // _CHAINS + 1) :]
        return tuple(
            np.concatenate([u[r].numpy() for u, _ in last], 1)[:, -n:]
            for r in range(len(self._roots))
        )

    def finish(self, coordinates):
        """Estimates by level, spread of the scores and draws, at the last place."""
        n, draws = self.n_draws, self.kept(KEPT)
        weights = np.full(n, 1.0 / n)
        return self._finish(coordinates, weights, float(n), self._effective, draws)


def bridge(log_p, log_q, effective):
    """Logarithm of a normalising constant by bridge sampling [1]_, and its error.

    Parameters
    ----------
    log_p, log_q : ndarray of shape (n,)
        Log-ratios of the target's unnormalised density to a normalised one, at draws
        from the target and from the other.
    effective : float
        Effective number of draws from the target.

    References
    ----------
    .. [1] Meng, X.-L. and Wong, W. H. (1996). Simulating ratios of normalizing
       constants via a simple identity. Statistica Sinica 6, 831-860.
    """
    n = len(log_q)
    s_p, s_q = np.log(effective / (effective + n)), np.log(n / (effective + n))
    value = float(np.median(np.concatenate([log_p, log_q])))
    for _ in range(1000):
        above = log_q - np.logaddexp(s_p + log_q, s_q + value)
        below = -np.logaddexp(s_p + log_p, s_q + value)
        new = float(
            logsumexp(above) - np.log(n) - logsumexp(below) + np.log(len(log_p))
        )
        done, value = abs(new - value) < 1e-10 * (1.0 + abs(new)), new
        if done:
            break
    parts = [np.exp(a - logsumexp(a)) * len(a) for a in (above, below)]
    error = np.sqrt(parts[0].var() / n + parts[1].var() / effective)
    return value, float(error)


def _effective_share(by_draw, length):
    """Effective share of chains' draws, the least over the diagonals of u u'."""
    shares = []
    for a in by_draw:
        for i in range(len(a)):
            x = a[i, i].reshape(length, -1)
            between = length * x.mean(0).var(ddof=1)
            shares.append(np.clip(x.var() / max(between, 1e-300), 0.0, 1.0))
    return float(min(shares))
