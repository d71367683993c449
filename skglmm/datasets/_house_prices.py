"""Artificial house prices: a curved surface, and zip codes of all sizes."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_scalar

from skglmm.datasets._mixed_regression import _generator

FEATURES = ("area", "lot", "rooms", "age", "distance")
_GAPS = ("lot", "age")


def make_house_prices(
    n_samples: int = 5000,
    n_zips: int = 200,
    *,
    zip_std: float = 0.25,
    noise: float = 0.2,
    missing: float = 0.1,
    return_effects: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple:
    r"""Artificial sales of houses in zip codes of very different sizes.

    The logarithm of the price is

    .. math:: y_i = f(x_i) + b_{z_i} + \varepsilon_i, \qquad
        b_z \sim N(0, \tau^2), \quad \varepsilon_i \sim N(0, \sigma^2),

    with a surface f that no linear function comes near: area counts with its
    logarithm, and for more the closer to the centre a house is; the youngest and
    the oldest houses are dearer than those in between; the price of a lot levels off;
    and beyond a distance of 15 km the centre no longer matters.

    Parameters
    ----------
    n_samples : int, default=5000
        Number of houses sold.
    n_zips : int, default=200
        Number of zip codes. Their expected numbers of sales are lognormal: some have
        hundreds, some have one or none.
    zip_std : float, default=0.25
        Standard deviation :math:`\tau` of the zip codes' effects.
    noise : float, default=0.2
        Standard deviation :math:`\sigma` of the residuals.
    missing : float, default=0.1
        Share of the houses whose lot has no known size; of half as many the age is
        missing. Both at random and independent of each other.
    return_effects : bool, default=False
        Whether to return also what the data were drawn from.
    random_state : int, RandomState, Generator or None, default=None
        Source of randomness. An int gives the same data in every call.

    Returns
    -------
    X : DataFrame of shape (n_samples, 6)
        ``area`` (square metres), ``lot`` (square metres, with gaps), ``rooms``,
        ``age`` (years, with gaps), ``distance`` (kilometres to the centre) and
        ``zip`` (five digits, as text).
    y : Series of shape (n_samples,)
        Logarithm of the price, ``"log_price"``.
    effects : :class:`~sklearn.utils.Bunch`
        Only if ``return_effects=True``: ``surface``, f of each row as an ndarray,
        ``random_effects``, a Series of the zip codes' effects (those without a sale
        included), ``zip_std`` and ``noise``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of its range.

    Examples
    --------
    >>> from skglmm.datasets import make_house_prices
    >>> X, y = make_house_prices(1000, 50, random_state=0)
    >>> X.columns.tolist()
    ['area', 'lot', 'rooms', 'age', 'distance', 'zip']
    >>> sales = X["zip"].value_counts()
    >>> bool(sales.max() > 20 * sales.min())
    True
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_zips, "n_zips", Integral, min_val=1)
    check_scalar(zip_std, "zip_std", Real, min_val=0.0)
    check_scalar(noise, "noise", Real, min_val=0.0)
    check_scalar(missing, "missing", Real, min_val=0.0, max_val=1.0)
    rng = _generator(random_state)
    code, center = _draw_zips(rng, n_samples, n_zips)
    b = zip_std * rng.standard_normal(n_zips)
    values = _draw_houses(rng, center[code])
    surface = _surface(**values)
    y = surface + b[code] + noise * rng.standard_normal(n_samples)
    for name, probability in zip(_GAPS, (missing, missing / 2.0), strict=True):
        gap = rng.uniform(size=n_samples) < probability
        values[name] = np.where(gap, np.nan, values[name])
    labels = np.array([f"{98000 + z:05d}" for z in range(n_zips)], dtype=object)
    X = pd.DataFrame({**values, "zip": pd.Series(labels[code], dtype=str)})
    y = pd.Series(y, name="log_price")
    if not return_effects:
        return X, y
    zips = pd.Index(labels, dtype=str, name="zip")
    effects = Bunch(
        surface=surface,
        random_effects=pd.Series(b, index=zips, name="effect"),
        zip_std=float(zip_std),
        noise=float(noise),
    )
    return X, y, effects


def _draw_zips(rng, n_samples, n_zips):
    """Zip code of each house, and the distance of each zip code from the centre."""
    share = np.exp(1.3 * rng.standard_normal(n_zips))
    code = rng.choice(n_zips, n_samples, p=share / share.sum())
    return code, rng.uniform(1.0, 25.0, n_zips)


def _draw_houses(rng, distance):
    """Features of houses in zip codes at these distances from the centre."""
    n = len(distance)
    area = np.exp(np.log(130.0) + 0.4 * rng.standard_normal(n))
    rooms = np.maximum(1, np.round(area / 28.0 + rng.standard_normal(n)))
    return {
        "area": area,
        "lot": np.exp(np.log(600.0) + 0.7 * rng.standard_normal(n)),
        "rooms": rooms,
        "age": rng.uniform(0.0, 110.0, n).round(),
        "distance": np.abs(distance + rng.standard_normal(n)),
    }


def _surface(area, lot, rooms, age, distance):
    """Expected logarithm of the price in a zip code whose effect is zero."""
    near = np.maximum(1.0 - distance / 15.0, 0.0)
    size = np.log(area / 130.0)
    return (
        12.5
        + (0.6 + 0.5 * near) * size
        + 0.02 * (rooms - 4.6)
        + 0.25 * np.tanh((lot - 600.0) / 400.0)
        + 0.5 * ((age - 60.0) / 60.0) ** 2
        + 0.8 * near**2
    )
