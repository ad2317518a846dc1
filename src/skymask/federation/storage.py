"""Files of one run, read and written as the objects of the stages."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch import Tensor

from skymask.artifacts.parquet import packed, row_groups
from skymask.artifacts.records import read_experiment, write_rows
from skymask.artifacts.samples import read_partition
from skymask.artifacts.tensors import (
    parameters_schema,
    parameters_table,
    read_parameters,
    read_samples,
    read_state,
    write_parameters,
    write_state,
)
from skymask.federation.federation import Checkpoint, Federation, State
from skymask.federation.timing import Clock, Row, timed
from skymask.models.flat_parameters import Layout
from skymask.models.samples import Samples
from skymask.numerics.out_of_memory import explain_memory_errors

T = TypeVar("T")


@dataclass
class Stage:
    """One stage of one round, run by a job of its own.

    Attributes:
        name: Name of the stage.
        round: Round, from 1.
        federation: Parties of the run.
        parameters: Parameters [d] of the global model before the stage.
        statistics: Its running statistics [s].
        state: What the attackers or the defense keep; empty for a stage without state.
        input: Paths of the job's input files, by name.
        output: Paths of its output files, by name.
        timings: Timing rows so far.
    """

    name: str
    round: int
    federation: Federation
    parameters: Tensor
    statistics: Tensor
    state: State
    input: Any
    output: Any
    timings: list[Row] = field(default_factory=list)

    def timed(self) -> AbstractContextManager[None]:
        """Time the block as the stage."""
        return timed(self.timings, self.round, self.name, self.federation.experiment.device)

    def read(self, kind: str) -> Tensor:
        """Read the clients' ``updates`` [n, d] or ``statistics`` [n, s]."""
        return read_matrix(self.federation, self.input[kind], kind)

    def write(self, **results: Any) -> None:
        """Write results to the output files of their names.

        ``model`` is a pair of parameters and statistics, ``updates`` and ``statistics`` are
        matrices, ``state`` is a state; everything else is rows.
        """
        run = self.federation.experiment.run
        for name, result in results.items():
            path = Path(self.output[name])
            if name == "model":
                write_model(self.federation, path, *result)
            elif name in ("updates", "statistics"):
                write_matrix(self.federation, path, name, result, self.round)
            elif name == "state":
                write_state(path, run, result)
            else:
                write_rows(path, name, run, result)


@contextmanager
def stage(snakemake: Any, name: str) -> Iterator[Stage]:
    """Read what the stage ``name`` works on; write its timings when the block succeeds.

    Args:
        snakemake: Object that Snakemake gives the script of the job.
        name: Name of the stage.

    Raises:
        ArtifactError: A file is not what it should be.
    """
    files = snakemake.input
    federation = read_federation(files)
    parameters, statistics = read_model(federation, files.model)
    state = _read_state(federation, files.state) if hasattr(files, "state") else {}
    job = Stage(
        name=name,
        round=int(snakemake.wildcards.round),
        federation=federation,
        parameters=parameters,
        statistics=statistics,
        state=state,
        input=files,
        output=snakemake.output,
    )
    yield job
    job.write(timings=job.timings)


def read_federation(files: Any) -> Federation:
    """Read the parties of a run onto its device, and set its number of threads.

    Args:
        files: Object with the paths ``experiment``, ``partition``, ``train`` and ``test``.

    Raises:
        ArtifactError: A file is not what it should be.
        RuntimeError: The run's device is missing.
    """
    run = read_experiment(Path(files.experiment))
    torch.set_num_threads(run.threads)
    if run.device.startswith("cuda"):
        _prepare_gpu(run.device)
    with explain_memory_errors("read", run.device):
        features, labels, classes = read_samples(Path(files.train), run.dataset)
        training_data = Samples(features.to(run.device), labels.to(run.device))
        features, labels, _ = read_samples(Path(files.test), run.dataset)
        test_data = Samples(features.to(run.device), labels.to(run.device))
        assignment = read_partition(Path(files.partition), run.partition_id)
        return Federation(run, training_data, test_data, assignment, classes)


def _prepare_gpu(device: str) -> None:
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"the study asks for device {device}, but torch finds no GPU: "
            "set device: cpu in the study, or run it where there is a GPU"
        )
    # the CPU needs neither, and the call costs a second of imports
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def read_matrix(federation: Federation, path: str | Path, kind: str) -> Tensor:
    """Read a matrix of parameters onto the run's device.

    Args:
        federation: Parties of the run.
        path: Path of the file.
        kind: ``model``, ``updates`` or ``statistics``.

    Returns:
        Float32 [1, d + s], [n, d] or [n, s].

    Raises:
        ArtifactError: The file is not what it should be.
    """
    run = federation.experiment
    return read_parameters(Path(path), kind, run.run, _layout(federation, kind)).to(run.device)


def write_matrix(
    federation: Federation, path: str | Path, kind: str, rows: Tensor, round_: int | None = None
) -> None:
    """Write a matrix of parameters.

    Args:
        federation: Parties of the run.
        path: Path of the file.
        kind: ``model``, ``updates`` or ``statistics``.
        rows: Float32 [1, d + s], [n, d] or [n, s].
        round_: Round of the clients' rows, which is written with them; ``None`` for a model.
    """
    run, layout = federation.experiment.run, _layout(federation, kind)
    keys = {} if round_ is None else _keys(federation, round_)
    write_parameters(Path(path), kind, run, layout, rows, **keys)


def read_model(federation: Federation, path: str | Path) -> tuple[Tensor, Tensor]:
    """Read a global model: its parameters [d] and its running statistics [s]."""
    row, dimension = read_matrix(federation, path, "model")[0], federation.model.layout.dimension
    return row[:dimension], row[dimension:]


def write_model(
    federation: Federation, path: str | Path, parameters: Tensor, statistics: Tensor
) -> None:
    """Write a global model: its parameters [d] and its running statistics [s]."""
    write_matrix(federation, path, "model", torch.cat([parameters, statistics])[None])


def _layout(federation: Federation, kind: str) -> Layout:
    parameters, statistics = federation.model.layout, federation.model.statistics_layout
    return {"model": parameters + statistics, "updates": parameters, "statistics": statistics}[kind]


def _keys(federation: Federation, round_: int) -> dict[str, list[int] | list[bool]]:
    """Make the key columns of the clients' rows in a round."""
    malicious: list[bool] = federation.malicious.tolist()
    clients = len(malicious)
    return {"round": [round_] * clients, "client": [*range(clients)], "malicious": malicious}


def _read_state(federation: Federation, path: str) -> State:
    run = federation.experiment
    return {name: t.to(run.device) for name, t in read_state(Path(path), run.run).items()}


def read_checkpoint(federation: Federation, files: Any) -> Checkpoint:
    """Read the state of a run from the paths ``model``, ``attack_state`` and ``defense_state``.

    Returns the state before round 1 where ``files`` has no ``model``.
    """
    if not hasattr(files, "model"):
        return Checkpoint(federation.initial_parameters())
    parameters, statistics = read_model(federation, files.model)
    return Checkpoint(
        global_parameters=parameters,
        attack_state=_read_state(federation, files.attack_state),
        defense_state=_read_state(federation, files.defense_state),
        statistics=statistics,
    )


def write_checkpoint(federation: Federation, files: Any, checkpoint: Checkpoint) -> None:
    """Write the state of a run to the paths ``model``, ``attack_state`` and ``defense_state``."""
    run, statistics = federation.experiment.run, checkpoint.statistics
    write_state(Path(files.attack_state), run, checkpoint.attack_state)
    write_state(Path(files.defense_state), run, checkpoint.defense_state)
    if statistics is None:
        statistics = federation.initial_statistics()
    write_model(federation, files.model, checkpoint.global_parameters, statistics)


@contextmanager
def kept_updates(
    federation: Federation, path: str, clock: Clock
) -> Iterator[Callable[[int, Tensor], None]]:
    """Yield a function that writes the updates of one round after the other to a file.

    The file has a row per round and client, and a row group per round.  Another thread writes while
    the caller goes on; with two rounds waiting or being written the caller waits.  The file appears
    when the block succeeds; an error in writing is raised by the next call or at its end.

    Args:
        federation: Parties of the run.
        path: Path of the file.
        clock: Clock that counts the waiting as ``write``.

    Yields:
        A function of the round and its updates [n, d].
    """
    layout, run = federation.model.layout, federation.experiment.run
    schema = parameters_schema(layout, _keys(federation, 0))
    with row_groups(Path(path), "updates", run, schema, **packed(layout.names)) as write:

        def work(kept: tuple[int, Tensor]) -> None:
            write(parameters_table(layout, kept[1], **_keys(federation, kept[0])))

        with in_background(work) as queue:

            def keep(round_: int, updates: Tensor) -> None:
                with clock.part("write"):
                    # off the GPU at once: its memory is needed there
                    queue((round_, updates.cpu()))

            yield keep
            ending = perf_counter()
    clock.add("write", perf_counter() - ending)


@contextmanager
def in_background(work: Callable[[T], object], limit: int = 2) -> Iterator[Callable[[T], None]]:
    """Yield a function that queues an item for ``work`` in another thread, in order.

    At most ``limit`` items wait or are worked on: queueing the next waits.  An error of ``work`` is
    raised by the next call, or at the end of the block; items still waiting are then dropped, as
    they are when the block itself fails.
    """
    pending: deque[Future[object]] = deque()
    pool = ThreadPoolExecutor(1)

    def queue(item: T) -> None:
        while pending and (len(pending) >= limit or pending[0].done()):
            pending.popleft().result()
        pending.append(pool.submit(work, item))

    try:
        yield queue
        while pending:
            pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
