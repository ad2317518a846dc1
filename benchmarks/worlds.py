"""Small federations, honest and hostile, in which SkyMask's decision is judged.

    python benchmarks/worlds.py [--only NAME ...] [--seeds 21 22] [--rounds 20] [--before FILE]

runs each world of ``WORLDS`` with ``clusters: auto``, whose verdicts move the model, and prints a
Markdown table: false positive and false negative rate over all rounds and seeds, the share of
rounds without a wrong verdict, and the mean accuracy of the last five rounds next to the oracle's
(the mean over the benign clients), all in per cent.

With ``--before``, a file that the same command wrote with another version of the package (put its
``src`` first in PYTHONPATH), the table shows both.
"""

import argparse
import multiprocessing
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from federations import experiment, federation
from measure import markdown_header, markdown_row
from torch import Tensor

from skymask.data import partition
from skymask.defenses.skymask import skymask
from skymask.federation.attack import attack
from skymask.federation.defend import server_update
from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Federation
from skymask.federation.train import train, training_data
from skymask.seeds import generator
from skymask.study.experiment import Method


@dataclass(frozen=True)
class Parties:
    """What a crafted update may depend on."""

    updates: Tensor
    malicious: Tensor
    global_parameters: Tensor
    tensors: list[tuple[int, int]]
    draws: torch.Generator

    @property
    def mean(self) -> Tensor:
        """The mean of the benign updates [d]."""
        return self.updates[~self.malicious].mean(dim=0)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of the benign updates [d]."""
        return self.updates[~self.malicious].std(dim=0)

    def noise(self) -> Tensor:
        """Return normal numbers for the malicious clients [f, d]."""
        count = int(self.malicious.sum())
        return torch.randn(count, self.updates.shape[1], generator=self.draws)


Craft = Callable[[Parties], Tensor]


def boosted_output(parties: Parties) -> Tensor:
    """Zero the hidden layers and multiply the output layer by 100."""
    w = parties.global_parameters
    model = torch.zeros_like(w)
    start = parties.tensors[-2][0]
    model[start:] = 100 * w[start:]
    return model - w


def colluding(parties: Parties) -> Tensor:
    """Alternate huge hidden layers without an output layer with the reverse.

    Each model has a finite loss; their mixture has not.
    """
    w, start = parties.global_parameters, parties.tensors[-2][0]
    hidden, output = torch.zeros_like(w), torch.zeros_like(w)
    hidden[:start], output[start:] = 1e20, 1e20
    count = int(parties.malicious.sum())
    rows = [hidden if i % 2 == 0 else output for i in range(count)]
    return torch.stack(rows) - w


def near_copies(parties: Parties) -> Tensor:
    """Send copies of −μ with a little noise, whose masks differ by about the limit for copies."""
    return -parties.mean + 0.02 * parties.deviation * parties.noise()


def noisy_copies(parties: Parties) -> Tensor:
    """Send −μ with the benign clients' own noise."""
    return -parties.mean + parties.deviation * parties.noise()


def shifted(parties: Parties) -> Tensor:
    """Shift honest updates by 1.5 standard deviations against the mean."""
    own = parties.updates[parties.malicious]
    return own - 1.5 * parties.deviation * parties.mean.sign()


def scaled(factor: float) -> Craft:
    """Return the attack that multiplies the honest updates by ``factor``."""
    return lambda parties: factor * parties.updates[parties.malicious]


def zeros(parties: Parties) -> Tensor:
    """Send updates of length zero."""
    return torch.zeros_like(parties.updates[parties.malicious])


@dataclass(frozen=True)
class World:
    """A federation and what its malicious clients do.

    Attributes:
        about: Description for the table.
        clients: Number of clients n.
        malicious: Number of malicious clients f.
        attack: Attack of the registry, with parameters, or a function of this module.
        model: Architecture.
        bias: Label bias; None for IID.
        sizes: Function from a client to its share of the samples it would have; None for all.
        dirichlet: α of a Dirichlet partition instead of ``bias``.
        root_bias: Label bias of the root data.
        root_size: Number of root samples.
    """

    about: str
    clients: int = 20
    malicious: int = 0
    attack: str | Craft = "none"
    parameters: tuple[tuple[str, Any], ...] = ()
    model: str = "mlp"
    bias: float | None = 0.5
    sizes: Callable[[int], float] | None = None
    dirichlet: float | None = None
    root_bias: float | None = None
    root_size: int = 100


def _many(name: str, about: str, counts: tuple[int, ...] = (4, 8, 12, 16), **settings: Any) -> dict:
    return {
        f"{name}_{count}": World(f"{about}, {count} of 20", malicious=count, **settings)
        for count in counts
    }


HUGE_FLIP = (("factor", 1000.0),)

WORLDS: dict[str, World] = {
    "iid": World("honest, IID", bias=None),
    "bias": World("honest, label bias 0.5"),
    "bias_90": World("honest, label bias 0.9", bias=0.9),
    "bias_10_clients": World("honest, label bias 0.5, 10 clients", clients=10),
    "bias_50_clients": World("honest, label bias 0.5, 50 clients", clients=50),
    "three_clients": World("honest, IID, 3 clients", clients=3, bias=None),
    "two_clients": World("honest, IID, 2 clients", clients=2, bias=None),
    "one_client": World("honest, IID, 1 client", clients=1, bias=None),
    "steps": World(
        "honest, 4 of 30 take two local steps, logistic regression",
        clients=30,
        model="logistic_regression",
        bias=None,
        sizes=lambda client: 1.0 if client < 4 else 0.7,
    ),
    "steps_half": World(
        "honest, half of 30 take two local steps, logistic regression",
        clients=30,
        model="logistic_regression",
        bias=None,
        sizes=lambda client: 1.0 if client < 15 else 0.7,
    ),
    "sizes": World(
        "honest, sizes 10 to 100 %", sizes=lambda client: 0.1 + 0.9 * client / 19, bias=0.5
    ),
    "sizes_iid": World(
        "honest, IID, half with a fifth of the samples",
        sizes=lambda client: 0.2 + 0.8 * (client % 2),
        bias=None,
    ),
    "empty": World("honest, 3 of 20 without samples", sizes=lambda client: float(client > 2)),
    "dirichlet": World("honest, Dirichlet 0.1, 100 clients", clients=100, dirichlet=0.1),
    "root_bias": World("honest, root data with bias 0.8", root_bias=0.8),
    "root_small": World("honest, 10 root samples", root_size=10),
    "one_boosted": World("1 boosts its output layer", malicious=1, attack=boosted_output),
    "one_flip": World(
        "1 sends −10 Δ", malicious=1, attack="sign_flip", parameters=(("factor", 10.0),)
    ),
    "one_huge": World("1 sends 1000 Δ", malicious=1, attack=scaled(1000.0)),
    "colluding_2": World("2 collude through the masked loss", malicious=2, attack=colluding),
    "colluding_8": World("8 collude through the masked loss", malicious=8, attack=colluding),
    "zero_8": World("8 send zero", malicious=8, attack=zeros),
    **_many("label_flip", "label flip", attack="label_flip"),
    **_many("min_max", "Min-Max", attack="min_max"),
    **_many("min_sum", "Min-Sum", attack="min_sum", counts=(4, 12)),
    **_many("fang_trim", "Fang-Trim", attack="fang_trim"),
    **_many("fang_krum", "Fang-Krum", attack="fang_krum", counts=(4, 8)),
    **_many("lie", "LIE", attack="lie", counts=(4, 8)),
    **_many("scaling", "scaling", attack="scaling", counts=(4, 12)),
    **_many("gaussian", "Gaussian, σ = 200", attack="gaussian", parameters=(("sigma", 200.0),)),
    **_many(
        "flip_1000", "sign flip, c = 1000", attack="sign_flip", parameters=(("factor", 1000.0),)
    ),
    **_many("sign_flip", "sign flip", attack="sign_flip"),
    **_many("ipm", "IPM", attack="ipm", counts=(4, 12)),
    **_many("near_copies", "near copies of −μ", attack=near_copies),
    **_many("noisy_copies", "noisy copies of −μ", attack=noisy_copies),
    **_many("shifted", "shifted honest updates", attack=shifted, counts=(4, 8)),
}


def federation_of(world: World, loss: str, seed: int) -> Federation:
    """Build the parties of a world."""
    attack_name = world.attack if isinstance(world.attack, str) else "none"
    split = "iid" if world.bias is None else str(world.bias)
    run = experiment("digits", world.clients, None, attack_name, world.malicious, seed, split, loss)
    parts = run.partition
    if world.dirichlet is not None:
        parts = Method("dirichlet", {"alpha": world.dirichlet})
    run = replace(
        run,
        model=world.model,
        partition=parts,
        attack=Method(attack_name, {**run.attack.parameters, **dict(world.parameters)}),
        root_size=world.root_size,
        root_bias=world.root_bias,
    )
    parties = federation(run)
    if world.sizes is None:
        return parties
    owners = parties.assignment.copy()
    for client in range(world.clients):
        own = np.flatnonzero(owners == client)
        owners[own[round(world.sizes(client) * len(own)) :]] = partition.UNUSED
    return replace(parties, assignment=owners)


def bounds(parties: Federation) -> list[tuple[int, int]]:
    """Return first and last index of each tensor in the flat parameters."""
    sizes = [p.numel() for p in parties.model.module.parameters()]
    ends = np.cumsum(sizes).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def rounds(world: World, loss: str, seed: int, count: int, *, oracle: bool) -> dict[str, Any]:
    """Run a world; return the counts of wrong verdicts and the accuracies."""
    parties = federation_of(world, loss, seed)
    own, model = training_data(parties), parties.initial_parameters()
    state: dict[str, Tensor] = {}
    attack_state: dict[str, Tensor] = {}
    malicious = parties.malicious
    wrong, accuracies = [], []
    for round_ in range(1, count + 1):
        honest = train(parties, own, model, round_).updates
        if not bool(honest.isfinite().all()):  # the model is destroyed
            accuracies += [accuracies[-1]] * (count - len(accuracies))
            break
        sent, attack_state = attack(parties, honest, model, attack_state, round_)
        if callable(world.attack) and world.malicious:
            draws = generator(seed, "worlds", round_)
            known = Parties(honest, malicious, model, bounds(parties), draws)
            sent = honest.clone()
            sent[malicious] = world.attack(known)
        if oracle:
            model = model + honest[~malicious].mean(dim=0)
        else:
            outcome = skymask(
                sent,
                model,
                parties.functional_model.loss_on(parties.root),
                server_update(parties, model, round_),
                parties.functional_model,
                parties.root,
                None,
                state,
            )
            state, accepted = outcome.state, outcome.accepted
            wrong.append((int((~accepted & ~malicious).sum()), int((accepted & malicious).sum())))
            moved = model + outcome.update
            model = moved if bool(moved.isfinite().all()) else model
        accuracies.append(evaluate(parties, model).accuracy)
    return {"wrong": wrong, "accuracy": float(np.mean(accuracies[-5:]))}


def measured(task: tuple[str, str, int, int]) -> dict[str, Any]:
    """Run one world with one loss and seed, by SkyMask and by the oracle."""
    name, loss, seed, count = task
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    world = WORLDS[name]
    own = rounds(world, loss, seed, count, oracle=False)
    best = rounds(world, loss, seed, count, oracle=True)
    wrong = np.array(own["wrong"])
    return {
        "world": name,
        "loss": loss,
        "seed": seed,
        "fpr": wrong[:, 0].mean() / (world.clients - world.malicious),
        "fnr": wrong[:, 1].mean() / world.malicious if world.malicious else float("nan"),
        "perfect": (wrong.sum(axis=1) == 0).mean(),
        "accuracy": own["accuracy"],
        "oracle": best["accuracy"],
    }


RATES = {"fpr": "FPR", "fnr": "FNR", "perfect": "perfect rounds", "accuracy": "accuracy"}


def table(results: pd.DataFrame, before: pd.DataFrame | None) -> str:
    """Return the Markdown table of the means over the seeds, in per cent; before → after."""
    keys = ["world", "loss"]
    means = [
        r.groupby(keys, sort=False).mean(numeric_only=True)
        for r in (before, results)
        if r is not None
    ]
    lines = [markdown_header(["world", "loss", *RATES.values(), "oracle"])]
    for key, row in means[-1].iterrows():
        shown = [" → ".join(_percent(m.loc[key][rate]) for m in means) for rate in RATES]
        name, loss = key
        lines.append(markdown_row((WORLDS[name].about, loss, *shown, _percent(row["oracle"]))))
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def main() -> None:
    """Run the worlds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--losses", nargs="+", default=["cross_entropy", "batch_softmax"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[21])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/worlds.parquet"))
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    names = [name for name in WORLDS if any(fnmatch(name, pattern) for pattern in options.only)]
    tasks = [
        (name, loss, seed, options.rounds)
        for name in names
        for loss in options.losses
        for seed in options.seeds
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = pd.DataFrame(list(pool.imap(measured, tasks)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results.to_parquet(options.out)
    before = pd.read_parquet(options.before) if options.before else None
    print(table(results, before))


if __name__ == "__main__":
    main()
