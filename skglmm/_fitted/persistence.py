"""What a saved model consists of: arrays, text and its version."""

import warnings
from dataclasses import fields

import numpy as np
import pandas as pd
from sklearn.exceptions import InconsistentVersionWarning

from skglmm._fitted.state import Facts, Fitted
from skglmm._fixed.fitted_part import FittedPart
from skglmm._reading.categories import Categories, CodedColumn
from skglmm._reading.formula import Formula, FormulaColumns
from skglmm._reading.terms import Term
from skglmm._version import __version__

_KIND = "_skglmm_kind"
_KINDS = {
    "term": Term,
    "categories": Categories,
    "coded": CodedColumn,
    "formula": Formula,
    "formula columns": FormulaColumns,
    "fitted": Fitted,
    "facts": Facts,
}


class PersistenceMixin:
    """State of a model as NumPy arrays and plain values, with the version.

    Dataframes, indexes and terms are taken apart when a model is saved and put
    together when it is read. So a file does not depend on how pandas stores them, and
    ``skops.io``, which refuses pandas objects, can save a model.
    """

    def __getstate__(self):
        state = super().__getstate__()
        packed = {name: _pack(value) for name, value in state.items()}
        if "_metadata_request" in state:
            # it refers back to the model, and skops.io cannot save a circle
            packed["_metadata_request"] = {
                method: dict(requests.requests)
                for method, requests in vars(state["_metadata_request"]).items()
                if hasattr(requests, "requests")
            }
        return packed | {"_skglmm_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_skglmm_version", "unknown")
        if saved != __version__:
            warnings.warn(OtherVersionWarning(type(self).__name__, saved), stacklevel=2)
        requested = state.pop("_metadata_request", None)
        super().__setstate__({name: _unpack(value) for name, value in state.items()})
        if requested is not None:
            requests = self._get_metadata_request()
            for method, metadata in requested.items():
                for name, answer in metadata.items():
                    getattr(requests, method).add_request(param=name, alias=answer)
            self._metadata_request = requests


class OtherVersionWarning(InconsistentVersionWarning):
    """Warning that a model was saved by another version of this package.

    It is scikit-learn's own warning about versions, so that one filter finds both.

    Parameters
    ----------
    estimator_name : str
        Class of the model.
    saved_version : str
        Version that saved it.

    Attributes
    ----------
    estimator_name, saved_version : str
        As given.
    current_version : str
        Version that reads it.
    """

    def __init__(self, estimator_name, saved_version):
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=__version__,
            original_sklearn_version=saved_version,
        )
        self.saved_version = saved_version
        self.current_version = __version__

    def __str__(self):
        return (
            f"This {self.estimator_name} was saved by version {self.saved_version} of "
            f"skglmm and is read by version {self.current_version}: it may fail or "
            f"predict wrongly. Install skglmm {self.saved_version} to use it, or fit "
            "it again."
        )


def _pack(value):
    """A value without objects of pandas or of this package, as far as possible."""
    if isinstance(value, pd.DataFrame):
        return {
            _KIND: "frame",
            "values": value.to_numpy(),
            "index": _pack(value.index),
            "columns": _pack(value.columns),
        }
    if isinstance(value, pd.Series):
        return {
            _KIND: "column",
            "data": value.to_numpy(),
            "index": _pack(value.index),
            "name": value.name,
        }
    if isinstance(value, pd.MultiIndex):
        return {
            _KIND: "combination",
            "levels": [_pack(part) for part in value.levels],
            "codes": [np.asarray(codes) for codes in value.codes],
            "names": list(value.names),
        }
    if isinstance(value, pd.Index):
        return _pack_index(value)
    for kind, of_kind in _KINDS.items():
        if isinstance(value, of_kind):
            content = {f.name: _pack(getattr(value, f.name)) for f in fields(of_kind)}
            return {_KIND: kind, **content}
    if isinstance(value, FittedPart):
        return {_KIND: "part", **value.state()}
    if type(value) is dict:
        return {key: _pack(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_pack, value))
    return value


def _unpack(value):
    if type(value) in (list, tuple):
        return type(value)(map(_unpack, value))
    if type(value) is not dict:
        return value
    content = {key: _unpack(entry) for key, entry in value.items()}
    kind = content.pop(_KIND, None)
    if kind == "frame":
        return pd.DataFrame(content["values"], content["index"], content["columns"])
    if kind == "column":
        return pd.Series(**content)
    if kind == "combination":
        return pd.MultiIndex(**content, verify_integrity=False)
    if kind == "text":
        labels = _split(content["characters"], content["lengths"])
        return pd.Index(labels, name=content["name"])
    if kind == "labels":
        values, name = content["values"], content["name"]
        return pd.Index(values, values.dtype, name=name, tupleize_cols=False)
    if kind in _KINDS:
        return _KINDS[kind](**content)
    if kind == "part":
        return FittedPart(**content)
    return content


def _pack_index(index):
    if len(index) and pd.api.types.infer_dtype(index, skipna=False) == "string":
        characters, lengths = _join(index)
        return {
            _KIND: "text",
            "characters": characters,
            "lengths": lengths,
            "name": index.name,
        }
    if not isinstance(index.dtype, np.dtype):
        return index  # periods, intervals and time zones are pandas' own
    return {_KIND: "labels", "values": index.to_numpy(), "name": index.name}


def _join(labels):
    """Text end to end, as bytes, and the number of characters of each piece."""
    # surrogates are what is left of file names that are not valid text
    joined = "".join(labels).encode("utf-8", "surrogatepass")
    lengths = np.fromiter(map(len, labels), dtype=np.int32, count=len(labels))
    return np.frombuffer(joined, dtype=np.uint8), lengths


def _split(characters, lengths):
    text = characters.tobytes().decode("utf-8", "surrogatepass")
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return [text[start:end] for start, end in pairs]
