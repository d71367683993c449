"""Networks and trees as the fixed part: distance to the oracle, beside others.

    python tests/benchmarks/flexible.py [--rows 20000] [--groups 500] [--seeds 0 1 2]
        [--only curved|linear|other] [--models network trees]

Each line is the mean over the seeds; the lines of a seed go to the error stream as they
come. ``--models`` runs those that have one of the words in their names.

The oracle knows the true function and the true variances; its random effects are the
best linear predictions. ``rmse`` is that of new rows of the groups seen in fit, over
the oracle's; ``group`` and ``noise`` are the estimated standard deviations over the
true ones. "True function known" is what the likelihood gives without any fixed part to
estimate: how far its deviations are from the truth is the sample's own. For counts and
classes the errors of linear predictor and mean, and the deviance (``loss``) of new
rows, are over those of this model.
"""

import argparse
import logging
import sys
import warnings

import numpy as np
import pandas as pd
from scipy.special import xlogy
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from skglmm import MixedLinearRegressor, MixedLogisticRegressor, MixedPoissonRegressor

GROUP, NOISE = 0.7, 1.0


def surface(X):
    """Friedman's function of five columns, scaled to a variance of about one."""
    raw = (
        10.0 * np.sin(np.pi * X["x0"] * X["x1"])
        + 20.0 * (X["x2"] - 0.5) ** 2
        + 10.0 * X["x3"]
        + 5.0 * X["x4"]
    )
    return (raw - 14.4) / 4.9


def line(X):
    """A linear function of the same columns."""
    return X["x0"] - 2.0 * X["x1"] + 1.5 * X["x3"] + 0.5


def simulate(n, n_groups, seed, mean=surface, family="gaussian"):
    """Train and test rows of the same groups, and what they were drawn from."""
    random = np.random.default_rng(seed)
    X = pd.DataFrame(random.uniform(size=(2 * n, 7))).add_prefix("x")
    X["zip"] = random.integers(0, n_groups, 2 * n)
    b = GROUP * random.standard_normal(n_groups)
    f = mean(X).to_numpy()
    eta = f + b[X["zip"]]
    if family == "gaussian":
        y = eta + NOISE * random.standard_normal(2 * n)
    elif family == "poisson":
        y = random.poisson(np.exp(eta)).astype(float)
    else:
        y = (random.uniform(size=2 * n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    truth = pd.DataFrame({"f": f, "b": b[X["zip"]], "eta": eta})
    train, test = slice(0, n), slice(n, None)
    return X[train], y[train], truth[train], X[test], y[test], truth[test]


def build(width):
    """A network of two hidden layers."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((width,)),
            layers.Dense(64, "swish"),
            layers.Dense(64, "swish"),
            layers.Dense(1),
        ]
    )


def trees():
    """Gradient boosting as scikit-learn has it by default."""
    return HistGradientBoostingRegressor(random_state=0)


class MERF:
    """Mixed-effects random forest: EM with in-sample residuals, as published.

    Hajjem, A., Bellavance, F. and Larocque, D. (2014). Mixed-effects random forest for
    clustered data. Journal of Statistical Computation and Simulation 84, 1313-1328.
    A random intercept; the regressor is a parameter, as in the package `merf`.
    """

    def __init__(self, regressor, n_iter=20):
        self.regressor, self.n_iter = regressor, n_iter

    def fit(self, X, y):
        codes, n = X["zip"].to_numpy(), len(y)
        size = np.bincount(codes)
        b, s2, d = np.zeros(len(size)), 1.0, 1.0
        columns = X.drop(columns="zip")
        for _ in range(self.n_iter):
            self.model_ = clone(self.regressor).fit(columns, y - b[codes])
            rest = y - self.model_.predict(columns)
            shrink = d / (d + s2 / np.maximum(size, 1))
            b = shrink * np.bincount(codes, rest) / np.maximum(size, 1)
            e = rest - b[codes]
            left = d * (1.0 - np.where(size > 0, shrink, 0.0))
            s2 = (e @ e + size @ left) / n
            d = np.mean(b**2 + left)
        self.b_, self.noise_, self.group_ = b, np.sqrt(s2), np.sqrt(d)
        return self

    def predict(self, X):
        return self.model_.predict(X.drop(columns="zip")) + self.b_[X["zip"]]


def shrunk(train, y, rest, test):
    """Best linear predictions of the effects of the groups, all else known."""
    codes = train["zip"].to_numpy()
    size = np.bincount(codes, minlength=test["zip"].max() + 1)
    total = np.bincount(codes, rest, minlength=len(size))
    return (total / (size + NOISE**2 / GROUP**2))[test["zip"]]


def deviations(model):
    """Estimated standard deviations of the groups and of the noise."""
    frame = model.variance_components_["std"]
    noise = frame.get(("residual", ""), np.nan)
    return frame.iloc[0], noise


def gaussian(n, n_groups, seed, mean, iterations, wanted):
    """Lines of the linear family for one seed."""
    X, y, truth, new, y_new, new_truth = simulate(n, n_groups, seed, mean)
    known = new_truth["f"] + shrunk(X, y, y - truth["f"], new)

    def error(predicted):
        return np.sqrt(np.mean((y_new - predicted) ** 2))

    oracle = error(known)
    frame = X[["zip"]].assign(f=truth["f"])
    exact = MixedLinearRegressor("zip", offset="f").fit(frame, y)
    yield "true function known", 1.0, *deviations(exact)
    options = {"groups": "zip", "random_state": seed}
    models = {
        "linear": MixedLinearRegressor(**options),
        "network": MixedLinearRegressor(fixed_effects=build, **options),
        "trees": MixedLinearRegressor(fixed_effects=trees(), **options),
    }
    for name, model in models.items():
        if wanted(name):
            model.fit(X, y)
            yield name, error(model.predict(new)) / oracle, *deviations(model)
    name = "network without groups"
    if wanted(name):
        columns = [column for column in X if column != "zip"]
        alone = MixedLinearRegressor(fixed_effects=build, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model without groups says so
            alone.fit(X[columns], y)
        ratio = error(alone.predict(new[columns])) / oracle
        yield name, ratio, np.nan, np.sqrt(alone.noise_variance_)
    forest = RandomForestRegressor(50, min_samples_leaf=5, random_state=seed)
    for kind, regressor in (("boosting", trees()), ("forest", forest)):
        name = f"MERF here, {kind}"
        if wanted(name):
            merf = MERF(regressor, iterations).fit(X, y)
            ratio = error(merf.predict(new)) / oracle
            yield name, ratio, merf.group_, merf.noise_
    if not wanted("merf package, boosting"):
        return
    found = package(X, y, new, iterations)
    if found is not None:
        yield "merf package, boosting", error(found[0]) / oracle, *found[1:]


def counts_and_classes(n, n_groups, seed, wanted):
    """Lines of the other families.

    Errors of the linear predictor and of the mean, and the mean deviance of new rows,
    each over that of the model that knows the function.
    """
    families = {"poisson": MixedPoissonRegressor, "binary": MixedLogisticRegressor}
    for family, kind in families.items():
        X, y, truth, new, y_new, new_truth = simulate(n, n_groups, seed, family=family)
        parts = {"linear": None, "network": build, "trees": trees()}
        parts = {name: p for name, p in parts.items() if wanted(f"{family}: {name}")}
        if not parts:
            continue

        def errors(eta, family=family, y_new=y_new, true=new_truth["eta"]):
            mean, of_true = (
                np.exp(v) if family == "poisson" else 1.0 / (1.0 + np.exp(-v))
                for v in (eta, true)
            )
            if family == "poisson":
                loss = xlogy(y_new, y_new) - y_new * eta - y_new + mean
            else:
                loss = np.logaddexp(0.0, eta) - y_new * eta
            squares = np.mean((eta - true) ** 2), np.mean((mean - of_true) ** 2)
            return np.array([*np.sqrt(squares), np.mean(loss)])

        exact = kind("zip", offset="f").fit(X[["zip"]].assign(f=truth["f"]), y)
        oracle = errors(exact.linear_predictor(new[["zip"]].assign(f=new_truth["f"])))
        yield f"{family}: true function known", *(oracle / oracle), deviations(exact)[0]
        for name, part in parts.items():
            model = kind("zip", fixed_effects=part, random_state=seed).fit(X, y)
            found = errors(model.linear_predictor(new)) / oracle
            yield f"{family}: {name}", *found, deviations(model)[0]


def package(X, y, new, iterations):
    """Predictions and standard deviations of the package `merf`, None without it."""
    try:
        from merf import MERF as Package
    except ImportError:
        return None
    logging.getLogger("merf").setLevel(logging.ERROR)
    ones, new_ones = np.ones((len(X), 1)), np.ones((len(new), 1))
    merf = Package(trees(), max_iterations=iterations)
    merf.fit(X.drop(columns="zip"), ones, X["zip"], pd.Series(y, X.index))
    predicted = merf.predict(new.drop(columns="zip"), new_ones, new["zip"])
    group = float(np.sqrt(np.ravel(merf.D_hat_history[-1])[0]))
    return predicted, group, float(np.sqrt(merf.sigma2_hat_history[-1]))


def main():
    """Tables for each mean function and family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=20, help="of MERF")
    parser.add_argument("--only", choices=["curved", "linear", "other"], default=None)
    parser.add_argument("--models", nargs="+", default=[""], help="parts of names")
    given = parser.parse_args()

    def wanted(name):
        return any(part in name for part in given.models)

    def run(function, *options):
        for seed in given.seeds:
            for line_ in function(given.rows, given.groups, seed, *options, wanted):
                print(seed, *line_, file=sys.stderr, flush=True)
                yield line_

    for title, mean in (("curved", surface), ("linear", line)):
        if given.only in (None, title):
            lines = run(gaussian, mean, given.iterations)
            show(f"{title} mean", lines, {"rmse": 1.0, "group": GROUP, "noise": NOISE})
    if given.only in (None, "other"):
        columns = {"eta": 1.0, "mean": 1.0, "loss": 1.0, "group": GROUP}
        show("counts and classes", run(counts_and_classes), columns)


def show(title, lines, columns):
    """Print the mean of the lines of each name, in units of the columns' scales."""
    frame = pd.DataFrame(lines, columns=["model", *columns]).set_index("model")
    frame = (frame / list(columns.values())).groupby(level=0, sort=False).mean()
    print(f"\n{title}\n{frame.dropna(axis=1, how='all').round(4)}", flush=True)


if __name__ == "__main__":
    main()
