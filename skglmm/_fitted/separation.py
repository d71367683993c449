"""Columns that tell the outcomes apart without an exception."""

import numpy as np

# A column separates the outcomes if its whole effect is larger than the one, and the
# standard error of that is larger than the other.
_FAR, _SEPARATED = 5.0, 50.0


def separated_columns(fixed_effects, covariance, ranges, fit_intercept):
    """Columns whose coefficients want to be infinite.

    Far from the data the intercept may well be uncertain: what counts is its error
    with the coefficients known.

    Parameters
    ----------
    fixed_effects : DataFrame
        ``estimate`` and ``std_error``, the intercept first if there is one.
    covariance : ndarray
        Of all of them; NaN where a coefficient was set to zero.
    ranges : ndarray of shape (n_fixed,)
        Largest less smallest value of each column.
    fit_intercept : bool

    Returns
    -------
    names : list of str
    """
    frame = fixed_effects.iloc[int(fit_intercept) :]
    size = np.abs(frame["estimate"].to_numpy()) * ranges
    loose = frame["std_error"].to_numpy() * ranges > _SEPARATED
    names = list(frame.index[loose & (size > _FAR)])
    if names or not fit_intercept:
        return names
    known = ~np.isnan(np.diag(covariance))
    precision = np.linalg.pinv(covariance[np.ix_(known, known)])
    error = 1.0 / np.sqrt(max(precision[0, 0], 1e-300))
    far = abs(fixed_effects["estimate"].iloc[0]) > _FAR
    return ["Intercept"] if far and error > _SEPARATED else []
