"""Loaders of the data sets with a count or a class as target."""

from sklearn.utils import Bunch

from skglmm.datasets._table import load_table


def load_cbpp(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple:
    """New cases of pleuropneumonia in cattle herds: successes out of trials.

    Fifteen herds were visited up to four times. The target counts the animals newly
    infected, the column ``size`` how many could have been: a binomial model with
    trials.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether to return pandas objects, where labels stay strings, instead of
        float64 arrays, where a label is its position in ``categories``.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        data : ndarray or DataFrame of shape (56, 3)
            ``herd`` (label, 15 levels), ``period`` (label, "1" to "4") and ``size``
            (animals in the herd when the period began: the trials).
        target : ndarray or Series of shape (56,)
            Number of new cases, at most ``size``, int64.
        frame : DataFrame of shape (56, 4) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["incidence"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``herd`` and ``period``: code ``k`` in an array stands for
            entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_cbpp
    >>> X, y = load_cbpp(return_X_y=True, as_frame=True)
    >>> list(X.columns), int(y.sum()), int(X["size"].sum())
    (['herd', 'period', 'size'], 99, 842)
    """
    return load_table(
        "cbpp",
        features={"herd": str, "period": str, "size": "int64"},
        target=("incidence", "int64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_grouseticks(
    *, return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple:
    """Ticks on grouse chicks: counts with three layers of variation.

    Chicks share a brood, broods share a site, and the counts vary more than a Poisson
    model allows, which a random effect for every chick (``INDEX``) absorbs.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether to return pandas objects, where labels stay strings, instead of
        float64 arrays, where a label is its position in ``categories``.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        data : ndarray or DataFrame of shape (403, 6)
            Labels ``INDEX`` (chick, 403 levels), ``BROOD`` (118), ``LOCATION`` (63) and
            ``YEAR`` ("95", "96" or "97"); ``HEIGHT`` (metres above sea level) and
            ``cHEIGHT`` (the same minus its mean: use one of them).
        target : ndarray or Series of shape (403,)
            Number of ticks on the head of the chick, int64.
        frame : DataFrame of shape (403, 7) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["TICKS"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``INDEX``, ``BROOD``, ``LOCATION`` and ``YEAR``: code ``k``
            in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_grouseticks
    >>> X, y = load_grouseticks(return_X_y=True, as_frame=True)
    >>> X[["INDEX", "BROOD", "LOCATION"]].nunique().tolist()
    [403, 118, 63]
    >>> bool(y.var() > 10 * y.mean())
    True
    """
    return load_table(
        "grouseticks",
        features={
            "INDEX": str,
            "BROOD": str,
            "LOCATION": str,
            "YEAR": str,
            "HEIGHT": "float64",
            "cHEIGHT": "float64",
        },
        target=("TICKS", "int64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_contraception(
    *, return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple:
    """Contraceptive use in Bangladesh: a binary target in 60 districts.

    Whether each of 1,934 women used contraception at the time of a national survey,
    with her age, her living children and whether she lives in a town.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether to return pandas objects, where labels stay strings, instead of
        float64 arrays, where a label is its position in ``categories``.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        data : ndarray or DataFrame of shape (1934, 6)
            Labels ``woman`` (one per row), ``district`` (60 levels), ``livch`` (living
            children: "0", "1", "2" or "3+"), ``urban`` and ``ch`` (any living children;
            both "N" or "Y"); ``age`` (years, centred).
        target : ndarray or Series of shape (1934,)
            1 if the woman uses contraception, otherwise 0, int64.
        frame : DataFrame of shape (1934, 7) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            Names of the classes 0 and 1, ``["N", "Y"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of every column but ``age``: code ``k`` in an array stands for
            entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_contraception
    >>> bunch = load_contraception(as_frame=True)
    >>> bunch.target_names, bunch.target.value_counts().tolist()
    (['N', 'Y'], [1175, 759])
    >>> bunch.data["district"].nunique()
    60
    """
    return load_table(
        "contraception",
        features={
            "woman": str,
            "district": str,
            "livch": str,
            "age": "float64",
            "urban": str,
            "ch": str,
        },
        target=("usen", "int64"),
        target_names=["N", "Y"],
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
