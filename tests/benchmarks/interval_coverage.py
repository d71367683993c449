"""How often 95 per cent intervals of standard deviations hold the true one.

Run ``python tests/benchmarks/interval_coverage.py [data sets] [method]``: responses of
20 groups of 6 rows, with a random intercept and a random slope, are simulated 1,000
times, and a line a parameter says how many of the intervals by ``confidence_intervals``
hold the truth, for method "profile" (default), "wald" or "bootstrap". The exit status
is 1 if a standard deviation is covered by less than 93 or more than 97 per cent.
"""

import os
import sys
import warnings
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from skglmm import MixedLinearRegressor
from skglmm.inference import confidence_intervals

GROUPS, ROWS = 20, 6
TRUTH = {
    ("fixed", "Intercept"): 2.0,
    ("fixed", "x"): 0.5,
    ("group", "Intercept"): 1.0,
    ("group", "x"): 0.7,
    ("group", "corr(Intercept, x)"): 0.3,
    ("residual", ""): 1.0,
}


def table(rng):
    """One data set: columns and responses."""
    group = np.repeat(np.arange(GROUPS), ROWS)
    x = np.tile(np.linspace(-1.5, 1.5, ROWS), GROUPS)
    sd, slope, r = 1.0, 0.7, 0.3
    root = np.array([[sd, 0.0], [r * slope, np.sqrt(1.0 - r**2) * slope]])
    effects = rng.normal(size=(GROUPS, 2)) @ root.T
    eta = 2.0 + 0.5 * x + effects[group, 0] + effects[group, 1] * x
    y = eta + rng.normal(size=len(eta))
    return pd.DataFrame({"group": group, "x": x}), y


def coverage(n_sets=1000, method="profile", seed=0, parameters=None):
    """Share of intervals that hold the truth, by parameter."""
    rng, held = np.random.default_rng(seed), []
    model = MixedLinearRegressor("group", random_slopes=["x"])
    for _ in range(n_sets):
        X, y = table(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = confidence_intervals(
                model.fit(X, y), X, y, method=method, parameters=parameters
            )
        truth = pd.Series(TRUTH)[found.index]
        held.append((found["lower"] <= truth) & (truth <= found["upper"]))
    return pd.DataFrame(held).mean()


def main():
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    method = sys.argv[2] if len(sys.argv) > 2 else "profile"
    start = perf_counter()
    found = coverage(n_sets, method)
    print(f"{method}, {n_sets} data sets, {perf_counter() - start:.0f} s")
    print(found.to_string())
    deviations = found[[label for label in TRUTH if label[0] == "group"][:2]]
    return int(not deviations.between(0.93, 0.97).all())


if __name__ == "__main__":
    sys.exit(main())
