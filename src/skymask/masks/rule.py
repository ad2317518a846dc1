"""SkyMask's rule: from the updates of a round to the clients it accepts."""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from skymask.masks import evidence, learning
from skymask.masks.parts import Decision, Server, decide, mean_of_accepted, shortening
from skymask.models.flat_parameters import Layout
from skymask.models.functional import FunctionalModel, Loss
from skymask.models.samples import Samples
from skymask.numerics import column_blocks
from skymask.numerics.clipping import shortened
from skymask.numerics.distances import binary_gram
from skymask.numerics.pca import coordinates_of


@dataclass(frozen=True)
class Settings:
    """Parameters of the rule, as in :func:`skymask.defenses.skymask.skymask`."""

    per: Literal["model", "layer"] = "model"
    mask_filter: bool = False
    clusters: Literal["auto", 2] = "auto"
    length_limit: float | None = 2.0
    threshold: float = 0.5
    mask_lr: float = 1e7
    mask_clamp: float = 1e-7
    mask_steps: int = 20
    mask_precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Judgement:
    """What the rule decides in one round.

    Attributes:
        update: Mean of the shortened updates of the accepted clients [d].
        accepted: The verdicts [n], or with ``per="layer"`` [n, layers], bool.
        weights: The coefficient of each client's update in ``update``, of the same shape, but for
            ``mask_filter``.
        scores: Posterior probabilities of the server's cluster, float64, of the same shape.
        sums: Evidence of all rounds as decayed sums [n + 1, k] or [n + 1, layers, k], float64, the
            server's last.
        rounds: The same sums of ones [n + 1] or [n + 1, layers], float64.
        coordinates: Principal coordinates of the masks [n + 1, 2], NaN for a client without one.
        masks: Binary masks [n + 1, d], if all clients have one.
    """

    update: Tensor
    accepted: Tensor
    weights: Tensor
    scores: Tensor
    sums: Tensor | None = None
    rounds: Tensor | None = None
    coordinates: Tensor | None = None
    masks: Tensor | None = None


def judge(
    updates: Tensor,
    global_parameters: Tensor,
    loss: Loss,
    server_update: Tensor | None = None,
    model: FunctionalModel | None = None,
    root: Samples | None = None,
    earlier: tuple[Tensor, Tensor] | None = None,
    settings: Settings | None = None,
    layout: Layout | None = None,
) -> Judgement:
    """Decide which clients are accepted.

    Args:
        updates: Finite updates [n, d], one row per client.
        global_parameters: Global model w [d].
        loss: Loss on the root data, a differentiable function of parameters [d].
        server_update: The server's own update Δ_0 [d]; a step of steepest descent if ``None``.
        model: The model as a function of flat parameters.
        root: The root data.
        earlier: ``sums`` and ``rounds`` of the round before, for the clients of this round; zeros
            for a client that is new.
        settings: Parameters; the defaults if ``None``.
        layout: Split of the d coordinates into layers, for ``per="layer"``.

    Returns:
        The judgement, without ``sums`` and ``rounds`` if no masks could be learned.
    """
    settings = settings or Settings()
    if server_update is None:
        lengths = column_blocks.squared_lengths(updates).sqrt()
        server_update = _descent(global_parameters, loss, lengths)
    server_update = server_update.to(updates)
    parts = _parts(updates.shape[1], layout if settings.per == "layer" else None)
    factors = [_factors(updates[:, p], server_update[p], settings.length_limit) for p in parts]
    rows = (
        torch.cat([shortened(updates[:, p], f) for p, f in zip(parts, factors, strict=True)], dim=1)
        if len(parts) > 1
        else shortened(updates, factors[0])
    )
    moves = torch.cat([rows, server_update[None]])
    if settings.mask_precision == "bfloat16":
        moves = moves.bfloat16()
    learned = {
        "learning_rate": settings.mask_lr,
        "clamp": settings.mask_clamp,
        "steps": settings.mask_steps,
        "origin": global_parameters,
    }
    usable, theta = _learn(moves, loss, learned)
    del moves
    if theta is None:
        scores = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
        none = [
            mean_of_accepted(rows[:, p], scores, scores > 0.5, f)
            for p, f in zip(parts, factors, strict=True)
        ]
        return _joined(none, settings)
    binary = learning.binarise(theta, settings.threshold)
    coordinates, _ = coordinates_of(binary_gram(binary))
    server = Server(server_update, global_parameters, model, root)
    decisions = [
        decide(
            binary[:, part],
            rows[:, part],
            factors[k],
            usable,
            server,
            _of_part(earlier, k, settings),
            settings.clusters,
            part,
            settings.mask_filter,
        )
        for k, part in enumerate(parts)
    ]
    shown = coordinates.new_full((len(usable), 2), float("nan"))
    shown[usable] = coordinates
    # masks of all clients or none
    return _joined(decisions, settings, shown, binary if bool(usable.all()) else None)


def _parts(dimension: int, layout: Layout | None) -> list[slice]:
    """Return the columns that get a verdict of their own: all together, or those of each layer."""
    if layout is None:
        return [slice(0, dimension)]
    ends = accumulate(layout.sizes, initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def _factors(updates: Tensor, server_update: Tensor, limit: float | None) -> Tensor:
    """Return the factors [n] that shorten updates [n, k] to the limit."""
    return shortening(column_blocks.squared_lengths(updates).sqrt(), server_update, limit)


def _of_part(
    earlier: tuple[Tensor, Tensor] | None, part: int, settings: Settings
) -> tuple[Tensor, Tensor] | None:
    """Return the earlier evidence on one of the parts."""
    if earlier is None or settings.per == "model":
        return earlier
    return earlier[0][:, part], earlier[1][:, part]


def _joined(
    decisions: list[Decision],
    settings: Settings,
    coordinates: Tensor | None = None,
    masks: Tensor | None = None,
) -> Judgement:
    """Join the decisions on all parts; with ``per="model"`` there is one."""

    def stacked(values: list[Any]) -> Any:
        return values[0] if settings.per == "model" else torch.stack(values, dim=1)

    known = all(d.sums is not None for d in decisions)
    return Judgement(
        torch.cat([d.update for d in decisions]),
        stacked([d.accepted for d in decisions]),
        stacked([d.weights for d in decisions]),
        stacked([d.scores for d in decisions]),
        stacked([d.sums for d in decisions]) if known else None,
        stacked([d.rounds for d in decisions]) if known else None,
        coordinates,
        masks,
    )


def _learn(moves: Tensor, loss: Loss, settings: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Learn masks for all models with a finite loss.

    One huge model makes the masked model's loss infinite, and nothing would be learned; then models
    whose own loss is not finite are left out. Returns the flags [m] of the rows of ``moves`` [m,
    d], W_i − w, that are in, and their θ; no θ if the server's model is left out or if the masked
    model's loss is still not finite, since masks that were not learned would be alike for all.
    """
    losses: list[float] = []

    def learned(rows: Tensor) -> Tensor:
        losses.clear()
        return learning.learn_masks(
            rows, loss, **settings, on_step=lambda _, value: losses.append(value)
        )

    usable = torch.ones(len(moves), dtype=torch.bool, device=moves.device)
    theta = learned(moves)
    if not math.isfinite(losses[0]):
        models = (settings["origin"] + move for move in moves)
        own = [learning.value_and_gradient(loss, model)[0] for model in models]
        usable = torch.tensor([math.isfinite(value) for value in own], device=moves.device)
        if not bool(usable[-1]):
            return usable, None
        theta = learned(moves[usable])
    return usable, theta if all(map(math.isfinite, losses)) else None


def _descent(global_parameters: Tensor, loss: Loss, lengths: Tensor) -> Tensor:
    """Return −∇loss(w), scaled to the usual one of the updates' ``lengths`` [n]."""
    _, gradient = learning.value_and_gradient(loss, global_parameters)
    length = gradient.norm()
    if length == 0:
        return torch.zeros_like(gradient)
    usual = evidence.usual_length(lengths, torch.zeros_like(lengths[0]))
    step: Tensor = -gradient / length * usual.to(gradient)
    return step
