"""
====================================================
Radon in 85 counties: variational inference, checked
====================================================

Radon was measured in 919 houses of Minnesota: in some counties in more than
a hundred, in some in one. A tutorial of TensorFlow Probability fits a mixed
model to them by variational inference. Here is the same way, step by step:
the data, the fit, what it says of the counties, and R's answer beside it.
"""

# %%
# Houses and counties
# -------------------
# ``floor`` is 0 where radon was measured in the basement and 1 above it.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde, halfnorm

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_radon
from skglmm.inference import profile
from skglmm.inspection import (
    ConvergenceDisplay,
    RandomEffectsDisplay,
    ShrinkageDisplay,
    UncertaintyDisplay,
)
from skglmm.interoperability import to_tfp

# sphinx_gallery_thumbnail_number = 5
X, y = load_radon(return_X_y=True, as_frame=True)
X = X[["floor", "county"]]

figure, axes = plt.subplots(
    1, 2, figsize=(6, 3), width_ratios=[2, 1], layout="constrained"
)
grid = np.linspace(y.min(), y.max(), 200)
floors = ["basement", "first floor"]
for floor, name in enumerate(floors):
    axes[0].plot(
        grid, gaussian_kde(y[X["floor"] == floor])(grid), label=name
    )
axes[0].set(xlabel="log radon (log pCi/L)", ylabel="density")
axes[0].legend(frameon=False, loc="upper left")
axes[1].bar(
    ["0", "1"], X["floor"].value_counts().sort_index(), color=["C0", "C1"]
)
axes[1].set(xlabel="floor", ylabel="houses")
axes[0].set_ylim(top=0.75)
plt.show()

# %%
# There is more radon in basements, and most readings are from there. Readings
# are shared unevenly:

houses = X["county"].value_counts()
figure, axis = plt.subplots(figsize=(5.4, 3), layout="constrained")
axis.bar(np.arange(len(houses)), houses, width=1.0)
axis.axhline(5, color="0.5", lw=0.8)
axis.set(xlabel="counties, sorted", ylabel="readings")
plt.show()
print(
    f"{(houses < 5).sum()} of {len(houses)} counties have fewer than five."
)

# %%
# The fit
# -------
# The model is ``log_radon ~ floor + (1 | county)`` in lme4's notation: each
# county has a level of its own, and levels are normal around the average.
# Variational inference is the default solver.

model = MixedLinearRegressor(groups="county", solver="vi").fit(X, y)
print(model.summary())

# %%
# For a linear model the bound that variational inference lifts *is* the
# likelihood, since the posterior of the effects is normal. So the fit ends at
# the maximum itself, and it takes Newton's steps to get there: five of them,
# where gradient ascent on noisy bounds takes three thousand.

display = ConvergenceDisplay.from_estimator(model)
display.ax_.set_ylabel("-2 log-likelihood")
plt.show()

# %%
# What it says of the counties
# ----------------------------
# Effects with one standard deviation of the posterior, sorted by the number
# of houses: few houses at the bottom. What is hardly known stays near zero,
# with an interval almost as wide as that of a county without any house.

figure, axis = plt.subplots(figsize=(5.2, 14), layout="constrained")
RandomEffectsDisplay.from_estimator(
    model, X, sort_by="size", coverage=0.6827, most_labels=85, ax=axis
)
axis.set_xlabel("effect on log radon")
axis.locator_params(axis="x", nbins=5)
plt.show()

# %%
# How much the model moved each county from the mean of its own houses:

display = ShrinkageDisplay.from_estimator(model, X, y)
display.ax_.set_ylabel("level of the county (log pCi/L)")
plt.show()

# %%
# The posterior's standard deviation falls with the number of houses, nearly
# along a line in the logarithm. The dashed line is what is known of a county
# before any house.

display = UncertaintyDisplay.from_estimator(model, X)
display.ax_.set_ylabel("standard deviation (log pCi/L)")
plt.show()

# %%
# The model as objects
# --------------------
# ``to_tfp`` hands the fit to TensorFlow Probability: the joint distribution
# of effects and readings at the estimates, and the posterior of the effects.
# ``resolve_graph`` says what depends on what.

joint, posterior = to_tfp(model, X)
joint.resolve_graph()

# %%
# Bayes' rule holds for any values of the effects: joint less posterior is
# the logarithm of the likelihood, the same at every draw. A posterior that
# was only near the true one would not pass.

draws = posterior.sample(3, seed=1).county
[
    round(
        float(joint.log_prob(b, y.to_numpy()) - posterior.log_prob(b)), 6
    )
    for b in draws
]

# %%
# Priors
# ------
# Variances are estimated here, and have no prior. The tutorial gives the
# standard deviation of the counties a half-normal one. What would it change?
# ``profile`` has the likelihood along a parameter, as the signed root
# of the deviance; times the prior, that is a posterior.

curve = profile(model, X, y, parameters=[("county", "Intercept")])
sd = np.linspace(curve["value"].min(), curve["value"].max(), 400)
zeta = np.interp(sd, curve["value"], curve["zeta"])
likelihood = np.exp(-0.5 * zeta**2)
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for name, values in {
    "likelihood": likelihood,
    "times half-normal(1)": likelihood * halfnorm.pdf(sd),
}.items():
    style = ":" if "times" in name else "-"
    axis.plot(sd, values / values.max(), style, lw=2, label=name)
axis.set(xlabel="sd of counties", ylabel="relative to the maximum")
axis.legend(frameon=False)
plt.show()

# %%
# Next to nothing. With 85 counties the likelihood knows its own mind.
#
# The numbers
# -----------
# The tutorial finds its estimates within ten percent of lme4's. To
# four digits they are:

std = model.variance_components_["std"]
pd.DataFrame(
    {
        "document": [1.435, -0.670, 0.287, np.nan, np.nan],
        "here": [
            *model.fixed_effects_["estimate"],
            *std,
            -2 * model.log_likelihood_,
        ],
        "lme4": [1.462, -0.693, 0.3282, 0.7556, 2171.305],
    },
    index=[
        "intercept",
        "floor",
        "sd of counties",
        "sd of residuals",
        "REML",
    ],
).round(4)
