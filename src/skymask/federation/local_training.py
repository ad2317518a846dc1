"""Local training of clients: plain SGD on the study's loss."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skymask.federation.settings import LocalTraining
from skymask.federation.stacked_training import autocast, bytes_of_a_client, train_stacked
from skymask.models.flat_parameters import ModelPool, ResidentModel
from skymask.models.losses import class_counts, mean_loss
from skymask.models.samples import Samples, laid_out
from skymask.numerics.parallel import parallel_map, single_threaded

# clients of fewer bytes are stacked on the CPU; see docs/explanation/performance.md
SMALL = 512 * 2**10


class Trained(NamedTuple):
    """What clients end with: ``updates`` [n, d] and running ``statistics`` [n, s]."""

    updates: Tensor
    statistics: Tensor


def train_client(
    model: ResidentModel,
    start: Tensor,
    samples: Samples,
    settings: LocalTraining,
    generator: torch.Generator,
) -> Tensor:
    """Train one client by SGD.

    Args:
        model: The architecture; it is not changed.
        start: Parameters [d] to begin with.
        samples: The client's samples; they are shuffled in each pass, the last partial batch
            counts.
        settings: Settings of the training.
        generator: Generator of the batch order.

    Returns:
        The update Δ = w_local − w [d]; zeros for a client without samples.
    """
    with single_threaded():
        own = model.copy(start)
        _descend(own, samples, settings, generator)
        return own.vector - start


def train_clients(
    model: ResidentModel,
    start: Tensor,
    clients: Sequence[Samples],
    settings: LocalTraining,
    generators: Callable[[int], torch.Generator],
    statistics: Tensor | None = None,
) -> Trained:
    """Train every client from the same parameters.

    On the CPU each of torch's threads trains one client, or stack of clients, after the other; the
    bits do not depend on the number of threads.

    Args:
        model: The architecture; it is not changed.
        start: Parameters [d] to begin with.
        clients: Samples of each client.
        settings: Settings of the training.
        generators: Function from a client's index to the generator of its batch order.
        statistics: Running statistics [s] to begin with; the model's where not given.

    Returns:
        Updates [n, d] and statistics [n, s] in the order of the clients; a client without samples
        keeps both.
    """
    statistics = model.statistics if statistics is None else statistics
    shape = tuple(clients[0].features.shape[1:]) if clients else ()
    if clients and _stacked(model.module, shape, start.device.type, settings):
        return Trained(
            *train_stacked(model.module, start, statistics, clients, settings, generators)
        )
    updates = start.new_empty(len(clients), len(start))
    running = statistics.repeat(len(clients), 1)
    models = ModelPool(model.module)

    def work(client: int) -> None:
        with models.borrow(start) as own:
            own.statistics.copy_(statistics)
            _descend(own, clients[client], settings, generators(client))
            torch.sub(own.vector, start, out=updates[client])
            running[client] = own.statistics

    parallel_map(work, range(len(clients)), start.device)
    return Trained(updates, running)


def _descend(
    model: ResidentModel, samples: Samples, settings: LocalTraining, generator: torch.Generator
) -> None:
    """Move the model's parameters by all steps of a client."""
    counts = class_counts([samples.labels], settings.loss)[0]
    for _ in range(settings.local_epochs):
        order = torch.randperm(len(samples), generator=generator).to(samples.labels.device)
        for batch in torch.split(order, settings.batch_size):
            if len(batch) == 0:
                continue
            model.gradient.zero_()
            with autocast(model.vector.device, settings):
                logits = model.module(laid_out(samples.features[batch]))
                loss = mean_loss(logits, samples.labels[batch], settings.loss, counts)
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.gradient_clip is not None:
                model.gradient.clamp_(-settings.gradient_clip, settings.gradient_clip)
            model.vector.sub_(model.gradient, alpha=settings.local_lr)


def _stacked(
    module: nn.Module, shape: tuple[int, ...], device: str, settings: LocalTraining
) -> bool:
    """Whether clients are trained many at once."""
    if settings.batching != "auto":
        return settings.batching == "stacked"
    return device != "cpu" or bytes_of_a_client(module, shape, settings.batch_size) < SMALL
