"""Anderson acceleration of a fixed point, with a safeguard."""

import numpy as np

_MEMORY = 5
_ROUNDING = 1e-11


def accelerate(step, theta, max_iter, tol, watch=None):
    """Iterate theta <- step(theta), mixing the last few steps.

    Type-II Anderson mixing: with residuals f = step(x) - x, the next point is the
    combination of the last images whose residual is smallest. A point at which the
    objective is higher than before is given up for the plain step, and the memory
    with it.

    Parameters
    ----------
    step : callable
        Maps theta to a dict with ``next``, the image of the fixed point; ``value``, an
        objective that it should not raise, or None; and ``left``, what is left to gain.
    theta : ndarray of shape (k,)
    max_iter : int
        Largest number of calls of `step`.
    tol : float
        Bound on ``left``.
    watch : Progress or None
        Who wants to know of every call.

    Returns
    -------
    theta : ndarray of shape (k,)
    history : list of float
        The objective at each call.
    done : bool or None
        Whether ``left`` fell below `tol`; None if the user interrupted.
    """
    points, images, history = [], [], []
    value, refuge = np.inf, None
    for _ in range(max_iter):
        try:
            out = step(theta)
            if watch is not None:
                watch.step(np.nan if out["value"] is None else out["value"])
        except KeyboardInterrupt:
            if watch is None or not points:
                raise
            return points[-1], history, None
        fine = np.all(np.isfinite(out["next"]))
        if out["value"] is not None:
            fine &= out["value"] <= value + _ROUNDING * abs(value)
        history.append(out["value"])
        if not fine:
            if refuge is None:
                break
            points, images = points[-1:], images[-1:]
            theta, refuge = refuge, None
            continue
        if out["value"] is not None:
            value = out["value"]
        best = theta
        if out["left"] < tol:
            return best, history, True
        points, images = points[-_MEMORY:] + [theta], images[-_MEMORY:] + [out["next"]]
        refuge = out["next"] if len(points) > 1 else None
        theta = _mix(np.array(points), np.array(images))
    return points[-1] if points else theta, history, False


def _mix(points, images):
    residuals = images - points
    if len(points) == 1:
        return images[0]
    turn = np.diff(residuals, axis=0).T
    share = np.linalg.lstsq(turn, residuals[-1], rcond=1e-10)[0]
    return images[-1] - np.diff(images, axis=0).T @ share
