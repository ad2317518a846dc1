"""Stage 1: every client trains from the global model."""

from typing import NamedTuple

import torch
from torch import Tensor

from skymask.attacks import DATA_ATTACKS
from skymask.contracts import call, own
from skymask.federation.federation import Federation
from skymask.federation.local_training import train_with_statistics
from skymask.models.samples import Samples
from skymask.seeds import generator


class Trained(NamedTuple):
    """What the clients end with: ``updates`` [n, d] and running ``statistics`` [n, s]."""

    updates: Tensor
    statistics: Tensor


def training_data(federation: Federation) -> list[Samples]:
    """The clients' samples, poisoned where a data attack says so; the same in every round."""
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
    """Return the updates Δ_i = w_i − w of round ``round_``, and the clients' running statistics.

    ``statistics`` [s] are the global model's; ``None`` for those it begins with.
    """
    run = federation.experiment
    return Trained(
        *train_with_statistics(
            federation.model,
            global_parameters,
            federation.initial_statistics() if statistics is None else statistics,
            data,
            federation.local_training,
            lambda client: generator(run.training_seed, "batches", round_, client),
        )
    )
