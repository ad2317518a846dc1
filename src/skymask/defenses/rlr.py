"""Robust learning rate (RLR)."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks


@requires(lambda threshold: threshold is None or threshold >= 0, "threshold must not be negative")
@requires(lambda n, f: f <= n, "rlr needs f ≤ n clients")
@judges
def rlr(updates: Tensor, assumed_malicious: int, *, threshold: int | None = None) -> Aggregation:
    r"""Average the updates, and reverse each coordinate on whose sign too few clients agree.

    .. math::

        \frac{1}{n} \sum_i \Delta_{ij} \cdot
        \begin{cases}
        1 & \lvert \sum_i \operatorname{sign} \Delta_{ij} \rvert \ge \theta \\
        -1 & \text{otherwise}
        \end{cases}

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.
        threshold: Votes θ from which a coordinate keeps its direction. If ``None`` it is f + 1,
            which f attackers cannot reach alone.

    Returns:
        The aggregation, without verdicts: a reversed coordinate is no linear combination with one
        weight per client.

    Where benign clients disagree, as with few samples of each class or near the end of training,
    coordinates are reversed without any attack.

    Source: Özdayi, Kantarcioglu & Gel, "Defending against Backdoors in Federated Learning with
    Robust Learning Rate", AAAI 2021.

    >>> rows = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])
    >>> rlr(rows, 2).update.tolist()
    [0.5, 0.5, -1.0, -0.75]
    """
    least = assumed_malicious + 1 if threshold is None else threshold

    def of_block(block: slice) -> Tensor:
        part = updates[:, block]
        agree = part.sign().double().sum(dim=0).abs() >= least
        mean = part.double().mean(dim=0)
        return torch.where(agree, mean, -mean).to(updates.dtype)

    return Aggregation(column_blocks.fill(torch.empty_like(updates[0]), of_block))
