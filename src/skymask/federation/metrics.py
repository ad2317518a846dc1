"""Metrics of a defense's decisions in one round."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skymask.models.flat_parameters import Layout


@dataclass(frozen=True)
class Detection:
    """Error rates of a defense's verdicts.

    Attributes:
        fpr: Share of benign clients that are rejected, in [0, 1]; ``None`` without verdicts or
            without benign clients.
        fnr: Share of malicious clients that are accepted, likewise.
    """

    fpr: float | None
    fnr: float | None


def detection(accepted: Tensor | None, malicious: Tensor) -> Detection:
    """Compare verdicts with the truth.

    Args:
        accepted: Verdicts, bool [n], or shares of the coordinates that are accepted, in [0, 1];
            ``None`` for a rule that gives none.
        malicious: Which clients are malicious, bool [n].

    >>> detection(torch.tensor([True, False, True]), torch.tensor([False, False, True]))
    Detection(fpr=0.5, fnr=1.0)
    """
    if accepted is None:
        return Detection(fpr=None, fnr=None)
    accepted, malicious = accepted.double().cpu(), malicious.cpu()

    def share(of: Tensor) -> float | None:
        return float(of.mean()) if len(of) else None

    return Detection(fpr=share(1 - accepted[~malicious]), fnr=share(accepted[malicious]))


def over_layers(values: Tensor | None, layout: Layout) -> Tensor | None:
    """Average what a client has per layer, each layer weighted by its number of coordinates.

    Args:
        values: Values [n] or [n, layers], such as verdicts or weights; ``None`` where unknown.
        layout: Layers of the model.

    Returns:
        The means, float64 [n]; of verdicts, the share of the coordinates in which each client
        counts.  Values [n] are returned as they are.

    >>> verdicts = torch.tensor([[True, False], [True, True]])
    >>> over_layers(verdicts, Layout(("weight", "bias"), ((3,), (1,)))).tolist()
    [0.75, 1.0]
    """
    if values is None or values.ndim == 1:
        return values
    sizes = torch.tensor(layout.sizes, dtype=torch.float64, device=values.device)
    return values.double() @ sizes / sizes.sum()


def means_of_accepted(accepted: Tensor | None) -> Tensor | None:
    """Return the weights of a mean over the accepted clients of each layer.

    Args:
        accepted: Verdicts, bool [n, layers], or anything else for a rule without such verdicts.

    Returns:
        The weights, float64 [n, layers], of sum 1 in a layer with accepted clients; else ``None``.
    """
    if accepted is None or accepted.ndim == 1:
        return None
    return accepted.double() / accepted.sum(dim=0).clamp_min(1)


def attacker_weight(weights: Tensor | None, malicious: Tensor) -> float | None:
    r"""Compute the attackers' share of the aggregate's weight.

    .. math:: \sum_{i \in M} \lvert w_i\rvert \,/\, \sum_i \lvert w_i\rvert

    Args:
        weights: Coefficients [n] of the updates in the aggregate, or their means over the layers
            (:func:`over_layers`); ``None`` where not known.
        malicious: Which clients are malicious, bool [n].

    Returns:
        A share in [0, 1]; ``None`` where the weights are not known, or all zero.

    >>> attacker_weight(torch.tensor([0.5, 0.25, 0.25]), torch.tensor([False, True, False]))
    0.25
    """
    if weights is None:
        return None
    size = weights.double().abs()
    total = float(size.sum())
    return float(size[malicious].sum()) / total if total > 0 else None


def benign_distance(update: Tensor, updates: Tensor, malicious: Tensor) -> float | None:
    """Compute the aggregate's distance to the benign mean, relative to its length: ‖a − μ‖ / ‖μ‖.

    It is 0 for the oracle, and 1 where the model stays as it is.

    Args:
        update: Aggregate a [d].
        updates: Updates [n, d] that the server received.
        malicious: Which clients are malicious, bool [n].

    Returns:
        The distance; ``None`` where there is no finite benign mean of positive length.

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
    """Compute the share of each layer in which a mask differs from the server's.

    Args:
        masks: Binary masks [m, d], bool; the last is the server's.
        layout: Layers of the model.

    Returns:
        Shares, float64 [m, layers].

    >>> masks = torch.tensor([[True, False, True], [True, True, True]])
    >>> unlike_server(masks, Layout(("weight", "bias"), ((1, 2), (1,)))).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    return _layer_means(masks != masks[-1], layout)


def switched_off(masks: Tensor, layout: Layout) -> Tensor:
    """Compute the share of each layer that each mask switches off.

    Args:
        masks: Binary masks [m, d], bool.
        layout: Layers of the model.

    Returns:
        Shares, float64 [m, layers].

    >>> masks = torch.tensor([[True, False, True], [True, True, False]])
    >>> switched_off(masks, Layout(("weight", "bias"), ((1, 2), (1,)))).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    return _layer_means(~masks, layout)


def _layer_means(flags: Tensor, layout: Layout) -> Tensor:
    columns = layout.columns(flags).values()
    return torch.stack([column.double().mean(dim=-1) for column in columns], dim=-1)
