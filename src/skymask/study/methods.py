"""The methods that a study names: attacks, defenses, partitions, with their parameters."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from skymask.contracts import violation
from skymask.study.experiment import Method
from skymask.study.registry import Entry, Parameter, entry, registry
from skymask.study.validation import BAD, Problems, is_long, number, too_many

ATTACK_KINDS = ("ATTACKS", "DATA_ATTACKS", "TRIGGERS")


def attack_entries() -> dict[str, Entry]:
    """Attacks on updates and on data under one roof; one in both has the parameters of both.

    A backdoor demands what its trigger demands.
    """
    merged: dict[str, Entry] = {}
    for kind in ATTACK_KINDS:
        for name, part in registry("skymask.attacks", kind).items():
            known = merged.get(name, replace(part, parameters={}, requirements=()))
            own = {} if kind == "TRIGGERS" else part.parameters
            merged[name] = replace(
                known,
                parameters={**known.parameters, **own},
                asks=known.asks | part.asks,
                requirements=known.requirements + part.requirements,
            )
    return merged


def update_attacks() -> set[str]:
    """The attacks that may be confined to some coordinates."""
    return set(registry("skymask.attacks", "ATTACKS")) - {"none"}


def coordinates_entry() -> Entry:
    """What may stand under ``coordinates`` of an attack."""
    return entry("coordinates", "skymask.attacks.coordinates", "attacked_coordinates")


REGISTRIES: dict[str, Callable[[], dict[str, Entry]]] = {
    "attack": attack_entries,
    "defense": lambda: registry("skymask.defenses", "DEFENSES"),
    "partition": lambda: registry("skymask.data.partition", "PARTITIONS"),
    "pre-aggregator": lambda: registry("skymask.defenses", "PRE_AGGREGATORS"),
}


def modules_of(kind: str, method: Method) -> list[str]:
    """The modules that hold an attack or a defense, and what is composed with it."""
    before = [REGISTRIES["pre-aggregator"]()[m.name].module for m in method.pre_aggregators]
    parts = [registry("skymask.attacks", k).get(method.name) for k in ATTACK_KINDS]
    found = [e.module for e in parts if e is not None] if kind == "attack" else []
    return [REGISTRIES[kind]()[method.name].module, *found, *before]


def methods(key: str, value: Any, problems: Problems) -> list[Any]:
    """Spread a mapping whose parameters hold lists into one mapping per combination.

    A list is a composition, pre-aggregators and a defense, and spreads over its parts;
    ``coordinates`` spread like the mapping they stand in.
    """
    if isinstance(value, list):
        # a list in a list is a mistake, which is said later
        parts = [[p] if isinstance(p, list) else methods(key, p, problems) for p in value]
        if too_many(key, map(len, parts), problems):
            return [BAD]
        spread = [list(combination) for combination in product(*parts)]
        return [BAD if BAD in combination else combination for combination in spread]
    if not isinstance(value, dict):
        return [value]
    place = f"{key} {value.get('name')}"
    if isinstance(value.get("coordinates"), dict):
        spread = _spread(f"{place}.coordinates", value["coordinates"], ("layers",), problems)
        value = {**value, "coordinates": spread}
    return _spread(place, value, ("name",), problems)


def _spread(
    place: str, value: dict[Any, Any], whole: tuple[str, ...], problems: Problems
) -> list[Any]:
    """One mapping per combination of the entries of its lists; those that are ``whole`` stay."""
    lists = {k: v for k, v in value.items() if isinstance(v, list) and k not in whole}
    for parameter, listed in lists.items():
        if BAD in listed:
            return [BAD]
        if not listed:
            problems.add(
                f"{place}.{parameter}", listed, "is an empty list: name at least one value"
            )
            return [BAD]
    if too_many(place, map(len, lists.values()), problems):
        return [BAD]
    return [
        {**value, **dict(zip(lists, combination, strict=True))}
        for combination in product(*lists.values())
    ]


def identity(value: Any) -> Any:
    """A value of an axis as something to look up: equal for equal values, and only for these."""
    if isinstance(value, Method):
        return value.name, identity(value.parameters), identity(value.pre_aggregators)
    if isinstance(value, dict):
        return frozenset((key, identity(item)) for key, item in value.items())
    return tuple(map(identity, value)) if isinstance(value, list | tuple) else value


def check_method(key: str, value: Any, problems: Problems, *, fill: bool = True) -> Any:
    """A name or {name: ..., parameter: ...} as a Method, or BAD; a list is a composition.

    Parameters that are not given get their defaults, unless not ``fill``.
    """
    if value is BAD:
        return BAD
    if isinstance(value, list):
        return _check_composition(key, value, problems, fill)
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        problems.add(key, value, "has no name: write NAME or {name: NAME, parameter: value}")
        return BAD
    name, entries = value["name"], REGISTRIES[key]()
    if name not in entries:
        if key == "defense" and name in REGISTRIES["pre-aggregator"]():
            way_out = f"write it in a list of its own before a defense, [[{name}, krum]]"
            problems.add(key, name, f"is a pre-aggregator: {way_out}")
        else:
            problems.unknown("defense" if key == "pre-aggregator" else key, name, entries, key)
        return BAD
    before = len(problems.sentences)
    given = {parameter: v for parameter, v in value.items() if parameter != "name"}
    coordinates = given.pop("coordinates", None)
    parameters = _check_parameters(f"{key} {name}", entries[name], given, problems, fill)
    if coordinates is not None:
        parameters["coordinates"] = _check_coordinates(key, name, coordinates, problems, fill)
    elif "coordinates" in value and not fill:
        # to exclude the attack on all coordinates alone
        parameters["coordinates"] = None
    return Method(name, parameters) if len(problems.sentences) == before else BAD


COMPOSITION = "pre-aggregators and then a defense, as [nnm, krum]"


def _check_composition(key: str, value: list[Any], problems: Problems, fill: bool) -> Any:
    """A list of pre-aggregators that ends with a defense, as a Method, or BAD."""
    if key != "defense" or len(value) < 2:
        shown = f"is no composition; wanted: {COMPOSITION}" if key == "defense" else f"is no {key}"
        problems.add(key, value, shown)
        return BAD
    before, *first, last = len(problems.sentences), *value
    names = [part.get("name") if isinstance(part, dict) else part for part in value]
    pre_aggregators, defenses = REGISTRIES["pre-aggregator"](), REGISTRIES["defense"]()
    if any(isinstance(part, list) for part in value):
        problems.add(key, value, f"holds another list; wanted: {COMPOSITION}")
    elif isinstance(names[-1], str) and names[-1] in pre_aggregators:
        problems.add(key, names, f"ends with a pre-aggregator; wanted: {COMPOSITION}")
    elif early := [n for n in names[:-1] if isinstance(n, str) and n in defenses]:
        problems.add(key, names, f"has the defense {early[0]!r} too early; wanted: {COMPOSITION}")
    if len(problems.sentences) > before:
        return BAD
    parts = [check_method("pre-aggregator", part, problems, fill=fill) for part in first]
    method = check_method("defense", last, problems, fill=fill)
    if BAD in parts or method is BAD:
        return BAD
    asks = defenses[method.name].asks
    if "malicious" in asks:
        problems.add(key, method.name, "is the upper bound and needs no help: name it alone")
        return BAD
    for part in parts:
        if "clients" in asks and pre_aggregators[part.name].leaves is not None:
            reason = f"the rows that {part.name} leaves are other clients in every round"
            problems.add(key, method.name, f"remembers clients, but {reason}: take one of the two")
            return BAD
    return Method(method.name, method.parameters, tuple(parts))


def _check_coordinates(
    key: str, name: str, value: Any, problems: Problems, fill: bool
) -> dict[str, Any]:
    place = f"{key} {name}.coordinates"
    if name not in update_attacks():
        problems.add(place, value, f"is for attacks on updates, which {name} is not: remove it")
    elif not isinstance(value, dict):
        problems.add(place, value, "must be {share: 0.1, pick: largest} or {layers: [NAME]}")
    else:
        return _check_parameters(place, coordinates_entry(), value, problems, fill)
    return {}


def _check_parameters(
    place: str, method: Entry, given: Mapping[str, Any], problems: Problems, fill: bool
) -> dict[str, Any]:
    """The parameters as given, the defaults filled in; mistakes go to ``problems``."""
    before, known = len(problems.sentences), method.parameters
    parameters = {p.name: p.default for p in known.values()} if fill else {}
    for parameter, value in given.items():
        if parameter in known:
            parameters[parameter] = _check_parameter(place, known[parameter], value, problems)
        elif known:
            problems.unknown(place, parameter, known, f"parameter of {method.name}")
        else:
            shown = f"is no parameter of {method.name}, which has none: remove it"
            problems.add(place, parameter, shown)
    # a parameter of the wrong type has been reported; its condition would only crash
    if len(problems.sentences) == before:
        for sentence in violations(method, parameters):
            problems.say(f"{place}: {sentence}")
    return parameters


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
    if is_long(value):
        problems.say(f"{label}: is an integer beyond 64 bits; wanted: a smaller one")
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


def violations(method: Entry, known: Mapping[str, Any]) -> list[str]:
    """The sentences of those requirements that can be told from ``known`` and do not hold."""
    return [
        violation(requirement.sentence, values)
        for requirement in method.requirements
        if set(requirement.names) <= set(known)
        for values in [{name: known[name] for name in requirement.names}]
        if not requirement.condition(**values)
    ]
