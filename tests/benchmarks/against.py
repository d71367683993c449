"""Warm fits of two checkouts, in turns in one process, so that noise hits both.

Run ``python tests/benchmarks/against.py BEFORE AFTER [repeats]``, each a folder that
holds ``skglmm``; `git worktree add` makes one. A line a case: medians, their ratio
and the median ratio of neighbours.
"""

import importlib
import os
import sys
import warnings
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402


class Checkout:
    """The package of one folder; as a context, what `import skglmm` finds."""

    def __init__(self, folder):
        self._put({})
        sys.path.insert(0, folder)
        self.skglmm = importlib.import_module("skglmm")
        importlib.import_module("skglmm.datasets")
        self._modules = self._ours()
        sys.path.remove(folder)
        assert self.skglmm.__file__.startswith(os.path.abspath(folder))

    @staticmethod
    def _ours():
        return {k: m for k, m in sys.modules.items() if k.split(".")[0] == "skglmm"}

    def _put(self, modules):
        for name in self._ours():
            del sys.modules[name]
        sys.modules.update(modules)

    def __enter__(self):
        self._put(self._modules)
        return self.skglmm

    def __exit__(self, *error):
        self._modules = self._ours()


def sleepstudy(m):
    X, y = m.datasets.load_sleepstudy(return_X_y=True, as_frame=True)
    return lambda: m.MixedLinearRegressor("Subject", random_slopes=["Days"]).fit(X, y)


def radon(m):
    X, y = m.datasets.load_radon(return_X_y=True, as_frame=True)
    X = X[["county", "floor"]]
    return lambda: m.MixedLinearRegressor("county").fit(X, y)


def counts(m):
    rng = np.random.default_rng(0)
    g, x = rng.integers(0, 40, 600), rng.normal(size=600)
    y = rng.poisson(np.exp(0.3 + 0.4 * x + 0.6 * rng.normal(size=40)[g]))
    X = np.column_stack([x, g])
    return lambda: m.MixedPoissonRegressor(1).fit(X, y)


def main(before, after, repeats=250):
    checkouts = [Checkout(os.path.abspath(folder)) for folder in (before, after)]
    warnings.simplefilter("ignore")
    for case in (sleepstudy, radon, counts):
        fits = []
        for checkout in checkouts:
            with checkout as package:
                fits.append(case(package))
                for _ in range(10):
                    fits[-1]()
        took = np.zeros((int(repeats), 2))
        for i in range(len(took)):
            for at in (0, 1) if i % 2 else (1, 0):
                with checkouts[at]:
                    begin = perf_counter()
                    fits[at]()
                    took[i, at] = perf_counter() - begin
        old, new = 1e3 * np.median(took, axis=0)
        paired = np.median(took[:, 1] / took[:, 0])
        print(
            f"{case.__name__}: {old:.2f} to {new:.2f} ms, {new / old:.3f}, {paired:.3f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
