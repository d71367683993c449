"""Kenward and Roger's errors and degrees of freedom.

With V = sum_i s_i V_i in the parameters s of the variances, Phi = (X' V^-1 X)^-1 and

    P_i = -X' V^-1 V_i V^-1 X,    Q_ij = X' V^-1 V_i V^-1 V_j V^-1 X,

the estimates of s have about the covariance W = 2 I^-1,

    I_ij = tr(V^-1 V_i V^-1 V_j) - 2 tr(Phi Q_ij) + tr(Phi P_i Phi P_j),

and those of the coefficients Phi + 2 Phi sum_ij W_ij (Q_ij - P_i Phi P_j) Phi. Of a
linear combination l the degrees of freedom are 2 c^2 / (g' W g) with c = l' Phi l and
g_i = l' Phi P_i Phi l.

No matrix has rows by rows: with the residual variance as the unit, M = Z'Z and
B = T (I + T'M T)^-1 T', H = V^-1 = I - Z B Z', all of it is made of K = I - M B:
Z'H Z = K M, Z'H X = K Z'X, Z'H^2 Z = K M K', Z'H^2 X = K K Z'X. Several factors need
these as dense matrices, a single one has a block for each level.
"""

import numpy as np
from scipy import sparse

from skglmm._covariances import COVARIANCES
from skglmm._problem.roots import inverse
from skglmm.inference._rows import relative_factors
from skglmm.inference._spread import Spread

# Random effects up to which a dense matrix of all of them is no burden.
_MOST = 6_000


def kenward_roger(model, working):
    """`Spread` of a linear model that was fitted by REML, by expected information.

    Parameters
    ----------
    model : BaseMixedModel
    working : Working
        See `working_again`.

    Returns
    -------
    spread : Spread
    """
    problem = working.problem
    _check(problem.design)
    border, z = problem.rows()
    sums = _Sums(problem, border[:, :-1], z, relative_factors(model, working))
    phi, p, q, trace = sums.pieces()
    moved = np.array([phi @ p_i @ phi for p_i in p])
    information = trace - 2.0 * np.einsum("ab,ijba->ij", phi, q)
    information += np.einsum("iab,jba->ij", moved, p)
    w = 2.0 * inverse(0.5 * (information + information.T))
    inner = np.einsum("ij,ijab->ab", w, q) - np.einsum(
        "ij,iab,bc,jcd->ad", w, p, phi, p, optimize=True
    )
    adjusted = phi + 2.0 * phi @ inner @ phi
    noise = model.noise_variance_ * problem.unit_precision
    to_user = np.sqrt(noise) * working.coding.transform
    values, axes = np.linalg.eigh(w)
    return Spread(
        to_user @ (0.5 * (adjusted + adjusted.T)) @ to_user.T,
        to_user @ phi @ to_user.T,
        to_user @ moved @ to_user.T,
        axes * np.sqrt(np.maximum(values, 0.0)),
    )


def _check(design):
    """Refuse what there is no such formula for here, or what is too large."""
    n_effects = sum(factor.size for factor in design.factors)
    if len(design.factors) > 1 and n_effects > _MOST:
        raise ValueError(
            "df='kenward-roger' needs a dense matrix of all random effects of several "
            f"factors, {n_effects:,} here and at most {_MOST:,}: use "
            "df='satterthwaite', which with so many levels differs little."
        )
    for factor in design.factors:
        structure = factor.structure
        if structure.couples or not (structure.correlates or structure.independent):
            raise ValueError(
                f"df='kenward-roger' does not know covariance={factor.covariance!r}: "
                "use df='satterthwaite'."
            )


def _directions(factor):
    """Derivatives (k, q, q) of the covariance of a level in its own entries."""
    q, structure = factor.n_effects, COVARIANCES[factor.kind]
    if structure.correlates:
        found = np.zeros((q * (q + 1) // 2, q, q))
        for at, (i, k) in enumerate(zip(*np.tril_indices(q), strict=True)):
            found[at, i, k] = found[at, k, i] = 1.0
        return found
    if structure.shares:
        return np.eye(q)[None]
    return np.array([np.diag(row) for row in np.eye(q)])


class _Sums:
    """What the formulas are made of, the residual variance being the unit.

    Arrays have a first axis for levels that have nothing to do with each other: those
    of a single factor, or all of them together.

    Parameters
    ----------
    problem : Problem
    X : ndarray of shape (n_rows, p)
    z : tuple of ndarray of shape (n_rows, q) or None
    roots : list of ndarray of shape (q, q)
    """

    def __init__(self, problem, X, z, roots):
        weight, factors = problem.weight, problem.design.factors
        self.total, self.xx = weight.sum(), X.T @ (weight[:, None] * X)
        self.roots, self.directions = roots, [_directions(f) for f in factors]
        alone = len(factors) == 1
        self.shapes = [(1 if alone else f.n_levels, f.n_effects) for f in factors]
        ends = np.cumsum([0, *(n * q for n, q in self.shapes)])
        self.places = [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]
        Z = sparse.hstack(
            [sparse.csr_array((len(weight), 0))]
            + [_indicator(f, values) for f, values in zip(factors, z, strict=True)],
            format="csr",
        )
        weighted = Z * weight[:, None]
        zx = weighted.T @ X
        gram = (weighted.T @ Z).tocsr()
        if alone:
            n, q = factors[0].n_levels, factors[0].n_effects
            blocks = np.zeros((n, q, q))
            at = gram.tocoo()
            blocks[at.row // q, at.row % q, at.col % q] = at.data
            self.gram, self.zx = blocks, zx.reshape(n, q, -1)
        else:
            self.gram, self.zx = gram.toarray()[None], zx[None]

    def times(self, a, matrices):
        """Columns of a times a matrix of each factor, level by level."""
        out = np.empty_like(a)
        for place, shape, matrix in zip(
            self.places, self.shapes, matrices, strict=True
        ):
            part = a[..., place].reshape(*a.shape[:-1], *shape) @ matrix
            out[..., place] = part.reshape(*a.shape[:-1], -1)
        return out

    def pieces(self):
        """Phi, the P_i, the Q_ij and the traces."""
        gram, zx, roots = self.gram, self.zx, self.roots
        turned = [t.T for t in roots]
        inner = _swap(self.times(_swap(self.times(gram, roots)), roots))
        inner = np.linalg.inv(inner + np.eye(inner.shape[-1]))
        b = _swap(self.times(_swap(self.times(inner, turned)), turned))
        shrunk = gram @ b
        k = np.eye(gram.shape[-1]) - shrunk
        s, r = k @ gram, k @ zx
        through = _swap(zx) @ b @ zx
        phi = inverse(self.xx - through.sum(axis=0))
        explained = b @ zx
        twice = _swap(explained) @ gram @ explained
        squared = self.xx - (2.0 * through - twice).sum(axis=0)
        cubed = squared - (_swap(r) @ b @ r).sum(axis=0)
        traces = np.trace(shrunk, axis1=1, axis2=2).sum()
        squares = np.sum(shrunk * _swap(shrunk))
        own = self.total - 2.0 * traces + squares
        return phi, *self._by_direction(s, r, k, squared, cubed, own)

    def _by_direction(self, s, r, k, squared, cubed, own):
        """The P_i, the Q_ij and the traces, the residual variance first."""
        twice, gram2 = k @ r, s @ _swap(k)
        found = []
        for place, shape, es in zip(
            self.places, self.shapes, self.directions, strict=True
        ):
            part = r[:, place].reshape(len(r), *shape, -1)
            found += [
                (place, shape, e, (e @ part).reshape(len(r), -1, r.shape[-1]))
                for e in es
            ]
        m, rank = 1 + len(found), r.shape[-1]
        p, q = np.zeros((m, rank, rank)), np.zeros((m, m, rank, rank))
        trace = np.zeros((m, m))
        p[0], q[0, 0], trace[0, 0] = -squared, cubed, own
        for i, (place, shape, e, moved) in enumerate(found, 1):
            p[i] = -(_swap(r[:, place]) @ moved).sum(axis=0)
            q[0, i] = (_swap(twice[:, place]) @ moved).sum(axis=0)
            q[i, 0] = q[0, i].T
            trace[0, i] = trace[i, 0] = np.sum(
                _by_level(gram2[:, place, place], shape, e).trace(axis1=1, axis2=2)
            )
            for j, (other, other_shape, other_e, other_moved) in enumerate(found, 1):
                if j < i:
                    continue
                across = s[:, place, other]
                q[i, j] = (_swap(moved) @ across @ other_moved).sum(axis=0)
                q[j, i] = q[i, j].T
                ahead = _by_level(across, other_shape, other_e)
                back = _by_level(s[:, other, place], shape, e)
                trace[i, j] = trace[j, i] = np.sum(ahead * _swap(back))
        return p, q, trace


def _by_level(a, shape, e):
    """Columns of a, those of one factor, times e level by level."""
    return (a.reshape(*a.shape[:-1], *shape) @ e).reshape(a.shape)


def _indicator(factor, values):
    """Z of one factor as a sparse matrix, effects of a level side by side."""
    n, q = len(factor.codes), factor.n_effects
    values = np.ones((n, 1)) if values is None else values
    columns = q * factor.codes.astype(np.int64)[:, None] + np.arange(q)
    indptr = np.arange(0, n * q + 1, q)
    return sparse.csr_array(
        (values.ravel(), columns.ravel(), indptr), shape=(n, q * factor.n_levels)
    )


def _swap(a):
    return np.swapaxes(a, -1, -2)
