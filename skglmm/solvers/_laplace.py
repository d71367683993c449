"""Laplace's approximation."""

from skglmm.solvers._base import BaseSolver
from skglmm.solvers._exact import solve_linear


class Laplace(BaseSolver):
    r"""Laplace approximation of the marginal likelihood, exact for the linear model.

    The integrand of a linear mixed model is Gaussian in the random effects, so that
    the expansion around its mode,

    .. math:: -2 \log \int p(y, u)\,du \approx -2 \log p(y, \hat u)
        + \log |\Lambda' Z' W Z \Lambda + I|,

    is the likelihood itself: `VI` and `Laplace` run the same code there and give the
    same numbers.

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
       mixed-effects models using lme4. Journal of Statistical Software 67(1).

    Examples
    --------
    >>> from skglmm.solvers import Laplace
    >>> Laplace(tol=1e-10)
    Laplace(tol=1e-10)
    """

    def solve(self, problem):
        return solve_linear(problem, self.max_iter, self.tol, self.device)
