"""Monte Carlo EM."""

from numbers import Integral

from skglmm._problem.problem import Problem
from skglmm._problem.solution import Solution
from skglmm._sklearn import Interval, StrOptions
from skglmm.solvers._base import BaseSolver, no_parameters, only_laplace, two_classes


class MCEM(BaseSolver):
    r"""Monte Carlo EM: maximum likelihood with expectations over draws.

    With b the random effects, Fisher's identity

    .. math:: \nabla \log p(y) = \mathrm{E}[\nabla \log p(y, b) \mid y]

    gives the gradient of the exact likelihood as a mean over the posterior of b, which
    is taken over draws [1]_: no Gaussian is put in its place. EM's step is closed in
    the covariances,

    .. math:: \Sigma \leftarrow \mathrm{E}\Big[\sum_j b_j b_j' \mid y\Big] / J,

    and Newton's in the fixed effects. It is accelerated by the ratio of complete-data
    and observed information [2]_, which the variational approximation knows, and from
    whose optimum the iteration starts; EM's own step is kept for where the
    accelerated one fails.

    Draws come

    - from the posterior itself for the linear model (``"exact"``);
    - by importance sampling from the variational posterior with heavier tails, for each
      level of a single factor, with quasi-random normals that stay the same from
      iteration to iteration;
    - by importance sampling of all effects at once, for several factors, as long as the
      effective number of draws is a tenth of their number;
    - and else by Hamiltonian Monte Carlo, 32 chains in coordinates that are whitened by
      the approximation (``"hmc"``).

    The number of draws is doubled only when a step is smaller than its Monte Carlo
    error. Estimates settled with different draws are averaged. The random effects are
    thought of as moving along with the fixed ones, as their posterior does: the score
    of the fixed effects hardly varies over the draws then.

    Parameters
    ----------
    n_samples : int, default=256
        Draws to begin with.
    sampler : {"auto", "exact", "importance", "hmc"}, default="auto"
        How to draw; see above. ``"exact"`` is for the linear model, which knows no
        other.
    max_iter : int, default=100
        Largest number of expectations.
    tol : float, default=0.1
        Monte Carlo error that the estimates may have, in their standard errors
        (root mean square over the parameters). With 0.1 it adds half a percent to a
        standard error.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.
    keep : int, default=0
        Draws of every random effect to keep of each expectation, in
        ``random_effects_trace_``: at most 100, and no more than `n_samples`. What is
        kept changes no estimate.

    Notes
    -----
    The fitted model has, beside what all have, ``mc_error_``, the Monte Carlo standard
    errors of its estimates; ``sampling_``, which sampler was used and how well it did;
    and ``random_effects_draws_``, up to 100 draws of the effects,
    an array (n_draws, n_levels, n_effects) for each factor. With ``keep=n`` it also has
    ``random_effects_trace_``, such draws of each step of ``history_``, an array
    (n_steps, n, n_levels, n_effects); with ``"hmc"`` they are the last states of the
    chains. The objective of
    ``history_`` is what one more step would have gained in -2 log-likelihood. Standard
    errors are Louis's [2]_, except where the draws are too few for them, and the
    log-likelihood is the mean of the importance weights, or for ``"hmc"`` by bridge
    sampling [3]_. A variance that the variational approximation puts at zero stays
    there.

    References
    ----------
    .. [1] Wei, G. C. G. and Tanner, M. A. (1990). A Monte Carlo implementation of the
       EM algorithm and the poor man's data augmentation algorithms. JASA 85, 699-704.
    .. [2] Louis, T. A. (1982). Finding the observed information matrix when using the
       EM algorithm. JRSS B 44(2), 226-233.
    .. [3] Meng, X.-L. and Wong, W. H. (1996). Simulating ratios of normalizing
       constants via a simple identity. Statistica Sinica 6, 831-860.

    Examples
    --------
    >>> from skglmm import MixedLogisticRegressor
    >>> from skglmm.datasets import make_mixed_regression
    >>> from skglmm.solvers import MCEM
    >>> X, y = make_mixed_regression(
    ...     600, 1, n_groups=200, group_std=1.5, family="bernoulli", random_state=0
    ... )
    >>> model = MixedLogisticRegressor(groups="g0", solver=MCEM(), random_state=0)
    >>> model.fit(X, y).sampling_["sampler"]
    'importance'
    """

    _parameter_constraints = {
        **BaseSolver._parameter_constraints,
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "sampler": [StrOptions({"auto", "exact", "importance", "hmc"})],
        "keep": [Interval(Integral, 0, 100, closed="both")],
    }

    def __init__(
        self,
        *,
        n_samples=256,
        sampler="auto",
        max_iter=100,
        tol=0.1,
        device="auto",
        keep=0,
    ):
        super().__init__(max_iter=max_iter, tol=tol, device=device)
        self.n_samples = n_samples
        self.sampler = sampler
        self.keep = keep

    @property
    def n_kept(self):
        """Draws that are kept of each expectation."""
        return min(self.keep, self.n_samples)

    def supports(self, problem: Problem) -> str | None:
        linear = problem.family.is_linear
        if problem.gaps:
            return (
                "missing='model' fits many completed tables, and solver='mcem' would "
                "take long for each: use 'vi', 'laplace' or 'mackay', which maximise "
                "the same likelihood."
            )
        if problem.family.is_by_class:
            return two_classes("solver='mcem'")
        if problem.family.parameter_names:
            return no_parameters(problem.family, "mcem")
        if not problem.family.is_everywhere:
            return only_laplace(problem.family, "mcem")
        if any(factor.structure.couples for factor in problem.design.factors):
            return (
                "solver='mcem' draws effects level by level, and the levels of a "
                "factor are related: use 'vi', 'laplace' or 'mackay'."
            )
        if linear and self.sampler not in ("auto", "exact"):
            return (
                f"sampler={self.sampler!r} is for counts and binary outcomes: the "
                "posterior of a linear model is drawn from exactly. Use "
                "sampler='auto'."
            )
        if not linear and self.sampler == "exact":
            return (
                "sampler='exact' is for the linear model: no posterior is known "
                "exactly for counts and binary outcomes. Use sampler='auto'."
            )
        return None

    def solve(self, problem: Problem) -> Solution:
        from skglmm._loops.monte_carlo import solve_linear_sampled, solve_sampled

        linear = problem.family.is_linear
        return (solve_linear_sampled if linear else solve_sampled)(problem, self)
