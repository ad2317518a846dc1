"""Torchvision's data sets, imported without its compiled operators.

With a CPU build of torch, the stock torchvision cannot load its compiled operators, and its import
fails where it describes two of them to torch.  Declaring those two first is enough.
"""

import torch

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[
    torch.library.Library
] = []  # a Library takes its declarations with it when it is collected

try:
    import torchvision
except (RuntimeError, ImportError):
    for _name, _signature in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, _name):
            _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            _library.define(_signature)  # type: ignore[no-untyped-call]
            _declared.append(_library)
    import torchvision

CIFAR10 = torchvision.datasets.CIFAR10
CIFAR100 = torchvision.datasets.CIFAR100
FashionMNIST = torchvision.datasets.FashionMNIST
download_url = torchvision.datasets.utils.download_url
read_idx = torchvision.datasets.mnist.read_sn3_pascalvincent_tensor

__all__ = ["CIFAR10", "CIFAR100", "FashionMNIST", "download_url", "read_idx"]
