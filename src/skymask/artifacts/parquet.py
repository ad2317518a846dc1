"""Parquet artifacts: their schemas, written atomically, read with suspicion.

Every file carries in its metadata which artifact it is, the version of the schema, the
specification it belongs to (a run's or a partition's name, a data set's) and the versions of the
packages that wrote it, and is sealed with a checksum over all its bytes
(:mod:`skymask.artifacts.checksum`).  A damaged, foreign or
stale file is an error, never a number.
"""

import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skymask.artifacts import checksum
from skymask.artifacts.atomic import atomic
from skymask.study.experiment import SCHEMA_VERSION


class ArtifactError(ValueError):
    """A file that cannot be what it should be; the message names it and says what to do."""


_WAY_OUT = "Delete it and run snakemake again"


RAW = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""How tensors are written that the next job reads: as fast as it goes."""


def packed(layers: Iterable[str]) -> dict[str, Any]:
    """How tensors are written that are kept: zstd, the four bytes of a float32 in four streams.

    Updates are no noise: clients have weights that never move, and their signs and exponents are
    alike.  What that saves and costs is measured in benchmarks/speed_artifacts.py.
    """
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_byte_stream_split": [f"{layer}.list.element" for layer in layers],
        "use_dictionary": False,
        # so that a reader who wants one round finds its row group
        "write_statistics": ["round"],
    }


@cache
def _versions() -> str:
    found = {"python": platform.python_version()}
    for package in ("skymask", "torch", "numba", "numpy", "pyarrow", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps(found, sort_keys=True)


def _marked(schema: pa.Schema, kind: str, spec: str) -> pa.Schema:
    marks = {
        "skymask.artifact": kind,
        "skymask.schema_version": str(SCHEMA_VERSION),
        "skymask.spec": spec,
        "skymask.versions": _versions(),
    }
    kept = {k: v for k, v in (schema.metadata or {}).items() if k.startswith(b"skymask")}
    return schema.with_metadata({**kept, **marks})


def write_table(path: Path, kind: str, spec: str, table: pa.Table, **options: Any) -> None:
    """Write ``table`` as the artifact ``kind`` of ``spec``; ``options`` go to Parquet's writer."""
    marked = table.replace_schema_metadata(_marked(table.schema, kind, spec).metadata)
    with atomic(path) as temporary:
        pq.write_table(marked, temporary, **options)
        checksum.seal(temporary)


@contextmanager
def row_groups(
    path: Path, kind: str, spec: str, schema: pa.Schema, **options: Any
) -> Iterator[Callable[[pa.Table], None]]:
    """Write an artifact table by table, each a row group; the file appears when the block succeeds.

    Yields the function that takes the tables, all of ``schema``.
    """
    marked = _marked(schema, kind, spec)
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, marked, **options) as writer:
            yield lambda table: writer.write_table(table.replace_schema_metadata(marked.metadata))
        checksum.seal(temporary)


@contextmanager
def opened(path: Path, kind: str, spec: str) -> Iterator[pq.ParquetFile]:
    """The artifact ``kind`` of ``spec``, every byte of which is as it was written.

    Raises ArtifactError, also while it is read.
    """
    try:
        flaw = checksum.flaw(path)
        if flaw is not None:
            raise ArtifactError(f"{path} {flaw}. {_WAY_OUT}")
        with _parquet(path) as file:
            _check_marks(path, file.schema_arrow.metadata or {}, kind, spec)
            yield file
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: run snakemake again to make it") from error
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). {_WAY_OUT}") from error


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, MemoryError):
        raise
    except Exception as error:
        # a column type that another package has registered parses its own description: pandas'
        # period raises what json raises
        raise ArtifactError(
            f"{path} has a column of a type that cannot be read ({error}). {_WAY_OUT}"
        ) from error


def _check_marks(path: Path, found: Mapping[bytes, bytes], kind: str, spec: str) -> None:
    marks = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in found.items()}
    wanted = {
        "skymask.artifact": kind,
        "skymask.schema_version": str(SCHEMA_VERSION),
        "skymask.spec": spec,
    }
    for mark, value in wanted.items():
        if marks.get(mark) != value:
            raise ArtifactError(
                f"{path} says {mark} = {marks.get(mark, 'nothing')} where {value} is needed: it is "
                f"foreign or stale. {_WAY_OUT}"
            )


def read_table(path: Path, kind: str, spec: str, columns: list[str] | None = None) -> pa.Table:
    """Read the artifact ``kind`` of ``spec``, or some of its columns: the bytes of these alone.

    All bytes are checked, though.  Raises ArtifactError when the file is missing, damaged, not
    Parquet, of another kind or version, or of another specification.
    """
    with opened(path, kind, spec) as file:
        return file.read(columns)


def read_schema(path: Path, kind: str, spec: str) -> pa.Schema:
    """The columns of an artifact, without its rows.  Raises ArtifactError."""
    with opened(path, kind, spec) as file:
        return file.schema_arrow


def read_row_groups(path: Path, kind: str, spec: str) -> Iterator[pa.Table]:
    """An artifact piece by piece, as ``row_groups`` wrote it.  Raises ArtifactError."""
    with opened(path, kind, spec) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)
