"""Tests, intervals and comparisons: functions of a fitted model and its data."""

from skglmm.inference._coefficients import coefficients
from skglmm.inference._compare import compare
from skglmm.inference._contrasts import contrasts
from skglmm.inference._diagnostics import diagnostics
from skglmm.inference._intervals import confidence_intervals
from skglmm.inference._many import fit_many
from skglmm.inference._marginal import marginal_means
from skglmm.inference._profile import profile
from skglmm.inference._random import random_effects_tests
from skglmm.inference._residuals import residuals
from skglmm.inference._term_tests import term_tests

__all__ = [
    "coefficients",
    "compare",
    "confidence_intervals",
    "contrasts",
    "diagnostics",
    "fit_many",
    "marginal_means",
    "profile",
    "random_effects_tests",
    "residuals",
    "term_tests",
]
