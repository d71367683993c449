"""Collections of Dask as partitions, and work on them in named, ordered steps."""

import sys
import uuid
from functools import partial

import numpy as np

from skglmm._reading.table import is_dask
from skglmm._reading.values import kind_of_dtype

# Results that are merged by one task: small, so that few are held at a time.
_FAN = 4
_HIDDEN = "__skglmm_"
# Partitions that one task takes in turn, and tasks that there should be before.
_IN_TURN, _FEW = 4, 16


def is_frame(collection):
    """Whether a collection is a dataframe or a series, and no array."""
    return hasattr(collection, "npartitions") and hasattr(collection, "_meta_nonempty")


class Partitions:
    """Rows of X, and what belongs to them, partition by partition.

    Parameters
    ----------
    X : dask dataframe or dask array of shape (n_rows, n_columns)
    others : dict
        By name, series or arrays with the rows of X; None is left out.

    Raises
    ------
    TypeError
        If something is no collection of Dask.
    ValueError
        If there are other partitions than those of X.
    """

    def __init__(self, X, **others):
        self.frames = is_frame(X)
        self.meta = X._meta_nonempty if self.frames else None
        self.n_columns = X.shape[1]
        self._dtype = None if self.frames else X.dtype
        others = {name: part for name, part in others.items() if part is not None}
        for name, values in others.items():
            if not is_dask(values):
                raise TypeError(
                    f"X is a collection of Dask and {name} is a "
                    f"{type(values).__name__}: give a dask series or array with the "
                    f"partitions of X, for example a column of the same dataframe."
                )
        self._hidden, self._others = (), {}
        joined = _joined(X, others) if self.frames and others else None
        if joined is not None:
            self._X, self._hidden = joined.to_delayed(), tuple(others)
            return
        self._X = _delayed(X, "X", optimized=not others)
        for name, values in others.items():
            chunks = None if self.frames else X.chunks[0]
            parts = _delayed(values, name, chunks, optimized=False)
            if len(parts) != len(self._X):
                raise ValueError(
                    f"X has {len(self._X)} partitions and {name} has {len(parts)}: "
                    "take both from one dataframe."
                )
            self._others[name] = parts

    def __len__(self):
        return len(self._X)

    @property
    def names(self):
        """Names of the columns; None without any."""
        return tuple(self.meta.columns) if self.frames else None

    @property
    def kinds(self):
        """What the columns of a dataframe hold."""
        return tuple(map(kind_of_dtype, self.meta.dtypes)) if self.frames else ()

    def first(self, n):
        """The first n partitions of X, as Delayed."""
        return self._X[:n]

    def n_workers(self):
        """How many tasks run at the same time."""
        import os

        import dask

        client = _client()
        if client is not None:
            return max(sum(client.nthreads().values()), 1)
        known = dask.config.get("num_workers", None)
        return known or len(os.sched_getaffinity(0))

    def sample(self):
        """A few rows of the right types with no meaning."""
        if self.frames:
            return self.meta
        return np.ones((2, self.n_columns), dtype=self._dtype)

    def map(self, what, function, shared):
        """Tasks (Delayed), one for each partition.

        Parameters
        ----------
        what : str
            Name of the tasks.
        function : callable
            Of the partition's number, what is shared, X, and the others by name.
        shared : Delayed
        """
        from dask import delayed

        token = _token(what, shared)
        if self._hidden:
            function = partial(_apart, function, self._hidden)
        call = delayed(function, pure=False)
        return [
            call(
                i,
                shared,
                part,
                **{name: parts[i] for name, parts in self._others.items()},
                dask_key_name=f"{what}-{token}-{i}",
            )
            for i, part in enumerate(self._X)
        ]

    def map_in_turn(self, what, function, shared):
        """Tasks (Delayed), one for a few partitions that are taken in turn.

        What the partitions before have given is handed over as ``into``. How many there
        are depends on the number of partitions alone.
        """
        from dask import delayed

        token, n = _token(what, shared), len(self)
        call = delayed(partial(_in_turn, function, self._hidden), pure=False)
        size = max(1, min(_IN_TURN, n // _FEW))
        return [
            call(
                at,
                shared,
                self._X[at : at + size],
                {name: parts[at : at + size] for name, parts in self._others.items()},
                dask_key_name=f"{what}-{token}-{at}",
            )
            for at in range(0, n, size)
        ]

    def touched(self):
        """The partitions as Delayed, to find one that cannot be read."""
        others = self._others.values()
        return [list(parts) for parts in zip(self._X, *others, strict=True)]


def _joined(X, others):
    """X with series beside it, which are read together; None if they cannot be."""
    names = list(X.columns)
    plain = all(isinstance(name, str) for name in names) and X.columns.is_unique
    if not plain or not all(is_frame(values) for values in others.values()):
        return None
    if any(values.npartitions != X.npartitions for values in others.values()):
        return None
    try:
        return X.assign(**{f"{_HIDDEN}{name}": part for name, part in others.items()})
    except (ValueError, NotImplementedError):
        # partitions that Dask cannot tell to belong together
        return None


def _apart(function, hidden, at, shared, joined, **more):
    """Call a function with X and the columns that were put beside it."""
    width = joined.shape[1] - len(hidden)
    others = more | {name: joined.iloc[:, width + k] for k, name in enumerate(hidden)}
    return function(at, shared, joined.iloc[:, :width], **others)


def _in_turn(function, hidden, start, shared, parts, others):
    """Call a function for one partition after the other."""
    into, names = None, list(others)
    call = partial(_apart, function, hidden) if hidden else function
    rows = zip(parts, *others.values(), strict=True)
    for at, (part, *beside) in enumerate(rows, start=start):
        more = dict(zip(names, beside, strict=True))
        into = call(at, shared, part, into=into, **more)
    return into


def _delayed(collection, name, chunks=None, optimized=True):
    """Delayed partitions of all columns each."""
    if is_frame(collection):
        # reading few columns, Dask may put partitions together
        return collection.to_delayed(optimize_graph=optimized)
    if collection.ndim == 2 and len(collection.chunks[1]) > 1:
        collection = collection.rechunk({1: -1})
    known = chunks is not None and not np.isnan(sum(chunks))
    if known and collection.chunks[0] != chunks:
        if sum(collection.chunks[0]) != sum(chunks):
            raise ValueError(
                f"X has {sum(chunks)} rows and {name} has "
                f"{sum(collection.chunks[0])}: give as many."
            )
        collection = collection.rechunk({0: chunks})
    return list(np.ravel(collection.to_delayed()))


def _token(what, shared):
    from dask.base import tokenize

    return tokenize(what, shared.key)[:8]


def shared(value, what):
    """A value that many tasks read, as one Delayed; workers get it once."""
    from dask import delayed

    client = _client()
    if client is not None:
        return delayed(client.scatter(value, broadcast=True, hash=False))
    return delayed(value, pure=False, name=f"{what}-{uuid.uuid4().hex}", traverse=False)


def _client():
    """The client of a cluster that is the scheduler now, or None."""
    if "distributed" not in sys.modules:
        return None
    from dask.base import get_scheduler
    from distributed import Client, default_client

    scheduler = get_scheduler()
    if not isinstance(getattr(scheduler, "__self__", None), Client):
        return None
    return default_client()


def merged(what, merge, tasks):
    """One task that merges many, in a tree that their number alone decides.

    Parameters
    ----------
    what : str
        Name of the tasks.
    merge : callable
        Of a list of results, in order.
    tasks : list of Delayed
    """
    from dask import delayed

    call, level = delayed(merge, pure=False), 0
    while len(tasks) > 1:
        groups = [tasks[at : at + _FAN] for at in range(0, len(tasks), _FAN)]
        first = str(tasks[0].key)
        tasks = [
            call(group, dask_key_name=f"{what}-{_short(first)}-{level}-{i}")
            for i, group in enumerate(groups)
        ]
        level += 1
    return tasks[0]


def _short(key):
    from dask.base import tokenize

    return tokenize(key)[:8]


def computed(partitions, *tasks):
    """Results of tasks; an error of a partition says which one it was."""
    import dask

    try:
        return dask.compute(*tasks)
    except Exception as error:
        if isinstance(error, PartitionError):
            raise error.told() from None
        at, found = _unreadable(partitions)
        if at is None:
            raise
        raise type_of(found)(
            f"Partition {at} of X (of {len(partitions)}, counted from 0) cannot be "
            f"read: {type(found).__name__}: {found}"
        ) from found


def _unreadable(partitions):
    """The first partition that fails by itself, and how; None if none does."""
    import dask

    for at, parts in enumerate(partitions.touched()):
        try:
            dask.compute(parts)
        except Exception as error:
            return at, error
    return None, None


def type_of(error):
    """The kind of an error that a message of one's own may have."""
    return next(
        k for k in (TypeError, ValueError, OSError, Exception) if isinstance(error, k)
    )


class PartitionError(ValueError):
    """What went wrong in a partition; it comes whole out of another process.

    Parameters
    ----------
    at : int
        Number of the partition.
    kind : type
    text : str
    """

    def __init__(self, at, kind, text):
        super().__init__(at, kind, text)
        self.at, self.kind, self.text = at, kind, text

    def __str__(self):
        return (
            f"In partition {self.at} of X, whose rows are counted from 0: {self.text}"
        )

    def told(self):
        """The error as the user should see it."""
        return self.kind(str(self))


class naming:
    """Context in which an error is one of a partition."""

    def __init__(self, at):
        self._at = at

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, TypeError | ValueError):
            raise PartitionError(self._at, type_of(error), str(error)) from error
