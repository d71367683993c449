"""Answers of classifiers that follow from the probabilities of the classes."""

import numpy as np
from numpy.typing import ArrayLike

from skglmm._dask.lazy import by_partition
from skglmm._dask.scores import scored_by_partition
from skglmm._reading.target import read_labels


class ClassesMixin:
    """Methods of a model with `classes_` and ``predict_proba``."""

    @by_partition
    def predict_log_proba(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Logarithm of the probability of each class.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; the logarithm of `predict_proba`, minus
            infinity where that is zero.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, groups=groups, level=level))

    @by_partition
    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Random classes.

        Each sample has one draw of the fixed effects and one of the effects of each
        level, so that its rows depend on each other as rows of new data would.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        n_samples : int, default=1
            Number of samples of all rows.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.
        random_state : int, RandomState instance or None, default=None
            An integer gives the same samples each time.

        Returns
        -------
        y : ndarray of shape (n_rows, n_samples)
            Labels from `classes_`.
        """
        codes = super().sample_y(
            X, n_samples, groups=groups, level=level, random_state=random_state
        )
        return self.classes_[codes.astype(np.intp)]

    @scored_by_partition
    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> float:
        """Share of rows whose class is predicted correctly.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.

        Returns
        -------
        score : float
            Accuracy of ``predict(X)``.
        """
        # what only a score needs is not loaded to predict
        from sklearn.metrics import accuracy_score

        y_pred = self.predict(X, groups=groups)
        y = read_labels(y, len(y_pred), type(self).__name__)
        return accuracy_score(y, y_pred, sample_weight=sample_weight)
