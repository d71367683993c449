"""Columns with gaps whose values are properties of levels, the same in all rows."""

import numpy as np

from skglmm._fixed.column_model import patterns
from skglmm._fixed.regressions import Regressions
from skglmm._problem.design import Factor, build_design

# Spread of level means, in standard deviations of the rows, that is none.
_NO_SPREAD = 1e-8
# Levels that have to agree before a property of levels is not said to be one.
_SURE = 5


class LevelColumns:
    r"""Columns of one factor whose values are drawn once a level.

    The values u of a level are normal given its complete columns and the means over its
    rows of the columns that differ within it, with random intercepts of the factors
    that it is nested in. With the precision P of that distribution and the mean
    :math:`\nu`, with columns x of the rows that have gaps themselves, normal around
    :math:`\mu_i + M u` with the precision K, and with n rows,

    .. math:: u \mid x \sim N(Q^{-1} (P \nu + \sum_i M' K (x_i - \mu_i)), Q^{-1}), \quad
        Q = P + n M' K M.

    The responses of the level depend on u through one number, which is drawn from the
    product of both, for normal responses with the effects of the level integrated out:
    these are drawn anew after it.

    Parameters
    ----------
    problem : Problem
    at : int
        The factor, in the order of the design.
    columns : ndarray of int of shape (g,)
        Positions of the columns.
    rows : ndarray of shape (n_rows, p)
        All columns, centred and scaled, zeros in the gaps.
    complete : ndarray of int of shape (k,)
        Positions of the columns without gaps.
    holes : ndarray of shape (n_rows, p)
    solver : BaseSolver
    """

    def __init__(self, problem, at, columns, rows, complete, holes, solver):
        self.columns, self._at, self._problem = columns, at, problem
        self._codes = problem.design.factors[at].codes
        self._n_levels = problem.design.factors[at].n_levels
        self._sizes = np.bincount(self._codes, minlength=self._n_levels)
        # a row of each level that is there
        self._present = np.flatnonzero(self._sizes)
        first = np.zeros(self._n_levels, dtype=int)
        first[self._codes[::-1]] = np.arange(len(self._codes))[::-1]
        self._first = first[self._present]
        self._holes = holes[np.ix_(self._first, columns)]
        self._known = self._of_levels(rows[:, complete])
        outer = [
            Factor(f.codes[self._first], f.n_levels)
            for r, f in enumerate(problem.design.factors)
            if r != at and constant_within(f.codes, self._codes, self._n_levels)
        ]
        design = build_design([_dense(factor) for factor in outer])
        weight = np.ones(len(self._first))
        self._model = Regressions(design, weight, len(columns), solver)
        shape = self._n_levels, len(columns)
        self._n, self._sum, self._square = 0, np.zeros(shape), np.zeros(shape)

    def remember(self, rows):
        """Count the values in these rows among the draws."""
        u = rows[np.ix_(self._first, self.columns)]
        self._n += 1
        self._sum[self._present] += u
        self._square[self._present] += u**2

    def remembered(self):
        """Each column with the means and variances (n_levels,) of its draws."""
        mean = self._sum / self._n
        variance = np.maximum(self._square / self._n - mean**2, 0.0)
        variance[self._present] *= self._holes
        return zip(self.columns, mean.T, variance.T, strict=True)

    def _of_levels(self, values):
        """Level means of columns, those that differ between levels."""
        counts = self._problem.counts
        total = np.bincount(self._codes, counts, self._n_levels)[self._present]
        means = np.empty((len(total), values.shape[1]))
        for column, out in zip(values.T, means.T, strict=True):
            sums = np.bincount(self._codes, counts * column, self._n_levels)
            out[:] = sums[self._present] / total
        return np.ascontiguousarray(means[:, np.ptp(means, axis=0) > _NO_SPREAD])

    def draw(self, rows, eta, slopes, children, response, effects, random):
        """Draw the parameters of the columns, their values, and effects of the levels.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, p)
            Is written to.
        eta : ndarray of shape (n_rows,)
            Linear predictors at these rows. Is written to.
        slopes : ndarray of shape (p,)
            Coefficients of the columns.
        children : Children or None
            Columns of rows with gaps whose means depend on these.
        response : Normal or Other
        effects : tuple of ndarray of shape (q, n_levels)
            Of the random part of the linear predictors, by factor. Those of this one
            are written to.
        random : RandomState
        """
        u = rows[np.ix_(self._first, self.columns)]
        mean, precision, _ = self._model.draw(u, self._known, random)
        whole = np.broadcast_to(precision, (len(u), *precision.shape))
        linear = mean @ precision
        if children is not None:
            whole, linear = self._with_children(whole, linear, children, u)
        of = slopes[self.columns]
        shared = response.shared(self._problem, self._at, eta, effects)
        for gaps, levels in patterns(self._holes):
            known = ~gaps
            inverse = np.linalg.inv(whole[np.ix_(levels, gaps, gaps)])
            left = linear[np.ix_(levels, gaps)] - np.einsum(
                "jgk,jk->jg",
                whole[np.ix_(levels, gaps, known)],
                u[np.ix_(levels, known)],
            )
            at = np.einsum("jgh,jh->jg", inverse, left)
            noise = random.standard_normal(at.shape)
            new = at + np.einsum("jgh,jh->jg", np.linalg.cholesky(inverse), noise)
            toward = inverse @ of[gaps]
            variance = toward @ of[gaps]
            if np.all(variance > 0.0):
                old = u[np.ix_(levels, gaps)] @ of[gaps]
                part = shared.draw(
                    self._present[levels], old, at @ of[gaps], variance, random
                )
                new += ((part - new @ of[gaps]) / variance)[:, None] * toward
            u[np.ix_(levels, gaps)] = new
        moved = np.zeros((self._n_levels, len(self.columns)))
        moved[self._present] = u
        step = moved[self._codes] - rows[:, self.columns]
        eta += step @ of
        rows[:, self.columns] = moved[self._codes]
        if children is not None:
            children.follow(self.columns, step)
        shared.renew(eta, random)

    def _with_children(self, precision, linear, children, u):
        """Precisions and linear terms with what columns of the rows say of u."""
        of_u = children.slopes_of(self.columns)
        toward = children.precision @ of_u
        away = children.away @ toward
        sums = np.column_stack(
            [np.bincount(self._codes, column, self._n_levels) for column in away.T]
        )[self._present]
        sizes = self._sizes[self._present][:, None]
        among = of_u.T @ toward
        # the means of the children contain these u
        sums = sums + sizes * (u @ among)
        return precision + sizes[:, :, None] * among, linear + sums


class Children:
    """Columns of rows with gaps, as those of levels see them.

    Parameters
    ----------
    away : ndarray of shape (n_rows, g)
        Values less their conditional means.
    precision : ndarray of shape (g, g)
    slopes : ndarray of shape (g, k)
        Of the means in the columns `known`.
    known : ndarray of int of shape (k,)
        Ascending.
    """

    def __init__(self, away, precision, slopes, known):
        self.away, self.precision, self.slopes = away, precision, slopes
        self._known = known

    def slopes_of(self, columns):
        """Slopes (g, k) of the means in columns at these positions."""
        return self.slopes[:, np.searchsorted(self._known, columns)]

    def follow(self, columns, step):
        """Take up a step (n_rows, k) of columns at these positions."""
        self.away = self.away - step @ self.slopes_of(columns).T


def _dense(factor):
    """A factor with its levels numbered without gaps."""
    _, codes = np.unique(factor.codes, return_inverse=True)
    return Factor(codes.astype(np.int32), int(codes.max()) + 1)


def constant_within(values, codes, n_levels, least=1):
    """Whether values are the same in all rows of each level that has several.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    codes : ndarray of int of shape (n_rows,)
    n_levels : int
    least : int, default=1
        Number of levels with several rows below which nothing is known.

    Returns
    -------
    constant : bool
    """
    low, high = np.full(n_levels, np.inf), np.full(n_levels, -np.inf)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    several = np.bincount(codes, minlength=n_levels) > 1
    return bool(several.sum() >= least and np.all(low[several] == high[several]))


def levels_of_columns(X, factors):
    """Columns with gaps that are properties of the levels of a factor.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        With NaN.
    factors : list of Factor

    Returns
    -------
    found : dict of int
        For each such column the factor: of several that with the fewest levels.
    """
    found, present = {}, ~np.isnan(X)
    order = sorted(range(len(factors)), key=lambda r: factors[r].n_levels)
    for at in np.flatnonzero(~present.all(axis=0)):
        values = X[present[:, at], at]
        if not len(values) or np.ptp(values) == 0:
            continue
        for r in order:
            codes = factors[r].codes[present[:, at]]
            if constant_within(values, codes, factors[r].n_levels, least=2):
                found[int(at)] = r
                break
    return found


def filled_from_levels(X, factors):
    """Properties of levels in those of their rows that lack them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        With NaN.
    factors : list of Factor

    Returns
    -------
    X : ndarray of shape (n_rows, p)
    """
    X = X.copy()
    for at, r in levels_of_columns(X, factors).items():
        known = ~np.isnan(X[:, at])
        value = np.full(factors[r].n_levels, np.nan)
        value[factors[r].codes[known]] = X[known, at]
        X[~known, at] = value[factors[r].codes[~known]]
    return X


def check_gaps(X, names, factors, terms):
    """Refuse columns with too few values to learn from.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        With NaN.
    names : list of str
    factors : list of Factor
    terms : list of Term

    Raises
    ------
    ValueError
        If a column, or one that is a property of levels, has too few of them.
    """
    present, of_level = ~np.isnan(X), levels_of_columns(X, factors)
    for at in np.flatnonzero(~present.all(axis=0)):
        found, among, others = int(present[:, at].sum()), f"{len(X)} rows", "the other"
        if int(at) in of_level:
            r = of_level[int(at)]
            found = len(np.unique(factors[r].codes[present[:, at]]))
            among = f"{factors[r].n_levels} levels of {terms[r].name!r}"
            others = "means over levels of the other"
        if found < X.shape[1] + 3:
            raise ValueError(
                f"Column {names[at]!r} has {found} values in {among}; missing='model' "
                f"needs {X.shape[1] + 3} of them to learn how it depends on {others} "
                f"{X.shape[1] - 1} fixed columns: leave it out."
            )


def doubtful(X, names, factors, terms):
    """What is to be said of columns that few levels show to be properties of them.

    Parameters
    ----------
    X, names, factors, terms
        As in `check_gaps`.

    Returns
    -------
    messages : list of str
    """
    messages = []
    for at, r in levels_of_columns(X, factors).items():
        known = ~np.isnan(X[:, at])
        sizes = np.bincount(factors[r].codes[known], minlength=factors[r].n_levels)
        several = int((sizes > 1).sum())
        if several < _SURE:
            messages.append(
                f"column {names[at]!r} was taken for a property of the levels of "
                f"{terms[r].name!r}, because it is the same in all rows of the "
                f"{several} of them that have several values of it: its gaps were "
                "filled in by one value for each level"
            )
    return messages
