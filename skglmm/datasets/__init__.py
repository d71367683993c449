"""Data sets of the mixed-model literature, and generators of artificial ones."""

from skglmm.datasets._continuous import (
    load_dyestuff,
    load_dyestuff2,
    load_insteval,
    load_pastes,
    load_penicillin,
    load_radon,
    load_sleepstudy,
)
from skglmm.datasets._discrete import (
    load_cbpp,
    load_contraception,
    load_grouseticks,
)
from skglmm.datasets._house_prices import make_house_prices
from skglmm.datasets._mixed_regression import make_mixed_regression
from skglmm.datasets._visits import make_visits

__all__ = [
    "load_cbpp",
    "load_contraception",
    "load_dyestuff",
    "load_dyestuff2",
    "load_grouseticks",
    "load_insteval",
    "load_pastes",
    "load_penicillin",
    "load_radon",
    "load_sleepstudy",
    "make_house_prices",
    "make_mixed_regression",
    "make_visits",
]
