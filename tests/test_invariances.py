"""What a linear mixed model may not depend on, and what it must depend on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skglmm import MixedLinearRegressor
from skglmm.datasets import (
    load_dyestuff,
    load_dyestuff2,
    load_pastes,
    make_mixed_regression,
)

REML = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


@pytest.fixture(scope="module")
def data():
    """Slopes of x0 differ between the levels of g0; g1 is crossed with g0."""
    return make_mixed_regression(
        160, 2, n_groups=[12, 6], n_random_slopes=1, intercept=3.0, random_state=3
    )


def fit(X, y, groups=("g0", "g1"), weight=None, **kwargs):
    kwargs = {"random_slopes": {"g0": ["x0"]}} | kwargs
    return MixedLinearRegressor(list(groups), **kwargs).fit(X, y, weight)


def assert_same(ours, theirs, rtol=1e-5):
    """Same estimates: all that a model says about its data."""
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-6)
    assert ours.noise_variance_ == pytest.approx(theirs.noise_variance_, rel=rtol)
    assert_allclose(ours.fixed_effects_, theirs.fixed_effects_, rtol=rtol)
    sd = np.sqrt(theirs.noise_variance_)
    for name, covariance in theirs.random_effects_covariance_.items():
        assert_allclose(
            ours.random_effects_covariance_[name], covariance, rtol, rtol * sd**2
        )
        b, std = theirs.random_effects_[name], theirs.random_effects_std_[name]
        assert_allclose(ours.random_effects_[name].loc[b.index], b, rtol, rtol * sd)
        assert_allclose(ours.random_effects_std_[name].loc[b.index], std, rtol)


# Units and origins


@REML
def test_a_predictor_in_other_units_has_its_effects_in_other_units(data, reml):
    X, y = data
    metres, micrometres = (
        fit(X, y, reml=reml),
        fit(X.assign(x0=1e6 * X["x0"]), y, reml=reml),
    )
    units = np.array([1.0, 1e-6, 1.0])[:, None]
    assert_allclose(micrometres.fixed_effects_, units * metres.fixed_effects_, 1e-6)
    for ours, theirs in (
        (micrometres.random_effects_, metres.random_effects_),
        (micrometres.random_effects_std_, metres.random_effects_std_),
    ):
        assert_allclose(ours["g0"], theirs["g0"] * [1.0, 1e-6], 1e-4, 1e-10)
        assert_allclose(ours["g1"], theirs["g1"], 1e-4, 1e-6)
    # the restricted likelihood is a density in units of the coefficients as well
    change = -np.log(1e6) if reml else 0.0
    assert micrometres.log_likelihood_ == pytest.approx(
        metres.log_likelihood_ + change, abs=1e-6
    )


@REML
def test_a_distant_origin_of_the_target_moves_the_intercept_and_nothing_else(
    data, reml
):
    X, y = data
    near, far = fit(X, y, reml=reml), fit(X, y + 1e7, reml=reml)
    assert far.intercept_ == pytest.approx(near.intercept_ + 1e7, rel=1e-13)
    far.fixed_effects_.loc["Intercept", "estimate"] -= 1e7
    assert_same(far, near)


@REML
def test_a_target_in_other_units_scales_everything(data, reml):
    X, y = data
    one, thousand = fit(X, y, reml=reml), fit(X, 1e3 * y, reml=reml)
    assert_allclose(thousand.fixed_effects_, 1e3 * one.fixed_effects_, 1e-6)
    assert thousand.noise_variance_ == pytest.approx(1e6 * one.noise_variance_)
    n = len(y) - 3 * reml
    assert thousand.log_likelihood_ == pytest.approx(
        one.log_likelihood_ - n * np.log(1e3), abs=1e-6
    )


@REML
def test_correlated_slopes_do_not_depend_on_the_origin_of_their_column(data, reml):
    X, y = data
    centred, shifted = (
        fit(X, y, reml=reml),
        fit(X.assign(x0=X["x0"] + 1e3), y, reml=reml),
    )
    assert shifted.log_likelihood_ == pytest.approx(centred.log_likelihood_, abs=1e-5)
    assert_allclose(shifted.coef_, centred.coef_, 1e-5)
    assert_allclose(
        shifted.random_effects_["g0"]["x0"], centred.random_effects_["g0"]["x0"], 1e-4
    )
    assert_allclose(
        shifted.predict(X.assign(x0=X["x0"] + 1e3)), centred.predict(X), 1e-5
    )


def test_uncorrelated_slopes_do_depend_on_the_origin_of_their_column(data):
    X, y = data
    centred = fit(X, y, covariance="diag")
    shifted = fit(X.assign(x0=X["x0"] + 3), y, covariance="diag")
    assert abs(shifted.log_likelihood_ - centred.log_likelihood_) > 0.1


# Names and order


def test_labels_are_names_only(data):
    X, y = data
    names = {level: f"level {(7 * level) % 12}" for level in range(12)}
    recoded = fit(X.assign(g0=X["g0"].map(names)), y)
    for effects in (recoded.random_effects_, recoded.random_effects_std_):
        back = {name: level for level, name in names.items()}
        effects["g0"] = effects["g0"].rename(index=back)
    assert_same(recoded, fit(X, y))


def test_rows_come_in_any_order(data):
    X, y = data
    order = np.random.default_rng(0).permutation(len(y))
    assert_same(fit(X.iloc[order], y.iloc[order]), fit(X, y))


def test_factors_come_in_any_order(data):
    X, y = data
    assert_same(fit(X, y, groups=["g1", "g0"]), fit(X, y))


def test_columns_come_in_any_order(data):
    X, y = data
    there, back = fit(X, y), fit(X[["g1", "x1", "g0", "x0"]], y)
    assert back.coef_names_ == ["x1", "x0"]
    assert_allclose(back.coef_, there.coef_[::-1], 1e-6)
    assert back.log_likelihood_ == pytest.approx(there.log_likelihood_, abs=1e-7)


def test_a_combination_of_columns_is_the_factor_of_their_pairs():
    X, y = load_pastes(return_X_y=True, as_frame=True)
    pairs = MixedLinearRegressor(["batch", ("batch", "cask")])
    tuples = pairs.fit(X[["batch", "cask"]], y)
    labels = MixedLinearRegressor(["batch", "sample"]).fit(X[["batch", "sample"]], y)
    assert tuples.log_likelihood_ == pytest.approx(labels.log_likelihood_, abs=1e-8)
    effects = tuples.random_effects_["batch:cask"]
    joined = effects.set_axis(effects.index.map(":".join))
    assert_allclose(joined, labels.random_effects_["sample"].loc[joined.index], 1e-5)


# Frequencies


@REML
def test_a_row_of_weight_two_is_the_row_twice(data, reml):
    X, y = data
    weight = np.arange(len(y)) % 3 + 1
    twice = np.repeat(np.arange(len(y)), weight)
    weighted = fit(X, y, weight=weight, reml=reml)
    repeated = fit(X.iloc[twice], y.iloc[twice], reml=reml)
    assert_same(weighted, repeated)
    assert weighted.bic_ == pytest.approx(repeated.bic_)
    assert weighted.score(X, y, weight) == pytest.approx(
        repeated.score(X.iloc[twice], y.iloc[twice])
    )


def test_a_row_of_weight_zero_is_no_row(data):
    X, y = data
    weight = (np.arange(len(y)) % 4 > 0).astype(float)
    kept = weight > 0
    assert_same(fit(X, y, weight=weight), fit(X[kept], y[kept]))


def test_a_level_whose_rows_all_have_weight_zero_is_unseen(data):
    X, y = data
    model = fit(X, y, weight=np.where(X["g0"] == 3, 0.0, 1.0), handle_unknown="error")
    assert 3 not in model.random_effects_["g0"].index
    with pytest.raises(ValueError, match="factor 'g0'.*fit has not seen .3."):
        model.predict(X)


# Fixed columns that say nothing new


def test_a_constant_column_has_coefficient_zero_and_one_warning_names_it(data):
    X, y = data
    with pytest.warns(UserWarning) as caught:
        model = fit(X.assign(fee=5.0), y)
    assert len(caught) == 1
    assert "'fee'" in str(caught[0].message)
    assert model.coef_names_ == ["x0", "x1", "fee"]
    assert model.coef_[2] == 0.0
    assert np.isnan(model.fixed_effects_.loc["fee", "std_error"])
    rest = fit(X, y)
    assert model.aic_ == pytest.approx(rest.aic_)
    model.fixed_effects_ = model.fixed_effects_.drop(index="fee")
    assert_same(model, rest)


@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_of_two_columns_that_say_the_same_the_later_one_is_left_out(data, scale):
    X, y = data
    both = X.assign(copy=scale * (X["x0"] - X["x1"]) + 4.0)
    with pytest.warns(UserWarning, match="'copy'.*linearly on the columns before"):
        model = fit(both, y)
    rest = fit(X, y)
    assert model.coef_[2] == 0.0
    assert model.log_likelihood_ == pytest.approx(rest.log_likelihood_, abs=1e-6)
    assert_allclose(model.predict(both), rest.predict(X), 1e-6)


def test_without_an_intercept_a_column_of_ones_is_the_intercept(data):
    X, y = data
    ones = fit(X.assign(one=1.0), y, fit_intercept=False)
    model = fit(X, y)
    assert ones.intercept_ == 0.0
    assert list(ones.fixed_effects_.index) == ["x0", "x1", "one"]
    assert_allclose(ones.coef_, [*model.coef_, model.intercept_], 1e-5)
    assert ones.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-7)


@REML
def test_an_offset_is_taken_from_the_target(data, reml):
    X, y = data
    known = 2.0 * X["x1"] ** 2
    offset = fit(X.assign(known=known), y, offset="known", reml=reml)
    assert offset.coef_names_ == ["x0", "x1"]
    subtracted = fit(X, y - known, reml=reml)
    assert_same(offset, subtracted)
    assert_allclose(
        offset.predict(X.assign(known=known)), subtracted.predict(X) + known, 1e-6
    )


# Covariances


@REML
def test_a_richer_covariance_fits_at_least_as_well(data, reml):
    X, y = data
    scalar, diag, full = (
        fit(X, y, covariance=kind, reml=reml) for kind in ("scalar", "diag", "full")
    )
    assert scalar.log_likelihood_ < diag.log_likelihood_ + 1e-6
    assert diag.log_likelihood_ < full.log_likelihood_ + 1e-6
    sigma = {
        m.covariance: m.random_effects_covariance_["g0"] for m in (scalar, diag, full)
    }
    assert sigma["scalar"][0, 0] == sigma["scalar"][1, 1]
    assert sigma["scalar"][0, 1] == sigma["diag"][0, 1] == 0.0
    assert sigma["full"][0, 1] != 0.0
    parameters = [m.aic_ / 2 + m.log_likelihood_ for m in (scalar, diag, full)]
    assert_allclose(np.diff(parameters), 1.0)


def test_one_more_random_effect_never_lowers_the_likelihood(data):
    X, y = data
    less = MixedLinearRegressor("g0", reml=False).fit(X.drop(columns="g1"), y)
    more = fit(X.drop(columns="g1"), y, groups=["g0"], reml=False)
    most = fit(X, y, reml=False)
    assert less.log_likelihood_ <= more.log_likelihood_ <= most.log_likelihood_


def test_without_groups_the_model_is_least_squares(data):
    X, y = data
    X = X[["x0", "x1"]]
    with pytest.warns(UserWarning, match="^No groups were given.*A search or"):
        model = MixedLinearRegressor().fit(X, y)
    D = np.column_stack([np.ones(len(y)), X])
    coef, rss, *_ = np.linalg.lstsq(D, y)
    sigma2 = rss[0] / (len(y) - 3)
    assert_allclose([model.intercept_, *model.coef_], coef)
    assert model.noise_variance_ == pytest.approx(sigma2)
    asked = MixedLinearRegressor(groups=[]).fit(X, y)  # no warning
    assert_allclose(asked.coef_, model.coef_, rtol=0.0)
    std_error = np.sqrt(sigma2 * np.diag(np.linalg.inv(D.T @ D)))
    assert_allclose(model.fixed_effects_["std_error"], std_error)
    assert model.random_effects_ == {}


@REML
def test_a_balanced_layout_has_the_estimates_of_the_analysis_of_variance(reml):
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch", reml=reml).fit(X, y)
    table = y.to_numpy().reshape(6, 5)
    within = table.var(axis=1, ddof=1).mean()
    between = 5 * table.mean(axis=1).var(ddof=reml)
    assert model.noise_variance_ == pytest.approx(within, rel=1e-5)
    variance = (between - within) / 5
    assert_allclose(model.random_effects_covariance_["Batch"], variance, 1e-4)
    assert model.intercept_ == pytest.approx(table.mean())
    shrunk = (1 - within / between) * (table.mean(axis=1) - table.mean())
    assert_allclose(model.random_effects_["Batch"]["Intercept"], shrunk, 1e-4)


# A variance of zero


@REML
def test_a_variance_of_zero_is_said_once_and_leaves_a_usable_model(reml):
    X, y = load_dyestuff2(return_X_y=True, as_frame=True)
    with pytest.warns(ConvergenceWarning) as caught:
        model = MixedLinearRegressor("Batch", reml=reml).fit(X, y)
    assert len(caught) == 1
    assert "variance of 'Batch' is estimated as zero" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert model.singular_
    assert model.converged_
    assert model.variance_components_.loc[("Batch", "Intercept"), "variance"] == 0.0
    # what is left is the mean of all rows
    assert model.noise_variance_ == pytest.approx(y.var(ddof=reml))
    std_error = np.sqrt(y.var(ddof=reml) / len(y))
    assert model.fixed_effects_.loc["Intercept", "std_error"] == pytest.approx(
        std_error
    )
    assert_allclose(model.predict(X), y.mean())
    assert_allclose(model.random_effects_["Batch"], 0.0)
    assert_allclose(model.random_effects_std_["Batch"], 0.0)
    assert np.isfinite([model.aic_, model.bic_, model.log_likelihood_]).all()
