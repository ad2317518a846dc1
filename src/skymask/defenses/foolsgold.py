"""FoolsGold."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.defenses.client_state import extended, positions, union
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_distances


@requires(lambda confidence: confidence > 0, "confidence must be positive")
@judges
def foolsgold(
    updates: Tensor, clients: Tensor, state: dict[str, Tensor], *, confidence: float = 1.0
) -> Aggregation:
    """Give less weight to clients whose summed updates resemble those of another client.

    With h_i the sum of client i's updates over the rounds, cs_ij = cos(h_i, h_j), and v_i the
    largest cs_ij over j ≠ i (0 if all are negative):

    1. Pardoning: cs_ij ← cs_ij · v_i / v_j where v_j > v_i.
    2. α_i = 1 − max_{j≠i} cs_ij, clamped to [0, 1], then divided by the largest α.
    3. α_i ← κ (ln(α_i / (1 − α_i)) + 0.5), clamped to [0, 1].

    The update is Σ_i α_i Δ_i / Σ_i α_i, and zero where all α are zero. The paper does not divide
    and leaves that to its learning rate; here every rule's update is as long as a client's. Cosines
    are over all coordinates, without the paper's optional choice of indicative features.

    Args:
        updates: Finite updates [n, d], one row per client.
        clients: Numbers of the clients [n], int64.
        state: State of the last round, empty at first: ``clients`` int64 [m], all so far, and
            ``sums`` [m, d], their h in the dtype of the updates. The sum of a client without a row
            stays.
        confidence: Factor κ.

    Returns:
        The aggregation; ``scores`` are α, and a client is accepted if α_i > 0. A single client has
        α = 1.

    Source: Fung, Yoon & Beschastnikh, "The Limitations of Federated Learning in Sybil Settings",
    RAID 2020.
    """
    numbers = union(state.get("clients"), clients)
    sums = updates.new_zeros(len(numbers), updates.shape[1])
    if state:
        sums = extended(state["sums"], state["clients"], numbers)
    rows = positions(clients, numbers)
    largest = torch.finfo(updates.dtype).max
    # clamped to the dtype's range: an infinite sum would have no direction from then on
    sums[rows] = (sums[rows].double() + updates.double()).clamp(-largest, largest).to(updates.dtype)
    scores = _alpha(1 - cosine_distances(sums[rows]), confidence)
    weights = scores / scores.sum() if bool(scores.any()) else scores
    update = column_blocks.weighted_sum(weights, updates)
    memory = {"clients": numbers, "sums": sums}
    return Aggregation(update, scores > 0, weights, scores, state=memory)


def _alpha(cosines: Tensor, confidence: float) -> Tensor:
    """Return α [n] from the cosines [n, n] of the sums."""
    cosines = cosines.fill_diagonal_(0)
    alike = cosines.amax(dim=1)
    # the factor is 1 unless v_j > v_i ≥ 0
    pardon = torch.where(alike > alike[:, None], alike[:, None] / alike.clamp_min(1e-300), 1.0)
    alpha = (1 - (cosines * pardon).amax(dim=1)).clamp(0, 1)
    if not bool(alpha.any()):
        return alpha
    alpha = alpha / alpha.max()
    return (confidence * (torch.logit(alpha) + 0.5)).clamp(0, 1)
