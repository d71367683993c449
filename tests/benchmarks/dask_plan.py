"""What fits to 1e9 and 1e10 rows would take, by the model of `show_plan`.

``--check`` compares its prediction for this machine with a run (see dask_rows.py).
"""

import argparse

import dask_rows

from skglmm._dask.plan import Sizes

WORKERS = (10, 30, 100, 300, 1_000)
# Rows of a partition, bytes of a row, columns of numbers and the target.
A_PARTITION, ROW_BYTES, COLUMNS = 1_000_000, 28.0, 3
PROBLEMS = {
    "one factor, slope": ((1e6,), 1),
    "one factor, slope, many levels": ((1e8,), 1),
    "two crossed factors": ((1e6, 1e5), 0),
}


def sizes(rows, levels, slopes, workers):
    """The problem as the model of costs wants it."""
    partitions = max(int(rows // A_PARTITION), 1)
    return Sizes(rows, partitions, levels, COLUMNS, slopes, workers, ROW_BYTES)


def curves():
    """Seconds and bytes by the number of workers."""
    for rows in (1e9, 1e10):
        for name, (levels, slopes) in PROBLEMS.items():
            print(f"\n{rows:.0e} rows, {name}, levels {levels}")
            print("workers  labels/s  sums/s  merges/s  worker/GB  client/GB  sent/GB")
            for workers in WORKERS:
                found = sizes(rows, levels, slopes, workers)
                first, second, merges = found.seconds()
                sent = found.partitions * (found.sums_bytes + found.labels_bytes)
                print(
                    f"{workers:7d} {first:9.1f} {second:7.1f} {merges:9.1f} "
                    f"{found.worker_bytes / 1e9:10.2f} "
                    f"{found.client_bytes / 1e9:10.2f} {sent / 1e9:8.1f}"
                )


def check(name, root):
    """Prediction and run of one figure of dask_rows.py."""
    figure = dask_rows.FIGURES[name]
    dask_rows.write(figure, root)
    found = dask_rows.measured(name, "dask", root)
    phases = found["phases"]
    model = sizes(float(figure.rows), figure.levels, int(figure.slope), 2)
    first, second, merges = model.seconds()
    labels, sums = (phases[f"{what} of all partitions"] for what in ("labels", "sums"))
    print(f"{name}: labels {first:.1f} s predicted, {labels:.1f} s measured")
    print(f"{name}: sums {second + merges:.1f} s predicted, {sums:.1f} s measured")
    print(f"{name}: {found['gigabytes']:.2f} GB measured, all processes together")


def main(arguments=None):
    """Print curves, or check one prediction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", choices=dask_rows.FIGURES)
    parser.add_argument("--root", default="/tmp/dask_data")
    options = parser.parse_args(arguments)
    if options.check:
        return check(options.check, options.root)
    return curves()


if __name__ == "__main__":
    main()
