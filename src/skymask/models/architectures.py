"""The models, by name.  A builder takes the shape of one sample and the number of classes."""

from collections import OrderedDict
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from skymask.contracts import describes, requires
from skymask.models.pooled_convolution import PooledConvolution
from skymask.models.resnet import residual_network
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


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 8,
    "the model needs images of at least 8 × 8 pixels",
)
@describes(
    layers=(
        "stem.weight",
        "stem_norm.weight",
        "stem_norm.bias",
        "stage1_block1.first.weight",
        "stage1_block1.first_norm.weight",
        "stage1_block1.first_norm.bias",
        "stage1_block1.second.weight",
        "stage1_block1.second_norm.weight",
        "stage1_block1.second_norm.bias",
        "stage1_block2.first.weight",
        "stage1_block2.first_norm.weight",
        "stage1_block2.first_norm.bias",
        "stage1_block2.second.weight",
        "stage1_block2.second_norm.weight",
        "stage1_block2.second_norm.bias",
        "stage1_block3.first.weight",
        "stage1_block3.first_norm.weight",
        "stage1_block3.first_norm.bias",
        "stage1_block3.second.weight",
        "stage1_block3.second_norm.weight",
        "stage1_block3.second_norm.bias",
        "stage2_block1.first.weight",
        "stage2_block1.first_norm.weight",
        "stage2_block1.first_norm.bias",
        "stage2_block1.second.weight",
        "stage2_block1.second_norm.weight",
        "stage2_block1.second_norm.bias",
        "stage2_block1.shortcut.0.weight",
        "stage2_block1.shortcut.1.weight",
        "stage2_block1.shortcut.1.bias",
        "stage2_block2.first.weight",
        "stage2_block2.first_norm.weight",
        "stage2_block2.first_norm.bias",
        "stage2_block2.second.weight",
        "stage2_block2.second_norm.weight",
        "stage2_block2.second_norm.bias",
        "stage2_block3.first.weight",
        "stage2_block3.first_norm.weight",
        "stage2_block3.first_norm.bias",
        "stage2_block3.second.weight",
        "stage2_block3.second_norm.weight",
        "stage2_block3.second_norm.bias",
        "stage3_block1.first.weight",
        "stage3_block1.first_norm.weight",
        "stage3_block1.first_norm.bias",
        "stage3_block1.second.weight",
        "stage3_block1.second_norm.weight",
        "stage3_block1.second_norm.bias",
        "stage3_block1.shortcut.0.weight",
        "stage3_block1.shortcut.1.weight",
        "stage3_block1.shortcut.1.bias",
        "stage3_block2.first.weight",
        "stage3_block2.first_norm.weight",
        "stage3_block2.first_norm.bias",
        "stage3_block2.second.weight",
        "stage3_block2.second_norm.weight",
        "stage3_block2.second_norm.bias",
        "stage3_block3.first.weight",
        "stage3_block3.first_norm.weight",
        "stage3_block3.first_norm.bias",
        "stage3_block3.second.weight",
        "stage3_block3.second_norm.weight",
        "stage3_block3.second_norm.bias",
        "output.weight",
        "output.bias",
    )
)
def resnet20(shape: Shape, classes: int) -> nn.Module:
    """The paper's model for CIFAR: 272,474 trainable parameters with 10 classes.

    ResNet-20 with 16, 32 and 64 channels, three blocks each, 1 × 1 convolutions as shortcuts, and
    batch normalisation, whose running statistics are no part of what clients send as an update.
    """
    return residual_network([16, 32, 64], 3, shape[0], classes)


MODELS: dict[str, Builder] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "small_cnn": small_cnn,
    "cnn": cnn,
    "resnet20": resnet20,
}


def build(name: str, shape: Shape, classes: int, seed: int) -> nn.Module:
    """Build a model whose initial parameters depend on ``seed`` alone.

    PyTorch's layers draw from the global generator; it is seeded in a fork, so that the state
    outside is untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial model"))
        return MODELS[name](shape, classes)
