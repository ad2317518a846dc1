"""Small scale of a study: fewer or smaller runs of the same grid."""

from collections.abc import Mapping
from typing import Any

from skymask.study.model import SUFFIX, StudyFile
from skymask.study.validation import shown, unknown

FIXED = ("study", "scale", "small")
"""Keys that are the same at every scale."""


def scaled(
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]], list[str]]:
    """Return the values of a study at the scale that it asks for.

    At ``scale: small`` the values under ``small`` replace those of the study.

    Returns:
        The values by key; the keys that changed, each with its value at full scale (the default
        where the study does not give it) and at small scale; and a sentence for each mistake.
    """
    small = config.get("small", {})
    if not isinstance(small, dict) or config.get("scale", "full") != "small":
        return dict(config), {}, []
    scalable = [key for key in StudyFile.model_fields if key not in FIXED]
    problems = [
        f"small: {shown(key)} is the same at every scale: remove it"
        if key in FIXED
        else unknown("small", key, scalable, "key")
        for key in small
        if key not in scalable
    ]
    if not small:
        problems.append(
            "scale: 'small' is not defined for this study: write what it changes, as "
            "small: {rounds: 10}, or use scale: full"
        )
    changed = {key: value for key, value in small.items() if key in scalable}
    merged = {**config, **changed}
    reduced = {}
    for key, value in changed.items():
        field = StudyFile.model_fields[key]
        full = config.get(key, None if field.is_required() else field.default)
        if full != value:
            reduced[key] = (full, value)
    return merged, reduced, problems


def named(study: str, scale: str) -> str:
    """Return the name under which the tables of a study are written.

    >>> named("digits", "full"), named("digits", "small")
    ('digits', 'digits_small')
    """
    return f"{study}{SUFFIX}" if scale == "small" else study
