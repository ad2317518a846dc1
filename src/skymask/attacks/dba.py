"""Distributed backdoor attack (DBA)."""

import torch
from torch import Tensor

from skymask.attacks.triggers import poisoned, stamped_part
from skymask.contracts import requires


@requires(lambda parts, patch: 1 <= parts <= patch**2, "parts must lie between 1 and patch²")
@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda attacker: attacker >= 0, "attacker must not be negative")
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
    """Poison each attacker's data with one part of the trigger; test samples carry all parts.

    The k-th malicious client (from 0) uses part k mod ``parts``. The updates are sent as trained.

    Args:
        features: Samples of the attacker [N, C, H, W] or [N, K], float in [0, 1].
        labels: Their labels [N], int64.
        classes: Number of classes.
        generator: Random numbers, on the CPU.
        attacker: Index k of the malicious client, from 0.
        parts: Number of parts of the trigger.
        patch: Side of the trigger in pixels.
        target: Label of the poisoned samples.
        share: Share of the samples that are poisoned, in (0, 1].

    Returns:
        The poisoned features and labels, as copies.

    Source: Xie et al., "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR 2020.
    """
    triggered = stamped_part(features, attacker % parts, parts, patch=patch)
    return poisoned(features, labels, triggered, generator, target=target, share=share)
