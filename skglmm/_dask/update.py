"""New rows of a fitted model that are elsewhere, for the effects of their levels."""

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skglmm._dask.digest import Question, digested
from skglmm._dask.lazy import known_columns
from skglmm._dask.partitions import Partitions, computed, merged, naming, shared
from skglmm._dask.rows import Rows, joined
from skglmm._dask.sums import Layout, added, few_rows, reduced
from skglmm._reading.labels import extend, lookup
from skglmm._reading.terms import row_values, term_labels


@dataclass(frozen=True)
class NewRows:
    """Rows for an update.

    Parameters
    ----------
    codes : list of ndarray of shape (n_rows,)
        By term, among the levels that were found.
    found : list of tuple
        By term the levels and their places among those of the fit, as `extend` gives
        them.
    z : list of ndarray of shape (n_rows, q)
    y, offset, weight : ndarray of shape (n_rows,)
        The offset is the linear predictor of each row but for its random part.
    trials : ndarray of shape (n_rows,) or None
    messages : list of str
    """

    codes: list
    found: list
    z: list
    y: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    trials: np.ndarray | None
    messages: list


def read_new_rows(model, X, y, sample_weight):
    """The rows of a collection, few of them for a linear model.

    Parameters
    ----------
    model : BaseMixedModel
        Fitted.
    X, y, sample_weight : collections of Dask
        The last may be None.

    Returns
    -------
    rows : NewRows
    """
    model = copy.copy(model)
    elsewhere = Partitions(known_columns(model, X), y=y, weight=sample_weight)
    terms = model._fitted.terms
    slopes = tuple(sorted({at for term in terms for at in term.slopes}))
    found, messages, digest = _levels(model, elsewhere, terms, slopes)
    levels = [of_term[0] for of_term in found]
    known = model, levels, slopes
    if not model._distribution().is_linear:
        tasks = elsewhere.map("rows-of-partition", _read, shared(known, "reading"))
        rows = joined(computed(elsewhere, *tasks))
    else:
        numbers = [at for at in slopes if at < model.n_features_in_]
        means = dict(zip(numbers, digest.sums / digest.n_rows, strict=False))
        centre = np.array([*(means.get(at, 0.0) for at in slopes), 0.0])
        layout = Layout(tuple(map(len, levels)), centre, tuple(range(len(slopes))))
        both = shared((known, layout), "reading")
        tasks = elsewhere.map_in_turn("sums-of-partitions", _sums, both)
        merge = partial(added, n_places=layout.n_places)
        sums = computed(elsewhere, merged("merge-sums", merge, tasks))[0]
        codes, values, weight = few_rows(layout, sums)
        special = {"offset": np.zeros(len(weight))}
        rows = Rows(codes, values[:, :-1], values[:, -1], weight, special, sums.said)
    z = [_values(term, slopes, rows.matrix) for term in terms]
    special = rows.special
    return NewRows(
        codes=list(rows.codes),
        found=found,
        z=z,
        y=rows.y,
        offset=special["offset"],
        weight=rows.weight,
        trials=special.get("trials"),
        messages=[*messages, *rows.said],
    )


def _levels(model, elsewhere, terms, slopes):
    """Levels that occur and their places; what is doubtful; the digest."""
    numbers = tuple(at for at in slopes if at < model.n_features_in_)
    kind = type(model).__name__
    of_columns = elsewhere.kinds, elsewhere.names
    question = Question(terms, (), numbers, False, *of_columns, kind)
    digest = digested(elsewhere, question)
    found, messages = [], []
    for term, columns in zip(terms, digest.labels, strict=True):
        known, doubts = model.random_effects_[term.name].index, []
        _, levels, place = extend(known, columns, term.name, doubts)
        messages += [f"the factor {term.name!r}: {doubt}" for doubt in doubts]
        found.append((levels, place))
    return found, messages, digest


def _values(term, slopes, matrix):
    """Row values of a term's effects, of columns with slopes."""
    z = row_values(term, lambda at: matrix[:, slopes.index(at)], len(matrix))
    return np.ones((len(matrix), 1)) if z is None else z


def _read(at, known, X, *, y, weight=None):
    """Rows of one partition, with their offset among the special columns."""
    model, levels, slopes = known
    with naming(at):
        if not len(X):
            X = X.iloc[:0] if hasattr(X, "iloc") else X
            empty = np.zeros(0)
            codes = tuple(np.zeros(0, np.int32) for _ in levels)
            special = {"offset": empty, "trials": empty}
            return Rows(codes, np.zeros((0, len(slopes))), empty, empty, special, ())
        rows = model._new_rows(X, y, weight, None)
        table = model._table(X)
        codes = tuple(
            lookup(of_term, term_labels(table, term)[0])
            for term, of_term in zip(model._fitted.terms, levels, strict=True)
        )
        matrix = table.numeric(list(slopes))
        special = {"offset": rows.offset}
        if rows.trials is not None:
            special["trials"] = rows.trials
        said = tuple(rows.messages)
        return Rows(codes, matrix, rows.y, rows.weight, special, said)


def _sums(at, known, X, *, y, weight=None, into=None):
    """Sums of one partition and those before it, the target less its offset."""
    known, layout = known
    rows = _read(at, known, X, y=y, weight=weight)
    return reduced(layout, replace(rows, special={}), rows.special["offset"], into)
