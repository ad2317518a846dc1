"""No attack."""

from torch import Tensor

from skymask.contracts import checked


@checked
def none(updates: Tensor, malicious: Tensor) -> Tensor:
    """Return the updates [n, d] unchanged; a run with this attack has no malicious clients."""
    return updates
