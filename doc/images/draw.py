"""Draws the figures of README.rst and of the pages that are no part of the gallery.

``python doc/images/draw.py`` writes them beside this file.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).parent.parent / "_ext"))

import matplotlib.pyplot as plt
from pictures import FONT_SIZE, note, smallest_text

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_radon, load_sleepstudy, make_visits
from skglmm.inspection import (
    EffectsDisplay,
    RandomEffectsDisplay,
    ResidualsDisplay,
    ShrinkageDisplay,
    VarianceComponentsDisplay,
)

HERE = Path(__file__).parent


def save(figure, name):
    """A picture of twice the points, for dense screens."""
    figure.dpi = 150
    pixels = smallest_text(figure)
    figure.savefig(HERE / name, dpi=150)
    note(HERE / name, pixels)
    plt.close(figure)


def sleep():
    """Lines of people who lack sleep, and their pace with intervals."""
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    figure, axes = plt.subplots(
        1, 2, figsize=(6, 4.2), width_ratios=[1.25, 1], layout="constrained"
    )
    EffectsDisplay.from_estimator(
        model,
        X,
        "Days",
        levels=["308", "335", "337"],
        response="reaction time (ms)",
        ax=axes[0],
    )
    RandomEffectsDisplay.from_estimator(model, effects="Days", ax=axes[1])
    axes[0].set(xlabel="days without sleep", title="predictions")
    axes[1].set(xlabel="ms a day", title="18 people")
    save(figure, "sleep.png")


def radon():
    """Counties by themselves and in the model; who is sure to differ."""
    X, y = load_radon(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("county").fit(X, y)
    figure, axes = plt.subplots(1, 2, figsize=(6, 3.8), layout="constrained")
    RandomEffectsDisplay.from_estimator(model, n_named=4, ax=axes[0])
    ShrinkageDisplay.from_estimator(model, X, y, ax=axes[1])
    axes[0].set_xlabel("effect on log radon")
    save(figure, "radon.png")


def visits():
    """Residuals of the visits, and what their variance is due to."""
    table = make_visits(random_state=0).dropna()
    days = (table["date"] - table["date"].min()).dt.days
    table = table.assign(months=days / 30)
    model = MixedLinearRegressor(
        ["patient", "nurse"],
        fixed_effects=["months", "region", "insured", "pain"],
        random_slopes={"patient": ["months"]},
    ).fit(table, table["minutes"])
    figure, axes = plt.subplots(2, 1, figsize=(5.4, 5), layout="constrained")
    ResidualsDisplay.from_estimator(
        model, table, table["minutes"], views="fitted", random_state=0, ax=axes[0]
    )
    VarianceComponentsDisplay.from_estimator(model, ax=axes[1])
    save(figure, "visits.png")


if __name__ == "__main__":
    plt.rcParams["font.size"] = FONT_SIZE
    sleep()
    radon()
    visits()
