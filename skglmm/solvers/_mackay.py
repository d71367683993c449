"""MacKay's evidence framework."""

from numbers import Real

import numpy as np

from skglmm._problem.problem import Problem
from skglmm._problem.roots import covariance_root, in_coordinates
from skglmm._problem.solution import Solution
from skglmm._sklearn import Interval, StrOptions
from skglmm.solvers._base import BaseSolver, no_parameters, only_laplace, two_classes


class MacKay(BaseSolver):
    r"""Evidence framework: variances from effects and effective numbers of them.

    With the spherical effects :math:`u_j`, :math:`b_j = T u_j`, and their posterior
    covariances :math:`\sigma^2 [M^{-1}]_{jj}`, let

    .. math:: U = \sum_j u_j u_j', \qquad
        \Gamma = \sum_j (I - [M^{-1}]_{jj}).

    The trace of :math:`\Gamma` is the effective number of effects that the data
    determine [1]_. The derivative of the likelihood in the covariance vanishes where
    :math:`U = \sigma^2 \Gamma`, which suggests

    .. math:: \Sigma \leftarrow T \Gamma^{-1/2} U \Gamma^{-1/2} T',

    the matrix form of :math:`\sigma_b^2 \leftarrow |b|^2 / \gamma`. With one effect it
    is the iteration of Harville [2]_, for other families that of Schall [3]_. Steps are
    mixed by Anderson's method and kept only if the objective does not rise; the last
    digits come from the gradient. The linear model ends at the maximum of the
    likelihood, or of the restricted one, as with the other solvers.

    Parameters
    ----------
    update : {"evidence", "quick"}, default="evidence"
        ``"quick"`` is the textbook shortcut that leaves the posterior variance out: the
        covariance is that of the predicted effects, and the residual variance
        :math:`\mathrm{SSE} / (n - \mathrm{tr} H)`, H being the hat matrix. It is
        biased, and here for teaching. With m rows in each group, true variance s and
        :math:`c = \sigma^2 / m`, it ends at :math:`(V - 2c + \sqrt{V (V - 4c)}) / 2`
        with :math:`V = s + c`, which is too small, and collapses to zero where
        :math:`s < 3c`.
    curvature : {"vi", "laplace", "pql"}, default="vi"
        For counts and binary outcomes, where weights and scores are taken. ``"vi"``:
        averaged over the posterior, which gives the estimates of `VI`. ``"pql"``: at
        the joint mode of fixed and random effects, penalised quasi-likelihood [4]_;
        its standard deviations are too small, by a third for five binary rows a group.
        ``"laplace"``: begins with that and ends at Laplace's approximation.
    covariances : dict or None, default=None
        Known covariances, a variance or a (q, q) array for each factor by name, in the
        units of ``random_effects_covariance_``. Nothing is estimated then but the
        effects, which are their best linear unbiased predictions.
    noise_variance : float or None, default=None
        Known residual variance, which the linear model needs beside `covariances`.
    max_iter : int, default=100
        Largest number of evaluations.
    tol : float, default=1e-8
        Bound on what another step could gain in -2 log-likelihood; for counts and
        binary outcomes, per hundred rows.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where to compute. ``"auto"`` takes a GPU when there is one and the problem is
        large enough to gain.

    References
    ----------
    .. [1] MacKay, D. J. C. (1992). Bayesian interpolation. Neural Computation 4(3),
       415-447.
    .. [2] Harville, D. A. (1977). Maximum likelihood approaches to variance component
       estimation and to related problems. JASA 72, 320-338.
    .. [3] Schall, R. (1991). Estimation in generalized linear models with random
       effects. Biometrika 78(4), 719-727.
    .. [4] Breslow, N. E. and Clayton, D. G. (1993). Approximate inference in
       generalized linear mixed models. JASA 88, 9-25.

    Examples
    --------
    Best linear unbiased predictions at variances that are known:

    >>> import numpy as np
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> from skglmm.solvers import MacKay
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> known = MacKay(
    ...     covariances={"Subject": np.array([[612.1, 9.6], [9.6, 35.07]])},
    ...     noise_variance=654.94,
    ... )
    >>> model = MixedLinearRegressor("Subject", random_slopes=["Days"], solver=known)
    >>> model.fit(X, y).random_effects_["Subject"].to_numpy()[:2].round(2)
    array([[  2.26,   9.2 ],
           [-40.4 ,  -8.62]])
    """

    _parameter_constraints = {
        **BaseSolver._parameter_constraints,
        "update": [StrOptions({"evidence", "quick"})],
        "curvature": [StrOptions({"vi", "laplace", "pql"})],
        "covariances": [dict, None],
        "noise_variance": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        update="evidence",
        curvature="vi",
        covariances=None,
        noise_variance=None,
        max_iter=100,
        tol=1e-8,
        device="auto",
    ):
        super().__init__(max_iter=max_iter, tol=tol, device=device)
        self.update = update
        self.curvature = curvature
        self.covariances = covariances
        self.noise_variance = noise_variance

    def supports(self, problem: Problem) -> str | None:
        if self.noise_variance is not None and self.covariances is None:
            return (
                "noise_variance was given without covariances: give both, or neither "
                "to have them estimated."
            )
        if problem.family.is_by_class:
            return two_classes("solver='mackay'")
        if problem.family.parameter_names:
            return no_parameters(problem.family, "mackay")
        if not problem.family.is_everywhere:
            return only_laplace(problem.family, "mackay")
        known, linear = self.covariances is not None, problem.family.is_linear
        if known and linear and self.noise_variance is None:
            return (
                "covariances were given without noise_variance: the linear model "
                "needs both, or neither to have them estimated."
            )
        return None

    def solve(self, problem: Problem) -> Solution:
        from skglmm._loops.evidence import (
            solve_evidence,
            solve_generalized_evidence,
            solve_known,
            solve_quick,
        )

        linear = problem.family.is_linear
        if self.covariances is not None:
            factors = known_factors(problem, self.covariances)
            return solve_known(problem, self, factors)
        if self.update == "quick":
            return solve_quick(problem, self)
        if linear:
            return solve_evidence(problem, self)
        return solve_generalized_evidence(problem, self)


def known_factors(problem, covariances):
    """Square roots of known covariances in working coordinates, design's order."""
    missing = [name for name in problem.names if name not in covariances]
    extra = [name for name in covariances if name not in problem.names]
    if missing or extra:
        raise ValueError(
            f"covariances names {', '.join(map(repr, covariances)) or 'no factor'}, "
            f"and the factors of the model are {', '.join(map(repr, problem.names))}: "
            "give one matrix for each of them."
        )
    factors = []
    for name, recoding in zip(problem.names, problem.recodings, strict=True):
        q = len(recoding)
        sigma = np.atleast_2d(np.asarray(covariances[name], dtype=float))
        if sigma.shape != (q, q):
            raise ValueError(
                f"The covariance of {name!r} has the shape {sigma.shape}: a level of "
                f"it has {q} effects, so give one of shape ({q}, {q})."
            )
        values = np.linalg.eigvalsh(0.5 * (sigma + sigma.T))
        if not np.allclose(sigma, sigma.T) or values.min() < -1e-10 * values.max():
            raise ValueError(
                f"The covariance of {name!r} is not symmetric and positive "
                f"semi-definite (eigenvalues from {values.min():.3g} to "
                f"{values.max():.3g}): no effects can have it. Correct covariances."
            )
        sigma = in_coordinates(sigma / problem.unit**2, recoding)
        factors.append(covariance_root(sigma))
    return factors
