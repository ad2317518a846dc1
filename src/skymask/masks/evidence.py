"""Evidence on each client's update next to its mask: length, effect on the root data, direction.

All of it is relative to the server's own update Δ_0, trained on the clean root data.
"""

import itertools

import torch
from torch import Tensor

from skymask.models.functional import FunctionalModel
from skymask.models.losses import mean_loss
from skymask.models.samples import Samples
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_similarities

DECAY = 0.9
"""Factor by which evidence fades per round that counts."""

# share of the clients that a round must show to achieve something, and what they must achieve, as a
# share of what the server's own update does
INFORMED, ACHIEVED = 0.2, 0.5
# share of the clients whose updates are taken to be no longer than usual
USUAL = 0.1
# length below which the fall of the root loss is rounding, as a share of the server's
SHORTEST = 0.1
# change of the root loss that counts at most
LARGEST_CHANGE = 3.0


def usual_length(lengths: Tensor, server_length: Tensor) -> Tensor:
    """Return the length from which a bound on the clients' updates is derived.

    It is the larger of the server's length and of the length that a tenth of the clients do not
    exceed. So huge updates cannot raise it, unless nine tenths of the clients send them, and tiny
    ones cannot push it below the server's.

    Args:
        lengths: Lengths ‖Δ_i‖ [n]; updates of length zero do not count.
        server_length: Length ‖Δ_0‖ of the server's update, a scalar.

    Returns:
        The length, a scalar.

    >>> usual_length(torch.tensor([0.0, 2.0, 3.0, 1e9]), torch.tensor(1.0)).item()
    2.0
    """
    moving = lengths[lengths > 0].sort().values
    if len(moving) == 0:
        return server_length
    return torch.maximum(moving[int(USUAL * (len(moving) - 1))], server_length)


def measure(
    updates: Tensor,
    server_update: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel | None = None,
    root: Samples | None = None,
    columns: slice = slice(None),
) -> Tensor:
    """Measure how far each client's update resembles one that was trained on clean data.

    The second column is the effect of an update: the fall of the root loss from w to w + Δ_i. The
    first is the effect divided by ‖Δ_i‖ / ‖Δ_0‖: what an update achieves for its length, however
    many steps a client took. Updates shorter than a tenth of ‖Δ_0‖ are first lengthened to that.
    The loss is that of outputs less their mean over the root data: the mean depends mostly on the
    classes a client has, and a client must not be blamed for having few samples of some. The last
    column is cos(Δ_i, Δ_0).

    Args:
        updates: Updates [n, k] of the coordinates in ``columns``.
        server_update: The server's own update Δ_0 of these [k].
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters; without ``model`` and ``root`` there is
            only the last column.
        root: The root data.
        columns: The coordinates that are measured, such as those of one layer; the others stay as
            they are in w.

    Returns:
        The evidence [n + 1, 3] or [n + 1, 1], float64, the server's last; more is better.
    """
    cosines = cosine_similarities(updates, server_update)
    own = server_update.double() @ server_update.double() > 0
    directions = torch.cat([cosines, own.to(cosines)[None]])[:, None]
    if model is None or root is None:
        return directions
    lengths = column_blocks.squared_lengths(updates).sqrt()
    length = server_update.double().norm()
    if length == 0:
        length = usual_length(lengths, length)
    measured = lengths.clamp_min(SHORTEST * length)
    # in float64, since the factor of a tiny update overflows in float32
    factors = torch.where(lengths > 0, measured / lengths, 0.0)
    moved = (
        (row.double() * factor).to(row.dtype) for row, factor in zip(updates, factors, strict=True)
    )
    steps = itertools.chain([torch.zeros_like(server_update)], moved, [server_update])
    models = (_moved(global_parameters, step, columns) for step in steps)
    losses = [
        mean_loss(logits - logits.mean(dim=0), root.labels, model.loss)
        for logits in model.logits_of_each(models, root.features)
    ]
    falls = torch.stack([losses[0] - loss for loss in losses[1:]]).double()
    falls = falls.nan_to_num(-LARGEST_CHANGE).clamp(-LARGEST_CHANGE, LARGEST_CHANGE)
    gains = falls.clone()
    gains[:-1] *= torch.where(measured > 0, length / measured, 0.0)
    return torch.cat([gains[:, None], falls[:, None], directions], dim=1)


def _moved(parameters: Tensor, step: Tensor, columns: slice) -> Tensor:
    """Return a copy of the parameters [d] with a step [k] added to some columns."""
    if step.shape == parameters.shape:
        return parameters + step
    moved = parameters.clone()
    moved[columns] += step
    return moved


def informative(measured: Tensor) -> bool:
    """Return whether a round's evidence can tell malicious clients from benign ones.

    The updates of benign clients stop lowering the root loss once the model has converged, and
    those of malicious clients then look no worse. So a round counts only if a fifth of the clients
    achieve at least half of what the server's own update does, and that lowers the root loss. The
    cosines alone always count.

    Args:
        measured: Result of :func:`measure`.

    Returns:
        Whether the round counts.

    >>> informative(torch.tensor([[0.6, 0.6, 0.1], [-0.9, -0.9, -0.1], [1.0, 1.0, 1.0]]))
    True
    >>> informative(torch.tensor([[-0.2, -0.2, 0.1], [-0.1, -0.1, -0.1], [1.0, 1.0, 1.0]]))
    False
    """
    gains, own = measured[:-1, 0], measured[-1, 0]
    if measured.shape[1] == 1 or len(gains) == 0:
        return True
    best = gains.sort(descending=True).values[int(INFORMED * (len(gains) - 1))]
    return bool(own > 0 and best >= ACHIEVED * own)
