"""Defenses applied to every layer by itself."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, wraps
from typing import Any

import torch
from torch import Tensor

from skymask.contracts import WHOLE_MODEL, RequirementError, call
from skymask.defenses.aggregation import Aggregation
from skymask.models.flat_parameters import Layout

Offer = Callable[[], Any]
"""A function that computes what a rule may ask for."""

# what has a value for each of the d coordinates
SPLIT = ("updates", "global_parameters", "server_update")


def per_layer(defense: Callable[..., Aggregation], layout: Layout) -> Callable[..., Aggregation]:
    """Make a defense judge every layer by itself: layer-wise Krum, clipping, and so on.

    The defense gets the columns of one layer (one named tensor) of ``updates``,
    ``global_parameters`` and ``server_update``, and its own state for that layer; numbers of
    clients are the same for all layers.  A generator is used for one layer after the other.

    Args:
        defense: A defense of the registry, or a function like one.
        layout: Split of the d coordinates into layers, such as ``Layout.of(module)``.

    Returns:
        The defense, with the same arguments.  ``accepted`` and ``weights`` of its result are
        [n, layers]; there are no ``scores``.  In a layer where no client is accepted the update is
        zero.

    Raises:
        RequirementError: The defense judges whole models: it asks for ``model``, ``loss`` or
            ``root``, or its entry says so.

    Source: layer-wise Krum is used in Zhuang et al., "Backdoor Federated Learning by Poisoning
    Backdoor-Critical Layers", ICLR 2024.

    >>> from skymask.defenses.krum import krum
    >>> updates = torch.tensor([[0.0, 9.0], [0.1, 0.2], [0.2, 0.3], [9.0, 0.4]])
    >>> result = per_layer(krum, Layout(("weight", "bias"), ((1,), (1,))))(updates, 1)
    >>> result.update, result.accepted.tolist()
    (tensor([0.1000, 0.3000]), [[False, False], [True, False], [False, True], [False, False]])
    """
    signature = inspect.signature(defense)
    whole = getattr(defense, "facts", {}).get("whole_model", False)
    if whole or any(name in signature.parameters for name in WHOLE_MODEL):
        raise RequirementError(
            f"{defense.__name__}: it judges whole models and cannot judge a layer"
        )

    @wraps(defense)
    def of_each_layer(*args: Any, **kwargs: Any) -> Aggregation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {key: lambda key=key: bound.arguments[key] for key in bound.arguments}
        layers = offers_by_layer(given, layout)
        return joined([call(defense, offers, {}) for offers in layers], layout)

    return of_each_layer


def offers_by_layer(offers: Mapping[str, Offer], layout: Layout) -> list[dict[str, Offer]]:
    """Limit what is offered to a rule to one layer at a time.

    Args:
        offers: What is offered for all d coordinates.
        layout: Split of the d coordinates into layers.

    Returns:
        The offers for each layer.
    """
    # computed once for all layers
    whole = {key: cache(offers[key]) for key in SPLIT if key in offers}

    def of_layer(index: int) -> dict[str, Offer]:
        name, shape = layout.names[index], layout.shapes[index]

        def columns(key: str) -> Tensor | None:
            value = whole[key]()
            return None if value is None else layout.columns(value)[name]

        def state() -> dict[str, Tensor]:
            known = offers["state"]() or {}
            prefix = f"{name}/"
            return {k.removeprefix(prefix): v for k, v in known.items() if k.startswith(prefix)}

        limited: dict[str, Offer] = {key: partial(columns, key) for key in whole}
        if "state" in offers:
            limited["state"] = state
        return {**offers, **limited, "layout": lambda: Layout((name,), (shape,))}

    return [of_layer(index) for index in range(len(layout.names))]


def joined(outcomes: Sequence[Aggregation], layout: Layout) -> Aggregation:
    """Join the results for the layers into one for all d coordinates.

    Args:
        outcomes: A result for each layer, over the same n clients.
        layout: Split of the d coordinates into layers.

    Returns:
        The aggregation, with ``accepted`` and ``weights`` [n, layers].
    """

    def stacked(values: Sequence[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.stack(known, dim=1) if len(known) == len(values) else None

    return Aggregation(
        torch.cat([outcome.update for outcome in outcomes]),
        stacked([outcome.accepted for outcome in outcomes]),
        stacked([outcome.weights for outcome in outcomes]),
        state={
            f"{name}/{key}": value
            for name, outcome in zip(layout.names, outcomes, strict=True)
            for key, value in outcome.state.items()
        },
    )
