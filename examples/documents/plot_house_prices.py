"""
=======================================
House prices: three models, one surface
=======================================

What a house costs depends on its size, its age, its lot, the way to the centre, and on
the neighbourhood. Size and age are numbers and a network can learn what they do; the
neighbourhood is a label, and most labels come with a handful of sales. A mixed model
keeps the two apart: a linear or a flexible fixed part for the numbers, random effects
for the labels.
"""

# %%
# Sales in 150 zip codes
# ----------------------
# The data are artificial, so that the truth is known. Some zip codes have hundreds of
# sales, some have one; the size of the lot or the age is missing here and there.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skglmm import MixedLinearRegressor, NetworkPart
from skglmm.datasets import make_house_prices
from skglmm.inspection import (
    CoefficientsDisplay,
    PredictiveCheckDisplay,
    ShrinkageDisplay,
)

# sphinx_gallery_thumbnail_number = 5
X, y, truth = make_house_prices(
    3000, 150, return_effects=True, random_state=0
)
train, test = slice(0, 2250), slice(2250, None)
X.describe().round(1)

# %%
# Three models
# ------------
# Gaps are filled with the median, and a column says where they were. The zip codes
# pass through: the model looks them up by name. The network is a function that
# returns one, of as many inputs as there turn out to be columns, cross-fitted in
# three folds.

numbers = ["area", "lot", "rooms", "age", "distance"]


def fill():
    """Numbers without gaps, and whatever else there is as it is."""
    median = SimpleImputer(strategy="median", add_indicator=True)
    columns = [("numbers", median, numbers)]
    filled = ColumnTransformer(
        columns, remainder="passthrough", verbose_feature_names_out=False
    )
    return filled.set_output(transform="pandas")


def scale():
    """Numbers in standard deviations, and the zip codes as they are."""
    scaled = ColumnTransformer(
        [("zip", "passthrough", ["zip"])],
        remainder=StandardScaler(),
        verbose_feature_names_out=False,
    )
    return scaled.set_output(transform="pandas")


def network(width):
    """Two hidden layers and a linear output."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((width,)),
            layers.Dense(32, activation="swish"),
            layers.Dense(32, activation="swish"),
            layers.Dense(1),
        ]
    )


models = {
    "linear, no groups": MixedLinearRegressor(groups=[]),
    "linear, groups": MixedLinearRegressor("zip"),
    "network, groups": MixedLinearRegressor(
        "zip",
        fixed_effects=NetworkPart(network, n_folds=3),
        random_state=0,
    ),
}
rows, errors = {}, {}
for name, model in models.items():
    columns = [*numbers, "zip"] if model.groups else numbers
    models[name] = make_pipeline(fill(), model)
    models[name].fit(X[columns][train], y[train])
    error = y[test] - models[name].predict(X[columns][test])
    errors[name] = error
    std = models[name][-1].variance_components_["std"]
    rows[name] = {
        "error of prediction": np.sqrt(np.mean(error**2)),
        "std of zip codes": std.get(("zip", "Intercept")),
        "std of residuals": std["residual", ""],
    }
rows["truth"] = {
    "std of zip codes": truth.zip_std,
    "std of residuals": truth.noise,
}
pd.DataFrame(rows).T.round(3)

# %%
# Groups take away a good part of the error of the linear model, and the network most
# of what is left above the noise. The linear models count what they cannot bend to as noise. What remains of
# the network's residuals above the truth is in part the gaps: where the age is not
# known, its effect is noise to any model.
#
# The estimates of the network's model come from cross-fitted predictions, each made
# by networks that have not seen the zip code of the row. Residuals of the rows that a
# network was trained on would be too small.

# %%
# Residuals
# ---------
# What each of them leaves of prices that it has not seen:

figure, axis = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
for name, values in errors.items():
    axis.hist(
        values, np.linspace(-1.2, 1.2, 61), histtype="step", label=name
    )
axis.set(xlabel="held-out log price less prediction", ylabel="houses")
axis.set_ylim(top=1.35 * axis.get_ylim()[1])
axis.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Before and after the data
# -------------------------
# What does the model of groups think of zip codes before it knows any of
# them, and after? ``level="population"`` simulates prices with effects from
# their prior, ``"conditional"`` with effects from their posterior. Dots are
# the means of zip codes, and lines what the simulations say of them.

prepared = models["linear, groups"][:-1].transform(X[train])
linear = models["linear, groups"][-1]
few = prepared["zip"].isin(prepared["zip"].value_counts().index[:30])
figure, axes = plt.subplots(
    2, 1, sharex=True, figsize=(5.4, 6), layout="constrained"
)
for axis, level, words in (
    (axes[0], "population", "effects from the prior"),
    (axes[1], "conditional", "effects from the posterior"),
):
    PredictiveCheckDisplay.from_estimator(
        linear,
        prepared[few],
        y[train][few],
        kind="groups",
        level=level,
        response="log price",
        random_state=0,
        ax=axis,
    )
    axis.set_title(words)
axes[0].get_legend().remove()
plt.show()

# %%
# Coefficients
# ------------
# The posterior of a coefficient is normal here, and its interval says all.
# Numbers are in standard deviations of their columns. The last two say where
# a size or an age was missing: the median of lots, which fills their gaps, is
# below their mean, and the first of the two makes up for that.

scaled = make_pipeline(fill(), scale(), MixedLinearRegressor("zip"))
scaled.fit(X[train], y[train])
display = CoefficientsDisplay.from_estimator(scaled[-1])
display.ax_.set_xlabel("log price")
plt.show()

# %%
# Missing numbers
# ---------------
# A median in the place of a gap makes a column vary less than it does, and
# what it could have explained goes to others. ``missing="model"`` has a
# model of the columns too, draws what is missing given all that is known
# (the price as well), and adds the uncertainty to the errors. The
# document tried it "to no avail".

modelled = MixedLinearRegressor("zip", missing="model", random_state=0)
modelled.fit(X[train], y[train])
whole = X[train].notna().all(axis=1)
complete = MixedLinearRegressor("zip").fit(
    X[train][whole], y[train][whole]
)
fits = {"complete rows": complete, "median": linear, "modelled": modelled}
pd.concat(
    {
        name: model.fixed_effects_.loc[["lot", "age"]]
        for name, model in fits.items()
    }
).mul(1000).round(4)

# %%
# Errors are smallest where all rows are used and gaps are modelled. (In
# thousandths of the log price for a square metre or a year.)
#
# Shrinkage
# ---------
# For each zip code: its level by its own sales, and what the mixed model
# makes of it. Few sales say little, and are drawn far towards the average
# zip code; those with many are left where they are.

display = ShrinkageDisplay.from_estimator(linear, prepared, y[train])
display.ax_.set_ylabel("level of the zip code (log price)")
plt.show()

# %%
# The same for the network: the mean of what it leaves unexplained in each
# zip code, beside the effect.

best = models["network, groups"]
effect = best[-1].random_effects_["zip"]["Intercept"]
zips = X["zip"][train]
surface = best.predict(X[train]) - effect[zips].to_numpy()
unexplained = (y[train] - surface).groupby(zips)
table = pd.DataFrame(
    {
        "sales": unexplained.size(),
        "mean": unexplained.mean(),
        "effect": effect,
    }
)
figure, axis = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
limits = table["mean"].min(), table["mean"].max()
axis.plot(limits, limits, color="gray", lw=0.8, label="no shrinkage")
for low, high, color in ((1, 3, "C0"), (4, 15, "C2"), (16, 10**6, "C1")):
    some = table[table["sales"].between(low, high)]
    label = f"{low} to {high} sales" if high < 100 else f"{low} and more"
    axis.scatter(some["mean"], some["effect"], s=16, c=color, label=label)
axis.axhline(0.0, color="gray", lw=0.5, zorder=0)
axis.set(
    xlabel="mean of the zip code's own sales", ylabel="random effect"
)
axis.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Which of the two is closer to the truth? Distances of either to the effects that the
# data were drawn from, for the third of the zip codes with the fewest sales and for
# the others:

real = truth.random_effects[table.index]
rare = table["sales"] <= table["sales"].quantile(1 / 3)
distance = (table[["mean", "effect"]].sub(real, axis=0) ** 2).groupby(
    rare
).mean() ** 0.5
distance.rename({True: "few sales", False: "more"}).round(3)

# %%
# The numbers
# -----------
# The document's own data cannot be had, so that its numbers cannot be met.
# What can is the truth, which these data have:

pd.DataFrame(
    {
        "truth": [truth.zip_std, truth.noise],
        "linear": linear.variance_components_["std"].to_numpy(),
        "network": best[-1].variance_components_["std"].to_numpy(),
    },
    index=["std of zip codes", "std of residuals"],
).round(3)
