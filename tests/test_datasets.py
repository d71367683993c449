"""Stored data are what their descriptions say, artificial data what was asked for."""

import ast
import re
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skglmm
from skglmm import datasets
from skglmm.datasets import make_mixed_regression

# loader: (X columns, label columns with their levels, rows, target, sum of the target)
TABLES = {
    "sleepstudy": (["Days", "Subject"], {"Subject": 18}, 180, "Reaction", 53731.4205),
    "radon": (
        ["floor", "county", "log_uranium"],
        {"county": 85},
        919,
        "log_radon",
        1125.428226,
    ),
    "insteval": (
        ["s", "d", "studage", "lectage", "service", "dept"],
        {"s": 2972, "d": 1128, "dept": 14},
        73421,
        "y",
        235369,
    ),
    "cbpp": (
        ["herd", "period", "size"],
        {"herd": 15, "period": 4},
        56,
        "incidence",
        99,
    ),
    "grouseticks": (
        ["INDEX", "BROOD", "LOCATION", "YEAR", "HEIGHT", "cHEIGHT"],
        {"INDEX": 403, "BROOD": 118, "LOCATION": 63, "YEAR": 3},
        403,
        "TICKS",
        2567,
    ),
    "contraception": (
        ["woman", "district", "livch", "age", "urban", "ch"],
        {"woman": 1934, "district": 60, "livch": 4, "urban": 2, "ch": 2},
        1934,
        "usen",
        759,
    ),
    "penicillin": (
        ["plate", "sample"],
        {"plate": 24, "sample": 6},
        144,
        "diameter",
        3308,
    ),
    "pastes": (
        ["batch", "cask", "sample"],
        {"batch": 10, "cask": 3, "sample": 30},
        60,
        "strength",
        3603.2,
    ),
    "dyestuff": (["Batch"], {"Batch": 6}, 30, "Yield", 45825),
    "dyestuff2": (["Batch"], {"Batch": 6}, 30, "Yield", 169.968),
}
SOURCES = {
    "sleepstudy": "Belenky",
    "radon": "Gelman",
    "insteval": "ETH Zurich",
    "cbpp": "Lesnoff",
    "grouseticks": "Elston",
    "contraception": "Huq",
    "penicillin": "Davies",
    "pastes": "Davies",
    "dyestuff": "Davies",
    "dyestuff2": "Box",
}
# lme4's estimate of the intercept in the model each description ends with.
INTERCEPTS = {
    "sleepstudy": 251.4051,
    "radon": 1.4616,
    "insteval": 3.2826,
    "cbpp": -1.3992,
    "grouseticks": 0.3728,
    "contraception": -1.0354,
    "penicillin": 22.9722,
    "pastes": 60.0533,
    "dyestuff": 1527.5,
    "dyestuff2": 5.6656,
}
COUNTS = {"insteval", "cbpp", "grouseticks", "contraception"}

each_table = pytest.mark.parametrize("name", TABLES)


def load(name, **options):
    return getattr(datasets, f"load_{name}")(**options)


def described_code(name):
    """Python code at the end of a description."""
    block = load(name).DESCR.split("and here::\n")[1]
    lines = re.match(r"(?:\n|    .*\n)*", block).group()
    return textwrap.dedent(lines)


@each_table
def test_a_table_has_the_documented_rows_columns_and_levels(name):
    columns, levels, n_rows, target, total = TABLES[name]
    X, y = load(name, return_X_y=True, as_frame=True)
    assert X.columns.tolist() == columns
    assert X.shape == (n_rows, len(columns))
    assert {c: X[c].nunique() for c in levels} == levels
    assert y.name == target
    assert_allclose(y.sum(), total, rtol=1e-7)


@each_table
def test_labels_are_strings_and_everything_else_is_a_number_without_gaps(name):
    columns, levels, *_ = TABLES[name]
    frame = load(name, as_frame=True).frame
    assert not frame.isna().any(axis=None)
    for column in columns:
        if column in levels:
            assert all(type(label) is str for label in frame[column])
        else:
            assert frame[column].dtype in (np.int64, np.float64)
    assert frame.iloc[:, -1].dtype == (np.int64 if name in COUNTS else np.float64)


@each_table
def test_codes_and_categories_of_the_arrays_give_back_the_frame(name):
    as_frame, bunch = load(name, as_frame=True), load(name)
    assert bunch.data.dtype == np.float64
    assert bunch.frame is None
    assert set(bunch.categories) == set(TABLES[name][1])
    for k, column in enumerate(bunch.feature_names):
        values = bunch.data[:, k]
        if column in bunch.categories:
            labels = bunch.categories[column]
            assert labels.tolist() == sorted(labels)
            values = labels[values.astype(int)]
        assert_array_equal(values, as_frame.data[column].to_numpy())
    assert isinstance(bunch.target, np.ndarray)
    assert_array_equal(bunch.target, as_frame.target)


@each_table
def test_a_bunch_has_the_fields_of_scikit_learn(name):
    columns, _, _, target, _ = TABLES[name]
    bunch = load(name, as_frame=True)
    assert bunch.feature_names == columns
    expected = ["N", "Y"] if name == "contraception" else [target]
    assert bunch.target_names == expected
    pd.testing.assert_frame_equal(bunch.frame[columns], bunch.data)
    pd.testing.assert_series_equal(bunch.frame[target], bunch.target)
    assert bunch.frame.shape[1] == len(columns) + 1
    assert bunch.filename.endswith(f"{name}.csv.gz")


@each_table
def test_return_X_y_gives_what_the_bunch_holds(name):
    bunch = load(name)
    X, y = load(name, return_X_y=True)
    assert_array_equal(X, bunch.data)
    assert_array_equal(y, bunch.target)


@each_table
def test_a_description_names_its_source_and_every_column(name):
    columns, _, n_rows, target, _ = TABLES[name]
    text = load(name).DESCR
    assert SOURCES[name] in text.split(".. rubric:: Source")[1]
    assert f":Rows: {n_rows:,}" in text
    for column in [*columns, target]:
        assert re.search(rf"^``{column}`` +(label|int|float) ", text, flags=re.M)


@each_table
def test_a_description_ends_with_code_for_this_data_set(name):
    code = described_code(name)
    ast.parse(code)
    assert f"load_{name}(return_X_y=True, as_frame=True)" in code


@pytest.mark.filterwarnings("ignore:.*variance of 'Batch' is estimated as zero")
@each_table
def test_the_code_of_a_description_gives_the_intercept_it_states(name):
    code, scope = described_code(name), {}
    estimator = re.search(r"from skglmm import (\w+)", code).group(1)
    if not hasattr(skglmm, estimator):
        pytest.skip(f"skglmm has no {estimator} yet")
    exec(code, scope)
    intercept = np.ravel(scope["model"].intercept_)[0]
    # The smallest of their standard errors is 0.03.
    assert_allclose(intercept, INTERCEPTS[name], rtol=1e-4, atol=1e-2)


def test_no_description_is_about_another_data_set():
    titles = {name: load(name).DESCR.splitlines()[0] for name in TABLES}
    assert titles == {name: f".. _{name}_dataset:" for name in TABLES}


def test_mean_reaction_time_is_298_5_milliseconds():
    _, y = datasets.load_sleepstudy(return_X_y=True)
    assert round(y.mean(), 2) == 298.51


def test_subjects_keep_the_labels_of_the_study():
    X, _ = datasets.load_sleepstudy(return_X_y=True, as_frame=True)
    assert X["Subject"].unique()[:3].tolist() == ["308", "309", "310"]


def test_a_radon_reading_of_zero_is_stored_as_log_of_a_tenth():
    _, y = datasets.load_radon(return_X_y=True)
    assert_allclose(y.min(), np.log(0.1), rtol=1e-12)


def test_new_cases_never_exceed_the_herd():
    X, y = datasets.load_cbpp(return_X_y=True, as_frame=True)
    assert (y <= X["size"]).all()


def test_contraception_has_classes_without_copies_of_the_target():
    bunch = datasets.load_contraception(as_frame=True)
    assert set(bunch.target) == {0, 1}
    assert not {"use", "usen"} & set(bunch.data.columns)


def test_casks_are_nested_in_batches_and_plates_cross_samples():
    pastes = datasets.load_pastes(as_frame=True).data
    assert (pastes.groupby("sample")["batch"].nunique() == 1).all()
    penicillin = datasets.load_penicillin(as_frame=True).data
    assert (penicillin.groupby("plate")["sample"].nunique() == 6).all()


def test_changing_a_loaded_table_leaves_the_next_one_alone():
    first, _ = datasets.load_dyestuff(return_X_y=True, as_frame=True)
    first.loc[:, "Batch"] = "Z"
    again, _ = datasets.load_dyestuff(return_X_y=True, as_frame=True)
    assert again["Batch"].nunique() == 6


@pytest.mark.parametrize("option", ["return_X_y", "as_frame"])
def test_an_option_that_is_no_bool_is_refused(option):
    with pytest.raises(TypeError, match=f"{option} must be True or False.*'pandas'"):
        datasets.load_radon(**{option: "pandas"})


def test_every_public_name_exists_and_every_table_has_a_loader():
    assert {f"load_{name}" for name in TABLES} < set(datasets.__all__)
    assert all(callable(getattr(datasets, name)) for name in datasets.__all__)


def test_importing_the_data_sets_leaves_tensorflow_out():
    code = (
        "import sys, skglmm.datasets as d; d.load_dyestuff(); "
        "d.make_mixed_regression(random_state=0); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- make_mixed_regression -------------------------------------------------------


def test_columns_are_features_then_trials_then_factors():
    X, y = make_mixed_regression(
        40, 2, n_groups=[5, 3], family="binomial", random_state=0
    )
    assert X.columns.tolist() == ["x0", "x1", "trials", "g0", "g1"]
    assert X.shape == (40, 5)
    assert (y.name, y.shape) == ("y", (40,))


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli", "binomial"])
def test_frame_and_array_hold_the_same_data(family):
    options = {"n_groups": [5, 3], "family": family, "random_state": 1}
    frame, y_frame = make_mixed_regression(**options)
    array, y_array = make_mixed_regression(**options, as_frame=False)
    assert array.dtype == np.float64
    assert_array_equal(frame.to_numpy(dtype=float), array)
    assert isinstance(y_frame, pd.Series)
    assert_array_equal(y_frame, y_array)
    assert y_array.dtype == (np.float64 if family == "gaussian" else np.int64)


def test_an_int_gives_the_same_data_and_another_int_gives_others():
    X, y = make_mixed_regression(random_state=3)
    X_again, y_again = make_mixed_regression(random_state=3)
    _, y_other = make_mixed_regression(random_state=4)
    pd.testing.assert_frame_equal(X, X_again)
    pd.testing.assert_series_equal(y, y_again)
    assert not np.allclose(y, y_other)


def test_seeds_mean_what_they_mean_in_scikit_learn():
    _, from_int = make_mixed_regression(random_state=3)
    _, from_state = make_mixed_regression(random_state=np.random.RandomState(3))
    assert_array_equal(from_int, from_state)

    generator = np.random.default_rng(3)
    _, first = make_mixed_regression(random_state=generator)
    _, second = make_mixed_regression(random_state=generator)
    _, fresh = make_mixed_regression(random_state=np.random.default_rng(3))
    assert_array_equal(first, fresh)
    assert not np.allclose(first, second)

    saved = np.random.get_state()
    try:
        np.random.seed(3)
        _, from_global = make_mixed_regression()
    finally:
        np.random.set_state(saved)
    assert_array_equal(from_int, from_global)


def test_a_gaussian_response_without_noise_is_the_linear_predictor():
    X, y, truth = make_mixed_regression(
        300,
        3,
        n_groups=[12, 4],
        n_random_slopes=2,
        intercept=2.0,
        noise=0.0,
        return_effects=True,
        random_state=0,
    )
    b0 = truth.random_effects["g0"].loc[X["g0"]].to_numpy()
    b1 = truth.random_effects["g1"].loc[X["g1"]].to_numpy()
    features = X[["x0", "x1", "x2"]].to_numpy()
    eta = 2.0 + features @ truth.coef + b0[:, 0] + b1[:, 0]
    eta += (b0[:, 1:] * features[:, :2]).sum(axis=1)
    assert_allclose(y, eta, rtol=1e-10, atol=1e-10)
    assert truth.random_effects["g0"].columns.tolist() == ["Intercept", "x0", "x1"]
    assert (truth.intercept, truth.noise) == (2.0, 0.0)


def test_variance_between_groups_is_group_std_squared():
    J = 20_000
    _, _, truth = make_mixed_regression(
        10, n_groups=[J, J], group_std=[2.0, 0.5], return_effects=True, random_state=0
    )
    for name, std in {"g0": 2.0, "g1": 0.5}.items():
        variance = truth.random_effects[name]["Intercept"].var()
        # The sample variance of J normals has relative sd sqrt(2 / J): allow four.
        assert_allclose(variance, std**2, rtol=4 * np.sqrt(2 / J))
        assert_allclose(truth.covariance[name], [[std**2]])


def test_group_means_of_the_response_vary_as_asked():
    J, m, std, noise = 2000, 25, 1.5, 2.0
    X, y = make_mixed_regression(
        J * m,
        0,
        n_groups=J,
        group_std=std,
        noise=noise,
        balance="balanced",
        random_state=0,
    )
    by_group = y.groupby(X["g0"])
    assert_allclose(
        by_group.mean().var(), std**2 + noise**2 / m, rtol=4 * np.sqrt(2 / J)
    )
    assert_allclose(
        by_group.var().mean(), noise**2, rtol=4 * np.sqrt(2 / (J * (m - 1)))
    )


def test_effects_of_the_first_factor_have_the_given_covariance():
    sigma = np.array([[1.0, -0.6, 0.0], [-0.6, 0.5, 0.1], [0.0, 0.1, 0.2]])
    J = 50_000
    _, _, truth = make_mixed_regression(
        10,
        n_groups=[J, 3],
        n_random_slopes=2,
        covariance=sigma,
        return_effects=True,
        random_state=0,
    )
    assert_array_equal(truth.covariance["g0"], sigma)
    # sd of a sample covariance: sqrt((s_ii s_jj + s_ij^2) / J); allow four.
    sd = np.sqrt((np.outer(np.diag(sigma), np.diag(sigma)) + sigma**2) / J)
    error = np.abs(truth.random_effects["g0"].cov() - sigma).to_numpy()
    assert (error < 4 * sd).all()


def test_a_singular_covariance_is_drawn_from_its_subspace():
    _, _, truth = make_mixed_regression(
        n_random_slopes=1,
        covariance=[[1.0, 2.0], [2.0, 4.0]],
        return_effects=True,
        random_state=0,
    )
    b = truth.random_effects["g0"]
    assert_allclose(b["x0"], 2 * b["Intercept"], atol=1e-7)


def test_slope_std_gives_independent_slopes():
    J = 20_000
    _, _, truth = make_mixed_regression(
        10,
        n_groups=J,
        n_random_slopes=2,
        slope_std=[0.5, 3.0],
        return_effects=True,
        random_state=0,
    )
    assert_array_equal(truth.covariance["g0"], np.diag([1.0, 0.25, 9.0]))
    correlations = truth.random_effects["g0"].corr().to_numpy() - np.eye(3)
    assert np.abs(correlations).max() < 4 / np.sqrt(J)


@pytest.mark.parametrize(
    ("family", "mean", "variance"),
    [
        ("gaussian", 0.7, 1.0),
        ("poisson", np.exp(0.7), np.exp(0.7)),
        ("bernoulli", 0.668188, 0.668188 * (1 - 0.668188)),
    ],
)
def test_response_has_mean_and_variance_of_its_family(family, mean, variance):
    n = 40_000
    _, y = make_mixed_regression(
        n, 0, group_std=0.0, intercept=0.7, family=family, random_state=0
    )
    assert abs(y.mean() - mean) < 4 * np.sqrt(variance / n)
    # No family here has a kurtosis above 4: var(s^2) <= 3 variance^2 / n.
    assert_allclose(y.var(), variance, rtol=4 * np.sqrt(3 / n))


def test_binomial_successes_are_a_share_of_the_trials():
    X, y = make_mixed_regression(
        40_000, 0, group_std=0.0, intercept=0.7, family="binomial", random_state=0
    )
    p, trials = 0.668188, X["trials"]
    assert (trials.min(), trials.max()) == (1, 20)
    assert ((0 <= y) & (y <= trials)).all()
    share = y.sum() / trials.sum()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / trials.sum())


def test_balanced_levels_differ_by_one_row_at_most_and_stay_crossed():
    X, _ = make_mixed_regression(
        1003, n_groups=[10, 10], balance="balanced", random_state=0
    )
    for g in ["g0", "g1"]:
        counts = X[g].value_counts()
        assert len(counts) == 10
        assert counts.max() - counts.min() == 1
    assert X.groupby("g0")["g1"].nunique().min() > 5


def test_power_law_gives_the_first_level_twice_the_rows_of_the_second():
    n, J = 100_000, 50
    X, _ = make_mixed_regression(n, n_groups=J, balance="power", random_state=0)
    p = 1 / np.arange(1, J + 1)
    p /= p.sum()
    counts = X["g0"].value_counts().reindex(range(J), fill_value=0).to_numpy()
    assert (np.abs(counts - n * p) < 4.5 * np.sqrt(n * p * (1 - p))).all()
    # ... and the rows come in no order.
    assert abs(X["g0"].autocorr()) < 4 / np.sqrt(n)


@pytest.mark.parametrize("balance", ["random", "balanced", "power"])
def test_nested_levels_have_one_parent_each(balance):
    X, _ = make_mixed_regression(
        2000, n_groups=[60, 12, 3], nested=True, balance=balance, random_state=0
    )
    assert (X.groupby("g0")["g1"].nunique() == 1).all()
    assert (X.groupby("g1")["g2"].nunique() == 1).all()
    assert X.groupby("g1")["g0"].nunique().max() == 5
    assert X["g2"].nunique() == 3


def test_crossed_levels_meet_many_levels_of_the_other_factor():
    X, _ = make_mixed_regression(2000, n_groups=[20, 4], random_state=0)
    assert (X.groupby("g0")["g1"].nunique() == 4).all()


def test_given_coefficients_are_used_and_not_shared():
    coef = np.array([1.0, -2.0])
    X, y, truth = make_mixed_regression(
        50,
        2,
        coef=coef,
        group_std=0.0,
        noise=0.0,
        return_effects=True,
        random_state=0,
    )
    assert_allclose(y, X["x0"] - 2 * X["x1"])
    truth.coef[0] = 100.0
    assert coef[0] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples == 0, must be >= 1"),
        ({"n_groups": []}, "n_groups is empty"),
        ({"n_groups": [5, 0]}, "factor 'g1' == 0, must be >= 1"),
        ({"n_random_slopes": 4}, "n_random_slopes=4 is more than n_features=3"),
        ({"family": "gamma"}, "family must be one of .'gaussian', .*, got 'gamma'"),
        ({"balance": "even"}, "balance must be one of .'random', .*, got 'even'"),
        ({"nested": True}, "needs two factors or more"),
        ({"nested": True, "n_groups": [5, 9]}, "finest factor first"),
        ({"coef": [1.0, 2.0]}, r"coef has shape \(2,\): give 3 numbers"),
        ({"coef": [1.0, 2.0, np.nan]}, "coef must be finite"),
        ({"group_std": [1.0, 2.0]}, r"group_std has shape \(2,\)"),
        ({"noise": -1.0}, "noise is a standard deviation, got the negative"),
        ({"covariance": [[1.0, 0.0], [0.0, 1.0]]}, r"shape \(2, 2\).*0 random slopes"),
        (
            {"n_random_slopes": 1, "covariance": [[1.0, 2.0], [2.0, 1.0]]},
            "negative eigenvalue -1",
        ),
        (
            {"n_random_slopes": 1, "covariance": [[1.0, 0.5], [0.0, 1.0]]},
            "symmetric",
        ),
        ({"family": "poisson", "intercept": 60.0}, "linear predictor of row .* Lower"),
    ],
)
def test_an_impossible_request_says_what_to_change(options, message):
    with pytest.raises(ValueError, match=message):
        make_mixed_regression(**options)


def test_a_number_of_levels_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match="n_groups of factor 'g0'"):
        make_mixed_regression(n_groups=2.5)
