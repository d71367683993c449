"""
=============
A first model
=============

Eighteen people are kept short of sleep, and every day their reaction time is
measured. Most slow down, each at a pace of their own. We hide the last two
days of every person but one, and that one person altogether, fit a mixed model to
the rest, and predict what was hidden.
"""

# %%
# The data come with the package. ``Subject`` is an ordinary column of ``X``.

import numpy as np
from sklearn.linear_model import LinearRegression

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_sleepstudy

# sphinx_gallery_thumbnail_path = 'images/sleep.png'
X, y = load_sleepstudy(return_X_y=True, as_frame=True)

newcomer = X["Subject"] == "372"
hidden = newcomer | (X["Days"] >= 8)
print(f"{(~hidden).sum()} rows to fit, {hidden.sum()} rows to predict")

# %%
# Everybody gets a line of their own: an intercept and a slope of ``Days`` by
# ``Subject``.

model = MixedLinearRegressor(groups="Subject", random_slopes=["Days"])
model.fit(X[~hidden], y[~hidden])

print("\nThe line of the average person:")
print(model.fixed_effects_.round(2))
print("\nHow much people differ, and what is left within a person:")
print(model.variance_components_.round(3))

# %%
# A person seen in the fit is predicted with a line of their own. The newcomer has
# no line yet and gets the average one; the rows of both kinds go in together.

predicted = model.predict(X[hidden])

table = X[hidden].assign(seen=~newcomer[hidden], reaction=y[hidden])
table["predicted"] = np.round(predicted, 1)
print("\nHeld-out rows of two people, the second one never seen:")
print(table[table["Subject"].isin(["337", "372"])].to_string(index=False))

# %%
# Against one line for everybody:

one_line = LinearRegression().fit(X.loc[~hidden, ["Days"]], y[~hidden])


def rmse(rows, prediction):
    """Root of the mean squared error in milliseconds, over some of the rows."""
    error = y[hidden] - prediction
    return float(np.sqrt(np.mean(error[rows[hidden]] ** 2)))


common = one_line.predict(X.loc[hidden, ["Days"]])
print("\nRoot mean squared error, in milliseconds:")
print(f"{'':22s}{'own line':>10s}{'one line':>10s}")
for who, rows in [
    ("people seen before", ~newcomer),
    ("the newcomer", newcomer),
]:
    print(
        f"{who:22s}{rmse(rows, predicted):10.1f}{rmse(rows, common):10.1f}"
    )
