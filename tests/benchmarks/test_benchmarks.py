"""The benchmark command: what it prints can be relied upon, whatever is installed."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import report
import run as command
import scaling
import table
import worker
from columns import write_columns
from packages import PACKAGES, Package
from problems import PROBLEMS, drawn, find

HERE = Path(__file__).resolve().parent
SLEEPSTUDY = {"Subject Intercept": 24.7404, "Subject Days": 5.9221, "residual": 25.5918}

pytestmark = pytest.mark.benchmark


def run(*arguments, script="run.py"):
    """Output of the command."""
    done = subprocess.run(
        [sys.executable, HERE / script, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def measured(problem, folder):
    """Estimates of every installed package of a problem."""
    options = command.parse_arguments(["--repeats", "1", "--all"])
    command.make_table(problem, folder)
    results = {p: command.measure(p, problem, folder, options) for p in PACKAGES}
    return {name: result for name, result in results.items() if "warm" in result}


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory):
    """Printed lines and stored figures of one run with every package."""
    out = tmp_path_factory.mktemp("benchmark") / "out.json"
    printed = run("--problems", "sleepstudy", "--repeats", 2, "--json", out)
    return printed, json.loads(out.read_text(encoding="utf-8"))["results"]["sleepstudy"]


def test_every_installed_package_finds_the_published_estimates(sleepstudy):
    printed, results = sleepstudy
    found = {name: r for name, r in results.items() if "warm" in r}
    assert "skglmm" in found
    for name, result in found.items():
        assert result["deviations"] == pytest.approx(SLEEPSTUDY, rel=1e-3), name
        assert result["log_likelihood"] == pytest.approx(-871.8141, abs=1e-3), name
    assert "DISAGREES" not in printed


def test_each_package_has_times_a_ratio_and_a_memory_of_its_own(sleepstudy):
    printed, results = sleepstudy
    assert "beyond TensorFlow's import" in printed
    assert results["skglmm"]["times_skglmm"] == 1
    assert results["skglmm"]["peak_bytes"] > 300e6  # TensorFlow alone
    for name, result in results.items():
        if "warm" not in result:
            continue
        assert len(result["warm"]) == 2 and min(result["warm"]) > 0
        ratio = sorted(result["warm"])[0] / sorted(results["skglmm"]["warm"])[1]
        assert result["times_skglmm"] >= ratio
        if name != "skglmm":
            assert 10e6 < result["peak_bytes"] < results["skglmm"]["peak_bytes"]


def test_a_missing_peer_is_a_line_and_no_error(tmp_path):
    nowhere = tmp_path / "python"
    printed = run(
        *("--problems", "pastes", "--packages", "skglmm", "glmm", "--repeats", 1),
        *("--python", f"glmm={nowhere}"),
    )
    assert "missing: the interpreter is not on this machine" in printed
    assert "skglmm" in printed and "standard deviations (skglmm)" in printed


def test_a_peer_that_takes_too_long_is_a_line_and_no_error():
    printed = run("--problems", "pastes", "--packages", "mixedlm", "--timeout", 0.01)
    assert "no answer in 0.01 s" in printed


def test_a_slow_peer_is_left_out_unless_asked_for():
    printed = run("--problems", "million", "--packages", "lme4")
    assert "1,000,000 rows, 20,000 levels" in printed
    assert "left out: takes minutes" in printed


def test_estimates_that_differ_are_named():
    ours = {"deviations": {"g Intercept": 1.0, "residual": 2.0}, "log_likelihood": -9.0}
    theirs = {**ours, "deviations": {"g Intercept": 1.01, "residual": 2.0}}
    nan = {**ours, "log_likelihood": float("nan")}
    lines = report.comparison({"skglmm": ours, "a": ours, "b": theirs, "c": nan})
    assert lines[0] == "standard deviations (skglmm): g Intercept 1, residual 2"
    assert lines[1] == "DISAGREES: b with skglmm: g Intercept 1.01, not 1"
    assert lines[2].startswith("DISAGREES: c with skglmm: log-likelihood nan")
    assert lines[3].endswith(": a 0")


def test_a_variance_next_to_zero_is_compared_with_the_largest():
    ours = {"deviations": {"g Intercept": 0.0, "residual": 2.0}, "log_likelihood": -9.0}
    theirs = {**ours, "deviations": {"g Intercept": 1e-6, "residual": 2.0}}
    assert report.differences(theirs, ours)[1] == []


def test_the_ratio_is_of_medians():
    subject, peer = {"warm": [1.0, 2.0, 9.0]}, {"warm": [0.5, 0.5, 40.0]}
    assert report.times_subject(peer, subject) == 0.25
    assert report.times_subject({"missing": "it"}, subject) is None


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_packages_agree_on_generalised_models_as_far_as_their_methods_do(
    family, tmp_path
):
    problem = json.dumps({"rows": 3_000, "levels": [60, 20], "family": family})
    results = measured(problem, tmp_path)
    subject = results.pop("skglmm")
    assert subject["criterion"] == "variational"
    assert set(subject["deviations"]) == {"g0 Intercept", "g1 Intercept"}
    # GPBoost stops early: its likelihood is lower than that of the other three.
    laplace = [r for name, r in results.items() if name != "gpboost"]
    for result in results.values():
        assert result["criterion"] == "Laplace"
        assert report.differences(result, subject)[1] == []
    for result in laplace[1:]:
        assert report.differences(result, laplace[0])[1] == []
    assert laplace


def test_a_peer_is_left_out_where_its_model_is_another(tmp_path):
    correlated = json.dumps({"rows": 300, "levels": [20], "slopes": 1})
    command.make_table(correlated, tmp_path)
    options = command.parse_arguments([])
    result = command.measure("gpboost", correlated, tmp_path, options)
    assert result == {"left_out": "has no correlated slopes"}
    few = PACKAGES["gpboost"].declines(drawn(300, [2_000, 999]), [2_000, 999])
    assert few == "has no REML, which matters with so few levels"
    assert PACKAGES["gpboost"].declines(drawn(9, [2_000] * 2), [2_000] * 2) is None


def test_large_problems_run_only_when_asked_for():
    large = {name for name, problem in PROBLEMS.items() if problem.large}
    assert large == {
        *("ten_million", "ten_million_power"),
        *("million_logistic", "million_logistic_power"),
    }
    assert not large & set(command.parse_arguments([]).problems)
    assert set(command.parse_arguments(["--all"]).problems) == set(PROBLEMS)
    assert command.parse_arguments(["--problems", *large]).problems == [*large]


def test_drawn_tables_come_from_the_stated_model():
    rows = 200_000
    problem = drawn(rows, [2_000, 200], balance="power")
    frame = problem.make()
    assert problem.truth == {"g0 Intercept": 0.8, "g1 Intercept": 0.5, "residual": 1.0}
    # The share of level j is 1 / (j + 1) over the harmonic number.
    harmonic = sum(1 / (j + 1) for j in range(200))
    shares = frame["g1"].value_counts(normalize=True).sort_index()
    assert shares[0] == pytest.approx(1 / harmonic, rel=0.03)
    assert shares[9] == pytest.approx(0.1 / harmonic, rel=0.1)
    within = np.linalg.lstsq(
        frame[["x0", "x1", "x2"]].assign(one=1.0), frame["y"], rcond=None
    )[0]
    assert within[:3] == pytest.approx([0.5, -0.3, 0.2], abs=0.02)
    slope = drawn(10, [5], slopes=1)
    assert slope.truth == pytest.approx(
        {"g0 Intercept": 0.8, "g0 x0": math.hypot(0.2, 0.4), "residual": 0.7}
    )
    assert slope.formula == "y ~ 1 + x0 + x1 + x2 + (1 + x0 | g0)"
    binary = find(json.dumps({"rows": 50, "levels": [5], "family": "binomial"}))
    assert set(binary.make()["y"]) == {0, 1}
    assert "residual" not in binary.truth


def test_every_person_of_verbagg_size_answers_every_item_once():
    frame = PROBLEMS["verbagg_size"].make()
    assert frame.shape[0] == 7_584
    assert (frame.groupby(["g0", "g1"]).size() == 1).all()
    assert frame["g0"].nunique() == 316 and frame["g1"].nunique() == 24


def test_log_likelihoods_count_only_where_the_same_is_maximised():
    ours = {"deviations": {"g": 1.0}, "log_likelihood": -9.0, "criterion": "REML"}
    assert report.differences({**ours, "log_likelihood": -8.0}, ours)[1]
    ml = {**ours, "log_likelihood": -8.0, "criterion": "ML"}
    assert report.differences(ml, ours)[1] == []
    noisy = {**ours, "log_likelihood": -8.0, "log_likelihood_error": 0.3}
    assert report.differences(ours, noisy)[1] == []
    ours, far = {**ours, "criterion": "variational"}, {**ml, "criterion": "Laplace"}
    assert report.differences({**far, "deviations": {"g": 1.04}}, ours)[1] == []
    assert report.differences({**far, "deviations": {"g": 1.06}}, ours)[1]
    assert report.differences({**ml, "deviations": {"g": 1.04}}, ours | ml)[1]


class Sleeper(Package):
    """A package whose fits are counted and take any time."""

    imports = ("json",)

    def version(self):
        return "1"

    def prepare(self, problem, frame):
        return lambda: "fitted"

    def read(self, problem, fitted):
        return {"g0 Intercept": 1.0}, 0.0


@pytest.mark.parametrize(("long", "fits"), [(0.0, 1), (60.0, 3)])
def test_a_long_fit_is_repeated_once(long, fits, tmp_path):
    problem = drawn(20, [4])
    write_columns(problem.make(), problem, tmp_path)
    result = worker.measure(Sleeper(), problem, tmp_path, 3, 3, 0.0, long)
    assert len(result["warm"]) == fits
    assert result["before_bytes"] > 10e6


def test_scaling_measures_each_size_and_draws_it(tmp_path):
    pytest.importorskip("matplotlib")
    out, svg = tmp_path / "scaling.json", tmp_path / "scaling.svg"
    arguments = ["--quick", "--json", str(out), "--svg", str(svg)]
    # In a process of its own: this one's memory would count in that of the fits.
    run(*arguments, "--curves", "levels_slope", "factors", script="scaling.py")
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [p["rows"] for p in figures["curves"]["levels_slope"]] == [1_000, 2_000]
    assert [p["levels"] for p in figures["curves"]["factors"]] == [[100], [100, 100]]
    for points in figures["curves"].values():
        for point in points:
            assert point["warm"] > 0
            assert 0 < point["bytes"] < point["peak_bytes"]
    text = "".join(ET.parse(svg).getroot().itertext())
    assert "linear, slope: exponent" in text and "cores" in text
    svg.unlink()
    assert scaling.main([*arguments, "--draw"]) == 0
    assert "linear, slope: exponent" in svg.read_text(encoding="utf-8")


def test_the_exponent_is_that_of_the_largest_sizes():
    sizes = (1, 2, 10, 100, 1000)
    points = [{"size": n, "warm": max(5.0, n**1.5)} for n in sizes]
    assert scaling.exponent(points, "warm") == pytest.approx(1.5)
    failed = [{"size": 10_000, "failed": "no answer"}]
    assert scaling.exponent(points + failed, "warm") == pytest.approx(1.5)
    assert math.isnan(scaling.exponent(points[:1] + failed, "warm"))


def figures(tmp_path, name, **results):
    """File of one problem in which packages took given times."""
    base = {
        "deviations": {"g0 Intercept": 1.0},
        "log_likelihood": -9.0,
        "criterion": "REML",
        "first": 3.0,
        "peak_bytes": 2e9,
        "version": "1",
    }
    facts = {"rows": 1_000, "levels": [50, 20], "truth": {"g0 Intercept": 0.8}}
    machine = {
        **{"system": "Linux", "processor": "CPU", "cores": 2, "memory": 2**34},
        **{"python": "3.11", "date": "2026-01-01", "load": 0.0},
    }
    problem = {name: {k: v if "failed" in v else base | v for k, v in results.items()}}
    text = {"machine": machine, "problems": {name: facts}, "results": problem}
    path = tmp_path / f"{name}{len(results)}.json"
    path.write_text(json.dumps(text), encoding="utf-8")
    return path


def test_the_table_holds_skglmm_against_the_fastest_peer_of_the_same_run(tmp_path):
    before = figures(tmp_path, "a", skglmm={"warm": [9.0]}, b={"warm": [1.0]})
    after = figures(
        tmp_path,
        "a",
        skglmm={"warm": [1.0, 2.0, 9.0]},
        b={"warm": [4.0]},
        c={"warm": [8.0], "deviations": {"g0 Intercept": 0.9}},
    )
    problems = table.load([before, after])
    cells = ("``a``", "1,000", "50 x 20", "2 s", "3 s", "2,000 MB", "b", "4 s", "2")
    assert table.summary(problems) == [(*cells, "0")]
    assert table.remarks(problems) == [
        "``a``: c has g0 Intercept 0.9, not 1 (drawn from g0 Intercept 0.8)."
    ]


def test_the_page_says_where_skglmm_is_slower_and_what_failed(tmp_path, capsys):
    path = figures(
        tmp_path,
        "a",
        skglmm={"warm": [2.0]},
        b={"warm": [0.5]},
        c={"failed": "no `answer`*"},
    )
    table.main([str(path)])
    printed = capsys.readouterr().out
    assert "- ``a``: skglmm takes 4 times as long as b." in printed
    assert "``a``,2 s,500 ms,no 'answer''" in printed
    core = pytest.importorskip("docutils.core")
    html = core.publish_string(
        printed, writer="html", settings_overrides={"halt_level": 2}
    )
    assert html.count(b"<table") == 2
