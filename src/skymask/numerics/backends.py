"""Optional compiled backends."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

Loop = Callable[..., Any]


@cache
def installed(package: str) -> bool:
    """Return whether ``package`` can be imported, without importing it."""
    return find_spec(package) is not None


def compiled(**options: Any) -> Callable[[Loop], Loop]:
    """Compile a loop with numba's ``njit``, cached on disk where possible."""
    # the compiler takes a moment to import, so only where a compiled loop runs
    from numba import njit

    def decorate(function: Loop) -> Loop:
        try:
            return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:
            return njit(**options)(function)  # type: ignore[no-any-return]

    return decorate
