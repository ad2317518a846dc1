"""An attacker that knows SkyMask, and does the most it can without being seen."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, sent
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
    """Each attacker sends Δ_i + (λ/c) q_i, with the largest λ that SkyMask would let through.

    White box: the attackers know the rule with its mask learning, and the benign updates.  They
    never see the root data or Δ_0; ``root_size`` of their own clean samples, drawn anew in each
    round, stand in for the root data, and the mean of their own honest updates for Δ_0.  With these
    they run the rule (with its default masks) on what they would send, for λ = ``largest``,
    ``largest``/2, …, ``halvings`` times halved, until all of them are accepted.  What they send is
    smaller by c = ``caution``, since the server's root data is not theirs.  The directions are

        opposed:    q_i = −μ
        stretched:  q_i = Δ_i − μ where its sign is opposed to that of μ and 0 elsewhere, scaled
                    so that the mean of the q_i is as long as μ

    The first undoes what the honest clients have learned.  The second leaves every sign of Δ_i − μ
    as it is, and with it the binary mask as long as w̃ stays near w + μ: a mask is learned from the
    signs of W_i − w̃ alone.  ``best`` tries both and sends what raises the loss on their samples
    more after the aggregation they foresee.  Where no λ gets through they send their honest
    updates.

    ``updates`` is [n, d], ``malicious`` bool [n], ``global_parameters`` w [d].  ``state``: what the
    rule remembers of the clients, ``sums`` [n, 2] and ``weight`` [1], as the attackers foresee it.
    Ours; no published attack on SkyMask is known to us.
    """
    if not bool(malicious.any()):
        return updates, state
    chosen = torch.randperm(len(own_data), generator=generator)[:root_size]
    root = own_data.select(chosen.to(own_data.labels.device))
    rehearsal = _Rehearsal(updates, malicious, global_parameters, model, root, state, clusters)
    own = updates[malicious].double()
    mean = known_updates(updates, malicious, "full").mean(dim=0)
    pushes = {"opposed": -mean.expand_as(own), "stretched": _stretched(own, mean)}
    wanted = list(pushes) if direction == "best" else [direction]
    steps = [largest / 2**halving for halving in range(halvings + 1)]
    found = [_hidden(rehearsal, own, pushes[name], steps, caution) for name in wanted]
    outcomes = [outcome for outcome in found if outcome is not None]
    if not outcomes:
        outcomes = [(0.0, own)]
    _, crafted = max(outcomes, key=lambda outcome: outcome[0])
    return sent(updates, malicious, crafted), rehearsal.remembered(crafted)


def _stretched(own: Tensor, mean: Tensor) -> Tensor:
    """Each attacker's deviation from the ``mean`` [d] where it is opposed to it, [f, d]."""
    deviations = own - mean
    opposed = torch.where(deviations.sign() == -mean.sign(), deviations, 0.0)
    length = opposed.mean(dim=0).norm()
    return opposed * (mean.norm() / length) if length > 0 else opposed


def _hidden(
    rehearsal: "_Rehearsal", own: Tensor, push: Tensor, steps: list[float], caution: float
) -> tuple[float, Tensor] | None:
    """The damage and the updates [f, d] of the first of ``steps`` that is let through; or None."""
    for step in steps:
        if rehearsal.damage(own + step * push) is not None:
            crafted = own + step / caution * push
            damage = rehearsal.damage(crafted)
            if damage is not None:
                return damage, crafted
    return None


@dataclass
class _Rehearsal:
    """SkyMask as the attackers foresee it in this round."""

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
        """The loss after a round in which ``crafted`` [f, d] are sent; None if one is rejected."""
        rows = sent(self.updates, self.malicious, crafted)
        models = torch.cat([rows, self.server_update[None]]) + self.global_parameters
        binary = learning.binarise(learning.learn_masks(models, self.loss)).to(torch.float32)
        state = self.remembered(crafted)
        evidence = state["sums"] / state["weight"]
        scores = decision.verdict(binary, evidence, always_two=self.clusters == 2)
        accepted = torch.from_numpy(scores > 0.5).to(rows.device)
        if not bool(accepted[self.malicious].all()):
            return None
        with torch.no_grad():
            loss = self.loss(self.global_parameters + rows[accepted].mean(dim=0))
        return float(loss.nan_to_num(float("inf")))

    def remembered(self, crafted: Tensor) -> State:
        """What the rule remembers once ``crafted`` [f, d] are sent."""
        now = self.honest.new_empty(len(self.updates), 2)
        now[~self.malicious] = self.honest
        now[self.malicious] = self._evidence(crafted.to(self.updates.dtype))
        if not self.state:
            return {"sums": now, "weight": now.new_ones(1)}
        return {
            "sums": decision.MEMORY * self.state["sums"] + now,
            "weight": decision.MEMORY * self.state["weight"] + 1,
        }

    def _evidence(self, rows: Tensor) -> Tensor:
        return decision.evidence(
            rows, self.server_update, self.global_parameters, self.model, self.root
        )
