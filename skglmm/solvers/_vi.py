"""Gaussian variational inference."""

from dataclasses import replace
from numbers import Integral

import numpy as np

from skglmm._families import Family
from skglmm._problem.design import kept_factors
from skglmm._problem.problem import Problem
from skglmm._problem.solution import Solution
from skglmm._sklearn import Interval, StrOptions
from skglmm.solvers._base import BaseSolver, only_laplace, two_classes

# Seconds of an evaluation above which probes (linear model) or couplings to second
# order (others, which evaluate them more often) are the better choice.
_LINEAR, _GENERALIZED = 1.3, 0.17


class VI(BaseSolver):
    r"""Gaussian variational posterior, exact for the linear model.

    The posterior of the random effects of a linear mixed model is Gaussian, so the
    evidence lower bound

    .. math:: \mathcal{L}(\theta) = \mathrm{E}_q[\log p(y, b \mid \theta)]
        - \mathrm{E}_q[\log q(b)]

    touches the log-likelihood at the optimal q, and maximising it over the variance
    parameters is maximum likelihood. With the fixed effects inside q, under a flat
    prior, it is restricted maximum likelihood (REML).

    For counts and binary outcomes q is the best Gaussian. Its precision has the
    pattern of the posterior's, :math:`V^{-1} = \Sigma^{-1} + Z' W Z` with
    :math:`w_i = \mathrm{E}_q[-\ell_i''(\eta_i)]`, and its mean solves
    :math:`Z's = \Sigma^{-1} m` with :math:`s_i = \mathrm{E}_q[\ell_i'(\eta_i)]`. That
    is less biased than Laplace's approximation for two to five binary rows a level.

    Parameters
    ----------
    n_quadrature : int or "auto", default="auto"
        Gauss-Hermite nodes for the means of a row's log-likelihood (logit link only;
        the Poisson model has a closed form). ``"auto"`` takes 9, and 15, 33 or 63 when
        the posterior variance of a linear predictor exceeds 1, 4 or 16; 6 may do for
        more than 50,000 rows.
    factorization : {"auto", "full", "partial", "mean_field"}, default="auto"
        Which posterior covariances the approximation has. ``"full"`` keeps all of
        them. ``"partial"`` keeps those with the fixed effects and with small factors
        (fewer than 30 effects) and drops those between large ones. ``"mean_field"``
        drops all, those with the fixed effects included: its standard errors of the
        fixed effects are too small, often by a factor of two or more, and it is here
        for comparison. Leave it at ``"auto"``, which is ``"full"`` unless crossed
        factors leave so large a dense matrix that an evaluation would take longer
        than a sixth of a second: then the couplings between the large factors count to
        second order (see Notes). The fixed effects and all random effects are
        updated jointly in every case.
    max_iter : int, default=100
        Largest number of evaluations of the objective; most fits need 5 to 15.
    tol : float, default=1e-8
        Bound on the Newton decrement, the decrease of -2 log-likelihood that another
        step promises; for counts and binary outcomes, per hundred rows.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.

    Notes
    -----
    A linear model begins from the standard deviations that each factor would have
    alone. Steps are those of BFGS then, and with several factors those of Newton's
    method with the average of observed and expected information [4]_, :math:`y' P
    \dot V_a P \dot V_b P y / \sigma^2` with :math:`P = V^{-1} - V^{-1} X (X' V^{-1}
    X)^{-1} X' V^{-1}`, wherever the curvature along the last step agrees with it.

    A linear model whose crossed factors would leave a dense matrix of more than some
    3,500 columns is solved by conjugate gradients, with traces by random signs and the
    log-determinant by Lanczos quadrature [3]_. Its variances and its log-likelihood
    have a Monte Carlo error then, in ``mc_error_``; ``sampling_`` says how many signs
    were used, and ``random_state`` makes them the same again.

    Counts and outcomes with such factors have no dense matrix either. All means are
    moved together by conjugate gradients, and the posterior covariance is that of
    levels by themselves, corrected for the couplings E between large factors. With
    :math:`\log|D + E| \approx \log|D| - \frac12 \mathrm{tr}\{(D^{-1}E)^2\}`, D the
    diagonal blocks of the posterior precision, the variances of the linear predictors
    are the derivatives of this in the row weights. ``elbo_`` is then no bound, and
    ``log_likelihood_`` is Laplace's approximation, its determinant by random signs
    [3]_.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
       mixed-effects models using lme4. Journal of Statistical Software 67(1). The
       profiled objective.
    .. [2] Ormerod, J. T. and Wand, M. P. (2012). Gaussian variational approximate
       inference for generalized linear mixed models. Journal of Computational and
       Graphical Statistics 21(1), 2-17.
    .. [3] Ubaru, S., Chen, J. and Saad, Y. (2017). Fast estimation of tr(f(A)) via
       stochastic Lanczos quadrature. SIAM Journal on Matrix Analysis and Applications
       38(4), 1075-1099.
    .. [4] Gilmour, A. R., Thompson, R. and Cullis, B. R. (1995). Average information
       REML: an efficient algorithm for variance parameter estimation in linear mixed
       models. Biometrics 51(4), 1440-1450.

    Examples
    --------
    >>> from skglmm.solvers import VI
    >>> VI(max_iter=50)
    VI(max_iter=50)
    """

    _parameter_constraints = {
        **BaseSolver._parameter_constraints,
        "n_quadrature": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "factorization": [StrOptions({"auto", "full", "partial", "mean_field"})],
    }

    def __init__(
        self,
        *,
        n_quadrature="auto",
        factorization="auto",
        max_iter=100,
        tol=1e-8,
        device="auto",
    ):
        super().__init__(max_iter=max_iter, tol=tol, device=device)
        self.n_quadrature = n_quadrature
        self.factorization = factorization

    def dense_seconds(self, family: Family, factors: list) -> float:
        if family.is_linear:
            return _LINEAR
        auto = self.factorization == "auto"
        kept = kept_factors(factors, "partial" if auto else self.factorization)
        if kept is None:
            return np.inf
        return _GENERALIZED if auto else -1.0

    def supports(self, problem: Problem) -> str | None:
        if not problem.family.is_everywhere:
            return only_laplace(problem.family, "vi")
        if problem.family.is_by_class and self.factorization not in ("auto", "full"):
            return two_classes(f"factorization={self.factorization!r}")
        return None

    def solve(self, problem: Problem) -> Solution:
        if not problem.family.is_linear:
            from skglmm._loops.generalized import solve_variational

            return solve_variational(problem, self)
        if problem.design.plan.iterative:
            from skglmm._loops.probes import solve_iterative

            return solve_iterative(problem, self)
        from skglmm._loops.linear import solve_linear

        solution = solve_linear(problem, self.max_iter, self.tol, self.device)
        return replace(solution, elbo=solution.log_likelihood)
