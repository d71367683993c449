"""The benchmark command: what it prints can be relied upon, whatever is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import report

HERE = Path(__file__).resolve().parent
SLEEPSTUDY = {"Subject Intercept": 24.7404, "Subject Days": 5.9221, "residual": 25.5918}

pytestmark = pytest.mark.benchmark


def run(*arguments):
    """Output of the command."""
    done = subprocess.run(
        [sys.executable, HERE / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory):
    """Printed lines and stored figures of one run with every package."""
    out = tmp_path_factory.mktemp("benchmark") / "out.json"
    printed = run("--problems", "sleepstudy", "--repeats", 2, "--json", out)
    return printed, json.loads(out.read_text(encoding="utf-8"))["results"]["sleepstudy"]


def test_every_installed_package_finds_the_published_estimates(sleepstudy):
    printed, results = sleepstudy
    measured = {name: r for name, r in results.items() if "missing" not in r}
    assert "skglmm" in measured
    for name, result in measured.items():
        assert result["deviations"] == pytest.approx(SLEEPSTUDY, rel=1e-3), name
        assert result["log_likelihood"] == pytest.approx(-871.8141, abs=1e-3), name
    assert "DISAGREES" not in printed


def test_each_package_has_times_a_ratio_and_a_memory_of_its_own(sleepstudy):
    printed, results = sleepstudy
    assert "beyond TensorFlow's import" in printed
    assert results["skglmm"]["times_skglmm"] == 1
    assert results["skglmm"]["peak_bytes"] > 300e6  # TensorFlow alone
    for name, result in results.items():
        if "missing" in result:
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
