"""Types of the values in a study file, and sentences for their mistakes."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic import ValidationError as PydanticError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError

from skymask.study.registry import entries

LARGEST_GRID = 50_000
"""Most cells that a grid may have; reading them takes half a minute."""

MOST_VALUES, MOST_DEPTH = 100_000, 30
"""Most values that a study may have, and most lists and mappings around one."""

TOO_LARGE = (
    f"the file has more than {MOST_VALUES} values, or lists nested {MOST_DEPTH} deep: does an "
    "alias (*name) of YAML contain itself? Write the values out"
)

_LARGEST_INTEGER = 2**63 - 1
_SMALLEST, _LARGEST = 1e-37, 3e38
"""Limits of the absolute value of a number: in 32 bits, others are 0 or infinite."""

NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
"""How a finite number is written: the core schema of YAML 1.2."""

_LONGEST = 200
"""Most characters of a value that a message shows."""


_LONGEST_NAME, _LONGEST_PATH = 255, 3000
"""Most bytes of a file name, and most letters of a path with room for what is below it."""


_PLAINER = {
    "Input should": "must",
    "String should": "must",
    "List should": "must",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    " after validation": "",
}
"""Phrases of pydantic's messages, and what a study's messages say instead."""


REPLACED = {
    "softmax_axis": (
        "softmax_axis was replaced by loss: write loss: cross_entropy for class, "
        "loss: batch_softmax for batch"
    ),
}
"""Keys of earlier versions, and a sentence that names the new key."""


def mistake(text: str) -> PydanticCustomError:
    """Make the error of a validator that finds a value wrong; ``text`` follows the value."""
    return PydanticCustomError("mistake", "{text}", {"text": text})


def mistakes(sentences: list[str]) -> PydanticCustomError:
    """Make the error of a validator that has the sentences of its mistakes already."""
    return PydanticCustomError("mistakes", "mistakes", {"sentences": sentences})


def _integer(value: Any) -> Any:
    _not_finite(value)
    if isinstance(value, float) and value.is_integer():
        raise mistake(f"must be an integer: write {int(value)}")
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise mistake("must fit into 64 bits")
    return value


def _not_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        what = "is not a number" if math.isnan(value) else "is infinite"
        raise mistake(f"{what}: write a finite one")


def _number(value: Any) -> Any:
    """Return a float, so that a run has one name: YAML 1.1 reads 1e7 as text, and 1 is an int."""
    if isinstance(value, str):
        if not re.fullmatch(NUMBER, value):
            return value
        value = float(value)
    if not isinstance(value, float):
        return _integer(value)
    _not_finite(value)
    if value and not _SMALLEST <= abs(value) <= _LARGEST:
        what, other = (
            ("small", "a larger one, or 0") if abs(value) < 1 else ("large", "a smaller one")
        )
        raise mistake(f"is too {what} for the 32 bits of a tensor: write {other}")
    return value


def _name(kind: str, value: str) -> str:
    known = entries(kind)
    if value not in known:
        raise mistakes([unknown(kind, value, known, kind)])
    return value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _filled(value: list[Any]) -> list[Any]:
    if not value:
        raise mistake("is an empty list: name at least one value")
    return value


class OneOrMore:
    """JSON Schema of a list that may also be written as its only item."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the schema: one item, or a list of different items."""
        item = handler(core)["items"]
        several = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
        return {"anyOf": [*(item["anyOf"] if [*item] == ["anyOf"] else [item]), several]}


T = TypeVar("T")
Axis = Annotated[list[T], BeforeValidator(_listed), AfterValidator(_filled), OneOrMore()]
"""One value, or a list of values that span an axis of the grid."""

Integer = Annotated[int, BeforeValidator(_integer)]
Positive = Annotated[Integer, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_number)]
DatasetName = Annotated[str, AfterValidator(partial(_name, "dataset"))]
ModelName = Annotated[str, AfterValidator(partial(_name, "model"))]


def folder(value: str) -> str:
    """Refuse a path that no file system can have."""
    parts = value.encode("utf-8", "surrogatepass").split(b"/")
    if "\0" in value or len(value) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_NAME:
        raise mistake(
            f"cannot be a folder: write no NUL, at most {_LONGEST_NAME} bytes between two /, and "
            f"{_LONGEST_PATH} letters in all"
        )
    return value


def is_axis(field: FieldInfo) -> bool:
    """Return whether a field takes a list of values that span an axis."""
    return any(isinstance(part, OneOrMore) for part in field.metadata)


def unknown(place: str, name: Any, known: Iterable[str], what: str) -> str:
    """Return a sentence for an unknown name, with the nearest known one and all of them."""
    names = list(known)
    if not names:
        return f"{place}: {shown(name)} is no {what}, which has none: remove it"
    near = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{place}: {shown(name)} is no {what}; {hint}known: {', '.join(names)}"


def shown(value: Any) -> str:
    """Return a value as a message shows it, not longer than a line or two."""
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to write integers of thousands of digits
        return "a value of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def sentences(
    error: PydanticError, model: type[BaseModel], place: str = "", what: str = "key"
) -> list[str]:
    """Return a sentence for each value that a model refuses: what is wrong, and what is expected.

    Args:
        error: What validating raised.
        model: The model; its descriptions and defaults say what is expected.
        place: What the values belong to, such as ``"attack min_max"``; empty for the study itself.
        what: What the model calls its fields: ``"key"``, ``"axis"`` or ``"parameter of min_max"``.
    """
    found: dict[tuple[Any, ...], list[str]] = {}
    for part in error.errors(include_url=False):
        key, *rest = part["loc"]
        label, field = f"{place}.{key}" if place else str(key), model.model_fields.get(str(key))
        if part["type"] in ("extra_forbidden", "invalid_key"):
            lines = [unknown(place or "study file", key, model.model_fields, what)]
            if key in REPLACED and what in ("key", "axis"):
                lines = [f"{place or 'study file'}: {REPLACED[key]}"]
        elif part["type"] == "mistakes":
            lines = part["ctx"]["sentences"]
        elif _is_list_in_list(part):
            inner = shown(part["input"])
            lines = [f"{label}: {inner} is a list inside a list: remove the inner brackets"]
        else:
            expected = [field.description] if field and field.description else []
            if place and field and not field.is_required():
                expected.append(f"The default is {json.dumps(field.default)}.")
            value = "" if part["type"] == "missing" else f"{shown(part['input'])} "
            lines = [" ".join([f"{label}: {value}{_complaint(part)}", *expected])]
        # a value can be wrong in several ways, of which the first says enough
        several = part["type"] == "mistakes" or (field and is_axis(field))
        item = rest[0] if several and rest else None
        found.setdefault((key, item), lines)
    return [line for lines in found.values() for line in lines]


def _is_list_in_list(part: Mapping[str, Any]) -> bool:
    """Whether an item of a list has a wrong type because it is a list."""
    wrong_type = part["type"].endswith("_type") or part["type"] == "literal_error"
    listed = any(isinstance(step, int) for step in part["loc"])
    return wrong_type and listed and isinstance(part["input"], list)


def _complaint(part: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, as the end of a sentence."""
    if part["type"] == "missing":
        return "is missing."
    text = str(part["msg"])
    for old, new in _PLAINER.items():
        text = text.replace(old, new)
    near = []
    if part["type"] == "literal_error":
        near = get_close_matches(str(part["input"]), text.replace("'", " ").split(), n=1)
    return f"{text}; did you mean {near[0]!r}?" if near else f"{text}."


def too_many(place: str, lengths: Iterable[int]) -> str | None:
    """Return a sentence where lists of these lengths have too many combinations for a grid."""
    count = math.prod(lengths)
    if count <= LARGEST_GRID:
        return None
    return (
        f"{place}: its lists have {count} combinations, more than the {LARGEST_GRID} cells of a "
        "grid: shorten them, pair them, or split the study"
    )


def too_large(config: Any) -> str | None:
    """Return why the values of a study are too many to be checked, or None.

    Aliases of YAML (``&a``, ``*a``) let a few lines stand for a huge or endless value.
    """
    count, rest = 0, [(config, 0)]
    while rest:
        value, depth = rest.pop()
        inner: list[Any] = []
        if isinstance(value, Mapping):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            inner = [*value]
        count += len(inner)
        if depth > MOST_DEPTH or count > MOST_VALUES:
            return TOO_LARGE
        rest += [(item, depth + 1) for item in inner]
    return None
