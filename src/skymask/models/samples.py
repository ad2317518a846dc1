"""Samples of one party and their memory layout."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Samples of one party: ``features`` [N, ...] float32 and ``labels`` [N] int64."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "Samples":
        """The samples at ``indices`` (a copy)."""
        return Samples(self.features[indices], self.labels[indices])


def laid_out(features: Tensor) -> Tensor:
    """Images [N, C, H, W] on the CPU with the channels innermost; anything else as it is.

    The convolutions of torch on the CPU take about 0.6 of the time in this layout.
    """
    if features.ndim != 4 or features.device.type != "cpu":
        return features
    features = features.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = features.shape
    # with one channel both layouts are the same memory, and torch would take it for the other one
    strides = (channels * height * width, 1, width * channels, channels)
    return features.as_strided(features.shape, strides)
