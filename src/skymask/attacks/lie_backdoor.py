"""Backdoor within the spread of the honest updates (LIE)."""

import torch
from torch import Tensor

from skymask.attacks.backdoor_training import Sgd, trained
from skymask.attacks.triggers import stamped
from skymask.contracts import requires
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples


@requires(lambda n, f: f == 0 or n - f >= 2, "lie_backdoor needs two benign clients")
@requires(lambda target, classes: 0 <= target < classes, "target must be a class, from 0")
@requires(lambda alpha: 0 <= alpha <= 1, "alpha must lie in [0, 1]")
@requires(lambda z: z >= 0, "z must not be negative")
@requires(lambda epochs: epochs >= 1, "epochs must be at least 1")
@requires(lambda batch_size: batch_size >= 1, "batch_size must be at least 1")
@requires(lambda learning_rate: learning_rate > 0, "learning_rate must be positive")
def lie_backdoor(
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
    alpha: float = 0.8,
    z: float = 1.43,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 0.1,
) -> Tensor:
    r"""Train one update on the backdoor, clamp it to the spread of the benign updates, and send it.

    SGD from Δ = μ over the attackers' own samples, all with the trigger and the label ``target``,
    minimises

    .. math::

        \alpha \cdot \text{cross-entropy}(w + \Delta) + (1 - \alpha)\, \lVert\Delta - \mu\rVert^2

    The cross-entropy is over the classes, whatever the loss of the training: ``batch_softmax`` and
    ``logit_adjusted`` have little to learn from samples of one label.

    Then each coordinate is clamped to [μ − zσ, μ + zσ]. μ and σ (ddof = 1) are over the benign
    updates. The paper does not specify the optimiser; plain SGD and its defaults are our choice.

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
        alpha: Weight α of the backdoor, in [0, 1].
        z: Number of standard deviations an update may differ from μ.
        epochs: Passes over the samples.
        batch_size: Samples per step.
        learning_rate: Step size of SGD.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: With fewer than two benign clients.

    Source: Baruch et al., "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019.
    """
    if not bool(malicious.any()):
        return updates
    benign = updates[~malicious].double()
    mean, deviation = benign.mean(dim=0), benign.std(dim=0, correction=1)
    triggered = Samples(
        stamped(own_data.features, patch=patch), torch.full_like(own_data.labels, target)
    )
    sgd, start = Sgd(epochs, batch_size, learning_rate), mean.to(updates.dtype)
    update = trained(model, global_parameters, start, triggered, sgd, generator, alpha=alpha)
    attacked = updates.clone()
    low, high = mean - z * deviation, mean + z * deviation
    attacked[malicious] = update.double().clamp(low, high).to(updates.dtype)
    return attacked
