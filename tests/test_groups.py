"""What the user wrote as terms, and labels as level codes."""

import datetime
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skglmm._reading.labels import encode, extend, lookup, unseen_report
from skglmm._reading.table import Table
from skglmm._reading.terms import (
    Term,
    resolve_metadata_terms,
    resolve_terms,
    term_labels,
)

PUPILS = {
    "score": [0.1, 0.2, 0.3, 0.4],
    "hours": [1.0, 2.0, 3.0, 4.0],
    "school": ["s", "s", "t", "t"],
    "pupil": ["a", "b", "a", "a"],
}


@pytest.fixture(params=["pandas", "polars"])
def pupils(request):
    """Pupils nested in schools, with two numeric columns."""
    return Table(
        {"pandas": pd.DataFrame, "polars": pl.DataFrame}[request.param](PUPILS)
    )


@pytest.fixture
def array():
    """The same pupils without names."""
    return Table(np.array(list(zip(*PUPILS.values(), strict=True)), dtype=object))


# Terms: the rows of the table in the documentation, one test each


def test_one_factor(pupils):
    terms = resolve_terms(pupils, "school")
    assert terms == (Term("school", (2,), (), True, "full", ("Intercept",)),)
    assert terms[0].n_effects == 1


def test_no_factor(pupils):
    assert resolve_terms(pupils, None) == ()


def test_crossed_factors(pupils):
    school, pupil = resolve_terms(pupils, ["school", "pupil"])
    assert (school.name, school.columns) == ("school", (2,))
    assert (pupil.name, pupil.columns) == ("pupil", (3,))


def test_correlated_slopes_keep_the_order_of_the_user(pupils):
    (term,) = resolve_terms(pupils, "school", random_slopes=["hours", "score"])
    assert term.slopes == (1, 0)
    assert term.effects == ("Intercept", "hours", "score")
    assert term.n_effects == 3


def test_uncorrelated_slopes(pupils):
    (term,) = resolve_terms(pupils, "school", ["hours"], covariance="diag")
    assert term.covariance == "diag"


def test_slopes_and_covariance_by_factor(pupils):
    school, pupil = resolve_terms(
        pupils,
        ["school", "pupil"],
        random_slopes={"school": ["hours"]},
        covariance={"school": "diag"},
    )
    assert school.effects == ("Intercept", "hours")
    assert pupil.effects == ("Intercept",)
    assert (school.covariance, pupil.covariance) == ("diag", "full")


def test_nested_factors(pupils):
    school, pupil = resolve_terms(pupils, ["school", ("school", "pupil")])
    assert school.name == "school"
    assert pupil.name == "school:pupil"
    assert pupil.columns == (2, 3)


def test_a_slope_without_intercept(pupils):
    (term,) = resolve_terms(
        pupils,
        "school",
        random_slopes={"school": ["hours"]},
        random_intercepts={"school": False},
    )
    assert not term.intercept
    assert term.effects == ("hours",)


def test_positions_name_factors_as_written_and_slopes_by_number(array):
    (term,) = resolve_terms(array, -2, random_slopes=[-3])
    assert term == Term(-2, (2,), (1,), True, "full", ("Intercept", "x1"))
    nested = resolve_terms(array, [2, (2, -1)])
    assert [term.name for term in nested] == [2, "2:-1"]
    assert [term.columns for term in nested] == [(2,), (2, 3)]


def test_names_and_positions_mix(pupils):
    (term,) = resolve_terms(pupils, 2, random_slopes=["hours"])
    assert (term.name, term.effects) == (2, ("Intercept", "hours"))


def test_terms_hold_plain_python_values_and_pickle(array):
    terms = resolve_terms(
        array,
        [np.int64(2), (np.int64(2), np.int64(3))],
        random_intercepts=np.True_,
        covariance=np.str_("diag"),
    )
    assert [type(term.name) for term in terms] == [int, str]
    assert terms[1].name == "2:3"
    assert {type(term.intercept) for term in terms} == {bool}
    assert {type(term.covariance) for term in terms} == {str}
    assert pickle.loads(pickle.dumps(terms)) == terms
    assert len({hash(term) for term in terms}) == 2


@pytest.mark.parametrize("key", [("school", "pupil"), "school:pupil"])
def test_a_combination_is_addressed_as_written_or_by_name(pupils, key):
    terms = resolve_terms(
        pupils,
        ["school", ("school", "pupil")],
        random_slopes={key: ["hours"]},
        random_intercepts={key: False},
        covariance={key: "scalar"},
    )
    assert [term.slopes for term in terms] == [(), (1,)]
    assert [term.intercept for term in terms] == [True, False]
    assert [term.covariance for term in terms] == ["full", "scalar"]


@pytest.mark.parametrize("key", [2, np.int64(2)])
def test_a_position_is_addressed_by_its_int(array, key):
    terms = resolve_terms(array, [2, 3], random_slopes={key: [0]})
    assert [term.slopes for term in terms] == [(0,), ()]


@pytest.mark.parametrize("slopes", [None, [], (), {}, {"school": None}])
def test_no_slopes_can_be_written_in_several_ways(pupils, slopes):
    terms = resolve_terms(pupils, ["school", "pupil"], random_slopes=slopes)
    assert [term.slopes for term in terms] == [(), ()]


def test_one_structure_holds_for_all_factors(pupils):
    terms = resolve_terms(pupils, ["school", "pupil"], covariance="scalar")
    assert [term.covariance for term in terms] == ["scalar", "scalar"]


def test_a_list_of_one_factor_takes_a_list_of_slopes(pupils):
    (term,) = resolve_terms(pupils, ["school"], random_slopes=["hours"])
    assert term.slopes == (1,)


def test_an_empty_list_is_no_factor(pupils):
    assert resolve_terms(pupils, []) == ()
    with pytest.raises(ValueError, match="random_slopes needs a grouping factor"):
        resolve_terms(pupils, [], random_slopes=["hours"])


# Terms that are refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": "scool"}, "groups: 'scool' is not a column.*Did you mean 'school'"),
        ({"groups": 4}, "groups: position 4 is out of range"),
        (
            {"groups": ["school", "school"]},
            "groups: the factor 'school' is there twice",
        ),
        (
            {"groups": ["school", 2]},
            "groups: the factor 2 is there twice .also as 'school'",
        ),
        (
            {"groups": [("school", "pupil"), ("pupil", "school")]},
            r"the factor \('pupil', 'school'\) is there twice .also as 'school:pupil'",
        ),
        (
            {"groups": ("school", "school")},
            r"the combination \('school', 'school'\) has a column twice",
        ),
        ({"groups": ("school",)}, r"the tuple \('school',\) has 1 columns"),
        ({"groups": ()}, r"the tuple \(\) has 0 columns"),
        (
            {"groups": None, "random_slopes": ["hours"]},
            "random_slopes needs a grouping factor",
        ),
        (
            {"groups": ["school", "pupil"], "random_slopes": ["hours"]},
            r"there are 2 factors: write a dict .* \{'school': \['hours'\]\}",
        ),
        (
            {"groups": "school", "random_slopes": {"shool": ["hours"]}},
            r"random_slopes: 'shool' is not a grouping factor; factors are "
            r"\['school'\]\. Did you mean 'school'",
        ),
        (
            {"groups": "school", "random_intercepts": {"pupil": False}},
            "random_intercepts: 'pupil' is not a grouping factor",
        ),
        (
            {"groups": ["school", "pupil"], "covariance": {"score": "diag"}},
            r"covariance: 'score' is not a grouping factor; factors are "
            r"\['school', 'pupil'\]",
        ),
        (
            {"groups": "school", "covariance": {2: "diag"}},
            "covariance: 2 is not a grouping factor",
        ),
        (
            {
                "groups": ("school", "pupil"),
                "covariance": {("school", "pupil"): "diag", "school:pupil": "full"},
            },
            r"covariance: \('school', 'pupil'\) and 'school:pupil' are the same factor",
        ),
        (
            {"groups": "school", "random_slopes": ["minutes"]},
            "random_slopes: 'minutes' is not a column of X",
        ),
        (
            {"groups": "school", "random_slopes": ["school"]},
            "random_slopes: column 'school' holds labels of the factor 'school'",
        ),
        (
            {"groups": ("school", "pupil"), "random_slopes": ["pupil"]},
            "column 'pupil' holds labels of the factor 'school:pupil'",
        ),
        (
            {"groups": "school", "random_slopes": ["hours", 1]},
            "random_slopes: column 'hours' is there twice for the factor 'school'",
        ),
        (
            {"groups": "school", "random_intercepts": False},
            "The factor 'school' has neither a random intercept nor random slopes",
        ),
        (
            {
                "groups": ["school", "pupil"],
                "random_slopes": {"school": ["hours"]},
                "random_intercepts": False,
            },
            "The factor 'pupil' has neither",
        ),
        (
            {"groups": "school", "covariance": "diagonal"},
            r"covariance must be one of \['full', 'diag', 'scalar'\], got "
            r"'diagonal'\. Did you mean 'diag'",
        ),
        (
            {"groups": "school", "covariance": {"school": "ar1"}},
            r"covariance\['school'\] must be one of .*, got 'ar1'",
        ),
    ],
)
def test_a_contradiction_is_refused(pupils, arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve_terms(pupils, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 1.0}, "groups: a factor is a column .* got 1.0 of type float"),
        ({"groups": True}, "groups: a factor is a column .* got True of type bool"),
        ({"groups": {"school": 1}}, "of type dict"),
        ({"groups": [["school", "pupil"]]}, "of type list"),
        ({"groups": ("school", ("pupil", "hours"))}, r"got \('pupil', 'hours'\)"),
        ({"groups": "school", "random_slopes": 1.5}, "got 1.5 of type float"),
        ({"groups": "school", "random_slopes": [1.5]}, "got 1.5 of type float"),
        (
            {"groups": "school", "random_intercepts": "no"},
            "random_intercepts must be True or False.* got 'no' of type str",
        ),
        (
            {"groups": "school", "random_intercepts": {"school": 0}},
            r"random_intercepts\['school'\] must be True or False.* got 0 of type int",
        ),
        ({"groups": "school", "covariance": None}, "covariance must be a str"),
        (
            {"groups": "school", "covariance": {"school": ["diag"]}},
            r"covariance\['school'\] must be a str",
        ),
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused(pupils, arguments, message):
    with pytest.raises(TypeError, match=message):
        resolve_terms(pupils, **arguments)


def test_true_is_not_position_one(array):
    with pytest.raises(ValueError, match="True is not a grouping factor"):
        resolve_terms(array, [0, 1], covariance={True: "diag"})


def test_a_name_needs_named_columns(array):
    with pytest.raises(ValueError, match="groups: 'school' is a column name, but X is"):
        resolve_terms(array, "school")


def test_a_slope_is_not_named_as_the_intercept_is():
    table = Table(pd.DataFrame({"g": ["a"], "Intercept": [1.0]}))
    with pytest.raises(ValueError, match="'g' has two effects named 'Intercept'"):
        resolve_terms(table, "g", ["Intercept"])
    (term,) = resolve_terms(table, "g", ["Intercept"], random_intercepts=False)
    assert term.effects == ("Intercept",)


# Labels through fit(groups=)


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (["s", "s", "t", "t"], ["group"]),
        (("s", "s", "t", "t"), ["group"]),
        ([("s", 1), ("s", 2), ("t", 1), "t"], ["group"]),
        (np.array([1, 1, 2, 2]), ["group"]),
        (pd.Series([1, 1, 2, 2]), ["group"]),
        (pd.Series([1, 1, 2, 2], name=0), ["group"]),
        (pd.Series([1, 1, 2, 2], name="school", index=[9, 8, 7, 6]), ["school"]),
        (pd.Categorical(["s", "s", "t", "t"]), ["group"]),
        (pd.Index(["s", "s", "t", "t"], name="school"), ["school"]),
        (pl.Series("school", [1, 1, 2, 2]), ["school"]),
        (pl.Series([1, 1, 2, 2]), ["group"]),
        (np.array([[1], [1], [2], [2]]), ["group0"]),
        (np.array([[1, 1], [1, 2], [2, 1], [2, 1]]), ["group0", "group1"]),
        ([["s", 1], ["s", 2], ["t", 1], ["t", 1]], ["group0", "group1"]),
        (pd.DataFrame(PUPILS)[["school", "pupil"]], ["school", "pupil"]),
        (pl.DataFrame(PUPILS)[["school", "pupil"]], ["school", "pupil"]),
        (pd.DataFrame([[1, 1], [1, 2], [2, 1], [2, 1]]), ["group0", "group1"]),
    ],
)
def test_labels_given_to_fit_are_named_after_what_holds_them(pupils, groups, names):
    terms, labels = resolve_metadata_terms(groups, pupils)
    assert [term.name for term in terms] == names
    assert {type(term.name) for term in terms} == {str}
    assert [term.columns for term in terms] == [()] * len(names)
    codes, _ = encode([labels[0]], names[0])
    assert codes[0] != codes[2]


def test_labels_given_to_fit_keep_their_types_in_a_list(pupils):
    _, labels = resolve_metadata_terms(["a", 1, 2.5, (1, 2)], pupils)
    _, levels = encode(labels, "group")
    assert list(levels) == ["a", 1, 2.5, (1, 2)]


def test_slopes_of_labels_given_to_fit_are_columns_of_x(pupils):
    terms, _ = resolve_metadata_terms(
        pd.DataFrame({"g": [1, 1, 2, 2], "h": [1, 2, 1, 2]}),
        pupils,
        random_slopes={"g": ["hours"]},
        random_intercepts={"g": False},
        covariance={"h": "diag"},
    )
    assert [term.effects for term in terms] == [("hours",), ("Intercept",)]
    assert [term.covariance for term in terms] == ["full", "diag"]


@pytest.mark.parametrize(
    "groups",
    [
        [1, 2],
        np.ones(2),
        np.ones((2, 2)),
        pl.Series([1, 2]),
        pd.DataFrame({"g": [1, 2]}),
    ],
    ids=["list", "array", "matrix", "polars", "frame"],
)
def test_labels_given_to_fit_have_a_row_for_each_row_of_x(pupils, groups):
    with pytest.raises(ValueError, match="groups has 2 rows, but X has 4"):
        resolve_metadata_terms(groups, pupils)


@pytest.mark.parametrize("groups", ["school", 2])
def test_a_column_is_not_named_in_fit(pupils, groups):
    message = f"fit.groups=. takes one label for each row, got {groups!r}.*constructor"
    with pytest.raises(TypeError, match=message):
        resolve_metadata_terms(groups, pupils)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.ones((4, 2, 2)), r"groups has shape \(4, 2, 2\)"),
        (np.ones((4, 0)), "groups has no column"),
        (np.ones((0, 1)), "groups has 0 rows"),
        (pd.DataFrame([[1, 1]] * 4, columns=["g", "g"]), "'g' is there twice"),
    ],
)
def test_labels_of_a_wrong_shape_are_refused(pupils, groups, message):
    with pytest.raises(ValueError, match=message):
        resolve_metadata_terms(groups, pupils)


def test_unknown_factors_of_labels_given_to_fit_are_refused(pupils):
    with pytest.raises(ValueError, match=r"'school' is not .* factors are \['group'\]"):
        resolve_metadata_terms([1, 1, 2, 2], pupils, {"school": ["hours"]})


# Label columns of a term


def test_the_labels_of_a_term_come_with_names(pupils, array):
    (term,) = resolve_terms(pupils, ("school", "pupil"))
    labels, names = term_labels(pupils, term)
    codes, levels = encode(labels, term.name, names)
    assert codes.tolist() == [0, 1, 2, 2]
    assert list(levels) == [("s", "a"), ("s", "b"), ("t", "a")]
    assert list(levels.names) == ["school", "pupil"]
    (term,) = resolve_terms(array, (-2, -1))
    labels, names = term_labels(array, term)
    assert names == (2, 3)
    assert encode(labels, term.name, names)[0].tolist() == [0, 1, 2, 2]
    (term,) = resolve_terms(array, -2)
    assert term_labels(array, term)[1] == (-2,)


# Encoding


def columns_of(labels):
    """The same labels in every container that can hold them."""
    objects = np.fromiter(labels, dtype=object, count=len(labels))
    containers = {
        "list": labels,
        "objects": objects,
        "strided": np.column_stack([objects, objects])[:, 1],
        "pandas": pd.Series(labels, index=range(len(labels), 0, -1)),
        "pandas objects": pd.Series(objects, dtype=object),
        "pandas categorical": pd.Series(labels).astype("category"),
        "polars": Table(pl.DataFrame({"g": labels})).labels(0),
    }
    if isinstance(labels[0], str):
        frame = pl.DataFrame({"g": labels})
        containers |= {
            "numpy": np.array(labels),
            "pandas string": pd.Series(labels, dtype="string"),
            "polars categorical": Table(frame.cast(pl.Categorical)).labels(0),
            "polars enum": Table(frame.cast(pl.Enum(sorted(set(labels))))).labels(0),
        }
    elif not isinstance(labels[0], bool | datetime.date):
        containers |= {
            "numpy": np.array(labels),
            "big endian": np.array(labels, dtype=">f8"),
            "float32": np.array(labels, dtype="float32"),
            "pandas nullable": pd.Series(labels).convert_dtypes(),
        }
    if isinstance(labels[0], int) and not isinstance(labels[0], bool):
        containers |= {
            "int8": np.array(labels, dtype="int8"),
            "uint64": np.array(labels, dtype="uint64"),
            "float": np.array(labels, dtype=float),
            "float objects": np.array(labels, dtype=float).astype(object),
            "numpy objects": np.fromiter(np.array(labels), dtype=object),
        }
    return containers


COLUMNS = {
    "text": ["south", "east", "south", "north"],
    "ints": [30, 7, 30, 21],
    "floats": [2.5, 0.5, 2.5, 1.5],
    "bools": [True, False, True, False],
    "instants": [datetime.datetime(2020, 1, day, 12) for day in (3, 1, 3, 2)],
}
HELD = [
    (labels, container)
    for labels, values in COLUMNS.items()
    for container in columns_of(values)
]


@pytest.mark.parametrize(("labels", "container"), HELD)
def test_every_container_gives_the_same_codes_and_sorted_levels(labels, container):
    values = COLUMNS[labels]
    codes, levels = encode([columns_of(values)[container]], "region")
    assert list(levels) == sorted(set(values))
    assert codes.tolist() == [sorted(set(values)).index(value) for value in values]
    assert codes.dtype == np.int32
    assert levels.name == "region"
    assert not isinstance(levels, pd.CategoricalIndex)


@pytest.mark.parametrize(("labels", "seen"), HELD)
def test_levels_are_found_again_in_every_container(labels, seen):
    containers = columns_of(COLUMNS[labels])
    codes, levels = encode([containers[seen]], "region")
    for values in containers.values():
        np.testing.assert_array_equal(lookup(levels, [values]), codes)


def test_labels_stay_as_the_user_gave_them():
    assert encode([pd.Series([3, 1], dtype="int64")], "g")[1].dtype == np.int64
    assert encode([np.array([3, 1], dtype=object)], "g")[1].dtype == np.int64
    assert encode([pd.Series([3, 1], dtype="Int64")], "g")[1].dtype == np.int64
    assert encode([np.array([3.0, 1.0])], "g")[1].dtype == np.float64
    assert type(encode([np.array(["b", "a"])], "g")[1][0]) is str


def test_tuples_in_one_column_are_labels_and_no_combination():
    labels = [("b", 1), ("a", 2), ("b", 1)]
    codes, levels = encode([labels], "g")
    assert not isinstance(levels, pd.MultiIndex)
    assert list(levels) == [("a", 2), ("b", 1)]
    assert codes.tolist() == [1, 0, 1]
    column = pd.Series(labels)
    assert lookup(levels, [column]).tolist() == [1, 0, 1]
    assert lookup(levels, [[("a", 2), ("a", 3), "a"]]).tolist() == [0, -1, -1]


def test_labels_that_cannot_be_compared_keep_the_order_of_appearance():
    labels = ["b", 1, "a", 2.5, ("c", 1), "b"]
    codes, levels = encode([labels], "g")
    assert list(levels) == ["b", 1, "a", 2.5, ("c", 1)]
    assert codes.tolist() == [0, 1, 2, 3, 4, 0]
    assert lookup(levels, [labels]).tolist() == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize(
    "labels",
    [
        pd.cut(pd.Series([1.0, 9.0, 5.0]), 3),
        pd.Series(pd.PeriodIndex(["2020-01", "2020-03", "2020-02"], freq="M")),
        pd.Series(pd.DatetimeIndex(["2020-01", "2020-03", "2020-02"], tz="UTC")),
        pd.Series(pd.to_timedelta([1, 3, 2], unit="s")),
        np.array(["2020-01", "2020-03", "2020-02"], dtype="datetime64[D]"),
        [datetime.date(2020, month, 1) for month in (1, 3, 2)],
        np.array([b"a", b"c", b"b"]),
        np.array([1, 3, 2], dtype="float16"),
        np.array([2**62, 2**63 + 2, 2**63 + 1], dtype="uint64"),
        [1, 2**70, 2**69],
        pd.Series(pd.arrays.SparseArray([0, 3, 2])),
    ],
    ids=lambda labels: str(getattr(labels, "dtype", "list")),
)
def test_less_usual_labels_are_sorted_and_found_again(labels):
    codes, levels = encode([labels], "g")
    assert codes.tolist() == [0, 2, 1]
    assert lookup(levels, [labels]).tolist() == [0, 2, 1]
    assert lookup(levels, [list(labels)]).tolist() == [0, 2, 1]


def test_pyarrow_columns_of_pandas_are_encoded():
    pytest.importorskip("pyarrow")
    for labels, dtype in ((["b", "a"], "string[pyarrow]"), ([2, 1], "int64[pyarrow]")):
        codes, levels = encode([pd.Series(labels, dtype=dtype)], "g")
        assert list(levels) == sorted(labels)
        assert lookup(levels, [labels]).tolist() == codes.tolist() == [1, 0]


def test_categories_that_do_not_occur_are_no_levels():
    labels = pd.Categorical(["c", "a"], categories=["d", "c", "b", "a"])
    codes, levels = encode([labels], "g")
    assert list(levels) == ["a", "c"]
    assert codes.tolist() == [1, 0]


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_an_ordered_categorical_keeps_its_order(container):
    labels = ["high", "low"]
    order = ["low", "medium", "high"]
    if container == "pandas":
        column = pd.Categorical(labels, categories=order, ordered=True)
    else:
        series = pl.Series(labels, dtype=pl.Enum(order))
        column = Table(pl.DataFrame({"g": series})).labels(0)
    codes, levels = encode([column], "g")
    assert list(levels) == ["low", "high"]
    assert codes.tolist() == [1, 0]


@pytest.mark.parametrize("spread", [1, 10**15], ids=["table", "hash"])
def test_ints_near_and_far_apart_are_encoded_alike(spread):
    rng = np.random.default_rng(0)
    values = np.sort(rng.choice(1000, 300, replace=False) - 500) * spread
    expected = np.concatenate([np.arange(300), rng.integers(0, 300, 2000)])
    codes, levels = encode([values[expected]], "g")
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(levels, values)
    np.testing.assert_array_equal(lookup(levels, [values[::-1]]), np.arange(300)[::-1])


def test_the_extremes_of_an_int_type_do_not_overflow():
    for dtype in ("int8", "int64", "uint8", "uint64"):
        info = np.iinfo(dtype)
        labels = np.array([info.max, info.min, info.max - 1], dtype=dtype)
        codes, levels = encode([labels], "g")
        assert codes.tolist() == [2, 0, 1]
        assert levels.tolist() == sorted(labels.tolist())


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", None],
        ["a", np.nan, "b", np.nan],
        pd.Series(["a", None, "b", None]),
        pd.Series(["a", None, "b", None], dtype="string"),
        pd.Categorical(["a", None, "b", None]),
        pd.Series([1, pd.NA, 2, pd.NA], dtype="Int64"),
        np.array([1.0, np.nan, 2.0, np.nan]),
        pd.Series(pd.to_datetime(["2020", None, "2021", None])),
        Table(pl.DataFrame({"g": ["a", None, "b", None]})).labels(0),
        Table(pl.DataFrame({"g": [1, None, 2, None]})).labels(0),
        Table(pl.DataFrame({"g": [True, None, False, None]})).labels(0),
        Table(pl.DataFrame({"g": [0.5, None, 1.5, None]})).labels(0),
    ],
)
def test_a_missing_label_is_an_error_in_fit_and_unseen_in_predict(labels):
    message = (
        r"factor 'county' has 2 missing labels \(None, NaN, NaT or NA\), in rows 1, 3: "
        "drop such rows, or give them a label of their own"
    )
    with pytest.raises(ValueError, match=message):
        encode([labels], "county")
    present = pd.Series(labels)[[0, 2]]
    (first, second), levels = encode([present], "county")
    assert lookup(levels, [labels]).tolist() == [first, -1, second, -1]


def test_only_the_first_missing_rows_are_listed():
    labels = [None] * 7 + ["a"]
    with pytest.raises(
        ValueError, match=r"7 missing labels .* in rows 0, 1, 2, 3, 4, \."
    ):
        encode([labels], "g")
    with pytest.raises(ValueError, match="'g' has a missing label .* in row 0: drop"):
        encode([[None, "a"]], "g")


def test_a_missing_label_in_a_combination_names_the_column():
    with pytest.raises(ValueError, match="factor 'g:h', column 'h' has a missing"):
        encode([["a", "b"], ["c", None]], "g:h", ["g", "h"])


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_a_label_is_hashable(label):
    column = np.fromiter([label, "b"], dtype=object)
    with pytest.raises(TypeError, match="factor 'g': labels must be hashable"):
        encode([column], "g")


def test_codes_do_not_change_the_labels():
    labels = np.array([5, 3, 5])
    labels.flags.writeable = False
    assert encode([labels], "g")[0].tolist() == [1, 0, 1]


# Combinations


def test_a_combination_has_the_pairs_that_occur():
    codes, levels = encode(
        [["b", "a", "b", "a"], np.array([2, 1, 2, 3])], "g:h", ["g", "h"]
    )
    assert isinstance(levels, pd.MultiIndex)
    assert list(levels) == [("a", 1), ("a", 3), ("b", 2)]
    assert list(levels.names) == ["g", "h"]
    assert codes.tolist() == [2, 0, 2, 1]
    assert codes.dtype == np.int32


def test_a_combination_is_found_component_by_component():
    _, levels = encode([["b", "a", "b"], [2, 1, 3]], "g:h", ["g", "h"])
    frame = Table(
        pl.DataFrame({"g": ["a", "a", "c", None, "b"], "h": [1.0, 2, 1, 1, 3]})
    )
    found = lookup(levels, [frame.labels(0), frame.labels(1)])
    assert found.tolist() == [0, -1, -1, -1, 2]
    assert found.dtype == np.int32


@pytest.mark.parametrize("n_columns", [2, 3, 5])
@pytest.mark.parametrize("n_labels", [3, 400])
def test_combinations_agree_with_pandas(n_columns, n_labels):
    rng = np.random.default_rng(n_columns)
    frame = pd.DataFrame(rng.integers(0, n_labels, (500, n_columns)))
    labels = [frame[j] for j in frame]
    codes, levels = encode(labels, "g", list(frame))
    np.testing.assert_array_equal(codes, frame.groupby(list(frame)).ngroup())
    assert [levels[code] for code in codes] == list(frame.itertuples(index=False))
    np.testing.assert_array_equal(lookup(levels, labels), codes)
    other = pd.DataFrame(rng.integers(0, n_labels + 1, (500, n_columns)))
    expected = [
        levels.get_loc(key) if key in levels else -1
        for key in other.itertuples(index=False, name=None)
    ]
    np.testing.assert_array_equal(lookup(levels, [other[j] for j in other]), expected)


def test_the_number_of_possible_combinations_may_exceed_64_bits():
    n = 20_000
    rng = np.random.default_rng(0)
    labels = [rng.permutation(n) for _ in range(6)]
    assert n**6 > 2**64
    codes, levels = encode(labels, "g", list("abcdef"))
    np.testing.assert_array_equal(codes, labels[0])
    np.testing.assert_array_equal(lookup(levels, labels), labels[0])


def test_a_combination_needs_all_its_columns():
    _, levels = encode([["a"], ["b"]], "g:h", ["g", "h"])
    with pytest.raises(ValueError, match="made of 2 columns, got 1"):
        lookup(levels, [["a"]])


@pytest.mark.parametrize("slopes", ["hours", 1, ["hours"], {"school": "hours"}])
def test_one_slope_needs_no_list(pupils, slopes):
    (term,) = resolve_terms(pupils, "school", random_slopes=slopes)
    assert term.effects == ("Intercept", "hours")


# Lookup


@pytest.mark.parametrize(
    ("levels", "labels", "expected"),
    [
        ([1, 2], [1.0, 1.5, 2.0, np.inf, np.nan], [0, -1, 1, -1, -1]),
        ([1, 2], ["1", "02", "2.0", "2x"], [0, 1, 1, -1]),
        (["1", "2"], [1, 2.0, np.uint8(2)], [0, 1, 1]),
        (["3", "03"], [3], [-1]),
        ([1, "1"], ["1", 1], [1, 0]),
        ([2**60, 2**60 + 1], [str(2**60 + 1)], [1]),
        ([2**60, 2**60 + 1], [-9.5, 2**60 + 1, 2**60], [-1, 1, 0]),
        ([0.5, 2**60 + 1, 2**60 + 2], [2**60 + 2, 2**60 + 1], [2, 1]),
        (np.array([0.1, 0.2], dtype="float32"), [0.2, "0.10"], [1, 0]),
        (["True", "False"], [True, False], [1, 0]),
        ([True, False], ["False", "yes"], [0, -1]),
        ([1.0, 2.5], [1, 2], [0, -1]),
        ([2**53 + 1], [2.0**53], [-1]),
        (np.array([1, 2], dtype="int8"), [257, 1, -1], [-1, 0, -1]),
        (np.array([1, 2], dtype="uint64"), [-1, 2], [-1, 1]),
        ([False, True], [1.0, 0.0, 2.0], [1, 0, -1]),
        (["a"], ["A", "a ", "a", None], [-1, -1, 0, -1]),
    ],
)
def test_a_label_is_its_level_where_they_are_equal(levels, labels, expected):
    _, levels = encode([levels], "g")
    assert lookup(levels, [labels]).tolist() == expected


def test_dates_are_found_whatever_holds_them():
    days = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]
    containers = [
        days,
        np.array(days, dtype="datetime64[D]"),
        pd.to_datetime(pd.Series(days)),
        pd.DatetimeIndex(days).as_unit("ns"),
        Table(pl.DataFrame({"g": days})).labels(0),
    ]
    for seen in containers:
        _, levels = encode([seen], "g")
        for labels in containers:
            assert lookup(levels, [labels]).tolist() == [0, 1]
        assert lookup(levels, [["2020-01-02", "1 Jan 2020"]]).tolist() == [1, -1]
        _, text = encode([["2020-01-01", "2020-01-02"]], "g")
        assert lookup(text, [seen]).tolist() == [0, 1]
    _, levels = encode([pd.Series(pd.DatetimeIndex(days, tz="UTC"))], "g")
    assert lookup(levels, [days]).tolist() == [-1, -1]


def test_an_interval_is_found_as_itself_and_not_by_its_points():
    cut = pd.cut(pd.Series([1.0, 9.0]), [0, 5, 10])
    _, levels = encode([cut], "g")
    assert lookup(levels, [cut]).tolist() == [0, 1]
    assert lookup(levels, [[1.0, 9.0]]).tolist() == [-1, -1]


def test_one_row_and_no_rows_are_looked_up():
    _, levels = encode([["a", "b"]], "g")
    assert lookup(levels, [["b"]]).tolist() == [1]
    assert lookup(levels, [[]]).tolist() == []
    _, levels = encode([["a", "b"], [1, 2]], "g:h", ["g", "h"])
    assert lookup(levels, [["b"], [2]]).tolist() == [1]
    assert lookup(levels, [[], []]).tolist() == []


@pytest.mark.parametrize(
    "labels",
    [[["b", "a"]], [[3, 1]], [[("b", 1), ("a", 2)]], [["b", "a"], [1, 2]]],
)
def test_levels_survive_pickling(labels):
    codes, levels = encode(labels, "g", list("gh")[: len(labels)])
    again = pickle.loads(pickle.dumps(levels))
    pd.testing.assert_index_equal(again, levels)
    np.testing.assert_array_equal(lookup(again, labels), codes)


# Reports on unseen labels


def test_a_report_names_factor_rows_and_labels():
    labels = [["a", "y", "z", "y", None]]
    codes = lookup(pd.Index(["a"]), labels)
    assert unseen_report("county", labels, codes) == (
        "the factor 'county': 4 of 5 rows have a label that fit has not seen "
        "('y', 'z', None)"
    )


def test_a_report_on_one_row_names_the_row():
    report = unseen_report("g", [pd.Series(["a", "z"])], np.array([0, -1]))
    assert report == "the factor 'g': row 1 has a label that fit has not seen ('z')"


def test_a_report_shows_five_labels_at_most():
    labels = np.arange(8)
    report = unseen_report("g", [labels], np.full(8, -1))
    assert report.endswith("(0, 1, 2, 3, 4, ...)")


def test_a_report_shows_the_labels_of_a_combination():
    labels = [np.array(["a", "b"]), pd.Series([1, 2], index=[5, 6])]
    report = unseen_report("g:h", labels, np.array([0, -1]))
    assert report.endswith("row 1 has a label that fit has not seen (('b', 2))")


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (np.array(["z"]), "'z'"),
        (pd.Categorical(["z"]), "'z'"),
        (pd.Index(["z"]), "'z'"),
        (Table(pl.DataFrame({"g": ["z"]})).labels(0), "'z'"),
        (np.array([7]), "7"),
        (
            np.array(["2020"], dtype="datetime64[ns]"),
            "Timestamp('2020-01-01 00:00:00')",
        ),
    ],
)
def test_a_report_shows_labels_without_their_container(labels, shown):
    report = unseen_report("g", [labels], np.array([-1]))
    assert report.endswith(f"({shown})")


@pytest.mark.parametrize(
    ("levels", "labels", "doubt"),
    [
        (["a", "b"], [1, 2], "fit saw labels of type str, such as 'a', and no row"),
        ([1, 2], ["x"], "these are of type str, such as 'x'"),
        ([1, 2], ["x", 2], None),
        ([1, 2], [3, 4], None),
        (["1", "01"], [1], "the label 1 (int) is the name of several levels"),
        ([1, 2], ["1", "01"], "the labels '1' (str) and '01' (str) are both read as"),
        ([True, False], ["1"], "these are of type str"),
    ],
)
def test_labels_of_another_type_are_doubted_where_no_name_settles_it(
    levels, labels, doubt
):
    doubts = []
    lookup(encode([levels], "g")[1], [labels], doubts)
    assert len(doubts) == (doubt is not None)
    assert not doubts or doubt in doubts[0]
    report = unseen_report("g", [labels], np.full(len(labels), -1), doubts)
    assert not doubts or report.endswith(doubts[0])


def test_two_labels_with_one_name_are_one_level_of_an_update():
    codes, found, place = extend(pd.Index([1, 2]), [["02", "x", "2", "1"]], "g")
    assert codes.tolist() == [0, 2, 0, 1]
    assert found.tolist() == ["02", "1", "x"]
    assert place.tolist() == [1, 0, -1]


def test_there_is_nothing_to_report_when_all_is_seen():
    assert unseen_report("g", [["a"]], np.array([0])) == ""
