"""Attacks, defenses and partitions of a study file, with their parameters."""

from collections.abc import Mapping
from functools import cache, partial
from itertools import product
from typing import Annotated, Any, Literal, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)

from skymask.contracts import violation
from skymask.study.experiment import Method
from skymask.study.registry import (
    ATTACKS,
    Entry,
    can_judge_layers,
    entries,
    option_entry,
    options,
    registry,
)
from skymask.study.validation import (
    Axis,
    Integer,
    Number,
    mistakes,
    sentences,
    shown,
    too_many,
    unknown,
)

CONFIG = ConfigDict(extra="forbid", strict=True, validate_default=True, protected_namespaces=())
"""What all models of a study have in common."""

GIVEN_ONLY = {"given_only": True}
"""Context of a validation that leaves out the parameters that a study does not give."""

LONGEST_NAME = 100
"""Most letters of a name that becomes part of a file name, which has at most 255."""

_TYPES: dict[str, Any] = {
    "float": Number,
    "int": Integer,
    "bool": bool,
    "str": str,
    "list": list[Any],
    "None": None,
}
_COMPOSITION = "write pre-aggregators and then a defense, as [nnm, krum]"


_OPTIONS = {
    "coordinates": (
        "The coordinates of the updates that are attacked.",
        "{share: 0.1, pick: largest} or {layers: [NAME]}",
    ),
    "attack_rounds": (
        "The rounds in which the clients attack.",
        "{first: 20, last: 100, every: 5}",
    ),
}
"""What each option is, and how it is written."""

_PER = Literal["model", "layer"]
UNSET = {"coordinates": None, "attack_rounds": None, "per": "model", "mask_filter": False}
"""Values with which a parameter is as if it were not given: it is not part of the experiment."""


def modules_of(kind: str, method: Method) -> list[str]:
    """Return the modules of an attack or a defense and of its pre-aggregators."""
    before = [entries("pre-aggregator")[m.name].module for m in method.pre_aggregators]
    parts = [registry("skymask.attacks", v).get(method.name) for v in ATTACKS]
    own = [part.module for part in parts if part is not None] if kind == "attack" else []
    return [entries(kind)[method.name].module, *own, *before]


@cache
def parameters_model(kind: str, name: str) -> type[BaseModel]:
    """Return the model of a method's parameters, each with one value or a list of values.

    Args:
        kind: A kind of the registry, or ``"option"`` for an option of an attack.
        name: Name of the method.
    """
    entry = _entry(kind, name)
    fields: dict[str, Any] = {}
    for parameter in entry.parameters.values():
        kinds = tuple(_TYPES[k] for k in sorted(parameter.kinds))
        item: Any = Literal[parameter.choices] if parameter.choices else Union[kinds]  # noqa: UP007
        # a parameter that is a list itself cannot also be an axis
        values = item if "list" in parameter.kinds else Axis[item]
        fields[parameter.name] = (
            values,
            Field(
                default=parameter.default,
                description=parameter.description.replace("``", "") or None,
            ),
        )
    for option in options(kind, name):
        check = PlainValidator(partial(_option, option, f"{kind} {name}.{option}"))
        schema = WithJsonSchema({"methods": option})
        fields[option] = (
            Annotated[list[Any], check, schema],
            Field(default=None, description=_OPTIONS[option][0]),
        )
    if kind == "defense" and can_judge_layers(name):
        text = "Whether the rule judges whole models, or every layer by itself."
        fields["per"] = (Axis[_PER], Field(default="model", description=text))
    return create_model(f"{kind} {name}", __config__=CONFIG, **fields)


def violations(entry: Entry, known: Mapping[str, Any]) -> list[str]:
    """Return the sentences of the requirements that the ``known`` values do not meet."""
    return [
        violation(requirement.sentence, values)
        for requirement in entry.requirements
        if set(requirement.names) <= set(known)
        for values in [{name: known[name] for name in requirement.names}]
        if not requirement.condition(**values)
    ]


def parse(kind: str, value: Any, info: ValidationInfo) -> list[Method]:
    """Read one item of an axis of methods: a method for each combination of its parameters.

    Args:
        kind: ``"attack"``, ``"defense"``, ``"partition"`` or ``"pre-aggregator"``.
        value: A name, or a mapping with a name and parameters that may be lists; for a defense
            also a list of pre-aggregators that ends with a defense.
        info: With the context ``GIVEN_ONLY``, the methods have no defaults.

    Raises:
        PydanticCustomError: The sentences of all mistakes.
    """
    if isinstance(value, list):
        return _compositions(kind, value, info)
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        text = "has no name: write NAME or {name: NAME, parameter: value}"
        raise mistakes([f"{_place(kind)}: {shown(value)} {text}"])
    name, known = value["name"], entries(kind)
    if name not in known:
        if kind == "defense" and name in entries("pre-aggregator"):
            hint = f"write it in a list of its own before a defense, [[{name}, krum]]"
            raise mistakes([f"{kind}: {name!r} is a pre-aggregator: {hint}"])
        raise mistakes([unknown(_place(kind), name, known, kind)])
    given = {key: v for key, v in value.items() if key != "name"}
    given = _without_other_options(kind, name, given)
    return [Method(name, v) for v in _combinations(kind, name, f"{kind} {name}", given, info)]


def _without_other_options(kind: str, name: str, given: dict[Any, Any]) -> dict[Any, Any]:
    """Return what is given to a method without unset options that it does not have.

    Raises:
        PydanticCustomError: An option is set that the method does not have.
    """
    why = {
        "coordinates": f"is for attacks on updates, which {name} is not",
        "attack_rounds": f"is for attacks, and {name} attacks in no round",
        "per": f"is for rules that can judge one layer, and {name} judges whole models",
    }
    known = parameters_model(kind, name).model_fields
    others = [option for option in why if option in given and option not in known]
    for option in others:
        if given[option] != UNSET[option]:
            text = f"{kind} {name}.{option}: {shown(given[option])} {why[option]}: remove it"
            raise mistakes([text])
    return {key: value for key, value in given.items() if key not in others}


def _entry(kind: str, name: str) -> Entry:
    return option_entry(name) if kind == "option" else entries(kind)[name]


def _place(kind: str) -> str:
    """Return the key of a study that a kind is written under."""
    return "defense" if kind == "pre-aggregator" else kind


def _combinations(
    kind: str, name: str, place: str, given: dict[Any, Any], info: ValidationInfo
) -> list[dict[str, Any]]:
    """Return the parameters of a method, one mapping for each combination of their values."""
    entry, model = _entry(kind, name), parameters_model(kind, name)
    whole = {p.name for p in entry.parameters.values() if "list" in p.kinds}
    lists = [len(v) for key, v in given.items() if isinstance(v, list) and key not in whole]
    if flood := too_many(place, lists):
        raise mistakes([flood])
    try:
        parsed = model.model_validate(given, context=info.context)
    except ValidationError as error:
        raise mistakes(sentences(error, model, place, f"parameter of {name}")) from None
    defaults = [] if info.context == GIVEN_ONLY else model.model_fields
    # in the order of the study file, so that its first list varies slowest
    order = list(dict.fromkeys([*given, *defaults]))
    values = [[getattr(parsed, k)] if k in whole else getattr(parsed, k) for k in order]
    if flood := too_many(place, map(len, values)):
        raise mistakes([flood])
    found, wrong = [], []
    for combination in product(*values):
        by_name = dict(zip(order, combination, strict=True))
        parameters = {key: by_name[key] for key in model.model_fields if key in by_name}
        wrong += [f"{place}: {sentence}" for sentence in violations(entry, parameters)]
        for option in [key for key in UNSET if key in parameters] if defaults else []:
            if parameters[option] == UNSET[option]:
                del parameters[option]
        found.append(parameters)
    if wrong:
        raise mistakes(wrong)
    return found


def _option(option: str, place: str, value: Any, info: ValidationInfo) -> list[Any]:
    """Return the values of an option of an attack; None is the attack without it."""
    found: list[Any] = []
    if value == []:
        raise mistakes([f"{place}: [] is an empty list: name at least one value"])
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            found.append(None)
        elif isinstance(item, dict):
            found += _combinations("option", option, place, item, info)
        else:
            raise mistakes([f"{place}: {shown(item)} must be {_OPTIONS[option][1]}"])
    return found


def _compositions(kind: str, value: list[Any], info: ValidationInfo) -> list[Method]:
    """Read lists of pre-aggregators that end with a defense, as methods."""
    names = [part.get("name") if isinstance(part, dict) else part for part in value]
    early = [n for n in names[:-1] if isinstance(n, str) and n in entries("defense")]
    problem = None
    if kind != "defense":
        problem = f"{shown(value)} is a list: name one {kind} at a time"
    elif len(value) < 2:
        problem = f"{shown(value)} is no composition: {_COMPOSITION}"
    elif any(isinstance(part, list) for part in value):
        problem = f"{shown(value)} contains another list: {_COMPOSITION}"
    elif isinstance(names[-1], str) and names[-1] in entries("pre-aggregator"):
        problem = f"{names} ends with a pre-aggregator: {_COMPOSITION}"
    elif early:
        problem = f"{names} has the defense {early[0]!r} too early: {_COMPOSITION}"
    elif len("_".join(map(str, names))) > LONGEST_NAME:
        problem = (
            f"{shown(names)} has names of more than {LONGEST_NAME} letters together, too many for "
            "the name of a file: compose fewer"
        )
    if problem:
        raise mistakes([f"{_place(kind)}: {problem}"])
    kinds = ["pre-aggregator"] * (len(value) - 1) + ["defense"]
    parts, wrong = [], []
    for part_kind, part in zip(kinds, value, strict=True):
        try:
            parts.append(parse(part_kind, part, info))
        except type(mistakes([])) as error:
            wrong += (error.context or {})["sentences"]
    if not wrong:
        wrong = _conflicts(*parts)
    if flood := too_many("defense", map(len, parts)):
        wrong.append(flood)
    if wrong:
        raise mistakes(wrong)
    return [Method(last.name, last.parameters, tuple(first)) for *first, last in product(*parts)]


def _conflicts(*parts: list[Method]) -> list[str]:
    """Why the methods of a composition cannot be used together."""
    *before, (defense, *_) = parts
    asks = entries("defense")[defense.name].asks
    if "malicious" in asks:
        return [f"defense: {defense.name!r} is an upper bound by itself: name it alone"]
    return [
        f"defense: {defense.name!r} remembers clients, but the rows after {first.name} are other "
        "clients in each round: use one of the two"
        for first, *_ in before
        if "clients" in asks and entries("pre-aggregator")[first.name].leaves is not None
    ][:1]


Attack = Annotated[
    list[Method],
    PlainValidator(partial(parse, "attack")),
    WithJsonSchema({"methods": "attack"}),
]
Defense = Annotated[
    list[Method],
    PlainValidator(partial(parse, "defense")),
    WithJsonSchema({"methods": "defense"}),
]
Partition = Annotated[
    list[Method],
    PlainValidator(partial(parse, "partition")),
    WithJsonSchema({"methods": "partition"}),
]
