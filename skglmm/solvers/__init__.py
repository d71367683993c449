"""Solvers: settings of the optimisation, and what a solver of one's own is made of."""

from skglmm._problem.outcome import Outcome
from skglmm._problem.problem import Problem
from skglmm._problem.solution import MonteCarlo, Solution
from skglmm.solvers._base import BaseSolver
from skglmm.solvers._laplace import Laplace
from skglmm.solvers._mackay import MacKay
from skglmm.solvers._mcem import MCEM
from skglmm.solvers._vi import VI

__all__ = [
    "MCEM",
    "VI",
    "BaseSolver",
    "Laplace",
    "MacKay",
    "MonteCarlo",
    "Outcome",
    "Problem",
    "Solution",
]

SOLVERS = {"vi": VI, "laplace": Laplace, "mackay": MacKay, "mcem": MCEM}
