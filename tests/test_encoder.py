"""Effects of groups as features: values, cross-fitting, and scikit-learn's tools."""

import pickle
import warnings

import numpy as np
import oracle_problems as oracles
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_engine_rules import run_python

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_grouseticks, make_mixed_regression
from skglmm.solvers import VI, Laplace


def linear(groups=None, **parameters):
    """An encoder of a target of any number."""
    parameters = {"target_type": "continuous", "random_state": 0, **parameters}
    return GroupEffectEncoder(groups, **parameters)


@pytest.fixture(scope="module")
def data():
    """Two crossed factors and two columns; the effects of the first have slopes."""
    return make_mixed_regression(
        300, 2, n_groups=[20, 6], n_random_slopes=1, random_state=4
    )


# scikit-learn's checks

CROSS_FITTED = dict.fromkeys(
    ("check_transformer_general", "check_transformer_data_not_an_array"),
    "fit_transform encodes each row by the other folds, and transform by all",
)


def cross_fitted(encoder):
    """Checks that want fit_transform to be fit and transform, where it differs."""
    agrees = encoder.groups == 0 and encoder.target_type == "auto"
    return {} if agrees else CROSS_FITTED


@parametrize_with_checks(
    [
        GroupEffectEncoder(0, cv=2),
        linear(0, cv=2, std=False),
    ],
    expected_failed_checks=cross_fitted,
)
# The checks have groups without variance and without a second row: the encoder says so.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


# Not so here: every column a factor. Ten crossed factors take minutes to trace.
@pytest.mark.slow
@parametrize_with_checks(
    [
        GroupEffectEncoder(0, cv=2, estimator=MixedPoissonRegressor()),
    ],
    expected_failed_checks=cross_fitted,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nor_with_counts(estimator, check):
    check(estimator)


# Values

ORACLES = {
    "sleepstudy_slopes": (MixedLinearRegressor(), "reml"),
    "penicillin_crossed": (MixedLinearRegressor(), "reml"),
    "pastes_nested": (MixedLinearRegressor(reml=False), "ml"),
    "poisson_exposure": (MixedPoissonRegressor(solver=Laplace()), "laplace"),
    "binomial_crossed": (MixedBinomialRegressor(solver=Laplace()), "laplace"),
    "bernoulli_slopes": (MixedLogisticRegressor(solver=Laplace()), "laplace"),
}


@pytest.mark.parametrize("name", ORACLES)
def test_features_of_all_rows_are_the_conditional_modes_of_lme4(name):
    model, method = ORACLES[name]
    ref, data = oracles.load(name, method)
    parameters = oracles.estimator_parameters(ref)
    groups = parameters.pop("groups")
    encoder = GroupEffectEncoder(
        groups, estimator=clone(model).set_params(**parameters)
    ).set_output(transform="pandas")
    X = data[oracles.model_columns(ref)]
    features = encoder.fit(X, data["y"]).transform(X)
    answers = oracles.random_effects(ref)
    assert set(answers) == set(groups)
    n_features = 0
    for group, (modes, covariances) in answers.items():
        variances = np.diagonal(covariances, 0, 1, 2)
        theirs = pd.DataFrame(np.sqrt(variances), modes.index, modes.columns)
        for effect in modes:
            prefix = group if effect == "Intercept" else f"{group}_{effect}"
            std = theirs[effect].loc[X[group]].to_numpy()
            off = features[f"{prefix}_effect"] - modes[effect].loc[X[group]].to_numpy()
            assert np.abs(off / std).max() < 1e-3
            assert_allclose(features[f"{prefix}_std"], std, rtol=5e-3)
            n_features += 2
    assert features.shape == (len(X), n_features)


def test_a_group_mean_is_shrunk_by_the_textbooks_factor():
    random = np.random.default_rng(0)
    g = random.choice(list("abcdefgh"), size=60, p=np.arange(1, 9) / 36)
    y = random.normal(size=8)[np.unique(g, return_inverse=True)[1]]
    y = y + random.normal(size=60)
    X = pd.DataFrame({"g": g})
    encoder = linear().fit(X, y)
    model = encoder.estimator_
    prior, noise = model.random_effects_covariance_["g"].item(), model.noise_variance_
    rows = pd.Series(y).groupby(g)
    n = rows.size()
    mean = n * prior / (n * prior + noise) * (rows.mean() - model.intercept_)
    std = np.sqrt(prior * noise / (n * prior + noise))
    new = pd.DataFrame({"g": [*n.index, "new", None]}, dtype=object)
    expected = np.column_stack([[*mean, 0.0, 0.0], [*std, *[np.sqrt(prior)] * 2]])
    assert prior > 0.1
    assert_allclose(encoder.transform(new), expected, rtol=1e-9, atol=1e-12)


# Cross-fitting


def test_a_row_has_the_effects_of_a_model_that_has_not_seen_its_fold(data):
    X, y = data
    slopes = MixedLinearRegressor(random_slopes={"g0": ["x0"]})
    folds = KFold(3, shuffle=True, random_state=1)
    encoder = GroupEffectEncoder(["g0", "g1"], estimator=slopes, cv=folds)
    features = encoder.set_output(transform="pandas").fit_transform(X, y)
    for train, test in folds.split(X):
        model = clone(slopes).set_params(groups=["g0", "g1"])
        model.fit(X.iloc[train], y[train])
        for g in ("g0", "g1"):
            effects = model.random_effects_[g].loc[X[g].iloc[test]]
            std = model.random_effects_std_[g].loc[X[g].iloc[test]]
            for effect in effects:
                prefix = g if effect == "Intercept" else f"{g}_{effect}"
                ours = features.iloc[test]
                assert_allclose(ours[f"{prefix}_effect"], effects[effect], rtol=1e-12)
                assert_allclose(ours[f"{prefix}_std"], std[effect], rtol=1e-12)


@pytest.mark.parametrize("family", ["gaussian", "bernoulli", "poisson"])
def test_the_targets_of_a_fold_have_no_part_in_its_features(family):
    X, y = make_mixed_regression(200, 1, n_groups=12, family=family, random_state=0)
    estimator = {"poisson": MixedPoissonRegressor()}.get(family)
    folds = list(KFold(4).split(X))
    encoder = GroupEffectEncoder("g0", estimator=estimator, cv=folds)
    features = encoder.fit_transform(X, y)
    here = folds[2][1]
    other = np.array(y, copy=True)
    other[here] = 1 - y[here] if family == "bernoulli" else y[here][::-1] + 3
    changed = encoder.fit_transform(X, other)
    assert_array_equal(changed[here], features[here])
    elsewhere = np.delete(np.arange(len(y)), here)
    assert not np.isclose(changed[elsewhere], features[elsewhere]).any(axis=1).all()


def test_a_label_of_one_fold_has_no_effect_and_the_spread_of_its_factor(data):
    X, y = data
    X = X[["g0"]].astype(object)
    X.iloc[7] = "once"
    encoder = linear(cv=KFold(3))
    effect, std = encoder.fit_transform(X, y)[7]
    outside = MixedLinearRegressor("g0").fit(X[100:], y[100:])
    prior = outside.random_effects_covariance_["g0"].item()
    assert effect == 0.0
    assert std == pytest.approx(np.sqrt(prior), rel=1e-12)
    # the fit to all rows knows it
    assert encoder.transform(X)[7, 0] != 0.0
    assert encoder.transform(X)[7, 1] < std


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_groups_that_mean_nothing_leave_nothing_to_learn(seed):
    random = np.random.RandomState(seed)
    X = random.randint(2000, size=(12000, 1))
    y = random.normal(size=12000)
    X, X_new, y, y_new = X[:6000], X[6000:], y[:6000], y[6000:]
    encoder = linear()
    features = encoder.fit_transform(X, y)
    later = LinearRegression().fit(features, y)
    assert abs(later.score(features, y)) < 0.01
    assert abs(later.score(encoder.transform(X_new), y_new)) < 0.01
    # Not so with features that have seen the rows' own targets.
    features = encoder.transform(X)
    later = LinearRegression().fit(features, y)
    assert later.score(features, y) > 0.2
    assert later.score(encoder.transform(X_new), y_new) < -0.1


def test_classes_by_chance_leave_nothing_to_learn():
    random = np.random.RandomState(7)
    X = random.randint(500, size=(4000, 1))
    y = random.randint(2, size=4000)
    X, X_new, y, y_new = X[:2000], X[2000:], y[:2000], y[2000:]
    encoder = GroupEffectEncoder(random_state=0)

    def excess(features, new):
        """Cross-entropy of new rows above that of a coin."""
        later = LogisticRegression(C=np.inf).fit(features, y)
        return log_loss(y_new, later.predict_proba(new)) - np.log(2)

    features = encoder.fit_transform(X, y)
    assert abs(excess(features, encoder.transform(X_new))) < 0.005
    assert excess(encoder.transform(X), encoder.transform(X_new)) > 0.05


def test_a_regression_on_the_features_predicts_as_well_as_the_mixed_model():
    X, y = make_mixed_regression(8000, 2, n_groups=1000, random_state=0)
    X, X_new, y, y_new = X[:4000], X[4000:], y[:4000], y[4000:]
    mixed = MixedLinearRegressor("g0").fit(X, y).score(X_new, y_new)
    encode = make_column_transformer(
        (linear("g0"), ["g0", "x0", "x1"]), ("passthrough", ["x0", "x1"])
    )
    later = make_pipeline(encode, LinearRegression()).fit(X, y)
    assert mixed - 0.005 < later.score(X_new, y_new) < mixed + 0.005
    without = LinearRegression().fit(X[["x0", "x1"]], y)
    assert mixed > without.score(X_new[["x0", "x1"]], y_new) + 0.05


# Names and containers


def test_features_are_named_after_factor_and_slope(data):
    X, y = data
    slopes = MixedLinearRegressor(random_slopes={"g0": ["x0"]})
    encoder = GroupEffectEncoder(["g0", ("g0", "g1")], estimator=slopes)
    assert list(encoder.fit(X, y).get_feature_names_out()) == [
        "g0_effect",
        "g0_std",
        "g0_x0_effect",
        "g0_x0_std",
        "g0:g1_effect",
        "g0:g1_std",
    ]
    positions = MixedLinearRegressor(
        random_slopes={2: [0]}, random_intercepts={2: False}
    )
    array = GroupEffectEncoder([2, (2, -1)], estimator=positions, std=False)
    array.fit(X.to_numpy(dtype=object), y)
    names = list(array.get_feature_names_out())
    assert names == ["x2_x0_effect", "x2:x3_effect"]
    given = array.get_feature_names_out(["a", "b", "c", "d"])
    assert list(given) == ["c_a_effect", "c:d_effect"]
    assert array.transform(X.to_numpy(dtype=object)).shape == (len(X), 2)


def test_no_groups_means_those_of_the_estimator_or_all_columns(data):
    X, y = data
    expected = linear(["g0", "g1"]).fit(X[["g0", "g1"]], y)
    every = linear().fit(X[["g0", "g1"]], y)
    assert_array_equal(
        every.transform(X[["g0", "g1"]]), expected.transform(X[["g0", "g1"]])
    )
    named = GroupEffectEncoder(estimator=MixedLinearRegressor("g1")).fit(X, y)
    assert list(named.get_feature_names_out()) == ["g1_effect", "g1_std"]
    with pytest.raises(ValueError, match="groups='g0', but the estimator has .*'g1'"):
        GroupEffectEncoder("g0", estimator=MixedLinearRegressor("g1")).fit(X, y)


def test_a_dataframe_of_any_kind_and_an_array_give_the_same_features(data):
    X, y = data
    encoder = linear(["g0", "g1"])
    expected = encoder.fit_transform(X, y)
    frame = (
        clone(encoder).set_output(transform="pandas").fit_transform(X[::-1], y[::-1])
    )
    assert list(frame.index) == list(X.index[::-1])
    lazy = clone(encoder).set_output(transform="polars")
    polars = lazy.fit_transform(pl.from_pandas(X), y)
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == list(frame.columns)
    assert_allclose(polars.to_numpy(), expected, rtol=1e-9)
    assert_allclose(lazy.transform(pl.from_pandas(X)), encoder.transform(X), rtol=1e-9)
    array = clone(encoder).set_params(groups=[2, 3])
    rows = X.to_numpy(dtype=object)
    assert_allclose(array.fit_transform(rows, list(y)), expected, rtol=1e-9)
    assert_allclose(array.fit_transform(rows.tolist(), y), expected, rtol=1e-9)


# Targets


def test_two_classes_are_encoded_by_logits_of_the_second():
    X, y = make_mixed_regression(
        200, 1, n_groups=12, family="bernoulli", random_state=0
    )
    words = np.where(y == 1, "yes", "no")
    encoder = GroupEffectEncoder("g0", random_state=0).fit(X, words)
    assert encoder.target_type_ == "binary"
    assert list(encoder.classes_) == ["no", "yes"]
    model = MixedLogisticRegressor("g0").fit(X, y)
    effects = model.random_effects_["g0"]["Intercept"].loc[X["g0"]]
    assert_allclose(encoder.transform(X)[:, 0], effects, rtol=1e-12)
    # classes keep their shares in the folds
    assert np.isfinite(encoder.fit_transform(X, words)).all()


@pytest.mark.parametrize("y", [np.arange(30) % 3, np.array(list("abc") * 10)])
def test_three_classes_are_refused(y):
    X = np.arange(30)[:, None] % 5
    message = "type 'multiclass' .3 different values.*target_type='continuous'"
    with pytest.raises(ValueError, match=message):
        GroupEffectEncoder().fit(X, y)


def test_many_whole_numbers_from_zero_on_are_counts():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["BROOD"]].astype(str)
    with pytest.warns(UserWarning, match="taken for counts: target_type='count'"):
        found = GroupEffectEncoder("BROOD", random_state=0).fit(X, y)
    assert found.target_type_ == "count"
    assert found.classes_ is None
    told = GroupEffectEncoder("BROOD", target_type="count", random_state=0).fit(X, y)
    effects = MixedPoissonRegressor("BROOD").fit(X, y).random_effects_["BROOD"]
    for encoder in (found, told):
        encoded = encoder.transform(X)[:, 0]
        assert_allclose(encoded, effects["Intercept"].loc[X["BROOD"]], rtol=1e-12)
    # from 1 on they may be ratings
    with pytest.raises(ValueError, match="target_type='count' if they are counts"):
        GroupEffectEncoder("BROOD").fit(X, y + 1)


def test_the_type_of_the_target_is_that_of_the_estimator(data):
    X, y = data
    counts = GroupEffectEncoder("g0", estimator=MixedPoissonRegressor())
    assert counts.fit(X[["g0"]], np.arange(300) % 7).target_type_ == "count"
    counts.set_params(target_type="binary")
    with pytest.raises(ValueError, match="estimator is a MixedPoissonRegressor, whose"):
        counts.fit(X[["g0"]], np.arange(300) % 7)


# Factors that cannot be estimated


def test_a_factor_of_one_level_has_no_effects_and_changes_no_others(data):
    X, y = data
    X = X[["x0", "x1", "g0"]].assign(offset=np.linspace(0, 1, 300))
    model = MixedLinearRegressor(random_slopes={"g0": ["x0"]}, offset="offset")
    expected = GroupEffectEncoder("g0", estimator=model).fit(X, y).transform(X)
    one = X.copy()
    one.insert(0, "place", "here")
    encoder = GroupEffectEncoder(["place", "g0"], estimator=model)
    with pytest.warns(UserWarning, match="'place' has one level: its effects are set"):
        encoder.fit(one, y)
    features = encoder.transform(one)
    assert not features[:, :2].any()
    assert_allclose(features[:, 2:], expected, rtol=1e-9)
    by_position = MixedLinearRegressor(random_slopes={-2: [1]}, offset=4)
    encoder = GroupEffectEncoder([0, -2], estimator=by_position)
    with pytest.warns(UserWarning, match="The factor 0 has one level"):
        encoder.fit(one.to_numpy(dtype=object), y)
    features = encoder.transform(one.to_numpy(dtype=object))
    assert_allclose(features[:, 2:], expected, rtol=1e-9)


def test_labels_that_occur_once_each_have_no_effects(data):
    y = data[1]
    X = np.arange(300)[:, None]
    encoder = linear()
    with pytest.warns(UserWarning, match="The factor 0 has as many levels as there"):
        features = encoder.fit_transform(X, y)
    assert encoder.estimator_ is None
    assert not features.any()
    assert not encoder.transform(X).any()
    # In a model of counts such a factor is overdispersion, and can be estimated.
    counts = np.random.default_rng(0).poisson(np.exp(2 + y / y.std()))
    encoder = GroupEffectEncoder(estimator=MixedPoissonRegressor())
    assert np.ptp(encoder.fit(X, counts).transform(X)[:, 0]) > 1.0


# What the user is told


def test_unknown_labels_are_reported_if_that_is_wanted(data):
    X, y = data
    new = X[["g0"]].head(3).astype(object)
    new.iloc[1] = "elsewhere"
    encoder = linear("g0").fit(X[["g0"]], y)
    encoder.set_params(handle_unknown="warn")
    with pytest.warns(UserWarning, match="row 1 has a label .*'elsewhere'.*are zero"):
        warned = encoder.transform(new)
    assert_array_equal(warned[1, 0], 0.0)
    encoder.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match="'elsewhere'.*handle_unknown='ignore'"):
        encoder.transform(new)
    # labels of one fold are no business of the user's
    X = X[["g0"]].astype(object)
    X.iloc[7] = "once"
    encoder.fit_transform(X, y)


def test_a_missing_label_is_refused_in_fit(data):
    X, y = data
    X = X[["g0"]].astype(object)
    X.iloc[5] = None
    with pytest.raises(ValueError, match="'g0' has a missing label .*row 5"):
        linear().fit(X, y)


def test_each_fit_has_one_warning_at_most(data):
    X, y = data
    X = X[["g0"]].assign(one="one")
    encoder = GroupEffectEncoder(
        estimator=MixedPoissonRegressor(solver=VI(max_iter=1)), cv=2
    )
    counts = np.random.default_rng(0).poisson(np.exp(y / y.std()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder.fit_transform(X, counts)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert warning.filename == __file__
    for part in ("'one' has one level", "outside these folds have not converged: 0, 1"):
        assert part in str(warning.message)


def test_folds_have_to_hold_each_row_out_once(data):
    X, y = data
    encoder = linear("g0", cv=ShuffleSplit(3, random_state=0))
    with pytest.raises(ValueError, match="cv holds row .* out .* times"):
        encoder.fit_transform(X, y)
    by_group = list(GroupKFold(3).split(X, y, X["g1"]))
    features = linear("g1", cv=by_group).fit_transform(X[["g1"]], y)
    assert not features[:, 0].any()  # groups as a whole are held out


def test_both_classes_have_to_be_left_outside_each_fold():
    X = np.arange(20)[:, None] % 4
    y = (np.arange(20) < 10).astype(int)
    encoder = GroupEffectEncoder(cv=KFold(2))
    with pytest.raises(ValueError, match="outside fold 0 have one class only .0."):
        encoder.fit_transform(X, y)


def test_an_encoder_that_was_not_fitted_has_no_features(data):
    with pytest.raises(NotFittedError):
        linear().transform(data[0])
    with pytest.raises(NotFittedError):
        linear().get_feature_names_out()


# In scikit-learn


def test_a_search_reaches_the_encoder_and_its_model(data):
    X, y = data
    slopes = linear(["g0", "g1"], estimator=MixedLinearRegressor())
    encode = make_column_transformer((slopes, X.columns), ("passthrough", ["x0", "x1"]))
    search = GridSearchCV(
        make_pipeline(encode, LinearRegression()),
        {
            "columntransformer__groupeffectencoder__std": [True, False],
            "columntransformer__groupeffectencoder__estimator__random_slopes": [
                None,
                {"g0": ["x0"]},
            ],
        },
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.3


def test_a_fitted_encoder_can_be_saved_and_cloned(data):
    X, y = data
    encoder = linear(["g0", ("g0", "g1")], handle_unknown="ignore")
    features = encoder.fit_transform(X, y)
    again = pickle.loads(pickle.dumps(encoder))
    assert_array_equal(again.transform(X), encoder.transform(X))
    assert list(again.get_feature_names_out()) == list(encoder.get_feature_names_out())
    # the same seed gives the same folds
    assert_array_equal(clone(encoder).fit_transform(X, y), features)
    assert not np.allclose(linear("g0").fit_transform(X, y), features[:, :2])
    other = clone(encoder).set_params(random_state=1)
    assert not np.allclose(other.fit_transform(X, y), features)


def test_an_encoder_from_a_file_encodes_without_tensorflow(data, tmp_path):
    X, y = data
    encoder = linear("g0").fit(X, y)
    new = X.head(5).assign(g0=[0, 1, 99, None, 2])
    path = tmp_path / "encoder.pickle"
    path.write_bytes(pickle.dumps((encoder, new)))
    features, loaded = run_python(
        "import pathlib, pickle\n"
        "encoder, X = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(*encoder.transform(X)[:, 0].tolist(), sep='\\n')",
        path,
    )
    assert list(map(float, features)) == encoder.transform(new)[:, 0].tolist()
    assert loaded == []
