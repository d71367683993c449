"""Distributions of the target: all of a family but its TensorFlow."""

from skglmm._families.base import Family
from skglmm._families.counts import Poisson
from skglmm._families.normal import Gaussian
from skglmm._families.overdispersed import NegativeBinomial
from skglmm._families.successes import Binomial

FAMILIES = {
    family.name: family
    for family in (Gaussian(), Poisson(), Binomial(), NegativeBinomial())
}

__all__ = ["FAMILIES", "Family"]
