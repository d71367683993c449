"""TensorFlow graph code: the only folder of the package that imports TensorFlow."""
