"""The linear model without a dense core: conjugate gradients and probes."""

from types import SimpleNamespace

import numpy as np
from scipy import sparse

from skglmm._covariances import COVARIANCES
from skglmm._loops.coordinates import Coordinates
from skglmm._loops.monte_carlo import ascend, split_moves
from skglmm._problem.roots import singular_factors
from skglmm._problem.solution import MonteCarlo, Solution, cross_covariances
from skglmm.engine import covariance as parameters
from skglmm.engine import iterative, session

_PROBES = 16
# Probes at the end, for the variances of levels and for log|M|: so many at most, and
# for so many entries in all.
_MOST, _MOST_OF_LOG_DET, _BUDGET = 512, 64, 1.6e7
# Monte Carlo error that estimates may have, in their standard errors.
_ERROR = 0.05
_COLLAPSED = 1e-3


def solve_iterative(problem, solver):
    """Maximise the likelihood with traces by random signs.

    The iteration is that of Monte Carlo EM (`_monte_carlo.ascend`), with probes in the
    place of draws: it grows their number until the estimates are known well enough.

    Parameters
    ----------
    problem : Problem
        With an iterative plan.
    solver : VI

    Returns
    -------
    solution : Solution
    """
    factors = problem.design.factors
    kinds = tuple(factor.kind for factor in factors)
    n_levels = [factor.n_levels for factor in factors]
    rng = np.random.default_rng(problem.seed)
    with session.on_device(solver.device, len(problem.weight)):
        probes = _Probes(_system(problem), _PROBES, rng)
        roots = problem.start
        if roots is None:
            roots = probes.begin(session.structure_of(problem.design))
            roots = _evidence(kinds, n_levels, roots, probes.evaluate(roots))
        probes.anchor = roots
        coordinates = Coordinates(kinds, roots, n_levels, 0)
        covariance = _covariance(kinds, probes.evaluate(roots), problem)
        end = ascend(
            probes,
            coordinates,
            coordinates.start(np.zeros(0)),
            covariance,
            np.eye(0),
            0.0,
            SimpleNamespace(max_iter=solver.max_iter, tol=_ERROR, n_kept=0),
            problem.watch,
        )
        _, turned = coordinates.split(end.phi)
        factors_t = [t @ a for t, a in zip(roots, turned, strict=True)]
        factors_t = [_cleared(t) for t in factors_t]
        out = probes.final(factors_t)
        log_det, error = probes.log_det(factors_t)
    return _solution(
        problem, end, covariance, coordinates, factors_t, out, log_det, error
    )


def _cleared(t):
    """T with effects of no account set to zero."""
    size = np.linalg.norm(t, axis=1)
    return np.where((size < _COLLAPSED)[:, None], 0.0, t)


class _Probes:
    """Expectations as `ascend` wants them, by probes instead of draws."""

    steady = True

    def __init__(self, system, n, rng):
        self._system, self._rng, self.n_draws = system, rng, n
        self._signs = system.signs(n, rng)

    def begin(self, structure):
        """Factors T of each random factor alone."""
        return self._system.begin(structure)

    def grow(self):
        """Twice as many probes, all of them new."""
        self.n_draws *= 2
        self._signs = self._system.signs(self.n_draws, self._rng)

    def evaluate(self, factors):
        return self._system.evaluate(factors, self._signs)

    def final(self, factors):
        """The same at the end, with probes enough for every level's own variance."""
        n = int(np.clip(_BUDGET / self._system.work, self.n_draws, _MOST))
        if n > self.n_draws:
            self._signs = self._system.signs(n, self._rng)
        return self.evaluate(factors)

    def log_det(self, factors):
        """log|M| and its error, by signs of its own."""
        n = int(np.clip(_BUDGET / self._system.work, _PROBES, _MOST_OF_LOG_DET))
        signs = self._system.signs(n, self._rng)
        return self._system.log_det(factors, signs)

    def expect(self, coef, roots):
        """Expectation at the roots A relative to the anchor."""
        out = self.evaluate([t @ a for t, a in zip(self.anchor, roots, strict=True)])
        by_probe = tuple(
            square[:, :, None] + inverse
            for square, inverse in zip(out["squares"], out["inverse"], strict=True)
        )
        n = self.n_draws
        return SimpleNamespace(
            fixed=np.zeros(0),
            squares=tuple(a.mean(-1) for a in by_probe),
            fixed_by=np.zeros((0, n)),
            squares_by=by_probe,
            share=np.full(n, 1.0 / n),
            effective=np.inf,
        )


def _system(problem):
    """Blocks and couplings of all rows."""
    factors, weight = problem.design.factors, problem.weight
    table, n = problem.linear_table(), len(weight)
    columns, transposed = [], []
    for factor, turn in zip(factors, table.z, strict=True):
        q = factor.n_effects
        z = np.ones((n, 1)) if factor.plain else table.values @ turn
        # the design's rows as a sparse matrix with q entries a row
        place = factor.codes[:, None] * np.int64(q) + np.arange(q)
        start = np.arange(0, n * q + 1, q)
        weighted = (weight[:, None] * z).ravel()
        shape = (n, factor.size)
        columns.append(sparse.csr_matrix((z.ravel(), place.ravel(), start), shape))
        rows = sparse.csr_matrix((weighted, place.ravel(), start), shape)
        transposed.append(rows.T.tocsr())
    own, couplings, sums = [], {}, []
    for r, factor in enumerate(factors):
        q = factor.n_effects
        found = transposed[r] @ table.values
        own.append((found @ table.z[r]).reshape(-1, q, q))
        sums.append(found @ table.border)
        for s in range(r + 1, len(factors)):
            product = (transposed[r] @ columns[s]).tocsr()
            product.sort_indices()
            couplings[r, s] = product.tocoo()
    return iterative.System(
        own,
        couplings,
        np.concatenate(sums),
        table.coded_gram,
        weight.sum(),
        problem.reml,
    )


def _evidence(kinds, n_levels, roots, out):
    """One step of the evidence fixed point."""
    new = []
    for kind, n, t, square, inverse in zip(
        kinds, n_levels, roots, out["squares"], out["inverse"], strict=True
    ):
        q = len(t)
        count = n * np.eye(q) - inverse.mean(-1)
        new.append(t @ COVARIANCES[kind].evidence(count, square, 1e-6 * n))
    return new


def _covariance(kinds, out, problem):
    """Inverse expected information of A, levels taken as independent."""
    metrics, pulls = [], []
    for kind, own in zip(kinds, out["blocks"], strict=True):
        q = len(own)
        basis = parameters.basis(kind, q)
        gamma = np.eye(q)[:, :, None] - own
        turn = basis + np.swapaxes(basis, 1, 2)
        # tr(d Gamma d' Gamma) over levels
        metrics.append(np.einsum("eab,bcj,fcd,daj->ef", turn, gamma, turn, gamma))
        pulls.append(2.0 * np.einsum("eab,abj->e", basis, gamma))
    size = sum(map(len, metrics))
    metric, at = np.zeros((size, size)), 0
    for part in metrics:
        here = slice(at, at + len(part))
        metric[here, here] = part
        at += len(part)
    pull = np.concatenate(pulls)
    n = problem.weight.sum() - problem.reml * (problem.n_border - 1)
    profiled = metric - np.outer(pull, pull) / n
    values, axes = np.linalg.eigh(profiled)
    values = np.maximum(values, 0.1 * np.linalg.eigvalsh(metric).clip(1e-8 * n))
    return 2.0 * (axes / values) @ axes.T


def _solution(problem, end, covariance, coordinates, factors, out, log_det, error):
    sigma2, half = float(out["fixed"]["variance"]), out["fixed"]["half"]
    n = float(out["fixed"]["n"])
    value = log_det + n * np.log(sigma2) + n * (1.0 + np.log(2.0 * np.pi))
    value += problem.reml * float(out["fixed"]["log_det"])
    coef_covariance = sigma2 * half.T @ half
    _, roots = coordinates.split(end.phi)
    values, axes = np.linalg.eigh(covariance @ end.noise @ covariance)
    moves = axes * np.sqrt(np.maximum(values, 0.0))
    relative = split_moves(coordinates, roots, moves)
    return Solution(
        coef=out["fixed"]["coef"],
        coef_covariance=coef_covariance,
        covariances=tuple(sigma2 * t @ t.T for t in factors),
        means=tuple(t @ u for t, u in zip(factors, out["means"], strict=True)),
        posteriors=tuple(
            sigma2 * np.einsum("ia,abj,kb->ikj", t, _positive(own), t)
            for t, own in zip(factors, out["own"], strict=True)
        ),
        noise_variance=sigma2,
        log_likelihood=-0.5 * value,
        method="restricted" if problem.reml else "exact",
        n_iter=end.n_iter,
        history=end.history,
        outcome=end.outcome,
        words=end.words,
        advice=end.advice,
        singular=singular_factors(factors),
        cross=cross_covariances(
            [
                np.einsum("ia,apj->ipj", t, m)
                for t, m in zip(factors, out["moves"], strict=True)
            ],
            coef_covariance,
        ),
        elbo=-0.5 * value,
        monte_carlo=MonteCarlo(
            sampler="probes",
            n_samples=end.n_samples,
            effective=1.0,
            coef=np.zeros((len(out["fixed"]["coef"]), 1)),
            covariances=tuple(sigma2 * d for d in relative),
            noise=np.zeros(1),
            log_likelihood=0.5 * error,
        ),
    )


def _positive(own):
    """Estimated covariances (q, q, J) without eigenvalues below the least possible."""
    values, axes = np.linalg.eigh(np.moveaxis(own, -1, 0))
    values = np.clip(values, 1e-6, 1.0)
    return np.moveaxis((axes * values[:, None]) @ np.swapaxes(axes, 1, 2), 0, -1)
