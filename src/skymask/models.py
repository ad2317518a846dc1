"""The models, by name.  A builder takes the shape of one sample and the number of classes."""

from collections import OrderedDict
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from skymask.contracts import describes, requires
from skymask.pooled_convolution import PooledConvolution
from skymask.seeds import derive

Shape = tuple[int, ...]
Builder = Callable[[Shape, int], nn.Module]


class _Crop(nn.Module):
    """The first rows and columns of images [N, C, H, W]."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, images: Tensor) -> Tensor:
        return images[..., : self.rows, : self.columns]


@describes(layers=("1.weight", "1.bias"))
def logistic_regression(shape: Shape, classes: int) -> nn.Module:
    """One linear layer on the flattened sample (the paper's model for HAR)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), classes))


@describes(layers=("1.weight", "1.bias", "3.weight", "3.bias"))
def mlp(shape: Shape, classes: int) -> nn.Module:
    """One hidden layer of 64 units with ReLU."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(shape), 64), nn.ReLU(), nn.Linear(64, classes)
    )


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 4,
    "the model needs images of at least 4 × 4 pixels",
)
@describes(layers=("0.weight", "0.bias", "3.weight", "3.bias", "7.weight", "7.bias"))
def small_cnn(shape: Shape, classes: int) -> nn.Module:
    """Two padded 3 × 3 convolutions (8 and 16 channels), each pooled by 2, and a linear layer."""
    channels, height, width = shape
    layers = {
        "0": PooledConvolution(channels, 8, padding=1),
        "3": PooledConvolution(8, 16, padding=1),
        "6": nn.Flatten(),
        "7": nn.Linear(16 * (height // 4) * (width // 4), classes),
    }
    return nn.Sequential(OrderedDict(layers))


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 10,
    "the model needs images of at least 10 × 10 pixels",
)
@describes(
    layers=("0.weight", "0.bias", "3.weight", "3.bias", "7.weight", "7.bias", "9.weight", "9.bias")
)
def cnn(shape: Shape, classes: int) -> nn.Module:
    """The paper's model for Fashion-MNIST: 139,960 parameters on 28 × 28 images and 10 classes.

    Convolution 3 × 3 × 30, ReLU, pool 2, convolution 3 × 3 × 50, ReLU, pool 2, linear to 100,
    ReLU, linear to the classes; no padding.
    """
    channels, height, width = shape
    rows, columns = ((height - 2) // 2 - 2) // 2, ((width - 2) // 2 - 2) // 2
    layers = {
        # the pools drop an odd last row: of 28 × 28 pixels only 26 × 26 ever reach the output
        "crop": _Crop(4 * rows + 6, 4 * columns + 6),
        "0": PooledConvolution(channels, 30),
        "3": PooledConvolution(30, 50),
        "6": nn.Flatten(),
        "7": nn.Linear(50 * rows * columns, 100),
        "8": nn.ReLU(),
        "9": nn.Linear(100, classes),
    }
    return nn.Sequential(OrderedDict(layers))


MODELS: dict[str, Builder] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "small_cnn": small_cnn,
    "cnn": cnn,
}


def build(name: str, shape: Shape, classes: int, seed: int) -> nn.Module:
    """Build a model whose initial parameters depend on ``seed`` alone.

    PyTorch's layers draw from the global generator; it is seeded in a fork, so that the state
    outside is untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial model"))
        return MODELS[name](shape, classes)
