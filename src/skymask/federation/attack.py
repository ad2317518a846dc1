"""Stage 2: replacement of the malicious clients' updates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skymask.attacks import ATTACKS
from skymask.attacks.coordinates import attacked_coordinates
from skymask.contracts import call, own
from skymask.federation.federation import Federation, State
from skymask.models.samples import Samples
from skymask.seeds import generator


def attack(
    federation: Federation,
    updates: Tensor,
    global_parameters: Tensor,
    state: State,
    round_: int,
) -> tuple[Tensor, State]:
    """Replace the updates of the clients that attack in this round.

    Args:
        federation: Parties of the run.
        updates: Honest updates [n, d].
        global_parameters: Parameters [d] of the global model.
        state: What the attackers keep from the last round.
        round_: Round, from 1.

    Returns:
        The updates [n, d] that reach the server, those of benign clients unchanged whatever the
        attack returns; and the attackers' state.

    Raises:
        ValueError: The attack returned another shape.
    """
    run, malicious = federation.experiment, federation.attacking(round_)
    if run.attack.name not in ATTACKS or not bool(malicious.any()):
        return updates, state
    offers: dict[str, Callable[[], Any]] = {
        "updates": updates.clone,
        "malicious": malicious.clone,
        "global_parameters": global_parameters.clone,
        "classes": lambda: federation.classes,
        "own_data": lambda: own_data(federation),
        "model": lambda: federation.functional_model,
        "layout": lambda: federation.model.layout,
        "state": lambda: dict(state),
        "generator": lambda: generator(run.training_seed, "attack", round_),
    }
    function = ATTACKS[run.attack.name]
    outcome = call(function, offers, own(function, run.attack.parameters))
    attacked, state = outcome if isinstance(outcome, tuple) else (outcome, state)
    if attacked.shape != updates.shape:
        raise ValueError(
            f"attack {run.attack.name} returned updates of shape {tuple(attacked.shape)}, "
            f"not {tuple(updates.shape)}"
        )
    attacked = attacked.to(updates.dtype)
    replaced = malicious[:, None] & _coordinates(federation, updates)
    return torch.where(replaced, attacked, updates), state


def _coordinates(federation: Federation, updates: Tensor) -> Tensor:
    """Choose the coordinates to attack, bool [d] or [1]; drawn ones are fixed for a run."""
    run = federation.experiment
    wanted = run.attack.parameters.get("coordinates")
    if wanted is None:
        return torch.ones(1, dtype=torch.bool, device=updates.device)
    return attacked_coordinates(
        updates,
        federation.malicious,
        federation.model.layout,
        generator(run.training_seed, "attacked coordinates"),
        **wanted,
    )


def own_data(federation: Federation) -> Samples:
    """Join the honest samples of all malicious clients, in the order of the clients."""
    indices = torch.nonzero(federation.malicious).flatten().tolist()
    return Samples(
        torch.cat([federation.clients[i].features for i in indices]),
        torch.cat([federation.clients[i].labels for i in indices]),
    )
