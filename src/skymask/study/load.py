"""The study file, loaded and checked."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from skymask.study import grid


def read_study(config: Mapping[str, Any], base: str | Path, file: str = "study") -> grid.Study:
    """Check the merged ``config`` of Snakemake against the schema below ``base``.

    ``file`` is what messages call it.  Raises StudyError.
    """
    schema = Path(base) / "workflow" / "schemas" / "study.schema.yaml"
    return grid.read(config, yaml.safe_load(schema.read_text(encoding="utf-8")), file)


def overrides(given: Any) -> Any:
    """What ``--config`` gave, as a study file would have it.

    Snakemake reads numbers that stand alone, and leaves ``null`` and what lists hold as text.
    """
    if isinstance(given, Mapping):
        return {key: overrides(value) for key, value in given.items()}
    if isinstance(given, list):
        return [overrides(value) for value in given]
    if not isinstance(given, str):
        return given
    try:
        read = yaml.safe_load(given)
    except (yaml.YAMLError, ValueError, RecursionError):
        return given
    # a date or a mapping in quotes was meant as text
    return read if read is None or isinstance(read, bool | int | float) else given


def repeated_keys(file: str | Path) -> list[str]:
    """The keys that a YAML file writes twice at its top: YAML lets the last one win, silently."""
    node = yaml.compose(Path(file).read_text(encoding="utf-8"))
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    counts = Counter(str(key.value) for key, _ in pairs)
    return [key for key, count in counts.items() if count > 1]
