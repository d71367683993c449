"""What the comparisons with TensorFlow Probability's tutorials share."""

import argparse
import os
from statistics import median

import report
from worker import seconds

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MIN_FITS, MAX_FITS, BUDGET = 3, 100, 3.0
COLUMNS = "{:<13}{:>6}{:>10}{:>10}"


def parse_arguments(name, description, arguments=None, extend=None):
    """Options of a comparison.

    Parameters
    ----------
    name : str
        The file.
    description : str
        What it compares.
    arguments : list of str, default=None
        Those of the command line if None.
    extend : callable, default=None
        Takes the parser and adds further options.
    """
    parser = argparse.ArgumentParser(
        prog=f"tests/benchmarks/{name}", description=description
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="fits of skglmm after its first one (default: as many as take "
        f"{BUDGET:g} s, between {MIN_FITS} and {MAX_FITS})",
    )
    parser.add_argument(
        "--tutorial-repeats",
        type=int,
        default=1,
        metavar="N",
        help="fits of the tutorial's method after its first one (default: %(default)s)",
    )
    if extend is not None:
        extend(parser)
    options = parser.parse_args(arguments)
    for option, count in (
        ("--repeats", options.repeats),
        ("--tutorial-repeats", options.tutorial_repeats),
    ):
        if count is not None and count < 1:
            parser.error(f"{option} must be 1 or more, got {count}")
    return options


def measure(fit, repeats=None):
    """Fit once, then again and again.

    Parameters
    ----------
    fit : callable
        Takes nothing. What only its first call does, such as compiling, is in the time
        of the first fit alone.
    repeats : int, default=None
        Fits after the first; if None, until they have taken 3 s.

    Returns
    -------
    first : float
        Seconds of the first fit.
    warm : list of float
        Seconds of the others.
    fitted : object
        What the last one returned.
    """
    first, fitted = seconds(fit)
    least, most = (MIN_FITS, MAX_FITS) if repeats is None else (repeats, repeats)
    warm = []
    while len(warm) < least or (len(warm) < most and sum(warm) < BUDGET):
        duration, fitted = seconds(fit)
        warm.append(duration)
    return first, warm, fitted


def machine():
    """Line on the machine."""
    found = report.machine()
    return (
        f"{found['system']}, {found['processor']}, {found['cores']} cores, "
        f"load {found['load']}"
    )


def heading(names):
    """Names of the columns of :func:`row`."""
    numbers = "".join(f"{name:>13}" for name in names)
    return COLUMNS.format("", "fits", "first", "warm") + numbers


def row(name, numbers, first=None, warm=()):
    """Line of one method: its times, if it ran here, and its estimates."""
    times = ("", "-", "-")
    if first is not None:
        times = (len(warm), report.duration(first), report.duration(median(warm)))
    return COLUMNS.format(name, *times) + "".join(f"{x:>13.4f}" for x in numbers)


def ratio(tutorial, ours, goal):
    """Line on the warm times of the two methods, lists of seconds.

    Other work on the machine distorts them, so that a goal missed here is no failure.
    """
    times = median(tutorial) / median(ours)
    reached = "reached" if times >= goal else "MISSED"
    return f"warm, skglmm is {times:.3g} times as fast; goal {goal:g}: {reached}"


def verdict(what, difference, goal):
    """Line on one accuracy, and whether its goal is reached."""
    reached = bool(difference <= goal)  # nan reaches nothing
    word = "reached" if reached else "MISSED"
    return f"{what}: off by {difference:.2g}; goal {goal:g}: {word}", reached
