"""Seconds of overdispersed counts and of Gamma durations beside those of Poisson.

Run ``python tests/benchmarks/families.py [rows]``: InstEval's 73,421 ratings as ordered
classes of 2,972 students, 1,128 lecturers and 14 departments; then 200,000 rows of
5,000 levels that cross 2,000, three columns, negative binomial counts (size 1.5) and
Gamma responses (dispersion .5) with the means of Poisson's, each fitted by the default
solver and by GPBoost in the same run. A line says the first fit, the median of three
warm ones, the ratio to Poisson's, GPBoost's time, and the standard deviations and the
dispersion that both have found. Nothing else should run meanwhile.
"""

import os
import statistics
import sys
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from skglmm import (
    MixedGeneralizedRegressor,
    MixedOrdinalClassifier,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_insteval

LEVELS, TRUTH = (5_000, 2_000), (0.8, 0.5)
SIZE, DISPERSION = 1.5, 0.5


def table(n_rows, seed=0):
    """Columns, and responses by family."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 3))
    codes = [rng.integers(0, n, n_rows) for n in LEVELS]
    effects = [
        sd * rng.normal(size=n)[c]
        for sd, n, c in zip(TRUTH, LEVELS, codes, strict=True)
    ]
    mean = np.exp(-0.5 + x @ [0.5, -0.3, 0.2] + sum(effects))
    X = pd.DataFrame(x, columns=["a", "b", "c"]).assign(first=codes[0], second=codes[1])
    return X, {
        "poisson": rng.poisson(mean).astype(float),
        "negative_binomial": rng.poisson(rng.gamma(SIZE, mean / SIZE)).astype(float),
        "gamma": rng.gamma(1.0 / DISPERSION, DISPERSION * mean),
    }


def seconds(fit, repeats=3):
    """The first time, the median of the others, and what was fitted."""
    times = []
    for _ in range(repeats + 1):
        start = perf_counter()
        fitted = fit()
        times.append(perf_counter() - start)
    return times[0], statistics.median(times[1:]), fitted


def of_gpboost(X, y, family):
    """GPBoost's seconds, standard deviations and parameter."""
    import gpboost

    labels = X[["first", "second"]].to_numpy(str)
    columns = np.column_stack([np.ones(len(X)), X[["a", "b", "c"]]])

    def fit():
        model = gpboost.GPModel(group_data=labels, likelihood=family)
        model.fit(y=y, X=columns)
        return model

    start = perf_counter()
    model = fit()
    spent = perf_counter() - start
    sds = np.sqrt(np.ravel(model.get_cov_pars(format_pandas=False)))
    return spent, sds, model.get_aux_pars()


def ratings():
    """InstEval's ratings, as ordered classes."""
    X, y = load_insteval(return_X_y=True, as_frame=True)
    model = MixedOrdinalClassifier(["s", "d", "dept"])
    columns = X[["service", "s", "d", "dept"]]
    first, warm, fitted = seconds(lambda: model.fit(columns, y))
    thresholds = fitted.thresholds_.round(3).to_dict()
    print(f"ordered ratings: first {first:.2f} s, warm {warm:.2f} s; {thresholds}")


def main():
    ratings()
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    X, responses = table(n_rows)
    base = None
    for family, y in responses.items():
        model = (
            MixedPoissonRegressor(["first", "second"])
            if family == "poisson"
            else MixedGeneralizedRegressor(["first", "second"], family=family)
        )
        first, warm, fitted = seconds(lambda model=model, y=y: model.fit(X, y))
        base = base or warm
        sds = fitted.variance_components_["std"].to_numpy()
        own = getattr(fitted, "family_parameters_", None)
        print(
            f"{family}: first {first:.2f} s, warm {warm:.2f} s, {warm / base:.2f} "
            f"times Poisson; deviations {np.round(sds, 3)}"
            + ("" if own is None or own.empty else f", {own['estimate'].to_dict()}")
        )
        try:
            spent, sds, own = of_gpboost(X, y, family)
        except ImportError:
            print("  GPBoost is not installed")
            continue
        print(
            f"  GPBoost {spent:.2f} s, {spent / warm:.1f} times skglmm; deviations "
            f"{np.round(sds, 3)}, {own}"
        )


if __name__ == "__main__":
    main()
