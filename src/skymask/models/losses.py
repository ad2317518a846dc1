r"""Losses by which all parties train and masks are learned.

For a batch of B samples with outputs z [B, C] and labels y [B], the mean over i of

- ``cross_entropy``: :math:`-\log \operatorname{softmax}_c(z_i)_{y_i}`,
- ``batch_softmax``: :math:`-z_{i y_i} + \log \sum_{j=1}^{B} e^{z_{j y_i}}`,
- ``logit_adjusted``: :math:`-\log \operatorname{softmax}_c(z_i + \log \pi)_{y_i}`.

The documentation page "The loss" says where each applies, and why.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from skymask.models.loss_names import LossName


def class_counts(labels: Sequence[Tensor], loss: LossName) -> Tensor:
    """Count the samples of each class that parties have, for a loss that needs these numbers.

    Args:
        labels: Labels [N] of all samples of each party, int64.
        loss: Name of the loss.

    Returns:
        Counts [n, K], int64, up to the largest label; K is 0 for a loss that needs none.
    """
    if loss != "logit_adjusted":
        return labels[0].new_zeros(len(labels), 0)
    classes = max((int(own.max()) + 1 for own in labels if len(own)), default=0)
    return torch.stack([torch.bincount(own, minlength=classes) for own in labels])


def log_prior(counts: Tensor, classes: int) -> Tensor:
    r"""Compute the logarithms of a party's class frequencies.

    .. math::

        \log \pi_c = \log \frac{n_c + 1}{N + C}

    The added ones (Laplace's rule of succession) keep the logarithm of an absent class finite.

    Args:
        counts: Samples n_c of each class [K], K ≤ C, int64; the other classes are absent.
        classes: Number of classes C.

    Returns:
        Logarithms [C], float64.
    """
    counts = functional.pad(counts, (0, classes - len(counts)))
    return torch.log((counts.double() + 1) / (counts.sum() + classes))


def mean_loss(
    logits: Tensor,
    labels: Tensor,
    loss: LossName = "cross_entropy",
    counts: Tensor | None = None,
) -> Tensor:
    """Compute the mean loss of a batch.

    Args:
        logits: Outputs of the model [B, C].
        labels: Labels [B], int64.
        loss: Name of the loss.
        counts: Samples of each class [K] among all samples of the party, which ``logit_adjusted``
            uses; ``None`` if the batch is all of them.

    Returns:
        A scalar in nats.

    ``batch_softmax`` is the loss of the code released with SkyMask.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, with τ = 1, for
    ``logit_adjusted``; Zhang et al., "Federated Learning with Label Distribution Skew
    via Logits Calibration", ICML 2022, for the frequencies of each client's own data.
    """
    if loss == "batch_softmax":
        return functional.nll_loss(functional.log_softmax(logits, dim=0), labels)
    return functional.cross_entropy(_adjusted(logits, labels, loss, counts), labels)


def mean_loss_of_present(
    logits: Tensor, labels: Tensor, present: Tensor, loss: LossName, counts: Tensor
) -> Tensor:
    """Compute the mean loss of those samples of a padded batch that are present.

    Args:
        logits: Outputs of the model [B, C].
        labels: Labels [B], int64.
        present: Which samples count, bool [B].
        loss: Name of the loss.
        counts: Samples of each class [K] among all samples of the party.

    Returns:
        A scalar in nats.
    """
    if loss == "batch_softmax":
        absent = ~present[:, None]
        likelihoods = functional.log_softmax(logits.masked_fill(absent, -torch.inf), dim=0)
        losses = -likelihoods.gather(1, labels[:, None])[:, 0]
    else:
        adjusted = _adjusted(logits, labels, loss, counts)
        losses = functional.cross_entropy(adjusted, labels, reduction="none")
    return torch.where(present, losses, 0.0).sum() / present.sum()


def _adjusted(logits: Tensor, labels: Tensor, loss: LossName, counts: Tensor | None) -> Tensor:
    """Return the outputs [B, C] of which ``loss`` takes the softmax."""
    if loss == "cross_entropy":
        return logits
    counts = torch.bincount(labels) if counts is None else counts
    prior = log_prior(counts, logits.shape[1])
    return logits + prior.to(torch.promote_types(logits.dtype, torch.float32))
