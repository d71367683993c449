"""skglmm beside its peers: times, memory and estimates of the same fits.

See README.rst in this folder.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import TIMEOUT_MAX, Timer

import report
from packages import HERE, PACKAGES
from problems import PROBLEMS, find

MIN_FITS, MAX_FITS, BUDGET, LONG = 3, 100, 3.0, 60.0


def parse_arguments(arguments=None):
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks/run.py",
        description="Compare skglmm with other packages for mixed models.",
    )
    parser.add_argument(
        "--problems",
        nargs="+",
        choices=PROBLEMS,
        metavar="NAME",
        help=f"of {', '.join(PROBLEMS)} (default: all but the large ones)",
    )
    parser.add_argument(
        "--packages",
        nargs="+",
        choices=PACKAGES,
        default=list(PACKAGES),
        metavar="NAME",
        help=f"of {', '.join(PACKAGES)} (default: all)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="fits after the first one (default: as many as take "
        f"{BUDGET:g} s, between {MIN_FITS} and {MAX_FITS}; one if the first took "
        f"more than {LONG:g} s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="for all fits of a package to a problem (default: %(default)g)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also run what takes minutes: the large problems and the slow peers",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PACKAGE=PATH",
        help="interpreter that has a package and pandas (default: the running one)",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for all figures")
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats must be 1 or more, got {options.repeats}")
    if options.problems is None:
        options.problems = [
            name for name, p in PROBLEMS.items() if options.all or not p.large
        ]
    interpreters = {}
    for pair in options.python:
        name, _, path = pair.partition("=")
        if not path or not getattr(PACKAGES.get(name), "imports", ()):
            parser.error(f"--python takes a Python package and a path, got {pair!r}")
        interpreters[name] = path
    options.python = interpreters
    return options


def run_process(command, environment, log, timeout=TIMEOUT_MAX):
    """Run a command to its end, alone.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    environment : dict of str to str
        Variables beside the present ones.
    log : pathlib.Path
        Takes what it prints.
    timeout : float, default=threading.TIMEOUT_MAX
        Seconds after which it is killed.

    Returns
    -------
    failure : str or None
        Why it did not succeed.
    peak_bytes : int
        Largest resident memory of the process.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        timer = Timer(timeout, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            expired = not timer.is_alive()
            timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if process.returncode == 0:
        return None, peak
    if expired and process.returncode == -signal.SIGKILL:
        return f"no answer in {timeout:g} s", peak
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # R ends with "Execution halted", after the line that says why.
    told = [line for line in lines if "Error" in line] or lines or ["no message"]
    return f"{told[-1]} (exit status {process.returncode})", peak


def measure(name, problem, table, options):
    """What one package does with one problem, in a process of its own.

    Parameters
    ----------
    name : str
        The package.
    problem : str
        What :func:`problems.find` takes.
    table : pathlib.Path
        Folder of the problem's columns.
    options : argparse.Namespace
        ``all``, ``repeats``, ``timeout`` and ``python`` of the command.

    Returns
    -------
    dict
        As worker.py writes it, with ``peak_bytes``; or one reason, under ``missing``,
        ``failed`` or ``left_out``.
    """
    package, model = PACKAGES[name], find(problem)
    _, levels = size(model, table)
    reason = package.declines(model, levels)
    if reason is not None:
        return {"left_out": reason}
    if name in model.slow and not options.all:
        return {"left_out": "takes minutes, add --all"}
    limits = [MIN_FITS, MAX_FITS, BUDGET, LONG]
    if options.repeats is not None:
        limits = [options.repeats, options.repeats, BUDGET, math.inf]
    answer = table / f"{name}.json"
    command = package.command(
        name, problem, table, answer, list(map(str, limits)), options.python.get(name)
    )
    if not command:
        return {"missing": f"{package.needs} is not on this machine"}
    failure, peak = run_process(
        command, package.environment, table / f"{name}.log", options.timeout
    )
    if failure is not None:
        return {"failed": failure}
    result = json.loads(answer.read_text(encoding="utf-8"))
    if "missing" in result:
        return result
    result["deviations"] = {
        effect.replace("(Intercept)", "Intercept"): value
        for effect, value in result["deviations"].items()
    }
    return {**result, "criterion": package.criterion(model), "peak_bytes": peak}


def size(problem, table):
    """Rows of a stored table and levels of each factor.

    Parameters
    ----------
    problem : Problem
        Says which columns there are.
    table : pathlib.Path
        Folder of the columns.

    Returns
    -------
    rows : int
        Number of rows.
    levels : list of int
        Number of levels of each factor that occur.
    """
    rows = (table / f"{problem.target}.float64").stat().st_size // 8
    labels = ((table / f"{g}.levels").read_bytes() for g in problem.groups)
    return rows, [text.count(b"\n") for text in labels]


def make_table(problem, folder):
    """Write the columns of a problem, in a process of its own.

    Memory that this process used would count in that of the packages, its children.
    """
    failure, _ = run_process(
        [sys.executable, str(HERE / "worker.py"), "table", problem, str(folder)],
        {},
        folder / "table.log",
    )
    if failure is not None:
        raise SystemExit(f"The table of {problem} was not made: {failure}")


def compare(problem, options):
    """Measure every package on one problem and print as it goes.

    Returns
    -------
    results : dict of str to dict
        What :func:`measure` returns for each package, with the ratio.
    facts : dict
        ``rows``, ``levels``, ``formula``, ``family`` and ``truth`` of the problem.
    """
    with tempfile.TemporaryDirectory(prefix="skglmm-benchmark-") as folder:
        table, model = Path(folder), PROBLEMS[problem]
        make_table(problem, table)
        rows, levels = size(model, table)
        facts = {
            "rows": rows,
            "levels": levels,
            "formula": model.formula,
            "family": model.family,
        }
        print(f"\n{problem}: {report.describe(**facts)}\n\n{report.heading()}")
        facts["truth"] = model.truth
        results = {}
        for name in (name for name in PACKAGES if name in options.packages):
            results[name] = measure(name, problem, table, options)
            subject = results.get(report.SUBJECT)
            results[name]["times_skglmm"] = report.times_subject(results[name], subject)
            print(report.row(name, results[name], subject), flush=True)
    subject = results.get(report.SUBJECT, {})
    lines = [report.cold_start(subject)] if "imports" in subject else []
    print(*lines, *report.comparison(results, model.truth), sep="\n", flush=True)
    return results, facts


def main(arguments=None):
    """Run the comparison.

    Returns
    -------
    int
        Exit status: 1 if skglmm was to run and did not, otherwise 0. What becomes of a
        peer is printed and changes nothing.
    """
    options = parse_arguments(arguments)
    machine = report.machine()
    print(report.machine_line(machine))
    results, problems = {}, {}
    for problem in options.problems:
        results[problem], problems[problem] = compare(problem, options)
        if options.json is not None:
            text = json.dumps(
                {"machine": machine, "problems": problems, "results": results}, indent=2
            )
            options.json.write_text(text + "\n", encoding="utf-8")
    versions = {
        name: result["version"]
        for found in results.values()
        for name, result in found.items()
        if "version" in result
    }
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"\n{listed or 'nothing was measured'}")
    subjects = [found.get(report.SUBJECT, {}) for found in results.values()]
    asked = report.SUBJECT in options.packages
    return int(asked and not all("warm" in subject for subject in subjects))


if __name__ == "__main__":
    sys.exit(main())
