r"""The parametric bootstrap: the model refitted to responses that it has drawn.

Efron's BCa interval [1]_ of a parameter takes the quantiles of its draws at

    Phi(z0 + (z0 + z) / (1 - a (z0 + z))),    z = Phi^-1 of the tails,

where z0 is the normal quantile of the share of draws below the estimate. The
acceleration a is a sixth of the skewness of its influence, by a jackknife over groups:
with d_i the mean of the estimates without a group, less the one without group i,
a = sum d_i^3 / (6 (sum d_i^2)^(3/2)) ([1]_, eq. 6.6, [2]_, eq. 14.15). Groups are what
is independent: the levels of the outermost factor, or of the largest, if several cross.

References
----------
.. [1] Efron, B. (1987). Better bootstrap confidence intervals. JASA 82, 171-185.
.. [2] Efron, B. and Tibshirani, R. J. (1993). An introduction to the bootstrap.
   Chapman and Hall.
"""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_random_state

from skglmm._base import BaseMixedModel
from skglmm._fitted.report import sentences, warn
from skglmm._progress import Tally
from skglmm._reading.inputs import Inputs
from skglmm.inference._batches import fit_batch, parameters_frame
from skglmm.inference._parameters import parameters_of
from skglmm.inference._simulation import once_each, truth_of, without

# Groups that are left out together are so many at most.
_BLOCKS = 50
# Values of responses that are drawn together.
_VALUES = 16_000_000


def bootstrap_draws(
    model: BaseMixedModel, inputs: Inputs, n_resamples, random_state, verbose=0
) -> pd.DataFrame:
    """Estimates of a model from responses that it has drawn.

    Parameters
    ----------
    model : BaseMixedModel
        Fitted. Its estimates are the truth, and its random effects are drawn anew.
    inputs : Inputs
        Its rows (`_rows.read_again`).
    n_resamples : int
    random_state : int, RandomState instance or None
    verbose : int, default=0

    Returns
    -------
    draws : DataFrame of shape (n_resamples, n_parameters)
        With the columns of `parameters_of`.
    """
    inputs, random = once_each(inputs), check_random_state(random_state)
    truth, frames, stuck = truth_of(model), [], 0
    with Tally("bootstrap, refits", n_resamples, verbose) as done:
        for n in sizes(inputs, n_resamples):
            Y = truth.draw(inputs, n, random)
            batch = fit_batch(model, inputs, Y, truth=truth.relative_roots, done=done)
            stuck += int(np.sum(~batch.converged))
            index = pd.RangeIndex(n, name="draw")
            frames.append(parameters_frame(model, inputs, batch, index))
    if stuck:
        warn(sentences([f"{stuck} of {n_resamples} refits did not converge"]))
    return pd.concat(frames, ignore_index=True)


def sizes(inputs, n):
    """Numbers of responses that are drawn together, n in all."""
    most = max(_VALUES // max(len(inputs.y), 1), 1)
    return [min(most, n - at) for at in range(0, n, most)]


def bootstrap_intervals(
    model: BaseMixedModel,
    inputs: Inputs,
    coverage,
    kind,
    n_resamples,
    random_state,
    verbose=0,
) -> pd.DataFrame:
    """Intervals of all parameters by the parametric bootstrap.

    Parameters
    ----------
    model, inputs, n_resamples, random_state, verbose
        See `bootstrap_draws`.
    coverage : float
    kind : {"percentile", "bca"}

    Returns
    -------
    intervals : DataFrame
        ``lower`` and ``upper``, indexed as `parameters_of`. NaN where an estimate is
        not known, or no draw of it.
    """
    estimates = parameters_of(model)
    draws = bootstrap_draws(model, inputs, n_resamples, random_state, verbose)
    tails = np.array([0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)])
    acceleration = np.zeros(len(estimates))
    if kind == "bca":
        acceleration = _acceleration(model, inputs, estimates)
    rows = []
    for (name, value), a in zip(estimates.items(), acceleration, strict=True):
        of_one = draws[name].to_numpy()
        of_one = of_one[np.isfinite(of_one)]
        if not len(of_one) or np.isnan(value):
            rows.append([np.nan, np.nan])
            continue
        at = tails if kind == "percentile" else _shifted(tails, of_one, value, a)
        rows.append(np.quantile(of_one, at))
    return pd.DataFrame(rows, estimates.index, columns=["lower", "upper"])


def _shifted(tails, draws, estimate, acceleration):
    """Where BCa reads its quantiles."""
    # draws at the estimate itself, of a variance at zero say, count half
    below = np.mean(draws < estimate) + 0.5 * np.mean(draws == estimate)
    least = 0.5 / len(draws)
    bias = norm.ppf(np.clip(below, least, 1.0 - least))
    z = bias + norm.ppf(tails)
    return norm.cdf(bias + z / (1.0 - acceleration * z))


def _acceleration(model, inputs, estimates):
    """A sixth of the skewness of the influence of groups; 0 where it is not known."""
    found = []
    for gone in _blocks(inputs):
        left = without(inputs, gone)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                batch = fit_batch(model, left, left.y[:, None])
            except ValueError:  # what is left does not determine the model
                continue
        found.append(parameters_frame(model, left, batch, [0]).to_numpy()[0])
    if len(found) < 3:
        return np.zeros(len(estimates))
    found = np.array(found)
    known = np.isfinite(found)
    count = np.maximum(known.sum(axis=0), 1)
    away = np.where(known, np.where(known, found, 0).sum(axis=0) / count - found, 0.0)
    square = np.sum(away**2, axis=0)
    size = np.max(np.abs(estimates.to_numpy()), initial=0.0) + 1.0
    usable = square > (1e-12 * size) ** 2
    cube = np.sum(away**3, axis=0)
    return np.where(usable, cube / (6.0 * np.where(usable, square, 1.0) ** 1.5), 0.0)


def _blocks(inputs):
    """Rows (n_rows,) of groups that are left out together, in turns."""
    if not inputs.terms:
        units = np.arange(len(inputs.y))
        n_units = len(units)
    else:
        at = _outermost(inputs)
        units, n_units = inputs.codes[at], len(inputs.levels[at])
    n_blocks = min(n_units, _BLOCKS)
    block = (np.arange(n_units) * n_blocks) // n_units
    return [block[units] == k for k in range(n_blocks)]


def _outermost(inputs):
    """The factor whose levels are independent, or the largest of those that cross."""
    sizes_of = [len(levels) for levels in inputs.levels]

    def inside(a, b):
        pairs = np.unique(np.stack([inputs.codes[a], inputs.codes[b]]), axis=1)
        return pairs.shape[1] == sizes_of[a] and sizes_of[a] > sizes_of[b]

    several = range(len(sizes_of))
    outer = [a for a in several if not any(inside(a, b) for b in several if b != a)]
    return max(outer, key=lambda a: sizes_of[a])
