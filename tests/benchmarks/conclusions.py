"""Seconds of tests and intervals after a fit, warm.

Run ``python tests/benchmarks/conclusions.py``: the profile intervals of sleepstudy's
six parameters, `coefficients` with Satterthwaite's degrees of freedom on InstEval and
on a million rows of 20,000 groups with a slope. Least and median of five calls after a
first one. Nothing else should run meanwhile.
"""

import os
import statistics
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from problems import find

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_insteval, load_sleepstudy
from skglmm.inference import coefficients, confidence_intervals


def say(what, call, repeats=5):
    """Print the least and the median time of some calls."""
    call()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    print(f"{what}: {min(times):.3f} s, median {statistics.median(times):.3f} s")


def main():
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    sleep = MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)
    say("profiles of sleepstudy", lambda: confidence_intervals(sleep, X, y))
    columns, ratings = load_insteval(return_X_y=True, as_frame=True)
    crossed = MixedLinearRegressor(["s", "d", "dept"]).fit(columns, ratings)
    say("coefficients, InstEval", lambda: coefficients(crossed, columns, ratings))
    problem = find("million")
    frame = problem.make()
    target = frame.pop(problem.target)
    ((group, slopes),) = problem.groups.items()
    model = MixedLinearRegressor(group, random_slopes=list(slopes)).fit(frame, target)
    say("coefficients, a million rows", lambda: coefficients(model, frame, target))


if __name__ == "__main__":
    main()
