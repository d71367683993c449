"""Functions of tensors as graphs: traced once on a machine, and then read from a file.

What a graph becomes when TensorFlow has optimised it is kept (`skglmm._store`) under a
name that stands for all that it depends on (`identity`). Another process takes it as it
is, which saves tracing and optimising, and computes the same numbers to the last bit.
"""

import functools
import threading
from dataclasses import dataclass

import tensorflow as tf

from skglmm import _store
from skglmm.engine import identity, runtime

# Graphs are collected from all that runs for the first time meanwhile: one at a time.
_COLLECTING = threading.Lock()


def mapped(function, tree):
    """Like `tf.nest.map_structure` for dicts, lists and tuples, in a tenth of the time.

    A small fit has some thirty tensors to hand over.
    """
    if isinstance(tree, dict):
        return {key: mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, value) for value in tree)
    return function(tree)


class Device:
    """`tf.device` by name, which graphs then need not ask for."""

    _local = threading.local()

    def __init__(self, name):
        self._name, self._context = name, tf.device(name)

    @classmethod
    def present(cls):
        """Name of the present device."""
        return getattr(cls._local, "name", None) or tf.zeros([]).device

    def __enter__(self):
        self._before = getattr(self._local, "name", None)
        self._context.__enter__()
        self._local.name = self._name

    def __exit__(self, *error):
        self._local.name = self._before
        return self._context.__exit__(*error)


@dataclass(frozen=True)
class Sparse:
    """Place of a sparse tensor: that of the first of its three parts."""

    first: int


class Program:
    """A function that TensorFlow knows by a name, and what it takes and returns.

    Parameters
    ----------
    name : str
    inputs, outputs : list of tf.TensorSpec
        Tensors that TensorFlow is given, those of a sparse one apart.
    layout : nested structure of int and Sparse
        Where each output belongs.
    options : bytes or None
        See `runtime.call`.
    """

    def __init__(self, name, inputs, outputs, layout, options=None):
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.layout, self._options = layout, options
        self._dtypes = [spec.dtype for spec in inputs]

    def __call__(self, *tensors):
        flat = [
            t if isinstance(t, tf.Tensor) else tf.convert_to_tensor(t, dtype)
            for t, dtype in zip(_flat(tensors), self._dtypes, strict=True)
        ]
        found = runtime.call(self.name, len(self.outputs), flat, self._options)
        return mapped(lambda place: _output(found, place), self.layout)

    @property
    def signature(self):
        """What a call returns, as `tf.TensorSpec`."""
        return mapped(lambda place: _output(self.outputs, place), self.layout)


class Enclosing(Program):
    """A traced function that encloses tensors, which a family of one's own may have.

    Parameters
    ----------
    concrete : ConcreteFunction
    outputs, layout
        See `Program`.
    """

    def __init__(self, concrete, outputs, layout):
        super().__init__(concrete.name, [], outputs, layout)
        self._concrete = concrete

    def __call__(self, *tensors):
        return self._concrete(*tensors)


class Graph:
    """A function of tensors as one graph on each device, found when it is first used.

    Calling the graph costs half of what calling a `tf.function` does, which finds out
    every time that the signature still fits.

    Attributes
    ----------
    traces : str
        Name of the module that the function comes from.
    """

    def __init__(self, function, signature):
        self._function, self._signature = function, signature
        self.traces = getattr(function, "func", function).__module__
        self._programs, self._traced = {}, {}
        self._lock = threading.RLock()

    def get_concrete_function(self):
        """The traced graph on the present device."""
        device = Device.present()
        if device not in self._traced:
            with self._lock:  # of several threads one traces
                if device not in self._traced:
                    self._traced[device] = self._trace()
        return self._traced[device]

    def _trace(self):
        # TensorFlow counts graphs by their code and takes many structures for one
        # function that is traced again and again; a partial has no code to count by.
        function = tf.function(
            functools.partial(self._function),
            input_signature=self._signature,
            autograph=False,
        )
        return function.get_concrete_function()

    def __call__(self, *tensors):
        if not (runtime.AVAILABLE and tf.executing_eagerly()):
            return self.get_concrete_function()(*tensors)
        program = self._programs.get(Device.present())
        return self._first(tensors) if program is None else program(*tensors)

    def structured_outputs(self):
        """What a call returns, as `tf.TensorSpec`."""
        device = Device.present()
        program = self._programs.get(device)
        if program is None and runtime.AVAILABLE:
            program = self._read(self._name())
        if program is None:
            return self._program().signature
        self._programs[device] = program
        return program.signature

    def _first(self, tensors):
        """A call when there may be no program yet, which is left for the next ones."""
        device = Device.present()
        with self._lock:
            if device in self._programs:
                return self._programs[device](*tensors)
            name = self._name()
            program = self._read(name)
            try:
                found = None if program is None else program(*tensors)
            except tf.errors.OpError:  # what is wrong will show again, if it is here
                program = None
            if program is None:
                program, found = self._traced_and_kept(name, tensors)
            self._programs[device] = program
            return found

    def _name(self):
        """Name of the file, or None where there is none to be."""
        device = Device.present()
        if not device.endswith("CPU:0") or _store.folder() is None:
            return None
        return identity.name_of(self._function, self._signature, "CPU")

    def _read(self, name):
        """The program that is kept under a name, or None."""
        found = None if name is None else _store.read(name)
        if found is None:
            return None
        header, body = found
        try:
            inputs, outputs = (_specs(header[k]) for k in ("inputs", "outputs"))
            layout = _decoded(header["layout"])
            runtime.register(_called(name), body)
        except (KeyError, TypeError, ValueError, tf.errors.OpError):
            return None
        options = runtime.unoptimised()
        return Program(_called(name), inputs, outputs, layout, options)

    def _program(self):
        """That of the traced graph."""
        concrete = self.get_concrete_function()
        inputs, outputs = (
            [tf.TensorSpec(t.shape, t.dtype) for t in side]
            for side in (concrete.inputs, concrete.outputs)
        )
        layout = _layout(concrete.structured_outputs)
        if concrete.captured_inputs:
            return Enclosing(concrete, outputs, layout)
        known = concrete.name
        known = known.decode() if isinstance(known, bytes) else known
        return Program(known, inputs, outputs, layout)

    def _traced_and_kept(self, name, tensors):
        program = self._program()
        if name is None or self.get_concrete_function().captured_inputs:
            return program, program(*tensors)
        with _COLLECTING:
            if runtime.is_watched():
                return program, program(*tensors)
            with runtime.collected() as graphs:
                found = program(*tensors)
        if len(graphs) == 1:  # and not one more, of the user's own
            self._keep(name, program, graphs[0].post_optimization_graph)
        return program, found

    def _keep(self, name, program, optimised):
        """Write what TensorFlow has made of the graph, if that is all there is."""
        sides = program.inputs, program.outputs
        dtypes = ([spec.dtype for spec in side] for side in sides)
        try:
            body = runtime.as_function(optimised, _called(name), *dtypes)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return  # a kind of graph that another TensorFlow makes
        if body is not None:
            header = {
                "inputs": _plain(program.inputs),
                "outputs": _plain(program.outputs),
                "layout": _encoded(program.layout),
                "traced": self.traces,
            }
            _store.write(name, header, body)


def graph(function, signature):
    """Compiled `function` of tensors, one for each closure."""
    return Graph(function, signature)


def signature_of(function):
    """Signature of what a compiled function returns, to pass it to another."""
    return function.structured_outputs()


def _flat(tensors):
    return tf.nest.flatten(tensors, expand_composites=True)


def _layout(tree):
    """Numbers of the tensors of a structure among all that TensorFlow returns."""
    places, n = [], 0
    for leaf in tf.nest.flatten(tree):
        sparse = isinstance(leaf, tf.SparseTensor)
        places.append(Sparse(n) if sparse else n)
        n += 3 if sparse else 1
    return tf.nest.pack_sequence_as(tree, places)


def _output(found, place):
    """What belongs to a place, of tensors or of their signatures."""
    if not isinstance(place, Sparse):
        return found[place]
    parts = found[place.first : place.first + 3]
    if isinstance(parts[0], tf.TensorSpec):
        rank = parts[2].shape[0]
        return tf.SparseTensorSpec([None] * rank, parts[1].dtype)
    return tf.SparseTensor(*parts)


def _called(name):
    """What TensorFlow calls the function of a name."""
    return f"skglmm_{name}"


def _plain(specs):
    return [[spec.shape.as_list(), spec.dtype.name] for spec in specs]


def _specs(plain):
    return [tf.TensorSpec(shape, dtype) for shape, dtype in plain]


def _encoded(tree):
    """A layout as JSON has it: without tuples, and with strings as keys only."""
    if isinstance(tree, dict):
        return {"dict": [[_encoded(k), _encoded(v)] for k, v in tree.items()]}
    if isinstance(tree, tuple | list):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [_encoded(item) for item in tree]}
    return {"sparse": tree.first} if isinstance(tree, Sparse) else tree


def _decoded(plain):
    if not isinstance(plain, dict):
        return plain
    ((kind, items),) = plain.items()
    if kind == "sparse":
        return Sparse(items)
    if kind == "dict":
        return {_decoded(key): _decoded(value) for key, value in items}
    return {"tuple": tuple, "list": list}[kind](map(_decoded, items))
