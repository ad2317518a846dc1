"""Labels of grid values in tables."""

from collections.abc import Collection
from typing import Any

from skymask.study.experiment import Method
from skymask.study.registry import OPTIONS, entries, option_entry


def value_label(key: str, value: Any, axis: list[Any]) -> Any:
    """Return a value as a table shows it: a method as its label, other values unchanged.

    Args:
        key: The axis.
        value: One of its values.
        axis: All of its values; parameters that vary among them are in the label of a method.
    """
    if not isinstance(value, Method):
        return value
    alike = [v.parameters for v in axis if isinstance(v, Method) and v.name == value.name]
    return label(
        key, value, {k for k, v in value.parameters.items() if any(p.get(k) != v for p in alike)}
    )


def label(key: str, value: Any, always: Collection[str] = ()) -> str:
    """Return the label of a value: a method's name, and its parameters that are not defaults.

    A composition is written ``nnm + krum``, an attack on some coordinates or in
    some rounds ``min_max[share=0.1, first=20]``.

    Args:
        key: The axis.
        value: One of its values.
        always: Parameters that are shown in any case.
    """
    if not isinstance(value, Method):
        return str(value)
    known = entries(key)[value.name].parameters
    own = {k: v for k, v in value.parameters.items() if k not in OPTIONS}
    given = [
        f"{k}={v}" for k, v in own.items() if k not in known or v != known[k].default or k in always
    ]
    text = f"{value.name}({', '.join(given)})" if given else value.name
    parts = []
    for option in OPTIONS:
        known = option_entry(option).parameters
        parts += [
            f"{k}={'+'.join(v) if isinstance(v, list) else v}"
            for k, v in value.parameters.get(option, {}).items()
            if v != known[k].default
        ]
    text += f"[{', '.join(parts)}]" if parts else ""
    return " + ".join([*(label("pre-aggregator", m) for m in value.pre_aggregators), text])
