"""The stored answers are what the theory says of the stored data.

Nothing of skglmm runs here: the answers of R are checked against dense textbook
formulas, so that a file changed by accident cannot quietly become the truth.
"""

import re

import numpy as np
import oracle_problems as oracles
import pytest
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.special import expit, gammaln, log_expit, logsumexp

LIKELIHOOD_TOL = 1e-6
N_DENSE = 1000  # rows up to which an n x n covariance is no burden


def small(methods):
    loaded = [(*pair, *oracles.load(*pair)) for pair in oracles.problems(methods)]
    return [
        pytest.param(ref, data, id=f"{name}-{method}")
        for name, method, ref, data in loaded
        if len(data) <= N_DENSE
    ]


def converged(params):
    return [
        p
        for p in params
        if not (p.values[0].get("warnings") or p.values[0].get("conv"))
    ]


def design(ref, data):
    """X, Z (effects of a group side by side, level by level), Sigma, level names."""
    if ref["has_weight"]:
        data = data.loc[data.index.repeat(data["weight"])]
    X = np.column_stack([np.ones(len(data)), data[list(ref["columns"].values())]])
    Z, Sigma = [], []
    for group, covariance in oracles.random_effects_covariance(ref).items():
        effects = [e for t in ref["terms"] if t["group"] == group for e in t["effects"]]
        z = np.column_stack(
            [np.ones(len(data)) if e == "1" else data[e] for e in effects]
        )
        levels = np.unique(data[group])
        member = data[group].to_numpy()[:, None] == levels
        Z.append((member[:, :, None] * z[:, None, :]).reshape(len(data), -1))
        Sigma.append(np.kron(np.eye(len(levels)), covariance))
    return data, X, np.hstack(Z), block_diag(*Sigma)


def stored_modes(ref, data):
    """Modes and, flattened, conditional covariances in the order of design's Z."""
    modes, covariances = [], []
    stored = oracles.random_effects(ref)
    for group in oracles.random_effects_covariance(ref) if stored else ():
        mode, covariance = stored[group]
        levels = np.unique(data[group])
        rows = mode.index.get_indexer(levels)
        modes.append(mode.to_numpy()[rows].ravel())
        covariances.append(None if covariance is None else covariance[rows])
    return modes, covariances


def diagonal_blocks(C, ref, data):
    start, out = 0, []
    for group, covariance in oracles.random_effects_covariance(ref).items():
        q, J = len(covariance), data[group].nunique()
        blocks = [C[i : i + q, i : i + q] for i in start + q * np.arange(J)]
        out.append(np.array(blocks))
        start += q * J
    return out


def column(data, name, default):
    return data[name].to_numpy() if name in data else np.full(len(data), default)


def log_density(ref, data, eta):
    """Of each row at its eta, an array (rows,) or (rows, nodes)."""
    shape = (-1,) + (1,) * (eta.ndim - 1)
    y = data["y"].to_numpy().reshape(shape)
    if ref["family"] == "poisson":
        return y * eta - np.exp(eta) - gammaln(y + 1)
    n = column(data, "trials", 1.0).reshape(shape)
    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    return choose + y * log_expit(eta) + (n - y) * log_expit(-eta)


def test_every_answer_has_its_data_and_all_data_an_answer():
    designs = {p.name.split(".")[0] for p in (oracles.ORACLES / "designs").iterdir()}
    assert designs == {name for name, _ in oracles.problems()}


def test_the_simulated_problems_are_all_stored():
    script = (oracles.ORACLES / "make_oracles.R").read_text()
    posed = set(re.findall(r'pose\("(\w+)"', script))
    assert len(posed) > 20
    assert posed <= {name for name, _ in oracles.problems()}


@pytest.mark.parametrize(("ref", "data"), small(["reml", "ml"]))
def test_a_linear_answer_satisfies_the_mixed_model_equations(ref, data):
    data, X, Z, Sigma = design(ref, data)
    y = data["y"].to_numpy() - column(data, "offset", 0.0)
    assert len(y) == ref["nobs"]
    ZS = Z @ Sigma
    factor = cho_factor(ZS @ Z.T + ref["sigma"] ** 2 * np.eye(len(y)))
    # columns scaled to unit length: one problem is badly scaled on purpose
    unit = np.linalg.norm(X, axis=0)
    information = (X / unit).T @ cho_solve(factor, X / unit)
    beta = np.linalg.solve(information, (X / unit).T @ cho_solve(factor, y)) / unit
    se = np.sqrt(np.diag(np.linalg.inv(information))) / unit
    stored = oracles.fixed_effects(ref)
    assert np.all(np.abs(beta - stored["estimate"]) < 1e-5 * se)
    np.testing.assert_allclose(se, stored["std_error"], rtol=1e-6)

    residual = y - X @ beta
    weighted = cho_solve(factor, residual)
    twice = 2 * np.log(np.diag(factor[0])).sum() + residual @ weighted
    n = len(y)
    if ref["method"] == "REML":
        n -= X.shape[1]
        twice += np.linalg.slogdet(information)[1] + 2 * np.log(unit).sum()
    loglik = -(twice + n * np.log(2 * np.pi)) / 2
    assert loglik == pytest.approx(ref["loglik"], abs=LIKELIHOOD_TOL)

    b = ZS.T @ weighted
    C = Sigma - ZS.T @ cho_solve(factor, ZS)
    modes, covariances = stored_modes(ref, data)
    if modes:
        sd = np.sqrt(np.diag(Sigma)) + 1e-12
        assert np.all(np.abs(b - np.concatenate(modes)) < 1e-5 * sd)
    for ours, theirs in zip(diagonal_blocks(C, ref, data), covariances, strict=False):
        if theirs is not None:
            scale = np.sqrt(np.max(np.diagonal(theirs, 0, 1, 2), axis=0)) + 1e-12
            error = np.abs(ours - theirs) / np.multiply.outer(scale, scale)
            assert error.max() < 1e-5


@pytest.mark.parametrize(("ref", "data"), converged(small("laplace")))
def test_a_laplace_answer_is_stationary_and_its_likelihood_right(ref, data):
    data, X, Z, Sigma = design(ref, data)
    modes, covariances = stored_modes(ref, data)
    assert modes, "a problem this small stores its modes"
    b = np.concatenate(modes)
    eta = (
        column(data, "offset", 0.0) + X @ oracles.fixed_effects(ref)["estimate"] + Z @ b
    )
    trials = column(data, "trials", 1.0)
    poisson = ref["family"] == "poisson"
    mu = np.exp(eta) if poisson else trials * expit(eta)
    weight = mu if poisson else mu * (1 - expit(eta))
    # b = Sigma Z'(y - mu), multiplied by Sigma because that may be singular
    shortfall = b - Sigma @ (Z.T @ (data["y"].to_numpy() - mu))
    assert np.abs(shortfall).max() < 1e-4

    information = (Z.T * weight) @ Z
    C = np.linalg.solve(np.eye(len(b)) + Sigma @ information, Sigma)
    for ours, theirs in zip(diagonal_blocks(C, ref, data), covariances, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())

    penalty = b @ np.linalg.solve(Sigma, b)
    logdet = np.linalg.slogdet(np.eye(len(b)) + Sigma @ information)[1]
    loglik = log_density(ref, data, eta).sum() - (penalty + logdet) / 2
    # glmer stopped early on the data sets of its documentation, fitted by default
    tol = LIKELIHOOD_TOL if ref["data"].startswith("simulated") else 1e-3
    assert loglik == pytest.approx(ref["loglik"], abs=tol)


@pytest.mark.parametrize(
    ("ref", "data"), [p for p in small("agq25") if p.values[0]["loglik"] is not None]
)
def test_a_quadrature_answer_carries_the_integrated_likelihood(ref, data):
    data, X, *_ = design(ref, data)
    (group, [[variance]]), *_ = oracles.random_effects_covariance(ref).items()
    eta = (
        column(data, "offset", 0.0)
        + X @ oracles.fixed_effects(ref)["estimate"].to_numpy()
    )
    b = np.linspace(-12, 12, 2001) * np.sqrt(variance)
    by_node = log_density(ref, data, eta[:, None] + b)
    member = np.unique(data[group])[:, None] == data[group].to_numpy()
    prior = -(b**2 / variance + np.log(2 * np.pi * variance)) / 2
    loglik = logsumexp(member @ by_node + prior + np.log(b[1] - b[0]), axis=1).sum()
    assert loglik == pytest.approx(ref["loglik"], abs=LIKELIHOOD_TOL)


@pytest.mark.parametrize("method", oracles.METHODS)
def test_the_larger_corpus_is_read_the_same_way(method):
    folder = oracles.corpus_folder()
    if folder is None:
        pytest.skip("the corpus of redistribution-restricted data sets is not here")
    names = {path.name.rsplit(".", 2)[1] for path in (folder / "fits").iterdir()}
    if method not in names:
        pytest.skip(f"the corpus holds no {method} answer")
    for name, _ in oracles.problems(method, folder):
        ref, data = oracles.load(name, method, folder)
        X = data[oracles.model_columns(ref)]
        assert len(X) == ref["nobs"], name
        assert list(oracles.fixed_effects(ref).index) == [
            "Intercept",
            *ref["columns"].values(),
        ]
        groups = oracles.random_effects_covariance(ref)
        n_levels = [X[group].nunique() for group in groups]
        assert sorted(n_levels) == sorted(ref["ngrps"].values()), name


def test_an_unknown_method_is_refused_rather_than_matching_nothing():
    with pytest.raises(ValueError, match="unknown methods"):
        oracles.problems("remlx")
