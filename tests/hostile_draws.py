"""Models and data as hostile as users' are: what they are, drawn by hypothesis.

A `Recipe` says all of a case in words and one seed, so that a failure reads well and
shrinks; `build` makes the estimator and its data of it. Number k is always the same.
"""

import datetime
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from scipy.special import expit

from skglmm import (
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.solvers import MCEM, Laplace, MacKay

KINDS = {
    "linear": MixedLinearRegressor,
    "poisson": MixedPoissonRegressor,
    "logistic": MixedLogisticRegressor,
    "binomial": MixedBinomialRegressor,
}
SOLVERS = {
    "vi": lambda: "vi",
    "laplace": lambda: "laplace",
    "quadrature": lambda: Laplace(n_quadrature=5),
    "mackay": lambda: "mackay",
    "quick": lambda: MacKay(update="quick"),
    "mcem": lambda: MCEM(n_samples=30, max_iter=30),
}
G_SLOPE = {"groups": ["g"], "random_slopes": {"g": ["x"]}}
STRUCTURES = {
    "none": {"groups": None},
    "one": {"groups": "g"},
    "beside": {"groups": None},
    "crossed": {"groups": ["g", "h"]},
    "nested": {"groups": ["g", ("g", "h")]},
    "pair": {"groups": ("g", "h")},
    "slope": G_SLOPE,
    "diag": G_SLOPE | {"covariance": "diag"},
    "scalar": G_SLOPE | {"covariance": "scalar"},
    "only slope": G_SLOPE | {"random_intercepts": {"g": False}},
    "crossed slope": {"groups": ["g", "h"], "random_slopes": {"g": ["x"]}},
}
# Graphs are traced for each of these, which takes seconds: few of them in the suite.
LINEAR = [(s, r) for s in SOLVERS for r in STRUCTURES]
COUNTS = [
    ("vi", "one"),
    ("laplace", "one"),
    ("vi", "slope"),
    ("vi", "none"),
    ("quick", "one"),
    ("mackay", "one"),
    ("laplace", "beside"),
    ("mcem", "one"),
]
YES_OR_NO = [
    ("vi", "one"),
    ("laplace", "one"),
    ("vi", "beside"),
    ("laplace", "pair"),
    ("vi", "none"),
    ("quick", "one"),
    ("mackay", "one"),
    ("laplace", "slope"),
]
MORE = [
    ("vi", "crossed"),
    ("vi", "nested"),
    ("vi", "diag"),
    ("vi", "only slope"),
    ("laplace", "crossed"),
    ("laplace", "scalar"),
    ("laplace", "none"),
    ("quadrature", "one"),
    ("quick", "crossed"),
    ("quick", "slope"),
    ("mackay", "slope"),
    ("mcem", "one"),
]
# Their graphs take longest.
COSTLY = {("vi", "slope"), ("laplace", "slope")}
N_IN_SUITE = 300


@dataclass(frozen=True)
class Recipe:
    """All that a case consists of."""

    seed: int
    kind: str
    solver: str
    structure: str
    n_rows: int
    container: str
    options: tuple
    twists: tuple


@dataclass
class Draft:
    """A problem on its way from healthy to hostile.

    Attributes
    ----------
    given : dict
        Columns of the table as the user holds them.
    meant : dict
        Numbers that a numeric column stands for; None where it has none.
    codes : dict
        Levels of the rows, as numbers, by grouping column.
    y, target : array-like, ndarray or None
        The target as given, and what it stands for.
    must : {None, "speak", "refuse"}
        Least that has to be said: nothing, a warning, an error.
    words : set of str
        Words of which any error has to have one.
    """

    recipe: Recipe
    random: np.random.Generator
    given: dict = field(default_factory=dict)
    meant: dict = field(default_factory=dict)
    codes: dict = field(default_factory=dict)
    y: object = None
    target: object = None
    weight: object = None
    parameters: dict = field(default_factory=dict)
    beside: object = None
    new_label: object = "never seen"
    must: str | None = None
    words: set = field(default_factory=set)
    container: str = "pandas"
    finish: Callable | None = None

    @property
    def linear(self):
        """Whether the response has a residual variance."""
        return self.recipe.kind == "linear"

    def say(self, must, *words):
        """Demand an error or a warning."""
        order = [None, "speak", "refuse"]
        self.must = max(self.must, must, key=order.index)
        self.words.update(words)


TWISTS = {}


def twist(place, name, function, *, kinds=tuple(KINDS), refused=False):
    """Register a function of a `Draft`; a recipe has one twist for each place."""
    assert name not in TWISTS, name
    TWISTS[name] = place, function, kinds, refused


# Columns ---------------------------------------------------------------------------


def whole(x):
    return np.rint(10 * np.abs(x)).astype(int) % 200


def with_value(value, at=3):
    def change(x):
        out = x.astype(object)
        out[at % len(out)] = value
        return out, None

    return change


def objects(values):
    values = list(values)
    return np.fromiter(values, dtype=object, count=len(values))


READABLE = {
    "x as float32": lambda x: (x.astype("f4"), x.astype("f4").astype(float)),
    "x as float16": lambda x: (x.astype("f2"), x.astype("f2").astype(float)),
    "x as big-endian": lambda x: (x.astype(">f8"), x),
    "x as uint8": lambda x: (whole(x).astype("u1"), whole(x)),
    "x as large int64": lambda x: (whole(x) * 10**12, whole(x) * 1e12),
    "x as nullable Int64": lambda x: (pd.array(whole(x), dtype="Int64"), whole(x)),
    "x as Float64": lambda x: (pd.array(x, dtype="Float64"), x),
    "x as truth": lambda x: (x > 0, x > 0),
    "x as nullable truth": lambda x: (pd.array(x > 0, dtype="boolean"), x > 0),
    "x as Decimal": lambda x: (objects(map(Decimal, x.tolist())), x),
    "x as Fraction": lambda x: (objects(map(Fraction, x.tolist())), x),
    "x as objects": lambda x: (x.astype(object), x),
    "x as numpy scalars": lambda x: (objects(map(np.float64, x)), x),
    "x as mixed numbers": lambda x: (
        objects([int(v) if i % 2 else float(v) for i, v in enumerate(whole(x))]),
        whole(x),
    ),
    "x sparse": lambda x: (pd.arrays.SparseArray(whole(x).astype(float)), whole(x)),
    "x of arrow": lambda x: (pd.array(x, dtype="double[pyarrow]"), x),
    "x of 1e-12": lambda x: (x * 1e-12, x * 1e-12),
    "x of 1e-6": lambda x: (x * 1e-6, x * 1e-6),
    "x of 1e6": lambda x: (x * 1e6, x * 1e6),
    "x of 1e12": lambda x: (x * 1e12, x * 1e12),
    "x far from zero": lambda x: (x + 1e6, x + 1e6),
    "x very far from zero": lambda x: (x * 1e-3 + 1e6, x * 1e-3 + 1e6),
    "x with one huge value": lambda x: (np.where(np.arange(len(x)), x, 1e8),) * 2,
    "x rounded": lambda x: (np.rint(x), np.rint(x)),
    "x in one row": lambda x: (1.0 * (np.arange(len(x)) == 1),) * 2,
}
DAY = pd.Timestamp("2024-02-28")
UNREADABLE = {
    "x with NaN": (with_value(np.nan), "NaN"),
    "x with two NaN": (
        lambda x: (np.where(np.arange(len(x)) < 2, np.nan, x), 0),
        "NaN",
    ),
    "x with inf": (with_value(np.inf), "inf"),
    "x with -inf": (with_value(-np.inf), "inf"),
    "x with None": (with_value(None), "NaN"),
    "x with NA": (with_value(pd.NA), "NaN"),
    "x with a word": (with_value("much"), "much"),
    "x with an empty word": (with_value(""), "text"),
    "x with bytes": (with_value(b"7"), "text"),
    "x with a list": (with_value([1.0]), "list"),
    "x with a date": (with_value(datetime.date(2024, 2, 29)), "date"),
    "x with a complex": (with_value(1j), "omplex"),
    "x with 10**400": (with_value(10**400), "large"),
    "x with an object": (with_value(object()), "object"),
    "x as text": (lambda x: (objects(map(str, x)), 0), "text"),
    "x as categories": (
        lambda x: (pd.Categorical(np.where(x > 0, "a", "b")), 0),
        "encode",
    ),
    "x as dates": (lambda x: (DAY + pd.to_timedelta(whole(x), "D"), 0), "date"),
    "x as dates of a zone": (
        lambda x: ((DAY + pd.to_timedelta(whole(x), "D")).tz_localize("CET"), 0),
        "date",
    ),
    "x as durations": (lambda x: (pd.to_timedelta(whole(x), "h"), 0), "duration"),
    "x as periods": (
        lambda x: (pd.period_range("2020-01", periods=len(x), freq="M"), 0),
        "period",
    ),
    "x as intervals": (
        lambda x: (pd.IntervalIndex.from_arrays(x, x + 1), 0),
        "nterval",
    ),
    "x as complex": (lambda x: (x + 1j, 0), "omplex"),
}


def readable(change):
    def do(draft):
        values, meant = change(draft.meant["x"])
        draft.given["x"], draft.meant["x"] = values, np.asarray(meant, dtype=float)
        if np.ptp(draft.meant["x"]) == 0:
            draft.say(None, "constant", "zero")

    return do


def unreadable(change, word):
    def do(draft):
        draft.given["x"] = change(draft.meant["x"])[0]
        modelled = draft.recipe.options and "missing" in draft.recipe.options
        gap = word == "NaN" and modelled
        draft.say(None if gap else "refuse", word, "x")
        draft.meant["x"] = None

    return do


for name_, change_ in READABLE.items():
    twist("x", name_, readable(change_))
for name_, (change_, word_) in UNREADABLE.items():
    twist("x", name_, unreadable(change_, word_), refused=True)


def constant(value):
    def do(draft):
        draft.given["x"] = draft.meant["x"] = np.full(len(draft.meant["x"]), value)
        free = value and "no intercept" in draft.recipe.options
        draft.say(None if free else "speak", "constant", "zero", "'x'", "depend")

    return do


for value_ in (0.0, 3.7, 0.1, 1e12):
    twist("x", f"x is {value_:g} everywhere", constant(value_))


def second(name, values, must=None):
    """A second fixed column, made of the first."""

    def do(draft):
        draft.given["z"] = draft.meant["z"] = values(draft)
        least = must(draft) if callable(must) else must
        draft.say(least, "constant", "depend", "'z'", "coefficients")

    twist("z", name, do)


second("z is x again", lambda d: d.meant["x"].copy(), "speak")
second(
    "z is 2 x + 1",
    lambda d: 2 * d.meant["x"] + 1,
    lambda d: None if "no intercept" in d.recipe.options else "speak",
)
second(
    "z is x but for 1e-9",
    lambda d: d.meant["x"] + 1e-9 * d.random.normal(size=len(d.meant["x"])),
)
second(
    "z is x but for 1e-4",
    lambda d: d.meant["x"] + 1e-4 * d.random.normal(size=len(d.meant["x"])),
)
second("z is one level of g", lambda d: 1.0 * (d.codes["g"] == 0))
second("z is another column", lambda d: d.random.normal(size=len(d.meant["x"])))
second("z of 1e-12", lambda d: 1e-12 * d.random.normal(size=len(d.meant["x"])))
second("z of 1e12", lambda d: 1e12 * d.random.normal(size=len(d.meant["x"])))
second(
    "z is 5 everywhere",
    lambda d: np.full(len(d.meant["x"]), 5.0),
    lambda d: None if "no intercept" in d.recipe.options else "speak",
)
second("z is zero", lambda d: np.zeros(len(d.meant["x"])), "speak")


# Labels ----------------------------------------------------------------------------

LABELS = {
    "g of Cyrillic": lambda j: f"группа {string.ascii_letters[j % 50]}{j}",
    "g of emoji": lambda j: "👩‍👩‍👧" * (j % 3) + f"\u202e\x00{j}",
    "g with an empty text": lambda j: " " * j if j < 3 else str(j),
    "g of digits as text": str,
    "g of digits with zeros": lambda j: f"{j:03d}",
    "g of floats": lambda j: j + 0.5,
    "g of 1e-12": lambda j: j * 1e-12,
    "g of dates": lambda j: DAY + pd.Timedelta(days=j),
    "g of plain dates": lambda j: datetime.date(2024, 1, 1 + j % 28),
    "g of times of day": lambda j: datetime.time(j % 24, 5),
    "g of durations": lambda j: pd.Timedelta(hours=j),
    "g of tuples": lambda j: (j, "a"),
    "g of text and numbers": lambda j: j if j % 2 else f"n{j}",
    "g of 3 and '3'": lambda j: j if j % 2 else str(j + 1),
    "g of bytes": lambda j: b"%d" % j,
    "g of Decimal": lambda j: Decimal(j) / 10,
    "g of huge numbers": lambda j: 2**60 + j,
    "g of sets": lambda j: frozenset({j, "a"}),
    "g of periods": lambda j: pd.Period("2020-01", "M") + j,
    "g of intervals": lambda j: pd.Interval(j, j + 1),
    "g of complex": lambda j: complex(j, 1),
    "g of numpy text": lambda j: np.str_(f"s{j}"),
    "g of types": lambda j: [int, str, float, list, dict, set, bytes, type][j % 8],
    "g of infinities": lambda j: [np.inf, -np.inf, 0.0, 1.0][j % 4],
}


def relabel(draft, labels):
    """Give the rows these labels, level by level."""
    codes = draft.codes["g"]
    draft.given["g"] = objects(labels[j] for j in codes)
    # labels may coincide: what is equal is one level
    _, draft.codes["g"] = np.unique(
        [labels.index(labels[j]) for j in codes], return_inverse=True
    )


def labelled(make):
    def do(draft):
        relabel(draft, [make(j) for j in range(draft.codes["g"].max() + 1)])

    return do


for name_, make_ in LABELS.items():
    twist("g", name_, labelled(make_))


def typed(name, convert):
    def do(draft):
        draft.given["g"] = convert(draft.codes["g"])

    twist("g", name, do)


typed("g as int8", lambda c: c.astype("i1"))
typed("g as uint64", lambda c: c.astype("u8"))
typed("g as whole floats", lambda c: c.astype(float))
typed("g as nullable Int64", lambda c: pd.array(c, dtype="Int64"))
typed("g as text of arrow", lambda c: pd.array([f"a{j}" for j in c], "string[pyarrow]"))
typed("g as string dtype", lambda c: pd.array([f"a{j}" for j in c], dtype="string"))
typed("g as categories", lambda c: pd.Categorical(c, categories=range(c.max() + 9)))
typed(
    "g as ordered categories",
    lambda c: pd.Categorical(c, categories=range(c.max(), -1, -1), ordered=True),
)
typed("g as fixed text", lambda c: np.array([f"b{j}" for j in c]))
typed("g as datetime64", lambda c: np.datetime64("2024-01-01", "D") + c)


def missing_label(value, at=2):
    def do(draft):
        draft.given["g"] = objects(
            value if i == at else f"a{j}" for i, j in enumerate(draft.codes["g"])
        )
        draft.say("refuse", "missing", "NaN")

    return do


for value_ in (None, np.nan, pd.NA, pd.NaT):
    twist("g", f"g with {value_}", missing_label(value_), refused=True)


def unhashable(draft):
    draft.given["g"] = objects([j] for j in draft.codes["g"])
    draft.say("refuse", "hashable")


def one_level(draft):
    draft.codes["g"] = np.zeros_like(draft.codes["g"])
    draft.given["g"] = objects("only" for _ in draft.codes["g"])
    several = draft.recipe.structure == "pair"
    draft.say(None if several else "refuse", "one level", "same way")


def one_row_each(draft):
    draft.codes["g"] = np.arange(len(draft.codes["g"]))
    draft.given["g"] = draft.codes["g"]
    must = None
    intercept = draft.recipe.structure not in ("none", "only slope")
    if intercept and draft.linear:
        must = "refuse"
    draft.say(must, "levels", "one row a level", "effects", "same way", "variance")


def two_levels(draft):
    draft.codes["g"] = np.arange(len(draft.codes["g"])) % 2
    draft.given["g"] = draft.codes["g"] > 0


def one_giant_level(draft):
    n = len(draft.codes["g"])
    codes = np.zeros(n, dtype=int)
    few = min(n - 1, 3)
    codes[:few] = 1 + np.arange(few)
    draft.codes["g"] = draft.given["g"] = codes


def alike(draft):
    if "h" not in draft.given:
        return
    draft.codes["h"] = draft.codes["g"].max() - draft.codes["g"]
    draft.given["h"] = objects(f"h{j}" for j in draft.codes["h"])
    two = draft.recipe.structure in ("crossed", "nested", "crossed slope")
    draft.say("speak" if two else None, "same way", "levels", "one level")


twist("g", "g of lists", unhashable, refused=True)
twist("g", "g has one level", one_level)
twist("g", "g has one row a level", one_row_each)
twist("g", "g of truth", two_levels)
twist("g", "g has one giant level", one_giant_level)
twist("h", "h divides as g does", alike)


# Targets ---------------------------------------------------------------------------


def target(name, change, *kinds, must=None, words=()):
    """`change` gives the target as the user holds it, and what it stands for."""

    def do(draft):
        draft.y, draft.target = change(draft)
        draft.say(must, *words)

    twist("y", name, do, kinds=kinds or tuple(KINDS), refused=must == "refuse")


def refused(name, change, word, *kinds):
    target(name, lambda d: (change(d), None), *kinds, must="refuse", words=("y", word))


def same(values):
    return values, np.asarray(values, dtype=float)


def y_with(value, at=4):
    def change(draft):
        y = np.asarray(draft.target).astype(object)
        y[at % len(y)] = value
        return y

    return change


NUMBERS = ("linear", "poisson", "binomial")
for value_, word_ in ((np.nan, "NaN"), (np.inf, "inf"), (None, ""), (pd.NA, "")):
    refused(f"y with {value_}", y_with(value_), word_)
refused("y as complex", lambda d: d.target + 1j, "omplex")
refused("y with a word", y_with("much"), "much")
refused("y with a list", y_with([1]), "", "linear", "poisson", "binomial")
refused("y as words", lambda d: objects(f"w{i}" for i in range(len(d.target))), "")
refused("y as durations", lambda d: pd.to_timedelta(np.arange(len(d.target)), "h"), "")
refused(
    "y as dates", lambda d: DAY + pd.to_timedelta(np.arange(len(d.target)), "D"), ""
)
refused("y too long", lambda d: np.r_[d.target, 1.0], "inconsistent")
refused("y of two columns", lambda d: np.column_stack([d.target] * 2), "1d")
refused("y is None", lambda d: None, "y")
refused("y is empty", lambda d: [], "")
target("y as a list", lambda d: (d.target.tolist(), d.target))
target("y as objects", lambda d: (d.target.astype(object), d.target))
target(
    "y as a series",
    lambda d: (pd.Series(d.target, np.arange(len(d.target))[::-1]), d.target),
)
target("y of polars", lambda d: (pl.Series(d.target), d.target))
target(
    "y as Decimal",
    lambda d: (objects(map(Decimal, d.target.tolist())), d.target),
    *NUMBERS,
)
target(
    "y as float32",
    lambda d: (d.target.astype("f4"), d.target.astype("f4").astype(float)),
)
target("y as Float64", lambda d: (pd.Series(d.target, dtype="Float64"), d.target))
target(
    "y as Int64",
    lambda d: (pd.Series(np.rint(d.target), dtype="Int64"), np.rint(d.target)),
)
for power_ in (-12, -9, -6, 6, 9, 12):
    target(f"y of 1e{power_}", lambda d, p=power_: same(d.target * 10.0**p), "linear")
target("y + 1e6", lambda d: same(d.target + 1e6), "linear")
target("y + 1e10", lambda d: same(d.target + 1e10), "linear")
target(
    "y as uint8", lambda d: same((np.rint(10 * d.target) % 100).astype("u1")), "linear"
)
target("y as truth", lambda d: same(d.target > np.median(d.target)), "linear")
target(
    "y with 1e10",
    lambda d: same(np.where(np.arange(len(d.target)), d.target, 1e10)),
    "linear",
)
ZERO = ("residual", "constant", "zero", "exact", "same")
for value_ in (0.0, 3.7, 1e12):
    target(
        f"y is {value_:g}",
        lambda d, v=value_: same(np.full(len(d.target), v)),
        "linear",
        must="speak",
        words=ZERO,
    )


def constant_in_g(draft):
    draft.y = draft.target = draft.random.normal(size=9 + len(draft.codes["g"]))[
        draft.codes["g"]
    ]
    explained = draft.recipe.structure not in ("none", "only slope")
    draft.say("speak" if explained else None, *ZERO)


twist("y", "y is constant in g", constant_in_g, kinds=("linear",))
target(
    "y is a line",
    lambda d: same(2 + 3 * d.meant["x"]),
    "linear",
    must="speak",
    words=ZERO,
)
for kind_ in ("poisson", "binomial", "logistic"):
    classes_ = kind_ == "logistic"
    target(
        f"{kind_} y is zero",
        lambda d: same(np.zeros(len(d.target))),
        kind_,
        must="refuse" if classes_ else "speak",
        words=("zero", "class"),
    )
    target(
        f"{kind_} y has one success",
        lambda d: same(1.0 * (np.arange(len(d.target)) == 0)),
        kind_,
    )
    target(
        f"{kind_} y is constant in g",
        lambda d: same(1.0 * (d.codes["g"] % 2)),
        kind_,
        must=None if kind_ == "poisson" else "speak",
        words=("same", "class", "separate", "zero", "variance"),
    )
    target(
        f"{kind_} y is separated by x",
        lambda d: same(1.0 * (d.meant["x"] > np.median(d.meant["x"]))),
        kind_,
        must=None if kind_ == "poisson" else "speak",
        words=("separate", "class", "zero", "same"),
    )
refused("y is negative", lambda d: d.target - 3.0, "egative", "poisson", "binomial")
target(
    "y is fractional",
    lambda d: same(d.target + 0.25),
    "poisson",
    must="speak",
    words=("fraction",),
)
refused("successes are fractional", lambda d: d.target * 0.5 + 0.25, "", "binomial")
target("y in millions", lambda d: same(d.target * 1e6), "poisson")
target("y in 1e15", lambda d: same(d.target * 1e15), "poisson")
target("y as int8", lambda d: same(np.minimum(d.target, 100).astype("i1")), "poisson")
target(
    "y with a million",
    lambda d: same(np.where(np.arange(len(d.target)), d.target, 1e6)),
    "poisson",
)
refused("more successes than trials", lambda d: d.target + 100.0, "trials", "binomial")
target(
    "y as yes and no",
    lambda d: (np.where(d.target > 0, "yes", "no"), d.target),
    "logistic",
)
target("y as True and False", lambda d: (d.target > 0, d.target), "logistic")
target("y as -1 and 1", lambda d: (2 * d.target - 1, d.target), "logistic")
target(
    "y as 0.25 and 7.5",
    lambda d: (np.where(d.target > 0, 7.5, 0.25), d.target),
    "logistic",
    must=None,
    words=("continuous",),
)
target(
    "y as categories",
    lambda d: (pd.Categorical(np.where(d.target > 0, "b", "a")), d.target),
    "logistic",
)
target(
    "y as string dtype",
    lambda d: (pd.Series(np.where(d.target > 0, "b", "a"), dtype="string"), d.target),
    "logistic",
)
target(
    "y as nullable truth",
    lambda d: (pd.Series(d.target > 0, dtype="boolean"), d.target),
    "logistic",
)
target(
    "y as two dates",
    lambda d: (DAY + pd.to_timedelta(d.target.astype(int), "D"), d.target),
    "logistic",
    words=("date", "time", "unknown", "y"),
)
refused(
    "y of three classes", lambda d: np.arange(len(d.target)) % 3, "class", "logistic"
)
refused(
    "y of text and numbers",
    lambda d: objects("a" if v else 3 for v in d.target),
    "",
    "logistic",
)


# Weights ---------------------------------------------------------------------------


def weights(name, make, must=None, *words):
    def do(draft):
        draft.weight = make(draft)
        draft.say(must, "sample_weight", "rows", "levels", "level", *words)

    twist("weight", name, do, refused=must == "refuse")


def n_of(draft):
    return len(draft.codes["g"])


weights("weights of whole numbers", lambda d: d.random.integers(1, 4, n_of(d)))
weights("weights with zeros", lambda d: d.random.integers(0, 3, n_of(d)))
weights("weights as floats", lambda d: d.random.uniform(0.5, 1.5, n_of(d)))
weights("weights of 1e-9", lambda d: np.full(n_of(d), 1e-9))
weights("weights of 1e9", lambda d: np.full(n_of(d), 1e9))
weights("weights that sum to one", lambda d: np.full(n_of(d), 1.0 / n_of(d)))
weights("weights of 1e12 and 1", lambda d: np.where(np.arange(n_of(d)), 1.0, 1e12))
weights("weights of 1e-12 and 1", lambda d: np.where(np.arange(n_of(d)), 1.0, 1e-12))
weights("weights of many sizes", lambda d: 10.0 ** d.random.uniform(-6, 6, n_of(d)))
weights("weights in a list", lambda d: [2] * n_of(d))
weights("weights as Decimal", lambda d: objects([Decimal(2)] * n_of(d)))
weights("one weight for all", lambda d: 2.0)
weights("weights of truth", lambda d: np.arange(n_of(d)) % 5 > 0)
for name_, make_ in {
    "weights are zero": lambda d: np.zeros(n_of(d)),
    "a weight is NaN": lambda d: np.where(np.arange(n_of(d)), 1.0, np.nan),
    "a weight is inf": lambda d: np.where(np.arange(n_of(d)), 1.0, np.inf),
    "a weight is negative": lambda d: np.where(np.arange(n_of(d)), 1.0, -1.0),
    "weights too few": lambda d: np.ones(n_of(d) + 1),
    "weights as words": lambda d: objects(["heavy"] * n_of(d)),
    "weights as None": lambda d: objects([None] * n_of(d)),
    "weights of two columns": lambda d: np.ones((n_of(d), 2)),
}.items():
    weights(name_, make_, "refuse", "weight")
weights(
    "one row has a weight",
    lambda d: 1.0 * (np.arange(n_of(d)) == 0),
    "speak",
    "class",
    "zero",
    "coefficients",
    "constant",
    "success",
    "failure",
)


# Tables ----------------------------------------------------------------------------


def table(name, finish, must=None, *words):
    """`finish` changes the finished table."""

    def do(draft):
        draft.finish = finish
        draft.container = "pandas"
        draft.say(must, *words)

    twist("table", name, do, refused=must == "refuse")


def fixed_gone(draft):
    draft.meant.pop("x", None)
    draft.given.pop("x", None)
    if "random_slopes" in draft.parameters:
        draft.say("refuse", "'x' is", "no column", "0 feature")
    elif not draft.given:
        draft.say("refuse", "0 feature", "0 sample")


def fortran(X):
    return pd.DataFrame(
        X.to_numpy(dtype=object, copy=True).copy("F"), columns=X.columns
    )


def frozen(X):
    for name in X:
        if isinstance(X[name].dtype, np.dtype):
            X[name].to_numpy().flags.writeable = False
    return X


twist("table", "no x", fixed_gone)
table(
    "no rows",
    lambda X: X.iloc[:0],
    "refuse",
    "0 sample",
    "inconsistent",
    "minimum",
    "rows",
)
table(
    "one row of many",
    lambda X: X.iloc[:1],
    "refuse",
    "1 sample",
    "inconsistent",
    "rows",
    "minimum",
)
table(
    "no columns",
    lambda X: X.iloc[:, :0],
    "refuse",
    "0 feature",
    "not a column",
    "column",
)
table(
    "one dimension",
    lambda X: X["x"].to_numpy(),
    "refuse",
    "1D",
    "2D",
    "dimension",
    "column",
)
table("rows in another order of index", lambda X: X.set_axis(np.arange(len(X))[::-1]))
table("one index for all rows", lambda X: X.set_axis([0] * len(X)))
table("a text index", lambda X: X.set_axis([f"r{i}" for i in range(len(X))]))
table("all objects", lambda X: X.astype(object))
table("Fortran order", fortran)
table("frozen", frozen)
table(
    "x twice",
    lambda X: pd.concat([X, X[["x"]]], axis=1),
    "speak",
    "x",
    "constant",
    "depend",
)
table(
    "a column called Intercept", lambda X: X.assign(Intercept=np.arange(len(X)) ** 2.0)
)
table("a column called residual", lambda X: X.assign(residual=np.arange(len(X)) ** 2.0))
table(
    "a column of two names",
    lambda X: X.set_axis(pd.MultiIndex.from_product([["a"], X.columns]), axis=1),
    "speak",
    "names",
    "name",
    "column",
    "groups",
)
table(
    "a lazy frame", lambda X: pl.DataFrame({"x": [1.0, 2.0]}).lazy(), "refuse", "lazy"
)
table("a list of dicts", lambda X: X.to_dict("records"), "refuse", "")
table("a dict", lambda X: X.to_dict("list"), "refuse", "")
table("a text", lambda X: "x,g\n1,2", "refuse", "")
table("nothing", lambda X: None, "refuse", "")


# Recipes ---------------------------------------------------------------------------

CONTAINERS = ["pandas", "pandas", "pandas", "polars", "array", "list"]
OPTIONS = ["no intercept", "ml", "offset", "exposure", "trials", "warm"]
SIZES = [80, 40, 60, 30, 24, 16, 12, 8, 5, 3, 2, 1]


def of_kind(kind):
    return {name: t for name, t in TWISTS.items() if kind in t[2]}


@st.composite
def recipes(draw, short):
    """Recipes; short ones have structures of few graphs."""
    number = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(list(KINDS)))
    plans = LINEAR
    if kind != "linear":
        plans = COUNTS if kind == "poisson" else YES_OR_NO
        quick = [plan for plan in plans if plan not in COSTLY]
        plans = quick if short else plans + MORE
    solver, structure = draw(st.sampled_from(plans))
    n_rows = draw(st.sampled_from(SIZES[:7] * 4 + SIZES))
    container = draw(st.sampled_from(CONTAINERS))
    options = draw(st.lists(st.sampled_from(OPTIONS), max_size=2, unique=True))
    own = of_kind(kind)
    # most models are to reach the engine: what is refused at the door is drawn less
    weighted = [name for name in own for _ in range(1 if own[name][3] else 4)]
    names = draw(st.lists(st.sampled_from(weighted), max_size=3, unique=True))
    places, twists = set(), []
    if structure == "none":
        places.update("gh")
    for name in names:
        if own[name][0] not in places:
            twists.append(name)
        places.add(own[name][0])
    if "x with NaN" in twists or "x with two NaN" in twists:
        # what is missing is drawn again and again, which takes its time
        options = [*options, "missing"] if number % 2 else options
    return Recipe(
        number,
        kind,
        solver,
        structure,
        n_rows,
        container,
        tuple(sorted(options)),
        tuple(twists),
    )


QUIET = settings(
    max_examples=2,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def draw_recipe(number):
    """Recipe of a number: hypothesis tries the simplest first, then a random one."""
    drawn = []

    @seed(number)
    @QUIET
    @given(recipes(number < N_IN_SUITE))
    def keep(recipe):
        drawn.append(recipe)

    keep()
    return drawn[-1]


# From a recipe to a model and its data ------------------------------------------------

ORDER = ("g", "h", "x", "z", "y", "weight", "table")


def build(recipe):
    """The draft of a recipe, with everything that `fit` needs."""
    random = np.random.default_rng(recipe.seed)
    draft = Draft(recipe, random, container=recipe.container)
    n = recipe.n_rows
    draft.parameters = dict(STRUCTURES[recipe.structure])
    draft.meant["x"] = random.normal(size=n).round(6)
    draft.given["x"] = draft.meant["x"]
    for name, k in (("g", max(2, n // 6)), ("h", 4)):
        draft.codes[name] = np.unique(random.integers(k, size=n), return_inverse=True)[
            1
        ]
        draft.given[name] = draft.codes[name]
    if recipe.structure in ("none", "one", "beside") or recipe.structure in (
        "slope",
        "diag",
        "scalar",
        "only slope",
    ):
        del draft.given["h"]
    if recipe.structure == "none":
        del draft.given["g"]
    if n < 20:
        draft.say(None, "level", "rows", "effects", "coefficients", "class", "sample")
    todo = sorted(recipe.twists, key=lambda name: ORDER.index(TWISTS[name][0]))
    before = [name for name in todo if TWISTS[name][0] in ("g", "h")]
    columns = [name for name in todo if TWISTS[name][0] in ("x", "z")]
    for name in before:
        TWISTS[name][1](draft)
    healthy = draft.meant["x"]
    for name in columns:
        if draft.meant["x"] is None:
            draft.meant["x"] = healthy
            TWISTS[name][1](draft)
            draft.meant["x"] = None
        else:
            TWISTS[name][1](draft)
    _options(draft)
    _target(draft, healthy)
    unknown = draft.meant["x"] is None
    if unknown:
        draft.meant["x"] = healthy
    for name in todo:
        if TWISTS[name][0] in ("y", "weight", "table"):
            TWISTS[name][1](draft)
    if unknown and "x" in draft.meant:
        draft.meant["x"] = None
    _model(draft)
    return draft


def _options(draft):
    kind, n = draft.recipe.kind, draft.recipe.n_rows
    for option in draft.recipe.options:
        if option == "no intercept":
            draft.parameters["fit_intercept"] = False
        elif option == "ml" and kind == "linear":
            draft.parameters["reml"] = False
        elif option == "offset":
            draft.parameters["offset"] = "o"
            draft.given["o"] = draft.meant["o"] = draft.random.normal(size=n).round(3)
        elif option == "exposure" and kind == "poisson":
            draft.parameters["exposure"] = "e"
            draft.given["e"] = draft.meant["e"] = draft.random.integers(1, 9, n) / 2.0
        elif option == "trials" and kind == "binomial":
            draft.parameters["trials"] = "n"
            draft.given["n"] = draft.meant["n"] = draft.random.integers(1, 9, n)
        elif option == "missing":
            draft.parameters["missing"] = "model"
        elif option == "warm":
            draft.parameters["warm_start"] = True


def _target(draft, x):
    """A response that depends on the column and the groups."""
    random, n = draft.random, draft.recipe.n_rows
    x = draft.meant["x"] if draft.meant["x"] is not None else x
    spread = np.std(x)
    x = (x - np.mean(x)) / (spread if spread > 0 else 1.0)
    codes = draft.codes["g"]
    eta = 0.3 + 0.5 * np.clip(x, -3, 3) + 0.8 * random.normal(size=n + 9)[codes]
    if "o" in draft.meant:
        eta = eta + draft.meant["o"]
    trials = draft.meant.get("n", np.ones(n)).astype(int)
    draft.target = {
        "linear": lambda: eta + random.normal(size=n),
        "poisson": lambda: random.poisson(np.exp(eta) * draft.meant.get("e", 1.0)),
        "logistic": lambda: random.random(n) < expit(eta),
        "binomial": lambda: random.binomial(trials, expit(eta)),
    }[draft.recipe.kind]().astype(float)
    draft.y = draft.target
    if draft.recipe.kind == "logistic":
        if len(np.unique(draft.target)) < 2:
            draft.say("refuse", "class")
        draft.y = draft.target.astype(int)


def _model(draft):
    recipe = draft.recipe
    parameters = dict(draft.parameters)
    if recipe.structure == "beside" and "g" in draft.given:
        draft.beside = draft.given.pop("g")
    if draft.container in ("array", "list"):
        parameters = {key: _by_place(v, draft) for key, v in parameters.items()}
    draft.model = KINDS[recipe.kind](
        solver=SOLVERS[recipe.solver](), random_state=0, **parameters
    )


def _by_place(value, draft):
    """A parameter with positions in place of names."""
    names = list(draft.given)
    if isinstance(value, str):
        return names.index(value) if value in names else value
    if isinstance(value, list | tuple):
        return type(value)(_by_place(v, draft) for v in value)
    if isinstance(value, dict):
        return {_by_place(k, draft): _by_place(v, draft) for k, v in value.items()}
    return value


def as_table(given, container):
    """Columns in a container."""
    frame = {}
    for name, column in given.items():
        if isinstance(column, np.ndarray) and column.dtype.kind == "O":
            column = pd.Series(column, dtype=object)
        frame[name] = column
    if not frame:
        return pd.DataFrame()
    if container == "polars":
        try:
            return pl.DataFrame(
                {
                    name: column.tolist() if isinstance(column, pd.Series) else column
                    for name, column in frame.items()
                }
            )
        except Exception:
            container = "pandas"
    X = pd.DataFrame(frame)
    if container == "pandas":
        return X
    plain = all(
        isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in X.dtypes
    )
    array = X.to_numpy(dtype=np.float64 if plain else object)
    return array if container == "array" else array.tolist()


def some_rows(given, rows):
    """Columns with some of their rows."""
    return {
        name: column.iloc[rows] if isinstance(column, pd.Series) else column[rows]
        for name, column in given.items()
    }
