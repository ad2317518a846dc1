"""Backdoor in the coordinates that the benign clients hardly change (Neurotoxin)."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.backdoor_training import Sgd, trained
from skymask.attacks.crafting import replaced
from skymask.attacks.triggers import poisoned, stamped
from skymask.contracts import requires
from skymask.models.flat_parameters import Layout
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.numerics.order_statistics import midpoint_median
from skymask.numerics.selection import rounded_down, smallest

State = dict[str, Tensor]


@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda keep: 0 < keep <= 1, "keep must lie in (0, 1]")
@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
@requires(lambda norm: norm is None or norm > 0, "norm must be positive")
@requires(lambda epochs: epochs >= 1, "epochs must be at least 1")
@requires(lambda batch_size: batch_size >= 1, "batch_size must be at least 1")
@requires(lambda learning_rate: learning_rate > 0, "learning_rate must be positive")
def neurotoxin(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    own_data: Samples,
    classes: int,
    generator: torch.Generator,
    state: State,
    *,
    patch: int = 5,
    target: int = 0,
    share: float = 0.5,
    keep: float = 0.95,
    reference: Literal["update", "gradient"] = "update",
    scope: Literal["model", "layer"] = "model",
    norm: float | None = None,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 0.1,
) -> tuple[Tensor, State]:
    r"""Train one update on the backdoor, only where the model hardly moves, and send it.

    A backdoor lasts longer in coordinates that the benign clients do not overwrite. These are the
    ⌊κ d⌋ with the smallest absolute value of the benign direction (of equal ones the first), which
    the attackers estimate from the last step of the global model or from the gradient of the
    cross-entropy on their own clean samples. From w, plain SGD minimises the cross-entropy on their
    samples, a share of which has the trigger and the label ``target``; the gradient of all other
    coordinates is set to 0. All attackers send

    .. math:: \Delta \cdot \min(1, C / \lVert\Delta\rVert)

    Public code differs in the absolute value, without which the most negative gradients are taken,
    and in weight decay, which moves all coordinates.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        own_data: Honest samples of all malicious clients.
        classes: Number of classes.
        generator: Random numbers, on the CPU.
        state: State of the last round, empty at first: its global model as ``previous`` [d].
        patch: Side of the trigger in pixels.
        target: Class that the backdoor predicts.
        share: Share of the samples that are poisoned, in (0, 1].
        keep: Share κ of the coordinates that may change.
        reference: ``"update"`` for w less the global model of the attackers' last round, with all
            coordinates in the first; ``"gradient"`` for the gradient at w.
        scope: ``"layer"`` takes ⌊κ d_ℓ⌋ of the d_ℓ coordinates of each tensor.
        norm: Longest norm C that is sent; the median of the attackers' honest updates if ``None``.
        epochs: Passes over the samples.
        batch_size: Samples per step.
        learning_rate: Step size of SGD.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: A parameter is out of range.

    Source: Zhang et al., "Neurotoxin: Durable Backdoors in Federated Learning", ICML 2022.
    """
    if not bool(malicious.any()):
        return updates, state
    kept: Tensor | None = None
    direction = _direction(model, global_parameters, own_data, reference, state)
    if direction is not None:
        kept = quiet_coordinates(direction, keep, model.layout if scope == "layer" else None)
    triggered = stamped(own_data.features, patch=patch)
    mixed = poisoned(
        own_data.features, own_data.labels, triggered, generator, target=target, share=share
    )
    sgd, zero = Sgd(epochs, batch_size, learning_rate), torch.zeros_like(global_parameters)
    update = trained(model, global_parameters, zero, Samples(*mixed), sgd, generator, kept=kept)
    crafted = update.double()
    longest = midpoint_median(updates[malicious].double().norm(dim=1)) if norm is None else norm
    crafted *= (longest / crafted.norm().clamp_min(1e-300)).clamp_max(1.0)
    return replaced(updates, malicious, crafted), {"previous": global_parameters.clone()}


def quiet_coordinates(direction: Tensor, keep: float, layout: Layout | None = None) -> Tensor:
    """Choose the coordinates with the smallest absolute values.

    Args:
        direction: Values [d].
        keep: Share of the coordinates to choose, rounded down.
        layout: Split into layers of each of which this share is chosen; ``None`` for one layer.

    Returns:
        Flags of the chosen coordinates [d], bool.

    >>> quiet_coordinates(torch.tensor([3.0, -1.0, 0.5, -4.0]), 0.5).tolist()
    [False, True, True, False]
    """
    chosen = torch.zeros_like(direction, dtype=torch.bool)
    parts = [(direction, chosen)]
    if layout is not None:
        flags = layout.columns(chosen)
        parts = [(values, flags[name]) for name, values in layout.columns(direction).items()]
    for values, flag in parts:
        flag |= smallest(values.abs(), rounded_down(keep, len(values)))
    return chosen


def _direction(
    model: FunctionalModel, parameters: Tensor, samples: Samples, reference: str, state: State
) -> Tensor | None:
    """Return the expected benign direction [d], or None where nothing is known of it."""
    if reference == "update":
        return parameters - state["previous"] if state else None
    if len(samples) == 0:
        return None
    loss = replace(model, loss="cross_entropy").loss_on(samples)
    return loss.value_and_gradient(parameters)[1]
