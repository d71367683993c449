"""Threads of the linear algebra beneath numpy, which wait while others work.

After a product of matrices OpenBLAS's threads spin for some tens of milliseconds in
case there is another one, and take the cores from TensorFlow meanwhile: a small fit
then takes half as long again.
"""

import functools
import threading
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_held = threading.Lock()


@functools.cache
def _controller():
    return ThreadpoolController()


@contextmanager
def one_blas_thread():
    """Context in which numpy's matrix products use one thread.

    The number of threads belongs to the process, and OpenBLAS lets only the thread that
    has changed it change it back: while one fit holds it, others leave it alone.
    """
    if not _held.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _held.release()
