"""Each display against its picture in ``tests/pictures``.

Letters, and the room that they take, are another matter in each version of matplotlib.
What is compared is what is drawn inside the axes, which stand one below the other.

``SKGLMM_DRAW=1 pytest tests/test_pictures.py`` draws them anew: look at them then.
"""

import os
import shutil
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot as plt
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from matplotlib.ticker import NullLocator

from skglmm import MixedLinearRegressor, MixedPoissonRegressor
from skglmm.datasets import load_grouseticks, load_radon, load_sleepstudy
from skglmm.inspection import (
    CoefficientsDisplay,
    ConvergenceDisplay,
    EffectsDisplay,
    PredictiveCheckDisplay,
    ProfileDisplay,
    RandomEffectsDisplay,
    ResidualsDisplay,
    ShrinkageDisplay,
    UncertaintyDisplay,
    VarianceComponentsDisplay,
)

PICTURES = Path(__file__).parent / "pictures"
# Root mean square of the differences of pixels, of 255. Matplotlib 3.8.4 and 3.11 make
# none, and intervals of 80 instead of 95 percent 18.
TOLERANCE = 1.0


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    return MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y), X, y


@pytest.fixture(scope="module")
def radon():
    X, y = load_radon(return_X_y=True, as_frame=True)
    return MixedLinearRegressor("county").fit(X, y), X, y


@pytest.fixture(scope="module")
def ticks():
    X, y = load_grouseticks(return_X_y=True, as_frame=True)
    X = X[["cHEIGHT", "BROOD"]]
    X = X.assign(height=X.pop("cHEIGHT") / 100)
    return MixedPoissonRegressor("BROOD").fit(X, y), X, y


@pytest.fixture(autouse=True)
def plain_style():
    with matplotlib.rc_context():
        matplotlib.use("Agg")
        matplotlib.rcdefaults()
        matplotlib.rcParams["figure.dpi"] = 50
        yield
    plt.close("all")


def without_letters(figure):
    """Leave of a figure what is drawn inside its axes, at fixed places."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    n = len(figure.axes)
    figure.set_size_inches(5.0, 3.0 * n)
    for at, axis in enumerate(figure.axes):
        limits = axis.get_xlim(), axis.get_ylim()
        axis.set_position([0.02, (n - 1 - at + 0.02) / n, 0.96, 0.96 / n])
        for one in (axis.xaxis, axis.yaxis):
            one.set_major_locator(NullLocator())
            one.set_minor_locator(NullLocator())
        axis.set(xlim=limits[0], ylim=limits[1])
    for hidden in (*figure.findobj(Text), *figure.findobj(Legend)):
        hidden.set_visible(False)


def check_picture(display, name, folder, *, draw=True):
    """Whether a display looks as it did."""
    made, kept = folder / f"{name}.png", PICTURES / f"{name}.png"
    without_letters(display.figure_)
    display.figure_.savefig(made, dpi=50, metadata={"Software": None})
    if os.environ.get("SKGLMM_DRAW") and draw:
        PICTURES.mkdir(exist_ok=True)
        shutil.copy(made, kept)
    expected = shutil.copy(kept, folder / f"{name}-expected.png")
    difference = compare_images(str(expected), str(made), TOLERANCE)
    assert difference is None, difference


def test_random_effects(sleep, tmp_path):
    display = RandomEffectsDisplay.from_estimator(sleep[0])
    check_picture(display, "random_effects", tmp_path)


def test_random_effects_of_many_levels(radon, tmp_path):
    display = RandomEffectsDisplay.from_estimator(radon[0])
    check_picture(display, "random_effects_many", tmp_path)


def test_coefficients(ticks, tmp_path):
    display = CoefficientsDisplay.from_estimator(
        ticks[0], exponentiate=True, intercept=True
    )
    check_picture(display, "coefficients", tmp_path)


def test_variance_components(sleep, tmp_path):
    display = VarianceComponentsDisplay.from_estimator(sleep[0])
    check_picture(display, "variance_components", tmp_path)


def test_shrinkage_of_one_effect(radon, tmp_path):
    display = ShrinkageDisplay.from_estimator(*radon)
    check_picture(display, "shrinkage", tmp_path)


def test_shrinkage_of_two_effects(sleep, tmp_path):
    display = ShrinkageDisplay.from_estimator(*sleep)
    check_picture(display, "shrinkage_two", tmp_path)


def test_uncertainty(radon, tmp_path):
    model, X, _ = radon
    check_picture(UncertaintyDisplay.from_estimator(model, X), "uncertainty", tmp_path)


def test_residuals(ticks, tmp_path):
    display = ResidualsDisplay.from_estimator(*ticks, random_state=0)
    check_picture(display, "residuals", tmp_path)


def test_predictive_check(ticks, tmp_path):
    display = PredictiveCheckDisplay.from_estimator(*ticks, random_state=0)
    check_picture(display, "predictive_check", tmp_path)


def test_convergence(sleep, tmp_path):
    display = ConvergenceDisplay.from_estimator(sleep[0])
    check_picture(display, "convergence", tmp_path)


def test_effects(sleep, tmp_path):
    model, X, _ = sleep
    display = EffectsDisplay.from_estimator(model, X, "Days", levels=["308", "335"])
    check_picture(display, "effects", tmp_path)


def test_profile(radon, tmp_path):
    display = ProfileDisplay.from_estimator(*radon)
    check_picture(display, "profile", tmp_path)


def test_another_picture_is_noticed(sleep, tmp_path):
    narrow = RandomEffectsDisplay.from_estimator(sleep[0], coverage=0.8)
    with pytest.raises(AssertionError, match="RMS Value"):
        check_picture(narrow, "random_effects", tmp_path, draw=False)
