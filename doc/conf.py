"""Configuration of the Sphinx build: ``sphinx-build doc doc/_build/html``.

With ``-t offline`` links to other projects' pages are left out, and nothing is fetched.
"""

import importlib
import inspect
import sys
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

from skglmm import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skglmm"
author = "the skglmm developers"
copyright = "2026, the skglmm developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "mathml",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]

templates_path = ["_templates"]
autosummary_generate = True
# the docstrings say more of a type than a signature has room for
autodoc_typehints = "none"


def own_methods(module, name):
    """Public methods of a class that this package has written, sorted."""
    found = inspect.getmembers(
        getattr(importlib.import_module(module), name), inspect.isroutine
    )
    return [
        method
        for method, function in found
        if not method.startswith("_")
        and getattr(inspect.unwrap(function), "__module__", "").startswith("skglmm")
    ]


autosummary_context = {"own_methods": own_methods}
# the function in it is no part of what decides whether pages are new
suppress_warnings = ["config.cache"]
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
}
if "tags" in globals() and tags.has("offline"):  # noqa: F821
    intersphinx_mapping = {}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": ExplicitOrder(
        [
            f"../examples/{folder}"
            for folder in ("documents", "responses", "workflow", "solvers")
        ]
    ),
    "filename_pattern": r"/(plot|first)_",
    "reference_url": {"skglmm": None},
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skglmm",),
    "within_subsection_order": "pictures.PageOrder",
    "abort_on_example_error": True,
    "image_scrapers": ("pictures.scraper",),
    "reset_modules": ("matplotlib", "pictures.reset"),
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"skglmm {release}"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    # a page of the reference is as wide as its examples
    "secondary_sidebar_items": {"generated/**": []},
}
# the theme's own default is none, and it writes an error to the console
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["skglmm.css"]
