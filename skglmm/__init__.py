"""Mixed-effects models as scikit-learn estimators."""

from skglmm._linear import MixedLinearRegressor

__version__ = "0.1.0.dev0"

__all__ = ["MixedLinearRegressor", "__version__"]
