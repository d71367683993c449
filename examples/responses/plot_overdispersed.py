"""
==============================================
Counts beyond Poisson: which family is right?
==============================================

The variance of a Poisson count is its mean. Counts of animals vary more: are
there chicks that no tick can reach (*zero inflation*), or do all chicks
differ in what they attract (*overdispersion*)? Families are a parameter here,
so that both can be tried, compared and searched over.
"""

# %%
# Four families
# -------------
# Ticks on the heads of 403 grouse chicks of 118 broods in 63 places. In
# :ref:`sphx_glr_auto_examples_responses_plot_ticks.py` a random effect of
# each chick says that they differ. A negative binomial family says it without:
# its variance is :math:`\mu + \mu^2 / k` with a *size* :math:`k`, or
# :math:`\mu (1 + \phi)` in its second form.

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold

from skglmm import MixedGeneralizedRegressor
from skglmm.datasets import load_grouseticks
from skglmm.inference import compare, diagnostics
from skglmm.inspection import ResidualsDisplay

X, y = load_grouseticks(return_X_y=True, as_frame=True)
X["height"] = X["cHEIGHT"] / 100  # in units of 100 metres
X = X[["height", "YEAR", "BROOD", "LOCATION"]]


def ticks(family, **parameters):
    """A model of the ticks, by Laplace's approximation."""
    groups = ["BROOD", "LOCATION"]
    return MixedGeneralizedRegressor(
        groups, family=family, solver="laplace", **parameters
    ).fit(X, y)


models = {
    "Poisson": ticks("poisson"),
    "with zeros": ticks("poisson", zero_inflation=True),
    "negative binomial": ticks("negative_binomial"),
    "its second form": ticks("negative_binomial_1"),
}
table = compare(models, X, y)
table[["n_parameters", "log_likelihood", "aic"]].round(1)

# %%
# More zeros help a little. One parameter of dispersion helps far more:
# Akaike's criterion falls by almost two hundred. (``compare`` has no test
# here, as none of the families with a dispersion is a special case of
# another, and Poisson lies at the edge of each.)
#
# The parameters
# --------------
# ``summary`` prints them with their standard errors. The size is 3.3: in a
# brood with a mean of ten ticks the variance is not 10 but
# :math:`10 + 10^2 / 3.3 = 40`.

model = models["negative binomial"]
print(model.summary())

# %%
# Zeros beyond those of the negative binomial? The warning answers:

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    both = ticks("negative_binomial", zero_inflation=True)
print(textwrap.fill(str(said[-1].message), 72))
both.family_parameters_.round(4)

# %%
# What is left
# ------------
# *Quantile residuals* are standard normal variables if the model is right,
# for counts as well. Poisson's are too far out on both sides; those of
# the negative binomial lie close to the line.

figure, axes = plt.subplots(
    1, 2, sharex=True, sharey=True, figsize=(6, 3.4), layout="constrained"
)
for axis, name in zip(
    axes, ["Poisson", "negative binomial"], strict=True
):
    ResidualsDisplay.from_estimator(
        models[name], X, y, views="quantiles", random_state=0, ax=axis
    )
    axis.set_title(name)
axes[1].set_ylabel("")
plt.show()

# %%
# The same as tests. ``dispersion`` is the variance of the counts over that
# which the model expects, and ``zeros`` the number of zeros over the expected
# one; a small p-value contradicts the model. The negative binomial has none.

checks = {
    name: diagnostics(one, X, y, random_state=0)
    for name, one in models.items()
}
pd.concat(
    {name: c[["statistic", "p_value"]] for name, c in checks.items()}
).unstack(0).swaplevel(axis=1).loc[
    ["dispersion", "zeros", "outliers", "uniformity"], list(models)
].T.round(3)

# %%
# A search over families
# ----------------------
# ``score`` is a share of the deviance of the model's own family, and must not
# be compared between families. The logarithm of the probability of a count
# may. Here it is counted among draws, for chicks of broods that the fit has
# not seen.


def log_score(model, X, y):
    """Mean log probability of the counts, among 2,000 draws of each."""
    draws = model.sample_y(X, 2000, random_state=0)
    hits = np.sum(draws == np.asarray(y)[:, None], axis=1)
    return np.mean(np.log((hits + 0.5) / 2000.5))


search = GridSearchCV(
    MixedGeneralizedRegressor(["BROOD", "LOCATION"], solver="laplace"),
    [
        {"family": ["poisson"], "zero_inflation": [False, True]},
        {"family": ["negative_binomial", "negative_binomial_1"]},
    ],
    scoring=log_score,
    cv=list(GroupKFold(5).split(X, y, X["BROOD"])),
).fit(X, y)
scores = pd.DataFrame(search.cv_results_["params"]).fillna("")
scores.assign(score=search.cv_results_["mean_test_score"].round(3))

# %%
# The differences are small: what a brood will be like is unknown, and that
# is more than what the families disagree about.

search.best_params_

# %%
# The numbers
# -----------
# glmmTMB has been given the same rows, with ``nbinom2``, ``nbinom1`` and
# ``ziformula = ~1``. It reports the error of the logarithm of a size, and
# that of the size is the size times it.

own = pd.concat(
    {
        name: one.family_parameters_
        for name, one in list(models.items())[1:]
    }
)
zeros = 1 / (1 + np.exp(3.48578))
pd.DataFrame(
    {
        "here": [
            *model.fixed_effects_["estimate"],
            *model.variance_components_["std"],
            *own["estimate"],
            *own["std_error"],
            *(one.aic_ for one in models.values()),
        ],
        "glmmTMB": [
            *[0.523717, -2.367842, 1.167172, -0.988247],
            *[0.697967, 0.593362],
            *[zeros, 3.293010, 1.961334],
            *[zeros * (1 - zeros) * 0.566133],
            *[3.293010 * 0.173285, 1.961334 * 0.153844],
            *[1987.8763, 1975.6512, 1791.8169, 1811.5581],
        ],
    },
    index=[
        *model.fixed_effects_.index,
        "sd of broods",
        "sd of places",
        *["share of zeros", "size", "phi"],
        *["its error", "of the size", "of phi"],
        *(f"AIC, {name}" for name in models),
    ],
).round(4)
