"""What a model keeps of its fit beside the attributes that users read."""

from dataclasses import dataclass, field

import numpy as np

from skglmm._families import Family
from skglmm._fixed.fitted_part import FittedPart
from skglmm._reading.categories import Categories
from skglmm._reading.features import arranged
from skglmm._reading.formula import FormulaColumns
from skglmm._reading.roles import places
from skglmm._reading.table import Table
from skglmm._reading.terms import Term


@dataclass(frozen=True)
class Facts:
    """What a summary tells and the estimates do not; no size of the rows.

    Parameters
    ----------
    n_rows : float
        Sum of the weights.
    mean_response : float
    fixed_variance : float
        Variance over rows of the fixed part.
    random_variances : tuple of float
        Mean over rows of the variance of z'b, by term.
    outcome : str
        Why the fit did not converge; empty if it did.
    singular : tuple of str
        Terms whose covariance is singular.
    separated : tuple of str
        Columns that separate the outcomes.
    hopeless : str or None
        Why the likelihood has no maximum.
    unit_precision : float, default=1.0
        Times the residual variance: that of rows of mean precision.
    """

    n_rows: float
    mean_response: float
    fixed_variance: float
    random_variances: tuple[float, ...]
    outcome: str
    singular: tuple[str | int, ...]
    separated: tuple[str, ...]
    hopeless: str | None
    unit_precision: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """All that prediction, update, summary and files need beside public attributes.

    Parameters
    ----------
    terms : tuple of Term
    named : dict of int or tuple of int
        Positions of the columns with a role of their own, by parameter; several are
        added up.
    fixed_columns : tuple of int
        Positions of the columns with a coefficient in X with its dummies.
    from_metadata : bool
        Whether the groups were given to `fit`.
    coef_covariance : ndarray of shape (p, p)
        Of the fixed effects, the intercept first if there is one.
    coef_half : ndarray of shape (1 + n_columns, rank)
        The errors of intercept and coefficients are this times independent standard
        normals.
    posteriors : dict of ndarray of shape (n_levels, q, q)
        Covariances of the effects given the data, by the name of the term.
    shifts : dict of ndarray of shape (n_levels, q, rank)
        Covariances of the effects with those standard normals.
    facts : Facts
    part : FittedPart or None
        The fixed part, where that is no linear one.
    column_model : tuple of ndarray or None
        Mean (p,) and covariance (p, p) of the fixed columns (``missing="model"``).
    properties : tuple of tuple, default=()
        Fixed columns that are properties of levels: position among these columns, name
        of the term, means and variances (n_levels,) of the property.
    parameters : ndarray of shape (n_own,) or None
        What the family has of its own, on the whole line.
    categories : Categories
        How columns that are no numbers become numbers.
    objective : ndarray of shape (n_steps,)
        At each step of the solver.
    path : ndarray of shape (n_kept, n_variances) or None
        Variances at the first steps, in the order of `variance_components_`, by solvers
        that keep them.
    by_name : bool
        Whether the user has named the columns of the fixed part.
    formula : FormulaColumns or None
        How a formula makes the fixed columns.
    fixed_terms : dict of list of int
        Which coefficients belong to each column, or term of the formula.
    """

    terms: tuple[Term, ...]
    named: dict[str, int | tuple[int, ...]]
    fixed_columns: tuple[int, ...]
    from_metadata: bool
    coef_covariance: np.ndarray
    coef_half: np.ndarray
    posteriors: dict[str | int, np.ndarray]
    shifts: dict[str | int, np.ndarray]
    facts: Facts
    part: FittedPart | None = None
    column_model: tuple[np.ndarray, np.ndarray] | None = None
    properties: tuple = ()
    parameters: np.ndarray | None = None
    categories: Categories = Categories()
    objective: np.ndarray | None = None
    path: np.ndarray | None = None
    by_name: bool = False
    formula: FormulaColumns | None = None
    fixed_terms: dict[str, list[int]] = field(default_factory=dict)

    def position(self, name: str | int) -> int:
        """Which of the terms has that name."""
        return [term.name for term in self.terms].index(name)

    def needed(self, n_columns: int, level: str = "conditional") -> set[int]:
        """Positions of the columns of X that predictions read.

        Parameters
        ----------
        n_columns : int
            Columns of X.
        level : {"conditional", "population"}, default="conditional"
            The labels are not needed for ``"population"``, and are no columns of X if
            they were given to `fit`.

        Returns
        -------
        positions : set of int
        """
        read = {at for term in self.terms for at in term.slopes}
        read |= set(self.fixed_columns) | set(places(self.named))
        read |= set(() if self.part is None else self.part.columns)
        read |= {column.at for column in self.categories.columns}
        read |= set(() if self.formula is None else self.formula.columns.values())
        if level == "conditional" and not self.from_metadata:
            read |= {at for term in self.terms for at in term.columns}
        return {at for at in read if at < n_columns}


def fit_columns(model, X, table: Table, level: str = "conditional") -> Table:
    """Rows with the columns of fit at their positions; see `arranged`."""
    fitted, known = model._fitted, list(getattr(model, "feature_names_in_", ()))
    needed = fitted.needed(model.n_features_in_, level)
    labels = needed - fitted.needed(model.n_features_in_, "population")
    for at in sorted(labels) if known and table.names is not None else ():
        if known[at] not in table.names:
            raise ValueError(
                f"X has no column {known[at]!r}, which holds groups: add it (None is a "
                "group that is not known), or predict with level='population'."
            )
    return arranged(model, X, table, needed, model._fitted.by_name)


def family_of(model) -> Family:
    """The family of a fitted model, with what was estimated of its own."""
    return model._distribution().given(model._fitted.parameters)


def check_one_predictor(model, what: str) -> None:
    """Refuse a model with a linear predictor for each of several classes.

    Parameters
    ----------
    model : object
        Fitted.
    what : str
        What asks for one.
    """
    if family_of(model).is_by_class:
        raise ValueError(
            f"{what} is for models with one linear predictor, and this one has one for "
            f"each of its {len(model.classes_)} classes but the first: read "
            "fixed_effects_, variance_components_ and predict_interval, or fit a model "
            "of two classes."
        )
