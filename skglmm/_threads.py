"""Threads of the linear algebra beneath numpy, which wait while others work.

After a product of matrices OpenBLAS's threads spin for some tens of milliseconds in
case there is another one, and take the cores from TensorFlow meanwhile: a small fit
then takes half as long again.
"""

import functools
import threading
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_users, _limit = 0, None


@functools.cache
def _controller():
    return ThreadpoolController()


@contextmanager
def one_blas_thread():
    """Context in which numpy's matrix products use one thread.

    The number of threads belongs to the process: the last of several fits at a time
    sets it back.
    """
    global _users, _limit
    with _lock:
        _users += 1
        if _users == 1:
            _limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()
