"""What runs in a process of its own: making a table, or measuring one package.

``worker.py table PROBLEM FOLDER``
    Makes the problem's table and writes its columns.
``worker.py fit PACKAGE PROBLEM FOLDER ANSWER MIN_FITS MAX_FITS SECONDS LONG``
    Imports the package, fits once, then again and again: at least MIN_FITS times, or
    once if the first fit took more than LONG seconds, and while the fits have taken
    less than SECONDS in all, at most MAX_FITS times. Writes the times and the
    estimates, or what is missing, as JSON.

PROBLEM is what ``problems.find`` takes.
"""

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter

from columns import read_columns, write_columns
from packages import PACKAGES
from problems import find

# The skglmm of this checkout, whether or not one is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def make_table(problem, folder):
    """Write the table of a problem."""
    problem = find(problem)
    write_columns(problem.make(), problem, Path(folder))


def seconds(function):
    """Duration of a call and what it returned."""
    start = perf_counter()
    result = function()
    return perf_counter() - start, result


def peak_bytes():
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(package, problem, folder, min_fits, max_fits, budget, long):
    """Times and estimates of one package on one problem.

    Returns
    -------
    dict
        ``version``, ``imports`` (seconds a module), ``before_bytes`` (largest memory
        before the first fit), ``first`` and ``warm`` (seconds a fit), ``deviations``,
        ``log_likelihood`` and its ``log_likelihood_error``; only ``missing`` (a
        reason) if a module is not installed.
    """
    frame = read_columns(problem, folder)
    imports = {}
    for name in package.imports:
        try:
            imports[name], _ = seconds(lambda name=name: import_module(name))
        except ModuleNotFoundError as error:
            return {"missing": str(error)}
    fit = package.prepare(problem, frame)
    before = peak_bytes()
    first, fitted = seconds(fit)
    if first > long:
        min_fits = 1
    warm = []
    while len(warm) < min_fits or (len(warm) < max_fits and sum(warm) < budget):
        fitted = None  # two fits at a time would count twice in the memory
        duration, fitted = seconds(fit)
        warm.append(duration)
    deviations, log_likelihood = package.read(problem, fitted)
    return {
        "version": package.version(),
        "imports": imports,
        "before_bytes": before,
        "first": first,
        "warm": warm,
        "deviations": {name: float(value) for name, value in deviations.items()},
        "log_likelihood": float(log_likelihood),
        "log_likelihood_error": float(package.monte_carlo_error(fitted)),
    }


def main(task, *arguments):
    """Do the task that the command line names."""
    if task == "table":
        make_table(*arguments)
        return
    package, problem, folder, answer, min_fits, max_fits, budget, long = arguments
    result = measure(
        PACKAGES[package],
        find(problem),
        Path(folder),
        int(min_fits),
        int(max_fits),
        float(budget),
        float(long),
    )
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
