"""Pictures of fitted models: displays as scikit-learn has them, by matplotlib."""

from skglmm.inspection._coefficients import CoefficientsDisplay
from skglmm.inspection._convergence import ConvergenceDisplay
from skglmm.inspection._effects import EffectsDisplay
from skglmm.inspection._predictive_check import PredictiveCheckDisplay
from skglmm.inspection._profile import ProfileDisplay
from skglmm.inspection._random_effects import RandomEffectsDisplay
from skglmm.inspection._residuals import ResidualsDisplay
from skglmm.inspection._shrinkage import ShrinkageDisplay
from skglmm.inspection._uncertainty import UncertaintyDisplay
from skglmm.inspection._variance_components import VarianceComponentsDisplay

__all__ = [
    "CoefficientsDisplay",
    "ConvergenceDisplay",
    "EffectsDisplay",
    "PredictiveCheckDisplay",
    "ProfileDisplay",
    "RandomEffectsDisplay",
    "ResidualsDisplay",
    "ShrinkageDisplay",
    "UncertaintyDisplay",
    "VarianceComponentsDisplay",
]
