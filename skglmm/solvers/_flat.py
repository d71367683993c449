"""Directions in which the objective is flat at its optimum: what data do not determine.

A variance at zero is a boundary, and its own explanation. Anywhere else a change of
the variances that leaves -2 log-likelihood where it is means that other variances are
just as good, and nothing in the estimates shows it.
"""

import numpy as np

# Change of -2 log-likelihood, where the variances in a direction change as much as
# they are large, below which they are not determined.
_FLAT = 0.05
# Standard deviations of effects, beside the residual or on the scale of the linear
# predictor, that count as large at least, and below which a factor has a boundary.
_LARGE, _BOUNDARY = 0.3, 1e-3
# Least eigenvalue of the scaled curvature that calls for a closer look.
_SUSPICIOUS = 1e-4
_STEP = 1e-3


def flat_factors(run, theta, hessian):
    """Factors whose variances can change together without any change of the objective.

    Parameters
    ----------
    run : Session
    theta : ndarray of shape (k,)
        The optimum.
    hessian : ndarray of shape (k, k)
        Of -2 log-likelihood there.

    Returns
    -------
    flat : tuple of int
        In the design's order; empty if there are none.
    """
    owner, scale = _scales(run, theta)
    inside = scale > 0.0
    if not inside.any() or not np.isfinite(hessian).all():
        return ()
    curved = hessian[np.ix_(inside, inside)] * np.outer(scale[inside], scale[inside])
    sizes, axes = np.linalg.eigh(0.5 * (curved + curved.T))
    flat = np.abs(sizes) < 2.0 * _FLAT
    share = np.max(np.abs(axes[:, flat]), axis=1, initial=0.0)
    return tuple(sorted({int(r) for r in owner[inside][share > 0.1]}))


def without_coef(hessian, p):
    """Curvature of the variances alone, the first p parameters following along."""
    own = hessian[p:, p:]
    if not p:
        return own
    sizes, axes = np.linalg.eigh(hessian[:p, :p])
    across = axes.T @ hessian[:p, p:]
    usable = sizes > 1e-10 * np.max(sizes, initial=0.0)
    return own - across[usable].T @ (across[usable] / sizes[usable, None])


def flat_linear(run, objective, best):
    """The same for a linear model, whose curvature is met where it looks suspicious.

    Parameters
    ----------
    run : Session
    objective : linear.Objective
    best : dict
        See `optimizers.report`: the inverse metric shows where to look, and the
        gradient at two points whether there is any curvature.

    Returns
    -------
    flat : tuple of int
    """
    theta, inverse = best["theta"], best["inverse"]
    owner, scale = _scales(run, theta)
    inside = scale > 0.0
    if inside.sum() < 2 or not np.isfinite(inverse).all():
        return ()
    root = np.sqrt(np.diag(inverse))
    sizes, axes = np.linalg.eigh(inverse / np.outer(root, root))
    if not sizes[-1] > 1.0 / _SUSPICIOUS * max(sizes[0], 1e-12):
        return ()
    direction = axes[:, -1] * root
    direction = np.where(inside, direction, 0.0)
    direction /= np.max(np.abs(direction) / np.where(inside, scale, np.inf))
    ahead, behind = (
        objective.evaluate(theta + step * direction)["gradient"] @ direction
        for step in (_STEP, -_STEP)
    )
    if not abs(ahead - behind) / (2.0 * _STEP) < 2.0 * _FLAT:
        return ()
    share = np.abs(direction) / np.where(inside, scale, np.inf)
    return tuple(sorted({int(r) for r in owner[share > 0.1]}))


def _scales(run, theta):
    """Factor of each parameter, and what is a large change of it; 0 at a boundary."""
    owner, scale = [], []
    factors = run.factors(theta)
    sizes = [len(run.theta_of(r, t)) for r, t in enumerate(factors)]
    for r, (t, n) in enumerate(zip(factors, sizes, strict=True)):
        large = max(np.sqrt(np.mean(np.sum(t**2, axis=1))), _LARGE)
        least = np.linalg.svd(t, compute_uv=False).min()
        owner += [r] * n
        scale += [large if least > _BOUNDARY else 0.0] * n
    return np.array(owner, dtype=int), np.array(scale)
