"""Effects of groups as features for other models."""

import warnings
from numbers import Integral
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags, get_tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import (
    check_is_fitted,
)

from skglmm._base import BaseMixedModel
from skglmm._dask.lazy import by_partition
from skglmm._fitted.persistence import PersistenceMixin
from skglmm._fitted.predictor import known_levels
from skglmm._fitted.report import sentences, warn
from skglmm._linear import MixedLinearRegressor
from skglmm._logistic import MixedLogisticRegressor
from skglmm._ordinal import MixedOrdinalClassifier
from skglmm._poisson import MixedPoissonRegressor
from skglmm._reading.features import check_features, store_features
from skglmm._reading.identified import too_many
from skglmm._reading.labels import encode, lookup
from skglmm._reading.ordered_classes import order_of
from skglmm._reading.table import Table
from skglmm._reading.target import read_labels, refuse_times
from skglmm._reading.terms import resolve_terms, term_labels
from skglmm._reading.words import plain
from skglmm._sklearn import (
    StrOptions,
    check_feature_names_in,
    fit_context,
    safe_indexing,
)

# Different whole numbers above which they are taken for counts, and what is said then.
_MANY = 10
_COUNTS = (
    "the target has whole numbers from 0 on and was taken for counts: "
    "target_type='count' says so, and 'continuous' or 'ordinal' that it is none"
)


class GroupEffectEncoder(PersistenceMixin, TransformerMixin, BaseEstimator):
    r"""Effects of the groups and their uncertainty, in place of the labels.

    A mixed model of the target is fitted, and every label is replaced by the posterior
    mean and the posterior standard deviation of its random effect,

    .. math:: E(b_{rj} \mid y), \qquad \mathrm{sd}(b_{rj} \mid y),

    on the scale of the linear predictor. For one factor, a linear model and no other
    columns the mean is

    .. math:: \frac{n_j \sigma_b^2}{n_j \sigma_b^2 + \sigma^2} (\bar y_j - \mu),

    so a group of few rows is drawn towards zero, by as much as the estimated
    variances say [1]_ [2]_.

    The effect of a row's group has been learned from that row's own target. A model
    that is trained on such features trusts them too much. `fit_transform` therefore
    gives each row the effects that a model fitted to the other folds finds
    (cross-fitting [3]_); ``fit(X, y).transform(X)`` is something else. `transform`, for
    new rows, uses the fit to all rows.

    Parameters
    ----------
    groups : str, int, tuple, list or None, default=None
        Columns of X to encode, as in the mixed models: a list is several factors, whose
        effects are estimated side by side; a tuple is one factor made of the
        combination of its columns. With None they are the `groups` of `estimator`, or
        all columns of X if it has none. The other columns are adjusted for, as fixed
        effects, and are not in the output.
    estimator : mixed model of this package, default=None
        Model of the target: family, random slopes, offset, solver. With None it is
        `MixedLinearRegressor`, `MixedLogisticRegressor`, `MixedOrdinalClassifier` or
        `MixedPoissonRegressor`, by `target_type`.
    target_type : {"auto", "continuous", "binary", "ordinal", "count"}, default="auto"
        Type of the target where `estimator` is None. Ordered categories are
        ``"ordinal"``, and whole numbers from 0 on with more than ten different values
        are taken for counts, with a warning. Other whole numbers with more than two
        values may be counts, scores or classes, so ``"auto"`` refuses them.
    std : bool, default=True
        Whether the standard deviations are given as well.
    cv : int, cross-validation generator or iterable, default=5
        Folds of `fit_transform`. An int gives a `KFold`, stratified for a binary
        target. Every row has to be held out once.
    shuffle : bool, default=True
        Whether rows are shuffled before they are split, if `cv` is an int.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.
    handle_unknown : {"ignore", "warn", "error"}, default="ignore"
        What `transform` does with a label that was not there in fit, or is missing
        (NaN in an array of numbers is an error, as in the models). Its effect is zero
        and its standard deviation that of the factor.

    Attributes
    ----------
    estimator_ : mixed model or None
        The model fitted to all rows, without the factors that cannot be estimated (one
        level, or in a linear model one level a row): their effects are zero, with
        standard deviation zero. None if no factor is left.
    target_type_ : {"continuous", "binary", "ordinal", "count"}
        Type of the target.
    classes_ : ndarray of shape (n_classes,) or None
        The classes of a binary or ordered target; effects are logits of the second, or
        of those above a threshold.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if they are all strings.

    See Also
    --------
    MixedLinearRegressor : Predicts with the same effects.
    sklearn.preprocessing.TargetEncoder : One column at a time, without slopes or
        adjustment for other columns.

    References
    ----------
    .. [1] Robinson, G. K. (1991). That BLUP is a good thing: the estimation of random
       effects. Statistical Science 6(1), 15-32.
    .. [2] Micci-Barreca, D. (2001). A preprocessing scheme for high-cardinality
       categorical attributes in classification and prediction problems. ACM SIGKDD
       Explorations 3(1), 27-32.
    .. [3] Pargent, F., Pfisterer, F., Thomas, J. and Bischl, B. (2022). Regularized
       target encoding outperforms traditional methods in supervised machine learning
       with high cardinality features. Computational Statistics 37, 2671-2692.

    Examples
    --------
    >>> from skglmm import GroupEffectEncoder, MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> slopes = MixedLinearRegressor(random_slopes=["Days"])
    >>> encoder = GroupEffectEncoder("Subject", estimator=slopes, std=False)
    >>> encoder = encoder.set_output(transform="pandas").fit(X, y)
    >>> encoder.transform(X.head(1).assign(Subject="308")).round(2)
       Subject_effect  Subject_Days_effect
    0            2.26                  9.2
    """

    _parameter_constraints: dict = {
        "groups": [None, str, int, tuple, list],
        "estimator": [None, BaseMixedModel],
        "target_type": [
            StrOptions({"auto", "continuous", "binary", "ordinal", "count"})
        ],
        "std": ["boolean"],
        "cv": ["cv_object"],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "handle_unknown": [StrOptions({"ignore", "warn", "error"})],
    }

    def __init__(
        self,
        groups=None,
        *,
        estimator=None,
        target_type="auto",
        std=True,
        cv=5,
        shuffle=True,
        random_state=None,
        handle_unknown="ignore",
    ):
        self.groups = groups
        self.estimator = estimator
        self.target_type = target_type
        self.std = std
        self.cv = cv
        self.shuffle = shuffle
        self.random_state = random_state
        self.handle_unknown = handle_unknown

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        two_classes = self.target_type != "continuous"
        if isinstance(self.estimator, BaseMixedModel):
            of_model = get_tags(self.estimator)
            tags.target_tags.positive_only = of_model.target_tags.positive_only
            two_classes = of_model.classifier_tags is not None
        if two_classes:
            tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the effects of the groups from all rows.

        To train another model on the effects of the same rows, use `fit_transform`.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Group labels and the columns to adjust for.
        y : array-like of shape (n_samples,)
            Target values.

        Returns
        -------
        self : object
            Fitted encoder.

        Raises
        ------
        ValueError
            If the target has more than two classes without an order, a column is
            unknown, a label is
            missing, or for what else the model of the target refuses.
        """
        messages = self._fit(X, y)[1]
        _say(messages)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Learn the effects, and give each row those found without it.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Group labels and the columns to adjust for.
        y : array-like of shape (n_samples,)
            Target values.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            Effects and standard deviations, cross-fitted. A label that occurs in one
            fold only is not known to the others: its effect is zero.

        Raises
        ------
        ValueError
            As `fit`; and if the folds do not hold each row out once, or leave a class
            without rows.
        """
        problem, messages = self._fit(X, y)
        width = sum(values.shape[1] for _, values in self._tables)
        features, troubled = np.empty((len(problem.y), width)), []
        for k, (train, test) in enumerate(self._splits(problem)):
            outside = problem.take(train)
            if self.classes_ is not None and len(np.unique(outside.y)) < 2:
                raise ValueError(
                    f"The rows outside fold {k} have one class only "
                    f"({plain(outside.y[0])!r}): use fewer folds, or a splitter that "
                    "spreads each class over two folds at least."
                )
            model, tables, _ = _fit_effects(outside, self.std)
            codes = [
                lookup(levels, parts)
                for (levels, _), parts in zip(
                    tables, problem.take(test).labels, strict=True
                )
            ]
            features[test] = _values(tables, codes)
            if model is not None and not model.converged_:
                troubled.append(k)
        if troubled:
            text = (
                "the models fitted to the rows outside these folds have not converged: "
                f"{', '.join(map(str, troubled))}. The features of the rows in them "
                "are less accurate"
            )
            messages.append((text, ConvergenceWarning))
        _say(messages)
        return features

    @by_partition
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Effects of the rows' groups, and their standard deviations.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`; only the group columns are read.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            In the units of the linear predictor; those of a slope, divided by the units
            of its column.
        """
        check_is_fitted(self)
        table = Table(X)
        check_features(self, X, table)
        labels = [term_labels(table, term)[0] for term in self._terms]
        codes = known_levels(
            [term.name for term in self._terms],
            [levels for levels, _ in self._tables],
            labels,
            self.handle_unknown,
            "encode",
        )
        return _values(self._tables, codes)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Names of the features.

        Parameters
        ----------
        input_features : array-like of str of shape (`n_features_in_`,), default=None
            Names of the columns of X, if X had none; else they must be those of fit.

        Returns
        -------
        names : ndarray of str objects
            ``"g_effect"`` and ``"g_std"`` for the intercepts of a column g,
            ``"g_x_effect"`` and ``"g_x_std"`` for the slopes of x, ``"g:h_effect"``
            and so on for a combination; columns without names are ``x0``, ``x1``, ....
        """
        check_is_fitted(self)
        columns = check_feature_names_in(self, input_features)
        kinds = ("effect", "std") if self._with_std else ("effect",)
        names = []
        for term in self._terms:
            factor = ":".join(columns[at] for at in term.columns)
            effects = [factor] * term.intercept
            effects += [f"{factor}_{columns[at]}" for at in term.slopes]
            names += [f"{effect}_{kind}" for effect in effects for kind in kinds]
        return np.asarray(names, dtype=object)

    # -------------------------------------------------------------------- fit

    def _fit(self, X, y):
        """Fit to all rows; return the problem and the messages for the user."""
        table = Table(X, min_rows=2)
        store_features(self, X, y, table)
        order = order_of(y)
        y = read_labels(y, table.n_rows, type(self).__name__)
        refuse_times(y)
        model, target_type = self._model(y, order)
        model.set_params(groups=self._group_columns(model, table))
        terms = resolve_terms(
            table,
            model.groups,
            model.random_slopes,
            model.random_intercepts,
            model.covariance,
        )
        _refuse_coded_slopes(table, terms)
        problem = _Problem(table._data if table.is_array else X, y, model, terms)
        self.estimator_, tables, messages = _fit_effects(problem, self.std)
        guessed = self.target_type == "auto" and self.estimator is None
        if guessed and target_type == "count":
            messages.insert(0, (_COUNTS, UserWarning))
        self.target_type_ = target_type
        self.classes_ = np.unique(y) if target_type in ("binary", "ordinal") else None
        if target_type == "ordinal" and order is not None:
            self.classes_ = order[np.isin(order, y)]
        self._terms, self._tables, self._with_std = terms, tables, self.std
        return problem, messages

    def _model(self, y, order):
        """The model to fit, and the type of the target."""
        if self.estimator is not None:
            kind = "continuous"
            if is_classifier(self.estimator):
                several = get_tags(self.estimator).classifier_tags.multi_class
                kind = "ordinal" if several else "binary"
            elif isinstance(self.estimator, MixedPoissonRegressor):
                kind = "count"
            if self.target_type not in ("auto", kind):
                raise ValueError(
                    f"target_type={self.target_type!r}, but estimator is a "
                    f"{type(self.estimator).__name__}, whose target is {kind}: leave "
                    "target_type out, or give another estimator."
                )
            return clone(self.estimator), kind
        kind = self.target_type
        if kind == "auto":
            kind = type_of_target(y, input_name="y", raise_unknown=True)
            if kind == "multiclass":
                kind = _of_whole_numbers(y, order) or kind
        if kind == "continuous":
            return MixedLinearRegressor(), kind
        if kind == "binary":
            return MixedLogisticRegressor(), kind
        if kind == "ordinal":
            classes = None if order is None else list(order[np.isin(order, y)])
            return MixedOrdinalClassifier(classes=classes), kind
        if kind == "count":
            return MixedPoissonRegressor(), kind
        raise ValueError(
            f"The target is of type {kind!r} ({len(np.unique(y))} different values), "
            "which the encoder does not support: classes have to be two, or in order "
            "(target_type='ordinal', or ordered categories). For whole numbers that "
            "are no classes, pass target_type='continuous', or target_type='count' "
            "if they are counts."
        )

    def _group_columns(self, model, table):
        own = model.groups
        if self.groups is not None:
            if own is not None and own != self.groups:
                raise ValueError(
                    f"groups={self.groups!r}, but the estimator has groups={own!r}: "
                    "name the groups in one of them."
                )
            return self.groups
        if own is not None:
            return own
        names = table.names
        if names is None or len(set(names)) < len(names):
            return list(range(table.n_columns))
        return list(names)

    def _splits(self, problem):
        """Rows to fit and rows to encode, for each fold."""
        from sklearn.model_selection import KFold, StratifiedKFold, check_cv

        cv = 5 if self.cv is None else self.cv
        binary = self.classes_ is not None
        if isinstance(cv, Integral):
            folds = StratifiedKFold if binary else KFold
            seed = self.random_state if self.shuffle else None
            cv = folds(cv, shuffle=self.shuffle, random_state=seed)
        cv = check_cv(cv, problem.y, classifier=binary)
        splits = list(cv.split(problem.X, problem.y))
        times = np.zeros(len(problem.y), dtype=int)
        for _, test in splits:
            np.add.at(times, test, 1)
        wrong = np.flatnonzero(times != 1)
        if len(wrong):
            raise ValueError(
                f"cv holds row {wrong[0]} out {times[wrong[0]]} times, and "
                f"{len(wrong)} rows in all not exactly once: use a splitter whose "
                "folds are a partition of the rows, such as KFold."
            )
        return splits


class _Problem:
    """Rows to learn effects from."""

    def __init__(self, X, y, model, terms):
        self.X, self.y, self.model, self.terms = X, y, model, terms
        self.table = Table(X)
        self.labels = [term_labels(self.table, term)[0] for term in terms]

    def take(self, rows):
        """The problem with some of the rows."""
        return _Problem(
            safe_indexing(self.X, rows), self.y[rows], self.model, self.terms
        )

    def hopeless(self, term, n_levels):
        """Why the variance of a factor cannot be estimated, None if it can."""
        if n_levels < 2:
            return f"the factor {term.name!r} has one level"
        linear = self.model._distribution().is_linear
        if not linear or too_many(term, n_levels, float(len(self.y))) is None:
            return None
        what = "levels" if term.n_effects == 1 else "random effects"
        return f"the factor {term.name!r} has as many {what} as there are rows"

    def model_of(self, kept):
        """The model with some of the factors only, and its columns of X.

        Columns of factors that were left out would be fixed effects, so that they are
        left out as well and all columns are named by their new positions.
        """
        model = clone(self.model)
        if len(kept) == len(self.terms):
            return model, self.X
        used = {at for term in kept for at in term.columns}
        gone = {at for term in self.terms for at in term.columns} - used
        columns = [at for at in range(self.table.n_columns) if at not in gone]
        place = {at: k for k, at in enumerate(columns)}
        factors = [tuple(place[at] for at in term.columns) for term in kept]
        factors = [f if len(f) > 1 else f[0] for f in factors]
        pairs = list(zip(factors, kept, strict=True))
        model.set_params(
            groups=factors,
            random_slopes={f: [place[at] for at in t.slopes] for f, t in pairs},
            random_intercepts={f: t.intercept for f, t in pairs},
            covariance={f: t.covariance for f, t in pairs},
        )
        if isinstance(model.fixed_effects, list):
            keys = model.fixed_effects
            found = [self.table.position(key, "fixed_effects") for key in keys]
            model.set_params(fixed_effects=[place[at] for at in found if at in place])
        for name in model._column_parameters:
            key = getattr(model, name)
            if key is not None:
                keys = key if isinstance(key, list) else [key]
                found = [self.table.position(k, name) for k in keys]
                found = [place.get(at, at) for at in found]
                model.set_params(**{name: found if isinstance(key, list) else found[0]})
        return model, safe_indexing(self.X, columns, axis=1)


def _refuse_coded_slopes(table, terms):
    """Refuse slopes whose number would depend on the categories in the rows."""
    for term in terms:
        kinds = table.kinds(term.slopes)
        for at in term.slopes:
            if kinds.get(at, "truth") != "truth":
                raise ValueError(
                    f"random_slopes: {table.describe(at)} holds {kinds[at]}, and each "
                    "fold may have other categories: give dummies in its place, for "
                    "example by pd.get_dummies(X, columns=[...], drop_first=True)."
                )


def _fit_effects(problem, std):
    """The fitted model, what each label is replaced by, and the messages.

    For each factor its levels and an array of shape (n_levels + 1, n_columns), whose
    last row is for labels that are no level.
    """
    kept, levels, messages = [], {}, []
    for term, labels in zip(problem.terms, problem.labels, strict=True):
        names = term_labels(problem.table, term)[1]
        levels[term.name] = encode(labels, term.name, names)[1]
        reason = problem.hopeless(term, len(levels[term.name]))
        if reason is None:
            kept.append(term)
        else:
            messages.append(
                (f"{reason}: its effects are set to zero (drop it)", UserWarning)
            )
    model, effects = None, {}
    if kept:
        model, X = problem.model_of(kept)
        messages += _fit_quietly(model, X, problem.y)
        effects = dict(zip([t.name for t in kept], model.random_effects_, strict=True))
    tables = []
    for term in problem.terms:
        if term.name not in effects:
            shape = len(levels[term.name]) + 1, term.n_effects * (1 + std)
            tables.append((levels[term.name], np.zeros(shape)))
            continue
        name = effects[term.name]
        mean = model.random_effects_[name]
        prior = np.diag(model.random_effects_covariance_[name])
        values = [np.vstack([mean, np.zeros_like(prior)])]
        if std:
            prior = np.sqrt(np.maximum(prior, 0.0))
            values.append(np.vstack([model.random_effects_std_[name], prior]))
        values = np.stack(values, axis=2)
        tables.append((mean.index, values.reshape(len(values), -1)))
    return model, tables, messages


def _values(tables, codes):
    """What the rows' levels are replaced by; code -1, no level, picks the last row."""
    return np.hstack([v[code] for (_, v), code in zip(tables, codes, strict=True)])


def _fit_quietly(model, X, y):
    """Fit and return the warnings for the user as (text, category)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    messages = []
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            messages.append((str(warning.message).rstrip("."), warning.category))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return messages


def _of_whole_numbers(y, order):
    """The type of a target with more than two whole numbers or classes, or None."""
    if order is not None:
        return "ordinal"
    if y.dtype.kind not in "iuf" or y.min() != 0:
        return None
    return "count" if len(np.unique(y)) > _MANY else None


def _say(messages):
    """One warning with all messages."""
    if messages:
        categories = [category for _, category in messages]
        urgent = ConvergenceWarning in categories
        warn(
            sentences(text for text, _ in messages),
            ConvergenceWarning if urgent else UserWarning,
        )
