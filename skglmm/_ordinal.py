"""Ordered classes: cumulative link models with random effects."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin

from skglmm._base import BaseMixedModel
from skglmm._dask.lazy import by_partition
from skglmm._families.ordered import ordered
from skglmm._fitted.classes import ClassesMixin
from skglmm._fitted.state import family_of
from skglmm._reading.ordered_classes import read_ordered
from skglmm._reading.words import plain
from skglmm._sklearn import StrOptions


class MixedOrdinalClassifier(ClassesMixin, ClassifierMixin, BaseMixedModel):
    r"""Classification into ordered classes with random effects of groups.

    Fits

    .. math:: P(y_i \le k) = F(\theta_k - \eta_i), \qquad
        \eta = X\beta + \sum_r Z_r b_r + \text{offset}, \qquad
        b_{rj} \sim N(0, \Sigma_r),

    with thresholds :math:`\theta_1 < \theta_2 < \dots` between the classes, by
    maximising the evidence lower bound or Laplace's approximation of the marginal
    likelihood of y. With a positive coefficient higher classes are more probable where
    the column is larger. With two classes and the logit link it is
    `MixedLogisticRegressor`.

    Parameters
    ----------
    groups : str, int, tuple, list or None, default=None
        Columns of X that hold the group labels: a name with a dataframe, a position
        with an array. A list is several factors; a tuple is one factor made of the
        combination of its columns (named ``"g:h"``). With None the labels come
        through ``fit(groups=)``, or the model has no random effects, and a warning
        says so; an empty list asks for such a model.
    fixed_effects : list, str, callable, regressor or fixed part, default=None
        What the fixed part is. None is a coefficient for each column that has no other
        role. A list names these columns, and a str is a formula over columns, such as
        ``"dose * age"``: see the user guide, :ref:`formulas`. A function that takes the
        number of inputs and returns a `keras.Model` with one linear output, or a
        regressor of scikit-learn, is a fixed part without coefficients: see
        :ref:`flexible`.
    random_slopes : str, int, list or dict, default=None
        Columns whose slope differs between levels: one, or a list; a dict gives them
        for each factor. They stay among the fixed columns, unless a list in
        `fixed_effects` leaves them out. Slopes on a column of categories are those on
        all its dummies.
    random_intercepts : bool or dict, default=True
        Whether levels have their own intercept, for all factors or by factor.
    covariance : {"full", "diag", "scalar"} or dict, default="full"
        Covariance of the effects of one level: unrestricted, uncorrelated, or
        uncorrelated with one common variance; for all factors or by factor.
    offset : str or int, default=None
        Column of X that is added to the linear predictor as it is.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Distribution function F of the latent variable: the logistic one (proportional
        odds), the normal one, or 1 - exp(-exp(x)) (proportional hazards).
    classes : array-like, default=None
        The classes from the lowest to the highest. By default their order is that of
        the categories of y, where it has such a dtype, or the sorted one.
    solver : {"vi", "laplace", "mackay", "mcem"} or BaseSolver, default="vi"
        Gaussian variational inference, Laplace's approximation (adaptive quadrature
        with ``Laplace(n_quadrature=...)``), MacKay's evidence framework or Monte
        Carlo EM; an instance of a class in `skglmm.solvers` has settings of its own.
    handle_unknown : {"ignore", "warn", "error"}, default="ignore"
        What prediction does with a label that was not there in fit. Its effect has
        mean zero and the variance that was estimated for its factor.
    reference : dict, default=None
        Reference levels of fixed columns that hold text, categories or truth values,
        such as ``{"region": "city"}``. By default it is the first category, the first
        in order of a column of text, and False. See the user guide, :ref:`categories`.
    handle_unknown_fixed : {"error", "reference"}, default="error"
        What prediction does with a category of such a column that was not there in
        fit: refuse it, or take it for the reference level.
    missing : {"error", "model"}, default="error"
        What a missing value in a fixed column is: an error, or an unknown that is
        normal given the other fixed columns and the groups, and is estimated along
        with the model.
        See the user guide, :ref:`missing`.
    warm_start : bool, default=False
        Whether to begin at the variances of the previous fit.
    verbose : int, default=0
        0 is silent. With 1 a fit that takes more than a second shows a bar, in a
        terminal or notebook where tqdm is installed; elsewhere it prints a line for
        each phase.
    random_state : int, RandomState instance or None, default=None
        Of the draws of ``solver="mcem"`` and of missing values, and of what is random
        in `fixed_effects`; otherwise no random numbers are used.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes from the lowest to the highest.
    thresholds_ : Series
        Estimates of the thresholds, one between each class and the next, named
        ``"low|middle"``. Standard errors are in `family_parameters_`.
    family_parameters_ : DataFrame
        ``estimate`` and ``std_error`` of the thresholds.
    coef_ : ndarray of shape (n_fixed,)
        Fixed effects, one per fixed column in input order. Absent if
        `fixed_effects` is a network or a regressor.
    intercept_ : float
        Minus the first threshold: the linear predictor counts from there.
    coef_names_ : list of str
        Names of the fixed columns; ``region_city`` for a category ``city`` of a column
        ``region``.
    fixed_effects_ : DataFrame
        ``estimate`` and ``std_error`` of the intercept and the coefficients. The
        errors include the uncertainty of the variances.
    fixed_effects_covariance_ : DataFrame
        Covariance of these estimates, labelled as `fixed_effects_` on both sides; NaN
        where a coefficient was set to zero.
    random_effects_ : dict of DataFrame
        For each factor the posterior means (modes with Laplace) of the effects, levels
        x effects.
    random_effects_std_ : dict of DataFrame
        Posterior standard deviations, the fixed effects taken as known.
    variance_components_ : DataFrame
        Variance, standard deviation and correlations with the effects before, for
        each (group, effect).
    random_effects_covariance_ : dict of ndarray of shape (q, q)
        Covariance of the effects of a level, for each factor.
    log_likelihood_ : float
        Marginal log-likelihood at the estimates; NaN after a fit to missing values.
    log_likelihood_method_ : {"quadrature", "laplace", "importance", "bridge", "exact"}
        How it was computed: by adaptive quadrature with one factor of at most three
        effects, else by Laplace's approximation; after ``solver="mcem"`` from
        importance weights or by bridge sampling; exact without random effects.
    aic_, bic_ : float
        Information criteria from `log_likelihood_`.
    elbo_ : float
        Evidence lower bound (``solver="vi"``).
    converged_ : bool
        Whether the solver converged.
    n_iter_ : int
        Evaluations of the objective; with missing values completed tables, with
        `fixed_effects` alternations.
    singular_ : bool
        Whether a covariance is estimated as singular, for example a variance as zero.
    history_ : DataFrame
        The ``objective`` (-2 ELBO or -2 log-likelihood) at each
        evaluation, the ``step``, from 1 on; NaN where a fixed point has none. After
        ``solver="mackay"``, and ``"mcem"`` for counts and proportions, also
        ``variance(group, effect)`` for each effect and ``variance(residual)``, NaN
        where a gradient has finished the fit.
    solver_ : BaseSolver
        The solver that was used.
    timings_ : dict of float
        Seconds that each phase of the fit took, in their order.
    mc_error_ : dict
        After ``solver="mcem"`` or a fit to missing values only: Monte Carlo standard
        errors, as Series of the ``"fixed_effects"``, DataFrame of the
        ``"variance_components"`` and float of the ``"log_likelihood"``.
    sampling_ : dict
        Where `mc_error_` is there: ``"sampler"``, the last number of draws
        ``"n_samples"``, and ``"effective"``, the share of independent draws from the
        posterior that they are worth.
    random_effects_draws_ : dict of ndarray of shape (n_draws, n_levels, q)
        After ``solver="mcem"`` only: up to 100 draws from the posterior of the
        effects, for each factor.
    missing_information_ : Series
        With ``missing="model"`` only: the share of the variance of each fixed effect
        that is owed to missing values.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if they are all strings.

    See Also
    --------
    MixedLogisticRegressor : Two classes.
    MixedLinearRegressor : Scores that are taken for numbers.

    Notes
    -----
    Solvers ``"mackay"`` and ``"mcem"`` estimate no thresholds but one: with three
    classes and more use ``"vi"`` or ``"laplace"``.

    References
    ----------
    .. [1] McCullagh, P. (1980). Regression models for ordinal data. Journal of the
       Royal Statistical Society B 42(2), 109-142.
    .. [2] Ormerod, J. T. and Wand, M. P. (2012). Gaussian variational approximate
       inference for generalized linear mixed models. Journal of Computational and
       Graphical Statistics 21(1), 2-17.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm import MixedOrdinalClassifier
    >>> from skglmm.datasets import make_mixed_regression
    >>> X, y = make_mixed_regression(400, 1, n_groups=20, random_state=0)
    >>> rating = np.digitize(y, [-1.0, 0.5, 2.0]) + 1
    >>> model = MixedOrdinalClassifier("g0").fit(X, rating)
    >>> model.classes_
    array([1, 2, 3, 4])
    >>> model.thresholds_.index.tolist()
    ['1|2', '2|3', '3|4']
    >>> model.predict_proba(X).shape
    (400, 4)
    """

    _family = "ordinal"
    fit_intercept = True

    _parameter_constraints = {
        name: kinds
        for name, kinds in BaseMixedModel._parameter_constraints.items()
        if name != "fit_intercept"
    } | {
        "link": [StrOptions({"logit", "probit", "cloglog"})],
        "classes": ["array-like", None],
    }

    def __init__(
        self,
        groups=None,
        *,
        fixed_effects=None,
        random_slopes=None,
        random_intercepts=True,
        covariance="full",
        offset=None,
        link="logit",
        classes=None,
        solver="vi",
        handle_unknown="ignore",
        reference=None,
        handle_unknown_fixed="error",
        missing="error",
        warm_start=False,
        verbose=0,
        random_state=None,
    ):
        self.groups = groups
        self.fixed_effects = fixed_effects
        self.random_slopes = random_slopes
        self.random_intercepts = random_intercepts
        self.covariance = covariance
        self.offset = offset
        self.link = link
        self.classes = classes
        self.solver = solver
        self.handle_unknown = handle_unknown
        self.reference = reference
        self.handle_unknown_fixed = handle_unknown_fixed
        self.missing = missing
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # the checks' three classes lie in no order along a line
        tags.classifier_tags.poor_score = True
        return tags

    def _distribution(self):
        return self._distribution_of(getattr(self, "classes_", (0, 1)))

    def _distribution_of(self, classes):
        return ordered(self.link, len(classes))

    def _read_target(self, y, n_rows, fitted=False):
        classes = self.classes_ if fitted else None
        return read_ordered(y, n_rows, type(self).__name__, self.classes, classes)

    def _check_rows(self, y, classes):
        counts = np.bincount(y.astype(int), minlength=len(classes))
        if not counts.all():
            label = plain(classes[counts == 0][0])
            raise ValueError(
                f"All rows of the class {label!r} have the weight zero: leave them out."
            )

    def _store(self, public, fitted, solver):
        labels = [str(label) for label in public["classes_"]]
        names = [f"{a}|{b}" for a, b in zip(labels[:-1], labels[1:], strict=True)]
        table = public["family_parameters_"].set_axis(pd.Index(names), axis=0)
        public["family_parameters_"] = table
        public["thresholds_"] = table["estimate"].rename("threshold")
        super()._store(public, fitted, solver)

    @by_partition
    def predict_proba(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Probability of each class.

        The random effects are integrated out over their posterior (seen levels) or
        their estimated distribution (unseen ones), by quadrature.

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
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        rows = self._rows(X, groups, level)[0]
        return family_of(self).probabilities(rows.mean(), rows.random_variance())

    @by_partition
    def predict(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """The most probable class.

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
        y_pred : ndarray of shape (n_samples,)
            Labels from `classes_`.
        """
        proba = self.predict_proba(X, groups=groups, level=level)
        return self.classes_[np.argmax(proba, axis=1)]

    @by_partition
    def predict_score(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Expected score, the mean of the classes as numbers.

        Classes that are no numbers count 0, 1, 2 and so on from the lowest.

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
        score : ndarray of shape (n_samples,)
            Random effects integrated out, as by `predict_proba`.
        """
        return self.predict_proba(X, groups=groups, level=level) @ self._scores()

    def _scores(self):
        """The classes as numbers."""
        if self.classes_.dtype.kind in "biuf":
            return self.classes_.astype(float)
        return np.arange(len(self.classes_), dtype=float)

    @by_partition
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.95,
        *,
        of: str = "response",
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Interval that holds the class, or the expected score, of a row.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        coverage : float, default=0.95
            Probability of the interval, between 0 and 1.
        of : {"response", "mean"}, default="response"
            Whether the interval is for a new observation or for its expectation.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lowest and highest class, labels from `classes_`, or bounds of the expected
            score as `predict_score` counts it: those at quantiles of the linear
            predictor. An interval of classes holds more than `coverage`. Thresholds are
            taken as known relative to the first.
        """
        interval = super().predict_interval(
            X, coverage, of=of, groups=groups, level=level
        )
        if of == "response":
            return self.classes_[interval.astype(np.intp)]
        return interval

    def _mean_at(self, eta):
        """Expected score where the linear predictor is known."""
        return family_of(self).probabilities(eta) @ self._scores()

    def _mean_and_slope(self, eta, variance):
        """Expected score, and its derivative by differences."""
        family, scores, step = family_of(self), self._scores(), 1e-5
        mean, ahead, behind = (
            family.probabilities(eta + sign * step, variance) @ scores
            for sign in (0.0, 1.0, -1.0)
        )
        return mean, (ahead - behind) / (2.0 * step)
