"""Seconds to predict a million rows, and to read a model of 100,000 levels back.

Run ``python tests/benchmarks/prediction.py [repeats]``. A linear model with an
intercept and a slope for each of 100,000 levels is fitted to a million rows; `predict`
reads all of them, without and with ``return_std``. The pickled model is then read and
used by fresh processes, beside others that only import scikit-learn.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression

ROWS, LEVELS = 1_000_000, 100_000
IMPORT = "import pandas, sklearn.linear_model"
READ = (
    "import pickle, sys; model, X = pickle.load(open(sys.argv[1], 'rb')); "
    "model.predict(X)"
)


def seconds(call, repeats):
    call()
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        call()
        times.append(perf_counter() - begin)
    return np.median(times)


def main(repeats=5):
    X, y = make_mixed_regression(
        ROWS, 3, n_groups=LEVELS, n_random_slopes=1, random_state=0
    )
    model = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    plain = seconds(lambda: model.predict(X), repeats)
    with_std = seconds(lambda: model.predict(X, return_std=True), repeats)
    print(f"predict {plain:.3f} s, with return_std {with_std:.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pickle")
        path.write_bytes(pickle.dumps((model, X[:1000])))
        print(f"pickled model and 1,000 rows: {path.stat().st_size / 1e6:.1f} MB")
        for name, code in (("import scikit-learn", IMPORT), ("read and predict", READ)):
            command = [sys.executable, "-c", code, str(path)]
            spent = seconds(lambda c=command: subprocess.run(c, check=True), repeats)
            print(f"a fresh process, {name}: {spent:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
