"""Coordinates that a fine-grained attack may change.

Any attack on updates can be confined to a few coordinates. SkyMask is designed for this threat:
an update that is honest except in a few parameters.
"""

from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import requires
from skymask.models.flat_parameters import Layout


@requires(
    lambda layers: (
        layers is None
        or (all(isinstance(name, str) for name in layers) and 0 < len(set(layers)) == len(layers))
    ),
    "layers must be one or more names, each once",
)
@requires(
    lambda layers, pick: layers is None or pick == "random",
    "pick chooses among a share, not among layers",
)
@requires(lambda share: share is None or 0 < share <= 1, "share must lie in (0, 1]")
@requires(
    lambda share, layers: (share is None) != (layers is None), "give either a share or layers"
)
def attacked_coordinates(
    updates: Tensor,
    malicious: Tensor,
    layout: Layout,
    generator: torch.Generator,
    *,
    share: float | None = None,
    pick: Literal["random", "largest"] = "random",
    layers: list | None = None,  # type: ignore[type-arg]
) -> Tensor:
    """Choose the coordinates that an attack may change; the rest of an update stays honest.

    Either a ``share`` of all coordinates or the coordinates of the named ``layers`` are attacked.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        layout: Split of the d coordinates into layers.
        generator: Random numbers for ``pick="random"``, on the CPU.
        share: Share of the d coordinates, in (0, 1]; at least one is attacked.
        pick: ``"random"`` draws the share. ``"largest"`` takes the coordinates with the largest
            absolute benign mean, the first of equal ones.
        layers: Names of layers, each once.

    Returns:
        Flags of the attacked coordinates [d], bool.

    Raises:
        ValueError: If the model has no layer of a given name.

    >>> rows, flags = torch.tensor([[1.0, -3.0, 2.0, 0.0]] * 3), torch.tensor([True, False, False])
    >>> layout = Layout(("weight", "bias"), ((1, 3), (1,)))
    >>> generator = torch.Generator().manual_seed(1)
    >>> attacked_coordinates(rows, flags, layout, generator, share=0.5, pick="largest").tolist()
    [False, True, True, False]
    >>> attacked_coordinates(rows, flags, layout, generator, layers=["bias"]).tolist()
    [False, False, False, True]
    """
    chosen = torch.zeros(layout.dimension, dtype=torch.bool, device=updates.device)
    if layers is not None:
        unknown = [name for name in layers if name not in layout.names]
        if unknown:
            raise ValueError(
                f"coordinates: the model has no layer {unknown[0]!r}; "
                f"its layers are {', '.join(layout.names)}"
            )
        views = layout.columns(chosen)
        for name in layers:
            views[name].fill_(True)
        return chosen
    count = max(1, round((share or 0) * len(chosen)))
    if pick == "largest":
        size = updates[~malicious].double().mean(dim=0).abs()
        order = size.argsort(descending=True, stable=True)
    else:
        order = torch.randperm(len(chosen), generator=generator)
    chosen[order[:count].to(chosen.device)] = True
    return chosen
