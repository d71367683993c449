"""How the random effects of a model would be eliminated, to be read."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skglmm._dask.plan import plan_of
from skglmm._problem.design import MAX_CORE, MAX_PAIRS, build_design
from skglmm._problem.working import factors_of
from skglmm._reading.categories import learn
from skglmm._reading.labels import encode
from skglmm._reading.table import Table, is_dask

# Seconds that no plan reaches: only what does not fit goes without a dense core.
_NEVER = 1e300


def show_plan(
    estimator: BaseEstimator, X: ArrayLike, *, groups: ArrayLike | None = None
) -> str:
    """Text that says how a fit would eliminate the random effects, and its price.

    Parameters
    ----------
    estimator : MixedLinearRegressor or another model of this package
        Fitted or not.
    X : dataframe or array-like of shape (n_samples, n_features)
        As in `fit`. Of a collection of Dask one partition is read.
    groups : array-like or dataframe, default=None
        As in `fit`.

    Returns
    -------
    text : str
        The factors in the order of elimination, the size of what stays dense and the
        expected seconds of one evaluation of the objective on two cores, sums over
        rows left out. A rough figure: it is there to compare plans. For a collection
        of Dask the passes over its rows, what travels, what is held and the seconds.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor, show_plan
    >>> from skglmm.datasets import load_penicillin
    >>> X, y = load_penicillin(return_X_y=True, as_frame=True)
    >>> print(show_plan(MixedLinearRegressor(["plate", "sample"]), X))
    eliminated level by level: 'plate' (24 levels)
    dense: 'sample' (6 levels), a matrix of 6 columns
    pairs of columns that meet in a level: 0 in lists, 24 levels as dense rows
    one evaluation: less than a millisecond
    """
    if is_dask(X):
        return plan_of(estimator, X)
    terms, factors = _factors(estimator, X, groups)
    if not factors:
        return "no random effects"
    family = estimator._distribution()
    solver = estimator._resolve_solver()
    limit = solver.dense_seconds(family, factors)
    able = limit < np.inf
    plan = build_design(factors, limit if able else _NEVER).plan

    def listed(positions):
        return ", ".join(
            f"{terms[r].name!r} ({factors[r].n_levels:,} levels"
            + (f", {factors[r].n_effects} effects each)" if terms[r].slopes else ")")
            for r in positions
        )

    if plan.iterative:
        means = "conjugate gradients"
        if family.is_linear:
            means += ", traces by random signs"
        lines = [
            f"eliminated level by level: {listed(plan.chain[:1])}",
            f"{means}: {listed(plan.chain[1:])}",
        ]
        if limit >= 0.0:
            lines.append(
                f"because a dense matrix of {plan.n_core:,} columns from "
                f"{plan.n_pairs:,} pairs would be left (limits {MAX_CORE:,} and "
                f"{MAX_PAIRS:,}), at {_duration(plan.seconds)} an evaluation"
                + (f" (limit {limit:g} s)" if able else "")
            )
        if not able:
            lines.append("solver='vi' does so; this solver refuses")
        return "\n".join(lines)
    lines = [f"eliminated level by level: {listed(plan.chain)}"]
    if plan.core:
        lines += [
            f"dense: {listed(plan.core)}, a matrix of {plan.n_core:,} columns",
            f"pairs of columns that meet in a level: {plan.n_pairs:,} in lists, "
            f"{plan.n_heavy:,} levels as dense rows",
        ]
    return "\n".join([*lines, f"one evaluation: {_duration(plan.seconds)}"])


def _factors(estimator, X, groups):
    """Terms with slopes on dummies, and the factors of a design."""
    table = Table(X)
    terms, labels = estimator._terms_and_labels(table, groups)
    terms = _with_dummies(terms, table)
    pairs = zip(terms, labels, strict=True)
    encoded = [encode(parts, term.name, names) for term, (parts, names) in pairs]
    return terms, factors_of(terms, encoded)


def _duration(seconds):
    if seconds < 1e-3:
        return "less than a millisecond"
    digits = 2 - int(np.floor(np.log10(seconds))) - 1
    return f"about {round(seconds, digits):g} s"


def _with_dummies(terms, table):
    """Terms whose slopes on categories are those on dummies."""
    slopes = sorted({at for term in terms for at in term.slopes})
    categories, table, _ = learn(table, slopes)
    return categories.expand_terms(terms, table)
