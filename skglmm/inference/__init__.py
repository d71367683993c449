"""Tests, intervals and comparisons: functions of a fitted model and its data."""

from skglmm.inference._coefficients import coefficients
from skglmm.inference._compare import compare
from skglmm.inference._random import random_effects_tests

__all__ = ["coefficients", "compare", "random_effects_tests"]
