"""The folder of graphs that fits of all processes share: filled, emptied, looked at.

What TensorFlow makes of a model's structure is kept in a folder of the user, so that
only the first fit on a machine waits for it. ``python -m skglmm.cache fill`` makes
graphs of common structures, where a container image is built, say; ``clear`` removes
all, and ``info`` says what there is. The environment variable ``SKGLMM_CACHE`` names
another folder; ``off`` means none.
"""

import argparse
import time
import warnings

from skglmm import _store

__all__ = ["clear", "fill", "info"]

# What is called how, the levels of its groups, and parameters of the estimator.
_STRUCTURES = (
    ("one factor", [20], {"groups": "g0"}),
    ("a slope", [20], {"groups": "g0", "random_slopes": ["x0"]}),
    (
        "an independent slope",
        [20],
        {"groups": "g0", "random_slopes": ["x0"], "covariance": "diag"},
    ),
    ("two crossed factors", [20, 8], {"groups": ["g0", "g1"]}),
    ("two nested factors", [8, 20], {"groups": ["g0", ("g0", "g1")]}),
    (
        "two crossed factors, a slope",
        [20, 8],
        {"groups": ["g0", "g1"], "random_slopes": {"g0": ["x0"]}},
    ),
    ("three crossed factors", [20, 8, 6], {"groups": ["g0", "g1", "g2"]}),
)


def info():
    """Say where the folder is and what is in it.

    Returns
    -------
    info : dict
        ``folder``, a path or None where there is none, ``n_files`` and ``n_bytes``.
    """
    files = _store.files()
    sizes = [size for _, size, _ in files]
    return {"folder": _store.folder(), "n_files": len(files), "n_bytes": sum(sizes)}


def clear():
    """Remove all graphs that are kept.

    Returns
    -------
    n_files : int
        Number of files that were removed.
    """
    return _store.clear()


def fill(solvers=("vi", "laplace"), verbose=False):
    """Fit small models of common structures, so that their graphs are kept.

    Parameters
    ----------
    solvers : sequence of str, default=("vi", "laplace")
        For counts and classes; a linear model has the same graphs with either.
    verbose : bool, default=False
        Whether to print a line for each model.

    Returns
    -------
    n_files : int
        Number of files that there are now.
    """
    import numpy as np

    from skglmm import (
        MixedLinearRegressor,
        MixedLogisticRegressor,
        MixedPoissonRegressor,
    )
    from skglmm.datasets import make_mixed_regression

    kinds = [
        ("linear", MixedLinearRegressor, "vi", lambda y: y),
        *(
            (f"{name}, {solver}", kind, solver, response)
            for name, kind, response in (
                ("counts", MixedPoissonRegressor, lambda y: np.abs(np.round(y))),
                ("classes", MixedLogisticRegressor, lambda y: y > np.median(y)),
            )
            for solver in solvers
        ),
    ]
    for words, levels, parameters in _STRUCTURES:
        X, y = make_mixed_regression(400, 2, n_groups=levels, random_state=0)
        for name, kind, solver, response in kinds:
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nobody will use these models
                kind(solver=solver, **parameters).fit(X, response(y))
            if verbose:
                print(f"{name}, {words}: {time.perf_counter() - start:.1f} s")
    return info()["n_files"]


def _main(arguments=None):
    parser = argparse.ArgumentParser("python -m skglmm.cache", description=__doc__)
    parser.add_argument("what", choices=["fill", "clear", "info"])
    what = parser.parse_args(arguments).what
    if _store.folder() is None:
        print("SKGLMM_CACHE says that no graphs are to be kept.")
        return
    if what == "fill":
        fill(verbose=True)
    elif what == "clear":
        print(f"{clear()} files removed")
    found = info()
    print(
        f"{found['folder']}: {found['n_files']} files, {found['n_bytes'] / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    _main()
