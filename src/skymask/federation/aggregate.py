"""Stage 3: the server judges the updates and moves the global model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skymask.contracts import RequirementError
from skymask.defenses import Aggregation
from skymask.federation.defend import State, defend
from skymask.federation.federation import Federation
from skymask.federation.metrics import attacker_weight, benign_distance, switched_off, unlike_server
from skymask.numerics.pca import principal_coordinates


@dataclass(frozen=True)
class Verdict:
    """What the server decided in one round, one entry per client.

    ``finite`` [n] bool: the update held no NaN or infinity.  ``accepted`` [n] bool, ``weights``
    [n], ``scores`` [n] and ``coordinates`` [n + 1, 2] are the defense's, ``None`` where it gives
    none; a client that is not finite is rejected, with weight 0 and the others NaN.
    ``switched_off`` and ``unlike_server`` [n + 1, layers]: the share of each layer that SkyMask's
    masks switch off, and in which they differ from the server's, which is last, and
    ``update_coordinates`` [n, 2] the principal coordinates of the updates; ``None`` for other
    rules.  ``attacker_weight`` and ``benign_distance`` say what got
    through (see :mod:`skymask.federation.metrics`).  ``model_updated``: false where the
    model stayed as it was, because nobody was accepted or the rule was not defined for those left
    (``note`` says why).
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
    """Return the next global model w + η_g · aggregate [d], the verdict, the defense's state."""
    finite = updates.isfinite().all(dim=1)
    note: str | None = "no client sent a finite update"
    if bool(finite.any()):
        try:
            outcome = defend(federation, updates, finite, global_parameters, state, round_)
            note = _objection(outcome)
        except RequirementError as error:
            outcome, note = _nobody(updates, finite), str(error)
    else:
        outcome = _nobody(updates, finite)
    step = outcome.update if note is None else torch.zeros_like(global_parameters)
    moved = global_parameters + federation.experiment.global_lr * step
    if note is None and not bool(moved.isfinite().all()):
        note, step = "the next global model was not finite", torch.zeros_like(step)
    weights, malicious = _spread(outcome.weights, finite, 0.0), federation.malicious
    layout = federation.model.layout
    off = unlike = places = None
    if outcome.masks is not None:
        off, unlike = switched_off(outcome.masks, layout), unlike_server(outcome.masks, layout)
        places, _ = principal_coordinates(updates[finite])
    verdict = Verdict(
        finite,
        _spread(outcome.accepted, finite, False),
        weights,
        _spread(outcome.scores, finite, float("nan")),
        _spread_with_server(outcome.coordinates, finite),
        _spread_rows(places, finite),
        _spread_with_server(off, finite),
        _spread_with_server(unlike, finite),
        attacker_weight(weights, malicious) if note is None else None,
        benign_distance(step, updates, malicious),
        note is None,
        note,
    )
    if note is not None:
        return global_parameters.clone(), verdict, outcome.state or state
    return moved, verdict, outcome.state


def averaged_statistics(statistics: Tensor, verdict: Verdict, before: Tensor) -> Tensor:
    """The global model's next running statistics [s]: the mean over the accepted clients.

    ``statistics`` [n, s] are the clients', of whom those without a finite update or with
    statistics that are not finite do not count; a rule without verdicts accepts everybody else.
    They stay as they were, ``before`` [s], where the model does or nobody is left.  No rule sees
    them, and the global learning rate does not apply: a step beyond the mean could make a variance
    negative.
    """
    chosen = verdict.finite & statistics.isfinite().all(dim=1)
    if verdict.accepted is not None:
        chosen = chosen & verdict.accepted
    if not verdict.model_updated or not bool(chosen.any()):
        return before.clone()
    return statistics[chosen].double().mean(dim=0).to(before.dtype)


def _objection(outcome: Aggregation) -> str | None:
    if outcome.accepted is not None and not bool(outcome.accepted.any()):
        return "the defense accepted nobody"
    if not bool(outcome.update.isfinite().all()):
        return "the aggregate was not finite"
    return None


def _nobody(updates: Tensor, finite: Tensor) -> Aggregation:
    none = torch.zeros(int(finite.sum()), dtype=torch.bool, device=updates.device)
    return Aggregation(torch.zeros_like(updates[0]), none)


def _spread(values: Tensor | None, finite: Tensor, missing: float | bool) -> Tensor | None:
    """Put the judged clients' values back among all clients."""
    if values is None:
        return None
    spread = torch.full(finite.shape, missing, dtype=values.dtype, device=values.device)
    spread[finite] = values
    return spread


def _spread_rows(values: Tensor | None, finite: Tensor) -> Tensor | None:
    """The same for values [n, k]."""
    if values is None:
        return None
    spread = values.new_full((len(finite), values.shape[1]), float("nan"))
    spread[finite] = values
    return spread


def _spread_with_server(values: Tensor | None, finite: Tensor) -> Tensor | None:
    """The same for values [n + 1, k] whose last row is the server's."""
    if values is None:
        return None
    spread = values.new_full((len(finite) + 1, values.shape[1]), float("nan"))
    spread[:-1][finite] = values[:-1]
    spread[-1] = values[-1]
    return spread
