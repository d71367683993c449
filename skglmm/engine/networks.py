"""Keras networks as the fixed part: built, trained on batches, asked for values."""

import random
from contextlib import contextmanager
from threading import Lock

import keras
import numpy as np
import tensorflow as tf

from skglmm.engine.likelihoods import normal_nodes
from skglmm.engine.structure import FLOAT

_NODES = 21
_ROWS = 16_384
# A smaller gain, relative to the loss, does not count as one.
_GAIN = 1e-4
_DROPS = 2
_DROP = 0.2
_SEEDS = Lock()


def build(builder, width, seed):
    """A new network.

    Parameters
    ----------
    builder : callable
        Takes the number of inputs and returns a `keras.Model` with one linear output.
    width : int
    seed : int
        Seed of the initial weights and of what is random in training.

    Returns
    -------
    model : keras.Model

    Raises
    ------
    TypeError
        If the builder returns something else.
    ValueError
        If the network does not have one output, or Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Keras runs on {keras.backend.backend()!r}: networks are trained with "
            "TensorFlow here. Set the environment variable KERAS_BACKEND=tensorflow."
        )
    with _seeded(seed):
        model = builder(width)
        if isinstance(model, keras.Model) and not model.built:
            model.build((None, width))
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"fixed_effects returned {type(model).__name__} for {width} inputs: a "
            "function that is given as fixed_effects returns a keras.Model."
        )
    shape = model.compute_output_shape((None, width))
    if tuple(shape) != (None, 1):
        raise ValueError(
            f"The network has outputs of shape {tuple(shape)}: its last layer must be "
            "keras.layers.Dense(1), without an activation."
        )
    return model


@contextmanager
def _seeded(seed):
    """The generators that Keras takes its seeds from, and as they were afterwards."""
    with _SEEDS:
        states = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def restore(config, weights):
    """The network that `Trainer.state` describes."""
    with _seeded(0):
        model = keras.models.model_from_json(config)
    model.set_weights(weights)
    return model


def values(model, inputs):
    """Outputs of a network.

    Parameters
    ----------
    model : keras.Model
    inputs : ndarray of shape (n_rows, width)

    Returns
    -------
    output : ndarray of shape (n_rows,)
    """
    output = np.empty(len(inputs))
    for start in range(0, len(inputs), _ROWS):
        here = slice(start, start + _ROWS)
        part = tf.constant(inputs[here], tf.float32)
        output[here] = model(part, training=False)[:, 0]
    return output


class Trainer:
    """One network in training.

    The loss is the mean over the rows of a batch of -E[l(scale g(x) + shift + b)] for
    the output g and Gaussian b, which for the normal family is half the squared error
    of g in units of `scale`; penalties of the layers come on top.

    Parameters
    ----------
    model : keras.Model
        Its own optimizer is used if it was compiled.
    family : Family
    learning_rate : float
        Of Adam, where the model brings no optimizer.
    """

    def __init__(self, model, family, learning_rate):
        self.model, self._family = model, family
        self._parameters = [
            tf.Variable(0.0, dtype=FLOAT) for _ in family.parameter_names
        ]
        self._optimizer = getattr(model, "optimizer", None)
        with _seeded(0):
            if self._optimizer is None:
                self._optimizer = keras.optimizers.Adam(learning_rate)
            self._optimizer.build(model.trainable_variables)
        self._drop_to = 1.0
        try:
            self._rate = float(self._optimizer.learning_rate)
            self._optimizer.learning_rate = self._rate
        except TypeError:  # a schedule is left alone
            self._rate = None
        inputs = tf.TensorSpec((None, model.input_shape[-1]), tf.float32)
        columns = tf.TensorSpec((5, None), FLOAT)
        order = tf.TensorSpec((None,), tf.int32)
        size = tf.TensorSpec((), tf.int32)
        self._pass = tf.function(
            self._one_pass, [inputs, columns, order, size], autograph=False
        )
        self._measure = tf.function(self._loss_of, [inputs, columns], autograph=False)

    def state(self):
        """Architecture as text, and the weights."""
        return self.model.to_json(), self.model.get_weights()

    def take_parameters(self, family, y, trials, weight):
        """Train at the parameters that a family has of its own, or that y suggests."""
        values = family.parameters
        if values is None and self._parameters:
            values = family.first_parameters(y, trials, weight)
        for variable, value in zip(
            self._parameters, () if values is None else values, strict=True
        ):
            variable.assign(value)

    def train(self, inputs, columns, rows, held_out, epochs, batch, patience, random):
        """Improve the network until the loss of held-out rows no longer falls.

        Parameters
        ----------
        inputs : ndarray of shape (n_rows, width)
        columns : ndarray of shape (5, n_rows)
            Response, trials, mean and variance of what is added to the output, weight.
        rows, held_out : ndarray of int
            Rows to train on and rows that decide when to stop.
        epochs, batch, patience : int
        random : RandomState
        """
        inputs = tf.constant(inputs, tf.float32)
        columns = tf.constant(columns, FLOAT)
        watched = held_out if len(held_out) else rows
        watched = tf.gather(inputs, watched), tf.gather(columns, watched, axis=1)
        self._set_rate(self._drop_to)
        batch = min(batch, len(rows))
        n_used = len(rows) // batch * batch
        best, weights = self._watch(watched), self.model.get_weights()
        mark, waited, drops = best, 0, 0
        for _ in range(epochs):
            order = random.permutation(rows)[:n_used].astype(np.int32)
            self._pass(inputs, columns, tf.constant(order), tf.constant(batch))
            loss = self._watch(watched)
            if loss < best:
                best, weights = loss, self.model.get_weights()
            waited += 1
            if loss < mark - _GAIN * abs(mark):
                mark, waited = loss, 0
            if waited >= patience or not np.isfinite(loss):
                self.model.set_weights(weights)
                drops, waited = drops + 1, 0
                if drops > _DROPS:
                    break
                self._set_rate(self._drop_to * _DROP**drops)
        self.model.set_weights(weights)
        # what follows on a change of the random part is a correction
        self._drop_to = _DROP

    def _watch(self, watched):
        loss = float(self._measure(*watched))
        return loss if np.isfinite(loss) else np.inf

    def _set_rate(self, share):
        if self._rate is not None:
            self._optimizer.learning_rate = self._rate * share

    def _one_pass(self, inputs, columns, order, size):
        def step(start):
            at = order[start : start + size]
            self._step(tf.gather(inputs, at), tf.gather(columns, at, axis=1))
            return (start + size,)

        tf.while_loop(
            lambda start: start < tf.shape(order)[0],
            step,
            (tf.constant(0),),
            parallel_iterations=1,
        )

    def _step(self, inputs, columns):
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            output = tf.cast(self.model(inputs, training=True)[:, 0], FLOAT)
            loss = self._loss(output, columns)
            for penalty in self.model.losses:
                loss += tf.cast(penalty, FLOAT)
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def _loss_of(self, inputs, columns):
        output = self.model(inputs, training=False)[:, 0]
        return self._loss(tf.cast(output, FLOAT), columns)

    def _loss(self, output, columns):
        y, trials, mean, variance, weight = tf.unstack(columns)
        eta = output + mean
        if self._family.is_linear:
            return tf.reduce_mean(0.5 * weight * (y - eta) ** 2)
        parameters = [tf.convert_to_tensor(v) for v in self._parameters]
        density, score, _ = (
            self._family.likelihood()
            .given(parameters)
            .expected(y, trials, tf.stop_gradient(eta), variance, normal_nodes(_NODES))
        )
        # the derivative of the mean of l is the mean of l'
        slope = tf.stop_gradient(score) * (eta - tf.stop_gradient(eta))
        return -tf.reduce_mean(weight * (density + slope))
