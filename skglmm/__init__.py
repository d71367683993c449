"""Mixed-effects models as scikit-learn estimators."""

from skglmm._binomial import MixedBinomialRegressor
from skglmm._encoder import GroupEffectEncoder
from skglmm._fitted.persistence import OtherVersionWarning
from skglmm._fitted.summary import Summary
from skglmm._fixed.parts import NetworkPart, RegressorPart
from skglmm._generalized import MixedGeneralizedRegressor
from skglmm._linear import MixedLinearRegressor
from skglmm._logistic import MixedLogisticRegressor
from skglmm._notation import from_formula
from skglmm._ordinal import MixedOrdinalClassifier
from skglmm._poisson import MixedPoissonRegressor
from skglmm._problem.show_plan import show_plan
from skglmm._version import __version__

__all__ = [
    "GroupEffectEncoder",
    "MixedBinomialRegressor",
    "MixedGeneralizedRegressor",
    "MixedLinearRegressor",
    "MixedLogisticRegressor",
    "MixedOrdinalClassifier",
    "MixedPoissonRegressor",
    "NetworkPart",
    "OtherVersionWarning",
    "RegressorPart",
    "Summary",
    "__version__",
    "from_formula",
    "show_plan",
]
