"""What a global model is worth, and what a defense saw."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skymask.models.flat_parameters import Layout, ResidentModel
from skymask.models.losses import SoftmaxAxis
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import fitting

# test samples in one forward pass, or in several where memory does not suffice; part of the
# result when softmax_axis is "batch"
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Quality:
    """``accuracy`` in [0, 1]; ``loss`` in nats per sample, as trained.

    ``attack_success_rate`` in [0, 1] is ``None`` where there is no backdoor.
    """

    accuracy: float
    loss: float
    attack_success_rate: float | None = None


def evaluate(
    model: ResidentModel, parameters: Tensor, test: Samples, softmax_axis: SoftmaxAxis = "class"
) -> Quality:
    """Accuracy and mean loss of ``parameters`` [d] on the whole test set.

    Batch normalisation normalises by the running statistics that ``model`` holds.
    """
    model.vector.copy_(parameters)
    correct, loss = 0, 0.0
    for scores, labels in _scored(model, test, softmax_axis):
        correct += int((scores.argmax(dim=1) == labels).sum())
        loss += float(functional.nll_loss(scores, labels, reduction="sum"))
    return Quality(correct / len(test), loss / len(test))


def attack_success_rate(
    model: ResidentModel,
    parameters: Tensor,
    test: Samples,
    trigger: Callable[[Tensor], Tensor],
    target: int,
    softmax_axis: SoftmaxAxis = "class",
) -> float | None:
    """Share of triggered test samples, whose true class is not the target, called the target.

    ``trigger`` puts the trigger on features; ``None`` where every sample is of the target class.
    """
    others = test.select(torch.nonzero(test.labels != target).flatten())
    if len(others) == 0:
        return None
    model.vector.copy_(parameters)
    triggered = Samples(trigger(others.features), others.labels)
    hits = [
        int((scores.argmax(dim=1) == target).sum())
        for scores, _ in _scored(model, triggered, softmax_axis)
    ]
    return sum(hits) / len(others)


def _scored(
    model: ResidentModel, samples: Samples, softmax_axis: SoftmaxAxis
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logarithms of the model's outputs, float64 [b, C], and the labels, batch by batch."""
    axis = 1 if softmax_axis == "class" else 0
    module, trained = model.module, model.module.training
    for start in range(0, len(samples), EVALUATION_BATCH):
        labels = samples.labels[start : start + EVALUATION_BATCH]
        features = samples.features[start : start + EVALUATION_BATCH]

        def outputs(part: slice, features: Tensor = features) -> Tensor:
            logits: Tensor = module(laid_out(features[part]))
            return logits

        module.eval()
        try:
            with torch.no_grad():
                pieces = fitting(outputs, slice(0, len(labels)), "samples in evaluation")
        finally:
            module.train(trained)
        logits = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        yield functional.log_softmax(logits.double(), dim=axis), labels


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


def attacker_weight(weights: Tensor | None, malicious: Tensor) -> float | None:
    """The attackers' share of the aggregate's weight: Σ_{i∈M} |w_i| / Σ_i |w_i|, in [0, 1].

    ``weights`` [n] are the coefficients of the updates in the aggregate; ``None`` where they are
    not known, or all zero.

    >>> attacker_weight(torch.tensor([0.5, 0.25, 0.25]), torch.tensor([False, True, False]))
    0.25
    """
    if weights is None:
        return None
    size = weights.double().abs()
    total = float(size.sum())
    return float(size[malicious].sum()) / total if total > 0 else None


def benign_distance(update: Tensor, updates: Tensor, malicious: Tensor) -> float | None:
    """How far the aggregate is from the benign mean, beside that mean: ‖a − μ‖ / ‖μ‖.

    ``update`` a is [d], ``updates`` [n, d] are those the server received.  It is 0 for the oracle,
    and 1 where the model stays as it is; ``None`` where there is no finite benign mean above zero.

    >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]])
    >>> benign_distance(torch.tensor([2.0, 1.0]), rows, torch.tensor([False, False, True]))
    0.5
    """
    benign = updates[~malicious].double()
    if len(benign) == 0 or not bool(benign.isfinite().all()):
        return None
    mean = benign.mean(dim=0)
    length = float(mean.norm())
    return float((update.double() - mean).norm()) / length if length > 0 else None


def unlike_server(masks: Tensor, layout: Layout) -> Tensor:
    """The share of each layer in which a mask differs from the last one, float64 [m, layers].

    ``masks`` is bool [m, d], the server's mask last.

    >>> masks = torch.tensor([[True, False, True], [True, True, True]])
    >>> unlike_server(masks, Layout(("weight", "bias"), ((1, 2), (1,)))).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    return _layer_means(masks != masks[-1], layout)


def switched_off(masks: Tensor, layout: Layout) -> Tensor:
    """The share of each layer that each binary mask switches off, float64 [m, layers].

    ``masks`` is bool [m, d].

    >>> masks = torch.tensor([[True, False, True], [True, True, False]])
    >>> switched_off(masks, Layout(("weight", "bias"), ((1, 2), (1,)))).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    return _layer_means(~masks, layout)


def _layer_means(flags: Tensor, layout: Layout) -> Tensor:
    columns = layout.columns(flags).values()
    return torch.stack([column.double().mean(dim=-1) for column in columns], dim=-1)
