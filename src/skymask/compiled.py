"""Loops compiled by numba.  Imported only where such a loop runs: the compiler takes a moment."""

from collections.abc import Callable
from typing import Any

from numba import njit

Loop = Callable[..., Any]


def compiled(**options: Any) -> Callable[[Loop], Loop]:
    """``njit``; kept on disk for the next process where there is a place for that."""

    def decorate(function: Loop) -> Loop:
        try:
            return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:
            return njit(**options)(function)  # type: ignore[no-any-return]

    return decorate
