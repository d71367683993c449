"""The problems: a registry to which a benchmark is added in one entry.

Nothing here imports skglmm before a table is made, so that a process which measures
another package carries none of it in its memory.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

# What simulated tables are drawn from: more factors or slopes take more of the numbers.
FIXED_EFFECTS = (0.5, -0.3, 0.2, 0.1)
INTERCEPT_STDS = (0.8, 0.5, 0.4, 0.3)
SLOPE_STD = 0.4
SLOPE_COVARIANCE_FACTOR = np.array([[0.8, 0.0], [0.2, 0.4]])

# Packages that take minutes where a matrix of thousands of columns is left.
COMPILED = ("glmm", "mixedlm", "lme4")


@dataclass(frozen=True)
class Problem:
    """One mixed model and the table it is fitted to.

    Attributes
    ----------
    make : callable
        Takes nothing, returns a DataFrame with the columns below.
    target : str
        Column of the response.
    fixed : tuple of str
        Columns of the fixed effects, beside the intercept.
    groups : dict of str to tuple of str
        Grouping factors, each with the columns whose slope it varies; all have an
        intercept, correlated with their slopes.
    slow : tuple of str
        Packages that take so long that they only run when asked (``--all``).
    family : {"gaussian", "binomial", "poisson"}
        Distribution of the response, with its canonical link; binomial is 0 or 1.
    large : bool
        Whether the problem only runs when asked, by ``--all`` or by its name.
    truth : dict of str to float
        Standard deviations that the table is drawn from, by "factor effect".
    """

    make: Callable
    target: str
    fixed: tuple
    groups: dict = field(hash=False)
    slow: tuple = ()
    family: str = "gaussian"
    large: bool = False
    truth: dict = field(default_factory=dict, hash=False)

    @property
    def columns(self):
        """Names of all columns, the target first."""
        return [self.target, *self.fixed, *self.groups]

    @property
    def formula(self):
        """The model in lme4's notation."""
        fixed = " + ".join(["1", *self.fixed])
        terms = (
            f"({' + '.join(['1', *slopes])} | {group})"
            for group, slopes in self.groups.items()
        )
        return f"{self.target} ~ {fixed} + {' + '.join(terms)}"


def shipped(name):
    """Maker of the table of a data set that skglmm ships."""

    def make():
        from skglmm import datasets

        return getattr(datasets, f"load_{name}")(as_frame=True).frame

    return make


def drawn(
    rows, levels, slopes=0, family="gaussian", balance="random", slow=(), large=False
):
    """Problem whose table is drawn from its model.

    Parameters
    ----------
    rows : int
        Number of rows.
    levels : list of int
        Levels of each crossed factor, at most four.
    slopes : int, default=0
        Predictors, at most four, whose slope varies between levels of the first factor.
    family : {"gaussian", "binomial", "poisson"}, default="gaussian"
        Distribution of the response.
    balance : {"random", "power"}, default="random"
        Whether rows choose their levels uniformly, or level j in proportion to
        1 / (j + 1).
    slow : tuple of str, default=()
        See :class:`Problem`.
    large : bool, default=False
        See :class:`Problem`.

    Returns
    -------
    Problem
        Three predictors, or as many as have slopes if these are four.
    """
    n_features, noise = max(3, slopes), 0.7 if slopes else 1.0
    if slopes == 1:
        covariance = SLOPE_COVARIANCE_FACTOR @ SLOPE_COVARIANCE_FACTOR.T
    else:
        stds = [INTERCEPT_STDS[0], *[SLOPE_STD] * slopes]
        covariance = np.diag(np.square(stds))

    def make():
        from skglmm.datasets import make_mixed_regression

        X, y = make_mixed_regression(
            n_samples=rows,
            n_features=n_features,
            n_groups=list(levels),
            n_random_slopes=slopes,
            family="bernoulli" if family == "binomial" else family,
            coef=FIXED_EFFECTS[:n_features],
            intercept=1.0 if slopes else -0.5,
            group_std=INTERCEPT_STDS[: len(levels)],
            covariance=covariance,
            noise=noise,
            balance=balance,
            random_state=0,
        )
        return X.assign(y=y)

    predictors = tuple(f"x{k}" for k in range(n_features))
    groups = {f"g{f}": () for f in range(len(levels))}
    groups["g0"] = predictors[:slopes]
    effects = ["Intercept", *predictors[:slopes]]
    stds = np.sqrt(np.diag(covariance)).tolist()
    truth = {f"g0 {name}": std for name, std in zip(effects, stds, strict=True)}
    for group, std in zip([*groups][1:], INTERCEPT_STDS[1:], strict=False):
        truth[f"{group} Intercept"] = std
    if family == "gaussian":
        truth["residual"] = noise
    return Problem(make, "y", predictors, groups, tuple(slow), family, large, truth)


def answers(persons, items):
    """Maker of a table in which every person answers every item, right or wrong."""

    def make():
        import pandas as pd

        rng = np.random.default_rng(0)
        person, item = np.divmod(np.arange(persons * items), items)
        predictors = rng.standard_normal((3, len(person)))
        ability, ease = (
            std * rng.standard_normal(size)
            for std, size in zip(INTERCEPT_STDS, (persons, items), strict=False)
        )
        eta = -0.5 + np.array(FIXED_EFFECTS[:3]) @ predictors
        eta += ability[person] + ease[item]
        frame = pd.DataFrame(predictors.T, columns=["x0", "x1", "x2"])
        right = rng.random(len(eta)) < 1 / (1 + np.exp(-eta))
        return frame.assign(g0=person, g1=item, y=right.astype(float))

    return make


def find(name):
    """Problem of a name, or one drawn with parameters.

    Parameters
    ----------
    name : str
        Key of ``PROBLEMS``, or the arguments of :func:`drawn` as a JSON object.

    Returns
    -------
    Problem
    """
    return drawn(**json.loads(name)) if name.startswith("{") else PROBLEMS[name]


PROBLEMS = {
    "sleepstudy": Problem(
        shipped("sleepstudy"), "Reaction", ("Days",), {"Subject": ("Days",)}
    ),
    "radon": Problem(shipped("radon"), "log_radon", ("floor",), {"county": ()}),
    "radon_slopes": Problem(
        shipped("radon"),
        "log_radon",
        ("floor", "log_uranium"),
        {"county": ("floor",)},
    ),
    "penicillin": Problem(
        shipped("penicillin"), "diameter", (), {"plate": (), "sample": ()}
    ),
    "pastes": Problem(shipped("pastes"), "strength", (), {"sample": (), "batch": ()}),
    "insteval": Problem(
        shipped("insteval"), "y", ("service",), {"s": (), "d": (), "dept": ()}
    ),
    "verbagg_size": Problem(
        answers(316, 24),
        "y",
        ("x0", "x1", "x2"),
        {"g0": (), "g1": ()},
        family="binomial",
        truth={"g0 Intercept": 0.8, "g1 Intercept": 0.5},
    ),
    "million": drawn(1_000_000, [20_000], slopes=1, slow=("lme4",)),
}

CROSSED = {
    "crossed_million": {"rows": 1_000_000, "levels": [50_000, 5_000]},
    "crossed_logistic": {
        "rows": 200_000,
        "levels": [5_000, 2_000],
        "family": "binomial",
    },
    "crossed_poisson": {
        "rows": 200_000,
        "levels": [5_000, 2_000],
        "family": "poisson",
    },
    "ten_million": {"rows": 10_000_000, "levels": [100_000, 20_000], "large": True},
    "million_logistic": {
        "rows": 1_000_000,
        "levels": [100_000, 20_000],
        "family": "binomial",
        "large": True,
    },
}
for name, parameters in CROSSED.items():
    PROBLEMS[name] = drawn(**parameters, slow=COMPILED)
    PROBLEMS[f"{name}_power"] = drawn(**parameters, slow=COMPILED, balance="power")
