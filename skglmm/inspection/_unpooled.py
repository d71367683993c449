"""Effects of each level as its own rows have them, without the other levels."""

import numpy as np
import pandas as pd

from skglmm._fitted.state import family_of
from skglmm._reading.target import read_numbers

# Turns of scoring, and how far an effect may be from zero on a scale of logs.
_TURNS, _FARTHEST, _STEP = 50, 30.0, 1e-5


def unpooled(model, X, y, factor, groups=None):
    r"""Effects of each level by maximum likelihood, all else as in the model.

    The fixed part and the effects of other factors are an offset. For the linear model
    it is least squares in each level, for others Fisher's scoring, all levels at once:

    .. math:: b_i \leftarrow b_i + \Big(\sum_{t \in i} w_t z_t z_t^\top\Big)^{-1}
        \sum_{t \in i} w_t z_t (y_t - \mu_t) / \mu'_t, \qquad
        w_t = \mu_t'^2 / \mathrm{Var}(y_t).

    Parameters
    ----------
    model : BaseMixedModel
    X : dataframe or array-like
    y : array-like
    factor : str or int
    groups : array-like or None, default=None
        As in ``predict``.

    Returns
    -------
    effects : DataFrame
        As ``random_effects_[factor]``; NaN where the rows of a level do not determine
        them, or have no finite estimate.
    """
    rows, special = model._rows(X, groups, "conditional")
    own = rows.effects[model._fitted.position(factor)]
    table = model.random_effects_[factor]
    known = own.codes >= 0
    rest = rows.mean()
    without = np.zeros(len(rest))
    own.add_to(without, own.padded(own.means))
    rest = (rest - without)[known]
    z = np.ones((len(own.codes), 1)) if own.z is None else own.z
    levels = _Levels(own.codes[known], z[known], len(table))
    y = _numbers(model, y, len(known), special)[known]
    family = family_of(model)
    size = model._observation_size(special, len(known))
    size = None if size is None else np.asarray(size)[known]
    if family.is_linear:
        found = levels.solve(np.ones(len(y)), y - rest)
    else:
        found = _scored(family, levels, y, rest, size)
    return pd.DataFrame(found, table.index, table.columns)


def numbers(model, y, X, groups=None):
    """Targets in the units of the mean of the response.

    Parameters
    ----------
    model : BaseMixedModel
    y, X, groups
        As in ``score``.

    Returns
    -------
    y : ndarray of shape (n_rows,)
    """
    rows, special = model._rows(X, groups, "population")
    return _numbers(model, y, len(rows.X), special)


def _numbers(model, y, n, special):
    classes = getattr(model, "classes_", None)
    if classes is not None:
        return codes_of_classes(y, classes)
    values = read_numbers(y, n, type(model).__name__).values
    return values / special["trials"] if "trials" in special else values


def codes_of_classes(y, classes):
    """The place of each label among the classes, as a number."""
    y = np.asarray(y)
    return sum(float(k) * (y == label) for k, label in enumerate(classes))


class _Levels:
    """Sums by level of rows (codes and values z)."""

    def __init__(self, codes, z, n):
        self.codes, self.z, self.n = codes, z, n
        counts = np.bincount(codes, minlength=n)
        self.few = counts < z.shape[1]

    def total(self, values):
        return np.bincount(self.codes, values, minlength=self.n)

    def solve(self, weight, values):
        """Weighted least squares in each level; NaN where it is not determined."""
        q = self.z.shape[1]
        gram, score = np.empty((self.n, q, q)), np.empty((self.n, q))
        for i in range(q):
            score[:, i] = self.total(weight * self.z[:, i] * values)
            for k in range(i + 1):
                part = self.total(weight * self.z[:, i] * self.z[:, k])
                gram[:, i, k] = gram[:, k, i] = part
        scale = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-300))
        unit = gram / (scale[:, :, None] * scale[:, None, :])
        bad = self.few | (np.linalg.eigvalsh(unit)[:, 0] < 1e-10)
        unit[bad] = np.eye(q)
        found = np.linalg.solve(unit, (score / scale)[..., None])[..., 0] / scale
        found[bad] = np.nan
        return found

    def at(self, effects):
        return np.einsum("ni,ni->n", self.z, effects[self.codes])


def _scored(family, levels, y, rest, size):
    effects = np.zeros((levels.n, levels.z.shape[1]))
    no_variance = np.zeros(len(y))
    for _ in range(_TURNS):
        eta = rest + levels.at(np.nan_to_num(effects))
        mean = family.inverse_link(eta)
        slope = family.inverse_link(eta + _STEP) - family.inverse_link(eta - _STEP)
        slope = np.maximum(slope / (2.0 * _STEP), 1e-100)
        variance = np.maximum(family.variance(eta, no_variance, size), 1e-200)
        step = levels.solve(slope**2 / variance, (y - mean) / slope)
        step = np.clip(step, -2.0, 2.0)
        effects = effects + step
        if np.nanmax(np.abs(step), initial=0.0) < 1e-8:
            break
    apart = np.abs(step) > 1e-3
    return np.where(apart | (np.abs(effects) > _FARTHEST), np.nan, effects)
