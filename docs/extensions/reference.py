"""Reference pages written from the code, as reStructuredText."""

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import skymask
from skymask.study.registry import Entry, Parameter, registry

ROOT = Path(__file__).parents[2]

METHODS = {
    "attacks": [("skymask.attacks", "ATTACKS"), ("skymask.attacks", "DATA_ATTACKS")],
    "defenses": [("skymask.defenses", "DEFENSES")],
    "pre-aggregators": [("skymask.defenses", "PRE_AGGREGATORS")],
    "partitions": [("skymask.data.partition", "PARTITIONS")],
    "data sets": [("skymask.data.datasets", "DATASETS")],
    "models": [("skymask.models.architectures", "MODELS")],
}
"""The registries of each kind of method."""

REGISTRIES = ("skymask.attacks", "skymask.defenses", "skymask.data.datasets")
"""Packages with a method in each module."""


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of a study file."""
    return dict(json.loads((ROOT / "config/study.schema.json").read_text(encoding="utf-8")))


def study_keys() -> str:
    """Write an entry for each key of a study file."""
    schema = study_schema()
    return "\n".join(
        _key(name, key, name in schema["required"]) for name, key in schema["properties"].items()
    )


def _key(name: str, schema: dict[str, Any], required: bool) -> str:
    value, axis = schema, ""
    if schema.get("anyOf", [{}])[-1].get("type") == "array":
        value = {"anyOf": schema["anyOf"][:-1]}
        axis = " A list of values is an axis of the grid."
    default = "required" if required else f"``{json.dumps(schema['default'])}``"
    return (
        f".. confval:: {name}\n   :type: {_values(value)}\n   :default: {default}\n\n"
        f"   {schema['description']}{axis}\n"
    )


def _values(schema: dict[str, Any]) -> str:
    """Return the values that a schema allows, in words."""
    if "$ref" in schema:
        return "name or ``{name: NAME, parameter: value}``"
    if "const" in schema:
        return f"``{schema['const']}``"
    if "enum" in schema:
        return ", ".join(f"``{value}``" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_values, schema["anyOf"]))
    if "type" in schema.get("items", {}):
        item = _values(schema["items"])
        return f"list of {'lists' if item == 'list' else item}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[bound]:,}" for bound, sign in signs.items() if bound in schema]
    words = {"array": "list", "object": "mapping", "null": "``null``"}
    return " ".join([words.get(schema["type"], schema["type"]), ", ".join(bounds)]).strip()


def methods(kind: str) -> str:
    """Write a table of all methods of a kind, and a section for each."""
    found = entries(kind)
    rows = [
        (f"`{name}`_", _sentence(group[0].summary), ", ".join(_named(group)))
        for name, group in found.items()
    ]
    sections = [_method(kind, name, group) for name, group in found.items()]
    return "\n".join([_table(("name", "summary", "parameters"), rows, "15 60 25"), *sections])


def entries(kind: str) -> dict[str, list[Entry]]:
    """Return the registry entries of a kind, by name; a method can be two functions."""
    found: dict[str, list[Entry]] = {}
    for module, variable in METHODS[kind]:
        for name, entry in registry(module, variable).items():
            found.setdefault(name, []).append(entry)
    return found


def functions(kind: str, name: str | None = None) -> list[Callable[..., Any]]:
    """Return the functions of a kind, or those with one name."""
    registries = [getattr(importlib.import_module(m), variable) for m, variable in METHODS[kind]]
    return [f for r in registries for key, f in r.items() if name in (None, key)]


def _named(group: list[Entry]) -> list[str]:
    return [f"``{name}``" for name in dict.fromkeys(n for e in group for n in e.parameters)]


def _sentence(text: str) -> str:
    return re.split(r"(?<=[a-z\])])\.\s", text)[0].rstrip(".:")


def _method(kind: str, name: str, group: list[Entry]) -> str:
    lines = ["", name, "~" * len(name), ""]
    parameters = {p.name: p for entry in group for p in entry.parameters.values()}
    if parameters:
        lines += ["Parameters in a study file:", ""]
        lines += [f"* ``{p.name}``: {_choices(p)}" for p in parameters.values()]
        lines += [""]
    sentences = dict.fromkeys(r.sentence for entry in group for r in entry.requirements)
    if sentences:
        lines += ["Requirements:", "", *(f"* {sentence}" for sentence in sentences), ""]
    for function in functions(kind, name):
        lines += [f".. autofunction:: {function.__module__}::{function.__name__}", ""]
    return "\n".join(lines)


def _choices(parameter: Parameter) -> str:
    """Return the values of a parameter and its default, in words."""
    default = json.dumps(parameter.default) if parameter.default is not None else "null"
    values = map(str, parameter.choices or sorted(parameter.kinds - {"None"}))
    return f"{', '.join(values)}; default ``{default}``"


def artifacts() -> str:
    """Write a section with the columns of each kind of Parquet file."""
    parts = []
    for kind, schema in _schemas().items():
        rows = [
            (f"``{f.name}``", str(f.type), (f.metadata or {}).get(b"description", b"").decode())
            for f in schema
        ]
        parts += ["", kind, "~" * len(kind), "", _table(("column", "type", "meaning"), rows)]
    return "\n".join(parts)


def _schemas() -> dict[str, Any]:
    from skymask.artifacts.schemas import SCHEMAS

    return SCHEMAS


def public_names() -> str:
    """Write a table of the names that ``skymask`` exports."""
    rows = []
    for name in skymask.__all__:
        value = getattr(skymask, name)
        if inspect.ismodule(value):
            described = "a function for each method: :doc:`../methods`"
        else:
            described = f":py:obj:`{value.__module__}.{value.__qualname__}`"
        rows.append((f"``{name}``", described))
    return _table(("name", "is"), rows)


def package(name: str) -> str:
    """Write a section for each module of a sub-package; methods have pages of their own."""
    elsewhere: dict[str, list[str]] = {}
    for kind in METHODS:
        for function in functions(kind):
            elsewhere.setdefault(function.__module__, []).append(function.__name__)
    parts = [f".. automodule:: {name}", ""]
    for module, is_package in _modules(name):
        listed = elsewhere.get(module, [])
        if module.rpartition(".")[0] in REGISTRIES and listed:
            continue
        parts += [module, "-" * len(module), "", f".. automodule:: {module}"]
        if not is_package:
            parts += [
                "   :members:",
                "   :ignore-module-all:",
                f"   :exclude-members: {','.join(listed)}",
            ]
        parts += [""]
    return "\n".join(parts)


def _modules(name: str) -> Iterator[tuple[str, bool]]:
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        yield found.name, found.ispkg


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], widths: str = "auto") -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join([*lines, ""])
