"""The notation of lme4, read as the parameters of an estimator."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
from numpy.typing import ArrayLike

from skglmm._base import BaseMixedModel
from skglmm._binomial import MixedBinomialRegressor
from skglmm._families.chosen import NAMES
from skglmm._generalized import MixedGeneralizedRegressor
from skglmm._linear import MixedLinearRegressor
from skglmm._logistic import MixedLogisticRegressor
from skglmm._ordinal import MixedOrdinalClassifier
from skglmm._poisson import MixedPoissonRegressor
from skglmm._reading.categories import Categories
from skglmm._reading.formula import Formula, import_formulaic
from skglmm._reading.table import Table
from skglmm._reading.words import did_you_mean, listing

# Estimators by family; for others it is a parameter.
FAMILIES: dict[str, Callable[..., BaseMixedModel]] = {
    "linear": MixedLinearRegressor,
    "gaussian": MixedLinearRegressor,
    "poisson": MixedPoissonRegressor,
    "logistic": MixedLogisticRegressor,
    "bernoulli": MixedLogisticRegressor,
    "binomial": MixedBinomialRegressor,
    "ordinal": MixedOrdinalClassifier,
}
_GENERALIZED = [name for name in NAMES if name not in FAMILIES]
FAMILIES |= dict.fromkeys(_GENERALIZED, MixedGeneralizedRegressor)
# Parameters that the formula decides.
_DECIDED = ("groups", "fixed_effects", "random_slopes", "random_intercepts")
_DECIDED += ("covariance", "fit_intercept", "offset", "exposure", "trials")


def from_formula(
    formula: str,
    data: Any,
    family: str = "linear",
    *,
    sample_weight: ArrayLike | None = None,
    **parameters: Any,
) -> BaseMixedModel:
    """Fitted model that a formula in the notation of lme4 describes.

    Parameters
    ----------
    formula : str
        Response, fixed part and random effects, such as
        ``"Reaction ~ Days + (Days | Subject)"``. Random effects are ``(1 | g)``,
        ``(x | g)``, ``(0 + x | g)``, ``(x || g)``, ``(1 | a / b)`` and ``(1 | a:b)``;
        the fixed part is what ``fixed_effects`` takes as a formula, and
        ``offset(x)``. The response is a column, a function of one such as
        ``log(y)``, or for ``family="binomial"`` ``cbind(successes, failures)`` or
        ``successes | trials(n)``.
    data : dataframe of n_samples rows
        With all these columns; others do no harm.
    family : str, default="linear"
        Distribution of the response: ``"linear"`` or ``"gaussian"``, ``"poisson"``,
        ``"logistic"`` or ``"bernoulli"``, ``"binomial"``, ``"ordinal"``, or another
        one of `MixedGeneralizedRegressor`, such as ``"gamma"``.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies, as in ``fit``.
    **parameters : dict
        Further parameters of the estimator, such as ``reml=False`` or
        ``solver="laplace"``.

    Returns
    -------
    model : MixedLinearRegressor or another model of this package
        Fitted. Its repr shows how the model is written without the formula. It has
        seen the columns of the formula only, and finds them by name: ``predict(data)``
        takes the same dataframe. If the response is a function of a column,
        predictions are in its units.

    Raises
    ------
    ImportError
        If formulaic is not installed.
    TypeError
        If a parameter is given that the formula decides.
    ValueError
        If the formula cannot be read, with a mark at the place; and for the reasons
        of ``fit``.

    See Also
    --------
    MixedLinearRegressor : Its parameters say the same without a formula.

    Notes
    -----
    Formulas are read by formulaic [1]_, which the extra ``skglmm[formula]`` installs.
    Missing values are refused, and not left out as in R. The notation is that of
    lme4 [2]_; what it can say and this package cannot is refused: slopes that are no
    columns, and effects of one factor of which some are correlated and others not.

    References
    ----------
    .. [1] Wardrop, M. Formulaic: a high-performance implementation of Wilkinson
           formulas for Python. https://matthewwardrop.github.io/formulaic/
    .. [2] Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear
           mixed-effects models using lme4. Journal of Statistical Software 67(1).

    Examples
    --------
    >>> import skglmm
    >>> from skglmm.datasets import load_sleepstudy
    >>> data = load_sleepstudy(as_frame=True).frame
    >>> model = skglmm.from_formula("Reaction ~ Days + (Days | Subject)", data)
    >>> model
    MixedLinearRegressor(fixed_effects=['Days'], groups='Subject',
                         random_slopes=['Days'])
    >>> model.predict(data[:2]).round(1)
    array([253.7, 273.3])
    """
    import_formulaic("A formula")
    if not isinstance(formula, str):
        raise TypeError(f"formula is a str, got {type(formula).__name__}.")
    if family not in FAMILIES:
        raise ValueError(
            f"family must be one of {listing(FAMILIES)}, got {family!r}."
            f"{did_you_mean(str(family), FAMILIES)}"
        )
    wrong = [name for name in parameters if name in _DECIDED]
    if wrong:
        raise TypeError(
            f"{wrong[0]} is what the formula says: leave it out, or use "
            f"{FAMILIES[family].__name__} without a formula."
        )
    table = Table(data)
    if table.names is None:
        raise ValueError(
            "data must be a dataframe whose column names are all strings: the formula "
            "names columns."
        )
    text = _Text(formula)
    response, fixed, random, offsets = _parts(text)
    found, y = _response(response, table, family)
    found |= _offset(offsets, family)
    found |= _fixed(text, fixed, table)
    found |= _random(random, table)
    if family in _GENERALIZED:
        parameters["family"] = family
    if "fit_intercept" in found and family == "ordinal":
        raise ValueError(
            f"{formula!r} takes the intercept out, and thresholds stand in its place: "
            "leave the 0 out."
        )
    model = FAMILIES[family](**found, **parameters)
    X = nw.from_native(data, eager_only=True).select(_columns(found, table))
    return model.fit(X.to_native(), y, sample_weight)


class _Text:
    """A formula, and pieces of it by their place."""

    def __init__(self, text):
        self.text = text

    def refused(self, why, start, end):
        """Error that marks a piece."""
        mark = " " * start + "^" * max(end - start, 1)
        return ValueError(f"{why}\n    {self.text}\n    {mark}")


@dataclass(frozen=True)
class _Piece:
    """Part of a formula.

    Parameters
    ----------
    whole : _Text
    start, end : int
    """

    whole: _Text
    start: int
    end: int

    @property
    def text(self):
        return self.whole.text[self.start : self.end].strip()

    def refused(self, why):
        start = self.start
        while start < self.end and self.whole.text[start] == " ":
            start += 1
        return self.whole.refused(why, start, start + len(self.text))

    def tokens(self):
        """Tokens of formulaic with their places in the formula and their depths."""
        from formulaic.parser.algos.tokenize import tokenize

        depth, found = 0, []
        try:
            for token in tokenize(self.whole.text[self.start : self.end]):
                if token.kind.value == "context" and token.token in ")]":
                    depth -= 1
                at = self.start + token.source_start
                until = self.start + token.source_end + 1
                found.append((token, depth, at, until))
                if token.kind.value == "context" and token.token in "([":
                    depth += 1
        except Exception as error:
            raise self.refused(str(error).splitlines()[0]) from None
        if depth:
            raise self.refused("A parenthesis is not closed, or one too many is.")
        return found

    def split(self, sign, depth=0):
        """Pieces between the places of an operator at some depth of parentheses."""
        start, pieces = self.start, []
        for token, deep, at, until in self.tokens():
            operator = token.kind.value == "operator"
            if operator and deep == depth and token.token == sign:
                pieces.append(_Piece(self.whole, start, at))
                start = until
        return [*pieces, _Piece(self.whole, start, self.end)]

    def holds(self, sign):
        """Whether an operator with this sign is in it, at any depth."""
        return any(
            token.kind.value == "operator" and sign in token.token
            for token, *_ in self.tokens()
        )

    @property
    def inner(self):
        """What is in the parentheses around all of it, None if there are none."""
        tokens = self.tokens()
        if len(tokens) < 3 or tokens[0][0].token != "(":
            return None
        if any(deep == 0 for _, deep, *_ in tokens[1:-1]):
            return None
        return _Piece(self.whole, tokens[0][3], tokens[-1][2])

    def name(self, what):
        """The column that it names."""
        text = re.sub(r"^(?:as\.)?factor\((.*)\)$", r"\1", self.text).strip()
        if re.fullmatch(r"`[^`]+`", text):
            return text[1:-1]
        if not re.fullmatch(r"[^\W\d][\w.]*", text):
            raise self.refused(f"{what} is a column, and this is none:")
        return text


def _parts(text):
    """Response; pieces of the fixed part, random effects and offsets."""
    sides = _Piece(text, 0, len(text.text)).split("~")
    if len(sides) != 2 or not sides[0].text:
        raise text.refused("A formula is 'response ~ terms':", 0, len(text.text))
    response, right = sides
    fixed, random, offsets = [], [], []
    for piece in right.split("+"):
        inside = piece.inner
        if not piece.text:
            raise piece.refused("Something is missing between two signs:")
        if piece.text == ".":
            raise piece.refused("'.' stands for no columns here: name them.")
        if re.match(r"offset\s*\(", piece.text) and len(piece.tokens()) == 1:
            offsets.append(piece)
        elif inside is not None and inside.holds("|"):
            random.append(inside)
        elif piece.holds("|"):
            raise piece.refused(
                "Random effects stand in parentheses and are added, as in "
                "y ~ x + (x | g):"
            )
        else:
            fixed.append(piece)
    return response, fixed, random, offsets


def _response(piece, table, family):
    """Parameters that the response decides, and its values."""
    text, found = piece.text, {}
    sides = piece.split("|")
    call = re.fullmatch(r"cbind\s*\((.*),(.*)\)", text, re.DOTALL)
    if call or len(sides) > 1:
        if "trials" not in FAMILIES[family]._column_parameters:
            raise piece.refused(
                f"Successes among trials need family='binomial', not {family!r}:"
            )
        if call:
            names = _cbind(piece, *call.groups())
        else:
            trials = re.fullmatch(r"trials\s*\((.*)\)", sides[1].text, re.DOTALL)
            if trials is None or len(sides) > 2:
                raise sides[1].refused("Behind '|' stands trials(n), with a column n:")
            names = sides[0].name("The number of successes"), trials[1].strip()
        _position(table, names[0], piece)
        found["trials"] = names[1]
        for name in names[1] if isinstance(names[1], list) else [names[1]]:
            _position(table, name, piece)
        return found, table.labels(_position(table, names[0], piece))
    if re.fullmatch(r"`[^`]+`|[^\W\d][\w.]*", text):
        return found, table.labels(_position(table, piece.name("The response"), piece))
    columns, coded = _read(Formula(_python(text), True), table, piece)
    if coded or len(columns.columns) != 1:
        raise piece.refused("The response is a function of one column of numbers:")
    columns, further = columns.learned(table, Categories(), None)
    if len(columns.names) != 1:
        raise piece.refused("The response is one column, and this gives others:")
    return found, further.numeric(columns.positions)[:, 0]


def _cbind(piece, successes, failures):
    """Names in ``cbind(successes, failures)``: successes, and trials."""
    successes, failures = successes.strip(), failures.strip()
    less = re.fullmatch(r"([^\W\d][\w.]*)\s*-\s*([^\W\d][\w.]*)", failures)
    if less is not None and less[2] == successes:
        return successes, less[1]
    for name in (successes, failures):
        if not re.fullmatch(r"[^\W\d][\w.]*", name):
            raise piece.refused(
                "cbind has the columns of successes and failures, or n - successes:"
            )
    return successes, [successes, failures]


def _offset(pieces, family):
    """Parameters that ``offset()`` decides."""
    found = {}
    for piece in pieces:
        inside = re.fullmatch(r"offset\s*\((.*)\)", piece.text, re.DOTALL)[1].strip()
        log = re.fullmatch(r"(?:np\.)?log\s*\(\s*([^\W\d][\w.]*)\s*\)", inside)
        name = re.fullmatch(r"[^\W\d][\w.]*", inside)
        counts = "exposure" in FAMILIES[family]._column_parameters
        key = "exposure" if log and counts else "offset"
        if key in found or not (name or key == "exposure"):
            raise piece.refused(
                "An offset is one column (for counts also the log of one, the "
                "exposure): make a column of it."
            )
        found[key] = log[1] if log and key == "exposure" else inside
    return found


def _fixed(text, pieces, table):
    """Parameters that the fixed part decides."""
    written = " + ".join(_python(piece.text) for piece in pieces)
    if not pieces:
        return {"fixed_effects": []}
    whole = _Piece(text, pieces[0].start, pieces[-1].end)
    import formulaic

    try:
        terms = formulaic.Formula(written)
        if not isinstance(terms, formulaic.SimpleFormula):
            raise ValueError("The fixed part has a sign that has no meaning there.")
    except Exception as error:
        raise whole.refused(f"{str(error).splitlines()[0]}") from None
    intercept = any(str(term) == "1" for term in terms)
    terms = [term for term in terms if str(term) != "1"]
    found = {} if intercept else {"fit_intercept": False}
    plain = [_plain(term) for term in terms]
    if None not in plain:
        places = [_position(table, name, whole) for name in plain]
        if intercept or not any(word for word in table.kinds(places).values()):
            return found | {"fixed_effects": plain}
    if not intercept:
        written = " + ".join(map(str, terms))
    _read(Formula(written, intercept), table, whole)
    return found | {"fixed_effects": written}


def _plain(term):
    """The column that a term is, None if it is more."""
    (factor, *others) = term.factors
    known = not others and factor.eval_method.value == "lookup"
    return factor.expr if known else None


def _read(formula, table, piece):
    """What a formula reads of a table; errors with their place."""
    try:
        return formula.read(table)
    except ValueError as error:
        why = str(error).removeprefix("fixed_effects: ")
        raise piece.refused(why) from None


@dataclass
class _Factor:
    """Random effects of one factor: pieces that are correlated within themselves."""

    name: Any
    pieces: list

    @property
    def slopes(self):
        return [name for _, slopes in self.pieces for name in slopes]

    @property
    def intercept(self):
        return any(intercept for intercept, _ in self.pieces)


def _random(pieces, table):
    """Parameters that the random effects decide."""
    factors: dict[Any, _Factor] = {}
    for piece in pieces:
        sign = "||" if len(piece.split("||")) > 1 else "|"
        sides = piece.split(sign)
        if len(sides) != 2:
            raise piece.refused("Random effects are (effects | factor):")
        intercept, slopes = _effects(sides[0], table, sign)
        apart = [(intercept, slopes)]
        if sign == "||":
            apart = [(True, [])] * intercept + [(False, [name]) for name in slopes]
        for name in _factors(sides[1]):
            for column in name if isinstance(name, tuple) else (name,):
                _position(table, column, sides[1])
            factor = factors.setdefault(name, _Factor(name, []))
            if set(factor.slopes) & set(slopes) or (factor.intercept and intercept):
                raise piece.refused("An effect of this factor is there already:")
            factor.pieces += apart
            several = len(factor.pieces) > 1
            if several and any(i + len(s) > 1 for i, s in factor.pieces):
                raise piece.refused(
                    "Of the effects of one factor all are correlated or none is; here "
                    "some are and some are not:"
                )
    return _parameters(list(factors.values()))


def _parameters(factors):
    """Parameters of some factors, those at their defaults left out."""
    if not factors:
        return {}
    if len(factors) == 1:
        one = factors[0]
        found: dict[str, Any] = {"groups": one.name}
        if one.slopes:
            found["random_slopes"] = one.slopes
        if not one.intercept:
            found["random_intercepts"] = False
        if len(one.pieces) > 1:
            found["covariance"] = "diag"
        return found
    found = {
        "groups": [f.name for f in factors],
        "random_slopes": {f.name: f.slopes for f in factors if f.slopes},
        "random_intercepts": {f.name: False for f in factors if not f.intercept},
        "covariance": {f.name: "diag" for f in factors if len(f.pieces) > 1},
    }
    return {name: value for name, value in found.items() if value}


def _effects(piece, table, sign):
    """Whether there is an intercept, and the columns with slopes."""
    import formulaic

    if not piece.text:
        raise piece.refused("There are no effects before the '|':")
    try:
        terms = list(formulaic.Formula(_python(piece.text)))
    except Exception as error:
        raise piece.refused(str(error).splitlines()[0]) from None
    intercept = any(str(term) == "1" for term in terms)
    slopes = []
    for term in terms:
        if str(term) == "1":
            continue
        name = _plain(term)
        if name is None:
            raise piece.refused(
                f"Random slopes belong to columns, and {str(term)!r} is none: make a "
                "column of it."
            )
        at = _position(table, name, piece)
        if table.kinds([at]) and (not intercept or sign == "||"):
            raise piece.refused(
                f"{name!r} holds categories, whose slopes are those of dummies beside "
                "an intercept that they may covary with: write (1 + "
                f"{name} | g), or make dummies of it."
            )
        slopes.append(name)
    if not intercept and not slopes:
        raise piece.refused("There are no effects before the '|':")
    return intercept, slopes


def _factors(piece):
    """Grouping factors: ``a / b`` is a and a:b."""
    factors: list[Any] = []
    before: tuple = ()
    for part in piece.split("/"):
        names = tuple(name.name("A grouping factor") for name in part.split(":"))
        before = (*before, *(name for name in names if name not in before))
        factors.append(before if len(before) > 1 else before[0])
    return factors


def _position(table, name, piece):
    try:
        return table.position(name, "formula")
    except ValueError as error:
        raise piece.refused(str(error).removeprefix("formula: ")) from None


def _columns(found, table):
    """Names of the columns that the parameters name, in the order of the table."""
    names: set[str] = set()
    fixed = found["fixed_effects"]
    if isinstance(fixed, str):
        read = Formula(fixed, found.get("fit_intercept", True)).read(table)[0]
        names.update(read.columns)
    else:
        names.update(fixed)
    slopes = found.get("random_slopes", [])
    for listed in slopes.values() if isinstance(slopes, dict) else [slopes]:
        names.update(listed)
    groups = found.get("groups", [])
    for factor in groups if isinstance(groups, list) else [groups]:
        names.update(factor if isinstance(factor, tuple) else (factor,))
    for role in ("offset", "exposure", "trials"):
        key = found.get(role, [])
        names.update(key if isinstance(key, list) else [key])
    return [name for name in table.names if name in names]


def _python(text):
    """A piece with what R writes in other words than Python."""
    text = re.sub(r"\b(?:as\.)?factor\(", "C(", text)
    return text.replace("^", "**")
