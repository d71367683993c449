"""Loaders of the data sets with a continuous target."""

from sklearn.utils import Bunch

from skglmm.datasets._table import load_table


def load_sleepstudy(
    *, return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple:
    """Reaction times without sleep: slopes that vary by subject.

    Eighteen volunteers were tested on ten days in a row. Most slow down with lost
    sleep, but not at the same pace: the standard example of correlated random
    intercepts and slopes.

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

        data : ndarray or DataFrame of shape (180, 2)
            ``Days`` (number of the test day, 0 to 9) and ``Subject`` (label, 18
            levels).
        target : ndarray or Series of shape (180,)
            Average reaction time in milliseconds, float64.
        frame : DataFrame of shape (180, 3) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["Reaction"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``Subject``: code ``k`` in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> list(X.columns)
    ['Days', 'Subject']
    >>> X.shape, X["Subject"].nunique(), round(float(y.mean()), 2)
    ((180, 2), 18, 298.51)
    """
    return load_table(
        "sleepstudy",
        features={"Days": "int64", "Subject": str},
        target=("Reaction", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_radon(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple:
    """Radon in the homes of Minnesota: many counties, few houses in most.

    Indoor radon of 919 houses in 85 counties. A county may have one house or 116, so
    the raw county means range from useless to excellent: the standard example of
    partial pooling.

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

        data : ndarray or DataFrame of shape (919, 3)
            ``floor`` (0 = basement, 1 = first floor), ``county`` (label, 85 levels) and
            ``log_uranium`` (log of the uranium in the soil, one value per county).
        target : ndarray or Series of shape (919,)
            Log of the radon activity in pCi/L, float64.
        frame : DataFrame of shape (919, 4) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["log_radon"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``county``: code ``k`` in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_radon
    >>> X, y = load_radon(return_X_y=True, as_frame=True)
    >>> X["county"].nunique(), int(X["county"].value_counts().iloc[0])
    (85, 116)
    >>> X[["floor", "log_uranium"]].dtypes.astype(str).tolist()
    ['int64', 'float64']
    """
    return load_table(
        "radon",
        features={"floor": "int64", "county": str, "log_uranium": "float64"},
        target=("log_radon", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_insteval(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple:
    """Ratings of lecturers by students: three crossed factors.

    Seventy-three thousand marks given by 2,972 students of ETH Zurich to 1,128
    lecturers in 14 departments. Students rate many lecturers and lecturers are rated by
    many students, so no ordering of the rows makes the covariance block-diagonal.

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

        data : ndarray or DataFrame of shape (73421, 6)
            Labels ``s`` (student), ``d`` (lecturer) and ``dept`` (department); the
            ordered codes ``studage`` (semesters enrolled: 2, 4, 6 or 8) and ``lectage``
            (semesters since the lecture: 1 to 6); ``service`` (1 if the lecture was
            held for another department).
        target : ndarray or Series of shape (73421,)
            Rating from 1 (poor) to 5 (very good), int64.
        frame : DataFrame of shape (73421, 7) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["y"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``s``, ``d`` and ``dept``: code ``k`` in an array stands
            for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    Examples
    --------
    >>> from skglmm.datasets import load_insteval
    >>> X, y = load_insteval(return_X_y=True, as_frame=True)
    >>> X[["s", "d", "dept"]].nunique().tolist()
    [2972, 1128, 14]
    >>> round(float(y.mean()), 2)
    3.21
    """
    return load_table(
        "insteval",
        features={
            "s": str,
            "d": str,
            "studage": "int64",
            "lectage": "int64",
            "service": "int64",
            "dept": str,
        },
        target=("y", "int64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_penicillin(
    *, return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple:
    """Zones of inhibition of penicillin: two fully crossed factors.

    Each of six samples of penicillin is tested once on each of 24 plates: every pair of
    levels is observed, and observed once.

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

        data : ndarray or DataFrame of shape (144, 2)
            ``plate`` (label, 24 levels) and ``sample`` (label, 6 levels). There are no
            fixed columns: the model has an intercept only.
        target : ndarray or Series of shape (144,)
            Diameter of the zone without growth in millimetres, float64.
        frame : DataFrame of shape (144, 3) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["diameter"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``plate`` and ``sample``: code ``k`` in an array stands for
            entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    See Also
    --------
    load_pastes : Nested instead of crossed factors.
    load_insteval : Crossed factors at scale, with few of the pairs observed.

    Examples
    --------
    >>> from skglmm.datasets import load_penicillin
    >>> X, y = load_penicillin(return_X_y=True, as_frame=True)
    >>> X.nunique().tolist(), len(X.drop_duplicates())
    ([24, 6], 144)
    """
    return load_table(
        "penicillin",
        features={"plate": str, "sample": str},
        target=("diameter", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_pastes(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple:
    """Strength of a chemical paste: casks nested in batches.

    Three casks from each of ten batches are assayed twice. Cask "a" of batch "A" has
    nothing to do with cask "a" of batch "B": the factor is the combination, which the
    column ``sample`` spells out.

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

        data : ndarray or DataFrame of shape (60, 3)
            ``batch`` (label, 10 levels), ``cask`` (label within its batch, 3 levels)
            and ``sample`` (the two joined, 30 levels). There are no fixed columns.
        target : ndarray or Series of shape (60,)
            Strength of the paste, float64.
        frame : DataFrame of shape (60, 4) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["strength"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of each column: code ``k`` in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    See Also
    --------
    load_penicillin : Crossed instead of nested factors.

    Examples
    --------
    >>> from skglmm.datasets import load_pastes
    >>> X, y = load_pastes(return_X_y=True, as_frame=True)
    >>> X.nunique().tolist()
    [10, 3, 30]
    >>> X["sample"].iloc[0]
    'A:a'
    """
    return load_table(
        "pastes",
        features={"batch": str, "cask": str, "sample": str},
        target=("strength", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_dyestuff(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple:
    """Yield of dyestuff by batch: the one-way random effects model.

    Five preparations from each of six batches of an intermediate product: the smallest
    balanced example of a variance between and a variance within groups.

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

        data : ndarray or DataFrame of shape (30, 1)
            ``Batch`` (label, 6 levels). There are no fixed columns.
        target : ndarray or Series of shape (30,)
            Yield in grams of standard colour, float64.
        frame : DataFrame of shape (30, 2) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["Yield"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``Batch``: code ``k`` in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    See Also
    --------
    load_dyestuff2 : The same layout with no variance between batches.

    Examples
    --------
    >>> from skglmm.datasets import load_dyestuff
    >>> X, y = load_dyestuff(return_X_y=True, as_frame=True)
    >>> float(y.mean())
    1527.5
    >>> X["Batch"].value_counts().unique().tolist()
    [5]
    """
    return load_table(
        "dyestuff",
        features={"Batch": str},
        target=("Yield", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def load_dyestuff2(
    *, return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple:
    """Simulated yield by batch: an estimated variance of exactly zero.

    Made up by Box and Tiao so that the batch means differ less than the variation
    within the batches alone would have them differ: the smallest example of a singular
    fit.

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

        data : ndarray or DataFrame of shape (30, 1)
            ``Batch`` (label, 6 levels). There are no fixed columns.
        target : ndarray or Series of shape (30,)
            Simulated yield, without a unit, float64.
        frame : DataFrame of shape (30, 2) or None
            ``data`` and ``target`` side by side; None unless ``as_frame=True``.
        feature_names : list of str
            Names of the columns of ``data``.
        target_names : list of str
            The name of the target, ``["Yield"]``.
        DESCR : str
            Description of the data set, its source and the usual model.
        filename : str
            Path of the stored file.
        categories : dict of str to ndarray
            Sorted labels of ``Batch``: code ``k`` in an array stands for entry ``k``.
    (data, target) : tuple
        Only these two when ``return_X_y=True``.

    Raises
    ------
    TypeError
        If `return_X_y` or `as_frame` is not a bool.

    See Also
    --------
    load_dyestuff : The same layout, measured, with a positive variance.

    Examples
    --------
    >>> from skglmm.datasets import load_dyestuff2
    >>> X, y = load_dyestuff2(return_X_y=True, as_frame=True)
    >>> between = 5 * y.groupby(X["Batch"]).mean().var()
    >>> within = y.groupby(X["Batch"]).var().mean()
    >>> bool(between < within)
    True
    """
    return load_table(
        "dyestuff2",
        features={"Batch": str},
        target=("Yield", "float64"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
