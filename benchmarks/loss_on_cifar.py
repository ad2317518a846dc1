"""Learning and detection on CIFAR-10 with each loss.

    python benchmarks/loss_on_cifar.py learning --data FOLDER --rounds 60
    python benchmarks/loss_on_cifar.py detection --data FOLDER --rounds 45 --after 30

prints one of the tables of the documentation page "The loss", a row at a time.  FOLDER has
CIFAR-10's archive, or images as ``{train,test}/CLASS/*``, which need Pillow.

Both take the paper's convolutional network and rates, and 20 clients with 100 samples each.
``learning`` averages the updates of honest clients.  In ``detection`` 20 % are malicious and the
model moves by the mean of the others' updates, so that every rule judges the same updates.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from federations import count, experiment, federation, rates
from measure import markdown_header, markdown_row
from torch import Tensor

from skymask.data.datasets import Arrays, DataError, cifar10
from skymask.federation.aggregate import aggregate
from skymask.federation.attack import attack
from skymask.federation.evaluate import accuracy_and_loss
from skymask.federation.federation import Federation
from skymask.federation.train import train, training_data
from skymask.masks.learning import value_and_gradient
from skymask.models.functional import FunctionalModel, Loss
from skymask.models.losses import mean_loss
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment

CLIENTS, SAMPLES, ATTACKERS = 20, 100, 4
CLAMP = 0.01
LOSSES = ("cross_entropy", "batch_softmax", "logit_adjusted")


class WithoutMeans(FunctionalModel):
    """A model whose loss on samples is of its outputs less their mean over these samples."""

    def loss_on(self, samples: Samples) -> Loss:
        """Make the mean loss of the centred outputs a function of parameters [d]."""

        def loss(parameters: Tensor) -> Tensor:
            outputs = self.logits(parameters, samples.features)
            return mean_loss(outputs - outputs.mean(dim=0), samples.labels, self.loss)

        return loss


@dataclass(frozen=True)
class Setting:
    """A row of the table ``learning``; the defaults are the paper's."""

    loss: str
    label: str = "as published"
    split: str = "0.5"
    centred: bool = False
    local_lr: float = 0.5
    clamp: float | None = CLAMP


SETTINGS = [
    *(Setting(loss) for loss in LOSSES),
    *(Setting(loss, "centred inputs", centred=True) for loss in LOSSES[:2]),
    *(Setting(loss, "IID clients", split="iid") for loss in LOSSES[:2]),
    *(Setting(loss, "no clamp", clamp=None) for loss in LOSSES[:2]),
    Setting("batch_softmax", "local rate 2", local_lr=2.0),
]


def read(folder: Path) -> tuple[Samples, Samples]:
    """Read training and test data in [0, 1]; images come in a fixed random order."""
    arrays = images(folder) if (folder / "train").is_dir() else cifar10([folder])
    pairs = [
        (arrays.train_features, arrays.train_labels),
        (arrays.test_features, arrays.test_labels),
    ]
    train_data, test_data = (
        Samples(torch.from_numpy(x).float() / arrays.scale, torch.from_numpy(y)) for x, y in pairs
    )
    return train_data, test_data


def images(folder: Path) -> Arrays:
    """Read ``{train,test}/CLASS/*``, classes by name; a batch of the result has all classes."""
    from PIL import Image

    parts = []
    for part in ("train", "test"):
        classes = sorted(place for place in (folder / part).iterdir() if place.is_dir())
        files = [(file, i) for i, place in enumerate(classes) for file in sorted(place.iterdir())]
        if len(classes) != 10 or not files:
            raise DataError(f"{folder / part} has no ten folders of images: unpack them again")
        order = np.random.default_rng(0).permutation(len(files))
        pixels = [np.asarray(Image.open(files[i][0]).convert("RGB")) for i in order]
        features = np.stack(pixels).transpose(0, 3, 1, 2)
        parts += [np.ascontiguousarray(features), np.array([files[i][1] for i in order])]
    return Arrays(*parts, 10, 255.0)


def centred(samples: tuple[Samples, Samples]) -> tuple[Samples, Samples]:
    """Subtract each channel's mean over the training data."""
    means = samples[0].features.mean(dim=(0, 2, 3), keepdim=True)
    first, second = (Samples(part.features - means, part.labels) for part in samples)
    return first, second


def run_of(loss: str, attack_name: str = "none", split: str = "0.5", seed: int = 1) -> Experiment:
    """Return the paper's settings for a small federation."""
    malicious = 0 if attack_name == "none" else ATTACKERS
    paper = experiment("fashion_mnist", CLIENTS, SAMPLES, attack_name, malicious, seed, split)
    return replace(paper, dataset="cifar10", loss=loss)


def gradients(parties: Federation, model: Tensor) -> tuple[float, float]:
    """Return the share of elements beyond the clamp, and the median norm, of client gradients.

    Each is that of a client's loss on its first batch at the global ``model`` [d].
    """
    size, shares, norms = parties.experiment.batch_size, [], []
    for client in parties.clients:
        batch = client.select(torch.arange(min(size, len(client))))
        _, gradient = value_and_gradient(parties.functional_model.loss_on(batch), model)
        shares.append(float((gradient.abs() > CLAMP).double().mean()))
        norms.append(float(gradient.norm()))
    return float(np.mean(shares)), float(np.median(norms))


def accuracies(parties: Federation, model: Tensor) -> list[float]:
    """Return four accuracies of ``model`` [d] on the test data.

    They are by the largest output; by the log-softmax over batches, which are mixed, or of one
    class each; and by the largest output after log Σ exp of each class's outputs over the root
    data has been subtracted from the biases of the output layer.
    """
    own, test, calibrated = parties.model.copy(model), parties.test, model.clone()
    with torch.no_grad():
        root = parties.functional_model.logits(model, parties.root.features)
    calibrated[-parties.classes :] -= root.logsumexp(dim=0)
    mixed = accuracy_and_loss(own, test, "batch_softmax")
    by_class = test.select(test.labels.argsort(stable=True))
    return [
        mixed.argmax_accuracy,
        mixed.accuracy,
        accuracy_and_loss(own, by_class, "batch_softmax").accuracy,
        accuracy_and_loss(parties.model.copy(calibrated), test).accuracy,
    ]


def learn(setting: Setting, data: tuple[Samples, Samples], rounds: int, seed: int) -> list[str]:
    """Train by FedAvg; return a row of the table."""
    run = replace(
        run_of(setting.loss, split=setting.split, seed=seed),
        local_lr=setting.local_lr,
        gradient_clip=setting.clamp,
    )
    parties = federation(run, centred(data) if setting.centred else data)
    own, model = training_data(parties), parties.initial_parameters()
    sizes, quality = [gradients(parties, model)], []
    for round_ in range(1, rounds + 1):
        updates = train(parties, own, model, round_).updates
        model = model + run.global_lr * updates.mean(dim=0)
        if round_ in (rounds // 2, rounds):
            quality.append(accuracies(parties, model))
    sizes.append(gradients(parties, model))
    cells = [f"{100 * share:.2f} %, {norm:.2f}" for share, norm in sizes]
    shown = [f"{value:.3f}" for value in (quality[0][1], *quality[1])]
    return [setting.loss, setting.label, *cells, *shown]


def judges(parties: Federation) -> dict[str, FunctionalModel]:
    """Return the models whose losses the masks and the evidence can take, by label."""
    own = parties.functional_model
    if own.loss != "cross_entropy":
        return {own.loss: own}
    return {
        "cross_entropy": own,
        "cross_entropy, no means": WithoutMeans(own.module, own.shape),
        "batch_softmax": FunctionalModel(own.module, own.shape, "batch_softmax"),
    }


def detect(
    loss: str, attack_name: str, data: tuple[Samples, Samples], rounds: range, seed: int
) -> list[list[str]]:
    """Judge the clients in ``rounds``; return a row per loss of the masks."""
    parties = federation(run_of(loss, attack_name, seed=seed), data)
    own, model, state = training_data(parties), parties.initial_parameters(), {}
    # the same parties, but for the server's loss
    servers = {label: replace(parties) for label in judges(parties)}
    for label, judge in judges(parties).items():
        servers[label].__dict__["functional_model"] = judge
    kept = {label: {} for label in servers}
    counts = {label: np.zeros(4) for label in servers}
    for round_ in range(1, rounds.stop):
        honest = train(parties, own, model, round_).updates
        if round_ in rounds:
            sent, state = attack(parties, honest, model, state, round_)
            for label, server in servers.items():
                _, verdict, kept[label] = aggregate(server, sent, model, kept[label], round_)
                counts[label] += count(verdict.accepted.numpy(), parties.malicious.numpy())
        model = model + parties.experiment.global_lr * honest[~parties.malicious].mean(dim=0)
    return [[loss, label, attack_name, rates(counts[label])] for label in servers]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["learning", "detection"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--after", type=int, default=0, help="rounds without verdicts before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--attacks", nargs="+", default=["label_flip", "min_max"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, rounds, seed = read(options.data), options.rounds, options.seed
    start = time.process_time()
    work: list[Callable[[], list[list[str]]]]
    if options.table == "learning":
        names = ["loss", "setting", "gradient before round 1", "gradient at the end"]
        kinds = ["largest output", "mixed batches", "batches of one class", "calibrated"]
        names += [f"mixed batches, round {rounds // 2}", *kinds]
        work = [
            lambda setting=setting: [learn(setting, data, rounds, seed)]
            for setting in SETTINGS
            if setting.loss in options.losses
        ]
    else:
        judged = range(options.after + 1, rounds + 1)
        span = f"FPR / FNR, %, rounds {judged[0]}–{rounds}"
        names = ["loss of clients", "loss of masks", "attack", span]
        work = [
            lambda loss=loss, name=name: detect(loss, name, data, judged, seed)
            for name in options.attacks
            for loss in options.losses
        ]
    print(markdown_header(names), flush=True)
    for task in work:
        for row in task():
            print(markdown_row(row), flush=True)
    print(f"\n{(time.process_time() - start) / 60:.1f} minutes of one core")


if __name__ == "__main__":
    main()
