"""P-values and intervals of several comparisons at once."""

import numpy as np
from scipy.stats import studentized_range

from skglmm.inference._tables import t_quantile


def adjusted(table, method, coverage, n_means):
    """The same table with what is owed to the number of comparisons.

    Parameters
    ----------
    table : DataFrame
        See `tests_and_intervals`.
    method : {"tukey", "sidak", "holm", "none"}
    coverage : float
        Probability that all intervals hold together.
    n_means : int
        Number of means that are compared.

    Returns
    -------
    table : DataFrame
    """
    df, p_value = table["df"].to_numpy(), table["p_value"].to_numpy()
    m = np.count_nonzero(~np.isnan(p_value))
    if method == "none" or m < 2:
        return table
    if method == "tukey":
        size = np.sqrt(2.0) * np.abs(table["statistic"].to_numpy())
        p_value = np.minimum(studentized_range.sf(size, n_means, df), 1.0)
        width = _tukey_quantile(coverage, n_means, df) / np.sqrt(2.0)
    elif method == "sidak":
        p_value = -np.expm1(m * np.log1p(-p_value))
        width = -t_quantile(0.5 * -np.expm1(np.log(coverage) / m), df)
    else:
        p_value = _holm(p_value)
        width = -t_quantile(0.5 * (1.0 - coverage) / m, df)
    width = width * table["std_error"]
    return table.assign(
        p_value=p_value,
        lower=table["estimate"] - width,
        upper=table["estimate"] + width,
    )


def _tukey_quantile(coverage, n_means, df):
    """Quantiles of the studentized range, each looked for once."""
    found = np.full(len(df), np.nan)
    for value in np.unique(df[~np.isnan(df)]):
        found[df == value] = studentized_range.ppf(coverage, n_means, value)
    return found


def _holm(p_value):
    """Holm's p-values: the smallest times their number, and so on upwards."""
    found = np.full(len(p_value), np.nan)
    order = np.argsort(p_value)
    order = order[~np.isnan(p_value[order])]
    times = np.arange(len(order), 0, -1)
    grown = np.maximum.accumulate(times * p_value[order])
    found[order] = np.minimum(grown, 1.0)
    return found
