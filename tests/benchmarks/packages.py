"""The packages: a registry to which a peer is added in one class and one entry.

Only the process that measures a package imports it.
"""

import math
import shutil
import sys
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
from problems import find

HERE = Path(__file__).resolve().parent


class Package:
    """One package that fits a problem in Python.

    A subclass says how to import, prepare and read a fit. Every package fits linear
    models by REML and the others by Laplace's approximation, and has its defaults
    otherwise, save what the subclass says.

    Attributes
    ----------
    needs : str
        The program it runs in, for the line that says it is missing.
    imports : tuple of str
        Modules, imported and timed one by one; the last is the package.
    environment : dict of str to str
        Environment variables of its process.
    """

    needs = "the interpreter"
    imports = ()
    environment = {}

    def command(self, name, problem, table, answer, limits, python=None):
        """Command that measures this package in a process of its own.

        Parameters
        ----------
        name, problem : str
            Name in the registry, and what :func:`problems.find` takes.
        table : pathlib.Path
            Folder of the problem's columns.
        answer : pathlib.Path
            JSON file the command writes.
        limits : list of str
            MIN_FITS, MAX_FITS, SECONDS and LONG, see worker.py.
        python : str, default=None
            Interpreter that has the package; the running one by default.

        Returns
        -------
        list of str
            Empty if what it needs is not on this machine.
        """
        python = shutil.which(python or sys.executable)
        if python is None:
            return []
        worker = str(HERE / "worker.py")
        return [python, worker, "fit", name, problem, str(table), str(answer), *limits]

    def declines(self, problem, levels):
        """Why the package does not fit a problem with so many levels a factor."""
        return None

    def criterion(self, problem):
        """What the estimates maximise."""
        return "REML" if problem.family == "gaussian" else "Laplace"

    def version(self):
        """Version of the imported package."""
        return metadata.version(self.imports[-1])

    def prepare(self, problem, frame):
        """Function that takes nothing and returns a new fit: what is timed."""
        raise NotImplementedError

    def read(self, problem, fitted):
        """Standard deviations by "factor effect" and log-likelihood of a fit."""
        raise NotImplementedError

    def monte_carlo_error(self, fitted):
        """Standard error of a log-likelihood in whose computation chance has a part."""
        return 0.0


class Skglmm(Package):
    """This checkout."""

    imports = ("tensorflow", "skglmm")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"}

    def version(self):
        return import_module("skglmm").__version__

    models = {
        "gaussian": "MixedLinearRegressor",
        "binomial": "MixedLogisticRegressor",
        "poisson": "MixedPoissonRegressor",
    }

    def criterion(self, problem):
        return "REML" if problem.family == "gaussian" else "variational"

    def prepare(self, problem, frame):
        model = getattr(import_module("skglmm"), self.models[problem.family])
        X, y = frame[[*problem.fixed, *problem.groups]], frame[problem.target]
        slopes = {group: list(names) for group, names in problem.groups.items()}
        return lambda: model(groups=list(problem.groups), random_slopes=slopes).fit(
            X, y
        )

    def read(self, problem, fitted):
        deviations = {
            f"{group} {effect}".strip(): std
            for (group, effect), std in fitted.variance_components_["std"].items()
        }
        return deviations, fitted.log_likelihood_

    def monte_carlo_error(self, fitted):
        return getattr(fitted, "mc_error_", {}).get("log_likelihood", 0.0)


class Glmm(Package):
    """glmm of PyPI, without its degrees of freedom: no other package computes any."""

    imports = ("glmm",)

    def prepare(self, problem, frame):
        import glmm

        return lambda: glmm.fit(
            frame, problem.formula, problem.family, satterthwaite=False
        )

    def read(self, problem, fitted):
        deviations = {}
        for (group, effects), packed in zip(
            fitted.re_groups, fitted.varcorr, strict=True
        ):
            # the lower triangle column by column
            for k, effect in enumerate(effects):
                variance = packed[k * len(effects) - k * (k - 1) // 2]
                deviations[f"{group} {effect}"] = math.sqrt(variance)
        if problem.family == "gaussian":
            deviations["residual"] = math.sqrt(fitted.dispersion)
        return deviations, fitted.loglik


class Mixedlm(Package):
    """mixedlm of PyPI."""

    imports = ("mixedlm",)

    def prepare(self, problem, frame):
        import mixedlm

        if problem.family == "gaussian":
            return lambda: mixedlm.lmer(problem.formula, frame)
        family = getattr(mixedlm.families, problem.family.capitalize())
        return lambda: mixedlm.glmer(problem.formula, frame, family=family())

    def read(self, problem, fitted):
        deviations = {
            f"{group} {effect}": std
            for group, component in fitted.VarCorr().groups.items()
            for effect, std in component.stddev.items()
        }
        if problem.family == "gaussian":
            deviations["residual"] = fitted.sigma
        return deviations, fitted.logLik().value


class GPBoost(Package):
    """GPBoost's mixed model without trees; a matrix and labels are what it takes.

    It knows neither REML nor correlated effects. With factors of 1,000 levels or more
    the standard deviations of maximum likelihood are those of REML up to 0.05 %.
    """

    imports = ("gpboost",)
    likelihoods = {
        "gaussian": "gaussian",
        "binomial": "bernoulli_logit",
        "poisson": "poisson",
    }

    def criterion(self, problem):
        return "ML" if problem.family == "gaussian" else "Laplace"

    def declines(self, problem, levels):
        if any(problem.groups.values()):
            return "has no correlated slopes"
        if problem.family == "gaussian" and min(levels) < 1_000:
            return "has no REML, which matters with so few levels"
        return None

    def prepare(self, problem, frame):
        import gpboost

        # Labels as text: it would make text of anything else.
        labels = np.column_stack(
            [
                frame[name].cat.categories.to_numpy(str)[frame[name].cat.codes]
                for name in problem.groups
            ]
        )
        X = np.column_stack([np.ones(len(frame)), frame[list(problem.fixed)]])
        y = frame[problem.target].to_numpy()
        likelihood = self.likelihoods[problem.family]

        def fit():
            model = gpboost.GPModel(group_data=labels, likelihood=likelihood)
            model.fit(y=y, X=X)
            return model

        return fit

    def read(self, problem, fitted):
        names = [f"{group} Intercept" for group in problem.groups]
        if problem.family == "gaussian":
            names = ["residual", *names]
        variances = np.ravel(fitted.get_cov_pars(format_pandas=False))
        deviations = dict(zip(names, np.sqrt(variances), strict=True))
        return deviations, -fitted.get_current_neg_log_likelihood()


class Lme4(Package):
    """lme4 of R."""

    needs = "Rscript"

    def command(self, name, problem, table, answer, limits, python=None):
        rscript = shutil.which("Rscript")
        if rscript is None:
            return []
        problem = find(problem)
        script, model = str(HERE / "lme4.R"), [problem.formula, problem.family]
        return [rscript, script, *model, str(table), str(answer), *limits]


PACKAGES = {
    "skglmm": Skglmm(),
    "glmm": Glmm(),
    "mixedlm": Mixedlm(),
    "gpboost": GPBoost(),
    "lme4": Lme4(),
}
