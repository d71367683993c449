"""Seconds of the first fit in a fresh process, with graphs from a cache and without.

Run ``python tests/benchmarks/cold.py [repeats]``: medians of five processes a figure,
after the import of TensorFlow (of a peer). The cache is a folder of this run, filled by
one process that is not counted. Beside it the first fit of glmm and of lme4, where they
are, and a warm fit. At last a whole search, TensorFlow's imports included.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import run as command
from packages import HERE, PACKAGES

ROWS = {
    "linear, one factor with slope": "sleepstudy",
    "linear, 3 crossed, InstEval": "insteval",
    "logistic, 2 crossed, 7,584 rows": "verbagg_size",
    "Poisson, one factor": '{"rows": 400, "levels": [100], "family": "poisson"}',
}
PEERS = ("glmm", "lme4")
SEARCH = """
import sys, time
sys.path.insert(0, sys.argv[1])
from sklearn.model_selection import GridSearchCV
from skglmm import MixedLinearRegressor
from skglmm.datasets import load_sleepstudy
X, y = load_sleepstudy(return_X_y=True, as_frame=True)
grid = {"random_slopes": [None, ["Days"]], "covariance": ["full", "diag"]}
start = time.perf_counter()
GridSearchCV(MixedLinearRegressor("Subject"), grid, cv=5, n_jobs=2).fit(X, y)
print(time.perf_counter() - start)
"""


def first_and_warm(package, problem, table, options, cache=None):
    """Medians of the first fit and of a warm one, or a reason why there are none."""
    if cache is not None:
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "SKGLMM_CACHE": str(cache)}
        PACKAGES[package].environment = quiet
    found = []
    for _ in range(options.processes):
        result = command.measure(package, problem, table, options)
        if "first" not in result:
            return next(iter(result.values()))
        found.append((result["first"], statistics.median(result["warm"])))
    return tuple(map(statistics.median, zip(*found, strict=True)))


def search(cache, repeats):
    """Median of the seconds that a search over two processes takes."""
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SEARCH, str(HERE.parents[1])],
            env={**os.environ, "SKGLMM_CACHE": str(cache), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(float(done.stdout.split()[-1]))
    return statistics.median(found)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser("tests/benchmarks/cold.py", description=__doc__)
    parser.add_argument("repeats", nargs="?", type=int, default=5)
    repeats = parser.parse_args().repeats
    options = command.parse_arguments(["--repeats", "3"])
    options.processes = repeats
    print(f"{'seconds':33}{'no cache':>9}{'cache':>8}{'warm':>8}", end="")
    print(*(f"{name:>8}" for name in PEERS), sep="")
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "graphs"
        for i, (words, problem) in enumerate(ROWS.items()):
            table = Path(folder) / str(i)
            table.mkdir()
            command.make_table(problem, table)
            without, warm = first_and_warm("skglmm", problem, table, options, "off")
            options.processes = 1
            first_and_warm("skglmm", problem, table, options, cache)
            options.processes = repeats
            cached, _ = first_and_warm("skglmm", problem, table, options, cache)
            print(f"{words:33}{without:9.2f}{cached:8.2f}{warm:8.3f}", end="")
            for name in PEERS:
                found = first_and_warm(name, problem, table, options)
                if isinstance(found, str):
                    said[name], found = found, None
                print(f"{f'{found[0]:.2f}' if found else '-':>8}", end="")
            print(flush=True)
        without = search("off", repeats)
        search(cache, 1)
        words = "search, 20 fits, n_jobs=2, whole"
        print(f"{words:33}{without:9.2f}{search(cache, repeats):8.2f}")
    for name, reason in said.items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()
