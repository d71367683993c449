"""Estimates of several completed tables as one, by Rubin's rules."""

from dataclasses import dataclass, field

import numpy as np

from skglmm._problem.outcome import Outcome
from skglmm._problem.roots import covariance_root, singular_factors
from skglmm._problem.solution import MonteCarlo, Solution

# The Monte Carlo error of a coefficient that is small enough, in standard errors.
_ERROR = 0.1


@dataclass(frozen=True)
class Imputed:
    """What is known after the imputations, beside the solution.

    Parameters
    ----------
    mean, covariance : ndarray of shape (p,), (p, p)
        Of the fixed columns.
    lost : ndarray of shape (n_coef,)
        Share of the variance of each fixed effect that is owed to the gaps.
    properties : dict of tuple, default={}
        For columns that are properties of levels the means and variances (n_levels,)
        of these, in the order of the design.
    """

    mean: np.ndarray
    covariance: np.ndarray
    lost: np.ndarray
    properties: dict = field(default_factory=dict)


class _Pool:
    """Means over completed tables, in the working coordinates of the first one."""

    def __init__(self, border, coding, solution):
        self.border, self.coding = border, coding
        self._method = solution.method
        self._back = np.linalg.pinv(coding.transform)
        self._coef, self._within, self._noise, self._history = [], [], [], []
        self._components = [[] for _ in solution.covariances]
        self._sums = [
            {"b": 0.0, "bb": 0.0, "bc": 0.0, "v": 0.0, "d": 0.0}
            for _ in solution.covariances
        ]
        self._moments, self._outcomes = [], []
        self._own, self._own_within, self._own_cross = [], [], []

    @property
    def size(self):
        """Number of tables."""
        return len(self._coef)

    def add(self, solution, coding, moments):
        """Add the fit to one completed table."""
        move = self._back @ coding.transform
        coef = move @ solution.coef
        within = move @ solution.coef_covariance @ move.T
        self._coef.append(coef)
        self._within.append(within)
        self._noise.append(solution.noise_variance)
        if solution.parameters_cross is not None:
            self._own.append(solution.parameters)
            self._own_within.append(solution.parameters_covariance)
            self._own_cross.append(move @ solution.parameters_cross)
        self._history.append(-2.0 * solution.log_likelihood)
        self._moments.append(moments)
        if not solution.converged:
            self._outcomes.append(solution.outcome)
        inverse = np.linalg.inv(within)
        for r, sums in enumerate(self._sums):
            b = solution.means[r]
            self._components[r].append(solution.covariances[r])
            sums["b"] = sums["b"] + b
            sums["bb"] = sums["bb"] + b[:, None] * b
            sums["bc"] = sums["bc"] + b[:, None] * coef[:, None]
            sums["v"] = sums["v"] + solution.posteriors[r]
            moved = np.einsum("qpj,rp->qrj", solution.cross[r], move)
            sums["d"] = sums["d"] + np.einsum("qpj,pr->qrj", moved, inverse)

    def _inflation(self):
        """Variance of a mean over the chain, relative to independent draws.

        In working coordinates, because the user's intercept depends on the origins of
        the columns.
        """
        draws = np.array(self._coef)
        away = draws - draws.mean(axis=0)
        lagged = np.sum(away[1:] * away[:-1], axis=0)
        rho = np.clip(lagged / np.maximum(np.sum(away**2, axis=0), 1e-300), 0.0, 0.95)
        return float(np.max((1.0 + rho) / (1.0 - rho), initial=1.0))

    def _variances(self):
        """Covariance of the coefficients, the part between tables, and its error."""
        m = self.size
        between = np.zeros_like(self._within[0])
        if m > 1:
            between = np.atleast_2d(np.cov(np.array(self._coef).T))
        share = self._share()
        between = between / (1.0 - share)
        added = between * (1.0 + share)
        return np.mean(self._within, axis=0) + added, added, between * share

    def _share(self):
        """Monte Carlo variance of a mean, relative to that between tables."""
        return min(self._inflation() / self.size, 0.5)

    def _parameters(self):
        """The family's own, as fields of a `Solution`."""
        if not self._own:
            return {}
        own, coef = np.array(self._own), np.array(self._coef)
        own, coef = own - own.mean(axis=0), coef - coef.mean(axis=0)
        share, n = self._share(), max(self.size - 1, 1)
        factor = (1.0 + share) / (1.0 - share) / n
        return {
            "parameters": np.mean(self._own, axis=0),
            "parameters_covariance": np.mean(self._own_within, axis=0)
            + factor * own.T @ own,
            "parameters_cross": np.mean(self._own_cross, axis=0)
            + factor * coef.T @ own,
        }

    def error(self):
        """Largest Monte Carlo error of a coefficient, in standard errors."""
        total, _, monte_carlo = map(self._diagonal, self._variances())
        return float(np.sqrt(np.max(monte_carlo / total, initial=0.0)))

    @property
    def settled(self):
        """Whether the Monte Carlo error is small enough."""
        return self.error() <= _ERROR

    def _diagonal(self, covariance):
        transform = self.coding.transform[~self.coding.aliased]
        return np.einsum("ia,ab,ib->i", transform, covariance, transform)

    def solution(self):
        """Pooled `Solution`; the likelihood of the observed values is not known."""
        total, _, _ = self._variances()
        inflation, m = self._inflation(), self.size
        coefs, noise, errors = np.array(self._coef), None, None
        if None not in self._noise:
            noise = float(np.mean(self._noise))
            errors = inflation**0.5 / m * (np.array(self._noise) - noise)
        coef = coefs.mean(axis=0)
        covariances = tuple(np.mean(c, axis=0) for c in self._components)
        means, posteriors, cross = [], [], []
        away = coefs - coef
        spread = away.T @ away / m
        for sums in self._sums:
            b, slope = sums["b"] / m, sums["d"] / m
            own = sums["bb"] / m - b[:, None] * b
            with_coef = sums["bc"] / m - b[:, None] * coef[:, None]
            shared = np.einsum("qpj,rpj->qrj", with_coef, slope)
            moved = np.einsum("qpj,ps,rsj->qrj", slope, spread, slope)
            own = own - shared - np.swapaxes(shared, 0, 1) + moved
            means.append(b)
            posteriors.append(sums["v"] / m + own)
            cross.append(np.einsum("qpj,pr->qrj", slope, total))
        outcome, words = Outcome.CONVERGED, ""
        if Outcome.INTERRUPTED in self._outcomes:
            outcome = Outcome.INTERRUPTED
        elif len(self._outcomes) > 0.1 * m:
            outcome = self._outcomes[-1]
        elif not self.settled:
            outcome = Outcome.NOISY
            words = (
                f"after {m} completed tables the Monte Carlo error of a coefficient is "
                f"still {self.error():.2g} standard errors. The missing values carry "
                "too much of the information"
            )
        weight = np.sqrt(inflation) / m
        about = MonteCarlo(
            coef=weight * away.T,
            covariances=tuple(
                weight * np.moveaxis(np.array(c) - v, 0, -1)
                for c, v in zip(self._components, covariances, strict=True)
            ),
            noise=errors,
            log_likelihood=np.nan,
            sampler="data augmentation",
            n_samples=m,
            effective=1.0 / inflation,
        )
        return Solution(
            coef=coef,
            coef_covariance=total,
            covariances=covariances,
            means=tuple(means),
            posteriors=tuple(posteriors),
            noise_variance=noise,
            log_likelihood=np.nan,
            method=self._method,
            n_iter=m,
            history=np.array(self._history),
            outcome=outcome,
            words=words,
            singular=singular_factors(
                [covariance_root(v / (noise or 1.0)) for v in covariances]
            ),
            cross=tuple(cross),
            elbo=np.nan,
            monte_carlo=about,
            **self._parameters(),
        )

    def imputed(self, columns):
        """What the tables say of the columns, and what the gaps have cost."""
        total, added, _ = map(self._diagonal, self._variances())
        lost = np.full(len(self.coding.aliased), np.nan)
        lost[~self.coding.aliased] = added / total
        means, covariances = zip(*self._moments, strict=True)
        mean, covariance = np.mean(means, axis=0), np.mean(covariances, axis=0)
        return Imputed(mean, covariance, lost, columns.properties())
