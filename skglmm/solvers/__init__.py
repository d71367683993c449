"""Solvers: hyperparameters, and the loops they stand for."""

from skglmm.solvers._base import BaseSolver
from skglmm.solvers._laplace import Laplace
from skglmm.solvers._mackay import MacKay
from skglmm.solvers._mcem import MCEM
from skglmm.solvers._vi import VI

__all__ = ["MCEM", "VI", "BaseSolver", "Laplace", "MacKay"]

SOLVERS = {"vi": VI, "laplace": Laplace, "mackay": MacKay, "mcem": MCEM}
