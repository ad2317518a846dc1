"""SkyMask's rule: from the updates of a round to the clients it accepts."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from skymask.masks import decision, evidence, learning
from skymask.models.functional import FunctionalModel, Loss
from skymask.models.samples import Samples
from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping, shortened
from skymask.numerics.distances import binary_gram, cosine_similarities
from skymask.numerics.pca import coordinates_of

# cosine of the aggregate with the server's own update below which they oppose each other
OPPOSED = -0.2


@dataclass(frozen=True)
class Settings:
    """Parameters of the rule, as in :func:`skymask.defenses.skymask.skymask`."""

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
        accepted: The verdicts [n], bool.
        weights: The coefficient of each client's update in ``update`` [n].
        scores: Posterior probabilities of the server's cluster [n], float64.
        sums: Evidence of all rounds as decayed sums [n + 1, k], float64, the server's last.
        rounds: The same sums of ones [n + 1], float64.
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

    Returns:
        The judgement, without ``sums`` and ``rounds`` if no masks could be learned.
    """
    settings = settings or Settings()
    lengths = column_blocks.squared_lengths(updates).sqrt()
    if server_update is None:
        server_update = _descent(global_parameters, loss, lengths)
    server_update = server_update.to(updates)
    factors = shortening(lengths, server_update, settings.length_limit)
    rows = shortened(updates, factors)
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
    scores = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    if theta is None:
        return _judgement(rows, scores, scores > 0.5, factors)
    binary = learning.binarise(theta, settings.threshold)
    coordinates, _ = coordinates_of(binary_gram(binary))
    judged = usable[:-1]
    measured = evidence.measure(rows[judged], server_update, global_parameters, model, root)
    sums, rounds = _summed(measured, usable, earlier)
    # an update of length zero says nothing: it is neither judged nor part of the mean
    moving = judged & (lengths > 0)
    compared = torch.cat([moving, judged.new_ones(1)])
    scores[judged] = 1.0
    posterior = decision.verdict(
        binary[compared[usable]],
        rows[moving],
        sums[compared] / rounds[compared, None],
        always_two=settings.clusters == 2,
    )
    scores[moving] = torch.from_numpy(posterior).to(scores)
    outcome = _judgement(rows, scores, moving, factors)
    # a server whose own update does not lower the root loss is no measure
    if (
        settings.clusters == "auto"
        and measured[-1, 0] > 0
        and _opposed(outcome.update, server_update)
    ):
        scores[judged] = torch.where(measured[:-1, -1] < 0, 0.0, scores[judged])
        outcome = _judgement(rows, scores, moving, factors)
    shown = coordinates.new_full((len(usable), 2), float("nan"))
    shown[usable] = coordinates
    # masks of all clients or none
    masks = binary if bool(usable.all()) else None
    return replace(outcome, sums=sums, rounds=rounds, coordinates=shown, masks=masks)


def shortening(lengths: Tensor, server_update: Tensor, limit: float | None) -> Tensor:
    """Return the factors that shorten updates to ``limit`` times the usual length.

    Args:
        lengths: Lengths of the updates [n], float64.
        server_update: The server's own update Δ_0 [d].
        limit: Largest length in units of the usual one; ``None`` for no limit.

    Returns:
        The factors [n], at most 1.
    """
    if limit is None:
        return torch.ones_like(lengths)
    server_length = server_update.double().norm().to(lengths)
    return clipping(lengths, limit * evidence.usual_length(lengths, server_length))


def _judgement(rows: Tensor, scores: Tensor, moving: Tensor, factors: Tensor) -> Judgement:
    """Average the rows [n, d] of the accepted clients that are ``moving``."""
    accepted = scores > 0.5
    averaged = accepted & moving
    weights = averaged.to(rows.dtype)
    weights = weights / weights.sum().clamp_min(1) * factors.to(rows.dtype)
    none = torch.zeros_like(rows[0])
    update = column_blocks.mean(rows, averaged) if bool(averaged.any()) else none
    return Judgement(update, accepted, weights, scores)


def _opposed(update: Tensor, server_update: Tensor) -> bool:
    """Return whether the aggregate opposes the server's own update."""
    return bool(cosine_similarities(update[None], server_update) < OPPOSED)


def _summed(
    measured: Tensor, usable: Tensor, earlier: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Add the evidence of the usable parties to the decayed sums; return sums and rounds.

    A round that cannot tell the clients apart is not added, and nothing fades in it; it counts only
    for parties without any evidence.
    """
    if earlier is None:
        sums = measured.new_zeros(len(usable), measured.shape[1])
        rounds = measured.new_zeros(len(usable))
    elif evidence.informative(measured):
        sums, rounds = (evidence.DECAY * table for table in earlier)
    else:
        sums, rounds = (table.clone() for table in earlier)
        measured = measured[rounds[usable] == 0]
        usable = usable & (rounds == 0)
    sums[usable] += measured
    rounds[usable] += 1
    return sums, rounds


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
