"""Hypotheses as users write them: linear combinations of coefficients by name."""

import ast
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from skglmm._reading.words import did_you_mean, listing, plain

# A name between backticks is any text; a placeholder stands for it in the syntax tree.
_QUOTED, _PLACE = re.compile(r"`([^`]*)`"), "_quoted_{}_"
_SHOWN = 80
_HOW = (
    "write sums of coefficients times numbers, such as 'days - 2 * sex', and names "
    "that are no identifiers between backticks, such as '`a:b` - days'"
)


def read_hypotheses(hypotheses: Any, names: pd.Index) -> tuple[list, np.ndarray]:
    """Weights of the coefficients in each hypothesis.

    Parameters
    ----------
    hypotheses : str, list of str, dict, DataFrame or ndarray
        See `skglmm.inference.contrasts`.
    names : Index of shape (p,)
        Names of the coefficients.

    Returns
    -------
    labels : list
        What the hypotheses are called.
    weights : ndarray of shape (m, p)

    Raises
    ------
    TypeError, ValueError
        If they cannot be read, name a coefficient that is not there, or weigh none.
    """
    if isinstance(hypotheses, str):
        hypotheses = [hypotheses]
    if isinstance(hypotheses, Mapping):
        labels = list(hypotheses)
        rows = [_one(label, h, names) for label, h in hypotheses.items()]
    elif isinstance(hypotheses, pd.DataFrame):
        labels, rows = list(hypotheses.index), _frame(hypotheses, names)
    elif _is_texts(hypotheses):
        labels = list(hypotheses)
        rows = [_one(text, text, names) for text in hypotheses]
    else:
        rows = _matrix(hypotheses, names)
        labels = list(range(len(rows)))
    if not len(labels):
        raise ValueError("hypotheses is empty: name at least one.")
    weights = np.array(rows, dtype=float)
    for label, row in zip(labels, weights, strict=True):
        if not np.isfinite(row).all():
            raise ValueError(f"hypotheses: {label!r} has weights that are not finite.")
        if not row.any():
            raise ValueError(
                f"hypotheses: the weights of {label!r} are all zero, so that it says "
                "nothing."
            )
    return labels, weights


def _is_texts(hypotheses):
    sequence = isinstance(hypotheses, list | tuple)
    return sequence and all(isinstance(text, str) for text in hypotheses)


def _one(label, hypothesis, names):
    """Weights (p,) of one hypothesis, a text or a dict."""
    if isinstance(hypothesis, str):
        return _parsed(hypothesis, names)
    if not isinstance(hypothesis, Mapping):
        raise TypeError(
            f"hypotheses: {label!r} is {type(hypothesis).__name__}: give a text such "
            "as 'days - 2 * sex', or a dict from coefficients to weights."
        )
    row = np.zeros(len(names))
    for name, weight in hypothesis.items():
        if not isinstance(weight, Real):
            raise TypeError(
                f"hypotheses: {label!r} gives {name!r} the weight {weight!r}, which is "
                "no number."
            )
        row[_place(name, names)] += float(weight)
    return row


def _frame(frame, names):
    """Weights (m, p) from a dataframe whose columns are coefficients."""
    rows = np.zeros((len(frame), len(names)))
    for k, name in enumerate(frame.columns):
        rows[:, _place(name, names)] += frame.iloc[:, k].to_numpy(dtype=float)
    return rows


def _matrix(values, names):
    try:
        rows = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        rows = np.zeros(0)
    if rows.ndim == 1 and len(rows) == len(names):
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(
            f"hypotheses: an array has a column for each of the {len(names)} "
            f"coefficients {listing(names)}. A dict or a dataframe names those that it "
            "weighs."
        )
    return rows


def _place(name, names):
    if name in names:
        return names.get_loc(name)
    if name in ("pairwise", "reference"):
        raise ValueError(
            f"hypotheses: {name!r} compares the levels of a column, which "
            f"marginal_means(model, X, y, by=column, contrasts={name!r}) does. "
            "Hypotheses here are of coefficients, such as 'days - 2 * sex'."
        )
    guess = did_you_mean(name, names) if isinstance(name, str) else ""
    raise ValueError(
        f"hypotheses: {plain(name)!r} is no coefficient of the model; they are "
        f"{listing(names)}.{guess}"
    )


def _parsed(text, names):
    """Weights (p,) of a text; what is right of an equals sign is subtracted."""
    if text in names:
        return _one(text, {text: 1.0}, names)
    quoted: list[str] = []

    def put(match):
        quoted.append(match[1])
        return _PLACE.format(len(quoted) - 1)

    sides = _QUOTED.sub(put, text).split("=")
    known = {_PLACE.format(k): name for k, name in enumerate(quoted)}
    if len(sides) > 2:
        raise ValueError(f"hypotheses: {text!r} has several equals signs.")
    total, constant = np.zeros(len(names)), 0.0
    for sign, side in zip((1.0, -1.0), sides, strict=False):
        row, rest = _Linear(text, names, known).read(side)
        total, constant = total + sign * row, constant + sign * rest
    if constant:
        raise ValueError(
            f"hypotheses: {text!r} has a number without a coefficient. What is tested "
            "is that a combination is zero: compare its interval with the number."
        )
    return total


class _Linear:
    """Reader of one linear expression: no name is looked up but those of coefficients.

    Parameters
    ----------
    text : str
        The whole, for messages.
    names : Index
    known : dict of str
        Names behind placeholders.
    """

    def __init__(self, text, names, known):
        self.text, self.names, self.known = text, names, known

    def read(self, side):
        """Weights (p,) of an expression, and the number beside them."""
        try:
            return self._value(ast.parse(side.strip(), mode="eval").body)
        except (SyntaxError, RecursionError, MemoryError):
            raise self._error() from None

    def _error(self):
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        return ValueError(f"hypotheses: {shown!r} cannot be read: {_HOW}.")

    def _value(self, node):
        zero = np.zeros(len(self.names))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return zero, float(node.value)
        if isinstance(node, ast.Name):
            zero[_place(self.known.get(node.id, node.id), self.names)] = 1.0
            return zero, 0.0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            row, rest = self._value(node.operand)
            sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
            return sign * row, sign * rest
        if isinstance(node, ast.BinOp):
            return self._pair(node.op, self._value(node.left), self._value(node.right))
        raise self._error()

    def _pair(self, op, left, right):
        """Sum, difference, product with a number, or quotient by one."""
        (a, rest), (b, more) = left, right
        if isinstance(op, ast.Add):
            return a + b, rest + more
        if isinstance(op, ast.Sub):
            return a - b, rest - more
        if isinstance(op, ast.Mult) and not (a.any() and b.any()):
            return a * more + b * rest, rest * more
        if isinstance(op, ast.Div) and not b.any() and more:
            return a / more, rest / more
        raise self._error()
