"""Requirements that methods declare on their arguments.

``requires`` is checked when a method is called, and read from its source by
:mod:`skymask.study.registry` before any job starts, so a study file and a call from Python are
refused with the same sentence. This module imports nothing heavy.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from skymask.arguments import detached, tensor_fault, value_check

WHOLE_MODEL = ("model", "loss", "root")
"""What a defense asks for that judges whole models and so cannot judge one layer by itself."""

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class RequirementError(ValueError):
    """A method was called where it is not defined, or with a parameter out of range."""


@dataclass(frozen=True)
class _Requirement:
    """A condition over the arguments ``names``, and the sentence that states it."""

    names: tuple[str, ...]
    condition: Callable[..., bool]
    sentence: str


def requires(
    condition: Callable[..., bool], sentence: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function raise a RequirementError where a condition is false.

    It includes :func:`checked`.

    Args:
        condition: A lambda over the function's own arguments and two derived ones: ``n``, the
            number of updates, and ``f``, the number of (assumed) malicious clients among them.
        sentence: What the condition demands, for the message.

    Returns:
        The decorator.

    >>> import torch
    >>> @requires(lambda n, f: n > 2 * f, "the rule needs n > 2 f")
    ... def rule(updates, assumed_malicious):
    ...     return updates[0]
    >>> rule(torch.eye(3), 1)
    tensor([1., 0., 0.])
    >>> rule(torch.eye(2), 1)
    Traceback (most recent call last):
    skymask.contracts.RequirementError: rule: the rule needs n > 2 f (n = 2, f = 1)
    """
    requirement = _Requirement(tuple(inspect.signature(condition).parameters), condition, sentence)
    return lambda function: _strict(function, (requirement,))


def judges(function: Callable[P, R]) -> Callable[P, R]:
    """Make a rule refuse updates that are not finite.

    It includes :func:`checked`. The RequirementError names the rows that are not finite; the caller
    rejects these clients first, as the workflow does.

    Args:
        function: The rule.

    Returns:
        The rule with these checks.
    """
    return _strict(function, finite=True)


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a method refuse arguments of a wrong type or shape, and ignore autograd graphs.

    A RequirementError is raised for

    - a value that the annotation does not allow, where that is a ``Literal``, ``int``, ``float``,
      ``bool``, ``str`` or ``list``;
    - a negative ``assumed_malicious``;
    - ``updates`` that are not a matrix [n, d] of floating numbers, and arguments that do not fit
      them (:func:`.tensor_fault`).

    Tensors that require a gradient are detached before the call, and so is what it returns: the
    result is the same as without gradients, and the caller's tensors stay as they are.

    Args:
        function: The method.

    Returns:
        The method with these checks.
    """
    return _strict(function)


def _strict(
    function: Callable[P, R],
    requirements: tuple[_Requirement, ...] = (),
    *,
    finite: bool = False,
) -> Callable[P, R]:
    """Add checks to a function, in one wrapper for all of its decorators."""
    plain = function
    if hasattr(function, "_checks"):
        earlier, was_finite = function._checks
        # the outer decorator's requirement is checked first
        requirements, finite = (*requirements, *earlier), finite or was_finite
        plain = function.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(plain, eval_str=True)
    parameters = signature.parameters.values()
    values = {p.name: value_check(p.name, p.annotation) for p in parameters}
    value_checks = [(name, check) for name, check in values.items() if check is not None]
    optional = frozenset(p.name for p in parameters if p.default is None)

    def fault(arguments: dict[str, Any]) -> str | None:
        try:
            for name, check in value_checks:
                arguments[name] = check(arguments[name])
        except ValueError as error:
            return str(error)
        problem = tensor_fault(arguments, optional)
        if problem is not None:
            return problem
        if (arguments.get("assumed_malicious") or 0) < 0:
            count = arguments["assumed_malicious"]
            return violation("assumed_malicious must not be negative", {"f": count})
        for requirement in requirements:
            given = {name: _value(name, arguments) for name in requirement.names}
            if not requirement.condition(**given):
                return violation(requirement.sentence, given)
        return _not_finite(arguments["updates"]) if finite else None

    @wraps(function)
    def strict(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        problem = fault(bound.arguments)
        if problem is not None:
            raise RequirementError(f"{plain.__name__}: {problem}")
        for name, value in bound.arguments.items():
            bound.arguments[name] = detached(value)
        result: R = detached(plain(*bound.args, **bound.kwargs))
        return result

    strict.__wrapped__ = plain
    strict._checks = requirements, finite  # type: ignore[attr-defined]
    return strict


def _value(name: str, arguments: Mapping[str, Any]) -> Any:
    """Return an argument, or ``n``, ``f`` or the ``shape`` of a sample derived from others."""
    if name == "n" and "updates" in arguments:
        return len(arguments["updates"])
    if name == "f" and arguments.get("assumed_malicious") is not None:
        return int(arguments["assumed_malicious"])
    if name == "f" and arguments.get("malicious") is not None:
        return int(arguments["malicious"].sum())
    if name == "shape" and "features" in arguments:
        return tuple(arguments["features"].shape[1:])
    return arguments[name]


def _not_finite(updates: Any) -> str | None:
    """Return a sentence that names the rows of ``updates`` [n, d] that are not finite."""
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
