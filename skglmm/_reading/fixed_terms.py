"""Which coefficients belong together: those of one column."""

from skglmm._reading.inputs import Inputs


def fixed_terms(inputs: Inputs) -> dict[str, list[int]]:
    """Coefficients of each column of the fixed part, or of each term of its formula.

    Parameters
    ----------
    inputs : Inputs

    Returns
    -------
    terms : dict of list of int
        By the name of the column or of the term, in the order of the coefficients:
        positions among the coefficients without the intercept. A column of text has all
        its dummies. Empty if the fixed part has no coefficients.

    Examples
    --------
    >>> import pandas as pd
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm._reading.fixed_terms import fixed_terms
    >>> from skglmm._reading.table import Table
    >>> visits = pd.DataFrame({"days": [1, 2, 5], "region": ["a", "b", "c"]})
    >>> model = MixedLinearRegressor()
    >>> fixed_terms(model._read(Table(visits), [1, 2, 3], None, None, None))
    {'days': [0], 'region': [1, 2]}
    """
    if inputs.formula is not None:
        return {name: list(at) for name, at in (inputs.formula.terms or {}).items()}
    owner = {at: c.name for c in inputs.categories.columns for at in c.positions}
    terms: dict[str, list[int]] = {}
    for place, name in enumerate(inputs.names):
        terms.setdefault(owner.get(inputs.fixed[place], name), []).append(place)
    return terms
