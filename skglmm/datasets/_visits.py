"""An artificial table of visits, as a clinic's system writes it."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar

from skglmm.datasets._mixed_regression import _generator

_REGIONS = ("north", "south", "west")


def make_visits(
    n_visits: int = 4200,
    n_patients: int = 414,
    n_nurses: int = 55,
    *,
    missing: float = 0.04,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    r"""Artificial visits of patients by nurses, as raw as such tables are.

    The minutes of visit i, of patient p by nurse n, d months after the first visit of
    the table, are

    .. math:: 38 - 0.6\, d_i + 1.2\, \mathrm{pain}_i + r_{\mathrm{region}(p)}
        + 3\, \mathrm{insured}_p + a_p + b_p d_i + c_n + \varepsilon_i

    with r = 0, 2 and 5 for north, south and west; standard deviations of 6 and 0.5
    for a patient's level and pace, uncorrelated, 4 for a nurse, and 5 for the rest.
    Patients and nurses are crossed: anybody may be visited by anybody.

    Parameters
    ----------
    n_visits : int, default=4200
        Number of rows. There are at least as many as patients and as nurses.
    n_patients, n_nurses : int, default=414, 55
        Numbers of patients and nurses. Each has one visit at least.
    missing : float, default=0.04
        Share of the visits whose pain was not written down.
    random_state : int, RandomState, Generator or None, default=None
        Source of randomness. An int gives the same data in every call.

    Returns
    -------
    visits : DataFrame of shape (n_visits, 7)
        ``patient`` and ``nurse`` (text), ``date`` (datetime, the first half of 2024),
        ``region`` (text), ``insured`` (bool), ``pain`` (0 to 10, with gaps), and the
        response ``minutes``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of its range.

    Examples
    --------
    >>> from skglmm.datasets import make_visits
    >>> visits = make_visits(random_state=0)
    >>> visits.columns.tolist()
    ['patient', 'nurse', 'date', 'region', 'insured', 'pain', 'minutes']
    >>> visits["patient"].nunique(), visits["nurse"].nunique()
    (414, 55)
    """
    check_scalar(n_patients, "n_patients", Integral, min_val=1)
    check_scalar(n_nurses, "n_nurses", Integral, min_val=1)
    check_scalar(n_visits, "n_visits", Integral, min_val=max(n_patients, n_nurses))
    check_scalar(missing, "missing", float, min_val=0.0, max_val=1.0)
    rng = _generator(random_state)
    patient = _everybody(rng, n_visits, n_patients)
    nurse = _everybody(rng, n_visits, n_nurses)
    day = rng.integers(0, 182, n_visits)
    region, insured = rng.integers(0, 3, n_patients), rng.uniform(size=n_patients) < 0.7
    pain = np.clip(np.round(4.0 + 2.0 * rng.standard_normal(n_visits)), 0.0, 10.0)
    months = day / 30.0
    minutes = (
        38.0
        - 0.6 * months
        + 1.2 * pain
        + np.array([0.0, 2.0, 5.0])[region[patient]]
        + 3.0 * insured[patient]
        + 6.0 * rng.standard_normal(n_patients)[patient]
        + 0.5 * rng.standard_normal(n_patients)[patient] * months
        + 4.0 * rng.standard_normal(n_nurses)[nurse]
        + 5.0 * rng.standard_normal(n_visits)
    )
    visits = pd.DataFrame(
        {
            "patient": _names("P", patient),
            "nurse": _names("N", nurse),
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
            "region": pd.Series(np.array(_REGIONS, object)[region[patient]], dtype=str),
            "insured": insured[patient],
            "pain": np.where(rng.uniform(size=n_visits) < missing, np.nan, pain),
            "minutes": minutes.round(1),
        }
    )
    return visits.sort_values(["date", "patient"], ignore_index=True)


def _everybody(rng, n_rows, n):
    """Numbers below n in any order, each of them once at least, in unequal shares."""
    share = np.exp(0.6 * rng.standard_normal(n))
    more = rng.choice(n, n_rows - n, p=share / share.sum())
    return rng.permutation(np.concatenate([np.arange(n), more]))


def _names(letter, number):
    return pd.Series([f"{letter}{i + 1:03d}" for i in number], dtype=str)
