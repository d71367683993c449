"""Counts, binary outcomes and proportions: what the solvers of them share."""

from dataclasses import replace

import numpy as np

from skglmm.solvers._base import Solution, cross_covariances
from skglmm.solvers._flat import flat_factors, without_coef
from skglmm.solvers._search import INTERRUPTED, begin, minimize, singular_factors

# A variance of the linear predictor above which more quadrature nodes are needed, and
# how many there are then. Six are tried where they save much time: with few rows it is
# cheaper not to begin anew with nine.
_NODES = ((0.5, 6), (1.0, 9), (4.0, 15), (16.0, 33), (np.inf, 63))
_MANY_ROWS = 50_000
QUADRATURE_EFFECTS = 3


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
    from skglmm.engine import generalized

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
    from skglmm.engine import generalized

    problem = run.problem
    objective = generalized.Variational(run, problem.family, *posterior)
    theta, cold = begin(problem, run), problem.start is None
    reports = []

    def evaluate():
        begun = reports[-1]["theta"] if reports else theta
        first = cold and not reports
        best, out = minimize(run, objective, begun, max_iter, tol, first)
        reports.append(best)
        return out

    out = settle_nodes(
        objective,
        evaluate,
        len(problem.weight),
        n_quadrature,
        lambda: reports[-1]["outcome"] == INTERRUPTED,
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
    from skglmm.engine import generalized

    slopes = out["slopes"]
    covariance = np.linalg.inv(out["normal"])
    covariance += slopes @ inverse_hessian(out["hessian"]) @ slopes.T
    method, value, error = generalized.log_likelihood(
        run, problem.family, objective.data, out
    )
    solution = make_solution(problem, best, out, covariance, -0.5 * value, method)
    solution = replace(solution, flat=flat_factors(run, best["theta"], out["hessian"]))
    solution.extra["elbo"] = -0.5 * (float(out["value"]) - float(out["penalty"]))
    if error:
        solution.extra["monte_carlo"] = {
            "sampler": "probes",
            "n_samples": generalized.N_SIGNS,
            "effective": 1.0,
            "coef": np.zeros((len(out["coef"]), 1)),
            "covariances": tuple(np.zeros((*t.shape, 1)) for t in out["factors"]),
            "noise": None,
            "log_likelihood": 0.5 * error,
        }
    return solution


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
    from skglmm.engine import generalized

    factors = problem.design.factors
    if solver.n_quadrature > 1:
        check_quadrature(factors)
    with generalized.open_session(problem, solver.device) as run:
        objective = generalized.Laplace(run, problem.family, solver.n_quadrature)
        best, out = minimize(
            run,
            objective,
            begin(problem, run),
            solver.max_iter,
            solver.tol,
            problem.start is None,
        )
        method = "quadrature" if solver.n_quadrature > 1 else "laplace"
        return laplace_solution(run, problem, best, out, method)


def laplace_solution(run, problem, best, out, method):
    """Solution at the optimum of a `generalized.Laplace`."""
    if best["outcome"] == INTERRUPTED:
        covariance = np.linalg.inv(out["normal"])
    else:
        covariance = coef_covariance(out["hessian"], len(out["coef"]))
    value = float(out["value"]) - float(out["penalty"])
    if not problem.design.factors:
        method = "exact"
    hessian = without_coef(out["hessian"], len(out["coef"]))
    flat = flat_factors(run, best["theta"], hessian)
    solution = make_solution(problem, best, out, covariance, -0.5 * value, method)
    return replace(solution, flat=flat)


def check_quadrature(factors):
    """Refuse adaptive quadrature where its grid would not be a grid of one level."""
    if len(factors) != 1 or factors[0].n_effects > QUADRATURE_EFFECTS:
        found = f"{len(factors)} grouping factors"
        if len(factors) == 1:
            found = f"{factors[0].n_effects} effects a level"
        raise ValueError(
            "n_quadrature > 1 needs one grouping factor with at most "
            f"{QUADRATURE_EFFECTS} effects a level, and this model has {found}. Use "
            "solver='vi', or n_quadrature=1."
        )


def kept_factors(factors, factorization):
    """Which factors keep their posterior covariances; None when all do.

    Parameters
    ----------
    factors : list of Factor
    factorization : {"full", "partial", "mean_field"}

    Returns
    -------
    kept : tuple of bool or None
    """
    if factorization == "full" or len(factors) < 2:
        return None
    if factorization == "mean_field":
        return (False,) * len(factors)
    sizes = np.array([factor.size for factor in factors])
    kept = sizes < SMALL_FACTOR
    kept[np.argmax(sizes)] = False
    # one large factor beside small ones is the full posterior
    return None if np.sum(~kept) < 2 else tuple(bool(k) for k in kept)


# Effects below which a factor counts as small for the partial factorisation.
SMALL_FACTOR = 30


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
        cross = cross_covariances(out["moves"], covariance)
    return Solution(
        coef=out["coef"],
        coef_covariance=covariance,
        covariances=tuple(t @ t.T for t in out["factors"]),
        means=out["means"],
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
