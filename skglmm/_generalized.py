"""Mixed models of every other response."""

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from skglmm._base import BaseMixedModel
from skglmm._dask.lazy import by_partition
from skglmm._dask.scores import scored_by_partition
from skglmm._families.chosen import LINKS, NAMES, SHARES, chosen
from skglmm._families.foreign import foreign
from skglmm._sklearn import HasMethods, StrOptions


class MixedGeneralizedRegressor(RegressorMixin, BaseMixedModel):
    r"""Regression of any response with random effects of groups.

    Fits

    .. math:: y_i \sim F(\mu_i, \psi), \qquad g(\mu) = X\beta + \sum_r Z_r b_r +
        \text{offset} + \log \text{exposure}, \qquad b_{rj} \sim N(0, \Sigma_r),

    for a family F with parameters psi of its own, such as a dispersion, and a link g,
    by maximising the evidence lower bound or Laplace's approximation of the marginal
    likelihood of y. The parameters are estimated along with the variances.

    Parameters
    ----------
    groups : str, int, tuple, list or None, default=None
        Columns of X that hold the group labels: a name with a dataframe, a position
        with an array. A list is several factors; a tuple is one factor made of the
        combination of its columns (named ``"g:h"``). With None the labels come
        through ``fit(groups=)``, or the model has no random effects, and a warning
        says so; an empty list asks for such a model.
    family : str or tfp.glm.ExponentialFamily, default="gamma"
        Distribution of the target: ``"negative_binomial"`` (variance
        :math:`\mu + \mu^2 / \text{size}`), ``"negative_binomial_1"``
        (:math:`\mu (1 + \phi)`), ``"gamma"`` (:math:`(\sigma \mu)^2`),
        ``"inverse_gaussian"`` (:math:`\phi \mu^3`), ``"lognormal"``, ``"beta"``
        (:math:`\mu (1 - \mu) / (1 + \phi)`), ``"beta_binomial"``, ``"student_t"``,
        ``"tweedie"`` (:math:`\phi \mu^p`, 1 < p < 2), ``"gaussian"``, ``"poisson"`` or
        ``"binomial"``; or an instance of a class in ``tfp.glm``, of TensorFlow
        Probability. See the user guide, :ref:`families`.
    link : str, default=None
        Link between mean and linear predictor, that of the median for
        ``"lognormal"``: ``"identity"``, ``"log"``, ``"logit"``, ``"probit"``,
        ``"cloglog"`` or ``"inverse"``. None is ``"log"`` for counts and positive
        responses, ``"logit"`` for shares and successes, and ``"identity"`` for others.
    zero_inflation : bool or "hurdle", default=False
        For counts, whether there are zeros that are none of the family's: with True a
        row is zero with a constant probability whatever its mean; with ``"hurdle"``
        that is the probability of a zero, and counts above it are those of the family
        given that they are not zero.
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
    exposure : str or int, default=None
        Column of X that holds the exposure (time, area, population) of each row, a
        positive number; its log joins the offset.
    trials : str, int or list, default=None
        Column of X that holds the number of trials of each row; None means one. A list
        of columns, such as successes and failures, is added up.
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
    coef_ : ndarray of shape (n_fixed,)
        Fixed effects, one per fixed column in input order. Absent if
        `fixed_effects` is a network or a regressor.
    intercept_ : float
        Fixed intercept, 0.0 without one.
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
    family_parameters_ : DataFrame
        ``estimate`` and ``std_error`` of the parameters of the family: ``dispersion``
        (size, phi or sigma in the variances above, precision phi of ``"beta"`` and
        ``"beta_binomial"``, scale of ``"student_t"``, standard deviation of the log of
        ``"lognormal"``), ``degrees_of_freedom``, ``power`` and ``zero_inflation``, as
        they apply. Absent if it has none. A standard error is NaN where the estimate
        has run to a limit.
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
    MixedLinearRegressor : Normal responses, with REML and residual variances.
    MixedPoissonRegressor : Counts.
    MixedBinomialRegressor : Proportions.

    Notes
    -----
    ``family="gaussian"`` with the identity link is the linear model, by maximum
    likelihood: it has ``noise_variance_`` in the place of ``family_parameters_``.

    Solvers ``"mackay"`` and ``"mcem"`` take families without parameters only. With the
    identity or the inverse link a positive response has no mean for some linear
    predictors: such models need ``solver="laplace"``. `exposure` needs the log link,
    and `trials` belong to ``"binomial"`` and ``"beta_binomial"``.

    References
    ----------
    .. [1] McCullagh, P. and Nelder, J. A. (1989). Generalized Linear Models. Chapman
       and Hall, second edition.
    .. [2] Brooks, M. E. et al. (2017). glmmTMB balances speed and flexibility among
       packages for zero-inflated generalized linear mixed modeling. The R Journal
       9(2), 378-400.
    .. [3] Dunn, P. K. and Smyth, G. K. (2005). Series evaluation of Tweedie
       exponential dispersion model densities. Statistics and Computing 15, 267-280.

    Examples
    --------
    >>> from skglmm import MixedGeneralizedRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedGeneralizedRegressor("Subject", family="gamma").fit(X, y)
    >>> model.family_parameters_["estimate"].round(2).to_dict()
    {'dispersion': 0.1}
    """

    _column_parameters = ("offset", "exposure", "trials")

    _parameter_constraints = {
        **BaseMixedModel._parameter_constraints,
        "family": [StrOptions(set(NAMES)), HasMethods(["log_prob", "__call__"])],
        "link": [None, StrOptions(set(LINKS))],
        "zero_inflation": ["boolean", StrOptions({"hurdle"})],
        "exposure": [None, str, Integral],
        "trials": [None, str, Integral, list],
    }

    def __init__(
        self,
        groups=None,
        *,
        family="gamma",
        link=None,
        zero_inflation=False,
        fixed_effects=None,
        random_slopes=None,
        random_intercepts=True,
        covariance="full",
        offset=None,
        exposure=None,
        trials=None,
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
        self.family = family
        self.link = link
        self.zero_inflation = zero_inflation
        self.fixed_effects = fixed_effects
        self.random_slopes = random_slopes
        self.random_intercepts = random_intercepts
        self.covariance = covariance
        self.offset = offset
        self.exposure = exposure
        self.trials = trials
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
        tags.target_tags.positive_only = self.family not in ("gaussian", "student_t")
        return tags

    def _distribution(self):
        zeros = (
            "hurdle" if self.zero_inflation == "hurdle" else bool(self.zero_inflation)
        )
        if isinstance(self.family, str):
            return chosen(self.family, self.link, zeros)
        if self.link is not None or zeros:
            raise ValueError(
                f"family={self.family!r} has a link of its own: leave link and "
                "zero_inflation at their defaults."
            )
        return foreign(self.family)

    def _named_columns(self, table, terms):
        family = self._distribution()
        if self.trials is not None and self.family not in SHARES:
            raise ValueError(
                f"trials={self.trials!r} was given, but family={self.family!r} has "
                f"none: it is for {' and '.join(map(repr, SHARES))}."
            )
        if self.exposure is not None and family.link != "log":
            raise ValueError(
                f"exposure={self.exposure!r} needs the log link, and this family has "
                f"the {family.link} link: use offset."
            )
        return super()._named_columns(table, terms)

    @by_partition
    def predict(
        self,
        X: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        level: str = "conditional",
        return_std: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Mean response for new rows.

        The random effects are integrated out over their posterior (seen levels) or
        their estimated distribution (unseen ones).

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
        return_std : bool, default=False
            Whether to return standard deviations as well.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Means, for the exposure of each row; proportions of successes where there
            are trials. The fixed effects are taken as known.
        y_std : ndarray of shape (n_samples,)
            Only with ``return_std=True``: standard deviation of a new observation, the
            root of E[Var(y)] + Var[E(y)], the uncertainty of the fixed effects
            included.
        """
        return self._predict(X, groups, level, return_std)

    @scored_by_partition
    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> float:
        """Share of the deviance that the predictions explain, D squared.

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features)
            Columns as in `fit`.
        y : array-like of shape (n_samples,)
            True responses; successes where there are trials.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        groups : array-like or dataframe of shape (n_samples,) or \
(n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.

        Returns
        -------
        score : float
            1 for perfect predictions, 0 for a constant mean.
        """
        return self._explained_deviance(X, y, sample_weight, groups)
