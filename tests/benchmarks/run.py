"""skglmm beside its peers: times, memory and estimates of the same fits.

See README.rst in this folder.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import TIMEOUT_MAX, Timer

import report
from packages import HERE, PACKAGES
from problems import PROBLEMS

MIN_FITS, MAX_FITS, BUDGET = 3, 100, 3.0


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
        default=list(PROBLEMS),
        metavar="NAME",
        help=f"of {', '.join(PROBLEMS)} (default: all)",
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
        f"{BUDGET:g} s, between {MIN_FITS} and {MAX_FITS})",
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
        help="also run what takes minutes: lme4 on the largest problems",
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

    Returns
    -------
    dict
        As worker.py writes it, with ``peak_bytes``; or one reason, under ``missing``,
        ``failed`` or ``left_out``.
    """
    if name in PROBLEMS[problem].slow and not options.all:
        return {"left_out": "takes minutes, add --all"}
    package = PACKAGES[name]
    limits = [MIN_FITS, MAX_FITS, BUDGET]
    if options.repeats is not None:
        limits[:2] = [options.repeats] * 2
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
    return {**result, "peak_bytes": peak}


def describe(problem, table):
    """Line with the size of a problem and its formula."""
    problem = PROBLEMS[problem]
    rows = (table / f"{problem.target}.float64").stat().st_size // 8
    levels = []
    for group in problem.groups:
        text = (table / f"{group}.levels").read_text(encoding="utf-8")
        levels.append(f"{text.count(chr(10)):,}")
    return f"{rows:,} rows, {' x '.join(levels)} levels: {problem.formula}"


def compare(problem, options):
    """Measure every package on one problem and print as it goes.

    Returns
    -------
    dict of str to dict
        What :func:`measure` returns for each package, with the ratio.
    """
    with tempfile.TemporaryDirectory(prefix="skglmm-benchmark-") as folder:
        table = Path(folder)
        # In a process too: memory that this one used would count in its children's.
        failure, _ = run_process(
            [sys.executable, str(HERE / "worker.py"), "table", problem, folder],
            {},
            table / "table.log",
        )
        if failure is not None:
            raise SystemExit(f"The table of {problem} was not made: {failure}")
        print(f"\n{problem}: {describe(problem, table)}\n\n{report.heading()}")
        results = {}
        for name in (name for name in PACKAGES if name in options.packages):
            results[name] = measure(name, problem, table, options)
            subject = results.get(report.SUBJECT)
            results[name]["times_skglmm"] = report.times_subject(results[name], subject)
            print(report.row(name, results[name], subject), flush=True)
    subject = results.get(report.SUBJECT, {})
    lines = [report.cold_start(subject)] if "imports" in subject else []
    print(*lines, *report.comparison(results), sep="\n", flush=True)
    return results


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
    print(
        f"{machine['system']}, {machine['processor']}, {machine['cores']} cores, "
        f"load {machine['load']}"
    )
    results = {}
    for problem in options.problems:
        results[problem] = compare(problem, options)
        if options.json is not None:
            text = json.dumps({"machine": machine, "results": results}, indent=2)
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
