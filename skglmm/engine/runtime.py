"""What the engine asks of TensorFlow that TensorFlow does not promise to keep.

All of it is here. Where a version lacks some of it, `AVAILABLE` is false and graphs are
traced and called in the documented way, which takes longer and gives the same numbers.
"""

import functools
from contextlib import contextmanager

import tensorflow as tf

try:
    from google.protobuf import message
    from tensorflow.core.framework import function_pb2
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.eager import context, execute
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.ops import summary_ops_v2

    AVAILABLE = all(
        hasattr(context.Context, name)
        for name in (
            "add_function_def",
            "has_function",
            "function_call_options",
            "enable_graph_collection",
            "disable_graph_collection",
            "export_run_metadata",
        )
    ) and hasattr(summary_ops_v2, "_current_trace_context")
except ImportError:
    AVAILABLE = False


def call(name, n_outputs, tensors, options=None):
    """Flat outputs of a function that TensorFlow knows by name.

    Parameters
    ----------
    options : bytes or None
        As `unoptimised` gives them, or those of the thread.
    """
    inside = context.context()
    if options is None:
        options = inside.function_call_options.as_attrs()["config_proto"]
    attributes = ("executor_type", "", "config_proto", options)
    return execute.execute(name, n_outputs, tensors, attributes, inside)


@functools.cache
def unoptimised():
    """Options of a call that leave a function as it is.

    They go with the call: nothing of the process or of the thread changes.
    """
    config = config_pb2.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString(deterministic=True)


def options():
    """The present thread's options of a call, of which optimising depends."""
    return context.context().function_call_options.config_proto_serialized


def is_watched():
    """Whether the user collects graphs, which only one can do at a time."""
    return summary_ops_v2._current_trace_context is not None


@contextmanager
def collected():
    """Context that gives a list of what TensorFlow has made of graphs meanwhile.

    Its items have ``pre_optimization_graph`` and ``post_optimization_graph``.
    """
    inside, found = context.context(), []
    inside.enable_graph_collection()
    try:
        inside.export_run_metadata()  # what others have left of theirs
        yield found
        found += inside.export_run_metadata().function_graphs
    finally:
        inside.disable_graph_collection()


def register(name, definition):
    """Let TensorFlow know a function, given as bytes, by the name that it has."""
    try:
        definition = function_pb2.FunctionDef.FromString(definition)
    except message.DecodeError as error:
        raise ValueError("not a function") from error
    if definition.signature.name != name:
        raise ValueError("another function")
    inside = context.context()
    if not inside.has_function(name):
        inside.add_function_def(definition)


def outputs_of(node):
    """Names of the outputs of a node as functions have them, or None.

    None where a node does more than to compute its outputs.
    """
    operation = op_def_registry.get(node.op)
    if operation is None or operation.is_stateful:
        return None
    names = []
    for output in operation.output_arg:
        n = 1
        if output.number_attr:
            n = node.attr[output.number_attr].i
        elif output.type_list_attr:
            n = len(node.attr[output.type_list_attr].list.type)
        names += [f"{output.name}:{k}" for k in range(n)]
    return names


def as_function(graph, name, inputs, outputs):
    """A graph that TensorFlow has optimised as a function, in bytes, or None.

    Parameters
    ----------
    graph : GraphDef
        With ``_Arg`` for each input that is used and ``_Retval`` for each output.
    name : str
    inputs, outputs : list of tf.DType

    Returns
    -------
    definition : bytes or None
        None where the graph is not a function of its inputs alone.
    """
    if len(graph.library.function):
        return None
    whole = function_pb2.FunctionDef()
    whole.signature.name = name
    for i, dtype in enumerate(inputs):
        whole.signature.input_arg.add(
            name=f"skglmm_input_{i}", type=dtype.as_datatype_enum
        )
    for i, dtype in enumerate(outputs):
        whole.signature.output_arg.add(
            name=f"skglmm_output_{i}", type=dtype.as_datatype_enum
        )
    inside, given, returned = [], {}, {}
    for node in graph.node:
        if node.op == "_Arg":
            given[node.name] = f"skglmm_input_{node.attr['index'].i}"
        elif node.op == "_Retval":
            returned[node.attr["index"].i] = node.input[0]
        else:
            inside.append(node)
    names = {node.name: outputs_of(node) for node in inside}
    if None in names.values() or set(returned) != set(range(len(outputs))):
        return None

    def source(text):
        node, _, k = text.partition(":")
        return given.get(node) or f"{node}:{names[node][int(k or 0)]}"

    for node in inside:
        new = whole.node_def.add()
        new.CopyFrom(node)
        new.ClearField("experimental_debug_info")
        new.attr.pop("_class", None)
        # without the job, which is another one in a cluster
        new.device = "/device:" + node.device.rpartition("/device:")[2]
        if new.device != "/device:CPU:0":
            return None
        del new.input[:]
        new.input.extend(
            text if text[0] == "^" else source(text)
            for text in node.input
            if text[1:] not in given or text[0] != "^"  # what is given is there
        )
    for i, text in returned.items():
        whole.ret[f"skglmm_output_{i}"] = source(text)
    return whole.SerializeToString(deterministic=True)


@functools.cache
def _vectorise_sums():
    """Tell `tf.vectorized_map` of sums over segments and products with sparse matrices.

    It works them out one by one where it does not know them, which gives the same
    numbers. What it knows by itself in a later version stays as it is.
    """
    try:
        from tensorflow.python.ops.parallel_for import pfor

        register, wrap = pfor.RegisterPFor, pfor.wrap
        alone = pfor._fallback_converter
    except (ImportError, AttributeError):
        return

    def segments(given):
        values, stacked, _ = given.input(0)
        ids, several, _ = given.input(1)
        if several or not stacked:
            return alone(given)
        turn = [1, 0, *range(2, len(values.shape))]
        found = tf.math.segment_sum(tf.transpose(values, turn), ids)
        return wrap(tf.transpose(found, turn), True)

    def product(given):
        (places, a, _), (entries, b, _), (shape, c, _) = map(given.input, range(3))
        dense, stacked, _ = given.input(3)
        adjoint = given.get_attr("adjoint_a")
        if a or b or c or not stacked or given.get_attr("adjoint_b"):
            return alone(given)
        n, inner, width = tf.unstack(tf.shape(dense))
        flat = tf.reshape(tf.transpose(dense, [1, 0, 2]), [inner, n * width])
        matrix = tf.SparseTensor(places, entries, shape)
        found = tf.sparse.sparse_dense_matmul(matrix, flat, adjoint_a=adjoint)
        found = tf.reshape(found, [-1, n, width])
        return wrap(tf.transpose(found, [1, 0, 2]), True)

    for name, convert in (
        ("SegmentSum", segments),
        ("SparseTensorDenseMatMul", product),
    ):
        try:
            register(name)(convert)
        except KeyError:  # there is one
            continue


def side_by_side(function, trees):
    """A function of one item of stacked tensors, for all items at once.

    Parameters
    ----------
    function : callable
        Takes a nested structure of tensors.
    trees : nested structure of tensors
        The item as first axis.
    """
    _vectorise_sums()
    return tf.vectorized_map(function, trees)
