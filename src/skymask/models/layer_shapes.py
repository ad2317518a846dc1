"""Layers of each architecture, as plain data.

The builders in :mod:`skymask.models.architectures`, the checks of a study and the cost model all
read this one description.  The module imports nothing heavy: the Snakefile uses it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Shape = tuple[int, ...]
Kind = Literal["linear", "convolution", "pooled", "norm"]


@dataclass(frozen=True)
class Layer:
    """A layer with parameters.

    Attributes:
        name: Name of the submodule, the prefix of its tensors' names.
        kind: ``linear``; ``convolution`` without bias; ``pooled``, a convolution with bias, max
            pooling by 2 and ReLU; or ``norm``, batch normalisation.
        inputs: Input features or channels.
        outputs: Output features or channels.
        pixels: Output pixels of the convolution, before pooling; 1 for a linear layer.
        kernel: Height and width of the convolution's kernel.
        stride: Stride of the convolution.
        padding: Padding of the convolution on each side.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    pixels: int = 1
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the layer's trainable tensors."""
        kinds = ("weight",) if self.kind == "convolution" else ("weight", "bias")
        return tuple(f"{self.name}.{kind}" for kind in kinds)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        weights = 1 if self.kind == "norm" else self.inputs * self.kernel**2
        return (weights + len(self.tensors) - 1) * self.outputs

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a forward pass on one sample; those of normalisation count as none."""
        if self.kind == "norm":
            return 0
        return self.inputs * self.kernel**2 * self.outputs * self.pixels


def logistic_regression(shape: Shape, classes: int) -> list[Layer]:
    """List the layers of logistic regression."""
    return [Layer("1", "linear", prod(shape), classes)]


def mlp(shape: Shape, classes: int) -> list[Layer]:
    """List the layers of the multilayer perceptron."""
    return [Layer("1", "linear", prod(shape), 64), Layer("3", "linear", 64, classes)]


def small_cnn(shape: Shape, classes: int) -> list[Layer]:
    """List the layers of the small convolutional network."""
    channels, height, width = shape
    first, second = height * width, (height // 2) * (width // 2)
    pixels = (height // 4) * (width // 4)
    return [
        Layer("0", "pooled", channels, 8, first, kernel=3, padding=1),
        Layer("3", "pooled", 8, 16, second, kernel=3, padding=1),
        Layer("7", "linear", 16 * pixels, classes),
    ]


def cnn_crop(shape: Shape) -> tuple[int, int]:
    """Return the rows and columns of an image that reach the output of ``cnn``.

    Each pool drops an odd last row: of 28 × 28 pixels only 26 × 26 count.
    """
    rows, columns = (((size - 2) // 2 - 2) // 2 for size in shape[1:])
    return 4 * rows + 6, 4 * columns + 6


def cnn(shape: Shape, classes: int) -> list[Layer]:
    """List the layers of the paper's convolutional network."""
    height, width = (size - 2 for size in cnn_crop(shape))
    rows, columns = height // 2 - 2, width // 2 - 2
    return [
        Layer("0", "pooled", shape[0], 30, height * width, kernel=3),
        Layer("3", "pooled", 30, 50, rows * columns, kernel=3),
        Layer("7", "linear", 50 * (rows // 2) * (columns // 2), 100),
        Layer("9", "linear", 100, classes),
    ]


def resnet20(shape: Shape, classes: int) -> list[Layer]:
    """List the layers of ResNet-20."""
    return residual_layers((16, 32, 64), 3, shape, classes)


def residual_layers(widths: Sequence[int], blocks: int, shape: Shape, classes: int) -> list[Layer]:
    """List the layers of a residual network.

    Args:
        widths: Channels of each stage; each stage but the first halves height and width.
        blocks: Blocks of two 3 × 3 convolutions in a stage.
        shape: Shape [C, H, W] of a sample.
        classes: Number of classes.
    """
    inputs, height, width = shape
    layers = _normalised("stem", "stem_norm", inputs, widths[0], height * width)
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        pixels = -(-height // 2**stage) * -(-width // 2**stage)
        for block in range(blocks):
            name, stride = f"stage{stage + 1}_block{block + 1}", 2 if stage and not block else 1
            first, second, shortcut = (f"{name}.{part}" for part in ("first", "second", "shortcut"))
            layers += _normalised(first, f"{first}_norm", inputs, outputs, pixels, stride=stride)
            layers += _normalised(second, f"{second}_norm", outputs, outputs, pixels)
            if stride != 1 or inputs != outputs:
                names = (f"{shortcut}.0", f"{shortcut}.1")
                layers += _normalised(*names, inputs, outputs, pixels, kernel=1, stride=stride)
            inputs = outputs
    return [*layers, Layer("output", "linear", inputs, classes)]


def _normalised(
    name: str, norm: str, inputs: int, outputs: int, pixels: int, kernel: int = 3, stride: int = 1
) -> list[Layer]:
    """Describe a padded convolution and its batch normalisation."""
    return [
        Layer(name, "convolution", inputs, outputs, pixels, kernel, stride, kernel // 2),
        Layer(norm, "norm", outputs, outputs),
    ]


LAYERS: dict[str, Callable[[Shape, int], list[Layer]]] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "small_cnn": small_cnn,
    "cnn": cnn,
    "resnet20": resnet20,
}
"""Layers of each architecture, in the order of the flat parameters, by sample shape and classes."""


def tensor_names(model: str) -> tuple[str, ...]:
    """List the names of a model's trainable tensors, in the order of the flat parameters.

    >>> tensor_names("mlp")
    ('1.weight', '1.bias', '3.weight', '3.bias')
    """
    # names depend on neither the shape nor the classes
    return tuple(name for layer in LAYERS[model]((1, 32, 32), 2) for name in layer.tensors)


def parameters(model: str, shape: Shape, classes: int) -> int:
    """Count a model's trainable parameters, d.  A model without a description counts as ``mlp``.

    >>> parameters("cnn", (1, 28, 28), 10)
    139960
    """
    return sum(layer.parameters for layer in LAYERS.get(model, mlp)(shape, classes))


def multiply_adds(model: str, shape: Shape, classes: int) -> int:
    """Count the multiply-adds of a model's forward pass on one sample of ``shape``.

    A model without a description counts as ``mlp``.

    >>> multiply_adds("mlp", (1, 8, 8), 10)
    4736
    """
    return sum(layer.multiply_adds for layer in LAYERS.get(model, mlp)(shape, classes))
