"""Tests, intervals and comparisons: functions of a fitted model and its data."""

from skglmm.inference._coefficients import coefficients

__all__ = ["coefficients"]
