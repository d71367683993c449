"""
===============================================
Few houses, many houses: radon in 85 counties
===============================================

Radon was measured in 919 houses of Minnesota: in some counties in more than a
hundred, in some in one. What is a county's level when only one house speaks for it?
A mixed model lets every county speak in proportion to what it knows.
"""

# %%
# What the counties do not share
# ------------------------------
# Two models of the logarithm of radon. The first knows whether the reading was
# taken in the basement (``floor`` is 0) or above it; the second also knows the
# uranium in the county's soil.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_radon

X, y = load_radon(return_X_y=True, as_frame=True)

by_floor = MixedLinearRegressor(groups="county").fit(X[["floor", "county"]], y)
by_uranium = MixedLinearRegressor(groups="county").fit(X, y)
pd.concat(
    {
        "floor": by_floor.variance_components_["std"],
        "floor and uranium": by_uranium.variance_components_["std"],
    },
    axis=1,
)

# %%
# Uranium takes away half of what made the counties differ. Houses within a county
# differ as much as before: a county's soil cannot tell them apart.

by_uranium.fixed_effects_

# %%
# Means and what becomes of them
# ------------------------------
# For each county, its level by the houses measured there alone, and by the mixed
# model. A county with two houses is drawn far towards the average, one with a
# hundred hardly at all.

houses = X["county"].value_counts().rename("houses")
floor_effect = by_floor.fixed_effects_.loc["floor", "estimate"]
own = (y - floor_effect * X["floor"]).groupby(X["county"], observed=True).mean()
average = by_floor.fixed_effects_.loc["Intercept", "estimate"]
counties = pd.DataFrame(
    {
        "houses": houses,
        "own": own,
        "mixed": average + by_floor.random_effects_["county"]["Intercept"],
        "std": by_floor.random_effects_std_["county"]["Intercept"],
    }
)

figure, axes = plt.subplots(1, 2, sharex=True, sharey=True, figsize=(9, 4.5))
axes[0].scatter(counties["houses"], counties["own"], s=12)
axes[0].set_title("by its own houses")
axes[1].errorbar(
    counties["houses"], counties["mixed"], counties["std"], fmt="o", ms=3, lw=0.8
)
axes[1].set_title("by the mixed model (± one standard deviation)")
for axis in axes:
    axis.axhline(average, color="gray", lw=0.8, zorder=0)
    axis.set(xscale="log", xlabel="houses measured in the county")
axes[0].set_ylabel("county's level, log radon")
figure.tight_layout()
plt.show()

# %%
# The formula behind it
# ---------------------
# With a random intercept alone, a county's level is its own mean and the average,
# mixed in a proportion that the number of its houses and the two variances decide:
# its own mean has the weight ``n / (n + residual variance / county variance)``.
# By hand that gives the same levels to within rounding; the largest difference is:

county_variance = by_floor.random_effects_covariance_["county"][0, 0]
n = counties["houses"]
weight = n / (n + by_floor.noise_variance_ / county_variance)
by_hand = weight * counties["own"] + (1 - weight) * average
float(np.abs(by_hand - counties["mixed"]).max())
