"""A table of a study as files: texts to read and to compute with, and Parquet that vouches.

A text has no place for a checksum, so the Parquet file beside it, itself sealed, holds theirs.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from skymask.artifacts.atomic import atomic
from skymask.artifacts.parquet import ArtifactError, read_schema, write_table

_MARK = b"skymask.texts"


def write(folder: Path, name: str, study: str, table: pa.Table, texts: Mapping[str, str]) -> None:
    """Write the table ``name`` of ``study`` to ``folder``: its ``texts`` by suffix, and Parquet."""
    for suffix, text in texts.items():
        with atomic(folder / f"{name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    digests = {suffix: _digest(text.encode()) for suffix, text in texts.items()}
    marks = {**(table.schema.metadata or {}), _MARK: json.dumps(digests, sort_keys=True)}
    marked = table.replace_schema_metadata(marks)
    write_table(folder / f"{name}.parquet", f"{name}_table", study, marked)


def check(folder: Path, name: str, study: str) -> None:
    """Whether the texts of a table are those that were written.

    Raises ArtifactError for one that is not, or for Parquet that cannot tell.
    """
    marks = read_schema(folder / f"{name}.parquet", f"{name}_table", study).metadata
    for suffix, digest in json.loads(marks.get(_MARK, b"{}")).items():
        path = folder / f"{name}.{suffix}"
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(f"{path} is missing: run snakemake again to make it") from error
        if _digest(content) != digest:
            raise ArtifactError(
                f"{path} is not as it was written. Delete it and run snakemake again"
            )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
