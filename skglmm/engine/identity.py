"""Names for graphs: the same in every process, another one where anything differs.

The name of a graph is a hash of all that tracing it reads: the code and the constants
that this process holds of the package (so that a change at run time counts, and one of
a file that was loaded before does not), what the traced function encloses, its
signature, the device, and the versions beneath.
"""

import dataclasses
import functools
import hashlib
import importlib
import os
import platform
import sys
import types
from importlib import metadata

import numpy as np
import tensorflow as tf

from skglmm.engine import runtime

_PACKAGE = "skglmm"
# Code of others, which the versions of some of them stand for.
_LIBRARIES = ("scipy", "tensorflow-probability", "tfp-nightly")
_OTHERS = {
    *sys.stdlib_module_names,
    *("numpy", "scipy", "tensorflow", "tensorflow_probability", "keras", "google"),
    *("pandas", "sklearn", "narwhals", "threadpoolctl", "platformdirs"),
}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
# What is read and not taken for one of its type.
_READ = (
    *(*_PLAIN, tuple, list, dict, set, frozenset),
    *(np.ndarray, np.generic, tf.DType, tf.TensorSpec, tf.SparseTensorSpec),
    *(types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type),
    *(property, staticmethod, classmethod, functools.cached_property),
    *(functools.partial, types.MethodType),
)
# What the interpreter and dataclasses add to a class; fields are read apart.
_ADDED = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__classdictcell__"),
}
_GENERATED = {
    *("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"),
    *("__replace__", "__match_args__", "__dataclass_fields__", "__dataclass_params__"),
}
_OF_TUPLES = {
    *("__new__", "__repr__", "__getnewargs__", "__match_args__", "__slots__"),
    *("_make", "_replace", "_asdict", "_field_defaults", "__replace__"),
}


class Foreign(Exception):
    """Something of the user's own, which no other process need have."""


def name_of(function, signature, device):
    """Name of the graph of a function, or None where only this process knows it.

    Parameters
    ----------
    function : callable
    signature : nested structure of tf.TensorSpec
    device : str
    """
    reader = _Reader()
    try:
        reader.put((_surroundings(), runtime.options(), device))
        reader.put(function)
        reader.put(signature)
        for module in reader.reached:  # grows on the way
            reader.module(sys.modules[module])
    except Foreign:
        return None
    return reader.digest.hexdigest() if not reader.used & reader.foreign else None


@functools.cache
def _surroundings():
    """What graphs depend on that is neither of this package nor of a call."""
    versions = [("numpy", np.__version__), ("tensorflow", tf.__version__)]
    for name in _LIBRARIES:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    flags = sorted(
        (k, v)
        for k, v in os.environ.items()
        if k.startswith("TF_") and not k.startswith("TF_CPP_")  # of the log
    )
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    return (
        *versions,
        *flags,
        *devices,
        (tf.version.GIT_VERSION, tf.version.COMPILER_VERSION),
        (sys.implementation.name, *sys.version_info[:3], sys.flags.optimize),
        (platform.system(), platform.machine(), _processor()),
        tf.compat.v1.control_flow_v2_enabled(),
    )


def _processor():
    """Instructions of the processor, by which constants may round differently."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line for line in file if line.lower().startswith("flags"))
    except (OSError, StopIteration):
        return platform.processor()


class _Reader:
    """A hash of values of the kinds that code holds.

    Attributes
    ----------
    reached : list of str
        Modules of the package whose code may run.
    used : set of str
        Names by which values ask for others: of a structure, of a family.
    foreign : set of str
        Names that stand for something of the user's own.
    """

    def __init__(self):
        self.digest = hashlib.sha256()
        self.reached, self.used, self.foreign = [], set(), set()
        self._at_top, self._open = True, set()

    def _add(self, *parts):
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            self.digest.update(len(data).to_bytes(8, "big") + data)

    def put(self, value):
        if isinstance(value, _PLAIN):
            self._add(type(value).__name__, repr(value))
            if self._at_top and isinstance(value, str):
                self.used.add(value)
        elif isinstance(value, tuple | list):
            self._add(type(value).__name__, len(value))
            for item in value:
                self.put(item)
        elif isinstance(value, dict):
            self._add("dict", len(value))
            for key, item in value.items():
                self.put(key)
                self.put(item)
        elif isinstance(value, set | frozenset):
            self._add("set", *sorted(map(repr, value)))
        elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
            self._add("array", value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, tf.TensorSpec | tf.SparseTensorSpec):
            self._add(type(value).__name__, value.shape, value.dtype.name)
        elif isinstance(value, tf.DType):
            self._add("dtype", value.name)
        elif isinstance(value, types.CodeType):
            self._code(value)
        else:
            self._object(value)

    def _object(self, value):
        """Functions, classes, modules and what is made of the package's classes."""
        if isinstance(value, types.ModuleType):
            self._owned(value.__name__)
            self._add("module", value.__name__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, functools.partial):
            self._add("partial")
            self.put((value.func, value.args, value.keywords))
        elif isinstance(value, types.MethodType):
            self._add("method")
            self.put((value.__func__, value.__self__))
        elif isinstance(value, staticmethod | classmethod):
            self._add(type(value).__name__)
            self.put(value.__func__)
        elif isinstance(value, property):
            self._add("property")
            self.put((value.fget, value.fset))
        elif isinstance(value, functools.cached_property):
            self._add("cached_property")
            self.put(value.func)
        elif hasattr(value, "__wrapped__"):
            self._add("wrapper", type(value).__name__)
            self.put(value.__wrapped__)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif callable(value) and getattr(value, "__qualname__", None):
            self._owned(getattr(value, "__module__", None) or "builtins")
            self._add("callable", value.__qualname__)
        else:
            self._instance(value)

    def _reach(self, module):
        if module not in self.reached:
            self.reached.append(module)

    def _owned(self, module):
        """Whether a module is of this package; if nobody knows it, that is foreign."""
        head = module.partition(".")[0]
        if head == _PACKAGE:
            self._reach(module)
            return True
        if head not in _OTHERS:
            raise Foreign(module)
        return False

    def _function(self, function):
        self._add("function", function.__module__, function.__qualname__)
        if not self._owned(function.__module__) or id(function) in self._open:
            return
        self._open.add(id(function))
        self._code(function.__code__)
        cells = function.__closure__ or ()
        self.put(function.__defaults__)
        self.put(function.__kwdefaults__)
        self.put([cell.cell_contents for cell in cells])

    def _code(self, code):
        self._add("code", code.co_code, code.co_flags, code.co_exceptiontable)
        self._add(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        before, self._at_top = self._at_top, False
        self.put(code.co_consts)
        self._at_top = before
        for name in code.co_names:  # imported where it is needed
            if name.startswith(_PACKAGE + "."):
                importlib.import_module(name)
                self._reach(name)

    def _class(self, kind):
        self._add("class", kind.__module__, kind.__qualname__)
        if not self._owned(kind.__module__) or id(kind) in self._open:
            return
        self._open.add(id(kind))
        before, self._at_top = self._at_top, False
        for base in kind.__bases__:
            self.put(base)
        skipped = _ADDED
        if dataclasses.is_dataclass(kind):
            skipped = _ADDED | _GENERATED
            for field in dataclasses.fields(kind):
                self._add(field.name)
                if field.default is not dataclasses.MISSING:
                    self.put(field.default)
        if "_field_defaults" in vars(kind):  # a tuple with names
            skipped = _ADDED | _OF_TUPLES
            self.put(kind._field_defaults)
        for name, value in sorted(vars(kind).items()):
            if name not in skipped:
                self._add(name)
                self._lenient(value)
        self._at_top = before

    def _instance(self, value):
        kind = type(value)
        self._add("instance")
        if not self._owned(kind.__module__):
            raise Foreign(kind.__name__)
        self._class(kind)
        if isinstance(getattr(value, "name", None), str) and self._at_top:
            self.used.add(value.name)
        if dataclasses.is_dataclass(value):
            held = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        else:
            held = sorted(getattr(value, "__dict__", {}).items())
        for name, item in held:
            self._add(name)
            self.put(item)

    def _lenient(self, value):
        """What stands in a module or a class: a lock, say, is of a type and no more."""
        kind = type(value)
        others = kind.__module__.partition(".")[0] in _OTHERS
        if (
            others
            and not isinstance(value, _READ)
            and not hasattr(value, "__wrapped__")
        ):
            name = getattr(value, "__name__", "")
            self._add("of type", kind.__module__, kind.__qualname__, name)
        else:
            self.put(value)

    def module(self, module):
        """All that a module holds.

        Tables of the package may hold entries of the user's own, which count only where
        they are asked for.
        """
        self._at_top = False
        self._add("module", module.__name__)
        for name, value in sorted(vars(module).items()):
            part = isinstance(value, types.ModuleType) and hasattr(module, "__path__")
            if name.startswith("__") or part:
                continue
            self._add(name)
            if isinstance(value, dict):
                for key, item in value.items():
                    owner = type(item).__module__.partition(".")[0]
                    if owner == _PACKAGE or owner in _OTHERS:
                        self.put(key)
                        self._lenient(item)
                    else:
                        self.foreign.add(str(key))
            elif isinstance(value, set):
                self._add("set")  # the names of a table
            else:
                self._lenient(value)
