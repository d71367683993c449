"""What a fit leaves: the attributes that users read, and the rest in one value."""

import functools

import numpy as np
import pandas as pd

from skglmm._families import Family
from skglmm._fitted.separation import separated_columns
from skglmm._fitted.state import Facts, Fitted
from skglmm._fixed.estimate import Estimate
from skglmm._problem.roots import half_and_inverse
from skglmm._problem.solution import Solution
from skglmm._problem.working import Working
from skglmm._reading.fixed_terms import fixed_terms
from skglmm._reading.inputs import Inputs


def user_solution(working: Working, estimate: Estimate) -> Solution:
    """The solution in the order, at the origin and in the unit of the user."""
    problem = working.problem
    solution = estimate.solution.in_user_order(problem.design, estimate.origin)
    if problem.unit != 1.0:
        solution = solution.in_unit(problem.unit, float(problem.weight.sum()))
    if problem.frequency is None:
        return solution
    log_volume = 0.5 * float(problem.counts @ np.log(problem.precision))
    return solution.in_precision(problem.unit_precision, log_volume)


def attributes(
    inputs: Inputs,
    working: Working,
    estimate: Estimate,
    solution: Solution,
    family: Family,
    *,
    fit_intercept: bool,
    missing: str,
) -> tuple[dict, Fitted]:
    """All attributes of a fit by name, and what the model keeps beside them.

    Parameters
    ----------
    inputs : Inputs
    working : Working
    estimate : Estimate
    solution : Solution
        See `user_solution`.
    family : Family
    fit_intercept : bool
    missing : {"error", "model"}

    Returns
    -------
    public : dict
    fitted : Fitted
    """
    half, inverse = half_and_inverse(solution.coef_covariance)
    fixed, covariance, coef_half = _fixed(
        inputs, estimate, solution, half, fit_intercept
    )
    random, posteriors, shifts = _random(inputs, working, solution, inverse)
    public = {"converged_": solution.converged and inputs.hopeless is None}
    public |= fixed | random | likelihood(working, estimate, solution, family)
    if (own := _parameters(family, estimate, solution, fixed, covariance)) is not None:
        public["family_parameters_"] = own
    if inputs.classes is not None:
        public["classes_"] = inputs.classes
    separated = []
    if not family.is_linear:
        ranges = np.ptp(working.filled, axis=0)
        separated = separated_columns(
            public["fixed_effects_"], covariance, ranges, fit_intercept
        )
    column_model = None
    if missing == "model":
        *column_model, lost = _columns(working, estimate, public["fixed_effects_"])
        public["missing_information_"] = lost
    if solution.monte_carlo is not None:
        public |= _monte_carlo(inputs, working, estimate, solution, public)
    if estimate.part is not None:
        del public["coef_"], public["coef_names_"]
        public["aic_"] = public["bic_"] = np.nan
    return public, Fitted(
        terms=inputs.terms,
        named=inputs.named,
        fixed_columns=inputs.fixed if estimate.part is None else (),
        from_metadata=inputs.from_metadata,
        coef_covariance=covariance,
        coef_half=coef_half,
        posteriors=posteriors,
        shifts=shifts,
        facts=_facts(inputs, working, estimate, solution, separated),
        part=estimate.part,
        column_model=column_model and tuple(column_model),
        properties=_properties(inputs, working, estimate),
        parameters=solution.parameters if family.parameter_names else None,
        categories=inputs.categories,
        objective=solution.history,
        path=_path(working, solution),
        by_name=inputs.by_name,
        formula=inputs.formula,
        fixed_terms=fixed_terms(inputs),
    )


def _path(working, solution):
    """Variances (n_kept, n_variances) at the steps of the solver, if it kept them."""
    if solution.path is None or len(solution.path[0]) > len(solution.history):
        return None
    found = [
        np.diagonal(recoding @ path @ recoding.T, axis1=1, axis2=2)
        for recoding, path in zip(working.recodings, solution.path, strict=True)
    ]
    if solution.noise_path is not None:
        found.append(solution.noise_path[:, None])
    return np.hstack(found)


def _fixed(inputs, estimate, solution, half, fit_intercept):
    """Attributes of the fixed effects; their covariance, and the half of it."""
    coding, first, names = estimate.coding, int(fit_intercept), inputs.names
    coef = coding.transform @ solution.coef
    covariance = coding.transform @ solution.coef_covariance @ coding.transform.T
    std_error = np.sqrt(np.diag(covariance))
    std_error[coding.aliased] = np.nan
    covariance[coding.aliased] = covariance[:, coding.aliased] = np.nan
    coef_half = np.zeros((1 + len(names), len(solution.coef)))
    coef_half[1 - first :] = coding.transform @ half
    frame = pd.DataFrame(
        np.column_stack([coef, std_error]),
        index=_index(("Intercept",) * first + names),
        columns=_index(("estimate", "std_error")),
    )
    public = {
        "intercept_": float(coef[0]) if first else 0.0,
        "coef_": coef[first:],
        "coef_names_": list(names),
        "fixed_effects_": frame,
    }
    return public, covariance, coef_half


def _random(inputs, working, solution, inverse):
    """Attributes of the random effects; their covariances, also with the fixed ones."""
    means, std, covariances, posteriors, shifts = {}, {}, {}, {}, {}
    for r, (term, levels, recoding) in enumerate(
        zip(inputs.terms, inputs.levels, working.recodings, strict=True)
    ):
        name, effects = term.name, _index(term.effects)
        blocks = np.moveaxis(solution.posteriors[r], -1, 0)
        blocks = recoding @ blocks @ recoding.T
        variance = np.diagonal(blocks, axis1=1, axis2=2)
        posteriors[name] = blocks
        if solution.cross is not None:
            shifts[name] = recoding @ np.moveaxis(solution.cross[r], -1, 0) @ inverse
        means[name] = pd.DataFrame((recoding @ solution.means[r]).T, levels, effects)
        std[name] = pd.DataFrame(np.sqrt(np.maximum(variance, 0.0)), levels, effects)
        covariances[name] = recoding @ solution.covariances[r] @ recoding.T
    public = {
        "random_effects_": means,
        "random_effects_std_": std,
        "random_effects_covariance_": covariances,
    }
    if solution.noise_variance is not None:
        public["noise_variance_"] = solution.noise_variance
    return public, posteriors, shifts


def _parameters(family, estimate, solution, fixed, covariance):
    """What the family has of its own, in the user's terms."""
    if family.is_linear:
        return None
    intercept, cross = (0.0, 0.0, None), solution.parameters_cross
    index = fixed["fixed_effects_"].index
    if len(index) and index[0] == "Intercept":
        cross = None if cross is None else (estimate.coding.transform @ cross)[0]
        intercept = fixed["intercept_"], covariance[0, 0], cross
    found = family.reported(
        solution.parameters, solution.parameters_covariance, intercept
    )
    if found is None:
        return None
    names, values, std_errors = found
    return pd.DataFrame(
        np.column_stack([values, std_errors]),
        index=_index(tuple(names)),
        columns=_index(("estimate", "std_error")),
    )


def likelihood(working, estimate, solution, family):
    """Attributes of the likelihood, and of how it was found."""
    coding, log_likelihood = estimate.coding, solution.log_likelihood
    if solution.method == "restricted":
        log_likelihood += coding.log_volume
    factors = working.problem.design.factors
    n_parameters = int(np.sum(~coding.aliased)) + sum(f.n_parameters for f in factors)
    n_parameters += solution.noise_variance is not None
    n_parameters += len(family.parameter_names)
    total = working.problem.counts.sum()
    public = {
        "log_likelihood_": float(log_likelihood),
        "log_likelihood_method_": solution.method,
        "aic_": float(2 * n_parameters - 2 * log_likelihood),
        "bic_": float(np.log(total) * n_parameters - 2 * log_likelihood),
        "n_iter_": solution.n_iter,
        "singular_": bool(solution.singular),
    }
    if solution.elbo is not None:
        exact = solution.noise_variance is not None
        public["elbo_"] = float(log_likelihood) if exact else solution.elbo
    return public


def _columns(working, estimate, fixed_effects):
    """Mean and covariance of the fixed columns, and what their gaps have cost."""
    found = estimate.columns
    if found is not None:
        lost = pd.Series(found.lost, fixed_effects.index)
        return found.mean, found.covariance, lost
    X, weight = working.columns, working.problem.counts
    mean = weight @ X / weight.sum()
    away = X - mean
    covariance = away.T @ (weight[:, None] * away) / weight.sum()
    lost = np.where(fixed_effects["std_error"].isna(), np.nan, 0.0)
    return mean, covariance, pd.Series(lost, fixed_effects.index)


def _properties(inputs, working, estimate):
    """Columns that are properties of levels, with these; see `Fitted`."""
    found, design = [], working.problem.design
    engine = design.plan.chain + design.plan.core
    for at, r in inputs.properties:
        codes, values = inputs.codes[r], inputs.matrix[:, at]
        mean = np.zeros(len(inputs.levels[r]))
        variance = np.zeros_like(mean)
        mean[codes] = values
        if estimate.columns is not None and at in estimate.columns.properties:
            drawn = estimate.columns.properties[at]
            of_draws, variance = (design.to_user(engine.index(r), v) for v in drawn)
            mean = np.where(np.isnan(mean), of_draws, mean)
        found.append((at, inputs.terms[r].name, mean, variance))
    return tuple(found)


def _monte_carlo(inputs, working, estimate, solution, public):
    """What draws left: their error, how they were made, and some of them."""
    about, terms, recodings = solution.monte_carlo, inputs.terms, working.recodings
    fixed = np.linalg.norm(estimate.coding.transform @ about.coef, axis=1)
    found = components_frame(
        terms, public["random_effects_covariance_"], solution.noise_variance
    )
    std, components = found["std"], found[["variance", "std"]] * 0.0
    for term, recoding, moved in zip(terms, recodings, about.covariances, strict=True):
        move = np.einsum("ia,abm,kb->ikm", recoding, moved, recoding)
        for i, effect in enumerate(term.effects):
            error = _length(move[i, i])
            components.loc[(term.name, effect), "variance"] = error
    if about.noise is not None:
        components.loc[("residual", ""), "variance"] = _length(about.noise)
    components["std"] = components["variance"] / (2.0 * std.where(std > 0, np.nan))
    components["std"] = components["std"].fillna(0.0)
    made = {
        "mc_error_": {
            "fixed_effects": pd.Series(fixed, public["fixed_effects_"].index),
            "variance_components": components,
            "log_likelihood": float(about.log_likelihood),
        },
        "sampling_": {
            name: getattr(about, name) for name in ("sampler", "n_samples", "effective")
        },
    }
    for name, by_factor in (
        ("random_effects_draws_", about.draws),
        ("random_effects_trace_", about.trace),
    ):
        if by_factor is not None:
            made[name] = {
                term.name: np.moveaxis(np.tensordot(recoding, draws, 1), 0, -1)
                for term, recoding, draws in zip(
                    terms, recodings, by_factor, strict=True
                )
            }
    if about.trace is not None:
        made["random_effects_trace_"] = {
            name: draws.reshape(solution.n_iter, -1, *draws.shape[1:])
            for name, draws in made["random_effects_trace_"].items()
        }
    return made


def _facts(inputs, working, estimate, solution, separated):
    problem, counts = working.problem, working.problem.counts
    total = float(counts.sum())
    y = working.y if problem.unit == 1.0 else working.y * problem.unit
    random_variances = tuple(
        float(np.sum(square * covariance))
        for square, covariance in zip(
            working.squares, solution.covariances, strict=True
        )
    )
    return Facts(
        n_rows=total,
        mean_response=float(counts @ y / total),
        fixed_variance=float(estimate.fixed_variance(working, solution.coef)),
        random_variances=random_variances,
        outcome=solution.words,
        singular=tuple(inputs.terms[r].name for r in solution.singular),
        separated=tuple(separated),
        hopeless=inputs.hopeless,
        unit_precision=problem.unit_precision,
    )


def _length(a):
    """Euclidean length of a vector whose squares may be too large or too small."""
    largest = np.max(np.abs(a), initial=0.0)
    return largest * np.linalg.norm(a / largest) if largest else 0.0


def _index(names):
    """Index of strings with a name of its own; a new one takes ten times longer."""
    return _kept_index(names).view()


@functools.lru_cache(maxsize=16)
def _kept_index(names):
    return pd.Index(names)


def history_frame(fitted: Fitted, components: pd.DataFrame) -> pd.DataFrame:
    """The objective at each step, and variances where the solver has kept them.

    Parameters
    ----------
    fitted : Fitted
    components : DataFrame
        See `components_frame`.
    """
    steps = pd.RangeIndex(1, len(fitted.objective) + 1, name="step")
    frame = pd.DataFrame({"objective": fitted.objective}, index=steps)
    if fitted.path is None:
        return frame
    names = [
        f"variance({group}, {effect})" if effect else f"variance({group})"
        for group, effect in components.index
    ]
    padded = np.full((len(steps), len(names)), np.nan)
    padded[: len(fitted.path)] = fitted.path
    return frame.join(pd.DataFrame(padded, index=steps, columns=names))


def components_frame(terms, covariances, noise_variance):
    """Variances, standard deviations and correlations as one table."""
    rows, index, width = [], [], max([len(t.effects) for t in terms], default=1)
    first = next((t.effects for t in terms if len(t.effects) == width), ())
    same = all(t.effects == first[: len(t.effects)] for t in terms)
    names = [f"corr({first[k]})" if same else f"corr({k})" for k in range(width - 1)]
    for term in terms:
        sigma = covariances[term.name]
        sd = np.sqrt(np.maximum(np.diag(sigma), 0.0))
        for i, effect in enumerate(term.effects):
            row = {"variance": sigma[i, i], "std": sd[i]}
            for k in range(i):
                scale = sd[i] * sd[k]
                row[names[k]] = sigma[i, k] / scale if scale > 0 else np.nan
            rows.append(row)
            index.append((term.name, effect))
    if noise_variance is not None:
        rows.append({"variance": noise_variance, "std": np.sqrt(noise_variance)})
        index.append(("residual", ""))
    group, effect = zip(*index, strict=True) if index else ([], [])
    return pd.DataFrame(
        {
            name: np.array([row.get(name, np.nan) for row in rows], dtype=float)
            for name in ["variance", "std", *names]
        },
        index=pd.MultiIndex.from_arrays(
            [list(group), list(effect)], names=["group", "effect"]
        ),
    )
