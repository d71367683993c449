"""Likelihoods of models: those of their fits, or of a fit in another way."""

from dataclasses import dataclass

from sklearn.base import clone

from skglmm._base import BaseMixedModel
from skglmm._fitted.attributes import likelihood, user_solution
from skglmm._fixed.parts import resolve_part
from skglmm._progress import Progress


@dataclass(frozen=True)
class Likelihood:
    """What a model's likelihood is, and how it was found.

    Parameters
    ----------
    log_likelihood, aic, bic : float
    method : str
        As `log_likelihood_method_`.
    refitted : bool, default=False
        Whether the model had been fitted in another way.
    trouble : str, default=""
        Why the fit did not converge; empty if it did.
    """

    log_likelihood: float
    aic: float
    bic: float
    method: str
    refitted: bool = False
    trouble: str = ""

    @property
    def n_parameters(self):
        """Number of parameters, by which AIC and likelihood differ."""
        return round(0.5 * self.aic + self.log_likelihood)


def of_fit(model: BaseMixedModel) -> Likelihood:
    """The likelihood of a fitted model as it is."""
    return Likelihood(
        model.log_likelihood_,
        model.aic_,
        model.bic_,
        model.log_likelihood_method_,
        trouble=model._fitted.facts.outcome,
    )


def fit_again(model: BaseMixedModel, inputs, reml=None) -> Likelihood:
    """The likelihood of a model with these parameters, at its maximum.

    Parameters
    ----------
    model : BaseMixedModel
        Is not changed.
    inputs : Inputs
    reml : bool or None, default=None
        Whether a linear model is fitted by the restricted likelihood; None leaves that
        to the model.

    Returns
    -------
    likelihood : Likelihood
    """
    model = clone(model)
    if reml is not None and "reml" in model.get_params(deep=False):
        model.set_params(reml=reml)
    part, solver = resolve_part(model.fixed_effects), model._resolve_solver()
    working, estimate = model._estimate(inputs, part, solver, Progress(model))
    solution, family = user_solution(working, estimate), model._distribution()
    found = likelihood(working, estimate, solution, family)
    return Likelihood(
        found["log_likelihood_"],
        found["aic_"],
        found["bic_"],
        found["log_likelihood_method_"],
        trouble="" if solution.converged else solution.words,
    )
