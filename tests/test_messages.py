"""The voice of errors and warnings: what was found, where, and what to do.

Each entry is a trap that users fall into, and every word of the answer.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skglmm import (
    GroupEffectEncoder,
    MixedBinomialRegressor,
    MixedLinearRegressor,
    MixedLogisticRegressor,
    MixedPoissonRegressor,
)
from skglmm.datasets import load_sleepstudy, make_mixed_regression
from skglmm.inference import confidence_intervals
from skglmm.solvers import MCEM, VI, Laplace, MacKay

N = 60
X = pd.DataFrame(
    {
        "x": np.sin(np.arange(N)),
        "w": np.cos(np.arange(N)),
        "g": np.arange(N) % 6,
        "h": np.arange(N) % 5,
    }
)
COUNTS = np.arange(N) % 4
CLASSES = np.arange(N) % 7 % 2
TARGET = 2.0 * X["x"] + 3.0 * (X["g"] - 2.5) + np.random.default_rng(0).normal(size=N)


def put(column, row, value):
    """X with one other value, and perhaps a column of fives with one other value."""
    changed = X.assign(n=5.0)[column].astype(object)
    changed.iloc[row] = value
    return X.assign(**{column: changed})


def linear(*args, **parameters):
    return MixedLinearRegressor(*args, **parameters)


def counts(*args, **parameters):
    return MixedPoissonRegressor(*args, **parameters)


def known():
    """A model that was fitted."""
    return linear("g").fit(X, TARGET)


def apart():
    """A model whose two factors came beside X."""
    return linear().fit(X[["x"]], TARGET, groups=X[["g", "h"]])


ERRORS = {
    "a column that X does not have": (
        lambda: linear("G").fit(X, TARGET),
        "groups: 'G' is not a column of X; columns are ['x', 'w', 'g', 'h']. Did "
        "you mean 'g'?",
    ),
    "a name, and X is an array": (
        lambda: linear("g").fit(X.to_numpy(), TARGET),
        "groups: 'g' is a column name, but X is an array: give the position of the "
        "column (0 to 3, negative from the end), or pass a dataframe whose column "
        "names are all strings.",
    ),
    "a position beyond the last": (
        lambda: linear(4).fit(X, TARGET),
        "groups: position 4 is out of range, X has 4 columns: positions go from 0 to "
        "3, or from -4 to -1.",
    ),
    "a column in two roles": (
        lambda: linear("g", offset="g").fit(X, TARGET),
        "offset='g' names a column that already has another role (group, slope, "
        "offset, precision, exposure or trials): name another column, or add a copy of "
        "this one to X.",
    ),
    "groups named twice": (
        lambda: linear("g").fit(X, TARGET, groups=X["h"]),
        "The groups are named twice: in the constructor (groups='g') and in the call "
        "(groups=). Use one of them.",
    ),
    "a column named for its labels": (
        lambda: linear().fit(X, TARGET, groups="g"),
        "fit(groups=) takes one label for each row, got 'g': to name a column of X, "
        "write groups='g' in the constructor.",
    ),
    "labels for other rows": (
        lambda: linear().fit(X[["x"]], TARGET, groups=X["g"][:50]),
        "groups has 50 rows, but X has 60: give one label for each row of X.",
    ),
    "rows to predict without their groups": (
        lambda: known().predict(X[["x", "w", "h"]]),
        "X has no column 'g', which holds groups: add it (None is a group that is not "
        "known), or predict with level='population'.",
    ),
    "random effects in the formula of the fixed part": (
        lambda: linear("g", fixed_effects="x + (1 | h)").fit(X, TARGET),
        "fixed_effects: the formula 'x + (1 | h)': Operator `|` is incorrectly used. "
        "x + (1 >>|<< h); random effects are what groups and random_slopes ask for "
        "(skglmm.from_formula reads them).",
    ),
    "an interval of a column": (
        lambda: confidence_intervals(
            linear("g", fixed_effects=["x"]).fit(X, TARGET), X, TARGET, parameters="x"
        ),
        "parameters= names 'x', and the model has no such parameter. It has ('fixed', "
        "'Intercept'), ('fixed', 'x'), ('g', 'Intercept'), ('residual', ''); a group "
        "alone stands for all of its parameters. Did you mean ('fixed', 'x')?",
    ),
    "labels in the constructor": (
        lambda: linear(X["g"]).fit(X, TARGET),
        "groups names columns of X in the constructor, got labels of type Series: name "
        "their column, such as groups='site', or pass them to fit(groups=).",
    ),
    "a formula for the groups": (
        lambda: linear("g + h").fit(X, TARGET),
        "groups: 'g + h' is not a column of X; columns are ['x', 'w', 'g', 'h']. "
        "Several factors are a list, such as ['g', 'h'], and one of combinations is a "
        "tuple, ('g', 'h'); skglmm.from_formula reads formulas.",
    ),
    "a formula in the list of columns": (
        lambda: linear("g", fixed_effects=["x:w"]).fit(X, TARGET),
        "fixed_effects: 'x:w' is not a column of X; columns are ['x', 'w', 'g', 'h']. "
        "A formula is a text of its own, and no element of a list.",
    ),
    "slopes without groups": (
        lambda: linear(random_slopes=["x"]).fit(X, TARGET),
        "random_slopes needs a grouping factor: name one in groups, or pass the "
        "labels to fit(groups=).",
    ),
    "slopes of several factors as a list": (
        lambda: linear(["g", "h"], random_slopes=["x"]).fit(X, TARGET),
        "random_slopes is a list, but there are 2 factors: write a dict that says "
        "which factor has them, such as {'g': ['x']}.",
    ),
    "a slope on a group column": (
        lambda: linear("g", random_slopes=["g"]).fit(X, TARGET),
        "random_slopes: column 'g' holds labels of the factor 'g' and is the same in "
        "all rows of a level: take it out of random_slopes, or make it a slope of "
        "another factor.",
    ),
    "a factor without effects": (
        lambda: linear("g", random_intercepts=False).fit(X, TARGET),
        "The factor 'g' has neither a random intercept nor random slopes: give it one "
        "of them, or take it out of groups.",
    ),
    "a covariance that does not exist": (
        lambda: linear("g", covariance={"g": "diagonal"}).fit(X, TARGET),
        "covariance['g'] must be one of ['full', 'diag', 'scalar'], got 'diagonal'. "
        "Did you mean 'diag'?",
    ),
    "text": (
        lambda: linear("g").fit(put("x", 7, "a lot"), TARGET),
        "The column 'x' holds text ('a lot' in row 7): encode it as numbers, or name "
        "it in groups if it holds the levels of a grouping factor.",
    ),
    "complex numbers": (
        lambda: linear("g").fit(X.assign(x=1j), TARGET),
        "Complex data not supported: the column 'x' holds complex numbers. Give real "
        "and imaginary parts as two columns.",
    ),
    "a missing label": (
        lambda: linear("g").fit(put("g", [3, 9], None), TARGET),
        "The factor 'g' has 2 missing labels (None, NaN, NaT or NA), in rows 3, 9: "
        "drop such rows, or give them a label of their own, such as 'unknown'.",
    ),
    "a gap in a fixed column": (
        lambda: linear("g").fit(put("x", [3, 9], None), TARGET),
        "Input X contains NaN.\nFound in column 'x' (NaN or missing in 2 of 60 rows, "
        "the first is row 3). Drop these rows, or fill them in beforehand, for example "
        "with sklearn.impute.SimpleImputer in a pipeline. Or fit with missing='model', "
        "which takes them as further unknowns.",
    ),
    "a group column that is an index": (
        lambda: linear("g").fit(X.set_index("g"), TARGET),
        "groups: 'g' is no column of X but a level of its index: make it a column with "
        "X.reset_index().",
    ),
    "durations": (
        lambda: linear("g").fit(X.assign(x=pd.to_timedelta(X["g"], unit="D")), TARGET),
        "The column 'x' holds durations (Timedelta('0 days 00:00:00') in row 0): "
        "encode them as numbers, for example hours, by dividing them by "
        "pd.Timedelta('1h'); or name it in groups if it holds the levels of a grouping "
        "factor.",
    ),
    "periods": (
        lambda: linear("g").fit(
            X.assign(x=pd.period_range("2020-01", periods=N, freq="M")), TARGET
        ),
        "The column 'x' holds periods (Period('2020-01', 'M') in row 0): encode them "
        "as numbers, for example days since the first, after .dt.to_timestamp(); or "
        "name it in groups if it holds the levels of a grouping factor.",
    ),
    "a target of durations": (
        lambda: linear("g").fit(X, pd.to_timedelta(X["g"], unit="D")),
        "y holds durations (datetime.timedelta(0) in row 0): encode them as numbers, "
        "for example hours, by dividing them by pd.Timedelta('1h').",
    ),
    "a target of yes and no": (
        lambda: linear("g").fit(X, np.where(TARGET > 0, "yes", "no")),
        "y holds text ('no' in row 0), and MixedLinearRegressor needs numbers: for two "
        "classes such as ['no', 'yes'] use MixedLogisticRegressor, which takes them as "
        "they are.",
    ),
    "a class that is missing": (
        lambda: MixedLogisticRegressor("g").fit(
            X, pd.Series(np.where(CLASSES, "a", "b"), dtype=object).mask(X.index == 4)
        ),
        "y has a missing class (None, NaN, NaT or NA), in row 4: drop such rows.",
    ),
    "classes of two types": (
        lambda: MixedLogisticRegressor("g").fit(X, ["a", 1] * 30),
        "y mixes classes of several types ('a' in row 0, 1 in row 1): give classes of "
        "one type.",
    ),
    "weights of text": (
        lambda: linear("g").fit(X, TARGET, ["heavy"] * N),
        "sample_weight holds text ('heavy' in row 0): weights are frequencies, numbers "
        "such as 2 for a row that stands for two.",
    ),
    "weights that sum to one": (
        lambda: linear("g").fit(X, TARGET, np.full(N, 1 / N)),
        "sample_weight sums to 1 for 60 rows, and weights are frequencies: 2 stands "
        "for two rows. Scale them so that they sum to the number of rows that were "
        "observed. The factor 'g' has as many levels (6) as there are rows (1): its "
        "variance cannot be told from the residual variance. Use a coarser grouping or "
        "more rows.",
    ),
    "a target too small for squares": (
        lambda: linear("g").fit(X, 1e-170 * np.ones(N)),
        "y has values of the size of 1e-170, whose squares no number of 64 bits holds: "
        "give it in another unit.",
    ),
    "one level": (
        lambda: linear("g").fit(X.assign(g=np.float64(0)), TARGET),
        "The factor 'g' has one level (0.0): its variance cannot be estimated. Leave "
        "it out of groups.",
    ),
    "one level a row": (
        lambda: linear("g").fit(X.assign(g=np.arange(N)), TARGET),
        "The factor 'g' has as many levels (60) as there are rows (60): its variance "
        "cannot be told from the residual variance. Use a coarser grouping or more "
        "rows.",
    ),
    "negative counts": (
        lambda: counts("g").fit(X, np.where(np.arange(N) == 7, -2, COUNTS)),
        "Negative values in y: row 7 holds -2. Counts are 0, 1, 2, ...: drop such "
        "rows, or use MixedLinearRegressor.",
    ),
    "no exposure": (
        lambda: counts("g", exposure="n").fit(put("n", 5, 0.0), COUNTS),
        "The exposure of row 5 is 0: exposures are positive (a count over no time or "
        "area says nothing; drop such rows).",
    ),
    "successes above trials": (
        lambda: MixedBinomialRegressor("g", trials="n").fit(put("n", 3, 2.0), COUNTS),
        "Row 3 has more successes than trials (y=3, trials=2): y counts the successes "
        "among the trials of the row, which the column named in trials= holds (1 "
        "without it).",
    ),
    "three classes by Monte Carlo": (
        lambda: MixedLogisticRegressor("g", solver="mcem").fit(X, np.arange(N) % 3),
        "solver='mcem' is for two classes, and y has more: use solver='vi' or "
        "'laplace' as they are by default, or keep two classes.",
    ),
    "three classes and missing values": (
        lambda: MixedLogisticRegressor("g", missing="model").fit(X, np.arange(N) % 3),
        "Only binary classification is supported. The type of the target is "
        "multiclass. y has 3 classes, and missing='model' goes with two only: leave "
        "it at its default, or keep two classes.",
    ),
    "one class": (
        lambda: MixedLogisticRegressor("g").fit(X, np.zeros(N)),
        "y holds one class only (0.0) in the rows with a positive weight: give rows "
        "of two classes.",
    ),
    "a parameter of a solver that is a name": (
        lambda: linear("g").set_params(solver__tol=1e-6),
        "solver__tol cannot be set, because solver='vi' is a name and has no "
        "parameters: write solver=VI(), from skglmm.solvers.",
    ),
    "quadrature with two factors": (
        lambda: counts(["g", "h"], solver=Laplace(n_quadrature=9)).fit(X, COUNTS),
        "n_quadrature > 1 needs one grouping factor with at most 3 effects a level, "
        "and this model has 2 grouping factors. Use solver='vi', or n_quadrature=1.",
    ),
    "a sampler for other models": (
        lambda: linear("g", solver=MCEM(sampler="hmc")).fit(X, TARGET),
        "sampler='hmc' is for counts and binary outcomes: the posterior of a linear "
        "model is drawn from exactly. Use sampler='auto'.",
    ),
    "half of what is known": (
        lambda: linear("g", solver=MacKay(noise_variance=1.0)).fit(X, TARGET),
        "noise_variance was given without covariances: give both, or neither to have "
        "them estimated.",
    ),
    "a matrix that is no covariance": (
        lambda: linear(
            "g",
            random_slopes=["x"],
            solver=MacKay(covariances={"g": [[1, 2], [2, 1]]}, noise_variance=1.0),
        ).fit(X, TARGET),
        "The covariance of 'g' is not symmetric and positive semi-definite "
        "(eigenvalues from -1 to 3): no effects can have it. Correct covariances.",
    ),
    "a level of prediction that does not exist": (
        lambda: known().predict(X, level="group"),
        "level must be 'conditional' or 'population', got 'group'.",
    ),
    "labels for a model that reads them from X": (
        lambda: known().predict(X, groups=X["g"]),
        "groups= was given to a model that reads its groups from X (groups='g' in the "
        "constructor): leave it out.",
    ),
    "no labels for a model that had them beside X": (
        lambda: apart().predict(X[["x"]]),
        "This model was fitted with fit(groups=...): pass groups= here as well, or "
        "level='population'. Scorers and cross-validation never pass it: there, put "
        "the groups into X and name them in the constructor.",
    ),
    "one factor of two": (
        lambda: apart().predict(X[["x"]], groups=X["g"]),
        "groups has 1 factor, but the model was fitted with 2 ('g', 'h'): give the "
        "labels of each.",
    ),
    "other factors": (
        lambda: apart().predict(X[["x"]], groups=X[["g", "w"]]),
        "groups has the columns 'g', 'w', but the model was fitted with 'g', 'h': "
        "give those.",
    ),
    "a level that is not to be unseen": (
        lambda: known().set_params(handle_unknown="error").predict(X.assign(g=99)),
        "The factor 'g': 60 of 60 rows have a label that fit has not seen (99). Use "
        "handle_unknown='ignore' to predict such rows without an effect.",
    ),
    "an interval of a class": (
        lambda: (
            MixedLogisticRegressor("g").fit(X, CLASSES).predict_interval(X, of="class")
        ),
        "of must be 'mean' for a classifier, got 'class': a class has no interval, "
        "its probability has.",
    ),
    "data that are asked for and cannot be": (
        lambda: make_mixed_regression(family="gamma"),
        "family must be one of ['gaussian', 'poisson', 'bernoulli', 'binomial'], got "
        "'gamma'.",
    ),
}

WARNINGS = {
    "no groups": (
        lambda: linear().fit(X, TARGET),
        UserWarning,
        "No groups were given, so the model has no random effects: name the group "
        "columns of X in the constructor (groups=...). A search or cross-validation "
        "passes groups= to its splitter only, never to fit. If there are none, "
        "groups=[] says so.",
    ),
    "a copied column": (
        lambda: linear("g").fit(X.assign(n=X["x"]), TARGET),
        UserWarning,
        "The fixed column 'n' is constant or depends linearly on the columns before "
        "it: its coefficient is set to 0 (drop it).",
    ),
    "two things of no weight": (
        lambda: linear().fit(X.assign(n=X["x"], w=1.0), TARGET),
        UserWarning,
        "No groups were given, so the model has no random effects: name the group "
        "columns of X in the constructor (groups=...). A search or cross-validation "
        "passes groups= to its splitter only, never to fit. If there are none, "
        "groups=[] says so. The fixed columns 'w', 'n' are constant or depend "
        "linearly on the columns before them: their coefficients are set to 0 (drop "
        "them).",
    ),
    "fractional counts": (
        lambda: counts("h").fit(
            X[["x", "h"]], COUNTS + 2.0 * X["h"] + 0.5 * (X.index == 4)
        ),
        UserWarning,
        "Fractional counts in y: row 4 holds 8.5. The estimates are those of a "
        "quasi-likelihood; for rates give the counts and name the exposure.",
    ),
    "no variance": (
        lambda: counts("h").fit(X[["x", "h"]], COUNTS),
        ConvergenceWarning,
        "The variance of 'h' is estimated as zero: the model is the same without it.",
    ),
    "a covariance too rich": (
        lambda: linear("g", random_slopes=["x"]).fit(X[["x", "g"]], TARGET),
        ConvergenceWarning,
        "The covariance of the effects of 'g' is estimated as singular: a simpler one "
        "(fewer slopes, or covariance='diag') fits as well.",
    ),
    "a slope too much": (
        lambda: linear("g", random_slopes="x", covariance="diag").fit(
            X[["x", "g"]], TARGET
        ),
        ConvergenceWarning,
        "The variance of 'x' in 'g' is estimated as zero: the model is the same "
        "without it.",
    ),
    "separation": (
        lambda: MixedLogisticRegressor("g").fit(
            X[["g"]].assign(x=np.linspace(-1, 1, N)), np.arange(N) >= N // 2
        ),
        ConvergenceWarning,
        "'x' separates the outcomes completely: the likelihood grows without end in "
        "that direction, and the estimate is as large as it had to be. Drop the "
        "column, merge its rare categories or collect more data. The variance of 'g' "
        "is estimated as zero: the model is the same without it.",
    ),
    "nothing was counted": (
        lambda: counts("g").fit(X[["g"]], np.zeros(N)),
        ConvergenceWarning,
        "The likelihood has no maximum: y is zero in every row, so that the best mean "
        "is zero, which has no log. The estimates are as far out as they had to be. "
        "Collect more data. The variance of 'g' is estimated as zero: the model is the "
        "same without it.",
    ),
    "too few iterations": (
        lambda: MixedLinearRegressor(
            "Subject", random_slopes=["Days"], solver=VI(max_iter=2)
        ).fit(*load_sleepstudy(return_X_y=True, as_frame=True)),
        ConvergenceWarning,
        "The fit did not converge: max_iter=2 evaluations were not enough. Give the "
        "solver a larger max_iter, or simplify the random effects.",
    ),
    "no noise": (
        lambda: linear("g").fit(X[["x", "g"]], 2.0 * X["x"] + X["g"]),
        ConvergenceWarning,
        "The fit did not converge: the residual variance is estimated as zero, because "
        "the groups and columns determine the target exactly. Leave some of them out, "
        "or use another model.",
    ),
    "the target among the columns": (
        lambda: counts("g").fit(X.assign(y=COUNTS), COUNTS),
        ConvergenceWarning,
        "The fixed column 'y' is the target itself: leave it out of X, or name the "
        "columns to take (fixed_effects=). The variance of 'g' is estimated as zero: "
        "the model is the same without it.",
    ),
    "the classes among the columns": (
        lambda: MixedLogisticRegressor("g", fixed_effects=["z"]).fit(
            X.assign(z=np.where(CLASSES, "a", "b")), CLASSES
        ),
        ConvergenceWarning,
        "The fixed column 'z_b' is the target itself: leave it out of X, or name the "
        "columns to take (fixed_effects=). 'z_b' separates the outcomes completely: "
        "the likelihood grows without end in that direction, and the estimate is as "
        "large as it had to be. Drop the column, merge its rare categories or collect "
        "more data. The variance of 'g' is estimated as zero: the model is the same "
        "without it.",
    ),
    "a level that has not been seen": (
        lambda: known().set_params(handle_unknown="warn").predict(put("g", 4, 99)),
        UserWarning,
        "The factor 'g': row 4 has a label that fit has not seen (99). Such rows are "
        "predicted without an effect.",
    ),
    "labels that are text in one place": (
        lambda: known().set_params(handle_unknown="warn").predict(X.assign(g="a")),
        UserWarning,
        "The factor 'g': 60 of 60 rows have a label that fit has not seen ('a'); fit "
        "saw labels of type int, such as 0, and no row has one of them: these are of "
        "type str, such as 'a'. Such rows are predicted without an effect.",
    ),
    "labels of another type, and all are new": (
        lambda: known().predict(X.assign(g="a")),
        UserWarning,
        "The factor 'g': fit saw labels of type int, such as 0, and no row has one of "
        "them: these are of type str, such as 'a'.",
    ),
    "a factor that an encoder cannot learn": (
        lambda: GroupEffectEncoder().fit(X[["g", "h"]].assign(h=1), TARGET),
        UserWarning,
        "The factor 'h' has one level: its effects are set to zero (drop it).",
    ),
}


@pytest.mark.parametrize("trap", ERRORS)
def test_an_error_says_what_was_found_where_and_what_to_do(trap):
    call, message = ERRORS[trap]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
    assert str(caught.value) == message


@pytest.mark.parametrize("trap", WARNINGS)
def test_a_warning_is_one_and_its_category_is_about_convergence_alone(trap):
    call, category, message = WARNINGS[trap]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    caught = [w for w in caught if issubclass(w.category, UserWarning)]
    assert [str(w.message) for w in caught] == [message]
    assert caught[0].category is category
