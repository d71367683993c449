"""One turn of MacKay's evidence framework for counts and proportions.

At given covariances the effects settle and leave effective counts; both give the next
covariances (`covariance.evidence_step`). Where weights and scores are averaged over the
posterior (curvature "vi"), the fixed point is that of the variational bound. Where they
are taken at the joint mode of fixed and random effects ("pql"), the dependence of
log|M| on the mode is left out, and the fixed point is penalised quasi-likelihood.
"""

import functools

import numpy as np
import tensorflow as tf

from skglmm.engine import covariance, kernel, variational
from skglmm.engine.generalized import load
from skglmm.engine.gradient import covariance_terms
from skglmm.engine.inner import INNER_STEPS, Inner
from skglmm.engine.likelihoods import normal_nodes
from skglmm.engine.rows import rows_of
from skglmm.engine.structure import (
    FLOAT,
    INT,
    data_spec,
    graph,
    index_spec,
    to_numpy,
    vector,
)

_EXACT = 1e-12


def _at_mode(inner, index, data, theta, aux, tol):
    """The fixed point of penalised quasi-likelihood, with its estimates."""
    structure = inner.structure
    factors = covariance.to_factors(structure, theta)
    steps = tf.constant(INNER_STEPS, INT)
    nodes = tf.zeros([2, 1], FLOAT)
    end = inner.run(index, data, factors, aux, nodes, tol, steps)
    likelihood = inner.likelihood(data)
    _, weight, _ = likelihood.derivatives(data["y"], data["trials"], end["eta"])
    weight *= data["weight"]
    matrices = rows_of(structure, data, index).matrices(weight)
    state = kernel.factorize(structure, index, matrices, factors)
    own, info = kernel.posterior(structure, index, state)
    terms = covariance_terms(structure, factors, list(end["scores"]), info)
    return {
        "value": end["value"] + state["log_det"],
        "fixed_point": terms["evidence"](),
        "aux": {
            "coef": end["coef"],
            "spherical": end["spherical"],
            "variance": tf.zeros_like(end["eta"]),
            "eta": end["eta"],
        },
        "estimates": {
            "normal": end["normal"],
            "information": end["alone"],
            "means": end["effects"],
            "posterior": tuple(own),
            "factors": factors,
            "penalty": end["penalty"],
            "parameters": data["parameters"],
        },
    }


def _averaged(inner, index, data, nodes, theta, aux, tol):
    """The fixed point of the bound, with its estimates."""
    blank = variational.blank_estimates(inner.structure, index, tf.shape(data["X"])[1])
    aux = aux | {"turns": tf.constant(0, INT), "estimates": blank}
    out = variational.evaluate(inner, index, data, nodes, theta, aux, tol)
    step = tf.linalg.matvec(out["inverse"](), out["gradient"])
    names = ("coef", "spherical", "variance", "eta")
    return {
        "value": out["value"],
        "fixed_point": out["fixed_point"](),
        "left": 0.5 * tf.reduce_sum(step * out["gradient"]),
        "aux": {name: out["aux"][name] for name in names},
        "estimates": out["aux"]["estimates"],
    }


@functools.cache
def compiled_turn(structure, family, averaged):
    """One turn, traced once a structure."""
    inner = Inner(structure, family, spread=averaged, joint=True)
    k = sum(covariance.n_parameters(structure))

    def call(index, data, nodes, theta, aux, tol):
        if averaged:
            return _averaged(inner, index, data, nodes, theta, aux, tol)
        return _at_mode(inner, index, data, theta, aux, tol)

    aux_spec = {
        "coef": vector(),
        "spherical": tuple(
            tf.TensorSpec([q, None], FLOAT) for q in structure.n_effects
        ),
        "variance": vector(),
        "eta": vector(),
    }
    return graph(
        call,
        [
            index_spec(structure),
            data_spec(structure, family),
            tf.TensorSpec([2, None], FLOAT),
            tf.TensorSpec([k], FLOAT),
            aux_spec,
            tf.TensorSpec([], FLOAT),
        ],
    )


class Evidence:
    """Turns of the evidence framework on one data set, numbers in and numbers out.

    Parameters
    ----------
    run : Session
    family : Family
    averaged : bool
        Whether weights and scores are averaged over the posterior.
    n_nodes : int
        Gauss-Hermite nodes for that.
    """

    def __init__(self, run, family, averaged, n_nodes=33):
        self._turn = compiled_turn(run.structure, family, averaged)
        self._index, self.data = run.index, load(run)
        self.n_nodes, self._nodes = n_nodes, normal_nodes(n_nodes)
        inner = Inner(run.structure, family, spread=averaged, joint=True)
        aux = variational.initial_aux(run.structure, inner, run.index, self.data)
        names = ("coef", "spherical", "variance", "eta")
        self._aux = {name: aux[name] for name in names}

    def __call__(self, theta):
        """Turn at theta: ``next``, ``value``, ``left`` (nan at a mode), estimates."""
        out = self._turn(
            self._index,
            self.data,
            self._nodes,
            tf.convert_to_tensor(theta, FLOAT),
            self._aux,
            tf.constant(_EXACT, FLOAT),
        )
        if np.isfinite(out["value"].numpy()):
            self._aux = out["aux"]
        found = to_numpy(out["estimates"])
        return {
            "next": out["fixed_point"].numpy(),
            "value": float(out["value"]),
            "left": float(out.get("left", np.nan)),
            "estimates": found
            | {"coef": out["aux"]["coef"].numpy(), "value": float(out["value"])},
        }
