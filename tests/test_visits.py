"""A raw table of visits, from text, a date and gaps to a reported model."""

import numpy as np
import pytest

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_visits
from skglmm.inference import term_tests


@pytest.fixture(scope="module")
def visits():
    raw = make_visits(random_state=0)
    days = (raw["date"] - raw["date"].min()).dt.days
    return raw, raw.assign(months=days / 30).dropna()


@pytest.fixture(scope="module")
def model(visits):
    return MixedLinearRegressor(
        groups=["patient", "nurse"],
        fixed_effects=["months", "region", "insured", "pain"],
        random_slopes={"patient": ["months"]},
    ).fit(visits[1], visits[1]["minutes"])


def test_the_table_is_raw(visits):
    raw, table = visits
    assert len(raw) == 4200 and len(table) == 4024
    assert raw["patient"].nunique() == 414 and raw["nurse"].nunique() == 55


def test_visits_agree_with_lmer(visits, model):
    """lmer(minutes ~ months + region + insured + pain + (months | patient) +
    (1 | nurse)), lmerTest's degrees of freedom."""
    _, table = visits
    found = model.summary(table, table["minutes"]).to_frame()
    estimate = [37.962049, -0.489092, 2.456235, 5.444580, 2.309301, 1.187112]
    error = [1.002201, 0.058581, 0.832215, 0.884963, 0.745704, 0.042551]
    df = [330.984, 319.776, 409.634, 413.657, 410.637, 3580.254]
    np.testing.assert_allclose(found["estimate"], estimate, atol=1e-3 * min(error))
    np.testing.assert_allclose(found["std_error"], error, rtol=1e-3)
    np.testing.assert_allclose(found["df"], df, rtol=1e-3)
    np.testing.assert_allclose(model.log_likelihood_, -12905.82158, atol=1e-3)


def test_columns_as_a_whole_agree_with_lmer(visits, model):
    _, table = visits
    tests = term_tests(model, table, table["minutes"])
    np.testing.assert_allclose(tests.loc["region", "statistic"], 18.93196, rtol=1e-3)
