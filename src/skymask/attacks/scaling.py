"""Scaling: a backdoor, boosted so that it outweighs the honest updates."""

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
    """The data half: ``share`` of the samples carry the trigger and the label ``target``.

    The trigger is a square of ``patch`` × ``patch`` pixels (``backdoor.stamped``).  Source:
    Bagdasaryan et al., AISTATS 2020.
    """
    triggered = stamped(features, patch=patch)
    return poisoned(features, labels, triggered, generator, target=target, share=share)


@requires(lambda factor: factor is None or factor > 0, "factor must be positive")
def scaling(updates: Tensor, malicious: Tensor, *, factor: float | None = None) -> Tensor:
    """Each attacker sends c·Δ_i, where Δ_i was trained on its poisoned data (``scaling_data``).

    c is ``factor``, by default n/f: then the attackers' mean replaces the mean of all.
    ``updates`` is [n, d], ``malicious`` bool [n].  Source: Bagdasaryan et al., AISTATS 2020.
    """
    attackers = int(malicious.sum())
    if attackers == 0:
        return updates
    attacked = updates.clone()
    attacked[malicious] *= len(updates) / attackers if factor is None else factor
    return attacked
