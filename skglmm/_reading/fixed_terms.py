"""Which coefficients belong together: those of one column, or of one term."""

from skglmm._reading.inputs import Inputs


def fixed_terms(inputs: Inputs) -> dict[str, list[int]]:
    """Coefficients by the column that they are of.

    Parameters
    ----------
    inputs : Inputs

    Returns
    -------
    terms : dict of list of int
        Positions among the coefficients, the intercept left out, by the name of a
        column, in its order; a column of categories has those of all its dummies.
    """
    owner = {
        place: column.name
        for column in inputs.categories.columns
        for place in column.positions
    }
    found: dict[str, list[int]] = {}
    for k, (at, name) in enumerate(zip(inputs.fixed, inputs.names, strict=False)):
        found.setdefault(owner.get(at, name), []).append(k)
    return found
