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
from skymask.models.loss_names import TEST_BATCH, LossName
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import with_halving

# test samples in one forward pass, or in several where memory does not suffice; a multiple of
# TEST_BATCH
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Quality:
    """Quality of a model on test data.

    Attributes:
        accuracy: Share of samples that are classified correctly, in [0, 1]: by the largest output,
            for models trained with ``batch_softmax`` as the code released with SkyMask does it, by
            the largest log-softmax over batches of ``TEST_BATCH`` test samples.
        argmax_accuracy: Share of samples whose largest output is that of their class, in [0, 1],
            whatever the loss of the training.
        loss: Mean cross-entropy of a sample in nats, whatever the loss of the training.
        attack_success_rate: Success of the backdoor, in [0, 1], samples being classified as for
            ``accuracy``; ``None`` without a backdoor.
    """

    accuracy: float
    argmax_accuracy: float
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
        Both accuracies, loss, and the success of the run's backdoor, if its attack has one.
    """
    run, test = federation.experiment, federation.test
    model = federation.model.copy(global_parameters, statistics)
    quality = accuracy_and_loss(model, test, run.loss)
    if run.attack.name not in TRIGGERS:
        return quality
    function, parameters = TRIGGERS[run.attack.name], run.attack.parameters

    def trigger(features: Tensor) -> Tensor:
        return function(features, **own(function, parameters))

    rate = attack_success_rate(model, test, trigger, parameters["target"], run.loss)
    return replace(quality, attack_success_rate=rate)


def accuracy_and_loss(
    model: ResidentModel, test: Samples, loss: LossName = "cross_entropy"
) -> Quality:
    """Compute a model's accuracies and mean loss on test data.

    Batch normalisation uses the model's running statistics.

    Args:
        model: The model.
        test: Test data.
        loss: Loss that the model was trained with, by which ``accuracy`` is measured.
    """
    correct, plainly_correct, total = 0, 0, 0.0
    for outputs, labels in _outputs(model, test):
        correct += int((_classes(outputs, loss) == labels).sum())
        plainly_correct += int((outputs.argmax(dim=1) == labels).sum())
        total += float(functional.cross_entropy(outputs, labels, reduction="sum"))
    return Quality(correct / len(test), plainly_correct / len(test), total / len(test))


def attack_success_rate(
    model: ResidentModel,
    test: Samples,
    trigger: Callable[[Tensor], Tensor],
    target: int,
    loss: LossName = "cross_entropy",
) -> float | None:
    """Compute the share of triggered samples of other classes that are classified as the target.

    Samples are classified as for ``Quality.accuracy``.  With ``batch_softmax`` each sample is the
    only triggered one in its batch: a trigger on all samples would raise the target's output for
    all of them, which the softmax over the batch removes, and no backdoor would seem to succeed.

    Args:
        model: The model.
        test: Test data; samples of the target class do not count.
        trigger: Function that puts the trigger on features [N, ...].
        target: Class of the backdoor.
        loss: Loss that the model was trained with.

    Returns:
        A share in [0, 1]; ``None`` where every sample is of the target class.
    """
    places = torch.nonzero(test.labels != target).flatten()
    if len(places) == 0:
        return None
    others = test.select(places)
    triggered = _all_outputs(model, Samples(trigger(others.features), others.labels))
    if loss == "batch_softmax":
        classes = _classes_alone(triggered, places, _all_outputs(model, test))
    else:
        classes = triggered.argmax(dim=1)
    return int((classes == target).sum()) / len(others)


def _classes(outputs: Tensor, loss: LossName) -> Tensor:
    """Classify samples [N] by their outputs [N, C]; batches start at the first one."""
    if loss != "batch_softmax":
        return outputs.argmax(dim=1)
    batches = torch.split(outputs, TEST_BATCH)
    return torch.cat([functional.log_softmax(batch, dim=0).argmax(dim=1) for batch in batches])


def _classes_alone(triggered: Tensor, places: Tensor, clean: Tensor) -> Tensor:
    """Classify samples [n] that each replace one of the test samples, all others being clean.

    Args:
        triggered: Outputs [n, C] of the samples.
        places: Indices [n] of the test samples that they replace.
        clean: Outputs [N, C] of all test samples.
    """
    replaced = clean.index_copy(0, places, triggered)
    classes = []
    for batch, changed in zip(
        torch.split(clean, TEST_BATCH), torch.split(replaced, TEST_BATCH), strict=True
    ):
        # the batch once for each of its samples, with that sample replaced: [B, B, C]
        batches = batch.repeat(len(batch), 1, 1)
        batches.diagonal(dim1=0, dim2=1).copy_(changed.T)
        classes.append((changed - batches.logsumexp(dim=1)).argmax(dim=1))
    return torch.cat(classes)[places]


def _all_outputs(model: ResidentModel, samples: Samples) -> Tensor:
    """Return the model's outputs for all samples, float64 [N, C]."""
    return torch.cat([outputs for outputs, _ in _outputs(model, samples)])


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
