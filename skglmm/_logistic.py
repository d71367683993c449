"""Mixed logistic regression."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.base import ClassifierMixin

from skglmm._base import BaseMixedModel
from skglmm._dask.lazy import by_partition
from skglmm._families.multinomial import multinomial
from skglmm._fitted.classes import ClassesMixin
from skglmm._fitted.several import (
    SeveralRows,
    answer_by_class,
    rows_by_class,
    rows_factor,
    several_intervals,
)
from skglmm._reading.by_class import by_class, check_by_class
from skglmm._reading.target import read_classes
from skglmm._reading.words import plain


class MixedLogisticRegressor(ClassesMixin, ClassifierMixin, BaseMixedModel):
    r"""Classification with random effects of groups.

    Fits

    .. math:: P(y_i = 1) = 1 / (1 + e^{-\eta_i}), \qquad
        \eta = X\beta + \sum_r Z_r b_r + \text{offset}, \qquad
        b_{rj} \sim N(0, \Sigma_r),

    by maximising the evidence lower bound or Laplace's approximation of the marginal
    likelihood of y. It is a classifier, as `sklearn.linear_model.LogisticRegression`
    is; there is no penalty on the coefficients.

    With more than two classes it is the multinomial logit model,

    .. math:: P(y_i = k) = e^{\eta_{ik}} / \sum_l e^{\eta_{il}}, \qquad
        \eta_{ik} = x_i'\beta_k + \sum_r z_{ir}'b_{rk},

    with :math:`\eta_{i1} = 0` for the first class, and coefficients and a set of random
    effects for each of the others. The sets of different classes are independent, each
    with a covariance of its own.

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
    fit_intercept : bool, default=True
        Whether the fixed part has an intercept.
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
        The classes in order. The first is the one that the others are compared with.
    coef_ : ndarray of shape (n_classes - 1, n_fixed)
        Fixed effects, one per fixed column in input order, of the second class and
        those behind it. Absent if `fixed_effects` is a network or a regressor.
    intercept_ : ndarray of shape (n_classes - 1,)
        Fixed intercepts, 0.0 without.
    coef_names_ : list of str
        Names of the fixed columns; ``region_city`` for a category ``city`` of a column
        ``region``.
    fixed_effects_ : DataFrame
        ``estimate`` and ``std_error`` of the intercept and the coefficients. The
        errors include the uncertainty of the variances. With more than two classes
        the rows, and the effects of levels, are named ``"class: column"``.
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
    random_effects_trace_ : dict of ndarray of shape (n_steps, n_kept, n_levels, q)
        After ``solver=MCEM(keep=n_kept)`` only: draws of the effects at each step of
        `history_`, for each factor.
    missing_information_ : Series
        With ``missing="model"`` only: the share of the variance of each fixed effect
        that is owed to missing values.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if they are all strings.

    See Also
    --------
    MixedBinomialRegressor : Successes among several trials a row.
    skglmm.solvers.VI : The default solver.

    References
    ----------
    .. [1] Ormerod, J. T. and Wand, M. P. (2012). Gaussian variational approximate
       inference for generalized linear mixed models. Journal of Computational and
       Graphical Statistics 21(1), 2-17.
    .. [2] Breslow, N. E. and Clayton, D. G. (1993). Approximate inference in
       generalized linear mixed models. JASA 88, 9-25.

    Examples
    --------
    >>> from skglmm import MixedLogisticRegressor
    >>> from skglmm.datasets import load_contraception
    >>> X, y = load_contraception(return_X_y=True, as_frame=True)
    >>> model = MixedLogisticRegressor(groups="district")
    >>> model.fit(X[["age", "district"]], y).variance_components_["std"].round(2).item()
    0.5
    >>> model.predict_proba(X[["age", "district"]]).shape
    (1934, 2)
    """

    _family = "binomial"

    def __init__(
        self,
        groups=None,
        *,
        fixed_effects=None,
        random_slopes=None,
        random_intercepts=True,
        covariance="full",
        offset=None,
        fit_intercept=True,
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
        self.fit_intercept = fit_intercept
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
        linear = isinstance(self.fixed_effects, str | list | None)
        tags.classifier_tags.multi_class = linear and self.missing == "error"
        return tags

    @property
    def _many(self):
        """Whether a fit has met more than two classes."""
        return len(getattr(self, "classes_", ())) > 2

    def _distribution(self):
        return self._distribution_of(getattr(self, "classes_", None))

    def _distribution_of(self, classes):
        if classes is not None and len(classes) > 2:
            return multinomial(len(classes))
        return super()._distribution()

    def _asked(self, inputs, part):
        if len(inputs.classes) == 2:
            return inputs
        check_by_class(self, inputs, part)
        return by_class(inputs, self.fit_intercept)

    def _answer(self, inputs, asked, working, estimate, solution):
        given = inputs, asked, working, estimate, solution
        if asked is inputs:
            return super()._answer(*given)
        return answer_by_class(*given, self._distribution_of(inputs.classes))

    def _read_target(self, y, n_rows, fitted=False):
        classes = self.classes_ if fitted else None
        return read_classes(y, n_rows, type(self).__name__, classes)

    def _check_rows(self, y, classes):
        present = classes[np.unique(y).astype(int)]
        if len(present) < 2:
            raise ValueError(
                f"y holds one class only ({plain(present[0])!r}) in the rows with a "
                "positive weight: give rows of two classes."
            )

    def _store(self, public, fitted, solver):
        if len(public["classes_"]) == 2:
            public["intercept_"] = np.array([public["intercept_"]])
            if "coef_" in public:
                public["coef_"] = public["coef_"][None]
        super()._store(public, fitted, solver)

    def _fixed_of_rows(self, coef):
        if self._many:
            return SeveralRows, {"coef": self.coef_, "intercept": self.intercept_}
        return super()._fixed_of_rows(coef)

    def _apart(self, rows):
        return rows_by_class(rows, len(self.classes_)) if self._many else rows

    def _in_common(self, n_rows):
        return [rows_factor(n_rows, len(self.classes_))] if self._many else []

    def _probabilities(self, X, groups, level):
        """Probabilities (n_rows, n_classes), random effects integrated out."""
        if self._many:
            rows = self._rows(X, groups, level)[0]
            return self._distribution().integrated_mean(
                rows.mean(), rows.random_covariance()
            )
        p = self._mean(X, groups, level)[0]
        return np.column_stack([1.0 - p, p])

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
        their estimated distribution (unseen ones), by quadrature; with more than four
        classes by 1,024 points of Sobol's sequence.

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
        return self._probabilities(X, groups, level)

    @by_partition
    def decision_function(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Logit of the integrated probability of the second class, or of each.

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
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Positive where the second class is the more probable one; with more than
            two classes, largest for the most probable one.
        """
        tiny = np.finfo(float).tiny
        p = self._probabilities(X, groups, level)
        p = p if self._many else p[:, 1]
        return logit(np.clip(p, tiny, 1.0 - np.finfo(float).epsneg))

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
        p = self._probabilities(X, groups, level)
        return self.classes_[np.argmax(p, axis=1)]

    @by_partition
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.95,
        *,
        of: str = "mean",
        groups: ArrayLike | None = None,
        level: str = "conditional",
    ) -> np.ndarray:
        """Interval that holds the probability of the second class, or of each.

        Quantiles of the linear predictor, transformed by the inverse link. With more
        than two classes, quantiles of the probabilities of 1,024 linear predictors.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        coverage : float, default=0.95
            Probability of the interval, between 0 and 1.
        of : {"mean"}, default="mean"
            A class has no interval; its expectation has.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        level : {"conditional", "population"}, default="conditional"
            Whether to use what is known of the levels seen in fit; ``"population"``
            treats every level as unseen.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, n_classes, 2)
            Lower and upper bound of the probability of the second class; with more
            than two classes of that of each.
        """
        if of != "mean":
            raise ValueError(
                f"of must be 'mean' for a classifier, got {of!r}: a class has no "
                "interval, its probability has."
            )
        if self._many:
            return several_intervals(self, X, coverage, groups, level)
        return super().predict_interval(
            X, coverage, of="mean", groups=groups, level=level
        )
