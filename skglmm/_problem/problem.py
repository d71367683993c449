"""What a solver is given."""

from dataclasses import dataclass

import numpy as np

from skglmm._families import FAMILIES, Family
from skglmm._problem.design import GroupedDesign
from skglmm._problem.sums import LinearTable, of_coded


@dataclass(frozen=True)
class Problem:
    """A mixed model in working coordinates, rows in the design's order.

    Parameters
    ----------
    design : GroupedDesign
    border : ndarray of shape (n_rows, p + 1) or None
        Fixed columns, orthonormal under the weights, and last the target, for the
        linear model less its offset and least-squares fit.
    z : tuple of ndarray of shape (n_rows, q) or None
        Row values of each factor's effects; None for an intercept alone.
    weight : ndarray of shape (n_rows,)
        Frequencies, or where rows have precisions of their own these times frequencies,
        with the same sum as the frequencies.
    table : LinearTable or None
        For a linear model: may take the place of `border` and `z`, which are None then;
        `rows` gives them all the same.
    rounding : float, default=0.0
        Standard deviation that rounding alone gives the residuals (linear model).
    unit : float, default=1.0
        What the user's target was divided by.
    family : Family, default=FAMILIES["gaussian"]
    offset, trials : ndarray of shape (n_rows,) or None
        Offset of the linear predictor (exposures included) and number of trials, for
        the generalised models.
    reml : bool
        Whether the fixed effects are integrated out as well.
    start : tuple of ndarray or None
        Relative covariance factors T_r to begin from, in the design's order.
    names : tuple of str
        Names of the factors, in the design's order.
    recodings : tuple of ndarray of shape (q, q)
        R of each factor, in the design's order: the user's effects are R times the
        working ones.
    squares : tuple of ndarray of shape (q, q)
        Mean over rows of z z' of each factor, in the design's order.
    gaps : bool, default=False
        Whether this is one of many completions of columns with gaps.
    seed : int
        Where random numbers begin.
    watch : Progress or None
        Who wants to know of every evaluation.
    frequency : ndarray of shape (n_rows,) or None, default=None
        Frequencies, where they are not the weights.
    unit_precision : float, default=1.0
        What the user's precisions were multiplied by. A row of the precision one has
        the residual variance of the problem over it.
    """

    design: GroupedDesign
    border: np.ndarray | None
    z: tuple | None
    weight: np.ndarray
    table: LinearTable | None = None
    rounding: float = 0.0
    unit: float = 1.0
    family: Family = FAMILIES["gaussian"]
    offset: np.ndarray | None = None
    trials: np.ndarray | None = None
    reml: bool = False
    start: tuple | None = None
    names: tuple = ()
    recodings: tuple = ()
    squares: tuple = ()
    gaps: bool = False
    seed: int = 0
    watch: object = None
    frequency: np.ndarray | None = None
    unit_precision: float = 1.0

    @property
    def counts(self):
        """How often each row counts."""
        return self.weight if self.frequency is None else self.frequency

    @property
    def precision(self):
        """Precisions (n_rows,) whose mean is one, or 1.0 where rows have none."""
        return 1.0 if self.frequency is None else self.weight / self.frequency

    @property
    def n_border(self):
        """Number of fixed columns, and one for the target."""
        return (self.border if self.table is None else self.table.border).shape[1]

    @property
    def mean_square(self):
        """Mean of the squared target of a linear model."""
        if self.table is not None:
            return self.table.mean_square
        return np.mean(self.border[:, -1] ** 2)

    def rows(self) -> tuple[np.ndarray | None, tuple | None]:
        """`border` and `z`, whichever way the problem holds them."""
        if self.table is None:
            return self.border, self.z
        values = self.table.values
        z = tuple(
            None if factor.plain else values @ z
            for factor, z in zip(self.design.factors, self.table.z, strict=True)
        )
        return values @ self.table.border, z

    def linear_table(self) -> LinearTable:
        """The table of a linear model."""
        if self.table is not None:
            return self.table
        return of_coded(self.border, self.z, self.weight)
