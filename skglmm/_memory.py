"""Arrays that TensorFlow can read where they are, without a copy."""

import numpy as np

_BYTES = 64


def aligned(shape, dtype=np.float64):
    """Array to be filled in."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    room = np.empty(size + _BYTES, dtype=np.uint8)
    first = -room.ctypes.data % _BYTES
    return room[first : first + size].view(dtype).reshape(shape)


def is_aligned(array):
    """Whether an array is one of these, or happens to be like one."""
    flags = array.flags
    in_place = array.ctypes.data % _BYTES == 0 and flags["C_CONTIGUOUS"]
    return in_place and flags["WRITEABLE"] and array.size > 0
