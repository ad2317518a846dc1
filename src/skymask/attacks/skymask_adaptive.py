"""Adaptive attack on SkyMask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced, unit
from skymask.contracts import requires
from skymask.masks import evidence, learning, rule
from skymask.models.functional import FunctionalModel
from skymask.models.losses import mean_loss
from skymask.models.samples import Samples

State = dict[str, Tensor]


@requires(lambda n, f: f == 0 or n - f >= 1, "skymask_adaptive needs a benign client")
@requires(lambda largest: largest > 0, "largest must be positive")
@requires(lambda halvings: halvings >= 0, "halvings must not be negative")
@requires(lambda caution: caution >= 1, "caution must be at least 1")
@requires(lambda noise: noise >= 0, "noise must not be negative")
@requires(lambda root_size: root_size >= 1, "root_size must be at least 1")
@requires(
    lambda length_limit: length_limit is None or length_limit > 0, "length_limit must be positive"
)
def skymask_adaptive(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    own_data: Samples,
    generator: torch.Generator,
    state: State,
    *,
    direction: Literal["best", "opposed", "stretched", "orthogonal", "shifted"] = "best",
    largest: float = 8.0,
    halvings: int = 6,
    caution: float = 2.0,
    noise: float = 0.0,
    length: Literal["bound", "free", "own", "drawn", "shortest", "longest"] = "bound",
    root_size: int = 100,
    clusters: Literal["auto", 2] = "auto",
    length_limit: float | None = 2.0,
) -> tuple[Tensor, State]:
    r"""Send the largest harmful step that the attackers expect SkyMask to accept.

    Each attacker sends, brought to a ``length``,

    .. math:: \Delta_i + \frac{\lambda}{c}\, q_i + \nu\, \sigma \odot z_i, \quad z_i \sim N(0, I)

    with the standard deviation σ of the benign updates. The attackers know the rule, its mask
    learning and the benign updates, of mean μ. They do not know the root data or Δ_0: ``root_size``
    of their own clean samples, drawn again in each round, replace the root data, and the mean of
    their own honest updates replaces Δ_0. With these they run the rule
    (:func:`skymask.masks.rule.judge`, with its default masks) on what they would send, for λ =
    ``largest`` and up to ``halvings`` halves of it, until all attackers are accepted. The
    directions q_i, all scaled so that their mean is as long as μ, are

    - opposed: −μ. It undoes what the honest clients have learned.
    - stretched: Δ_i − μ where its sign is opposed to that of μ and 0 elsewhere. It keeps every sign
      of Δ_i − μ, and with it the binary mask as long as w̃ stays near w + μ: a mask is learned from
      the signs of W_i − w̃ alone.
    - orthogonal: −μ less its component along the expected Δ_0. It keeps what the attackers' honest
      updates have in common with the server's, and with it the cosine and some of the harm test's
      evidence.
    - shifted: the gradient, at w + μ, of the mean output of the class whose output, raised by 1,
      raises the loss most, less its component along the gradient of the loss of outputs less
      their mean. The evidence is measured with this loss, so to first order it does not fall.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        own_data: Honest samples of all malicious clients.
        generator: Random numbers, on the CPU.
        state: State of the last round, empty at first: the evidence that the rule keeps per client,
            as the attackers expect it: ``sums`` [n + 1, 3] and ``rounds`` [n + 1], the
            server last.
        direction: ``"opposed"``, ``"stretched"``, ``"orthogonal"``, ``"shifted"``, or ``"best"``:
            the one that raises the loss on their samples most after the expected aggregation.
        largest: Largest λ.
        halvings: How often λ is halved. If no λ is accepted, the attackers send honest updates.
        caution: Factor c ≥ 1 by which the step is smaller, since the root data are unknown.
        noise: Noise ν of each attacker in benign standard deviations, which makes equal updates
            differ.
        length: Length ‖Δ‖ of what is sent: ``"free"`` for any, which the rule then shortens,
            ``"bound"`` for at most the length that it does not shorten, ``"own"`` for that of the
            attacker's honest update, ``"drawn"``, ``"shortest"`` or ``"longest"`` for a random, the
            least or the largest one of the benign updates, as if as many steps had been taken.
        root_size: Samples that replace the root data.
        clusters: As in :func:`~skymask.defenses.skymask.skymask`.
        length_limit: As in :func:`~skymask.defenses.skymask.skymask`.

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
    settings = rule.Settings(clusters=clusters, length_limit=length_limit)
    simulation = _Simulation(updates, malicious, global_parameters, model, root, state, settings)
    own = updates[malicious].double()
    benign = known_updates(updates, malicious, "full")
    mean = benign.mean(dim=0)
    start = own + noise * _noise(own, benign, generator) if noise > 0 else own
    targets = _lengths(own, benign, length, generator)
    if length == "bound":
        targets = simulation.bound()
    names = list(DIRECTIONS) if direction == "best" else [direction]
    steps = [largest / 2**halving for halving in range(halvings + 1)]
    outcomes = []
    for name in names:
        vector = _scaled(DIRECTIONS[name](simulation, own, mean), mean)

        def crafted(step: float, vector: Tensor = vector) -> Tensor:
            return _at_length(start + step * vector, targets, exactly=length != "bound")

        outcomes += _accepted_step(simulation, crafted, steps, caution)
    if outcomes:
        _, sent, judgement = max(outcomes, key=lambda outcome: outcome[0])
    else:
        sent, judgement = own, simulation.judge(own)
    return replaced(updates, malicious, sent), simulation.next_state(judgement)


def _noise(own: Tensor, benign: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise [f, d] of the benign updates' standard deviation."""
    draws = torch.randn(own.shape, generator=generator, dtype=torch.float64).to(own.device)
    return draws * benign.std(dim=0, correction=int(len(benign) > 1))


def _lengths(own: Tensor, benign: Tensor, length: str, generator: torch.Generator) -> Tensor | None:
    """Return the lengths, a scalar or [f], that the attackers imitate; None for no length."""
    lengths: Tensor = benign.norm(dim=1)
    if length == "own":
        lengths = own.norm(dim=1)
        return lengths
    if length == "drawn":
        chosen = torch.randint(len(benign), (len(own),), generator=generator)
        # sorted, since the order of the benign clients must not matter
        return lengths.sort().values[chosen.to(lengths.device)]
    if length == "shortest":
        return lengths.amin()
    return lengths.amax() if length == "longest" else None


def _at_length(rows: Tensor, targets: Tensor | None, *, exactly: bool) -> Tensor:
    """Bring rows [f, d] to lengths, a scalar or [f], ``exactly`` or only where they are longer."""
    if targets is None:
        return rows
    factors: Tensor = targets / rows.norm(dim=1).clamp_min(1e-300)
    return rows * (factors if exactly else factors.clamp_max(1.0))[:, None]


def _accepted_step(
    simulation: "_Simulation",
    crafted: Callable[[float], Tensor],
    steps: list[float],
    caution: float,
) -> list[tuple[float, Tensor, rule.Judgement]]:
    """Return the loss, the updates [f, d] and the judgement of the first accepted step, if any."""
    for step in steps:
        if simulation.accepts(simulation.judge(crafted(step))):
            sent = crafted(step / caution)
            judgement = simulation.judge(sent)
            if simulation.accepts(judgement):
                return [(simulation.loss_after(judgement), sent, judgement)]
    return []


@dataclass
class _Simulation:
    """SkyMask as the attackers expect it to work in this round."""

    updates: Tensor
    malicious: Tensor
    global_parameters: Tensor
    model: FunctionalModel
    root: Samples
    state: State
    settings: rule.Settings

    def __post_init__(self) -> None:
        self.loss = self.model.loss_on(self.root)
        self.server_update = self.updates[self.malicious].mean(dim=0)

    def bound(self) -> Tensor | None:
        """Return the length that the rule does not shorten, None for any."""
        if self.settings.length_limit is None:
            return None
        lengths = self.updates.double().norm(dim=1)
        server_length = self.server_update.double().norm()
        return self.settings.length_limit * evidence.usual_length(lengths, server_length)

    def judge(self, crafted: Tensor) -> rule.Judgement:
        """Return the rule's judgement of a round with ``crafted`` [f, d]."""
        return rule.judge(
            replaced(self.updates, self.malicious, crafted),
            self.global_parameters,
            self.loss,
            self.server_update,
            self.model,
            self.root,
            (self.state["sums"], self.state["rounds"]) if self.state else None,
            self.settings,
        )

    def accepts(self, judgement: rule.Judgement) -> bool:
        """Return whether all attackers are accepted."""
        return bool(judgement.accepted[self.malicious].all())

    def loss_after(self, judgement: rule.Judgement) -> float:
        """Return the loss after the round, infinite if it is not a number."""
        with torch.no_grad():
            loss = self.loss(self.global_parameters + judgement.update)
        return float(loss.nan_to_num(float("inf")))

    def next_state(self, judgement: rule.Judgement) -> State:
        """Return the evidence that the rule keeps after a round; as before without a verdict."""
        if judgement.sums is None or judgement.rounds is None:
            return self.state
        return {"sums": judgement.sums, "rounds": judgement.rounds}

    def gradient(self, function: Callable[[Tensor], Tensor], update: Tensor) -> Tensor:
        """Return the gradient [d] of a function of the outputs [N, C], at w + ``update``."""
        parameters = self.global_parameters + update.to(self.global_parameters)

        def value(parameters: Tensor) -> Tensor:
            return function(self.model.logits(parameters, self.root.features))

        return learning.value_and_gradient(value, parameters)[1].double().nan_to_num(0.0, 0.0, 0.0)

    def loss_of(self, logits: Tensor) -> Tensor:
        """Return the mean loss of outputs [N, C] on the attackers' samples."""
        return mean_loss(logits, self.root.labels, self.model.loss)


def _opposed(simulation: _Simulation, own: Tensor, mean: Tensor) -> Tensor:
    """Return −μ [d]."""
    return -mean


def _stretched(simulation: _Simulation, own: Tensor, mean: Tensor) -> Tensor:
    """Return each attacker's deviation from the mean where it is opposed to it, [f, d]."""
    deviations = own - mean
    return torch.where(deviations.sign() == -mean.sign(), deviations, 0.0)


def _orthogonal(simulation: _Simulation, own: Tensor, mean: Tensor) -> Tensor:
    """Return −μ less its component along the expected Δ_0, [d]."""
    return _without(-mean, simulation.server_update.double())


def _shifted(simulation: _Simulation, own: Tensor, mean: Tensor) -> Tensor:
    """Return what raises a class's mean output and, to first order, not the centred loss, [d]."""
    with torch.no_grad():
        parameters = simulation.global_parameters + mean.to(simulation.global_parameters)
        logits = simulation.model.logits(parameters, simulation.root.features)
        raised = [simulation.loss_of(logits + one) for one in torch.eye(logits.shape[1]).to(logits)]
    target = int(torch.stack(raised).argmax())
    ascent = simulation.gradient(lambda z: z[:, target].mean() - z.mean(), mean)
    centred = simulation.gradient(lambda z: simulation.loss_of(z - z.mean(dim=0)), mean)
    return _without(ascent, centred)


DIRECTIONS = {
    "opposed": _opposed,
    "stretched": _stretched,
    "orthogonal": _orthogonal,
    "shifted": _shifted,
}


def _without(vector: Tensor, other: Tensor) -> Tensor:
    """Remove from ``vector`` [d] its component along ``other`` [d]."""
    axis = unit(other)
    return vector - (vector @ axis) * axis


def _scaled(vector: Tensor, mean: Tensor) -> Tensor:
    """Scale a vector [d], or vectors [f, d], so that their mean is as long as ``mean`` [d]."""
    length = (vector.mean(dim=0) if vector.ndim == 2 else vector).norm()
    return vector * (mean.norm() / length) if length > 0 else vector
