"""Whether a fit is right, by dense computations that owe nothing to the engine.

The linear model's criterion comes from one QR decomposition with any weights, that of
the others from `dense_generalized`. Columns are centred and scaled first, so that what
is compared is the model and not the rounding of large numbers.
"""

from dataclasses import dataclass, replace

import dense
import dense_generalized as textbook
import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import minimize

# Log-likelihood that another point may have more, before the estimates are no maximum.
GAIN = {"vi": 1e-4, "laplace": 1e-4, "quadrature": 1e-4, "mackay": 1e-3, "mcem": 0.2}


@dataclass(frozen=True)
class Numbers:
    """A problem in numbers, its columns centred and scaled.

    Attributes
    ----------
    X : ndarray of shape (n_rows, p)
        Fixed columns without those that a fit has set aside.
    coef, error : ndarray of shape (p,)
        The estimates and standard errors in their coordinates; NaN for the intercept's.
    codes, z : lists of ndarray
        Levels and row values of each factor.
    kinds : list of str
    factors : list of ndarray of shape (q, q)
        Roots of the estimated covariances in the coordinates of z.
    log_volume : float
        log |det| of the coordinates of X.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    trials: np.ndarray
    coef: np.ndarray
    error: np.ndarray
    codes: list
    z: list
    kinds: list
    factors: list
    log_volume: float


def numbers(draft, model):
    """The problem of a draft in the coordinates of the estimates."""
    n = draft.recipe.n_rows
    weight = np.ones(n)
    if draft.weight is not None:
        weight = np.broadcast_to(np.asarray(draft.weight, dtype=float), (n,)).copy()
    kept = weight > 0
    names = [list(draft.given)[at] for at in model._fitted.fixed_columns]
    columns = [np.asarray(draft.meant[name], float)[kept] for name in names]
    estimates = model.fixed_effects_["estimate"].to_numpy()
    out = np.isnan(model.fixed_effects_["std_error"].to_numpy())
    errors = model.fixed_effects_["std_error"].to_numpy()
    estimates = np.where(out, 0.0, estimates)
    first = int(model.fit_intercept)
    X, coef, error, log_volume = [], [], [], 0.0
    intercept = estimates[0] if first else 0.0
    w = weight[kept]
    for column, b, e, gone in zip(
        columns, estimates[first:], errors[first:], out[first:], strict=True
    ):
        if gone:
            continue
        mean = w @ column / w.sum() if first else 0.0
        intercept += mean * b
        scale = np.sqrt(w @ (column - mean) ** 2 / w.sum())
        X.append((column - mean) / scale)
        coef.append(b * scale)
        error.append(e * scale)
        log_volume += np.log(scale)
    if first:
        X, coef = [np.ones(kept.sum()), *X], [intercept, *coef]
        error = [np.nan, *error]
    codes, z, kinds, factors = _random(draft, model, kept, w)
    offset = np.zeros(kept.sum())
    if model.offset is not None:
        offset += draft.meant["o"][kept]
    if "e" in draft.meant:
        offset += np.log(draft.meant["e"][kept])
    trials = draft.meant.get("n", np.ones(n)).astype(float)[kept]
    return Numbers(
        np.column_stack(X) if X else np.empty((kept.sum(), 0)),
        np.asarray(draft.target, dtype=float)[kept],
        w,
        offset,
        trials,
        np.array(coef, dtype=float),
        np.array(error, dtype=float),
        codes,
        z,
        kinds,
        factors,
        log_volume,
    )


def _random(draft, model, kept, weight):
    codes, z, kinds, factors = [], [], [], []
    for term in model._fitted.terms:
        if len(term.columns) == 2 or ":" in str(term.name):
            pairs = draft.codes["g"][kept] * 1000 + draft.codes["h"][kept]
        else:
            place = list(model.random_effects_).index(term.name)
            pairs = draft.codes["gh"[place]][kept]
        codes.append(np.unique(pairs, return_inverse=True)[1])
        columns = [np.ones(kept.sum())] if term.intercept else []
        columns += [np.asarray(draft.meant["x"], float)[kept] for _ in term.slopes]
        values = np.column_stack(columns)
        scale = np.sqrt(weight @ values**2 / weight.sum())
        if term.covariance == "scalar":
            scale = np.full(len(scale), np.sqrt(np.mean(scale**2)))
        z.append(values / scale)
        kinds.append(term.covariance)
        covariance = model.random_effects_covariance_[term.name]
        factors.append(_root(covariance * np.outer(scale, scale)))
    return codes, z, kinds, factors


def _root(covariance):
    """Lower triangular root of a covariance that may be singular."""
    values, axes = np.linalg.eigh(covariance)
    root = np.linalg.qr((axes * np.sqrt(np.maximum(values, 0.0))).T, mode="r").T
    return root * np.where(np.diag(root) < 0, -1.0, 1.0)


def _parameters(p):
    return np.concatenate(
        [np.empty(0)]
        + [dense.parameters(*a) for a in zip(p.kinds, p.factors, strict=True)]
    )


def _factors(p, theta):
    sizes = [len(dense.parameters(*a)) for a in zip(p.kinds, p.factors, strict=True)]
    parts = np.split(theta, np.cumsum(sizes)[:-1])
    return [
        dense.to_factor(kind, len(t), part)
        for kind, t, part in zip(p.kinds, p.factors, parts, strict=True)
    ]


# The linear model ------------------------------------------------------------------


def linear_criterion(p, factors, reml):
    """-2 log-likelihood with sigma and the coefficients profiled out, and these."""
    root = np.sqrt(p.weight)[:, None]
    y = p.y - p.offset
    center = p.weight @ y / p.weight.sum() if np.any(np.ptp(p.X, axis=0) == 0) else 0.0
    size = np.sqrt(np.mean((y - center) ** 2))
    parts = [
        dense.random_columns(c, z) @ block_diag(*[t] * (c.max() + 1))
        for c, z, t in zip(p.codes, p.z, factors, strict=True)
    ]
    ZL = np.hstack(parts) if parts else np.empty((len(y), 0))
    k, q = ZL.shape[1], p.X.shape[1]
    top = np.hstack([root * ZL, root * p.X, root * ((y - center) / size)[:, None]])
    below = np.hstack([np.eye(k), np.zeros((k, q + 1))])
    R = np.linalg.qr(np.vstack([top, below]), mode="r")
    degrees = p.weight.sum() - (q if reml else 0)
    variance = R[-1, -1] ** 2 / degrees
    value = 2 * np.log(np.abs(np.diag(R)[:k])).sum()
    value += degrees * (1 + np.log(2 * np.pi * variance) + 2 * np.log(size))
    if reml:
        value += 2 * np.log(np.abs(np.diag(R)[k:-1])).sum() + 2 * p.log_volume
    inner = R[k:-1, k:-1]
    coef = np.linalg.solve(inner, R[k:-1, -1])
    error = np.sqrt(variance * np.sum(np.linalg.inv(inner) ** 2, axis=1))
    coef, error = coef * size, error * size
    if center:
        coef[np.ptp(p.X, axis=0) == 0] += center
    return value, variance * size**2, coef, error


def check_linear(draft, model):
    """What is wrong with a linear fit that says nothing is, or None."""
    p, reml = numbers(draft, model), model.reml
    noise = model.noise_variance_
    p = replace(p, factors=[t / np.sqrt(noise) for t in p.factors])
    value, variance, coef, error = linear_criterion(p, p.factors, reml)
    slack = draft.recipe.solver in ("mcem", "quick")
    ours = model.log_likelihood_
    if not slack and not abs(ours + value / 2) <= 1e-6 * (1 + abs(ours)):
        return f"log-likelihood {ours:.9g}, dense {-value / 2:.9g}"
    if not slack and not abs(noise / variance - 1) < 1e-5:
        return f"residual variance {noise:.9g}, dense {variance:.9g}"
    off = np.abs(p.coef - coef) / (error + 1e-9 * np.abs(coef))
    # effects and weights of 1e5 leave few digits to anybody
    rounding = max([np.max(np.abs(t)) for t in p.factors], default=0.0)
    rounding = 2e-16 * rounding**2 * p.weight.sum()
    if not slack and np.any(off > 1e-3 + rounding):
        return f"coefficients are off by {off.max():.3g} standard errors"
    off = np.abs(p.error / error - 1)[np.isfinite(p.error)]
    if not slack and np.any(off > 1e-4):
        return f"standard errors {p.error}, dense {error}"
    if draft.recipe.solver == "quick" or not p.factors:
        return None

    def fun(theta):
        return linear_criterion(p, _factors(p, theta), reml)[0] / 2

    allowed = GAIN[draft.recipe.solver] + 1e-9 * abs(value)
    at, here = _parameters(p), fun(_parameters(p))
    for begin in (at, 0.0 * at + 0.03, 0.3 + 0.0 * at, 1.0 + 0.0 * at, 3 + 0 * at):
        found = minimize(fun, begin, method="BFGS", options={"gtol": 1e-6})
        if here - found.fun > allowed:
            where = "near" if begin is at else "elsewhere"
            return (
                f"no maximum: {here - found.fun:.3g} more {where}, "
                f"theta {at.round(5)} against {found.x.round(5)}"
            )
    return None


# The others ------------------------------------------------------------------------


def _problem(p, kind):
    family = "poisson" if kind == "poisson" else "binomial"
    return textbook.Problem(
        family, p.X, p.y, p.weight, p.offset, p.trials, p.codes, p.z
    )


def check_generalized(draft, model):
    """What is wrong with a fit of counts or outcomes that says nothing is, or None."""
    p = numbers(draft, model)
    problem, solver = _problem(p, draft.recipe.kind), draft.recipe.solver
    if not p.factors:
        return _check_fixed(p, problem, model)
    nodes = {"laplace": 1, "quadrature": 5}.get(solver)
    effects = [t.shape[0] for t in p.factors]
    k = nodes
    if k is None:
        k = {1: 21, 2: 11, 3: 7}[effects[0]] if len(effects) == 1 else 1
    ours = model.log_likelihood_
    dense_value = -0.5 * textbook.laplace(problem, p.coef, p.factors, k)
    close = 1e-5 * (1 + abs(ours))
    if solver == "mcem":
        # with a variance of zero nothing is drawn
        error = getattr(model, "mc_error_", {"log_likelihood": 0.0})
        close = 0.05 + 6 * error["log_likelihood"]
    if not abs(ours - dense_value) <= close:
        return f"log-likelihood {ours:.9g}, dense {dense_value:.9g}"
    if nodes is not None:
        return _check_laplace(p, problem, nodes)
    if solver in ("vi", "mackay"):
        return _check_bound(p, problem, model, solver)
    return None


def _check_fixed(p, problem, model):
    eta = p.offset + p.X @ p.coef
    value = p.weight @ textbook.density(problem, eta)
    if not abs(value - model.log_likelihood_) <= 1e-6 * (1 + abs(value)):
        return f"log-likelihood {model.log_likelihood_:.9g}, dense {value:.9g}"
    score, weight = textbook.score_and_weight(problem, eta)
    gradient = p.X.T @ (p.weight * score)
    information = p.X.T @ ((p.weight * weight)[:, None] * p.X)
    gain = 0.5 * gradient @ np.linalg.lstsq(information, gradient)[0]
    if gain > 1e-4:
        return f"no maximum: {gain:.3g} more near"
    return None


def _check_laplace(p, problem, nodes):
    size = len(p.coef)

    def fun(phi):
        return 0.5 * textbook.laplace(
            problem, phi[:size], _factors(p, phi[size:]), nodes
        )

    at = np.concatenate([p.coef, _parameters(p)])
    return _newton(fun, at, size, p.error)


def _newton(fun, at, size, error):
    """Whether a step of Newton's, or away from a boundary, gains anything."""
    here, allowed = fun(at), 1e-3 + 1e-9 * abs(fun(at))
    k, step = len(at), 1e-3
    H, g = np.zeros((k, k)), np.zeros(k)
    steps = step * np.eye(k)
    up = np.array([fun(at + s) for s in steps])
    down = np.array([fun(at - s) for s in steps])
    g[:], H[np.diag_indices(k)] = (
        (up - down) / (2 * step),
        (up + down - 2 * here) / step**2,
    )
    for i in range(k):
        for j in range(i):
            both = fun(at + steps[i] + steps[j]) - fun(at + steps[i] - steps[j])
            both -= fun(at - steps[i] + steps[j]) - fun(at - steps[i] - steps[j])
            H[i, j] = H[j, i] = both / (4 * step**2)
    values, axes = np.linalg.eigh(H)
    move = -axes @ ((axes.T @ g) / np.maximum(np.abs(values), 1e-2))
    others = [at + move, at + 0.3 * move]
    for i in range(size, k):
        for far in (0.1, 0.3, 1.0, -0.1):
            other = at.copy()
            other[i] += far
            others.append(other)
    for other in others:
        gain = here - fun(other)
        if gain > allowed:
            return f"no maximum: {gain:.3g} more at {other.round(4)} than {at.round(4)}"
    if values.min() > 1e-3:
        # elsewhere differences of differences are none
        own = np.sqrt(np.diag(axes / values @ axes.T))[:size]
        if np.any(np.abs(error / own - 1)[np.isfinite(error)] > 0.03):
            return f"standard errors {error}, dense {own}"
    return None


def _check_bound(p, problem, model, solver):
    """Whether the evidence lower bound is what it is, and the largest one."""
    at = _parameters(p)

    def bound(theta):
        return -0.5 * textbook.bound(problem, _factors(p, theta))["value"]

    here = bound(at)
    allowed = GAIN[solver] * 10 + 1e-6 * abs(here)
    ours, close = getattr(model, "elbo_", here), 1e-4 * (1 + abs(here))
    if not abs(ours - here) <= close:
        # with effects of a large variance the nodes leave an error of their own
        fine = textbook.bound(problem, p.factors, n_nodes=161)["value"]
        own = 2 * abs(here + 0.5 * fine)
        allowed += own
        if not abs(ours - here) <= close + own:
            return f"lower bound {ours:.9g}, dense {here:.9g}, error {own:.2g}"
    for i in range(len(at)):
        for far in (0.05, -0.05):
            other = at.copy()
            other[i] += far * max(abs(at[i]), 1.0)
            gain = bound(other) - here
            if gain > allowed:
                return f"no maximum: {gain:.3g} more at {other.round(4)}, {at.round(4)}"
    return None
