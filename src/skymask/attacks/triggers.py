"""Backdoor triggers and poisoned data.

The trigger is a square of the brightest value in the bottom right corner of an image, or the last
entries of a feature vector. Features are scaled to [0, 1].
"""

import torch
from torch import Tensor

from skymask.contracts import requires


@requires(lambda patch: patch >= 1, "patch must be at least 1")
@requires(
    lambda patch, shape: patch <= min(shape[1:]) if len(shape) == 3 else patch**2 <= shape[0],
    "the trigger of patch × patch must fit on a sample",
)
def stamped(features: Tensor, *, patch: int = 5) -> Tensor:
    """Put the whole trigger on samples.

    Args:
        features: Samples [N, C, H, W] or [N, K], float in [0, 1].
        patch: Side of the trigger in pixels; in a vector it covers the last patch² entries.

    Returns:
        A copy of the samples with the trigger set to 1.

    >>> stamped(torch.zeros(1, 1, 3, 3), patch=2)[0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    return stamped_part(features, 0, 1, patch=patch)


@requires(lambda patch: patch >= 1, "patch must be at least 1")
@requires(
    lambda patch, shape: patch <= min(shape[1:]) if len(shape) == 3 else patch**2 <= shape[0],
    "the trigger of patch × patch must fit on a sample",
)
@requires(lambda part, parts: 0 <= part < parts, "part must lie between 0 and parts − 1")
def stamped_part(features: Tensor, part: int, parts: int, *, patch: int = 5) -> Tensor:
    """Put one part of the trigger on samples.

    The pixels of the trigger are split, row by row, into ``parts`` runs of nearly equal size.

    Args:
        features: Samples [N, C, H, W] or [N, K], float in [0, 1].
        part: Index of the run, from 0.
        parts: Number of runs.
        patch: Side of the trigger in pixels.

    Returns:
        A copy of the samples with that part of the trigger set to 1.

    >>> stamped_part(torch.zeros(1, 6), 1, 2, patch=2)[0].tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    size = patch * patch
    pixels = torch.zeros(size, dtype=torch.bool, device=features.device)
    pixels[part * size // parts : (part + 1) * size // parts] = True
    triggered = features.clone()
    if features.ndim == 2:
        triggered[:, features.shape[1] - size :].masked_fill_(pixels, 1.0)
    else:
        corner = triggered[..., -patch:, -patch:]
        corner.masked_fill_(pixels.view(patch, patch), 1.0)
    return triggered


def poisoned(
    features: Tensor,
    labels: Tensor,
    triggered: Tensor,
    generator: torch.Generator,
    *,
    target: int,
    share: float,
) -> tuple[Tensor, Tensor]:
    """Replace a random share of samples by their triggered form with the target label.

    Args:
        features: Samples [N, ...], float.
        labels: Their labels [N], int64.
        triggered: The samples with the trigger, as ``features``.
        generator: Random numbers, on the CPU.
        target: Label of the poisoned samples.
        share: Share of the samples, in (0, 1]; ``share`` · N is rounded half up, so that a client
            with one sample poisons it at a share of one half.

    Returns:
        The poisoned features and labels, as copies.
    """
    count = int(share * len(labels) + 0.5)
    chosen = torch.randperm(len(labels), generator=generator)[:count].to(labels.device)
    features, labels = features.clone(), labels.clone()
    features[chosen], labels[chosen] = triggered[chosen], target
    return features, labels
