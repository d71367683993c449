"""Rules of the engine: lazy import, no needless trace, every op fit for a GPU."""

import gc
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import oracle_problems as oracles
import pytest
from sklearn.model_selection import GridSearchCV

import skglmm
from skglmm import MixedLinearRegressor
from skglmm.datasets import make_mixed_regression
from skglmm.solvers import VI


def run_python(code, *args):
    """Output of code in a fresh interpreter, and what it loaded of TensorFlow."""
    where = str(Path(skglmm.__file__).resolve().parents[1])
    code = f"import sys; sys.path.insert(0, {where!r})\n" + code
    code += (
        "\nheads = {name.split('.')[0] for name in sys.modules}"
        "\nprint(*(name for name in heads if name.startswith(('tensorflow', 'tf_'))))"
    )
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, loaded = done.stdout.split("\n")[:-1]
    return lines, loaded.split()


# TensorFlow comes with the first fit and not before


def test_importing_the_package_does_not_import_tensorflow():
    _, loaded = run_python(
        # pandas loads pyarrow where it is installed
        "import pandas; before = set(sys.modules)\n"
        "import skglmm, skglmm.datasets, skglmm.solvers\n"
        "assert not {'dask', 'pyarrow'} & (set(sys.modules) - before)\n"
        "skglmm.datasets.load_sleepstudy()\n"
        "repr(skglmm.MixedLinearRegressor('g'))"
    )
    assert loaded == []


def test_a_fit_imports_it():
    _, loaded = run_python(
        "import skglmm, skglmm.datasets\n"
        "X, y = skglmm.datasets.load_dyestuff(return_X_y=True, as_frame=True)\n"
        "skglmm.MixedLinearRegressor('Batch').fit(X, y)"
    )
    assert "tensorflow" in loaded


def test_a_model_from_a_file_predicts_without_tensorflow(tmp_path):
    X, y = make_mixed_regression(100, 2, n_groups=8, n_random_slopes=1, random_state=0)
    model = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    new = X.iloc[:7].assign(g0=[0, 1, 2, 99, 3, None, 4])
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, new)))
    predictions, loaded = run_python(
        "import pathlib, pickle\n"
        "model, X = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(*model.predict(X).tolist(), sep='\\n')",
        path,
    )
    assert list(map(float, predictions)) == model.predict(new).tolist()
    assert loaded == []


# Traced once for each structure


def alive(kind):
    gc.collect()
    return [value for value in gc.get_objects() if isinstance(value, kind)]


def graphs():
    """All graphs of this package that are alive."""
    from skglmm.engine.programs import Graph

    return alive(Graph)


def count():
    """Functions that are alive, of this package or not, and graphs, read or traced."""
    import tensorflow as tf

    functions = alive(type(tf.function(lambda: 0)))
    traced = sum(f.experimental_get_tracing_count() for f in functions)
    return len(functions), traced + sum(len(graph._programs) for graph in graphs())


@pytest.fixture(scope="module")
def crossed():
    return make_mixed_regression(
        300, 3, n_groups=[15, 6], n_random_slopes=1, random_state=1
    )


@pytest.mark.parametrize(
    "model",
    [
        MixedLinearRegressor("g0", solver=VI()),
        MixedLinearRegressor(["g0", "g1"], random_slopes={"g0": ["x0"]}, solver=VI()),
    ],
    ids=["one factor", "crossed with slopes"],
)
def test_a_search_of_nine_points_and_five_folds_traces_nothing(model, crossed):
    X, y = crossed
    model.fit(X, y)
    before = count()
    assert before[1] > 0
    grid = {"solver__max_iter": [60, 80, 100], "solver__tol": [1e-6, 1e-7, 1e-8]}
    search = GridSearchCV(model, grid, cv=5).fit(X, y)
    assert len(search.cv_results_["params"]) == 9
    assert count() == before


def test_restricted_or_not_warm_or_not_weighted_or_not_share_one_trace(crossed):
    X, y = crossed
    model = MixedLinearRegressor("g0", random_slopes=["x0"]).fit(X, y)
    before = count()
    model.set_params(reml=False, solver="laplace", warm_start=True)
    model.fit(X, y, sample_weight=np.arange(len(y)) % 3)
    model.fit(X[["x0", "g0"]], y)
    assert count() == before


@pytest.mark.slow
def test_two_hundred_fits_leave_nothing_behind():
    import tensorflow as tf

    def tensors():
        gc.collect()
        return sum(isinstance(value, tf.Tensor) for value in gc.get_objects())

    def fit(seed):
        X, y = make_mixed_regression(
            n_samples=60 + seed % 30,
            n_features=seed % 3 + 1,
            n_groups=4 + seed % 5,
            group_std=5.0,
            random_state=seed,
        )
        MixedLinearRegressor("g0", reml=bool(seed % 2)).fit(X, y)

    fit(0)
    before, alive = count(), tensors()
    for seed in range(200):
        fit(seed)
    assert count() == before
    assert tensors() <= alive


# Every op has a kernel for a GPU

MODELS = {
    "no groups": MixedLinearRegressor(),
    "correlated slopes": MixedLinearRegressor("g0", random_slopes=["x0", "x1"]),
    "nested": MixedLinearRegressor(
        ["g0", ("g0", "g1")], random_slopes={"g0": ["x0"]}, covariance="scalar"
    ),
    "crossed": MixedLinearRegressor(
        ["g0", "g1"],
        random_slopes={"g0": ["x0"], "g1": ["x1"]},
        covariance={"g1": "diag"},
    ),
    "nested within crossed": MixedLinearRegressor(["g0", "g1", ("g0", "g2")]),
}


def nodes(function):
    """Operations of a compiled function, those of its loops and calls included."""
    definition = function.get_concrete_function().graph.as_graph_def()
    yield from definition.node
    for inner in definition.library.function:
        yield from inner.node_def


def fits(kernel, node):
    """Whether a kernel takes the types that an operation has."""
    for constraint in kernel.constraint:
        attribute = node.attr[constraint.name]
        types = attribute.list.type if attribute.HasField("list") else [attribute.type]
        if not set(types) <= set(constraint.allowed_values.list.type):
            return False
    return True


def gpu_kernels(op):
    from tensorflow.python.framework import kernels

    registered = kernels.get_registered_kernels_for_op(op).kernel
    return [k for k in registered if k.device_type in ("GPU", "DEFAULT")]


@pytest.fixture(scope="module")
def operations():
    """Distinct operations of the graphs that fits of many structures run."""
    from skglmm.engine.programs import Graph

    X, y = make_mixed_regression(
        300, 3, n_groups=[9, 6, 5], group_std=3.0, n_random_slopes=2, random_state=2
    )
    run, call = {}, Graph.__call__

    def noted(graph, *tensors):
        run[id(graph)] = graph
        return call(graph, *tensors)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(Graph, "__call__", noted)
        warnings.simplefilter("ignore")  # some of these fit the data badly
        for model in MODELS.values():
            model.fit(X, y)
    found = {}
    for graph in run.values():
        for node in nodes(graph):
            types = [
                (name, value.type or tuple(value.list.type))
                for name, value in node.attr.items()
                if value.WhichOneof("value") in ("type", "list")
            ]
            found[node.op, tuple(sorted(types))] = node
    return list(found.values())


def test_the_walk_sees_loops_and_what_they_call(operations):
    seen = {node.op for node in operations}
    assert {
        "StatelessWhile",
        "Cholesky",
        "SegmentSum",
        "SparseTensorDenseMatMul",
    } <= seen


def test_the_walk_would_notice_an_operation_for_the_cpu_only():
    import tensorflow as tf

    words = tf.function(
        tf.strings.length, input_signature=[tf.TensorSpec([], "string")]
    )
    (node,) = [node for node in nodes(words) if node.op == "StringLength"]
    assert not any(fits(kernel, node) for kernel in gpu_kernels(node.op))


def test_every_operation_has_a_gpu_kernel_for_its_type(operations):
    if not any(kernel.device_type == "GPU" for kernel in gpu_kernels("MatMul")):
        pytest.skip("this TensorFlow was built without GPU kernels")
    without = {
        f"{node.op} {dict(node.attr)}"
        for node in operations
        if not any(fits(kernel, node) for kernel in gpu_kernels(node.op))
    }
    assert not without


def test_xla_compiles_a_minimisation_as_a_whole_and_finds_lme4s_likelihood():
    """Nothing in it goes back to the host: neither the start, nor loops, nor steps.

    That is one factor from its sums on. XLA has no products with sparse matrices, which
    the sums and further factors need.
    """
    import functools

    import tensorflow as tf

    from skglmm._loops.linear import open_objective
    from skglmm.engine import linear

    ref, data = oracles.load("sleepstudy_slopes", "reml")
    problems = []

    class Spy(VI):
        def solve(self, problem):
            problems.append(problem)
            return super().solve(problem)

    parameters = oracles.estimator_parameters(ref)
    model = MixedLinearRegressor(reml=True, solver=Spy(), **parameters)
    model.fit(data[oracles.model_columns(ref)], data["y"])
    # of the columns' scale, which the objective does not know
    constant = model.log_likelihood_ + 0.5 * model.history_["objective"].iloc[-1]
    with open_objective(problems[0], "cpu") as (run, objective):
        whole = tf.function(
            functools.partial(linear._solve, run.structure),
            autograph=False,
            jit_compile=True,
        )
        theta = run.theta([np.eye(2)])
        how = tf.constant(1e-8, tf.float64), tf.constant(True), tf.constant(100)
        state, found = whole(*objective.data, tf.constant(theta), *how)
    assert int(state["status"]) == 1
    assert constant - 0.5 * float(state["value"]) == pytest.approx(
        ref["loglik"], abs=1e-6
    )
    assert np.sqrt(float(found["fixed"]["variance"])) == pytest.approx(
        ref["sigma"], rel=1e-4
    )
