"""Adaptive attack on SkyMask."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.contracts import requires
from skymask.masks import decision, learning
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples

State = dict[str, Tensor]


@requires(lambda n, f: f == 0 or n - f >= 1, "skymask_adaptive needs a benign client")
@requires(lambda largest: largest > 0, "largest must be positive")
@requires(lambda halvings: halvings >= 0, "halvings must not be negative")
@requires(lambda caution: caution >= 1, "caution must be at least 1")
@requires(lambda root_size: root_size >= 1, "root_size must be at least 1")
def skymask_adaptive(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    own_data: Samples,
    generator: torch.Generator,
    state: State,
    *,
    direction: Literal["best", "opposed", "stretched"] = "best",
    largest: float = 8.0,
    halvings: int = 6,
    caution: float = 2.0,
    root_size: int = 100,
    clusters: Literal["auto", 2] = "auto",
) -> tuple[Tensor, State]:
    """Send the largest harmful step that the attackers expect SkyMask to accept.

    Each attacker sends Δ_i + (λ/c) q_i. The attackers know the rule, its mask learning and the
    benign updates. They do not know the root data or Δ_0: ``root_size`` of their own clean samples,
    drawn again in each round, replace the root data, and the mean of their own honest updates
    replaces Δ_0. With these they run the rule (with its default masks) on what they would send, for
    λ = ``largest`` and up to ``halvings`` halves of it, until all attackers are accepted. The
    directions are

    - opposed: q_i = −μ. It undoes what the honest clients have learned.
    - stretched: q_i = Δ_i − μ where its sign is opposed to that of μ and 0 elsewhere, scaled so
      that the mean of the q_i is as long as μ. It keeps every sign of Δ_i − μ, and with it the
      binary mask as long as w̃ stays near w + μ: a mask is learned from the signs of W_i − w̃
      alone.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        own_data: Honest samples of all malicious clients.
        generator: Random numbers, on the CPU.
        state: State of the last round, empty at first: the evidence that the rule keeps per client,
            as the attackers expect it: ``sums`` [n, 2] and ``weight`` [1].
        direction: ``"opposed"``, ``"stretched"``, or ``"best"``: the one that raises the loss on
            their samples more after the expected aggregation.
        largest: Largest λ.
        halvings: How often λ is halved. If no λ is accepted, the attackers send honest updates.
        caution: Factor c ≥ 1 by which the step is smaller, since the root data are unknown.
        root_size: Samples that replace the root data.
        clusters: As in :func:`~skymask.defenses.skymask.skymask`.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: Without a benign client.

    Our own attack; we know of no published one on SkyMask.
    """
    if not bool(malicious.any()):
        return updates, state
    chosen = torch.randperm(len(own_data), generator=generator)[:root_size]
    root = own_data.select(chosen.to(own_data.labels.device))
    simulation = _Simulation(updates, malicious, global_parameters, model, root, state, clusters)
    own = updates[malicious].double()
    mean = known_updates(updates, malicious, "full").mean(dim=0)
    vectors = {"opposed": -mean.expand_as(own), "stretched": _stretched(own, mean)}
    directions = list(vectors) if direction == "best" else [direction]
    steps = [largest / 2**halving for halving in range(halvings + 1)]
    accepted = [
        _accepted_step(simulation, own, vectors[name], steps, caution) for name in directions
    ]
    outcomes = [outcome for outcome in accepted if outcome is not None] or [(0.0, own)]
    _, crafted = max(outcomes, key=lambda outcome: outcome[0])
    return replaced(updates, malicious, crafted), simulation.next_state(crafted)


def _stretched(own: Tensor, mean: Tensor) -> Tensor:
    """Return each attacker's deviation from the ``mean`` [d] where it is opposed to it, [f, d]."""
    deviations = own - mean
    opposed = torch.where(deviations.sign() == -mean.sign(), deviations, 0.0)
    length = opposed.mean(dim=0).norm()
    return opposed * (mean.norm() / length) if length > 0 else opposed


def _accepted_step(
    simulation: "_Simulation", own: Tensor, vector: Tensor, steps: list[float], caution: float
) -> tuple[float, Tensor] | None:
    """Return the damage and the updates [f, d] of the first step that is accepted, or None."""
    for step in steps:
        if simulation.damage(own + step * vector) is not None:
            crafted = own + step / caution * vector
            damage = simulation.damage(crafted)
            if damage is not None:
                return damage, crafted
    return None


@dataclass
class _Simulation:
    """SkyMask as the attackers expect it to work in this round."""

    updates: Tensor
    malicious: Tensor
    global_parameters: Tensor
    model: FunctionalModel
    root: Samples
    state: State
    clusters: Literal["auto", 2]

    def __post_init__(self) -> None:
        self.loss = self.model.loss_on(self.root)
        self.server_update = self.updates[self.malicious].mean(dim=0)
        self.honest = self._evidence(self.updates[~self.malicious])

    def damage(self, crafted: Tensor) -> float | None:
        """Return the loss after a round with ``crafted`` [f, d]; None if one is rejected."""
        rows = replaced(self.updates, self.malicious, crafted)
        models = torch.cat([rows, self.server_update[None]]) + self.global_parameters
        binary = learning.binarise(learning.learn_masks(models, self.loss)).to(torch.float32)
        state = self.next_state(crafted)
        evidence = state["sums"] / state["weight"]
        scores = decision.verdict(binary, evidence, always_two=self.clusters == 2)
        accepted = torch.from_numpy(scores > 0.5).to(rows.device)
        if not bool(accepted[self.malicious].all()):
            return None
        with torch.no_grad():
            loss = self.loss(self.global_parameters + rows[accepted].mean(dim=0))
        return float(loss.nan_to_num(float("inf")))

    def next_state(self, crafted: Tensor) -> State:
        """Return the evidence that the rule keeps after a round with ``crafted`` [f, d]."""
        now = self.honest.new_empty(len(self.updates), 2)
        now[~self.malicious] = self.honest
        now[self.malicious] = self._evidence(crafted.to(self.updates.dtype))
        if not self.state:
            return {"sums": now, "weight": now.new_ones(1)}
        return {
            "sums": decision.EVIDENCE_DECAY * self.state["sums"] + now,
            "weight": decision.EVIDENCE_DECAY * self.state["weight"] + 1,
        }

    def _evidence(self, rows: Tensor) -> Tensor:
        return decision.evidence(
            rows, self.server_update, self.global_parameters, self.model, self.root
        )
