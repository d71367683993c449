"""Thousands of hostile models: each ends in a right answer or in words that name why.

usage: python tests/hostile.py [first [last] | only number ... | shrink number]
(a line for each failure, then a count)

`verdict` is the judge. What it demands of a model that was fitted, refused or warned
of stands in the functions below, in the order of a model's life.
"""

import dis
import io
import os
import pickle
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hostile_answers as answers
import numpy as np
import pandas as pd
import sklearn
from hostile_draws import as_table, build, draw_recipe, recipes, some_rows
from hypothesis import Phase, given, seed, settings

import skglmm
from skglmm import GroupEffectEncoder

N_MODELS = 2000
SECONDS = 20.0
_INSIDE = tuple(
    os.path.join(os.path.dirname(package.__file__), "") for package in (skglmm, sklearn)
)
# What NumPy, pandas, SciPy, TensorFlow and Python say, and no user can act on.
_FOREIGN = re.compile(
    r"LinAlg|tensorflow|\btf\.|ufunc|broadcast|operand|singular matrix"
    r"|could not convert|not supported between|has no attribute|out of bounds"
    r"|ambiguous|subscript|index \d+ is|not iterable|unexpected keyword|float\(\)"
    r"|must be positive definite"
    r"|zero-size|divide by zero|overflow|invalid value|array is not",
    re.IGNORECASE,
)
# Warnings beside which the estimates are as right as without any.
_HARMLESS = re.compile(
    r"is estimated as (zero|singular)|set to 0 \(drop|no groups were given"
    r"|fractional counts"
)
_DOUBTS = re.compile(
    r"residual variance is estimated as zero|did not converge|separate|no maximum"
    r"|not determined?|cannot be told|divide the rows|explain any|nothing left"
    r"|do not determine|Laplace"
)
_NO_CAUSE = re.compile(r"max_iter=\d+ evaluations|no further|stopped")


class Wrong(Exception):
    """A rule that a case breaks."""


def demand(condition, text):
    """Raise `Wrong` with the text unless the condition holds."""
    if not condition:
        raise Wrong(text)


def listen(call):
    """Value, error, warnings and seconds of a call."""
    value = error = None
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = call()
        except Exception as raised:
            error = raised
    return value, error, caught, time.perf_counter() - start


def check_error(error, what):
    """Demand that an error is raised in words, by this package or scikit-learn."""
    text = f"{type(error).__name__}: {error}"
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    where = f"{os.path.basename(code.co_filename)}:{last.tb_lineno}"
    kinds = ValueError, TypeError, sklearn.exceptions.NotFittedError
    demand(type(error) in kinds, f"{what} raises {where} {text}")
    # words that nobody wrote come from a call or an operator, not from a raise
    spoken = dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
    inside = code.co_filename.startswith(_INSIDE)
    demand(inside and spoken, f"{what} lets through {where} {text}")
    demand(not _FOREIGN.search(text), f"{what} says {text}")


def check_warnings(caught, what, most=1):
    """Demand one warning at most, of a category and in words for users."""
    for warning in caught:
        text = f"{warning.category.__name__}: {warning.message}"
        where = f"{os.path.basename(warning.filename)}:{warning.lineno}"
        kind = issubclass(warning.category, UserWarning)
        demand(kind, f"{what} warns {where} {text}")
        demand(not _FOREIGN.search(text), f"{what} warns {text}")
    found = [str(warning.message) for warning in caught]
    demand(len(found) <= most, f"{what} warns {len(found)} times: {found}")


def verdict(recipe):
    """What is wrong with a case, or None.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    text : str or None
    """
    return ending(recipe)[1]


def ending(recipe):
    """How a case ends, and what is wrong with that, or None."""
    draft = build(recipe)
    try:
        end = _judge(draft)
        if recipe.seed % 6 == 1 and recipe.structure not in ("none", "beside"):
            _check_encoder(build(recipe))
        return end, None
    except Wrong as wrong:
        return "wrong", str(wrong)


def _judge(draft):
    X = as_table(draft.given, draft.container)
    if draft.finish is not None:
        X = draft.finish(X)
    model, beside = draft.model, {}
    if draft.beside is not None:
        beside["groups"] = draft.beside

    def fit():
        return model.fit(X, draft.y, draft.weight, **beside)

    _, error, caught, seconds = listen(fit)
    if seconds > SECONDS:
        # the first fit of a structure traces graphs, beside whatever else is running
        seconds = listen(fit)[-1]
    demand(seconds < SECONDS, f"the fit takes {seconds:.1f} s")
    if error is not None:
        check_error(error, "fit")
        demand(not caught, f"fit warns and raises: {[str(w.message) for w in caught]}")
        words = [word for word in draft.words if word.lower() in str(error).lower()]
        demand(words, f"fit raises what no twist asks for: {error}")
        return "refused"
    demand(draft.must != "refuse", f"fit accepts it {_said(caught)}")
    check_warnings(caught, "fit")
    text = _said(caught)
    demand(draft.must is None or text, "fit says nothing")
    demand(model.converged_ or text, "converged_ is False, and fit says nothing")
    exact = draft.recipe.solver not in ("mcem", "quick")
    demand(not (exact and _NO_CAUSE.search(text)), f"fit does not say why: {text}")
    if model.converged_:
        _check_attributes(model, text)
    _check_life(draft, model, X, beside)
    if _DOUBTS.search(text) or (text and not _HARMLESS.search(text)):
        return "warned of"
    if "missing" in draft.recipe.options or len(draft.given) < _n_columns(X):
        return "fitted"
    check = answers.check_linear if draft.linear else answers.check_generalized
    wrong = check(draft, model)
    demand(wrong is None, f"{wrong} {text}")
    return "right"


def _n_columns(X):
    return X.shape[1] if hasattr(X, "shape") else len(X[0])


def _said(caught):
    return " ".join(str(warning.message) for warning in caught)


def _check_attributes(model, text):
    """No number is missing or infinite in what has converged."""
    frames = model.random_effects_ | {
        f"{name} (std)": v for name, v in model.random_effects_std_.items()
    }
    frames |= {
        f"{name} (covariance)": v
        for name, v in model.random_effects_covariance_.items()
    }
    frames["estimate"] = model.fixed_effects_["estimate"]
    error = model.fixed_effects_["std_error"]
    gone = error.isna().to_numpy()
    named = [name in text for name in error.index[gone]]
    demand(all(named), f"std_error is NaN for {list(error.index[gone])}: {text!r}")
    frames["objective"] = model.history_["objective"].iloc[-1:]
    frames["std_error"] = error[~gone]
    frames["components"] = model.variance_components_[["variance", "std"]]
    names = ["log_likelihood_", "aic_", "bic_", "elbo_", "noise_variance_"]
    names += ["intercept_", "coef_"]
    if hasattr(model, "missing_information_"):
        names = [n for n in names if n not in ("log_likelihood_", "aic_", "bic_")]
    frames |= {name: getattr(model, name) for name in names if hasattr(model, name)}
    for name, values in frames.items():
        numbers = np.asarray(values, dtype=float)
        demand(np.isfinite(numbers).all(), f"{name} is not finite: {numbers} {text}")


# After the fit ----------------------------------------------------------------------


def _check_life(draft, model, X, beside):
    """Whatever a fitted model is asked, it answers, and stays as it is."""
    before = pickle.dumps(model)
    n = draft.recipe.n_rows
    rows = np.array([0, n - 1, n // 2])
    mean = ask(lambda: model.predict(X, **beside), "predict")
    _check_range(draft, model, mean)
    eta, std = ask(
        lambda: model.linear_predictor(X, return_std=True, **beside),
        "linear_predictor",
    )
    demand(np.isfinite(eta).all(), f"linear_predictor gives {eta[~np.isfinite(eta)]}")
    demand(np.isfinite(std).all() and np.all(std >= 0), f"std of eta: {std}")
    interval = ask(lambda: model.predict_interval(X, **beside), "predict_interval")
    demand(np.all(interval[:, 0] <= interval[:, 1]), f"interval {interval}")
    sample = ask(lambda: model.sample_y(X, 2, random_state=0, **beside), "sample_y")
    demand(sample.shape == (n, 2), f"sample_y has the shape {sample.shape}")
    if draft.recipe.kind != "logistic":
        demand(np.isfinite(sample).all(), "sample_y is not finite")
        ask(lambda: model.predict(X, return_std=True, **beside), "predict")
    else:
        p = ask(lambda: model.predict_proba(X, **beside), "predict_proba")
        demand(np.all((p >= 0) & (p <= 1)), f"predict_proba gives {p}")
        demand(np.allclose(p.sum(axis=1), 1), "probabilities do not sum to one")
    score = ask(lambda: model.score(X, draft.y, **beside), "score")
    bad = score == -np.inf and not model.converged_
    demand(bad or np.isfinite(score), f"score is {score}")
    text = ask(lambda: str(model.summary()), "summary")
    demand(len(text) > 50, f"summary is {text}")
    ask(lambda: model.summary().to_frame(), "summary")
    ask(lambda: (repr(model), model._repr_html_()), "repr")
    again = pickle.loads(before)
    demand(
        np.array_equal(again.predict(X, **beside), mean),
        "a pickled model predicts else",
    )
    if draft.finish is None:
        _check_new_rows(draft, model, mean, rows)
    demand(pickle.dumps(model) == before, "a method has changed the model")


def ask(call, what, errors=()):
    """Value of a method that has to answer, or to raise with one of some words."""
    value, error, caught, _ = listen(call)
    if error is not None:
        check_error(error, what)
        text = str(error)
        demand(any(word in text for word in errors), f"{what} raises {text}")
        return None
    demand(not errors, f"{what} is accepted")
    check_warnings(caught, what)
    return value


def _check_range(draft, model, mean):
    if draft.recipe.kind == "logistic":
        demand(set(mean) <= set(model.classes_), f"predict gives {set(mean)}")
        return
    demand(np.isfinite(mean).all(), f"predict gives {mean}")
    if draft.recipe.kind != "linear":
        demand(np.all(mean >= 0), f"predict gives {mean.min()}")
    if draft.recipe.kind == "binomial":
        demand(np.all(mean <= 1), f"predict gives {mean.max()}")


def _check_new_rows(draft, model, mean, rows):
    def new(given, beside, container=draft.container):
        table = as_table(given, container)
        return table, {} if beside is None else {"groups": beside}

    def tell(given, beside, what, errors=(), container=draft.container):
        table, groups = new(given, beside, container)
        return ask(lambda: model.predict(table, **groups), f"predict {what}", errors)

    given, beside = draft.given, draft.beside
    for row in rows[:2]:
        one = tell(
            some_rows(given, [row]),
            None if beside is None else _rows(beside, [row]),
            "of one row",
        )
        same = one[0] == mean[row]
        if draft.recipe.kind != "logistic":
            same = np.isclose(one[0], mean[row], rtol=1e-9, atol=1e-300)
        demand(same, f"predict of one row gives {one[0]}, among all {mean[row]}")
    few = some_rows(given, rows), None if beside is None else _rows(beside, rows)
    if draft.target is not None and len(draft.codes["g"]) > 1 and _updated(draft):
        table, groups = new(*few)
        y = pd.Series(draft.y).iloc[rows]
        updated = ask(
            lambda: model.update_random_effects(table, y, **groups),
            "update_random_effects",
        )
        for name, b in updated.random_effects_.items():
            demand(np.isfinite(b).all(axis=None), f"updated effects of {name} are {b}")
            demand(
                len(b) == len(model.random_effects_[name]),
                "an update with known rows has new levels",
            )
    empty = some_rows(given, []), None if beside is None else _rows(beside, [])
    tell(*empty, "of no rows", ("0 sample", "0 rows", "2D"))
    if "x" in given and "missing" not in draft.recipe.options:
        for value, words in ((np.nan, "NaN"), (np.inf, "inf"), ("a", "text")):
            x = np.array([value, 0.0, 1.0], dtype=object)
            if draft.container == "pandas":
                tell(few[0] | {"x": x}, few[1], f"with {value} in x", (words,))
    if "g" not in model_groups(draft):
        return
    _check_labels(draft, model, few, tell)


def model_groups(draft):
    """Grouping columns that a model reads."""
    if draft.recipe.structure == "none":
        return ()
    return ("g",)


def _updated(draft):
    """Updates trace graphs: they are asked of every third model."""
    return draft.recipe.structure != "none" and draft.recipe.seed % 3 == 0


def _rows(labels, rows):
    return labels.iloc[rows] if isinstance(labels, pd.Series) else labels[rows]


def _check_labels(draft, model, few, tell):
    """Labels that are new, missing or of another type."""
    labels = few[1] if few[1] is not None else few[0]["g"]
    labels = list(labels)

    def with_labels(new):
        column = np.fromiter(new, dtype=object, count=len(new))
        if few[1] is not None:
            return few[0], column
        return few[0] | {"g": column}, None

    known = tell(*with_labels(labels), "with labels as objects")
    plain = tell(*few, "of a few rows")
    same = np.array_equal(known, plain)
    if draft.recipe.kind != "logistic":
        same = np.allclose(known, plain, rtol=1e-9)
    demand(same, f"labels as objects predict {known}, as they are {plain}")
    for new in ("never seen", -987654.5, None, np.nan, pd.Timestamp("1970-01-01")):
        if draft.container in ("array", "list") and new is np.nan:
            # an array of numbers has no missing labels
            continue
        if draft.container == "polars" and isinstance(new, float):
            # polars itself makes floats of all labels of such a column
            continue
        told = tell(*with_labels([new, *labels[1:]]), f"with the label {new!r}")
        if told is not None and draft.recipe.kind != "logistic":
            demand(
                np.allclose(told[1:], plain[1:], rtol=1e-9),
                f"beside the label {new!r} others predict {told}, without {plain}",
            )
    whole, every = (int, np.int64, np.int8, np.uint64), draft.beside
    every = list(draft.given["g"] if every is None else every)
    if all(type(label) in whole and label < 2**53 for label in every):
        for convert in (str, float, "{:.1f}".format):
            told = tell(*with_labels(list(map(convert, labels))), "with labels renamed")
            if draft.recipe.kind != "logistic":
                demand(
                    np.allclose(told, plain, rtol=1e-9),
                    f"labels by {convert} predict {told}, without {plain}",
                )


def _check_encoder(draft):
    """The effects as features: what they are, or why there are none."""
    X = as_table(draft.given, draft.container)
    if draft.finish is not None:
        X = draft.finish(X)
    encoder = GroupEffectEncoder(estimator=draft.model, cv=2, random_state=0)
    methods = {"encoder.fit": encoder.fit}
    if draft.linear:
        methods["encoder.fit_transform"] = encoder.fit_transform
    for name, method in methods.items():
        _, error, caught, _ = listen(partial(method, X, draft.y))
        if error is not None:
            check_error(error, name)
            return
        check_warnings(caught, name)
    before = pickle.dumps(encoder)
    features = ask(lambda: encoder.transform(X), "encoder.transform")
    names = encoder.get_feature_names_out()
    shape = draft.recipe.n_rows, len(names)
    demand(features.shape == shape, f"features have the shape {features.shape}")
    demand(np.isfinite(features).all(), "features are not finite")
    model = encoder.estimator_
    if model is not None and draft.recipe.structure == "one":
        b = next(iter(model.random_effects_.values())).to_numpy()[:, 0]
        demand(
            np.allclose(np.unique(features[:, 0]), np.unique(b), rtol=1e-9),
            "features are not the effects of the levels",
        )
    demand(pickle.dumps(encoder) == before, "transform has changed the encoder")


# The command ------------------------------------------------------------------------


def shrunk(number):
    """The simplest case that hypothesis finds to break a rule as a number does."""
    text = io.StringIO()

    @seed(number)
    @settings(
        max_examples=2,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        deadline=None,
        print_blob=False,
    )
    @given(recipes(number < 300))
    def holds(recipe):
        wrong = verdict(recipe)
        assert wrong is None, f"{recipe}\n{wrong}"

    try:
        holds()
    except AssertionError as error:
        text.write(str(error))
    return text.getvalue()


def judge(number):
    """How the case of a number ends, and a line if it breaks a rule."""
    recipe = draw_recipe(number)
    try:
        end, wrong = ending(recipe)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        end = "wrong"
        wrong = f"the judge fails: {type(error).__name__} {error} ({last})"
    line = None if wrong is None else f"{number}: {wrong} -- {recipe}"
    return end, line


def main(arguments):
    """Judge models from the first to the one before the last."""
    import tensorflow as tf

    tf.add(1.0, 1.0)
    if arguments[:1] == ["shrink"]:
        print(shrunk(int(arguments[1])))
        return
    numbers = range(N_MODELS)
    if arguments[:1] == ["only"]:
        numbers = list(map(int, arguments[1:]))
    elif arguments:
        first = int(arguments[0])
        numbers = range(first, int([*arguments, first + 1][1]))
    start, ends = time.perf_counter(), Counter()
    for number in numbers:
        end, line = judge(number)
        ends[end] += 1
        if line is not None:
            print(line, flush=True)
    took, held = time.perf_counter() - start, len(numbers) - ends.pop("wrong", 0)
    print(", ".join(f"{count} {end}" for end, count in ends.items()))
    print(f"{held} of {len(numbers)} hold, {took:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
