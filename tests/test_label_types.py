"""Labels of another type than those of fit: matched by name, or doubted aloud."""

import datetime
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skglmm import GroupEffectEncoder, MixedLinearRegressor, MixedLogisticRegressor

N, J = 120, 6
rng = np.random.default_rng(3)
CODES, X1 = np.arange(N) % J, rng.normal(size=N)
Y = X1 + rng.normal(size=J)[CODES] + 0.5 * rng.normal(size=N)
DAYS = [datetime.date(2024, 2, 27) + datetime.timedelta(days=k) for k in range(J)]

# Labels of six levels in the words of fit, and of a table that comes later.
NAMES = {
    "numbers as text": (range(3, 9), [str(k) for k in range(3, 9)]),
    "with zeros before": (range(3, 9), [f"{k:04d}" for k in range(3, 9)]),
    "with a decimal": (range(3, 9), [f"{k}.0" for k in range(3, 9)]),
    "text as numbers": ([str(k) for k in range(3, 9)], range(3, 9)),
    "text as decimals": ([str(k) for k in range(3, 9)], np.arange(3.0, 9.0)),
    "single as double": (
        np.arange(1, 7, dtype=np.float32) / np.float32(10),
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    ),
    "instants as text": (pd.DatetimeIndex(DAYS), [d.isoformat() for d in DAYS]),
    "text as instants": ([d.isoformat() for d in DAYS], pd.DatetimeIndex(DAYS)),
    "days as text": (DAYS, [f"{d.isoformat()} 00:00:00" for d in DAYS]),
    "categories of text": (range(3, 9), pd.Categorical([str(k) for k in range(3, 9)])),
    "a column of objects": (range(3, 9), np.array(["3", 4, "5", 6.0, "07", 8], object)),
    "periods as text": (
        pd.period_range("2024-01", periods=6, freq="M"),
        [f"2024-{k:02d}" for k in range(1, 7)],
    ),
}


def table(labels):
    labels = pd.Series(labels)
    return pd.DataFrame({"x": X1, "g": labels.iloc[CODES].reset_index(drop=True)})


@pytest.fixture(scope="module")
def expected():
    return MixedLinearRegressor("g").fit(table(range(J)), Y).predict(table(range(J)))


@pytest.mark.parametrize("case", NAMES)
def test_a_label_is_its_level_by_name(case, expected):
    seen, given = map(table, NAMES[case])
    model = MixedLinearRegressor("g", handle_unknown="error").fit(seen, Y)
    np.testing.assert_allclose(model.predict(given), expected, rtol=1e-9)
    one_by_one = [model.predict(given.iloc[[i]])[0] for i in range(J)]
    np.testing.assert_allclose(one_by_one, expected[:J], rtol=1e-9)
    updated = model.update_random_effects(given, Y)
    same = model.update_random_effects(seen, Y)
    assert len(updated.random_effects_["g"]) == J
    np.testing.assert_array_equal(
        updated.random_effects_["g"].to_numpy(), same.random_effects_["g"].to_numpy()
    )
    assert updated.random_effects_["g"].index.equals(model.random_effects_["g"].index)
    encoder = GroupEffectEncoder("g", random_state=0).fit(seen[["g"]], Y)
    np.testing.assert_array_equal(
        encoder.transform(given[["g"]]), encoder.transform(seen[["g"]])
    )


def test_truth_is_matched_with_its_words(expected):
    truth = CODES % 2 == 0
    model = MixedLinearRegressor("g").fit(pd.DataFrame({"x": X1, "g": truth}), Y)
    base = model.predict(pd.DataFrame({"x": X1, "g": truth}))
    for words in (["False", "True"], ["FALSE", "TRUE"]):
        rows = pd.DataFrame({"x": X1, "g": np.array(words)[truth * 1]})
        np.testing.assert_array_equal(model.predict(rows), base)
        back = MixedLinearRegressor("g").fit(rows, Y)
        again = back.predict(pd.DataFrame({"x": X1, "g": truth}))
        np.testing.assert_allclose(again, base, rtol=1e-9)


def test_polars_has_the_same_names(expected):
    model = MixedLinearRegressor("g").fit(table(range(J)), Y)
    text = pl.DataFrame({"x": X1, "g": [f"{k}" for k in CODES]})
    np.testing.assert_allclose(model.predict(text), expected, rtol=1e-9)


def test_parts_of_a_combination_are_matched_each_by_itself():
    rows = table(range(J)).assign(h=CODES % 3)
    model = MixedLinearRegressor([("g", "h")], handle_unknown="error").fit(rows, Y)
    text = rows.assign(h=rows["h"].astype(str), g=rows["g"].astype(float))
    np.testing.assert_array_equal(model.predict(text), model.predict(rows))


DOUBTS = {
    "no name is known": (
        range(J),
        [f"s{k}" for k in range(J)],
        "fit saw labels of type int, such as 0, and no row has one of them: these are "
        "of type str, such as 's0'",
    ),
    "several levels have the name": (
        ["3", "03", "4", "5", "6", "7"],
        [3, 3, 4, 5, 6, 7],
        "the label 3 (int) is the name of several levels that fit has seen, of type "
        "str: give labels of that type",
    ),
    "two labels have the name": (
        range(1, 7),
        ["1", "01", "3", "4", "5", "6"],
        "the labels '01' (str) and '1' (str) are both read as the level 1 (int)",
    ),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_what_no_name_settles_is_said_once(case):
    seen, given, words = DOUBTS[case]
    seen, given = table(seen), table(given)
    model = MixedLinearRegressor("g").fit(seen, Y)
    encoder = GroupEffectEncoder("g", random_state=0).fit(seen[["g"]], Y)
    for call in (
        lambda: model.predict(given),
        lambda: model.update_random_effects(given, Y),
        lambda: encoder.transform(given[["g"]]),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        (warning,) = caught
        text = str(warning.message)
        swapped = words.replace("'01' (str) and '1' (str)", "'1' (str) and '01' (str)")
        assert words in text or swapped in text
        assert warning.filename == __file__


def test_new_levels_of_the_same_type_are_no_surprise():
    """A search over groups predicts rows of which every level is new."""
    model = MixedLinearRegressor("g").fit(table([f"s{k}" for k in range(J)]), Y)
    model.predict(table([f"t{k}" for k in range(J)]))
    model = MixedLinearRegressor("g").fit(table(range(J)), Y)
    model.predict(table(range(100, 100 + J)))
    model.predict(table(["0", "somebody", "1", "2", "3", "4"]))


def test_an_error_is_what_was_asked_for():
    model = MixedLinearRegressor("g", handle_unknown="error").fit(table(range(J)), Y)
    with pytest.raises(ValueError, match="fit saw labels of type int, such as 0"):
        model.predict(table([f"s{k}" for k in range(J)]))


def test_classes_of_new_rows_go_by_name_too():
    y = (Y > 0) * 1
    model = MixedLogisticRegressor("g").fit(table(range(J)), y)
    named = model.update_random_effects(table(range(J)), [str(v) for v in y])
    same = model.update_random_effects(table(range(J)), y)
    np.testing.assert_array_equal(named.random_effects_["g"], same.random_effects_["g"])


def test_levels_of_fit_that_differ_in_type_alone_are_named():
    labels = np.array([3, "3", 4, 5, "x", 7], object)
    with pytest.warns(UserWarning, match=r"3 \(int\) and '3' \(str\) are two levels"):
        model = MixedLinearRegressor("g").fit(table(labels), Y)
    assert len(model.random_effects_["g"]) == J
    assert model.predict(table(labels)).shape == (N,)
