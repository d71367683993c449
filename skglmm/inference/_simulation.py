"""Responses drawn from a model that is taken as true."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._base import BaseMixedModel
from skglmm._covariances import COVARIANCES
from skglmm._families import Family
from skglmm._fitted.state import family_of
from skglmm._problem.roots import covariance_root
from skglmm._reading.inputs import Inputs
from skglmm._reading.terms import row_values
from skglmm.inference._batches import Batch


@dataclass(frozen=True)
class Truth:
    """Parameters of a model, to draw responses from.

    Parameters
    ----------
    family : Family
    coef : ndarray of shape (n_coef,)
        Without the intercept.
    intercept : float
    covariances : tuple of ndarray of shape (q, q)
        By term.
    noise_variance : float or None
    """

    family: Family
    coef: np.ndarray
    intercept: float
    covariances: tuple[np.ndarray, ...]
    noise_variance: float | None

    @property
    def relative_roots(self) -> tuple[np.ndarray, ...] | None:
        """Roots of the covariances beside the residual variance, by term."""
        if not self.noise_variance:
            return None
        return tuple(
            covariance_root(sigma / self.noise_variance) for sigma in self.covariances
        )

    def draw(self, inputs: Inputs, n: int, random: np.random.RandomState) -> np.ndarray:
        """Responses with new random effects, (n_rows, n).

        Parameters
        ----------
        inputs : Inputs
            Rows that count once each.
        n : int
        random : RandomState
        """
        n_rows = len(inputs.y)
        eta = np.full(n_rows, self.intercept)
        eta += inputs.matrix @ self.coef
        if inputs.offset is not None:
            eta += inputs.offset
        eta = np.repeat(eta[:, None], n, axis=1)
        place = inputs.numeric.index
        for term, codes, levels, sigma in zip(
            inputs.terms, inputs.codes, inputs.levels, self.covariances, strict=True
        ):
            u = random.standard_normal((len(levels), n, len(sigma)))
            kinship = COVARIANCES[term.covariance].levels_root(levels)
            if kinship is not None:
                u = np.tensordot(kinship, u, 1)
            effects = u @ covariance_root(sigma).T
            z = row_values(term, lambda at: inputs.matrix[:, place(at)], n_rows)
            if z is None:
                eta += effects[codes, :, 0]
            else:
                for k, column in enumerate(z.T):
                    eta += column[:, None] * effects[codes, :, k]
        special = {} if inputs.trials is None else {"trials": inputs.trials}
        size = self.family.observation_size(special, n_rows, self.noise_variance)
        if size is not None:
            size = np.reshape(size, (-1, 1))
        return self.family.sample(eta, size, random)


def truth_of(model: BaseMixedModel) -> Truth:
    """The estimates of a fitted model as the truth."""
    terms = model._fitted.terms
    return Truth(
        family_of(model),
        np.ravel(model.coef_),
        float(np.ravel(model.intercept_)[0]),
        tuple(model.random_effects_covariance_[term.name] for term in terms),
        getattr(model, "noise_variance_", None),
    )


def truth_of_batch(batch: Batch, family: Family, fit_intercept: bool) -> Truth:
    """The estimates of the first response of a batch as the truth."""
    coef, first = batch.coef[0], int(fit_intercept)
    noise = batch.noise_variance
    return Truth(
        family,
        coef[first:],
        float(coef[0]) if first else 0.0,
        tuple(sigma[0] for sigma in batch.covariances),
        None if noise is None else float(noise[0]),
    )


def once_each(inputs: Inputs) -> Inputs:
    """The same rows, those with the frequency 2 twice, and so on.

    Raises
    ------
    ValueError
        If the frequencies are not whole.
    """
    weight = inputs.weight
    if np.all(weight == 1.0):
        return inputs
    times = np.round(weight).astype(int)
    if np.any(times != weight):
        at = int(np.argmax(times != weight))
        raise ValueError(
            "The bootstrap draws a response for each row as often as its frequency "
            f"says, and sample_weight of row {inputs.rows[at]} is {weight[at]:g}, no "
            "whole number: round the weights, or use another method."
        )
    rows = np.repeat(np.arange(len(weight)), times)
    return _rows_of(inputs, rows, np.ones(len(rows)))


def _rows_of(inputs, rows, weight):
    """Some rows, of which each level has one."""
    offset, trials = (
        None if v is None else v[rows] for v in (inputs.offset, inputs.trials)
    )
    return replace(
        inputs,
        codes=tuple(codes[rows] for codes in inputs.codes),
        matrix=inputs.matrix[rows],
        y=inputs.y[rows],
        weight=weight,
        offset=offset,
        trials=trials,
        rows=inputs.rows[rows],
    )


def without(inputs: Inputs, gone: np.ndarray) -> Inputs:
    """The rows that are left where some are gone, and the levels that they have.

    Parameters
    ----------
    inputs : Inputs
    gone : ndarray of shape (n_rows,), bool
    """
    rows = np.flatnonzero(~gone)
    left = _rows_of(inputs, rows, inputs.weight[rows])
    codes, levels = [], []
    for of_term, names in zip(left.codes, left.levels, strict=True):
        kept, new = np.unique(of_term, return_inverse=True)
        codes.append(new.astype(np.int32))
        levels.append(names[kept])
    return replace(left, codes=tuple(codes), levels=tuple(levels), one_row_each={})
