"""Parquet files with metadata, checksum and checked reads.

The metadata of each file has the kind of the artifact, the version of the schema, what the file
belongs to (a run, a partition, a data set, a study) and the versions of the packages that wrote
it.  A checksum covers all its bytes (:mod:`skymask.artifacts.checksum`).  Reading a damaged,
foreign or outdated file is an error.
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
from skymask.artifacts.errors import not_read, unreadable
from skymask.read_errors import ReadError
from skymask.study.experiment import SCHEMA_VERSION

RAW = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""Options of Parquet for tensors that only the next job reads: the fastest."""


def packed(layers: Iterable[str]) -> dict[str, Any]:
    """Return the options of Parquet for tensors that are kept.

    They are compressed with zstd, after the four bytes of each float32 are split into four streams:
    some weights of a client never change, and signs and exponents are alike.
    benchmarks/speed_artifacts.py measures what this saves and costs.

    Args:
        layers: The columns, one for each layer.
    """
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_byte_stream_split": [f"{layer}.list.element" for layer in layers],
        "use_dictionary": False,
        # a reader of one round finds its row group by these
        "write_statistics": ["round"],
    }


@cache
def _versions() -> str:
    versions = {"python": platform.python_version()}
    for package in ("skymask", "torch", "numba", "numpy", "pyarrow", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps(versions, sort_keys=True)


def _with_metadata(schema: pa.Schema, kind: str, spec: str) -> pa.Schema:
    metadata = {
        "skymask.artifact": kind,
        "skymask.schema_version": str(SCHEMA_VERSION),
        "skymask.spec": spec,
        "skymask.versions": _versions(),
    }
    kept = {k: v for k, v in (schema.metadata or {}).items() if k.startswith(b"skymask")}
    return schema.with_metadata({**kept, **metadata})


def write_table(path: Path, kind: str, spec: str, table: pa.Table, **options: Any) -> None:
    """Write a table as an artifact.

    Args:
        path: The file.
        kind: Kind of the artifact, a key of ``SCHEMAS`` or one of the kinds of tensors.
        spec: Name of the run, partition, data set or study that it belongs to.
        table: The rows.
        options: Options of Parquet's writer.

    Raises:
        StorageError: The disk is full or write-protected.
    """
    schema = _with_metadata(table.schema, kind, spec)
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(schema.metadata), temporary, **options)
        checksum.add(temporary)


@contextmanager
def row_groups(
    path: Path, kind: str, spec: str, schema: pa.Schema, **options: Any
) -> Iterator[Callable[[pa.Table], None]]:
    """Write an artifact table by table, each a row group; the file appears after the block.

    Args:
        path: The file.
        kind: Kind of the artifact.
        spec: What it belongs to.
        schema: Schema of all tables.
        options: Options of Parquet's writer.

    Yields:
        The function that takes the tables.
    """
    schema = _with_metadata(schema, kind, spec)
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            yield lambda table: writer.write_table(table.replace_schema_metadata(schema.metadata))
        checksum.add(temporary)


@contextmanager
def opened(path: Path, kind: str, spec: str) -> Iterator[pq.ParquetFile]:
    """Open an artifact after its checksum and metadata have been compared.

    Args:
        path: The file.
        kind: Kind that the artifact must have.
        spec: What it must belong to.

    Raises:
        ArtifactError: The file is missing, damaged, not Parquet, of another kind or version, or
            belongs to something else; also while it is read in the block.
        ReadError: It cannot be read, but may be intact.
    """
    try:
        problem = checksum.problem(path)
        if problem is not None:
            raise unreadable(path, problem)
        with _parquet(path) as file:
            _check_metadata(path, file.schema_arrow.metadata or {}, kind, spec)
            yield file
    except ReadError:
        raise
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise not_read(path, error) from error


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, MemoryError):
        raise
    except Exception as error:
        # a column type that another package has registered parses its own description: that of
        # pandas' period raises the errors of json
        raise unreadable(path, f"a column has an unknown type ({error})") from error


def _check_metadata(path: Path, found: Mapping[bytes, bytes], kind: str, spec: str) -> None:
    texts = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in found.items()}
    expected = {"artifact": kind, "schema_version": str(SCHEMA_VERSION), "spec": spec}
    for key, value in expected.items():
        actual = texts.get(f"skymask.{key}", "nothing")
        if actual != value:
            raise unreadable(
                path,
                f"expected {key}={value}, found {actual} (written by another version, or for "
                "something else)",
            )


def read_table(path: Path, kind: str, spec: str, columns: list[str] | None = None) -> pa.Table:
    """Read an artifact, or some of its ``columns``; arguments and errors are those of ``opened``.

    The checksum covers all bytes in either case.
    """
    with opened(path, kind, spec) as file:
        return file.read(columns)


def read_schema(path: Path, kind: str, spec: str) -> pa.Schema:
    """Read the schema of an artifact; arguments and errors are those of ``opened``."""
    with opened(path, kind, spec) as file:
        return file.schema_arrow


def read_row_groups(path: Path, kind: str, spec: str) -> Iterator[pa.Table]:
    """Yield an artifact one row group at a time; arguments and errors are those of ``opened``."""
    with opened(path, kind, spec) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)
