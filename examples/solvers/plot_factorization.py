"""
============================================
Mean field, and why it is too sure of itself
============================================

Variational inference replaces the posterior of the random effects by the best one of
a simpler kind. What one leaves out decides which answers can still be right. Here
60 people answer 40 questions, not all of them, 1,200 answers in all, right or wrong:
the two factors *cross*. The posterior then has a covariance for each pair of effects,
and those with the fixed effects beside them. ``VI`` can keep them all
(``factorization="full"``), those that matter most (``"partial"``), or none
(``"mean_field"``).
"""

# %%
# One table of answers
# --------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skglmm import MixedLogisticRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI

KINDS = ["full", "partial", "mean_field"]
INTERCEPT, SLOPE = 0.3, 0.5


def draw(seed):
    """Answers in which people differ by 1 and questions by 0.7."""
    X, y = make_mixed_regression(
        1200,
        1,
        n_groups=[60, 40],
        family="bernoulli",
        intercept=INTERCEPT,
        coef=[SLOPE],
        group_std=[1.0, 0.7],
        random_state=seed,
    )
    return X.rename(columns={"g0": "person", "g1": "question"}), y


def fit(X, y, kind):
    """The fitted model with one kind of posterior."""
    solver = VI(factorization=kind)
    return MixedLogisticRegressor(
        ["person", "question"], solver=solver
    ).fit(X, y)


X, y = draw(0)
models = {kind: fit(X, y, kind) for kind in KINDS}
pd.DataFrame(
    {
        kind: {
            "intercept": model.intercept_[0],
            "slope": model.coef_[0, 0],
            "std of people": model.variance_components_["std"].iloc[0],
            "std of questions": model.variance_components_["std"].iloc[1],
            "std. error of the intercept": model.fixed_effects_[
                "std_error"
            ].iloc[0],
            "std. error of the slope": model.fixed_effects_[
                "std_error"
            ].iloc[1],
        }
        for kind, model in models.items()
    }
).round(3)

# %%
# The estimates agree: whatever the posterior may look like, all effects are moved
# together. The standard error of the intercept does not. With mean field it
# is about a third of the others.

# %%
# Which standard error is right?
# ------------------------------
# A standard error claims how far estimates scatter from one table of data to the
# next. So draw forty tables and look. (A fit that finds a variance of zero says so;
# here it may.)

rows = []
for seed in range(40):
    X, y = draw(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in KINDS:
            found = fit(X, y, kind).fixed_effects_
            rows.append(
                {
                    "kind": kind,
                    "off": found.loc["Intercept", "estimate"] - INTERCEPT,
                    "error": found.loc["Intercept", "std_error"],
                }
            )
rows = pd.DataFrame(rows)
rows["within two errors"] = rows["off"].abs() < 2 * rows["error"]
by_kind = rows.groupby("kind", sort=False)
summary = pd.DataFrame(
    {
        "estimates scatter by": by_kind["off"].std(),
        "standard error says": by_kind["error"].mean(),
        "truth within two errors": by_kind["within two errors"].mean(),
    }
)
print(summary.round(3).to_string())

# %%
# An interval of two standard errors should hold the truth about 19 times of 20. It
# does with ``"full"`` and ``"partial"``; with ``"mean_field"`` it fails one time in
# three. Mean field computes the error of the intercept as if the effects of people and
# questions were known, so that 1,200 answers count as 1,200 independent facts. About
# the average person there are no more than 60, and more answers from the same people
# would make it worse.

order = np.argsort(rows.loc[rows["kind"] == "full", "off"].to_numpy())
figure, axes = plt.subplots(
    1, 3, sharex=True, sharey=True, figsize=(6, 5)
)
for axis, kind in zip(axes, KINDS, strict=True):
    of_kind = rows[rows["kind"] == kind].iloc[order]
    inside = of_kind["within two errors"].to_numpy()
    place = np.arange(len(of_kind))
    for held, color in ((True, "C0"), (False, "C3")):
        some = of_kind[inside == held]
        axis.errorbar(
            some["off"],
            place[inside == held],
            xerr=2 * some["error"],
            fmt="o",
            ms=3,
            lw=0.9,
            color=color,
        )
    axis.axvline(0.0, color="gray", lw=0.8, zorder=0)
    axis.set_title(kind)
    axis.set_yticks([])
figure.supxlabel("intercept minus truth, ± two standard errors")
figure.tight_layout()
plt.show()

# %%
# ``"mean_field"`` is there for comparison. ``"auto"``, the default, is ``"full"`` for
# every design that this version can hold.
