"""Graphs that are kept between processes: the same numbers from a file, or none."""

import errno
import functools
import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import skglmm
from skglmm import (
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    _covariances,
    _store,
)
from skglmm._families import FAMILIES
from skglmm.datasets import load_dyestuff, make_mixed_regression
from skglmm.engine import (
    covariance,
    evidence,
    identity,
    laplace,
    likelihoods,
    linear,
    programs,
    statistics,
    structure,
    variational,
)
from skglmm.solvers import Laplace


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SKGLMM_CACHE", str(tmp_path / "graphs"))
    return tmp_path / "graphs"


def a_structure(**changes):

    parts = {"chain": (2,), "core": (), "plain": (False,), "covariance": ("full",)}
    return structure.Structure(**parts | changes)


def small(**changes):
    """A new graph, as another process would have it, of something small."""
    import tensorflow as tf

    of = a_structure(**changes)
    n = sum(covariance.n_parameters(of))
    function = functools.partial(covariance.to_factors, of)
    return programs.graph(function, [tf.TensorSpec([n], tf.float64)])


def value(graph):
    import tensorflow as tf

    (factor,) = graph(tf.constant([1.0, 2.0, 3.0], tf.float64))
    return factor.numpy().tolist()


RIGHT = [[1.0, 0.0], [2.0, 3.0]]


def forget():
    """Let this process find all graphs anew."""

    for module in (evidence, laplace, linear, statistics, variational):
        for name, function in vars(module).items():
            if name.startswith("compiled_"):
                function.cache_clear()


def n_traced():

    gc.collect()
    return sum(
        len(g._traced) for g in gc.get_objects() if isinstance(g, programs.Graph)
    )


# ------------------------------------------------------------------ the same numbers

SMALL = MixedLinearRegressor("g0", random_slopes=["x0"])
LARGER = {
    "counts": MixedPoissonRegressor("g0"),
    "crossed": MixedLinearRegressor(["g0", "g1"], solver="mackay"),
    "classes": MixedLogisticRegressor(["g0", "g1"]),
    "quadrature": MixedLogisticRegressor("g0", solver=Laplace(n_quadrature=5)),
}


@pytest.mark.filterwarnings("ignore")  # of how well the models fit
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(SMALL, id="slopes"),
        *(
            pytest.param(model, id=name, marks=pytest.mark.slow)
            for name, model in LARGER.items()
        ),
    ],
)
def test_a_fit_by_graphs_from_files_traces_nothing_and_gives_the_same_bytes(
    model, folder, monkeypatch
):
    X, y = make_mixed_regression(200, 2, n_groups=[12, 5], random_state=0)
    if isinstance(model, MixedPoissonRegressor):
        y = np.abs(np.round(y))
    elif isinstance(model, MixedLogisticRegressor):
        y = y > np.median(y)

    def numbers():
        """Of a fit, and how many graphs it traced."""
        forget()
        before = n_traced()
        model.fit(X, y)
        parts = model.coef_, model.log_likelihood_, model.random_effects_["g0"]
        return [np.asarray(part).tobytes() for part in parts], n_traced() - before

    first, n = numbers()
    assert n > 0 and len(_store.files()) == n
    assert numbers() == (first, 0)
    monkeypatch.setenv("SKGLMM_CACHE", "off")
    assert numbers() == (first, n)


def test_outputs_keep_their_places_and_their_signature(folder):
    import tensorflow as tf

    of = a_structure(chain=(1, 1), plain=(True, True), covariance=("diag", "diag"))
    make = linear.compiled_steps.__wrapped__
    traced = make(of)[0]
    data = tf.nest.map_structure(
        lambda s: tf.ones([2 if n is None else n for n in s.shape], s.dtype),
        traced._signature,
    )
    first = traced(*data)
    read = make(of)[0]
    second = read(*data)
    assert traced._traced and not read._traced
    tf.nest.assert_same_structure(first, second)
    for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert list(first) == list(second)
    assert programs.signature_of(read) == programs.signature_of(traced)


CODE = """
import gc, json, os, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import skglmm
from skglmm.datasets import load_dyestuff
X, y = load_dyestuff(return_X_y=True, as_frame=True)
model = skglmm.MixedLinearRegressor("Batch").fit(X, y)
from skglmm.engine.programs import Graph
traced = sum(len(g._traced) for g in gc.get_objects() if isinstance(g, Graph))
values = [model.log_likelihood_, *model.predict(X)]
print(json.dumps([traced, *(float(v).hex() for v in values)]))
"""


def process():
    where = str(Path(skglmm.__file__).resolve().parents[1])
    quiet = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=quiet,
    )


def answers(started):
    """What processes print; to stderr that is nothing."""
    found = []
    for one in started:
        out, error = one.communicate(timeout=300)
        assert one.returncode == 0 and error == "", error
        found.append(json.loads(out.splitlines()[-1]))
    return found


@pytest.mark.slow
def test_processes_that_fill_it_at_once_and_one_that_reads(folder):
    first, second = answers([process(), process()])
    assert first[0] + second[0] > 0
    (third,) = answers([process()])
    assert third[0] == 0
    X, y = load_dyestuff(return_X_y=True, as_frame=True)
    model = MixedLinearRegressor("Batch").fit(X, y)
    values = [model.log_likelihood_, *model.predict(X)]
    here = [float(v).hex() for v in values]
    assert first[1:] == second[1:] == third[1:] == here


# ------------------------------------------------------- files that are not as written


def damaged(key, content):
    head, body = _store._unpacked(key, content)
    return {
        "nothing": b"",
        "truncated": content[:-7],
        "one bit": content[:-1] + bytes([content[-1] ^ 1]),
        "another name": _store._packed("x" * 64, head, body),
        "another version": _store._packed(key, {"new": 1}, body),
        "no graph": _store._packed(key, head, b"\xff" * 100),
    }


DAMAGES = ("nothing", "truncated", "one bit", "another name", "another version")


@pytest.mark.parametrize("damage", [*DAMAGES, "no graph"])
def test_a_damaged_file_is_none(damage, folder):
    assert value(small()) == RIGHT
    ((path, *_),) = _store.files()
    good = path.read_bytes()
    assert path.stem == name(small())
    path.write_bytes(damaged(path.stem, good)[damage])
    again = small()
    assert value(again) == RIGHT
    assert again._traced
    assert path.read_bytes() == good
    last = small()
    assert value(last) == RIGHT and not last._traced


def test_a_folder_that_cannot_be_written_to_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SKGLMM_CACHE", str(tmp_path / "file" / "graphs"))
    assert value(small()) == RIGHT
    assert _store.files() == [] and _store.clear() == 0


@pytest.mark.parametrize("call", ["fdopen", "replace"])
def test_a_full_disk_changes_nothing_and_leaves_nothing(call, folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_store.os, call, full)
    assert value(small()) == RIGHT
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("off", ["", "0", "off", "OFF"])
def test_a_variable_turns_it_off(off, folder, monkeypatch):
    monkeypatch.setenv("SKGLMM_CACHE", off)
    assert value(small()) == RIGHT
    assert _store.folder() is None and not folder.exists()


def test_what_was_used_least_recently_goes_first(folder, monkeypatch):
    for i, key in enumerate("abcd"):
        _store.write(key, {}, bytes(1000))
        os.utime(folder / f"{key}.graph", (i, i))
    assert _store.read("a") is not None
    monkeypatch.setattr(_store, "LIMIT", 3500)
    _store.write("e", {}, bytes(1000))
    assert {path.stem for path, *_ in _store.files()} == {"a", "d", "e"}
    assert _store.clear() == 3 and _store.files() == []


# ------------------------------------------------------------------ names of graphs


def name(graph):

    return identity.name_of(graph._function, graph._signature, "CPU")


def test_a_name_stands_for_structure_signature_and_constants(monkeypatch):

    names = [name(small()), name(small(covariance=("scalar",)))]
    names.append(name(small(chain=(3,))))
    monkeypatch.setattr(covariance, "_LARGEST", 1e5)
    names.append(name(small()))
    assert None not in names and len(set(names)) == 4
    monkeypatch.undo()
    assert name(small()) == names[0]


@pytest.mark.parametrize("what", ["function", "method", "class"])
def test_what_was_replaced_has_no_name(what, monkeypatch):

    if what == "function":
        monkeypatch.setattr(covariance, "split", lambda *args: None)
    elif what == "method":
        monkeypatch.setattr(_covariances.Full, "basis", lambda self, q: None)
    else:
        monkeypatch.setattr(_covariances, "Full", type("Full", (), {}))
    assert name(small()) is None


def test_a_covariance_of_ones_own_has_no_name_and_the_others_keep_theirs():
    class Own(_covariances.Full):
        name = "own"

    before = name(small())
    _covariances.add(Own())
    try:
        assert name(small()) == before
        assert name(small(covariance=("own",))) is None
    finally:
        _covariances.remove("own")


def test_a_family_of_ones_own_has_no_name(monkeypatch):

    class Own(type(FAMILIES["poisson"])):
        pass

    class OwnLikelihood(likelihoods.Poisson):
        pass

    of, poisson = a_structure(), FAMILIES["poisson"]
    make = variational.compiled_solve.__wrapped__
    before = name(make(of, poisson))
    assert before is not None
    assert name(make(of, FAMILIES["binomial"])) not in (before, None)
    assert name(make(of, Own())) is None
    monkeypatch.setitem(likelihoods.LIKELIHOODS, "poisson", OwnLikelihood())
    assert name(make(of, poisson)) is None


# ------------------------------------------------------------ what is the user's own


def test_options_of_tensorflow_stay_as_they_are(folder):
    import tensorflow as tf
    from tensorflow.python.eager import context

    def options():
        inside = context.context()
        return (
            tf.config.optimizer.get_experimental_options(),
            tf.config.optimizer.get_jit(),
            inside.function_call_options.config_proto_serialized,
            inside.function_call_options.executor_type,
        )

    def elsewhere():
        found = []
        thread = threading.Thread(target=lambda: found.append(options()))
        thread.start()
        thread.join()
        return found[0]

    before, there = options(), elsewhere()
    environment = dict(os.environ)
    for _ in range(2):  # traced, and read
        assert value(small()) == RIGHT
        assert options() == before and elsewhere() == there
    assert dict(os.environ) == environment


def test_graphs_that_the_user_collects_are_left_alone(folder):
    import tensorflow as tf

    tf.summary.trace_on(graph=True)
    try:
        assert value(small()) == RIGHT
    finally:
        tf.summary.trace_off()
    assert _store.files() == []


# ------------------------------------------------------------------ the command


def test_the_command_says_what_there_is_and_empties_it(folder, capsys):
    from skglmm import cache

    value(small())
    cache._main(["info"])
    assert capsys.readouterr().out.startswith(f"{folder}: 1 files, 0.0 MB")
    cache._main(["clear"])
    assert capsys.readouterr().out.splitlines()[0] == "1 files removed"
    assert cache.info() == {"folder": folder, "n_files": 0, "n_bytes": 0}


def test_the_command_says_that_it_is_off(folder, monkeypatch, capsys):
    from skglmm import cache

    monkeypatch.setenv("SKGLMM_CACHE", "off")
    cache._main(["fill"])
    assert "no graphs" in capsys.readouterr().out


def test_filling_keeps_graphs_of_each_structure(folder, monkeypatch, capsys):
    from skglmm import cache

    monkeypatch.setattr(cache, "_STRUCTURES", cache._STRUCTURES[:1])
    forget()
    assert cache.fill(solvers=[], verbose=True) > 0
    assert capsys.readouterr().out.startswith("linear, one factor: ")
    forget()
