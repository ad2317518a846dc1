"""Label flipping."""

from torch import Tensor

from skymask.contracts import requires


@requires(lambda classes: classes >= 1, "classes must be at least 1")
def label_flip(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    r"""Train on flipped labels.

    With C classes, :math:`y \leftarrow C - 1 - y`.

    Args:
        features: Samples of the attacker [N, ...], returned unchanged.
        labels: Their labels [N], int64.
        classes: Number of classes C.

    Returns:
        The features and the flipped labels [N], int64.

    Source: Fang et al., USENIX Security 2020; Tolpegin et al., ESORICS 2020.
    """
    return features, classes - 1 - labels
