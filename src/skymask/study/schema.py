"""JSON Schema of study files, for editors and for the documentation.

``python -m skymask.study.schema`` writes it to config/study.schema.json.
"""

import ast
import json
from typing import Any

from skymask.study.methods import parameters_model
from skymask.study.model import AXES, StudyFile, exclusion_model
from skymask.study.registry import OPTIONS, ROOT, Entry, entries, option_entry
from skymask.study.scale import FIXED

FILE = ROOT.parents[1] / "config" / "study.schema.json"
"""Where the schema is committed."""

_KEYWORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}
"""Keywords of JSON Schema for the bounds of pydantic."""

_OPERATORS = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le"}
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of a study file, with all methods and their parameters."""
    schema = StudyFile.model_json_schema()
    keys = schema["properties"]
    exclusion = exclusion_model().model_json_schema() | {"minProperties": 1}
    for properties in (keys, exclusion["properties"]):
        for kind in ("dataset", "model"):
            # in place of any text
            properties[kind]["anyOf"][0] = {"anyOf": _names(entries(kind))}
            properties[kind]["anyOf"][1]["items"] = {"anyOf": _names(entries(kind))}
        # a list directly below the key is an axis: only its items can be compositions
        properties["defense"]["anyOf"][1]["items"] = _any("defense", "composition")
    keys["paired"]["items"] |= {"items": {"enum": list(AXES)}, "uniqueItems": True}
    scalable = [key for key in keys if key not in FIXED]
    keys["small"] |= {
        "properties": {key: {"$ref": f"#/properties/{key}"} for key in scalable},
        "additionalProperties": False,
    }
    definitions = {
        "exclusion": exclusion,
        "composition": {
            "description": "A composition: pre-aggregators, and then a defense.",
            "type": "array",
            "items": [{"$ref": "#/definitions/pre-aggregator"}],
            "additionalItems": _any("pre-aggregator", "defense"),
            "minItems": 2,
        },
    }
    for option in OPTIONS:
        one = {"$ref": f"#/definitions/some {option}"}
        several = {"type": "array", "items": {"anyOf": [one, {"type": "null"}]}, "minItems": 1}
        definitions[f"some {option}"] = _parameters("option", option) | {"minProperties": 1}
        definitions[option] = {"anyOf": [one, {"type": "null"}, several]}
    for kind in ("partition", "attack", "defense", "pre-aggregator"):
        mappings = [_parameters(kind, name) for name in entries(kind)]
        definitions[kind] = {"anyOf": [*_names(entries(kind)), *mappings]}
    parts = {key: _translated(value) for key, value in schema.items() if key != "title"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "skymask study",
        **parts,
        "definitions": _translated(definitions),
    }


def _any(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/definitions/{name}"} for name in names]}


def _names(known: dict[str, Entry]) -> list[dict[str, Any]]:
    return [{"const": name, "description": _plain(e.summary)} for name, e in known.items()]


def _plain(text: str) -> str:
    return text.replace("``", "")


def _parameters(kind: str, name: str) -> dict[str, Any]:
    """Return the schema of a mapping with the parameters of a method, and with its name."""
    named = kind != "option"
    entry = entries(kind)[name] if named else option_entry(name)
    properties = parameters_model(kind, name).model_json_schema()["properties"]
    for requirement in entry.requirements:
        for parameter, keyword, bound in _bounds(requirement.code):
            if parameter in properties:
                _add(properties[parameter], {keyword: bound})
    return {
        "type": "object",
        "description": _plain(entry.summary),
        "properties": {**({"name": {"const": name}} if named else {}), **properties},
        "required": ["name"] if named else [],
        "additionalProperties": False,
    }


def _bounds(code: ast.expr) -> list[tuple[str, str, Any]]:
    """Return the bounds that a condition states: name, kind and number of each."""
    if isinstance(code, ast.BoolOp) and ast.unparse(code.values[0]).endswith("is None"):
        return _bounds(code.values[1])
    if not isinstance(code, ast.Compare):
        return []
    terms: list[ast.expr] = [code.left, *code.comparators]
    found: list[tuple[str, str, Any]] = []
    for left, operator, right in zip(terms, code.ops, terms[1:], strict=False):
        kind = _OPERATORS.get(type(operator), "")
        if isinstance(left, ast.Constant) and kind:
            left, right, kind = right, left, _MIRRORED[kind]
        if isinstance(left, ast.Name) and isinstance(right, ast.Constant) and kind:
            found.append((left.id, kind, right.value))
    return found


def _add(schema: dict[str, Any], bounds: dict[str, float]) -> None:
    """Add bounds to each schema of a number in a schema."""
    if schema.get("type") in ("number", "integer"):
        schema |= bounds
    for part in (*schema.get("anyOf", []), *filter(None, [schema.get("items")])):
        _add(part, bounds)


def _translated(schema: Any) -> Any:
    """Return a schema without pydantic's titles, with bounds and methods in JSON Schema."""
    if isinstance(schema, list):
        return [_translated(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[Any, Any] = {}
    for key, value in schema.items():
        if key == "methods":
            found["$ref"] = f"#/definitions/{value}"
        elif not (key == "title" and isinstance(value, str)):
            found[_KEYWORDS.get(str(key), key)] = _translated(value)
    return found


def text() -> str:
    """Return the schema as it is committed."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
