"""Mixed-effects models as scikit-learn estimators."""

from skglmm._binomial import MixedBinomialRegressor, MixedLogisticRegressor
from skglmm._encoder import GroupEffectEncoder
from skglmm._flexible import NetworkPart, RegressorPart
from skglmm._linear import MixedLinearRegressor
from skglmm._persistence import OtherVersionWarning
from skglmm._plan import show_plan
from skglmm._poisson import MixedPoissonRegressor
from skglmm._summary import Summary

__version__ = "0.1.0.dev0"

__all__ = [
    "GroupEffectEncoder",
    "MixedBinomialRegressor",
    "MixedLinearRegressor",
    "MixedLogisticRegressor",
    "MixedPoissonRegressor",
    "NetworkPart",
    "OtherVersionWarning",
    "RegressorPart",
    "Summary",
    "__version__",
    "show_plan",
]
