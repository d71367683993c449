"""The loops that solvers run; they are imported when a model is fitted."""
