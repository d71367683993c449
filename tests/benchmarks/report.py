"""The lines that a comparison prints."""

import os
import platform
import time
from statistics import median

SUBJECT = "skglmm"
# Relative to the standard deviation itself, or to this part of the largest one if that
# is more: a variance next to zero is zero.
SMALLEST_SCALE = 1e-2
DEVIATION_TOLERANCE = 2e-3
LOG_LIKELIHOOD_TOLERANCE = 0.01
# Where the packages do not maximise the same: Laplace's approximation and variational
# inference have different errors, which grow as the rows a level become few.
APPROXIMATION_TOLERANCE = 0.05

COLUMNS = "{:<10}{:>6}{:>10}{:>10}{:>10}{:>10}{:>14}{:>10}{:>18}"


def machine():
    """What the times depend on beside the packages.

    Returns
    -------
    dict
        ``system``, ``processor``, ``cores``, ``memory`` (bytes), ``python``, ``date``
        and ``load``, the number of processes that were running already in the last
        minute.
    """
    processor = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":")[1] for line in lines if "model name" in line]
        processor = names[0].strip() if names else processor
    except OSError:
        pass
    return {
        "system": platform.platform(),
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 2),
    }


def duration(seconds):
    """Three digits of a time, in s or ms."""
    if seconds < 0.9995:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def machine_line(machine):
    """Line on what :func:`machine` returns."""
    memory = machine["memory"] / 2**30
    return (
        f"{machine['processor']}, {machine['cores']} cores, {memory:.0f} GiB; "
        f"{machine['system']}; Python {machine['python']}; {machine['date']}, "
        f"load {machine['load']:g}"
    )


def describe(rows, levels, formula, family):
    """Line on a problem: its size, its formula and its family."""
    crossed = " x ".join(f"{count:,}" for count in levels)
    family = "" if family == "gaussian" else f", {family}"
    return f"{rows:,} rows, {crossed} levels: {formula}{family}"


def heading():
    """Names of the columns of :func:`row`."""
    return COLUMNS.format(
        *("", "fits", "import", "first", "warm", "best"),
        *("times " + SUBJECT, "memory", "log-likelihood"),
    )


def row(name, result, subject):
    """Line of one package.

    Parameters
    ----------
    name : str
        The package.
    result : dict
        What was measured, or ``missing``, ``failed`` or ``left_out`` with a reason.
    subject : dict or None
        What was measured of skglmm in this run, for the ratio.

    Returns
    -------
    str
    """
    for kind in ("missing", "failed", "left_out"):
        if kind in result:
            return f"{name:<10}{kind.replace('_', ' ')}: {result[kind]}"
    ratio = times_subject(result, subject)
    imports = {k: v for k, v in result["imports"].items() if k != "tensorflow"}
    return COLUMNS.format(
        name,
        len(result["warm"]),
        duration(sum(imports.values())),
        duration(result["first"]),
        duration(median(result["warm"])),
        duration(min(result["warm"])),
        "-" if ratio is None else f"{ratio:.3g}",
        f"{result['peak_bytes'] / 1e6:.0f} MB",
        f"{result['log_likelihood']:.4f}",
    )


def times_subject(result, subject):
    """Warm time over skglmm's: above 1 where skglmm is the faster one."""
    if subject is None or "warm" not in subject or "warm" not in result:
        return None
    return median(result["warm"]) / median(subject["warm"])


def cold_start(result):
    """Line on the first fit of a fresh process that has imported TensorFlow."""
    imports = result["imports"]
    own = imports[SUBJECT] + result["first"]
    return (
        f"{SUBJECT}, cold: {duration(own)} beyond TensorFlow's import "
        f"({duration(imports['tensorflow'])})"
    )


def comparison(results, truth=None):
    """Lines on whether the packages found the same model.

    Parameters
    ----------
    results : dict of str to dict
        What was measured, by package; those without estimates are passed over.
    truth : dict of str to float, default=None
        Standard deviations that the table was drawn from.

    Returns
    -------
    list of str
        The estimates of the first package, skglmm if it ran, then how far the others
        are from it. A line that begins with DISAGREES names each figure that is.
    """
    found = {name: r for name, r in results.items() if "deviations" in r}
    if not found:
        return []
    reference, *others = found
    expected = found[reference]
    shown = {reference: expected["deviations"], "drawn from": truth or {}}
    lines = [
        f"standard deviations ({origin}): "
        + ", ".join(f"{name} {value:.5g}" for name, value in deviations.items())
        for origin, deviations in shown.items()
        if deviations
    ]
    near = []
    for name in others:
        worst, disputed = differences(found[name], expected)
        if disputed:
            listed = "; ".join(disputed)
            lines.append(f"DISAGREES: {name} with {reference}: {listed}")
        else:
            near.append(f"{name} {worst:.1g}")
    if near:
        lines.append(f"agreement, the largest relative difference: {', '.join(near)}")
    return lines


def differences(result, expected):
    """How far the estimates of one package are from those of another.

    Log-likelihoods count only where both packages maximise the same, and up to four
    standard errors of what is random in them.

    Parameters
    ----------
    result, expected : dict
        Each with ``deviations``, ``log_likelihood`` and, if not the same, ``criterion``
        and ``log_likelihood_error``.

    Returns
    -------
    worst : float
        Largest relative difference of a standard deviation.
    disputed : list of str
        Figures that differ by more than the tolerances, with both values.
    """
    ours, theirs = expected["deviations"], result["deviations"]
    smallest = SMALLEST_SCALE * max(ours.values())
    criteria = {result.get("criterion"), expected.get("criterion")}
    approximate = len(criteria) > 1 and "variational" in criteria
    tolerance = APPROXIMATION_TOLERANCE if approximate else DEVIATION_TOLERANCE
    worst, disputed = 0.0, []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs:
            disputed.append(f"only one of them has {name!r}")
            continue
        difference = abs(theirs[name] - ours[name]) / max(ours[name], smallest)
        worst = max(worst, difference)
        # written so that nan is no agreement
        if not difference <= tolerance:
            disputed.append(f"{name} {theirs[name]:.6g}, not {ours[name]:.6g}")
    if len(criteria) > 1:
        return worst, disputed
    errors = [r.get("log_likelihood_error", 0.0) for r in (result, expected)]
    gap = abs(result["log_likelihood"] - expected["log_likelihood"])
    if not gap <= LOG_LIKELIHOOD_TOLERANCE + 4 * sum(errors):
        disputed.append(
            f"log-likelihood {result['log_likelihood']:.4f}, "
            f"not {expected['log_likelihood']:.4f}"
        )
    return worst, disputed
