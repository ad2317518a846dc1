"""Local training of clients: plain SGD on cross-entropy, one client after the other."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from skymask.objective import Samples, SoftmaxAxis, cross_entropy, laid_out
from skymask.parameters import ResidentModel


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains.

    ``gradient_clip`` clamps every gradient coordinate to ±c before each step, ``None`` does not.
    """

    local_epochs: int = 1
    batch_size: int = 32
    local_lr: float = 0.1
    gradient_clip: float | None = None
    softmax_axis: SoftmaxAxis = "class"


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
    model.vector.copy_(start)
    for _ in range(settings.local_epochs):
        order = torch.randperm(len(samples), generator=generator).to(samples.labels.device)
        for batch in torch.split(order, settings.batch_size):
            if len(batch) == 0:
                continue
            logits = model.module(laid_out(samples.features[batch]))
            model.gradient.zero_()
            cross_entropy(logits, samples.labels[batch], settings.softmax_axis).backward()  # type: ignore[no-untyped-call]
            if settings.gradient_clip is not None:
                model.gradient.clamp_(-settings.gradient_clip, settings.gradient_clip)
            model.vector.sub_(model.gradient, alpha=settings.local_lr)
    return model.vector - start


def train_clients(
    model: ResidentModel,
    start: Tensor,
    clients: Iterable[Samples],
    settings: LocalTraining,
    generators: Callable[[int], torch.Generator],
) -> Tensor:
    """Train every client from ``start`` [d]; return their updates [n, d] in the clients' order.

    ``generators`` maps a client's index to the generator of its batch order.
    """
    return torch.stack(
        [
            train_client(model, start, samples, settings, generators(client))
            for client, samples in enumerate(clients)
        ]
    )
