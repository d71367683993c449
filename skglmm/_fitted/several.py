"""Models of more than two classes: what a fit by class leaves, and rows of them."""

from dataclasses import dataclass, replace

import numpy as np

from skglmm._covariances import Unbounded
from skglmm._families.multinomial import moved, sobol_points
from skglmm._fitted.attributes import attributes
from skglmm._fitted.prediction import Effects, Rows, levels_of
from skglmm._fitted.predictor import check_coverage
from skglmm._fitted.state import family_of
from skglmm._problem.design import Factor
from skglmm._reading.by_class import apart, counts, term_by_class
from skglmm._reading.fixed_terms import fixed_terms

_BLOCK, _DRAWS = 1 << 14, 1 << 21


def answer_by_class(inputs, asked, working, estimate, solution, family):
    """`attributes` of a fit to a row for each class, as the user reads them.

    Parameters
    ----------
    inputs, asked : Inputs
        As the user gave them, and `by_class`.
    working : Working
    estimate : Estimate
    solution : Solution
    family : Family

    Returns
    -------
    public : dict
    fitted : Fitted
        With a half of the covariance of the fixed effects for each class.
    """
    k, rows = len(inputs.classes), slice(-1)
    names = ("covariances", "means", "posteriors", "cross", "path")
    kept = {name: getattr(solution, name) for name in names}
    solution = replace(solution, **{n: v and v[rows] for n, v in kept.items()})
    asked = replace(
        asked, terms=asked.terms[rows], codes=asked.codes[rows], levels=inputs.levels
    )
    working = replace(
        working, recodings=working.recodings[rows], squares=working.squares[rows]
    )
    public, fitted = attributes(
        asked,
        working,
        estimate,
        solution,
        family,
        fit_intercept=False,
        missing="error",
    )
    p = len(inputs.names)
    first = len(asked.names) // (k - 1) - p
    coef = public["coef_"].reshape(k - 1, first + p)
    half = fitted.coef_half[1:].reshape(k - 1, first + p, -1)
    n_parameters = 0.5 * public["aic_"] + public["log_likelihood_"]
    public |= {
        "intercept_": coef[:, 0] if first else np.zeros(k - 1),
        "coef_": coef[:, first:],
        "coef_names_": list(inputs.names),
        "bic_": public["bic_"] - float(np.log(k)) * n_parameters,
    }
    labels = [str(label) for label in inputs.classes[1:]]
    fixed = inputs.columns @ public["coef_"].T
    fixed -= np.average(fixed, axis=0, weights=inputs.weight)
    facts = fitted.facts
    facts = replace(
        facts,
        n_rows=facts.n_rows / k,
        fixed_variance=float(
            np.average(np.mean(fixed**2, axis=1), weights=inputs.weight)
        ),
        random_variances=tuple(v * k / (k - 1) for v in facts.random_variances),
    )
    of_columns = fixed_terms(inputs)
    return public, replace(
        fitted,
        terms=tuple(term_by_class(term, labels) for term in inputs.terms),
        categories=inputs.categories,
        formula=inputs.formula,
        fixed_columns=inputs.fixed,
        coef_half=half if first else np.pad(half, [(0, 0), (1, 0), (0, 0)]),
        facts=facts,
        fixed_terms={
            name: [c * (first + p) + first + i for c in range(k - 1) for i in places]
            for name, places in of_columns.items()
        },
    )


def rows_by_class(rows, k):
    """New rows with a row for each of k classes; see `by_class`."""
    offset = np.concatenate([np.zeros((len(rows.y), 1)), rows.offset], axis=1)
    return replace(
        rows,
        codes=[np.repeat(codes, k) for codes in rows.codes],
        z=[apart(z, k) for z in rows.z],
        offset=offset.ravel(),
        **counts(rows.y, rows.weight, k),
    )


def rows_factor(n_rows, k):
    """The factor of rows that k classes have in common."""
    own = np.repeat(np.arange(n_rows // k, dtype=np.int32), k)
    return Factor(own, n_rows // k, covariance=Unbounded.name)


def several_intervals(model, X, coverage, groups, level):
    """Intervals (n_rows, n_classes, 2) that hold the probabilities of classes."""
    check_coverage(coverage)
    rows = model._rows(X, groups, level)[0]
    eta, covariance = rows.mean(), rows.random_covariance() + rows.fixed_covariance()
    bounds = 0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage
    points, family = sobol_points(eta.shape[1]), family_of(model)
    found = np.empty((len(eta), eta.shape[1] + 1, 2))
    block = max(1, _DRAWS // (len(points) * found.shape[1]))
    for start in range(0, len(eta), block):
        here = slice(start, start + block)
        drawn = moved(eta[here], covariance[here], points)
        p = family.inverse_link(drawn.reshape(-1, eta.shape[1]))
        p = p.reshape(*drawn.shape[:2], -1)
        found[here] = np.moveaxis(np.quantile(p, bounds, axis=1), 0, -1)
    return found


@dataclass(frozen=True)
class SeveralRows:
    """Rows with a linear predictor for each class but the first; see `Rows`.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
    offset : None
    coef : ndarray of shape (d, p)
    intercept : ndarray of shape (d,)
    half : ndarray of shape (d, p + 1, rank)
    effects : tuple of Effects
        Those of all classes, with the row values of one.
    gap_variance : None
    """

    X: np.ndarray
    offset: None
    coef: np.ndarray
    intercept: np.ndarray
    half: np.ndarray
    effects: tuple
    gap_variance: None = None

    def of_class(self, c):
        """The `Rows` of a class."""
        return Rows(
            X=self.X,
            offset=None,
            coef=self.coef[c],
            intercept=float(self.intercept[c]),
            half=self.half[c],
            effects=tuple(self._of_class(effects, c) for effects in self.effects),
        )

    def _of_class(self, effects, c):
        q = len(effects.prior) // len(self.coef)
        own = slice(c * q, c * q + q)
        return Effects(
            codes=effects.codes,
            z=effects.z,
            means=effects.means[:, own],
            posteriors=effects.posteriors[:, own, own],
            prior=effects.prior[own, own],
            shifts=None if effects.shifts is None else effects.shifts[:, own],
        )

    def _stacked(self, name):
        rows = (self.of_class(c) for c in range(len(self.coef)))
        return np.column_stack([getattr(of_class, name)() for of_class in rows])

    def mean(self):
        """Linear predictors (n_rows, d) at the posterior means."""
        return self._stacked("mean")

    def random_variance(self):
        """Their variances (n_rows, d) with the fixed effects as known."""
        return self._stacked("random_variance")

    def fixed_variance(self):
        """Variances (n_rows, d) that the errors of the fixed effects add."""
        return self._stacked("fixed_variance")

    def random_covariance(self):
        """Their covariances (n_rows, d, d) with the fixed effects as known."""
        d = len(self.coef)
        total = np.zeros((len(self.X), d, d))
        for effects in self.effects:
            padded = effects.padded(effects.posteriors, effects.prior)
            q = len(effects.prior) // d
            z = np.ones((len(self.X), 1)) if effects.z is None else effects.z
            for i in range(q):
                for k in range(q):
                    part = padded[:, i::q, k::q].take(effects.codes, axis=0)
                    total += part * (z[:, i] * z[:, k])[:, None, None]
        return total

    def fixed_covariance(self):
        """Covariances (n_rows, d, d) that the errors of the fixed effects add."""
        n, d = len(self.X), len(self.coef)
        total = np.empty((n, d, d))
        classes = [self.of_class(c) for c in range(d)]
        for start in range(0, n, _BLOCK):
            here = slice(start, start + _BLOCK)
            errors = np.stack([rows.errors(here) for rows in classes], axis=1)
            total[here] = errors @ np.swapaxes(errors, 1, 2)
        return total

    def draw(self, n_samples, kin, draws):
        """Linear predictors (n_rows, d, n_samples); see `Rows.draw`."""
        samples = np.arange(n_samples)
        unit = draws.of_fixed(self.half.shape[2], samples)
        levels = levels_of(self.effects, kin)
        drawn = [
            level.values(unit, draws.of_levels(level, samples)) for level in levels
        ]
        eta = np.empty((len(self.X), len(self.coef), n_samples))
        for c in range(len(self.coef)):
            rows = self.of_class(c)
            errors = self.X @ rows.half[1:] + rows.half[0]
            part = (self.X @ rows.coef + rows.intercept)[:, None] + errors @ unit
            for level, b in zip(levels, drawn, strict=True):
                q = b.shape[1] // len(self.coef)
                level.add(part, b[:, c * q : c * q + q])
            eta[:, c] = part
        return eta
