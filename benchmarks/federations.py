"""Federations of the studies, in memory, for the other benchmarks."""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import torch

from skymask.data import partition
from skymask.data.datasets import DATASETS
from skymask.federation.federation import Federation
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment, Method
from skymask.study.registry import entries

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
    loss: str = "cross_entropy",
) -> Experiment:
    """Return the settings of the studies of ``dataset``; ``split`` is ``iid`` or a label bias."""
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
        loss=loss,
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


def count(accepted: np.ndarray, malicious: np.ndarray) -> np.ndarray:
    """Return the number of rejected benign, benign, accepted malicious and malicious clients.

    Args:
        accepted: Verdicts [..., n].
        malicious: Flags of the malicious clients [n].
    """
    malicious = np.broadcast_to(malicious, accepted.shape)
    groups = (~accepted & ~malicious, ~malicious, accepted & malicious, malicious)
    return np.array([group.sum() for group in groups])


def rates(counts: np.ndarray) -> str:
    """Return FPR / FNR in per cent from the counts of :func:`count`."""
    fpr = 100 * counts[0] / max(counts[1], 1)
    return f"{fpr:.1f}" + (f" / {100 * counts[2] / counts[3]:.1f}" if counts[3] else "")
