"""The values of a study file, one by one: types, ranges and names.

Each mistake is a sentence with a way out, kept in :class:`Problems`; the value itself becomes
``BAD``, so that it is said once and what else can be checked still is.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from skymask.study.registry import Entry, registry


class _Bad:
    def __repr__(self) -> str:
        return "BAD"


BAD: Any = _Bad()
"""Stands for a value that has been reported."""


class Problems:
    """The mistakes found so far, in order."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.sentences)

    @property
    def unique(self) -> list[str]:
        """Each sentence once: many cells of a grid share one mistake."""
        return list(dict.fromkeys(self.sentences))

    def say(self, sentence: str) -> None:
        """Add a sentence as it is."""
        self.sentences.append(sentence)

    def add(self, key: str, value: Any, sentence: str) -> None:
        """Say that ``value`` under ``key`` is wrong."""
        self.say(f"{key}: {value!r} {sentence}")

    def unknown(self, key: str, name: Any, known: Iterable[str], what: str) -> None:
        """Say that ``name`` is unknown, with the nearest known one or all of them."""
        names = list(known)
        near = get_close_matches(str(name), names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        self.add(key, name, f"is no {what}; {hint}known: {', '.join(names)}")


MOST_CELLS = 50_000
"""Cells that a grid may have; to read as many takes half a minute."""

_MOST_VALUES, _MOST_DEPTH = 100_000, 30
_LARGEST = 2**63 - 1


def is_long(value: Any) -> bool:
    """Whether a value is an integer that no column of 64 bits holds."""
    return isinstance(value, int) and abs(value) > _LARGEST


def too_many(place: str, lengths: Iterable[int], problems: Problems) -> bool:
    """Say so where lists of these ``lengths``, crossed, are more than a grid may have."""
    count = math.prod(lengths)
    if count > MOST_CELLS:
        problems.say(
            f"{place}: its lists cross to {count} cells where {MOST_CELLS} can be: shorten them, "
            "pair them, or make several studies of it"
        )
    return count > MOST_CELLS


def too_large(config: Any) -> str | None:
    """Why a file is refused before its values are looked at: it is endless, or hides a flood.

    Names for parts of YAML (``&a``, ``*a``) make a few lines say both.
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
        if depth > _MOST_DEPTH or count > _MOST_VALUES:
            return (
                f"it holds more than {_MOST_VALUES} values, or lists in lists {_MOST_DEPTH} deep: "
                "is an alias (*name) of YAML in itself? write out what is meant"
            )
        rest += [(item, depth + 1) for item in inner]
    return None


PLAIN: dict[str, Callable[[], dict[str, Entry]]] = {
    "dataset": lambda: registry("skymask.data.datasets", "DATASETS"),
    "model": lambda: registry("skymask.models.architectures", "MODELS"),
}


def check_keys(
    config: Mapping[str, Any], schema: Mapping[str, Mapping[str, Any]], problems: Problems
) -> dict[str, Any]:
    """Check every key by its schema; return the values, defaults filled in.

    An axis is always a list; a value that does not fit is ``BAD`` there, and the default elsewhere.
    """
    for key in config:
        if key not in schema:
            problems.unknown("study file", key, schema, "key")
    values: dict[str, Any] = {}
    for key, rule in schema.items():
        value = config.get(key, rule.get("default", BAD))
        if key not in config and value is BAD:
            problems.say(f"{key}: is missing; it is the {rule['description']}")
        listed = bool(rule.get("axis")) and isinstance(value, list)
        if listed and not value:
            problems.add(key, value, "is an empty list: name at least one value")
        items = value if listed else [value]
        if key in config:
            items = [_check_value(key, item, rule, problems) for item in items]
        if is_axis(schema, key):
            values[key] = items or [BAD]
        else:
            values[key] = rule.get("default") if items[0] is BAD else items[0]
    return values


def is_axis(schema: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    """Whether each run has its own value of ``key``; all but device and threads take lists."""
    return bool(schema[key].get("axis")) or key in ("device", "threads")


def _check_value(key: str, value: Any, rule: Mapping[str, Any], problems: Problems) -> Any:
    """The value as its schema wants it, or BAD."""
    value = number(value, rule)
    before = len(problems.sentences)
    wanted = f"wanted: {rule['description']}"
    if isinstance(value, bool) and "boolean" not in rule.get("type", []):
        problems.add(key, value, f"is a truth value; {wanted}")
    elif isinstance(value, float) and not math.isfinite(value):
        problems.add(key, value, f"is not a finite number; {wanted}")
    elif is_long(value):
        # not shown: Python refuses to write out thousands of digits
        problems.say(f"{key}: is an integer beyond 64 bits; {wanted}")
    elif isinstance(value, float) and "number" not in rule.get("type", []) and value.is_integer():
        problems.add(key, value, f"must be of type 'integer': write {int(value)}; {wanted}")
    elif "enum" in rule and isinstance(value, str) and value not in rule["enum"]:
        problems.unknown(key, value, rule["enum"], key)
    elif isinstance(value, list) and any(isinstance(item, float) for item in value):
        problems.add(key, value, f"holds a number with a decimal point; {wanted}")
    else:
        errors = Draft202012Validator(dict(rule)).iter_errors(value)
        for error in list(errors)[:1]:
            problems.add(key, value, f"{_complaint(error, rule)}; {wanted}")
    if key in PLAIN and isinstance(value, str) and value not in PLAIN[key]():
        problems.unknown(key, value, PLAIN[key](), key)
    return value if len(problems.sentences) == before else BAD


def _complaint(error: ValidationError, rule: Mapping[str, Any]) -> str:
    inside = f" ({error.instance!r} in it)" if error.path else ""
    if error.validator == "type":
        wanted: Any = error.validator_value
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return f"must be of type {' or '.join(map(repr, kinds))}{inside}"
    if error.validator == "pattern":
        return f"must be {rule['hint']}"
    return f"does not fit: {error.message}"


def number(value: Any, rule: Mapping[str, Any]) -> Any:
    """A number as a float where the schema wants a number.

    YAML reads 1e7 as text, and 1 is not the text 1.0 under which a run is named.
    """
    if "number" in rule.get("type", []) and isinstance(value, str | int):
        try:
            return value if isinstance(value, bool) else float(value)
        except (ValueError, OverflowError):
            return value
    return value
