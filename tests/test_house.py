"""The shape of the package: who imports whom, who asks for whose name, and sizes."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import skglmm
from skglmm import datasets, inference, interoperability, solvers

ROOT = Path(skglmm.__file__).parent
# From the ground up: nothing imports what stands behind it. A solver imports its loop
# when it solves, and a family its likelihood.
LAYERS = [
    ["_memory", "_version", "_sklearn", "_threads", "_progress", "_store", "_quiet"],
    ["_covariances"],
    ["_families"],
    ["_reading"],
    ["_dask"],
    ["_problem"],
    ["engine"],
    ["_loops"],
    ["solvers"],
    ["_fixed"],
    ["_fitted"],
    ["_base"],
    ["_linear", "_poisson", "_logistic", "_binomial", "_generalized", "_ordinal"],
    ["_encoder", "_notation"],
    ["datasets"],
    ["cache"],
    ["inference"],
    ["inspection"],
    ["interoperability"],
]
MODELS = next(layer for layer in LAYERS if "_linear" in layer)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = {
    ".".join(("skglmm", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}
# Lines of a function and of a file, docstrings included.
# What these functions document is longer than what they
# do: the docstring is left out.
DOCUMENTED = {
    "datasets": datasets.__all__,
    "inference": inference.__all__,
    "_notation": ["from_formula"],
    "interoperability": interoperability.__all__,
}
LONGEST_FUNCTION, LONGEST_FILE = 80, 600


def layer(module):
    return module.split(".")[1]


def imports(tree, *, inside):
    """Modules of the package that are imported, those in functions or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "skglmm":
            found = [f"skglmm.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [node.module or ""]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        else:
            continue
        if inside or node.col_offset == 0:
            yield from (name for name in found if name.startswith("skglmm."))


@pytest.mark.parametrize("module", FILES)
def test_nothing_imports_what_stands_above_it(module):
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for other in imports(tree, inside=False):
        assert RANK[layer(other)] <= RANK[layer(module)], f"{module} -> {other}"


def test_every_folder_has_its_place():
    assert {layer(module) for module in FILES} == set(RANK)


def test_only_those_who_own_a_name_compare_with_it():
    names = "full|diag|scalar|gaussian|poisson|binomial|VI|Laplace|MCEM|MacKay"
    asked = re.compile(rf"[!=]= ?\"({names})\"|isinstance\([^()]*, ({names})\)")
    allowed = {
        "skglmm._problem.design": 1,  # VI(factorization="full")
        "skglmm.datasets._mixed_regression": 3,
    }
    found = {
        module: len(asked.findall(path.read_text(encoding="utf-8")))
        for module, path in FILES.items()
    }
    assert {module: n for module, n in found.items() if n} == allowed


def private_in_sklearn(tree):
    """Private modules and names of scikit-learn that are imported or looked up."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found = [ast.unparse(node)]
        else:
            continue
        for name in found:
            if re.match(r"sklearn\b.*\._(?!_)", name):
                yield name


@pytest.mark.parametrize("module", FILES)
def test_what_is_private_in_sklearn_is_imported_in_one_file(module):
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    assert bool([*private_in_sklearn(tree)]) == (module == "skglmm._sklearn")


def test_private_attributes_of_a_fit_are_one():
    pattern = re.compile(r"self\._(terms|posteriors|shifts|facts|named|coef_half)\b")
    for module, path in FILES.items():
        if layer(module) not in ("_encoder", "engine", "_loops"):
            assert not pattern.search(path.read_text(encoding="utf-8")), module


def test_functions_and_files_are_short():
    functions, files = {}, {}
    for module, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        if layer(module) not in MODELS:
            files[module] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if node.name in DOCUMENTED.get(layer(module), ()):
                    documented = node.body[0]
                    lines -= documented.end_lineno - documented.lineno + 1
                functions[f"{module}.{node.name}"] = lines
    long = {name: n for name, n in functions.items() if n > LONGEST_FUNCTION}
    assert not long
    assert max(files.values()) <= LONGEST_FILE


def public_functions():
    """Functions and methods of the public classes that this package has written."""
    for module in (skglmm, skglmm.datasets, inference, solvers):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isfunction(found):
                yield f"{module.__name__}.{name}", found
            elif inspect.isclass(found):
                for method, of_class in inspect.getmembers(found, inspect.isroutine):
                    home = getattr(inspect.unwrap(of_class), "__module__", "")
                    if not method.startswith("_") and home.startswith("skglmm"):
                        yield f"{module.__name__}.{name}.{method}", of_class


@pytest.mark.parametrize(("name", "function"), sorted(dict(public_functions()).items()))
def test_public_functions_have_types(name, function):
    function = inspect.unwrap(function)
    signature = inspect.signature(function)
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty
        and parameter.name not in ("self", "cls", "params")
    ]
    assert not bare
    assert signature.return_annotation is not signature.empty
