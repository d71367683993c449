"""
===================================
Ordered ratings: how often a five?
===================================

Students of ETH Zurich rate lectures from 1 to 5. Are four and five as far
apart as one and two? A linear model has to believe so. A model of ordered
classes asks the data, and answers with the probability of each rating.
The same ratings are taken for numbers in
:ref:`sphx_glr_auto_examples_documents_plot_insteval.py`, which follows a
tutorial that calls this its next step.
"""

# %%
# Ratings, and a split
# --------------------
# All 73,421 ratings, four of five for the fit: the split of that page.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import log_loss

from skglmm import MixedLinearRegressor, MixedOrdinalClassifier
from skglmm.datasets import load_insteval

X, y = load_insteval(return_X_y=True, as_frame=True)
names = {"s": "student", "d": "instructor", "dept": "department"}
X = X[["service", *names]].rename(columns=names)
groups = list(names.values())

train = np.random.RandomState(42).uniform(size=len(y)) < 0.8
X_train, y_train = X[train], y[train]
X_test, y_test = X[~train], y[~train]
y_train.value_counts(normalize=True).sort_index().round(3)

# %%
# The fit
# -------
# Behind each rating is a number :math:`\eta` plus noise that nobody sees, and
# *thresholds* cut it: :math:`P(y \le k) = F(\theta_k - \eta)` with the
# logistic function :math:`F`. Students, instructors and departments move
# :math:`\eta`, as they move the mean in the linear model.

model = MixedOrdinalClassifier(groups).fit(X_train, y_train)
linear = MixedLinearRegressor(groups).fit(X_train, y_train)
print(model.summary())

# %%
# Thresholds
# ----------
# From one threshold to the next the ratings 2, 3 and 4 take nearly the same
# room, so that here a rating is close to a number. What is left for the
# ordered model is that there is nothing below 1 and nothing above 5.

thresholds = model.family_parameters_
thresholds.assign(step=thresholds["estimate"].diff()).round(3)

# %%
# A good and a bad instructor
# ---------------------------
# The best and the worst of those who have at least fifty ratings, and one
# of whom nothing is known, rated by a student who is new as well.
# ``predict_proba`` takes the mean over all that is not known.

effects = model.random_effects_["instructor"]["Intercept"]
n_ratings = X_train["instructor"].value_counts()
known = effects[n_ratings[n_ratings >= 50].index]
who = {"worst": known.idxmin(), "new": "new", "best": known.idxmax()}
new = pd.DataFrame(
    {
        "service": 0,
        "student": "new",
        "instructor": list(who.values()),
        "department": "new",
    }
)
proba = pd.DataFrame(
    model.predict_proba(new), index=list(who), columns=model.classes_
)
axis = proba.T.plot.bar(
    figsize=(5.6, 3.4), rot=0, width=0.8, color=["C1", "0.7", "C0"]
)
axis.set(xlabel="rating", ylabel="probability")
axis.legend(title="instructor", frameon=False)
axis.figure.tight_layout()
plt.show()
proba.assign(score=model.predict_score(new)).round(3)

# %%
# Are the probabilities right?
# ----------------------------
# For the held-out ratings. The linear model has probabilities too: those that
# a normal variable lies between 1.5 and 2.5, for a rating of 2. All are cut
# into eight bins of as many rows, and each bin asks how often the rating was
# given. Dots on the line are probabilities that can be taken at their word.

mean, std = linear.predict(X_test, return_std=True)
cuts = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
below = norm.cdf((cuts - mean[:, None]) / std[:, None])
predicted = {
    "ordered": model.predict_proba(X_test),
    "linear": np.diff(below, axis=1),
}

figure, axes = plt.subplots(
    1, 2, sharex=True, sharey=True, figsize=(6, 3.6), layout="constrained"
)
for axis, (name, p) in zip(axes, predicted.items(), strict=True):
    axis.axline((0, 0), slope=1, color="0.6", lw=0.8)
    for k, rating in enumerate(model.classes_):
        rows = pd.DataFrame({"p": p[:, k], "given": y_test == rating})
        bins = rows.groupby(pd.qcut(rows["p"], 8, labels=False)).mean()
        axis.plot(
            bins["p"], bins["given"], "o-", ms=4, lw=1, label=rating
        )
    axis.set(title=name, xlabel="predicted probability")
axes[0].set_ylabel("share of ratings")
axes[1].legend(title="rating", frameon=False, handlelength=1)
plt.show()

# %%
# The linear model thinks that middling ratings are more common than they are,
# and ones and fives rarer: its bell has no edges at 1 and 5.
#
# Held-out ratings
# ----------------
# As a number a rating is predicted equally well by both, and there is no
# reason to leave the linear model for that. Its probabilities are worse
# (``log loss``, the smaller the better), and with them the most probable
# rating. ``ratings alone`` predicts every row with the shares of the fit.

shares = y_train.value_counts(normalize=True).sort_index().to_numpy()
predicted["ratings alone"] = np.tile(shares, (len(y_test), 1))
scores = {
    "ordered": model.predict_score(X_test),
    "linear": mean,
    "ratings alone": y_train.mean(),
}
pd.DataFrame(
    {
        name: {
            "log loss": log_loss(y_test, p, labels=model.classes_),
            "accuracy": np.mean(model.classes_[p.argmax(1)] == y_test),
            "error of the score": np.sqrt(
                np.mean((y_test - scores[name]) ** 2)
            ),
        }
        for name, p in predicted.items()
    }
).T.round(4)

# %%
# Both agree on who is good: the order of the instructors is nearly the same.

both = linear.random_effects_["instructor"]["Intercept"]
print(f"rank correlation {effects.corr(both, method='spearman'):.3f}")

# %%
# The numbers
# -----------
# R's ``ordinal::clmm`` has been given the first 5,000 rows, by students and
# instructors, with Laplace's approximation as here. The document has no
# numbers of an ordered model.

clmm = [-2.263841, -1.060560, 0.178446, 1.419428]
clmm += [0.156555, 0.505267, 0.783660, -7678.0259]
few = X[["service", "student", "instructor"]].head(5000)
laplace = MixedOrdinalClassifier(
    ["student", "instructor"], solver="laplace"
).fit(few, y.head(5000))
pd.DataFrame(
    {
        "document": np.nan,
        "here": [
            *laplace.thresholds_,
            laplace.coef_[0],
            *laplace.variance_components_["std"],
            laplace.log_likelihood_,
        ],
        "ordinal": clmm,
    },
    index=[
        *laplace.thresholds_.index,
        "service",
        "sd of students",
        "sd of instructors",
        "log-likelihood",
    ],
).round(4)
