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


def report(messages, solution, components, effects, separated, hopeless):
    """Issue at most one warning, with all there is to say.

    Parameters
    ----------
    messages : list of str
        What was noticed before the fit.
    solution : Solution
        With the factors in the user's order.
    components : dict of ndarray of shape (q, q)
        Covariance of the effects of each factor.
    effects : dict of tuple of str
        Their names.
    separated : list of str
        Columns that separate the outcomes.
    hopeless : str or None
        Why the likelihood has no maximum.
    """
    messages = list(messages)
    if hopeless is not None:
        messages.append(
            f"the likelihood has no maximum: {hopeless}. The estimates are as far out "
            "as they had to be. Collect more data"
        )
    elif solution.outcome == INTERRUPTED:
        messages.append(
            f"{INTERRUPTED} after {solution.n_iter} evaluations: the estimates are the "
            "best so far, and standard errors take the variances as known. To go on "
            "from here, fit again with warm_start=True"
        )
    elif solution.outcome is not None:
        text = f"the fit did not converge: {solution.outcome}"
        advice = solution.extra.get("advice")
        if advice is None and solution.outcome.startswith("max_iter="):
            advice = "Give the solver a larger max_iter, or simplify the random effects"
        messages.append(text if advice is None else f"{text}. {advice}")
    if separated and hopeless is None:
        messages.append(_separation(separated))
    messages += solution.remarks
    names = list(components)
    messages += [
        _singular(names[r], components[names[r]], effects[names[r]])
        for r in solution.singular
    ]
    if not messages:
        return
    stopped = solution.outcome is not None or hopeless is not None
    grave = stopped or separated or solution.singular
    warn(sentences(messages), ConvergenceWarning if grave else UserWarning)


def sentences(messages):
    """Messages as one text, each with a capital letter and a full stop.

    Parameters
    ----------
    messages : iterable of str

    Returns
    -------
    text : str

    Examples
    --------
    >>> from skglmm._report import sentences
    >>> sentences(["the fit did not converge: try again", "the end is near"])
    'The fit did not converge: try again. The end is near.'
    """
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in messages)


def redundant(names):
    """What is said of fixed columns whose coefficients are set to zero.

    Parameters
    ----------
    names : list of str

    Returns
    -------
    text : str
    """
    if len(names) == 1:
        return (
            f"the fixed column {names[0]!r} is constant or depends linearly on the "
            "columns before it: its coefficient is set to 0 (drop it)"
        )
    return (
        f"the fixed columns {', '.join(map(repr, names))} are constant or depend "
        "linearly on the columns before them: their coefficients are set to 0 (drop "
        "them)"
    )


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


def _singular(name, covariance, effects):
    variance = np.diag(covariance)
    if not np.any(variance > 0):
        return (
            f"the variance of {name!r} is estimated as zero: the model is the same "
            "without it"
        )
    if np.array_equal(covariance, np.diag(variance)) and np.any(variance == 0.0):
        without = [repr(e) for e, v in zip(effects, variance, strict=True) if v == 0.0]
        one = len(without) == 1
        return (
            f"the variance{'s' * (not one)} of {' and '.join(without)} in {name!r} "
            f"{'is' if one else 'are'} estimated as zero: the model is the same "
            f"without {'it' if one else 'them'}"
        )
    return (
        f"the covariance of the effects of {name!r} is estimated as singular: a "
        "simpler one (fewer slopes, or covariance='diag') fits as well"
    )
