"""How a fit ended."""

from enum import Enum


class Outcome(Enum):
    """How a fit ended; the value says it in words that follow "did not converge: ".

    A solver that knows more says so in the `words` of its `Solution`.
    """

    CONVERGED = ""
    SPENT = "max_iter={max_iter} evaluations were not enough"
    STUCK = (
        "no further decrease of the objective could be found. Simplify the random "
        "effects"
    )
    INTERRUPTED = "the fit was interrupted"
    NO_RESIDUAL = (
        "the residual variance is estimated as zero, because the groups and columns "
        "determine the target exactly. Leave some of them out, or use another model"
    )
    NOT_FINITE = (
        "some estimates are no finite numbers. Simplify the model, or bring its "
        "columns to similar scales"
    )
    EXTREME = "rounding leaves no digits to compare estimates by"
    NOISY = "the Monte Carlo error is too large"
    NO_START = "the iterations found no start. Simplify the random effects"
    UNSETTLED = "the fixed part and the random effects have not settled"

    @property
    def advice(self):
        """What to do, where the words do not say it; empty if they do."""
        if self is Outcome.SPENT:
            return "Give the solver a larger max_iter, or simplify the random effects"
        return ""
