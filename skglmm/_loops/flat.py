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
    scale = _scales(run, theta)
    inside = scale > 0.0
    if not inside.any() or not np.isfinite(hessian).all():
        return ()
    curved = hessian[np.ix_(inside, inside)] * np.outer(scale[inside], scale[inside])
    sizes, axes = np.linalg.eigh(0.5 * (curved + curved.T))
    directions = np.zeros((len(theta), len(sizes)))
    directions[inside] = axes * scale[inside, None]
    return _changed(run, theta, directions[:, np.abs(sizes) < 2.0 * _FLAT].T)


def without_first(hessian, p):
    """Curvature of the other parameters alone, the first p following along."""
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
    if len(theta) < 2 or _curved(inverse):
        return ()
    scale = _scales(run, theta)
    inside = scale > 0.0
    if inside.sum() < 2:
        return ()
    inverse = inverse[np.ix_(inside, inside)]
    if np.array_equal(inverse, np.diag(np.diag(inverse))):
        # the search has forgotten what it knew of the curvature
        out = objective.evaluate(theta)
        metric = out["metric"] - np.outer(out["pull"], out["pull"]) / out["n"]
        size = np.sqrt(np.abs(np.diag(metric)[inside])) + 1e-300
        sizes, axes = np.linalg.eigh(
            metric[np.ix_(inside, inside)] / np.outer(size, size)
        )
        axes = axes / size[:, None]
        inverse = (axes / np.maximum(sizes, _SUSPICIOUS**2)) @ axes.T
    if not np.isfinite(inverse).all():
        return ()
    root = np.sqrt(np.diag(inverse))
    sizes, axes = np.linalg.eigh(inverse / np.outer(root, root))
    if not sizes[-1] * _SUSPICIOUS > max(sizes[0], 1e-12):
        return ()
    direction = np.zeros(len(theta))
    direction[inside] = axes[:, -1] * root
    direction /= np.max(np.abs(direction[inside]) / scale[inside])
    ahead, behind = (
        objective.evaluate(theta + step * direction)["gradient"] @ direction
        for step in (_STEP, -_STEP)
    )
    if not abs(ahead - behind) / (2.0 * _STEP) < 2.0 * _FLAT:
        return ()
    return _changed(run, theta, [direction])


def _curved(inverse):
    """Whether no part of an inverse metric that the search has learnt is suspicious."""
    if not np.isfinite(inverse).all():
        return False
    root = np.sqrt(np.diag(inverse))
    sizes = np.linalg.eigvalsh(inverse / np.outer(root, root))
    learnt = np.count_nonzero(inverse) > len(inverse)
    return learnt and not sizes[-1] * _SUSPICIOUS > max(sizes[0], 1e-12)


def _changed(run, theta, directions):
    """Factors whose covariances change in some direction as much as any, or nearly."""
    found, roots = set(), run.factors(theta)
    known = run.factors(np.zeros_like(theta))
    for direction in directions:
        moved = [d - k for d, k in zip(run.factors(direction), known, strict=True)]
        change = [
            np.linalg.norm(d @ t.T + t @ d.T) for d, t in zip(moved, roots, strict=True)
        ]
        found |= {r for r, c in enumerate(change) if c > 0.05 * max(change)}
    return tuple(sorted(found))


def _scales(run, theta):
    """What is a large change of each parameter; 0 where its factor has a boundary."""
    scale = []
    for r, t in enumerate(run.factors(theta)):
        size = np.sqrt(np.mean(np.sum(t**2, axis=1)))
        large = max(size, _LARGE)
        # what counts is the variance, which near zero hardly moves with its root
        large += large**2 / (2.0 * max(size, _BOUNDARY))
        least = np.linalg.svd(t, compute_uv=False).min()
        n_parameters = len(run.theta_of(r, t))
        scale += [large if least > _BOUNDARY else 0.0] * n_parameters
    return np.array(scale)
