"""Builders of the models, by name."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from skymask.contracts import requires
from skymask.models import layer_shapes
from skymask.models.layer_shapes import Layer, Shape
from skymask.models.pooled_convolution import PooledConvolution
from skymask.seeds import derive

Builder = Callable[[Shape, int], nn.Module]
"""A function of the shape of one sample and the number of classes."""


def logistic_regression(shape: Shape, classes: int) -> nn.Module:
    """Build one linear layer on the flattened sample: the paper's model for HAR."""
    (output,) = _modules(layer_shapes.logistic_regression(shape, classes)).values()
    return nn.Sequential(nn.Flatten(), output)


def mlp(shape: Shape, classes: int) -> nn.Module:
    """Build one hidden layer of 64 units with ReLU."""
    hidden, output = _modules(layer_shapes.mlp(shape, classes)).values()
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), output)


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 4,
    "the model needs images of at least 4 × 4 pixels",
)
def small_cnn(shape: Shape, classes: int) -> nn.Module:
    """Build padded 3 × 3 convolutions, 8 and 16 channels, each pooled by 2, and a linear layer."""
    layers = _modules(layer_shapes.small_cnn(shape, classes))
    return _sequence({**layers, "6": nn.Flatten()}, ["0", "3", "6", "7"])


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 10,
    "the model needs images of at least 10 × 10 pixels",
)
def cnn(shape: Shape, classes: int) -> nn.Module:
    """Build the paper's model for Fashion-MNIST: 139,960 parameters for 28 × 28 and 10 classes.

    Convolution 3 × 3 × 30, ReLU, pool 2, convolution 3 × 3 × 50, ReLU, pool 2, linear to 100,
    ReLU, linear to the classes; no padding.
    """
    layers = _modules(layer_shapes.cnn(shape, classes))
    crop = _Crop(*layer_shapes.cnn_crop(shape))
    parts = {**layers, "crop": crop, "6": nn.Flatten(), "8": nn.ReLU()}
    return _sequence(parts, ["crop", "0", "3", "6", "7", "8", "9"])


@requires(
    lambda shape: len(shape) == 3 and min(shape[1:]) >= 8,
    "the model needs images of at least 8 × 8 pixels",
)
def resnet20(shape: Shape, classes: int) -> nn.Module:
    """Build the paper's model for CIFAR: 272,474 trainable parameters with 10 classes.

    ResNet-20 with 16, 32 and 64 channels, three blocks each, 1 × 1 convolutions as shortcuts, and
    batch normalisation, whose running statistics are not part of a client's update.
    """
    return residual_network(layer_shapes.resnet20(shape, classes))


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
    outside does not change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial model"))
        return MODELS[name](shape, classes)


def residual_network(layers: Sequence[Layer]) -> nn.Sequential:
    """Build a residual network from its description by ``layer_shapes.residual_layers``.

    A convolution, blocks of two, the mean over pixels, and a linear layer; takes images
    [N, C, H, W].  Source: He et al., CVPR 2016 (arXiv 1512.03385), with 1 × 1 convolutions where
    a shortcut must change its shape.
    """
    modules = _modules(layers)
    parts: dict[str, nn.Module] = {"stem": modules["stem"], "stem_norm": modules["stem_norm"]}
    parts["stem_relu"] = nn.ReLU()
    for name in dict.fromkeys(name.split(".")[0] for name in modules if "." in name):
        own = [key for key in modules if key.startswith(f"{name}.")]
        parts[name] = _Block({key.split(".", 1)[1]: modules[key] for key in own})
    parts.update(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), output=modules["output"])
    return _sequence(parts, parts)


class _Block(nn.Module):
    """Two 3 × 3 convolutions with a shortcut, through a 1 × 1 one where the shape changes."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.first, self.first_norm = parts["first"], parts["first_norm"]
        self.second, self.second_norm = parts["second"], parts["second_norm"]
        through = [parts[name] for name in ("shortcut.0", "shortcut.1") if name in parts]
        self.shortcut = nn.Sequential(*through) if through else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.first_norm(self.first(images)))
        hidden = self.second_norm(self.second(hidden))
        return functional.relu(hidden + self.shortcut(images))


class _Crop(nn.Module):
    """The first rows and columns of images [N, C, H, W]."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, images: Tensor) -> Tensor:
        return images[..., : self.rows, : self.columns]


def _modules(layers: Iterable[Layer]) -> dict[str, nn.Module]:
    """Build the described layers by name, drawing their parameters in this order."""
    return {layer.name: _module(layer) for layer in layers}


def _module(layer: Layer) -> nn.Module:
    inputs, outputs, kernel = layer.inputs, layer.outputs, layer.kernel
    match layer.kind:
        case "linear":
            return nn.Linear(inputs, outputs)
        case "pooled":
            return PooledConvolution(inputs, outputs, layer.padding)
        case "norm":
            return nn.BatchNorm2d(outputs)
        case "convolution":
            return nn.Conv2d(inputs, outputs, kernel, layer.stride, layer.padding, bias=False)


def _sequence(parts: dict[str, nn.Module], order: Iterable[str]) -> nn.Sequential:
    """Apply the parts in this order, under their names."""
    return nn.Sequential(OrderedDict((name, parts[name]) for name in order))
