"""
================================================
MacKay's method on people who lack sleep
================================================

The evidence framework of MacKay estimates variances from effects: guess the variances,
predict the effects, estimate the variances from these, again and again. This page
follows an example that many have met it by, reaction times of eighteen people, through
what is known, what the shortcut of the textbooks does, and what the method itself does.
"""

# %%
# Known variances
# ---------------
# With the variances that lme4 estimates nothing is left but to predict the effects of
# each person: the best linear unbiased predictions.

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_iris

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_sleepstudy
from skglmm.solvers import MacKay

# sphinx_gallery_thumbnail_number = 1
X, y = load_sleepstudy(return_X_y=True, as_frame=True)
known = MacKay(
    covariances={"Subject": np.array([[612.09, 9.60], [9.60, 35.07]])},
    noise_variance=654.94,
)
model = MixedLinearRegressor(
    "Subject", random_slopes=["Days"], solver=known
)
model.fit(X, y).random_effects_["Subject"].head(2)

# %%
# Unknown variances, the quick way
# --------------------------------
# The shortcut takes the mean square of the predicted effects as their variance. But
# predictions are drawn towards zero, more so the less is known: what the posterior does
# not know of an effect is left out, and the variance comes out too small. With the two
# effects as uncorrelated it ends at 302.9 and 31.1, half of what the intercepts'
# variance is.

quick = MixedLinearRegressor(
    "Subject",
    random_slopes=["Days"],
    covariance="diag",
    solver=MacKay(update="quick", max_iter=1000),
).fit(X, y)
evidence = MixedLinearRegressor(
    "Subject", random_slopes=["Days"], covariance="diag", solver="mackay"
).fit(X, y)
pd.concat(
    {
        "quick": quick.variance_components_["variance"],
        "evidence": evidence.variance_components_["variance"],
    },
    axis=1,
).round(2)

# %%
# The evidence update divides the squares of the effects by the number of effects that
# the data determine, :math:`\gamma`, which is less than eighteen. That is the whole
# difference, and it is enough: its fixed point is the maximum of the restricted
# likelihood, lme4's answer.

figure, axes = plt.subplots(
    1, 2, sharey=True, figsize=(6, 3.6), layout="constrained"
)
for axis, model, name in zip(
    axes, (quick, evidence), ("quick", "evidence"), strict=True
):
    path = model.history_.drop(columns="objective").dropna()
    for label, values in np.sqrt(path).items():
        label = label.removeprefix("variance(").removesuffix(")")
        axis.plot(path.index, values, ".-", label=label)
    axis.set(title=name, xlabel="iteration")
axes[0].set(ylabel="standard deviation (ms)", ylim=(0, 30))
figure.legend(
    *axes[0].get_legend_handles_labels(),
    frameon=False,
    loc="outside lower center",
    ncols=3,
    handlelength=1,
)
plt.show()

# %%
# A full covariance
# -----------------
# With a correlation the quick update has a second fault. It takes the
# covariance *of the predicted effects*. Where these come to lie near a line,
# so does the covariance, and the next predictions lie nearer still. Here is
# that loop by hand, the residual variance at lme4's value. The larger
# eigenvalue of the covariance settles. Of the smaller one each iteration
# makes about the square, once it is small: predictions shrink with it, and
# their squares twice as fast.

covariance, eigenvalues = np.diag([900.0, 40.0]), []
for _ in range(9):
    loop = MacKay(
        covariances={"Subject": covariance}, noise_variance=654.94
    )
    model = MixedLinearRegressor(
        "Subject", random_slopes=["Days"], solver=loop
    )
    effects = model.fit(X, y).random_effects_["Subject"].to_numpy()
    covariance = effects.T @ effects / len(effects)
    eigenvalues.append(np.linalg.eigvalsh(covariance))
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.semilogy(np.arange(1, 10), eigenvalues, ".-")
axis.set(xlabel="iteration", ylabel="eigenvalues of the covariance")
plt.show()

# %%
# After nine iterations the matrix is singular to working precision. A program
# that inverts it blows up, and that is the document's mystery. Here nothing
# is inverted: ``update="quick"`` ends on the line, at 205, 23 and 773, and
# ``fit`` warns that the covariance is singular. The evidence update divides by what is determined *in each
# direction*, and is at the maximum again.

full = {}
with warnings.catch_warnings(record=True) as caught:
    for update in ("quick", "evidence"):
        model = MixedLinearRegressor(
            "Subject",
            random_slopes=["Days"],
            solver=MacKay(update=update, max_iter=2000),
        )
        full[update] = model.fit(X, y).variance_components_["variance"]
print(textwrap.fill(str(caught[0].message)))
pd.concat(full, axis=1).round(2)

# %%
# Regression without groups
# -------------------------
# The same algebra without random effects is multiple regression. On petals of iris, as
# in the example that the page grew from: the sepal's length by its width and the
# petal's length.

iris = load_iris(as_frame=True)
columns = ["sepal width (cm)", "petal length (cm)"]
plain = MixedLinearRegressor(groups=[])
plain.fit(
    iris.data[columns], iris.data["sepal length (cm)"]
).fixed_effects_

# %%
# The numbers
# -----------
pd.DataFrame(
    {
        "document": [
            2.2629,
            302.9045,
            31.0890,
            670.855,
            2.2491,
            0.5955,
            0.4719,
        ],
        "here": [
            MixedLinearRegressor(
                "Subject", random_slopes=["Days"], solver=known
            )
            .fit(X, y)
            .random_effects_["Subject"]
            .iloc[0, 0],
            *quick.variance_components_["variance"],
            plain.intercept_,
            *plain.coef_,
        ],
        "lme4": [
            2.2586,
            *evidence.variance_components_["variance"],
            *[np.nan] * 3,
        ],
    },
    index=[
        "effect of 308, variances known",
        "quick: variance, intercept",
        "quick: variance, slope",
        "quick: variance, residual",
        "iris: intercept",
        "iris: sepal width",
        "iris: petal length",
    ],
).round(4)
