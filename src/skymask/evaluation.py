"""What a global model is worth, and what a defense saw."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skymask.objective import Samples, SoftmaxAxis, laid_out
from skymask.parameters import ResidentModel

# test samples in one forward pass; part of the result when softmax_axis is "batch"
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Quality:
    """``accuracy`` in [0, 1]; ``loss`` in nats per sample, as trained."""

    accuracy: float
    loss: float


def evaluate(
    model: ResidentModel, parameters: Tensor, test: Samples, softmax_axis: SoftmaxAxis = "class"
) -> Quality:
    """Accuracy and mean loss of ``parameters`` [d] on the whole test set."""
    model.vector.copy_(parameters)
    axis = 1 if softmax_axis == "class" else 0
    correct, loss = 0, 0.0
    with torch.no_grad():
        for start in range(0, len(test), EVALUATION_BATCH):
            labels = test.labels[start : start + EVALUATION_BATCH]
            features = test.features[start : start + EVALUATION_BATCH]
            logits = model.module(laid_out(features))
            scores = functional.log_softmax(logits.double(), dim=axis)
            correct += int((scores.argmax(dim=1) == labels).sum())
            loss += float(functional.nll_loss(scores, labels, reduction="sum"))
    return Quality(correct / len(test), loss / len(test))


@dataclass(frozen=True)
class Detection:
    """False positive rate (benign clients rejected) and false negative rate (malicious accepted).

    Both are shares in [0, 1]; ``None`` where the rule gives no verdict per client, or where there
    is no client of the kind.
    """

    fpr: float | None
    fnr: float | None


def detection(accepted: Tensor | None, malicious: Tensor) -> Detection:
    """Compare verdicts ``accepted`` [n] bool with the truth ``malicious`` [n] bool.

    >>> detection(torch.tensor([True, False, True]), torch.tensor([False, False, True]))
    Detection(fpr=0.5, fnr=1.0)
    """
    if accepted is None:
        return Detection(None, None)
    accepted, malicious = accepted.cpu(), malicious.cpu()

    def share(of: Tensor) -> float | None:
        return float(of.double().mean()) if len(of) else None

    return Detection(share(~accepted[~malicious]), share(accepted[malicious]))
