"""Artificial house prices are what was asked for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression

from skglmm.datasets import make_house_prices


def test_a_price_is_surface_effect_and_noise():
    X, y, truth = make_house_prices(
        20_000, 100, noise=0.3, return_effects=True, random_state=0
    )
    rest = y - truth.surface - truth.random_effects[X["zip"]].to_numpy()
    assert_allclose(rest.std(), 0.3, rtol=0.02)
    assert abs(np.corrcoef(rest, truth.surface)[0, 1]) < 0.03


def test_effects_vary_as_asked():
    effects = make_house_prices(
        1, 5000, zip_std=0.4, return_effects=True, random_state=0
    )[2].random_effects
    assert_allclose(effects.std(), 0.4, rtol=0.03)


def test_a_line_comes_nowhere_near_the_surface():
    X, y, truth = make_house_prices(missing=0, return_effects=True, random_state=0)
    X = X.drop(columns="zip")
    r2 = LinearRegression().fit(X, truth.surface).score(X, truth.surface)
    assert r2 < 0.75


def test_zip_codes_have_very_different_sizes():
    sizes = make_house_prices(random_state=0)[0]["zip"].value_counts()
    assert sizes.max() > 100
    assert sizes.min() <= 3


def test_gaps_are_as_frequent_as_asked_and_in_two_columns():
    X, y = make_house_prices(20_000, missing=0.2, random_state=0)
    gaps = X.isna().mean()
    assert_allclose(gaps[["lot", "age"]], [0.2, 0.1], atol=0.01)
    assert gaps.drop(["lot", "age"]).sum() == 0
    assert not y.isna().any()
    assert not make_house_prices(500, missing=0, random_state=0)[0].isna().any().any()


def test_an_int_gives_the_same_data():
    first, second = (make_house_prices(50, 5, random_state=3) for _ in range(2))
    assert first[0].equals(second[0])
    assert first[1].equals(second[1])


@pytest.mark.parametrize("option", [{"n_zips": 0}, {"noise": -1.0}, {"missing": 2.0}])
def test_an_impossible_request_is_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        make_house_prices(**option)
