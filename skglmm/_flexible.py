"""Networks, trees and other models in the place of the linear fixed part."""

import heapq
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
)
from sklearn.utils.validation import has_fit_parameter

from skglmm import _groups
from skglmm.solvers._conditional import condition

# Levels for each fold that a factor needs before its levels are held out whole.
_LEVELS_A_FOLD = 4


class FixedPart(BaseEstimator):
    """Base of the fixed parts that are no linear model.

    A fixed part has ``read(table, positions)``, the columns as its models take them,
    and ``begin(data)``: models of each fold, with ``step`` and ``state``.
    """

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

    def read(self, table, positions):
        """The columns as numbers, none missing."""
        check_width(positions, self, table)
        return table.numeric(positions)

    def begin(self, data):
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

    def read(self, table, positions):
        """The columns of a dataframe as they are, those of an array as numbers."""
        check_width(positions, self, table)
        return _columns(table, positions)

    def begin(self, data):
        return _Regressors(self, data)


@dataclass(frozen=True)
class FittedPart:
    """Models of all folds, as arrays and plain values, and their average.

    Parameters
    ----------
    columns : tuple of int
        Positions in X of the columns that the models take.
    about : str
        What the models are, for messages.
    networks : tuple of (str, list of ndarray)
        Architecture and weights; none for regressors.
    regressors : tuple
        Fitted regressors; none for networks.
    center, spread : ndarray of shape (width,) or None
        Of the inputs of networks.
    shift, scale : float
        A prediction is ``shift + scale * output``.
    factor : str, int or None
        The factor whose levels were held out whole.
    fold_of_level : ndarray of shape (n_repeats, n_levels) or None
        Which of the models of each repeat has not seen a level.
    levels : tuple of float
        What is added to each model's predictions, so that all have the same mean.
    """

    columns: tuple
    about: str
    networks: tuple = ()
    regressors: tuple = ()
    center: np.ndarray | None = None
    spread: np.ndarray | None = None
    shift: float = 0.0
    scale: float = 1.0
    factor: object = None
    fold_of_level: np.ndarray | None = None
    levels: tuple = ()
    live: list = field(default_factory=list, repr=False, compare=False)

    def state(self):
        """The content without the networks in memory."""
        content = vars(self).copy()
        del content["live"]
        return content

    def predict(self, table, codes):
        """Fixed part of each row of a table, less the intercept.

        It is the average of the models that have not seen the level of the row, since
        the effect of the level is relative to these, and of all models for other rows.

        Parameters
        ----------
        table : Table
        codes : ndarray of shape (n_rows,) or None
            Level of `factor` in each row, -1 where it is unseen.

        Returns
        -------
        f : ndarray of shape (n_rows,)
        """
        models, features = self._models(table)
        f = np.full(table.n_rows, 0.0)
        if self.fold_of_level is None:
            for model, level in zip(models, self.levels, strict=True):
                f += (model(features) + level) / len(models)
            return f
        n_repeats, n_levels = self.fold_of_level.shape
        known = (codes >= 0) & (codes < n_levels)
        other = np.flatnonzero(~known)
        for k, model in enumerate(models):
            repeat, fold = divmod(k, len(models) // n_repeats)
            own = np.append(self.fold_of_level[repeat] == fold, False)
            rows = np.flatnonzero(own[np.where(known, codes, -1)])
            for at, share in ((rows, n_repeats), (other, len(models))):
                if len(at):
                    f[at] += (model(take(features, at)) + self.levels[k]) / share
        return f

    def _models(self, table):
        """Functions that predict from features, and the features of a table."""
        if self.regressors:
            models = [partial(_values, model) for model in self.regressors]
            return models, _columns(table, self.columns)
        from skglmm.engine import networks

        if not self.live:
            self.live.extend(networks.restore(*state) for state in self.networks)

        def scaled(network, inputs):
            return self.shift + self.scale * networks.values(network, inputs)

        models = [partial(scaled, network) for network in self.live]
        return models, (table.numeric(self.columns) - self.center) / self.spread


class FlexibleMixin:
    """What a model with a fixed part of another kind does differently."""

    fixed_effects = None

    def __getattr__(self, name):
        if name in ("coef_", "coef_names_") and vars(self).get("_fixed_part"):
            raise AttributeError(
                f"There is no {name}: the fixed part of this {type(self).__name__} is "
                f"{self._fixed_part.about} and has no coefficients. "
                "predict(X, level='population') gives its values; "
                "sklearn.inspection shows how they depend on the columns."
            )
        return object.__getattribute__(self, name)

    def _store_part(self, fitted):
        self._fixed_part = fitted
        if fitted is None:
            return
        del self.coef_, self.coef_names_
        self.aic_ = self.bic_ = np.nan

    def _offset_with_part(self, offset, table, codes):
        """Offset and fixed part, for levels (-1: unseen) of each factor."""
        fitted = vars(self).get("_fixed_part")
        if fitted is None:
            return offset
        names = [term.name for term in self._terms]
        held_out = fitted.factor is not None
        values = fitted.predict(
            table, codes[names.index(fitted.factor)] if held_out else None
        )
        return values if offset is None else values + offset

    def _part_of_levels(self, table, labels):
        """What the fixed part of levels seen in fit has beyond that of unseen ones."""
        fitted = vars(self).get("_fixed_part")
        if fitted is None or fitted.factor is None:
            return 0.0
        names = [term.name for term in self._terms]
        parts = labels[names.index(fitted.factor)]
        codes = _groups.lookup(self.random_effects_[fitted.factor].index, parts)
        unseen = np.full_like(codes, -1)
        return fitted.predict(table, codes) - fitted.predict(table, unseen)


def resolve_part(fixed_effects):
    """The fixed part that a user's ``fixed_effects`` stands for; None for linear.

    Raises
    ------
    TypeError
        If it is a network instead of a function, a class, or a classifier.
    """
    if fixed_effects is None:
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


# ------------------------------------------------------------------ alternation


@dataclass(frozen=True)
class Data:
    """Rows that the fixed part is fitted to, in the order of the design.

    Parameters
    ----------
    features : ndarray or DataFrame of shape (n_rows, width)
    family : str
    y, weight : ndarray of shape (n_rows,)
        For the linear model y is less the offset.
    offset, trials : ndarray of shape (n_rows,) or None
    folds : ndarray of shape (n_repeats, n_rows)
        Fold of each row, 0, 1, ..., once for each division.
    units : ndarray of shape (n_rows,)
        Rows of one number are left out together.
    aligned : bool
        Whether the level of the fixed part is left to the intercept.
    random : RandomState
    """

    features: object
    family: str
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None
    trials: np.ndarray | None
    folds: np.ndarray
    units: np.ndarray
    aligned: bool
    random: np.random.RandomState

    def fold_rows(self):
        """Rows of each fold of each division, and all others."""
        for folds in self.folds:
            for fold in range(folds.max() + 1):
                inside = folds == fold
                yield np.flatnonzero(inside), np.flatnonzero(~inside)

    def cross_fitted(self, own):
        """Predictions f (n_rows,) for each row by models that have not seen it.

        The levels of the models differ by the mean effect of the levels that each has
        seen, which would add to the variance between folds; so all are moved to the
        same mean over all rows, where there is an intercept to find the right one.

        Parameters
        ----------
        own : list of ndarray of shape (n_rows,)
            Predictions of each model for all rows.

        Returns
        -------
        f : ndarray of shape (n_rows,)
        levels : ndarray of shape (n_models,)
            What was added to the predictions of each model.
        """
        means = np.array([self.weight @ values for values in own]) / self.weight.sum()
        levels = (means.mean() - means) * self.aligned
        f = np.zeros(len(self.y))
        for (inside, _), values, level in zip(
            self.fold_rows(), own, levels, strict=True
        ):
            f[inside] += (values[inside] + level) / len(self.folds)
        return f, levels


def alternate(part, features, problem, y, solver, center):
    r"""Fixed part and random effects, one given the other, until neither gains.

    The objective is -2 times the marginal log-likelihood of all rows with the
    cross-fitted predictions f as offset, which the solver maximises over the intercept,
    the covariances and the noise. It is computed after each alternation; the least
    value ends up in the model.

    1. The models of the folds are fitted, each without the rows of one fold, whose f it
       predicts, given mean and variance of each row's random part (first: zero).
    2. The solver finds covariances and noise given f.
    3. With these, each model's own predictions for the rows it was fitted to give it
       the random part of these rows for the next turn. Nothing of the rows that are
       held out comes back to it but through the few parameters of step 2.

    The first and third are EM steps in which the random effects are the missing data,
    so that errors common to a level are taken off slowly; the start from plain least
    squares is consistent.

    Parameters
    ----------
    part : FixedPart
    features : ndarray or DataFrame of shape (n_rows, width)
    problem : Problem
        With an intercept, or nothing, as its fixed columns.
    y : ndarray of shape (n_rows,)
    solver : BaseSolver
    center : callable
        Writes a target less its least-squares fit into a border, returns the fit.

    Returns
    -------
    solution : Solution
        With the objective at each alternation as its history.
    origin : ndarray or float
        To be added to the coefficients of the solution.
    f : ndarray of shape (n_rows,)
        Cross-fitted predictions.
    fitted : dict
        Content of `FittedPart`, with the number of the factor and the folds of its
        levels in the order of the design.
    """
    random = np.random.RandomState(problem.seed)
    repeats = [
        assign_folds(problem.design.factors, problem.weight, part.n_folds, random)
        for _ in range(part.n_repeats)
    ]
    _, units, held_out = repeats[0]
    folds = np.stack([repeat[0] for repeat in repeats])
    data = Data(
        features=features,
        family=problem.family,
        y=y,
        weight=problem.weight,
        offset=problem.offset,
        trials=problem.trials,
        folds=folds,
        units=units,
        aligned=problem.border.shape[1] > 1,
        random=random,
    )
    models = part.begin(data)
    zero = np.zeros(len(y)), np.zeros(len(y))
    rows = list(data.fold_rows())
    known = Known(zero, [zero] * len(rows))
    history, best, outcome = [], None, None
    enough = part.tol * problem.weight.sum()
    for _ in range(part.max_iter):
        own = models.step(known)
        f, levels = data.cross_fitted(own)
        current, origin = _given(problem, y, f, center)
        solution = solver.solve(current)
        objective = -2.0 * solution.log_likelihood
        if not np.isfinite(objective):
            objective = np.inf
        gain = history[-1] - objective if history else np.inf
        history.append(objective)
        if best is None or objective < best[0]:
            best = objective, solution, origin, f, models.state()
            best[-1]["levels"] = tuple(levels.tolist())
        if not problem.design.factors or gain < enough:
            break
        problem = replace(problem, start=_factors(solution, 1e-3))
        intercept = current.border[:, :-1] @ (solution.coef + origin)
        given = [
            _conditional(problem, solver, solution, y, values + level + intercept, at)
            for (at, _), values, level in zip(rows, own, levels, strict=True)
        ]
        variance = random_variance(problem, solution.posteriors)
        given.append((random_part(problem, solution.means), variance))
        *given, by_all = [(mean + intercept, variance) for mean, variance in given]
        known = Known(by_all, given)
    else:
        outcome = part.max_iter > 1 and (
            f"-2 log-likelihood still fell by {gain:.3g} in the last of "
            f"{part.max_iter} alternations of fixed part and random effects: give "
            f"{type(part).__name__} a larger max_iter or tol"
        )
    _, solution, origin, f, fitted = best
    solution = replace(
        solution,
        history=np.array(history),
        n_iter=len(history),
        outcome=solution.outcome or outcome or None,
    )
    if held_out is not None:
        n_levels = problem.design.factors[held_out].n_levels
        of_level = np.empty((len(folds), n_levels), dtype=np.intp)
        of_level[:, units] = folds
        fitted |= {"factor": held_out, "fold_of_level": of_level}
    return solution, origin, f, fitted


def assign_folds(factors, weight, n_folds, random):
    """Folds of rows: whole levels of a factor where it has enough of them.

    A flexible model recognises the rows of a level by columns that are constant within
    it, and would learn the level's effect from them. So the levels of one factor are
    held out whole: the factor with the fewest levels among those with four for each
    fold. Where there is none, rows are held out at random.

    Parameters
    ----------
    factors : sequence of Factor
    weight : ndarray of shape (n_rows,)
    n_folds : int
    random : RandomState

    Returns
    -------
    folds, units : ndarray of int of shape (n_rows,)
        Fold of each row, and the level, or the row itself, that is held out whole.
    held_out : int or None
        Number of the factor whose levels are held out.
    """
    n_rows = len(weight)
    n_folds = min(n_folds, n_rows)
    enough = _LEVELS_A_FOLD * n_folds
    usable = [r for r, f in enumerate(factors) if f.n_levels >= enough]
    if not usable:
        return random.permutation(n_rows) % n_folds, np.arange(n_rows), None
    held_out = min(usable, key=lambda r: factors[r].n_levels)
    units = factors[held_out].codes
    sizes = np.bincount(units, weight)
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    of_level = np.empty(len(sizes), dtype=np.intp)
    lightest = [(0.0, fold) for fold in range(n_folds)]
    for level in order:
        load, fold = lightest[0]
        of_level[level] = fold
        heapq.heapreplace(lightest, (load + sizes[level], fold))
    return of_level[units], units, held_out


@dataclass(frozen=True)
class Known:
    """What the fixed part is told of the random part of each row, and the intercept.

    Parameters
    ----------
    by_all : tuple of two ndarray of shape (n_rows,)
        Posterior mean and variance given the cross-fitted predictions of all rows.
    by_fold : list of tuple of two ndarray of shape (n_rows,)
        The same for each model, given the rows it was fitted to.
    """

    by_all: tuple
    by_fold: list


def _conditional(problem, solver, solution, y, f, held_out):
    """Random part of each row given f and the covariances, from the other rows."""
    linear = problem.family == "gaussian"
    offset, weight = None, problem.weight.copy()
    weight[held_out] = 0.0
    if not linear:
        offset = f if problem.offset is None else problem.offset + f
    current = replace(
        problem,
        border=(y - f if linear else y)[:, None],
        weight=weight,
        offset=offset,
        reml=False,
    )
    means, posteriors = condition(current, solver, _factors(solution, 1e-10))
    scale = solution.noise_variance or 1.0
    variance = random_variance(problem, [scale * block for block in posteriors])
    return random_part(problem, means), variance


def random_part(problem, effects):
    """Sum over the factors of z'b, by row, for effects (q, J) of every factor."""
    part = np.zeros(len(problem.weight))
    for factor, z, b in zip(problem.design.factors, problem.z, effects, strict=True):
        rows = b[:, factor.codes]
        part += rows[0] if z is None else np.einsum("ij,ji->i", z, rows)
    return part


def random_variance(problem, posteriors):
    """Variance of the same, the factors independent of each other given the data."""
    n_rows = len(problem.weight)
    variance = np.zeros(n_rows)
    for factor, z, blocks in zip(
        problem.design.factors, problem.z, posteriors, strict=True
    ):
        z = np.ones((n_rows, 1)) if z is None else z
        variance += np.einsum("ij,jki,ik->i", z, blocks[:, :, factor.codes], z)
    return np.maximum(variance, 0.0)


def _given(problem, y, f, center):
    """The problem with the fixed part known, and the origin of its coefficients."""
    if problem.family != "gaussian":
        offset = f if problem.offset is None else problem.offset + f
        return replace(problem, offset=offset), 0.0
    border = problem.border.copy()
    origin = center(y - f, border, problem.weight)
    return replace(problem, border=border), origin


def _factors(solution, least):
    """Relative factors T_r of a solution, off zero, which is stationary."""
    scale = solution.noise_variance or 1.0
    return tuple(
        np.linalg.cholesky(sigma / scale + least * np.eye(len(sigma)))
        for sigma in solution.covariances
    )


# ---------------------------------------------------------------- both kinds


class _Networks:
    """A network for each fold, in training."""

    def __init__(self, part, data):
        from skglmm.engine import networks, pointwise

        self._part, self._data = part, data
        features, weight, y = data.features, data.weight, data.y
        total = weight.sum()
        self._center = weight @ features / total
        spread = np.sqrt(weight @ (features - self._center) ** 2 / total)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._inputs = (features - self._center) / self._spread
        offset = 0.0 if data.offset is None else data.offset
        self._scale = 1.0
        if data.family == "gaussian":
            self._shift = weight @ y / total
            self._scale = np.sqrt(weight @ (y - self._shift) ** 2 / total) or 1.0
        else:
            start = pointwise.suggested(data.family, y, data.trials) - offset
            self._shift = weight @ start / total
        self._rows = [
            _held_out(data, outside, part.validation_fraction)
            for _, outside in data.fold_rows()
        ]
        seeds = data.random.randint(2**31 - 1, size=len(self._rows))
        self._trainers = [
            networks.Trainer(
                networks.build(part.build, features.shape[1], int(seed)),
                data.family,
                part.learning_rate,
            )
            for seed in seeds
        ]
        # what cannot be read back is found out before the training, not after
        networks.restore(*self._trainers[0].state())
        self._values = networks.values
        size = part.batch_size
        self._batch = min(max(len(y) // 64, 16), 256) if size == "auto" else size

    def step(self, known):
        """Train all networks given the random part; their predictions."""
        data, part = self._data, self._part
        trials = np.ones_like(data.y) if data.trials is None else data.trials
        weight = data.weight / data.weight.mean()
        for trainer, (mean, variance), (rows, held_out) in zip(
            self._trainers, known.by_fold, self._rows, strict=True
        ):
            y, at = data.y, mean + self._shift
            if data.family == "gaussian":
                y, at = (y - at) / self._scale, np.zeros_like(y)
            elif data.offset is not None:
                at = at + data.offset
            trainer.train(
                self._inputs,
                np.stack([y, trials, at, variance, weight]),
                rows,
                held_out,
                part.epochs,
                self._batch,
                part.patience,
                data.random,
            )
        return [
            self._shift + self._scale * self._values(trainer.model, self._inputs)
            for trainer in self._trainers
        ]

    def state(self):
        """Content of `FittedPart`."""
        return {
            "networks": tuple(trainer.state() for trainer in self._trainers),
            "center": self._center,
            "spread": self._spread,
            "shift": float(self._shift),
            "scale": float(self._scale),
        }


class _Regressors:
    """A regressor for each fold."""

    def __init__(self, part, data):
        self._part, self._data, self._own = part, data, None
        self._models = [
            _seeded(clone(part.regressor), data.random) for _ in data.fold_rows()
        ]

    def step(self, known):
        """Fit all regressors given the random part; their predictions."""
        data = self._data
        if data.family == "gaussian":
            even = np.all(data.weight == data.weight[0])
            weight = None if even else data.weight
            work = ((data.y - mean, weight) for mean, _ in known.by_fold)
            own, self._models = self._fit(work)
            return own
        # each turn begins at the responses: a Newton step from predictions that are
        # far too low for some rows would overshoot there
        suggested = self._suggested()
        starts = [suggested - mean for mean, _ in known.by_fold]
        best, size = -np.inf, 1.0
        for k in range(self._part.n_steps):
            steps = (
                (f, *self._working(f, *part))
                for f, part in zip(starts, known.by_fold, strict=True)
            )
            own, models = self._fit(
                (f + size * move, data.weight * weight) for f, _, move, weight in steps
            )
            f = data.cross_fitted(own)[0]
            value = data.weight @ self._working(f, *known.by_all)[0]
            if k == 0 or value > best:
                best, self._own, self._models = value, own, models
                starts = [f] * len(models)
            else:
                size *= 0.5
        return self._own

    def _suggested(self):
        from skglmm.engine import pointwise

        data = self._data
        offset = 0.0 if data.offset is None else data.offset
        return pointwise.suggested(data.family, data.y, data.trials) - offset

    def _working(self, f, mean, variance):
        from skglmm.engine import pointwise

        data = self._data
        at = f + mean if data.offset is None else f + mean + data.offset
        return pointwise.working(data.family, data.y, data.trials, at, variance)

    def state(self):
        """Content of `FittedPart`."""
        return {"regressors": tuple(self._models)}

    def _fit(self, work):
        """Models of all folds, each given its target and weight, and their f."""
        features, models = self._data.features, []
        for model, (_, outside), (target, weight) in zip(
            self._models, self._data.fold_rows(), work, strict=True
        ):
            options = {}
            if weight is not None:
                options = {_weight_name(model): weight[outside]}
            model = clone(model)
            models.append(
                model.fit(take(features, outside), target[outside], **options)
            )
        return [_values(model, features) for model in models], models


def _held_out(data, rows, share):
    """Rows to train on, and whole units of them to watch."""
    present, units = np.unique(data.units[rows], return_inverse=True)
    order = data.random.permutation(len(present))
    sizes = np.bincount(units, data.weight[rows])[order]
    before = np.cumsum(sizes) - 0.5 * sizes
    watched = np.zeros(len(present), dtype=bool)
    watched[order] = before < share * sizes.sum()
    inside = watched[units]
    return (rows, rows[:0]) if inside.all() else (rows[~inside], rows[inside])


def take(features, rows):
    """Rows of an array or a dataframe."""
    if hasattr(features, "iloc"):
        return features.iloc[rows]
    return features[rows]


def _values(model, features):
    return np.asarray(model.predict(features), dtype=np.float64).reshape(len(features))


def _seeded(model, random):
    """The model with every seed that was left open set."""
    seeds = {
        name: int(random.randint(2**31 - 1))
        for name, value in sorted(model.get_params(deep=True).items())
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return model.set_params(**seeds)


def _weight_name(model):
    """How `fit` of a regressor takes weights."""
    name = "sample_weight"
    last = model
    if isinstance(model, Pipeline):
        step, last = model.steps[-1]
        name = f"{step}__sample_weight"
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"fixed_effects is {type(last).__name__}, whose fit takes no "
            "sample_weight: weights, counts and classes need a regressor that does."
        )
    return name


def describe(part):
    """A fixed part in the words of a message."""
    if isinstance(part, RegressorPart):
        return f"a {type(part.regressor).__name__}"
    return f"the network of {getattr(part.build, '__name__', part.build)!r}"


def _columns(table, positions):
    """Columns of a dataframe as they are, those of an array as numbers."""
    if table.is_array:
        return table.numeric(positions, missing=True)
    columns = (table.labels(at) for at in positions)
    frame = pd.DataFrame(
        {k: getattr(column, "array", column) for k, column in enumerate(columns)},
        index=range(table.n_rows),
    )
    names = table.names or list(range(table.n_columns))
    return frame.set_axis([names[at] for at in positions], axis=1)
