"""Training inside an attack, of an update on samples of which some have a trigger."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples


@dataclass(frozen=True)
class Sgd:
    """Settings of plain SGD: passes over the samples, samples per step, step size."""

    epochs: int
    batch_size: int
    learning_rate: float


def trained(
    model: FunctionalModel,
    global_parameters: Tensor,
    start: Tensor,
    samples: Samples,
    sgd: Sgd,
    generator: torch.Generator,
    *,
    alpha: float = 1.0,
    kept: Tensor | None = None,
) -> Tensor:
    r"""Train an update by plain SGD from ``start``, which may also pull it back.

    It minimises

    .. math::

        \alpha \cdot \text{cross-entropy}(w + \Delta) + (1 - \alpha)\,
        \lVert\Delta - \Delta_\text{start}\rVert^2

    The cross-entropy is over the classes, whatever the loss of the training: ``batch_softmax`` and
    ``logit_adjusted`` have little to learn from samples of one label.

    Args:
        model: The model as a function of flat parameters.
        global_parameters: Global model w [d].
        start: Update [d] to start from.
        samples: What to learn; the caller adds triggers. Without samples there is no step.
        sgd: Settings of SGD.
        generator: Random numbers for the order of the samples, on the CPU.
        alpha: Weight α of the cross-entropy, in [0, 1].
        kept: Flags [d] of the coordinates that may change, or None for all.

    Returns:
        The update Δ [d].
    """
    model = replace(model, loss="cross_entropy")
    update = start.clone()
    for _ in range(sgd.epochs):
        order = torch.randperm(len(samples), generator=generator).to(samples.labels.device)
        for batch in torch.split(order, sgd.batch_size):
            if len(batch) == 0:
                continue
            parameters = (global_parameters + update).requires_grad_()
            with torch.enable_grad():
                loss = model.loss_on(samples.select(batch))(parameters)
                (gradient,) = torch.autograd.grad(loss, parameters)
            step = alpha * gradient + 2 * (1 - alpha) * (update - start)
            update -= sgd.learning_rate * (step if kept is None else step * kept)
    return update
