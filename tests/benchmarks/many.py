"""Seconds of 1,000 responses on one crossed design, at once and one by one.

Run ``python tests/benchmarks/many.py [fits]``. The design has 600 rows, 30 x 20 levels
that cross and a column. `fit_many` fits all responses, and ``fit`` so many of them
(100), from which the time of 1,000 is reckoned. Then 1,000 bootstrap refits of
sleepstudy's intercepts and slopes. First calls, which trace the graphs, are not
counted.
"""

import os
import sys
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from skglmm import MixedLinearRegressor  # noqa: E402
from skglmm.datasets import load_sleepstudy  # noqa: E402
from skglmm.inference import fit_many  # noqa: E402
from skglmm.inference._bootstrap import bootstrap_draws  # noqa: E402
from skglmm.inference._rows import read_again  # noqa: E402

RESPONSES = 1000


def crossed(random):
    """Columns of the design, and responses with known variances."""
    a, b = (codes.ravel() for codes in np.indices((30, 20)))
    X = pd.DataFrame({"x": random.normal(size=600), "a": a, "b": b})
    effects = random.normal(size=(30, RESPONSES)), random.normal(size=(20, RESPONSES))
    Y = 1.0 + 0.5 * X[["x"]].to_numpy() + effects[0][a] + 0.5 * effects[1][b]
    return X, Y + random.normal(size=Y.shape)


def seconds(function, repeats=3):
    """The least time of some calls."""
    function()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def main(n_fits=100):
    X, Y = crossed(np.random.default_rng(0))
    model = MixedLinearRegressor(["a", "b"])
    together = seconds(lambda: fit_many(model, X, Y))

    def alone():
        for y in Y[:, :n_fits].T:
            model.fit(X, y)

    each = seconds(alone) * RESPONSES / n_fits
    print(f"1,000 responses, 600 rows, 30 x 20 levels: fit_many {together:.2f} s")
    print(f"1,000 calls of fit: {each:.2f} s; ratio {each / together:.1f}")
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    inputs = read_again(model, X, y, None, None)
    took = seconds(lambda: bootstrap_draws(model, inputs, 1000, 0))
    print(f"1,000 bootstrap refits of sleepstudy: {took:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
