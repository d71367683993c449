"""Parameters of Monte Carlo EM as one vector, and scores in them."""

import numpy as np

from skglmm._covariances import COVARIANCES
from skglmm.engine import covariance as parameters


class Coordinates:
    """Fixed effects and the free entries of A_r, where b = T_r u, u ~ N(0, A_r A_r').

    The T_r are those of the approximation that the draws start from, so A = I there.

    Parameters
    ----------
    kinds : tuple of str
    anchors : tuple of ndarray of shape (q, q)
        T_r.
    n_levels : sequence of int
    p : int
        Number of fixed effects.
    """

    def __init__(self, kinds, anchors, n_levels, p):
        self.p, self.anchors, self.n_levels = p, anchors, n_levels
        self._kinds = kinds
        self._bases = [
            parameters.basis(kind, len(t))
            for kind, t in zip(kinds, anchors, strict=True)
        ]
        self._ends = np.cumsum([p, *map(len, self._bases)])[:-1]
        self._to_theta = parameters.from_factor

    def start(self, coef):
        """The vector (p + k,) at A = I."""
        return self.join(coef, [np.eye(len(t)) for t in self.anchors])

    def join(self, coef, roots):
        parts = zip(self._kinds, roots, strict=True)
        return np.concatenate([coef, *(self._to_theta(*part) for part in parts)])

    def split(self, phi):
        """Fixed effects and the A_r."""
        coef, *parts = np.split(phi, self._ends)
        return coef, [
            np.tensordot(part, basis, 1)
            for part, basis in zip(parts, self._bases, strict=True)
        ]

    def score_map(self, roots):
        """Matrices (k_r, q * q) that scores take of u u', row by row."""
        out = []
        for a, basis in zip(roots, self._bases, strict=True):
            map_ = np.einsum("eak,ia->eik", basis, np.linalg.inv(a))
            out.append(map_.reshape(len(basis), -1))
        return out

    def covariance_scores(self, roots, by_draw):
        """Scores (k, c) in the entries of A, for sums (q, q, c) of u u' over levels.

        The spherical u are A^-1 times the effects relative to the anchor, whose
        log-density has the derivative A^-T (sum u u' - J I) in A.
        """
        out = []
        for map_, n, u in zip(
            self.score_map(roots), self.n_levels, by_draw, strict=True
        ):
            q = len(u)
            excess = u - n * np.eye(q)[:, :, None]
            out.append(map_ @ excess.reshape(q * q, -1))
        width = by_draw[0].shape[-1] if by_draw else 1
        return np.concatenate([np.zeros((0, width)), *out])

    def covariance_score(self, roots, squares):
        """Score (k,) for one (q, q) sum a factor."""
        return self.covariance_scores(roots, [u[..., None] for u in squares])[:, 0]

    def curvature(self, roots, squares, step=1e-5):
        """Minus the second derivative (k, k) of the effects' log-density in the A_r."""
        phi = self.join(np.zeros(self.p), roots)

        def score(phi):
            moved = self.split(phi)[1]
            turns = [np.linalg.solve(m, a) for m, a in zip(moved, roots, strict=True)]
            again = [t @ u @ t.T for t, u in zip(turns, squares, strict=True)]
            return self.covariance_score(moved, again)

        unit = step * np.eye(len(phi))[self.p :]
        hessian = np.array([score(phi - e) - score(phi + e) for e in unit])
        hessian = hessian.reshape(len(unit), len(unit)) / (2.0 * step)
        return 0.5 * (hessian + hessian.T)

    def cross_curvature(self, roots, across):
        """Minus the mixed second derivative (p, k), the effects moving along.

        With u = v - shift coef the derivative of -|u|^2 / 2 in coef and, A + E dt for
        A, in t is -shift'(G + G')u, G = A^-1 E.
        """
        out = [np.zeros((self.p, 0))]
        for a, basis, met in zip(roots, self._bases, across, strict=True):
            turn = np.linalg.solve(a, basis)
            turn = turn + np.swapaxes(turn, 1, 2)
            out.append(np.einsum("eab,pab->pe", turn, met))
        return np.concatenate(out, 1)

    def closed(self, roots, squares):
        """The next A_r by EM: the covariance is that of the draws."""
        out = []
        for kind, a, u, n in zip(
            self._kinds, roots, squares, self.n_levels, strict=True
        ):
            out.append(a @ COVARIANCES[kind].root(u / n))
        return out

    def jacobian(self):
        """Derivative of the entries of T_r A_r in those of A_r, (k, k)."""
        k = sum(map(len, self._bases))
        out, at = np.zeros((k, k)), 0
        for kind, t, basis in zip(self._kinds, self.anchors, self._bases, strict=True):
            here = slice(at, at + len(basis))
            out[here, here] = np.array([self._to_theta(kind, t @ e) for e in basis]).T
            at += len(basis)
        return out

    def covariances(self, roots):
        """Covariances (q, q) of the effects b."""
        factors = [t @ a for t, a in zip(self.anchors, roots, strict=True)]
        return tuple(t @ t.T for t in factors)

    def covariance_slopes(self, roots):
        """Derivatives (q, q, k_r) of the covariances in the entries of A_r."""
        out = []
        for t, a, basis in zip(self.anchors, roots, self._bases, strict=True):
            moved = np.stack([t @ (e @ a.T + a @ e.T) @ t.T for e in basis], -1)
            out.append(moved)
        return out
