"""Settings that every solver has."""

from abc import abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator

from skglmm._families import Family
from skglmm._problem.problem import Problem
from skglmm._problem.solution import Solution
from skglmm._sklearn import Interval, StrOptions


class BaseSolver(BaseEstimator):
    """Base of all solvers: hyperparameters, and nothing that depends on data.

    A solver of one's own derives from this class and has `solve`; what else there is
    has an answer that suits most.

    Parameters
    ----------
    max_iter : int, default=100
        Largest number of evaluations of the objective.
    tol : float, default=1e-8
        Log-likelihood units, relative to the number of rows, that another step may
        promise at the end.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.
    """

    _parameter_constraints: dict = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "device": [StrOptions({"auto", "cpu", "gpu"})],
    }

    def __init__(self, *, max_iter=100, tol=1e-8, device="auto"):
        self.max_iter = max_iter
        self.tol = tol
        self.device = device

    def dense_seconds(self, family: Family, factors: list) -> float:
        """Seconds of an evaluation above which crossed factors go without a dense core.

        Parameters
        ----------
        family : Family
        factors : list of Factor

        Returns
        -------
        limit : float
            Infinite for a solver that needs the core.
        """
        return np.inf

    def supports(self, problem: Problem) -> str | None:
        """Why the solver cannot solve a problem.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        reason : str or None
            What to tell the user, and what to do; None if it can.
        """
        return None

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Solve a problem that the solver supports.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        solution : Solution
            In the order of the problem's design, and in its coordinates.
        """

    def posterior(
        self, problem: Problem, roots: tuple | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Effects given their covariances, for rows that may be new.

        Parameters
        ----------
        problem : Problem
            Without fixed columns, and for the linear model with a residual variance of
            one.
        roots : tuple of ndarray of shape (q, q), default=None
            Lower triangular T of each factor, in the design's order, with the
            covariance T T'; None means that all are the identity.

        Returns
        -------
        means, covariances : tuples of ndarray of shape (q, J) and (q, q, J)
            Of the best Gaussian, unless a solver has another notion of a posterior.
        """
        from skglmm._loops.conditional import best_gaussian

        return best_gaussian(problem, roots, self.device)


def no_parameters(family, solver):
    """Why a solver does not fit a family that has parameters of its own."""
    return (
        f"solver={solver!r} moves variances and effects only, and the {family.words} "
        f"response has {family.in_words} to be estimated with them: use 'vi' or "
        "'laplace'."
    )


def only_laplace(family, solver):
    """Why a solver does not fit a family that some linear predictors are outside of."""
    return (
        f"solver={solver!r} averages over all linear predictors, and with the "
        f"{family.link} link a {family.words} response has no mean for some: use "
        "solver='laplace', or another link."
    )


def two_classes(what):
    """Why a solver, or a setting of one, is for two classes only."""
    return (
        f"{what} is for two classes, and y has more: use solver='vi' or 'laplace' as "
        "they are by default, or keep two classes."
    )
