"""Columns with gaps, each regressed on those before it."""

import numpy as np

from skglmm._fixed.augmentation import turn
from skglmm._fixed.column_model import _DETERMINED
from skglmm._problem.coding import code_fixed
from skglmm._problem.problem import Problem


class Regressions:
    """Normal distribution of columns given others, whose parameters are drawn.

    Parameters
    ----------
    design : GroupedDesign
        Of the factors whose levels have random intercepts.
    weight : ndarray of shape (n_units,)
        How often each unit counts: a row, or a level of which it is a property.
    width : int
        Number of the columns.
    solver : BaseSolver
    """

    def __init__(self, design, weight, width, solver):
        self._design, self._weight, self._solver = design, weight, solver
        self._starts = [None] * width

    def draw(self, values, known, random):
        """Conditional means and precision, from their posterior.

        Each column is regressed on those before it: with x = A x + base + errors of
        the variances D the precision of x is (I - A)'D^-1 (I - A).

        Parameters
        ----------
        values : ndarray of shape (n_units, g)
        known : ndarray of shape (n_units, k)
        random : RandomState

        Returns
        -------
        mean : ndarray of shape (n_units, g)
        precision : ndarray of shape (g, g)
        slopes : ndarray of shape (g, k)
            Of the means in the known columns.
        """
        width, n_known = values.shape[1], known.shape[1]
        base, unit, noise = np.empty_like(values), np.eye(width), np.empty(width)
        own = np.empty((width, n_known))
        for j in range(width):
            before = np.column_stack([known, values[:, :j]])
            coef, part, noise[j] = self._draw_column(j, before, values[:, j], random)
            own[j] = coef[1 : 1 + n_known]
            base[:, j] = part + coef[0] + known @ own[j]
            unit[j, :j] = -coef[1 + n_known :]
        inverse = np.linalg.inv(unit)
        return base @ inverse.T, (unit.T / noise) @ unit, inverse @ own

    def _draw_column(self, j, before, values, random):
        """Coefficients, random part and residual variance of one column."""
        design = self._design
        weight = design.rows(self._weight)
        border, coding = code_fixed(design.rows(before), weight, True)
        problem = Problem(
            design=design,
            border=border,
            z=(None,) * len(design.factors),
            weight=weight,
            reml=True,
            start=self._starts[j],
        )
        solution, drawn = turn(problem, design.rows(values), self._solver, random)
        if solution.noise_variance < _DETERMINED:
            raise ValueError(
                "A column with missing values is a linear combination of other fixed "
                "columns: leave out one of them, or compute the values from them."
            )
        self._starts[j], part = drawn.start, drawn.part
        if design.order is not None:
            part = np.empty_like(part)
            part[design.order] = drawn.part
        return coding.transform @ drawn.coef, part, drawn.noise
