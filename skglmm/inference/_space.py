"""The parameters of a fitted model, and coordinates for each of them."""

from contextlib import contextmanager

import numpy as np

from skglmm._covariances import COVARIANCES
from skglmm._loops.deviance import Optimum, open_deviance
from skglmm.inference._charts import Chart, Cholesky, Entries, Polar
from skglmm.inference._parameters import correlated
from skglmm.inference._rows import check_likelihood, relative_factors, working_again
from skglmm.solvers import Laplace

# Nodes of quadrature for counts and outcomes that were fitted by a bound or by draws.
_NODES = 11


class Space:
    """The parameters of a model, and a chart for each.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working
    deviance : LinearDeviance or LaplaceDeviance
    """

    def __init__(self, model, working, deviance):
        self.deviance, self._working, self._model = deviance, working, model
        problem = working.problem
        self.is_linear = problem.family.is_linear
        self.n_own = len(problem.family.parameter_names)
        self.n_coef = problem.n_border - 1
        self.n_rows = float(problem.weight.sum())
        self.restricted = model.log_likelihood_method_ == "restricted"
        self._by_name = {term.name: term for term in model._fitted.terms}
        self._coefficients = list(model.fixed_effects_.index)

    def chart(self, group, effect):
        """`Chart` of a row of `parameters_of`; of (None, None) one for none of them.

        Raises
        ------
        ValueError
            If the covariance has no coordinates for it.
        """
        blocks, place, row = self._blocks(), None, None
        unit = self._working.problem.unit
        reading, limits = _identity(), (-np.inf, np.inf)
        if group == "fixed":
            row = self._working.coding.transform[self._coefficients.index(effect)]
            length = 1.0 if self.is_linear else np.linalg.norm(row)
            origin = float(row @ np.broadcast_to(self._working.origin, row.shape))
            reading = _identity(unit * length, unit * origin)
        elif group == "residual":
            place = sum(block.n for block in blocks)
            reading = lambda u: unit * np.exp(u), lambda v: np.log(v / unit)
        elif group is not None:
            r = list(self._working.problem.names).index(group)
            blocks[r], reading, limits = self._own(r, self._by_name[group], effect)
            place = sum(block.n for block in blocks[:r]) + blocks[r].place
        else:
            place = 0
        return Chart(self, blocks, place, row, reading, limits)

    def value(self, point):
        """The deviance at a point, or the REML criterion if the fit was by it."""
        chart = self.chart(None, None)
        return chart.evaluate(chart.start(point), self.restricted)[0]

    def places(self, names):
        """Places of factors in the design, by name."""
        order = list(self._working.problem.names)
        return [order.index(name) for name in names]

    def covariances(self, point):
        """Covariance matrices of the user's effects, by term, and of the residual."""
        problem = self._working.problem
        scale = problem.unit * (point.sigma or 1.0)
        found = {}
        for name, recoding, t in zip(
            problem.names, problem.recodings, point.factors, strict=True
        ):
            root = scale * recoding @ t
            found[name] = root @ root.T
        return found, None if point.sigma is None else scale

    def _blocks(self):
        problem = self._working.problem
        return [
            Cholesky(np.eye(factor.n_effects))
            if COVARIANCES[factor.kind].correlates
            else Entries(COVARIANCES[factor.kind], factor.n_effects)
            for factor in problem.design.factors
        ]

    def _own(self, r, term, effect):
        """Coordinates of a factor with one of its parameters among them."""
        problem = self._working.problem
        factor, recoding = problem.design.factors[r], problem.recodings[r]
        structure = COVARIANCES[factor.kind]
        if effect not in term.effects:
            pair = correlated(self._model, (term.name, effect))
            reading = np.sin, lambda v: np.arcsin(np.clip(v, -1.0, 1.0))
            block = Polar(recoding, tuple(map(term.effects.index, pair)))
            return block, reading, (-0.5 * np.pi, 0.5 * np.pi)
        i = term.effects.index(effect)
        limits = 0.0, np.inf
        if structure.correlates:
            return Cholesky(recoding, (i,)), _identity(problem.unit), limits
        if not (structure.independent or factor.n_effects == 1):
            raise ValueError(
                f"covariance={factor.covariance!r} has no coordinates in which the "
                f"standard deviation of {effect!r} could be held: use "
                "method='bootstrap'."
            )
        block = Entries(structure, factor.n_effects)
        block.place = 0 if structure.shares else i
        return block, _identity(problem.unit * abs(recoding[i, i])), limits


def _identity(scale=1.0, origin=0.0):
    return lambda u: scale * u + origin, lambda v: (v - origin) / scale


@contextmanager
def open_space(model, inputs, refit):
    """The `Space` of a fitted model, and an optimum in it.

    Parameters
    ----------
    model : BaseMixedModel
    inputs : Inputs
    refit : bool
        Whether to maximise the likelihood; otherwise the optimum is what was fitted.

    Yields
    ------
    space : Space
    optimum : Optimum
    """
    working = working_again(
        model, inputs, "method='wald' of the coefficients alone needs no such matrix."
    )
    solver = model.solver_
    start = fitted_point(model, working)
    opened = open_deviance(
        working.problem,
        start,
        _n_quadrature(model, working.problem),
        solver.max_iter,
        solver.tol,
        solver.device,
        refit,
    )
    with opened as (deviance, optimum):
        space = Space(model, working, deviance)
        check_likelihood(model, working, lambda: space.value(start))
        yield space, optimum


def fitted_point(model, working):
    """The estimates of a model, as an `Optimum`."""
    problem, coding = working.problem, working.coding
    kept = ~coding.aliased
    user = model.fixed_effects_["estimate"].to_numpy()[kept] / problem.unit
    coef = np.linalg.solve(coding.transform[kept], user) - working.origin
    sigma = None
    if problem.family.is_linear:
        sigma = float(np.sqrt(model.noise_variance_)) / problem.unit
    own = model._fitted.parameters
    factors = tuple(relative_factors(model, working))
    return Optimum(factors, coef, sigma, np.zeros(0) if own is None else own)


def _n_quadrature(model, problem):
    """Nodes of the likelihood: those of the fit, or enough for one factor."""
    if problem.family.is_linear:
        return 1
    if not (hasattr(model, "elbo_") or hasattr(model, "mc_error_")):
        return getattr(model.solver_, "n_quadrature", 1)
    supported = Laplace(n_quadrature=_NODES).supports(problem) is None
    return _NODES if supported else 1
