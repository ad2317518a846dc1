"""The form of modules and scripts; import-linter checks what they import."""

import ast
import sys
from pathlib import Path

import pytest

import skymask
from skymask.jobs.fingerprint import REGISTRIES, imports
from skymask.study.registry import tree

PACKAGE = Path(skymask.__file__).parent
SCRIPTS = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))
DYNAMIC = {"__import__", "importlib", "import_module"}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_modules_and_scripts_are_seen():
    assert len(MODULES) > 40
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_written_so_that_fingerprints_see_them(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            assert all(alias.name != "*" for alias in node.names)
            # the public names are for users; below them is the whole package
            assert node.module != "skymask" or module == "skymask", f"{module}, line {node.lineno}"
        if isinstance(node, ast.Name | ast.alias) and module != "skymask":
            name = node.id if isinstance(node, ast.Name) else node.name
            # skymask itself loads the public names when they are used
            assert module == "skymask" or name not in DYNAMIC, module


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_from_where_a_name_is_defined(module):
    # whatever imports ``skymask`` itself depends on all that its public names need
    assert module == "skymask.cli" or "skymask" not in imports(module)


def test_packages_are_empty_but_for_the_registries():
    # a fingerprint follows ``from skymask.x import y`` to all that x imports
    filled = {
        name
        for name, path in MODULES.items()
        if path.name == "__init__.py" and path.read_text(encoding="utf-8").strip()
    }
    assert filled == {"skymask", *REGISTRIES}


@pytest.mark.parametrize("path", [*MODULES.values(), *SCRIPTS], ids=lambda path: path.stem)
def test_no_module_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330


def imported(node):
    """The packages that are imported below ``node``, not counting those for type checks."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module.split(".")[0] if node.level == 0 else "."}
    return {name for child in ast.iter_child_nodes(node) for name in imported(child)}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_from_the_package_only(path):
    packages = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert packages - set(sys.stdlib_module_names) <= {"skymask", "pyarrow"}
    assert "skymask" in packages
