"""Whether an optional package is there, without importing it."""

from functools import cache
from importlib.util import find_spec


@cache
def installed(package: str) -> bool:
    """Whether ``package`` can be imported."""
    return find_spec(package) is not None
