"""Gaussian variational inference."""

from skglmm.solvers._base import BaseSolver
from skglmm.solvers._exact import solve_linear


class VI(BaseSolver):
    r"""Gaussian variational posterior, exact for the linear model.

    The posterior of the random effects of a linear mixed model is Gaussian, so the
    evidence lower bound

    .. math:: \mathcal{L}(\theta) = \mathrm{E}_q[\log p(y, b \mid \theta)]
        - \mathrm{E}_q[\log q(b)]

    touches the log-likelihood at the optimal q, and maximising it over the variance
    parameters is maximum likelihood. With the fixed effects inside q, under a flat
    prior, it is restricted maximum likelihood (REML).

    Parameters
    ----------
    max_iter : int, default=100
        Largest number of evaluations of the objective; most fits need 5 to 15.
    tol : float, default=1e-8
        Bound on the Newton decrement, the decrease of -2 log-likelihood that another
        step promises.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
       mixed-effects models using lme4. Journal of Statistical Software 67(1). The
       profiled objective.
    .. [2] Ormerod, J. T. and Wand, M. P. (2012). Gaussian variational approximate
       inference for generalized linear mixed models. Journal of Computational and
       Graphical Statistics 21(1), 2-17.

    Examples
    --------
    >>> from skglmm.solvers import VI
    >>> VI(max_iter=50)
    VI(max_iter=50)
    """

    def solve(self, problem):
        solution = solve_linear(problem, self.max_iter, self.tol, self.device)
        solution.extra["elbo"] = solution.log_likelihood
        return solution
