"""Random samples and large networks for the benchmarks."""

import torch
from torch import nn

from skymask.models.architectures import residual_network
from skymask.models.layer_shapes import residual_layers
from skymask.models.samples import Samples

SHAPE, CLASSES = (1, 28, 28), 10
"""Shape of a sample and number of classes of Fashion-MNIST."""


def random_samples(count: int, source: torch.Generator, device: str) -> Samples:
    """Return samples with the shape of Fashion-MNIST, uniform features and uniform labels."""
    features = torch.rand(count, *SHAPE, generator=source)
    labels = torch.randint(0, CLASSES, (count,), generator=source)
    return Samples(features.to(device), labels.to(device))


def resnet20(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build 16, 32 and 64 channels, three blocks each: 272,474 parameters for 10 classes."""
    return residual_network(residual_layers([16, 32, 64], 3, shape, classes))


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build 64 to 512 channels, two blocks each: 11,173,962 parameters for 10 classes."""
    return residual_network(residual_layers([64, 128, 256, 512], 2, shape, classes))
