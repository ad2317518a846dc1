"""Registries of methods, data sets and models, read from the source.

The Snakefile must know, before any job and without loading torch, which methods exist, which
parameters they take and what they require.  The syntax trees of the package say so.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from skymask.contracts import WHOLE_MODEL

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Parameter:
    """A keyword-only argument with a default.

    ``kinds`` are the types of its annotation; ``choices`` the values of a ``Literal``.
    """

    name: str
    default: Any
    kinds: frozenset[str]
    choices: tuple[Any, ...]
    description: str = ""


@dataclass(frozen=True)
class Requirement:
    """A condition over ``names``, and the sentence that states it."""

    condition: Callable[..., bool]
    names: tuple[str, ...]
    sentence: str
    code: ast.expr = field(compare=False)


@dataclass(frozen=True)
class Entry:
    """One entry of a registry, read from its source."""

    name: str
    module: str
    parameters: dict[str, Parameter]
    asks: frozenset[str]
    requirements: tuple[Requirement, ...]
    facts: dict[str, Any]
    summary: str
    leaves: Requirement | None = None
    """How many rows a pre-aggregator leaves; its condition returns that number."""


def path_of(module: str) -> Path | None:
    """Return the file of a module of this package, or None if there is none."""
    place = ROOT.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if module.split(".")[0] == "skymask" and path.is_file():
            return path
    return None


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module.

    Raises:
        KeyError: The package has no module of that name.
    """
    path = path_of(module)
    if path is None:
        raise KeyError(module)
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def registry(module: str, variable: str) -> dict[str, Entry]:
    """Read a registry: the dict literal ``variable`` of ``module`` and the functions it names."""
    origin = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree(module).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    entries = {}
    for name, value in _dict_literal(module, variable):
        home, function = origin.get(value, (module, value))
        entries[name] = entry(name, home, function)
    return entries


def _dict_literal(module: str, variable: str) -> list[tuple[str, str]]:
    for node in tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(t, ast.Name) and t.id == variable for t in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Dict):
            pairs = []
            for key, item in zip(value.keys, value.values, strict=True):
                if not (isinstance(key, ast.Constant) and isinstance(item, ast.Name)):
                    raise ValueError(
                        f"{path_of(module)}, line {value.lineno}: write each entry of {variable} "
                        'as "name": function, with the function imported or defined by name'
                    )
                pairs.append((str(key.value), item.id))
            return pairs
    raise KeyError(f"{module} holds no dict literal {variable}")


@cache
def entry(name: str, module: str, function: str) -> Entry:
    """Read the entry ``name`` from the source of its ``function`` in ``module``."""
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            break
    else:
        raise KeyError(f"{module} defines no function {function}")
    arguments = node.args
    keywords = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    docstring = ast.get_docstring(node) or ""
    described = _described(docstring)
    parameters = {
        a.arg: _parameter(a, default, described.get(a.arg, ""))
        for a, default in keywords
        if default is not None
    }
    asks = [*arguments.posonlyargs, *arguments.args, *(a for a, d in keywords if d is None)]
    requirements, facts, leaves = _decorations(node)
    return Entry(
        name,
        module,
        parameters,
        frozenset(a.arg for a in asks),
        tuple(requirements),
        facts,
        docstring.split("\n\n")[0].replace("\n", " "),
        leaves,
    )


def _described(docstring: str) -> dict[str, str]:
    """Return the descriptions in the ``Args`` section of a docstring, by argument."""
    section = re.search(r"^Args:\n((?: {4}.*\n|\n)*)", docstring + "\n", re.MULTILINE)
    items = re.findall(
        r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in items}


def _decorations(
    node: ast.FunctionDef,
) -> tuple[list[Requirement], dict[str, Any], Requirement | None]:
    """Return the ``requires``, ``describes`` and ``leaves`` of a function."""
    requirements, facts, leaves = [], {}, None
    for decorator in node.decorator_list:
        if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name)):
            continue
        if decorator.func.id == "requires" and isinstance(decorator.args[0], ast.Lambda):
            sentence = ast.literal_eval(decorator.args[1])
            requirements.append(_condition(decorator.args[0], sentence))
        elif decorator.func.id == "leaves" and isinstance(decorator.args[0], ast.Lambda):
            leaves = _condition(decorator.args[0], "rows left")
        elif decorator.func.id == "describes":
            facts = {k.arg: ast.literal_eval(k.value) for k in decorator.keywords if k.arg}
    return requirements, facts, leaves


def _condition(code: ast.Lambda, sentence: str) -> Requirement:
    function = eval(compile(ast.Expression(code), "<requires>", "eval"))
    return Requirement(function, tuple(a.arg for a in code.args.args), sentence, code.body)


def _parameter(argument: ast.arg, default: ast.expr, description: str) -> Parameter:
    kinds: set[str] = set()
    choices: list[Any] = []

    def read(node: ast.expr | None) -> None:
        if isinstance(node, ast.BinOp):
            read(node.left)
            read(node.right)
        elif isinstance(node, ast.Name):
            kinds.add(node.id)
        elif isinstance(node, ast.Constant) and node.value is None:
            kinds.add("None")
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if node.value.id == "Literal":
                values = ast.literal_eval(node.slice)
                choices.extend(values if isinstance(values, tuple) else [values])
            else:
                kinds.add(node.value.id)

    read(argument.annotation)
    value = ast.literal_eval(default)
    return Parameter(argument.arg, value, frozenset(kinds), tuple(choices), description)


ATTACKS = ("ATTACKS", "DATA_ATTACKS", "TRIGGERS")
"""The registries of attacks: on updates, on data, and the triggers of backdoors."""


def entries(kind: str) -> dict[str, Entry]:
    """Return the entries of a kind by name.

    Args:
        kind: ``"dataset"``, ``"model"``, ``"partition"``, ``"attack"``, ``"defense"`` or
            ``"pre-aggregator"``.
    """
    if kind == "attack":
        return _attacks()
    module, variable = {
        "dataset": ("skymask.data.datasets", "DATASETS"),
        "model": ("skymask.models.architectures", "MODELS"),
        "partition": ("skymask.data.partition", "PARTITIONS"),
        "defense": ("skymask.defenses", "DEFENSES"),
        "pre-aggregator": ("skymask.defenses", "PRE_AGGREGATORS"),
    }[kind]
    return registry(module, variable)


@cache
def _attacks() -> dict[str, Entry]:
    """All attacks; one on data and on updates has the parameters of both functions.

    A backdoor also requires what its trigger requires.
    """
    merged: dict[str, Entry] = {}
    for variable in ATTACKS:
        for name, part in registry("skymask.attacks", variable).items():
            known = merged.get(name, replace(part, parameters={}, requirements=()))
            own = {} if variable == "TRIGGERS" else part.parameters
            merged[name] = replace(
                known,
                parameters={**known.parameters, **own},
                asks=known.asks | part.asks,
                requirements=known.requirements + part.requirements,
            )
    return merged


OPTIONS = {
    "coordinates": ("skymask.attacks.coordinates", "attacked_coordinates"),
    "attack_rounds": ("skymask.study.attack_rounds", "attacks_in"),
}
"""Keys with parameters of their own that attacks take next to theirs, and where these are read."""


def option_entry(option: str) -> Entry:
    """Return the entry of one of the ``OPTIONS``."""
    return entry(option, *OPTIONS[option])


def options(kind: str, name: str) -> list[str]:
    """Return the ``OPTIONS`` that a method has: any attack a schedule, one on updates coordinates.

    Args:
        kind: A kind of the registry.
        name: Name of the method.
    """
    if kind != "attack" or name == "none":
        return []
    on_updates = name in registry("skymask.attacks", "ATTACKS")
    return ["coordinates", "attack_rounds"] if on_updates else ["attack_rounds"]


def can_judge_layers(name: str) -> bool:
    """Whether a defense can be applied to every layer by itself, with ``per: layer``.

    SkyMask judges layers in a way of its own, by a parameter of the same name.
    """
    known = entries("defense")[name]
    whole = known.facts.get("whole_model", False) or bool(known.asks & set(WHOLE_MODEL))
    return not whole and "per" not in known.parameters
