"""What a fit has to say in its one warning."""

import os
import sys
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning

from skglmm._problem.outcome import Outcome
from skglmm._reading import identified

_INSIDE = tuple(
    os.path.join(os.path.dirname(file), "")
    for file in (os.path.dirname(__file__), sklearn.__file__)
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


def report(messages, inputs, working, solution, facts):
    """Warn once of what a user should know, at the line that called `fit`.

    Parameters
    ----------
    messages : list of str
        What was noticed before anything was read.
    inputs : Inputs
    working : Working
    solution : Solution
        With the factors in the user's order, in working coordinates.
    facts : Facts
    """
    hopeless, separated = facts.hopeless, facts.separated
    messages = [*messages, *inputs.messages, *working.messages]
    messages += _unidentified(inputs, working, solution) + _target_among(inputs)
    if hopeless is not None:
        messages.append(
            f"the likelihood has no maximum: {hopeless}. The estimates are as far out "
            "as they had to be. Collect more data"
        )
    elif solution.outcome is Outcome.INTERRUPTED:
        messages.append(
            f"{solution.words} after {solution.n_iter} evaluations: the estimates "
            "are the best so far, and standard errors take the variances as known. To "
            "go on from here, fit again with warm_start=True"
        )
    elif not solution.converged:
        text = f"the fit did not converge: {solution.words}"
        messages.append(f"{text}. {solution.advice}" if solution.advice else text)
    if separated and hopeless is None:
        messages.append(_separation(separated))
    messages += solution.remarks
    for r in solution.singular:
        term, recoding = inputs.terms[r], working.recodings[r]
        covariance = recoding @ solution.covariances[r] @ recoding.T
        messages.append(_singular(term.name, covariance, term.effects))
    if not messages:
        return
    stopped = not solution.converged or hopeless is not None
    grave = stopped or separated or solution.singular
    warn(sentences(messages), ConvergenceWarning if grave else UserWarning)


def _unidentified(inputs, working, solution):
    """What the rows cannot tell apart, and the likelihood does not show."""
    messages = list(working.unidentified)
    messages += [
        text for r, text in inputs.one_row_each.items() if r not in solution.singular
    ]
    if messages or inputs.hopeless is not None:
        return messages
    return identified.undetermined([term.name for term in inputs.terms], solution)


def _target_among(inputs):
    """What is to be said of fixed columns that hold the target once more."""
    y, among = inputs.y, []
    if inputs.moments is not None:
        return among
    targets = [y] if inputs.classes is None else [y, 1.0 - y]
    for name, column in zip(inputs.names, inputs.matrix.T, strict=False):
        # the first row settles it nearly always, and costs nothing
        if any(
            column[0] == target[0] and np.array_equal(column, target)
            for target in targets
        ):
            among.append(name)
    if not among or not np.ptp(y) > 0:
        return []
    return [
        f"the fixed column {name!r} is the target itself: leave it out of X, or name "
        "the columns to take (fixed_effects=)"
        for name in among
    ]


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
    >>> from skglmm._fitted.report import sentences
    >>> sentences(["the fit did not converge: try again", "the end is near"])
    'The fit did not converge: try again. The end is near.'
    """
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in messages)


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
