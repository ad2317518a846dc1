"""Labels of grid values in tables."""

from collections.abc import Collection
from typing import Any

from skymask.study.experiment import Method
from skymask.study.methods import REGISTRIES, coordinates_entry


def value_label(key: str, value: Any, axis: list[Any]) -> Any:
    """A value as it is, and of a method its label, with all parameters that vary along the axis."""
    if not isinstance(value, Method):
        return value
    alike = [v.parameters for v in axis if isinstance(v, Method) and v.name == value.name]
    return label(
        key, value, {k for k, v in value.parameters.items() if any(p[k] != v for p in alike)}
    )


def label(key: str, value: Any, always: Collection[str] = ()) -> str:
    """What a table calls a value: a method's name, with its parameters that are not defaults.

    Those in ``always`` are named in any case.  A composition is written ``nnm + krum``, and
    coordinates ``min_max[share=0.1]``.
    """
    if not isinstance(value, Method):
        return str(value)
    known = REGISTRIES[key]()[value.name].parameters
    own = {k: v for k, v in value.parameters.items() if k != "coordinates"}
    given = [f"{k}={v}" for k, v in own.items() if v != known[k].default or k in always]
    text = f"{value.name}({', '.join(given)})" if given else value.name
    known = coordinates_entry().parameters
    where = [
        f"{k}={'+'.join(v) if isinstance(v, list) else v}"
        for k, v in value.parameters.get("coordinates", {}).items()
        if v != known[k].default
    ]
    text += f"[{', '.join(where)}]" if where else ""
    return " + ".join([*(label("pre-aggregator", m) for m in value.pre_aggregators), text])
