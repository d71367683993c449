"""What a fit has to say in its one warning."""

import os
import sys
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning

from skglmm.solvers._search import INTERRUPTED

# A column separates the outcomes if its whole effect is larger than the one, and the
# standard error of that is larger than the other.
_FAR, _SEPARATED = 5.0, 50.0
_INSIDE = tuple(
    os.path.join(os.path.dirname(file), "") for file in (__file__, sklearn.__file__)
)


def warn(message, category=UserWarning):
    """Warn at the line that called this package, directly or through scikit-learn.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    depth, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth if frame else 2)


def report(messages, solution, components, separated, hopeless):
    """Issue at most one warning, with all there is to say.

    Parameters
    ----------
    messages : list of str
        What was noticed before the fit.
    solution : Solution
        With the factors in the user's order.
    components : dict of ndarray of shape (q, q)
        Covariance of the effects of each factor.
    separated : list of str
        Columns that separate the outcomes.
    hopeless : str or None
        Why the likelihood has no maximum.
    """
    messages = list(messages)
    if hopeless is not None:
        messages.append(
            f"{hopeless}. The likelihood has no maximum, and the estimates are as "
            "far out as they had to be: collect more data"
        )
    elif solution.outcome == INTERRUPTED:
        messages.append(
            f"{INTERRUPTED} after {solution.n_iter} evaluations: the estimates are the "
            "best so far, and standard errors take the variances as known"
        )
    elif solution.outcome is not None:
        messages.append(
            f"the fit did not converge: {solution.outcome}. Give the solver a "
            "larger max_iter, or simplify the random effects"
        )
    if separated and hopeless is None:
        messages.append(_separation(separated))
    names = list(components)
    messages += [_singular(names[r], components[names[r]]) for r in solution.singular]
    if not messages:
        return
    text = "; ".join(messages)
    mild = solution.outcome is None and hopeless is None and not solution.singular
    category = UserWarning if mild and len(messages) == 1 else ConvergenceWarning
    warn(text[0].upper() + text[1:] + ".", category)


def separated_columns(fixed_effects, covariance, ranges, fit_intercept):
    """Columns whose coefficients want to be infinite.

    Far from the data the intercept may well be uncertain: what counts is its error
    with the coefficients known.

    Parameters
    ----------
    fixed_effects : DataFrame
        ``estimate`` and ``std_error``, the intercept first if there is one.
    covariance : ndarray
        Of all of them; NaN where a coefficient was set to zero.
    ranges : ndarray of shape (n_fixed,)
        Largest less smallest value of each column.
    fit_intercept : bool

    Returns
    -------
    names : list of str
    """
    frame = fixed_effects.iloc[int(fit_intercept) :]
    size = np.abs(frame["estimate"].to_numpy()) * ranges
    loose = frame["std_error"].to_numpy() * ranges > _SEPARATED
    names = list(frame.index[loose & (size > _FAR)])
    if names or not fit_intercept:
        return names
    known = ~np.isnan(np.diag(covariance))
    precision = np.linalg.pinv(covariance[np.ix_(known, known)])
    error = 1.0 / np.sqrt(max(precision[0, 0], 1e-300))
    far = abs(fixed_effects["estimate"].iloc[0]) > _FAR
    return ["Intercept"] if far and error > _SEPARATED else []


def _separation(names):
    *most, last = map(repr, names)
    named = f"{', '.join(most)} and {last} separate" if most else f"{last} separates"
    return (
        f"{named} the outcomes completely: the likelihood grows without end in that "
        "direction, and the estimate is as large as it had to be. Drop the column, "
        "merge its rare categories or collect more data"
    )


def _singular(name, covariance):
    if not np.any(np.diag(covariance) > 0):
        return (
            f"the variance of {name!r} is estimated as zero: the model is the same "
            "without it"
        )
    return (
        f"the covariance of the effects of {name!r} is estimated as singular: a "
        "simpler one (fewer slopes, or covariance='diag') fits as well"
    )
