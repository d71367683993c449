"""How time and memory of skglmm's fits grow: a curve each, in one picture.

See README.rst in this folder.
"""

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import report
import run

FITS = 3
# The exponent is that of the largest sizes: at small ones a constant outweighs it.
FITTED_POINTS = 3
PANELS = {
    "rows": "rows, at 1,000 (and 200) levels",
    "levels": "levels of the first factor, ten rows each",
    "factors": "crossed factors, 1,000 levels each, 200,000 rows",
    "effects": "effects of a level, 2,000 levels, 200,000 rows",
}


@dataclass(frozen=True)
class Curve:
    """Models that differ in one size.

    Attributes
    ----------
    panel : str
        Key of ``PANELS``: the size.
    label : str
        What the models have in common.
    sizes, quick : tuple of int
        Sizes, and those of the small version.
    model : callable
        From a size to the arguments of :func:`problems.drawn`.
    """

    panel: str
    label: str
    sizes: tuple
    quick: tuple
    model: object


ROWS, FEW_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000), (1_000, 2_000)
LEVELS, FEW_LEVELS = (1_000, 3_000, 10_000, 30_000, 100_000), (100, 200)


def _families(panel, sizes, quick, levels):
    """Curves of one factor with a slope, of a linear and of a logistic crossed model.

    ``levels`` takes a size, returns the number of rows and the levels of two factors.
    """

    def slope(size):
        rows, (first, _) = levels(size)
        return {"rows": rows, "levels": [first], "slopes": 1}

    def crossed(family):
        def model(size):
            rows, both = levels(size)
            return {"rows": rows, "levels": both, "family": family}

        return model

    return {
        f"{panel}_slope": Curve(panel, "linear, slope", sizes, quick, slope),
        f"{panel}_crossed": Curve(
            panel, "linear, crossed", sizes, quick, crossed("gaussian")
        ),
        f"{panel}_logistic": Curve(
            panel, "logistic, crossed", sizes, quick, crossed("binomial")
        ),
    }


CURVES = {
    **_families("rows", ROWS, FEW_ROWS, lambda n: (n, [1_000, 200])),
    **_families("levels", LEVELS, FEW_LEVELS, lambda n: (10 * n, [n, n // 5])),
    "factors": Curve(
        "factors",
        "linear",
        (1, 2, 3, 4),
        (1, 2),
        lambda n: {"rows": 200_000, "levels": [1_000] * n},
    ),
    "effects": Curve(
        "effects",
        "linear, slopes",
        (1, 2, 3, 4, 5),
        (1, 2),
        lambda n: {"rows": 200_000, "levels": [2_000], "slopes": n - 1},
    ),
}
# Rows and levels of the two last curves in the small version.
QUICK_ROWS, QUICK_LEVELS = 2_000, 100


def parse_arguments(arguments=None):
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks/scaling.py",
        description="Measure how skglmm's time and memory grow, and draw it.",
    )
    parser.add_argument(
        "--curves",
        nargs="+",
        choices=CURVES,
        default=list(CURVES),
        metavar="NAME",
        help=f"of {', '.join(CURVES)} (default: all)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two small sizes a curve, one fit each: to see that it works",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="for all fits of a size (default: %(default)g)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("scaling.json"),
        metavar="OUT",
        help="file for all figures (default: %(default)s); curves that it has and "
        "that are not measured now stay",
    )
    parser.add_argument(
        "--svg",
        type=Path,
        default=Path("scaling.svg"),
        metavar="OUT",
        help="file for the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--draw",
        action="store_true",
        help="measure nothing, draw the figures that --json has",
    )
    return parser.parse_args(arguments)


def measure(name, options):
    """Points of one curve, each size in a fresh process.

    Parameters
    ----------
    name : str
        Key of ``CURVES``.
    options : argparse.Namespace
        ``quick`` and ``timeout`` of the command.

    Returns
    -------
    list of dict
        ``size``, ``rows``, ``levels`` and either ``failed`` (a reason) or ``first``,
        ``warm`` (seconds), ``bytes`` (of the fits, beyond what table and imports take),
        ``peak_bytes`` (of the process) and ``version``.
    """
    curve, points = CURVES[name], []
    settings = argparse.Namespace(
        all=True,
        repeats=1 if options.quick else FITS,
        timeout=options.timeout,
        python={},
    )
    for size in curve.quick if options.quick else curve.sizes:
        model = curve.model(size)
        if options.quick and curve.panel in ("factors", "effects"):
            levels = [QUICK_LEVELS] * len(model["levels"])
            model.update(rows=QUICK_ROWS, levels=levels)
        problem = json.dumps(model)
        with tempfile.TemporaryDirectory(prefix="skglmm-scaling-") as folder:
            run.make_table(problem, Path(folder))
            result = run.measure(report.SUBJECT, problem, Path(folder), settings)
        point = {"size": size, "rows": model["rows"], "levels": model["levels"]}
        if "warm" in result:
            point |= {
                "first": result["first"],
                "warm": median(result["warm"]),
                "bytes": result["peak_bytes"] - result["before_bytes"],
                "peak_bytes": result["peak_bytes"],
                "version": result["version"],
            }
            told = (
                f"{report.duration(point['warm'])}, {point['bytes'] / 1e6:.0f} MB "
                f"of {point['peak_bytes'] / 1e6:.0f} MB"
            )
        else:
            point["failed"] = told = next(iter(result.values()))
        print(f"{name:<18}{size:>10,}  {told}", flush=True)
        points.append(point)
    return points


def exponent(points, figure):
    """Power of the size with which a figure grows, over the largest sizes.

    Parameters
    ----------
    points : list of dict
        As :func:`measure` returns them; those that failed are passed over.
    figure : str
        ``"warm"`` or ``"bytes"``.

    Returns
    -------
    float
        Slope of the least-squares line of the logarithms; NaN with fewer than two
        points.
    """
    pairs = [
        (math.log(point["size"]), math.log(point[figure]))
        for point in points
        if point.get(figure, 0) > 0
    ][-FITTED_POINTS:]
    if len(pairs) < 2:
        return math.nan
    x_mean = sum(x for x, _ in pairs) / len(pairs)
    y_mean = sum(y for _, y in pairs) / len(pairs)
    above = sum((x - x_mean) * (y - y_mean) for x, y in pairs)
    return above / sum((x - x_mean) ** 2 for x, _ in pairs)


def draw(figures, path):
    """Draw the curves.

    Parameters
    ----------
    figures : dict
        ``machine`` and ``curves``, the points by name of the curve.
    path : pathlib.Path
        SVG file.
    """
    # Only now: what this process takes would count in the memory of its children.
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    rows = {
        "warm": ("seconds a fit (median, warm)", 1.0),
        "bytes": ("memory of the fit (MB)", 1e-6),
    }
    style = {"svg.fonttype": "none", "svg.hashsalt": "skglmm", "font.size": 9}
    with matplotlib.rc_context(style):
        figure, axes = plt.subplots(
            2, len(PANELS), figsize=(15, 7.5), sharex="col", layout="constrained"
        )
        for panel, column in zip(PANELS, axes.T, strict=True):
            for (key, (title, unit)), ax in zip(rows.items(), column, strict=True):
                for name, points in figures["curves"].items():
                    if CURVES[name].panel != panel:
                        continue
                    found = [point for point in points if point.get(key, 0) > 0]
                    power = exponent(points, key)
                    ax.plot(
                        [point["size"] for point in found],
                        [point[key] * unit for point in found],
                        marker="o",
                        label=f"{CURVES[name].label}: exponent {power:.2f}",
                    )
                ax.set(xscale="log", yscale="log")
                ax.grid(True, which="major", alpha=0.3)
                if ax.lines:
                    ax.legend(loc="upper left", fontsize=8)
                if ax in axes[:, 0]:
                    ax.set_ylabel(title)
            column[1].set_xlabel(PANELS[panel])
            if panel in ("factors", "effects"):
                ticks = sorted(
                    {x for line in column[1].lines for x in line.get_xdata()}
                )
                column[1].set_xticks(ticks, minor=False)
                column[1].set_xticks([], minor=True)
                column[1].xaxis.set_major_formatter(ScalarFormatter())
        figure.suptitle(report.machine_line(figures["machine"]), fontsize=9)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def main(arguments=None):
    """Measure the curves and draw them.

    Returns
    -------
    int
        Exit status: 1 if a fit failed.
    """
    options = parse_arguments(arguments)
    figures = {"machine": report.machine(), "quick": options.quick, "curves": {}}
    if options.json.exists():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        if options.draw:
            figures = before
        elif before["quick"] == options.quick:
            figures["curves"] = before["curves"]
    for name in () if options.draw else options.curves:
        figures["curves"][name] = measure(name, options)
        text = json.dumps(figures, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    draw(figures, options.svg)
    points = [point for points in figures["curves"].values() for point in points]
    return int(any("failed" in point for point in points))


if __name__ == "__main__":
    sys.exit(main())
