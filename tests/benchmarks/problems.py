"""The problems: a registry to which a benchmark is added in one entry.

Nothing here imports skglmm before a table is made, so that a process which measures
another package carries none of it in its memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

SLOPE_COVARIANCE_FACTOR = np.array([[0.8, 0.0], [0.2, 0.4]])


@dataclass(frozen=True)
class Problem:
    """One linear mixed model and the table it is fitted to.

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
    """

    make: Callable
    target: str
    fixed: tuple
    groups: dict = field(hash=False)
    slow: tuple = ()

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


def simulated(**parameters):
    """Maker of a table drawn from a model with fixed effects (.5, -.3, .2)."""

    def make():
        from skglmm.datasets import make_mixed_regression

        X, y = make_mixed_regression(
            coef=[0.5, -0.3, 0.2], random_state=0, **parameters
        )
        return X.assign(y=y)

    return make


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
    "million": Problem(
        simulated(
            n_samples=1_000_000,
            n_groups=20_000,
            n_random_slopes=1,
            intercept=1.0,
            covariance=SLOPE_COVARIANCE_FACTOR @ SLOPE_COVARIANCE_FACTOR.T,
            noise=0.7,
        ),
        "y",
        ("x0", "x1", "x2"),
        {"g0": ("x0",)},
        slow=("lme4",),
    ),
}
