"""What a fitted model knows of its coefficients, and of linear combinations of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skglmm._fitted.report import sentences, warn
from skglmm._fitted.state import family_of
from skglmm.inference._rows import check_errors, working_again
from skglmm.inference._spread import Spread, satterthwaite

_RATIOS = ("log", "logit")
# Share of a combination's size that the part which no row determines may have.
_ESTIMABLE = 1e-7


@dataclass(frozen=True)
class Known:
    """Coefficients, how well they are known, and which combinations of them are.

    Parameters
    ----------
    names : Index of shape (p,)
        As those of `fixed_effects_`.
    estimate : ndarray of shape (p,)
        Zero where a column depends on others.
    covariance : ndarray of shape (p, p)
        Of the estimates, zero where a column depends on others.
    spread : Spread or None
        How it moves with the variances; None where these count as known.
    adjusted : bool
        Whether the spread is that of Kenward and Roger.
    aliased : ndarray of bool of shape (p,)
        Which columns depend on others.
    dependence : ndarray of shape (p, n_aliased) or None
        Such columns as combinations of the others; None if that is not known.
    """

    names: pd.Index
    estimate: np.ndarray
    covariance: np.ndarray
    spread: Spread | None
    adjusted: bool
    aliased: np.ndarray
    dependence: np.ndarray | None

    def combine(self, weights):
        """Linear combinations of the coefficients.

        Parameters
        ----------
        weights : ndarray of shape (m, p)

        Returns
        -------
        estimate, std_error, df : ndarray of shape (m,)
        """
        variance = np.einsum("mi,ij,mj->m", weights, self.covariance, weights)
        return weights @ self.estimate, np.sqrt(variance), self.df(weights)

    def df(self, weights):
        """Degrees of freedom of linear combinations, infinite if nothing is estimated.

        Parameters
        ----------
        weights : ndarray of shape (m, p)

        Returns
        -------
        df : ndarray of shape (m,)
        """
        if self.spread is None:
            return np.full(len(weights), np.inf)
        weights = np.where(self.aliased, 0.0, weights)
        return self.spread.degrees_of_freedom(weights)

    def undetermined(self, weights):
        """Which combinations the rows say nothing of.

        One that gives a column which depends on others another weight than these have
        together changes with the convention that its coefficient is zero.

        Parameters
        ----------
        weights : ndarray of shape (m, p)

        Returns
        -------
        undetermined : ndarray of bool of shape (m,)
        """
        if not self.aliased.any():
            return np.zeros(len(weights), dtype=bool)
        given = weights[:, self.aliased]
        if self.dependence is None:
            return np.any(given != 0.0, axis=1)
        apart = np.abs(given - weights @ self.dependence)
        size = np.abs(given) + np.abs(weights) @ np.abs(self.dependence)
        return np.any(apart > _ESTIMABLE * size, axis=1)


def known_again(model, inputs, df):
    """What the rows of a fitted model say of its coefficients.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
        See `read_again`.
    df : {"satterthwaite", "kenward-roger", "normal"}

    Returns
    -------
    known : Known
    """
    fixed_effects = model.fixed_effects_
    covariance, spread = model._fitted.coef_covariance, None
    aliased = np.isnan(fixed_effects["std_error"].to_numpy())
    if df != "normal" and family_of(model).is_linear:
        spread = _spread(model, inputs, df)
        check_errors(model, spread.plain)
    adjusted = df == "kenward-roger" and spread is not None
    if adjusted:
        covariance = spread.covariance
    return Known(
        names=fixed_effects.index,
        estimate=fixed_effects["estimate"].to_numpy(),
        covariance=np.where(aliased | aliased[:, None], 0.0, covariance),
        spread=spread,
        adjusted=adjusted,
        aliased=aliased,
        dependence=_dependence(model, inputs, aliased),
    )


def _dependence(model, inputs, aliased):
    """Columns that depend on others as combinations of those."""
    if not aliased.any() or inputs.gaps:
        return None
    first = len(aliased) - inputs.matrix.shape[1]
    columns = np.hstack([np.ones((len(inputs.matrix), first)), inputs.matrix])
    scale = np.sqrt(np.mean(columns**2, axis=0))
    scale[scale == 0.0] = 1.0
    columns = columns / scale
    found = np.zeros((len(aliased), int(aliased.sum())))
    kept = np.linalg.lstsq(columns[:, ~aliased], columns[:, aliased], rcond=None)[0]
    kept[np.abs(kept) < _ESTIMABLE] = 0.0
    found[~aliased] = kept / scale[~aliased, None] * scale[aliased]
    return found


def _spread(model, inputs, df):
    """How the covariance of the coefficients moves with the variances."""
    working = working_again(model, inputs)
    if df == "kenward-roger":
        from skglmm.inference._kenward_roger import kenward_roger

        return kenward_roger(model, working)
    if model.singular_:
        names = " and ".join(repr(name) for name in model._fitted.facts.singular)
        warn(
            sentences(
                [
                    f"the covariance of {names} is singular: its zero variances count "
                    "as known, and degrees of freedom are approximate"
                ]
            )
        )
    return satterthwaite(model, working)


def check_asked(model, inputs, df, exponentiate=False):
    """Refuse what the model does not have.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    df : {"satterthwaite", "kenward-roger", "normal"}
    exponentiate : bool, default=False

    Returns
    -------
    df : {"satterthwaite", "kenward-roger", "normal"}
        What there is: after a fit to missing values the normal distribution in the
        place of the default, with a warning.

    Raises
    ------
    ValueError
    """
    family, name = family_of(model), type(model).__name__
    if model._fitted.part is not None:
        raise ValueError(
            f"The fixed part of this {name} is {model._fitted.part.about}: it has no "
            "coefficients, and so no tests of them."
        )
    if exponentiate and family.link not in _RATIOS:
        raise ValueError(
            f"exponentiate=True gives rate and odds ratios, and this {name} has the "
            f"{family.link or 'unnamed'} link: its coefficients are differences. Use "
            "exponentiate=False."
        )
    if df == "kenward-roger" and not family.is_linear:
        raise ValueError(
            f"df='kenward-roger' is for linear models, and this {name} has the "
            f"{family.words or family.name} family: use df='normal'."
        )
    if df == "normal" or not family.is_linear:
        return df
    if inputs.gaps and df == "satterthwaite":
        warn(
            sentences(
                [
                    f"df={df!r} needs all values of the fixed columns, and some are "
                    "missing: tests are those of the normal distribution, df='normal'"
                ]
            )
        )
        return "normal"
    if inputs.gaps:
        raise ValueError(
            f"df={df!r} needs all values of the fixed columns, and some are missing: "
            "use df='normal'."
        )
    if not model.noise_variance_ > 0.0:
        raise ValueError(
            f"df={df!r} needs a residual variance, and that of this {name} is zero."
        )
    if df == "kenward-roger" and model.log_likelihood_method_ != "restricted":
        raise ValueError(
            "df='kenward-roger' adjusts the errors of a REML fit: fit with reml=True, "
            "or use df='satterthwaite'."
        )
    return df
