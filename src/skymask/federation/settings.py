"""Settings of local training."""

from dataclasses import dataclass
from typing import Literal

from skymask.models.loss_names import LossName


@dataclass(frozen=True)
class LocalTraining:
    """Settings of local training, the same for each client.

    Attributes:
        local_epochs: Passes over a client's samples.
        batch_size: Samples of a step.
        local_lr: Learning rate of a step.
        gradient_clip: Bound c that clamps each coordinate of a gradient to [-c, c]; ``None`` for no
            bound.
        loss: Name of the loss; see :mod:`skymask.models.losses`.
        precision: ``bfloat16`` computes layers in bfloat16 where torch's autocast considers that
            safe; parameters, gradients and steps stay float32.
        batching: ``loop`` trains one client after the other, ``stacked`` many at once; ``auto``
            stacks on a GPU, and on the CPU those that are so small that starting each operation
            dominates.
    """

    local_epochs: int = 1
    batch_size: int = 32
    local_lr: float = 0.1
    gradient_clip: float | None = None
    loss: LossName = "cross_entropy"
    precision: Literal["float32", "bfloat16"] = "float32"
    batching: Literal["auto", "loop", "stacked"] = "auto"
