"""What backdoor attacks share: the trigger, and data poisoned with it.

The trigger is a square of the brightest value in the bottom right corner of an image, or the last
entries of a feature vector; features are scaled to [0, 1].
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
    """``features`` [N, C, H, W] or [N, K] with the whole trigger on them (a copy).

    The trigger sets ``patch`` × ``patch`` pixels, or the last ``patch``² entries, to 1.

    >>> stamped(torch.zeros(1, 1, 3, 3), patch=2)[0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    return stamped_part(features, 0, 1, patch=patch)


@requires(lambda patch: patch >= 1, "patch must be at least 1")
@requires(
    lambda patch, shape: patch <= min(shape[1:]) if len(shape) == 3 else patch**2 <= shape[0],
    "the trigger of patch × patch must fit on a sample",
)
def stamped_part(features: Tensor, part: int, parts: int, *, patch: int = 5) -> Tensor:
    """``features`` with one part of the trigger on them (a copy).

    Its pixels are cut, row by row, into ``parts`` runs as equal as can be; run ``part``, from 0,
    is set to 1.

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
    """Replace ``share`` of the samples, drawn at random, by their ``triggered`` form.

    Their labels become ``target``.  The number replaced is ``share``·N, rounded half up, so that
    a party with one sample poisons it at a share of one half.
    """
    count = int(share * len(labels) + 0.5)
    chosen = torch.randperm(len(labels), generator=generator)[:count].to(labels.device)
    features, labels = features.clone(), labels.clone()
    features[chosen], labels[chosen] = triggered[chosen], target
    return features, labels
