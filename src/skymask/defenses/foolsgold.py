"""FoolsGold: clients that keep saying the same count less."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.defenses.client_state import places, union, widened
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_distances


@requires(lambda confidence: confidence > 0, "confidence must be positive")
@judges
def foolsgold(
    updates: Tensor, clients: Tensor, state: dict[str, Tensor], *, confidence: float = 1.0
) -> Aggregation:
    """Weigh each client by how little its summed updates resemble another client's.

    With h_i the sum of client i's updates over the rounds, cs_ij = cos(h_i, h_j), v_i = max_{j≠i}
    cs_ij (0 if all are negative):

        pardoning:  cs_ij ← cs_ij · v_i / v_j   where v_j > v_i
        α_i = 1 − max_{j≠i} cs_ij, clipped to [0, 1], then divided by the largest α
        α_i ← κ (ln(α_i / (1 − α_i)) + 0.5), clipped to [0, 1]

    with κ = ``confidence``.  The update is Σ_i α_i Δ_i / Σ_i α_i, and zero where all α are zero
    (all clients say the same).  The paper adds up α_i Δ_i and leaves the division to its learning
    rate; here an aggregate is as long as an update, for every rule.  Cosines are over all
    coordinates, the paper's optional choice of indicative features is not made.

    ``updates`` is [n, d], ``clients`` int64 [n] their numbers.  The ``weights`` are α_i / Σ α, the
    ``scores`` α_i; a client is accepted where α_i > 0.  A client alone has α = 1.  ``state``:
    ``clients`` int64 [m], all seen so far, and ``sums`` [m, d], their h in the dtype of the
    updates; the sum of a client without a row this round stays.  Raises ValueError unless κ > 0.
    Source: Fung et al., RAID 2020.
    """
    everybody = union(state.get("clients"), clients)
    sums = updates.new_zeros(len(everybody), updates.shape[1])
    if state:
        sums = widened(state["sums"], state["clients"], everybody)
    rows = places(clients, everybody)
    largest = torch.finfo(updates.dtype).max
    # held in the dtype's range: a sum that is not finite would be without direction ever after
    sums[rows] = (sums[rows].double() + updates.double()).clamp(-largest, largest).to(updates.dtype)
    scores = _alpha(1 - cosine_distances(sums[rows]), confidence)
    weights = scores / scores.sum() if bool(scores.any()) else scores
    update = column_blocks.weighted_sum(weights, updates)
    memory = {"clients": everybody, "sums": sums}
    return Aggregation(update, scores > 0, weights, scores, state=memory)


def _alpha(cosines: Tensor, confidence: float) -> Tensor:
    """The learning rates α [n] from the cosines [n, n] of the sums."""
    cosines = cosines.fill_diagonal_(0)
    alike = cosines.amax(dim=1)
    # where v_j ≤ v_i the factor is 1; else v_j > v_i ≥ 0
    pardon = torch.where(alike > alike[:, None], alike[:, None] / alike.clamp_min(1e-300), 1.0)
    alpha = (1 - (cosines * pardon).amax(dim=1)).clamp(0, 1)
    if not bool(alpha.any()):
        return alpha
    alpha = alpha / alpha.max()
    return (confidence * (torch.logit(alpha) + 0.5)).clamp(0, 1)
