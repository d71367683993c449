"""What classes share is described in the same words, or differs for a reason."""

import inspect
import re

import pytest

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedOrdinalClassifier,
    MixedPoissonRegressor,
)
from skglmm.solvers import MCEM, VI, BaseSolver, Laplace, MacKay

MODELS = [
    MixedLinearRegressor,
    MixedPoissonRegressor,
    MixedLogisticRegressor,
    MixedBinomialRegressor,
    MixedGeneralizedRegressor,
    MixedOrdinalClassifier,
]
SOLVERS = [VI, Laplace, MacKay, MCEM, BaseSolver]

# Whose text is another one, and why.
LINEAR = {
    "solver": "the likelihood is exact with all solvers",
    "fixed_effects_": "the errors take the variances as known",
    "random_effects_": "modes are means",
    "variance_components_": "there is a residual",
    "log_likelihood_": "it may be restricted",
    "log_likelihood_method_": "nothing is approximated",
    "elbo_": "it is the log-likelihood",
    "history_": "there is no bound, and a constant is left out",
}
CLASSIFIER = {
    "coef_": "classifiers of scikit-learn have a row a class",
    "fixed_effects_": "more than two classes have a row each",
    "intercept_": "as coef_",
}
ORDINAL = {"intercept_": "there are thresholds"}
ENCODER = {
    "groups": "they are encoded, and may come from the estimator",
    "handle_unknown": "a label may be missing as well",
    "random_state": "it shuffles",
    "classes_": "the target may be a number",
}
OF_SOLVERS = {
    "n_quadrature": "nodes of a row's mean, or of a level's integral",
    "max_iter": "what is counted: evaluations, or expectations",
    "tol": "what is left over is known in another measure each time",
}
OF_METHODS = {
    "y": "what the values are",
    "level": "effects are added, or their distribution is used",
    "of": "a class has no interval",
}


def described(text, section):
    """Type and description, by name, of what a section of a numpydoc text lists."""
    found = re.search(
        rf"^{section}\n-+\n(.*?)(?=\n\n\S[^\n]*\n-+\n|\Z)",
        inspect.cleandoc(text or ""),
        flags=re.DOTALL | re.MULTILINE,
    )
    entries = re.findall(
        r"^(\S[^\n]*)((?:\n(?: [^\n]*)?)*)", found[1] if found else "", re.MULTILINE
    )
    listed = [(*head.partition(" : ")[::2], body) for head, body in entries]
    return {name: (kind, " ".join(body.split())) for name, kind, body in listed}


def of_class(cls):
    listed = described(cls.__doc__, "Parameters")
    return listed | described(cls.__doc__, "Attributes")


def different(first, second):
    return {name for name in first.keys() & second if first[name] != second[name]}


@pytest.mark.parametrize(
    ("cls", "other", "reasons"),
    [
        (MixedPoissonRegressor, MixedLinearRegressor, LINEAR),
        (MixedPoissonRegressor, MixedLogisticRegressor, CLASSIFIER),
        (MixedPoissonRegressor, MixedBinomialRegressor, {}),
        (MixedPoissonRegressor, MixedGeneralizedRegressor, {}),
        (MixedPoissonRegressor, MixedOrdinalClassifier, ORDINAL),
        (MixedLogisticRegressor, GroupEffectEncoder, ENCODER),
    ],
)
def test_models_share_their_words(cls, other, reasons):
    shared = of_class(cls).keys() & of_class(other)
    assert len(shared) > 4
    assert different(of_class(cls), of_class(other)) == set(reasons)


def test_solvers_share_their_words():
    texts = [of_class(cls) for cls in SOLVERS]
    assert all({"max_iter", "tol", "device"} <= set(text) for text in texts)
    found = {name for a in texts for b in texts for name in different(a, b)}
    assert found == set(OF_SOLVERS)


def test_methods_of_one_name_share_their_words():
    found, names = set(), {name for cls in MODELS for name in vars(cls)}
    assert {"predict", "score"} <= names
    for name in names:
        texts = [
            described(getattr(cls, name).__doc__, "Parameters")
            for cls in MODELS
            if inspect.isfunction(getattr(cls, name, None))
        ]
        found |= {entry for a in texts for b in texts for entry in different(a, b)}
    assert found == set(OF_METHODS)


def test_every_parameter_is_described():
    for cls in [*MODELS, GroupEffectEncoder, *SOLVERS]:
        names = set(inspect.signature(cls).parameters)
        assert set(described(cls.__doc__, "Parameters")) == names, cls
