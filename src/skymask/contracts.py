"""Requirements that methods declare on their arguments.

``requires`` is checked when a method is called, and read from its source by
:mod:`skymask.study.registry` before any job starts, so a study file and a call from Python are
refused with the same sentence. This module imports nothing heavy.
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
    """Make a function raise a RequirementError where a condition is false.

    Args:
        condition: A lambda over the function's own arguments and two derived ones: ``n``, the
            number of updates, and ``f``, the number of (assumed) malicious clients among them.
        sentence: What the condition demands, for the message.

    Returns:
        The decorator.

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
    """Make a rule refuse updates that are not a matrix [n, d] of finite floating numbers.

    Other arguments must fit them: ``global_parameters`` and ``server_update`` are [d], ``clients``,
    ``samples`` and ``malicious`` [n]. The RequirementError names the rows that are not finite; the
    caller rejects these clients first, as the workflow does.

    Args:
        function: The rule.

    Returns:
        The rule with these checks.
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
    """Return what is wrong with the updates of a call, or with what must fit them."""
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
        actual = getattr(arguments.get(name), "shape", None)
        if actual is not None and tuple(actual) != (length,):
            return f"{name} must be [{length}] with updates {list(shape)}, not {list(actual)}"
    # a sum is faster than a test of each element; it is not finite where one of them is not
    if not bool(updates.sum().isfinite()):
        rows = (~updates.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if rows:
            return f"the updates of rows {rows} are not finite: reject these clients first"
    return None


def own(function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Select the parameters of a method that ``function`` takes.

    An attack on data and on updates is two functions with one set of parameters.

    Args:
        function: One of the functions of a method.
        parameters: All parameters of the method.

    Returns:
        Those of ``parameters`` that ``function`` takes.

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
    """Call a function with its parameters and the offers that its signature names.

    Args:
        function: The function.
        offers: Functions without arguments that compute what the signature may name; the others are
            not called.
        parameters: Keyword arguments.

    Returns:
        The result of ``function``.

    >>> call(lambda x, y, *, z: x + y + z, {"x": lambda: 1, "y": lambda: 2, "q": exit}, {"z": 3})
    6
    """
    asked = [name for name in inspect.signature(function).parameters if name in offers]
    return function(**{name: offers[name]() for name in asked}, **parameters)


def describes(**facts: Any) -> Callable[[F], F]:
    """Attach facts (classes, shapes, sizes) to a registry entry, as its attribute ``facts``.

    Args:
        **facts: Plain values.

    Returns:
        The decorator.
    """

    def decorate(function: F) -> F:
        function.facts = facts  # type: ignore[attr-defined]
        return function

    return decorate


def leaves(condition: Callable[..., int]) -> Callable[[F], F]:
    """Declare how many rows a pre-aggregator leaves of n, as its attribute ``leaves``.

    Args:
        condition: A lambda over ``n`` and the function's own parameters.

    Returns:
        The decorator.

    >>> leaves(lambda n, size: -(-n // size))(lambda updates, *, size: updates).leaves(5, 2)
    3
    """

    def decorate(function: F) -> F:
        function.leaves = condition  # type: ignore[attr-defined]
        return function

    return decorate


def violation(sentence: str, given: dict[str, Any]) -> str:
    """Return the sentence with the values that break it."""
    return f"{sentence} ({', '.join(f'{name} = {value}' for name, value in given.items())})"


def derived(arguments: dict[str, Any]) -> dict[str, Any]:
    """Add ``n``, ``f`` and the ``shape`` of a sample to a call's arguments, where they are known.

    Args:
        arguments: The arguments of a call by name, changed in place.

    Returns:
        ``arguments``.
    """
    if "updates" in arguments:
        # what is not a matrix has no rows; ``judges`` reports it
        sized = getattr(arguments["updates"], "ndim", 1) > 0
        arguments["n"] = len(arguments["updates"]) if sized else 0
    if "features" in arguments:
        arguments["shape"] = tuple(arguments["features"].shape[1:])
    if arguments.get("assumed_malicious") is not None:
        arguments["f"] = int(arguments["assumed_malicious"])
    elif arguments.get("malicious") is not None:
        arguments["f"] = int(arguments["malicious"].sum())
    return arguments
