"""Scores of rows that are elsewhere: a few numbers travel from each partition."""

import copy
import functools

import numpy as np
from sklearn.base import is_classifier

from skglmm._dask.lazy import known_columns, refuse_groups
from skglmm._dask.partitions import (
    Partitions,
    computed,
    is_dask,
    merged,
    naming,
    shared,
)
from skglmm._reading.target import read_labels, read_numbers, read_weight


def scored_by_partition(score):
    """A method ``score(X, y)`` that takes collections of Dask as well."""

    @functools.wraps(score)
    def call(self, X, y, sample_weight=None, *, groups=None):
        if not is_dask(X):
            return score(self, X, y, sample_weight, groups=groups)
        refuse_groups(groups)
        return score_partitions(self, X, y, sample_weight)

    return call


def score_partitions(model, X, y, sample_weight):
    """The score of all partitions together.

    Parameters
    ----------
    model : BaseMixedModel
    X, y, sample_weight : collections of Dask
        The last may be None.

    Returns
    -------
    score : float
    """
    elsewhere = Partitions(known_columns(model, X), y=y, weight=sample_weight)

    def summed(function, value):
        tasks = elsewhere.map("score-of-partition", function, shared(value, "score"))
        return computed(elsewhere, merged("merge-scores", _added, tasks))[0]

    model = copy.copy(model)
    if is_classifier(model):
        right, total = summed(_right, model)
        return float(right / total)
    # the total, the weighted sum of y, and the deviance that is left
    total, of_y, left = summed(_left, model)
    null = float(summed(_null, (model, of_y / total))[0])
    if null == 0.0:
        return 1.0 if left == 0.0 else 0.0
    return float(1.0 - left / null)


def _added(parts):
    return sum(parts[1:], parts[0])


def _read(model, y, weight, X):
    y = read_numbers(y, len(X), type(model).__name__).values
    return y, _weights(weight, y)


def _weights(weight, y):
    return np.ones(len(y)) if weight is None else read_weight(weight, y)


def _right(at, model, X, *, y, weight=None):
    """Weight of the rows whose class is right, and of all."""
    if not len(X):
        return np.zeros(2)
    with naming(at):
        y = read_labels(y, len(X), type(model).__name__)
        weight = _weights(weight, y)
        alike = model.predict(X) == y
        return np.array([weight @ alike, weight.sum()])


def _left(at, model, X, *, y, weight=None):
    """Sums of one partition that need nothing of the others."""
    if not len(X):
        return np.zeros(3)
    with naming(at):
        y, weight = _read(model, y, weight, X)
        mean, special = model._mean(X, None, "conditional")
        trials = special.get("trials", np.ones(len(y)))
        family = model._distribution()
        family.check(y, trials, np.arange(len(y)))
        left = weight @ _deviance(model, y, mean, trials)
        return np.array([weight @ trials, weight @ y, left])


def _null(at, known, X, *, y, weight=None):
    """Deviance of one partition from a constant mean."""
    model, constant = known
    if not len(X):
        return np.zeros(1)
    with naming(at):
        y, weight = _read(model, y, weight, X)
        trials = np.ones(len(y))
        if "trials" in model._fitted.named:
            trials = model._special(model._table(X), False)["trials"]
        mean = np.full(len(y), constant)
        return np.array([weight @ _deviance(model, y, mean, trials)])


def _deviance(model, y, mean, trials):
    from skglmm._fitted.state import family_of

    return family_of(model).deviance(y, mean, trials)
