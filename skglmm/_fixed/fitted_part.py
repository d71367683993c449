"""A fixed part after fitting: the models of all folds."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from skglmm._fixed.features import columns_of, take, values_of


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
            models = [partial(values_of, model) for model in self.regressors]
            return models, columns_of(table, self.columns)
        from skglmm.engine import networks

        if not self.live:
            self.live.extend(networks.restore(*state) for state in self.networks)

        def scaled(network, inputs):
            return self.shift + self.scale * networks.values(network, inputs)

        models = [partial(scaled, network) for network in self.live]
        return models, (table.numeric(self.columns) - self.center) / self.spread
