"""The loops behind MacKay's solver."""

from dataclasses import replace

import numpy as np

from skglmm._covariances import COVARIANCES
from skglmm._loops.anderson import accelerate
from skglmm._loops.boundary import (
    begin,
    from_others,
    minimize,
)
from skglmm._loops.flat import flat_linear
from skglmm._loops.generalized import (
    laplace_solution,
    make_solution,
    variational_solution,
)
from skglmm._loops.linear import open_objective, solution
from skglmm._problem.outcome import Outcome
from skglmm._problem.roots import covariance_root, inverse
from skglmm.engine import evidence, generalized, optimizers

# Turns of the fixed point after which the gradient takes over, at the latest.
_TURNS = 40
_SETTLED = 1e-7
_COLLAPSED = 1e-8


def solve_evidence(problem, solver):
    """Linear model: the fixed point, finished by the gradient."""
    with open_objective(problem, solver.device) as (run, objective):
        kept = _Kept(lambda theta: _linear_turn(objective, theta))
        theta, history, done = accelerate(
            kept,
            begin(problem, run),
            min(solver.max_iter, _TURNS),
            solver.tol,
            problem.watch,
        )
        best, out = _finish(problem, run, objective, theta, history, solver, done)
        flat = flat_linear(run, objective, best)
        return replace(kept.on(run, solution(problem, best, out)), flat=flat)


class _Kept:
    """A turn of a fixed point, with the covariances at which it was made.

    Parameters
    ----------
    turn : callable
        See `accelerate`; its result may have the residual variance as ``noise``.
    """

    def __init__(self, turn):
        self._turn, self._points, self._noise = turn, [], []

    def __call__(self, theta):
        out = self._turn(theta)
        self._points.append(np.array(theta))
        self._noise.append(out.get("noise"))
        return out

    def on(self, run, solution):
        """The solution with covariances at each turn."""
        if not self._points or not solution.covariances:
            return solution
        noise = None
        if self._noise[0] is not None:
            noise = np.array(self._noise, dtype=float)
        scale = np.ones(len(self._points)) if noise is None else noise
        factors = [run.factors(theta) for theta in self._points]
        path = tuple(
            scale[:, None, None] * np.array([t @ np.transpose(t) for t in of_factor])
            for of_factor in zip(*factors, strict=True)
        )
        return replace(solution, path=path, noise_path=noise)


def _linear_turn(objective, theta):
    out = objective.evaluate(theta)
    inverse = optimizers.inverse_metric(
        out["metric"], out["n"], (out["pull"], out["n"])
    ).numpy()
    gradient = out["gradient"]
    return {
        "next": out["evidence"],
        "value": float(out["value"]),
        "left": 0.5 * gradient @ inverse @ gradient,
        "noise": float(out["fixed"]["variance"]),
    }


def _finish(problem, run, objective, theta, history, solver, done):
    """Polish by the gradient and settle variances of zero; one report of both."""
    if done is None:
        best, out = objective.minimize(theta, 1, solver.tol, False)
        best["outcome"] = Outcome.INTERRUPTED
    else:
        n_more = max(1, solver.max_iter - len(history))
        best, out = minimize(run, objective, theta, n_more, solver.tol, False)
        rest = best, out, solver.max_iter, solver.tol
        best, out = from_others(problem, run, objective, *rest)
    return best | {
        "n_iter": best["n_iter"] + len(history),
        "history": np.concatenate([np.minimum.accumulate(history), best["history"]]),
    }, out


def solve_generalized_evidence(problem, solver):
    """Counts and proportions: the fixed point at one of three curvatures."""
    with generalized.open_session(problem, solver.device) as run:
        tol = solver.tol * generalized.objective_size(problem)
        turn = evidence.Evidence(run, problem.family, solver.curvature == "vi")
        if solver.curvature == "vi":
            kept = _Kept(turn)
            theta, history, done = accelerate(
                kept,
                begin(problem, run),
                min(solver.max_iter, _TURNS),
                tol,
                problem.watch,
            )
            objective = generalized.Variational(run, problem.family, None)
            objective.set_nodes(turn.n_nodes)
            best, out = _finish(problem, run, objective, theta, history, solver, done)
            found = variational_solution(run, problem, best, out, objective)
            return kept.on(run, found)
        kept = _Kept(lambda theta: _modal_turn(turn, theta))
        theta, history, done = accelerate(
            kept,
            begin(problem, run),
            solver.max_iter,
            _SETTLED,
            problem.watch,
        )
        if solver.curvature == "laplace":
            objective = generalized.Laplace(run, problem.family, 1)
            history = history[:0]
            best, out = _finish(problem, run, objective, theta, history, solver, done)
            return laplace_solution(run, problem, best, out, "laplace")
        theta = np.where(np.abs(theta) < 1e-3, 0.0, theta)
        out = turn(theta)
        outcome = _outcome(done)
        found = _modal_solution(run, problem, turn, out, len(history), outcome)
        return kept.on(run, found)


def _at_end(value, n_iter):
    """History of a fixed point whose objective is known at its end only."""
    return np.append(np.full(max(n_iter, 1) - 1, np.nan), value)


def _modal_turn(turn, theta):
    """No objective is known to fall: what is left is the length of the step."""
    out = turn(theta)
    step = np.max(np.abs(np.abs(out["next"]) - np.abs(theta)), initial=0.0)
    return {"next": out["next"], "value": None, "left": step}


def _modal_solution(run, problem, turn, out, n_iter, outcome):
    found = out["estimates"]
    method, value, _ = generalized.log_likelihood(run, problem.family, turn.data, found)
    report = {"n_iter": n_iter, "outcome": outcome, "history": _at_end(value, n_iter)}
    covariance = inverse(found["normal"])
    return make_solution(problem, report, found, covariance, -0.5 * value, method)


def solve_known(problem, solver, roots):
    """Effects at covariances that are given."""
    if problem.family.is_linear:
        sigma2 = solver.noise_variance * problem.unit_precision / problem.unit**2
        with open_objective(problem, solver.device) as (run, objective):
            theta = run.theta([root / np.sqrt(sigma2) for root in roots])
            out = objective.evaluate(theta)
        return _at_noise(problem, out, sigma2, 1)
    with generalized.open_session(problem, solver.device) as run:
        turn = evidence.Evidence(run, problem.family, solver.curvature == "vi")
        out = turn(run.theta(roots))
        return _modal_solution(run, problem, turn, out, 1, None)


def _at_noise(problem, out, sigma2, n_iter, outcome=Outcome.CONVERGED):
    """Solution of the linear model at a residual variance that was not profiled out."""
    fixed, n = out["fixed"], float(out["n"])
    profiled = float(fixed["variance"])
    value = float(out["value"]) + n * (
        np.log(sigma2 / profiled) + profiled / sigma2 - 1.0
    )
    report = {"n_iter": n_iter, "outcome": outcome, "history": _at_end(value, n_iter)}
    found = out | {"value": value, "fixed": fixed | {"variance": sigma2}}
    return solution(problem, report, found)


def solve_quick(problem, solver):
    """The textbook shortcut: covariances of the predicted effects.

    V = cov(b) and sigma^2 = SSE / (n - tr H), without the posterior variance.
    """
    if not problem.family.is_linear:
        return _quick_generalized(problem, solver)
    total = problem.weight.sum()
    kinds = [factor.covariance for factor in problem.design.factors]
    with open_objective(problem, solver.device) as (run, objective):

        def turn(theta):
            # the fixed effects are counted among the parameters of the hat matrix
            out = objective.evaluate_with(theta, 1.0)
            means, factors = out["means"], out["factors"]
            penalty = sum(_penalty(t, b) for t, b in zip(factors, means, strict=True))
            sse = float(out["fixed"]["variance"]) * float(out["n"]) - penalty
            # d log|V| / dT = 2 K T, and tr(T' K T) is a factor's share of the trace
            effective = len(out["fixed"]["coef"]) + 0.5 * theta @ out["pull"]
            sigma2 = sse / (total - effective)
            spread = [_spread(b, kind) for b, kind in zip(means, kinds, strict=True)]
            following = run.theta([covariance_root(v / sigma2) for v in spread])
            following[np.abs(following) < _COLLAPSED] = 0.0
            return {
                "next": following,
                "value": None,
                "left": np.max(np.abs(following - np.abs(theta)), initial=0.0),
                "noise": sigma2,
            }

        kept = _Kept(turn)
        theta, history, done = accelerate(
            kept, begin(problem, run), solver.max_iter, _SETTLED, problem.watch
        )
        theta = np.where(np.abs(theta) < 10 * _SETTLED, 0.0, theta)
        out, sigma2 = objective.evaluate(theta), turn(theta)["noise"]
        found = _at_noise(problem, out, sigma2, len(history), _outcome(done))
        return kept.on(run, found)


def _outcome(done):
    if done is None:
        return Outcome.INTERRUPTED
    return Outcome.CONVERGED if done else Outcome.SPENT


def _quick_generalized(problem, solver):
    kinds = [factor.covariance for factor in problem.design.factors]
    with generalized.open_session(problem, solver.device) as run:
        evaluate = evidence.Evidence(run, problem.family, solver.curvature == "vi")

        def turn(theta):
            means = evaluate(theta)["estimates"]["means"]
            spread = [_spread(b, kind) for b, kind in zip(means, kinds, strict=True)]
            following = run.theta([covariance_root(v) for v in spread])
            following[np.abs(following) < _COLLAPSED] = 0.0
            left = np.max(np.abs(following - np.abs(theta)), initial=0.0)
            return {"next": following, "value": None, "left": left}

        kept = _Kept(turn)
        theta, history, done = accelerate(
            kept, begin(problem, run), solver.max_iter, _SETTLED, problem.watch
        )
        theta = np.where(np.abs(theta) < 10 * _SETTLED, 0.0, theta)
        n_iter, outcome = len(history), _outcome(done)
        out = evaluate(theta)
        found = _modal_solution(run, problem, evaluate, out, n_iter, outcome)
        return kept.on(run, found)


def _penalty(t, b):
    """Sum over levels of |T^-1 b_j|^2; directions without variance have no effects."""
    u = np.linalg.lstsq(t, b, rcond=1e-12)[0]
    return float(np.sum(u * u))


def _spread(b, kind):
    """Covariance of predicted effects (q, J) as the factor's structure allows."""
    return COVARIANCES[kind].nearest(np.atleast_2d(np.cov(b)))
