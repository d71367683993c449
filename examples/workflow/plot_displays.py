"""
======================================
scikit-learn's own pictures, untouched
======================================

Models of this package are estimators, and what scikit-learn draws of
estimators it draws of them. Here is each of these displays once. For what
only mixed models have, see :doc:`/user_guide/pictures`.
"""

# %%
# A number
# --------

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.inspection import PartialDependenceDisplay
from sklearn.metrics import PredictionErrorDisplay, RocCurveDisplay
from sklearn.model_selection import LearningCurveDisplay, ShuffleSplit

from skglmm import MixedLinearRegressor, MixedLogisticRegressor
from skglmm.datasets import load_contraception, load_radon

# sphinx_gallery_thumbnail_number = 4
X, y = load_radon(return_X_y=True, as_frame=True)
radon = MixedLinearRegressor("county").fit(X, y)
radon

# %%
# Observed against predicted:

figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
PredictionErrorDisplay.from_estimator(
    radon, X, y, kind="actual_vs_predicted", ax=axis
)
plt.show()

# %%
# What a column does to predictions, all else as it is:

figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
PartialDependenceDisplay.from_estimator(
    radon, X.astype({"floor": float}), ["floor", "log_uranium"], ax=axes
)
plt.show()

# %%
# What more rows would bring:

figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
LearningCurveDisplay.from_estimator(
    MixedLinearRegressor("county"),
    X.drop(columns="log_uranium"),
    y,
    train_sizes=[0.4, 0.6, 0.8, 1.0],
    cv=ShuffleSplit(8, test_size=0.2, random_state=0),
    scoring="neg_root_mean_squared_error",
    negate_score=True,
    score_name="error (log radon)",
    ax=axis,
)
plt.show()

# %%
# Yes or no
# ---------
# Use of contraception in 60 districts, half of the rows held out.

X, y = load_contraception(return_X_y=True, as_frame=True)
X = X[["urban", "age", "livch", "district"]]
some = pd.Series(range(len(X))) % 2 == 0
use = MixedLogisticRegressor("district").fit(X[some], y[some])

figure, axis = plt.subplots(figsize=(5, 4.4), layout="constrained")
RocCurveDisplay.from_estimator(
    use, X[~some], y[~some], plot_chance_level=True, ax=axis
)
plt.show()

# %%
# Probabilities that mean what they say lie on the diagonal:

figure, axis = plt.subplots(figsize=(5, 4.4), layout="constrained")
CalibrationDisplay.from_estimator(
    use, X[~some], y[~some], n_bins=8, strategy="quantile", ax=axis
)
plt.show()
