"""Monte Carlo EM: the iteration and its two starting points."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._loops.boundary import search
from skglmm._loops.coordinates import Coordinates
from skglmm._loops.flat import flat_factors
from skglmm._loops.generalized import (
    coef_covariance,
    fit_variational,
    inverse_hessian,
    make_solution,
    variational_solution,
)
from skglmm._loops.linear import open_objective, solution
from skglmm._problem.outcome import Outcome
from skglmm._problem.roots import half, inverse
from skglmm._problem.solution import MonteCarlo
from skglmm.engine import approximation, exact_sampler, generalized, inner, samplers

_START_TOL, _START_ITERATIONS = 1e-8, 100
# A step is swamped if its decrement is no larger than so many times what noise alone
# gives; with draws that stay the same it is worth finishing nevertheless.
_SWAMPED, _FINISHED = 3.0, 1e-2
_NEGLIGIBLE = 1e-10
_LONGEST, _SHORTEST = 0.5, 0.1
_GROWTH = 64
# Least effective share of draws from the anchor for importance sampling, and least
# effective number: with fewer the weights are those of one draw soon.
_EFFECTIVE, _FEWEST = 0.1, 20
# Louis's formula is a difference: it counts if the error of its second term is at most
# this share of the information that the approximation knows.
_PLAUSIBLE = 0.1


@dataclass(frozen=True)
class End:
    """End of the iteration.

    Parameters
    ----------
    phi : ndarray of shape (p + k,)
    noise : ndarray of shape (p + k, p + k)
        Covariance of the Monte Carlo error of the score at the end.
    n_iter : int
    history : ndarray of shape (n_iter,)
        Decrease of -2 log-likelihood that another step promises.
    outcome : Outcome
    words, advice : str
        What to say of it, and what to do, beside what all say.
    n_samples : int
    path : tuple of ndarray of shape (p + k,)
        Where each of the iterations was made.
    kept : tuple of tuple of ndarray of shape (q, keep, J)
        Draws of each iteration, as the sampler has them, if any were to be kept.
    """

    phi: np.ndarray
    noise: np.ndarray
    n_iter: int
    history: np.ndarray
    outcome: Outcome
    words: str
    advice: str
    n_samples: int = 0
    path: tuple[np.ndarray, ...] = ()
    kept: tuple[tuple[np.ndarray, ...], ...] = ()


def ascend(
    sampler,
    coordinates,
    phi,
    covariance,
    information,
    ridge,
    solver,
    watch=None,
):
    """Solve E[score | y] = 0 with expectations by Monte Carlo.

    Parameters
    ----------
    sampler : object
        See `engine.samplers`.
    coordinates : Coordinates
    phi : ndarray of shape (p + k,)
    covariance : ndarray of shape (p + k, p + k)
        Inverse of the information, by which steps are taken.
    information : ndarray of shape (p, p)
        Complete-data information of the fixed effects.
    ridge : float
        Curvature added for the fixed effects.
    solver : MCEM
    watch : Progress or None
        Who wants to know of every expectation.
    """
    settled, best, scale = [], None, 1.0
    trail = _Trail(sampler, solver.n_kept)
    largest = _GROWTH * max(sampler.n_draws, 16)
    noise = np.full(covariance.shape, np.nan)
    ending = _spent(solver)
    for _ in range(solver.max_iter):
        coef, roots = coordinates.split(phi)
        try:
            found = sampler.expect(coef, roots)
            if watch is not None:
                watch.step()
        except KeyboardInterrupt:
            if watch is None:
                raise
            ending = _Ending(Outcome.INTERRUPTED)
            break
        if found.effective * sampler.n_draws < _FEWEST:
            if found.effective >= _EFFECTIVE:
                sampler.grow()
                continue
            ending = _too_few(sampler, found)
            break
        here = _newton(coordinates, covariance, ridge, phi, found)
        noise = here.noise
        trail.add(here)
        if here.swamped and (here.finishes(best) or not sampler.steady):
            settled.append((phi + here.step, sampler.n_draws, noise))
            phi, noise = averaged(settled)
            share = _share_of_errors(covariance, noise)
            if share <= solver.tol:
                ending = _Ending(Outcome.CONVERGED)
                break
            if 2 * sampler.n_draws > largest:
                ending = _too_noisy(sampler, solver, share)
                break
            sampler.grow()
            best, scale = None, 1.0
        elif best is not None and here.worse_than(best):
            scale *= 0.5
            if scale >= _SHORTEST:
                phi = best.phi + scale * best.step
            else:
                phi = _closed_step(coordinates, information, best)
                best, scale = None, 1.0
        else:
            best, scale = here.shortened(coordinates.p), 1.0
            phi = phi + best.step
    if settled:
        phi, noise = averaged(settled)
    told = ending.outcome, ending.words, ending.advice, sampler.n_draws
    return End(phi, noise, *trail.history(), *told, *trail.places())


class _Trail:
    """What is remembered of each iteration."""

    def __init__(self, sampler, keep):
        self._sampler, self._keep = sampler, keep
        self._decrements, self._path, self._kept = [], [], []

    def add(self, step):
        """Take note of where a step begins, and keep draws from there."""
        self._decrements.append(step.decrement)
        self._path.append(step.phi)
        if self._keep:
            self._kept.append(self._sampler.kept(self._keep))

    def history(self):
        """Number of iterations, and the decrease that each has promised."""
        return len(self._decrements), np.array(self._decrements)

    def places(self):
        """Where they were made, and draws from there."""
        return tuple(self._path), tuple(self._kept)


@dataclass(frozen=True)
class _Ending:
    """Why the iteration ends; see `End`."""

    outcome: Outcome
    words: str = ""
    advice: str = ""


def _spent(solver):
    words = f"max_iter={solver.max_iter} iterations were not enough"
    return _Ending(Outcome.SPENT, words)


def _too_few(sampler, found):
    worth = found.effective * sampler.n_draws
    return _Ending(
        Outcome.NOISY,
        f"{sampler.n_draws} draws from the approximation are worth only "
        f"{worth:.1f} from the posterior",
        "Use sampler='hmc', or more n_samples",
    )


def _too_noisy(sampler, solver, share):
    return _Ending(
        Outcome.NOISY,
        f"the Monte Carlo error is still {share:.2g} standard errors after "
        f"{sampler.n_draws} draws (tol={solver.tol:g})",
        "Give the solver more n_samples, or a larger tol",
    )


@dataclass(frozen=True)
class _Step:
    """A step that an expectation suggests, and what it promises.

    Parameters
    ----------
    phi, step, score : ndarray of shape (p + k,)
        Where it begins, how far it goes and the score there.
    noise : ndarray of shape (p + k, p + k)
        Covariance of the Monte Carlo error of the score.
    squares : tuple of ndarray of shape (q, q)
        Expected sums of u u' over levels.
    decrement, error : float
        Decrease of -2 log-likelihood that it promises, and that noise alone would.
    """

    phi: np.ndarray
    step: np.ndarray
    score: np.ndarray
    noise: np.ndarray
    squares: tuple
    decrement: float
    error: float

    @property
    def swamped(self):
        """Whether noise alone could promise as much."""
        return self.decrement <= max(_SWAMPED * self.error, _NEGLIGIBLE)

    def finishes(self, best):
        """Whether a step after the best one so far, if any, would gain nothing."""
        finished = self.decrement <= max(_FINISHED * self.error, _NEGLIGIBLE)
        return finished or (best is not None and self.decrement > 0.5 * best.decrement)

    def worse_than(self, best):
        return self.decrement > best.decrement and not self.swamped

    def shortened(self, p):
        """The step at a length at which no variance falls to nothing."""
        room = _room(self.phi[p:])
        length = np.max(np.abs(self.step[p:]) / room, initial=0.0)
        return replace(self, step=self.step * min(1.0, _LONGEST / max(length, 1e-300)))


def _newton(coordinates, covariance, ridge, phi, found):
    """The Newton step from phi, by what was found there."""
    coef, roots = coordinates.split(phi)
    score, noise = scores(coordinates, roots, found)
    score[: coordinates.p] -= ridge * coef
    step = covariance @ score
    decrement, error = score @ step, np.trace(covariance @ noise)
    return _Step(phi, step, score, noise, found.squares, decrement, error)


def _closed_step(coordinates, information, best):
    """Where the closed step of EM leads from the best point, slower and safe."""
    coef, roots = coordinates.split(best.phi)
    coef = coef + np.linalg.solve(information, best.score[: coordinates.p])
    return coordinates.join(coef, coordinates.closed(roots, best.squares))


def _share_of_errors(covariance, noise):
    """Monte Carlo error of the estimates, in standard errors."""
    rank = max(np.linalg.matrix_rank(covariance), 1)
    return np.sqrt(np.trace(covariance @ noise) / rank)


def _room(entries):
    """How far entries of A may go: no variance falls to nothing in one step."""
    return np.minimum(1.0, np.where(np.abs(entries) < 0.1, 1.0, np.abs(entries)))


def scores(coordinates, roots, found):
    """Mean score (p + k,) and the covariance of its Monte Carlo error."""
    score = np.concatenate(
        [found.fixed, coordinates.covariance_score(roots, found.squares)]
    )
    by_part = np.concatenate(
        [found.fixed_by, coordinates.covariance_scores(roots, found.squares_by)]
    )
    centred = (by_part - (by_part @ found.share)[:, None]) * found.share
    n = by_part.shape[1]
    return score, centred @ centred.T * n / (n - 1.0)


def averaged(settled):
    """Mean of settled estimates by their numbers of draws, and its score's error."""
    weights = np.array([n for _, n, _ in settled], dtype=float)
    weights /= weights.sum()
    phi = sum(w * phi for w, (phi, _, _) in zip(weights, settled, strict=True))
    noise = sum(w * w * c for w, (_, _, c) in zip(weights, settled, strict=True))
    return phi, noise


# ---------------------------------------------------------------- linear model


def _without_start(best):
    """A report on the search for a start, which has a limit of its own."""
    if best["outcome"] is Outcome.SPENT:
        return best | {"outcome": Outcome.NO_START}
    return best


def solve_linear_sampled(problem, solver):
    """Monte Carlo EM for the linear model, from draws of its Gaussian posterior."""
    with open_objective(problem, solver.device) as (run, objective):
        best, out = search(problem, run, objective, _START_ITERATIONS, _START_TOL)
        if not problem.design.factors or best["outcome"] is not Outcome.CONVERGED:
            return solution(problem, _without_start(best), out)
        n_levels = [factor.n_levels for factor in problem.design.factors]
        coordinates = Coordinates(run.structure.covariance, out["factors"], n_levels, 0)
        hessian, slopes = _differences(objective, best["theta"], out)
        flat = flat_factors(run, best["theta"], hessian)
        jacobian = coordinates.jacobian()
        covariance = inverse_hessian(jacobian.T @ hessian @ jacobian)
        rng = np.random.default_rng(problem.seed)
        sampler = exact_sampler.ExactSampler(
            run,
            objective.data,
            problem.n_border - 1,
            out["factors"],
            solver.n_samples,
            rng,
        )
        start = coordinates.start(np.zeros(0))
        end = ascend(
            sampler,
            coordinates,
            start,
            covariance,
            np.eye(0),
            0.0,
            solver,
            problem.watch,
        )

        def place(phi):
            factors = zip(coordinates.anchors, coordinates.split(phi)[1], strict=True)
            return objective.evaluate(run.theta([t @ a for t, a in factors]))

        _, roots = coordinates.split(end.phi)
        trace = _around_predictions(problem, map(place, end.path), end.kept)
        out = place(end.phi)
        # the step since the last draws was far below their error
        draws = sampler.kept()
    found = solution(
        problem,
        best | {"n_iter": end.n_iter, "history": end.history, "outcome": end.outcome},
        out,
    )
    sigma2 = found.noise_variance
    error = covariance @ end.noise @ covariance
    moves = slopes @ jacobian @ half(error)  # of coef and sigma^2
    relative = split_moves(coordinates, roots, half(error))
    about = MonteCarlo(
        sampler=sampler.name,
        n_samples=sampler.n_draws,
        effective=1.0,
        coef=moves[:-1],
        covariances=tuple(
            sigma2 * d + (s / sigma2)[:, :, None] * moves[-1]
            for d, s in zip(relative, found.covariances, strict=True)
        ),
        noise=moves[-1],
        log_likelihood=0.0,
        draws=tuple(
            m[:, None] + np.sqrt(sigma2) * d
            for m, d in zip(found.means, draws, strict=True)
        ),
        trace=trace,
    )
    told = (
        {"words": end.words, "advice": end.advice}
        if found.outcome is end.outcome
        else {}
    )
    return replace(found, flat=flat, monte_carlo=about, **told)


def _around_predictions(problem, places, kept):
    """Draws (q, n_turns * keep, J) of b, from those around its prediction by turn."""
    made = []
    for out, draws in zip(places, kept, strict=False):
        sigma = np.sqrt(float(out["fixed"]["variance"]))
        means = problem.design.effects(out["means"])
        parts = zip(means, draws, strict=True)
        made.append([m[:, None] + sigma * d for m, d in parts])
    return _by_factor(made)


def _by_factor(turns):
    """Draws of each factor one turn after the other; None without any."""
    if not turns:
        return None
    return tuple(np.concatenate(parts, 1) for parts in zip(*turns, strict=True))


def _differences(objective, theta, out):
    """Hessian of -2 log-likelihood in theta; slopes of coef and sigma^2, (p + 1, k).

    Forward differences from the optimum, where the gradient is zero: the Hessian only
    sets the length of steps.
    """
    hessian, slopes = [], []
    base = np.append(out["fixed"]["coef"], out["fixed"]["variance"])
    for at in range(len(theta)):
        moved = theta.copy()
        step = 1e-3 * max(1.0, abs(theta[at]))
        moved[at] += step
        there = objective.evaluate(moved)
        hessian.append(there["gradient"] / step)
        end = np.append(there["fixed"]["coef"], there["fixed"]["variance"])
        slopes.append((end - base) / step)
    hessian = np.array(hessian)
    return 0.5 * (hessian + hessian.T), np.array(slopes).T


# ---------------------------------------------------------- counts and outcomes


def solve_sampled(problem, solver):
    """Monte Carlo EM for counts, binary outcomes and proportions."""
    with generalized.open_session(problem, solver.device) as run:
        best, out, objective = fit_variational(
            run, "auto", (), _START_ITERATIONS, _START_TOL
        )
        still = not any(np.any(t) for t in out["factors"])
        if still or best["outcome"] is not Outcome.CONVERGED:
            best = _without_start(best)
            return variational_solution(run, problem, best, out, objective)
        p = len(out["coef"])
        n_levels = [factor.n_levels for factor in problem.design.factors]
        coordinates = Coordinates(run.structure.covariance, out["factors"], n_levels, p)
        covariance = _approximate_covariance(out, coordinates)
        flat = flat_factors(run, best["theta"], out["hessian"])
        gauss = approximation.Approximation(run, objective, out["factors"])
        sampler = choose_sampler(
            gauss, out["coef"], solver, np.random.default_rng(problem.seed)
        )
        end = ascend(
            sampler,
            coordinates,
            coordinates.start(out["coef"]),
            covariance,
            out["information"],
            inner.RIDGE,
            solver,
            problem.watch,
        )
        coef, roots = coordinates.split(end.phi)
        found = sampler.expect(coef, roots)
        last = sampler.finish(coordinates)
        constant = -0.5 * objective.constant()

    observed = louis(coordinates, roots, found, last)
    observed[:p, :p] += inner.RIDGE * np.eye(p)
    rooted = half(covariance)
    largest = np.linalg.eigvalsh(rooted.T @ last.spread @ rooted).max()
    if last.spread_error * largest < _PLAUSIBLE:
        covariance = _joint_covariance(2.0 * observed, p)
    error = half(covariance @ end.noise @ covariance)
    factors = tuple(t @ a for t, a in zip(coordinates.anchors, roots, strict=True))
    estimates = {
        "coef": coef,
        "factors": factors,
        "moves": tuple(
            np.tensordot(t, s, 1) for t, s in zip(factors, last.shift, strict=True)
        ),
        "means": tuple(t @ u for t, u in zip(factors, last.means, strict=True)),
        "posterior": tuple(
            np.einsum("ia,abj,kb->ikj", t, c, t)
            for t, c in zip(factors, last.covariances, strict=True)
        ),
    }
    report = {"n_iter": end.n_iter, "history": end.history, "outcome": end.outcome}
    made = make_solution(
        problem,
        report,
        estimates,
        covariance[:p, :p],
        last.log_likelihood + constant,
        {"importance": "importance", "hmc": "bridge"}[sampler.name],
    )
    about = MonteCarlo(
        sampler=sampler.name,
        n_samples=sampler.n_draws,
        effective=found.effective,
        coef=error[:p],
        covariances=tuple(split_moves(coordinates, roots, error[p:])),
        noise=None,
        log_likelihood=last.error,
        draws=tuple(
            np.einsum("ia,asj->isj", t, u)
            for t, u in zip(factors, last.draws, strict=True)
        ),
        trace=_lifted(coordinates, end),
    )
    path = _covariances(coordinates, end.path)
    told = {"words": end.words, "advice": end.advice}
    return replace(made, flat=flat, monte_carlo=about, path=path, **told)


def _lifted(coordinates, end):
    """Draws (q, n_turns * keep, J) of b = T u, from those of u by turn."""
    made = []
    for phi, draws in zip(end.path, end.kept, strict=False):
        parts = zip(coordinates.anchors, coordinates.split(phi)[1], draws, strict=True)
        made.append([np.einsum("ia,asj->isj", t @ a, u) for t, a, u in parts])
    return _by_factor(made)


def _covariances(coordinates, points):
    """Covariances (n, q, q) of each factor along a path; None without one."""
    if not points:
        return None
    roots = zip(*(coordinates.split(phi)[1] for phi in points), strict=True)
    factors = (t @ np.array(a) for t, a in zip(coordinates.anchors, roots, strict=True))
    return tuple(t @ np.swapaxes(t, 1, 2) for t in factors)


def louis(coordinates, roots, found, last):
    """Observed information: complete-data information less the score's covariance."""
    across = coordinates.cross_curvature(roots, last.across)
    own = coordinates.curvature(roots, found.squares)
    return np.block([[last.complete, across], [across.T, own]]) - last.spread


def choose_sampler(gauss, coef, solver, rng):
    """The sampler that was asked for, or the one that the effective size suggests."""
    single = len(gauss.n_levels) == 1
    if single and solver.sampler != "hmc":
        return samplers.LevelSampler(gauss, solver.n_samples, rng)
    if solver.sampler != "hmc":
        joint = samplers.JointSampler(gauss, solver.n_samples, rng)
        if solver.sampler == "importance":
            return joint
        roots = [np.eye(q) for q in gauss.structure.n_effects]
        share = joint.expect(coef, roots).effective
        if share >= _EFFECTIVE and share * joint.n_draws >= _FEWEST:
            return joint
    return samplers.ChainSampler(gauss, solver.n_samples, rng)


def _approximate_covariance(out, coordinates):
    """Covariance of fixed effects and entries of A by the approximation."""
    jacobian = coordinates.jacobian()
    own = inverse_hessian(jacobian.T @ out["hessian"] @ jacobian)
    slopes = out["slopes"] @ jacobian
    across = slopes @ own
    first = inverse(out["normal"]) + across @ slopes.T
    return np.block([[first, across], [across.T, own]])


def _joint_covariance(hessian, p):
    """Covariance 2 H^-1 of p fixed effects and the covariance parameters."""
    own = hessian[p:, p:] - hessian[p:, :p] @ np.linalg.solve(
        hessian[:p, :p], hessian[:p, p:]
    )
    own = inverse_hessian(own)
    slopes = -np.linalg.solve(hessian[:p, :p], hessian[:p, p:])
    first = coef_covariance(hessian, p)
    return np.block([[first, slopes @ own], [own @ slopes.T, own]])


def split_moves(coordinates, roots, moves):
    """Moves (q, q, m) of each covariance for moves (k, m) of the parameters."""
    out, at = [], 0
    for slopes in coordinates.covariance_slopes(roots):
        k = slopes.shape[-1]
        out.append(slopes @ moves[at : at + k])
        at += k
    return out
