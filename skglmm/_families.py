"""What prediction and scoring need to know of a family (numpy only)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gaussian:
    """Normal response with the identity link."""

    name: str = "gaussian"

    @staticmethod
    def mean(eta):
        """Mean of the response at a linear predictor."""
        return eta


FAMILIES = {"gaussian": Gaussian()}
