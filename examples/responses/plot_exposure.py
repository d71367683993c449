"""
====================================================
Breakdowns an hour: crossed counts with an exposure
====================================================

Eighty machines are run by thirty operators, and their breakdowns are counted
by shift. Some shifts are an hour long and some are twelve. Who breaks things,
the machine or the operator?
"""

# %%
# Shifts
# ------
# The data are artificial, so that the truth is known: machines differ by 0.6
# in the logarithm of the rate, operators by 0.3, and ten degrees more of
# heat make 1.35 times as many breakdowns. Old hands get the long shifts.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skglmm import MixedPoissonRegressor
from skglmm.inspection import (
    CoefficientsDisplay,
    PredictiveCheckDisplay,
    RandomEffectsDisplay,
)

random = np.random.RandomState(3)
n = 2400
machine, operator = random.randint(80, size=n), random.randint(30, size=n)
of_machine = random.normal(scale=0.6, size=80)
of_operator = random.normal(scale=0.3, size=30)
hours = np.exp(random.normal(1.2 - of_operator[operator], 0.5)).round(1)
heat = random.normal(size=n).round(2)
effect = of_machine[machine] + of_operator[operator]
rate = np.exp(-2.0 + 0.3 * heat + effect)
y = random.poisson(rate * hours.clip(0.1))
X = pd.DataFrame(
    {
        "heat": heat,
        "hours": hours.clip(0.1),
        "machine": [f"M{k:02d}" for k in machine],
        "operator": [f"P{k:02d}" for k in operator],
    }
)
X.assign(breakdowns=y).head()

# %%
# With the hours, and without
# ---------------------------
# ``exposure`` names the column of times at risk: its logarithm joins the
# linear predictor with coefficient one, and all else is about rates.

model = MixedPoissonRegressor(["machine", "operator"], exposure="hours")
model.fit(X, y)
blind = MixedPoissonRegressor(["machine", "operator"])
blind.fit(X.drop(columns="hours"), y)
pd.DataFrame(
    {
        "truth": [0.6, 0.3],
        "with hours": model.variance_components_["std"].to_numpy(),
        "without": blind.variance_components_["std"].to_numpy(),
    },
    index=["std of machines", "std of operators"],
).round(3)

# %%
# Without the hours, operators of long shifts look as if they were to blame
# for what the clock has done, and here the two cancel: good operators have
# as many breakdowns as others, in more hours.

figure, axes = plt.subplots(
    1, 2, sharey=True, figsize=(6, 6.4), layout="constrained"
)
for axis, fit, name in (
    (axes[0], blind, "without hours"),
    (axes[1], model, "with hours"),
):
    RandomEffectsDisplay.from_estimator(
        fit, factor="operator", sort_by="label", ax=axis
    )
    axis.set(title=name, xlim=(-1.1, 1.1), xlabel="effect")
axes[1].scatter(
    of_operator[::-1], np.arange(30), marker="x", color="C1", zorder=3
)
axes[1].set_ylabel("")
plt.show()

# %%
# Crosses are the truth. (Counts are few, so that intervals are wide, and
# they are drawn for 95 %.)
#
# What heat does
# --------------
# The exponential of a coefficient is a ratio of rates:

CoefficientsDisplay.from_estimator(model, exponentiate=True)
plt.show()

# %%
# Is it right?
# ------------
# Counts that the model simulates, and those observed:

display = PredictiveCheckDisplay.from_estimator(
    model, X, y, response="breakdowns of a shift", random_state=0
)
display.ax_.set_xlim(-0.6, 10.5)
plt.show()

# %%
# A prediction for a shift of eight hours, by known machine and operator, and
# for a new one of both:

new = pd.DataFrame(
    {
        "heat": 1.0,
        "hours": 8.0,
        "machine": ["M00", "a new one"],
        "operator": ["P00", "a new one"],
    }
)
new.assign(breakdowns=model.predict(new).round(2))

# %%
# The numbers
# -----------
# lme4's ``glmer`` has been given the same rows, with ``offset(log(hours))``.

pd.DataFrame(
    {
        "truth": [-2.0, 0.3, 0.6, 0.3],
        "here": [
            *model.fixed_effects_["estimate"],
            *model.variance_components_["std"],
        ],
        "lme4": [-2.12976, 0.30290, 0.59809, 0.26515],
    },
    index=["intercept", "heat", "sd of machines", "sd of operators"],
).round(4)
