"""A quasi-Newton minimiser as an explicit state machine in graph code.

The state is a dictionary of tensors, so a run can be stopped, inspected and
continued. There is one place where the objective is evaluated; a trial point is
then either accepted or shortened. A few steps of a fixed point (`warm`) bring the
start into the right region; BFGS then begins from the inverse of the expected
information rather than from the identity.
"""

import numpy as np
import tensorflow as tf

from skglmm._problem.outcome import Outcome
from skglmm.engine import dense
from skglmm.engine.structure import FLOAT, INT, to_numpy

RUNNING, CONVERGED, PRECISION, STUCK, INTERRUPTED = 0, 1, 2, 3, 4

ARMIJO = 1e-4
ROUNDING = 1e-11
SHORTEST = 1e-7
GOOD_ENOUGH = 1e-4
# Least curvature of the covariance parameters, a row.
FLAT = 1e-8
# Length of the gradient step that replaces a model which no step confirms.
_PLAIN = 0.1
# Factor within which a metric and the curvature of a step agree.
_AGREE = 2.0
# Steps of differences are neither shorter than rounding allows nor much longer than T.
_SHORT, _LONG = 1e-6, 1e-2


def _size(a):
    """Length of the first axis, as a number where the graph knows it."""
    return a.shape[0] or tf.shape(a)[0]


def initial_state(theta, max_iter, aux=(), promise=float("inf")):
    """State before the first evaluation, at `theta` (k,).

    `promise` is what the first evaluation is told: zero asks for an exact one.
    """
    theta = tf.convert_to_tensor(theta, FLOAT)
    k = _size(theta)
    return {
        "theta": theta,
        "value": tf.constant(float("inf"), FLOAT),
        "gradient": tf.zeros([k], FLOAT),
        "inverse": dense.identity(k),
        "trial": theta,
        "step": tf.ones([], FLOAT),
        "decrement": tf.constant(float("inf"), FLOAT),
        "promise": tf.convert_to_tensor(promise, FLOAT),
        "warm": tf.constant(True),
        "n_evaluations": tf.constant(0, INT),
        "status": tf.constant(RUNNING, INT),
        "history": tf.fill([max_iter], tf.constant(float("nan"), FLOAT)),
        "aux": aux,
    }


def inverse_metric(metric, n_rows, profiled=None):
    """Inverse expected information of the covariance parameters.

    Where T is zero the expected information is too, though the objective is not flat:
    a share of the number of rows keeps the inverse finite.

    With the residual variance profiled out, `profiled` = (c, n), the information is
    F - c c' / n; its inverse follows from that of F by a rank-one update, held back
    where the level-by-level F makes it indefinite.
    """
    scale = tf.math.rsqrt(tf.linalg.diag_part(metric) + FLAT * n_rows)
    scaled = metric * scale[:, None] * scale[None]
    eye = dense.identity(_size(metric))
    lower = tf.linalg.cholesky(scaled + 1e-6 * eye)
    inverse = tf.linalg.cholesky_solve(lower, eye)
    inverse = inverse * scale[:, None] * scale[None]
    if profiled is None:
        return inverse
    pull, n = profiled
    v = tf.linalg.matvec(inverse, pull)
    room = tf.maximum(n - tf.reduce_sum(pull * v), 0.1 * n)
    return inverse + v[:, None] * v[None] / room


def bfgs_update(inverse, s, y):
    """BFGS update of an inverse Hessian; unchanged where the curvature is negative."""
    sy = tf.reduce_sum(s * y)
    usable = sy > 1e-10 * dense.length(s) * dense.length(y)
    rho = 1.0 / tf.where(usable, sy, 1.0)
    left = dense.identity(_size(s)) - rho * s[:, None] * y[None]
    updated = tf.matmul(left, tf.matmul(inverse, left, transpose_b=True))
    return tf.where(usable, updated + rho * s[:, None] * s[None], inverse)


def _explains(inverse, s, y):
    """Whether an inverse Hessian agrees with the curvature that a step has met."""
    seen = tf.reduce_sum(s * y)
    expected = tf.reduce_sum(y * tf.linalg.matvec(inverse, y))
    return (expected < _AGREE * seen) & (seen < _AGREE * expected)


def advance(fun, state, tol, n_warm):
    """One evaluation of the objective and what follows from it.

    Parameters
    ----------
    fun : callable
        Maps a trial point, ``aux`` and the decrease that the last accepted point
        promised (infinite at first; an inner problem need not be solved to more than
        a small share of it) to a dict with ``value``, ``slack`` (what an inner problem
        left over), ``gradient``, ``stiffness`` (the square of the gradient's error is
        at most that times the slack), ``aux`` (tensors that warm-start the next
        evaluation), and as functions, since they are for the warm phase, ``inverse``
        (an inverse metric) and ``fixed_point`` (the next point). With ``is_newton``
        true the metric is nearly the Hessian, and takes the place of BFGS wherever
        steps agree with it.
    state : dict
    tol : scalar tensor
        Bound on the Newton decrement, in units of the objective.
    n_warm : int scalar tensor
        Evaluations after which the fixed point gives way to BFGS, at least one.
    """
    out = fun(state["trial"], state["aux"], state["promise"])
    return _after(out, state, tol, n_warm)


def _after(out, state, tol, n_warm, counts=None):
    """The state after the objective gave `out` at the trial point.

    Parameters
    ----------
    out, state : dict
        See `advance`.
    tol, n_warm : scalar tensors
    counts : bool scalar tensor, optional
        Whether it was the trial point: another one is never accepted.
    """
    value, gradient = out["value"], out["gradient"]
    n_evaluations = state["n_evaluations"] + 1
    warm = state["warm"]
    finite = tf.math.is_finite(value) & tf.reduce_all(tf.math.is_finite(gradient))
    rounding = ROUNDING * tf.abs(state["value"])
    slope = -state["step"] * state["decrement"]
    bound = tf.where(warm, state["value"], state["value"] + ARMIJO * slope + rounding)
    accepted = finite & (value <= bound)
    accepted = accepted if counts is None else accepted & counts

    quasi, following = _model(out, state)
    # a metric that is lost in rounding, under weights of 1e9 say, tells nothing
    known = accepted & tf.reduce_all(tf.math.is_finite(quasi))
    inverse = tf.where(known, quasi, state["inverse"])
    theta = tf.where(accepted, state["trial"], state["theta"])
    new_value = tf.where(accepted, value, state["value"])
    new_gradient = tf.where(accepted, gradient, state["gradient"])
    aux = tf.nest.map_structure(
        lambda a, b: tf.where(accepted, a, b), out["aux"], state["aux"]
    )
    still_warm = warm & accepted & (n_evaluations < n_warm)
    full = -tf.linalg.matvec(inverse, new_gradient)
    decrement = -tf.reduce_sum(full * new_gradient)

    shorter = _shortened(state, value, slope, finite)
    fresh = accepted | warm
    step = tf.where(fresh, tf.ones([], FLOAT), shorter)
    trial = tf.where(still_warm, following, theta + step * full)

    doubtful = ~fresh & (step < 1e-3) & (decrement > GOOD_ENOUGH)
    plan = inverse, step, decrement, trial
    inverse, step, decrement, trial = _confirmed(plan, doubtful, theta, new_gradient)

    done = ~still_warm & fresh & (0.5 * decrement < tol) & ~(out["slack"] > tol)
    flat = ~fresh & finite & (step * decrement < 100.0 * rounding)
    stuck = ~fresh & (step < SHORTEST)
    status = tf.where(
        done, CONVERGED, tf.where(flat, PRECISION, tf.where(stuck, STUCK, RUNNING))
    )
    # where the parameters are known badly, a small error of the gradient counts much
    spread = out["stiffness"] * tf.linalg.trace(inverse)
    promise = tf.where(warm & ~accepted, state["promise"], decrement / (1.0 + spread))

    return {
        "theta": theta,
        "value": new_value,
        "gradient": new_gradient,
        "inverse": inverse,
        "trial": trial,
        "step": step,
        "decrement": decrement,
        "promise": promise,
        "warm": still_warm,
        "n_evaluations": n_evaluations,
        "status": status,
        "history": _recorded(state["history"], n_evaluations, new_value),
        "aux": aux,
    }


def _model(out, state):
    """Inverse metric at the trial point, by the step to it, and the fixed point's next.

    Parameters
    ----------
    out : dict
        What the objective gave there; see `advance`.
    state : dict
        Before it.
    """
    warm = state["warm"]
    moved = state["trial"] - state["theta"]
    change = out["gradient"] - state["gradient"]
    if not out.get("is_newton"):
        return tf.cond(
            warm,
            lambda: (out["inverse"](), out["fixed_point"]()),
            lambda: (bfgs_update(state["inverse"], moved, change), state["trial"]),
        )
    metric, following = out["inverse"](), out["fixed_point"]()
    quasi = bfgs_update(state["inverse"], moved, change)
    quasi = tf.where(_explains(metric, moved, change), metric, quasi)
    return tf.where(warm, metric, quasi), following


def _shortened(state, value, slope, finite):
    """A step to the minimum of the parabola through what is known along it."""
    step = state["step"]
    rise = value - state["value"] - slope
    shorter = -slope * step / (2.0 * tf.maximum(rise, 1e-300))
    shorter = tf.clip_by_value(shorter, 0.1 * step, 0.5 * step)
    return tf.where(finite, shorter, 0.1 * step)


def _confirmed(plan, doubtful, theta, gradient):
    """A plan (inverse metric, step, decrement, trial), or another if it is doubtful.

    A quadratic model that no step along it confirms is given up for the gradient.
    """
    steepness = dense.length(gradient)
    plain = dense.identity(_size(theta)) * (_PLAIN / steepness)
    lost = doubtful & tf.reduce_any(tf.not_equal(plan[0], plain))
    along = -tf.linalg.matvec(plain, gradient)
    instead = plain, tf.ones([], FLOAT), _PLAIN * steepness, theta + along
    return tuple(tf.where(lost, a, b) for a, b in zip(instead, plan, strict=True))


def _recorded(history, n_evaluations, value):
    """History with a value more; the last is written over where it is full."""
    n_history = tf.shape(history)[0]
    place = tf.minimum(n_evaluations, n_history) - 1
    return tf.where(tf.range(n_history) == place, value, history)


def minimize(fun, state, tol, n_warm, n_steps):
    """Advance until the status is no longer RUNNING, `n_steps` times at most."""
    return tf.while_loop(
        lambda s: s["status"] == RUNNING,
        lambda s: (advance(fun, s, tol, n_warm),),
        (state,),
        maximum_iterations=n_steps,
        parallel_iterations=1,
    )[0]


def minimize_and_differ(fun, state, tol, n_warm, n_steps, output, wanted, length):
    """`minimize` and then `differences`, with one place where `fun` is evaluated.

    A graph has the objective once and not twice.

    Returns
    -------
    state : dict
    hessian, slopes : tensors
    """
    k = _size(state["theta"])
    base = output({"aux": state["aux"], "gradient": state["gradient"]})
    if state["theta"].shape[0] == 0:
        state = minimize(fun, state, tol, n_warm, n_steps)
        return state, tf.zeros([0, 0], FLOAT), tf.zeros([tf.shape(base)[0], 0], FLOAT)

    def minimising(s):
        return (s["status"] == RUNNING) & (s["n_evaluations"] < n_steps)

    def body(s, found):
        moves, place = minimising(s), tf.one_hot(found["at"], k, dtype=FLOAT)
        sizes, axes = tf.cond(
            moves | (found["at"] > 0),
            lambda: (found["steps"], found["axes"]),
            lambda: _axes(s["inverse"], length),
        )
        axis, step = tf.reduce_sum(axes * place, 1), tf.reduce_sum(sizes * place)
        point = tf.where(moves, s["trial"], s["theta"] + step * axis)
        out = fun(point, s["aux"], tf.where(moves, s["promise"], 0.0))
        after = _after(out, s | {"warm": s["warm"] & moves}, tol, n_warm, moves)
        by_move = ("step", "decrement", "promise", "warm", "n_evaluations", "status")
        for name in (*by_move, "history", "trial"):
            after[name] = tf.where(moves, after[name], s[name])
        here = output({"aux": s["aux"], "gradient": s["gradient"]})
        curved = (out["gradient"] - s["gradient"]) / step, (output(out) - here) / step
        hessian, slopes = (
            found[name] + tf.where(moves, tf.zeros([], FLOAT), change)[:, None] * axis
            for name, change in zip(("hessian", "slopes"), curved, strict=True)
        )
        at = found["at"] + tf.where(moves, 0, 1)
        new = {"at": at, "steps": sizes, "axes": axes}
        return after, new | {"hessian": hessian, "slopes": slopes}

    blank = tf.zeros([k, k], FLOAT)
    found = {"at": tf.constant(0, INT), "steps": tf.zeros([k], FLOAT), "axes": blank}
    found |= {"hessian": blank, "slopes": tf.zeros([tf.shape(base)[0], k], FLOAT)}
    state, found = tf.while_loop(
        lambda s, found: minimising(s) | (wanted & (found["at"] < k)),
        body,
        (state, found),
        parallel_iterations=1,
    )
    return state, *_known(found["hessian"], found["slopes"])


def _axes(inverse, length):
    """Steps of differences (k,) along the principal axes (k, k) of a metric."""
    sizes, axes = tf.linalg.eigh(inverse)
    steps = length * tf.sqrt(tf.maximum(sizes, 0.0))
    return tf.clip_by_value(steps, _SHORT, _LONG), axes


def _known(hessian, slopes):
    """Curvature and slopes, nothing where there is nothing but rounding."""
    hessian = tf.where(tf.math.is_finite(hessian), hessian, 0.0)
    slopes = tf.where(tf.math.is_finite(slopes), slopes, 0.0)
    return 0.5 * (hessian + tf.transpose(hessian)), slopes


def drive(advance, state, max_iter, watch):
    """Advance to the end, one evaluation a call, so that somebody can watch or stop.

    Parameters
    ----------
    advance : callable
        Maps a state to the one after another evaluation.
    state : dict
    max_iter : int
    watch : object
        Its method ``step`` is told the best value so far.

    Raises
    ------
    KeyboardInterrupt
        If there is nothing yet that could be kept.
    """
    try:
        for _ in range(max_iter):
            state = advance(state)
            watch.step(float(state["value"]))
            if int(state["status"]) != RUNNING:
                break
    except KeyboardInterrupt:
        if not np.isfinite(state["value"].numpy()):
            raise
        state = state | {"status": tf.constant(INTERRUPTED, INT)}
    return state


def summary(state):
    """What is left of a state once the run is over."""
    names = ("theta", "value", "decrement", "n_evaluations", "status", "history")
    names += ("inverse",)
    return {name: state[name] for name in names}


def outcome_of(status, decrement):
    """How a run ended, from the status of its last state."""
    if status == RUNNING:
        return Outcome.SPENT
    if status == STUCK and not decrement < GOOD_ENOUGH:
        return Outcome.STUCK
    return Outcome.INTERRUPTED if status == INTERRUPTED else Outcome.CONVERGED


def report(state):
    """A final state as numbers, with its `Outcome`."""
    state = to_numpy(state)
    n_iter = int(state["n_evaluations"])
    decrement = float(state["decrement"])
    outcome = outcome_of(int(state["status"]), decrement)
    return {
        "theta": state["theta"],
        "value": float(state["value"]),
        "decrement": decrement,
        "inverse": state["inverse"],
        "n_iter": n_iter,
        "history": state["history"][: min(n_iter, len(state["history"]))],
        "outcome": outcome,
    }


def differences(fun, state, output, wanted, length):
    """Hessian of the objective by differences of its exact gradient.

    The steps go along the principal axes of the inverse metric: a direction in which
    the objective is flat mixes with no other.

    Parameters
    ----------
    fun : callable
        As in `advance`.
    state : dict
        At the minimum.
    output : callable
        What to difference beside the gradient: maps the objective's result to (p,).
    wanted : bool scalar tensor
        Whether to do it at all; zeros otherwise.
    length : float
        Length of the steps, in units of each axis.

    Returns
    -------
    hessian : tensor of shape (k, k)
    slopes : tensor of shape (p, k)
        Derivative of the output.
    """
    nothing, never = tf.zeros([], FLOAT), tf.constant(0, INT)
    _, hessian, slopes = minimize_and_differ(
        fun, state, nothing, never, never, output, wanted, length
    )
    return hessian, slopes
