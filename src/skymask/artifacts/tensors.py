"""Artifacts that are read as tensors: samples, parameters, state.

A matrix of parameters has one row for each model or client and one column for each layer, a
fixed-size list of float32, so that one layer can be read alone.  All bits are kept.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from skymask.artifacts.arrow import (
    column,
    fixed_lists,
    from_fixed_bytes,
    from_fixed_lists,
    to_numpy,
)
from skymask.artifacts.errors import unreadable
from skymask.artifacts.parquet import RAW, opened, read_table, write_table
from skymask.artifacts.records import read_rows, wanted_columns, write_rows
from skymask.models.flat_parameters import Layout

State = dict[str, Tensor]


def parameters_schema(layout: Layout, keys: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of a matrix of parameters: the columns ``keys``, then the layers."""
    key_fields = [pa.field(k, pa.bool_() if k == "malicious" else pa.int32()) for k in keys]
    return pa.schema(
        [
            *key_fields,
            *(
                pa.field(
                    name,
                    pa.list_(pa.float32(), size),
                    metadata={"shape": json.dumps(list(shape))},
                )
                for name, size, shape in zip(layout.names, layout.sizes, layout.shapes, strict=True)
            ),
        ]
    )


def parameters_table(layout: Layout, rows: Tensor, **keys: list[int] | list[bool]) -> pa.Table:
    """Build a table of ``rows`` [n, d]: columns ``keys`` (round, client, …), then the layers."""
    schema = parameters_schema(layout, keys)
    columns = [column(values, schema.field(name).type) for name, values in keys.items()]
    columns += [fixed_lists(piece.numpy()) for piece in layout.columns(rows.cpu()).values()]
    return pa.Table.from_arrays(columns, schema=schema)


def write_parameters(
    path: Path, kind: str, spec: str, layout: Layout, rows: Tensor, **keys: list[int] | list[bool]
) -> None:
    """Write ``rows`` [n, d], float32: the columns ``keys`` (round, client, …), then the layers."""
    write_table(path, kind, spec, parameters_table(layout, rows, **keys), **RAW)


def read_parameters(
    path: Path, kind: str, spec: str, layout: Layout, layers: Collection[str] | None = None
) -> Tensor:
    """Read a matrix of parameters, or some of its layers; only these are decoded.

    Args:
        path: The file.
        kind: Kind of the artifact: model, updates or statistics.
        spec: Name of the run.
        layout: Names and sizes of the layers.
        layers: The layers to read; by default all.

    Returns:
        Rows [n, sum of the sizes of the layers], in the order of ``layout``.

    Raises:
        ArtifactError: The file is not that artifact, or its layers are not those of ``layout``.
        KeyError: ``layout`` has no layer of a name in ``layers``.
    """
    strange = sorted(set(layers or ()) - set(layout.names))
    if strange:
        raise KeyError(f"the model has no layer {strange[0]}: it has {', '.join(layout.names)}")
    wanted = [name for name in layout.names if layers is None or name in layers]
    with opened(path, kind, spec) as file:
        _check_layers(path, file.schema_arrow, layout)
        if not wanted:
            return torch.empty(file.metadata.num_rows, 0)
        table = file.read(wanted)
    pieces = [from_fixed_lists(table[name]) for name in wanted]
    return torch.from_numpy(np.concatenate(pieces, axis=1))


def _check_layers(path: Path, schema: pa.Schema, layout: Layout) -> None:
    """Raise ArtifactError if the layers are not those of ``layout``."""
    for name, size in zip(layout.names, layout.sizes, strict=True):
        if name not in schema.names or schema.field(name).type != pa.list_(pa.float32(), size):
            raise unreadable(
                path, f"it has no layer {name} of {size} float32 and belongs to another model"
            )
    keys = {"round", "client", "malicious"}
    extra = [name for name in schema.names if name not in {*layout.names, *keys}]
    if extra:
        raise unreadable(
            path,
            f"it has layers that the model lacks ({', '.join(extra)}) and belongs to another model",
        )


def write_state(path: Path, spec: str, state: State) -> None:
    """Write the tensors that the attack or the defense of a run remembers."""
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
    """Read the tensors that ``write_state`` wrote; raises ArtifactError."""
    state: State = {}
    for row in read_rows(path, "state", spec).to_pylist():
        values = np.frombuffer(row["data"], dtype=row["dtype"]).reshape(row["shape"])
        state[row["name"]] = torch.from_numpy(values.copy())
    return state


def read_samples(path: Path, dataset: str) -> tuple[Tensor, Tensor, int]:
    """Read the samples of a data set.

    Returns:
        Features [N, ...], float32, divided by their scale; labels [N], int64; number of classes.

    Raises:
        ArtifactError: The file is not an artifact with samples of ``dataset``.
    """
    table = read_table(path, "samples", dataset)
    with wanted_columns(path, "samples"):
        metadata = table.schema.metadata
        shape = json.loads(metadata[b"skymask.shape"])
        values = table["features"]
        of_bytes = pa.types.is_fixed_size_binary(values.type)
        rows = from_fixed_bytes(values) if of_bytes else from_fixed_lists(values)
        scale = float(metadata[b"skymask.scale"])
        features = torch.from_numpy(rows).float().div_(scale).view(-1, *shape)
        labels = torch.from_numpy(to_numpy(table["label"]))
        return features, labels, int(metadata[b"skymask.classes"])
