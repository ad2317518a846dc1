"""A study at its small scale: the same file, with the values that its key ``small`` names."""

from collections.abc import Mapping
from typing import Any

from skymask.study.validation import Problems

SUFFIX = "_small"
"""What the name of a study gets at its small scale, so that its tables lie beside those in full."""

FIXED = ("study", "scale", "small")
"""Keys that stay what they are at every scale."""


def scaled(
    config: Mapping[str, Any], schema: Mapping[str, Any], problems: Problems
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """The values of a study at the scale it asks for, and what was changed for it.

    At ``scale: small`` the values under ``small`` replace those of the study; the second result
    maps each key to its value in full (the schema's default, if the study leaves it out) and at
    the small scale.  Mistakes go to ``problems``.
    """
    small = config.get("small", {})
    if not isinstance(small, dict) or config.get("scale", "full") != "small":
        return dict(config), {}
    for key in small:
        if key in FIXED:
            problems.add("small", key, "is the same at every scale: remove it")
        elif key not in schema:
            problems.unknown("small", key, [k for k in schema if k not in FIXED], "key")
    if not small:
        problems.say(
            "scale: 'small' is not defined for this study: name what it changes under small, "
            "as small: {rounds: 10}, or take scale: full"
        )
    known = {k: v for k, v in small.items() if k in schema and k not in FIXED}
    merged = {**config, **known}
    if isinstance(config.get("study"), str):
        merged["study"] = named(config["study"], "small")
    reduced = {
        key: (config.get(key, schema[key].get("default")), value) for key, value in known.items()
    }
    return merged, {key: pair for key, pair in reduced.items() if pair[0] != pair[1]}


def named(study: str, scale: str) -> str:
    """The name under which the tables of a study lie.

    >>> named("digits", "full"), named("digits", "small")
    ('digits', 'digits_small')
    """
    return f"{study}{SUFFIX}" if scale == "small" else study
