"""What the fixed part may be, and the estimates that each kind leads to."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._fixed.cross_fitted import alternate
from skglmm._fixed.features import take
from skglmm._fixed.fitted_part import FittedPart
from skglmm._fixed.imputed import impute
from skglmm._fixed.parts import describe
from skglmm._fixed.pooling import Imputed
from skglmm._problem.coding import (
    FixedCoding,
    linear_variance,
    row_variance,
)
from skglmm._problem.outcome import Outcome
from skglmm._problem.solution import Solution
from skglmm._problem.working import Working
from skglmm._reading import identified
from skglmm._reading.inputs import Inputs
from skglmm.solvers import BaseSolver


@dataclass(frozen=True)
class Estimate:
    """What was estimated, in working coordinates and the order of the design.

    Parameters
    ----------
    solution : Solution
    coding : FixedCoding
        The user's coefficients from those of the solution.
    origin : ndarray of shape (rank,) or float
        To be added to the coefficients of the solution.
    part : FittedPart or None
        The fixed part, where that is no linear one.
    columns : Imputed or None
        What was learnt of columns with gaps.
    f : ndarray of shape (n_rows,) or None
        Cross-fitted values of a fixed part that is not linear.
    border : ndarray of shape (n_rows, rank + 1) or None
        Working columns of a completed table, where `columns` is there.
    """

    solution: Solution
    coding: FixedCoding
    origin: np.ndarray | float
    part: FittedPart | None = None
    columns: Imputed | None = None
    f: np.ndarray | None = None
    border: np.ndarray | None = None

    def fixed_variance(self, working: Working, coef: np.ndarray) -> float:
        """Variance over rows of the fixed part, at coefficients with their origin."""
        problem = working.problem
        border = problem.border if self.border is None else self.border
        if self.f is not None:
            return row_variance(border[:, :-1] @ coef + self.f, problem.weight)
        total = problem.weight.sum()
        if problem.table is None:
            mean = problem.weight @ border[:, :-1] / total
        else:
            mean = problem.table.fixed_mean
        return linear_variance(coef, total, mean)


def judged(estimate: Estimate, inputs: Inputs, working: Working, max_iter: int):
    """The estimate with an outcome that says in words what the numbers show.

    Parameters
    ----------
    estimate : Estimate
    inputs : Inputs
    working : Working
    max_iter : int
        What the user allowed.

    Returns
    -------
    estimate : Estimate
    """
    solution, linear = estimate.solution.checked(), working.problem.family.is_linear
    y, weight = working.y, working.problem.weight
    if linear and estimate.part is None and solution.converged:
        if identified.no_residual(inputs.terms, inputs.encoded, y):
            solution = solution.ended(Outcome.NO_RESIDUAL)
    known = Outcome.CONVERGED, Outcome.INTERRUPTED, Outcome.NO_RESIDUAL
    if solution.outcome not in known:
        reason = identified.beyond_digits(y, weight, linear)
        if reason is not None:
            solution = solution.ended(Outcome.EXTREME, reason)
    solution = solution.explained(max_iter)
    if solution is estimate.solution:
        return estimate
    return replace(estimate, solution=solution)


class Linear:
    """Columns with a coefficient each."""

    def estimate(self, working: Working, inputs: Inputs, solver: BaseSolver):
        """Solve the problem as it is.

        Parameters
        ----------
        working : Working
        inputs : Inputs
        solver : BaseSolver

        Returns
        -------
        estimate : Estimate
        """
        solution = solver.solve(working.problem)
        return Estimate(solution, working.coding, working.origin)


class WithGaps:
    """Columns with a coefficient each, and values that are missing."""

    def __init__(self, fit_intercept):
        self.fit_intercept = fit_intercept

    def estimate(self, working: Working, inputs: Inputs, solver: BaseSolver):
        """Draw the missing values and everything else in turns; see `impute`."""
        solution, border, coding, columns = impute(
            working.problem,
            working.y,
            working.columns,
            solver,
            self.fit_intercept,
        )
        return Estimate(solution, coding, 0.0, columns=columns, border=border)


class CrossFitted:
    """Models of scikit-learn, or networks; see `alternate`.

    Parameters
    ----------
    part : FixedPart
    """

    def __init__(self, part):
        self.part = part

    def estimate(self, working: Working, inputs: Inputs, solver: BaseSolver):
        """Fit models and random effects in turns."""
        problem = working.problem
        if problem.family.parameter_names:
            raise ValueError(
                f"fixed_effects is {describe(self.part)}, which is fitted to working "
                f"responses, and those of the {problem.family.words} response depend "
                f"on {problem.family.in_words} as well: use a formula or a list of "
                "columns."
            )
        design = problem.design
        features = take(inputs.features, design.rows(inputs.rows))
        solution, origin, f, fitted = alternate(
            self.part, features, problem, working.y, solver
        )
        held_out = fitted.get("factor")
        if held_out is not None:
            fitted |= {
                "factor": problem.names[held_out],
                "fold_of_level": design.to_user(held_out, fitted["fold_of_level"]),
            }
        part = FittedPart(inputs.fixed, describe(self.part), **fitted)
        return Estimate(solution, working.coding, origin, part=part, f=f)


def fixed_part(part, gaps: bool, fit_intercept: bool):
    """The kind of fixed part that a model has.

    Parameters
    ----------
    part : FixedPart or None
    gaps, fit_intercept : bool
    """
    if part is not None:
        return CrossFitted(part)
    return WithGaps(fit_intercept) if gaps else Linear()
