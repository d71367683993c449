"""Textbook computations of generalised mixed models with dense matrices.

Nothing of skglmm runs here. Z is written out, modes and posteriors are found by plain
fixed-point iterations, and derivatives are finite differences (`dense.slope`), so that
what the tests compare with owes nothing to the engine's algebra.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from dense import random_columns
from numpy.polynomial.hermite_e import hermegauss
from scipy.linalg import block_diag
from scipy.special import expit, gammaln, log_expit, logsumexp


@dataclass(frozen=True)
class Problem:
    """A generalised mixed model in numbers.

    Attributes
    ----------
    family : {"poisson", "binomial"}
    X : ndarray of shape (n_rows, p)
        Fixed columns, the intercept among them.
    y, weight, offset, trials : ndarray of shape (n_rows,)
        Weights are frequencies of rows.
    codes : list of ndarray of shape (n_rows,)
        Level of each row, for each factor.
    z : list of ndarray of shape (n_rows, q)
        Row values of the effects of each factor.
    ridge : float
        Multiplies the squared fixed effects in -2 log-likelihood.
    """

    family: str
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    trials: np.ndarray
    codes: list
    z: list
    ridge: float = 0.0


def random_problem(family, relations, n_levels, effects, seed=0, n=70, p=2):
    """A small problem with weights, an offset and, where they exist, trials.

    Parameters
    ----------
    family : {"poisson", "binomial"}
    relations : sequence of {"crossed", "nested"}
        Of each factor to the one before it.
    n_levels, effects : sequence of int
        Levels (within a level of the one before, if nested) and effects of a level.
    """
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    codes, z, above = [], [], None
    for relation, J, q in zip(relations, n_levels, effects, strict=True):
        level = rng.integers(J, size=n)
        if relation == "nested":
            level = above * J + level
        above = np.unique(level, return_inverse=True)[1]
        codes.append(above)
        z.append(np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))]))
    eta = 0.3 + 0.4 * X[:, 1]
    for level, values in zip(codes, z, strict=True):
        b = 0.6 * rng.normal(size=(level.max() + 1, values.shape[1]))
        eta = eta + (b[level] * values).sum(1)
    offset, trials = 0.5 * rng.normal(size=n), rng.integers(1, 6, n).astype(float)
    if family == "poisson":
        y = rng.poisson(np.exp(eta + offset))
    else:
        y = rng.binomial(trials.astype(int), expit(eta + offset))
    weight = rng.integers(1, 4, n).astype(float)
    return Problem(family, X, y.astype(float), weight, offset, trials, codes, z)


def density(problem, eta):
    """Log-likelihood of each row, with all its constants."""
    y, n = problem.y, problem.trials
    if problem.family == "poisson":
        with np.errstate(over="ignore"):  # a step that goes too far is halved
            return y * eta - np.exp(eta) - gammaln(y + 1)
    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    return choose + y * log_expit(eta) + (n - y) * log_expit(-eta)


def score_and_weight(problem, eta):
    """First derivative of each row's log-likelihood and minus the second."""
    if problem.family == "poisson":
        return problem.y - np.exp(eta), np.exp(eta)
    p = expit(eta)
    return problem.y - problem.trials * p, problem.trials * p * (1 - p)


def laplace(problem, coef, factors, n_nodes=1):
    """-2 log of Laplace's approximation, or of adaptive Gauss-Hermite quadrature.

    Parameters
    ----------
    problem : Problem
    coef : ndarray of shape (p,)
    factors : list of ndarray of shape (q, q)
        T_r, with covariance T_r T_r' of the effects of a level.
    n_nodes : int, default=1
        More than one needs a single factor.
    """
    ZL = _spherical_columns(problem, factors)
    base = problem.offset + problem.X @ coef
    w, u = problem.weight, np.zeros(ZL.shape[1])

    def objective(u):
        return -2 * w @ density(problem, base + ZL @ u) + u @ u

    for _ in range(200):
        score, weight = score_and_weight(problem, base + ZL @ u)
        M = ZL.T @ ((w * weight)[:, None] * ZL) + np.eye(len(u))
        step = np.linalg.solve(M, ZL.T @ (w * score) - u)
        size = 1.0
        while objective(u + size * step) > objective(u) + 1e-9:
            size /= 2
        u = u + size * step
        if np.abs(step).max() < 1e-13:
            break
    ridge = problem.ridge * coef @ coef
    if n_nodes == 1:
        return objective(u) + np.linalg.slogdet(M)[1] + ridge
    q, total = len(factors[0]), 0.0
    x, lw = hermegauss(n_nodes)
    lw = np.log(lw / lw.sum())
    for j in range(problem.codes[0].max() + 1):
        own = slice(j * q, (j + 1) * q)
        root = np.linalg.inv(np.linalg.cholesky(M[own, own])).T
        rows, terms = problem.codes[0] == j, []
        for at in itertools.product(range(n_nodes), repeat=q):
            v = u.copy()
            v[own] = u[own] + root @ x[list(at)]
            inside = (w * density(problem, base + ZL @ v))[rows].sum()
            change = (v[own] @ v[own] - x[list(at)] @ x[list(at)]) / 2
            terms.append(inside - change + lw[list(at)].sum())
        total += logsumexp(terms) + np.linalg.slogdet(root)[1]
    return -2 * total + ridge


def bound(problem, factors, kept=None, n_nodes=41, *, coupled=False):
    """-2 times the best evidence lower bound over fixed effects and Gaussians.

    Parameters
    ----------
    problem : Problem
    factors : list of ndarray of shape (q, q)
    kept : sequence of bool or None, default=None
        None for any Gaussian. Otherwise the effects of the factors that are not kept
        are independent between factors, given those of the factors that are.
    coupled : bool, default=False
        Whether log|M| and its derivatives are expanded to second order in the couplings
        between those factors instead: the value is no bound then.

    Returns
    -------
    dict
        ``value``, ``coef``, ``means`` of the spherical effects and their
        ``covariance``.
    """
    ZL, X, w = _spherical_columns(problem, factors), problem.X, problem.weight
    p, k = X.shape[1], ZL.shape[1]
    sizes = [
        (c.max() + 1) * len(t) for c, t in zip(problem.codes, factors, strict=True)
    ]
    of_factor = np.repeat(np.arange(len(sizes)), sizes)
    x, node_weight = hermegauss(n_nodes)
    node_weight = node_weight / node_weight.sum()

    def mean(fun, eta, variance):
        points = eta[:, None] + np.sqrt(variance)[:, None] * x
        return sum(
            nw * np.array(fun(point))
            for nw, point in zip(node_weight, points.T, strict=True)
        )

    eta = np.log(problem.y + 0.5)
    if problem.family == "binomial":
        eta -= np.log(problem.trials - problem.y + 0.5)
    columns = np.hstack([X, ZL])
    prior = np.diag(np.r_[np.full(p, problem.ridge), np.ones(k)])
    S, variance, used = np.zeros((k, k)), np.zeros(len(eta)), 0.0
    position = np.zeros(p + k)
    for turn in range(2000):
        score, weight = mean(lambda e: score_and_weight(problem, e), eta, variance)
        used = weight if turn == 0 else (used + weight) / 2
        W = (w * used)[:, None]
        linear = columns @ position if turn else eta - problem.offset
        joint = columns.T @ (W * columns) + prior
        right = columns.T @ (w * (used * linear + score))
        new = np.linalg.solve(joint, right)
        # half steps: the turns approach the optimum without overshooting
        new = new if turn == 0 else (position + new) / 2
        M = ZL.T @ (W * ZL) + np.eye(k)
        S, log_det = _pattern(M, of_factor, kept, coupled)
        before, position = position, new
        eta = problem.offset + columns @ position
        spread = np.einsum("ij,jk,ik->i", ZL, S, ZL)
        change = np.abs(position - before).max() + np.abs(spread - variance).max()
        variance = spread
        if change < 1e-14:
            break
    coef, u = position[:p], position[p:]
    expected = mean(lambda e: density(problem, e), eta, variance)
    # tr(S M) is the number of effects
    divergence = u @ u + log_det - W[:, 0] @ spread
    value = -2 * w @ expected + divergence + problem.ridge * coef @ coef
    return {"value": value, "coef": coef, "means": u, "covariance": S}


def _pattern(M, of_factor, kept, coupled):
    """Covariance of a Gaussian for precision M with some factors apart, and log|M|."""
    if kept is None:
        return np.linalg.inv(M), np.linalg.slogdet(M)[1]
    inside = np.array(kept)[of_factor]
    out = ~inside
    same = of_factor[out][:, None] == of_factor[out]
    L = M[np.ix_(out, out)]
    D, E = np.where(same, L, 0.0), np.where(same, 0.0, L)
    apart, log_det = np.linalg.inv(D), np.linalg.slogdet(D)[1]
    S = np.zeros_like(M)
    S[np.ix_(out, out)] = apart
    if coupled:
        once = apart @ E
        log_det -= 0.5 * np.trace(once @ once)
        S[np.ix_(out, out)] += np.where(same, once @ once @ apart, -once @ apart)
    if inside.any():
        reach = -np.linalg.solve(L, M[np.ix_(out, inside)])
        schur = M[np.ix_(inside, inside)] + M[np.ix_(inside, out)] @ reach
        log_det += np.linalg.slogdet(schur)[1]
        C = np.linalg.inv(schur)
        S[np.ix_(inside, inside)] = C
        S[np.ix_(out, inside)] = reach @ C
        S[np.ix_(inside, out)] = C @ reach.T
        S[np.ix_(out, out)] += reach @ C @ reach.T
    return S, log_det


def _spherical_columns(problem, factors):
    """Z Lambda, factor after factor."""
    parts = [
        random_columns(c, z) @ block_diag(*[t] * (c.max() + 1))
        for c, z, t in zip(problem.codes, problem.z, factors, strict=True)
    ]
    return np.hstack(parts)
