"""What a collection holds, as `Inputs`: in two passes over its partitions."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone, is_classifier

from skglmm._dask.again import Again
from skglmm._dask.digest import (
    Question,
    digested,
    levels_of,
    representative,
)
from skglmm._dask.partitions import Partitions, computed, shared
from skglmm._dask.rows import Reading, joined
from skglmm._dask.sums import Layout, few_rows
from skglmm._reading.formula import written
from skglmm._reading.inputs import (
    Inputs,
    counted,
    judged,
    learned,
    present_levels,
    wanted,
)
from skglmm._reading.inputs import numeric_positions as positions_of
from skglmm._reading.moments import Moments
from skglmm._reading.roles import places
from skglmm._reading.table import Table
from skglmm._reading.terms import term_labels


def first_table(X):
    """A table with the columns of a collection and rows of no meaning."""
    return Table(Partitions(X).sample())


def read_partitions(model, X, y, sample_weight, groups, part, progress):
    """Read a collection for a fit.

    Parameters
    ----------
    model : BaseMixedModel
    X, y, sample_weight : dask dataframe and series, or dask arrays
    groups : object
        Refused, unless None.
    part : FixedPart or None
        Refused, unless None.
    progress : Progress

    Returns
    -------
    inputs : Inputs
        For a linear model, of few rows that have the sums of all.
    table : Table
        Of some rows, with the columns of X.
    """
    _refuse(model, y, groups, part)
    elsewhere = Partitions(X, y=y, weight=sample_weight)
    sketch = Table(elsewhere.sample())
    terms, _ = model._terms_and_labels(sketch, None)
    named = model._named_columns(sketch, terms)
    listed = written(model.fixed_effects, model.fit_intercept)
    found = wanted(sketch, terms, named, listed, None, "error")
    question = _question(model, elsewhere, sketch, terms, named, found)
    progress.phase("labels of all partitions")
    digest = digested(elsewhere, question)
    if digest.n_rows < 2:
        Table(representative(digest), min_rows=2)
    progress.phase("sums of all partitions")
    table = Table(representative(digest))
    reading, fixed, messages = _reading(
        model, table, question, found, digest, named, terms
    )
    read = _reduced if reading.family.is_linear else _gathered
    rows = read(elsewhere, reading, digest)
    return _inputs(reading, fixed, messages, rows, listed, question.terms), table


def _refuse(model, y, groups, part):
    """Refuse what needs rows together."""
    if y is None:
        raise ValueError(
            f"{type(model).__name__} requires y to be passed, but the target y is None."
        )
    if groups is not None:
        raise ValueError(
            "groups= is not read from collections of Dask: put the labels into X and "
            "name their columns in the constructor (groups=...)."
        )
    if part is not None:
        raise ValueError(
            "fixed_effects is a model that needs all rows in memory, and X is a "
            "collection of Dask: name columns in fixed_effects, or fit X.compute()."
        )
    if model.missing != "error":
        raise ValueError(
            "missing='model' draws values row by row and needs all rows in memory: "
            "fill them in beforehand, or fit X.compute()."
        )
    if getattr(model, "precision", None) is not None:
        raise ValueError(
            "precision is not read from collections of Dask: use sample_weight where "
            "rows stand for several, or fit X.compute()."
        )


def _question(model, elsewhere, sketch, terms, named, found):
    """What the first pass has to find out."""
    names, kinds = elsewhere.names, elsewhere.kinds
    candidates = [
        at
        for at in found.numbers
        if at in found.as_categories or (kinds and kinds[at] != "numbers")
    ]
    if not kinds and not np.issubdtype(elsewhere.sample().dtype, np.number):
        candidates = list(found.numbers)
    read = {*found.numbers, *places(named)}
    numbers = sorted(read - set(candidates))
    return Question(
        terms=terms,
        candidates=tuple(candidates),
        numbers=tuple(numbers),
        classes=is_classifier(model),
        kinds=kinds,
        names=names,
        estimator=type(model).__name__,
    )


def _reading(model, table, question, found, digest, named, terms):
    """How partitions are read; the fixed columns and messages."""
    names = [term_labels(table, term)[1] for term in terms]
    learnt = learned(table, terms, found, model.reference, None)
    categories, formula, table, terms, fixed, messages = learnt
    if formula is not None and formula.state:
        raise ValueError(
            f"The formula {formula.formula.text!r} has a function that learns from all "
            "rows at once, and X is a collection of Dask: compute this column "
            "beforehand, or fit X.compute()."
        )
    reader = clone(model)
    if question.classes:
        seen = digest.values["y"]
        reader.classes_ = reader._read_target(seen, len(seen)).classes
    reading = Reading(
        question=question,
        model=reader,
        terms=terms,
        levels=levels_of(digest, question.terms, names),
        categories=categories,
        formula=formula,
        numeric=positions_of(fixed, terms),
        named=named,
        family=model._distribution(),
    )
    fixed = fixed, tuple(table.effect_name(at) for at in fixed)
    return reading, fixed, messages


def _centre(reading, digest):
    """Means of the columns that are read, and of the target; zero for dummies."""
    means = digest.sums / max(digest.n_rows, 1)
    of = dict(zip(reading.question.numbers, means[:-1], strict=True))
    return np.array([*(of.get(at, 0.0) for at in reading.numeric), means[-1]])


def _reduced(elsewhere, reading, digest):
    """Few rows that have the sums of all: codes, matrix, y, weight, and more."""
    slopes = {at for term in reading.terms for at in term.slopes}
    layout = Layout(
        tuple(map(len, reading.levels)),
        _centre(reading, digest),
        tuple(reading.numeric.index(at) for at in sorted(slopes)),
    )
    again = Again(elsewhere, reading, layout)
    sums = again.sums()
    codes, values, weight = few_rows(layout, sums)
    seen = weight @ (values[:, -1] - layout.centre[-1]) ** 2
    within = max(float(sums.gram[-1, -1] - seen), 0.0)
    moments = Moments(layout.centre, sums.gram, digest.n_rows, within, again)
    parts = codes, np.ascontiguousarray(values[:, :-1]), values[:, -1].copy(), weight
    return parts, {}, list(sums.said), moments


def _gathered(elsewhere, reading, digest):
    """All rows, coded."""
    tasks = elsewhere.map("rows-of-partition", rows_of, shared(reading, "reading"))
    rows = joined(computed(elsewhere, *tasks))
    parts = rows.codes, rows.matrix, rows.y, rows.weight
    return parts, rows.special, rows.said, None


def rows_of(at, reading, X, *, y, weight=None):
    """Coded rows of one partition."""
    return reading.rows(at, X, y, weight)


def _inputs(reading, fixed, messages, found, listed, terms):
    """The rows as `Inputs`."""
    (codes, matrix, y, weight), special, said, moments = found
    fixed, names = fixed
    encoded = list(zip(codes, reading.levels, strict=True))
    rows, weight, y, matrix, special, encoded = counted(
        weight, y, matrix, special, encoded
    )
    encoded = [present_levels(*pair) for pair in encoded]
    classes = getattr(reading.model, "classes_", None)
    reading.model._check_rows(y, classes)
    inputs = Inputs(
        terms=reading.terms,
        categories=reading.categories,
        formula=reading.formula,
        fixed=fixed,
        names=names,
        numeric=reading.numeric,
        matrix=matrix,
        features=None,
        y=y,
        weight=weight,
        classes=classes,
        rows=rows,
        named=reading.named,
        from_metadata=False,
        by_name=listed is not None,
        moments=moments,
        **judged(
            reading.terms, encoded, weight, reading.family, y, special, rows, messages
        ),
    )
    said = [text for text in said if text not in inputs.messages]
    return replace(inputs, messages=(*inputs.messages, *said))
