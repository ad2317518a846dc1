"""Cross-entropy losses."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

SoftmaxAxis = Literal["class", "batch"]


def cross_entropy(logits: Tensor, labels: Tensor, softmax_axis: SoftmaxAxis = "class") -> Tensor:
    """Mean cross-entropy of ``logits`` [N, C] against ``labels`` [N].

    ``softmax_axis="batch"`` normalises over the samples of the batch instead of the classes, as
    the code released with SkyMask does.
    """
    if softmax_axis == "class":
        return functional.cross_entropy(logits, labels)
    return functional.nll_loss(functional.log_softmax(logits, dim=0), labels)
