"""The inner problem: fixed and random effects at given covariances.

One loop serves variational inference and Laplace's approximation. Each turn hands the
kernel a weight and a score a row; it answers with the joint Newton step of the fixed
and random effects and, for the variational problem, with the posterior covariance that
those weights imply, from which come the variances of the linear predictors and the
next weights.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from skglmm._families import Family
from skglmm.engine import blocks, covariance, kernel
from skglmm.engine.rows import rows_of
from skglmm.engine.structure import FLOAT, INT

# Curvature of the fixed effects that nothing else would bound, relative to one row: it
# keeps estimates finite when a column separates the classes, and is far below any
# standard error otherwise.
RIDGE = 1e-7
# Most turns at one point.
INNER_STEPS = 50
_SHORTEST = 1e-3
_ROUNDING = 1e-12
_NOTHING = 1e-15
_MODE = 1e-8
_TINY = 1e-100
# Least share of a majorant that a step takes for the curvature of a row.
_STEEP = 0.25
_INFINITY = np.float64("inf")


@dataclass(frozen=True)
class Inner:
    """What stays the same during the inner iterations.

    Parameters
    ----------
    structure : Structure
    family : Family
    spread : bool
        Whether rows are averaged over the posterior (variational) or taken at the
        mode (Laplace).
    joint : bool
        Whether the fixed effects move with the random ones.
    """

    structure: object
    family: Family
    spread: bool
    joint: bool

    def likelihood(self, data):
        """The family's likelihood, at the parameters of its own that rows come with."""
        return self.family.likelihood().given(data["parameters"])

    @property
    def careful(self):
        """Whether weights may be negative, so that Newton's steps may lead uphill."""
        return not self.family.likelihood().is_concave

    # ------------------------------------------------------------------ pieces

    def eta(self, data, coef, effects):
        """Linear predictor by row."""
        eta = data["offset"] + tf.linalg.matvec(data["X"], coef)
        part = rows_of(self.structure, data).random_part(effects)
        eta = eta if part is None else eta + part
        return self.family.likelihood().centred(eta)

    def terms(self, data, eta, variance, nodes):
        """Weighted log-likelihood, score and weight by row."""
        y, trials, w = data["y"], data["trials"], data["weight"]
        if self.spread:
            parts = self.likelihood(data).expected(y, trials, eta, variance, nodes)
        else:
            likelihood = self.likelihood(data)
            score, weight, _ = likelihood.derivatives(y, trials, eta)
            parts = likelihood.log_density(y, trials, eta), score, weight
        return tuple(w * part for part in parts)

    def steep(self, data, eta, weight):
        """Positive weights for steps: a majorant's where the true ones are not.

        Parameters
        ----------
        eta, weight : tensors of shape (n,)
            Linear predictor, and what `terms` gives there.
        """
        likelihood = self.likelihood(data)
        if likelihood.is_concave:
            return weight
        major = data["weight"] * likelihood.majorant(data["y"], data["trials"], eta)
        return tf.where(weight > 0.0, tf.maximum(weight, _STEEP * major), major)

    def solve(self, index, data, factors, weight, response):
        """Kernel at given row weights, for columns W X and a weighted response."""
        x = data["X"]
        here = rows_of(self.structure, data, index)
        matrices, sums = here.sums(weight, x, response[:, None])
        state = kernel.factorize(self.structure, index, matrices, factors)
        effects, scores, spherical, explained = kernel.project(
            self.structure, index, state, sums
        )
        turned = data["X'"] if "X'" in data else tf.transpose(x)
        normal = tf.matmul(weight * turned, x)
        p = tf.shape(x)[1]
        explained += tf.zeros([p + 1, p + 1], FLOAT)
        ridge = RIDGE * tf.eye(p, dtype=FLOAT)
        left = {
            "alone": normal + ridge,
            "normal": normal - explained[:p, :p] + ridge,
        }
        right = tf.linalg.matvec(turned, response)[:, None] - explained[:p, p:]
        return state, effects, scores, spherical, left, right

    def newton(self, index, data, factors, weight, response, s, tol):
        """Joint step of the fixed and random effects at given row weights.

        Parameters
        ----------
        weight, response : tensors of shape (n,)
            Weights, and weights times linear predictor plus score, X'beta left out
            unless `joint`.
        s : dict
            Where the loop stands: ``coef``, ``spherical`` and ``memory``.
        tol : scalar tensor
            Bound on what the loop may leave over.

        Returns
        -------
        step : dict
            ``coef`` and ``spherical``, where to go; ``scores`` (q, J), Z_j'r of what
            remains of the response there; ``normal``, X'V^-1 X; ``alone``, X'WX;
            ``memory`` for the next turn; ``left``, what an inexact step forgoes;
            ``state`` for `spread_of`.
        """
        state, _, scores, lifted, left, right = self.solve(
            index, data, factors, weight, response
        )
        coef, p = s["coef"], tf.shape(data["X"])[1]
        contrast = tf.concat([tf.zeros([p], FLOAT), tf.ones([1], FLOAT)], 0)
        if self.joint:
            lower = tf.linalg.cholesky(left["normal"])
            coef = tf.linalg.cholesky_solve(lower, right)[:, 0]
            contrast = tf.concat([-coef, tf.ones([1], FLOAT)], 0)
        return left | {
            "coef": coef,
            "spherical": tuple(blocks.combine(a, contrast) for a in lifted),
            "scores": tuple(blocks.combine(a, contrast) for a in scores),
            "memory": (),
            "left": tf.zeros([], FLOAT),
            "state": state,
        }

    def blank_memory(self, index, p):
        """What `newton` hands on from turn to turn, at first."""
        return ()

    def end(self, index, data, aux, weight):
        """What is computed once, at the optimum.

        Returns
        -------
        end : dict
            ``moves`` (q, p, J), minus the derivatives of b in the fixed effects;
            ``normal``, X'V^-1 X; ``posterior`` (q, q, J).
        """
        found = aux["estimates"]
        moves, *_ = self.moves(index, data, found["factors"], weight)
        names = ("normal", "posterior")
        return {"moves": moves} | {name: found[name] for name in names}

    def moves(self, index, data, factors, weight):
        """How the effects move with the fixed ones at given row weights.

        Returns
        -------
        effects, spherical : tuples of (q, p, J) tensors
            Minus the derivatives of the posterior means of T u and of u.
        state : dict
            See `kernel.factorize`.
        """
        structure = self.structure
        matrices, sums = rows_of(structure, data, index).sums(weight, data["X"])
        state = kernel.factorize(structure, index, matrices, factors)
        effects, _, spherical, _ = kernel.project(structure, index, state, sums)
        return tuple(effects), tuple(spherical), state

    def constant(self, data):
        """-2 times the part of the log-likelihood that depends on no parameter."""
        constant = self.likelihood(data).constant(data["y"], data["trials"])
        return -2.0 * tf.reduce_sum(data["weight"] * constant)

    # -------------------------------------------------------------------- loop

    def run(self, index, data, factors, start, nodes, tol, max_iter):
        """Iterate to the optimum at given covariances.

        Parameters
        ----------
        index, data : dict
            ``data`` holds X, y, trials, offset, weight and rows.
        factors : tuple of (q, q) tensors
        start : dict
            ``coef``, ``spherical`` (u by factor), ``variance`` by row and ``eta``, the
            linear predictor to linearise at first. It need not be that of the effects,
            and had better not: at other covariances the last linear predictor is much
            nearer than the last spherical effects.
        nodes : (2, K) tensor
        tol : scalar tensor
            Bound on the decrease that the end may leave over. A mode is found far
            more exactly: log|M| is not stationary there, and the fixed effects, which
            do not move, may be known much worse than the sum with the random ones.
        max_iter : int scalar tensor

        Returns
        -------
        end : dict
            ``value`` of the objective, ``slack``, what may be left over, ``coef``,
            ``spherical``, ``effects``, ``scores`` (q, J), ``variance`` and ``eta`` by
            row, ``normal`` X'V^-1 X and, if `spread`, ``posterior`` and
            ``information``.
        """
        kinds = self.structure.covariance
        if not self.spread or (kinds and all(map(covariance.is_known, kinds))):
            tol = _MODE * tf.minimum(tol, tol * tol)
        x = data["X"]
        prepared = rows_of(self.structure, data, index).prepared(x)
        data = data | {"rows": prepared, "X'": tf.transpose(x)}
        end = tf.while_loop(
            lambda s: ~s["done"] & (s["n"] < max_iter),
            lambda s: (self._turn(index, data, factors, nodes, tol, s),),
            (self._first(index, data, start, nodes),),
            parallel_iterations=1,
        )[0]
        return end | {
            "value": end["value"] + self.constant(data),
            "effects": tuple(_scaled(factors, end["spherical"])),
        }

    def _first(self, index, data, start, nodes):
        """State of the loop before the first turn."""
        n_levels, sizes = index["n_levels"], list(enumerate(self.structure.n_effects))
        _, score, weight = self.terms(data, start["eta"], start["variance"], nodes)
        p = tf.shape(data["X"])[1]
        first = {
            "value": tf.constant(float("inf"), FLOAT),
            "coef": start["coef"],
            "spherical": start["spherical"],
            "eta": start["eta"],
            "variance": start["variance"],
            "used": self.steep(data, start["eta"], weight),
            "weight": weight,
            "score": score,
            "to_coef": start["coef"],
            "to_spherical": start["spherical"],
            "memory": start.get("memory", self.blank_memory(index, p)),
            "step": tf.ones([], FLOAT),
            "n": tf.constant(0, INT),
            "done": tf.constant(False),
            "scores": tuple(tf.zeros([q, n_levels[r]], FLOAT) for r, q in sizes),
            "normal": tf.zeros([p, p], FLOAT),
            "alone": tf.zeros([p, p], FLOAT),
            "penalty": tf.zeros([], FLOAT),
            "slack": tf.zeros([], FLOAT),
        }
        if self.careful:
            first |= {"steep": first["used"], "bold": tf.constant(False)}
        if self.spread:
            blank = tuple(tf.zeros([q, q, n_levels[r]], FLOAT) for r, q in sizes)
            first |= {"posterior": blank, "information": blank}
        return first

    def _turn(self, index, data, factors, nodes, tol, s):
        """The state after a step, which is shortened if the objective has risen."""
        fresh = s["step"] >= 1.0
        used = s["used"] + s["step"] * (s["weight"] - s["used"])
        newton = self._step(index, data, factors, used, s, tol)
        goal = {
            "to_coef": tf.where(fresh, newton["coef"], s["to_coef"]),
            "to_spherical": tuple(
                tf.where(fresh, a, b)
                for a, b in zip(newton["spherical"], s["to_spherical"], strict=True)
            ),
        }
        moved = s | _along(s, goal)
        new = self._evaluate(index, data, factors, nodes, moved, newton["state"])
        new |= {name: newton[name] for name in ("scores", "normal", "alone")}
        new["used"] = used

        took = _falls(s["value"], new["value"])
        again = took if not self.careful else took | s["bold"]
        step = tf.where(again, tf.ones([], FLOAT), 0.5 * s["step"])
        change = s["value"] - new["value"]
        kept = tf.cond(took, lambda: new, lambda: {name: s[name] for name in new})
        slack = self._left_over(s, new, newton["pace"]) + newton["left"]
        done = took & fresh & (slack < tol)
        still = tf.abs(change) < _NOTHING * (1.0 + tf.abs(new["value"]))
        done |= took & still & (slack >= 0.5 * s["slack"])
        done |= step < _SHORTEST
        after = {"step": step, "slack": slack, "n": s["n"] + 1, "done": done}
        if self.careful:
            after["bold"] = took
        return kept | goal | after | {"memory": newton["memory"]}

    def _step(self, index, data, factors, used, s, tol):
        """`newton` at a state, and its weights as ``pace``.

        Where weights may be negative, Newton's step is tried first. One that leads
        uphill, or nowhere, is followed by a step with the weights of a majorant, which
        are positive; what the posterior is made of are the true ones nevertheless.
        """
        if not self.careful:
            response = self._response(data, s, s["weight"])
            found = self.newton(index, data, factors, used, response, s, tol)
            return found | {"pace": used}
        pace = tf.where(s["bold"], used, s["steep"])
        weight = tf.where(s["bold"], s["weight"], s["steep"])
        response = self._response(data, s, weight)
        found = self.newton(index, data, factors, pace, response, s, tol)
        found["pace"] = pace
        if not self.spread:
            return found

        def true():
            state, *_, left, _ = self.solve(index, data, factors, used, response)
            return left | {"state": state}

        names = ("alone", "normal", "state")
        return found | tf.cond(
            s["bold"], lambda: {name: found[name] for name in names}, true
        )

    def _response(self, data, s, weight):
        """Weights times linear predictor plus score, for `newton`."""
        linear = s["eta"] - data["offset"]
        if not self.joint:
            linear -= tf.linalg.matvec(data["X"], s["coef"])
        return weight * linear + s["score"]

    def _evaluate(self, index, data, factors, nodes, s, state):
        """The objective at ``coef`` and ``spherical``, and what it is made of.

        Parameters
        ----------
        s : dict
            State of the loop.
        state : dict
            See `spread_of`.

        Returns
        -------
        new : dict
            Entries of the state that are other ones there.
        """
        coef, spherical = s["coef"], s["spherical"]
        eta = self.eta(data, coef, _scaled(factors, spherical))
        penalty = tf.reduce_sum(coef * coef) * RIDGE
        value = penalty
        for u in spherical:
            value += tf.reduce_sum(u * u)
        new = {"coef": coef, "spherical": spherical, "eta": eta, "penalty": penalty}
        variance = s["variance"]
        if self.spread:
            own, info, variance, log_det, counts = self.spread_of(
                index, data, factors, state
            )
            value += log_det - counts
            if not factors:
                variance = tf.zeros_like(eta)
            new |= {"posterior": own, "information": info}
        density, score, weight = self.terms(data, eta, variance, nodes)
        value -= 2.0 * tf.reduce_sum(density)
        value = tf.where(tf.math.is_finite(value), value, _INFINITY)
        if self.careful:
            new["steep"] = self.steep(data, eta, weight)
        return new | {
            "value": value,
            "variance": variance,
            "weight": weight,
            "score": score,
        }

    def _left_over(self, old, new, pace):
        """Upper bound of what the next full step could gain, after a full step.

        With H = Z'WZ + Sigma^-1 the next Newton step is H^-1 Z'r for the change r of
        the scores that the linearisation missed, and r'Z H^-1 Z'r <= sum r_i^2 / w_i.
        For the posterior covariance, weights that are wrong by d_i cost
        tr((V Z'dZ)^2) / 2 <= sum d_i^2 v_i / (2 w_i).

        Parameters
        ----------
        pace : tensor of shape (n,)
            Weights of the step.
        """
        missed = new["score"] - old["score"] + pace * (new["eta"] - old["eta"])
        scale = 1.0 / ((new["steep"] if self.careful else pace) + _TINY)
        left = tf.reduce_sum(missed * missed * scale)
        if self.spread:
            wrong = new["weight"] - new["used"]
            left += 0.5 * tf.reduce_sum(wrong * wrong * new["variance"] * scale)
        return left

    def spread_of(self, index, data, factors, state):
        """Posterior blocks, row variances and the bound's remaining terms."""
        own, info, cross, cross_cell, core = kernel.posterior(
            self.structure, index, state, between=True
        )
        here = rows_of(self.structure, data, index)
        variance = here.variance((own, cross, cross_cell, core))
        counts = self._counts(factors, info)
        return tuple(own), tuple(info), variance, state["log_det"], counts

    def _counts(self, factors, info):
        """Effective number of parameters, sum of tr(T' info T)."""
        counts = tf.zeros([], FLOAT)
        for r, t in enumerate(factors):
            if covariance.is_known(self.structure.covariance[r]):
                # one each, but for rounding that a wide prior would blow up
                counts += tf.cast(tf.size(info[r][0, 0]) * t.shape[0], FLOAT)
                continue
            total = tf.reduce_sum(info[r], -1)
            if r < len(self.structure.chain):
                total = tf.matmul(total, t)
            counts += tf.reduce_sum(t * total)
        return counts


def _scaled(factors, spherical):
    """Effects T u."""
    return [tf.matmul(t, u) for t, u in zip(factors, spherical, strict=True)]


def _along(s, goal):
    """Fixed and random effects on the way to a goal, as far as the step says."""
    coef = s["coef"] + s["step"] * (goal["to_coef"] - s["coef"])
    spherical = tuple(
        a + s["step"] * (b - a)
        for a, b in zip(s["spherical"], goal["to_spherical"], strict=True)
    )
    return {"coef": coef, "spherical": spherical}


def _falls(old, new):
    """Whether the objective falls, rounding aside, or has a finite value at last."""
    room = _ROUNDING * (1.0 + tf.abs(old))
    room = tf.where(tf.math.is_finite(room), room, tf.zeros([], FLOAT))
    took = (new <= old + room) & tf.math.is_finite(new)
    return took | (tf.math.is_inf(old) & tf.math.is_finite(new))
