"""How labels and weights arrive: in columns, or as metadata, routed or not."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI

LINEAR = MixedLinearRegressor("g0", solver=VI())


@pytest.fixture(scope="module")
def data():
    """Pupils in schools, with different slopes; classes that differ little."""
    return make_mixed_regression(
        240,
        2,
        n_groups=[12, 5],
        n_random_slopes=1,
        group_std=[2.0, 0.3],
        random_state=0,
    )


@pytest.fixture(scope="module")
def apart(data):
    """The same, with the labels beside the table."""
    X, y = data
    return X[["x0", "x1"]], y, X["g0"]


def scores_by_hand(model, X, y, cv, groups=None):
    scores = []
    for train, test in cv.split(X, y, groups):
        model.fit(X.iloc[train], y.iloc[train])
        scores.append(r2_score(y.iloc[test], model.predict(X.iloc[test])))
    return scores


# Metadata routing off

TRAP = "No groups were given, .* passes groups= to its splitter only, never to fit"
NEEDED = r"fitted with fit\(groups=\.\.\.\): pass groups= here .* put the groups into X"


def test_groups_of_a_search_go_to_its_splitter_and_the_model_says_so(apart):
    X, y, labels = apart
    search = GridSearchCV(MixedLinearRegressor(), {"reml": [True]}, cv=GroupKFold(3))
    with pytest.warns(UserWarning, match=TRAP):
        search.fit(X, y, groups=labels)
    assert search.best_estimator_.random_effects_ == {}
    with pytest.warns(UserWarning, match=TRAP):
        cross_validate(MixedLinearRegressor(), X, y, groups=labels, cv=GroupKFold(3))


def test_groups_in_a_column_do_all_of_it_without_a_word(data):
    X, y = data
    cv = GroupKFold(3)
    search = GridSearchCV(LINEAR, {"reml": [True]}, cv=cv, scoring="r2")
    search.fit(X, y, groups=X["g0"])
    expected = np.mean(scores_by_hand(LINEAR, X, y, cv, X["g0"]))
    assert search.best_score_ == pytest.approx(expected, abs=1e-12)
    whole = MixedLinearRegressor("g0").fit(X, y)
    np.testing.assert_allclose(search.predict(X), whole.predict(X), rtol=1e-6)


def test_metadata_that_reached_fit_does_not_reach_predict(apart):
    X, y, labels = apart
    model = MixedLinearRegressor()
    with pytest.raises(ValueError, match=NEEDED):
        cross_val_predict(model, X, y, params={"groups": labels}, cv=3)
    for scoring in (None, "r2"):
        with pytest.raises(ValueError, match=NEEDED):
            cross_validate(
                model,
                X,
                y,
                params={"groups": labels},
                cv=3,
                scoring=scoring,
                error_score="raise",
            )


def test_a_pipeline_hands_prefixed_labels_to_fit_and_plain_ones_to_predict(apart):
    X, y, labels = apart
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor())
    pipe.fit(X, y, mixedlinearregressor__groups=labels)
    scaled = StandardScaler().fit_transform(X)
    alone = MixedLinearRegressor().fit(scaled, y, groups=labels)
    expected = alone.predict(scaled, groups=labels)
    np.testing.assert_array_equal(pipe.predict(X, groups=labels), expected)
    with pytest.raises(ValueError, match=NEEDED):
        pipe.predict(X)


# Metadata routing on


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def requesting():
    return (
        MixedLinearRegressor()
        .set_fit_request(groups=True)
        .set_predict_request(groups=True)
        .set_score_request(groups=True)
    )


def test_routed_labels_reach_splitter_fit_and_score(routing, apart, data):
    X, y, labels = apart
    cv = GroupKFold(3)
    wanted = {"params": {"groups": labels}, "cv": cv}
    routed = cross_val_score(requesting(), X, y, **wanted)
    expected = scores_by_hand(
        MixedLinearRegressor("g0"), data[0][["x0", "x1", "g0"]], y, cv, labels
    )
    np.testing.assert_allclose(routed, expected, rtol=1e-9)
    search = GridSearchCV(requesting(), {"reml": [True]}, cv=cv)
    search.fit(X, y, groups=labels)
    assert search.best_score_ == pytest.approx(np.mean(expected), rel=1e-9)
    assert len(search.best_estimator_.random_effects_["g0"]) == labels.nunique()


def test_routed_labels_pass_through_a_pipeline(routing, apart):
    X, y, labels = apart
    pipe = make_pipeline(StandardScaler(), requesting()).fit(X, y, groups=labels)
    alone = MixedLinearRegressor().fit(
        StandardScaler().fit_transform(X), y, groups=labels
    )
    np.testing.assert_allclose(
        pipe.predict(X, groups=labels),
        alone.predict(StandardScaler().fit_transform(X), groups=labels),
        rtol=1e-12,
    )
    expected = r2_score(y, pipe.predict(X, groups=labels))
    assert pipe.score(X, y, groups=labels) == expected


def test_a_level_and_standard_deviations_can_be_requested(routing, apart):
    X, y, labels = apart
    model = requesting().set_predict_request(groups=True, level=True, return_std=True)
    pipe = make_pipeline(StandardScaler(), model).fit(X, y, groups=labels)
    mean, std = pipe.predict(X, level="population", return_std=True)
    own, own_std = pipe.predict(X, groups=labels, return_std=True)
    assert std.min() > own_std.max()
    assert r2_score(y, own) > r2_score(y, mean)


def test_scorers_by_name_and_out_of_fold_predictions_do_not_route(routing, apart):
    X, y, labels = apart
    wanted = {"params": {"groups": labels}, "cv": 3}
    with pytest.raises(ValueError, match=NEEDED):
        cross_val_predict(requesting(), X, y, **wanted)
    with pytest.raises(ValueError, match=NEEDED):
        cross_val_score(requesting(), X, y, scoring="r2", error_score="raise", **wanted)


def test_with_routing_labels_are_params_of_cross_validate(routing, data):
    X, y = data
    with pytest.raises(ValueError, match="via the `params` argument instead"):
        cross_validate(LINEAR, X, y, groups=X["g0"], cv=GroupKFold(3))


def test_with_groups_in_a_column_routing_wants_a_no(routing, data):
    X, y = data
    cv = GroupKFold(3)
    wanted = {"params": {"groups": X["g0"]}, "cv": cv}
    with pytest.raises(UnsetMetadataPassedError, match="set_fit_request"):
        cross_val_score(MixedLinearRegressor("g0"), X, y, **wanted)
    model = MixedLinearRegressor("g0").set_fit_request(groups=False)
    expected = scores_by_hand(MixedLinearRegressor("g0"), X, y, cv, X["g0"])
    by_name = cross_val_score(model, X, y, scoring="r2", **wanted)
    np.testing.assert_allclose(by_name, expected, rtol=1e-12)
    with pytest.raises(UnsetMetadataPassedError, match="set_score_request"):
        cross_val_score(model, X, y, **wanted)
    model.set_score_request(groups=False)
    scores = cross_val_score(model, X, y, **wanted)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_with_groups_in_a_column_a_yes_is_refused_by_fit(routing, data):
    X, y = data
    model = MixedLinearRegressor("g0").set_fit_request(groups=True)
    with pytest.raises(ValueError, match="The groups are named twice"):
        cross_val_score(
            model,
            X,
            y,
            params={"groups": X["g0"]},
            cv=GroupKFold(3),
            scoring="r2",
            error_score="raise",
        )


@pytest.mark.parametrize("routed", [False, True])
def test_weights_reach_fit_and_are_frequencies(routed, data):
    X, y = data
    weight = np.random.default_rng(0).integers(1, 3, len(y))
    with config_context(enable_metadata_routing=routed):
        model = MixedLinearRegressor("g0")
        if routed:
            model.set_fit_request(sample_weight=True)
            model.set_score_request(sample_weight=False)
        result = cross_validate(
            model,
            X,
            y,
            params={"sample_weight": weight},
            cv=3,
            return_estimator=True,
        )
    for fitted, (train, _) in zip(result["estimator"], KFold(3).split(X), strict=True):
        rows = np.repeat(train, weight[train])
        repeated = MixedLinearRegressor("g0").fit(X.iloc[rows], y.iloc[rows])
        np.testing.assert_allclose(fitted.coef_, repeated.coef_, rtol=1e-5)
