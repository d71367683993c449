"""What a fit says, and what an interrupted one leaves behind."""

import contextlib
import functools
import os
import re
import sys
import threading
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skglmm import MixedLinearRegressor, MixedLogisticRegressor, _base, _progress
from skglmm.datasets import load_sleepstudy, make_mixed_regression

SOLVERS = ["vi", "laplace", "mackay", "mcem"]


@pytest.fixture(scope="module")
def outcomes():
    return make_mixed_regression(
        600,
        1,
        n_groups=(50, 12),
        group_std=(1.0, 0.8),
        family="bernoulli",
        random_state=0,
    )


def logistic(**parameters):
    return MixedLogisticRegressor(["g0", "g1"], random_state=0, **parameters)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_fit_in_steps_gives_the_numbers_of_a_fit_at_once(solver, outcomes, capsys):
    silent = logistic(solver=solver).fit(*outcomes)
    assert capsys.readouterr().out == ""
    model = logistic(solver=solver, verbose=1).fit(*outcomes)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"[MixedLogisticRegressor] {phase}"
        for phase in (
            "reading the columns",
            "sorting the rows",
            "estimating",
            "storing the estimates",
        )
    ]
    assert "evaluations" in lines[2]
    assert model.log_likelihood_ == silent.log_likelihood_
    assert model.n_iter_ == silent.n_iter_
    np.testing.assert_array_equal(model.fixed_effects_, silent.fixed_effects_)


def test_timings_add_up_to_the_fit():
    import time

    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    start = time.perf_counter()
    model = MixedLinearRegressor("Subject").fit(X, y)
    whole = time.perf_counter() - start
    assert 0 < sum(model.timings_.values()) < whole
    assert "estimating" in model.timings_


class Impatient(_progress.Progress):
    """A user who presses Ctrl-C after three evaluations."""

    after = 3

    def step(self, value=np.nan):
        super().step(value)
        if self._steps == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_interrupted_fit_is_left_at_its_best(solver, outcomes, monkeypatch, capsys):
    monkeypatch.setattr(_base, "Progress", Impatient)
    if solver == "mcem":
        # the variational start takes longer than three
        monkeypatch.setattr(Impatient, "after", 6)
    model = logistic(solver=solver, verbose=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*outcomes)
    caught = [w for w in caught if issubclass(w.category, UserWarning)]
    assert len(caught) == 1
    assert issubclass(caught[0].category, ConvergenceWarning)
    assert "interrupted" in str(caught[0].message)
    assert not model.converged_
    X, y = outcomes
    assert model.score(X, y) > 0.6
    assert np.isfinite(model.fixed_effects_).all(axis=None)
    whole = logistic(solver=solver).fit(X, y)
    gap = abs(model.fixed_effects_["estimate"] - whole.fixed_effects_["estimate"])
    assert (gap < whole.fixed_effects_["std_error"]).all()
    ratio = model.fixed_effects_["std_error"] / whole.fixed_effects_["std_error"]
    assert ratio.between(0.5, 1.5).all()


def test_a_linear_fit_can_be_interrupted(monkeypatch, capsys):
    monkeypatch.setattr(_base, "Progress", Impatient)
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Subject", random_slopes=["Days"], verbose=1)
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 evaluations"):
        model.fit(X, y)
    assert not model.converged_
    assert model.score(X, y) > 0.7


def test_before_the_first_evaluation_there_is_nothing_to_keep(outcomes, monkeypatch):
    class Hasty(_progress.Progress):
        def needed(self, *size):
            return True

        def step(self, value=np.nan):
            raise KeyboardInterrupt

    monkeypatch.setattr(_base, "Progress", Hasty)
    model = logistic(solver="mackay")
    with pytest.raises(KeyboardInterrupt):
        model.fit(*outcomes)


def test_scikit_learns_callbacks_hear_of_every_evaluation(outcomes):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn >= 1.9")
    seen = []

    class Ear:
        def setup(self, estimator, context):
            seen.append("setup")

        def on_fit_task_begin(self, estimator, context):
            seen.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            seen.append("teardown")

    assert isinstance(Ear(), callback.FitCallback)
    model = logistic().set_callbacks(Ear()).fit(*outcomes)
    assert seen[:2] == ["setup", "fit"]
    assert seen[-1] == "teardown"
    assert seen.count("estimating") == model.n_iter_


@contextlib.contextmanager
def terminal():
    """Standard error as a terminal; a list of all that it has been sent."""
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    import termios

    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 120))
    received = []

    def listen():
        # Linux answers with an error when nobody can write any more
        with contextlib.suppress(OSError):
            while chunk := os.read(reader, 4096):
                received.append(chunk.decode())

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with os.fdopen(writer, "w") as screen, contextlib.redirect_stderr(screen):
            yield received
    finally:
        thread.join()
        os.close(reader)


@pytest.fixture
def eager_bars(monkeypatch):
    """Bars that show every step at once."""
    auto = pytest.importorskip("tqdm.auto", reason="needs tqdm")
    monkeypatch.setattr(_progress, "_LONG", 0.0)
    eager = functools.partial(auto.tqdm, mininterval=0.0)
    monkeypatch.setattr(auto, "tqdm", eager)


def test_a_terminal_has_a_bar_that_ends_at_the_optimum(outcomes, eager_bars, capsys):
    with terminal() as received:
        model = logistic(verbose=1).fit(*outcomes)
    shown = "".join(received)
    assert "MixedLogisticRegressor: estimating" in shown
    shown = shown[: shown.index("MixedLogisticRegressor: storing")]
    value = re.findall(r"objective (-?[\d.]+)", shown)[-1]
    assert float(value) == pytest.approx(model.history_["objective"].min(), abs=0.005)
    assert int(re.findall(r": (\d+) steps \[", shown)[-1]) == model.n_iter_
    assert capsys.readouterr().out == ""


def test_nothing_of_a_bar_stays(outcomes, eager_bars, monkeypatch):
    with terminal() as received:
        logistic(verbose=1).fit(*outcomes)
    assert "".join(received).endswith("\r")
    monkeypatch.setattr(_base, "Progress", Impatient)
    with (
        terminal() as received,
        pytest.warns(ConvergenceWarning, match="interrupted after 3 evaluations"),
    ):
        logistic(verbose=1).fit(*outcomes)
    assert "".join(received).endswith("\r")


def test_a_short_fit_has_no_bar(outcomes, monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="needs tqdm")
    monkeypatch.setattr(_progress, "_LONG", 1000.0)
    with terminal() as received:
        logistic(verbose=1).fit(*outcomes)
    assert "".join(received).strip() == ""
    assert capsys.readouterr().out == ""


def test_without_tqdm_a_terminal_has_lines(outcomes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with terminal() as received:
        logistic(verbose=1).fit(*outcomes)
    assert received == []
    assert len(capsys.readouterr().out.splitlines()) == 4
