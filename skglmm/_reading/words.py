"""Words of messages: lists, labels and guesses."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

_MAX_LISTED = 10


def listing(names: Iterable[Any]) -> str:
    """Bracketed list of at most ten names, for a message.

    Examples
    --------
    >>> from skglmm._reading.words import listing
    >>> listing("abc")
    "['a', 'b', 'c']"
    """
    names = [repr(name) for name in names]
    more = len(names) - _MAX_LISTED
    shown = ", ".join(names[:_MAX_LISTED])
    return f"[{shown}, ... and {more} more]" if more > 0 else f"[{shown}]"


def plain(label: Any) -> Any:
    """A label or value as the user would type it, without NumPy's type.

    Examples
    --------
    >>> import numpy as np
    >>> from skglmm._reading.words import plain
    >>> plain(np.float64(0.5))
    0.5
    """
    return label.item() if isinstance(label, np.generic) else label


def did_you_mean(key: str, names: Iterable[Any]) -> str:
    """Question that proposes the closest of some names, empty if none is close.

    Examples
    --------
    >>> from skglmm._reading.words import did_you_mean
    >>> did_you_mean("County", ["floor", "county"])
    " Did you mean 'county'?"
    """
    folded = {name.casefold(): name for name in names if isinstance(name, str)}
    close = difflib.get_close_matches(key.casefold(), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""
