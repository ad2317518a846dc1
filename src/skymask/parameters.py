"""A model's parameters as one flat vector, and back.

Every rule of the field works on vectors [d]; every model works on named tensors.  ``Layout`` is
the bridge: the order of ``named_parameters``, each tensor flattened row by row.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn


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

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def dimension(self) -> int:
        """Length d of the flat vector."""
        return sum(self.sizes)

    def columns(self, rows: Tensor) -> dict[str, Tensor]:
        """Cut ``rows`` [..., d] into views [..., size], one per tensor.

        Raises ValueError when the last axis is not d.
        """
        if rows.shape[-1] != self.dimension:
            raise ValueError(
                f"the vector has {rows.shape[-1]} entries but the model has {self.dimension}"
            )
        return dict(zip(self.names, torch.split(rows, list(self.sizes), dim=-1), strict=True))

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut ``vector`` [d] into the model's named tensors (views)."""
        pieces = self.columns(vector).items()
        return {
            name: piece.view(shape)
            for (name, piece), shape in zip(pieces, self.shapes, strict=True)
        }

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Join named tensors to one vector [d] (a copy)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.names])


class ResidentModel:
    """A module whose parameters and gradients are views of two flat vectors.

    Loading a client's parameters is one copy, and clamping or a step of SGD is one operation on a
    vector, whatever the number of layers.  Attributes: ``module``; ``layout``; ``vector`` [d],
    the parameters; ``gradient`` [d], filled by ``backward`` and zeroed by the user.
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

    def copy(self) -> "ResidentModel":
        """A model of its own, with the same parameters."""
        return ResidentModel(deepcopy(self.module))
