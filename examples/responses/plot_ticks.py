"""
===========================================
Ticks on grouse: counts that vary too much
===========================================

Ticks were counted on the heads of 403 grouse chicks. Chicks of one brood share their
fate, broods of one place too, and even then a few chicks have many ticks and
most have few. A mixed Poisson model can say all this, and it shows why the mean of
a count is not the exponential of a mean.
"""

# %%
# Chicks, broods, places
# ----------------------
# ``INDEX`` has one level for each row. As a grouping factor it lets each chick have a
# rate of its own: counts that vary more than a Poisson distribution allows
# (*overdispersion*).

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skglmm import MixedPoissonRegressor
from skglmm.datasets import load_grouseticks

X, y = load_grouseticks(return_X_y=True, as_frame=True)
X["height"] = X["cHEIGHT"] / 100  # in units of 100 metres
year = X["YEAR"]
X = pd.get_dummies(X, columns=["YEAR"], drop_first=True, dtype=float)
X = X[["height", "YEAR_96", "YEAR_97", "INDEX", "BROOD", "LOCATION"]]

plain = MixedPoissonRegressor(["BROOD", "LOCATION"]).fit(
    X.drop(columns="INDEX"), y
)
chicks = MixedPoissonRegressor(["INDEX", "BROOD", "LOCATION"]).fit(X, y)
pd.concat(
    {
        "broods and places": plain.variance_components_["std"],
        "and chicks": chicks.variance_components_["std"],
    },
    axis=1,
).round(2)

# %%
# Akaike's criterion is in no doubt that chicks differ:

pd.Series(
    {"broods and places": plain.aic_, "and chicks": chicks.aic_}
).round(1)

# %%
# What height and year do
# -----------------------
# Coefficients are on the scale of logarithms; their exponentials multiply the
# rate. A hundred metres higher there are a tenth of the ticks.

chicks.fixed_effects_.assign(
    factor=np.exp(chicks.fixed_effects_["estimate"])
).round(3)

# %%
# The mean of a new chick
# -----------------------
# How many ticks will a chick have of which nothing is known but height and year?
# The exponential of the linear predictor answers for a chick whose brood, place and
# self are *average in the logarithm*. Most chicks are about like that, but the mean
# is made by the others: if :math:`\eta` is normal with mean :math:`m` and variance
# :math:`v`, then :math:`e^\eta` has the mean :math:`e^{m + v/2}`. That is what
# ``predict`` returns.

means = pd.DataFrame(
    {
        "observed": y.groupby(year).mean(),
        "predict": pd.Series(chicks.predict(X, level="population"))
        .groupby(year)
        .mean(),
        "exp(linear predictor)": pd.Series(
            np.exp(chicks.linear_predictor(X, level="population"))
        )
        .groupby(year)
        .mean(),
    }
)
means.loc["all"] = [
    y.mean(),
    chicks.predict(X, level="population").mean(),
    np.exp(chicks.linear_predictor(X, level="population")).mean(),
]
print(means.round(2).to_string())

# %%
# ``level="population"`` treats all labels as unseen, so that no chick is predicted from
# its own count. A few broods make the mean of a year, and the years scatter around
# what the model expects; but the exponential of the linear predictor is too small in
# each of them.

axis = means.plot.bar(figsize=(6, 4), rot=0, color=["black", "C0", "C1"])
axis.set(xlabel="year", ylabel="mean number of ticks")
axis.figure.tight_layout()
plt.show()

# %%
# Exposure
# --------
# All chicks were looked at in the same way. Where rows differ in time, area or
# number at risk, name that column in ``exposure``: its logarithm joins the linear
# predictor with coefficient one, and the coefficients describe rates.
