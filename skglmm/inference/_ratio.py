"""Likelihood-ratio statistics of responses that the smaller model has drawn."""

import numpy as np
from sklearn.utils import check_random_state

from skglmm._progress import Tally
from skglmm.inference._batches import fit_batch
from skglmm.inference._bootstrap import sizes
from skglmm.inference._simulation import once_each, truth_of, truth_of_batch

# Two statistics that differ by less are the same but for rounding.
_SAME = 1e-7


class BootstrapTest:
    """The parametric bootstrap test of two models.

    Parameters
    ----------
    n_resamples : int
    random_state : int, RandomState instance or None
    reml : bool or None
        Whether linear models are fitted by the restricted likelihood; None leaves that
        to each.
    verbose : int
    """

    def __init__(self, n_resamples, random_state, reml, verbose):
        self._n, self._reml, self._verbose = n_resamples, reml, verbose
        self._random = check_random_state(random_state)

    def p_value(self, small, large, chi2):
        """P-value of a statistic, and how it was found.

        Parameters
        ----------
        small, large : object
            With ``name``, ``model``, ``inputs``, ``fitted`` and ``found``.
        chi2 : float

        Returns
        -------
        p_value : float
            (1 + number of draws with as large a statistic) / (1 + number of draws).
        how : str
        """
        draws = self._draws(small, large)
        known = draws[np.isfinite(draws)]
        reached = np.count_nonzero(known >= chi2 - _SAME)
        how = f"parametric bootstrap, {len(known)} draws"
        if len(known) < len(draws):
            how += f" ({len(draws) - len(known)} more without a likelihood)"
        return (1.0 + reached) / (1.0 + len(known)), how

    def _draws(self, small, large):
        """Statistics of responses drawn from the smaller model, (n_resamples,)."""
        rows, others = once_each(small.inputs), once_each(large.inputs)
        truth, found = self._truth(small), []
        text = f"bootstrap of {large.name!r}, refits"
        with Tally(text, 2 * self._n, self._verbose) as done:
            for n in sizes(rows, self._n):
                Y = truth.draw(rows, n, self._random)
                first, second = (
                    fit_batch(one.model, inputs, Y, reml=self._reml, done=done)
                    for one, inputs in ((small, rows), (large, others))
                )
                found.append(2.0 * (second.log_likelihood - first.log_likelihood))
        return np.concatenate(found)

    def _truth(self, small):
        if small.fitted and not small.found.refitted:
            return truth_of(small.model)
        model, inputs = small.model, small.inputs
        family = model._distribution()
        if family.parameter_names:
            raise ValueError(
                f"test='bootstrap' draws from {small.name!r}, which has parameters of "
                "its distribution: fit it first."
            )
        batch = fit_batch(model, inputs, inputs.y[:, None], reml=self._reml)
        return truth_of_batch(batch, family, model.fit_intercept)
