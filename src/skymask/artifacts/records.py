"""Row artifacts and experiment.json: writing, reading and collecting."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from skymask.artifacts.arrow import table as table_of_columns
from skymask.artifacts.errors import ArtifactError, not_read, unreadable
from skymask.artifacts.parquet import (
    packed,
    read_row_groups,
    read_schema,
    read_table,
    row_groups,
    write_table,
)
from skymask.artifacts.schemas import SCHEMAS
from skymask.read_errors import out_of_memory
from skymask.study.experiment import Experiment


def write_rows(path: Path, kind: str, spec: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows under the schema of their kind.

    Args:
        path: The file.
        kind: A key of ``SCHEMAS``.
        spec: Name of the run or study that the rows belong to.
        rows: Values by column; a missing column is null.
    """
    schema, rows = SCHEMAS[kind], list(rows)
    columns = [[row.get(name) for row in rows] for name in schema.names]
    write_table(path, kind, spec, table_of_columns(columns, schema), compression="zstd")


def read_rows(path: Path, kind: str, spec: str) -> pa.Table:
    """Read the rows that ``write_rows`` wrote, with the same arguments.

    Raises:
        ArtifactError: The file is not that artifact or has other columns.
    """
    table = read_table(path, kind, spec)
    if not table.schema.equals(SCHEMAS[kind], check_metadata=False):
        raise _other_columns(path, kind)
    return table


@contextmanager
def wanted_columns(path: Path, kind: str) -> Iterator[None]:
    """Raise ArtifactError where the block fails on the columns or metadata of an artifact.

    Raise ReadError where it fails for lack of memory.
    """
    try:
        yield
    except ArtifactError:
        raise
    except (MemoryError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if out_of_memory(error):
            raise not_read(path, error) from error
        raise _other_columns(path, kind) from error


def _other_columns(path: Path, kind: str) -> ArtifactError:
    return unreadable(path, f"it does not have the columns of {kind}")


def collect_rows(paths: Iterable[Path], target: Path, kind: str, spec: str) -> None:
    """Join row files of one kind and spec into ``target``, sorted by round and client.

    The result does not depend on how the rows are divided into files.
    """
    tables = [read_rows(path, kind, spec) for path in paths]
    table = pa.concat_tables(tables) if tables else SCHEMAS[kind].empty_table()
    keys = [(key, "ascending") for key in ("round", "client") if key in table.column_names]
    ordered = table.sort_by(keys).combine_chunks().cast(SCHEMAS[kind])
    write_table(target, kind, spec, ordered, compression="zstd")


def collect_updates(paths: Iterable[Path], target: Path, spec: str) -> None:
    """Join files of kept updates in their order, one row group at a time.

    Raises:
        ArtifactError: A file is not an artifact with updates of ``spec``.
    """
    paths = list(paths)
    schema = read_schema(paths[0], "updates", spec)
    layers = [name for name in schema.names if pa.types.is_fixed_size_list(schema.field(name).type)]
    with row_groups(target, "updates", spec, schema, **packed(layers)) as write:
        for path in paths:
            for table in read_row_groups(path, "updates", spec):
                write(table)


def read_experiment(path: Path) -> Experiment:
    """Read the experiment.json of a run.

    Raises:
        ArtifactError: The file is missing, damaged, or not of the run whose folder it is in.
        ReadError: It cannot be read, but may be intact.
    """
    try:
        experiment = Experiment.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, MemoryError) as error:
        raise not_read(path, error) from error
    if experiment.run != path.parent.name:
        raise unreadable(path, f"it belongs to another run, {experiment.run}")
    return experiment
