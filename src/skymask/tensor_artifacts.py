"""Artifacts that hold tensors: data sets, models, updates, remembered state.

A matrix of parameters is one row per client with a column per layer, each a fixed-size list of
float32, so that one layer can be read alone.  Bits survive the round trip.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from skymask.artifacts import (
    SCHEMAS,
    ArtifactError,
    read_rows,
    read_table,
    write_rows,
    write_table,
)
from skymask.parameters import Layout

State = dict[str, Tensor]

# noise does not compress, and neither do trained weights
RAW = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """A vector as an Arrow array.

    Through its buffer: ``pa.array`` would load pandas, a third of a second in every job.
    """
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column without nulls as a vector (a copy)."""
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, column.type.to_pandas_dtype())


def fixed_lists(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """A matrix [n, k] as a column of n lists of length k."""
    return pa.FixedSizeListArray.from_arrays(from_numpy(values.reshape(-1)), values.shape[1])


def from_fixed_lists(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The matrix [n, k] of a column of fixed-size lists (a copy)."""
    flat = pa.chunked_array([c.flatten() for c in column.chunks], column.type.value_type)
    return to_numpy(flat).reshape(len(column), column.type.list_size)


def write_parameters(
    path: Path, kind: str, spec: str, layout: Layout, rows: Tensor, **keys: list[int] | list[bool]
) -> None:
    """Write ``rows`` [n, d] with the key columns ``keys`` (round, client, …) before the layers."""
    columns: dict[str, Any] = {}
    fields: list[pa.Field] = []
    for name, values in keys.items():
        columns[name] = pa.array(values, pa.bool_() if name == "malicious" else pa.int32())
        fields.append(pa.field(name, columns[name].type))
    for (name, piece), shape in zip(layout.columns(rows.cpu()).items(), layout.shapes, strict=True):
        columns[name] = fixed_lists(piece.numpy())
        fields.append(
            pa.field(name, columns[name].type, metadata={"shape": json.dumps(list(shape))})
        )
    write_table(path, kind, spec, pa.Table.from_pydict(columns, pa.schema(fields)), **RAW)


def read_parameters(path: Path, kind: str, spec: str, layout: Layout) -> Tensor:
    """Read rows [n, d] back.  Raises ArtifactError when the layers are not those of ``layout``."""
    table = read_table(path, kind, spec)
    pieces = []
    for name, size in zip(layout.names, layout.sizes, strict=True):
        known = name in table.column_names
        if not known or table.schema.field(name).type != pa.list_(pa.float32(), size):
            raise ArtifactError(
                f"{path} has no layer {name} of {size} float32: it belongs to another model. "
                "Delete it and run snakemake again"
            )
        pieces.append(from_fixed_lists(table[name]))
    keys = {"round", "client", "malicious"}
    extra = [name for name in table.column_names if name not in {*layout.names, *keys}]
    if extra:
        raise ArtifactError(
            f"{path} has the layers {', '.join(extra)} that the model lacks: it belongs to another "
            "model. Delete it and run snakemake again"
        )
    return torch.from_numpy(np.concatenate(pieces, axis=1))


def write_state(path: Path, spec: str, state: State) -> None:
    """Write what the attackers or the defense remember."""
    rows = [
        {
            "name": name,
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "data": tensor.detach().cpu().contiguous().numpy().tobytes(),
        }
        for name, tensor in sorted(state.items())
    ]
    write_rows(path, "state", spec, rows)


def read_state(path: Path, spec: str) -> State:
    """Read remembered tensors back, to the bit."""
    state: State = {}
    for row in read_rows(path, "state", spec).to_pylist():
        values = np.frombuffer(row["data"], dtype=row["dtype"]).reshape(row["shape"])
        state[row["name"]] = torch.from_numpy(values.copy())
    return state


def write_samples(
    path: Path,
    dataset: str,
    features: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    classes: int,
    scale: float,
) -> None:
    """Write samples: ``features`` [N, *shape] uint8 or float32, ``labels`` [N].

    ``scale`` is what features are divided by on reading.
    """
    flat = fixed_lists(features.reshape(len(features), -1))
    schema = pa.schema(
        [
            pa.field("label", pa.int64(), metadata={"description": "class, from 0"}),
            pa.field("features", flat.type, metadata={"description": "the sample, row by row"}),
        ],
        metadata={
            "skymask.shape": json.dumps(list(features.shape[1:])),
            "skymask.classes": str(classes),
            "skymask.scale": str(scale),
        },
    )
    table = pa.Table.from_arrays([from_numpy(labels.astype(np.int64)), flat], schema=schema)
    write_table(path, "samples", dataset, table, compression="zstd")


def read_samples(path: Path, dataset: str) -> tuple[Tensor, Tensor, int]:
    """Read samples: features [N, *shape] float32 divided by their scale, labels [N], classes."""
    table = read_table(path, "samples", dataset)
    marks = table.schema.metadata
    shape = json.loads(marks[b"skymask.shape"])
    features = torch.from_numpy(from_fixed_lists(table["features"]).astype(np.float32))
    features = features.div_(float(marks[b"skymask.scale"])).view(-1, *shape)
    labels = torch.from_numpy(to_numpy(table["label"]))
    return features, labels, int(marks[b"skymask.classes"])


def read_labels(path: Path, dataset: str) -> tuple[npt.NDArray[np.int64], int]:
    """Read the labels [N] and the number of classes alone."""
    table = read_table(path, "samples", dataset, columns=["label"])
    return to_numpy(table["label"]), int(table.schema.metadata[b"skymask.classes"])


def write_partition(path: Path, spec: str, assignment: npt.NDArray[np.int32]) -> None:
    """Write who holds which sample: ``assignment`` int32 [N]."""
    samples = from_numpy(np.arange(len(assignment), dtype=np.int32))
    table = pa.Table.from_arrays([samples, from_numpy(assignment)], schema=SCHEMAS["partition"])
    write_table(path, "partition", spec, table, compression="zstd")


def read_partition(path: Path, spec: str) -> npt.NDArray[np.int32]:
    """Read the assignment back."""
    assignment: npt.NDArray[np.int32] = to_numpy(read_rows(path, "partition", spec)["client"])
    return assignment
