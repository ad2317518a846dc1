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
        """Copy the samples at ``indices``."""
        return Samples(self.features[indices], self.labels[indices])


def laid_out(features: Tensor) -> Tensor:
    """Put the channels innermost in memory; torch's convolutions then take 0.6 of the time.

    Args:
        features: Images [N, C, H, W] on the CPU; anything else is returned unchanged.

    Returns:
        The same values and shape.
    """
    if features.ndim != 4 or features.device.type != "cpu":
        return features
    features = features.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = features.shape
    # with one channel both layouts are the same memory, and torch would take it for the other one
    strides = (channels * height * width, 1, width * channels, channels)
    return features.as_strided(features.shape, strides)
