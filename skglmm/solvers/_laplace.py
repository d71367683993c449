"""Laplace's approximation."""

from numbers import Integral

import numpy as np

from skglmm._problem.problem import Problem
from skglmm._problem.solution import Solution
from skglmm._sklearn import Interval
from skglmm.solvers._base import BaseSolver, two_classes

# Effects of a level up to which nodes in all directions are few enough.
QUADRATURE_EFFECTS = 3


class Laplace(BaseSolver):
    r"""Laplace approximation of the marginal likelihood, exact for the linear model.

    The integrand of a linear mixed model is Gaussian in the random effects, so that
    the expansion around its mode,

    .. math:: -2 \log \int p(y, u)\,du \approx -2 \log p(y, \hat u)
        + \log |\Lambda' Z' W Z \Lambda + I|,

    is the likelihood itself: `VI` and `Laplace` run the same code there and give the
    same numbers.

    Parameters
    ----------
    n_quadrature : int, default=1
        Nodes of adaptive Gauss-Hermite quadrature in each direction; 1 is Laplace's
        approximation. More needs one grouping factor with at most three effects a
        level. The linear model needs none.
    max_iter : int, default=100
        Largest number of evaluations of the objective; most fits need 5 to 15.
    tol : float, default=1e-8
        Bound on the Newton decrement, the decrease of -2 log-likelihood that another
        step promises; for counts and binary outcomes, per hundred rows.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
       mixed-effects models using lme4. Journal of Statistical Software 67(1).

    Examples
    --------
    >>> from skglmm.solvers import Laplace
    >>> Laplace(tol=1e-10)
    Laplace(tol=1e-10)
    """

    _parameter_constraints = {
        **BaseSolver._parameter_constraints,
        "n_quadrature": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, n_quadrature=1, max_iter=100, tol=1e-8, device="auto"):
        super().__init__(max_iter=max_iter, tol=tol, device=device)
        self.n_quadrature = n_quadrature

    def supports(self, problem: Problem) -> str | None:
        factors = problem.design.factors
        if problem.family.is_linear or self.n_quadrature == 1:
            return None
        if problem.family.is_by_class:
            return two_classes(f"n_quadrature={self.n_quadrature}")
        if any(factor.structure.couples for factor in factors):
            return (
                "n_quadrature > 1 integrates level by level, and the levels of a "
                "factor are related. Use solver='vi', or n_quadrature=1."
            )
        if len(factors) == 1 and factors[0].n_effects <= QUADRATURE_EFFECTS:
            return None
        found = f"{len(factors)} grouping factors"
        if len(factors) == 1:
            found = f"{factors[0].n_effects} effects a level"
        return (
            "n_quadrature > 1 needs one grouping factor with at most "
            f"{QUADRATURE_EFFECTS} effects a level, and this model has {found}. Use "
            "solver='vi', or n_quadrature=1."
        )

    def solve(self, problem: Problem) -> Solution:
        if not problem.family.is_linear:
            from skglmm._loops.generalized import solve_laplace

            return solve_laplace(problem, self)
        from skglmm._loops.linear import solve_linear

        return solve_linear(problem, self.max_iter, self.tol, self.device)

    def posterior(
        self, problem: Problem, roots: tuple | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        from skglmm._loops.conditional import mode

        return mode(problem, roots, self.device)
