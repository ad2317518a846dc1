"""The checks behind :mod:`skymask.study`; each mistake is a sentence with a way out."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import product
from typing import Any

from jsonschema import Draft202012Validator

from skymask.contracts import violation
from skymask.experiment import Experiment, Method
from skymask.source import Entry, Parameter, registry


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
    """Check every key by its schema; return the values with defaults filled in."""
    for key in config:
        if key not in schema:
            problems.unknown("study file", key, schema, "key")
    values: dict[str, Any] = {}
    for key, rule in schema.items():
        if key not in config and "default" not in rule:
            problems.say(f"{key}: is missing; it is the {rule['description']}")
        value = config.get(key, rule.get("default"))
        listed = bool(rule.get("axis")) and isinstance(value, list)
        if listed and not value:
            problems.add(key, value, "is an empty list: name at least one value")
        items = [_number(item, rule) for item in value] if listed else [_number(value, rule)]
        if key in config:
            for item in items:
                _check_value(key, item, rule, problems)
        values[key] = items if listed else items[0]
    return values


def _check_value(key: str, value: Any, rule: Mapping[str, Any], problems: Problems) -> None:
    if isinstance(value, bool) and "boolean" not in rule.get("type", []):
        problems.add(key, value, f"is a truth value; wanted: {rule['description']}")
        return
    for error in Draft202012Validator(dict(rule)).iter_errors(value):
        problems.add(key, value, f"does not fit: {error.message}; wanted: {rule['description']}")
    if key in PLAIN and isinstance(value, str) and value not in PLAIN[key]():
        problems.unknown(key, value, PLAIN[key](), key)


def _number(value: Any, rule: Mapping[str, Any]) -> Any:
    """YAML reads 1e7 as text; where a number is wanted, take it as one."""
    if isinstance(value, str) and "number" in rule.get("type", []):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def methods(value: Any) -> list[Any]:
    """Spread a mapping whose parameters hold lists into one mapping per combination."""
    if not isinstance(value, dict):
        return [value]
    lists = {k: v for k, v in value.items() if isinstance(v, list) and k != "name"}
    return [
        {**value, **dict(zip(lists, combination, strict=True))}
        for combination in product(*lists.values())
    ]


def check_method(key: str, value: Any, problems: Problems) -> Method:
    """A name or {name: ..., parameter: ...} as a Method with all its parameters."""
    value = {"name": value} if isinstance(value, str) else value
    entries = REGISTRIES[key]()
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        problems.add(key, value, "has no name: write NAME or {name: NAME, parameter: value}")
        return Method("")
    name = value["name"]
    if name not in entries:
        problems.unknown(key, name, entries, key)
        return Method(name)
    known = entries[name].parameters
    parameters = {parameter.name: parameter.default for parameter in known.values()}
    before = len(problems.sentences)
    for parameter, given in value.items():
        if parameter == "name":
            continue
        place = f"{key} {name}"
        if parameter not in known:
            problems.unknown(place, parameter, known, f"parameter of {name}")
            continue
        parameters[parameter] = _check_parameter(place, known[parameter], given, problems)
    for requirement in entries[name].requirements:
        # a parameter of the wrong type has been reported; its condition would only crash
        if set(requirement.names) <= set(parameters) and len(problems.sentences) == before:
            values = {n: parameters[n] for n in requirement.names}
            if not requirement.condition(**values):
                problems.say(f"{key} {name}: {violation(requirement.sentence, values)}")
    return Method(name, parameters)


def _check_parameter(place: str, parameter: Parameter, value: Any, problems: Problems) -> Any:
    label, kinds = f"{place}.{parameter.name}", parameter.kinds
    if parameter.choices:
        # True == 1 in Python, but nobody means it here
        if isinstance(value, bool) or value not in parameter.choices:
            problems.unknown(label, value, map(str, parameter.choices), "choice")
        return value
    if "float" in kinds:
        value = _number(value, {"type": ["number"]})
    accepted = {
        "float": isinstance(value, int | float) and not isinstance(value, bool),
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
    elif "float" in kinds and accepted["float"]:
        value = float(value)
    return value


def check_cell(
    run: Experiment, rounds: int, share: float, final_evaluations: int, problems: Problems
) -> str | None:
    """Check what only holds together; return why the cell is undefined, or None.

    A mistake is the user's and goes to ``problems``; that a rule is not defined for this many
    clients and attackers is a finding, and the cell is left out.
    """
    data = PLAIN["dataset"]()[run.dataset].facts
    held = run.clients * (run.samples_per_client or 1)
    if run.root_size + held > data["train"]:
        problems.say(
            f"clients, samples_per_client, root_size: {run.clients} clients and the root data need "
            f"{run.root_size + held} training samples, {run.dataset} has {data['train']}"
        )
    if run.attack.name != "none" and run.malicious == 0:
        problems.add(
            "malicious_share",
            share,
            f"of {run.clients} clients is nobody: raise it, or study the attack 'none' alone",
        )
    evaluations = rounds // run.evaluate_every
    if evaluations < final_evaluations:
        problems.add(
            "final_evaluations",
            final_evaluations,
            f"are more than the {evaluations} evaluations that {rounds} rounds, evaluated every "
            f"{run.evaluate_every}, have: lower it or evaluate_every, or raise rounds",
        )
    facts = {"shape": data["shape"], "classes": data["classes"], "clients": run.clients}
    for key, entry in (
        ("model", PLAIN["model"]()[run.model]),
        ("partition", REGISTRIES["partition"]()[run.partition.name]),
    ):
        for sentence in _violations(entry, facts):
            problems.say(f"{key} {entry.name}: {sentence}, with dataset {run.dataset}")
    undefined = []
    if run.malicious:
        known = {"n": run.clients, "f": run.malicious, **run.attack.parameters}
        undefined += _violations(REGISTRIES["attack"]()[run.attack.name], known)
    known = {"n": run.clients, **run.defense.parameters}
    if run.assumed_malicious is not None:
        known["f"] = run.assumed_malicious
    undefined += _violations(REGISTRIES["defense"]()[run.defense.name], known)
    return "; ".join(undefined) or None


def _violations(entry: Entry, known: Mapping[str, Any]) -> list[str]:
    return [
        violation(requirement.sentence, values)
        for requirement in entry.requirements
        if set(requirement.names) <= set(known)
        for values in [{name: known[name] for name in requirement.names}]
        if not requirement.condition(**values)
    ]
