"""Checks of a method's arguments by their annotations and names."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    list: "a list",
    NoneType: "None",
}
_ROWS, _COLUMNS = ("clients", "samples", "malicious"), ("global_parameters", "server_update")
_KINDS = {"clients": "integers", "samples": "numbers", "malicious": "bool", "labels": "integers"}
"""What other arguments than ``updates`` and ``features`` contain; floating numbers by default."""


def value_check(name: str, annotation: Any) -> Callable[[Any], Any] | None:
    """Make the check of a parameter from its annotation.

    Args:
        name: Name of the parameter.
        annotation: Its annotation: ``Literal``, ``int``, ``float``, ``bool``, ``str``, ``list`` or
            ``None``, or a union of these.

    Returns:
        A function that returns the value, as the annotated type where it is a NumPy number, or
        raises a ValueError; None for any other annotation.

    A ``bool`` is no number here, and an integer written as 2.0 is not the choice 2.

    >>> check = value_check("clusters", Literal["auto", 2])
    >>> check(2)
    2
    >>> check("2")
    Traceback (most recent call last):
    ValueError: clusters must be 'auto' or 2, not '2': did you mean 2?
    """
    union = get_origin(annotation) in (Union, UnionType)
    parts = get_args(annotation) if union else (annotation,)
    choices = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    types = [get_origin(part) or part for part in parts if get_origin(part) is not Literal]
    if not all(isinstance(kind, type) and kind in _WORDS for kind in types):
        return None

    def checked(value: Any) -> Any:
        try:
            return _allowed(value, choices, types)
        except (TypeError, OverflowError):
            words = [*map(repr, choices), *(_WORDS[kind] for kind in types)]
            near = get_close_matches(str(value), map(str, choices), n=1)
            hints = [f": did you mean {choice!r}?" for choice in choices if [str(choice)] == near]
            wanted = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
            text = f"{name} must be {wanted}, not {value!r:.80}{''.join(hints)}"
            raise ValueError(text) from None

    return checked


def _allowed(value: Any, choices: list[Any], types: list[Any]) -> Any:
    """Return ``value`` as one of the ``choices`` or ``types``, or raise a TypeError."""
    if isinstance(value, bool):
        if bool in types or any(choice is value for choice in choices):
            return value
    elif value is None:
        if NoneType in types:
            return None
    elif isinstance(value, str):
        if str in types or value in choices:
            return value
    elif isinstance(value, list):
        if list in types:
            return value
    else:
        return _number(value, choices, types)
    raise TypeError


def _number(value: Any, choices: list[Any], types: list[Any]) -> Any:
    """Return ``value`` as an integer or a finite number, or raise a TypeError."""
    if float in types and isinstance(value, Real) and math.isfinite(value):
        return value if isinstance(value, float | int) else float(value)
    # an integer of Python, of NumPy or of a tensor with one entry
    integer = operator.index(value)
    if int in types or any(
        integer == choice and not isinstance(choice, bool) for choice in choices
    ):
        return integer
    raise TypeError


def tensor_fault(arguments: Mapping[str, Any], optional: frozenset[str]) -> str | None:
    """Return what is wrong with the tensors of a call, from their shapes and dtypes.

    Args:
        arguments: The arguments by name. ``updates`` must be [n, d] and ``features`` [N, ...], of
            floating numbers; ``global_parameters`` and ``server_update`` [d]; ``layout`` of d
            coordinates; ``clients``, ``samples`` and ``malicious`` [n]; ``labels``, with
            ``features``, [N].
        optional: Names of the arguments that may be None.

    Returns:
        A sentence, or None.
    """
    lengths: dict[str, int] = {}
    if "updates" in arguments:
        updates = arguments["updates"]
        shape = tuple(getattr(updates, "shape", ()))
        if not _is_tensor(updates) or len(shape) != 2 or 0 in shape:
            return f"updates must be a tensor [n, d], a row per client, not {_shown(updates)}"
        if not updates.is_floating_point():
            return f"updates must be floating numbers, not {updates.dtype}"
        lengths |= dict.fromkeys(_COLUMNS, shape[1]) | dict.fromkeys(_ROWS, shape[0])
        layout = arguments.get("layout")
        if layout is not None and layout.dimension != shape[1]:
            return f"layout has {layout.dimension} coordinates, but updates are {list(shape)}"
    if "features" in arguments:
        features = arguments["features"]
        if not _is_tensor(features) or len(features.shape) < 2:
            return f"features must be a tensor [N, ...], a sample per row, not {_shown(features)}"
        if not features.is_floating_point():
            return f"features must be floating numbers, not {features.dtype}"
        lengths["labels"] = len(features)
    for name, length in lengths.items():
        value = arguments.get(name, lengths)
        if value is lengths or (value is None and name in optional):
            continue
        if not _is_tensor(value) or tuple(value.shape) != (length,):
            rows = "updates" if "updates" in arguments else "features"
            given = f"with {rows} {list(arguments[rows].shape)}, not {_shown(value)}"
            return f"{name} must be a tensor [{length}] {given}"
        if not _holds(value, _KINDS.get(name, "floating numbers")):
            kind = _KINDS.get(name, "floating numbers")
            return f"{name} must be {kind}, not {value.dtype}"
    return None


def _is_tensor(value: Any) -> bool:
    # without importing torch
    return hasattr(value, "is_floating_point")


def _holds(tensor: Any, kind: str) -> bool:
    """Return whether a tensor is of a kind of numbers."""
    if kind == "bool":
        return str(tensor.dtype) == "torch.bool"
    floating = tensor.is_floating_point()
    if kind == "floating numbers":
        return bool(floating)
    whole = not floating and str(tensor.dtype) != "torch.bool" and not tensor.is_complex()
    return bool(whole or (kind == "numbers" and floating))


def _shown(value: Any) -> str:
    """Return the shape of a tensor, or the type of anything else."""
    return str(list(value.shape)) if _is_tensor(value) else type(value).__name__


def detached(value: Any) -> Any:
    """Take all tensors in a value out of their autograd graphs.

    Args:
        value: A tensor, a dict, tuple or dataclass with tensors, or anything else.

    Returns:
        ``value`` itself where no tensor requires a gradient; otherwise a copy in which the tensors
        share their memory with those of ``value``.
    """
    if value is None or isinstance(value, int | float | str):
        return value
    if hasattr(value, "requires_grad"):
        return value.detach() if value.requires_grad else value
    if isinstance(value, dict):
        changed = _changed(value)
        return {**value, **changed} if changed else value
    if type(value) is tuple:
        changed = _changed(dict(enumerate(value)))
        return tuple(changed.get(i, part) for i, part in enumerate(value)) if changed else value
    if is_dataclass(value) and not isinstance(value, type):
        changed = _changed({f.name: getattr(value, f.name) for f in fields(value) if f.init})
        return replace(value, **changed) if changed else value
    return value


def _changed(parts: dict[Any, Any]) -> dict[Any, Any]:
    """Return those of ``parts`` that are not what they are when detached."""
    new = {key: detached(part) for key, part in parts.items()}
    return {key: part for key, part in new.items() if part is not parts[key]}
