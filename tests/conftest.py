"""Set-up shared by all tests."""

import os
import shutil
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Graphs of this run, which its processes share, and nothing of an earlier one.
_OWN = tempfile.mkdtemp() if "SKGLMM_CACHE" not in os.environ else None
os.environ.setdefault("SKGLMM_CACHE", _OWN or "")


def pytest_unconfigure(config):
    if _OWN is not None:
        shutil.rmtree(_OWN, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def warm_tensorflow():
    """TensorFlow imported and its runtime started, so that no test's time has it."""
    import tensorflow as tf

    tf.add(1.0, 1.0)


@pytest.fixture
def plan_limits(monkeypatch):
    """Changes limits of `skglmm._problem.design` in one test; returns those before."""
    from skglmm._problem import design

    def change(**limits):
        before = {name: getattr(design, name) for name in limits}
        for name, value in limits.items():
            monkeypatch.setattr(design, name, value)
        return before

    return change
