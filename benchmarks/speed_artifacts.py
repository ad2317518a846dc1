"""Updates in files: encoding, writing during training, reading by layer.

Measured on 100 updates of the paper's CNN from training on the digits, since random updates would
not compress.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import Case, Work
from torch import Tensor
from workloads import CLASSES, SHAPE

from skymask.artifacts.parquet import RAW, packed
from skymask.artifacts.tensors import parameters_table, read_parameters
from skymask.data.datasets import digits
from skymask.federation.local_training import train_clients
from skymask.federation.settings import LocalTraining
from skymask.federation.storage import kept_updates
from skymask.federation.timing import Clock
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.samples import Samples
from skymask.seeds import generator

CLIENTS, SAMPLES = 100, 120
ROUNDS = range(1, 5)
SETTINGS = LocalTraining(1, 32, 0.5, 0.01, "class")
PLAIN = {"use_dictionary": False, "write_statistics": False}


@cache
def clients(samples: int) -> list[Samples]:
    """Return samples of digits per client, enlarged three times and padded to 28 × 28."""
    arrays = digits([])
    large = np.kron(arrays.train_features, np.ones((1, 1, 3, 3), np.uint8))
    images = torch.from_numpy(np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))).float() / 16
    labels = torch.from_numpy(arrays.train_labels)
    source = generator(0, "benchmark")
    drawn = [torch.randint(len(labels), (samples,), generator=source) for _ in range(CLIENTS)]
    return [Samples(images[chosen], labels[chosen]) for chosen in drawn]


def trained(model: ResidentModel, start: Tensor, round_: int, samples: int = SAMPLES) -> Tensor:
    """Return the updates of a round, [100, 139960]."""
    return train_clients(
        model,
        start,
        clients(samples),
        SETTINGS,
        partial(generator, 1, "batches", round_),
    ).updates


def cases(device: str) -> Iterator[Case]:
    """Yield writing and reading of files, for the CPU only."""
    if device != "cpu":
        return
    model = ResidentModel(build("cnn", SHAPE, CLASSES, 1))
    start, layout = model.vector.clone(), model.layout
    for round_ in (1, 2, 3):
        updates = trained(model, start, round_)
        start = start + 0.5 * updates.mean(dim=0)
    folder = Path(tempfile.mkdtemp(prefix="skymask-bench-"))
    table = parameters_table(layout, updates, client=[*range(CLIENTS)])
    encodings: dict[str, dict[str, Any]] = {
        "none": RAW,
        "lz4": {**PLAIN, "compression": "lz4"},
        "zstd 1": {**PLAIN, "compression": "zstd", "compression_level": 1},
        "zstd 1, byte streams": packed(layout.names),
        "lz4, byte streams": {
            **packed(layout.names),
            "compression": "lz4",
            "compression_level": None,
        },
    }
    for name, options in encodings.items():
        pq.write_table(table, folder / name, **options)
    sizes = ", ".join(f"{n} {(folder / n).stat().st_size / 1e6:.1f}" for n in encodings)
    note, ours = f"MB: {sizes}", "zstd 1, byte streams"

    def write(name: str) -> None:
        table = parameters_table(layout, updates, client=[*range(CLIENTS)])
        pq.write_table(table, folder / name, **encodings[name])

    def read(name: str) -> None:
        pq.ParquetFile(folder / name).read()

    def each(work: Callable[[str], object]) -> dict[str, Work]:
        return {name: partial(work, name) for name in encodings}

    yield Case(
        "artifacts",
        "write 100 × CNN, compared with one round of training",
        lambda: {**each(write), "one round of training": lambda: trained(model, start, 4)},
        ours=ours,
        note=note,
    )
    yield Case(
        "artifacts",
        "read 100 × CNN",
        lambda: each(read),
        ours=ours,
        note=note,
    )
    yield Case("artifacts", "columns, write 100 × CNN", lambda: _columns(layout, updates, folder))
    yield Case(
        "artifacts",
        "4 rounds of training whose updates are kept",
        lambda: _kept(model, start, folder),
        ours="in a thread, packed",
        repeats=3,
    )
    rounds = folder / "rounds"
    _keep(model, rounds, lambda _: updates)
    yield Case(
        "artifacts",
        "one layer of 4 rounds",
        lambda: {
            name: partial(read_parameters, rounds, "updates", "bench", layout, layers)
            for name, layers in {
                "all layers": None,
                "3.weight": ["3.weight"],
                "9.bias": ["9.bias"],
            }.items()
        },
        ours="3.weight",
    )


def _columns(layout: Any, updates: Tensor, folder: Path) -> dict[str, Work]:
    """Writers of a fixed-size list per layer and of its alternatives."""
    file = folder / "columns"

    def lists(**options: Any) -> None:
        pq.write_table(parameters_table(layout, updates), file, **RAW, **options)

    def not_null() -> None:
        table = parameters_table(layout, updates)
        fields, columns = [], []
        for field, column in zip(table.schema, table.columns, strict=True):
            inner = pa.field("element", pa.float32(), nullable=False)
            kind = pa.list_(inner, field.type.list_size)
            fields.append(pa.field(field.name, kind, nullable=False))
            columns.append(pa.FixedSizeListArray.from_arrays(column.chunk(0).values, type=kind))
        made = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        pq.write_table(made, file, **RAW)

    def one_column() -> None:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(updates.numpy().ravel()), len(updates[0]))
        pq.write_table(pa.table({"update": flat}), file, **RAW)

    def binary() -> None:
        columns = {
            name: pa.array([row.tobytes() for row in piece.contiguous().numpy()])
            for name, piece in layout.columns(updates).items()
        }
        pq.write_table(pa.table(columns), file, **RAW)

    return {
        "a list per layer": lists,
        "a list per layer, not null": not_null,
        "a list per layer, pages of 16 MiB": partial(lists, data_page_size=2**24),
        "one list": one_column,
        "binary per layer": binary,
    }


def _keep(model: ResidentModel, path: Path, updates: Callable[[int], Tensor]) -> None:
    """Write the updates of four rounds in a thread, as a run does."""
    # the parts of a Federation that are used
    federation: Any = SimpleNamespace(
        model=model,
        malicious=torch.zeros(CLIENTS, dtype=torch.bool),
        experiment=SimpleNamespace(run="bench"),
    )
    with kept_updates(federation, str(path), Clock()) as keep:
        for round_ in ROUNDS:
            keep(round_, updates(round_))


def _kept(model: ResidentModel, start: Tensor, folder: Path) -> dict[str, Work]:
    def train(round_: int) -> Tensor:
        return trained(model, start, round_, samples=60)

    def write_at_the_end(**options: Any) -> None:
        table = parameters_table(model.layout, torch.cat([*map(train, ROUNDS)]))
        pq.write_table(table, folder / "kept", **options)

    return {
        "at the end, raw": partial(write_at_the_end, **RAW),
        "at the end, packed": partial(write_at_the_end, **packed(model.layout.names)),
        "in a thread, packed": partial(_keep, model, folder / "kept", train),
        "not kept": lambda: [*map(train, ROUNDS)],
    }
