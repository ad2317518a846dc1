"""Backdoor in the layers that matter for it (layer poisoning)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.backdoor_training import Sgd, trained
from skymask.attacks.crafting import replaced
from skymask.attacks.triggers import stamped
from skymask.contracts import requires
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.numerics.distances import neighbour_sums, squared_distances

VALIDATION = 4
"""The attackers measure the backdoor on one of so many of their samples."""


@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda tau: 0 <= tau <= 1, "tau must lie in [0, 1]")
@requires(lambda scale: scale > 0, "scale must be positive")
@requires(lambda epochs: epochs >= 1, "epochs must be at least 1")
@requires(lambda batch_size: batch_size >= 1, "batch_size must be at least 1")
@requires(lambda learning_rate: learning_rate > 0, "learning_rate must be positive")
def lp_attack(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    own_data: Samples,
    classes: int,
    generator: torch.Generator,
    *,
    patch: int = 5,
    target: int = 0,
    mode: Literal["replace", "flip"] = "replace",
    tau: float = 0.95,
    scale: float = 1.0,
    adapt: bool = True,
    epochs: int = 2,
    batch_size: int = 64,
    learning_rate: float = 0.1,
) -> Tensor:
    r"""Find the layers that a backdoor needs, poison these alone, and stay honest elsewhere.

    A layer is a tensor of the layout. From a random 3/4 of their samples the attackers train a
    benign model w_b, starting at w, and a malicious one w_m, starting at w_b, for which they add
    a copy of these samples with the trigger and the label ``target``. BSR(v) is the share of their
    other samples, of another class than ``target``, that the parameters v call ``target`` once they
    have the trigger (0 where there are none). Then

    1. the layers are sorted by the BSR of w_m with the layer taken from w_b, lowest first (equal
       ones as in the model);
    2. L is the first k of them, k ≥ 1 the least with BSR(w_b with L from w_m) ≥ τ · BSR(w_m), or
       all layers;
    3. with m = w_m − w and c the mean of the attackers' honest updates, all attackers send

       .. math::

           \Delta_\ell = \begin{cases}
           \lambda m_\ell + \max(0, 1 - \lambda)\, c_\ell & \ell \in L \\
           c_\ell & \text{otherwise}
           \end{cases}

       With ``mode="flip"``, which harms the model and plants no backdoor, it is −m in L;
    4. with ``adapt``, the last layer is taken out of L as long as Multi-Krum would pick no attacker
       and L has another one. The attackers simulate Multi-Krum on g copies of Δ and their f honest
       updates, with g of g + f assumed malicious. g = f² / (n − f), rounded, between 1 and f, is
       as large a part as the attackers are of the round: f copies would be their own nearest
       neighbours and always be picked.

    The authors' code continues the training up to a fixed accuracy and uses momentum.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        own_data: Honest samples of all malicious clients.
        classes: Number of classes.
        generator: Random numbers, on the CPU.
        patch: Side of the trigger in pixels.
        target: Class that the backdoor predicts.
        mode: ``"replace"`` plants the backdoor, ``"flip"`` sends the opposite of what it needs.
        tau: Share τ of the backdoor that the layers in L must give.
        scale: Factor λ of the malicious update in L.
        adapt: Whether layers are taken out until Multi-Krum would pick an attacker.
        epochs: Passes over the samples, for each of the two models.
        batch_size: Samples per step.
        learning_rate: Step size of SGD.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: A parameter is out of range.

    Source: Zhuang et al., "Backdoor Federated Learning by Poisoning Backdoor-Critical Layers",
    ICLR 2024.
    """
    if not bool(malicious.any()):
        return updates
    order = torch.randperm(len(own_data), generator=generator).to(own_data.labels.device)
    count = len(own_data) // VALIDATION
    checks, training = own_data.select(order[:count]), own_data.select(order[count:])
    triggered = Samples(
        torch.cat([training.features, stamped(training.features, patch=patch)]),
        torch.cat([training.labels, torch.full_like(training.labels, target)]),
    )
    sgd, zero = Sgd(epochs, batch_size, learning_rate), torch.zeros_like(global_parameters)
    benign = trained(model, global_parameters, zero, training, sgd, generator)
    poison = trained(model, global_parameters, benign, triggered, sgd, generator)

    others = checks.features[checks.labels != target]
    backdoor = _Backdoor(model, stamped(others, patch=patch), target)
    layers = critical_layers(
        backdoor.rates, global_parameters + benign, global_parameters + poison, backdoor.parts, tau
    )
    honest = updates[malicious].double()
    centre = honest.mean(dim=0)
    wanted = -poison.double()
    if mode == "replace":
        wanted = scale * poison.double() + max(0.0, 1 - scale) * centre

    def crafted() -> Tensor:
        return torch.where(torch.stack(layers).any(dim=0), wanted, centre)

    copies = max(1, min(len(honest), round(len(honest) ** 2 / max(1, len(updates) - len(honest)))))
    while adapt and len(layers) > 1 and not picked(crafted(), honest, copies):
        layers.pop()
    return replaced(updates, malicious, crafted())


@dataclass(frozen=True)
class _Backdoor:
    """How well models know the trigger: their rate of ``target`` on ``features`` [N, ...]."""

    model: FunctionalModel
    features: Tensor
    target: int

    def rates(self, rows: list[Tensor]) -> list[float]:
        """Return BSR(v) for the parameters v [d] of each model."""
        if len(self.features) == 0:
            return [0.0 for _ in rows]
        each = self.model.logits_of_each(rows, self.features)
        return [float((z.argmax(dim=1) == self.target).double().mean()) for z in each]

    @property
    def parts(self) -> list[Tensor]:
        """Flags [d] of the coordinates of each layer, in the order of the layout."""
        sizes = torch.tensor(self.model.layout.sizes)
        numbers = torch.arange(len(sizes)).repeat_interleave(sizes).to(self.features.device)
        return [numbers == number for number in range(len(sizes))]


def critical_layers(
    rates: Callable[[list[Tensor]], list[float]],
    benign: Tensor,
    poisoned: Tensor,
    parts: list[Tensor],
    tau: float,
) -> list[Tensor]:
    """Choose the layers that a backdoor needs.

    Args:
        rates: Function that gives the success of the backdoor for each of several models [d].
        benign: Parameters w_b [d].
        poisoned: Parameters w_m [d].
        parts: Flags [d] of the coordinates of each layer.
        tau: Share of the success of w_m that the layers must give.

    Returns:
        Those of ``parts`` that are chosen, the most important first; at least one.

    Two layers of one coordinate, of which the second makes the success:

    >>> flags = [torch.tensor([True, False]), torch.tensor([False, True])]
    >>> rates = lambda rows: [float(row[1]) for row in rows]
    >>> critical_layers(rates, torch.zeros(2), torch.ones(2), flags, 0.95)
    [tensor([False,  True])]
    """
    whole, *without = rates([poisoned, *(torch.where(p, benign, poisoned) for p in parts)])
    # a stable sort, so that equal rates keep the order of the model
    order = sorted(range(len(parts)), key=without.__getitem__)
    chosen: list[Tensor] = []
    for number in order:
        chosen.append(parts[number])
        taken = torch.stack(chosen).any(dim=0)
        if rates([torch.where(taken, poisoned, benign)])[0] >= tau * whole:
            break
    return chosen


def picked(crafted: Tensor, honest: Tensor, copies: int) -> bool:
    """Return whether Multi-Krum keeps a copy of an update.

    It keeps as many updates as there are honest ones. An equal score counts as picked.

    Args:
        crafted: The update [d].
        honest: Honest updates [f, d].
        copies: Number of copies next to the honest updates, which is also the number of clients
            that Multi-Krum assumes to be malicious.

    >>> rows = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> picked(torch.tensor([1.5]), rows, 1), picked(torch.tensor([9.0]), rows, 1)
    (True, False)
    """
    rows = torch.cat([crafted.expand(copies, -1), honest])
    scores = neighbour_sums(squared_distances(rows), max(1, len(honest) - 2))
    return bool(scores[:copies].min() <= scores[copies:].max())
