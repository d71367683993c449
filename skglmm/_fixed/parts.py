"""What `fixed_effects` may be, as users write it."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import get_tags

from skglmm._fixed.features import columns_of
from skglmm._fixed.trainers import _Networks, _Regressors
from skglmm._reading.table import Table
from skglmm._sklearn import HasMethods, Interval, StrOptions


class FixedPart(BaseEstimator):
    """Base of the fixed parts that are no linear model.

    A fixed part has ``read(table, positions)``, the columns as its models take them,
    and ``begin(data)``: models of each fold, with ``step`` and ``state``. One that
    ``takes_text`` is given text as it is, any other one dummies.
    """

    takes_text = False

    _parameter_constraints: dict = {
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }


class NetworkPart(FixedPart):
    r"""A Keras network as the fixed part, and how it is trained.

    ``fixed_effects=build`` is short for ``fixed_effects=NetworkPart(build)``.

    The network is trained on batches of rows to maximise the expected log-likelihood
    of the response, in which the random effects are a Gaussian offset with the mean
    and the variance that they have given the data. Training stops when the expected
    log-likelihood of rows that were held out no longer rises; it goes on at a fifth of
    the learning rate twice before it ends. One network is trained for each fold
    (cross-fitting). Levels that were seen in fit are predicted by the networks that
    have not seen them, others by the average of all.

    Inputs are centred and scaled before they reach the network, and so is the target
    of the linear model. A new network is built for each fold.

    Parameters
    ----------
    build : callable
        Takes the number of inputs and returns a `keras.Model` with one linear output.
        If the model has been compiled its optimizer is used. An object with
        ``__call__`` and ``get_params`` (a `BaseEstimator`) has hyperparameters that a
        search can set: ``fixed_effects__build__units``.
    epochs : int, default=300
        Most passes over the rows in each training.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` is a sixty-fourth of the rows, but at least 16 and
        at most 256.
    learning_rate : float, default=3e-3
        First learning rate of Adam, where `build` brings no optimizer.
    patience : int, default=10
        Passes without a gain before the learning rate falls or training ends.
    validation_fraction : float, default=0.1
        Share of the training rows that decide when to stop; whole levels where the
        folds consist of whole levels.
    n_folds : int, default=5
        Number of folds; each is left out by one network.
    n_repeats : int, default=1
        Number of divisions into folds. There is a network for each fold of each.
    max_iter : int, default=10
        Most alternations of the networks and the random effects. One is enough where
        speed is all, and gives no warning.
    tol : float, default=1e-3
        The alternation ends when -2 log-likelihood falls by less than this a row.

    See Also
    --------
    RegressorPart : Any regressor of scikit-learn instead of a network.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor, NetworkPart
    >>> def build(width):
    ...     import keras
    ...     layers = keras.layers
    ...     return keras.Sequential(
    ...         [layers.Input((width,)), layers.Dense(32, "relu"), layers.Dense(1)]
    ...     )
    >>> MixedLinearRegressor("zip", fixed_effects=NetworkPart(build, patience=5))
    MixedLinearRegressor(fixed_effects=NetworkPart(...), groups='zip')
    """

    _parameter_constraints = {
        **FixedPart._parameter_constraints,
        "build": [callable],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        build,
        *,
        epochs=300,
        batch_size="auto",
        learning_rate=3e-3,
        patience=10,
        validation_fraction=0.1,
        n_folds=5,
        n_repeats=1,
        max_iter=10,
        tol=1e-3,
    ):
        self.build = build
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.max_iter = max_iter
        self.tol = tol

    def read(self, table: Table, positions: Sequence[int]) -> Any:
        """The columns as numbers, none missing."""
        check_width(positions, self, table)
        return table.numeric(positions)

    def begin(self, data: Any) -> _Networks:
        return _Networks(self, data)


class RegressorPart(FixedPart):
    r"""A regressor of scikit-learn as the fixed part, and how it is fitted.

    ``fixed_effects=regressor`` is short for
    ``fixed_effects=RegressorPart(regressor)``.

    For the linear model the regressor is fitted to the target less the posterior means
    of the random effects. For other families it is fitted to working responses with
    weights (iteratively reweighted least squares): with the score
    :math:`s = E[l'(\eta)]` and the weight :math:`w = E[-l''(\eta)]`, both at the
    cross-fitted predictions f and in the mean over the random effects, it is fitted to
    :math:`f + s / w` with the weights w, or half as far where the expected
    log-likelihood of the cross-fitted predictions falls. One regressor is fitted for
    each fold (cross-fitting). Levels that were seen in fit are predicted by the
    regressors that have not seen them, others by the average of all.

    Parameters
    ----------
    regressor : estimator
        A regressor of scikit-learn, or a `Pipeline` that ends in one. With dataframes
        it is given the columns as they are, names, text and missing values included;
        with arrays, numbers.
    n_steps : int, default=5
        Reweighted fits in each alternation, for families other than the normal one.
    n_folds : int, default=5
        Number of folds; each is left out by one regressor.
    n_repeats : int, default=3
        Number of divisions into folds. There is a regressor for each fold of each.
    max_iter : int, default=10
        Most alternations of the regressors and the random effects.
    tol : float, default=1e-3
        The alternation ends when -2 log-likelihood falls by less than this a row.

    See Also
    --------
    NetworkPart : A Keras network instead.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from skglmm import MixedPoissonRegressor, RegressorPart
    >>> trees = RegressorPart(HistGradientBoostingRegressor(), n_folds=10)
    >>> MixedPoissonRegressor("store", fixed_effects=trees).get_params()[
    ...     "fixed_effects__n_folds"
    ... ]
    10
    """

    takes_text = True

    _parameter_constraints = {
        **FixedPart._parameter_constraints,
        "regressor": [HasMethods(["fit", "predict"])],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        regressor,
        *,
        n_steps=5,
        n_folds=5,
        n_repeats=3,
        max_iter=10,
        tol=1e-3,
    ):
        self.regressor = regressor
        self.n_steps = n_steps
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.regressor).input_tags.allow_nan
        return tags

    def read(self, table: Table, positions: Sequence[int]) -> Any:
        """The columns of a dataframe as they are, those of an array as numbers."""
        check_width(positions, self, table)
        return columns_of(table, positions)

    def begin(self, data: Any) -> _Regressors:
        return _Regressors(self, data)


def resolve_part(fixed_effects):
    """The fixed part that a user's ``fixed_effects`` stands for; None for linear.

    Raises
    ------
    TypeError
        If it is a network instead of a function, a class, or a classifier.
    """
    if fixed_effects is None or isinstance(fixed_effects, str | list):
        return None
    part = fixed_effects
    if isinstance(part, type):
        raise TypeError(
            f"fixed_effects is the class {part.__name__}: give an instance of it, "
            f"{part.__name__}()."
        )
    if not isinstance(part, FixedPart):
        if any(kind.__module__.split(".")[0] == "keras" for kind in type(part).mro()):
            raise TypeError(
                "fixed_effects is a Keras network: give a function that takes the "
                "number of inputs and builds one, because each fold needs its own."
            )
        fits = hasattr(part, "fit") and hasattr(part, "predict")
        part = RegressorPart(part) if fits else NetworkPart(part)
    if isinstance(part, RegressorPart) and is_classifier(part.regressor):
        raise TypeError(
            f"fixed_effects is the classifier {type(part.regressor).__name__}: give a "
            "regressor. It predicts the linear predictor, for classes as well."
        )
    part._validate_params()
    return part


def check_width(positions, part, table):
    """Refuse a fixed part that is given no column.

    Parameters
    ----------
    positions : sequence of int
        Positions of the fixed columns in X.
    part : FixedPart
    table : Table

    Raises
    ------
    ValueError
        If there is none.
    """
    if not len(positions):
        raise ValueError(
            f"fixed_effects is {describe(part)} and has no column to learn from: X has "
            f"n_features = {table.n_columns}, and all have other roles (groups, offset "
            "and the like). Leave fixed_effects at None for an intercept alone."
        )


def allows_missing(fixed_effects):
    """Whether the fixed part takes missing values."""
    if isinstance(fixed_effects, type) or not hasattr(
        fixed_effects, "__sklearn_tags__"
    ):
        return False
    return get_tags(fixed_effects).input_tags.allow_nan


def describe(part):
    """A fixed part in the words of a message."""
    if isinstance(part, RegressorPart):
        return f"a {type(part.regressor).__name__}"
    return f"the network of {getattr(part.build, '__name__', part.build)!r}"
