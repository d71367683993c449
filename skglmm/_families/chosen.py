"""The family of a name, a link and a number of zeros."""

from functools import cache

from skglmm._families.bounded import Beta, BetaBinomial, LinkedBinomial
from skglmm._families.counts import Poisson
from skglmm._families.linked_counts import (
    Hurdle,
    Inflated,
    LinkedNegativeBinomial,
    LinkedPoisson,
    NegativeBinomial1,
)
from skglmm._families.normal import Gaussian
from skglmm._families.overdispersed import NegativeBinomial
from skglmm._families.positive import Gamma, InverseGaussian, LogNormal, Tweedie
from skglmm._families.real import LinkedGaussian, StudentT
from skglmm._families.successes import Binomial

# Families by name, and those that know more of their first link.
_CHOICE = {
    "negative_binomial": LinkedNegativeBinomial,
    "negative_binomial_1": NegativeBinomial1,
    "gamma": Gamma,
    "inverse_gaussian": InverseGaussian,
    "lognormal": LogNormal,
    "beta": Beta,
    "beta_binomial": BetaBinomial,
    "student_t": StudentT,
    "tweedie": Tweedie,
    "gaussian": LinkedGaussian,
    "poisson": LinkedPoisson,
    "binomial": LinkedBinomial,
}
_FIRST = {
    "negative_binomial": NegativeBinomial,
    "gaussian": Gaussian,
    "poisson": Poisson,
    "binomial": Binomial,
}
NAMES = tuple(_CHOICE)
LINKS = ("identity", "log", "logit", "probit", "cloglog", "inverse")
COUNTS = tuple(n for n, kind in _CHOICE.items() if issubclass(kind, LinkedPoisson))
SHARES = ("binomial", "beta_binomial")
_ZEROS = {True: Inflated, "hurdle": Hurdle}


@cache
def _made(kind, *parts):
    """One instance of each, so that those of the same parts are the same."""
    return kind(*parts)


def chosen(name, link=None, zero_inflation=False):
    """The family of a name, link and number of zeros.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    link : str or None
        None is the first that the family has.
    zero_inflation : {False, True, "hurdle"}

    Raises
    ------
    ValueError
        If the family does not have such a link, or no zeros.
    """
    kind = _CHOICE[name]
    if link is not None and link not in kind.links:
        raise ValueError(
            f"link={link!r} does not go with family={name!r}, which has "
            f"{_listing(kind.links)}."
        )
    if zero_inflation is not False:
        if name not in COUNTS:
            raise ValueError(
                f"zero_inflation={zero_inflation!r} does not go with family={name!r}: "
                f"it is for counts, which are {_listing(COUNTS)}."
            )
        return _made(_ZEROS[zero_inflation], _made(kind, link or kind.links[0]))
    if link in (None, kind.links[0]) and name in _FIRST:
        return _made(_FIRST[name])
    return _made(kind, link or kind.links[0])


def _listing(names):
    *most, last = map(repr, names)
    return f"{', '.join(most)} and {last}" if most else last
