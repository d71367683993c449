"""Fits to Parquet files through Dask: seconds, and memory of all processes together.

One command a figure; see README.rst in this folder. The files are written once.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROWS_A_FILE = 1_000_000


@dataclass(frozen=True)
class Figure:
    """What is fitted, and how.

    Attributes
    ----------
    rows, levels : int, tuple of int
    slope, binary : bool
        A slope of "days" in the first factor; an outcome of zeros and ones.
    modes : tuple of str
        What is measured, each in a process of its own.
    """

    rows: int
    levels: tuple
    slope: bool = False
    binary: bool = False
    modes: tuple = ("read", "dask")

    @property
    def folder(self):
        kind = "binary" if self.binary else "slope" if self.slope else "linear"
        sizes = "x".join(map(str, self.levels))
        return f"{kind}-{self.rows}-{sizes}"


FIGURES = {
    "large": Figure(100_000_000, (1_000_000,), True, modes=("read", "dask")),
    "same": Figure(10_000_000, (300_000,), True, modes=("read", "memory", "dask")),
    "crossed": Figure(20_000_000, (200_000, 20_000), modes=("dask", "memory")),
    "binary": Figure(
        10_000_000, (100_000, 20_000), binary=True, modes=("dask", "memory")
    ),
    "cluster": Figure(200_000_000, (1_000_000,), True, modes=("cluster",)),
    "predict": Figure(100_000_000, (1_000_000,), True, modes=("read", "predict")),
    "tiny": Figure(20_000, (500,), True, modes=("read", "memory", "dask", "predict")),
}


def write(figure, root):
    """Write the files of a figure, unless they are there."""
    import pandas as pd

    folder = Path(root) / figure.folder
    done = folder / "done"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    intercepts = [0.8 * random.standard_normal(n) for n in figure.levels]
    slopes = 0.3 * random.standard_normal(figure.levels[0])
    for k, start in enumerate(range(0, figure.rows, ROWS_A_FILE)):
        n = min(ROWS_A_FILE, figure.rows - start)
        random = np.random.default_rng([1, k])
        days = random.integers(0, 200, n) / 10.0
        sex = random.integers(0, 2, n)
        codes = [random.integers(0, levels, n) for levels in figure.levels]
        eta = 0.05 * days + 0.5 * sex
        eta += sum(b[code] for b, code in zip(intercepts, codes, strict=True))
        if figure.slope:
            eta += slopes[codes[0]] * days
        if figure.binary:
            y = (random.random(n) < 1.0 / (1.0 + np.exp(0.5 - eta))).astype(np.int8)
        else:
            y = np.round(eta + random.standard_normal(n), 3)
        names = ["patient", "nurse"][: len(codes)]
        labels = {
            name: code.astype(np.int32) for name, code in zip(names, codes, strict=True)
        }
        frame = pd.DataFrame({"minutes": y, "days": days, "sex": sex, **labels})
        frame.to_parquet(folder / f"part-{k:04d}.parquet", index=False)
    done.touch()
    return folder


def model_of(figure):
    from skglmm import MixedLinearRegressor, MixedLogisticRegressor

    groups = ["patient", "nurse"][: len(figure.levels)]
    if figure.binary:
        return MixedLogisticRegressor(groups, verbose=1)
    slopes = {"patient": ["days"]} if figure.slope else None
    return MixedLinearRegressor(groups, random_slopes=slopes, verbose=1)


def work(figure, root, mode):
    """Do what a mode says and print what it took, as JSON on the last line."""
    import dask.dataframe as dd

    folder = write(figure, root)
    names = ["days", "sex", *["patient", "nurse"][: len(figure.levels)]]
    found = {"mode": mode}
    rows = dd.read_parquet(folder / "*.parquet", columns=[*names, "minutes"])
    if mode != "read":
        few = rows.head(5_000, npartitions=1)
        few[names[2:]] %= [50, 20][: len(names) - 2]
        # TensorFlow's start is no part of it
        model_of(figure).fit(few[names], few["minutes"])
    start = time.perf_counter()
    if mode == "read":
        rows.sum().compute()
    elif mode == "memory":
        frame = rows.compute()
        found["read"] = time.perf_counter() - start
        start = time.perf_counter()
        _fitted(model_of(figure), frame[names], frame["minutes"], found)
    elif mode == "dask":
        _fitted(model_of(figure), rows[names], rows["minutes"], found)
    elif mode == "cluster":
        _on_cluster(figure, rows, names, found)
    else:
        few = rows.partitions[:2].compute()
        model = model_of(figure).fit(few[names], few["minutes"])
        start = time.perf_counter()
        found["mean"] = float(model.predict(rows).sum().compute())
    found["seconds"] = time.perf_counter() - start
    print(json.dumps(found))


def _fitted(model, X, y, found):
    model.fit(X, y)
    found["log_likelihood"] = model.log_likelihood_
    found["fixed"] = model.fixed_effects_["estimate"].tolist()
    found["phases"] = model.timings_


def _on_cluster(figure, rows, names, found):
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GB"}
    with LocalCluster(dashboard_address=None, **options) as cluster:
        with Client(cluster) as client:
            _fitted(model_of(figure), rows[names], rows["minutes"], found)
            metrics = client.scheduler_info()["workers"].values()
            found["spilled"] = [w["metrics"]["spilled_bytes"] for w in metrics]


def measured(name, mode, root):
    """Run a mode in its own process; its results, with the peak of memory."""
    import psutil

    command = [sys.executable, __file__, name, "--mode", mode, "--root", root]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, stop = [0.0], threading.Event()

    def watch():
        whole = psutil.Process(child.pid)
        while not stop.wait(0.02):
            try:
                family = [whole, *whole.children(recursive=True)]
                used = sum(process.memory_info().rss for process in family)
            except psutil.Error:
                continue
            peak[0] = max(peak[0], used / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    out, _ = child.communicate()
    stop.set()
    watcher.join()
    if child.returncode:
        raise RuntimeError(f"{name}, {mode}: the process ended with {child.returncode}")
    return json.loads(out.strip().splitlines()[-1]) | {"gigabytes": peak[0]}


def main(arguments=None):
    """Measure a figure, or do the work of one mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--root", default="/tmp/dask_data", help="folder of the files")
    parser.add_argument("--mode", help="do this alone, in this process")
    options = parser.parse_args(arguments)
    figure = FIGURES[options.figure]
    if options.mode:
        return work(figure, options.root, options.mode)
    write(figure, options.root)
    for mode in figure.modes:
        found = measured(options.figure, mode, options.root)
        print(
            f"{options.figure} {mode}: {found.pop('seconds'):.2f} s, "
            f"{found.pop('gigabytes'):.2f} GB"
        )
        print(f"  {found}", flush=True)
    return None


if __name__ == "__main__":
    main()
