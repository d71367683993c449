"""The packages: a registry to which a peer is added in one class and one entry.

Only the process that measures a package imports it.
"""

import math
import shutil
import sys
from importlib import import_module, metadata
from pathlib import Path

from problems import PROBLEMS

HERE = Path(__file__).resolve().parent


class Package:
    """One package that fits a problem in Python.

    A subclass says how to import, prepare and read a fit. Every package fits by REML
    and has its defaults otherwise, save what the subclass says.

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
            Names in the two registries.
        table : pathlib.Path
            Folder of the problem's columns.
        answer : pathlib.Path
            JSON file the command writes.
        limits : list of str
            MIN_FITS, MAX_FITS and SECONDS, see worker.py.
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

    def version(self):
        """Version of the imported package."""
        return metadata.version(self.imports[-1])

    def prepare(self, problem, frame):
        """Function that takes nothing and returns a new fit: what is timed."""
        raise NotImplementedError

    def read(self, problem, fitted):
        """Standard deviations by "factor effect" and log-likelihood of a fit."""
        raise NotImplementedError


class Skglmm(Package):
    """This checkout."""

    imports = ("tensorflow", "skglmm")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"}

    def version(self):
        return import_module("skglmm").__version__

    def prepare(self, problem, frame):
        from skglmm import MixedLinearRegressor

        X, y = frame[[*problem.fixed, *problem.groups]], frame[problem.target]
        slopes = {group: list(names) for group, names in problem.groups.items()}
        return lambda: MixedLinearRegressor(
            groups=list(problem.groups), random_slopes=slopes
        ).fit(X, y)

    def read(self, problem, fitted):
        deviations = {
            f"{group} {effect}".strip(): std
            for (group, effect), std in fitted.variance_components_["std"].items()
        }
        return deviations, fitted.log_likelihood_


class Glmm(Package):
    """glmm of PyPI, without its degrees of freedom: no other package computes any."""

    imports = ("glmm",)

    def prepare(self, problem, frame):
        import glmm

        return lambda: glmm.fit(frame, problem.formula, satterthwaite=False)

    def read(self, problem, fitted):
        deviations = {}
        for (group, effects), packed in zip(
            fitted.re_groups, fitted.varcorr, strict=True
        ):
            # the lower triangle row by row
            for k, effect in enumerate(effects):
                variance = packed[k * (k + 3) // 2]
                deviations[f"{group} {effect}"] = math.sqrt(variance)
        deviations["residual"] = math.sqrt(fitted.dispersion)
        return deviations, fitted.loglik


class Mixedlm(Package):
    """mixedlm of PyPI."""

    imports = ("mixedlm",)

    def prepare(self, problem, frame):
        import mixedlm

        return lambda: mixedlm.lmer(problem.formula, frame)

    def read(self, problem, fitted):
        deviations = {
            f"{group} {effect}": std
            for group, component in fitted.VarCorr().groups.items()
            for effect, std in component.stddev.items()
        }
        deviations["residual"] = fitted.sigma
        return deviations, fitted.logLik().value


class Lme4(Package):
    """lme4 of R."""

    needs = "Rscript"

    def command(self, name, problem, table, answer, limits, python=None):
        rscript = shutil.which("Rscript")
        if rscript is None:
            return []
        formula = PROBLEMS[problem].formula
        script = str(HERE / "lme4.R")
        return [rscript, script, formula, str(table), str(answer), *limits]


PACKAGES = {"skglmm": Skglmm(), "glmm": Glmm(), "mixedlm": Mixedlm(), "lme4": Lme4()}
