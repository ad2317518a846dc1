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
from skymask.models.loss_names import LossName
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import with_halving

# test samples in one forward pass, or in several where memory does not suffice; a multiple of
# RELEASED_BATCH
EVALUATION_BATCH = 1000
# test samples over which the code released with SkyMask normalises the outputs
RELEASED_BATCH = 250


@dataclass(frozen=True)
class Quality:
    """Quality of a model on test data.

    Attributes:
        accuracy: Share of samples whose largest output is that of their class, in [0, 1].
        loss: Mean cross-entropy of a sample in nats, whatever the loss of the training.
        batch_accuracy: Accuracy as the code released with SkyMask measures it, in [0, 1]: the
            outputs of each class are first normalised by the softmax over 250 test samples.
            ``None`` without ``batch_softmax``.
        attack_success_rate: Success of the backdoor, in [0, 1]; ``None`` without a backdoor.
    """

    accuracy: float
    loss: float
    batch_accuracy: float | None = None
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
    quality = accuracy_and_loss(model, test, run.loss)
    if run.attack.name not in TRIGGERS:
        return quality
    function, parameters = TRIGGERS[run.attack.name], run.attack.parameters

    def trigger(features: Tensor) -> Tensor:
        return function(features, **own(function, parameters))

    rate = attack_success_rate(model, test, trigger, parameters["target"])
    return replace(quality, attack_success_rate=rate)


def accuracy_and_loss(
    model: ResidentModel, test: Samples, loss: LossName = "cross_entropy"
) -> Quality:
    """Compute a model's accuracy and mean loss on test data.

    Batch normalisation uses the model's running statistics.

    Args:
        model: The model.
        test: Test data.
        loss: Loss that the model was trained with; ``batch_softmax`` adds ``batch_accuracy``.
    """
    correct, of_batches, total = 0, 0, 0.0
    for outputs, labels in _outputs(model, test):
        scores = functional.log_softmax(outputs, dim=1)
        correct += int((scores.argmax(dim=1) == labels).sum())
        total += float(functional.nll_loss(scores, labels, reduction="sum"))
        if loss == "batch_softmax":
            parts = zip(
                torch.split(outputs, RELEASED_BATCH),
                torch.split(labels, RELEASED_BATCH),
                strict=True,
            )
            of_batches += sum(
                int((functional.log_softmax(part, dim=0).argmax(dim=1) == own).sum())
                for part, own in parts
            )
    return Quality(
        accuracy=correct / len(test),
        loss=total / len(test),
        batch_accuracy=of_batches / len(test) if loss == "batch_softmax" else None,
    )


def attack_success_rate(
    model: ResidentModel,
    test: Samples,
    trigger: Callable[[Tensor], Tensor],
    target: int,
) -> float | None:
    """Compute the share of triggered samples of other classes that are classified as the target.

    A sample is classified by its largest output, whatever the loss of the training.

    Args:
        model: The model.
        test: Test data; samples of the target class do not count.
        trigger: Function that puts the trigger on features [N, ...].
        target: Class of the backdoor.

    Returns:
        A share in [0, 1]; ``None`` where every sample is of the target class.
    """
    others = test.select(torch.nonzero(test.labels != target).flatten())
    if len(others) == 0:
        return None
    triggered = Samples(trigger(others.features), others.labels)
    hits = [
        int((outputs.argmax(dim=1) == target).sum()) for outputs, _ in _outputs(model, triggered)
    ]
    return sum(hits) / len(others)


def _outputs(model: ResidentModel, samples: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the model's outputs, float64 [b, C], and the labels [b], batch by batch."""
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
        yield logits.double(), labels
