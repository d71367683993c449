"""Numpy's threads rest during a fit, and are given back."""

import threading

import pandas as pd
import pytest
from threadpoolctl import threadpool_info

from skglmm import MixedLinearRegressor, _base
from skglmm._threads import one_blas_thread
from skglmm.datasets import load_sleepstudy


def blas_threads():
    return {
        info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"
    }


@pytest.fixture(autouse=True)
def several():
    before = blas_threads()
    if before <= {1}:
        pytest.skip("numpy's products have one thread on this machine")
    yield before
    assert blas_threads() == before


def test_one_thread_inside_and_all_of_them_after(several):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
        raise ZeroDivisionError
    assert blas_threads() == several


def test_who_has_taken_them_gives_them_back_whoever_else_is_there(several):
    begun, go_on = threading.Event(), threading.Event()

    def hold():
        with one_blas_thread():
            begun.set()
            go_on.wait(60)

    other = threading.Thread(target=hold)
    with one_blas_thread():
        other.start()
        assert begun.wait(60)
        assert blas_threads() == {1}
    assert blas_threads() == several
    go_on.set()
    other.join()
    assert blas_threads() == several


def test_a_narrow_table_is_fitted_with_one_and_a_wide_one_with_all(
    several, monkeypatch
):
    seen = []

    class Watched(_base.Progress):
        def begin(self, X, y):
            seen.append(blas_threads())
            super().begin(X, y)

    monkeypatch.setattr(_base, "Progress", Watched)
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    X, y = (pd.concat([part] * 10, ignore_index=True) for part in (X, y))
    MixedLinearRegressor("Subject").fit(X, y)
    monkeypatch.setattr(_base, "_NARROW", 1)
    MixedLinearRegressor("Subject").fit(X, y)
    assert seen == [{1}, several]


def test_a_small_table_is_fitted_as_it_comes(several, monkeypatch):
    held = []
    monkeypatch.setattr(_base, "one_blas_thread", lambda: held.append(1))
    X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    MixedLinearRegressor("Subject").fit(X, y)
    assert not held
