"""Local training of many clients at once: their parameters are the rows of one matrix [n, d].

Every step is one vectorised gradient over the clients that still have a batch.  A batch that is
not full is filled up with samples that count nothing: not in the loss, and not in the statistics
of batch normalisation, which are each client's own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from skymask.models.flat_parameters import Layout
from skymask.models.losses import SoftmaxAxis
from skymask.models.pooled_convolution import PooledConvolution
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import fitting
from skymask.numerics.parallel import across

# bytes that the clients trained at once may take: a part of a GPU, and what stays near a CPU's
# cores.  Fixed, since the last bits can depend on who is stacked with whom
MEMORY = {"cuda": 4 * 2**30, "cpu": 4 * 2**20}


class StackedModel:
    """A module as a function of a matrix of parameters, a row per client.

    ``module`` is not changed.  Its batch normalisation, if any, normalises by the batch at hand,
    whose statistics are put out beside the gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        softmax_axis: SoftmaxAxis = "class",
        precision: AbstractContextManager[None] | None = None,
    ) -> None:
        self.layout = Layout.of(module)
        self.statistics_layout = Layout.of_statistics(module)
        self.softmax_axis = softmax_axis
        self.precision = nullcontext() if precision is None else precision
        self._module = deepcopy(module)
        self._present: Tensor | None = None
        self._seen: dict[str, Tensor] = {}
        self.momentum = torch.zeros(self.statistics_layout.dimension, dtype=torch.float64)
        """What a batch moves each of the running statistics [s] by."""
        for name, part in self._module.named_modules():
            if isinstance(part, PooledConvolution):
                part.fused = False
            if isinstance(part, _BatchNorm):
                part.forward = partial(self._normalise, name, part)  # type: ignore[method-assign]
                if part.track_running_stats:
                    self._set_momentum(name, part)
        self._differentiated = vmap(grad_and_value(self._loss, has_aux=True), randomness="error")

    def gradients(
        self, rows: Tensor, features: Tensor, labels: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients [n, d] of the rows' losses, and the statistics [n, s] of their batches.

        Of ``rows`` [n, d], ``features`` [n, B, ...], ``labels`` [n, B], ``present`` bool [n, B].
        """
        gradients, (_, statistics) = self._differentiated(rows, features, labels, present)
        return gradients, statistics

    def _set_momentum(self, name: str, norm: _BatchNorm) -> None:
        if norm.momentum is None:
            raise ValueError(
                f"batch normalisation {name or 'of the model'} has momentum None, a mean over all "
                "batches; stacked clients need a number: give it one, or batching='loop'"
            )
        columns = self.statistics_layout.columns(self.momentum)
        for kind in ("running_mean", "running_var"):
            columns[f"{name}.{kind}" if name else kind].fill_(norm.momentum)

    def _loss(
        self, row: Tensor, features: Tensor, labels: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._present, self._seen = present, {}
        with self.precision:
            loss = self._mean_loss(row, features, labels, present)
        seen = [self._seen[name] for name in self.statistics_layout.names]
        return loss, torch.cat([row.detach()[:0], *seen])

    def _mean_loss(self, row: Tensor, features: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        logits = functional_call(self._module, self.layout.unflatten(row), (features,))
        if self.softmax_axis == "class":
            losses = functional.cross_entropy(logits, labels, reduction="none")
        else:
            absent = ~present[:, None]
            likelihoods = functional.log_softmax(logits.masked_fill(absent, -torch.inf), dim=0)
            losses = -likelihoods.gather(1, labels[:, None])[:, 0]
        return torch.where(present, losses, 0.0).sum() / present.sum()

    def _normalise(self, name: str, norm: _BatchNorm, images: Tensor) -> Tensor:
        """Batch normalisation by the mean and variance of the samples that are present."""
        assert self._present is not None
        shape = (1, -1) + (1,) * (images.ndim - 2)
        axes = (0, *range(2, images.ndim))
        present = self._present.view(-1, *(1,) * (images.ndim - 1))
        count = self._present.sum() * prod(images.shape[2:])
        mean = torch.where(present, images, 0.0).sum(dim=axes) / count
        centred = images - mean.view(shape)
        variance = torch.where(present, centred, 0.0).square().sum(dim=axes) / count
        if norm.track_running_stats:
            of = f"{name}." if name else ""
            self._seen[f"{of}running_mean"] = mean.detach()
            # the running variance is the unbiased one
            self._seen[f"{of}running_var"] = variance.detach() * count / (count - 1)
        normal = centred * (variance + norm.eps).rsqrt().view(shape)
        if norm.weight is None:
            return normal
        return normal * norm.weight.view(shape) + norm.bias.view(shape)


def train_stacked(
    model: Callable[[], StackedModel],
    start: Tensor,
    statistics: Tensor,
    clients: Sequence[Samples],
    generators: Callable[[int], torch.Generator],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    gradient_clip: float | None,
    of_a_client: int,
) -> tuple[Tensor, Tensor]:
    """Train every client from ``start`` [d] and running ``statistics`` [s].

    Returns their updates [n, d] and the statistics [n, s] they end with, in the clients' order.

    The batches are those of training one client after the other, and so are the updates, up to
    rounding.  As many clients are stacked as MEMORY holds of ``of_a_client`` bytes; on the CPU
    each of torch's threads takes a stack after the other.  A stack for which the device's memory
    does not suffice is trained in halves.  ``model`` makes one for each stack.
    """
    updates = torch.zeros(len(clients), len(start), device=start.device, dtype=start.dtype)
    running = statistics.repeat(len(clients), 1)
    size = max(1, MEMORY.get(start.device.type, MEMORY["cuda"]) // of_a_client)
    # those with as many batches stand together, so that few wait for one
    order = sorted(range(len(clients)), key=lambda i: -len(clients[i]))
    stacks = [order[first : first + size] for first in range(0, len(order), size)]

    def work(stack: list[int]) -> None:
        held = [clients[client] for client in stack if len(clients[client])]
        if not held:
            return
        batches = [
            _batches(len(samples), epochs, batch_size, generators(client))
            for client, samples in zip(stack, held, strict=False)
        ]

        def train(part: slice) -> None:
            own = held[part]
            begun = (start.repeat(len(own), 1), statistics.repeat(len(own), 1))
            _descend(model(), *begun, own, batches[part], batch_size, learning_rate, gradient_clip)
            places = torch.tensor(stack[part], device=start.device)
            updates[places] = begun[0] - start
            running[places] = begun[1]

        fitting(train, slice(0, len(held)), "clients in training")

    across(work, stacks, start.device)
    return updates, running


def _batches(count: int, epochs: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    return [
        batch
        for _ in range(epochs)
        for batch in torch.split(torch.randperm(count, generator=generator), batch_size)
    ]


def _descend(
    model: StackedModel,
    rows: Tensor,
    statistics: Tensor,
    held: list[Samples],
    batches: list[list[Tensor]],
    batch_size: int,
    learning_rate: float,
    gradient_clip: float | None,
) -> None:
    """Move the clients' parameters ``rows`` [n, d] and ``statistics`` [n, s] by their ``batches``.

    Those with most batches come first.
    """
    momentum = model.momentum.to(statistics)
    features = torch.cat([samples.features for samples in held])
    labels = torch.cat([samples.labels for samples in held])
    places, present = _schedule([len(samples) for samples in held], batches, batch_size)
    places, present = places.to(labels.device), present.to(labels.device)
    for step in range(len(batches[0])):
        # who has finished does not move
        moving = sum(len(own) > step for own in batches)
        chosen = places[step, :moving]
        images = laid_out(features[chosen.flatten()])
        images = images.view(*chosen.shape, *images.shape[1:])
        gradient, seen = model.gradients(
            rows[:moving], images, labels[chosen], present[step, :moving]
        )
        if statistics.shape[1]:
            statistics[:moving] += momentum * (seen - statistics[:moving])
        if gradient_clip is not None:
            gradient = gradient.clamp_(-gradient_clip, gradient_clip)
        rows[:moving].sub_(gradient, alpha=learning_rate)


def _schedule(
    counts: list[int], batches: list[list[Tensor]], batch_size: int
) -> tuple[Tensor, Tensor]:
    """Places of the samples among all clients' [steps, n, B], and which of them count."""
    shape = (len(batches[0]), len(counts), min(batch_size, max(counts)))
    places = torch.zeros(shape, dtype=torch.long)
    present = torch.zeros(shape, dtype=torch.bool)
    first = 0
    for client, (count, own) in enumerate(zip(counts, batches, strict=True)):
        places[:, client] = first
        for step, batch in enumerate(own):
            places[step, client, : len(batch)] = first + batch
            present[step, client, : len(batch)] = True
        first += count
    return places, present


def bytes_of_a_client(module: nn.Module, shape: tuple[int, ...], batch_size: int) -> int:
    """What training one client takes, about: parameters, gradient, and the layers' outputs.

    ``shape`` is that of a sample.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return 4 * (6 * parameters + 4 * batch_size * _activations(module, shape))


def _activations(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Numbers that the layers of ``module`` put out for one sample of ``shape``."""
    found = 0

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal found
        found += output.numel()

    copy = deepcopy(module).float().to("meta")
    for part in copy.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    # two samples, since batch normalisation refuses one
    copy(torch.empty(2, *shape, device="meta"))
    return found // 2
