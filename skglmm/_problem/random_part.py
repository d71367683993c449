"""What random effects add to the linear predictor of a row."""

import numpy as np


def random_part(problem, effects):
    """Sum over the factors of z'b, by row, for effects (q, J) of every factor."""
    part = np.zeros(len(problem.weight))
    for factor, z, b in zip(problem.design.factors, problem.z, effects, strict=True):
        rows = b[:, factor.codes]
        part += rows[0] if z is None else np.einsum("ij,ji->i", z, rows)
    return part


def random_variance(problem, posteriors):
    """Variance of the same, the factors independent of each other given the data."""
    n_rows = len(problem.weight)
    variance = np.zeros(n_rows)
    for factor, z, blocks in zip(
        problem.design.factors, problem.z, posteriors, strict=True
    ):
        z = np.ones((n_rows, 1)) if z is None else z
        variance += np.einsum("ij,jki,ik->i", z, blocks[:, :, factor.codes], z)
    return np.maximum(variance, 0.0)
