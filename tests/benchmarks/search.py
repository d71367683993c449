"""Seconds of a grid search: 40 fits of a slope model of 800 rows on one core.

Run ``python tests/benchmarks/search.py [repeats]``. Eight settings and five folds, no
refit; every fit has 640 rows, 40 levels and correlated intercepts and slopes. The
first search, which also imports TensorFlow and traces the graphs, is printed by itself.
"""

import os
import sys
from time import perf_counter

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from skglmm import MixedLinearRegressor, MixedLogisticRegressor  # noqa: E402
from skglmm.datasets import make_mixed_regression  # noqa: E402
from skglmm.solvers import VI  # noqa: E402

GRIDS = {
    "linear": (
        MixedLinearRegressor("g0", random_slopes=["x0"], solver=VI()),
        {
            "reml": [True, False],
            "fit_intercept": [True, False],
            "solver__tol": [1e-6, 1e-8],
        },
    ),
    "logistic": (
        MixedLogisticRegressor("g0", random_slopes=["x0"], solver=VI()),
        {
            "solver__n_quadrature": [9, 15],
            "fit_intercept": [True, False],
            "solver__tol": [1e-6, 1e-8],
        },
    ),
}


def seconds(model, grid, X, y):
    begin = perf_counter()
    search = GridSearchCV(model, grid, cv=5, refit=False, error_score="raise")
    search.fit(X, y)
    return perf_counter() - begin


def main(repeats=5):
    for name, (model, grid) in GRIDS.items():
        X, y = make_mixed_regression(
            800,
            3,
            n_groups=40,
            n_random_slopes=1,
            family={"linear": "gaussian", "logistic": "bernoulli"}[name],
            random_state=0,
        )
        first = seconds(model, grid, X, y)
        warm = [seconds(model, grid, X, y) for _ in range(repeats)]
        print(
            f"{name}: 40 fits of 640 of 800 rows: first search {first:.2f} s, "
            f"then median {np.median(warm):.2f} s, best {min(warm):.2f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
