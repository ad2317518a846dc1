"""Fingerprints of the code a stage depends on."""

import ast
import hashlib
from functools import cache

from skymask.study.registry import path_of, tree

REGISTRIES = frozenset({"skymask.attacks", "skymask.defenses", "skymask.data.datasets"})
"""Packages whose entries are separate: a stage depends on those it uses, not on all."""


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of this package that ``module`` imports, anywhere in its code."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if path_of(name)}
            names |= modules if len(modules) == len(inner) else modules | {node.module}
    return frozenset(name for name in names if path_of(name))


def closure(*modules: str) -> list[str]:
    """Return ``modules`` and all they depend on, sorted; registries are not followed."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen and module not in REGISTRIES:
            seen.add(module)
            waiting += imports(module)
    return sorted(seen)


@cache
def _normal_form(module: str) -> str:
    """Return the code without comments, docstrings and layout, so that only real changes count."""
    code = ast.parse(ast.unparse(tree(module)))
    for node in ast.walk(code):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(code)


@cache
def fingerprint(*modules: str) -> str:
    """Return twelve hexadecimal digits that depend on the code of ``modules`` and their closure.

    Comments, docstrings and layout of the code do not count.
    """
    digest = hashlib.sha256()
    for module in closure(*modules):
        digest.update(f"{module}\n{_normal_form(module)}\n".encode())
    return digest.hexdigest()[:12]
