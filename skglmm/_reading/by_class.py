r"""More than two classes as counts: a row for each class, with an effect in common.

With :math:`\eta_{ik} = \alpha_i + x_i'\beta_k + z_i'b_k` and
:math:`\beta_1 = b_1 = 0`, counts :math:`y_{ik}` that are Poisson with the mean
:math:`e^{\eta_{ik}}` have, after :math:`\alpha_i` is integrated out under a flat prior,
the likelihood of the multinomial logit model [1]_:

.. math:: \int \prod_k \frac{e^{y_{ik} \eta_{ik}}}{\exp(e^{\eta_{ik}})} \, d\alpha_i
    = \frac{e^{x_i'\beta_{y_i} + z_i'b_{y_i}}}{\sum_k e^{x_i'\beta_k + z_i'b_k}}.

So the rows become a factor that is integrated out first, and all that solvers do with
counts they do with classes.

References
----------
.. [1] Baker, S. G. (1994). The multinomial-Poisson transformation. The Statistician
   43(4), 495-504.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from skglmm._covariances import Unbounded, in_sets
from skglmm._reading import identified
from skglmm._reading.categories import Categories
from skglmm._reading.inputs import Inputs
from skglmm._reading.terms import Term


def by_class(inputs: Inputs, fit_intercept: bool) -> Inputs:
    """Inputs with a row for each class, and the rows of the user as the last factor.

    Parameters
    ----------
    inputs : Inputs
        With codes of classes as the target.
    fit_intercept : bool
        Whether each class has an intercept: among the columns, from here on.

    Returns
    -------
    inputs : Inputs
        Columns and effects stand class by class, beginning with the second.
    """
    classes = np.asarray(inputs.classes)
    n, k = len(inputs.y), len(classes)
    ones, n_fixed = np.ones((n, 1)), len(inputs.names)
    fixed, rest = inputs.matrix[:, :n_fixed], inputs.matrix[:, n_fixed:]
    names = ("Intercept",) * fit_intercept + inputs.names
    if fit_intercept:
        fixed = np.hstack([ones, fixed])
    else:
        rest = np.hstack([ones, rest])
    matrix = np.hstack([apart(fixed, k), apart(rest, k)])
    places = _places(inputs, fit_intercept, fixed.shape[1], rest.shape[1], k)
    labels = [str(label) for label in classes[1:]]
    terms = tuple(
        replace(term_by_class(term, labels), slopes=at, intercept=False, n_sets=1)
        for term, at in zip(inputs.terms, places, strict=True)
    )
    rows = Term("rows", (), (), True, Unbounded.name, ("Intercept",))
    codes = [np.repeat(of_term, k) for of_term in inputs.codes]
    own = np.repeat(np.arange(n, dtype=np.int32), k)
    return replace(
        inputs,
        terms=(*terms, rows),
        codes=(*codes, own),
        levels=(*inputs.levels, pd.RangeIndex(n)),
        categories=Categories(),
        formula=None,
        fixed=tuple(range(fixed.shape[1] * (k - 1))),
        names=tuple(f"{label}: {name}" for label in labels for name in names),
        numeric=tuple(range(matrix.shape[1])),
        matrix=matrix,
        rows=np.repeat(inputs.rows, k),
        n_copies=k,
        hopeless=inputs.hopeless or _hopeless(inputs),
        one_row_each=identified.one_row_each(
            inputs.terms, inputs.encoded, inputs.weight, None
        ),
        **counts(inputs.y, inputs.weight, k),
    )


def check_by_class(model, inputs: Inputs, part):
    """Refuse what more than two classes do not go with."""
    k = len(np.asarray(inputs.classes))
    for given, what in (
        (part is not None, f"fixed_effects={model.fixed_effects!r}"),
        (model.missing != "error", f"missing={model.missing!r}"),
        (model.offset is not None, f"offset={model.offset!r}"),
    ):
        if given:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"multiclass. y has {k} classes, and {what} goes with two only: leave "
                "it at its default, or keep two classes."
            )


def counts(y, weight, k):
    """Target, weights and trials of `by_class`.

    The trials are the inverse weights, which the likelihood of several equal rows with
    an effect in common needs.
    """
    target = (y[:, None] == np.arange(k)).astype(float).ravel()
    weight = np.repeat(weight, k)
    return {"y": target, "weight": weight, "trials": 1.0 / weight}


def apart(values, k):
    """Columns (n k, c (k - 1)) of values (n, c), which each class has for itself."""
    n, c = values.shape
    out = np.zeros((n, k, k - 1, c))
    for at in range(k - 1):
        out[:, at + 1, at] = values
    return out.reshape(n * k, (k - 1) * c)


def term_by_class(term: Term, labels: list[str]) -> Term:
    """A term with a set of effects for each of some classes."""
    return replace(
        term,
        covariance=in_sets(term.covariance, len(labels)),
        effects=tuple(f"{label}: {e}" for label in labels for e in term.effects),
        n_sets=len(labels),
    )


def _places(inputs, fit_intercept, n_fixed, n_rest, k):
    """Columns of `by_class` that are those of each term's effects, class by class."""
    found, n_names = [], len(inputs.names)
    behind = n_fixed * (k - 1)

    def column(at, of_class):
        """Where a column of the matrix, or the intercept (None), has gone."""
        if at is None:
            in_fixed, place = fit_intercept, 0
        else:
            place = inputs.numeric.index(at)
            in_fixed = place < n_names
            place += int(fit_intercept) if in_fixed else int(not fit_intercept)
            place -= 0 if in_fixed else n_names
        if in_fixed:
            return of_class * n_fixed + place
        return behind + of_class * n_rest + place

    for term in inputs.terms:
        own = (None,) * term.intercept + term.slopes
        found.append(tuple(column(at, c) for c in range(k - 1) for at in own))
    return found


def _hopeless(inputs):
    """Why the likelihood has no maximum: one class in all rows of each level."""
    total = float(inputs.weight.sum())
    for term, (codes, levels) in zip(inputs.terms, inputs.encoded, strict=True):
        if len(levels) < total and identified.no_residual(
            [term], [(codes, levels)], inputs.y
        ):
            return (
                f"the class is the same in all rows of each level of {term.name!r}, "
                "so that the likelihood grows with the variances of this factor "
                "without end (keep one row of each level, without this factor)"
            )
    return None
