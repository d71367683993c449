"""Problems with known answers: lme4's, stored under ``tests/oracles``.

``tests/oracles/README.md`` describes the two file formats. A test reads a problem
as plain columns and the answer as a dict; the helpers below translate R's names
("(Intercept)", a dummy's long name) into those of the design ("Intercept", "x1").
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

ORACLES = Path(__file__).resolve().parent / "oracles"
METHODS = ("reml", "ml", "laplace", "agq25")


def problems(methods=METHODS, folder=ORACLES):
    """Names and methods of the stored answers.

    Parameters
    ----------
    methods : str or iterable of str, default=("reml", "ml", "laplace", "agq25")
        Which kinds of answer: restricted or full maximum likelihood (linear),
        Laplace's approximation or 25 quadrature nodes (generalised).
    folder : path-like, default=tests/oracles
        Holds ``fits/`` and ``designs/``.

    Returns
    -------
    list of (str, str)
        Pairs of name and method, sorted: arguments for :func:`load`.

    Raises
    ------
    ValueError
        If a method is unknown, or the folder holds no answer of these methods: a
        parametrized test would otherwise pass by running on nothing.

    Examples
    --------
    >>> problems("agq25")[:2]
    [('bernoulli_triples', 'agq25'), ('cbpp_binomial', 'agq25')]
    """
    methods = [methods] if isinstance(methods, str) else list(methods)
    if unknown := set(methods) - set(METHODS):
        raise ValueError(
            f"unknown methods {sorted(unknown)}; choose from {list(METHODS)}"
        )
    found = [
        tuple(path.name.removesuffix(".json").rsplit(".", 1))
        for path in sorted(Path(folder, "fits").glob("*.json"))
    ]
    found = [pair for pair in found if pair[1] in methods]
    if not found:
        raise ValueError(f"no answer of {methods} under {Path(folder, 'fits')}")
    return found


def load(name, method, folder=ORACLES):
    """Answer and data of one problem.

    Parameters
    ----------
    name, method : str
        As :func:`problems` lists them.
    folder : path-like, default=tests/oracles
        Holds ``fits/`` and ``designs/``.

    Returns
    -------
    ref : dict
        The answer, with the keys of ``tests/oracles/README.md``; ``has_weight``
        is filled in where the file does not say.
    data : pandas.DataFrame
        One row an observation; group columns hold strings, the others numbers.
    """
    folder = Path(folder)
    text = (folder / "fits" / f"{name}.{method}.json").read_text(encoding="utf-8")
    ref = {"has_weight": False, **json.loads(text)}
    data = pd.read_csv(
        folder / "designs" / f"{name}.csv.gz",
        dtype=dict.fromkeys(_groups(ref), str),
        keep_default_na=False,
    )
    return ref, data


def fixed_effects(ref):
    """Fixed effects of an answer.

    Returns
    -------
    pandas.DataFrame
        Columns ``estimate`` and ``std_error``, index ``["Intercept", "x1", ...]``.
    """
    table = pd.DataFrame({"estimate": ref["fixef"], "std_error": ref["se"]})
    return table.rename(index=lambda name: _effect_name(name, ref))


def random_effects(ref):
    """Conditional modes of an answer and how uncertain they are.

    Returns
    -------
    dict
        Group -> (modes, covariances). ``modes`` is a DataFrame, levels by effects
        ("Intercept", "x1", ...); ``covariances`` an array of shape (levels,
        effects, effects), given the fixed effects and variance components, or None
        where R has none. Empty where the answer stores no random effects, as the
        larger problems do.
    """
    out = {}
    for key, stored in (ref.get("ranef") or {}).items():
        # R's name of a nested factor is "b:a", the design's column may be "b_a"
        group = key if key in _groups(ref) else key.replace(":", "_")
        names = [_effect_name(name, ref) for name in np.atleast_1d(stored["names"])]
        modes = pd.DataFrame(
            np.array(stored["mode"], float),
            index=pd.Index(np.atleast_1d(stored["levels"]).astype(str)),
            columns=names,
        )
        covariances = stored["condvar"]
        if covariances is not None:
            covariances = np.array(covariances, float)
        out[group] = modes, covariances
    return out


def random_effects_covariance(ref):
    """Covariance of the random effects of each group.

    Returns
    -------
    dict
        Group -> array (effects, effects), in the order of ``ref["terms"]``. A group
        with several terms has zeros between them.
    """
    blocks = {}
    # R numbers the terms of a group ("g", "g.1"), so they are matched by position
    for term, component in zip(ref["terms"], ref["varcomp"].values(), strict=True):
        block = np.atleast_2d(np.array(component["cov"], float))
        blocks.setdefault(term["group"], []).append(block)
    return {group: block_diag(*found) for group, found in blocks.items()}


def estimator_parameters(ref):
    """Constructor arguments that state the problem of an answer.

    Returns
    -------
    dict
        ``groups``, ``random_slopes``, ``random_intercepts``, ``covariance`` and,
        where the problem has one, ``offset`` and ``trials``.
    """
    groups = _groups(ref)
    effects = {group: [] for group in groups}
    for term in ref["terms"]:
        effects[term["group"]] += term["effects"]
    n_terms = pd.Series([term["group"] for term in ref["terms"]]).value_counts()
    parameters = {
        "groups": groups,
        "random_slopes": {
            group: [name for name in names if name != "1"]
            for group, names in effects.items()
            if set(names) != {"1"}
        },
        "random_intercepts": {group: "1" in names for group, names in effects.items()},
        "covariance": {
            group: "diag" if n_terms[group] > 1 else "full" for group in groups
        },
    }
    for name in ("offset", "trials"):
        if ref[f"has_{name}"]:
            parameters[name] = name
    return parameters


def model_columns(ref):
    """Columns of the data that an estimator is given as X.

    Returns
    -------
    list of str
        Fixed columns in the order of ``ref["fixef"]``, group columns, offset,
        trials. The weights, ``data["weight"]``, are no part of X.
    """
    extra = [name for name in ("offset", "trials") if ref[f"has_{name}"]]
    return [*ref["columns"].values(), *_groups(ref), *extra]


def corpus_folder():
    """Folder of the larger collection of answers.

    Returns
    -------
    pathlib.Path or None
        None where it does not lie beside the checkout: its data sets may not be
        redistributed, so a test that wants them skips without.
    """
    folder = Path(__file__).resolve().parents[2] / "shared" / "reference" / "corpus"
    return folder if folder.is_dir() else None


def _groups(ref):
    return list(dict.fromkeys(term["group"] for term in ref["terms"]))


def _effect_name(name, ref):
    return "Intercept" if name == "(Intercept)" else ref["columns"].get(name, name)
