"""Radon in Minnesota as in TensorFlow Probability's tutorial, and by skglmm.

The tutorial is "Fitting Generalized Linear Mixed-effects Models Using Variational
Inference" (tensorflow.org/probability): log radon with an effect of the floor and a
random intercept of the county. Its method, written anew here after what the notebook
does, in float32:

- priors: standard normal for the intercept and the effect of the floor, half-normal for
  the standard deviation of the counties; the residual's is held at 1;
- a mean-field surrogate: independent normals, that of the standard deviation through
  softplus, which start at random;
- ``tfp.vi.fit_surrogate_posterior`` with Adam, learning rate 0.01, 3,000 steps of
  2 draws, as published (``--samples``), and no test of convergence. Estimates are
  the means of the surrogate.

skglmm fits the same model, the residual's standard deviation included, by REML with
``solver="vi"``, whose optimum is exact for a linear model. By REML, because the lme4
fit that the tutorial compares itself with is one; by maximum likelihood the
standard deviation of the counties is 0.3245 in lme4.
"""

import sys

import numpy as np
import tutorials

NAMES = ["intercept", "floor", "county", "residual"]
LME4 = np.array([1.461598, -0.692994, 0.328223, 0.755589])
LEARNING_RATE, N_STEPS = 0.01, 3000
TIMES_GOAL, GOAL = 100, 0.0005


class Tutorial:
    """The tutorial's variational inference.

    Parameters
    ----------
    frame : DataFrame
        ``floor``, ``county`` and ``log_radon``.
    n_samples : int
        Draws of the surrogate in each step.
    """

    def __init__(self, frame, n_samples):
        import tensorflow as tf
        import tensorflow_probability as tfp

        self.tf, self.tfp, self.n_samples = tf, tfp, n_samples
        county = frame["county"].astype("category").cat
        self.county = tf.constant(county.codes.to_numpy(np.int32))
        self.n_counties = len(county.categories)
        self.floor = tf.constant(frame["floor"].to_numpy(np.float32))
        self.y = tf.constant(frame["log_radon"].to_numpy(np.float32))

    def log_density(self, scale, intercept, effect, b):
        """Joint log-density at draws, the first axis of each argument."""
        tf, tfd = self.tf, self.tfp.distributions
        mean = intercept[:, None] + effect[:, None] * self.floor
        mean += tf.gather(b, self.county, axis=1)
        return (
            tfd.HalfNormal(1.0).log_prob(scale)
            + tfd.Normal(0.0, 1.0).log_prob(intercept)
            + tfd.Normal(0.0, 1.0).log_prob(effect)
            + tf.reduce_sum(tfd.Normal(0.0, scale[:, None]).log_prob(b), 1)
            + tf.reduce_sum(tfd.Normal(mean, 1.0).log_prob(self.y), 1)
        )

    def surrogate(self):
        """Independent normals that start at random."""
        tf, tfd, tfb = self.tf, self.tfp.distributions, self.tfp.bijectors

        def normal(shape=()):
            scale = self.tfp.util.TransformedVariable(
                tf.random.uniform(shape, 0.01, 1.0), tfb.Softplus()
            )
            return tfd.Normal(tf.Variable(tf.random.uniform(shape, -2.0, 2.0)), scale)

        b = tfd.Independent(normal([self.n_counties]), reinterpreted_batch_ndims=1)
        return tfd.JointDistributionSequential(
            [tfb.Softplus()(normal()), normal(), normal(), b]
        )

    def fit(self):
        """Run all steps from the start.

        Returns
        -------
        ndarray of shape (4,)
            Intercept, effect of the floor, standard deviation of the counties and of
            the residual, which is held at 1.
        """
        tf = self.tf
        tf.random.set_seed(42)
        surrogate = self.surrogate()
        self.tfp.vi.fit_surrogate_posterior(
            self.log_density,
            surrogate,
            optimizer=tf.optimizers.Adam(learning_rate=LEARNING_RATE),
            num_steps=N_STEPS,
            sample_size=self.n_samples,
            seed=42,
        )
        scale, intercept, effect, _ = surrogate.sample_distributions(seed=0)[0]
        draws = scale.sample(10_000, seed=0)
        return np.array(
            [intercept.mean(), effect.mean(), tf.reduce_mean(draws), 1.0], float
        )


def options(parser):
    """Add the option of this comparison."""
    parser.add_argument(
        "--samples",
        type=int,
        default=2,
        metavar="N",
        help="draws in each step of the tutorial's method (default: %(default)s)",
    )


def main(arguments=None):
    """Run the comparison.

    Returns
    -------
    int
        Exit status: 1 if an estimate of skglmm is off, whatever the times.
    """
    given = tutorials.parse_arguments(
        "tutorial_radon.py",
        "Radon by TensorFlow Probability's tutorial and by skglmm.",
        arguments,
        options,
    )
    print(tutorials.machine())
    from skglmm import MixedLinearRegressor
    from skglmm.datasets import load_radon

    frame = load_radon(as_frame=True).frame[["floor", "county", "log_radon"]]
    n_counties = frame["county"].nunique()
    print(f"\nradon: {len(frame)} rows, {n_counties} counties\n")
    print(tutorials.heading(NAMES))
    print(tutorials.row("lme4", LME4))

    tutorial = Tutorial(frame, given.samples)
    first, theirs, found = tutorials.measure(tutorial.fit, given.tutorial_repeats)
    print(tutorials.row("tutorial", found, first, theirs), flush=True)

    model = MixedLinearRegressor(groups="county", solver="vi")
    first, ours, _ = tutorials.measure(
        lambda: model.fit(frame[["floor", "county"]], frame["log_radon"]), given.repeats
    )
    deviations = model.variance_components_["std"].to_numpy()
    found = np.array([model.intercept_, *model.coef_, *deviations])
    print(tutorials.row("skglmm", found, first, ours))

    print(f"\n{tutorials.ratio(theirs, ours, TIMES_GOAL)}")
    line, reached = tutorials.verdict(
        "estimates, from lme4's", np.max(np.abs(found - LME4)), GOAL
    )
    print(line)
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
