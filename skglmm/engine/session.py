"""A design on a device: the one place where arrays become tensors."""

import functools
import os
import warnings

import numpy as np
import tensorflow as tf

from skglmm import _quiet, engine
from skglmm._memory import is_aligned
from skglmm._problem.design import sparse_index
from skglmm.engine import covariance, statistics
from skglmm.engine.structure import FLOAT, INT, Device, Structure, mapped

# Below this many values a GPU's launch costs exceed its gain. An estimate, not a
# measurement: no GPU was at hand.
_GPU_VALUES = 1_000_000
_CHUNK_BYTES, _LEAST_CHUNK = 128e6, 1000


def structure_of(design):
    """Static description of a design."""
    n_chain = len(design.plan.chain)
    effects = [f.n_effects for f in design.factors]
    related = tuple(f.root is not None for f in design.factors)
    return Structure(
        chain=tuple(effects[:n_chain]),
        core=tuple(effects[n_chain:]),
        plain=tuple(f.plain for f in design.factors),
        covariance=tuple(f.kind for f in design.factors),
        iterative=design.plan.iterative,
        related=related if any(related) else (),
    )


@functools.cache
def _start():
    """Let TensorFlow find its devices, without its log if it came with the engine."""
    if engine.BROUGHT:
        with _quiet.silenced():
            tf.config.list_logical_devices()


@functools.cache
def _say_what_is_idle():
    """Warn, once, where a GPU is there that TensorFlow does not see."""
    if os.path.exists("/dev/nvidia0"):
        warnings.warn(
            "This machine has an NVIDIA GPU, which TensorFlow cannot use as it is "
            "installed: the model is fitted on the CPU. To use the GPU, install the "
            "CUDA libraries: pip install skglmm[cuda]. With device='cpu' nothing is "
            "said of it.",
            stacklevel=2,
        )


def choose_device(device, n_values):
    """TensorFlow's name of the device to compute on."""
    _start()
    if device == "cpu":
        return "/CPU:0"
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu":
        if not gpus:
            raise ValueError(
                "device='gpu', but TensorFlow sees no GPU. Use device='auto' or "
                "'cpu', or install the CUDA libraries: pip install skglmm[cuda]."
            )
        return "/GPU:0"
    if n_values <= _GPU_VALUES:
        return "/CPU:0"
    if not gpus:
        _say_what_is_idle()
    return "/GPU:0" if gpus else "/CPU:0"


def on_device(device, n_values):
    """Context in which tensors are on the chosen device."""
    return Device(choose_device(device, n_values))


class Session:
    """Tensors of one design, on the device chosen for it.

    Parameters
    ----------
    design : GroupedDesign
    device : {"auto", "cpu", "gpu"}
    n_border : int
        Number of dense columns.
    """

    def __init__(self, design, device, n_border):
        self.design = design
        self.structure = structure_of(design)
        n_rows = len(design.factors[0].codes) if design.factors else 0
        n_values = max(n_rows * n_border, design.plan.n_core**2)
        name = choose_device(device, n_values)
        self._device, self._in_memory = Device(name), name == "/CPU:0"

    def __enter__(self):
        self._device.__enter__()
        index = self.design.index
        if index is None:
            index = sparse_index(self.design.factors)
        self.index = mapped(
            lambda a: self._tensor(a, INT if a.ndim == 1 else tf.int64), index
        )
        return self

    def __exit__(self, *error):
        return self._device.__exit__(*error)

    def _tensor(self, array, dtype=FLOAT):
        """A tensor that reads the array itself, where that can be, and else a copy."""
        fits = array.dtype == dtype.as_numpy_dtype and is_aligned(array)
        if not (fits and self._in_memory):
            return tf.constant(array, dtype)
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

    @staticmethod
    def scalar(value):
        return tf.constant(value, FLOAT)

    def rows(self, z):
        """What the rows say about the random effects (`structure.rows_spec`)."""
        n_rows = len(self.design.factors[0].codes) if self.design.factors else 0
        empty = np.empty((n_rows, 0))
        z = tuple(empty if values is None else values for values in z)
        return {"z": z} | self.places()

    def sums(self, table, weight):
        """Block statistics of all rows of a linear model (`statistics.RowSums`).

        Parameters
        ----------
        table : LinearTable
        weight : ndarray of shape (n_rows,)
        """
        width = table.values.shape[1] + sum(f.n_effects for f in self.design.factors)
        core = self.design.plan.n_core
        chunk = int(max(_CHUNK_BYTES / (8 * width), core**2, _LEAST_CHUNK))
        read = (
            self.index,
            self.places(),
            self._tensor(table.values),
            self._tensor(weight),
            # one tensor: each takes longer to hand over than so few values to sort out
            tf.constant(np.hstack([*table.z, table.border, table.gram])),
        )
        return statistics.RowSums(self.structure, read, table.total, chunk)

    def places(self):
        """Levels and cells of the rows."""
        return {
            "level": tuple(self._tensor(f.codes, INT) for f in self.design.factors),
            "cell": mapped(lambda a: self._tensor(a, INT), self.design.row_cell),
            "related": tuple(
                self._tensor(f.root) for f in self.design.factors if f.root is not None
            ),
        }

    def theta(self, factors):
        """Parameters (k,) of relative factors T_r."""
        parts = [self.theta_of(r, t) for r, t in enumerate(factors)]
        return np.concatenate([np.zeros(0), *parts])

    def theta_of(self, r, t):
        """Parameters of one factor's T."""
        return covariance.from_factor(self.structure.covariance[r], t)

    def factors(self, theta):
        """Relative factors T_r of parameters (k,)."""
        return covariance.factors_of(self.structure, theta)
