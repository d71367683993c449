"""Textbook computations of the linear mixed model with dense n x n matrices.

Nothing of skglmm runs here. Frequencies are repeated rows, every matrix is written
out, and derivatives are finite differences, so that what the tests compare with owes
nothing to the engine's algebra.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve


@dataclass(frozen=True)
class Problem:
    """A linear mixed model in numbers.

    Attributes
    ----------
    X : ndarray of shape (n_rows, p)
        Fixed columns, the intercept among them.
    y : ndarray of shape (n_rows,)
    codes : list of ndarray of shape (n_rows,)
        Level of each row, for each factor.
    z : list of ndarray of shape (n_rows, q)
        Row values of the effects of each factor.
    weight : ndarray of shape (n_rows,), int
        Frequencies.
    """

    X: np.ndarray
    y: np.ndarray
    codes: list
    z: list
    weight: np.ndarray

    def repeated(self):
        """The problem with every row as often as its frequency says."""
        rows = np.repeat(np.arange(len(self.y)), self.weight)
        return Problem(
            self.X[rows],
            self.y[rows],
            [codes[rows] for codes in self.codes],
            [z[rows] for z in self.z],
            np.ones(len(rows), int),
        )


def random_columns(codes, z):
    """Z of one factor, the effects of a level side by side, level by level."""
    member = codes[:, None] == np.arange(codes.max() + 1)
    return (member[:, :, None] * z[:, None, :]).reshape(len(codes), -1)


def solve(problem, factors, reml):
    """The mixed model equations at given relative covariance factors.

    Parameters
    ----------
    problem : Problem
    factors : list of ndarray of shape (q, q)
        T_r, with the covariance of the effects of a level sigma^2 T_r T_r'.
    reml : bool

    Returns
    -------
    dict
        ``objective`` (-2 log-likelihood with the fixed effects and sigma^2
        profiled out), ``variance`` (sigma^2), ``coef`` and its ``coef_covariance``.
    """
    V = cho_factor(_marginal(problem.repeated(), factors), lower=True)
    return _generalised_least_squares(problem.repeated(), V, reml)


def posterior(problem, factors, reml):
    """Posterior of the effects given the fixed effects, which are estimated.

    Returns
    -------
    means : list of ndarray of shape (n_levels, q)
    covariances : list of ndarray of shape (n_levels, q, q)
        With sigma^2 profiled out, as in `solve`.
    """
    rows = problem.repeated()
    V = cho_factor(_marginal(rows, factors), lower=True)
    fit = _generalised_least_squares(rows, V, reml)
    residual = cho_solve(V, rows.y - rows.X @ fit["coef"])
    Z = np.hstack([random_columns(*a) for a in zip(rows.codes, rows.z, strict=True)])
    prior = block_diag(
        *[
            np.kron(np.eye(c.max() + 1), T @ T.T)
            for c, T in zip(rows.codes, factors, strict=True)
        ]
    )
    ZP = Z @ prior
    b, C = ZP.T @ residual, fit["variance"] * (prior - ZP.T @ cho_solve(V, ZP))
    means, covariances, start = [], [], 0
    for codes, T in zip(rows.codes, factors, strict=True):
        q, J = len(T), codes.max() + 1
        means.append(b[start : start + J * q].reshape(J, q))
        at = start + q * np.arange(J)
        covariances.append(np.array([C[i : i + q, i : i + q] for i in at]))
        start += J * q
    return means, covariances


def average_information(problem, kinds, factors, reml):
    """y'P V_a P V_b P y / sigma^2 and y'P V_a P y / sigma^2, V_a the derivatives of V.

    The parameters are the free entries of every factor, in the order of `parameters`.
    """
    rows = problem.repeated()
    V = cho_factor(_marginal(rows, factors), lower=True)
    fit = _generalised_least_squares(rows, V, reml)
    known = cho_solve(V, rows.X)
    P = cho_solve(V, np.eye(len(rows.y)))
    P -= known @ np.linalg.solve(rows.X.T @ known, known.T)
    residual, moved = P @ rows.y, []
    for codes, z, T, kind in zip(rows.codes, rows.z, factors, kinds, strict=True):
        for one in np.eye(len(parameters(kind, T))):
            E = to_factor(kind, len(T), one)
            along = z @ (E @ T.T + T @ E.T) @ z.T
            moved.append((codes[:, None] == codes) * along @ residual)
    moved = np.array(moved)
    return moved @ P @ moved.T / fit["variance"], moved @ residual / fit["variance"]


def _marginal(rows, factors):
    """V = I + sum of Z_r (I x T_r T_r') Z_r', one factor's rows against rows."""
    V = np.eye(len(rows.y))
    for codes, z, T in zip(rows.codes, rows.z, factors, strict=True):
        V += (codes[:, None] == codes) * (z @ T @ T.T @ z.T)
    return V


def _generalised_least_squares(rows, V, reml):
    X, y, n = rows.X, rows.y, len(rows.y)
    if reml:
        n -= X.shape[1]
    information = X.T @ cho_solve(V, X)
    coef = np.linalg.solve(information, X.T @ cho_solve(V, y))
    residual = y - X @ coef
    variance = residual @ cho_solve(V, residual) / n
    objective = 2 * np.log(np.diag(V[0])).sum() + n * (
        1 + np.log(2 * np.pi) + np.log(variance)
    )
    if reml:
        objective += np.linalg.slogdet(information)[1]
    return {
        "objective": objective,
        "variance": variance,
        "coef": coef,
        "coef_covariance": variance * np.linalg.inv(information),
    }


def slope(fun, x, step=1e-5):
    """Gradient of a scalar function by central differences."""
    x = np.asarray(x, float)
    out = np.empty(len(x))
    for i in range(len(x)):
        forward, back = x.copy(), x.copy()
        forward[i] += step
        back[i] -= step
        out[i] = (fun(forward) - fun(back)) / (2 * step)
    return out


def parameters(kind, T):
    """The free entries of a factor T, in the order of `to_factor`."""
    q = len(T)
    if kind == "scalar":
        return T[0, :1]
    return np.diag(T) if kind == "diag" else T[np.tril_indices(q)]


def to_factor(kind, q, theta):
    """T of one factor from its free entries: all, the diagonal or one for all."""
    if kind == "scalar":
        return theta[0] * np.eye(q)
    if kind == "diag":
        return np.diag(theta)
    T = np.zeros((q, q))
    T[np.tril_indices(q)] = theta
    return T
