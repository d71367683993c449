"""Columns with gaps: their joint normal distribution, and what is said of them."""

from dataclasses import dataclass

import numpy as np

from skglmm._reading.inputs import advice_on_gaps

_DETERMINED = 1e-8


@dataclass(frozen=True)
class ColumnModel:
    """Joint normal distribution of the fixed columns, for rows with gaps.

    Parameters
    ----------
    mean : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
    """

    mean: np.ndarray
    covariance: np.ndarray

    def fill(self, X, coef):
        """Conditional means in the place of NaN.

        Parameters
        ----------
        X : ndarray of shape (n_rows, p)
        coef : ndarray of shape (p,)

        Returns
        -------
        X : ndarray of shape (n_rows, p)
        variance : ndarray of shape (n_rows,)
            Conditional variance of ``X @ coef``.
        """
        X, variance = X.copy(), np.zeros(len(X))
        scale = np.sqrt(np.diag(self.covariance))
        scale[scale == 0.0] = 1.0
        correlation = self.covariance / np.outer(scale, scale)
        for gaps, rows in patterns(np.isnan(X)):
            known = ~gaps
            inverse = np.linalg.pinv(correlation[np.ix_(known, known)], 1e-10, True)
            slopes = correlation[np.ix_(gaps, known)] @ inverse
            conditional = correlation[np.ix_(gaps, gaps)] - (
                slopes @ correlation[np.ix_(known, gaps)]
            )
            away = (X[np.ix_(rows, known)] - self.mean[known]) / scale[known]
            filled = self.mean[gaps] + (away @ slopes.T) * scale[gaps]
            X[np.ix_(rows, gaps)] = filled
            size = (scale * coef)[gaps]
            variance[rows] = max(size @ conditional @ size, 0.0)
        return X, variance


def read_rows(table, fitted, coef, codes):
    """Fixed columns of rows to predict, and the variance that gaps add.

    Parameters
    ----------
    table : Table
    fitted : Fitted
    coef : ndarray of shape (p,)
    codes : list of ndarray of shape (n_rows,)
        Level of each row by term, -1 where it is not known.

    Returns
    -------
    X : ndarray of shape (n_rows, p)
    variance : ndarray of shape (n_rows,) or None
    """
    columns = fitted.fixed_columns
    if fitted.column_model is None:
        return table.numeric(columns, advice=advice_on_gaps(fitted.part)), None
    X = table.numeric(columns, missing=True)
    if np.isinf(X).any():
        table.numeric(columns)
    if not np.isnan(X).any():
        return X, None
    of_levels = np.zeros(len(X))
    if fitted.properties:
        X = X.copy()
    for at, name, mean, variance in fitted.properties:
        of_row = codes[fitted.position(name)]
        rows = np.isnan(X[:, at]) & (of_row >= 0) & (of_row < len(mean))
        X[rows, at] = mean[of_row[rows]]
        of_levels[rows] += coef[at] ** 2 * variance[of_row[rows]]
    X, variance = ColumnModel(*fitted.column_model).fill(X, coef)
    return X, variance + of_levels


def patterns(holes):
    """Each pattern of gaps with its rows, rows without a gap left out."""
    kinds, of_row = np.unique(holes, axis=0, return_inverse=True)
    of_row = np.ravel(of_row)
    for k, gaps in enumerate(kinds):
        if gaps.any():
            yield gaps, np.flatnonzero(of_row == k)
