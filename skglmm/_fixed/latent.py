"""Unknown parts of linear predictors, drawn given the responses of their rows."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skglmm._families import Family

_POINTS, _REFINEMENTS, _REACH = 65, 4, 12.0
# Log density below its maximum from which on nothing is drawn.
_DEPTH = 25.0


@dataclass(frozen=True)
class Normal:
    """Responses that are normal with the identity link.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    noise : float or ndarray of shape (n_rows,)
        Residual variance.
    roots : tuple of ndarray of shape (q, q), default=()
        Of the covariances of the random effects, by factor.
    """

    y: np.ndarray
    noise: float | np.ndarray
    roots: tuple = ()

    def draw(self, rows, eta, mean, variance, random):
        """Unknown parts u of the rows, N(mean, variance) but for the response.

        Parameters
        ----------
        rows : ndarray of int of shape (k,)
        eta, mean : ndarray of shape (k,)
            Linear predictors without u, and the means of u.
        variance : float
        random : RandomState

        Returns
        -------
        u : ndarray of shape (k,)
        """
        noise = self.noise if np.ndim(self.noise) == 0 else self.noise[rows]
        precision = 1.0 / variance + 1.0 / noise
        at = (mean / variance + (self.y[rows] - eta) / noise) / precision
        return at + random.standard_normal(len(rows)) / np.sqrt(precision)

    def shared(self, problem, at, eta, effects):
        """The responses as they depend on parts that rows of a level share.

        Parameters
        ----------
        problem : Problem
        at : int
            The factor, in the order of the design.
        eta : ndarray of shape (n_rows,)
            Linear predictors, as such parts and the effects are now.
        effects : tuple of ndarray of shape (q, n_levels)

        Returns
        -------
        shared : NormalShared
        """
        return NormalShared(self, problem, at, eta, effects)


class NormalShared:
    r"""Normal responses with the effects of one factor integrated out.

    With the weights W (frequencies over residual variances) of a level's rows, their
    residuals r where its effects are taken off, and :math:`\Sigma = TT'` for these, a
    part that is larger by :math:`\delta` in all rows has the log-likelihood

    .. math:: -\tfrac12 a \delta^2 + \delta (1'Wr - c'Bd), \quad a = 1'W1 - c'Bc,

    where :math:`c = T'Z'W1`, :math:`d = T'Z'Wr` and :math:`B = (I + T'Z'WZT)^{-1}`. The
    effects are then :math:`T v` with :math:`v \sim N(Bd, B)`. Effects of levels that
    are related are taken as known.
    """

    def __init__(self, response, problem, at, eta, effects):
        factor = problem.design.factors[at]
        self._y, self._codes, self._size = response.y, factor.codes, factor.n_levels
        z, self._b = problem.z[at], effects[at]
        self._z = np.ones((len(self._y), 1)) if z is None else z
        self._root = response.roots[at]
        if factor.root is not None:
            self._root = np.zeros_like(self._root)
        self._known = factor.root is not None
        self._weight = problem.counts / response.noise
        whitened = self._whitened = self._z @ self._root
        among = self._sums(whitened[:, :, None] * whitened[:, None, :])
        self._cover = np.linalg.inv(np.eye(whitened.shape[1]) + among)
        self._own = np.zeros(len(self._y)) if self._known else self._effect(self._b)
        total, with_one = self._sums(np.ones(len(self._y))), self._sums(whitened)
        left = self._y - eta + self._own
        back = np.einsum("jqr,jr->jq", self._cover, with_one)
        self._precision = total - np.einsum("jq,jq->j", with_one, back)
        self._linear = self._sums(left)
        self._linear -= np.einsum(
            "jq,jq->j", back, self._sums(whitened * left[:, None])
        )

    def _sums(self, values):
        """Weighted sums over the rows of each level, (n_levels, ...)."""
        flat = np.reshape(values, (len(values), -1))
        sums = [
            np.bincount(self._codes, self._weight * column, self._size)
            for column in flat.T
        ]
        return np.reshape(np.array(sums).T, (self._size, *values.shape[1:]))

    def _effect(self, b):
        """What effects (q, n_levels) add to each row."""
        return np.einsum("ij,ji->i", self._z, b[:, self._codes])

    def draw(self, levels, now, mean, variance, random):
        """Parts of levels that were `now`, N(mean, variance) but for the responses.

        Parameters
        ----------
        levels : ndarray of int of shape (k,)
        now, mean, variance : ndarray of shape (k,)
        random : RandomState

        Returns
        -------
        u : ndarray of shape (k,)
        """
        a = self._precision[levels]
        precision = 1.0 / variance + a
        at = (mean / variance + a * now + self._linear[levels]) / precision
        return at + random.standard_normal(len(levels)) / np.sqrt(precision)

    def renew(self, eta, random):
        """Draw the effects again, and write them and what they add to `eta`."""
        if self._known:
            return
        left = self._y - eta + self._own
        center = np.einsum(
            "jqr,jr->jq", self._cover, self._sums(self._whitened * left[:, None])
        )
        root = np.linalg.cholesky(self._cover)
        noise = random.standard_normal(center.shape)
        v = center + np.einsum("jqr,jr->jq", root, noise)
        self._b[:] = self._root @ v.T
        eta += self._effect(self._b) - self._own


@dataclass(frozen=True)
class Other:
    """Responses of another family.

    The density of u has one maximum and tails as light as those of a normal one. It is
    tabulated where it is not negligible, and its integral inverted at uniform numbers.

    Parameters
    ----------
    family : Family
    y : ndarray of shape (n_rows,)
    trials : ndarray of shape (n_rows,) or None
    """

    family: Family
    y: np.ndarray
    trials: np.ndarray | None

    def draw(self, rows, eta, mean, variance, random):
        """Unknown parts u of the rows; see `Normal.draw`."""
        from skglmm.engine.pointwise import log_density

        y = self.y[rows]
        trials = None if self.trials is None else self.trials[rows]

        def log_likelihood(u):
            return log_density(self.family, y, trials, eta[:, None] + u)

        return _tabulated(log_likelihood, mean, variance, random)

    def shared(self, problem, at, eta, effects):
        """Responses and parts that rows of a level share; see `Normal.shared`."""
        return OtherShared(self, problem, at, eta)


class OtherShared:
    """Responses of another family, the effects taken as known."""

    def __init__(self, response, problem, at, eta):
        self._response, self._eta = response, eta.copy()
        self._codes = problem.design.factors[at].codes
        self._counts = problem.counts

    def draw(self, levels, now, mean, variance, random):
        """Parts of levels; see `NormalShared.draw`."""
        from skglmm.engine.pointwise import log_density

        place = np.full(self._codes.max() + 1, -1)
        place[levels] = np.arange(len(levels))
        rows = np.flatnonzero(place[self._codes] >= 0)
        of_row, response = place[self._codes[rows]], self._response
        trials = None if response.trials is None else response.trials[rows]
        others = self._eta[rows] - now[of_row]
        sums = sparse.csr_array(
            (self._counts[rows], (of_row, np.arange(len(rows)))),
            (len(levels), len(rows)),
        )

        def log_likelihood(u):
            eta = others[:, None] + u[of_row]
            return sums @ log_density(response.family, response.y[rows], trials, eta)

        return _tabulated(log_likelihood, mean, variance, random)

    def renew(self, eta, random):
        """The effects stay."""


def _tabulated(log_likelihood, mean, variance, random):
    """Draws (k,) from likelihoods times N(mean, variance), by inversion on a grid."""
    grid = np.linspace(0.0, 1.0, _POINTS)
    low = mean - _REACH * np.sqrt(variance)
    high = mean + _REACH * np.sqrt(variance)
    every, spread = np.arange(len(mean)), np.reshape(variance, (-1, 1))
    for turn in range(_REFINEMENTS):
        u = low[:, None] + (high - low)[:, None] * grid
        log = log_likelihood(u)
        log -= 0.5 * (u - mean[:, None]) ** 2 / spread
        log -= log.max(axis=1, keepdims=True)
        if turn < _REFINEMENTS - 1:
            inside = log > -_DEPTH
            first = np.maximum(inside.argmax(axis=1) - 1, 0)
            last = _POINTS - 1 - inside[:, ::-1].argmax(axis=1)
            last = np.minimum(last + 1, _POINTS - 1)
            low, high = u[every, first], u[every, last]
    density = np.exp(log)
    mass = np.cumsum(density[:, 1:] + density[:, :-1], axis=1)
    wanted = random.uniform(size=len(mean)) * mass[:, -1]
    cell = (mass < wanted[:, None]).sum(axis=1)
    before = np.where(cell > 0, mass[every, np.maximum(cell - 1, 0)], 0.0)
    left, right = density[every, cell], density[every, cell + 1]
    # the density is linear in a cell: the root of a quadratic equation
    missing = wanted - before
    rise = right - left
    root = np.sqrt(np.maximum(left**2 + rise * missing, 0.0))
    share = missing / np.maximum(left + root, 1e-300)
    return u[every, cell] + np.clip(share, 0.0, 1.0) * (high - low) / (_POINTS - 1)
