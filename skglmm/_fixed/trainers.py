"""Training of a network, or of models of scikit-learn, on cross-fitted rows."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skglmm._families import Family
from skglmm._fixed.features import take, values_of


@dataclass(frozen=True)
class Known:
    """What the fixed part is told of the random part of each row, and the intercept.

    Parameters
    ----------
    by_all : tuple of two ndarray of shape (n_rows,)
        Posterior mean and variance given the cross-fitted predictions of all rows.
    by_fold : list of tuple of two ndarray of shape (n_rows,)
        The same for each model, given the rows it was fitted to.
    family : Family
        With the parameters of its own that go with these.
    """

    by_all: tuple
    by_fold: list
    family: Family


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
        if data.family.is_linear:
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
            if data.family.is_linear:
                y, at = (y - at) / self._scale, np.zeros_like(y)
            elif data.offset is not None:
                at = at + data.offset
            trainer.take_parameters(known.family, data.y, data.trials, data.weight)
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
        if data.family.is_linear:
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
                (f, *self._working(known.family, f, *part))
                for f, part in zip(starts, known.by_fold, strict=True)
            )
            own, models = self._fit(
                (f + size * move, data.weight * weight) for f, _, move, weight in steps
            )
            f = data.cross_fitted(own)[0]
            value = data.weight @ self._working(known.family, f, *known.by_all)[0]
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

    def _working(self, family, f, mean, variance):
        from skglmm.engine import pointwise

        data = self._data
        at = f + mean if data.offset is None else f + mean + data.offset
        return pointwise.working(family, data.y, data.trials, at, variance)

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
        return [values_of(model, features) for model in models], models


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
