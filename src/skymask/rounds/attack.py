"""Stage 2: the malicious clients replace their updates."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from skymask.attacks import ATTACKS
from skymask.contracts import call
from skymask.experiment import Experiment
from skymask.seeds import generator

State = dict[str, Tensor]


def attack(
    run: Experiment,
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    state: State,
    round_: int,
) -> tuple[Tensor, State]:
    """Return the updates [n, d] that reach the server, and what the attackers remember.

    Rows of honest clients are untouched, whatever the attack returns.
    """
    if run.attack.name not in ATTACKS or not bool(malicious.any()):
        return updates, state
    offers: dict[str, Callable[[], Any]] = {
        "updates": updates.clone,
        "malicious": malicious.clone,
        "global_parameters": global_parameters.clone,
        "state": lambda: dict(state),
        "generator": lambda: generator(run.training_seed, "attack", round_),
    }
    outcome = call(ATTACKS[run.attack.name], offers, run.attack.parameters)
    attacked, state = outcome if isinstance(outcome, tuple) else (outcome, state)
    if attacked.shape != updates.shape:
        raise ValueError(
            f"attack {run.attack.name} returned updates of shape {tuple(attacked.shape)}, "
            f"not {tuple(updates.shape)}"
        )
    attacked = attacked.to(updates.dtype)
    attacked[~malicious] = updates[~malicious]
    return attacked, state
