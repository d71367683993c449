"""Counts, binary outcomes and proportions: what the solvers of them share."""

from dataclasses import replace

import numpy as np

from skglmm._loops.boundary import (
    minimize,
    search,
    together,
)
from skglmm._loops.flat import flat_factors, without_first
from skglmm._problem.design import kept_factors
from skglmm._problem.outcome import Outcome
from skglmm._problem.roots import inverse, singular_factors
from skglmm._problem.solution import MonteCarlo, Solution, cross_covariances
from skglmm.engine import generalized

# A variance of the linear predictor above which more quadrature nodes are needed, and
# how many there are then. Six are tried where they save much time: with few rows it is
# cheaper not to begin anew with nine.
_NODES = ((0.5, 6), (1.0, 9), (4.0, 15), (16.0, 33), (np.inf, 63))
_MANY_ROWS = 50_000
# Events a level below which Laplace's approximation is compared with a better one, and
# below which it is searched for a second maximum from standard deviations as large.
_FEW, _RARE, _LARGE = 5.0, 1.0, 2.0
# Log-likelihood units that it may be off.
_OFF = 0.25


def solve_variational(problem, solver):
    """Maximise the evidence lower bound.

    Parameters
    ----------
    problem : Problem
    solver : VI

    Returns
    -------
    solution : Solution
    """
    posterior = ()
    if problem.design.plan.iterative:
        auto = solver.factorization == "auto"
        wanted = "partial" if auto else solver.factorization
        posterior = kept_factors(problem.design.factors, wanted), auto
    with generalized.open_session(problem, solver.device) as run:
        best, out, objective = fit_variational(
            run, solver.n_quadrature, posterior, solver.max_iter, solver.tol
        )
        if solver.factorization == "mean_field":
            out |= {"normal": out["information"]}
        return variational_solution(run, problem, best, out, objective)


def fit_variational(run, n_quadrature, posterior, max_iter, tol):
    """Minimise -2 ELBO with enough nodes: report, estimates and the objective."""
    problem = run.problem
    objective = generalized.Variational(run, problem.family, *posterior)
    reports = []

    def evaluate():
        if reports:
            theta = reports[-1]["theta"]
            best, out = minimize(run, objective, theta, max_iter, tol, False)
        else:
            best, out = search(problem, run, objective, max_iter, tol)
        reports.append(best)
        return out

    out = settle_nodes(
        objective,
        evaluate,
        len(problem.weight),
        n_quadrature,
        lambda: reports[-1]["outcome"] is Outcome.INTERRUPTED,
    )
    best = reports[-1] | {
        "history": np.concatenate([report["history"] for report in reports]),
        "n_iter": sum(report["n_iter"] for report in reports),
    }
    return best, out, objective


def settle_nodes(objective, evaluate, n_rows, n_quadrature="auto", stopped=None):
    """Result of `evaluate` with as many nodes as the largest variance asks for.

    `stopped`, if given, says after each evaluation whether somebody has had enough.
    """
    for limit, automatic in _NODES[n_rows < _MANY_ROWS :]:
        objective.set_nodes(automatic if n_quadrature == "auto" else n_quadrature)
        out = evaluate()
        if n_quadrature != "auto" or not out["spread"] > limit:
            return out
        if stopped is not None and stopped():
            return out
    return out


def variational_solution(run, problem, best, out, objective):
    """Solution at the optimum of a `generalized.Variational`."""
    slopes, others = out["slopes"], inverse_hessian(out["hessian"])
    covariance = inverse(out["normal"])
    covariance += slopes @ others @ slopes.T
    method, value, error = generalized.log_likelihood(
        run, problem.family, objective.data, out
    )
    solution = make_solution(problem, best, out, covariance, -0.5 * value, method)
    n_own = len(out["parameters"])
    hessian = without_first(out["hessian"], n_own)
    solution = replace(
        solution,
        flat=flat_factors(run, best["theta"], hessian),
        parameters=out["parameters"],
        parameters_covariance=others[:n_own, :n_own],
        parameters_cross=slopes @ others[:, :n_own],
    )
    elbo = -0.5 * (float(out["value"]) - float(out["penalty"]))
    about = None
    if error:
        about = MonteCarlo(
            sampler="probes",
            n_samples=generalized.N_SIGNS,
            effective=1.0,
            coef=np.zeros((len(out["coef"]), 1)),
            covariances=tuple(np.zeros((*t.shape, 1)) for t in out["factors"]),
            noise=None,
            log_likelihood=0.5 * error,
        )
    return replace(solution, elbo=elbo, monte_carlo=about)


def solve_laplace(problem, solver):
    """Maximise Laplace's approximation or its refinement by quadrature.

    Parameters
    ----------
    problem : Problem
    solver : Laplace

    Returns
    -------
    solution : Solution
    """
    factors = problem.design.factors
    with generalized.open_session(problem, solver.device) as run:
        objective = generalized.Laplace(run, problem.family, solver.n_quadrature)
        limits = solver.max_iter, solver.tol
        best, out = search(problem, run, objective, *limits)
        method = "quadrature" if solver.n_quadrature > 1 else "laplace"
        remarks = []
        if method == "laplace" and best["outcome"] is Outcome.CONVERGED and factors:
            share = events_per_level(problem)
            if share < _RARE:
                best, out = _from_above(run, objective, best, out, *limits, remarks)
            if share < _FEW:
                remarks += _about_laplace(run, objective, best, out, share < _RARE)
        solution = laplace_solution(run, problem, best, out, method)
    return replace(solution, remarks=tuple(remarks))


def events_per_level(problem):
    """Rows, counted events or outcomes of the rarer kind, for each level."""
    y = problem.rows()[0][:, -1]
    events = problem.family.events(y, problem.weight, problem.trials)
    factors = [f for f in problem.design.factors if not f.structure.known]
    return events / max((factor.n_levels for factor in factors), default=1)


def _from_above(run, objective, best, out, max_iter, tol, remarks):
    """The better of an optimum and the one that is reached from large variances.

    With few events Laplace's approximation may have a maximum at small variances, where
    the integrand is nearly normal, and another at large ones, where it is not.
    """
    large = run.theta([_LARGE * np.eye(len(t)) for t in run.factors(best["theta"])])
    before = objective.coef
    objective.coef = out["coef"]
    again, found = minimize(run, objective, large, max_iter, tol, False)
    if not np.isfinite(again["value"]) or again["outcome"] is not Outcome.CONVERGED:
        objective.coef = before
        return best, out
    apart = 0.5 * (best["value"] - again["value"])
    both = together(best, again)
    if not apart > 1e-6:
        objective.coef = before
        return best | both, out
    remarks.append(
        "Laplace's approximation has two maxima, the higher one of which "
        f"({apart:.3g} log-likelihood units above the other) is reported"
    )
    return again | both, found


def _about_laplace(run, objective, best, out, rare):
    """What better approximations say of Laplace's at its optimum, if they disagree.

    One factor is integrated by quadrature; of several the variational bound, which
    the log-likelihood is not below, is all that there is.
    """
    problem, several = run.problem, len(run.structure.n_effects) > 1
    laplace = -0.5 * (float(out["value"]) - float(out["penalty"]))
    if several and not rare:
        return []
    if several:
        bound = generalized.Variational(run, problem.family, None)
        bound.parameters = out["parameters"]
        found = settle_nodes(
            bound, lambda: bound.at(best["theta"]), len(problem.weight)
        )
        better = -0.5 * (float(found["value"]) - float(found["penalty"]))
        how = "which are at least"
    else:
        method, value, _ = generalized.log_likelihood(
            run, problem.family, objective.data, out
        )
        if method != "quadrature":
            return []
        better, how = -0.5 * value, "which are by quadrature"
    off = laplace - better
    if not (abs(off) > _OFF and (off < 0.0 or not several)):
        return []
    other = "" if several else " or Laplace(n_quadrature=15)"
    return [
        f"Laplace's approximation is {abs(off):.2g} log-likelihood units off at these "
        f"estimates ({laplace:.2f}, {how} {better:.2f}), because there are so few "
        f"events in a level: use solver='vi'{other}"
    ]


def laplace_solution(run, problem, best, out, method):
    """Solution at the optimum of a `generalized.Laplace`."""
    if best["outcome"] is Outcome.INTERRUPTED:
        covariance = inverse(out["normal"])
    else:
        covariance = coef_covariance(out["hessian"], len(out["coef"]))
    value = float(out["value"]) - float(out["penalty"])
    if all(factor.structure.known for factor in problem.design.factors):
        method = "exact"
    others = without_first(out["hessian"], len(out["coef"]))
    n_own, p = len(out["parameters"]), len(out["coef"])
    spread = inverse_hessian(others)[:, :n_own]
    solution = make_solution(problem, best, out, covariance, -0.5 * value, method)
    return replace(
        solution,
        flat=flat_factors(run, best["theta"], without_first(others, n_own)),
        parameters=out["parameters"],
        parameters_covariance=spread[:n_own],
        parameters_cross=_followed(out["hessian"], p) @ spread if n_own else None,
    )


def _followed(hessian, p):
    """Derivatives of the best first p parameters in the others."""
    return -np.linalg.pinv(hessian[:p, :p], hermitian=True) @ hessian[:p, p:]


def inverse_hessian(hessian):
    """Covariance 2 H^-1 of variance parameters with -2 log-likelihood curvature H.

    Directions without positive curvature, such as a variance at zero, get none.
    """
    if not hessian.size:
        return hessian
    values, axes = np.linalg.eigh(hessian)
    usable = values > 1e-10 * max(values.max(), 1e-300)
    return 2.0 * (axes[:, usable] / values[usable]) @ axes[:, usable].T


def coef_covariance(hessian, p):
    """Covariance of the first p parameters, the fixed effects.

    Nothing is certain about a fixed effect because the likelihood is flat there, as
    under separation: the least curvature is that of the ridge.
    """
    from skglmm.engine.inner import RIDGE

    across = hessian[:p, p:]
    own = hessian[:p, :p] - 0.5 * across @ inverse_hessian(hessian[p:, p:]) @ across.T
    values, axes = np.linalg.eigh(own)
    return 2.0 * (axes / np.maximum(values, 2.0 * RIDGE)) @ axes.T


def make_solution(problem, best, out, covariance, log_likelihood, method):
    """Solution from a report (`optimizers.report`) and the estimates at its end."""
    cross = None
    if "moves" in out:
        cross = cross_covariances(problem.design.effects(out["moves"]), covariance)
    return Solution(
        coef=out["coef"],
        coef_covariance=covariance,
        covariances=tuple(t @ t.T for t in out["factors"]),
        means=problem.design.effects(out["means"]),
        posteriors=out["posterior"],
        noise_variance=None,
        log_likelihood=log_likelihood,
        method=method,
        n_iter=best["n_iter"],
        history=best["history"],
        outcome=best["outcome"],
        singular=singular_factors(out["factors"]),
        cross=cross,
    )
