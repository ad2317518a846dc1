"""Stage 1: local training of every client from the global model."""

import torch
from torch import Tensor

from skymask.attacks import DATA_ATTACKS
from skymask.contracts import call, own
from skymask.federation.federation import Federation
from skymask.federation.local_training import Trained, train_clients
from skymask.models.samples import Samples
from skymask.seeds import generator


def training_data(federation: Federation) -> list[Samples]:
    """Collect each client's samples, poisoned by a data attack, for all rounds with an attack."""
    attack, seed = federation.experiment.attack, federation.experiment.training_seed
    data = list(federation.clients)
    if attack.name not in DATA_ATTACKS:
        return data
    poison = DATA_ATTACKS[attack.name]
    malicious = torch.nonzero(federation.malicious).flatten().tolist()
    for attacker, client in enumerate(malicious):
        honest = data[client]
        offers = {
            "features": honest.features.clone,
            "labels": honest.labels.clone,
            "classes": lambda: federation.classes,
            "attacker": lambda attacker=attacker: attacker,
            "generator": lambda client=client: generator(seed, "data attack", client),
        }
        data[client] = Samples(*call(poison, offers, own(poison, attack.parameters)))
    return data


def train(
    federation: Federation,
    data: list[Samples],
    global_parameters: Tensor,
    round_: int,
    statistics: Tensor | None = None,
) -> Trained:
    """Train every client from the global model.

    Args:
        federation: Parties of the run.
        data: Training samples of each client; in a round without an attack the honest ones are
            used instead.
        global_parameters: Parameters w [d] of the global model.
        round_: Round, from 1.
        statistics: Running statistics [s] of the global model; ``None`` for the initial ones.

    Returns:
        Updates Δ_i = w_i − w [n, d], and the clients' running statistics [n, s].
    """
    seed = federation.experiment.training_seed
    if not bool(federation.attacking(round_).any()):
        data = federation.clients
    return train_clients(
        federation.model,
        global_parameters,
        data,
        federation.local_training,
        lambda client: generator(seed, "batches", round_, client),
        statistics,
    )
