"""Set-up shared by all tests."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session", autouse=True)
def warm_tensorflow():
    """TensorFlow imported and its runtime started, so that no test's time has it."""
    import tensorflow as tf

    tf.add(1.0, 1.0)
