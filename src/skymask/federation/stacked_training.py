"""Local training of many clients at once, by vectorised gradients.

The clients' parameters are the rows of one matrix [n, d].  Every step computes the gradients of all
clients that still have a batch.  A partial batch is padded with samples that do not count: neither
in the loss nor in the statistics of batch normalisation, which are each client's own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from skymask.federation.settings import LocalTraining
from skymask.models.flat_parameters import Layout
from skymask.models.loss_names import LossName
from skymask.models.losses import class_counts, mean_loss_of_present
from skymask.models.pooled_convolution import PooledConvolution
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

# bytes that the clients trained at once may take: part of a GPU's memory, and about a CPU's cache.
# Fixed, since the last bits can depend on which clients are stacked together
MEMORY = {"cuda": 4 * 2**30, "cpu": 4 * 2**20}


class StackedModel:
    """A module as a function of a matrix of parameters, one row per client.

    Batch normalisation uses the statistics of the batch, which are returned with the gradients.

    Args:
        module: The architecture; it is not changed.
        loss: Name of the loss; see :mod:`skymask.models.losses`.
        precision: Context of the forward pass, such as torch's autocast.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossName = "cross_entropy",
        precision: AbstractContextManager[None] | None = None,
    ) -> None:
        self.layout = Layout.of(module)
        self.statistics_layout = Layout.of_statistics(module)
        self.loss = loss
        self.precision = nullcontext() if precision is None else precision
        self._module = deepcopy(module)
        self._present: Tensor | None = None
        self._seen: dict[str, Tensor] = {}
        self.momentum = torch.zeros(self.statistics_layout.dimension, dtype=torch.float64)
        """Share by which a batch moves each running statistic [s]."""
        for name, part in self._module.named_modules():
            if isinstance(part, PooledConvolution):
                part.fused = False
            if isinstance(part, _BatchNorm):
                part.forward = partial(self._normalise, name, part)  # type: ignore[method-assign]
                if part.track_running_stats:
                    self._set_momentum(name, part)
        self._differentiated = vmap(grad_and_value(self._loss, has_aux=True), randomness="error")

    def gradients(
        self, rows: Tensor, features: Tensor, labels: Tensor, present: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the clients' losses.

        Args:
            rows: Parameters [n, d].
            features: Features of a batch of each client [n, B, ...].
            labels: Labels [n, B].
            present: Which samples count, bool [n, B].
            counts: Samples of each class [n, K] among all of a client's, as of
                :func:`~skymask.models.losses.class_counts`.

        Returns:
            Gradients [n, d], and the statistics [n, s] of the batches.
        """
        gradients, (_, statistics) = self._differentiated(rows, features, labels, present, counts)
        return gradients, statistics

    def _set_momentum(self, name: str, norm: _BatchNorm) -> None:
        if norm.momentum is None:
            raise ValueError(
                f"batch normalisation {name or 'of the model'} has momentum None, a mean over all "
                "batches; clients trained at once need a number: set one, or batching='loop'"
            )
        columns = self.statistics_layout.columns(self.momentum)
        for kind in ("running_mean", "running_var"):
            columns[f"{name}.{kind}" if name else kind].fill_(norm.momentum)

    def _loss(
        self, row: Tensor, features: Tensor, labels: Tensor, present: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._present, self._seen = present, {}
        with self.precision:
            logits = functional_call(self._module, self.layout.unflatten(row), (features,))
            loss = mean_loss_of_present(logits, labels, present, self.loss, counts)
        seen = [self._seen[name] for name in self.statistics_layout.names]
        return loss, torch.cat([row.detach()[:0], *seen])

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
    module: nn.Module,
    start: Tensor,
    statistics: Tensor,
    clients: Sequence[Samples],
    settings: LocalTraining,
    generators: Callable[[int], torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Train every client, in stacks of many at once.

    The batches are those of training one client after the other, and so are the updates, up to
    rounding.  On the CPU each of torch's threads takes one stack after the other.  A stack for
    which the device's memory does not suffice is trained in halves.

    Args:
        module: The architecture; it is not changed.
        start: Parameters [d] to begin with.
        statistics: Running statistics [s] to begin with.
        clients: Samples of each client.
        settings: Settings of the training.
        generators: Function from a client's index to the generator of its batch order.

    Returns:
        Updates [n, d] and running statistics [n, s], in the order of the clients.
    """
    updates = torch.zeros(len(clients), len(start), device=start.device, dtype=start.dtype)
    running = statistics.repeat(len(clients), 1)
    shape = tuple(clients[0].features.shape[1:])
    memory = MEMORY.get(start.device.type, MEMORY["cuda"])
    size = max(1, memory // bytes_of_a_client(module, shape, settings.batch_size))
    # clients with equally many batches go together, so that few wait for one
    order = sorted(range(len(clients)), key=lambda i: -len(clients[i]))
    stacks = [order[first : first + size] for first in range(0, len(order), size)]

    def work(stack: list[int]) -> None:
        stack = [client for client in stack if len(clients[client])]
        batches = [_batches(len(clients[client]), settings, generators(client)) for client in stack]

        def train(part: slice) -> None:
            own = stack[part]
            rows, moving = start.repeat(len(own), 1), statistics.repeat(len(own), 1)
            model = StackedModel(module, settings.loss, autocast(start.device, settings))
            samples = [clients[client] for client in own]
            _descend(model, rows, moving, samples, batches[part], settings)
            indices = torch.tensor(own, device=start.device)
            updates[indices] = rows - start
            running[indices] = moving

        if stack:
            with_halving(train, slice(0, len(stack)), "clients in training")

    parallel_map(work, stacks, start.device)
    return updates, running


def _batches(count: int, settings: LocalTraining, generator: torch.Generator) -> list[Tensor]:
    """Draw the indices of a client's samples in each batch of all passes."""
    return [
        batch
        for _ in range(settings.local_epochs)
        for batch in torch.split(torch.randperm(count, generator=generator), settings.batch_size)
    ]


def _descend(
    model: StackedModel,
    rows: Tensor,
    statistics: Tensor,
    clients: list[Samples],
    batches: list[list[Tensor]],
    settings: LocalTraining,
) -> None:
    """Move the clients' parameters ``rows`` [n, d] and ``statistics`` [n, s] by all batches.

    Clients with most batches come first.
    """
    momentum = model.momentum.to(statistics)
    features = torch.cat([samples.features for samples in clients])
    labels = torch.cat([samples.labels for samples in clients])
    indices, present = _schedule([len(own) for own in clients], batches, settings.batch_size)
    indices, present = indices.to(labels.device), present.to(labels.device)
    counts = class_counts([samples.labels for samples in clients], settings.loss)
    for step in range(len(batches[0])):
        # clients that have finished do not move
        moving = sum(len(own) > step for own in batches)
        chosen = indices[step, :moving]
        images = laid_out(features[chosen.flatten()])
        images = images.view(*chosen.shape, *images.shape[1:])
        gradient, seen = model.gradients(
            rows[:moving], images, labels[chosen], present[step, :moving], counts[:moving]
        )
        if statistics.shape[1]:
            statistics[:moving] += momentum * (seen - statistics[:moving])
        if settings.gradient_clip is not None:
            gradient = gradient.clamp_(-settings.gradient_clip, settings.gradient_clip)
        rows[:moving].sub_(gradient, alpha=settings.local_lr)


def _schedule(
    counts: list[int], batches: list[list[Tensor]], batch_size: int
) -> tuple[Tensor, Tensor]:
    """List the samples' indices among all clients' [steps, n, B], and which of them count."""
    shape = (len(batches[0]), len(counts), min(batch_size, max(counts)))
    indices = torch.zeros(shape, dtype=torch.long)
    present = torch.zeros(shape, dtype=torch.bool)
    first = 0
    for client, (count, own) in enumerate(zip(counts, batches, strict=True)):
        indices[:, client] = first
        for step, batch in enumerate(own):
            indices[step, client, : len(batch)] = first + batch
            present[step, client, : len(batch)] = True
        first += count
    return indices, present


def autocast(device: torch.device, settings: LocalTraining) -> AbstractContextManager[None]:
    """Make the context of a forward pass in the precision of ``settings``."""
    if settings.precision == "float32":
        return nullcontext()
    # weights change in every step: a copy kept from the step before would be stale
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def bytes_of_a_client(module: nn.Module, shape: tuple[int, ...], batch_size: int) -> int:
    """Estimate the memory of training one client: parameters, gradient and the layers' outputs.

    Args:
        module: The architecture.
        shape: Shape of one sample.
        batch_size: Samples of a step.

    Returns:
        Bytes.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return 4 * (6 * parameters + 4 * batch_size * _activations(module, shape))


def _activations(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the outputs of all layers of ``module`` for one sample of ``shape``."""
    outputs = 0

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    copy = deepcopy(module).float().to("meta")
    for part in copy.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    # two samples, since batch normalisation refuses one
    copy(torch.empty(2, *shape, device="meta"))
    return outputs // 2
