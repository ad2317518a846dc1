"""Stage 3: aggregation of the updates into the next global model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skymask.contracts import RequirementError
from skymask.defenses import Aggregation
from skymask.federation.defend import defend
from skymask.federation.federation import Federation, State
from skymask.federation.metrics import attacker_weight, benign_distance, switched_off, unlike_server
from skymask.numerics.pca import principal_coordinates


@dataclass(frozen=True)
class Verdict:
    """The server's decisions in one round, with one entry per client.

    Attributes:
        finite: Whether the update has neither NaN nor infinity, bool [n]; other clients are
            rejected, with weight 0 and the remaining values NaN.
        accepted: The defense's verdicts, bool [n]; ``None`` where it gives none.
        weights: Coefficients [n] of the updates in the aggregate; ``None`` where not linear.
        scores: The defense's scores [n]; ``None`` where it has none.
        coordinates: Principal coordinates of the masks [n + 1, 2], the server's last (SkyMask).
        update_coordinates: Principal coordinates of the updates [n, 2] (SkyMask).
        switched_off: Share of each layer that a mask switches off [n + 1, layers] (SkyMask).
        unlike_server: Share in which it differs from the server's mask [n + 1, layers] (SkyMask).
        attacker_weight: Attackers' share of the weight; see :mod:`skymask.federation.metrics`.
        benign_distance: Distance of the aggregate to the benign mean, likewise.
        model_updated: False where the global model stayed as it was.
        note: Why it stayed as it was; ``None`` if it moved.
    """

    finite: Tensor
    accepted: Tensor | None
    weights: Tensor | None
    scores: Tensor | None
    coordinates: Tensor | None
    update_coordinates: Tensor | None
    switched_off: Tensor | None
    unlike_server: Tensor | None
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
    weights, malicious = _spread(outcome.weights, finite, 0.0), federation.malicious
    layout, masks = federation.model.layout, outcome.masks
    places = None if masks is None else principal_coordinates(updates[finite])[0]
    verdict = Verdict(
        finite=finite,
        accepted=_spread(outcome.accepted, finite, False),
        weights=weights,
        scores=_spread(outcome.scores, finite),
        coordinates=_spread(outcome.coordinates, finite),
        update_coordinates=_spread(places, finite),
        switched_off=_spread(None if masks is None else switched_off(masks, layout), finite),
        unlike_server=_spread(None if masks is None else unlike_server(masks, layout), finite),
        attacker_weight=attacker_weight(weights, malicious) if note is None else None,
        benign_distance=benign_distance(step, updates, malicious),
        model_updated=note is None,
        note=note,
    )
    if note is not None:
        return global_parameters.clone(), verdict, outcome.state or state
    return moved, verdict, outcome.state


def averaged_statistics(statistics: Tensor, verdict: Verdict, before: Tensor) -> Tensor:
    """Average the running statistics of the accepted clients.

    Statistics that are not finite do not count; a rule without verdicts accepts every client with a
    finite update.  No rule sees the statistics, and the global learning rate does not apply: a step
    beyond the mean could make a variance negative.

    Args:
        statistics: Running statistics [n, s] of the clients.
        verdict: Decisions of the round.
        before: Running statistics [s] of the global model.

    Returns:
        The next global model's statistics [s]; ``before`` where the model stays as it is or no
        client is left.
    """
    chosen = verdict.finite & statistics.isfinite().all(dim=1)
    if verdict.accepted is not None:
        chosen = chosen & verdict.accepted
    if not verdict.model_updated or not bool(chosen.any()):
        return before.clone()
    return statistics[chosen].double().mean(dim=0).to(before.dtype)


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
