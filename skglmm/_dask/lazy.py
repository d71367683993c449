"""Methods of fitted models whose rows stay where they are: one task a partition."""

import copy
import functools
import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skglmm._dask.partitions import Partitions, is_dask, naming, shared
from skglmm._reading.features import arranged, check_features
from skglmm._reading.table import Table
from skglmm._reading.words import plain


def refuse_groups(groups):
    """Refuse labels beside the columns of a collection."""
    if groups is not None:
        raise ValueError(
            "groups= is not read beside collections of Dask: fit a model whose "
            "labels are columns of X, or give X.compute()."
        )


def by_partition(method):
    """A method of X that gives a collection of Dask where X is one."""

    @functools.wraps(method)
    def call(self, X, *args, **kwargs):
        if not is_dask(X):
            return method(self, X, *args, **kwargs)
        check_is_fitted(self)
        bound = inspect.signature(method).bind(self, X, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[2:])
        refuse_groups(arguments.get("groups"))
        return lazily(self, X, method.__name__, arguments)

    return call


@dataclass(frozen=True)
class Call:
    """A method and its arguments, and what comes out of a partition.

    Parameters
    ----------
    model : object
    method : str
    arguments : dict
    columns : dict
        Types by name.
    vector : bool
        Whether one column is a vector.
    frames : bool
    seed : int or None
        Of random numbers.
    """

    model: object
    method: str
    arguments: dict
    columns: dict
    vector: bool
    frames: bool
    seed: int | None

    def meta(self, index=None):
        """The answer for no rows."""
        return self._shaped(np.empty((0, len(self.columns))), index)

    def of(self, at, X):
        """The answer for one partition."""
        index = getattr(X, "index", None)
        if not len(X):
            return self.meta(index)
        with naming(at):
            given = self.arguments
            if self.seed is not None:
                given = given | {"random_state": _draws(self.seed, at)}
            found = getattr(self.model, self.method)(X, **given)
        if isinstance(found, tuple):
            found = np.column_stack(found)
        return self._shaped(np.reshape(found, (len(X), -1)), index)

    def _shaped(self, values, index):
        if not self.frames:
            values = values.astype(next(iter(self.columns.values())))
            return values[:, 0] if self.vector else values
        frame = pd.DataFrame(
            {
                name: pd.Series(values[:, j], index).astype(dtype)
                for j, (name, dtype) in enumerate(self.columns.items())
            },
            index=index,
        )
        return frame.iloc[:, 0] if self.vector else frame


def lazily(model, X, method, arguments):
    """What a method gives, partition by partition, when it is wanted.

    Parameters
    ----------
    model : object
    X : dask dataframe or dask array
    method : str
    arguments : dict

    Returns
    -------
    answer : dask dataframe, series or array
        For dataframes a series, or a dataframe where NumPy has two dimensions; two
        series where it has two arrays. For arrays arrays.
    """
    X = known_columns(model, X, arguments.get("level", "conditional"))
    columns, vector, seed = _columns(model, method, arguments), method in _VECTORS, None
    if "random_state" in arguments:
        random = check_random_state(arguments["random_state"])
        seed = int(random.randint(2**31 - 1))
    elsewhere = Partitions(X)
    frames, alone = elsewhere.frames, vector and len(columns) == 1
    call = Call(copy.copy(model), method, arguments, columns, alone, frames, seed)
    tasks = elsewhere.map(f"{method}-of-partition", run, shared(call, method))
    if frames:
        answer = _frame(X, call, tasks)
        if arguments.get("return_std"):
            return tuple(answer[name] for name in columns)
        return answer
    answer = _array(X, call, tasks)
    return (answer[:, 0], answer[:, 1]) if arguments.get("return_std") else answer


_VECTORS = ("predict", "predict_score", "linear_predictor", "decision_function")


def _columns(model, method, arguments):
    """Names and types of the columns of an answer."""
    number, classes = np.dtype(float), getattr(model, "classes_", None)
    of_target = number if classes is None else classes.dtype
    if arguments.get("return_std"):
        return {"mean": number, "std": number}
    if method == "predict_interval":
        kind = of_target if arguments["of"] == "response" else number
        return {"lower": kind, "upper": kind}
    if method in ("predict_proba", "predict_log_proba"):
        return {plain(label): number for label in classes}
    if method == "sample_y":
        if classes is None:
            of_target = _type_of_samples(model)
        return {f"sample_{k}": of_target for k in range(arguments["n_samples"])}
    if method == "transform":
        return dict.fromkeys(model.get_feature_names_out(), number)
    if method == "predict":
        return {"prediction": of_target}
    return {method: number}


def _type_of_samples(model):
    from skglmm._fitted.state import family_of

    one = np.ones((1, 1))
    return family_of(model).sample(0.0 * one, one, np.random.RandomState(0)).dtype


def _draws(seed, at):
    from skglmm._fitted.draws import SharedDraws

    return SharedDraws(seed, at)


def run(at, call, X):
    """The answer for one partition."""
    return call.of(at, X)


def known_columns(model, X, level="conditional"):
    """The columns of fit, in their order, where X has them and more."""
    known = list(getattr(model, "feature_names_in_", ()))
    names = list(getattr(X, "columns", ()))
    if known and known != names and set(known) <= set(names):
        return X[known]
    sketch = Partitions(X).sample()
    fitted, table = getattr(model, "_fitted", None), Table(sketch)
    if fitted is None:
        check_features(model, sketch, table)
    else:
        needed = fitted.needed(model.n_features_in_, level)
        arranged(model, sketch, table, needed, fitted.by_name)
    return X


def _frame(X, call, tasks):
    import dask.dataframe as dd

    meta = call.meta(X._meta.index)
    return dd.from_delayed(
        tasks, meta=meta, divisions=X.divisions, prefix=call.method, verify_meta=False
    )


def _array(X, call, tasks):
    import dask.array as da

    meta, shapes = call.meta(), X.chunks[0]
    blocks = [
        da.from_delayed(task, (n, *meta.shape[1:]), dtype=meta.dtype, meta=meta)
        for task, n in zip(tasks, shapes, strict=True)
    ]
    return da.concatenate(blocks, axis=0, allow_unknown_chunksizes=True)
