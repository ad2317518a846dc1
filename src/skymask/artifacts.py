"""Parquet artifacts: their schemas, written atomically, read with suspicion.

Every file carries in its metadata which artifact it is, the version of the schema, the
specification it belongs to (a run's or a partition's name, a data set's) and the versions of the
packages that wrote it, and is sealed with a checksum over all its bytes (:mod:`skymask.seal`).  A
file that is damaged, foreign or stale is an error, never a number.
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

from skymask import seal
from skymask.columns import table as columns_table
from skymask.experiment import SCHEMA_VERSION, Experiment
from skymask.files import atomic


class ArtifactError(ValueError):
    """A file that cannot be what it should be; the message names it and says what to do."""


_WAY_OUT = "Delete it and run snakemake again"


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(n, t, metadata={"description": d}) for n, t, d in columns])


_GOT_THROUGH = (
    ("fpr", pa.float64(), "share of benign clients rejected in this round"),
    ("fnr", pa.float64(), "share of malicious clients accepted in this round"),
    ("attacker_weight", pa.float64(), "attackers' share of the aggregate's weight, 0 to 1"),
    (
        "benign_distance",
        pa.float64(),
        "distance of the aggregate to the benign mean, in its length",
    ),
    ("model_updated", pa.bool_(), "false where the global model stayed as it was"),
)

SCHEMAS: dict[str, pa.Schema] = {
    "partition": _schema(
        ("sample", pa.int32(), "index of the sample in the training data"),
        ("client", pa.int32(), "who holds it: a client, -1 the root data, -2 nobody"),
    ),
    "metrics": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("accuracy", pa.float64(), "share of test samples classified rightly, 0 to 1"),
        ("loss", pa.float64(), "mean cross-entropy on the test data, nats; null if not finite"),
        (
            "attack_success_rate",
            pa.float64(),
            "share of triggered test samples of other classes called the target; null: no backdoor",
        ),
        *_GOT_THROUGH,
    ),
    "aggregates": _schema(
        ("round", pa.int32(), "round, from 1"),
        *_GOT_THROUGH,
        ("note", pa.string(), "why the global model stayed as it was; null if it moved"),
    ),
    "layers": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("layer", pa.string(), "layer of the model"),
        ("role", pa.string(), "benign, malicious or server"),
        ("switched_off", pa.float64(), "share of the layer that SkyMask's masks switch off, mean"),
        ("unlike_server", pa.float64(), "share in which they differ from the server's mask, mean"),
    ),
    "clients": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("client", pa.int32(), "client, from 0; -1 is the server, present with mask coordinates"),
        ("malicious", pa.bool_(), "the client attacks; null for the server"),
        ("accepted", pa.bool_(), "the defense's verdict; null where it gives none"),
        ("weight", pa.float64(), "coefficient of the update in the aggregate; null if not linear"),
        ("score", pa.float64(), "the figure the verdict rests on, as the defense defines it"),
        ("mask_1", pa.float64(), "first principal coordinate of the client's mask (SkyMask)"),
        ("mask_2", pa.float64(), "second principal coordinate of the client's mask (SkyMask)"),
        ("update_1", pa.float64(), "first principal coordinate of the client's update (SkyMask)"),
        ("update_2", pa.float64(), "second principal coordinate of the client's update (SkyMask)"),
        ("reason", pa.string(), "why the client was not aggregated; null if it was"),
        ("model_updated", pa.bool_(), "false where the global model stayed as it was"),
    ),
    "timings": _schema(
        ("round", pa.int32(), "round, from 1; of a job's start, read, write and other: its last"),
        (
            "stage",
            pa.string(),
            "train, attack, aggregate or evaluate; of a job of many rounds also start (of the "
            "process, with its imports), read, write, and other: the rest of its time",
        ),
        ("seconds", pa.float64(), "wall-clock seconds"),
        ("device", pa.string(), "where it ran"),
        (
            "peak_memory_mib",
            pa.float64(),
            "peak memory so far, MiB: of the device, else the process",
        ),
    ),
    "state": _schema(
        ("name", pa.string(), "name of the remembered tensor"),
        ("dtype", pa.string(), "its dtype"),
        ("shape", pa.list_(pa.int64()), "its shape"),
        ("data", pa.large_binary(), "its values, row by row, little-endian"),
    ),
    "runs": _schema(
        ("run", pa.string(), "name of the run, a folder of results/runs"),
        ("defense", pa.string(), "defense"),
        ("attack", pa.string(), "attack"),
        ("setting", pa.string(), "the other axes of the study that vary, as name=value"),
        ("data_seed", pa.int64(), "seed of the partition and the root data"),
        ("training_seed", pa.int64(), "seed of everything else"),
        ("round", pa.int32(), "last evaluated round"),
        ("evaluations", pa.int32(), "evaluations averaged for the accuracy"),
        ("accuracy", pa.float64(), "mean test accuracy of those evaluations, 0 to 1"),
        ("attack_success_rate", pa.float64(), "mean over those evaluations; null: no backdoor"),
        ("fpr", pa.float64(), "benign clients rejected, share over all rounds"),
        ("fnr", pa.float64(), "malicious clients accepted, share over all rounds"),
        ("attacker_weight", pa.float64(), "attackers' share of the weight, mean over all rounds"),
        ("benign_distance", pa.float64(), "distance to the benign mean, mean over all rounds"),
    ),
}


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
        seal.seal(temporary)


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
        seal.seal(temporary)


@contextmanager
def opened(path: Path, kind: str, spec: str) -> Iterator[pq.ParquetFile]:
    """The artifact ``kind`` of ``spec``, every byte of which is as it was written.

    Raises ArtifactError, also while it is read.
    """
    try:
        flaw = seal.flaw(path)
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
