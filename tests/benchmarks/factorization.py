"""What the kinds of posterior covariance cost and give on a large crossed model.

Run ``python tests/benchmarks/factorization.py [kind ...]``: 100,000 binary rows with
10,000 levels crossed by 2,000, and VI's ``factorization``, by default "full", "auto"
and "partial". Each line has the seconds of a fit whose graphs are traced already, the
standard deviations and the standard error of the intercept.
"""

import os
import sys
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from skglmm import MixedLogisticRegressor
from skglmm.solvers import VI

KINDS = ("full", "auto", "partial")
ROWS, LEVELS, STDS = 100_000, (10_000, 2_000), (0.8, 0.5)


def table(seed=0):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(n, size=ROWS) for n in LEVELS)
    x = rng.normal(size=(ROWS, 3))
    eta = -0.5 + x @ [0.5, -0.3, 0.2]
    eta += STDS[0] * rng.normal(size=LEVELS[0])[first]
    eta += STDS[1] * rng.normal(size=LEVELS[1])[second]
    y = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    X = pd.DataFrame(x, columns=["x1", "x2", "x3"])
    return X.assign(first=first, second=second), y


def main(kinds):
    X, y = table()
    for kind in kinds:
        model = MixedLogisticRegressor(
            ["first", "second"], solver=VI(factorization=kind)
        )
        model.fit(X, y)
        begin = perf_counter()
        model.fit(X, y)
        seconds = perf_counter() - begin
        first, second = model.variance_components_["std"].iloc[:2]
        error = model.fixed_effects_.loc["Intercept", "std_error"]
        print(
            f"{kind:10} {seconds:7.2f} s   standard deviations {first:.4f} {second:.4f}"
            f"   standard error of the intercept {error:.5f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or KINDS)
