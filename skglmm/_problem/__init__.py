"""The model in numbers: NumPy only, and no name of a column."""
