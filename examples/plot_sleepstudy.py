"""
=================================
Shrinkage: a line for each person
=================================

With ten measurements a person one can fit a line to each of eighteen people, or one
line to all of them. The first follows the noise of ten points, the second denies
that people differ. A mixed model estimates *how much* they differ and places each
line accordingly: nearer to the average line the less a person's own data say.
"""

# %%
# The model
# ---------
# A random intercept and a random slope of ``Days`` for each ``Subject``, free to be
# correlated. In lme4 this is ``Reaction ~ Days + (Days | Subject)``.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_sleepstudy

X, y = load_sleepstudy(return_X_y=True, as_frame=True)
model = MixedLinearRegressor(
    groups="Subject", random_slopes=["Days"]
).fit(X, y)
model.variance_components_

# %%
# The average person answers in 251 ms when rested and loses 10.5 ms a day. People
# differ by a standard deviation of 25 ms in the first and of 6 ms a day in the
# second, so almost nobody stays as fast as on the first day, and some slow down
# twice as much as the average.

model.fixed_effects_

# %%
# Three ways to draw eighteen lines
# ---------------------------------
# ``random_effects_`` holds what is added to the average line for each person.

own = pd.DataFrame(
    {
        subject: np.r_[line.intercept_, line.coef_]
        for subject, rows in X.groupby(
            "Subject", observed=True
        ).groups.items()
        for line in [
            LinearRegression().fit(X.loc[rows, ["Days"]], y[rows])
        ]
    },
    index=["Intercept", "Days"],
).T
average = model.fixed_effects_["estimate"]
mixed = model.random_effects_["Subject"] + average

days = np.array([0, 9])
chosen = mixed["Days"].sort_values().index[[0, 3, 6, 10, 14, 17]]
figure, axes = plt.subplots(
    3, 2, sharex=True, sharey=True, figsize=(6, 7.5)
)
for axis, subject in zip(axes.flat, chosen, strict=True):
    rows = X["Subject"] == subject
    axis.scatter(X.loc[rows, "Days"], y[rows], s=12, color="black")
    for name, line, style in [
        ("everybody's line", average, "--"),
        ("the person's own data", own.loc[subject], ":"),
        ("mixed model", mixed.loc[subject], "-"),
    ]:
        axis.plot(
            days,
            line["Intercept"] + line["Days"] * days,
            style,
            label=name,
        )
    axis.set_title(f"Subject {subject}")
figure.supxlabel("days")
figure.supylabel("reaction time (ms)")
figure.legend(
    *axes[0, 0].get_legend_handles_labels(),
    loc="upper center",
    ncols=3,
    handlelength=1.5,
)
figure.tight_layout(rect=(0, 0, 1, 0.95))

# %%
# Shrinkage
# ---------
# An arrow starts where a person's own data put the line and ends where the mixed
# model puts it. The lines are drawn inward, and most of all in the direction in which
# ten points say least: a higher start with a flatter line fits them nearly as well as
# a lower start with a steeper one.

figure, axis = plt.subplots(figsize=(6, 5))
axis.quiver(
    own["Intercept"],
    own["Days"],
    *(mixed - own)[["Intercept", "Days"]].to_numpy().T,
    angles="xy",
    scale_units="xy",
    scale=1,
    width=0.004,
    color="gray",
)
axis.scatter(
    own["Intercept"], own["Days"], s=15, label="the person's own data"
)
axis.scatter(mixed["Intercept"], mixed["Days"], s=25, label="mixed model")
axis.scatter(*average, marker="*", s=200, label="average")
axis.set(xlabel="intercept (ms)", ylabel="slope (ms a day)")
axis.legend()
figure.tight_layout()
plt.show()

# %%
# Somebody who was not there
# --------------------------
# An unseen subject gets the average line. Nothing has to be said for it: seen and
# unseen subjects go through ``predict`` in one table.

new = pd.DataFrame(
    {"Days": [0, 9, 0, 9], "Subject": ["308", "308", "new", "new"]}
)
new.assign(predicted=model.predict(new).round(1))
