"""
======================================
A pipeline and a grid search on polars
======================================

Which groupings, which slopes? Parts of a mixed model are parameters of an
estimator here, so that a grid search can choose. The table is a polars one
from the first step to the last.
"""

# %%
# Visits
# ------
# Nurses visit patients, and note the minutes. (An artificial table, as raw as
# such tables are; see :func:`skglmm.datasets.make_visits`.)

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_visits

table = pl.from_pandas(make_visits(random_state=0).dropna())
table = table.with_columns(
    months=(pl.col("date") - pl.col("date").min()).dt.total_days() / 30
)
X = table.select(
    "months", "pain", "region", "insured", "patient", "nurse"
)
y = table["minutes"]
X.head(3)

# %%
# The pipeline
# ------------
# Numbers are scaled, and all other columns go through as they are: text is
# coded by the model, and patients and nurses are looked up by name.

scale = ColumnTransformer(
    [("numbers", StandardScaler(), ["months", "pain"])],
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="polars")
fixed = ["months", "pain", "region", "insured"]
model = MixedLinearRegressor(
    "patient", fixed_effects=fixed, covariance="diag"
)
pipeline = make_pipeline(scale, model)

# %%
# The search
# ----------
# Names of parameters are those of scikit-learn: step, two underscores,
# parameter. Rows are split at random, so that patients are known in part:
# this asks for visits to come. For new patients split by patient
# (:ref:`sphx_glr_auto_examples_workflow_plot_new_groups.py`).

part = "mixedlinearregressor__"
both = ["patient", "nurse"]
grid = [
    {part + "groups": ["nurse"]},
    {
        part + "groups": ["patient"],
        part + "random_slopes": [None, ["months"]],
    },
    {
        part + "groups": [both],
        part + "random_slopes": [None, {"patient": ["months"]}],
    },
]
search = GridSearchCV(
    pipeline,
    grid,
    cv=KFold(5, shuffle=True, random_state=0),
    scoring="neg_root_mean_squared_error",
)
search.fit(X, y)

names, scores, spread = [], [], []
for k, chosen in enumerate(search.cv_results_["params"]):
    groups, slopes = (
        chosen.get(part + name) for name in ("groups", "random_slopes")
    )
    groups = groups if isinstance(groups, str) else ", ".join(groups)
    names.append(f"{groups}; months" if slopes else groups)
    scores.append(-search.cv_results_["mean_test_score"][k])
    spread.append(search.cv_results_["std_test_score"][k])

order = np.argsort(scores)[::-1]
figure, axis = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
axis.errorbar(
    np.array(scores)[order],
    np.arange(len(order)),
    xerr=np.array(spread)[order],
    fmt="o",
)
axis.set_yticks(np.arange(len(order)), np.array(names)[order])
axis.set_xlabel("held-out error (minutes)")
plt.show()

# %%
# Both groupings are needed, and a pace of each patient's own helps a
# little. The best model, fitted to all rows:

print(search.best_estimator_[-1].summary())

# %%
# The numbers
# -----------
# The table was made with known values. (The level of a patient is the one at
# the mean of the months.)

found = search.best_estimator_[-1].variance_components_["std"]
months = table["months"].to_numpy()
truth = {
    "patient Intercept": np.hypot(6.0, 0.5 * months.mean()),
    "patient months": 0.5 * months.std(),
    "nurse Intercept": 4.0,
    "residual": 5.0,
}
here = {" ".join(key).strip(): value for key, value in found.items()}
pl.DataFrame(
    {
        "standard deviation of": list(truth),
        "truth": list(truth.values()),
        "here": [here.get(name) for name in truth],
    }
).with_columns(pl.col("truth", "here").round(3))
