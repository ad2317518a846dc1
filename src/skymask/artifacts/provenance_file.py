"""Provenance files: what made the output files of a job, and their checksums.

The last file that a job writes is a JSON object with ``made``, which determines the contents of
the others (:mod:`skymask.jobs.provenance`), and ``files``, the checksum of each by its path from
the folder above its own.  Files are current if they are what the provenance file says and if it
says what is wanted now, whatever their times: also after a copy, or in another clone.

Imports no pyarrow, since the Snakefile imports it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skymask.artifacts import checksum
from skymask.artifacts.atomic import atomic
from skymask.artifacts.errors import not_read

Made = Mapping[str, Any]
"""What determines the files of a job: plain values by name."""


@contextmanager
def recorded(snakemake: Any) -> Iterator[None]:
    """Write the provenance file of a job when the block succeeds.

    Args:
        snakemake: Object that Snakemake gives the script of the job; the file is its output
            ``provenance``, and what determines the files its parameter of that name.
    """
    yield
    path = snakemake.output.provenance
    others = [Path(file) for file in snakemake.output if file != path]
    write(Path(path), snakemake.params.provenance, others)


def write(path: Path, made: Made, files: Iterable[Path]) -> None:
    """Write the provenance file of a job; the files must exist.

    Args:
        path: The provenance file.
        made: What determines the files.
        files: The other output files of the job.

    Raises:
        StorageError: The disk is full or write-protected.
    """
    checksums = {_key(path, file): _checksum(file) for file in files}
    content = {"made": dict(made), "files": checksums}
    with atomic(path) as temporary:
        text = json.dumps(content, indent=1, sort_keys=True)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any] | None:
    """Read a provenance file; ``None`` if it is missing or not one.

    Raises:
        OSError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    valid = isinstance(content, dict) and isinstance(content.get("files"), dict)
    return content if valid and isinstance(content.get("made"), dict) else None


def is_current(path: Path, made: Made, files: Iterable[Path]) -> bool:
    """Return whether ``files`` are as ``made`` determines them now.

    Files that are missing do not count: some are deleted when no job needs them any more.

    Args:
        path: The provenance file of the job.
        made: What determines the files now.
        files: The other output files of the job.

    Raises:
        ReadError: A file cannot be read, which tells nothing about it.
    """
    with _named(path):
        content = read(path)
    # as JSON has them: lists for tuples
    if content is None or content["made"] != json.loads(json.dumps(dict(made))):
        return False
    for file in files:
        with _named(file):
            if file.exists() and content["files"].get(_key(path, file)) != _checksum(file):
                return False
    return True


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Name the file in an error of the block."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise not_read(file, error) from error


def _key(path: Path, file: Path) -> str:
    return os.path.relpath(file, path.parents[1])


def _checksum(file: Path) -> str | None:
    """Return the checksum of a file, of Parquet the one that it has inside."""
    if file.suffix == ".parquet":
        return checksum.stored(file)
    return hashlib.sha256(file.read_bytes()).hexdigest()
