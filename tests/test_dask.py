"""Collections of Dask: the same numbers as in memory, lazy answers, named errors."""

import os
import signal
import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
    show_plan,
)

N_ROWS, N_PATIENTS, N_NURSES = 2_000, 80, 9
BOTH = ["patient", "nurse"]
SLOPE = {"patient": ["days"]}


def visits(seed=0):
    """A table of visits, with a linear predictor."""
    random = np.random.default_rng(seed)
    patient = random.integers(0, N_PATIENTS, N_ROWS)
    nurse = random.integers(0, N_NURSES, N_ROWS)
    X = pd.DataFrame(
        {
            "days": random.normal(3.0, 1.0, N_ROWS),
            "sex": random.choice(["f", "m", "x"], N_ROWS),
            "patient": patient,
            "nurse": [f"n{k}" for k in nurse],
        }
    )
    eta = 0.3 * X["days"] - 1.0 + 0.5 * (X["sex"] == "m")
    eta += 0.5 * random.normal(size=N_PATIENTS)[patient]
    eta += 0.3 * random.normal(size=N_NURSES)[nurse]
    return X, eta.to_numpy(), random


@pytest.fixture(scope="module")
def rows():
    X, eta, random = visits()
    slope = 0.2 * random.normal(size=N_PATIENTS)[X["patient"]] * X["days"]
    y = eta + slope + random.normal(size=N_ROWS)
    return X, pd.Series(y.to_numpy(), name="minutes")


def collection(X, y, npartitions=7, **more):
    """X and y as parts of one Dask dataframe."""
    frame = dd.from_pandas(X.assign(y=np.asarray(y), **more), npartitions=npartitions)
    return frame[list(X.columns)], frame["y"]


def bytes_of(model):
    effects = [frame.to_numpy() for frame in model.random_effects_.values()]
    parts = [model.fixed_effects_.to_numpy(), *effects]
    return b"".join(map(np.ndarray.tobytes, parts)), model.log_likelihood_


def assert_same_fit(ours, theirs, tol):
    """Estimates that differ by `tol` standard errors at most."""
    assert list(ours.fixed_effects_.index) == list(theirs.fixed_effects_.index)
    error = theirs.fixed_effects_["std_error"]
    off = (ours.fixed_effects_ - theirs.fixed_effects_).div(error, axis=0)
    assert off.abs().max().max() < tol
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-6)
    for name, effects in theirs.random_effects_.items():
        found = ours.random_effects_[name]
        pd.testing.assert_index_equal(found.index, effects.index)
        off = (found - effects).abs().to_numpy()
        assert np.all(off <= tol * theirs.random_effects_std_[name].to_numpy() + 1e-12)


MODELS = {
    "one": {"groups": ["patient"]},
    "slope": {"groups": BOTH, "random_slopes": SLOPE},
    "dummies": {"groups": BOTH, "random_slopes": {"nurse": ["days", "sex"]}},
    "together": {"groups": [("patient", "nurse")]},
    "none": {"groups": [], "fixed_effects": ["days", "sex"]},
    "formula": {"groups": BOTH, "fixed_effects": "days * sex"},
}


@pytest.mark.filterwarnings("ignore:The covariance of the effects")
@pytest.mark.parametrize("name", MODELS)
def test_a_linear_model_of_partitions_is_that_of_the_table(rows, name):
    X, y = rows
    model = MixedLinearRegressor(**MODELS[name]).fit(X, y)
    ours = MixedLinearRegressor(**MODELS[name]).fit(*collection(X, y))
    assert_same_fit(ours, model, 1e-8)
    assert ours.noise_variance_ == pytest.approx(model.noise_variance_, rel=1e-10)


def test_columns_whose_sums_lose_digits_are_read_again(rows):
    X, y = rows
    X = X.assign(twice=2.0 * X["days"], one=1.0, year=2000.0 + 1e-3 * X["days"])
    for columns in (["twice", "one"], ["year"]):
        some = (
            X[["days", *columns, *BOTH]] if len(columns) > 1 else X[[*columns, *BOTH]]
        )
        model = MixedLinearRegressor(BOTH)
        with pytest.warns(UserWarning) if len(columns) > 1 else _silent():
            model.fit(some, y)
        with pytest.warns(UserWarning) if len(columns) > 1 else _silent():
            ours = MixedLinearRegressor(BOTH).fit(*collection(some, y))
        assert_allclose(ours.coef_, model.coef_, rtol=1e-7, atol=1e-12)
        assert_same_fit(ours, model, np.inf)


class _silent:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def test_a_target_that_columns_nearly_explain_keeps_its_digits(rows):
    X, y = rows
    nearly = 5.0 * X["days"] + 1e-5 * y
    model = MixedLinearRegressor(BOTH, random_slopes=SLOPE).fit(X, nearly)
    ours = MixedLinearRegressor(BOTH, random_slopes=SLOPE)
    assert_same_fit(ours.fit(*collection(X, nearly)), model, 1e-7)


def test_weights_offsets_and_rows_that_do_not_count(rows):
    X, y = rows
    weight = np.arange(N_ROWS) % 3
    weight[X["patient"] == 5] = 0
    frame = dd.from_pandas(X.assign(y=y, w=weight, o=0.1 * y), npartitions=4)
    model = MixedLinearRegressor(BOTH, offset="o")
    ours = MixedLinearRegressor(BOTH, offset="o")
    names = [*X.columns, "o"]
    ours.fit(frame[names], frame["y"], sample_weight=frame["w"])
    model.fit(X.assign(o=0.1 * y), y, sample_weight=weight)
    assert 5 not in ours.random_effects_["patient"].index
    assert_same_fit(ours, model, 1e-8)


def test_arrays_of_dask_may_have_other_chunks():
    X, eta, random = visits()
    values = np.column_stack([X["patient"], X["days"]])
    y = eta + random.normal(size=N_ROWS)
    ours = MixedLinearRegressor(0).fit(
        da.from_array(values, chunks=(700, 1)), da.from_array(y, chunks=900)
    )
    assert_same_fit(ours, MixedLinearRegressor(0).fit(values, y), 1e-8)
    predicted = ours.predict(da.from_array(values, chunks=(600, 2)))
    assert isinstance(predicted, da.Array)
    assert_array_equal(predicted.compute(), ours.predict(values))


@pytest.mark.parametrize("kind", ["ordered", "dates", "mixed", "text"])
def test_levels_have_the_order_that_the_table_gives(rows, kind):
    X, y = rows
    labels = {
        "ordered": pd.Categorical(
            X["nurse"], [f"n{k}" for k in range(8, -1, -1)], True
        ),
        "dates": pd.Timestamp("2020-01-01") + pd.to_timedelta(X["patient"], "D"),
        "mixed": X["patient"].map(lambda k: k if k % 2 else f"p{k}"),
        "text": "p" + X["patient"].astype(str),
    }[kind]
    X = X[["days"]].assign(g=labels)
    with dask.config.set({"dataframe.convert-string": False}):
        ours = MixedLinearRegressor("g").fit(*collection(X, y))
    assert_same_fit(ours, MixedLinearRegressor("g").fit(X, y), 1e-8)


def test_the_same_bytes_for_any_number_of_threads(rows):
    found = set()
    for options in ({"scheduler": "sync"}, {"num_workers": 1}, {"num_workers": 5}):
        with dask.config.set(options):
            model = MixedLinearRegressor(BOTH, random_slopes=SLOPE)
            found.add(bytes_of(model.fit(*collection(*rows, npartitions=11))))
    assert len(found) == 1


FAMILIES = {
    "logistic": (MixedLogisticRegressor, {}),
    "counts": (MixedPoissonRegressor, {}),
    "trials": (MixedBinomialRegressor, {"trials": "t"}),
}


def outcomes(name):
    X, eta, random = visits(1)
    if name == "counts":
        return X, random.poisson(np.exp(eta))
    p = 1.0 / (1.0 + np.exp(-eta))
    if name == "trials":
        X = X.assign(t=random.integers(1, 9, N_ROWS))
        return X, random.binomial(X["t"], p)
    return X, np.where(random.random(N_ROWS) < p, "yes", "no")


@pytest.mark.parametrize("name", FAMILIES)
def test_other_models_their_answers_and_scores(name):
    kind, options = FAMILIES[name]
    X, y = outcomes(name)
    model = kind(BOTH, **options).fit(X, y)
    ours = kind(BOTH, **options)
    lazy, target = collection(X, y)
    assert_same_fit(ours.fit(lazy, target), model, 1e-5)
    assert_array_equal(model.predict(lazy).compute(), model.predict(X))
    interval = model.predict_interval(lazy, 0.8).compute()
    assert_array_equal(interval, model.predict_interval(X, 0.8))
    assert model.score(lazy, target) == pytest.approx(model.score(X, y), rel=1e-12)
    if name == "logistic":
        assert list(ours.classes_) == ["no", "yes"]
        proba = model.predict_proba(lazy)
        assert list(proba.columns) == ["no", "yes"]
        assert_array_equal(proba.compute(), model.predict_proba(X))
    if name != "counts":
        return
    more = X.assign(patient=X["patient"] + 40)
    updated = model.update_random_effects(*collection(more, y))
    expected = model.update_random_effects(more, y)
    for group, effects in expected.random_effects_.items():
        pd.testing.assert_frame_equal(updated.random_effects_[group], effects)


def test_lazy_answers_of_a_linear_model(rows):
    X, y = rows
    model = MixedLinearRegressor(BOTH, random_slopes=SLOPE).fit(X, y)
    # the target beside the columns of fit, as it comes from a file
    frame = dd.from_pandas(X.assign(minutes=y), npartitions=3)
    mean, std = model.predict(frame, return_std=True)
    assert isinstance(mean, dd.Series)
    assert (mean.npartitions, mean.divisions) == (3, frame.divisions)
    expected = model.predict(X, return_std=True)
    assert_array_equal(mean.compute(), expected[0])
    assert_array_equal(std.compute(), expected[1])
    eta = model.linear_predictor(frame, level="population").compute()
    assert_array_equal(eta, model.linear_predictor(X, level="population"))
    assert eta.index.equals(X.index)
    score = model.score(frame, frame["minutes"])
    assert score == pytest.approx(model.score(X, y), rel=1e-12)
    more = X.assign(patient=X["patient"] + 40)
    updated = model.update_random_effects(*collection(more, y))
    expected = model.update_random_effects(more, y)
    for group, effects in expected.random_effects_.items():
        assert_allclose(updated.random_effects_[group], effects, atol=1e-12)
        std = expected.random_effects_std_[group]
        assert_allclose(updated.random_effects_std_[group], std, atol=1e-12)


def test_partitions_without_rows(rows):
    X, y = rows
    frame = dd.from_pandas(X.assign(y=y), npartitions=7)
    frame = frame.map_partitions(lambda part: part[part.index < 900])
    ours = MixedLinearRegressor(BOTH).fit(frame[list(X.columns)], frame["y"])
    assert_same_fit(ours, MixedLinearRegressor(BOTH).fit(X[:900], y[:900]), 1e-8)
    assert len(ours.predict(frame).compute()) == 900


def test_samples_share_levels_over_partitions(rows):
    X, y = rows
    model = MixedLinearRegressor(BOTH).fit(X, y)
    for patient in (3, 10_000):
        alike = pd.concat([X[:1].assign(patient=patient)] * 400, ignore_index=True)
        lazy = dd.from_pandas(alike, npartitions=2)
        drawn = model.sample_y(lazy, 2_000, random_state=0).compute().to_numpy()
        again = model.sample_y(lazy, 2_000, random_state=0).compute().to_numpy()
        assert_array_equal(drawn, again)
        mean, std = (v[0] for v in model.predict(alike[:1], return_std=True))
        common = np.sqrt(std**2 - model.noise_variance_)
        halves = drawn[:200].mean(axis=0), drawn[200:].mean(axis=0)
        # four standard errors of 2,000 draws
        assert abs(np.mean(halves) - mean) < 4.0 * common / np.sqrt(2_000)
        assert np.std(halves[0]) == pytest.approx(
            np.hypot(common, np.sqrt(model.noise_variance_ / 200)), rel=0.065
        )
        assert np.corrcoef(*halves)[0, 1] > 0.8


def test_the_encoder_transforms_lazily(rows):
    X, y = rows
    encoder = GroupEffectEncoder(["patient"]).fit(X[["patient", "days"]], y)
    lazy = dd.from_pandas(X, npartitions=3)
    found = encoder.transform(lazy)
    assert list(found.columns) == list(encoder.get_feature_names_out())
    assert_array_equal(found.compute(), encoder.transform(X[["patient", "days"]]))


def broken(change):
    """A collection whose fifth partition has been changed."""
    X, eta, random = visits()
    frame = dd.from_pandas(X.assign(y=eta + random.normal(size=N_ROWS)), npartitions=8)
    first = frame.divisions[5]

    def apply(part):
        return change(part) if len(part) and part.index[0] == first else part

    frame = frame.map_partitions(apply, meta=frame._meta)
    return frame[list(X.columns)], frame["y"]


def _unreadable(part):
    raise OSError("the end of the file is missing")


ERRORS = {
    "label": (
        lambda part: part.assign(
            nurse=part["nurse"].where(part.index != part.index[3])
        ),
        ValueError,
        "partition 5 .*'nurse' has a missing label .*in row 3",
    ),
    "gap": (
        lambda part: part.assign(days=part["days"].where(part.index != part.index[3])),
        ValueError,
        "partition 5 (.|\n)*'days'.*the first is row 3",
    ),
    "type": (
        lambda part: part.assign(days=part["days"].astype(str)),
        TypeError,
        "partition 5 .*'days' holds text .*numbers in the other",
    ),
    "target": (
        lambda part: part.assign(y=np.inf),
        ValueError,
        "partition 5 (.|\n)*infinity",
    ),
    "file": (
        _unreadable,
        OSError,
        "Partition 5 .*cannot be read: OSError: the end of the file is missing",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_partition_and_the_row(name):
    change, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        MixedLinearRegressor(BOTH).fit(*broken(change))


def test_what_needs_all_rows_in_memory_is_refused(rows):
    X, y = rows
    lazy, target = collection(X, y)
    for options, text in (
        ({"missing": "model"}, "missing='model'"),
        ({"precision": "days"}, "precision is not read"),
        ({"fixed_effects": "center(days)"}, "learns from all"),
    ):
        with pytest.raises(ValueError, match=text):
            MixedLinearRegressor(BOTH, **options).fit(lazy, target)
    with pytest.raises(ValueError, match="groups= is not read"):
        MixedLinearRegressor().fit(lazy, target, groups=target)
    with pytest.raises(TypeError, match="y is a Series"):
        MixedLinearRegressor(BOTH).fit(lazy, y)
    with pytest.raises(ValueError, match="'doctor' is not a column"):
        MixedLinearRegressor("doctor").fit(lazy, target)
    model = MixedLinearRegressor(BOTH).fit(X, y)
    with pytest.raises(ValueError, match="yet now missing"):
        model.predict(lazy[["days", "sex", "nurse"]])


def test_the_plan_of_a_collection(rows):
    lazy, _ = collection(*rows)
    text = show_plan(MixedLinearRegressor(BOTH, random_slopes=SLOPE), lazy)
    for word in ("pass 1", "pass 2", "7 partitions", "MB", "expected"):
        assert word in text
    assert "holds all rows" not in text
    assert "holds all rows" in show_plan(MixedPoissonRegressor(BOTH), lazy)


CLUSTER = """
import os, signal, threading, time
import dask.dataframe as dd
from distributed import Client, LocalCluster
import test_dask
from skglmm import MixedLinearRegressor

if __name__ == "__main__":
    frame = dd.read_parquet({path!r})
    names = [name for name in frame.columns if name != "y"]
    model = MixedLinearRegressor(test_dask.BOTH, random_slopes=test_dask.SLOPE)
    expected = test_dask.bytes_of(model.fit(frame[names], frame["y"]))
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        slow = frame.map_partitions(test_dask.slowly, meta=frame._meta)
        if {kill}:
            pid = next(iter(client.run(os.getpid).values()))
            threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
        model.fit(slow[names], slow["y"])
        assert test_dask.bytes_of(model) == expected
        mean = model.predict(frame).compute().to_numpy()
    assert (mean == model.predict(frame[names].compute())).all()
    print("same bytes")
"""


def slowly(part):
    """A partition that takes a while to read."""
    import time

    time.sleep(0.2)
    return part


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_processes_give_the_same_bytes_even_if_one_is_killed(rows, tmp_path, kill):
    X, y = rows
    path = tmp_path / "rows"
    path.mkdir()
    for k, part in enumerate(np.array_split(np.arange(N_ROWS), 12)):
        X.assign(y=y).iloc[part].to_parquet(path / f"part-{k:02d}.parquet")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER.format(path=str(path), kill=kill))
    where = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    found = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": where},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert "same bytes" in found.stdout, found.stderr


@pytest.mark.slow
def test_an_interrupt_leaves_nothing_running(rows, tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(
        "import dask.dataframe as dd, test_dask, threading\n"
        "from skglmm import MixedLinearRegressor\n"
        "X, eta, _ = test_dask.visits()\n"
        "rows = dd.from_pandas(X.assign(y=eta), npartitions=200)\n"
        "rows = rows.map_partitions(test_dask.slowly, meta=rows._meta)\n"
        "print('begun', flush=True)\n"
        "model = MixedLinearRegressor(['patient'], fixed_effects=['days'])\n"
        "try:\n"
        "    model.fit(rows[list(X.columns)], rows['y'])\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', hasattr(model, 'coef_'))\n"
    )
    where = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    child = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": where, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "begun\n"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(1.0)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=20)
    assert out == "stopped False\n"
    assert sorted(tmp_path.iterdir()) == before
