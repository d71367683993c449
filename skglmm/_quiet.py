"""TensorFlow's start without the lines that it writes before anybody can ask it not to.

They come from C++ and go to file descriptor 2, whatever Python's settings are, and say
"CUDA error" on machines where nothing is wrong. So the descriptor leads to a file for
as long as TensorFlow starts, and what did not come from TensorFlow is written after it.
"""

import logging
import os
import re
import sys
import tempfile
from contextlib import contextmanager

# Lines of absl and TensorFlow: of its own loggers and what follows some of them.
_LOG = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d+|[IWE]0000 00:00:\d+\.\d+"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
    rb"|To enable the following instructions: )"
)


@contextmanager
def silenced():
    """Context in which TensorFlow's log is kept from file descriptor 2.

    It becomes messages of the logger ``skglmm`` at the level of debugging. If the
    context is left by an exception, all of it is written as it came.
    """
    try:
        kept, file = os.dup(2), tempfile.TemporaryFile()
    except OSError:  # nothing is there to write to, or no place to keep it
        yield
        return
    with file:
        _flush()
        os.dup2(file.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            _flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            _pass_on(file.read().splitlines(keepends=True), failed)


def _pass_on(lines, whole):
    """Write lines that are not TensorFlow's, or all."""
    for line in lines:
        if not whole and _LOG.match(line):
            text = line.decode(errors="replace").rstrip()
            logging.getLogger("skglmm").debug("TensorFlow: %s", text)
        else:
            os.write(2, line)


def _flush():
    """Let Python write what it has for the descriptor."""
    try:
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # none, closed, or of somebody else


def import_tensorflow():
    """Import TensorFlow, if nobody has done so, without its log."""
    if "tensorflow" in sys.modules:
        return False
    with silenced():
        import tensorflow  # noqa: F401
    return True
