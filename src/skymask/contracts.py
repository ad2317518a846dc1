"""What a method may demand of its arguments, said once, beside the method.

``requires`` is checked when the function is called, and read from the source by
:mod:`skymask.study.registry` before any job starts; so a study is refused with the same sentence
that a caller of the library gets.  This module imports nothing heavy.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class RequirementError(ValueError):
    """A method was called where it is not defined, or with a parameter out of range."""


def requires(
    condition: Callable[..., bool], sentence: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function raise RequirementError(``sentence``) where ``condition`` does not hold.

    ``condition`` is a lambda over the function's own arguments and two derived ones: ``n``, the
    number of updates, and ``f``, the number of (assumed) malicious clients among them.

    >>> @requires(lambda n, f: n > 2 * f, "the rule needs n > 2 f")
    ... def rule(updates, assumed_malicious):
    ...     return updates[0]
    >>> rule([1, 2, 3], 1)
    1
    >>> rule([1, 2], 1)
    Traceback (most recent call last):
    skymask.contracts.RequirementError: rule: the rule needs n > 2 f (n = 2, f = 1)
    """
    names = list(inspect.signature(condition).parameters)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = derived(dict(bound.arguments))
            given = {name: values[name] for name in names}
            if not condition(**given):
                raise RequirementError(f"{function.__name__}: {violation(sentence, given)}")
            return function(*args, **kwargs)

        return checked

    return decorate


def judges(function: Callable[P, R]) -> Callable[P, R]:
    """Make a rule refuse what is no set of updates: a matrix [n, d] of finite floating numbers.

    What else it is given must fit them: ``global_parameters`` and ``server_update`` are [d],
    ``clients``, ``samples`` and ``malicious`` [n].  Raises RequirementError, which names the rows
    that are not finite: the caller rejects these first, as the workflow does.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        fault = _fault(arguments)
        if fault:
            raise RequirementError(f"{function.__name__}: {fault}")
        return function(*args, **kwargs)

    return checked


def _fault(arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the updates of a call, or with what must fit them."""
    updates = arguments["updates"]
    shape = tuple(getattr(updates, "shape", ()))
    if len(shape) != 2 or 0 in shape:
        given = str(list(shape)) if hasattr(updates, "shape") else type(updates).__name__
        return f"updates must be a tensor [n, d], a row per client, not {given}"
    if not updates.is_floating_point():
        return f"updates must be floating numbers, not {updates.dtype}"
    lengths = dict.fromkeys(("global_parameters", "server_update"), shape[1])
    lengths |= dict.fromkeys(("clients", "samples", "malicious"), shape[0])
    for name, length in lengths.items():
        found = getattr(arguments.get(name), "shape", None)
        if found is not None and tuple(found) != (length,):
            return f"{name} must be [{length}] beside updates {list(shape)}, not {list(found)}"
    # the sum is a fraction of a pass by elements; it is not finite where one of them is not
    if not bool(updates.sum().isfinite()):
        rows = (~updates.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if rows:
            return f"the updates of rows {rows} are not finite: reject these clients first"
    return None


def own(function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a method's parameters that ``function`` takes.

    An attack on data and on updates is two functions with one set of parameters.

    >>> own(lambda x, *, y=1: x, {"y": 2, "z": 3})
    {'y': 2}
    """
    known = inspect.signature(function).parameters
    return {name: value for name, value in parameters.items() if name in known}


def call(
    function: Callable[..., R],
    offers: Mapping[str, Callable[[], Any]],
    parameters: Mapping[str, Any],
) -> R:
    """Call ``function`` with its parameters and with those offers that its signature names.

    An offer is a thunk, so what nobody asks for is never computed.

    >>> call(lambda x, y, *, z: x + y + z, {"x": lambda: 1, "y": lambda: 2, "q": exit}, {"z": 3})
    6
    """
    asked = [name for name in inspect.signature(function).parameters if name in offers]
    return function(**{name: offers[name]() for name in asked}, **parameters)


def describes(**facts: Any) -> Callable[[F], F]:
    """Attach plain facts (classes, shapes, sizes) to a registry entry: its attribute ``facts``."""

    def decorate(function: F) -> F:
        function.facts = facts  # type: ignore[attr-defined]
        return function

    return decorate


def leaves(condition: Callable[..., int]) -> Callable[[F], F]:
    """Say how many rows a pre-aggregator leaves of n, where it is not n: its attribute ``leaves``.

    ``condition`` is a lambda over ``n`` and the function's own parameters.

    >>> leaves(lambda n, size: -(-n // size))(lambda updates, *, size: updates).leaves(5, 2)
    3
    """

    def decorate(function: F) -> F:
        function.leaves = condition  # type: ignore[attr-defined]
        return function

    return decorate


def violation(sentence: str, given: dict[str, Any]) -> str:
    """The sentence, with the values that break it."""
    return f"{sentence} ({', '.join(f'{name} = {value}' for name, value in given.items())})"


def derived(arguments: dict[str, Any]) -> dict[str, Any]:
    """Add ``n``, ``f`` and the ``shape`` of a sample to a call's arguments, where they are told."""
    if "updates" in arguments:
        # what is no matrix has no rows; ``judges`` says so
        sized = getattr(arguments["updates"], "ndim", 1) > 0
        arguments["n"] = len(arguments["updates"]) if sized else 0
    if "features" in arguments:
        arguments["shape"] = tuple(arguments["features"].shape[1:])
    if arguments.get("assumed_malicious") is not None:
        arguments["f"] = int(arguments["assumed_malicious"])
    elif arguments.get("malicious") is not None:
        arguments["f"] = int(arguments["malicious"].sum())
    return arguments
