"""The artifacts of one run as the objects that the stages work on, and back."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from skymask.artifacts.parquet import packed, row_groups
from skymask.artifacts.records import read_experiment
from skymask.artifacts.samples import read_partition
from skymask.artifacts.tensors import (
    State,
    parameters_schema,
    parameters_table,
    read_parameters,
    read_samples,
    read_state,
    write_parameters,
    write_state,
)
from skymask.federation.background import background
from skymask.federation.checkpoint import Progress
from skymask.federation.federation import Federation
from skymask.federation.timing import Clock
from skymask.models.samples import Samples
from skymask.numerics.out_of_memory import explained


def read_federation(files: Any) -> Federation:
    """Read what a run works on, onto its device, with its number of threads.

    ``files`` has the paths ``experiment``, ``partition``, ``train`` and ``test``.  Raises
    ArtifactError for a file that is not what it should be, RuntimeError without the device.
    """
    run = read_experiment(Path(files.experiment))
    torch.set_num_threads(run.threads)
    if run.device.startswith("cuda"):
        _prepare_gpu(run.device)
    with explained("read", run.device):
        features, labels, classes = read_samples(Path(files.train), run.dataset)
        training_data = Samples(features.to(run.device), labels.to(run.device))
        features, labels, _ = read_samples(Path(files.test), run.dataset)
        test_data = Samples(features.to(run.device), labels.to(run.device))
        assignment = read_partition(Path(files.partition), run.partition_id)
        return Federation(run, training_data, test_data, assignment, classes)


def _prepare_gpu(device: str) -> None:
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"the study asks for device {device}, but torch sees no GPU here: "
            "set device: cpu in the study, or run where there is a GPU"
        )
    # the CPU needs neither, and the call costs a second of imports
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def read_model(federation: Federation, path: str) -> tuple[Tensor, Tensor]:
    """Read a global model [d] and its running statistics [s]."""
    run, model = federation.experiment, federation.model
    layout = model.layout + model.statistics_layout
    whole = read_parameters(Path(path), "model", run.run, layout)[0].to(run.device)
    return whole[: model.layout.dimension], whole[model.layout.dimension :]


def write_model(
    federation: Federation, path: str, global_parameters: Tensor, statistics: Tensor
) -> None:
    """Write a global model [d] and its running statistics [s]."""
    model, run = federation.model, federation.experiment.run
    whole = torch.cat([global_parameters, statistics])
    layout = model.layout + model.statistics_layout
    write_parameters(Path(path), "model", run, layout, whole[None])


def read_remembered(federation: Federation, path: str) -> State:
    """Read what the attackers or the defense remember."""
    run = federation.experiment
    state = read_state(Path(path), run.run)
    return {name: tensor.to(run.device) for name, tensor in state.items()}


def read_progress(federation: Federation, files: Any) -> Progress:
    """Read where a run stands from ``model``, ``attack_state`` and ``defense_state``."""
    model, statistics = read_model(federation, files.model)
    return Progress(
        model,
        read_remembered(federation, files.attack_state),
        read_remembered(federation, files.defense_state),
        statistics,
    )


def write_progress(federation: Federation, files: Any, progress: Progress) -> None:
    """Write where a run stands."""
    run = federation.experiment.run
    write_state(Path(files.attack_state), run, progress.attack_state)
    write_state(Path(files.defense_state), run, progress.defense_state)
    statistics = progress.statistics
    if statistics is None:
        statistics = federation.initial_statistics()
    write_model(federation, files.model, progress.global_parameters, statistics)


def read_updates(federation: Federation, path: str) -> Tensor:
    """Read the updates [n, d] of one round."""
    run, layout = federation.experiment, federation.model.layout
    return read_parameters(Path(path), "updates", run.run, layout).to(run.device)


def write_updates(federation: Federation, path: str, round_: int, updates: Tensor) -> None:
    """Write the updates [n, d] of one round, for the next stage."""
    layout, run = federation.model.layout, federation.experiment.run
    write_parameters(Path(path), "updates", run, layout, updates, **_keys(federation, round_))


def read_statistics(federation: Federation, path: str) -> Tensor:
    """Read the clients' running statistics [n, s] of one round."""
    run, layout = federation.experiment, federation.model.statistics_layout
    return read_parameters(Path(path), "statistics", run.run, layout).to(run.device)


def write_statistics(federation: Federation, path: str, round_: int, statistics: Tensor) -> None:
    """Write the clients' running statistics [n, s] of one round."""
    layout, run = federation.model.statistics_layout, federation.experiment.run
    write_parameters(Path(path), "statistics", run, layout, statistics, **_keys(federation, round_))


@contextmanager
def kept_updates(
    federation: Federation, path: str, clock: Clock
) -> Iterator[Callable[[int, Tensor], None]]:
    """Yield a function that keeps the updates [n, d] of a round, and then of later ones, in a file.

    A row per round and client, a row group per round, written in a thread of its own while the
    caller goes on: with two rounds in its hands the caller waits, which ``clock`` counts as
    ``write``.  The file appears when the block succeeds; an error in writing is raised by the next
    call or at its end.
    """
    layout, run = federation.model.layout, federation.experiment.run
    schema = parameters_schema(layout, _keys(federation, 0))
    with row_groups(Path(path), "updates", run, schema, **packed(layout.names)) as write:

        def work(kept: tuple[int, Tensor]) -> None:
            write(parameters_table(layout, kept[1], **_keys(federation, kept[0])))

        with background(work) as hand_over:

            def keep(round_: int, updates: Tensor) -> None:
                with clock.part("write"):
                    # off the GPU at once: its memory is needed there
                    hand_over((round_, updates.cpu()))

            yield keep
            ending = perf_counter()
    clock.add("write", perf_counter() - ending)


def _keys(federation: Federation, round_: int) -> dict[str, list[int] | list[bool]]:
    """The key columns of a round's updates."""
    malicious: list[bool] = federation.malicious.tolist()
    clients = len(malicious)
    return {"round": [round_] * clients, "client": [*range(clients)], "malicious": malicious}
