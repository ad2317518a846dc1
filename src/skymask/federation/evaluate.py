"""Stage 4: quality of the global model on the test data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from skymask.attacks import TRIGGERS
from skymask.contracts import own
from skymask.federation.federation import Federation
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import SoftmaxAxis
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import with_halving

# test samples in one forward pass, or in several where memory does not suffice; part of the
# result when softmax_axis is "batch"
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Quality:
    """Quality of a model on test data.

    Attributes:
        accuracy: Share of samples classified correctly, in [0, 1].
        loss: Mean loss of a sample in nats, with the softmax axis of the training.
        attack_success_rate: Success of the backdoor, in [0, 1]; ``None`` without a backdoor.
    """

    accuracy: float
    loss: float
    attack_success_rate: float | None = None


def evaluate(
    federation: Federation, global_parameters: Tensor, statistics: Tensor | None = None
) -> Quality:
    """Evaluate the global model on the whole test set.

    Args:
        federation: Parties of the run.
        global_parameters: Parameters [d] of the global model.
        statistics: Its running statistics [s]; ``None`` for the initial ones.

    Returns:
        Accuracy, loss, and the success of the run's backdoor, if its attack has one.
    """
    run, test = federation.experiment, federation.test
    model = federation.model.copy(global_parameters, statistics)
    quality = accuracy_and_loss(model, test, run.softmax_axis)
    if run.attack.name not in TRIGGERS:
        return quality
    function, parameters = TRIGGERS[run.attack.name], run.attack.parameters

    def trigger(features: Tensor) -> Tensor:
        return function(features, **own(function, parameters))

    rate = attack_success_rate(model, test, trigger, parameters["target"], run.softmax_axis)
    return replace(quality, attack_success_rate=rate)


def accuracy_and_loss(
    model: ResidentModel, test: Samples, softmax_axis: SoftmaxAxis = "class"
) -> Quality:
    """Compute a model's accuracy and mean loss on ``test``.

    Batch normalisation uses the model's running statistics.
    """
    correct, loss = 0, 0.0
    for scores, labels in _scored(model, test, softmax_axis):
        correct += int((scores.argmax(dim=1) == labels).sum())
        loss += float(functional.nll_loss(scores, labels, reduction="sum"))
    return Quality(accuracy=correct / len(test), loss=loss / len(test))


def attack_success_rate(
    model: ResidentModel,
    test: Samples,
    trigger: Callable[[Tensor], Tensor],
    target: int,
    softmax_axis: SoftmaxAxis = "class",
) -> float | None:
    """Compute the share of triggered samples of other classes that are classified as the target.

    Args:
        model: The model.
        test: Test data; samples of the target class do not count.
        trigger: Function that puts the trigger on features [N, ...].
        target: Class of the backdoor.
        softmax_axis: Axis over which the classes are compared.

    Returns:
        A share in [0, 1]; ``None`` where every sample is of the target class.
    """
    others = test.select(torch.nonzero(test.labels != target).flatten())
    if len(others) == 0:
        return None
    triggered = Samples(trigger(others.features), others.labels)
    hits = [
        int((scores.argmax(dim=1) == target).sum())
        for scores, _ in _scored(model, triggered, softmax_axis)
    ]
    return sum(hits) / len(others)


def _scored(
    model: ResidentModel, samples: Samples, softmax_axis: SoftmaxAxis
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logarithms of the model's outputs, float64 [b, C], and the labels, by batch."""
    axis = 1 if softmax_axis == "class" else 0
    module, training = model.module, model.module.training
    for start in range(0, len(samples), EVALUATION_BATCH):
        labels = samples.labels[start : start + EVALUATION_BATCH]
        features = samples.features[start : start + EVALUATION_BATCH]

        def outputs(part: slice, features: Tensor = features) -> Tensor:
            logits: Tensor = module(laid_out(features[part]))
            return logits

        module.eval()
        try:
            with torch.no_grad():
                pieces = with_halving(outputs, slice(0, len(labels)), "samples in evaluation")
        finally:
            module.train(training)
        logits = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        yield functional.log_softmax(logits.double(), dim=axis), labels
