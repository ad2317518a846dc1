"""Residual networks for images of 32 × 32 pixels, with batch normalisation.

Source: He et al., CVPR 2016 (arXiv 1512.03385), with 1 × 1 convolutions where a shortcut must
change its shape.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3 × 3 convolutions around which the input is led, by a 1 × 1 one where it must change."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, O, H / stride, W / stride]."""
        hidden = functional.relu(self.first_norm(self.first(images)))
        hidden = self.second_norm(self.second(hidden))
        return functional.relu(hidden + self.shortcut(images))


def residual_network(
    widths: Sequence[int], blocks: int, channels: int, classes: int
) -> nn.Sequential:
    """A convolution, ``blocks`` blocks of each of the ``widths``, the mean over pixels, linear.

    Each width but the first begins with a stride of 2.  Takes images [N, ``channels``, H, W].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
    layers["stem_norm"] = nn.BatchNorm2d(widths[0])
    layers["stem_relu"] = nn.ReLU()
    before = widths[0]
    for place, width in enumerate(widths):
        for block in range(blocks):
            layers[f"stage{place + 1}_block{block + 1}"] = Block(
                before, width, 2 if place and not block else 1
            )
            before = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(before, classes)
    return nn.Sequential(layers)
