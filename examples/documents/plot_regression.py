r"""
=====================================
Regression in matrix notation: iris
=====================================

Before the random effects, the fixed ones: multiple regression is the mixed
model without groups, and its estimates are one line of algebra,
:math:`\hat\beta = (X'X)^{-1} X'y`. The document that explains MacKay's method
begins with it, on the petals of iris.
"""

# %%
# One line of algebra
# -------------------
# The sepal's length, by its width and the petal's length:

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_iris

from skglmm import MixedLinearRegressor
from skglmm.inference import coefficients
from skglmm.inspection import CoefficientsDisplay

iris = load_iris(as_frame=True)
X = iris.data[["sepal width (cm)", "petal length (cm)"]]
y = iris.data["sepal length (cm)"]

matrix = np.column_stack([np.ones(len(X)), X])
beta = np.linalg.solve(matrix.T @ matrix, matrix.T @ y)
residuals = y - matrix @ beta
sigma2 = residuals @ residuals / (len(y) - 3)
errors = np.sqrt(sigma2 * np.diag(np.linalg.inv(matrix.T @ matrix)))
pd.DataFrame({"estimate": beta, "std_error": errors}).round(4)

# %%
# The model without groups
# ------------------------
# ``groups=[]`` says that there are none, and that this is meant: ``fit`` does
# not warn then. The rest is as ever.

model = MixedLinearRegressor(groups=[]).fit(X, y)
coefficients(model, X, y).round(4)

# %%
# The degrees of freedom are exact here, 150 rows less three coefficients.

CoefficientsDisplay.from_estimator(model, X, y)
plt.show()

# %%
# With groups
# -----------
# The petals of three species are in this table. With the species as groups
# the petal's length is compared within a species, where it says more of the
# sepal's, and the width's coefficient changes as well. Three groups are few:
# their standard deviation is uncertain.

X = X.assign(species=iris.target_names[iris.target])
grouped = MixedLinearRegressor("species").fit(X, y)
pd.concat(
    {
        "no groups": model.fixed_effects_["estimate"],
        "species": grouped.fixed_effects_["estimate"],
    },
    axis=1,
).round(4)

# %%
# The numbers
# -----------
# R's ``lm`` in the place of lme4, which wants a group.

pd.DataFrame(
    {
        "document": [2.2491, 0.5955, 0.4719],
        "here": [model.intercept_, *model.coef_],
        "lm": [2.249140, 0.595525, 0.471920],
    },
    index=["intercept", *model.coef_names_],
).round(4)
