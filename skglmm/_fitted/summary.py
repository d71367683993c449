"""What a fitted model says of itself: text, HTML and frames."""

import textwrap
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skglmm._covariances import COVARIANCES
from skglmm._fitted.state import family_of

_DIGITS = 4
_WIDEST = 10
_FAR = 1e6
_ROWS_IN_NOTEBOOK = 20
_TESTS = ["estimate", "std_error", "df", "statistic", "p_value"]
_OF_REML = "(REML: to be compared between models of the same fixed columns only)"
# What is written of a p-value below it.
_LEAST_P = 1e-4


class SummaryMixin:
    """A fitted model's `summary`, and its components in a notebook."""

    def summary(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        df: str = "satterthwaite",
    ) -> "Summary":
        r"""Estimates, likelihood and shares of variance at a glance.

        A model does not keep its rows. Handed over, they make tests of the fixed
        effects (`skglmm.inference.coefficients`).

        Parameters
        ----------
        X : dataframe or array-like of shape (n_samples, n_features), default=None
            Columns of the fit.
        y : array-like of shape (n_samples,), default=None
            Target values of the fit.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the fit.
        groups : array-like or dataframe of shape (n_samples, n_factors), default=None
            Group labels, for a model that was fitted with ``fit(groups=)``.
        df : {"satterthwaite", "kenward-roger", "normal"}, default="satterthwaite"
            Degrees of freedom of the tests, and with ``"kenward-roger"`` their errors.

        Returns
        -------
        summary : Summary
            Prints as text, shows as tables in a notebook, and holds the numbers:

            ``to_frame()``
                The fixed effects: ``estimate``, ``std_error`` and ``z_value``; with X
                and y ``df``, ``statistic`` and ``p_value`` in the place of the last.
            ``variance_components``, ``family_parameters``
                As `variance_components_` and, where there is one, `family_parameters_`.
            ``variance_partition``
                Series: the variances of the linear predictor that belong to the fixed
                effects and to each factor, and the residual one.
            ``icc``, ``r2_marginal``, ``r2_conditional``
                Intraclass correlation and shares of explained variance, as
                `Summary` defines them.
            ``log_likelihood``, ``aic``, ``bic``, ``n_rows``, ``n_levels``, ``notes``
                What else is printed.

        Raises
        ------
        NotFittedError
            If the model has not been fitted.
        ValueError
            If one of X and y is missing, or if they are not the rows of the fit.

        Examples
        --------
        >>> from skglmm import MixedLinearRegressor
        >>> from skglmm.datasets import load_dyestuff
        >>> X, y = load_dyestuff(return_X_y=True, as_frame=True)
        >>> model = MixedLinearRegressor(groups="Batch").fit(X, y)
        >>> print(f"{model.summary().icc:.3f}")
        0.418
        >>> model.summary(X, y).to_frame().round(2)
                   estimate  std_error   df  statistic  p_value
        Intercept    1527.5      19.38  5.0       78.8      0.0
        """
        check_is_fitted(self)
        if (X is None) != (y is None):
            raise ValueError(
                "summary needs both X and y for tests of the fixed effects, or neither."
            )
        tests = None
        if X is not None:
            # what only tests need is not loaded to print estimates
            from skglmm.inference import coefficients

            about = {"sample_weight": sample_weight, "groups": groups}
            tests = coefficients(self, X, y, **about, df=df)
        return self._summarized(tests)

    def _summarized(self, tests=None):
        family = family_of(self)
        return Summary(
            estimator=type(self).__name__,
            family=family.words or family.name,
            link=family.link or "unnamed",
            solver=type(self.solver_).__name__,
            log_likelihood=self.log_likelihood_,
            log_likelihood_method=self.log_likelihood_method_,
            aic=self.aic_,
            bic=self.bic_,
            n_rows=self._fitted.facts.n_rows,
            n_levels=self._n_levels(),
            fixed_effects=(
                _with_z_value(self.fixed_effects_) if tests is None else tests[_TESTS]
            ),
            family_parameters=getattr(self, "family_parameters_", None),
            variance_components=self.variance_components_,
            variance_partition=self._variance_partition(),
            overdispersion=self._overdispersion(),
            notes=tuple(self._notes()),
            target=_target(self),
            uncorrelated=tuple(
                t.name
                for t in self._fitted.terms
                if COVARIANCES[t.covariance].independent
            ),
        )

    def _n_levels(self):
        return {t.name: len(self.random_effects_[t.name]) for t in self._fitted.terms}

    def _variance_partition(self):
        facts = self._fitted.facts
        family, noise = family_of(self), getattr(self, "noise_variance_", None)
        if noise is not None:
            noise *= facts.unit_precision
        last, residual = (
            family.residual,
            family.latent_variance(facts.mean_response, noise),
        )
        return pd.Series(
            [facts.fixed_variance, *facts.random_variances, float(residual)],
            index=["fixed effects", *(term.name for term in self._fitted.terms), last],
            name="variance",
        )

    def _overdispersion(self):
        if family_of(self).is_linear:
            return ()
        n_rows = self._fitted.facts.n_rows
        return tuple(name for name, n in self._n_levels().items() if n >= n_rows)

    def _notes(self):
        facts = self._fitted.facts
        if facts.hopeless is not None:
            yield f"The likelihood has no maximum: {facts.hopeless}."
        elif facts.outcome:
            yield f"Not converged: {facts.outcome}."
        if facts.separated and facts.hopeless is None:
            yield (
                f"Outcomes separated by {_listed(facts.separated)}: the estimate is "
                "as large as it had to be."
            )
        for name in facts.singular:
            zero = not np.any(np.diag(self.random_effects_covariance_[name]) > 0)
            what = "Variance" if zero else "Covariance"
            yield f"{what} of {name!r} estimated as {'zero' if zero else 'singular'}."
        for name in self._overdispersion():
            yield f"{name!r} has one level a row: its variance counts as residual."
        frame = self.fixed_effects_
        aliased = frame["std_error"].isna() & (frame["estimate"] == 0.0)
        if aliased.any():
            columns = _listed(frame.index[aliased])
            yield f"Set to 0, constant or dependent on the columns before: {columns}."

    def _components_html(self):
        if not hasattr(self, "_fitted"):
            return ""
        summary = self.summary()
        blocks = [summary._random_block(), summary._fixed_block(_ROWS_IN_NOTEBOOK)]
        if summary.family_parameters is not None:
            blocks.append(summary._parameters_block())
        tables = "".join(block.html() for block in blocks) + _notes_html(summary.notes)
        return (
            '<details open class="skglmm-components">'
            f"<summary>Fitted components</summary>{tables}</details>"
        )

    def _with_components(self, page):
        before, end, after = page.rpartition("</body>")
        if not end:
            return page + self._components_html()
        return before + self._components_html() + end + after

    def _repr_html_inner(self):
        return self._with_components(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._with_components(bundle["text/html"])
        return bundle


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    r"""Numbers of a fitted model, laid out for reading.

    It is made by the ``summary`` method of a fitted model. It prints as text and shows
    as tables in a notebook.

    Attributes
    ----------
    estimator, solver : str
        Names of the classes.
    family, link : str
        Distribution of the response and link of its mean.
    log_likelihood, aic, bic : float
        Of the marginal likelihood.
    log_likelihood_method : str
        How it was computed.
    n_rows : float
        Rows that were fitted; with weights, their sum.
    n_levels : dict
        For each factor its number of levels.
    fixed_effects : DataFrame
        ``estimate``, ``std_error`` and their ratio ``z_value``; or, of a summary with
        tests, ``df``, ``statistic`` and ``p_value`` in its place.
    variance_components : DataFrame
        Variances, standard deviations and correlations by (group, effect).
    variance_partition : Series
        Variance of the linear predictor by fixed effects and each factor; last that of
        the residual or of the distribution.
    overdispersion : tuple
        Factors with one level a row, which count as residual.
    notes : tuple of str
        What is to be known about the estimates: not converged, singular, separated.
    target : str or None
        What is modelled, for a classifier.
    uncorrelated : tuple
        Factors whose effects are uncorrelated by assumption.
    family_parameters : DataFrame or None
        ``estimate`` and ``std_error`` of the thresholds between ordered classes, or of
        the parameters of the family.

    Notes
    -----
    With :math:`\sigma_f^2` the variance of :math:`x_i^\top\beta` over the rows (a
    row of several trials counts once),
    :math:`\sigma_r^2 = \operatorname{tr}(Z_r \Sigma_r Z_r^\top) / n` the mean
    variance of a factor's effects [1]_ and
    :math:`\sigma_\varepsilon^2` the residual variance,

    .. math::

        R^2_\text{marginal} &= \sigma_f^2 /
            (\sigma_f^2 + \sum_r \sigma_r^2 + \sigma_\varepsilon^2), \\
        R^2_\text{conditional} &= (\sigma_f^2 + \sum_r \sigma_r^2) /
            (\sigma_f^2 + \sum_r \sigma_r^2 + \sigma_\varepsilon^2), \\
        \text{ICC} &= \sum_r \sigma_r^2 /
            (\sum_r \sigma_r^2 + \sigma_\varepsilon^2).

    For counts and proportions, :math:`\sigma_\varepsilon^2` is that of the
    distribution on the scale of the linear predictor [2]_:
    :math:`\log(1 + 1/\lambda)` with the log link, where :math:`\lambda` is the mean
    of the counts, and :math:`\pi^2/3` with the logit link. A factor with one level
    a row describes overdispersion; its variance counts as residual. Offsets belong
    to neither side. Without groups the ICC is NaN.

    References
    ----------
    .. [1] Johnson, P. C. D. (2014). Extension of Nakagawa and Schielzeth's R2 GLMM
       to random slopes models. Methods in Ecology and Evolution 5, 944-946.
    .. [2] Nakagawa, S., Johnson, P. C. D. and Schielzeth, H. (2017). The
       coefficient of determination R2 and intra-class correlation coefficient from
       generalized linear mixed-effects models revisited and expanded. Journal of
       the Royal Society Interface 14, 20170213.

    Examples
    --------
    >>> from skglmm import MixedLinearRegressor
    >>> from skglmm.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True, as_frame=True)
    >>> model = MixedLinearRegressor(groups="Subject", random_slopes=["Days"])
    >>> summary = model.fit(X, y).summary()
    >>> print(f"{summary.r2_marginal:.3f} {summary.r2_conditional:.3f}")
    0.279 0.799
    """

    estimator: str
    family: str
    link: str
    solver: str
    log_likelihood: float
    log_likelihood_method: str
    aic: float
    bic: float
    n_rows: float
    n_levels: dict
    fixed_effects: pd.DataFrame
    variance_components: pd.DataFrame
    variance_partition: pd.Series
    overdispersion: tuple = ()
    notes: tuple = ()
    target: str | None = None
    uncorrelated: tuple = ()
    family_parameters: pd.DataFrame | None = None

    @property
    def icc(self) -> float:
        """Intraclass correlation: the factors' share of all but the fixed variance.

        With intercepts alone it is the correlation of two rows whose levels agree in
        every factor, given the fixed columns. NaN without groups.
        """
        fixed, random, residual = self._variances()
        return _share(random, random + residual) if self.n_levels else np.nan

    @property
    def r2_marginal(self) -> float:
        """Share of the variance that the fixed effects explain."""
        fixed, random, residual = self._variances()
        return _share(fixed, fixed + random + residual)

    @property
    def r2_conditional(self) -> float:
        """Share of the variance that fixed and random effects explain together."""
        fixed, random, residual = self._variances()
        return _share(fixed + random, fixed + random + residual)

    def to_frame(self) -> pd.DataFrame:
        """Fixed effects as a table.

        Returns
        -------
        fixed_effects : DataFrame
            Columns ``estimate``, ``std_error`` and ``z_value``; with tests
            ``estimate``, ``std_error``, ``df``, ``statistic`` and ``p_value``.
        """
        return self.fixed_effects.copy()

    def __str__(self):
        head = "\n".join(self._head())
        blocks = "\n\n".join(block.text() for block in self._blocks())
        notes = "".join(f"\n{note}" for note in self.notes)
        return f"{head}\n\n{blocks}" + (f"\n{notes}" if notes else "")

    __repr__ = __str__

    def _repr_html_(self):
        head = "<br>".join(map(escape, self._head()))
        tables = "".join(block.html() for block in self._blocks())
        return f"<div><p>{head}</p>{tables}{_notes_html(self.notes)}</div>"

    def _variances(self):
        """Variances of the fixed part, of the random one and the residual."""
        fixed, *random, residual = self.variance_partition
        over = [name in self.overdispersion for name in self.n_levels]
        pairs = list(zip(random, over, strict=True))
        residual += sum(value for value, aside in pairs if aside)
        return fixed, sum(value for value, aside in pairs if not aside), residual

    def _head(self):
        yield f"{self.estimator}: {self.family} response, {self.link} link"
        if self.target is not None:
            yield f"Modelled: {self.target}"
        method = self.log_likelihood_method
        method = {"restricted": "restricted (REML)"}.get(method, method)
        yield f"Solver: {self.solver}; likelihood: {method}"

    def _blocks(self):
        restricted = self.log_likelihood_method == "restricted"
        yield _Block(
            None,
            ["AIC", "BIC", "log-likelihood"],
            [[f"{value:.2f}" for value in (self.aic, self.bic, self.log_likelihood)]],
            foot=_OF_REML if restricted else None,
        )
        yield self._random_block()
        yield self._fixed_block()
        if self.family_parameters is not None:
            yield self._parameters_block()
        shares = {"ICC": self.icc} if self.n_levels else {}
        shares["R2 marginal"] = self.r2_marginal
        shares["R2 conditional"] = self.r2_conditional
        cells = [f"{share:.3f}" for share in shares.values()]
        yield _Block("Shares of variance:", list(shares), [cells])

    def _random_block(self):
        frame = self.variance_components
        cells = [_aligned(frame[name].to_numpy()) for name in ("variance", "std")]
        correlations = frame.iloc[:, 2:].to_numpy()
        rows, previous, within, width = [], None, 0, 0
        for at, (group, effect) in enumerate(frame.index):
            new = previous is None or group != previous
            within, previous = 0 if new else within + 1, group
            shown = 0 if group in self.uncorrelated else within
            width = max(width, shown)
            row = [str(group) if new else "", str(effect), cells[0][at], cells[1][at]]
            rows.append(
                row + [f"{value + 0.0:.2f}" for value in correlations[at, :shown]]
            )
        header = ["Group", "Effect", "Variance", "Std.Dev."]
        header += ["Corr"] + [""] * (width - 1) if width else []
        counts = "; ".join(f"{name}, {n}" for name, n in self.n_levels.items())
        foot = f"Rows: {self.n_rows:.10g}" + (f"; levels: {counts}" if counts else "")
        if not rows:
            return _Block(f"No random effects. {foot}", [], [])
        rows = [row + [""] * (len(header) - len(row)) for row in rows]
        return _Block("Random effects:", header, rows, 2, foot)

    def _parameters_block(self):
        """Thresholds of ordered classes, or dispersions and the like."""
        frame = self.family_parameters
        names = [str(name).replace("_", " ") for name in frame.index]
        title = "Parameters of the family:"
        if self.family in ("ordered", "binary"):
            names, title = map(str, frame.index), "Thresholds:"
        columns = {"": names, **_estimate_cells(frame)}
        rows = map(list, zip(*columns.values(), strict=True))
        return _Block(title, list(columns), [*rows], 1)

    def _fixed_block(self, n_shown=None):
        frame = self.fixed_effects.iloc[:n_shown]
        if not len(frame):
            return _Block("No fixed effects.", [], [])
        columns = {
            "": map(str, frame.index),
            **_estimate_cells(frame),
            **_test_cells(frame),
        }
        more = len(self.fixed_effects) - len(frame)
        foot = f"and {more} more" if more else None
        rows = map(list, zip(*columns.values(), strict=True))
        return _Block("Fixed effects:", list(columns), [*rows], 1, foot)


@dataclass(frozen=True)
class _Block:
    """A table of text cells, with as many columns of labels before the numbers."""

    title: str | None
    header: list
    rows: list
    n_labels: int = 0
    foot: str | None = None

    def text(self):
        lines = [] if self.title is None else [self.title]
        rows = [self.header, *self.rows] if self.header else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [
                cell.ljust(width) if at < self.n_labels else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append((" " + "  ".join(cells)).rstrip())
        return "\n".join(lines if self.foot is None else [*lines, self.foot])

    def html(self):
        parts = [] if self.title is None else [f"<p>{escape(self.title)}</p>"]
        if self.header:
            head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
            body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
            parts.append(
                f'<table class="dataframe"><thead><tr>{head}</tr></thead>'
                f"<tbody>{body}</tbody></table>"
            )
        if self.foot is not None:
            parts.append(f"<p>{escape(self.foot)}</p>")
        return "".join(parts)

    def _cells(self, row):
        tags = ["th"] * self.n_labels + ["td"] * (len(row) - self.n_labels)
        return "".join(
            f"<{tag}>{escape(cell)}</{tag}>"
            for tag, cell in zip(tags, row, strict=True)
        )


def _estimate_cells(frame):
    """Columns of text of estimates and their errors."""
    estimate, error = frame[["estimate", "std_error"]].to_numpy().T
    scale = error if np.isfinite(error).any() else estimate
    return {"Estimate": _aligned(estimate, scale), "Std. Error": _aligned(error)}


def _test_cells(frame):
    """Columns of text behind the estimates and errors of fixed effects."""

    def ratios(values):
        return [f"{z:.3f}" if abs(z) < _FAR else f"{z:.{_DIGITS}g}" for z in values]

    if "p_value" not in frame:
        return {"z value": ratios(frame["z_value"])}
    least = f"<{_LEAST_P:.4f}"
    p_values = [least if p < _LEAST_P else f"{p:.4f}" for p in frame["p_value"]]
    if np.isfinite(frame["df"]).any():
        n_df = [f"{n:.1f}" for n in frame["df"]]
        return {
            "df": n_df,
            "t value": ratios(frame["statistic"]),
            "p value": p_values,
        }
    return {"z value": ratios(frame["statistic"]), "p value": p_values}


def _notes_html(notes):
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _aligned(values, scale=None):
    """Numbers of a column with common decimals: four digits of the smallest.

    `scale` are the numbers whose digits count, these by default. Where that would be
    too wide each number has four digits of its own.
    """
    scale = np.abs(values if scale is None else scale)
    scale = scale[np.isfinite(scale) & (scale > 0)]
    finite = np.abs(values[np.isfinite(values)])
    places = _DIGITS - 1
    if len(scale):
        places = max(places - int(np.floor(np.log10(np.min(scale)))), 0)
    largest = np.max(finite, initial=1.0)
    if places + np.log10(max(largest, 1.0)) + 1 > _WIDEST:
        return [f"{value:.{_DIGITS}g}" for value in values]
    return [f"{round(value, places) + 0.0:.{places}f}" for value in values]


def _share(part, whole):
    return float(part / whole) if whole > 0 else np.nan


def _listed(names):
    return ", ".join(repr(str(name)) for name in names)


def _with_z_value(fixed_effects):
    fixed_effects = fixed_effects.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = fixed_effects["estimate"] / fixed_effects["std_error"]
    return fixed_effects.assign(z_value=ratio)


def _target(model):
    """What a classifier gives the probability of."""
    if not hasattr(model, "classes_"):
        return None
    first, second, *more = (str(label) for label in model.classes_)
    if more and family_of(model).is_by_class:
        return f"probability of each class, beside that of {first!r}"
    if more:
        classes = textwrap.shorten(" < ".join([first, second, *more]), 60)
        return f"probability of a class above each threshold of {classes}"
    return f"probability of class {second!r} (the other is {first!r})"
