"""Large networks for the cost curves: residual networks for images of 32 × 32 pixels.

Their batch normalisation keeps no running statistics: what they cost is measured here, not what
they learn.
"""

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3 × 3 convolutions around which the input is led, by a 1 × 1 one where it must change."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs, track_running_stats=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs, track_running_stats=False)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels != outputs:
            self.around = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs, track_running_stats=False),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, O, H / stride, W / stride]."""
        hidden = functional.relu(self.first_norm(self.first(images)))
        hidden = self.second_norm(self.second(hidden))
        return functional.relu(hidden + self.around(images))


def _residual(widths: list[int], blocks: int, channels: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0], track_running_stats=False),
        nn.ReLU(),
    ]
    before = widths[0]
    for place, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Block(before, width, 2 if place and not block else 1))
            before = width
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers, *pooled)


def resnet20(shape: tuple[int, ...], classes: int) -> nn.Module:
    """16, 32 and 64 channels, three blocks each: 272,474 parameters for 10 classes."""
    return _residual([16, 32, 64], 3, shape[0], classes)


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """64 to 512 channels, two blocks each: 11,173,962 parameters for 10 classes."""
    return _residual([64, 128, 256, 512], 2, shape[0], classes)
