"""Updates that are not finite."""

import math

import torch
from torch import Tensor

from skymask.attacks.crafting import replaced
from skymask.contracts import checked


@checked
def non_finite(updates: Tensor, malicious: Tensor, *, generator: torch.Generator) -> Tensor:
    """Put NaN, +∞ and −∞ at three random coordinates of each attacker's honest update.

    With d = 1 there is only the NaN, with d = 2 no −∞. This is a crash test, not a published
    attack: it shows that one client cannot break a round.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        generator: Random numbers, on the CPU.

    Returns:
        The updates [n, d] after the attack.
    """
    if not bool(malicious.any()):
        return updates
    rows = updates[malicious]
    values = torch.tensor([math.nan, math.inf, -math.inf]).to(rows)
    for row in rows:
        places = torch.randperm(len(row), generator=generator)[: len(values)]
        row[places.to(row.device)] = values[: len(places)]
    return replaced(updates, malicious, rows)
