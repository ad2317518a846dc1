"""Upper bound of every table: the mean of the benign clients."""

from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation, mean_of


@judges
def oracle(updates: Tensor, malicious: Tensor) -> Aggregation:
    """Average the benign updates, as a server that knows the attackers would.

    Args:
        updates: Finite updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.

    Returns:
        The aggregation; the benign clients are accepted.
    """
    return mean_of(updates, ~malicious)
