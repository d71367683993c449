"""What a solver gives back."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._problem.design import GroupedDesign
from skglmm._problem.outcome import Outcome


@dataclass(frozen=True)
class MonteCarlo:
    """What draws left: their error, how they were made, and some of them.

    Parameters
    ----------
    sampler : str
        Where the draws are from.
    n_samples : int
    effective : float
        Share of them that as many independent draws would be worth.
    coef : ndarray of shape (p, m)
        The Monte Carlo error of the fixed effects is this times m independent
        standard normals; so are the next two.
    covariances : tuple of ndarray of shape (q, q, m)
    noise : ndarray of shape (m,) or None
        Of the residual variance.
    log_likelihood : float
        Standard error of the log-likelihood.
    draws : tuple of ndarray of shape (q, n_draws, n_levels) or None
        Some draws of the random effects, in the order of `Solution.means`.
    trace : tuple of ndarray of shape (q, n_turns * n_kept, n_levels) or None
        Draws that were kept at each turn, one turn after the other.
    """

    sampler: str
    n_samples: int
    effective: float
    coef: np.ndarray
    covariances: tuple[np.ndarray, ...]
    noise: np.ndarray | None
    log_likelihood: float
    draws: tuple[np.ndarray, ...] | None = None
    trace: tuple[np.ndarray, ...] | None = None

    def in_unit(self, unit: float) -> "MonteCarlo":
        """The same for a target that was divided by a unit."""
        return replace(
            self,
            coef=unit * self.coef,
            covariances=tuple(unit**2 * c for c in self.covariances),
            noise=None if self.noise is None else unit**2 * self.noise,
            draws=self.draws and tuple(unit * draws for draws in self.draws),
            trace=self.trace and tuple(unit * draws for draws in self.trace),
        )

    def in_precision(self, unit: float) -> "MonteCarlo":
        """The same for precisions that were multiplied by a unit."""
        return replace(self, noise=None if self.noise is None else self.noise / unit)


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
        Variance of the residual; None in families without one.
    log_likelihood : float
        NaN where it has not been computed.
    method : str
        How `log_likelihood` was computed.
    n_iter : int
        Evaluations of the objective.
    history : ndarray of shape (n_iter,)
        Best objective so far, -2 log-likelihood, at each evaluation.
    path : tuple of ndarray of shape (n_kept, q, q) or None, default=None
        Covariances at the first evaluations, for each factor, by solvers that keep
        them.
    noise_path : ndarray of shape (n_kept,) or None, default=None
        Residual variances there.
    outcome : Outcome, default=Outcome.CONVERGED
    words : str, default=""
        What only the solver can say of the outcome; empty: what all say of it.
    advice : str, default=""
        What to do about it, where the solver knows better.
    singular : tuple of int, default=()
        Factors, in the design's order, with a singular covariance.
    flat : tuple of int, default=()
        Factors, in the design's order, whose variances the rows do not determine: the
        likelihood stays where it is when they change together.
    remarks : tuple of str, default=()
        What else the user should be told, in sentences that join the warning.
    cross : tuple of ndarray of shape (q, p, n_levels) or None, default=None
        Covariances of the effects with the fixed effects.
    elbo : float or None, default=None
        Bound of the log-likelihood, by solvers that have one.
    monte_carlo : MonteCarlo or None, default=None
        By solvers that draw.
    parameters, parameters_covariance : ndarrays of shape (n_own,), (n_own, n_own) \
or None, default=None
        What the family has of its own, on the whole line.
    parameters_cross : ndarray of shape (p, n_own) or None, default=None
        Covariances of the fixed effects with it.
    """

    coef: np.ndarray
    coef_covariance: np.ndarray
    covariances: tuple[np.ndarray, ...]
    means: tuple[np.ndarray, ...]
    posteriors: tuple[np.ndarray, ...]
    noise_variance: float | None
    log_likelihood: float
    method: str
    n_iter: int
    history: np.ndarray
    outcome: Outcome = Outcome.CONVERGED
    words: str = ""
    advice: str = ""
    singular: tuple[int, ...] = ()
    flat: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    cross: tuple[np.ndarray, ...] | None = None
    elbo: float | None = None
    monte_carlo: MonteCarlo | None = None
    parameters: np.ndarray | None = None
    parameters_covariance: np.ndarray | None = None
    parameters_cross: np.ndarray | None = None
    path: tuple[np.ndarray, ...] | None = None
    noise_path: np.ndarray | None = None

    @property
    def converged(self) -> bool:
        """Whether the estimates are where they should be."""
        return self.outcome is Outcome.CONVERGED

    def ended(self, outcome: Outcome, words: str = "") -> "Solution":
        """The same with another outcome."""
        return replace(self, outcome=outcome, words=words, advice="")

    def explained(self, max_iter: int) -> "Solution":
        """The same, with words and advice for every outcome but convergence.

        Parameters
        ----------
        max_iter : int
            What the user allowed, of which a loop may have seen a part.
        """
        if self.converged:
            return self
        words = self.words or self.outcome.value.format(max_iter=max_iter)
        return replace(self, words=words, advice=self.advice or self.outcome.advice)

    def checked(self) -> "Solution":
        """The same, not converged if it has numbers that are not finite.

        A log-likelihood that is NaN has not been computed.
        """
        cross = self.cross
        if cross is not None and not all(np.isfinite(c).all() for c in cross):
            cross = None
        if not self.converged:
            return self if cross is self.cross else replace(self, cross=cross)
        arrays = [self.coef, *self.covariances, *self.means, *self.posteriors]
        scalars = [0.0 if np.isnan(self.log_likelihood) else self.log_likelihood]
        if self.noise_variance is not None:
            scalars.append(self.noise_variance)
        if self.elbo is not None and not np.isnan(self.log_likelihood):
            scalars.append(self.elbo)
        finite = np.isfinite(sum(scalars)) and all(np.isfinite(a).all() for a in arrays)
        if finite and cross is self.cross:
            return self
        return replace(self, cross=cross).ended(Outcome.NOT_FINITE)

    def in_user_order(
        self, design: GroupedDesign, origin: float | np.ndarray
    ) -> "Solution":
        """The same with factors, levels and origin as the user had them.

        Parameters
        ----------
        design : Design
        origin : float or ndarray of shape (p,)
            What had been taken from the coefficients.
        """
        engine = design.plan.chain + design.plan.core
        place = {user: at for at, user in enumerate(engine)}
        users = range(len(engine))

        def of_levels(values):
            return tuple(design.to_user(place[r], values[place[r]]) for r in users)

        about = self.monte_carlo
        if about is not None:
            about = replace(
                about,
                covariances=tuple(about.covariances[place[r]] for r in users),
                draws=about.draws and of_levels(about.draws),
                trace=about.trace and of_levels(about.trace),
            )
        return replace(
            self,
            coef=self.coef + origin,
            covariances=tuple(self.covariances[place[r]] for r in users),
            means=of_levels(self.means),
            posteriors=of_levels(self.posteriors),
            path=self.path and tuple(self.path[place[r]] for r in users),
            singular=tuple(sorted(engine[r] for r in self.singular)),
            flat=tuple(sorted(engine[r] for r in self.flat)),
            cross=self.cross if self.cross is None else of_levels(self.cross),
            monte_carlo=about,
        )

    def in_unit(self, unit: float, total: float) -> "Solution":
        """The same for a target that was divided by a unit, with rows of that weight.

        Parameters
        ----------
        unit : float
        total : float
        """
        n_free = total - (len(self.coef) if self.method == "restricted" else 0)
        shift = n_free * float(np.log(unit))
        return replace(
            self,
            coef=unit * self.coef,
            coef_covariance=unit**2 * self.coef_covariance,
            covariances=tuple(unit**2 * c for c in self.covariances),
            means=tuple(unit * mean for mean in self.means),
            posteriors=tuple(unit**2 * c for c in self.posteriors),
            noise_variance=self.noise_variance and unit**2 * self.noise_variance,
            log_likelihood=self.log_likelihood - shift,
            history=self.history + 2.0 * shift,
            path=self.path and tuple(unit**2 * c for c in self.path),
            noise_path=None if self.noise_path is None else unit**2 * self.noise_path,
            cross=self.cross and tuple(unit**2 * values for values in self.cross),
            elbo=None if self.elbo is None else self.elbo - shift,
            monte_carlo=self.monte_carlo and self.monte_carlo.in_unit(unit),
        )

    def in_precision(self, unit: float, log_volume: float) -> "Solution":
        """The same for precisions that were multiplied by a unit.

        Parameters
        ----------
        unit : float
        log_volume : float
            Half the sum of the logarithms of the precisions, each as often as its row
            counts, after they were multiplied.
        """
        return replace(
            self,
            noise_variance=self.noise_variance and self.noise_variance / unit,
            log_likelihood=self.log_likelihood + log_volume,
            history=self.history - 2.0 * log_volume,
            elbo=None if self.elbo is None else self.elbo + log_volume,
            monte_carlo=self.monte_carlo and self.monte_carlo.in_precision(unit),
        )


def cross_covariances(moves, coef_covariance):
    """Covariances (q, p, J) of random and fixed effects.

    The means of the random effects have the derivatives -`moves` in the fixed ones.
    """
    return tuple(-np.einsum("qpj,pr->qrj", m, coef_covariance) for m in moves)
