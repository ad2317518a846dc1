"""Hybrid sparse attack: large on the few weights that the loss depends on, small elsewhere."""

import math
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.attacks.lie import hiding_deviations
from skymask.contracts import requires
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.numerics.selection import rounded_up, smallest

State = dict[str, Tensor]


@requires(lambda n, f: f == 0 or n - f >= 2, "hybrid_sparse needs two benign clients")
@requires(
    lambda n, f, z, z_rule: (
        f == 0 or z is not None or z_rule == "optimal" or 0 < n - (n // 2 + 1) < n - f
    ),
    "hybrid_sparse has no finite z unless n ≥ 3 and f ≤ n/2: give z",
)
@requires(lambda z, z_rule: z is None or z_rule == "lie", "z has no meaning with the rule optimal")
@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
@requires(lambda sparse_z: sparse_z >= 0, "sparse_z must not be negative")
@requires(lambda steps: steps >= 1, "steps must be at least 1")
def hybrid_sparse(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    own_data: Samples,
    generator: torch.Generator,
    state: State,
    *,
    share: float = 0.005,
    sparse_z: float = 1.5,
    z: float | None = None,
    z_rule: Literal["lie", "optimal"] = "lie",
    mask: Literal["force", "snip", "random"] = "force",
    steps: int = 100,
    sign: Literal["std", "mean"] = "std",
    fence: Literal["none", "iqr"] = "none",
) -> tuple[Tensor, State]:
    r"""Move the weights that matter most farther from the benign mean than all others.

    All attackers send

    .. math::

        \mu - \kappa \odot \begin{cases} s\,\tilde\sigma & \text{on } S \\
        z\,\sigma & \text{elsewhere} \end{cases}

    with μ and σ (ddof = 1) over the benign updates. S is chosen in the first round of the attack,
    by the saliency of the weights (the tensors with two or more axes: no biases, no normalisation),
    the absolute value of w_j · ∂ℓ/∂w_j with ℓ the loss of the training on the attackers' samples. S
    are the ⌈ρ d⌉ largest (at most all weights; of equal ones the first). For ``mask="force"`` this
    is done T times, in step t for the ⌈ρ^{t/T} d⌉ largest: the gradient is taken with all other
    weights than those of step t − 1 put to zero, but is multiplied by the original w.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        own_data: Honest samples of all malicious clients.
        generator: Random numbers for ``mask="random"``, on the CPU.
        state: State of the last round, empty at first: S as ``mask`` [d], bool.
        share: Share ρ of the d coordinates that are in S.
        sparse_z: Number s of standard deviations on S.
        z: Number of standard deviations elsewhere; that of :func:`~skymask.attacks.lie.lie` if
            ``None``. It can be 0 or negative if there are few attackers.
        z_rule: ``"lie"`` as above; ``"optimal"`` takes the largest z ≥ 0 with
            Σ_{i∈B} ‖Δ − Δ_i‖² ≤ min_{i∈B} Σ_{j∈B} ‖Δ_i − Δ_j‖², or 0 if S alone exceeds this.
        mask: ``"force"``, ``"snip"`` for T = 1, or ``"random"`` for a draw from the weights.
        steps: Number T of steps of ``"force"``.
        sign: κ is 1 for ``"std"`` and the sign of μ for ``"mean"``.
        fence: σ̃ is σ, for ``"iqr"`` at most Q3 + 1.5 (Q3 − Q1) of the σ on S.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: With fewer than two benign clients, or without ``z`` where it would be
            infinite (n < 3 or f > n/2).

    Source: Özfatura et al., "Aggressive, Imperceptible, or Both: Architecture-Aware Hybrid
    Byzantines in Federated Learning", arXiv 2404.06230. The authors' code learns the mask on the
    whole training set by default.
    """
    if not bool(malicious.any()):
        return updates, state
    if "mask" not in state:
        eligible = model.layout.weights.to(updates.device)
        count = min(rounded_up(share, len(eligible)), int(eligible.sum()))
        if mask == "random":
            chosen = _drawn(eligible, count, generator)
        else:
            rounds = steps if mask == "force" else 1
            chosen = salient_weights(model, global_parameters, own_data, eligible, share, rounds)
        state = {"mask": chosen}
    inside = state["mask"]
    known = known_updates(updates, malicious, "full")
    mean, deviation = known.mean(dim=0), known.std(dim=0, correction=1)
    if fence == "iqr":
        deviation = torch.where(inside, deviation.clamp_max(_fence(deviation[inside])), deviation)
    kappa = mean.sign() if sign == "mean" else torch.ones_like(mean)
    if z_rule == "optimal":
        z = _largest_z(known - mean, sparse_z * kappa * deviation, kappa * deviation, inside)
    elif z is None:
        z = hiding_deviations(len(updates), int(malicious.sum()))
    factors = torch.full_like(mean, z).masked_fill_(inside, sparse_z)
    return replaced(updates, malicious, mean - kappa * (factors * deviation)), state


def salient_weights(
    model: FunctionalModel,
    parameters: Tensor,
    samples: Samples,
    eligible: Tensor,
    share: float,
    steps: int,
) -> Tensor:
    """Choose the weights with the largest saliency, in several steps.

    Args:
        model: The model as a function of flat parameters.
        parameters: Its parameters w [d].
        samples: Samples on which the loss is taken; without any the first weights are chosen.
        eligible: Flags [d] of the weights.
        share: Share of the d coordinates to choose.
        steps: Number of steps.

    Returns:
        The flags of the chosen coordinates [d], bool.
    """
    loss, kept = model.loss_on(samples), eligible
    for step in range(1, steps + 1):
        thinned = parameters.masked_fill(eligible & ~kept, 0.0)
        gradient = torch.zeros_like(parameters)
        if len(samples) > 0:
            gradient = loss.value_and_gradient(thinned)[1]
        saliency = (parameters * gradient).abs().nan_to_num(0.0).masked_fill(~eligible, -1.0)
        count = min(rounded_up(share ** (step / steps), len(parameters)), int(eligible.sum()))
        kept = smallest(-saliency, count)
    return kept


def _drawn(eligible: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` of the eligible coordinates [d] and return their flags [d]."""
    places = torch.nonzero(eligible).flatten()
    order = torch.randperm(len(places), generator=generator)[:count].to(places.device)
    chosen = torch.zeros_like(eligible)
    chosen[places[order]] = True
    return chosen


def _fence(values: Tensor) -> float:
    """Return Q3 + 1.5 (Q3 − Q1) of values [m], with quartiles between the neighbours."""
    if len(values) == 0:
        return math.inf
    # torch.quantile refuses more than 16 million values
    ordered = values.sort().values

    def quartile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return float(torch.lerp(ordered[low], ordered[high], place - low))

    first, third = quartile(0.25), quartile(0.75)
    return third + 1.5 * (third - first)


def _largest_z(offsets: Tensor, sparse: Tensor, dense: Tensor, inside: Tensor) -> float:
    """Return the largest z ≥ 0 with ‖sparse on S, z · dense elsewhere‖² ≤ min_i ‖offset_i‖².

    Both sides of the bound contain Σ_j ‖Δ_j − μ‖²; this is what remains, by client.
    """
    limit = offsets.square().sum(dim=1).min()
    square = dense[~inside].square().sum()
    slack = (limit - sparse[inside].square().sum()).clamp_min(0)
    return float((slack / square).sqrt()) if square > 0 else 0.0
