"""Scaled backdoor attack."""

import torch
from torch import Tensor

from skymask.attacks.triggers import poisoned, stamped
from skymask.contracts import requires


@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
def scaling_data(
    features: Tensor,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
    *,
    patch: int = 5,
    target: int = 0,
    share: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Put the trigger and the target label on a share of the samples.

    This is the data part of :func:`scaling`.

    Args:
        features: Samples of the attacker [N, C, H, W] or [N, K], float in [0, 1].
        labels: Their labels [N], int64.
        classes: Number of classes.
        generator: Random numbers, on the CPU.
        patch: Side of the trigger in pixels.
        target: Label of the poisoned samples.
        share: Share of the samples that are poisoned, in (0, 1].

    Returns:
        The poisoned features and labels, as copies.

    Source: Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020.
    """
    triggered = stamped(features, patch=patch)
    return poisoned(features, labels, triggered, generator, target=target, share=share)


@requires(lambda factor: factor is None or factor > 0, "factor must be positive")
def scaling(updates: Tensor, malicious: Tensor, *, factor: float | None = None) -> Tensor:
    """Scale up updates trained on poisoned data, so that they outweigh the honest ones.

    Each attacker sends c·Δ_i, where Δ_i was trained on data from :func:`scaling_data`.

    Args:
        updates: Updates [n, d], one row per client; malicious rows were trained on poisoned data.
        malicious: Flags of the malicious clients [n], bool.
        factor: Factor c. If ``None`` it is n/f: the attackers' mean then replaces the mean of all.

    Returns:
        The updates [n, d] after the attack.

    Source: Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020.
    """
    attackers = int(malicious.sum())
    if attackers == 0:
        return updates
    attacked = updates.clone()
    attacked[malicious] *= len(updates) / attackers if factor is None else factor
    return attacked
