"""Estimates of many responses on the rows of one model, as arrays."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.base import clone

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES
from skglmm._fitted.attributes import attributes, user_solution
from skglmm._fixed.parts import resolve_part
from skglmm._problem.outcome import Outcome
from skglmm._progress import Progress
from skglmm._reading.inputs import Inputs

# Values of responses that are worked on together.
_VALUES = 16_000_000
# Least standard deviation, beside the residual's, to begin a search from.
_AWAY = 0.1


@dataclass(frozen=True)
class Batch:
    """Estimates of many responses, the response as first axis.

    Parameters
    ----------
    coef, std_error : ndarray of shape (m, n_coef)
        The intercept first, if there is one.
    covariances : tuple of ndarray of shape (m, q, q)
        Of the random effects, by term.
    noise_variance : ndarray of shape (m,) or None
    log_likelihood : ndarray of shape (m,)
    n_iter : ndarray of shape (m,), int
    singular : ndarray of shape (m,), bool
    words : list of str
        Why a fit did not converge; empty if it did.
    said : tuple of str
        What there is to say of the rows, whatever the response.
    """

    coef: np.ndarray
    std_error: np.ndarray
    covariances: tuple[np.ndarray, ...]
    noise_variance: np.ndarray | None
    log_likelihood: np.ndarray
    n_iter: np.ndarray
    singular: np.ndarray
    words: list[str]
    said: tuple[str, ...] = ()

    @property
    def converged(self) -> np.ndarray:
        """Which fits did, (m,)."""
        return np.array([not words for words in self.words])


def fit_batch(
    model: BaseMixedModel,
    inputs: Inputs,
    Y: np.ndarray,
    *,
    truth=None,
    reml: bool | None = None,
    done: Callable[[int], None] | None = None,
) -> Batch:
    """Fit a model to each column of Y.

    Parameters
    ----------
    model : BaseMixedModel
        Fitted or not; is not changed.
    inputs : Inputs
        Its rows; the target that they hold plays no role.
    Y : ndarray of shape (n_rows, m)
        Responses, for the rows of `inputs`.
    truth : tuple of ndarray or None, default=None
        Relative covariance roots by term, of which the estimates will be near.
    reml : bool or None, default=None
        Whether a linear model is fitted by the restricted likelihood; None leaves that
        to the model.
    done : callable or None, default=None
        Is told how many responses have been fitted since the last call.

    Returns
    -------
    batch : Batch
    """
    if reml is not None and bool(getattr(model, "reml", False)) != reml:
        model = clone(model).set_params(reml=reml)
    family, solver = model._distribution(), model._resolve_solver()
    part = resolve_part(model.fixed_effects)
    if family.is_linear and part is None and not inputs.gaps:
        quiet = replace(inputs, y=np.random.default_rng(0).normal(size=len(inputs.y)))
        working = model._working(quiet, solver, True, False, Progress(model))
        from skglmm._loops.many import can_solve

        if can_solve(working.problem) and solver.supports(working.problem) is None:
            return _side_by_side(model, inputs, working, Y, truth, done)
    return _one_by_one(model, inputs, Y, part, solver, done)


def _side_by_side(model, inputs, working, Y, truth, done):
    problem, solver = working.problem, model._resolve_solver()
    engine = problem.design.plan.chain + problem.design.plan.core
    fixed, first = problem.rows()[0][:, :-1], int(model.fit_intercept)
    start = None
    if truth is not None:
        start = _start(working, [truth[r] for r in engine])
    together, found = max(_VALUES // max(len(Y), 1), 1), []
    for at in range(0, Y.shape[1], together):
        found.append(
            _linear(
                working, fixed, first, inputs.offset, Y[:, at : at + together],
                solver, start, done,
            )
        )  # fmt: skip
    place = [engine.index(r) for r in range(len(engine))]
    coding, reml = working.coding, problem.reml
    coef, variance, noise, value, n_iter, singular = (
        np.concatenate([one[k] for one in found]) for k in range(6)
    )
    covariances = []
    for r, recoding in zip(place, working.recodings, strict=True):
        of_factor = np.concatenate([one[6][r] for one in found])
        covariances.append(recoding @ of_factor @ recoding.T)
    std_error = np.sqrt(variance)
    std_error[:, coding.aliased] = np.nan
    return Batch(
        coef=coef,
        std_error=std_error,
        covariances=tuple(covariances),
        noise_variance=noise,
        log_likelihood=-0.5 * value + (coding.log_volume if reml else 0.0),
        n_iter=n_iter,
        singular=singular,
        words=[
            outcome.value.format(max_iter=solver.max_iter)
            for one in found
            for outcome in one[7]
        ],
        said=(*inputs.messages, *working.messages, *working.unidentified),
    )


def _linear(working, fixed, first, offset, Y, solver, start, done):
    """Estimates of some responses, in the user's coordinates but for the effects."""
    from skglmm._loops.many import solve_many

    problem, coding = working.problem, working.coding
    weight = problem.weight
    total, p = float(weight.sum()), fixed.shape[1]
    Y = problem.design.rows(Y)
    if offset is not None:
        Y = Y - problem.design.rows(offset)[:, None]
    weighted = (weight[:, None] * fixed).T
    origin = weighted @ Y / total
    rest = Y - fixed @ origin
    more = weighted @ rest / total  # the second removes the rounding of the first
    rest -= fixed @ more
    origin += more
    unit = np.sqrt(weight @ rest**2 / total)
    unit[unit == 0.0] = 1.0
    rest /= unit
    out = solve_many(
        problem, rest, solver.max_iter, solver.tol, solver.device, start, done
    )
    transform = coding.transform
    coef = (unit * out.coef.T + origin).T @ transform.T
    variance = np.einsum("ia,mab,ib->mi", transform, out.coef_covariance, transform)
    noise = unit**2 * out.noise_variance
    size = np.sqrt(np.mean(Y**2, axis=0))
    explained = np.sqrt(np.sum(origin[first:] ** 2, axis=0))
    rounding = 4.0 * np.finfo(float).eps * (size + explained / coding.own)
    outcomes = [
        Outcome.NO_RESIDUAL if s <= r**2 else outcome
        for s, r, outcome in zip(noise, rounding, out.outcomes, strict=True)
    ]
    value = out.value + 2.0 * (total - p * problem.reml) * np.log(unit)
    scale = unit[:, None, None] ** 2
    return (
        coef,
        unit[:, None] ** 2 * variance,
        noise,
        value,
        out.n_iter,
        out.singular,
        [scale * c for c in out.covariances],
        outcomes,
    )


def _start(working, roots):
    """Relative factors to begin from, or None where the search should look itself."""
    problem, start = working.problem, []
    if any(f.structure.couples for f in problem.design.factors):
        return None
    for root, recoding, factor in zip(
        roots, problem.recodings, problem.design.factors, strict=True
    ):
        t = np.linalg.solve(recoding, root)
        if np.linalg.svd(t, compute_uv=False).min() < _AWAY:
            return None
        structure = COVARIANCES[factor.kind]
        start.append(structure.root(t @ t.T))
    return tuple(start)


def _one_by_one(model, inputs, Y, part, solver, done):
    """The same where responses cannot share a search: a fit each, of rows read once."""
    family, rows = model._distribution(), []
    for y in Y.T:
        of_one = replace(inputs, y=np.ascontiguousarray(y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            working, estimate = model._estimate(of_one, part, solver, Progress(model))
            solution = user_solution(working, estimate)
            public, _ = attributes(
                of_one,
                working,
                estimate,
                solution,
                family,
                fit_intercept=model.fit_intercept,
                missing=model.missing,
            )
        rows.append((public, solution))
        if done is not None:
            done(1)
    frames = [public["fixed_effects_"] for public, _ in rows]
    noise = None
    if "noise_variance_" in rows[0][0]:
        noise = np.array([public["noise_variance_"] for public, _ in rows])
    return Batch(
        coef=np.array([frame["estimate"] for frame in frames]),
        std_error=np.array([frame["std_error"] for frame in frames]),
        covariances=tuple(
            np.array([p["random_effects_covariance_"][t.name] for p, _ in rows])
            for t in inputs.terms
        ),
        noise_variance=noise,
        log_likelihood=np.array([public["log_likelihood_"] for public, _ in rows]),
        n_iter=np.array([public["n_iter_"] for public, _ in rows]),
        singular=np.array([public["singular_"] for public, _ in rows]),
        words=[
            "" if public["converged_"] else solution.words or "no maximum"
            for public, solution in rows
        ],
        said=inputs.messages,
    )


def parameters_frame(model: BaseMixedModel, inputs: Inputs, batch: Batch, index):
    """What `parameters_of` gives of a fit, a row a response.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    batch : Batch
    index : Index of length m

    Returns
    -------
    frame : DataFrame
    """
    names = ("Intercept",) * int(model.fit_intercept) + inputs.names
    found = {("fixed", name): batch.coef[:, k] for k, name in enumerate(names)}
    for term, sigma in zip(inputs.terms, batch.covariances, strict=True):
        sd = np.sqrt(np.maximum(np.diagonal(sigma, axis1=1, axis2=2), 0.0))
        for k, effect in enumerate(term.effects):
            found[term.name, effect] = sd[:, k]
        if not COVARIANCES[term.covariance].correlates:
            continue
        for i, k in zip(*np.triu_indices(sd.shape[1], 1), strict=True):
            scale = sd[:, i] * sd[:, k]
            known = np.where(scale > 0.0, scale, np.nan)
            name = f"corr({term.effects[i]}, {term.effects[k]})"
            found[term.name, name] = sigma[:, i, k] / known
    if batch.noise_variance is not None:
        found["residual", ""] = np.sqrt(batch.noise_variance)
    columns = pd.MultiIndex.from_tuples(list(found), names=["group", "effect"])
    return pd.DataFrame(
        np.column_stack(list(found.values())), index=index, columns=columns
    )
