"""Figures of the command as tables for the documentation, skglmm's defeats included.

See README.rst in this folder.
"""

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from statistics import median

import report

HEADER = (
    "problem",
    "rows",
    "levels",
    "skglmm",
    "first fit",
    "memory",
    "fastest peer",
    "its time",
    "ratio",
    "agreement",
)


def load(paths):
    """Figures of several runs by problem.

    Parameters
    ----------
    paths : list of pathlib.Path
        What ``run.py --json`` wrote. A problem in several files is taken from the last
        of them as a whole, as a ratio is one of times of the same run.

    Returns
    -------
    dict of str to dict
        ``facts``, ``results`` (by package) and ``machine`` of each problem.
    """
    problems = {}
    for path in paths:
        figures = json.loads(path.read_text(encoding="utf-8"))
        for name, results in figures["results"].items():
            problems[name] = {
                "facts": figures["problems"][name],
                "results": results,
                "machine": figures["machine"],
            }
    return problems


def warm_times(results):
    """Median warm time of each package that was measured, the fastest first."""
    times = {name: median(r["warm"]) for name, r in results.items() if "warm" in r}
    return dict(sorted(times.items(), key=lambda item: item[1]))


def agreement(result, expected):
    """Largest relative difference of a standard deviation; whether it is too much."""
    worst, disputed = report.differences(result, expected)
    return f"{worst:.1g}, disagrees" if disputed else f"{worst:.1g}"


def summary(problems):
    """Rows of the table that holds skglmm against the fastest peer.

    Parameters
    ----------
    problems : dict of str to dict
        See :func:`load`.

    Returns
    -------
    list of tuple of str
        A cell for each name of ``HEADER``.
    """
    rows = []
    for name, problem in problems.items():
        facts, results = problem["facts"], problem["results"]
        times = warm_times(results)
        subject = results.get(report.SUBJECT, {})
        levels = " x ".join(f"{count:,}" for count in facts["levels"])
        row = [f"``{name}``", f"{facts['rows']:,}", levels]
        if report.SUBJECT in times:
            row += [
                report.duration(times.pop(report.SUBJECT)),
                report.duration(subject["first"]),
                f"{subject['peak_bytes'] / 1e6:,.0f} MB",
            ]
        else:
            row += [reason(subject), "", ""]
        for peer, time in [*times.items()][:1]:
            ratio = report.times_subject(results[peer], subject)
            row += [peer, report.duration(time)]
            if ratio is not None:
                row += [f"{ratio:.2g}", agreement(results[peer], subject)]
        rows.append(tuple(row + ["none"] + [""] * len(HEADER))[: len(HEADER)])
    return rows


def reason(result):
    """Why there is no time: a word or the line of an error."""
    for kind in ("missing", "failed", "left_out"):
        if kind in result:
            # An error's line may hold what reStructuredText takes for markup.
            told = result[kind].translate(str.maketrans("`*|_", "''/-"))
            return told if kind == "failed" else kind.replace("_", " ")
    return "not run"


def every_time(problems):
    """Rows with the warm time of every package, under a header."""
    packages = list(dict.fromkeys(n for p in problems.values() for n in p["results"]))
    rows = [("problem", *packages)]
    for name, problem in problems.items():
        results = problem["results"]
        times = warm_times(results)
        cells = (
            report.duration(times[package])
            if package in times
            else reason(results.get(package, {}))
            for package in packages
        )
        rows.append((f"``{name}``", *cells))
    return rows


def remarks(problems):
    """Items on what speaks against skglmm: slower, failed, other estimates.

    Parameters
    ----------
    problems : dict of str to dict
        See :func:`load`.

    Returns
    -------
    list of str
        A sentence each.
    """
    items = []
    for name, problem in problems.items():
        results = problem["results"]
        drawn = problem["facts"]["truth"].items()
        truth = ", ".join(f"{effect} {std:g}" for effect, std in drawn)
        truth = f" (drawn from {truth})" if truth else ""
        subject = results.get(report.SUBJECT, {})
        if "warm" not in subject:
            items.append(f"``{name}``: skglmm has no time ({reason(subject)}).")
            continue
        slower = [
            f"{1 / ratio:.2g} times as long as {peer}"
            for peer in warm_times(results)
            if (ratio := report.times_subject(results[peer], subject)) < 1
        ]
        if slower:
            items.append(f"``{name}``: skglmm takes {', '.join(slower)}.")
        for peer in warm_times(results):
            _, disputed = report.differences(results[peer], subject)
            if disputed:
                items.append(f"``{name}``: {peer} has {'; '.join(disputed)}{truth}.")
    return items


def csv_table(rows, title):
    """A csv-table directive; the first row is the header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    body = "".join(f"   {line}\n" for line in text.getvalue().splitlines())
    return f".. csv-table:: {title}\n   :header-rows: 1\n\n{body}"


def page(problems):
    """All tables and remarks as reStructuredText."""
    machines = dict.fromkeys(
        report.machine_line(p["machine"]) for p in problems.values()
    )
    versions = {
        name: result["version"]
        for p in problems.values()
        for name, result in p["results"].items()
        if "version" in result
    }
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    items = remarks(problems) or ["Nothing in these figures."]
    parts = [
        "Machine and packages: " + "; ".join([*machines, listed]) + ".\n",
        csv_table([HEADER, *summary(problems)], "skglmm and the fastest peer"),
        csv_table(every_time(problems), "Warm fits of every package"),
        "Where skglmm is slower, or another package's estimates are not its own:\n",
        "".join(f"- {item}\n" for item in items),
    ]
    return "\n".join(parts)


def main(arguments=None):
    """Write the tables."""
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks/table.py",
        description="Make tables for the documentation of what run.py --json wrote.",
    )
    parser.add_argument("figures", nargs="+", type=Path, help="files of run.py --json")
    parser.add_argument("--out", type=Path, help="file (default: print)")
    options = parser.parse_args(arguments)
    text = page(load(options.figures))
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
