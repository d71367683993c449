"""Columns of X by name or position, as labels and as numbers."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from skglmm._reading.table import Table
from skglmm._reading.words import did_you_mean, listing

RADON = {
    "log_radon": [0.8, 1.1, -0.2],
    "floor": [1, 0, 0],
    "county": ["AITKIN", "ANOKA", "AITKIN"],
}


def as_objects(columns):
    return np.array(list(zip(*columns.values(), strict=True)), dtype=object)


CONTAINERS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "array": as_objects,
    "list": lambda columns: as_objects(columns).tolist(),
}
FRAMES = ["pandas", "polars"]
ARRAYS = ["array", "list"]


@pytest.fixture(params=CONTAINERS)
def make(request):
    """Builder of a table in one of the containers."""
    return lambda columns: Table(CONTAINERS[request.param](columns))


@pytest.fixture(params=FRAMES)
def make_frame(request):
    """Builder of a table with column names."""
    return lambda columns: Table(CONTAINERS[request.param](columns))


def test_a_table_knows_its_shape(make):
    table = make(RADON)
    assert (table.n_rows, table.n_columns) == (3, 3)


@pytest.mark.parametrize("container", FRAMES)
def test_a_dataframe_has_names(container):
    table = Table(CONTAINERS[container](RADON))
    assert table.names == ["log_radon", "floor", "county"]
    assert all(type(name) is str for name in table.names)
    assert not table.is_array
    assert table.effect_name(1) == "floor"
    assert table.describe(1) == "column 'floor'"


@pytest.mark.parametrize("container", ARRAYS)
def test_an_array_has_no_names(container):
    table = Table(CONTAINERS[container](RADON))
    assert table.names is None
    assert table.is_array
    assert table.effect_name(1) == "x1"
    assert table.describe(1) == "column 1"


@pytest.mark.parametrize("columns", [[0, 1], ["a", 1], [("a", 1), ("a", 2)]])
def test_a_dataframe_whose_names_are_not_all_strings_has_no_names(columns):
    frame = pd.DataFrame(np.zeros((2, 2)))
    frame.columns = columns
    table = Table(frame)
    assert table.names is None
    with pytest.raises(ValueError, match="'g' is a column name, but X is a dataframe"):
        table.position("g", "groups")


# Positions


def test_a_name_is_resolved_to_its_position(make_frame):
    assert make_frame(RADON).position("county", "groups") == 2


@pytest.mark.parametrize(
    ("key", "position"), [(0, 0), (2, 2), (-1, 2), (-3, 0), (np.int64(1), 1)]
)
def test_an_int_is_a_position_in_every_container(make, key, position):
    found = make(RADON).position(key, "groups")
    assert found == position
    assert type(found) is int


def test_an_int_is_a_position_even_where_names_are_ints():
    frame = pd.DataFrame([[1.0, 2.0]], columns=[1, 0])
    np.testing.assert_array_equal(Table(frame).labels(0), [1.0])


@pytest.mark.parametrize("key", [3, -4])
def test_a_position_out_of_range_says_the_range(make, key):
    message = f"offset: position {key} is out of range, X has 3 columns.*0 to 2.*-3"
    with pytest.raises(ValueError, match=message):
        make(RADON).position(key, "offset")


@pytest.mark.parametrize("key", [True, np.True_, 1.0, None, ("county",)])
def test_a_key_is_a_name_or_a_position(make, key):
    with pytest.raises(TypeError, match=r"groups: a column is a name .* or a position"):
        make(RADON).position(key, "groups")


def test_an_unknown_name_is_reported_with_the_columns_and_the_closest(make_frame):
    message = (
        r"groups: 'County' is not a column of X; columns are "
        r"\['log_radon', 'floor', 'county'\]\. Did you mean 'county'\?"
    )
    with pytest.raises(ValueError, match=message):
        make_frame(RADON).position("County", "groups")


def test_a_name_like_no_other_gets_no_proposal(make_frame):
    with pytest.raises(ValueError, match="not a column") as error:
        make_frame(RADON).position("zzz", "groups")
    assert "Did you mean" not in str(error.value)


def test_at_most_ten_columns_are_listed(make_frame):
    table = make_frame({f"column_{j}": [0.0] for j in range(12)})
    with pytest.raises(ValueError, match=r"'column_9', \.\.\. and 2 more\]") as error:
        table.position("g", "groups")
    assert "column_10" not in str(error.value)


def test_the_prefix_of_a_column_transformer_is_recognised(make_frame):
    table = make_frame({"num__floor": [0.0], "remainder__county": ["a"]})
    message = "write 'remainder__county', or set verbose_feature_names_out=False"
    with pytest.raises(ValueError, match=message):
        table.position("county", "groups")


def test_two_prefixed_columns_are_not_guessed_between(make_frame):
    table = make_frame({"a__g": [0.0], "b__g": [0.0]})
    with pytest.raises(ValueError, match="'g' is not a column") as error:
        table.position("g", "groups")
    assert "prefix" not in str(error.value)


@pytest.mark.parametrize("container", ARRAYS)
def test_a_name_needs_a_dataframe(container):
    table = Table(CONTAINERS[container](RADON))
    message = r"groups: 'county' is a column name, but X is an array: .*0 to 2"
    with pytest.raises(ValueError, match=message):
        table.position("county", "groups")


def test_a_repeated_name_is_ambiguous():
    frame = pd.DataFrame([[1, 2, 3]], columns=["g", "x", "g"])
    table = Table(frame)
    with pytest.raises(ValueError, match=r"2 columns of X are named 'g'.*\[0, 2\]"):
        table.position("g", "groups")
    assert table.position("x", "offset") == 1
    np.testing.assert_array_equal(table.numeric([0, 2]), [[1.0, 3.0]])


# Numbers


def test_columns_become_floats_in_the_order_asked_for(make):
    values = make(RADON).numeric([1, 0])
    np.testing.assert_array_equal(values, [[1, 0.8], [0, 1.1], [0, -0.2]])
    assert values.dtype == np.float64
    assert values.flags.c_contiguous


def test_no_columns_are_an_empty_matrix(make):
    assert make(RADON).numeric([]).shape == (3, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float32", "bool", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numeric_arrays_of_any_type_become_floats(dtype, order):
    X = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype, order=order)
    for positions in ([0, 1, 2], [2, 0]):
        values = Table(X).numeric(positions)
        np.testing.assert_array_equal(values, X[:, positions].astype(float))
        assert values.flags.c_contiguous


def test_a_float_array_that_fits_is_not_copied():
    X = np.zeros((4, 2))
    assert np.shares_memory(Table(X).numeric([0, 1]), X)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 0], dtype="Int64"),
        pd.Series([1, 0], dtype="Float32"),
        pd.Series([True, False], dtype="boolean"),
        pd.Series([True, False]),
        pd.Series([1, 0], dtype=object),
        pd.Series([True, 0.0], dtype=object),
        pd.Series([decimal.Decimal(1), decimal.Decimal(0)]),
        pd.Series(pd.arrays.SparseArray([1.0, 0.0])),
    ],
    ids=lambda column: str(column.dtype),
)
def test_pandas_columns_of_any_numeric_type_become_floats(column):
    values = Table(pd.DataFrame({"x": column})).numeric([0])
    np.testing.assert_array_equal(values, [[1.0], [0.0]])


@pytest.mark.parametrize(
    "dtype", [pl.Int8, pl.UInt64, pl.Float32, pl.Boolean, pl.Decimal(10, 2)]
)
def test_polars_columns_of_any_numeric_type_become_floats(dtype):
    table = Table(pl.DataFrame({"x": pl.Series([1, 0]).cast(dtype)}))
    np.testing.assert_array_equal(table.numeric([0]), [[1.0], [0.0]])


def test_numbers_do_not_write_through_to_a_dataframe(make_frame):
    table = make_frame({"x": [1.0, 2.0]})
    table.numeric([0])[:] = 0
    np.testing.assert_array_equal(table.numeric([0]), [[1.0], [2.0]])


def test_text_is_reported_with_its_column_and_the_way_out(make):
    table = make(RADON)
    message = (
        f"exposure {table.describe(2)} holds text .'AITKIN' in row 0.: "
        "encode it as numbers, or name it in groups"
    )
    with pytest.raises(ValueError, match=message):
        table.numeric([0, 2], "exposure")


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"x": [None], "g": ["a"]}),
        pd.DataFrame({"x": pd.Categorical([None]), "g": ["a"]}),
        pl.DataFrame({"x": [None], "g": ["a"]}),
        pl.DataFrame({"x": pl.Series([None], dtype=pl.String), "g": ["a"]}),
        np.array([[None, "a"]], dtype=object),
    ],
    ids=["pandas", "categories", "polars", "text", "array"],
)
def test_a_column_of_nothing_is_missing_and_not_text(X):
    with pytest.raises(ValueError, match="Input X contains NaN"):
        Table(X).numeric([0])


def test_text_behind_a_null_is_found():
    frame = pl.DataFrame({"x": [None, "a"]})
    with pytest.raises(ValueError, match=r"holds text \('a' in row 1\)"):
        Table(frame).numeric([0])


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"x": ["1", "2"]}),
        pl.DataFrame({"x": ["1", "2"]}),
        np.array([["1"], ["2"]], dtype=object),
        [["1"], ["2"]],
    ],
    ids=CONTAINERS,
)
def test_digits_in_text_are_not_numbers(X):
    with pytest.raises(ValueError, match=r"holds text \('1' in row 0\)"):
        Table(X).numeric([0])


def test_an_array_of_text_says_how_to_keep_the_numbers():
    table = Table(np.array([[1.5, "a"]]))
    with pytest.raises(ValueError, match="'1.5' in row 0.*dtype=object"):
        table.numeric([0])


def test_a_list_with_text_keeps_its_numbers():
    table = Table([[1.5, "a"], [2.5, "b"]])
    np.testing.assert_array_equal(table.numeric([0]), [[1.5], [2.5]])


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"x": pd.Categorical([1, 2])}),
        pl.DataFrame({"x": pl.Series(["a", "b"], dtype=pl.Categorical)}),
        pl.DataFrame({"x": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"]))}),
    ],
    ids=["pandas", "polars", "enum"],
)
def test_categories_are_not_numbers(X):
    with pytest.raises(ValueError, match="column 'x' holds categories"):
        Table(X).numeric([0])


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, as_objects])
def test_dates_are_not_numbers(container):
    X = container({"x": [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)]})
    with pytest.raises(ValueError, match="column ('x'|0) holds dates"):
        Table(X).numeric([0])


@pytest.mark.parametrize(
    "value",
    [{"foo": "bar"}, [1.0], np.array([1.0]), object()],
    ids=["dict", "list", "array", "object"],
)
def test_other_objects_are_refused_with_their_column_and_row(value):
    column = np.fromiter([1.0, value], dtype=object, count=2)
    message = (
        rf"column 0 holds .* of type {type(value).__name__} in row 1; "
        "an argument must be a string or a real number"
    )
    with pytest.raises(TypeError, match=message):
        Table(column[:, None]).numeric([0])


@pytest.mark.parametrize(
    "value", [{"a": 1, "b": 2}, [1.0, 2.0]], ids=["struct", "list"]
)
def test_a_column_of_records_or_lists_is_refused(value):
    table = Table(pl.DataFrame({"x": [None, value]}))
    with pytest.raises(
        TypeError, match=f"column 'x' holds .*{type(value).__name__}.*1"
    ):
        table.numeric([0])
    nothing = Table(pl.DataFrame({"x": [value, None]})[1:])
    assert np.isnan(nothing.numeric([0], missing=True)).all()


def test_intervals_that_polars_takes_from_pandas_are_refused():
    intervals = pd.IntervalIndex.from_breaks([0.0, 1.0, 2.0])
    with pytest.raises(TypeError, match="column 'x' holds .* in row 0; an argument"):
        Table(pl.DataFrame({"x": intervals})).numeric([0])


def test_whole_numbers_in_a_list_of_rows_keep_all_their_digits():
    table = Table([[2**60 + 1, 0.5], [2**60 + 2, 1.5]])
    assert list(table.labels(0)) == [2**60 + 1, 2**60 + 2]
    assert_array_equal(table.numeric([1])[:, 0], [0.5, 1.5])


def test_a_complex_label_in_a_list_of_rows_is_no_matter_of_other_columns():
    table = Table([[1j, 0.5], [2.0, 1.5]])
    assert list(table.labels(0)) == [1j, 2.0]
    assert_array_equal(table.numeric([1])[:, 0], [0.5, 1.5])
    with pytest.raises(ValueError, match="Complex data not supported: the column 0"):
        table.numeric([0])


@pytest.mark.parametrize(
    "make_X",
    [
        lambda: np.array([[1.0 + 2.0j]]),
        lambda: np.array([[1.0 + 2.0j, "a"]], dtype=object),
        lambda: pd.DataFrame({"x": [1.0 + 2.0j]}),
    ],
    ids=["array", "objects", "pandas"],
)
def test_complex_numbers_are_refused(make_X):
    with pytest.raises(ValueError, match="Complex data not supported"):
        Table(make_X()).numeric([0])


@pytest.mark.parametrize("missing", [np.nan, None])
def test_missing_values_are_reported_with_column_and_row(make, missing):
    table = make({"a": [1.0, 2.0, 3.0], "b": [0.5, missing, missing]})
    message = (
        rf"^Input X contains NaN\.\nFound in offset {table.describe(1)} "
        r"\(NaN or missing in 2 of 3 rows, the first is row 1\)\. Drop these rows"
    )
    with pytest.raises(ValueError, match=message):
        table.numeric([0, 1], "offset")


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_values_are_reported_with_column_and_row(make, infinite):
    table = make({"a": [1.0, 2.0], "b": [0.5, infinite]})
    message = (
        r"Input X contains infinity or a value too large for dtype\('float64'\)\.\n"
        rf"Found in {table.describe(1)} \(infinite in 1 of 2 rows, the first is row 1\)"
    )
    with pytest.raises(ValueError, match=message):
        table.numeric([0, 1])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", object])
def test_pandas_na_is_a_missing_value(dtype):
    frame = pd.DataFrame({"x": pd.Series([1, pd.NA], dtype=dtype)})
    with pytest.raises(ValueError, match=r"contains NaN[\s\S]*column 'x'"):
        Table(frame).numeric([0])


def test_an_int_too_large_for_a_float_is_reported():
    X = np.array([[10**400]], dtype=object)
    with pytest.raises(ValueError, match=r"value too large[\s\S]*column 0"):
        Table(X).numeric([0])


def test_missing_values_elsewhere_do_not_matter(make):
    table = make({"a": [1.0, 2.0], "b": [0.5, None]})
    assert table.numeric([0]).shape == (2, 1)


# Labels


def test_labels_are_what_the_user_gave(make):
    table = make(RADON)
    assert list(table.labels(2)) == RADON["county"]
    assert list(table.labels(1)) == RADON["floor"]


def test_labels_of_an_array_are_a_view():
    X = np.zeros((3, 2))
    assert np.shares_memory(Table(X).labels(1), X)


def test_polars_ints_with_nulls_stay_exact():
    big = 2**53 + 1
    labels = Table(pl.DataFrame({"g": [big, None]})).labels(0)
    assert labels[0] == big
    assert labels[1] is pd.NA


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["b", "a"])])
def test_polars_text_keeps_its_labels_and_nulls(dtype):
    table = Table(pl.DataFrame({"g": pl.Series(["a", None, "b"], dtype=dtype)}))
    labels = pd.Series(table.labels(0)).astype(object)
    assert list(labels[[0, 2]]) == ["a", "b"]
    assert labels.isna().tolist() == [False, True, False]


def test_a_polars_column_of_nulls_is_missing_throughout():
    table = Table(pl.DataFrame({"g": pl.Series([None, None], dtype=pl.String)}))
    assert pd.isna(table.labels(0)).all()


def test_a_polars_enum_keeps_its_order():
    dtype = pl.Enum(["low", "high"])
    labels = Table(pl.DataFrame({"g": pl.Series(["high"], dtype=dtype)})).labels(0)
    assert labels.ordered
    assert list(labels.categories) == ["low", "high"]


def test_polars_instants_keep_their_time_zone():
    when = pd.Timestamp("2020-07-01 12:00", tz="Europe/Rome")
    series = pl.Series([when.to_pydatetime()]).dt.convert_time_zone("Europe/Rome")
    assert Table(pl.DataFrame({"g": series})).labels(0)[0] == when


def test_pyarrow_tables_are_read():
    pa = pytest.importorskip("pyarrow")
    table = Table(pa.table(RADON))
    assert table.names == list(RADON)
    assert list(table.labels(2)) == RADON["county"]
    np.testing.assert_array_equal(table.numeric([1]).ravel(), RADON["floor"])


# What is no table


def test_a_sparse_matrix_is_refused():
    with pytest.raises(TypeError, match="(?i)sparse"):
        Table(scipy.sparse.csr_array(np.eye(3)))


def test_a_lazy_frame_is_refused():
    with pytest.raises(TypeError, match=r"X is a lazy frame .*collect"):
        Table(pl.DataFrame(RADON).lazy())


@pytest.mark.parametrize("X", [np.zeros(3), [1.0, 2.0], np.zeros((2, 2, 2)), 1.0])
def test_a_table_has_two_dimensions(X):
    with pytest.raises(ValueError, match="(Expected 2D array|dim 3)"):
        Table(X)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_an_empty_table_is_refused_in_the_words_of_scikit_learn(container):
    message = r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required"
    with pytest.raises(ValueError, match=message):
        Table(container(np.empty((0, 3))))


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_a_table_without_columns_is_refused_in_the_words_of_scikit_learn(container):
    message = r"0 feature\(s\) \(shape=\(4, 0\)\) while a minimum of 1 is required"
    with pytest.raises(ValueError, match=message):
        Table(container(np.empty((4, 0))))


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_too_few_rows_are_refused(container):
    with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2"):
        Table(container(np.zeros((1, 2))), min_rows=2)


# Words


def test_a_listing_stops_at_ten():
    assert listing(range(3)) == "[0, 1, 2]"
    assert listing(range(11)).endswith("9, ... and 1 more]")


def test_a_proposal_ignores_case_and_names_that_are_no_strings():
    assert did_you_mean("BATCH", ["Batch", 0]) == " Did you mean 'Batch'?"
    assert did_you_mean("Batch", [0, ("Batch",)]) == ""
