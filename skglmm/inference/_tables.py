"""The frame of tests and intervals, which all functions give."""

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtr, stdtrit

COLUMNS = ("estimate", "std_error", "df", "statistic", "p_value", "lower", "upper")


def tests_and_intervals(estimate, std_error, df, coverage, index):
    """Tests that estimates are zero, and their intervals.

    Parameters
    ----------
    estimate, std_error : ndarray of shape (m,)
    df : ndarray of shape (m,)
        Degrees of freedom of t distributions, infinite for the normal one.
    coverage : float
        Probability that an interval holds what is estimated.
    index : Index

    Returns
    -------
    table : DataFrame
        With `COLUMNS`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / std_error
        width = std_error * -t_quantile(0.5 * (1.0 - coverage), df)
        both_sides = 2.0 * t_cdf(-np.abs(statistic), df)
    values = estimate, std_error, df, statistic, both_sides
    values += estimate - width, estimate + width
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)), index=index)


def exponentiated(table):
    """The same with ratios in the place of their logarithms.

    Parameters
    ----------
    table : DataFrame
        See `tests_and_intervals`.

    Returns
    -------
    table : DataFrame
        ``std_error`` and ``statistic`` remain those of the logarithm.
    """
    with np.errstate(over="ignore"):
        return table.assign(
            **{name: np.exp(table[name]) for name in ("estimate", "lower", "upper")}
        )


def t_cdf(value, df):
    """Distribution function of t, normal where `df` is infinite."""
    return np.where(np.isinf(df), ndtr(value), stdtr(df, value))


def t_quantile(probability, df):
    """Quantiles of t, normal where `df` is infinite."""
    return np.where(np.isinf(df), ndtri(probability), stdtrit(df, probability))
