"""Sparse attack whose layers are as long as those of the benign updates."""

from statistics import NormalDist

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced, unit
from skymask.contracts import requires
from skymask.models.flat_parameters import Layout
from skymask.numerics.order_statistics import midpoint_median
from skymask.numerics.selection import rounded_down, smallest


@requires(lambda n, f: f == 0 or n - f >= 1, "layer_norm_sparse needs a benign client")
@requires(lambda k1, k2: 0 <= k1 <= k2 <= 1, "k1 and k2 must lie in [0, 1], k1 not above k2")
@requires(lambda sparse_z: sparse_z > 0, "sparse_z must be positive")
@requires(lambda z: z is None or z >= 0, "z must not be negative")
@requires(lambda bottom: 0 <= bottom <= 1, "bottom must lie in [0, 1]")
def layer_norm_sparse(
    updates: Tensor,
    malicious: Tensor,
    layout: Layout,
    *,
    k1: float = 0.01,
    k2: float = 0.7,
    sparse_z: float = 1.5,
    z: float | None = None,
    bottom: float = 0.3,
) -> Tensor:
    r"""Oppose the benign mean where the benign updates are large, within their layers' norms.

    It is made for rules that compare the norms of layers, such as LASA, whose sparsification
    removes small coordinates. With c_j the number of benign updates in which coordinate j is among
    the ⌊``bottom`` · d⌋ of smallest absolute value, A_1 ⊂ A_2 are the ⌊k_1 d⌋ and the ⌊k_2 d⌋
    coordinates with the smallest c_j (of equal ones the first), and

    .. math::

        v_j = -\operatorname{sign}(\mu_j) \begin{cases} s & j \in A_1 \\
        z & j \in A_2 \setminus A_1 \\ 0 & \text{otherwise} \end{cases}

    Each tensor of v is brought to the median norm of that tensor in the benign updates, the
    midpoint of the middle two for an even number (one that is zero stays). All attackers send v.
    Only the ratio of s and z matters: the authors' code multiplies both by the standard deviation
    of all entries.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        layout: Split of the d coordinates into layers.
        k1: Share k_1 of the coordinates with the large value s.
        k2: Share k_2 of the coordinates that are attacked at all.
        sparse_z: Value s.
        z: Value z; Φ⁻¹(1 − f/(2n)) if ``None``, with Φ the distribution function of the standard
            normal.
        bottom: Share of the coordinates of an update that count as small.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: Without a benign client, or with a parameter out of range.

    Source: Özfatura et al., "Aggressive, Imperceptible, or Both: Architecture-Aware Hybrid
    Byzantines in Federated Learning", arXiv 2404.06230, in whose code it is ``lasa_attack``.
    """
    if not bool(malicious.any()):
        return updates
    if z is None:
        z = NormalDist().inv_cdf(1 - int(malicious.sum()) / (2 * len(updates)))
    known = known_updates(updates, malicious, "full")
    d = known.shape[1]
    times_small = torch.zeros(d, dtype=torch.int64, device=known.device)
    for row in known:
        times_small += smallest(row.abs(), rounded_down(bottom, d))
    size = torch.zeros_like(known[0])
    size[smallest(times_small, rounded_down(k2, d))] = z
    size[smallest(times_small, rounded_down(k1, d))] = sparse_z
    vector = -known.mean(dim=0).sign() * size
    lengths = {name: rows.norm(dim=1) for name, rows in layout.columns(known).items()}
    parts = layout.columns(vector).items()
    crafted = [unit(part) * midpoint_median(lengths[name]) for name, part in parts]
    return replaced(updates, malicious, torch.cat(crafted))
