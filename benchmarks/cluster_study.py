"""Rounds with all inputs of `clusters: auto`, for benchmarks/cluster_decisions.py.

    python benchmarks/cluster_study.py OUT --dataset digits --clients 20 --shares 0.2 0.4 \
        --attacks none min_max label_flip --seeds 1 2 --rounds 30 --jobs 1

runs one federation per combination in memory and writes OUT/<name>.npz.  Existing files are kept,
and cells whose attack is undefined are left out.  The global model moves by the mean of the benign
updates, so the stored arrays do not depend on any decision.  Per round:

===================== =====================================================================
``masks``             Gram matrices of the binary masks at the thresholds ``TAUS`` [T, n + 1, n + 1]
``soft``              Gram matrix of σ(θ) [n + 1, n + 1]
``updates``           Gram matrix of the updates [n + 1, n + 1], the server's last
``logits``            of each party's model, and of the global one, on the root data
                      [n + 2, r, C] float16, with their labels
``slopes``            the root loss's slope along each update [n + 1]
``accuracy``          of the global model on the test data after the round
===================== =====================================================================
"""

import argparse
import itertools
import multiprocessing
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skymask.attacks import ATTACKS, DATA_ATTACKS
from skymask.contracts import RequirementError
from skymask.data import partition
from skymask.data.datasets import DATASETS
from skymask.federation.attack import attack
from skymask.federation.defend import server_update
from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Federation
from skymask.federation.train import train, training_data
from skymask.masks import learning
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment, Method
from skymask.study.registry import entries

TAUS = (0.4, 0.5, 0.6)
FOLDERS = [Path("/usr/share/datasets/fashion-mnist"), Path("data")]
SETTINGS = {
    "digits": {"model": "small_cnn", "global_lr": 1.0, "gradient_clip": None},
    "fashion_mnist": {"model": "cnn", "global_lr": 0.5, "gradient_clip": 0.01},
}


@cache
def data(dataset: str) -> tuple[Samples, Samples]:
    """Return training and test data as the workflow prepares them."""
    arrays = DATASETS[dataset](FOLDERS)
    pairs = [
        (arrays.train_features, arrays.train_labels),
        (arrays.test_features, arrays.test_labels),
    ]
    train_data, test_data = (
        Samples(torch.from_numpy(x).float() / arrays.scale, torch.from_numpy(y)) for x, y in pairs
    )
    return train_data, test_data


def experiment(
    dataset: str,
    clients: int,
    samples: int | None,
    attack_name: str,
    malicious: int,
    seed: int,
    split: str,
) -> Experiment:
    """Return the studies' settings of ``dataset``; ``split`` is ``iid`` or a label bias."""
    defaults = {p.name: p.default for p in entries("attack")[attack_name].parameters.values()}
    parts = Method("iid") if split == "iid" else Method("label_bias", {"bias": float(split)})
    return Experiment(
        dataset=dataset,
        partition=parts,
        clients=clients,
        samples_per_client=samples,
        root_size=100,
        root_bias=None,
        attack=Method(attack_name, defaults),
        malicious=malicious,
        defense=Method("skymask"),
        assumed_malicious=None,
        local_epochs=1,
        batch_size=32,
        local_lr=0.5,
        loss="cross_entropy",
        training_precision="float32",
        evaluate_every=1,
        data_seed=seed,
        training_seed=seed,
        device="cpu",
        threads=1,
        **SETTINGS[dataset],
    )


def federation(run: Experiment, samples: tuple[Samples, Samples] | None = None) -> Federation:
    """Build the parties of ``run``, from its data set or the given training and test data."""
    train_data, test_data = samples or data(run.dataset)
    assignment = partition.assign(
        train_data.labels.numpy(),
        classes=10,
        partition=run.partition.name,
        parameters=run.partition.parameters,
        clients=run.clients,
        samples_per_client=run.samples_per_client,
        root_size=run.root_size,
        root_bias=run.root_bias,
        data_seed=run.data_seed,
    )
    return Federation(run, train_data, test_data, assignment, 10)


def gram(rows: Tensor) -> np.ndarray:
    """Return the inner products of the rows, float64."""
    rows = rows.double()
    return (rows @ rows.T).numpy()


def observe(parties: Federation, sent: Tensor, model: Tensor, round_: int) -> dict[str, np.ndarray]:
    """Compute all that is stored of one round except the accuracy."""
    every = torch.cat([sent, server_update(parties, model, round_)[None]])
    rows = every + model
    loss = parties.functional_model.loss_on(parties.root)
    theta = learning.learn_masks(rows, loss)
    gates = torch.sigmoid(theta)
    with torch.no_grad():
        outputs = [parties.functional_model.logits(row, parties.root.features) for row in rows]
        outputs.append(parties.functional_model.logits(model, parties.root.features))
    _, slope = learning.value_and_gradient(loss, model)
    return {
        "masks": np.stack([gram((gates > tau).float()) for tau in TAUS]).astype(np.int32),
        "soft": gram(gates),
        "updates": gram(every),
        "logits": torch.stack(outputs).numpy().clip(-6e4, 6e4).astype(np.float16),
        "slopes": (every @ slope).numpy(),
    }


def collect(file: Path, run: Experiment, rounds: int) -> str:
    """Run ``run`` and write its rounds."""
    torch.set_num_threads(1)
    parties = federation(run)
    own, model, state, found = training_data(parties), parties.initial_parameters(), {}, []
    for round_ in range(1, rounds + 1):
        honest = train(parties, own, model, round_).updates
        try:
            sent, state = attack(parties, honest, model, state, round_)
        except RequirementError as error:
            return f"{file.stem}: {error}"
        seen = observe(parties, sent, model, round_)
        model = model + run.global_lr * honest[~parties.malicious].mean(dim=0)
        quality = evaluate(parties, model)
        found.append({**seen, "accuracy": np.float64(quality.accuracy)})
    arrays = {key: np.stack([row[key] for row in found]) for key in found[0]}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez_compressed(
            out, malicious=parties.malicious.numpy(), labels=parties.root.labels.numpy(), **arrays
        )
    part.replace(file)
    return f"{file.stem}: {rounds} rounds, accuracy {found[-1]['accuracy']:.3f}"


def name(run: Experiment, split: str) -> str:
    """Name a run by everything that the table's rows need."""
    return "_".join(
        [
            run.dataset.replace("_", "-"),
            split,
            str(run.clients),
            run.attack.name.replace("_", "-"),
            str(run.malicious),
            str(run.data_seed),
        ]
    )


def grid_parser(description: str, seed: int, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of the arguments that describe a grid of runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", default="digits", choices=list(SETTINGS))
    parser.add_argument("--clients", type=int, nargs="+", default=[20])
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2])
    parser.add_argument("--attacks", nargs="+", default=["none"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[seed])
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def _collect(task: tuple[Path, Experiment, int]) -> str:
    return collect(*task)


def main() -> None:
    """Collect the requested runs."""
    parser = grid_parser(__doc__.splitlines()[0], seed=1, rounds=30)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="0.5")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    tasks = {}
    for seed, clients, attack_name, share in itertools.product(
        options.seeds, options.clients, options.attacks, options.shares
    ):
        if attack_name not in ATTACKS | DATA_ATTACKS:
            print(f"{attack_name}: not in the registry")
            continue
        # without an attack no client is malicious
        malicious = 0 if attack_name == "none" else max(1, round(share * clients))
        run = experiment(
            options.dataset, clients, options.samples, attack_name, malicious, seed, options.split
        )
        file = options.out / f"{name(run, options.split)}.npz"
        if not file.exists():
            tasks[file] = (file, run, options.rounds)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for line in pool.imap_unordered(_collect, tasks.values()):
            print(line, flush=True)


if __name__ == "__main__":
    main()
