"""What is private in scikit-learn and used here: any of its versions may change it.

Its private names are imported in this file alone. What estimators inherit and is called
or overridden by name cannot be gathered: ``_parameter_constraints`` (all estimators and
solvers), ``_validate_params`` (`_base`), ``_repr_html_inner`` (`_fitted.summary`),
``_metadata_request`` (`_fitted.persistence`), ``_skl_callbacks`` and
``_init_callback_context`` (`_progress`).
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_feature_names_in",
    "check_sample_weight",
    "fit_context",
    "safe_indexing",
    "validate_params",
]
