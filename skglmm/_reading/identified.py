"""What rows cannot tell apart: refused where nothing can be estimated, or said.

The checks are those of lme4 (``check.nobs.vs.nlev``, ``check.nobs.vs.nRE``,
``check.nobs.vs.rankZ``), with frequencies counted as rows, and what its users are left
to find out from a degenerate Hessian.
"""

from itertools import combinations

import numpy as np
from scipy import sparse

from skglmm._covariances import COVARIANCES
from skglmm._reading.words import plain

# Entries of the design matrix of random effects up to which its rank is found.
_LARGEST = 1_000_000
# Share of a column that is rounding.
_NOTHING = 1e-10
# Share of a column that its spread is, below which it is next to a constant.
_NARROW = 1e-3
# Ratio of weights, and size of a count, from which rounding can be all that is left.
_UNEVEN, _HUGE = 1e8, 1e11
# Rows that are looked at before all of them are.
_ENOUGH = 1000


def check_levels(terms, encoded, weight, linear):
    """Refuse factors of one level, and as many random effects as rows.

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)
    weight : ndarray of shape (n_rows,)
    linear : bool
        Whether the response has a residual variance.

    Raises
    ------
    ValueError
    """
    total = float(weight.sum())
    for term, (_, levels) in zip(terms, encoded, strict=True):
        if len(levels) < 2:
            only = plain(levels[0])
            raise ValueError(
                f"The factor {term.name!r} has one level ({only!r}): its variance "
                "cannot be estimated. Leave it out of groups."
            )
        reason = too_many(term, len(levels), total) if linear else None
        if reason is not None:
            raise ValueError(
                f"{_few_weights(weight)}The {reason}. Use a coarser grouping"
                f"{' or fewer slopes' if term.slopes else ''} or more rows."
            )


def too_many(term, n_levels, total):
    """Why the effects of a factor are too many for rows of this weight, or None.

    Parameters
    ----------
    term : Term
    n_levels : int
    total : float

    Returns
    -------
    reason : str or None
    """
    together = term.n_effects if COVARIANCES[term.covariance].correlates else 1
    if together * n_levels < total or _steep(term) or _coupled(term):
        return None
    if term.n_effects == 1:
        return (
            f"factor {term.name!r} has as many levels ({n_levels}) as there are rows "
            f"({total:g}): its variance cannot be told from the residual variance"
        )
    return (
        f"factor {term.name!r} has as many random effects ({term.n_effects} in each of "
        f"{n_levels} levels) as there are rows ({total:g}), or more: their covariance "
        "cannot be told from the residual variance"
    )


def _coupled(term):
    """Whether what levels have in common tells their effects from the residuals."""
    return COVARIANCES[term.covariance].couples


def _steep(term):
    """Whether a term's share of the variance of a row changes with a column alone."""
    return term.n_effects == 1 and not term.intercept


def check_rank(terms, encoded, values, weight):
    """Refuse random effects that together leave nothing for the residual.

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)
    values : callable
        Row values (n_rows, q) of the effects of a term, None for an intercept alone.
    weight : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
    """
    total, n_rows = float(weight.sum()), len(weight)
    sizes = [
        t.n_effects * len(levels) for t, (_, levels) in zip(terms, encoded, strict=True)
    ]
    if sum(sizes) < total or n_rows * sum(sizes) > _LARGEST:
        return
    if any(map(_coupled, terms)):
        return
    if len(terms) == 1 and _steep(terms[0]):
        # told from the residual by rows in which the column is larger
        slope = np.abs(values(terms[0]))
        if np.ptp(slope) > _NOTHING * np.max(slope):
            return
    parts = []
    for term, (codes, levels) in zip(terms, encoded, strict=True):
        z = values(term)
        z = np.ones((n_rows, 1)) if z is None else z
        scale = np.sqrt(np.mean(z**2, axis=0))
        rows = np.arange(n_rows)
        for column in (z / np.where(scale > 0.0, scale, 1.0)).T:
            shape = n_rows, len(levels)
            parts.append(sparse.csr_matrix((column, (rows, codes)), shape))
    if np.linalg.matrix_rank(sparse.hstack(parts).toarray()) < total:
        return
    names = " and ".join(repr(term.name) for term in terms)
    raise ValueError(
        f"{_few_weights(weight)}The random effects of {names} are {sum(sizes)} "
        f"unknowns and {'together ' if len(terms) > 1 else ''}explain any values in "
        f"{total:g} rows: their variances cannot be told from the residual variance. "
        "Leave some of them out, or use more rows."
    )


def check_fixed(n_coef, weight, linear):
    """Refuse fixed columns that leave nothing; what to say of them otherwise.

    Parameters
    ----------
    n_coef : int
        Independent fixed columns, the intercept included.
    weight : ndarray of shape (n_rows,)
    linear : bool

    Returns
    -------
    messages : list of str

    Raises
    ------
    ValueError
    """
    total = float(weight.sum())
    if n_coef < total:
        return []
    found = (
        f"there are as many fixed coefficients ({n_coef}, the intercept included) as "
        f"rows ({total:g})"
    )
    if linear:
        raise ValueError(
            f"{_few_weights(weight)}{found[0].upper()}{found[1:]}, which leaves "
            "nothing for the residual variance. Leave columns out, or use more rows."
        )
    return [f"{found}: they explain any response. Leave columns out"]


def _few_weights(weight):
    total = weight.sum()
    if not total < (1.0 - 1e-9) * len(weight):
        return ""
    return (
        f"sample_weight sums to {total:g} for {len(weight)} rows, and weights are "
        "frequencies: 2 stands for two rows. Scale them so that they sum to the number "
        "of rows that were observed. "
    )


def divide_alike(codes, others):
    """Whether two factors, by the level of each row, divide the rows in one way."""
    n_levels = int(codes.max()) + 1
    if int(others.max()) + 1 != n_levels:
        return False
    partner = np.zeros(n_levels, dtype=others.dtype)
    partner[codes] = others
    return np.array_equal(partner[codes], others)


def alike(terms, encoded):
    """Messages on factors that divide the rows in the same way.

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)

    Returns
    -------
    messages : list of str
    """
    messages = []
    for (one, (codes, levels)), (other, (others, names)) in combinations(
        zip(terms, encoded, strict=True), 2
    ):
        shared = [effect for effect in one.effects if effect in other.effects]
        if len(levels) != len(names) or not shared:
            continue
        if _coupled(one) or _coupled(other):
            continue
        if divide_alike(codes, others):
            messages.append(
                f"the factors {one.name!r} and {other.name!r} divide the rows in the "
                "same way: only the sum of their variances "
                f"({', '.join(shared)}) is known, and how it is shared out is "
                "arbitrary. Leave one of them out"
            )
    return messages


def dependent_effects(terms, recodings, squares, values):
    """Messages on effects of one factor that the rows cannot tell from each other.

    Parameters
    ----------
    terms : sequence of Term
    recodings, squares : sequences of ndarray of shape (q, q)
        See `_coding.code_random`.
    values : callable
        Row values (n_rows, q) of the effects of a term.

    Returns
    -------
    messages : list of str
    """
    messages = []
    for term, recoding, square in zip(terms, recodings, squares, strict=True):
        if term.n_effects == 1 and not term.slopes:
            continue
        inverse = np.linalg.inv(recoding)
        gram = inverse.T @ square @ inverse
        scale = np.sqrt(np.diag(gram))
        nothing = scale == 0.0
        if nothing.any():
            effect = term.effects[np.argmax(nothing)]
            messages.append(
                f"the column {effect!r} is zero in every row: the variance of its "
                f"slope in {term.name!r} is not determined. Leave it out of "
                "random_slopes"
            )
        if nothing.any() or term.n_effects == 1 or COVARIANCES[term.covariance].shares:
            continue
        likeness = gram / np.outer(scale, scale)
        if term.n_effects == 2 and 1.0 - abs(likeness[0, 1]) > _NOTHING:
            continue
        sizes, axes = np.linalg.eigh(likeness)
        if sizes[0] > _NOTHING:
            continue
        share = np.abs(axes[:, 0])
        involved = np.flatnonzero(share > 0.05 * max(share))
        if term.intercept and 0 in involved:
            off_centre = _off_centre(term, involved[1:], values(term))
            if off_centre:
                messages.append(off_centre)
                continue
        named = " and ".join(repr(term.effects[k]) for k in involved)
        messages.append(
            f"the effects {named} of {term.name!r} depend "
            "linearly on each other in every row: their variances are not determined, "
            "only what they add up to. Leave one of them out of random_slopes"
        )
    return messages


def _off_centre(term, slopes, z):
    """A message on slopes of columns that all but rounding keeps at a constant."""
    columns = []
    for k in slopes:
        low, high = z[:, k].min(), z[:, k].max()
        size = max(abs(low), abs(high))
        if _NOTHING * size < high - low < _NARROW * size:
            columns.append(f"{term.effects[k]!r} (about {0.5 * (low + high):.4g})")
    if not columns:
        return ""
    return (
        f"of {term.name!r} the intercept cannot be told from the slope on "
        f"{' and '.join(columns)}, whose mean is huge beside its spread: their "
        "variances are not determined. Centre it: subtract its mean"
    )


def one_row_each(terms, encoded, weight, trials):
    """Messages on factors with one row a level and outcomes that are yes or no.

    Returns
    -------
    messages : dict
        By the position of the factor. Without a variance it does no harm.
    """
    if trials is not None and np.any(trials > 1):
        return {}
    total = float(weight.sum())
    return {
        r: f"the factor {term.name!r} has one row a level, and the outcome of a row is "
        "yes or no: its variance cannot be told from what chance alone does. Leave it "
        "out of groups"
        for r, (term, (_, levels)) in enumerate(zip(terms, encoded, strict=True))
        if term.intercept and len(levels) >= total and not _coupled(term)
    }


def no_residual(terms, encoded, y):
    """Whether a target is the same in all rows of each level of some factor.

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)
    y : ndarray of shape (n_rows,)

    Returns
    -------
    known : bool
        The levels determine it, and no residual is left.
    """
    for term, (codes, levels) in zip(terms, encoded, strict=True):
        # a few rows are enough to tell that it is not so
        for some in (slice(_ENOUGH), slice(None)):
            first = np.zeros(len(levels))
            first[codes[some]] = y[some]
            if not np.array_equal(first[codes[some]], y[some]):
                break
        else:
            if term.intercept and not _coupled(term):
                return True
    return False


def constant_within(terms, encoded, y, trials, weight):
    """Why the likelihood of yes and no has no maximum: alike within every level.

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)
    y, weight : ndarray of shape (n_rows,)
    trials : ndarray of shape (n_rows,) or None

    Returns
    -------
    reason : str or None
    """
    total = float(weight.sum())
    for term, (codes, levels) in zip(terms, encoded, strict=True):
        if not term.intercept or len(levels) >= total or _coupled(term):
            continue
        successes = np.bincount(codes, weight * y, len(levels))
        all_ = np.bincount(codes, weight * (1.0 if trials is None else trials))
        if np.all((successes == 0.0) | (successes == all_)):
            return (
                f"the outcome is the same in all rows of each level of {term.name!r}, "
                "so that it grows with the variance of this factor without end (keep "
                "one row of each level, without this factor)"
            )
    return None


def spanned(terms, encoded, values, X, weight, fit_intercept):
    """Messages on factors whose effects the fixed columns have already (REML).

    Parameters
    ----------
    terms : sequence of Term
    encoded : sequence of (codes, levels)
    values : callable
        Row values (n_rows, q) of the effects of a term, None for an intercept alone.
    X : ndarray of shape (n_rows, p)
        Fixed columns.
    weight : ndarray of shape (n_rows,)
    fit_intercept : bool

    Returns
    -------
    messages : list of str
    """
    messages, basis = [], None
    columns = np.hstack([np.ones((len(X), int(fit_intercept))), X])
    for term, (codes, levels) in zip(terms, encoded, strict=True):
        if len(levels) > columns.shape[1]:
            continue
        if basis is None:
            root = np.sqrt(weight)[:, None]
            basis = _orthonormal(root * columns)
        z = values(term)
        z = np.ones((len(codes), 1)) if z is None else z
        for effect, column in zip(term.effects, z.T, strict=True):
            column = column * root[:, 0]
            inside = np.array(
                [np.bincount(codes, column * b, len(levels)) for b in basis.T]
            )
            length = np.bincount(codes, column**2, len(levels))
            outside = length - np.sum(inside**2, axis=0)
            if np.all(outside <= 1e-9 * length):
                messages.append(
                    f"the fixed columns hold the effects {effect!r} of all levels of "
                    f"{term.name!r}: there is nothing left to tell their variance "
                    "from. Leave these columns or the factor out"
                )
    return messages


def undetermined(names, solution):
    """Messages on variances along which the likelihood is flat.

    Parameters
    ----------
    names : list of str or int
        Names of the factors, in the order of the solution.
    solution : Solution

    Returns
    -------
    messages : list of str
    """
    if not solution.flat:
        return []
    found = [repr(names[r]) for r in solution.flat]
    if len(found) == 1:
        return [
            f"the rows do not determine the variances of {found[0]}: the likelihood "
            "stays where it is when they change. Simplify the effects of this factor, "
            "or leave it out"
        ]
    return [
        f"the rows do not determine the variances of {' and '.join(found)}: the "
        "likelihood stays where it is when they change together. Leave one of these "
        "factors out, or simplify their effects"
    ]


def redundant(names):
    """What is said of fixed columns whose coefficients are set to zero.

    Parameters
    ----------
    names : list of str

    Returns
    -------
    text : str
    """
    if len(names) == 1:
        return (
            f"the fixed column {names[0]!r} is constant or depends linearly on the "
            "columns before it: its coefficient is set to 0 (drop it)"
        )
    return (
        f"the fixed columns {', '.join(map(repr, names))} are constant or depend "
        "linearly on the columns before them: their coefficients are set to 0 (drop "
        "them)"
    )


def beyond_digits(y, weight, linear):
    """Why rounding may keep a solver from the maximum, None if nothing is so extreme.

    Parameters
    ----------
    y, weight : ndarray of shape (n_rows,)
    linear : bool

    Returns
    -------
    reason : str or None
    """
    least, most = float(weight.min()), float(weight.max())
    if most > _UNEVEN * least:
        return (
            f"the weights differ by a factor of {most / least:.2g}, and beside the "
            "largest the others have no digits left. Give weights of one order of size"
        )
    if not linear and np.max(y) > _HUGE:
        return (
            f"the outcomes are as large as {np.max(y):.2g}, which leaves the "
            "log-likelihood no digits to compare estimates by. Count in larger units, "
            "or give their logarithms to MixedLinearRegressor"
        )
    return None


def _orthonormal(columns):
    """Basis of the space that columns span."""
    length = np.linalg.norm(columns, axis=0)
    axes, sizes, _ = np.linalg.svd(
        columns / np.where(length > 0.0, length, 1.0), full_matrices=False
    )
    return axes[:, sizes > 1e-9 * np.max(sizes, initial=0.0)]
