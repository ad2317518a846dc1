"""Local training of clients: plain SGD on cross-entropy."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal

import torch
from torch import Tensor, nn

from skymask.federation.stacked_training import StackedModel, bytes_of_a_client, train_stacked
from skymask.models.flat_parameters import ResidentModel
from skymask.models.losses import SoftmaxAxis, cross_entropy
from skymask.models.samples import Samples, laid_out
from skymask.numerics.parallel import across, single_threaded

# bytes of a client under which clients are stacked on the CPU; see docs/explanation/performance.md
SMALL = 512 * 2**10


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains.

    ``gradient_clip`` clamps every gradient coordinate to ±c before each step, ``None`` does not.
    ``precision="bfloat16"`` computes layers in bfloat16 where torch's autocast holds that safe;
    parameters, gradients and steps stay float32.  ``batching`` says whether clients train one
    after the other (``loop``) or many at once (``stacked``); ``auto`` stacks them on a GPU, and on
    the CPU those that are so small that starting each operation is what costs.
    """

    local_epochs: int = 1
    batch_size: int = 32
    local_lr: float = 0.1
    gradient_clip: float | None = None
    softmax_axis: SoftmaxAxis = "class"
    precision: Literal["float32", "bfloat16"] = "float32"
    batching: Literal["auto", "loop", "stacked"] = "auto"


def train_client(
    model: ResidentModel,
    start: Tensor,
    samples: Samples,
    settings: LocalTraining,
    generator: torch.Generator,
) -> Tensor:
    """Train from ``start`` [d] on one client's samples; return its update Δ = w_local − w [d].

    ``local_epochs`` passes of SGD in batches of ``batch_size``, reshuffled by ``generator`` in
    each pass; the last partial batch counts.  A client without samples returns zeros.
    """
    with single_threaded():
        _descend(model, start, samples, settings, generator)
        return model.vector - start


def train_clients(
    model: ResidentModel,
    start: Tensor,
    clients: Sequence[Samples],
    settings: LocalTraining,
    generators: Callable[[int], torch.Generator],
) -> Tensor:
    """Train every client from ``start`` [d]; return their updates [n, d] in the clients' order.

    As :func:`train_with_statistics`, of models without running statistics, or where nobody asks.
    """
    return train_with_statistics(model, start, model.statistics, clients, settings, generators)[0]


def train_with_statistics(
    model: ResidentModel,
    start: Tensor,
    statistics: Tensor,
    clients: Sequence[Samples],
    settings: LocalTraining,
    generators: Callable[[int], torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Train every client from ``start`` [d] and the running ``statistics`` [s].

    Returns their updates [n, d] and the statistics [n, s] they end with, in the clients' order; a
    client without samples keeps both.  ``generators`` maps a client's index to the generator of
    its batch order.  On the CPU each of torch's threads trains one client, or stack of clients,
    after the other; the bits do not depend on how many there are.
    """
    shape = tuple(clients[0].features.shape[1:]) if clients else ()
    if clients and _stacked(model.module, shape, start.device.type, settings):
        return train_stacked(
            lambda: StackedModel(model.module, settings.softmax_axis, _autocast(start, settings)),
            start,
            statistics,
            clients,
            generators,
            epochs=settings.local_epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.local_lr,
            gradient_clip=settings.gradient_clip,
            of_a_client=bytes_of_a_client(model.module, shape, settings.batch_size),
        )
    updates = start.new_empty(len(clients), len(start))
    running = statistics.repeat(len(clients), 1)
    begun = statistics.clone()
    models: SimpleQueue[ResidentModel] = SimpleQueue()
    for _ in range(min(torch.get_num_threads(), len(clients))):
        models.put(model.copy())

    def work(client: int) -> None:
        own = models.get()
        own.statistics.copy_(begun)
        _descend(own, start, clients[client], settings, generators(client))
        torch.sub(own.vector, start, out=updates[client])
        running[client] = own.statistics
        models.put(own)

    across(work, range(len(clients)), start.device)
    return updates, running


def _descend(
    model: ResidentModel,
    start: Tensor,
    samples: Samples,
    settings: LocalTraining,
    generator: torch.Generator,
) -> None:
    model.vector.copy_(start)
    for _ in range(settings.local_epochs):
        order = torch.randperm(len(samples), generator=generator).to(samples.labels.device)
        for batch in torch.split(order, settings.batch_size):
            if len(batch) == 0:
                continue
            model.gradient.zero_()
            with _autocast(start, settings):
                logits = model.module(laid_out(samples.features[batch]))
                loss = cross_entropy(logits, samples.labels[batch], settings.softmax_axis)
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.gradient_clip is not None:
                model.gradient.clamp_(-settings.gradient_clip, settings.gradient_clip)
            model.vector.sub_(model.gradient, alpha=settings.local_lr)


def _stacked(
    module: nn.Module, shape: tuple[int, ...], device: str, settings: LocalTraining
) -> bool:
    if settings.batching != "auto":
        return settings.batching == "stacked"
    return device != "cpu" or bytes_of_a_client(module, shape, settings.batch_size) < SMALL


def _autocast(start: Tensor, settings: LocalTraining) -> AbstractContextManager[None]:
    if settings.precision == "float32":
        return nullcontext()
    # weights change in every step: a copy kept from the step before would be stale
    return torch.autocast(start.device.type, torch.bfloat16, cache_enabled=False)
