"""
==================================================
Known groups and new ones: scores and calibration
==================================================

How good is a model? It depends on whom it is asked about. People that it has
met are predicted with what it knows of them, new ones with the average, and
an honest interval is wider for the second. Here are both, side by side.
"""

# %%
# Two ways to split
# -----------------
# 150 people with 2 to 30 rows each; a person has a level and a pace. Rows
# left out at random are of people who are known from their other rows;
# people left out as a whole are new.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression

X, y = make_mixed_regression(
    1500,
    2,
    n_groups=150,
    n_random_slopes=1,
    group_std=1.0,
    slope_std=0.7,
    balance="power",
    random_state=1,
)
X["g0"] = "person " + X["g0"].astype(str)
one_hot = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["g0"]),
    remainder="passthrough",
)
no_groups = make_column_transformer(
    ("drop", ["g0"]), remainder="passthrough"
)
models = {
    "no groups": make_pipeline(no_groups, LinearRegression()),
    "a column each, ridge": make_pipeline(
        one_hot, RidgeCV(np.logspace(-3, 3, 13))
    ),
    "mixed, levels": MixedLinearRegressor("g0"),
    "mixed, levels and paces": MixedLinearRegressor(
        "g0", random_slopes=["x0"]
    ),
}
splits = {
    "known people": KFold(5, shuffle=True, random_state=0),
    "new people": GroupKFold(5),
}
who = {"known people": None, "new people": X["g0"]}
scores = pd.DataFrame(
    {
        split: {
            name: -cross_val_score(
                model,
                X,
                y,
                groups=who[split],
                cv=cv,
                scoring="neg_root_mean_squared_error",
            ).mean()
            for name, model in models.items()
        }
        for split, cv in splits.items()
    }
)
scores.round(3)

# %%
# For known people the mixed model is ahead, since it knows a pace of
# each. For new people nobody can know level or pace: all are about as far
# off, and what the first column promises would be a false promise.

axis = scores.plot.barh(figsize=(5.6, 3.4), width=0.75)
axis.set_xlabel("error of prediction (root mean square)")
axis.legend(
    frameon=False, loc="upper left", bbox_to_anchor=(0, 1.2), ncols=2
)
axis.figure.set_layout_engine("constrained")
plt.show()

# %%
# Are the intervals honest?
# -------------------------
# An interval of 80 % should hold four of five. ``predict_interval`` takes a
# ``coverage``, and uses what is known row by row: nothing has to be said of
# who is new.

model = models["mixed, levels and paces"]
nominal = np.array([0.2, 0.4, 0.6, 0.8, 0.9, 0.95])
held = {split: np.zeros(len(nominal)) for split in splits}
width = {split: [] for split in splits}
for split, cv in splits.items():
    for fit, test in cv.split(X, y, who[split]):
        model.fit(X.iloc[fit], y.iloc[fit])
        for k, coverage in enumerate(nominal):
            lower, upper = model.predict_interval(
                X.iloc[test], coverage=coverage
            ).T
            inside = (lower <= y.iloc[test]) & (y.iloc[test] <= upper)
            held[split][k] += inside.sum() / len(y)
        width[split].append(np.mean(upper - lower))

figure, axis = plt.subplots(figsize=(5, 4.2), layout="constrained")
axis.plot([0, 1], [0, 1], color="0.5", lw=1, label="honest")
for split, marker in zip(splits, ("o", "s"), strict=True):
    axis.plot(nominal, held[split], marker, label=split)
axis.set(
    xlabel="coverage that was asked for",
    ylabel="share of held-out rows inside",
)
axis.legend(frameon=False)
plt.show()

# %%
# Both lie on the line. The price for a new person is the width:

pd.DataFrame(
    {
        "share inside 95 %": {s: held[s][-1] for s in splits},
        "width of 95 %": {s: np.mean(width[s]) for s in splits},
    }
).round(3)
