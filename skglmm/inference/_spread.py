"""How well a linear model knows its variances, and so the errors of its coefficients.

The errors of the fixed effects are functions of estimated variances. With the deviance
d(theta, log sigma^2), its residual variance profiled out as the engine has it,

    f(theta) = min_s d(theta, s),    s(theta) = log(r^2(theta) / n),

the inverse of the Hessian of d at the optimum, whose row of s is (-n s', n), is

    [F^-1, F^-1 s'; s'' F^-1, 1/n + s'' F^-1 s'],    F = f''.

So the variance of a function c of both, taken along the profile (whose total derivative
in theta is g, and whose derivative in s is c itself for what is proportional to
sigma^2), is 2 (g' F^-1 g + c^2 / n): only f and what is reported on its way are needed.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from skglmm.inference._rows import relative_factors

# Length of the steps of differences, as a share of the size of T, and the least size.
_STEP, _LEAST = 1e-3, 0.02
# Eigenvalues of the Hessian, as a share of the largest one, that count as zero.
_ZERO = 1e-7


@dataclass(frozen=True)
class Spread:
    """Covariance of the fixed effects, and how it moves with the variances.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        Of the user's coefficients; their errors are from here.
    plain : ndarray of shape (p, p)
        C, the same for variances that are known.
    slopes : ndarray of shape (m, p, p)
        Derivatives of C in parameters of the variances.
    root : ndarray of shape (m, m')
        A root of the covariance of the estimates of these parameters.
    """

    covariance: np.ndarray
    plain: np.ndarray
    slopes: np.ndarray
    root: np.ndarray

    def degrees_of_freedom(self, contrasts):
        """Degrees of freedom 2 c^2 / Var(c), c = l' C l, of linear combinations.

        Parameters
        ----------
        contrasts : ndarray of shape (m, p)

        Returns
        -------
        df : ndarray of shape (m,)
        """
        value = np.einsum("mi,ij,mj->m", contrasts, self.plain, contrasts)
        moved = np.einsum("mi,kij,mj->mk", contrasts, self.slopes, contrasts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2.0 * value**2 / np.sum((moved @ self.root) ** 2, axis=1)


def satterthwaite(model, working):
    """`Spread` of a fitted linear model, by the observed Hessian.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working
        See `working_again`.

    Returns
    -------
    spread : Spread
    """
    from skglmm._loops.linear import open_objective

    problem, coding = working.problem, working.coding
    factors = relative_factors(model, working)
    with open_objective(problem, model.solver_.device) as (run, objective):
        theta = run.theta(factors)
        steps = np.concatenate(
            [
                np.full(len(run.theta_of(r, t)), _STEP * max(_size(t), _LEAST))
                for r, t in enumerate(factors)
            ]
            or [np.zeros(0)]
        )
        here = objective.evaluate(theta)
        hessian, slopes = [], []
        for step, axis in zip(steps, np.eye(len(theta)), strict=True):
            ahead, behind = (
                objective.evaluate(theta + sign * step * axis) for sign in (1.0, -1.0)
            )
            change = (ahead["gradient"] - behind["gradient"]) / (2.0 * step)
            hessian.append(change)
            slopes.append((_covariance(ahead) - _covariance(behind)) / (2.0 * step))
    k, rank = len(theta), problem.n_border - 1
    to_user = problem.unit * coding.transform
    covariance = to_user @ _covariance(here) @ to_user.T
    slopes = to_user @ np.reshape(slopes, (k, rank, rank)) @ to_user.T
    inside = _inverse_root(np.reshape(hessian, (k, k)))
    root = np.sqrt(2.0) * block_diag(inside, 1.0 / np.sqrt(here["n"]))
    slopes = np.concatenate([slopes, covariance[None]])
    return Spread(covariance, covariance, slopes, root)


def _covariance(out):
    """Covariance of the working coefficients at an evaluation of the objective."""
    half = out["fixed"]["half"]
    return float(out["fixed"]["variance"]) * half.T @ half


def _size(t):
    return np.sqrt(np.mean(np.sum(t**2, axis=1)))


def _inverse_root(hessian):
    """Root of the inverse, without what is flat."""
    values, axes = np.linalg.eigh(0.5 * (hessian + hessian.T))
    usable = values > _ZERO * np.max(values, initial=0.0)
    return axes[:, usable] / np.sqrt(values[usable])
