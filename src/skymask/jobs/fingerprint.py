"""Fingerprints of the code a stage depends on."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

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
    return "".join(_written(tree(module)))


@cache
def _normal_form_of_file(path: Path) -> str:
    return "".join(_written(ast.parse(path.read_text(encoding="utf-8"), str(path))))


def _written(node: Any) -> Iterator[str]:
    """Write a syntax tree without comments, docstrings and layout.

    The same in all versions of Python: names of fields that are empty do not appear, and later
    versions add fields.
    """
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name == "body" and _has_docstring(node):
                value = value[1:]
            if isinstance(node, ast.JoinedStr):
                # some versions add empty texts
                value = [part for part in value if getattr(part, "value", None) != ""]
            if value is not None and value != []:
                yield f"{name}="
                yield from _written(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _written(item)
            yield ","
        yield "]"
    else:
        yield ascii(node)


def _has_docstring(node: ast.AST) -> bool:
    documented = isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    )
    return documented and ast.get_docstring(node, clean=False) is not None  # type: ignore[arg-type]


@cache
def fingerprint(*modules: str, script: Path | None = None) -> str:
    """Return twelve hexadecimal digits that depend on the code of ``modules`` and their closure.

    Comments, docstrings and layout of the code do not count.

    Args:
        modules: Modules of this package.
        script: The file of a script whose own code counts as well; what it imports does not.
    """
    digest = hashlib.sha256()
    for module in closure(*modules):
        digest.update(f"{module}\n{_normal_form(module)}\n".encode())
    if script is not None:
        digest.update(_normal_form_of_file(script).encode())
    return digest.hexdigest()[:12]
