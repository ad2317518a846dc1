"""Data sets and partitions as NumPy arrays, for jobs without torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skymask.artifacts.arrow import fixed_bytes, fixed_lists, from_numpy, to_numpy
from skymask.artifacts.parquet import read_schema, read_table, write_table
from skymask.artifacts.records import read_rows, wanted_columns
from skymask.artifacts.schemas import SAMPLE_COLUMNS, SCHEMAS


def write_samples(
    path: Path,
    dataset: str,
    features: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    classes: int,
    scale: float,
    groups: npt.NDArray[Any] | None = None,
) -> None:
    """Write the training or the test samples of a data set.

    Args:
        path: The file.
        dataset: Name of the data set.
        features: Samples [N, ...], uint8 or float32.
        labels: Classes [N], from 0.
        classes: Number of classes.
        scale: Number by which features are divided on reading.
        groups: Natural client of each sample [N], from 0, where the data set has them.
    """
    rows = features.reshape(len(features), -1)
    flat = fixed_bytes(rows) if rows.dtype == np.uint8 else fixed_lists(rows)
    columns = {"label": from_numpy(labels.astype(np.int64))}
    if groups is not None:
        columns["group"] = from_numpy(groups.astype(np.int32))
    columns["features"] = flat
    schema = pa.schema(
        [
            pa.field(name, values.type, metadata={"description": SAMPLE_COLUMNS[name]})
            for name, values in columns.items()
        ],
        metadata={
            "skymask.shape": json.dumps(list(features.shape[1:])),
            "skymask.classes": str(classes),
            "skymask.scale": str(scale),
        },
    )
    table = pa.Table.from_arrays(list(columns.values()), schema=schema)
    write_table(path, "samples", dataset, table, compression="zstd")


def read_labels(path: Path, dataset: str) -> tuple[npt.NDArray[np.int64], int]:
    """Read only the labels [N] and the number of classes; raises ArtifactError."""
    table = read_table(path, "samples", dataset, columns=["label"])
    with wanted_columns(path, "samples"):
        return to_numpy(table["label"]), int(table.schema.metadata[b"skymask.classes"])


def read_groups(path: Path, dataset: str) -> npt.NDArray[np.int32] | None:
    """Read only the natural client of each sample [N]; ``None`` where the data set has none.

    Raises:
        ArtifactError: The file is not an artifact with samples of ``dataset``.
    """
    if "group" not in read_schema(path, "samples", dataset).names:
        return None
    table = read_table(path, "samples", dataset, columns=["group"])
    with wanted_columns(path, "samples"):
        groups: npt.NDArray[np.int32] = to_numpy(table["group"])
        return groups


def write_partition(path: Path, spec: str, assignment: npt.NDArray[np.int32]) -> None:
    """Write the client of each training sample, int32 [N]; -1: root data, -2: unused."""
    samples = from_numpy(np.arange(len(assignment), dtype=np.int32))
    table = pa.Table.from_arrays([samples, from_numpy(assignment)], schema=SCHEMAS["partition"])
    write_table(path, "partition", spec, table, compression="zstd")


def read_partition(path: Path, spec: str) -> npt.NDArray[np.int32]:
    """Read the client of each training sample, int32 [N]; raises ArtifactError."""
    assignment: npt.NDArray[np.int32] = to_numpy(read_rows(path, "partition", spec)["client"])
    return assignment
