"""Large networks for the cost curves: residual networks for images of 32 × 32 pixels."""

from torch import nn

from skymask.models.architectures import residual_network
from skymask.models.layer_shapes import residual_layers


def resnet20(shape: tuple[int, ...], classes: int) -> nn.Module:
    """16, 32 and 64 channels, three blocks each: 272,474 parameters for 10 classes."""
    return residual_network(residual_layers([16, 32, 64], 3, shape, classes))


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """64 to 512 channels, two blocks each: 11,173,962 parameters for 10 classes."""
    return residual_network(residual_layers([64, 128, 256, 512], 2, shape, classes))
