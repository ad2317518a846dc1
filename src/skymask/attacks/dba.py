"""The distributed backdoor attack."""

import torch
from torch import Tensor

from skymask.attacks.triggers import poisoned, stamped_part
from skymask.contracts import requires


@requires(lambda parts, patch: 1 <= parts <= patch**2, "parts must lie between 1 and patch²")
@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
def dba(
    features: Tensor,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
    attacker: int,
    *,
    parts: int = 4,
    patch: int = 5,
    target: int = 0,
    share: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Each attacker poisons its data with one part of the trigger; tests carry the whole.

    The trigger of ``patch`` × ``patch`` pixels is cut into ``parts`` (``backdoor.stamped_part``),
    and the k-th malicious client, ``attacker`` = k from 0, gets part k mod ``parts``.  ``share`` of
    its samples carry that part and the label ``target``.  The updates are sent as they are trained.
    Source: Xie et al., ICLR 2020.
    """
    triggered = stamped_part(features, attacker % parts, parts, patch=patch)
    return poisoned(features, labels, triggered, generator, target=target, share=share)
