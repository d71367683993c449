"""Fixed parts for the tests, in a module that another process can import."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


def network(width):
    """A network of one hidden layer."""
    from keras import Sequential, layers

    return Sequential(
        [layers.Input((width,)), layers.Dense(16, "tanh"), layers.Dense(1)]
    )


def line(width):
    """A network without hidden layers: a linear model."""
    from keras import Sequential, layers

    return Sequential([layers.Input((width,)), layers.Dense(1)])


class Network(BaseEstimator):
    """A network whose width is a hyperparameter."""

    def __init__(self, units=8):
        self.units = units

    def __call__(self, width):
        from keras import Sequential, layers

        return Sequential(
            [layers.Input((width,)), layers.Dense(self.units, "tanh"), layers.Dense(1)]
        )


class Known(RegressorMixin, BaseEstimator):
    """A regressor that knows the answer: the column ``f``."""

    def fit(self, X, y, sample_weight=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.asarray(X["f"])


class Recorder(RegressorMixin, BaseEstimator):
    """The mean of the target; keeps which rows it was fitted to and asked for."""

    calls: list = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        self.rows_, self.mean_ = list(X["row"]), float(np.mean(y))
        return self

    def predict(self, X):
        Recorder.calls.append((set(self.rows_), set(X["row"])))
        return np.full(len(X), self.mean_)
