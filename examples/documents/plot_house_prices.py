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
# Sales in two hundred zip codes
# ------------------------------
# The data are artificial, so that the truth is known. Some zip codes have hundreds of
# sales, some have one; the size of the lot or the age is missing here and there.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_house_prices

X, y, truth = make_house_prices(
    4000, 200, return_effects=True, random_state=0
)
train, test = slice(0, 3000), slice(3000, None)
X.describe().round(1)

# %%
# Three models
# ------------
# Gaps are filled with the median, and a column says where they were. The zip codes
# pass through: the model looks them up by name. The network is a function that
# returns one, of as many inputs as there turn out to be columns.

numbers = ["area", "lot", "rooms", "age", "distance"]


def fill():
    """Numbers without gaps, and whatever else there is as it is."""
    median = SimpleImputer(strategy="median", add_indicator=True)
    columns = [("numbers", median, numbers)]
    filled = ColumnTransformer(
        columns, remainder="passthrough", verbose_feature_names_out=False
    )
    return filled.set_output(transform="pandas")


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
    "linear, no groups": MixedLinearRegressor(),
    "linear, groups": MixedLinearRegressor("zip"),
    "network, groups": MixedLinearRegressor(
        "zip", fixed_effects=network, random_state=0
    ),
}
rows = {}
for name, model in models.items():
    columns = numbers if model.groups is None else [*numbers, "zip"]
    models[name] = make_pipeline(fill(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model without groups says so
        models[name].fit(X[columns][train], y[train])
    error = y[test] - models[name].predict(X[columns][test])
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
# Groups take away most of the error of the linear model, and the network most of what
# is left. The linear models count what they cannot bend to as noise. What remains of
# the network's residuals above the truth is in part the gaps: where the age is not
# known, its effect is noise to any model.
#
# The estimates of the network's model come from cross-fitted predictions, each made
# by networks that have not seen the zip code of the row. Residuals of the rows that a
# network was trained on would be too small.

# %%
# Shrinkage
# ---------
# For each zip code: the mean of what the network leaves unexplained in its sales, and
# the effect that the mixed model makes of it. Means of few sales are mostly noise,
# and drawn far towards zero; those of many are left where they are.

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
figure, axis = plt.subplots(figsize=(6.5, 5))
limits = table["mean"].min(), table["mean"].max()
axis.plot(limits, limits, color="gray", lw=0.8, label="no shrinkage")
points = axis.scatter(
    table["mean"],
    table["effect"],
    c=np.log10(table["sales"]),
    s=18,
    cmap="viridis",
)
ticks = [
    size
    for size in (1, 3, 10, 30, 100, 300)
    if size <= table["sales"].max()
]
bar = figure.colorbar(
    points, ticks=np.log10(ticks), label="sales in the zip code"
)
bar.ax.set_yticklabels(ticks)
axis.axhline(0.0, color="gray", lw=0.5, zorder=0)
axis.set(
    xlabel="mean of the zip code's own sales", ylabel="random effect"
)
axis.legend(loc="upper left")
figure.tight_layout()
plt.show()

# %%
# Which of the two is closer to the truth? Distances of either to the effects that the
# data were drawn from, for the third of the zip codes with the fewest sales and for
# the others:

real = truth.random_effects[table.index]
few = table["sales"] <= table["sales"].quantile(1 / 3)
distance = (table[["mean", "effect"]].sub(real, axis=0) ** 2).groupby(
    few
).mean() ** 0.5
distance.rename({True: "few sales", False: "more"}).round(3)
