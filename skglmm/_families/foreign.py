"""Families of TensorFlow Probability."""

import numpy as np

from skglmm._families.base import Family, halved
from skglmm._families.linked import highest
from skglmm._families.mixtures import average


class Foreign(Family):
    """An instance of ``tfp.glm.ExponentialFamily``, of which all is asked.

    Parameters
    ----------
    model : tfp.glm.ExponentialFamily
    """

    link = "own"

    def __init__(self, model):
        self._model = model
        self.name = f"tfp_{type(model).__name__}"
        self.words = f"{type(model).__name__} of TensorFlow Probability"

    def likelihood(self):
        """Its density, differentiated automatically."""
        from skglmm.engine.foreign import Foreign

        return Foreign(self._model)

    def _asked(self, what, eta, *more):
        from skglmm.engine import foreign

        return foreign.asked(self._model, what, eta, *more)

    def check(self, y, trials, rows):
        from skglmm.engine.foreign import first_outside

        at = first_outside(self._model, y)
        if at is None:
            density = self._asked("log_prob", np.zeros(len(y)), y)
            at = next(iter(np.flatnonzero(~np.isfinite(density))), None)
        if at is not None:
            raise ValueError(
                f"Row {rows[at]} holds {y[at]:g} in y, which has no probability in "
                f"{self.words}: drop such rows, or use another family."
            )
        return []

    def inverse_link(self, eta):
        """Mean of the response."""
        return self._asked("mean", eta)

    def integrated_mean(self, eta, variance):
        """Average of means."""
        return average(lambda at, rows: self.inverse_link(at), eta, variance, 0.5)

    def variance(self, eta, variance, size):
        """E[Var(y)] + Var[E(y)]."""
        centre = self.inverse_link(np.asarray(eta, dtype=float))

        def inside(at, rows):
            away = self.inverse_link(at) - centre[rows]
            return np.stack([self._asked("variance", at), away, away * away])

        own, first, second = average(inside, eta, variance, 0.5)
        return own + np.maximum(second - first**2, 0.0)

    def quantile(self, probability, eta, variance, size):
        """Refused: not all families know their distribution function."""
        raise ValueError(
            f"predict_interval has no intervals of a response for {self.words}: use "
            "of='mean', or quantiles of sample_y."
        )

    def sample(self, eta, size, random):
        """Random responses, if the family makes a distribution that draws."""
        seed = random.randint(2**31 - 1, size=2)
        found = self._asked("sample", eta, seed)
        if found is None:
            raise ValueError(
                f"sample_y has no samples for {self.words}, which makes no "
                "distribution that draws."
            )
        return found

    def deviance(self, y, mean, trials):
        """Twice the log-likelihood at a mean, less than the best of those tried."""
        ends = np.full(len(y), -700.0), np.full(len(y), 700.0)
        rises = self.inverse_link(np.ones(1))[0] > self.inverse_link(-np.ones(1))[0]
        low, high = halved(
            lambda eta: (self.inverse_link(eta) < mean) == rises, *ends, turns=70
        )
        here = self._asked("log_prob", 0.5 * (low + high), y)
        return 2.0 * (self._best(y) - here)

    def _best(self, y):
        def at(eta):
            found = self._asked("log_prob", eta, y)
            return np.where(np.isfinite(found), found, -np.inf)

        return highest(at, np.full(len(y), -50.0), np.full(len(y), 50.0))


_KEPT: list["Foreign"] = []


def foreign(model):
    """The family of an instance; one for equal instances.

    Copies, as scikit-learn makes them, are equal where they hold the same.
    """
    for family in _KEPT:
        if _same(family._model, model):
            return family
    _KEPT.append(Foreign(model))
    del _KEPT[:-_MOST]
    return _KEPT[-1]


_MOST = 32


def _same(one, other):
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    a, b = (
        {k: v for k, v in vars(part).items() if k != "_name_scope"}
        for part in (one, other)
    )
    try:
        return a.keys() == b.keys() and all(bool(np.all(a[k] == b[k])) for k in a)
    except (TypeError, ValueError):
        return False
