"""What a solver is given, what it returns, and what all solvers share."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from skglmm._design import GroupedDesign
from skglmm._linear_table import LinearTable, of_coded


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
        Frequencies.
    table : LinearTable or None
        For a linear model: may take the place of `border` and `z`, which are None then;
        `rows` gives them all the same.
    rounding : float, default=0.0
        Standard deviation that rounding alone gives the residuals (linear model).
    unit : float, default=1.0
        What the user's target was divided by.
    family : {"gaussian", "poisson", "binomial"}, default="gaussian"
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
    seed : int
        Where random numbers begin.
    watch : Progress or None
        Who wants to know of every evaluation.
    """

    design: GroupedDesign
    border: np.ndarray | None
    z: tuple | None
    weight: np.ndarray
    table: LinearTable | None = None
    rounding: float = 0.0
    unit: float = 1.0
    family: str = "gaussian"
    offset: np.ndarray | None = None
    trials: np.ndarray | None = None
    reml: bool = False
    start: tuple | None = None
    names: tuple = ()
    recodings: tuple = ()
    squares: tuple = ()
    seed: int = 0
    watch: object = None

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

    def rows(self):
        """`border` and `z`, whichever way the problem holds them."""
        if self.table is None:
            return self.border, self.z
        values = self.table.values
        z = tuple(
            None if factor.plain else values @ z
            for factor, z in zip(self.design.factors, self.table.z, strict=True)
        )
        return values @ self.table.border, z

    def linear_table(self):
        """The table of a linear model."""
        if self.table is not None:
            return self.table
        return of_coded(self.border, self.z, self.weight)


@dataclass(frozen=True)
class Solution:
    """What a solver found, in working coordinates and numpy only.

    Parameters
    ----------
    coef : ndarray of shape (p,)
    coef_covariance : ndarray of shape (p, p)
    covariances : tuple of ndarray of shape (q, q)
        Covariance of the effects of each factor, in the design's order.
    means, posteriors : tuple of ndarray of shape (q, n_levels), (q, q, n_levels)
        Posterior means and covariances of the effects, in engine level order.
    noise_variance : float or None
    log_likelihood : float
    method : str
        How `log_likelihood` was computed.
    n_iter : int
        Evaluations of the objective.
    history : ndarray of shape (n_iter,)
        Best objective so far, -2 log-likelihood, at each evaluation.
    outcome : str or None
        Why the solver stopped short of convergence; None if it converged.
    singular : tuple of int
        Factors, in the design's order, with a singular covariance.
    flat : tuple of int
        Factors, in the design's order, whose variances the rows do not determine: the
        likelihood stays where it is when they change together.
    remarks : tuple of str
        What else the user should be told, in sentences that join the warning.
    extra : dict
        What some solvers know: ``elbo``; ``monte_carlo`` and ``draws`` (`MCEM`);
        ``advice`` for a fit that did not converge.
    cross : tuple of ndarray of shape (q, p, n_levels) or None
        Covariances of the effects with the fixed effects.
    """

    coef: np.ndarray
    coef_covariance: np.ndarray
    covariances: tuple
    means: tuple
    posteriors: tuple
    noise_variance: float | None
    log_likelihood: float
    method: str
    n_iter: int
    history: np.ndarray
    outcome: str | None = None
    singular: tuple = ()
    flat: tuple = ()
    remarks: tuple = ()
    extra: dict = field(default_factory=dict)
    cross: tuple | None = None

    def checked(self):
        """The same, not converged if it has numbers that are not finite.

        A log-likelihood that is NaN has not been computed.
        """
        cross = self.cross
        if cross is not None and not all(np.isfinite(c).all() for c in cross):
            cross = None
        if self.outcome is not None:
            return self if cross is self.cross else replace(self, cross=cross)
        arrays = [self.coef, *self.covariances, *self.means, *self.posteriors]
        scalars = [0.0 if np.isnan(self.log_likelihood) else self.log_likelihood]
        if self.noise_variance is not None:
            scalars.append(self.noise_variance)
        if "elbo" in self.extra:
            scalars.append(self.extra["elbo"])
        finite = np.isfinite(sum(scalars)) and all(np.isfinite(a).all() for a in arrays)
        if finite and cross is self.cross:
            return self
        outcome = (
            "some estimates are no finite numbers. Simplify the model, or bring its "
            "columns to similar scales"
        )
        return replace(self, outcome=outcome, cross=cross)

    def in_unit(self, unit, total):
        """The same for a target that was divided by a unit, with rows of that weight.

        Parameters
        ----------
        unit : float
        total : float

        Returns
        -------
        solution : Solution
        """
        by_square = {
            name: tuple(unit**2 * values for values in getattr(self, name))
            for name in ("covariances", "posteriors")
        }
        n_free = total - (len(self.coef) if self.method == "restricted" else 0)
        shift = n_free * float(np.log(unit))
        extra = dict(self.extra)
        if "elbo" in extra:
            extra["elbo"] -= shift
        if "draws" in extra:
            extra["draws"] = tuple(unit * draws for draws in extra["draws"])
        if "monte_carlo" in extra:
            about = extra["monte_carlo"]
            extra["monte_carlo"] = about | {
                "coef": unit * about["coef"],
                "covariances": tuple(unit**2 * c for c in about["covariances"]),
                "noise": unit**2 * about["noise"],
            }
        return replace(
            self,
            coef=unit * self.coef,
            coef_covariance=unit**2 * self.coef_covariance,
            means=tuple(unit * mean for mean in self.means),
            noise_variance=unit**2 * self.noise_variance,
            log_likelihood=self.log_likelihood - shift,
            history=self.history + 2.0 * shift,
            extra=extra,
            cross=self.cross and tuple(unit**2 * values for values in self.cross),
            **by_square,
        )


def cross_covariances(moves, coef_covariance):
    """Covariances (q, p, J) of random and fixed effects.

    The means of the random effects have the derivatives -`moves` in the fixed ones.
    """
    return tuple(-np.einsum("qpj,pr->qrj", m, coef_covariance) for m in moves)


class BaseSolver(BaseEstimator):
    """Base of all solvers: hyperparameters, and nothing that depends on data."""

    _parameter_constraints: dict = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "device": [StrOptions({"auto", "cpu", "gpu"})],
    }

    def __init__(self, *, max_iter=100, tol=1e-8, device="auto"):
        self.max_iter = max_iter
        self.tol = tol
        self.device = device

    def dense_seconds(self, family, factors):
        """Seconds of an evaluation above which crossed factors go without a dense core.

        Parameters
        ----------
        family : str
        factors : list of Factor

        Returns
        -------
        limit : float
            Infinite for a solver that needs the core.
        """
        return np.inf

    @abstractmethod
    def solve(self, problem):
        """Solve a `Problem`.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        solution : Solution
        """
