"""Structures of the covariance of the effects of a level, each a class."""

import functools

import numpy as np

# Standard deviation, beside that of the residual, that may be noise around zero.
NEARLY_SINGULAR = 0.03
# That of effects about which nothing is known before the data.
UNBOUNDED = 1e12


class Covariance:
    """Base of the structures: a covariance T T', with T linear in its parameters.

    T is the raw factor and not its logarithm, so that a variance of zero is an ordinary
    point. A structure of one's own has `name`, `basis` and `nearest`, and whatever else
    suits it better than what stands here.

    Attributes
    ----------
    name : str
        What ``covariance=`` calls it.
    correlates : bool
        Whether effects may correlate in every way. Then the origin of a slope's column
        does not matter, and T is lower triangular.
    independent : bool
        Whether effects never correlate.
    shares : bool
        Whether independent effects have a variance in common, so that their scales
        matter.
    couples : bool
        Whether effects of different levels covary, by what `levels_root` gives. Such a
        factor needs a dense matrix of all random effects.
    known : float
        Standard deviation of every effect, where that is no parameter; 0.0 where it is.
    """

    name, correlates, independent, shares = "", False, False, False
    couples, known = False, 0.0

    def basis(self, q: int) -> np.ndarray:
        """Derivative of T in the parameters, of shape (k, q, q)."""
        raise NotImplementedError

    def nearest(self, moments: np.ndarray) -> np.ndarray:
        """The covariance of this structure for mean products (q, q) of the effects."""
        raise NotImplementedError

    def n_parameters(self, q: int) -> int:
        """Number of parameters for q effects."""
        return len(basis(self, q))

    def factor(self, theta: np.ndarray, q: int) -> np.ndarray:
        """T of its parameters."""
        varying = (theta @ basis(self, q).reshape(-1, q * q)).reshape(q, q)
        return varying + self.known * np.eye(q) if self.known else varying

    def parameters(self, t: np.ndarray) -> np.ndarray:
        """Parameters of T, which is of this structure."""
        return self.reading(len(t)) @ t.ravel()

    def reading(self, q: int) -> np.ndarray:
        """Matrix (k, q * q) that takes the entries of T, row by row, to parameters."""
        return np.linalg.pinv(basis(self, q).reshape(-1, q * q).T)

    def root(self, moments: np.ndarray) -> np.ndarray:
        """T of the covariance of this structure for mean products of the effects."""
        values, axes = np.linalg.eigh(self.nearest(moments))
        return (axes * np.sqrt(np.maximum(values, 0.0))) @ axes.T

    def recoding(self, gram: np.ndarray) -> np.ndarray:
        """R (q, q) that keeps the structure when effects are R times others.

        Parameters
        ----------
        gram : ndarray of shape (q, q)
            Mean products of the row values z, which z R should have near the identity.
        """
        return np.eye(len(gram)) / np.sqrt(np.mean(_scales(gram) ** 2))

    def reset(self, t: np.ndarray, size: float) -> np.ndarray:
        """T with the standard deviations that are nearly zero at a given size."""
        theta = self.parameters(t)
        return self.factor(
            np.where(np.abs(theta) < NEARLY_SINGULAR, size, theta), len(t)
        )

    def evidence(self, count: np.ndarray, square: np.ndarray, least: float):
        """A step (q, q) that T takes to the fixed point ``square = count``.

        Parameters
        ----------
        count : ndarray of shape (q, q)
            Levels, less what is not known of their effects.
        square : ndarray of shape (q, q)
            Sum over levels of u u', with T u the effects.
        least : float
            Below which a count is rounding.
        """
        have, want = np.diag(square), np.maximum(np.diag(count), least)
        pooling = self.pooling(len(square))
        ratio = pooling.T @ ((pooling @ have) / (pooling @ want))
        return np.diag(np.sqrt(ratio / pooling.sum(axis=0)))

    def levels_root(self, levels) -> np.ndarray | None:
        """L (J, J) of the relationships A = L L' between levels, given by label.

        The effects of all levels have the covariance T T' times A, level by level.
        """
        return None

    def pooling(self, q: int) -> np.ndarray:
        """Effects (k, q) by whose squares each parameter is scaled: all of them."""
        return np.ones((self.n_parameters(q), q))


@functools.cache
def basis(structure: Covariance, q: int) -> np.ndarray:
    """`Covariance.basis`, made once."""
    return structure.basis(q)


class Full(Covariance):
    """Effects of any covariance; T is lower triangular."""

    name, correlates = "full", True

    def basis(self, q):
        return _entries([(i, k) for i in range(q) for k in range(i + 1)], q)

    def nearest(self, moments):
        return moments

    def parameters(self, t):
        return t[np.tril_indices(len(t))]

    def root(self, moments):
        return np.linalg.cholesky(moments)

    def recoding(self, gram):
        scale = _scales(gram)
        if len(gram) > 1:
            try:
                root = np.linalg.cholesky(gram / np.outer(scale, scale))
            except np.linalg.LinAlgError:
                return np.diag(1.0 / scale)
            if np.min(np.diag(root)) > 1e-6:
                return np.diag(1.0 / scale) @ np.linalg.inv(root).T
        return np.diag(1.0 / scale)

    def reset(self, t, size):
        axes, sd, _ = np.linalg.svd(t)
        sd = np.where(sd < NEARLY_SINGULAR, size, sd)
        factor = np.linalg.qr((axes * sd).T, mode="r").T
        factor[np.abs(factor) < 1e-12] = 0.0
        return factor

    def evidence(self, count, square, least):
        values, axes = np.linalg.eigh(count)
        half = axes / np.sqrt(np.maximum(values, least)) @ axes.T
        return np.linalg.cholesky(half @ square @ half + 1e-12 * np.eye(len(count)))


class Diagonal(Covariance):
    """Independent effects, with a variance each."""

    name, independent = "diag", True

    def basis(self, q):
        return _entries([(i, i) for i in range(q)], q)

    def nearest(self, moments):
        return np.diag(np.diag(moments))

    def parameters(self, t):
        return np.diag(t).copy()

    def root(self, moments):
        return np.diag(np.sqrt(np.diag(moments)))

    def recoding(self, gram):
        return np.diag(1.0 / _scales(gram))

    def reading(self, q):
        return basis(self, q).reshape(q, -1)

    def pooling(self, q):
        return np.eye(q)


class Scalar(Covariance):
    """Independent effects, with one variance for all."""

    name, independent, shares = "scalar", True, True

    def basis(self, q):
        return np.eye(q)[None]

    def nearest(self, moments):
        return np.eye(len(moments)) * np.mean(np.diag(moments))

    def parameters(self, t):
        return np.array([t[0, 0]])

    def reading(self, q):
        return np.eye(1, q * q)

    def root(self, moments):
        return np.sqrt(np.trace(moments) / len(moments)) * np.eye(len(moments))


class Related(Full):
    """Effects of any covariance, of levels that are related in a known way.

    Parameters
    ----------
    name : str
        What ``covariance=`` is to call it.
    labels : sequence of length n
        Of the levels, such as animals or species; more than the rows have do no harm.
    relationship : array-like of shape (n, n)
        A, symmetric and positive definite: 1 on the diagonal if the variances are to
        be those of a level.
    """

    couples = True

    def __init__(self, name, labels, relationship):
        self.name = name
        self._relationship = np.asarray(relationship, dtype=float)
        self._place = {label: at for at, label in enumerate(labels)}

    def levels_root(self, levels):
        missing = [label for label in levels if label not in self._place]
        if missing:
            raise ValueError(
                f"covariance={self.name!r} knows no relationship of the level "
                f"{missing[0]!r} (and {len(missing) - 1} others): give a row and a "
                "column for each level."
            )
        at = [self._place[label] for label in levels]
        return np.linalg.cholesky(self._relationship[np.ix_(at, at)])


class Unbounded(Covariance):
    """Effects about which nothing is known before the data, and no parameter.

    They take no part in a model but to be integrated out of it: a flat prior, or one
    that is so wide that a double sees no difference.
    """

    name, independent, known = "unbounded", True, UNBOUNDED

    def basis(self, q):
        return np.zeros((0, q, q))

    def nearest(self, moments):
        return UNBOUNDED**2 * np.eye(len(moments))

    def recoding(self, gram):
        return np.eye(len(gram))

    def reading(self, q):
        return np.zeros((0, q * q))

    def reset(self, t, size):
        return t

    def evidence(self, count, square, least):
        return np.eye(len(count))


class Sets(Covariance):
    """Several independent sets of effects, each of one structure.

    Parameters
    ----------
    base : Covariance
        Of the effects of a set.
    n_sets : int
    """

    def __init__(self, base, n_sets):
        self.base, self.n_sets = base, n_sets
        self.name = in_sets(base.name, n_sets)
        self.independent, self.shares = base.independent, base.shares

    def _places(self, q):
        size = q // self.n_sets
        return [slice(at, at + size) for at in range(0, q, size)]

    def _each(self, function, *matrices):
        """A function of the blocks of matrices, block by block."""
        out = np.zeros_like(matrices[0])
        for at in self._places(len(out)):
            out[at, at] = function(*(matrix[at, at] for matrix in matrices))
        return out

    def basis(self, q):
        own = basis(self.base, q // self.n_sets)
        out = np.zeros((self.n_sets, len(own), q, q))
        for of_set, at in zip(out, self._places(q), strict=True):
            of_set[:, at, at] = own
        return out.reshape(-1, q, q)

    def nearest(self, moments):
        return self._each(self.base.nearest, moments)

    def root(self, moments):
        return self._each(self.base.root, moments)

    def parameters(self, t):
        return np.concatenate(
            [self.base.parameters(t[at, at]) for at in self._places(len(t))]
        )

    def recoding(self, gram):
        return self._each(self.base.recoding, gram)

    def reset(self, t, size):
        return self._each(lambda own: self.base.reset(own, size), t)

    def evidence(self, count, square, least):
        return self._each(lambda *own: self.base.evidence(*own, least), count, square)

    def pooling(self, q):
        return np.kron(np.eye(self.n_sets), self.base.pooling(q // self.n_sets))


def in_sets(name: str, n_sets: int) -> str:
    """Name of the structure of several independent sets of one structure."""
    return f"{n_sets} sets of {name}"


class _Known(dict):
    """Structures by name; those of several sets follow from that of one."""

    def __missing__(self, name):
        n_sets, apart, base = str(name).partition(" sets of ")
        if not (apart and n_sets.isdigit() and base in self):
            raise KeyError(name)
        found = self[name] = Sets(self[base], int(n_sets))
        return found


COVARIANCES: dict[str, Covariance] = _Known(
    {kind.name: kind for kind in (Full(), Diagonal(), Scalar(), Unbounded())}
)
# Those that users may name, which scikit-learn checks `covariance` by.
NAMES = {kind.name for kind in (Full(), Diagonal(), Scalar())}


def add(structure: Covariance) -> None:
    """Let ``covariance=`` name one structure more."""
    COVARIANCES[structure.name] = structure
    NAMES.add(structure.name)


def remove(name: str) -> None:
    """Forget a structure that was added."""
    del COVARIANCES[name]
    NAMES.discard(name)


def simplest(name: str, q: int) -> str:
    """Name of the plainest structure that is the same for q effects."""
    structure = COVARIANCES[name]
    if structure.known:
        return name
    if isinstance(structure, Sets) and structure.n_sets == q:
        return Diagonal.name
    return Diagonal.name if q == 1 else name


def _entries(places, q):
    e = np.zeros((len(places), q, q))
    for a, (i, k) in enumerate(places):
        e[a, i, k] = 1.0
    return e


def _scales(gram):
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    return scale
