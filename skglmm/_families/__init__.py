"""Distributions of the target: all of a family but its TensorFlow."""

from skglmm._families.base import Family
from skglmm._families.chosen import chosen

FAMILIES = {
    name: chosen(name)
    for name in ("gaussian", "poisson", "binomial", "negative_binomial")
}

__all__ = ["FAMILIES", "Family"]
