"""SkyMask's decision on a part of the coordinates: all of them, or those of one layer."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from skymask.masks import decision, evidence
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping
from skymask.numerics.distances import cosine_similarities

# cosine of the aggregate with the server's own update below which they oppose each other
OPPOSED = -0.2


@dataclass(frozen=True)
class Server:
    """What the server has to judge clients by.

    Attributes:
        update: Its own update Δ_0 [d].
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters; without it there are cosines only.
        root: The root data.
    """

    update: Tensor
    global_parameters: Tensor
    model: FunctionalModel | None = None
    root: Samples | None = None


@dataclass(frozen=True)
class Decision:
    """What is decided on a part of the coordinates.

    Attributes:
        update: Mean of the shortened updates of the accepted clients [k].
        accepted: The verdicts [n], bool.
        weights: The coefficient of each client's update in ``update`` [n].
        scores: Posterior probabilities of the server's cluster [n], float64.
        sums: Evidence of all rounds as decayed sums [n + 1, e], float64, the server's last.
        rounds: The same sums of ones [n + 1], float64.
    """

    update: Tensor
    accepted: Tensor
    weights: Tensor
    scores: Tensor
    sums: Tensor | None = None
    rounds: Tensor | None = None


def decide(
    binary: Tensor,
    rows: Tensor,
    factors: Tensor,
    usable: Tensor,
    server: Server,
    earlier: tuple[Tensor, Tensor] | None,
    clusters: Literal["auto", 2],
    columns: slice,
    mask_filter: bool = False,
) -> Decision:
    """Decide which clients are accepted in a part of the coordinates.

    Args:
        binary: Binary masks of the usable parties [m, k], bool, the server's last.
        rows: Shortened updates [n, k].
        factors: Factors [n] by which they were shortened.
        usable: Which of the n clients and the server have a mask [n + 1], bool.
        server: What the server has.
        earlier: Decayed sums of the evidence and of ones of the round before.
        clusters: Rule of the decision.
        columns: The coordinates that ``binary`` and ``rows`` are of.
        mask_filter: Whether an update counts only in the coordinates that its mask keeps.

    Returns:
        The decision.
    """
    judged, own = usable[:-1], server.update[columns]
    measured = evidence.measure(
        rows[judged], own, server.global_parameters, server.model, server.root, columns
    )
    sums, rounds = _summed(measured, usable, earlier)
    # an update of length zero says nothing: it is neither judged nor part of the mean
    moving = judged & (column_blocks.squared_lengths(rows) > 0)
    compared = torch.cat([moving, judged.new_ones(1)])
    scores = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    scores[judged] = 1.0
    posterior = decision.verdict(
        binary[compared[usable]],
        rows[moving],
        sums[compared] / rounds[compared, None],
        always_two=clusters == 2,
    )
    scores[moving] = torch.from_numpy(posterior).to(scores)
    result = mean_of_accepted(rows, scores, moving, factors, (sums, rounds))
    # a server whose own update does not lower the root loss is no measure
    if clusters == "auto" and measured[-1, 0] > 0 and _opposed(result.update, own):
        scores[judged] = torch.where(measured[:-1, -1] < 0, 0.0, scores[judged])
        result = mean_of_accepted(rows, scores, moving, factors, (sums, rounds))
    if mask_filter:
        counted = result.accepted & moving
        result = replace(result, update=filtered_mean(rows[counted], binary[:-1][counted[judged]]))
    return result


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


def mean_of_accepted(
    rows: Tensor,
    scores: Tensor,
    moving: Tensor,
    factors: Tensor,
    known: tuple[Tensor, Tensor] | None = None,
) -> Decision:
    """Average the rows [n, k] of the accepted clients that are ``moving``.

    Args:
        rows: Shortened updates [n, k].
        scores: Scores [n]; a client is accepted above one half.
        moving: Clients whose updates are averaged if they are accepted [n], bool.
        factors: Factors [n] by which the rows were shortened.
        known: ``sums`` and ``rounds`` of the result.

    Returns:
        The decision; its update is zero if no client is accepted.
    """
    accepted = scores > 0.5
    averaged = accepted & moving
    weights = averaged.to(rows.dtype)
    weights = weights / weights.sum().clamp_min(1) * factors.to(rows.dtype)
    none = torch.zeros_like(rows[0])
    update = column_blocks.mean(rows, averaged) if bool(averaged.any()) else none
    return Decision(update, accepted, weights, scores, *(known or ()))


def filtered_mean(rows: Tensor, masks: Tensor) -> Tensor:
    """Average in each coordinate the rows whose mask keeps it.

    Args:
        rows: Rows [m, k].
        masks: Binary masks [m, k], bool.

    Returns:
        The means [k], 0 where no mask keeps the coordinate.

    >>> masks = torch.tensor([[True, True, False], [False, True, False]])
    >>> filtered_mean(torch.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 8.0]]), masks).tolist()
    [1.0, 4.0, 0.0]
    """

    def of_block(block: slice) -> Tensor:
        kept = masks[:, block]
        total = torch.where(kept, rows[:, block], 0.0).sum(dim=0, dtype=torch.float64)
        return (total / kept.sum(dim=0).clamp_min(1)).to(rows.dtype)

    return column_blocks.fill(rows.new_empty(rows.shape[1]), of_block)


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
