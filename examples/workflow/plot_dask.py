"""
===========================
Rows in a folder, with Dask
===========================

Clicks, ratings and visits lie in folders of Parquet files that no memory
holds. Here such a folder, a small one, is fitted without ever being read
as a whole, by the estimator that fits a dataframe.
"""

# %%
# A folder
# --------
# Eight files of 50,000 rows each: minutes of visits, by 20,000 patients who
# differ in level and pace. (The table is drawn, so that the truth is known.)

import tempfile
from pathlib import Path

import dask.dataframe as dd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skglmm import MixedLinearRegressor, show_plan
from skglmm.inspection import RandomEffectsDisplay

PATIENTS, FILES, ROWS = 20_000, 8, 50_000
rng = np.random.default_rng(0)
level, pace = 6.0 * rng.normal(size=PATIENTS), rng.normal(size=PATIENTS)
folder = tempfile.TemporaryDirectory()
for file in range(FILES):
    patient = rng.integers(0, PATIENTS, ROWS)
    months = rng.uniform(0.0, 12.0, ROWS)
    minutes = 30.0 + level[patient] + (0.5 + pace[patient]) * months
    pd.DataFrame(
        {
            "months": months,
            "patient": patient,
            "minutes": minutes + 5.0 * rng.normal(size=ROWS),
        }
    ).to_parquet(Path(folder.name) / f"part-{file}.parquet")

rows = dd.read_parquet(folder.name)
rows.npartitions, list(rows.columns)

# %%
# What it will cost
# -----------------
# A plan is made from one partition: passes over the rows, what travels,
# what is held, and seconds.

X, y = rows[["months", "patient"]], rows["minutes"]
model = MixedLinearRegressor("patient", random_slopes=["months"])
print(show_plan(model, X))

# %%
# The fit
# -------
# The first pass finds the patients, the second leaves the sums that a
# linear model asks for; the optimiser never sees a row. With a
# ``dask.distributed.Client`` the same line runs on its workers.

model.fit(X, y)
print(model.summary())

# %%
# Twenty thousand patients are too many to name: the display names those at
# both ends.

display = RandomEffectsDisplay.from_estimator(model, effects="months")
display.ax_.set_xlabel("difference of the pace (minutes a month)")
plt.show()

# %%
# Predictions are lazy
# --------------------
# ``predict`` gives a series of Dask: rows are predicted where they are, when
# they are wanted. Its columns can be those of a longer computation.

rows["expected"] = model.predict(X)
rows["off"] = (rows["minutes"] - rows["expected"]) ** 2
float(rows["off"].mean().compute()) ** 0.5

# %%
# The numbers
# -----------
# This folder does fit into memory, so that both ways can be compared: the
# estimates agree to a share of a standard error that is rounding.

table = pd.read_parquet(folder.name)
whole = MixedLinearRegressor("patient", random_slopes=["months"])
whole.fit(table[["months", "patient"]], table["minutes"])
here, there = model.fixed_effects_, whole.fixed_effects_
away = (here["estimate"] - there["estimate"]).abs() / there["std_error"]
print(f"largest difference: {away.max():.0e} standard errors")

names = [
    ("patient", "Intercept"),
    ("patient", "months"),
    ("residual", ""),
]
pd.DataFrame(
    {
        "truth": [6.0, 1.0, 5.0],
        "from partitions": model.variance_components_.loc[names, "std"],
        "in memory": whole.variance_components_.loc[names, "std"],
    }
).round(4)

# %%
folder.cleanup()
