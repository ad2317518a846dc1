"""Stage 3: aggregation of the updates into the next global model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skymask.contracts import RequirementError
from skymask.defenses import Aggregation
from skymask.federation.defend import defend
from skymask.federation.federation import Federation, State
from skymask.federation.metrics import (
    attacker_weight,
    benign_distance,
    means_of_accepted,
    over_layers,
    switched_off,
    unlike_server,
)
from skymask.models.flat_parameters import ResidentModel
from skymask.numerics.pca import principal_coordinates


@dataclass(frozen=True)
class Verdict:
    """The server's decisions in one round, with one entry per client.

    Attributes:
        finite: Whether the update has neither NaN nor infinity, bool [n]; other clients are
            rejected, with weight 0 and the remaining values NaN.
        accepted: The defense's verdicts, bool [n] or [n, layers]; ``None`` where it gives none.
        accepted_share: Share of the coordinates in which each client is accepted [n], likewise.
        weights: Coefficients [n] of the updates in the aggregate, or their mean over the layers;
            ``None`` where not linear.
        scores: The defense's scores [n]; ``None`` where it has none.
        coordinates: Principal coordinates of the masks [n + 1, 2], the server's last (SkyMask).
        update_coordinates: Principal coordinates of the updates [n, 2] (SkyMask).
        switched_off: Share of each layer that a mask switches off [n + 1, layers] (SkyMask).
        unlike_server: Share in which it differs from the server's mask [n + 1, layers] (SkyMask).
        attacking: Which clients attacked in this round, bool [n].
        attacker_weight: Attackers' share of the weight; see :mod:`skymask.federation.metrics`.
        benign_distance: Distance of the aggregate to the benign mean, likewise.
        model_updated: False where the global model stayed as it was.
        note: Why it stayed as it was; ``None`` if it moved.
    """

    finite: Tensor
    accepted: Tensor | None
    accepted_share: Tensor | None
    weights: Tensor | None
    scores: Tensor | None
    coordinates: Tensor | None
    update_coordinates: Tensor | None
    switched_off: Tensor | None
    unlike_server: Tensor | None
    attacking: Tensor
    attacker_weight: float | None
    benign_distance: float | None
    model_updated: bool
    note: str | None = None


def aggregate(
    federation: Federation,
    updates: Tensor,
    global_parameters: Tensor,
    state: State,
    round_: int,
) -> tuple[Tensor, Verdict, State]:
    """Aggregate the updates of a round: w + η_g · aggregate.

    Args:
        federation: Parties of the run.
        updates: Updates [n, d] that reach the server.
        global_parameters: Parameters w [d] of the global model.
        state: What the defense keeps from the last round.
        round_: Round, from 1.

    Returns:
        The next global model's parameters [d], the verdict, and the defense's state.
    """
    finite = updates.isfinite().all(dim=1)
    note: str | None = "no client sent a finite update"
    outcome = _no_client(updates, finite)
    if bool(finite.any()):
        try:
            outcome = defend(federation, updates, finite, global_parameters, state, round_)
            note = _objection(outcome)
        except RequirementError as error:
            note = str(error)
    step = outcome.update if note is None else torch.zeros_like(global_parameters)
    moved = global_parameters + federation.experiment.global_lr * step
    if note is None and not bool(moved.isfinite().all()):
        note, step = "the next global model was not finite", torch.zeros_like(step)
    attacking, layout, masks = federation.attacking(round_), federation.model.layout, outcome.masks
    accepted = _spread(outcome.accepted, finite, False)
    accepted_share = over_layers(accepted, layout)
    weights = over_layers(_spread(outcome.weights, finite, 0.0), layout)
    shares = weights if weights is not None else over_layers(means_of_accepted(accepted), layout)
    places = None if masks is None else principal_coordinates(updates[finite])[0]
    verdict = Verdict(
        finite=finite,
        accepted=accepted,
        accepted_share=None if accepted_share is None else accepted_share.double(),
        weights=weights,
        scores=_spread(outcome.scores, finite),
        coordinates=_spread(outcome.coordinates, finite),
        update_coordinates=_spread(places, finite),
        switched_off=_spread(None if masks is None else switched_off(masks, layout), finite),
        unlike_server=_spread(None if masks is None else unlike_server(masks, layout), finite),
        attacking=attacking,
        attacker_weight=attacker_weight(shares, attacking) if note is None else None,
        benign_distance=benign_distance(step, updates, attacking),
        model_updated=note is None,
        note=note,
    )
    if note is not None:
        return global_parameters.clone(), verdict, outcome.state or state
    return moved, verdict, outcome.state


def averaged_statistics(
    statistics: Tensor, verdict: Verdict, before: Tensor, model: ResidentModel
) -> Tensor:
    """Average the running statistics of the accepted clients.

    Statistics that are not finite do not count; a rule without verdicts accepts every client with a
    finite update.  Where there is a verdict per layer, a module's statistics are averaged over the
    clients that are accepted in all layers of the module.  No rule sees the statistics, and the
    global learning rate does not apply: a step beyond the mean could make a variance negative.

    Args:
        statistics: Running statistics [n, s] of the clients.
        verdict: Decisions of the round.
        before: Running statistics [s] of the global model.
        model: The model, for the layouts of its parameters and its statistics.

    Returns:
        The next global model's statistics [s]; ``before`` where the model stays as it is or no
        client is left.
    """
    chosen = verdict.finite & statistics.isfinite().all(dim=1)
    if not verdict.model_updated or not bool(chosen.any()):
        return before.clone()
    if verdict.accepted is not None and verdict.accepted.ndim == 2:
        count = chosen[:, None] & _in_module(verdict.accepted, model)
        total = torch.where(count, statistics.double(), 0.0).sum(dim=0)
        mean = (total / count.sum(dim=0).clamp_min(1)).to(before.dtype)
        return torch.where(count.any(dim=0), mean, before)
    if verdict.accepted is not None:
        chosen = chosen & verdict.accepted
    if not bool(chosen.any()):
        return before.clone()
    return statistics[chosen].double().mean(dim=0).to(before.dtype)


def _in_module(accepted: Tensor, model: ResidentModel) -> Tensor:
    """Return for each statistic whether a client is accepted in its module, bool [n, s].

    Args:
        accepted: Verdicts [n, layers].
        model: The model.  The statistics of a module without layers count as part of all layers.
    """
    modules = [name.rpartition(".")[0] for name in model.layout.names]
    columns = []
    layout = model.statistics_layout
    for name, size in zip(layout.names, layout.sizes, strict=True):
        own = [i for i, module in enumerate(modules) if module == name.rpartition(".")[0]]
        flags = accepted[:, own or slice(None)].all(dim=1)
        columns.append(flags[:, None].expand(-1, size))
    return torch.cat([accepted.new_empty(len(accepted), 0), *columns], dim=1)


def _objection(outcome: Aggregation) -> str | None:
    """Why the aggregate cannot be applied."""
    if outcome.accepted is not None and not bool(outcome.accepted.any()):
        return "the defense accepted no client"
    if not bool(outcome.update.isfinite().all()):
        return "the aggregate was not finite"
    return None


def _no_client(updates: Tensor, finite: Tensor) -> Aggregation:
    """Make the outcome that rejects every client."""
    none = torch.zeros(int(finite.sum()), dtype=torch.bool, device=updates.device)
    return Aggregation(torch.zeros_like(updates[0]), accepted=none)


def _spread(
    values: Tensor | None, finite: Tensor, missing: float | bool = float("nan")
) -> Tensor | None:
    """Put the judged clients' values at their rows among all clients; the server's stay last."""
    if values is None:
        return None
    clients, judged = len(finite), int(finite.sum())
    spread = values.new_full((clients + len(values) - judged, *values.shape[1:]), missing)
    spread[:clients][finite] = values[:judged]
    spread[clients:] = values[judged:]
    return spread
