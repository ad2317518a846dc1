"""Rows of artifacts: written, read and joined."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from skymask.artifacts.arrow import table as columns_table
from skymask.artifacts.parquet import (
    _WAY_OUT,
    ArtifactError,
    packed,
    read_row_groups,
    read_schema,
    read_table,
    row_groups,
    write_table,
)
from skymask.artifacts.schemas import SCHEMAS
from skymask.study.experiment import Experiment


def write_rows(path: Path, kind: str, spec: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows (dicts; a missing key is null) under the schema of ``kind``."""
    schema, rows = SCHEMAS[kind], list(rows)
    columns = [[row.get(name) for row in rows] for name in schema.names]
    write_table(path, kind, spec, columns_table(columns, schema), compression="zstd")


def read_rows(path: Path, kind: str, spec: str) -> pa.Table:
    """Read what ``write_rows`` wrote.  Raises ArtifactError, also when the columns differ."""
    table = read_table(path, kind, spec)
    if not table.schema.equals(SCHEMAS[kind], check_metadata=False):
        raise ArtifactError(f"{path} does not have the columns of {kind}. {_WAY_OUT}")
    return table


@contextmanager
def wanted_columns(path: Path, kind: str) -> Iterator[None]:
    """Around what takes apart the columns and marks of ``kind``: ArtifactError for others."""
    try:
        yield
    except ArtifactError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ArtifactError(f"{path} does not have the columns of {kind}. {_WAY_OUT}") from error


def collect_rows(paths: Iterable[Path], target: Path, kind: str, spec: str) -> None:
    """Join row files of one kind and spec into one, sorted by round (and client)."""
    tables = [read_rows(path, kind, spec) for path in paths]
    table = pa.concat_tables(tables) if tables else SCHEMAS[kind].empty_table()
    keys = [(key, "ascending") for key in ("round", "client") if key in table.column_names]
    # -1, the server, sorts first; both grains agree, since the order is the columns' alone
    ordered = table.sort_by(keys).combine_chunks().cast(SCHEMAS[kind])
    write_table(target, kind, spec, ordered, compression="zstd")


def collect_updates(paths: Iterable[Path], target: Path, spec: str) -> None:
    """Join files of kept updates, in their order, a row group at a time.

    Raises ArtifactError for a file that is not what it should be.
    """
    paths = list(paths)
    schema = read_schema(paths[0], "updates", spec)
    layers = [name for name in schema.names if pa.types.is_fixed_size_list(schema.field(name).type)]
    with row_groups(target, "updates", spec, schema, **packed(layers)) as write:
        for path in paths:
            for table in read_row_groups(path, "updates", spec):
                write(table)


def read_experiment(path: Path) -> Experiment:
    """Read a run's experiment.json.  Raises ArtifactError when it is not that of its folder."""
    try:
        experiment = Experiment.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: run snakemake again to make it") from error
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be used ({error}). {_WAY_OUT}") from error
    if experiment.run != path.parent.name:
        raise ArtifactError(f"{path} is of another run, {experiment.run}. {_WAY_OUT}")
    return experiment
