"""What the Snakefile and some scripts need: the study, a lock, the places where data may lie.

Imports nothing heavy.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from skymask import study


def read_study(config: Mapping[str, Any], base: str | Path, file: str = "study") -> study.Study:
    """Check the merged ``config`` of Snakemake against the schema below ``base``.

    ``file`` is what messages call it.  Raises StudyError.
    """
    schema = Path(base) / "workflow" / "schemas" / "study.schema.yaml"
    return study.read(config, yaml.safe_load(schema.read_text(encoding="utf-8")), file)


def hold(folder: Path) -> TextIO | None:
    """Mark ``folder`` (Snakemake's own) as in use while the returned file is open.

    If no other process has it in use, locks that a killed run left there are removed, so that the
    same command goes on.  The mark is a lock of the operating system, which ends with the process
    however that ends.  Returns ``None`` where the file system has no such locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = (folder / "in-use").open("w")
    except OSError:
        return None
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in folder.glob("locks/*.lock"):
            stale.unlink()
    except BlockingIOError:
        pass
    except OSError:
        mark.close()
        return None
    fcntl.flock(mark, fcntl.LOCK_SH)
    return mark


def repeated_keys(file: str | Path) -> list[str]:
    """The keys that a YAML file writes twice at its top: YAML lets the last one win, silently."""
    node = yaml.compose(Path(file).read_text(encoding="utf-8"))
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    counts = Counter(str(key.value) for key, _ in pairs)
    return [key for key, count in counts.items() if count > 1]


def search_path(folders: list[str]) -> list[Path]:
    """Where to look for local copies of data: SKYMASK_DATA first, then the study's folders.

    The variable holds folders separated by the system's path separator.
    """
    named = os.environ.get("SKYMASK_DATA", "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in [*filter(None, named), *folders]]
