"""TensorFlow's log stays out of the way, and nothing else does."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from skglmm import _quiet

LOG = "I0000 00:00:1795971571.198426   12125 port.cc:153] oneDNN custom operations on\n"


def test_only_tensorflows_lines_are_kept_back(capfd, caplog):
    with caplog.at_level(logging.DEBUG, "skglmm"), _quiet.silenced():
        os.write(2, LOG.encode())
        os.write(2, b"a thread's own\n")
    assert capfd.readouterr().err == "a thread's own\n"
    assert caplog.messages == ["TensorFlow: " + LOG.rstrip()]


def test_all_of_it_is_written_where_the_start_fails(capfd):
    with pytest.raises(ImportError), _quiet.silenced():
        os.write(2, LOG.encode())
        raise ImportError
    assert capfd.readouterr().err == LOG


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code, _quiet.__file__],
        capture_output=True,
        text=True,
        timeout=60,
    )


START = """
import os, runpy, sys
quiet = runpy.run_path(sys.argv[1])
"""


def test_a_closed_descriptor_stays_closed():
    done = run(
        START + "os.close(2)\nwith quiet['silenced']():\n    print('inside')\n"
        "try:\n    os.fstat(2)\nexcept OSError:\n    print('closed')"
    )
    assert done.stdout.split() == ["inside", "closed"]


def test_a_tensorflow_that_is_there_already_is_left_alone():
    done = run(
        START + "sys.modules['tensorflow'] = None\nprint(quiet['import_tensorflow']())"
    )
    assert done.stdout.split() == ["False"], done.stderr


def test_an_idle_gpu_is_said_once_and_only_where_it_would_help(monkeypatch):
    from skglmm.engine import session

    monkeypatch.setattr(session.os.path, "exists", lambda path: path == "/dev/nvidia0")
    monkeypatch.setattr(session.tf.config, "list_physical_devices", lambda kind: [])
    session._say_what_is_idle.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for device, n in (
            ("auto", 10),
            ("cpu", 10**8),
            ("auto", 10**8),
            ("auto", 10**8),
        ):
            assert session.choose_device(device, n) == "/CPU:0"
    session._say_what_is_idle.cache_clear()
    assert ["NVIDIA GPU" in str(warning.message) for warning in said] == [True]
