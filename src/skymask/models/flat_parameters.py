"""Conversion between a model's named tensors and one flat vector.

Attacks and defenses work on vectors [d]; models work on named tensors.  ``Layout`` converts: the
order of ``named_parameters``, each tensor flattened row by row.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from queue import Empty, SimpleQueue

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a model's trainable tensors, in the order of the flat vector.

    >>> layout = Layout.of(nn.Linear(3, 2))
    >>> layout.names, layout.shapes, layout.dimension
    (('weight', 'bias'), ((2, 3), (2,)), 8)
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> "Layout":
        """Read the layout of a module's trainable parameters."""
        named = [(n, tuple(p.shape)) for n, p in module.named_parameters() if p.requires_grad]
        return cls(tuple(n for n, _ in named), tuple(s for _, s in named))

    @classmethod
    def of_statistics(cls, module: nn.Module) -> "Layout":
        """Read the layout of a module's running statistics: its buffers of floating point.

        >>> Layout.of_statistics(nn.BatchNorm1d(3)).names
        ('running_mean', 'running_var')
        """
        named = [(n, tuple(b.shape)) for n, b in module.named_buffers() if b.is_floating_point()]
        return cls(tuple(n for n, _ in named), tuple(s for _, s in named))

    def __add__(self, other: "Layout") -> "Layout":
        """Join the layouts of two vectors, one after the other."""
        return Layout(self.names + other.names, self.shapes + other.shapes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def dimension(self) -> int:
        """Length d of the flat vector."""
        return sum(self.sizes)

    @property
    def weights(self) -> Tensor:
        """Flags [d] of the coordinates in weights: tensors with two or more axes.

        >>> Layout(("weight", "bias"), ((2, 1), (2,))).weights.tolist()
        [True, True, False, False]
        """
        wanted = torch.tensor([len(shape) > 1 for shape in self.shapes])
        return wanted.repeat_interleave(torch.tensor(self.sizes))

    def columns(self, rows: Tensor) -> dict[str, Tensor]:
        """Split ``rows`` [..., d] into views [..., size], one per tensor.

        Raises:
            ValueError: The last axis is not d.
        """
        if rows.shape[-1] != self.dimension:
            raise ValueError(
                f"the vector has {rows.shape[-1]} entries but the model has {self.dimension}"
            )
        return dict(zip(self.names, torch.split(rows, list(self.sizes), dim=-1), strict=True))

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Split ``vector`` [d] into the model's named tensors (views)."""
        pieces = self.columns(vector).items()
        return {
            name: piece.view(shape)
            for (name, piece), shape in zip(pieces, self.shapes, strict=True)
        }

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Join named tensors into one vector [d] (a copy)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.names])


class ResidentModel:
    """A module whose parameters, gradients and running statistics are views of flat vectors.

    Loading a client's parameters is one copy, and clamping or a step of SGD is one operation on a
    vector, whatever the number of layers.

    Attributes:
        module: The module.
        layout: Names and shapes of its parameters.
        vector: Parameters [d].
        gradient: Gradient [d]; ``backward`` adds to it, the caller sets it to zero.
        statistics: Buffers of floating point [s], which batch normalisation moves.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layout = Layout.of(module)
        parameters = [p for p in module.parameters() if p.requires_grad]
        self.vector = torch.cat([p.detach().reshape(-1) for p in parameters])
        self.gradient = torch.zeros_like(self.vector)
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = self.vector[start:end].view(parameter.shape)
            parameter.grad = self.gradient[start:end].view(parameter.shape)
            start = end
        buffers = [b for b in module.buffers() if b.is_floating_point()]
        self.statistics = torch.cat([self.vector[:0], *(b.reshape(-1) for b in buffers)])
        start = 0
        for buffer in buffers:
            end = start + buffer.numel()
            buffer.data = self.statistics[start:end].view(buffer.shape)
            start = end

    @property
    def statistics_layout(self) -> Layout:
        """Names and shapes of the running statistics."""
        return Layout.of_statistics(self.module)

    def copy(
        self, parameters: Tensor | None = None, statistics: Tensor | None = None
    ) -> "ResidentModel":
        """Copy the model, with ``parameters`` [d] and ``statistics`` [s] where they are given."""
        copy = ResidentModel(deepcopy(self.module))
        if parameters is not None:
            copy.vector.copy_(parameters)
        if statistics is not None:
            copy.statistics.copy_(statistics)
        return copy


class ModelPool:
    """Copies of a module that threads borrow; there are as many as are in use at once."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._free: SimpleQueue[ResidentModel] = SimpleQueue()

    @contextmanager
    def borrow(self, parameters: Tensor) -> Iterator[ResidentModel]:
        """Yield a copy with ``parameters`` [d], on their device and in their dtype."""
        try:
            model = self._free.get_nowait()
        except Empty:
            model = ResidentModel(deepcopy(self._module).to(parameters))
        with torch.no_grad():
            model.vector.copy_(parameters)
        yield model
        self._free.put(model)


def by_batch(module: nn.Module) -> nn.Module:
    """Make batch normalisation use the statistics of the batch, without tracking them.

    Args:
        module: A module; it is not changed.

    Returns:
        A changed copy; the module itself where no part of it tracks statistics.
    """

    def tracks(part: nn.Module) -> bool:
        return isinstance(part, _BatchNorm) and part.training and part.track_running_stats

    if not any(map(tracks, module.modules())):
        return module
    module = deepcopy(module)
    for part in filter(tracks, module.modules()):
        assert isinstance(part, _BatchNorm)
        part.track_running_stats = False
        part.running_mean = part.running_var = part.num_batches_tracked = None
    return module
