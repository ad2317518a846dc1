"""Updates in files: encoding, writing during training, reading by layer.

100 updates of the paper's CNN, as one round of training on the digits leaves them: noise would not
compress, updates do.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import Case, Work
from torch import Tensor

from skymask.artifacts.parquet import RAW, packed
from skymask.artifacts.tensors import parameters_table, read_parameters
from skymask.data.datasets import digits
from skymask.federation.local_training import LocalTraining, train_clients
from skymask.federation.storage import kept_updates
from skymask.federation.timing import Clock
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.samples import Samples

CLIENTS, SAMPLES = 100, 120
SETTINGS = LocalTraining(1, 32, 0.5, 0.01, "class")
PLAIN = {"use_dictionary": False, "write_statistics": False}


@cache
def clients(samples: int) -> list[Samples]:
    """Return the digits, three times as large and framed: 28 × 28."""
    arrays = digits([])
    large = np.kron(arrays.train_features, np.ones((1, 1, 3, 3), np.uint8))
    images = torch.from_numpy(np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))).float() / 16
    labels = torch.from_numpy(arrays.train_labels)
    source = torch.Generator().manual_seed(0)
    drawn = [torch.randint(len(labels), (samples,), generator=source) for _ in range(CLIENTS)]
    return [Samples(images[chosen], labels[chosen]) for chosen in drawn]


def trained(model: ResidentModel, start: Tensor, round_: int, samples: int = SAMPLES) -> Tensor:
    """Return the updates of a round, [100, 139960]."""
    return train_clients(
        model,
        start,
        clients(samples),
        SETTINGS,
        lambda client: torch.Generator().manual_seed(1000 * round_ + client),
    )


def cases(device: str) -> Iterator[Case]:
    """Files are the CPU's alone."""
    if device != "cpu":
        return
    model = ResidentModel(build("cnn", (1, 28, 28), 10, 1))
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

    def writing(name: str) -> Work:
        return lambda: pq.write_table(
            parameters_table(layout, updates, client=[*range(CLIENTS)]),
            folder / name,
            **encodings[name],
        )

    def all_of(work: Callable[[str], Work]) -> Callable[[], dict[str, Work]]:
        return lambda: {name: work(name) for name in encodings}

    yield Case(
        "artifacts",
        "write 100 × CNN during the training of that round",
        lambda: {**all_of(writing)(), "one round of training": lambda: trained(model, start, 4)},
        ours=ours,
        note=note,
    )
    yield Case(
        "artifacts",
        "read 100 × CNN",
        all_of(lambda name: lambda: pq.ParquetFile(folder / name).read()),
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
    write = folder / "rounds"
    _keep(model, [updates] * 4, write)
    yield Case(
        "artifacts",
        "one layer of 4 rounds",
        lambda: {
            "all layers": lambda: read_parameters(write, "updates", "bench", layout),
            "3.weight": lambda: read_parameters(write, "updates", "bench", layout, ["3.weight"]),
            "9.bias": lambda: read_parameters(write, "updates", "bench", layout, ["9.bias"]),
        },
        ours="3.weight",
    )


def _columns(layout: Any, updates: Tensor, folder: Path) -> dict[str, Work]:
    """Return the writers of a fixed-size list per layer and of its alternatives."""

    def lists() -> None:
        pq.write_table(parameters_table(layout, updates), folder / "columns", **RAW)

    def not_null() -> None:
        table = parameters_table(layout, updates)
        fields, columns = [], []
        for field, column in zip(table.schema, table.columns, strict=True):
            inner = pa.field("element", pa.float32(), nullable=False)
            kind = pa.list_(inner, field.type.list_size)
            fields.append(pa.field(field.name, kind, nullable=False))
            columns.append(pa.FixedSizeListArray.from_arrays(column.chunk(0).values, type=kind))
        made = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        pq.write_table(made, folder / "columns", **RAW)

    def one_column() -> None:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(updates.numpy().ravel()), len(updates[0]))
        pq.write_table(pa.table({"update": flat}), folder / "columns", **RAW)

    def binary() -> None:
        columns = {
            name: pa.array([row.tobytes() for row in piece.contiguous().numpy()])
            for name, piece in layout.columns(updates).items()
        }
        pq.write_table(pa.table(columns), folder / "columns", **RAW)

    def large_pages() -> None:
        pq.write_table(
            parameters_table(layout, updates), folder / "columns", data_page_size=2**24, **RAW
        )

    return {
        "a list per layer": lists,
        "a list per layer, not null": not_null,
        "a list per layer, pages of 16 MiB": large_pages,
        "one list": one_column,
        "binary per layer": binary,
    }


def _parties(model: ResidentModel) -> Any:
    """As much of a federation as keeping updates asks for."""
    malicious = torch.zeros(CLIENTS, dtype=torch.bool)
    return SimpleNamespace(
        model=model, malicious=malicious, experiment=SimpleNamespace(run="bench")
    )


def _keep(model: ResidentModel, rounds: list[Tensor], path: Path) -> None:
    with kept_updates(_parties(model), str(path), Clock()) as keep:
        for round_, updates in enumerate(rounds, 1):
            keep(round_, updates)


def _kept(model: ResidentModel, start: Tensor, folder: Path) -> dict[str, Work]:
    samples = 60

    def at_the_end(**options: Any) -> Work:
        def work() -> None:
            rounds = [trained(model, start, round_, samples) for round_ in range(1, 5)]
            table = parameters_table(model.layout, torch.cat(rounds))
            pq.write_table(table, folder / "kept", **options)

        return work

    def in_a_thread() -> None:
        with kept_updates(_parties(model), str(folder / "kept"), Clock()) as keep:
            for round_ in range(1, 5):
                keep(round_, trained(model, start, round_, samples))

    def not_kept() -> None:
        for round_ in range(1, 5):
            trained(model, start, round_, samples)

    return {
        "at the end, raw": at_the_end(**RAW),
        "at the end, packed": at_the_end(**packed(model.layout.names)),
        "in a thread, packed": in_a_thread,
        "not kept": not_kept,
    }
