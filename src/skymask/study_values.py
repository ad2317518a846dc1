"""The values of a study file, one by one: types, ranges, names and parameters of methods.

Each mistake is a sentence with a way out, kept in :class:`Problems`; the value itself becomes
``BAD``, so that it is said once and what else can be checked still is.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import product
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from skymask.contracts import violation
from skymask.experiment import Method
from skymask.source import Entry, Parameter, registry


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


def attack_entries() -> dict[str, Entry]:
    """Attacks on updates and on data under one roof; one in both has the parameters of both."""
    merged = dict(registry("skymask.attacks", "ATTACKS"))
    merged.update(registry("skymask.attacks", "DATA_ATTACKS"))
    for name, entry in registry("skymask.attacks", "ATTACKS").items():
        other = merged[name]
        if other is not entry:
            merged[name] = Entry(
                name,
                entry.module,
                {**other.parameters, **entry.parameters},
                entry.asks | other.asks,
                entry.requirements + other.requirements,
                {},
                entry.summary,
            )
    return merged


REGISTRIES: dict[str, Callable[[], dict[str, Entry]]] = {
    "attack": attack_entries,
    "defense": lambda: registry("skymask.defenses", "DEFENSES"),
    "partition": lambda: registry("skymask.partition", "PARTITIONS"),
}

PLAIN: dict[str, Callable[[], dict[str, Entry]]] = {
    "dataset": lambda: registry("skymask.datasets", "DATASETS"),
    "model": lambda: registry("skymask.models", "MODELS"),
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


def methods(key: str, value: Any, problems: Problems) -> list[Any]:
    """Spread a mapping whose parameters hold lists into one mapping per combination."""
    if not isinstance(value, dict):
        return [value]
    lists = {k: v for k, v in value.items() if isinstance(v, list) and k != "name"}
    for parameter, listed in lists.items():
        if not listed:
            place = f"{key} {value.get('name')}.{parameter}"
            problems.add(place, listed, "is an empty list: name at least one value")
            return [BAD]
    return [
        {**value, **dict(zip(lists, combination, strict=True))}
        for combination in product(*lists.values())
    ]


def check_method(key: str, value: Any, problems: Problems, *, fill: bool = True) -> Any:
    """A name or {name: ..., parameter: ...} as a Method, or BAD.

    Parameters that are not given get their defaults, unless not ``fill``.
    """
    if value is BAD:
        return BAD
    value = {"name": value} if isinstance(value, str) else value
    entries = REGISTRIES[key]()
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        problems.add(key, value, "has no name: write NAME or {name: NAME, parameter: value}")
        return BAD
    name, before = value["name"], len(problems.sentences)
    if name not in entries:
        problems.unknown(key, name, entries, key)
        return BAD
    known, place = entries[name].parameters, f"{key} {name}"
    parameters = {p.name: p.default for p in known.values()} if fill else {}
    for parameter, given in value.items():
        if parameter == "name":
            continue
        if parameter in known:
            parameters[parameter] = _check_parameter(place, known[parameter], given, problems)
        elif known:
            problems.unknown(place, parameter, known, f"parameter of {name}")
        else:
            problems.add(place, parameter, f"is no parameter of {name}, which has none: remove it")
    # a parameter of the wrong type has been reported; its condition would only crash
    if len(problems.sentences) == before:
        for sentence in violations(entries[name], parameters):
            problems.say(f"{place}: {sentence}")
    return Method(name, parameters) if len(problems.sentences) == before else BAD


def _check_parameter(place: str, parameter: Parameter, value: Any, problems: Problems) -> Any:
    label, kinds = f"{place}.{parameter.name}", parameter.kinds
    if parameter.choices:
        for choice in parameter.choices:
            # 2.0 == 2 and True == 1 in Python, but they would name another run
            if choice == value and type(choice) is type(value):
                return choice
        known = ", ".join(map(str, parameter.choices))
        text = " (as text)" if str(value) in map(str, parameter.choices) else ""
        problems.add(label, value, f"is no choice{text}; known: {known}")
        return value
    if "float" in kinds:
        value = number(value, {"type": ["number"]})
    accepted = {
        "float": isinstance(value, float) and math.isfinite(value),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "list": isinstance(value, list),
        "None": value is None,
    }
    if kinds and kinds <= set(accepted) and not any(accepted[kind] for kind in kinds):
        wanted = " or ".join(sorted(kinds))
        problems.add(
            label, value, f"must be {wanted}; without it the default {parameter.default!r} holds"
        )
    return value


def violations(entry: Entry, known: Mapping[str, Any]) -> list[str]:
    """The sentences of those requirements that can be told from ``known`` and do not hold."""
    return [
        violation(requirement.sentence, values)
        for requirement in entry.requirements
        if set(requirement.names) <= set(known)
        for values in [{name: known[name] for name in requirement.names}]
        if not requirement.condition(**values)
    ]
