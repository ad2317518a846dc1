"""Label flipping."""

from torch import Tensor


def label_flip(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Train on flipped labels: y ← C − 1 − y.

    ``labels`` is int64 [N].  Sources: Fang et al., USENIX Security 2020; Tolpegin et al.,
    ESORICS 2020.
    """
    return features, classes - 1 - labels
