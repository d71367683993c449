"""TensorFlow graph code: the only folder of the package that imports TensorFlow."""

from skglmm import _quiet

# Whether TensorFlow came with the engine, so that what it has to say is ours to keep.
BROUGHT = _quiet.import_tensorflow()
